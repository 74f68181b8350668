"""The report of one translation: the same cells, the four groups, and where it all comes from."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.evaluation.page import Picture as Picture
from napari_phenldiff.evaluation.page import Section as Section
from napari_phenldiff.evaluation.page import write_page
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.figures.style import ThemeName
from napari_phenldiff.measurement.statistics.compare import p_text
from napari_phenldiff.measurement.statistics.effects import (
    Groups,
    Tested,
    compare_in,
    named_test,
    recovery_of,
)
from napari_phenldiff.measurement.statistics.units import units_of
from napari_phenldiff.measurement.tables.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_MOST_PICTURES = 6


def write_report(
    out: str | os.PathLike[str],
    measurement: Measurement,
    *,
    source: str,
    target: str,
    translated: str = "translated",
    reconstructed: str = "reconstructed",
    pictures: Sequence[tuple[Image, ...]] = (),
    provenance: Mapping[str, Any] | None = None,
    title: str | None = None,
    more: Sequence[Section] = (),
    seed: int = 0,
) -> Path:
    """Write the report of one translation.

    Parameters
    ----------
    out : path-like
        HTML file to write.
    measurement : Measurement
        Real images of both conditions and the translated and reconstructed ones, measured
        together.
    source, target, translated, reconstructed : str
        Names of these groups in the measurement. Translated and reconstructed images are the
        same ones in the same order.
    pictures : sequence of (Image, Image, Image) or (Image, Image, Image, Image)
        Real, reconstructed and translated image of each field to show and, where it is known, its
        true counterpart under the target condition; of many, six are taken at even steps.
    provenance : mapping, optional
        Whatever is needed to make the result again: run, conditions, settings, versions.
    title : str, optional
    more : sequence of Section
        Further parts, before the provenance.
    seed : int
        Seed of the bootstrap.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        If the measurement lacks one of the groups, or images do not belong together.
    """
    from napari_phenldiff.measurement.figures.four_groups import four_groups
    from napari_phenldiff.measurement.figures.panel import translation_panel
    from napari_phenldiff.measurement.statistics.compare import recovery_text

    units = units_of(measurement)

    def compared(before: str, after: str, *, paired: bool = False) -> Tested:
        groups = Groups(before, after, paired, by_place=paired, made=paired)
        return compare_in(measurement, groups, units=units, seed=seed)

    real = compared(source, target)
    made = compared(reconstructed, translated, paired=True)
    coder, left = compared(source, reconstructed), compared(translated, target)
    recovered = recovery_of(real, made, paired=True)
    quantity = measurement.profile.axis_label
    lead = (
        f"Between real {source} and {target} images, the {quantity} shifts by "
        f"{real.found.shift:+.3g}; "
        f"translating {source} images to {target} shifts it by {recovered.translated_effect:+.3g}: "
        f"{recovery_text(recovered)}."
    )

    def draw_panel(theme: ThemeName) -> Figure:
        first, second, third, *truth = zip(*shown, strict=True)
        return translation_panel(
            first,
            third,
            reconstructed=second,
            counterparts=truth[0] if truth else None,
            source=source,
            target=target,
            theme=theme,
        )

    def draw_groups(theme: ThemeName) -> Figure:
        return four_groups(
            measurement,
            source=source,
            target=target,
            reconstructed=reconstructed,
            translated=translated,
            wells=units,
            theme=theme,
            seed=seed,
        )

    sections = []
    # Where there is one well, its images are shown.
    dot = "image" if real.no_p_value or made.no_p_value else units.one
    shown = _spread(pictures, _MOST_PICTURES)
    if shown:
        caption = (
            f"Real {source} images, the same reconstructed and translated to {target}, and the "
            "change from reconstructed to translated in each channel."
        )
        if len(shown[0]) > 3:
            caption += f" The truth: the same cells, simulated as {target}."
        sections.append(Section("The same cells", pictures=(Picture(draw_panel, caption),)))
    sections += [
        Section(
            "Measured",
            " ".join(
                (
                    f"{measurement.profile.title}, same settings and thresholds for all images.",
                    *dict.fromkeys(x.no_p_value for x in (real, made) if x.no_p_value),
                )
            ),
            (Picture(draw_groups, f"The {quantity} in the four groups, one dot per {dot}."),),
            _comparison_table(
                {
                    f"real {source} → real {target}": real,
                    f"reconstructed → translated to {target} (paired)": made,
                    f"real {source} → reconstructed": coder,
                    f"translated → real {target}": left,
                }
            ),
        ),
        *_not_measured(measurement),
        *more,
        Section(
            "Settings and provenance",
            facts={
                "profile": measurement.profile.name,
                "settings": measurement.settings.model_dump(mode="json"),
                "thresholds": dict(measurement.thresholds),
                **(provenance or {}),
            },
        ),
    ]
    return write_page(out, title or f"{source} → {target}", sections, lead=lead)


def _comparison_table(comparisons: Mapping[str, Tested]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        {
            "groups": name,
            f"n ({tested.counted})": f"{c.n_a}, {c.n_b}",
            "medians": f"{c.median_a:.3g}, {c.median_b:.3g}",
            "shift (95 %)": _interval(c.shift, c.shift_low, c.shift_high, ".3g"),
            "Cliff's delta (95 %)": _interval(
                c.cliffs_delta, c.cliffs_delta_low, c.cliffs_delta_high, ".2f"
            ),
            "p": p_text(c).replace("\n", " "),
            "test": named_test(tested.test, tested.correction),
        }
        for name, tested in comparisons.items()
        for c in (tested.found,)
    ]
    return pd.DataFrame(rows)


def _interval(value: float, low: float, high: float, form: str) -> str:
    if not math.isfinite(low):
        return f"{value:+{form}}, without interval"
    return f"{value:+{form}} ({low:+{form}} to {high:+{form}})"


def _not_measured(measurement: Measurement) -> list[Section]:
    """Tell which images could not be measured, if there are any."""
    missing = measurement.images[measurement.images["reason"] != ""]
    if missing.empty:
        return []
    counts = missing.groupby(["condition", "reason"], sort=False).size()
    return [
        Section(
            "Not measured",
            f"{len(missing)} of {len(measurement.images)} images are not in the figures above.",
            table=counts.rename("images").reset_index(),
        )
    ]


def _spread(pictures: Sequence[tuple[Image, ...]], most: int) -> list[tuple[Image, ...]]:
    """Take a few of many at even steps, the first and the last among them."""
    if len(pictures) <= most:
        return list(pictures)
    return [pictures[i] for i in np.linspace(0, len(pictures) - 1, most).round().astype(int)]
