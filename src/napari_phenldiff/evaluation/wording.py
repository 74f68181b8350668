"""Results of an evaluation in words: those of its page, of the dock and of the command line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_phenldiff.evaluation.evidence import Effect, Verdict
    from napari_phenldiff.evaluation.numbers import Spread
    from napari_phenldiff.evaluation.schema import Metrics

OUTCOMES: dict[str, str] = {
    "for": "for it",
    "against": "against it",
    "open": "open",
    "not tried": "not tried",
    "by construction": "by construction, so no evidence",
}
"""What a rule said of the claim."""


ONE_WELL = "All images of a condition come from one well or field"
NO_WELLS = "Each image is counted, since the names of the images tell no wells"
EACH = "Each image is counted, as asked"
TRAINED_WELLS = "Other images of"
NO_PLATE = "No plate has images of both"
"""How notes begin that say how far images count as repeats, or that plates are conditions."""


NORM_WORDS = "L2 norm over all pixels and channels, at 0 to 255"
RMSE_WORDS = "RMSE over pixels and channels, of the range"
"""What errors of images that came back are called; the range is that of the run's training."""


def cautions(metrics: Metrics) -> tuple[str, ...]:
    """Return the notes that say how far images count as repeats: they belong to the verdict."""
    begins = (ONE_WELL, NO_WELLS, EACH, TRAINED_WELLS, NO_PLATE)
    return tuple(
        note for note in metrics.notes if note in metrics.cautions or note.startswith(begins)
    )


def headline(verdict: Verdict) -> str:
    """Give the answer in a few words: ``"Not supported"``."""
    return verdict.answer[:1].upper() + verdict.answer[1:]


def summary(verdict: Verdict) -> str:
    """Give the answer and the reason for it, in sentences."""
    return f"{headline(verdict)}. {verdict.reason}"


def control_effects(metrics: Metrics) -> Iterator[tuple[str, Effect]]:
    """Name each control that was tried, with its effect, which should be none."""
    controls = metrics.controls
    if controls.null is not None:
        yield "Null translation, to the own condition", controls.null
    for effect in controls.shuffled:
        yield "Run on shuffled conditions", effect
    for effect in controls.half_split:
        yield "Run on two halves of one condition", effect


def column_words(column: str) -> str:
    """Give the words of a column: ``"neurite length px"``."""
    return " ".join(filter(None, column.split("_")))


def number_text(value: float | None, form: str = ".3g") -> str:
    """Write a number; ``"unknown"`` for NaN."""
    if value is None or math.isnan(value):
        return "unknown"
    text = format(value, form)
    # -6.8e+02 is written -680
    plain = "e+" in text and abs(value) < 1e6
    return format(float(text), "+.0f" if form.startswith("+") else ".0f") if plain else text


def interval_text(
    value: float | None, low: float | None, high: float | None, form: str = "+.3g"
) -> str:
    """Write a value with its interval: ``"+0.31 (+0.2 to +0.4)"``."""
    if value is not None and math.isfinite(value) and (low is None or math.isnan(low)):
        return f"{number_text(value, form)}, without interval"
    return f"{number_text(value, form)} ({number_text(low, form)} to {number_text(high, form)})"


def quartiles_text(spread: Spread, form: str = ".3g", factor: float = 1) -> str:
    """Write a median with its quartiles, each times a factor: ``"0.97 (0.95 to 0.98)"``."""
    middle, low, high = (factor * x for x in (spread.median, spread.low, spread.high))
    return interval_text(middle, low, high, form)
