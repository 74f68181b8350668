"""Record the weights of a run's base when it is trained, and check them when it is used.

An adapter is only valid for the base that it was trained on. The base of a given name can change: a
hub's main branch moves, a folder is trained further, or a new version of this package brings a new
bundled base. The run would then silently give different images, so a changed base is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Generator
from functools import lru_cache
from pathlib import Path

import torch

from napari_phenldiff.diffusion.base import BaseModel, fetch_base, find_base
from napari_phenldiff.diffusion.base_files import weight_files
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.events import Event
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.records import BaseWeights

_PARTS = {
    "unet": "config.json",
    "vae": "config.json",
    "conditioner": "config.json",
    "scheduler": "scheduler_config.json",
}
_AT_ONCE = 2**22


def weights_in(folder: Path) -> BaseWeights:
    """Hash the weights of a base model.

    Parameters
    ----------
    folder : Path
        Folder in diffusers' layout, or a single file.

    Returns
    -------
    BaseWeights
        Hash and size of the weights that would be loaded and of the configurations they are loaded
        with. Weights in other formats or precisions, and the versions that wrote the files, do not
        count. A file is read once per process, unless it changes.
    """
    total, size = hashlib.sha256(), 0
    if folder.is_file():
        found = folder.stat()
        digest = _sha256(folder, found.st_size, found.st_mtime_ns)
        return BaseWeights(sha256=digest, bytes=found.st_size, commit=_commit_of(folder))
    for part, name in _PARTS.items():
        config = folder / part / name
        if not config.is_file():
            continue
        _add(total, f"{part}/{name}", _settings(config))
        if part == "scheduler":
            continue
        for path in weight_files(folder / part, str(folder)):
            found = path.stat()
            _add(total, f"{part}/{path.name}", _sha256(path, found.st_size, found.st_mtime_ns))
            size += found.st_size
    return BaseWeights(sha256=total.hexdigest(), bytes=size, commit=_commit_of(folder))


def load_base_of(run: Run, *, device: torch.device | str = "cpu") -> BaseModel:
    """Load the base model of a run and check that it is the one it was trained on.

    The check is skipped if the run has no record of its weights (`Run.base_weights` is None),
    because an older version made it or because it has not been trained yet.

    Raises
    ------
    InputError
        If the base is missing or its weights have changed.
    """
    return BaseModel.load(str(checked_base(run)), device=device)


def checked_base(run: Run) -> Path:
    """Return the folder of a run's base and check that it is the one it was trained on.

    Raises
    ------
    InputError
        As `load_base_of`.
    """
    try:
        # the run may be someone else's: only what the user typed may use the network
        place = find_base(run.base, fetch=run.is_new)
    except InputError as error:
        raise InputError(
            f"The base model of {run.path} is not there. {str(error).rstrip('.')}; if it lies "
            "elsewhere now, say where with “Base model” (--base-at FOLDER)."
        ) from error
    known = run.base_weights
    if known is None:
        return place
    found = weights_in(place)
    if found.sha256 == known.sha256:
        run.record_base_location()
        return place
    raise InputError(_another(run, place, found))


def fetch_base_of(run: Run, should_stop: Callable[[], bool]) -> Generator[Event, None, None]:
    """Download the base of a new run if it is on a hub, and tell how that goes.

    Raises
    ------
    InputError
        If it is not there, or the download was stopped.
    """
    if run.is_new:
        yield from fetch_base(run.base, should_stop=should_stop)


def record_base(run: Run) -> None:
    """Record the base that a run is trained on; a resumed run must still have the same one.

    Raises
    ------
    InputError
        If the base is missing or its weights have changed.
    """
    place = checked_base(run)
    if run.base_weights is None and run.latest_checkpoint() is None:
        run.record_base_weights(weights_in(place))


def _another(run: Run, place: Path, found: BaseWeights) -> str:
    known = run.base_weights
    assert known is not None
    hashes = f"SHA-256 {found.sha256[:12]}, not {known.sha256[:12]}"
    if run.base == "bundled":
        version = run.versions.get("napari-phenldiff", "an older version")
        return (
            f"The base model that comes with this version of napari-phenldiff is not the one that "
            f"{run.path} was trained on ({hashes}): train again, use version {version}, or give "
            "the base of that version with “Base model” (--base-at FOLDER)."
        )
    commit = f", commit {known.commit}" if known.commit else ""
    return (
        f"The base model in {place} is not the one that {run.path} was trained on ({hashes}"
        f"{commit}): translations would not be those of the run. Give the old base with "
        "“Base model” (--base-at FOLDER), or train again."
    )


def _commit_of(place: Path) -> str | None:
    """Return the commit that a folder or file in the cache of a hub is of."""
    for folder in (place, *place.parents):
        if folder.parent.name == "snapshots":
            return folder.name
    return None


def _settings(path: Path) -> str:
    """Return the settings of a configuration as JSON in a fixed order."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "damaged"  # loading it reports the error
    if isinstance(found, dict):
        kept = ("_class_name",)
        found = {k: v for k, v in found.items() if not k.startswith("_") or k in kept}
    return json.dumps(found, sort_keys=True)


def _add(total: hashlib._Hash, name: str, content: str) -> None:
    total.update(json.dumps([name, content]).encode())


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, changed: int) -> str:
    """Hash a file; `size` and `changed` are only part of the cache key."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_AT_ONCE):
            total.update(piece)
    return total.hexdigest()
