"""Which weights the base of a run had: written down when it is trained, checked when it is used.

A run is worth nothing without its base. Another one under the same name, because a hub's main
branch has moved, a folder was trained further, or this package brings a newer one along, gives
other images without a word.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import torch

from napari_phenldiff.diffusion.base import BaseModel, find_base
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.records import BaseWeights

_PARTS = {
    "unet": "config.json",
    "vae": "config.json",
    "conditioner": "config.json",
    "scheduler": "scheduler_config.json",
}
_WHOLE, _PIECES = (
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model-*-of-*.safetensors",
)
_AT_ONCE = 2**22


def weights_in(folder: Path) -> BaseWeights:
    """Tell which weights the folder of a base model holds.

    Parameters
    ----------
    folder : Path
        In diffusers' layout.

    Returns
    -------
    BaseWeights
        Of the weights that would be loaded and the configurations that say how: not of other
        formats or precisions beside them, nor of the versions that wrote them. A file is read once
        per process, unless it changes.
    """
    total, size = hashlib.sha256(), 0
    for part, name in _PARTS.items():
        config = folder / part / name
        if config.is_file():
            _add(total, f"{part}/{name}", _settings(config))
        whole = folder / part / _WHOLE
        pieces = [whole] if whole.is_file() else sorted((folder / part).glob(_PIECES))
        for path in pieces:
            found = path.stat()
            _add(total, f"{part}/{path.name}", _sha256(path, found.st_size, found.st_mtime_ns))
            size += found.st_size
    # A hub's cache keeps each commit in a folder of its name.
    commit = folder.name if folder.parent.name == "snapshots" else None
    return BaseWeights(sha256=total.hexdigest(), bytes=size, commit=commit)


def load_base_of(run: Run, *, device: torch.device | str = "cpu") -> BaseModel:
    """Load the base model of a run, if it is the one that the run was trained on.

    A run in which the weights are not written down, since an older version made it or because it
    has not been trained yet, takes what it finds; `Run.base_weights` is None then.

    Raises
    ------
    InputError
        If there is no base where the run looks for it, or it is another one.
    """
    return BaseModel.load(str(checked_base(run)), device=device)


def checked_base(run: Run) -> Path:
    """Return the folder of the base of a run, if it is the one that the run was trained on.

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
            "elsewhere now, say where with --base-at FOLDER."
        ) from error
    known = run.base_weights
    if known is None:
        return place
    found = weights_in(place)
    if found.sha256 == known.sha256:
        run.remember_base()
        return place
    raise InputError(_another(run, place, found))


def record_base(run: Run) -> None:
    """Write into a run which base it is trained on; one that goes on must still have the same.

    Raises
    ------
    InputError
        If there is no base where the run looks for it, or it is another one.
    """
    place = checked_base(run)
    if run.base_weights is None and run.latest_checkpoint() is None:
        run.fix_base(weights_in(place))


def _another(run: Run, place: Path, found: BaseWeights) -> str:
    known = run.base_weights
    assert known is not None
    hashes = f"SHA-256 {found.sha256[:12]}, not {known.sha256[:12]}"
    if run.base == "bundled":
        version = run.versions.get("napari-phenldiff", "an older version")
        return (
            f"The base model that comes with this version of napari-phenldiff is not the one that "
            f"{run.path} was trained on ({hashes}): train again, use version {version}, or give "
            "the base of that version with --base-at FOLDER."
        )
    commit = f", commit {known.commit}" if known.commit else ""
    return (
        f"The base model in {place} is not the one that {run.path} was trained on ({hashes}"
        f"{commit}): translations would not be those of the run. Give the old base with "
        "--base-at FOLDER, or train again."
    )


def _settings(path: Path) -> str:
    """Return the settings of a configuration in an order of their own."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return "damaged"  # whoever loads it says so
    if isinstance(found, dict):
        kept = ("_class_name",)
        found = {k: v for k, v in found.items() if not k.startswith("_") or k in kept}
    return json.dumps(found, sort_keys=True)


def _add(total: hashlib._Hash, name: str, content: str) -> None:
    total.update(json.dumps([name, content]).encode())


@lru_cache(maxsize=256)
def _sha256(path: Path, size: int, changed: int) -> str:
    """Hash a file; size and time of change are there to tell it from what it was."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_AT_ONCE):
            total.update(piece)
    return total.hexdigest()
