"""The one place where a run becomes something that translates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_phenldiff.evaluation.cycle import Translating

if TYPE_CHECKING:
    from napari_phenldiff.runs.folder import Run


def load(run: Run, *, device: str = "auto") -> Translating:
    """Load the result of a run.

    Parameters
    ----------
    run : Run
    device : str
        ``"auto"`` or a torch device.

    Returns
    -------
    Translating

    Raises
    ------
    InputError
        If there is no result yet.
    """
    from napari_phenldiff.diffusion.translate import Translator

    return Translator.from_run(run, device=device)
