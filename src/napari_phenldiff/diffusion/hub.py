"""Fetch base models from a hub: only the files that are loaded, at one commit, once.

A repository often holds each network several times (in single and half precision, with and without
averaged weights, for several programs), and further networks that are not used here. So the files
are chosen first; configurations are fetched and checked before any weights; what will be fetched is
told; and weights are fetched in pieces, so that a download that was cut goes on where it was, also
in another process. Files are kept in the cache of huggingface_hub, where other programs find them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

from napari_phenldiff.diffusion.base_files import (
    check_configs,
    choose_weights,
    shards_in,
    variant_in,
    weight_files,
)
from napari_phenldiff.diffusion.hub_client import (
    RemoteFile,
    ask,
    cache_folder,
    check_room,
    fetch_files,
    in_words,
    is_unreachable,
    listing,
    size_in_words,
    small_file,
)
from napari_phenldiff.diffusion.hub_reference import HubModel
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.events import Event, Noted

_NEEDED = ("unet", "vae")
_PARTS = (*_NEEDED, "conditioner")
_SCHEDULE = "scheduler/scheduler_config.json"


def cached(model: HubModel) -> Path | None:
    """Return where an earlier download left a model, without using the network.

    Parameters
    ----------
    model : HubModel
        The model.

    Returns
    -------
    Path or None
        Folder of the model, or its single file; None if it is not there or not complete.
    """
    folder = _cached_folder(model)
    if folder is None:
        return None
    if model.file is not None:
        return folder / model.file
    return folder if _is_complete(folder, str(model)) else None


def fetch(
    model: HubModel, *, should_stop: Callable[[], bool] = lambda: False
) -> Generator[Event, None, Path]:
    """Fetch the files of a base model that are loaded, unless they have been fetched before.

    Parameters
    ----------
    model : HubModel
        The model. If it is named by a commit and is in the cache, nothing is asked of the hub.
    should_stop : callable
        Called between pieces of a file; when it returns True, the download ends, and can go on
        later.

    Yields
    ------
    Event
        Noted, with the size and the folder of the cache, and Progress. Nothing if there is nothing
        to fetch.

    Returns
    -------
    Path
        Folder of the model in the cache, or its single file.

    Raises
    ------
    InputError
        If there is no such model, it may not be read, it cannot be used, or the hub cannot be
        reached and the model is not in the cache.
    """
    known = cached(model)
    if known is not None and model.is_pinned and not _is_half(known, model):
        return known
    try:
        return (yield from _fetch(model, should_stop))
    except InputError:
        raise
    except Exception as error:
        if known is not None and is_unreachable(error):
            commit = _cached_commit(model)
            yield Noted(
                f"The hub cannot be reached, so {model} is used as it was fetched earlier "
                f"(commit {commit[:12]})"
            )
            return known
        raise in_words(error, model) from error


def not_here(model: HubModel) -> InputError:
    """Return the error for a model that would have to be fetched, where it was not the user's wish.

    What is fetched is decided by whoever types the name, and never by a file that names a model.
    """
    return InputError(
        f"The base model {model} is one of a hub and has not been downloaded on this computer; the "
        "run names it, not you, so no network is used: if you trust it, download it with "
        f"`phenldiff fetch {model}`"
    )


def _fetch(model: HubModel, should_stop: Callable[[], bool]) -> Generator[Event, None, Path]:
    commit, files = ask(partial(listing, model))
    pinned = model.at(commit)

    if model.file is not None:
        if model.file not in files:
            raise InputError(f"There is no file {model.file} in {model} ({model.address}).")
        if not model.file.endswith(".safetensors"):
            raise InputError(
                f"{model.file} in {model} is not a safetensors file: other formats can run code "
                "and are not read."
            )
        wanted = [model.file]
        beside = str(PurePosixPath(model.file).with_suffix(".yaml"))
        if beside in files:  # which says what the model predicts
            small_file(pinned, beside)
    else:
        wanted = _weights_of(files, pinned, model)
    missing = {name: files[name] for name in wanted if _cached_file(pinned, name) is None}
    if missing:
        check_room(pinned, missing)
        size = sum(file.size for file in missing.values())
        yield Noted(
            f"{model} (commit {commit[:12]}): {size_in_words(size)} in "
            f"{'1 file' if len(missing) == 1 else f'{len(missing)} files'} are downloaded once, "
            f"into {cache_folder()} (HF_HOME moves it)"
        )
        yield from fetch_files(pinned, missing, should_stop)
    anything = model.file or "unet/config.json"
    if not model.is_pinned:
        # so that the branch is found in the cache
        small_file(model, anything)
    found = _cached_file(pinned, anything)
    assert found is not None
    return found if model.file is not None else found.parents[1]


def _weights_of(files: Mapping[str, RemoteFile], pinned: HubModel, model: HubModel) -> list[str]:
    """Fetch configurations and indices, check them, and return which weights are loaded."""
    reference = str(model)
    if not all(f"{part}/config.json" in files for part in _NEEDED) or _SCHEDULE not in files:
        raise InputError(_no_base(files, model))
    parts = [part for part in _PARTS if f"{part}/config.json" in files]
    for name in (_SCHEDULE, *(f"{part}/config.json" for part in parts)):
        folder = small_file(pinned, name).parents[1]
    check_configs(folder, reference)
    wanted = []
    for part in parts:
        chosen = choose_weights(_names_in(files, part), part, reference)
        names = [chosen.file]
        if chosen.in_shards:
            names = shards_in(small_file(pinned, f"{part}/{chosen.file}"), reference)
        for name in names:
            if f"{part}/{name}" not in files:
                raise InputError(
                    f"The base model {reference} is not complete on the hub: {part}/{name} is "
                    "missing; tell its owner, or use another revision."
                )
            wanted.append(f"{part}/{name}")
    return wanted


def _no_base(files: Mapping[str, RemoteFile], model: HubModel) -> str:
    """Say why a repository is no base model, and what can be used of it."""
    text = f"{model} is not a base model: it has no unet/, vae/ and scheduler/ as diffusers saves"
    single = sorted(n for n in files if "/" not in n and n.endswith(".safetensors"))
    if single:
        return (
            f"{text} them; if {single[0]} is a checkpoint of Stable Diffusion 1 or 2, give its "
            f"address: {model.address}/blob/{model.revision or 'main'}/{single[0]}"
        )
    return f"{text} them; give a model of Stable Diffusion 1 or 2 for text to image."


def _names_in(files: Mapping[str, RemoteFile], part: str) -> set[str]:
    return {PurePosixPath(n).name for n in files if str(PurePosixPath(n).parent) == part}


def _cached_file(model: HubModel, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(model.name, name, revision=model.revision)
    return Path(found) if isinstance(found, str) else None


def _cached_folder(model: HubModel) -> Path | None:
    """Return the folder of a model's commit in the cache, which may not be complete."""
    name = model.file or "unet/config.json"
    found = _cached_file(model, name)
    return None if found is None else found.parents[len(PurePosixPath(name).parts) - 1]


def _cached_commit(model: HubModel) -> str:
    folder = _cached_folder(model)
    return "" if folder is None else folder.name


def _is_complete(folder: Path, reference: str) -> bool:
    parts = [p for p in _PARTS if p in _NEEDED or (folder / p / "config.json").exists()]
    try:
        for part in parts:
            weight_files(folder / part, reference)
    except InputError:
        return False
    return (
        all((folder / part / "config.json").exists() for part in parts)
        and (folder / _SCHEDULE).exists()
    )


def _is_half(place: Path, model: HubModel) -> bool:
    """Whether weights in the cache are of a variant that another program may have chosen."""
    if model.file is not None:
        return False
    return any(variant_in(place / part, str(model)) is not None for part in _NEEDED)
