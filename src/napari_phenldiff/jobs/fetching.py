"""Download a base model from a hub, so that it is there when it is needed."""

from __future__ import annotations

from pathlib import Path

from napari_phenldiff.jobs.telling import OnEvent, ShouldStop, ignore, never


def fetch(base: str, *, should_stop: ShouldStop = never, on_event: OnEvent = ignore) -> Path:
    """Download a base model from a hub, unless it is here already.

    Only the files that a training loads are downloaded, once, into the cache of huggingface_hub.
    A download that was cut goes on where it was.

    Parameters
    ----------
    base : str
        ``owner/name``, ``owner/name@revision`` or the address of its page. A name or folder of a
        base that is on this computer is found and returned.
    should_stop : callable
        Asked during the download. When it returns True, the download ends.
    on_event : callable
        Told what happens: see :mod:`napari_phenldiff.runs.events`.

    Returns
    -------
    Path
        Folder of the base model.

    Raises
    ------
    InputError
        If there is no such model, it may not be read or cannot be used, or the hub cannot be
        reached. The message says what to do.

    Examples
    --------
    >>> from napari_phenldiff import TrainingConfig, fetch
    >>> fetch("owner/name", on_event=print)  # doctest: +SKIP
    >>> base = "owner/name"
    >>> config = TrainingConfig(conditions=("untreated", "treated"), base=base)
    """
    from napari_phenldiff.diffusion.base import fetch_base

    work = fetch_base(base, should_stop=should_stop)
    while True:
        try:
            on_event(next(work))
        except StopIteration as end:
            return Path(end.value)
