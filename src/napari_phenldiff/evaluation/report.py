"""The report of one translation: the same cells, the four groups, and where it all comes from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.evaluation.page import Picture as Picture
from napari_phenldiff.evaluation.page import Section as Section
from napari_phenldiff.evaluation.page import write_page
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.compare import Comparison, compare, recovery
from napari_phenldiff.measurement.profiles import Measurement
from napari_phenldiff.measurement.theme import ThemeName

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
    from napari_phenldiff.measurement.figures import four_groups, recovery_text, translation_panel

    values = {
        name: measurement.values(name) for name in (source, target, reconstructed, translated)
    }
    real = compare(values[source], values[target], seed=seed)
    made = compare(values[reconstructed], values[translated], seed=seed, paired=True)
    coder = compare(values[source], values[reconstructed], seed=seed)
    left = compare(values[translated], values[target], seed=seed)
    recovered = recovery(
        values[source],
        values[target],
        values[translated],
        reconstructed=values[reconstructed],
        seed=seed,
    )
    quantity = measurement.profile.axis_label
    lead = (
        f"Between real {source} and {target} images, the {quantity} shifts by {real.shift:+.3g}; "
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
            recovered=recovered,
            theme=theme,
            seed=seed,
        )

    sections = []
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
            f"{measurement.profile.title}, with the same settings and thresholds for all images.",
            (Picture(draw_groups, f"The {quantity} in the four groups, one dot per image."),),
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


def _comparison_table(comparisons: Mapping[str, Comparison]) -> pd.DataFrame:
    import pandas as pd

    rows = [
        {
            "groups": name,
            "n": f"{c.n_a}, {c.n_b}",
            "medians": f"{c.median_a:.3g}, {c.median_b:.3g}",
            "shift (95 %)": f"{c.shift:+.3g} ({c.shift_low:+.3g} to {c.shift_high:+.3g})",
            "Cliff's delta (95 %)": (
                f"{c.cliffs_delta:+.2f} ({c.cliffs_delta_low:+.2f} to {c.cliffs_delta_high:+.2f})"
            ),
            "p": f"{c.p_value:.2g}",
            "least possible p": f"{c.min_p_value:.2g}",
        }
        for name, c in comparisons.items()
    ]
    return pd.DataFrame(rows)


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
