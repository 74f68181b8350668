"""What an evaluation is made of: how many images, what is counted, what should stay, controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QLineEdit, QListWidget

from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.evaluations import suggest_name
from napari_phenldiff.widgets.parts.choices import CHECK_HEIGHT, fill_checks, ticked_choices
from napari_phenldiff.widgets.parts.folder_field import FolderField
from napari_phenldiff.widgets.parts.form import Panel, whole_box

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
        self._run: Run | None = None
        self._add_evaluation(panel)
        self._add_controls(panel)
        self.images.valueChanged.connect(self.changed)
        for box in (self.paired, self.trained_too, self.cycle):
            box.toggled.connect(self.changed)
        for edit in (self.wells, self.name):
            edit.textChanged.connect(self.changed)
        for folder in (self.shuffled, self.half_split):
            folder.changed.connect(self.changed)
        self.keep.itemChanged.connect(self.changed)

    def _add_evaluation(self, panel: Panel) -> None:
        self.images = whole_box(EvaluationConfig.model_fields["images"].default, 2, 100_000)
        self.wells = QLineEdit()
        self.wells.setPlaceholderText("as the names tell")
        self.keep = QListWidget()
        self.trained_too = QCheckBox("Take them, too")
        self.name = QLineEdit()
        self._form = form = panel.section("Evaluation")
        form.row(
            "Images",
            self.images,
            "Images to translate, drawn at random; twice as many real ones of each condition are "
            "measured. Few show nothing: with fewer than 6 the verdict is Cannot tell.",
        )
        form.row(
            "Wells",
            self.wells,
            "What is counted are wells or fields, where the names of images tell them. Where they "
            "are read wrongly, give a regular expression that finds the well, such as "
            "^[A-H][0-9]+ for A01_field3, or the word image to count each image.",
        )
        form.row(
            "Should stay",
            self.keep,
            "Channels that the translation should leave alone, such as a nuclear stain. At first "
            "those that the run has as reference channels.",
        )
        form.row(
            "Images it knows",
            self.trained_too,
            "Take images that the run was trained on, too. That shows less, and the verdict is "
            "then never Supported.",
        )
        form.row(
            "Name",
            self.name,
            "Of the evaluation. Its results are written into a new folder of that name in the "
            "folder of the run.",
        )

    def _add_controls(self, panel: Panel) -> None:
        self.cycle = QCheckBox("There and back")
        self.cycle.setChecked(True)
        self.paired = QCheckBox("Images are paired")
        self.shuffled = FolderField("none")
        self.half_split = FolderField("none")
        form = panel.fold("Controls")
        form.row(
            "Cycle",
            self.cycle,
            "Translate back to the source as well and see what was lost; it takes a third of the "
            "time.",
        )
        form.row(
            "Same cells",
            self.paired,
            "Images of the same name show the same cells in both conditions, as simulated ones do: "
            "the truth is known and the translation is held against it.",
        )
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
        """Return what is filled in, by the names of `EvaluationRequest`."""
        return {
            "name": self.name.text().strip(),
            "images": self.images.value(),
            "wells": self.wells.text().strip(),
            "keep": self._keep(),
            "paired": self.paired.isChecked(),
            "trained_too": self.trained_too.isChecked(),
            "cycle": self.cycle.isChecked(),
            "shuffled": self.shuffled.path(),
            "half_split": self.half_split.path(),
        }

    def set_run(self, run: Run | None) -> None:
        """List the channels of a run; those that it keeps by itself are ticked."""
        before, self._run = self._run, run
        if run is not None and (before is None or before.path != run.path):
            names = run.channel_names
            fill_checks(self.keep, [(name, name) for name in names])
            self.keep.blockSignals(True)
            for row in range(self.keep.count()):
                item = self.keep.item(row)
                if item is not None:
                    kept = item.text() in run.reference_channels
                    item.setCheckState(Qt.CheckState.Checked if kept else Qt.CheckState.Unchecked)
            self.keep.blockSignals(False)
            self.keep.setFixedHeight(min(len(names), _MOST_ROWS) * CHECK_HEIGHT + 6)
        self._form.show_row(self.keep, run is not None)

    def suggest_name(self, profile: str) -> None:
        """Suggest a name that is not taken, unless the user has named the evaluation."""
        if self.name.text() == self._suggested:
            run = self._run
            self._suggested = "" if run is None else suggest_name(run.path, profile)
            self.name.setText(self._suggested)

    def forget_name(self, name: str) -> None:
        """Let a name be suggested again, if the field still holds one that is taken now."""
        if self.name.text().strip() == name:
            self._suggested = self.name.text()

    def _keep(self) -> tuple[str, ...] | None:
        ticked = tuple(ticked_choices(self.keep))
        if self._run is None or set(ticked) == set(self._run.reference_channels):
            return None
        return ticked

    def rounds(self) -> int:
        """Return how often each image is translated."""
        controls: list[Path | None] = [self.shuffled.path(), self.half_split.path()]
        return 2 + self.cycle.isChecked() + sum(path is not None for path in controls)
