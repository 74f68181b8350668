"""Evaluations that lie in the folder of a run, and what they say."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.wording import (
    RMSE_WORDS,
    column_words,
    control_effects,
    interval_text,
    quartiles_text,
)
from napari_phenldiff.viewer.drawing import DRAWING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_phenldiff.evaluation.schema import Metrics
    from napari_phenldiff.measurement.figures.style import ThemeName
    from napari_phenldiff.measurement.tables.measurement import Measurement

_FOLDER, _METRICS, _MEASURED, _REPORT = (
    "evaluations", "metrics.json", "measured.csv", "report.html",
)  # fmt: skip

_GROUPS = 5
"""Source, target, reconstructed, translated, and translated to the own condition."""

MARKS = {"for": "✓", "against": "✗", "open": "?", "not tried": "–", "by construction": "–"}
"""What a rule said, as a sign beside it."""

ANSWERS = {"supported": "for", "not supported": "against", "cannot tell": "open"}
"""The sign that goes with the verdict."""


def folder_of(run: Path, name: str) -> Path:
    """Return the folder of an evaluation of a run."""
    return run / _FOLDER / name


def evaluations_of(run: Path) -> tuple[Path, ...]:
    """List the folders of the evaluations of a run that are complete, the latest first."""
    found: list[tuple[float, Path]] = []
    with suppress(OSError):
        for folder in (run / _FOLDER).iterdir():
            if not folder.name.startswith("."):
                with suppress(OSError):
                    found.append(((folder / _METRICS).stat().st_mtime, folder))
    return tuple(folder for _, folder in sorted(found, reverse=True))


def suggest_name(run: Path, profile: str) -> str:
    """Return a name that no evaluation of a run has yet: the profile and a number."""
    number = 1
    while folder_of(run, f"{profile}-{number:03d}").exists():
        number += 1
    return f"{profile}-{number:03d}"


@dataclass(frozen=True, slots=True, eq=False)
class FoundEvaluation:
    """An evaluation that was made, read back.

    Attributes
    ----------
    folder : Path
        Where it lies.
    metrics : Metrics
        All it found.
    """

    folder: Path
    metrics: Metrics

    @classmethod
    def read(cls, folder: Path) -> FoundEvaluation:
        """Read an evaluation.

        Raises
        ------
        InputError
            If it can't be read.
        """
        from napari_phenldiff.evaluation.schema import read_metrics

        return cls(folder, read_metrics(folder / _METRICS))

    @property
    def report(self) -> Path:
        """The page for the browser."""
        return self.folder / _REPORT

    def what(self) -> str:
        """Tell what was judged, in a line."""
        m = self.metrics
        images = f"{m.n_translated} images" + (
            "" if m.counted == "images" else f", {m.counted} counted"
        )
        return f"{m.source} → {m.target} · {column_words(m.measurement)} ({m.profile}) · {images}"

    def rules(self) -> tuple[tuple[str, str, str], ...]:
        """Return what each rule is about, what it said (a key of `MARKS`), and why."""
        return tuple((f.rule, f.outcome, f.text) for f in self.metrics.verdict.findings)

    def numbers(self) -> tuple[tuple[str, str], ...]:
        """Return the main numbers: what, and its value with an interval or quartiles."""
        return tuple((what, value) for part in _PARTS for what, value in part(self.metrics))

    def measurement(self) -> Measurement:
        """Read the table of what was measured.

        Raises
        ------
        InputError
            If it is not there, or holds something else.
        """
        from napari_phenldiff.measurement.tables.measurement import read_measurement

        try:
            return read_measurement(self.folder / _MEASURED)
        except InputError as error:
            raise InputError(f"{str(error).rstrip('.')}; evaluate again.") from error

    def draw(self, *, theme: ThemeName) -> Figure:
        """Draw the four groups of the main measurement, from any thread.

        Raises
        ------
        InputError
            If the table can't be read.
        """
        from napari_phenldiff.measurement.figures.four_groups import four_groups
        from napari_phenldiff.measurement.statistics.units import wells_by_pattern

        measurement, recovery = self.measurement(), self.metrics.recovery
        told = self.metrics.provenance.get("evaluation")
        pattern = told.get("wells") if isinstance(told, dict) else None
        # In the order in which `evaluate` measured them; a condition may have any name.
        conditions = tuple(measurement.conditions)
        if len(conditions) != _GROUPS or conditions[:2] != (
            self.metrics.source,
            self.metrics.target,
        ):
            raise InputError(
                f"{self.folder / _MEASURED} has not the {_GROUPS} groups of this evaluation; "
                "evaluate again."
            )
        source, target, reconstructed, translated, _ = conditions
        with DRAWING:
            return four_groups(
                measurement,
                source=source,
                target=target,
                reconstructed=reconstructed,
                translated=translated,
                column=self.metrics.measurement,
                no_recovery=recovery.reason if math.isnan(recovery.value) else "",
                wells=None
                if not isinstance(pattern, str)
                else wells_by_pattern(measurement, pattern),
                theme=theme,
                narrow=True,
            )


_Rows = Iterable[tuple[str, str]]


def _effects(m: Metrics) -> _Rows:
    """Give the real change, the translated one, and the part of it that is recovered."""
    rows = {str(r["effect"]): r for r in m.effects if r["measurement"] == m.measurement}
    for name, what, how in (
        ("real", "Real change", "between groups"),
        ("translated", "Translated change", "of pairs"),
    ):
        if name in rows:
            row = rows[name]
            yield (
                f"{what} of {column_words(m.measurement)}, {how}",
                interval_text(row["shift"], row["shift_low"], row["shift_high"]),
            )
    r = m.recovery
    value = f"{_percent(r.value)} ({_percent(r.low)} to {_percent(r.high)})"
    if math.isnan(r.value):
        value = f"not defined: {r.reason}"
    elif math.isnan(r.low):
        value = f"{_percent(r.value)}, {r.reason}"
    yield "Recovery, of the change between groups", value


def _controls(m: Metrics) -> _Rows:
    for what, effect in control_effects(m):
        yield what, interval_text(effect.shift, effect.low, effect.high)
    truth = m.controls.truth
    if truth is not None:
        yield "Error of the effect against the truth", _percent(truth.effect_error, sign=True)
        yield (
            "Correlation with the true change, over images",
            interval_text(truth.correlation, truth.correlation_low, truth.correlation_high),
        )


def _cycle(m: Metrics) -> _Rows:
    for cycle in m.cycle:
        yield (
            f"{RMSE_WORDS}, {cycle.what}",
            f"{quartiles_text(cycle.rmse, factor=100)} %, median of {cycle.rmse.n} images",
        )


def _identity(m: Metrics) -> _Rows:
    i = m.identity
    kept = (i.kept_channel or "").split(", ")
    for name, spread in i.correlation.items():
        if name in kept:
            yield f"Correlation of {name}, which should stay", quartiles_text(spread)
    if i.nuclei_kept is not None:
        yield f"Nuclei matched one to one ({i.nuclei_channel})", quartiles_text(i.nuclei_kept)
    if i.cells is not None:
        changed = f"{_percent(i.cells.lost)}, {_percent(i.cells.invented)}"
        yield f"Cells lost, invented, of {i.cells.n_before} ({i.cells.channel})", changed
    yield "Source images less alike than the own one", _percent(i.own_source)


def _structure(m: Metrics) -> _Rows:
    """Give where translated images lie, of each measure that tells the real conditions apart."""
    from napari_phenldiff.evaluation.verdict import has_say

    if m.structure is None:
        return
    for one in m.structure.measures:
        if has_say(one, m.rules):
            where = one.translated
            scale = f"0: real {m.source}, 1: real {m.target}"
            what = f"{one.measure.capitalize()} of {one.channel} ({scale})"
            yield what, interval_text(where.value, where.low, where.high, ".2f")
    for name, spread in m.structure.layout.items():
        yield f"Layout of {name}, correlation with the source", quartiles_text(spread)


def _looks(m: Metrics) -> _Rows:
    c = m.classifier
    if c is None:
        return
    for what, rate in (
        (f"Classifier: real {c.over} told right", c.judged.real),
        (f"Classifier: translated {c.over} taken for {m.target}", c.judged.translated),
        (f"Classifier: reconstructed {c.over} taken for {m.target}", c.judged.reconstructed),
    ):
        interval = f"{_percent(rate.low)} to {_percent(rate.high)}"
        yield what, f"{_percent(rate.value)} ({interval}), {rate.n} {c.over}"


def _distances(m: Metrics) -> _Rows:
    """Give the kernel distances over all channels, which are the first rows."""
    for row in m.distances:
        if row.channel == m.distances[0].channel:
            yield (
                f"Kernel distance, {row.images}",
                f"{interval_text(row.kernel, row.kernel_low, row.kernel_high)}, {row.n} tiles",
            )


def _memorised(m: Metrics) -> _Rows:
    if m.memorisation is not None:
        yield "Tiles that are copies of training images", _percent(m.memorisation.copies)


_PARTS = (
    _effects,
    _controls,
    _cycle,
    _identity,
    _structure,
    _looks,
    _distances,
    _memorised,
)


def _percent(value: float, *, sign: bool = False) -> str:
    if math.isnan(value):
        return "unknown"
    return f"{100 * value:{'+' if sign else ''}.0f} %"
