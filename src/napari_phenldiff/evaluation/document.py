"""The page of an evaluation: the verdict first, then the evidence."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_phenldiff.evaluation.evaluate import Evaluation
from napari_phenldiff.evaluation.evidence import Rules
from napari_phenldiff.evaluation.figures import structure_figure
from napari_phenldiff.evaluation.page import Picture, Section, write_page
from napari_phenldiff.evaluation.schema import Metrics
from napari_phenldiff.evaluation.structure import MEASURES, Between, StructureMeasure
from napari_phenldiff.evaluation.verdict import has_say, structure_outcome
from napari_phenldiff.evaluation.wording import (
    NORM_WORDS,
    OUTCOMES,
    RMSE_WORDS,
    cautions,
    column_words,
    control_effects,
    headline,
    interval_text,
    quartiles_text,
)
from napari_phenldiff.images.naming import count
from napari_phenldiff.measurement.figures.style import ThemeName
from napari_phenldiff.measurement.statistics.compare import number_text
from napari_phenldiff.measurement.statistics.two_groups import named_test
from napari_phenldiff.measurement.tables.measurement import column_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_PICTURES = 6
_SHIFT_AND_RECOVERY = (
    "The shift of a translated effect is that of pairs, each image or well before and after; "
    "recovery is the shift between the two groups over that between the real groups, which are no "
    "pairs, and so need not be the one shift over the other."
)
_MOODS: dict[str, Literal["", "good", "bad"]] = {"supported": "good", "not supported": "bad"}


def write_document(out: str | os.PathLike[str], evaluation: Evaluation) -> Path:
    """Write an evaluation as one HTML file that needs nothing beside itself.

    Parameters
    ----------
    out : path-like
    evaluation : Evaluation

    Returns
    -------
    pathlib.Path
        The file.
    """
    m = evaluation.metrics
    return write_page(
        out,
        f"{m.source} → {m.target}",
        [section for section in _sections(evaluation) if section is not None],
        verdict=headline(m.verdict),
        mood=_MOODS.get(m.verdict.answer, ""),
        lead=" ".join([m.verdict.reason, *cautions(m)]),
    )


def _sections(evaluation: Evaluation) -> Iterable[Section | None]:
    m = evaluation.metrics
    yield Section(
        "Why",
        f"The claim: translating {m.source} images to {m.target} shows what real images show of "
        f"{column_words(m.measurement)}. It is supported only if every rule that could be tried "
        f"speaks for it. Counted are {m.counted}.",
        table=_table(
            {"rule": f.rule, "speaks": OUTCOMES[f.outcome], "because": f.text}
            for f in m.verdict.findings
        ),
    )
    yield _same_cells(evaluation)
    yield from _measured(evaluation)
    yield _controls(m)
    yield _truth(m)
    yield _identity(m)
    yield from _structure(m)
    yield _looks(m)
    yield _distances(m)
    yield _memorised(m)
    yield _cycle(m)
    rest = [note for note in m.notes if note not in cautions(m)]
    if rest:
        yield Section("To know", table=_table({"": note} for note in rest))
    yield Section("Settings and provenance", facts=m.provenance)


def _same_cells(evaluation: Evaluation) -> Section:
    from napari_phenldiff.measurement.figures.panel import translation_panel

    m, chosen = evaluation.metrics, evaluation.chosen
    n = min(_PICTURES, len(chosen.sources))

    def draw(theme: ThemeName) -> Figure:
        truth = chosen.counterparts
        return translation_panel(
            chosen.sources[:n],
            evaluation.translated[:n],
            reconstructed=evaluation.reconstructed[:n],
            counterparts=None if truth is None else truth[:n],
            source=m.source,
            target=m.target,
            reference_channels=m.provenance.get("reference_channels", ()),
            theme=theme,
        )

    caption = (
        f"{n} of {m.n_translated} {m.source} images, the first of a random order: real, "
        f"reconstructed, translated to {m.target}, and the change from reconstructed to translated."
    )
    if chosen.counterparts is not None:
        caption += f" The truth: the same cells as {m.target}."
    return Section("The same cells", pictures=(Picture(draw, caption),))


def _measured(evaluation: Evaluation) -> Iterable[Section]:
    from napari_phenldiff.measurement.figures.effect_sizes import effect_sizes
    from napari_phenldiff.measurement.figures.four_groups import four_groups

    m, names, table = evaluation.metrics, evaluation.groups, evaluation.table
    measurement = evaluation.measurement

    untested = table[table["p_value"].isna()]
    # Where there is one well, its images are shown.
    dot = evaluation.units.one if untested.empty else "image"

    def draw_groups(theme: ThemeName) -> Figure:
        return four_groups(
            measurement,
            source=names["source"],
            target=names["target"],
            reconstructed=names["reconstructed"],
            translated=names["translated"],
            wells=evaluation.units,
            theme=theme,
            no_recovery=m.recovery.reason if math.isnan(m.recovery.value) else "",
        )

    def draw_effects(theme: ThemeName) -> Figure:
        return effect_sizes(table, theme=theme, label=lambda name: column_text(measurement, name))

    yield Section(
        "Measured",
        " ".join(
            (
                f"{measurement.profile.title}, all images with the same settings and thresholds.",
                _SHIFT_AND_RECOVERY,
                *dict.fromkeys(untested["note"]),
            )
        ),
        (
            Picture(draw_groups, f"{column_words(m.measurement)}, one dot per {dot}."),
            Picture(
                draw_effects,
                "All measurements of the profile. Faint: not significant after correction for "
                "their number, or without a p-value.",
            ),
        ),
        _table(
            {
                "measurement": column_text(measurement, str(row["measurement"])),
                "effect": row["effect"],
                "n": f"{row['n_before']}, {row['n_after']}",
                "shift (95 %)": interval_text(row["shift"], row["shift_low"], row["shift_high"]),
                "Cliff's delta": f"{row['cliffs_delta']:+.2f}",
                "p (test, correction)": _p(row["p_value"], row["test"], row["correction"]),
                "recovery (95 %)": _recovered(row),
            }
            for row in table.to_dict("records")
        ),
    )
    missing = measurement.images[measurement.images["reason"] != ""]
    if len(missing):
        lacking = int(measurement.images[measurement.main_column].isna().sum())
        counts = missing.groupby(["condition", "reason"], sort=False).size()
        yield Section(
            "What was noticed in measuring",
            f"{lacking} of {len(measurement.images)} images are not in the figures above.",
            table=counts.rename("images").reset_index(),
        )


def _controls(m: Metrics) -> Section:
    return Section(
        "Controls",
        "None of these may show a phenotype. What they do show of "
        f"{column_words(m.measurement)} is false.",
        table=_table(
            {
                "control": name,
                "n": e.n_before,
                "shift (95 %)": interval_text(e.shift, e.low, e.high),
                "p (test)": _p(e.p_value, e.test, e.correction),
            }
            for name, e in control_effects(m)
        ),
    )


def _truth(m: Metrics) -> Section | None:
    t = m.controls.truth
    if t is None:
        return None
    return Section(
        "Against the truth",
        "The same cells are known under the other condition. A correlation of 1 would tell of each "
        "image how much it changes, 0 only how much they change on average.",
        facts={
            "images": t.n
            if t.n_measured in (None, t.n)
            else f"{t.n}, of which {t.n_measured} could be measured",
            f"true change of {column_words(m.measurement)} (median)": t.true_effect,
            "change shown": t.shown_effect,
            "error of the effect": "not defined: the true change is 0"
            if math.isnan(t.effect_error)
            else f"{t.effect_error:+.0%}",
            "correlation over images (95 %)": interval_text(
                t.correlation, t.correlation_low, t.correlation_high
            ),
            "correlation of pixels' change, median over images": "; ".join(
                f"{name} {'has no change' if math.isnan(value) else f'{value:.2f}'}"
                for name, value in zip(m.identity.correlation, t.pixel_correlation, strict=False)
            ),
            "error per pixel, of the range: translated": t.rmse,
            "untouched source": t.rmse_copy,
            "reconstructed": t.rmse_reconstructed,
        },
    )


def _identity(m: Metrics) -> Section:
    i = m.identity
    rows = [
        {
            "what": f"correlation of {name}, reconstructed to translated",
            "median (quartiles)": quartiles_text(values),
            "should stay": "yes" if name in (i.kept_channel or "").split(", ") else "",
        }
        for name, values in i.correlation.items()
    ]
    nuclei = (
        ("nuclei that are matched one to one", i.nuclei_kept),
        ("their overlap (intersection over union)", i.nuclei_overlap),
        ("distance of their centres in pixels", i.nuclei_distance_px),
    )
    rows += [
        {
            "what": f"{what}, {i.nuclei_channel}",
            "median (quartiles)": quartiles_text(values),
            "should stay": "",
        }
        for what, values in nuclei
        if values is not None
    ]
    if i.cells is not None:
        rows.append(
            {
                "what": f"cells lost and invented, of {i.cells.n_before} ({i.cells.channel})",
                "median (quartiles)": f"{i.cells.lost:.0%}, {i.cells.invented:.0%} (all images)",
                "should stay": "",
            }
        )
    return Section(
        "What should not change",
        f"{i.own_source:.0%} of other source images are less like a translated image than its own "
        "in what the model has drawn (chance: 50 %)."
        if i.own_source is not None and not math.isnan(i.own_source)
        else "",
        table=_table(rows),
    )


def _structure(m: Metrics) -> Iterable[Section]:
    """Give the sections on structure and layout; none where they were not measured."""
    s = m.structure
    if s is None:
        return
    heard = [has_say(one, m.rules) for one in s.measures]
    rows = [
        {
            "channel": one.channel,
            "medians of": MEASURES[one.measure],
            f"real {m.source}": _short(one.median("source")),
            f"real {m.target}": _short(one.median("target")),
            "reconstructed": _short(one.median("reconstructed")),
            "translated": _short(one.median("translated")),
            "AUC of the real (95 %)": f"{one.auc:.2f} ({one.auc_low:.2f} to {one.auc_high:.2f})",
            "p (Holm)": "" if one.kept else number_text(one.p_value),
            "reconstructed lies at": _place(one.reconstructed),
            "translated lies at": _place(one.translated),
            "speaks": "should stay" if one.kept else _say(one, m.rules),
        }
        for one in s.measures
    ]
    yield Section(
        "Structure, brightness aside",
        "No change of brightness moves these. Where one tells the real conditions apart, it says "
        f"where images lie between them: 0 is real {m.source}, 1 real {m.target}. Where it does "
        "not, it has no say.",
        (
            Picture(
                lambda theme: structure_figure(s.measures, heard, theme=theme),
                "Left: diamonds are translated, dots reconstructed images; faint: no say. Right: "
                "how much of what is bright is how large (granularity).",
            ),
        ),
        _table(rows),
    )
    yield Section(
        "Layout",
        "Correlation with the source after a Gaussian of 6 px (layout r): 1 if all is in place.",
        table=_table(
            {
                "channel": name,
                "reconstructed, median (quartiles)": quartiles_text(
                    s.layout_reconstructed[name], ".2f"
                ),
                "translated, median (quartiles)": quartiles_text(values, ".2f"),
            }
            for name, values in s.layout.items()
        ),
    )


def _say(one: StructureMeasure, rules: Rules) -> str:
    outcome = structure_outcome(one, rules)
    return "no say" if outcome == "not tried" else OUTCOMES[outcome]


def _place(where: Between) -> str:
    if math.isnan(where.value):
        return ""
    return f"{where.value:.2f} ({where.low:.2f} to {where.high:.2f})"


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _looks(m: Metrics) -> Section | None:
    c = m.classifier
    if c is None:
        return None
    rows = (
        (f"real {c.over} told right ({m.source} or {m.target})", c.judged.real),
        (f"translated {c.over} taken for {m.target}", c.judged.translated),
        (f"reconstructed {c.over} taken for {m.target}", c.judged.reconstructed),
    )
    return Section(
        "A classifier",
        "Trained on features of real images only. What is of one image or well was never in "
        f"training and test at once; there are {c.n_groups} of them. Each is judged by the mean of "
        f"what is said of its tiles; intervals are over {c.over}.",
        table=_table(
            {
                "question": name,
                "part (95 %)": f"{rate.value:.0%} ({rate.low:.0%} to {rate.high:.0%})",
                f"n ({c.over})": rate.n,
            }
            for name, rate in rows
        ),
    )


def _distances(m: Metrics) -> Section | None:
    from napari_phenldiff.evaluation.figures import distance_dots

    if not m.distances:
        return None
    first = m.distances[0]
    table = _table(
        {
            "images": row.images,
            "channel": row.channel,
            "N (tiles)": row.n,
            "kernel distance (95 %)": interval_text(row.kernel, row.kernel_low, row.kernel_high),
            "Fréchet distance": f"{row.frechet:.3g}",
        }
        for row in m.distances
    )
    if m.fid is not None:
        table["FID (Inception, all channels)"] = [
            f"{m.fid[row.images]:.3g}" if row.channel == first.channel else ""
            for row in m.distances
        ]
    text = (
        f"To real {m.target} images, over {first.features} (not FID or KID), {first.n} tiles on "
        "each side of every row. Real vs real is the floor, the copy what an untouched image gets. "
        "Intervals are over tiles, counted as if those of one image or well were independent, so "
        "they are too narrow where there are several."
    )
    if first.rank_deficient:
        text += (
            " So few tiles do not span the features: Fréchet distances are mostly about their "
            "number."
        )
    return Section(
        "Distances between sets",
        text,
        (
            Picture(
                lambda theme: distance_dots(m.distances, theme=theme),
                "Kernel distances to real target images; 0 is no difference.",
            ),
        ),
        table,
    )


def _memorised(m: Metrics) -> Section | None:
    from napari_phenldiff.evaluation.figures import similarity_histograms

    found = m.memorisation
    if found is None:
        return None

    def draw(theme: ThemeName) -> Figure:
        return similarity_histograms(
            [
                ("centred", found.translated.values, found.held_out.values),
                ("raw", found.translated_raw.values, found.held_out_raw.values),
            ],
            first="translated",
            second=f"real {m.target}, not trained on",
            theme=theme,
        )

    return Section(
        "Memorisation",
        f"Each tile and the nearest of {found.n_training} tiles of {m.target} training images, "
        f"over flips and rotations, in {_drawn(m)}. {found.copies:.0%} of the translated tiles are "
        "as good as copies.",
        (Picture(draw, "Real images that were not trained on show how alike images are anyway."),),
    )


def _drawn(m: Metrics) -> str:
    """Name the channels in which copies are looked for."""
    given = m.identity.given
    return (
        f"all channels but {', '.join(given)}, which the model is given"
        if given
        else ("all channels")
    )


def _cycle(m: Metrics) -> Section:
    rows: list[dict[str, Any]] = [
        {
            "what": f"pixels, {c.what}",
            "N": count(c.rmse.n, "image"),
            NORM_WORDS: quartiles_text(c.norm),
            RMSE_WORDS: f"{quartiles_text(c.rmse, factor=100)} %",
            "RMSE in grey values, per channel": "; ".join(
                f"{name} {spread.median:.3g}" for name, spread in c.rmse_grey.items()
            ),
        }
        for c in m.cycle
    ]
    text = (
        "Each error is of one image; medians over images, with quartiles in brackets. The norm is "
        "the paper's cycle loss and grows with the size of images "
        f"({m.cycle[0].image_shape[0]} x {m.cycle[0].image_shape[1]} pixels here); the root mean "
        "square error (RMSE) does not."
    )
    if m.identity.given:
        text += (
            f" {', '.join(m.identity.given)}, which the model is given and leaves as it is, counts "
            "with an error of 0."
        )
    if m.latent_cycle is not None:
        lat = m.latent_cycle
        rows.append(
            {
                "what": "pixels, autoencoder alone (the floor)",
                "N": count(lat.floor.n, "tile"),
                NORM_WORDS: f"{quartiles_text(lat.floor_norm)}, of a tile",
                RMSE_WORDS: f"{quartiles_text(lat.floor, factor=100)} %",
                "RMSE in grey values, per channel": "",
            }
        )
        text += (
            f" Without the way through pixels, latents come back with an error of "
            f"{quartiles_text(lat.relative)} of their standard deviation "
            f"({count(lat.relative.n, 'tile')}, the first of each image)."
        )
    return Section("There and back", text, table=_table(rows))


def _table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows))


def _recovered(row: dict[str, Any]) -> str:
    if row["effect"] != "translated":
        return ""
    if not math.isfinite(row["recovery"]):
        return str(row["note"])
    return interval_text(row["recovery"], row["recovery_low"], row["recovery_high"], ".2f")


def _p(value: float, test: str, correction: str) -> str:
    """Put a p-value into words, with what it is of."""
    if not math.isfinite(value):
        return "none"
    return f"{number_text(value)} ({named_test(test, correction)})"
