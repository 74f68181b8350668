"""Make the folder of a pre-training from folders of images."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_phenldiff.diffusion.archive import Archive, Group, draw_crops, find_collections
from napari_phenldiff.diffusion.pool import (
    compose_tiles,
    in_chunks,
    simulated_fields,
    write_pool,
)
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig, with_shape_of
from napari_phenldiff.diffusion.pretraining_folder import PoolRecord, PretrainingFolder, Source
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.files import scratch_folder
from napari_phenldiff.runs.config import validated
from napari_phenldiff.runs.folder import check_output_folder
from napari_phenldiff.runs.records import package_versions

Report = Callable[[int, int, str], None]

_COMPOSED_CHANNELS = 3


def new_pretraining(
    out: Path,
    folders: Sequence[Path],
    values: Mapping[str, Any],
    *,
    z: int | Projection | None = None,
    asked: Mapping[str, Any] | None = None,
    report: Report = lambda done, total, name: None,
) -> tuple[PretrainingFolder, tuple[str, ...]]:
    """Draw a pool of crops from folders of images and make the folder of a pre-training.

    All checks are made before the folder is created. Until then, scratch files are kept next to it
    in a hidden folder.

    Parameters
    ----------
    out : pathlib.Path
        The new folder.
    folders : sequence of pathlib.Path
        Folders of images; each is one collection.
    values : mapping
        Fields of `PretrainingConfig`. Without ``image_channels`` the base gets the largest number
        of channels of any image; with ``start`` the network settings are those of that base.
    z : int, "max", "mean" or "sum", optional
        Plane or projection of files with a z axis.
    asked : mapping, optional
        Command line options to record, which a resumed training is compared with.
    report : callable
        Called after each file with the number of files read, their total, and the file's name.

    Returns
    -------
    folder : PretrainingFolder
    notes : tuple of str
        Messages for the user about the images.

    Raises
    ------
    InputError
        If the settings or the images cannot be used, or there is not enough disk space.
    """
    check_output_folder(out)
    if values.get("start", "random") != "random":
        values = with_shape_of(values["start"], values)
    known = values.get("image_channels")
    config = validated(PretrainingConfig, values, where="pretrain")
    collections = find_collections(folders)
    _check_device(config)
    _check_room(out, _bytes(config, raw=True), config)
    parent = _existing(out)
    with scratch_folder(parent, out.name) as scratch:
        archive = draw_crops(
            collections,
            crops=config.crops,
            tile=config.tile,
            seed=config.seed,
            scratch=scratch,
            channels=known,
            z=z,
            report=report,
        )
        if known is None:
            least = _COMPOSED_CHANNELS if config.compose or config.simulated else 1
            values = {**values, "image_channels": max(least, archive.n_channels)}
            config = validated(PretrainingConfig, values, where="pretrain")
        if config.compose and all(group.n_channels > 1 for group in archive.groups):
            raise InputError(
                "None of the images has a single channel, so there is nothing to compose: leave "
                "out --compose."
            )
        _check_room(out, _bytes(config, raw=False), config)
        record = PoolRecord(
            asked=dict(asked or {}),
            sources=tuple(_sources(archive, config)),
            versions=package_versions(),
        )
        total = sum(group.crops for group in archive.groups) + config.simulated
        shape = (total, config.image_channels, config.tile, config.tile)
        folder = PretrainingFolder.create(
            out, config, record, lambda path: write_pool(path, shape, _parts(archive, config))
        )
    return folder, archive.notes


def _parts(archive: Archive, config: PretrainingConfig) -> Iterator[np.ndarray]:
    """Yield the images of the pool in chunks."""
    channels, tile = config.image_channels, config.tile
    for group in archive.groups:
        if not _is_composed(group, config):
            yield from group.scaled(channels)
    grey = [group for group in archive.groups if _is_composed(group, config)]
    if grey:
        tiles = np.concatenate([group.grey_tiles() for group in grey])
        # only tiles of the same collection are combined in one image
        groups = np.repeat(np.arange(len(grey)), [group.crops for group in grey])
        yield from in_chunks(
            lambda n, seed: compose_tiles(tiles, groups, n, channels=channels, seed=seed),
            len(tiles),
            config.seed,
        )
    yield from in_chunks(
        lambda n, seed: simulated_fields(n, size=tile, channels=channels, seed=seed),
        config.simulated,
        config.seed,
    )


def _is_composed(group: Group, config: PretrainingConfig) -> bool:
    return config.compose and group.n_channels == 1


def _sources(archive: Archive, config: PretrainingConfig) -> Iterator[Source]:
    for group in archive.groups:
        yield Source(
            name=group.collection,
            images=group.fields,
            crops=group.crops,
            channels=group.n_channels,
            composed=_is_composed(group, config),
        )
    if config.simulated:
        yield Source(
            name="simulated fields", images=config.simulated, crops=config.simulated, channels=3
        )


def _check_device(config: PretrainingConfig) -> None:
    from napari_phenldiff.diffusion.device import choose_device

    choose_device(config.device)


def _bytes(config: PretrainingConfig, *, raw: bool) -> int:
    """Return the bytes that the pool takes, or with `raw` the unscaled crops."""
    images = config.crops if raw else config.crops + config.simulated
    return images * config.image_channels * config.tile**2 * (4 if raw else 1)


def _check_room(out: Path, needed: int, config: PretrainingConfig) -> None:
    from napari_phenldiff.diffusion.network import count_parameters

    # weights, averages and two moments, in up to three checkpoints; the base, twice
    needed += count_parameters(config) * (3 * 4 * 4 + 2 * 2)
    place = _existing(out)
    free = shutil.disk_usage(place).free
    if free < needed:
        raise InputError(
            f"The pool and the checkpoints need {needed / 1e9:.1f} GB and {place} has "
            f"{free / 1e9:.1f} GB left: make room, ask for fewer --crops, or name another --out."
        )


def _existing(path: Path) -> Path:
    """Return the nearest existing parent folder of `path`."""
    return next(parent for parent in path.resolve().parents if parent.is_dir())
