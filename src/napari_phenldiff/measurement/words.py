"""Results in the few words that figures and reports say of them."""

from __future__ import annotations

import math

from napari_phenldiff.measurement.compare import Comparison
from napari_phenldiff.measurement.recovery import Recovery
from napari_phenldiff.measurement.tables import Measurement


def recovery_text(recovered: Recovery) -> str:
    """Put a recovery into words, with its interval: ``"recovery 81 % (74 to 89 %)"``."""
    if math.isnan(recovered.value):
        return f"recovery not defined: {recovered.reason}"
    if math.isnan(recovered.low):
        return f"recovery {100 * recovered.value:.0f} % ({recovered.reason})"
    return (
        f"recovery {100 * recovered.value:.0f} % "
        f"({100 * recovered.low:.0f} to {100 * recovered.high:.0f} %)"
    )


def p_text(comparison: Comparison) -> str:
    """Put a p-value into words, with the smallest possible one where that is not tiny."""
    if math.isnan(comparison.p_value):
        return "no p-value"
    text = f"p = {number_text(comparison.p_value)}"
    if comparison.min_p_value > 1e-3:
        text += f"\n(least possible {number_text(comparison.min_p_value)})"
    return text


def named_test(test: str, correction: str) -> str:
    """Name a test with its correction: ``"Mann-Whitney U, Holm over 4 measurements"``."""
    return test if correction in ("", "none") else f"{test}, {correction}"


def number_text(value: float) -> str:
    """Put a probability into two digits, the same everywhere: ``"0.012"``, ``"8.7e-5"``."""
    if value and abs(value) < 1e-3:
        return f"{value:.2g}".replace("e-0", "e-")
    return f"{value:.2g}"


def column_text(measurement: Measurement, column: str) -> str:
    """Name a column on an axis."""
    if column == measurement.main_column:
        return measurement.profile.axis_label
    words = column.split("_")
    units = {"px": "px", "um": "µm", "px2": "px²", "um2": "µm²"}
    if len(words) > 1 and words[-1] in units:
        unit = units[words[-1]] + ("²" if words[-2] == "area" and len(words[-1]) == 2 else "")
        return f"{' '.join(words[:-1])} ({unit})"
    return " ".join(words)
