"""What the page of an evaluation says of structure."""

from __future__ import annotations

import math
from collections.abc import Iterable

from napari_phenldiff.evaluation.likeness import has_say, structure_outcome
from napari_phenldiff.evaluation.page import Picture, Section
from napari_phenldiff.evaluation.schema import Metrics, Spread
from napari_phenldiff.evaluation.structure import MEASURES, Between
from napari_phenldiff.evaluation.structure_figure import structure_figure

_SAYS = {"for": "for it", "against": "against it", "open": "open", "not tried": "no say"}


def structure_sections(m: Metrics) -> Iterable[Section]:
    """Give the sections on structure and layout; none where they were not measured."""
    import pandas as pd

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
            "p (Holm)": "" if one.kept else f"{one.p_value:.2g}",
            "reconstructed lies at": _place(one.reconstructed),
            "translated lies at": _place(one.translated),
            "speaks": "should stay" if one.kept else _SAYS[structure_outcome(one, m.rules)],
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
        pd.DataFrame(rows),
    )
    yield Section(
        "Layout",
        "Correlation with the source after a Gaussian of 6 px (layout r): 1 if all is in place.",
        table=pd.DataFrame(
            {
                "channel": name,
                "reconstructed, median (quartiles)": _quartiles(s.layout_reconstructed[name]),
                "translated, median (quartiles)": _quartiles(values),
            }
            for name, values in s.layout.items()
        ),
    )


def _place(where: Between) -> str:
    if math.isnan(where.value):
        return ""
    return f"{where.value:.2f} ({where.low:.2f} to {where.high:.2f})"


def _short(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.3g}"


def _quartiles(spread: Spread) -> str:
    return f"{spread.median:.2f} ({spread.low:.2f} to {spread.high:.2f})"
