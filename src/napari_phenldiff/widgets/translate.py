"""The dock that shows the cells of one condition as if they had been in another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QPushButton
from superqt import QLabeledDoubleSlider

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run, is_run
from napari_phenldiff.viewer.jobs import jobs
from napari_phenldiff.viewer.layers import group_layers
from napari_phenldiff.viewer.side_by_side import (
    latest_translation,
    side_by_side,
    translation_panes,
)
from napari_phenldiff.viewer.translation import TranslationRequest
from napari_phenldiff.widgets.parts.choices import choice_box, fill_choices
from napari_phenldiff.widgets.parts.data_source import LayerWatch
from napari_phenldiff.widgets.parts.drops import DropPanel
from napari_phenldiff.widgets.parts.folder_field import FolderField
from napari_phenldiff.widgets.parts.form import note, number_box, whole_box
from napari_phenldiff.widgets.parts.icons import keep_icon
from napari_phenldiff.widgets.parts.job_foot import JobFoot
from napari_phenldiff.widgets.parts.tasks import start_translation
from napari_phenldiff.widgets.parts.theme import plain_viewer

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

ALL_FIELDS, CURRENT_FIELD = "All images", "Current image"


class TranslateWidget(DropPanel):
    """Choose a run and images, press Translate, and compare the result side by side.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, as napari hands it to a widget.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        viewer = plain_viewer(napari_viewer)
        super().__init__(viewer)
        self._add_run()
        self._add_images()
        self._add_conditions()
        self._add_advanced()
        self.job_foot = JobFoot(viewer, "Translate", "Stop", "image", icon="translate")
        self.compare = QPushButton("Compare side by side")
        self.compare.setCheckable(True)
        keep_icon(self.compare, "compare", viewer)
        self.foot.addWidget(self.job_foot)
        self.foot.addWidget(self.compare)

        self._watch = LayerWatch(viewer, self)
        self._watch.changed.connect(self._on_layers)
        self.run_field.changed.connect(self._on_run)
        self.images.currentIndexChanged.connect(self._on_images)
        for combo in (self.fields, self.source, self.target):
            combo.currentIndexChanged.connect(self.refresh)
        self.job_foot.start_requested.connect(self.start)
        self.job_foot.ended.connect(self._on_ended)
        self.compare.clicked.connect(self._on_compare)
        side_by_side(viewer).switched.connect(self._on_switched)
        self._on_run()
        self._on_layers()
        self.job_foot.set_job(jobs.latest("translate", viewer))
        training = jobs.latest("train", viewer)
        if training is not None:
            self.run_field.set_path(training.path)

    def _add_run(self) -> None:
        self.run_field = FolderField("folder of a fine-tuning")
        self.run_note = note()
        form = self.section("Run")
        form.row("Run folder", self.run_field, "A folder that Fine-tune has written. Drop it here.")
        form.wide(self.run_note)

    def _add_images(self) -> None:
        self.images = choice_box()
        self.fields = QComboBox()
        self.fields.addItems([CURRENT_FIELD, ALL_FIELDS])
        form = self.section("Images")
        form.row("Condition", self.images, "The open layers with the images to translate.")
        form.row(
            "Which",
            self.fields,
            "The image that the slider shows, or all images along the slider.",
        )

    def _add_conditions(self) -> None:
        self.source = choice_box()
        self.target = choice_box()
        self.strength = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.strength.setRange(0.0, 2.0)
        self.strength.setDecimals(2)
        self.strength.setValue(TranslationConfig.model_fields["strength"].default)
        form = self.section("Translation")
        form.row("From", self.source, "The condition that the cells are in.")
        form.row("To", self.target, "The condition to see the same cells in.")
        form.row(
            "Strength",
            self.strength,
            "How far to go from the source (0) to the target (1), and beyond.",
        )

    def _add_advanced(self) -> None:
        fields = TranslationConfig.model_fields
        self.guidance = number_box(fields["guidance"].default, 0.0, 30.0, step=0.5)
        self.anchor = number_box(fields["anchor"].default, 0.0, 1.0, step=0.1)
        self.schedule_depth = number_box(fields["depth"].default, 0.01, 1.0, step=0.05)
        self.inference_steps = whole_box(fields["inference_steps"].default, 1, 1000)
        self.seed = whole_box(0, 0, 2**31 - 1)
        form = self.fold("Advanced")
        form.row(
            "Guidance",
            self.guidance,
            "How hard the model is pushed towards the target. More changes the phenotype more, "
            "and in the end also what should stay.",
        )
        form.row(
            "Anchor",
            self.anchor,
            "How firmly the cells are held to what they were: 0 not at all, 1 holds all that the "
            "target does not change. Too much leaves ghosts of what would be gone.",
        )
        form.row(
            "Depth",
            self.schedule_depth,
            "Part of the noise schedule that the image is taken back through. Less keeps more of "
            "the image; 1 is all of it.",
        )
        form.row(
            "Steps", self.inference_steps, "Steps of the schedule. Fewer are faster and coarser."
        )
        form.row("Seed", self.seed, "Seed of whatever is random.")

    # ---- what is filled in -------------------------------------------------------------------

    def request(self) -> TranslationRequest:
        """Return what is filled in, valid or not."""
        group = self.images.currentData()
        field = None
        if group is not None and group.n_images > 1 and not self._wants_all():
            field = min(self._slider_position(), group.n_images - 1)
        return TranslationRequest(
            run=self.run_field.path(),
            group=group,
            source=self.source.currentText(),
            target=self.target.currentText(),
            field=field,
            strength=self.strength.value(),
            guidance=self.guidance.value(),
            anchor=self.anchor.value(),
            depth=self.schedule_depth.value(),
            inference_steps=self.inference_steps.value(),
            seed=self.seed.value(),
        )

    def _wants_all(self) -> bool:
        return self.fields.currentText() == ALL_FIELDS

    def _slider_position(self) -> int:
        """Return the place along the slider that the stack is cut at."""
        dims = self.viewer.dims
        return int(dims.current_step[-3]) if dims.ndim > 2 else 0

    def validation_error(self) -> str | None:
        """Return why this can't be translated, if it can't; it is shown beside the button."""
        return self.request().validation_error()

    def refresh(self) -> None:
        """Say what the buttons do now, and why they can't if they can't."""
        group = self.images.currentData()
        stacked = group is not None and group.n_images > 1
        self.fields.setEnabled(stacked)
        count = group.n_images if stacked and self._wants_all() else 1
        self.job_foot.set_start(
            "Translate" if count == 1 else f"Translate {count} images",
            "Translate in a background process and add the result as layers",
        )
        self.job_foot.set_error(self.validation_error())
        self._refresh_compare()

    def _refresh_compare(self) -> None:
        switch = side_by_side(self.viewer)
        can = switch.is_on or bool(self._panes())
        self.compare.setEnabled(can)
        self.compare.setChecked(switch.is_on)
        self.compare.setToolTip(
            "Real, reconstructed and translated next to each other, moved by one camera. "
            "Press again to go back."
            if can
            else "Translate images first; then they can be shown next to the real ones."
        )

    # ---- what happens ------------------------------------------------------------------------

    def start(self) -> None:
        """Translate what is chosen."""
        side_by_side(self.viewer).off()
        try:
            job = start_translation(self.viewer, self.request())
        except InputError as error:
            self.job_foot.set_error(str(error))
            return
        self.job_foot.set_job(job)

    def _panes(self) -> list[list[Layer]]:
        translation = latest_translation(self.viewer.layers)
        return translation_panes(self.viewer.layers, translation) if translation else []

    def _on_compare(self, checked: bool) -> None:
        switch = side_by_side(self.viewer)
        panes = self._panes()
        if checked and panes:
            switch.on(panes)
        else:
            switch.off()
        self._refresh_compare()

    def _on_switched(self, on: bool) -> None:
        if isalive(self):
            self._refresh_compare()

    def _on_ended(self) -> None:
        self.refresh()

    def _on_layers(self) -> None:
        groups = group_layers(self.viewer.layers)
        fill_choices(self.images, [(group.label(), group) for group in groups])
        self._on_images()

    def _on_images(self) -> None:
        """Take the condition of the chosen layers as the source, if the run knows it."""
        group = self.images.currentData()
        if group is not None:
            index = self.source.findText(group.infos[0][0].condition)
            if index >= 0:
                self.source.setCurrentIndex(index)
                if self.target.currentIndex() == index and self.target.count() > 1:
                    self.target.setCurrentIndex(1 - index if index < 2 else 0)
        self.refresh()

    def _on_run(self) -> None:
        """List the conditions of the run."""
        run = _open_run(self.run_field.path())
        conditions = run.conditions if run is not None else ()
        for index, combo in enumerate((self.source, self.target)):
            fill_choices(combo, [(name, name) for name in conditions])
            combo.setCurrentIndex(min(index, len(conditions) - 1))
        for index in range(self.images.count()):
            if conditions and self.images.itemData(index).infos[0][0].condition == conditions[0]:
                self.images.setCurrentIndex(index)
                break
        self.run_note.setText("" if run is None else _describe(run))
        self.run_note.setVisible(run is not None)
        self._on_images()


def _open_run(path: Path | None) -> Run | None:
    if path is None or not is_run(path):
        return None
    try:
        return Run.open(path)
    except InputError:
        return None


def _describe(run: Run) -> str:
    text = (
        f"{' → '.join(run.conditions[:2])} · {', '.join(run.channel_names)} · "
        f"{run.config.steps:,} steps · {run.state}"
    )
    if run.reference_channels:
        text += f" · left as it is: {', '.join(run.reference_channels)}"
    return text
