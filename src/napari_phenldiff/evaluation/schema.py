"""What ``metrics.json`` holds."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BaseModel, ConfigDict

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.classifier import Classified
from napari_phenldiff.evaluation.distance_table import DistanceRow
from napari_phenldiff.evaluation.evidence import Cells
from napari_phenldiff.evaluation.numbers import Number
from napari_phenldiff.evaluation.structure import StructureMeasure
from napari_phenldiff.evaluation.truth import Truth
from napari_phenldiff.evaluation.verdict import Effect, Rules, Verdict
from napari_phenldiff.images.files import write_atomic

FORMAT = 1


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")


class Spread(_Part):
    """Values of images in short: median and quartiles over those that are known, and all values."""

    median: Number
    low: Number
    high: Number
    n: int
    values: tuple[Number, ...]

    @classmethod
    def of(cls, values: ArrayLike) -> Spread:
        """Sum up values; those that are NaN are kept but do not count."""
        given = np.asarray(values, float).ravel()
        known = given[np.isfinite(given)]
        low, median, high = np.quantile(known, (0.25, 0.5, 0.75)) if known.size else [np.nan] * 3
        return cls(
            median=float(median),
            low=float(low),
            high=float(high),
            n=known.size,
            values=tuple(map(float, given)),
        )


class Cycle(_Part):
    """Error of images that went through something and came back, see `CycleError`."""

    what: str
    image_shape: tuple[int, int]
    norm: Spread
    rmse: Spread
    rmse_grey: dict[str, Spread]


class LatentCycles(_Part):
    """Cycle of latents, and error of the autoencoder alone, see `LatentCycle`."""

    rmse: Spread
    relative: Spread
    floor: Spread
    floor_norm: Spread


class Recovered(_Part):
    """Translated effect over real effect."""

    value: Number
    low: Number
    high: Number
    reason: str


class Identity(_Part):
    """What stayed as it was, per image: reconstructed to translated, and real to translated."""

    kept_channel: str | None
    correlation: dict[str, Spread]
    correlation_with_real: dict[str, Spread]
    nuclei_channel: str | None
    nuclei_kept: Spread | None
    nuclei_overlap: Spread | None
    nuclei_distance_px: Spread | None
    own_source: Number
    cells: Cells | None = None


class Structure(_Part):
    """Structure with brightness taken out, and where things are, per channel (layout r)."""

    measures: tuple[StructureMeasure, ...]
    layout: dict[str, Spread]
    layout_reconstructed: dict[str, Spread]


class Memorisation(_Part):
    """Similarity with the nearest training image, see `NearestTraining`."""

    n_training: int
    copies: Number
    translated: Spread
    held_out: Spread
    translated_raw: Spread
    held_out_raw: Spread


class Controls(_Part):
    """Effects of what should show none, and the truth where it is known."""

    null: Effect | None
    shuffled: tuple[Effect, ...]
    half_split: tuple[Effect, ...]
    truth: Truth | None


class Metrics(_Part):
    """All that an evaluation found.

    What could not be computed is None (or null for NaN), and `notes` says why.
    """

    format: int = FORMAT
    source: str
    target: str
    profile: str
    measurement: str
    counted: str
    n_translated: int
    verdict: Verdict
    rules: Rules
    recovery: Recovered
    effects: tuple[dict[str, Any], ...]
    distances: tuple[DistanceRow, ...]
    fid: dict[str, Number] | None
    cycle: tuple[Cycle, ...]
    latent_cycle: LatentCycles | None
    classifier: Classified | None
    identity: Identity
    structure: Structure | None = None
    memorisation: Memorisation | None
    controls: Controls
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write as JSON, whole or not at all."""
        with write_atomic(path) as aside:
            aside.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_metrics(path: str | os.PathLike[str]) -> Metrics:
    """Read what `Metrics.write` wrote.

    Raises
    ------
    InputError
        If the file holds something else.
    """
    from pathlib import Path

    try:
        return Metrics.model_validate_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} holds no metrics that can be read: evaluate again.") from error
