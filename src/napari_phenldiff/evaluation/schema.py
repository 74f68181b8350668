"""What ``metrics.json`` holds."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.classifier import Classified
from napari_phenldiff.evaluation.cycle import Cycle, LatentCycles
from napari_phenldiff.evaluation.distance_table import DistanceRow
from napari_phenldiff.evaluation.evidence import Effect, Rules, Verdict
from napari_phenldiff.evaluation.identity import Identity
from napari_phenldiff.evaluation.memorisation import Memorisation
from napari_phenldiff.evaluation.numbers import Kept, Number
from napari_phenldiff.evaluation.structure import Structure
from napari_phenldiff.evaluation.truth import Truth
from napari_phenldiff.images.files import write_atomic

FORMAT = 1


class Recovered(Kept):
    """Shift between reconstructed and translated groups over that between the real groups.

    Both are Hodges-Lehmann shifts between groups; the shift of the translated effect is of pairs.
    """

    value: Number
    low: Number
    high: Number
    reason: str


class Controls(Kept):
    """Effects of what should show none, and the truth where it is known."""

    null: Effect | None
    shuffled: tuple[Effect, ...]
    half_split: tuple[Effect, ...]
    truth: Truth | None


class Metrics(Kept):
    """All that an evaluation found.

    What could not be computed is None (or null for NaN), and `notes` says why. Those notes that
    `cautions` repeats belong to the verdict: they say how far what is counted are repeats.
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
    cautions: tuple[str, ...] = ()
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
        metrics = Metrics.model_validate_json(Path(path).read_text(encoding="utf-8"))
        for row in metrics.effects:
            _check_effect(row)
        for value in (value for row in metrics.effects for value in row.values()):
            if not isinstance(value, float | int | str | None):
                raise ValueError(f"{value!r} in the table of effects")
            _ = math.isfinite(value) if isinstance(value, int) else True
        return metrics
    except (OSError, ValueError, OverflowError) as error:
        raise InputError(f"{path} holds no metrics that can be read: evaluate again.") from error


def _check_effect(row: Mapping[str, Any]) -> None:
    """Refuse a row of the table of effects that lacks what is shown of it.

    Raises
    ------
    ValueError
        If a name or a number is missing, or is something else.
    """
    names = [row.get(name) for name in ("measurement", "effect")]
    numbers = [row.get(name, "missing") for name in ("shift", "shift_low", "shift_high")]
    if not all(isinstance(name, str) for name in names) or any(
        isinstance(number, str) for number in numbers
    ):
        raise ValueError(f"{dict(row)!r} in the table of effects")
