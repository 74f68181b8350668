"""The evidence for a verdict, the limits of its rules, and what each rule finds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from napari_phenldiff.evaluation.classifier import Classified
from napari_phenldiff.evaluation.numbers import Number
from napari_phenldiff.evaluation.structure import StructureMeasure

if TYPE_CHECKING:
    from napari_phenldiff.measurement.statistics.compare import Comparison

Answer = Literal["supported", "not supported", "cannot tell"]
Outcome = Literal["for", "against", "open", "not tried", "by construction"]


@dataclass(frozen=True, slots=True)
class Effect:
    """How far a measurement moves from one group to another.

    Attributes
    ----------
    shift, low, high : float
        Hodges-Lehmann shift with its 95 % interval, in units of the measurement.
    p_value : float
        Two-sided; NaN where all images are of one well.
    least_p_value : float
        The least p that so many wells or images can give, corrected alike.
    n_before, n_after : int
        Wells or images that could be measured; of pairs twice the same.
    test, correction : str
        What the p-value is of, and for how many measurements it was corrected.
    no_p_value : str
        Why there is none, in a sentence.
    """

    shift: Number
    low: Number
    high: Number
    p_value: Number
    least_p_value: Number
    n_before: int
    n_after: int
    test: str = ""
    correction: str = ""
    no_p_value: str = ""

    @classmethod
    def from_comparison(cls, found: Comparison) -> Effect:
        """Make an effect of a `Comparison` of one measurement."""
        # A single well gives no information about how wells vary.
        several = min(found.n_a, found.n_b) > 1
        return cls(
            found.shift,
            found.shift_low,
            found.shift_high,
            found.p_value if several else math.nan,
            found.min_p_value if several else math.nan,
            found.n_a,
            found.n_b,
            found.test,
            no_p_value="" if several else "There is only one to go by, so there is no p-value.",
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Effect:
        """Make an effect of a row of the table that `effects` gives."""
        p = float(row["p_value"])
        return cls(
            float(row["shift"]),
            float(row["shift_low"]),
            float(row["shift_high"]),
            p,
            float(row["least_p_value"]),
            int(row["n_before"]),
            int(row["n_after"]),
            str(row["test"]),
            str(row["correction"]),
            str(row["note"]) if math.isnan(p) else "",
        )

    def shown(self, alpha: float) -> bool:
        """Whether the test is significant and the interval away from 0 (both, and not NaN)."""
        return self.p_value < alpha and (self.low > 0 or self.high < 0)

    def share_of(self, other: Effect) -> tuple[float, float]:
        """Least and largest size that the interval leaves, as parts of another effect's size."""
        if not all(map(math.isfinite, (self.low, self.high, other.shift))) or not other.shift:
            return math.nan, math.nan
        ends = sorted((abs(self.low), abs(self.high)))
        least = 0.0 if self.low <= 0 <= self.high else ends[0]
        return least / abs(other.shift), ends[1] / abs(other.shift)


@dataclass(frozen=True, slots=True)
class Cells:
    """How many cells there are, reconstructed and translated, and in real images.

    Attributes
    ----------
    channel : str
        That shows their nuclei.
    n_before, n_after : int
        In the reconstructed and in the translated images.
    n_same : int
        Of these, one to one in the same places.
    per_image : float
        Translated less reconstructed, mean over images.
    real : Effect
        Of the number per image between real images of the two conditions.
    real_ratio : float
        Mean number in real images of the target over that of the source.
    """

    channel: str
    n_before: int
    n_after: int
    n_same: int
    per_image: Number
    real: Effect
    real_ratio: Number

    @property
    def lost(self) -> float:
        """Part of the cells that is gone; NaN without any."""
        return (self.n_before - self.n_same) / self.n_before if self.n_before else math.nan

    @property
    def invented(self) -> float:
        """Cells that were not there, as a part of those that were; NaN without any."""
        return (self.n_after - self.n_same) / self.n_before if self.n_before else math.nan


@dataclass(frozen=True, slots=True)
class Evidence:
    """What is known about one translation and one measurement.

    Attributes
    ----------
    real : Effect
        Between real images of the two conditions.
    translated : Effect
        From reconstructed to translated images of the same cells (paired).
    recovery : tuple of float
        Shift from the reconstructed to the translated group divided by that from the real source to
        the real target, and its interval: value, low, high. Not `translated.shift`, which is of
        pairs, over `real.shift`. NaN where the real images show no effect.
    null : Effect, optional
        From real source images to the same, translated to their own condition (paired).
    shuffled, half_split : tuple of Effect
        From reconstructed to translated images in runs that were trained on permuted conditions,
        and on two halves of one condition: one effect per run.
    nuclei_kept : float, optional
        Median over images of the nuclei that are still there, one to one, in a channel that should
        not change.
    correlation_kept : float, optional
        Median over images of the correlation of that channel before and after.
    own_source : float, optional
        How often a translated image is more like its own source image than like another one: 0.5
        is chance.
    copies : float, optional
        Part of the tiles of translated images that are as good as copies of training images, in
        the channels that the model draws.
    trained_on : int
        Images among those evaluated that the run was trained on.
    structure : tuple of StructureMeasure
        Where the structure of translated images lies between the real conditions.
    classifier : Classified, optional
        What a classifier takes them for.
    cells : Cells, optional
        How many cells are lost and invented.
    given : tuple of str
        Reference channels, which are given to the model and copied into its images: what is found
        in them is so by construction, and no evidence.
    """

    real: Effect
    translated: Effect
    recovery: tuple[float, float, float]
    null: Effect | None = None
    shuffled: tuple[Effect, ...] = ()
    half_split: tuple[Effect, ...] = ()
    nuclei_kept: float | None = None
    correlation_kept: float | None = None
    own_source: float | None = None
    copies: float | None = None
    trained_on: int = 0
    structure: tuple[StructureMeasure, ...] = ()
    classifier: Classified | None = None
    cells: Cells | None = None
    given: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """Limits of the verdict; ``docs/notes/verdict.md`` says why they are where they are.

    Attributes
    ----------
    alpha : float
        Below which a p-value counts.
    least_recovery, most_recovery : float
        Between which all of the interval of recovery must lie.
    control_share : float
        Part of the translated effect that a control may show: all of its interval must be below.
    nuclei_kept, correlation_kept : float
        Least that must be kept of a channel that should not change.
    own_source : float
        Least that translated images must be more like their own sources than like others.
    copies : float
        Part of the translated images that may be copies of training images.
    midway : float
        Of the way from the real source (0) to the real target (1), from which on a structure is
        taken for the target's; part of the images that a classifier must take for the target.
    apart, clearly_apart : float
        How well the real conditions must be told apart, at least (all of the interval of the area
        under the curve, or of the part told right), so that an answer counts, and so that one
        counts that is not sure.
    cells_changed : float
        Part of the cells that may be lost, and be invented, where real images have as many.
    """

    alpha: float = 0.05
    least_recovery: float = 0.25
    most_recovery: float = 2.0
    control_share: float = 0.25
    nuclei_kept: float = 0.5
    correlation_kept: float = 0.5
    own_source: float = 0.75
    copies: float = 0.1
    midway: float = 0.5
    apart: float = 0.65
    clearly_apart: float = 0.75
    cells_changed: float = 0.2


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule says.

    Attributes
    ----------
    rule : str
        Its name.
    outcome : {"for", "against", "open", "not tried", "by construction"}
    text : str
        In words, with the numbers.
    """

    rule: str
    outcome: Outcome
    text: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """The answer and where it comes from.

    Attributes
    ----------
    answer : {"supported", "not supported", "cannot tell"}
    reason : str
        In a sentence or two.
    findings : tuple of Finding
        One for each rule, in the order of the rules.
    """

    answer: Answer
    reason: str
    findings: tuple[Finding, ...] = field(default=())
