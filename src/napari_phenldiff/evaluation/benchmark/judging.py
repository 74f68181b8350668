"""All that is measured of one method: ``metrics.json`` in its folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.benchmark.config import BenchmarkConfig
from napari_phenldiff.evaluation.benchmark.folder import Made, Trained
from napari_phenldiff.evaluation.benchmark.split import Data
from napari_phenldiff.evaluation.choice import LARGEST_TILE, cut_tiles
from napari_phenldiff.evaluation.classifier import Classified, classify
from napari_phenldiff.evaluation.cycle import Cycle, measure_cycle
from napari_phenldiff.evaluation.distance_table import (
    ALL_CHANNELS,
    COPY,
    REAL,
    RECONSTRUCTED,
    TRANSLATED,
    DistanceRow,
    Split,
    distance_table,
    inception_distance,
)
from napari_phenldiff.evaluation.features import Features, extract_features
from napari_phenldiff.evaluation.identity import Identity, measure_identity
from napari_phenldiff.evaluation.memorisation import Memorisation, find_copies
from napari_phenldiff.evaluation.numbers import Number
from napari_phenldiff.evaluation.schema import Recovered
from napari_phenldiff.images.channel_names import named_channels
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.stains import nuclei_channel
from napari_phenldiff.images.wells import EACH_IMAGE, well_of
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.measurement.statistics.recovery import recovery
from napari_phenldiff.measurement.tables.measurement import Measurement

FILE = "metrics.json"


class MethodMetrics(BaseModel):
    """What was found out about one method.

    Attributes
    ----------
    method, preset : str
        Preset of a baseline, strategy of phenldiff; empty for the others.
    n_translated : int
        Test images that were translated.
    measurement : str
        Column that recovery is about.
    recovery, recovery_from_real : Recovered
        Translated less reconstructed, and less the real source images that were translated.
    recovery_of_real : Recovered
        Of other real target images: what a perfect method would get.
    distances, fid
        To the real target, of what was made, of the untouched source, and of other real images.
    cycle : tuple of Cycle
        There and back, and reconstructed.
    classifier, identity, memorisation
        See there.
    seconds_per_image : float
    minutes, steps, parameters, machine
        See `Trained`; empty or 0 for what is not trained.
    largest_residual : float
    reference_channels : tuple of str
    notes : tuple of str
        What could not be computed, and why.
    provenance : dict
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    method: str
    preset: str
    n_translated: int
    measurement: str
    recovery: Recovered
    recovery_from_real: Recovered
    recovery_of_real: Recovered
    distances: tuple[DistanceRow, ...]
    fid: dict[str, Number] | None
    cycle: tuple[Cycle, ...]
    classifier: Classified | None
    identity: Identity
    memorisation: Memorisation | None
    seconds_per_image: float
    minutes: float
    steps: int
    parameters: int
    machine: str
    largest_residual: Number
    reference_channels: tuple[str, ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    def write(self, folder: Path) -> None:
        """Write as JSON, whole or not at all: where it is, the method is done."""
        with write_atomic(folder / FILE) as aside:
            aside.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_method(folder: Path) -> MethodMetrics | None:
    """Read what is known of a method; None if it is not done.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        found = MethodMetrics.model_validate_json(path.read_text(encoding="utf-8"))
        _check_whole(found)
        return found
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is damaged or of another version: delete it, and only what is missing is "
            "done again."
        ) from error


def _check_whole(found: MethodMetrics) -> None:
    """Refuse metrics that lack what the table shows.

    Raises
    ------
    ValueError
        If a cycle or the correlation of a channel is missing.
    """
    missing = {"there and back", RECONSTRUCTED} - {part.what for part in found.cycle}
    channels = {row.channel for row in found.distances if row.images == TRANSLATED}
    kept = (found.identity.kept_channel or "").split(", ")[0]
    asked = (channels - {ALL_CHANNELS}) | ({kept} if kept else set())
    for known in (found.identity.correlation, found.identity.correlation_with_real):
        missing |= asked - set(known)
    if missing:
        raise ValueError(f"no {', '.join(sorted(missing))}")


def kept_channels(config: BenchmarkConfig, names: Sequence[str]) -> tuple[str, ...]:
    """Name the channels that should not change.

    Raises
    ------
    InputError
        If the images have no such channel.
    """
    if config.keep is not None:
        return named_channels(config.keep, names)
    found = nuclei_channel(names)
    return () if found is None else (found,)


def judge_method(
    method: str,
    config: BenchmarkConfig,
    data: Data,
    made: Made,
    *,
    trained: Trained | None = None,
    reference_channels: Sequence[str] = (),
    provenance: Mapping[str, Any] | None = None,
) -> tuple[MethodMetrics, Measurement]:
    """Measure what a method made of the test images.

    Parameters
    ----------
    method : str
    config : BenchmarkConfig
    data : Data
    made : Made
    trained : Trained, optional
        None for what is not trained.
    reference_channels : sequence of str
        Of a run of phenldiff.
    provenance : mapping, optional
        More to be kept.

    Returns
    -------
    metrics : MethodMetrics
    measurement : Measurement
        Of the groups ``source``, ``target``, ``reconstructed``, ``translated`` and
        ``real vs real``.
    """
    notes: list[str] = []
    chosen = data.test
    sources = chosen.sources
    settings = find_profile(config.profile).settings_type.model_validate(config.settings)
    measurement = measure(
        config.profile,
        {
            "source": chosen.real_source,
            "target": chosen.real_target,
            RECONSTRUCTED: made.reconstructed,
            TRANSLATED: made.translated,
            REAL: data.other_target,
        },
        settings,
        fit_on=("source", "target"),
    )
    values = {name: measurement.values(name) for name in measurement.conditions}
    real = values["source"], values["target"]
    # the images that are translated are the first of the real ones
    before = values["source"][: len(sources)]
    keep = kept_channels(config, sources[0].channel_names)
    identity, _, _ = measure_identity(
        chosen,
        made.reconstructed,
        made.translated,
        keep,
        notes,
        references=reference_channels,
    )
    seen = _appearance(config, data, made, notes)
    how = trained or Trained(0.0, 0, 0, "")
    metrics = MethodMetrics(
        method=method,
        preset=config.variant(method),
        n_translated=len(sources),
        measurement=measurement.main_column,
        recovery=_recovered(*real, values[TRANSLATED], values[RECONSTRUCTED]),
        recovery_from_real=_recovered(*real, values[TRANSLATED], before),
        recovery_of_real=_recovered(*real, values[REAL], None),
        distances=tuple(seen.distances),
        fid=seen.fid,
        cycle=(
            measure_cycle("there and back", sources, made.back, data.scaling),
            measure_cycle(RECONSTRUCTED, sources, made.reconstructed, data.scaling),
        ),
        classifier=seen.classified,
        identity=identity,
        memorisation=find_copies(
            lambda: data.training,
            config.target,
            chosen,
            made.translated,
            data.scaling,
            notes,
            given=identity.given,
        ),
        seconds_per_image=made.seconds,
        minutes=how.minutes,
        steps=how.steps,
        parameters=how.parameters,
        machine=how.machine,
        largest_residual=made.residual,
        reference_channels=tuple(reference_channels),
        notes=tuple(notes),
        provenance={
            **(provenance or {}),
            "images": [image.name for image in sources],
            "thresholds": {name: float(x) for name, x in measurement.thresholds.items()},
            "measurement_settings": measurement.settings.model_dump(mode="json"),
        },
    )
    return metrics, measurement


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    distances: list[DistanceRow]
    fid: dict[str, float] | None = None
    classified: Classified | None = None


def _appearance(config: BenchmarkConfig, data: Data, made: Made, notes: list[str]) -> _Seen:
    """Ask networks: every distance is one to the same real target images, at the same number.

    Real vs real are target images of the training set: test images alone are too few to be halved.
    """
    chosen = data.test
    sets: dict[str, Sequence[Image]] = {
        TRANSLATED: made.translated,
        RECONSTRUCTED: made.reconstructed,
        COPY: chosen.sources,
        REAL: data.other_target,
        "target": chosen.real_target,
        "training source": data.training.conditions[0].images,
        "training target": data.training.conditions[1].images,
    }
    tests = (*chosen.sources, *chosen.real_target)
    side = min(LARGEST_TILE, *(min(image.shape) for image in tests))
    tiles = {name: _tiles(images, side, data.scaling) for name, images in sets.items()}
    try:
        features = {name: extract_features(pixels) for name, (pixels, _) in tiles.items()}
    except InputError as error:
        notes.append(f"Neither distances nor a classifier: {error}")
        return _Seen([])
    n = min(len(features[name]) for name in (TRANSLATED, REAL, "target"))
    both = np.concatenate([features["target"].values[:n], features[REAL].values[:n]])
    first = np.arange(n)
    rows = distance_table(
        {name: features[name] for name in (TRANSLATED, RECONSTRUCTED, COPY)},
        Features(both, features[REAL].name),
        Split(n, first, n + first),
        chosen.sources[0].channel_names,
        seed=config.seed,
    )
    seen = _Seen(rows)
    if config.fid:
        try:
            reference = tiles["target"][0][:n]
            found = {
                name: inception_distance(tiles[name][0][:n], reference)
                for name in (TRANSLATED, RECONSTRUCTED, COPY, REAL)
            }
            seen = replace(seen, fid=found)
        except InputError as error:
            notes.append(str(error))
    groups = {name: [well_of(x, config.wells) for x in names] for name, (_, names) in tiles.items()}
    try:
        classified = classify(
            np.concatenate([features[x].composite for x in (COPY, "training source")]),
            np.concatenate([features[x].composite for x in ("target", "training target")]),
            groups[COPY] + groups["training source"],
            groups["target"] + groups["training target"],
            features[TRANSLATED].composite,
            features[RECONSTRUCTED].composite,
            groups[TRANSLATED],
            counted="images" if config.wells in (None, EACH_IMAGE) else "wells",
            seed=config.seed,
        )
        seen = replace(seen, classified=classified)
    except InputError as error:
        notes.append(str(error))
    return seen


def _tiles(
    images: Sequence[Image], side: int, scaling: IntensityScaling
) -> tuple[np.ndarray, list[str]]:
    """Tiles in [-1, 1] as networks see them, and the name of the image of each."""
    cut, names = cut_tiles(images, side)
    return np.clip(np.stack([scaling.apply(tile) for tile in cut]), -1, 1), names


def _recovered(
    source: np.ndarray, target: np.ndarray, after: np.ndarray, before: np.ndarray | None
) -> Recovered:
    found = recovery(source, target, after, reconstructed=before)
    return Recovered(value=found.value, low=found.low, high=found.high, reason=found.reason)
