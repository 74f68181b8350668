"""What an evaluation is made of: how many images, what is counted, what should stay, controls."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QLineEdit, QListWidget
from superqt.utils import signals_blocked

from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.evaluations import suggest_name
from napari_phenldiff.widgets.parts.choices import CHECK_HEIGHT, fill_checks, ticked_choices
from napari_phenldiff.widgets.parts.folder_field import FolderField
from napari_phenldiff.widgets.parts.form import Panel
from napari_phenldiff.widgets.parts.setting_rows import SettingRows
from napari_phenldiff.widgets.parts.wells_choice import WellsChoice

_CONTROLS = ("cycle", "paired")

_MOST_ROWS = 4
"""Channels that are seen at once; more of them scroll."""


class EvaluationChoices(QObject):
    """The sections Evaluation and Controls.

    Parameters
    ----------
    panel : Panel
        Gets the sections.
    """

    changed = Signal()

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self._suggested = ""
        self.run: Run | None = None
        self.rows = SettingRows(EvaluationConfig, panel)
        self._add_evaluation(panel)
        self._add_controls(panel)
        self.rows.changed.connect(self.changed)
        self.wells.changed.connect(self.changed)
        self.name.textChanged.connect(self.changed)
        for folder in (self.shuffled, self.half_split):
            folder.changed.connect(self.changed)
        self.keep.itemChanged.connect(self.changed)
        # the fields that scripts fill in
        self.images = self.rows["images"]
        self.trained_too, self.paired = self.rows["trained_too"], self.rows["paired"]
        self.cycle = self.rows["cycle"]

    def _add_evaluation(self, panel: Panel) -> None:
        self.keep = QListWidget()
        self.name = QLineEdit()
        self._form = form = panel.section("Evaluation")
        self.rows.add(form, "images")
        self.wells = WellsChoice(form, self.rows)
        self.rows.add_own(form, "keep", self.keep)
        self.rows.add_rest(form, without=_CONTROLS)
        form.row(
            "Name",
            self.name,
            "Of the evaluation. Its results are written into a new folder of that name in the "
            "folder of the run.",
        )

    def _add_controls(self, panel: Panel) -> None:
        self.shuffled = FolderField("none")
        self.half_split = FolderField("none")
        form = panel.fold("Controls")
        self.rows.add(form, *_CONTROLS)
        form.row(
            "Shuffled run",
            self.shuffled,
            "A run that was trained on the same images with permuted conditions. What it shows "
            "of the phenotype is false.",
        )
        form.row(
            "Half split run",
            self.half_split,
            "A run that was trained on two halves of one condition. What it shows of the "
            "phenotype is false.",
        )

    # ---- what is filled in -------------------------------------------------------------------

    def values(self) -> dict[str, Any]:
        """Return what is filled in, by the names of `EvaluationConfig`."""
        return {**self.rows.values(), "wells": self.wells.value(), "keep": self._keep()}

    def fill(self, values: Mapping[str, Any]) -> None:
        """Show values, by the names of `EvaluationConfig`; the channels to keep stay."""
        own = ("wells", "keep")
        self.rows.fill({name: value for name, value in values.items() if name not in own})
        self.wells.setText(values.get("wells") or "")

    def set_run(self, run: Run | None) -> None:
        """List the channels of a run; those that it keeps by itself are ticked."""
        before, self.run = self.run, run
        if run is not None and (before is None or before.path != run.path):
            names = run.channel_names
            fill_checks(self.keep, [(name, name) for name in names])
            with signals_blocked(self.keep):
                for row in range(self.keep.count()):
                    item = self.keep.item(row)
                    kept = item is not None and item.text() in run.reference_channels
                    if item is not None:
                        state = Qt.CheckState.Checked if kept else Qt.CheckState.Unchecked
                        item.setCheckState(state)
            self.keep.setFixedHeight(min(len(names), _MOST_ROWS) * CHECK_HEIGHT + 6)
        self._form.show_row(self.keep, run is not None)

    def suggest_name(self, profile: str) -> None:
        """Suggest a name that is not taken, unless the user has named the evaluation."""
        if self.name.text() == self._suggested:
            run = self.run
            self._suggested = "" if run is None else suggest_name(run.path, profile)
            self.name.setText(self._suggested)

    def forget_name(self, name: str) -> None:
        """Let a name be suggested again, if the field still holds one that is taken now."""
        if self.name.text().strip() == name:
            self._suggested = self.name.text()

    def _keep(self) -> tuple[str, ...] | None:
        ticked = tuple(ticked_choices(self.keep))
        if self.run is None or set(ticked) == set(self.run.reference_channels):
            return None
        return ticked

    def rounds(self) -> int:
        """Return how often each image is translated."""
        controls: list[Path | None] = [self.shuffled.path(), self.half_split.path()]
        # with the method's own runs the null translation is the reconstruction
        null = self.run is not None and self.run.config.method != "phenldiff"
        return 1 + null + self.cycle.isChecked() + sum(path is not None for path in controls)
