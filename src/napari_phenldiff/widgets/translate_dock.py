"""The dock that shows the cells of one condition as if they had been in another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QPushButton

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import jobs
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.settings import settings_in
from napari_phenldiff.viewer.flip import FLIP_KEY, bind_flip, flip
from napari_phenldiff.viewer.image_places import image_shown
from napari_phenldiff.viewer.layer_groups import LayerGroup, group_layers
from napari_phenldiff.viewer.side_by_side import (
    latest_translation,
    side_by_side,
    translation_panes,
)
from napari_phenldiff.viewer.translation_request import Region, TranslationRequest
from napari_phenldiff.widgets.parts.choices import choice_box, fill_choices
from napari_phenldiff.widgets.parts.data_source import LayerWatch
from napari_phenldiff.widgets.parts.drops import DropPanel
from napari_phenldiff.widgets.parts.icons import keep_icon
from napari_phenldiff.widgets.parts.job_foot import JobFoot, problem_with
from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.parts.run_choice import RunChoice
from napari_phenldiff.widgets.parts.strength import Strength
from napari_phenldiff.widgets.parts.tasks import end_with_window, start_translation
from napari_phenldiff.widgets.parts.theme import plain_viewer
from napari_phenldiff.widgets.parts.translation_form import TranslationSettings

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

ALL_FIELDS, CURRENT_FIELD, CURRENT_VIEW = "All images", "Current image", "Current view"


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
        self._unclear = ""
        self.run_choice = RunChoice(self.section("Run"))
        self.run_field = self.run_choice.folder
        self._add_images()
        self._add_conditions()
        self._add_advanced()
        self.job_foot = JobFoot(viewer, "Translate", "Stop", "image", icon="translate")
        self.foot.addWidget(self.job_foot)
        self._add_comparison()

        self._watch = LayerWatch(viewer, self)
        self._watch.changed.connect(self._on_layers)
        self.run_choice.changed.connect(self._on_run)
        self.images.currentIndexChanged.connect(self._on_images)
        for combo in (self.fields, self.source, self.target):
            combo.currentIndexChanged.connect(self.refresh)
        self.job_foot.start_requested.connect(self.start)
        self.job_foot.ended.connect(self._on_ended)
        side_by_side(viewer).switched.connect(self._on_switched)
        for event in (
            viewer.dims.events.point,
            viewer.dims.events.order,
            viewer.dims.events.ndisplay,
        ):
            listen(self, event, self._on_slider)
        bind_flip(viewer)
        self._on_run()
        self._on_layers()
        self.job_foot.set_job(jobs.latest("translate", viewer))
        training = jobs.latest("train", viewer)
        if training is not None:
            self.run_choice.set_path(training.path)

    def _add_images(self) -> None:
        self.images = choice_box()
        self.fields = QComboBox()
        self.fields.addItems([CURRENT_FIELD, CURRENT_VIEW, ALL_FIELDS])
        form = self.section("Images")
        form.row("Condition", self.images, "The open layers with the images to translate.")
        form.row(
            "Which",
            self.fields,
            "The image that the slider shows; the part of it that is in view, which is faster for "
            "a large field; or all images along the slider.",
        )

    def _add_conditions(self) -> None:
        self.source = choice_box()
        self.target = choice_box()
        form = self.section("Translation")
        settings = settings_in(TranslationConfig)
        for name, box in (("source", self.source), ("target", self.target)):
            form.row(settings[name].label, box, settings[name].explanation)
        self.strength = Strength(form, self.viewer)

    def _add_advanced(self) -> None:
        self.settings = settings = TranslationSettings(self.fold("Advanced"))
        # the fields that scripts fill in
        rows = settings.rows
        self.guidance, self.anchor, self.seed = rows["guidance"], rows["anchor"], rows["seed"]
        self.schedule_depth, self.inference_steps = rows["depth"], rows["inference_steps"]

    def _add_comparison(self) -> None:
        self.compare = QPushButton("Compare")
        self.compare.setCheckable(True)
        self.compare.setAccessibleName("Compare side by side")
        keep_icon(self.compare, "compare", self.viewer)
        self.flip = QPushButton(f"Flip ({FLIP_KEY})")
        self.flip.setAccessibleName("Flip between real and translated")
        row = QHBoxLayout()
        row.addWidget(self.compare, 1)
        row.addWidget(self.flip, 1)
        self.foot.addLayout(row)
        self.compare.clicked.connect(self._on_compare)
        self.flip.clicked.connect(lambda: flip(self.viewer))

    # ---- what is filled in -------------------------------------------------------------------

    def request(self) -> TranslationRequest:
        """Return what is filled in, valid or not.

        Raises
        ------
        InputError
            If the image that is shown is asked for, and none is, or several are at once.
        """
        group = self.images.currentData()
        field = region = None
        if group is not None and not self._wants_all():
            if group.n_images > 1:
                field = image_shown(self.viewer, group)
            if self.fields.currentText() == CURRENT_VIEW:
                region = self._region_in_view(group)
        return TranslationRequest(
            run=self.run_choice.path(),
            group=group,
            source=self.source.currentText(),
            target=self.target.currentText(),
            field=field,
            region=region,
            base_at=self.settings.base_at.path(),
            settings={**self.settings.values(), "strength": self.strength.value()},
        )

    def _wants_all(self) -> bool:
        return self.fields.currentText() == ALL_FIELDS

    def _region_in_view(self, group: LayerGroup) -> Region | None:
        """Return the part of the field that the canvas shows; None if that is all of it."""
        layer = group.layers[0]
        factors = layer.downsample_factors[layer.data_level][-2:] if layer.multiscale else (1, 1)
        low, high = layer.corner_pixels[:, -2:] * factors
        height, width = group.sizes[0]
        return Region.around(
            (float(low[0]), float(low[1])),
            (float(high[0] + factors[0]), float(high[1] + factors[1])),
            (height, width),
        )

    def validation_error(self) -> str | None:
        """Return why this can't be translated, if it can't; it is shown beside the button."""
        return problem_with(self.request)

    def _why_unclear(self) -> str:
        """Return why it is unclear which image is shown; empty if it is clear."""
        try:
            self.request()
        except InputError as error:
            return str(error)
        return ""

    def refresh(self) -> None:
        """Say what the buttons do now, and why they can't if they can't."""
        group = self.images.currentData()
        stacked = group is not None and group.n_images > 1
        count = group.n_images if stacked and self._wants_all() else 1
        self.job_foot.set_start(
            "Translate" if count == 1 else f"Translate {count} images",
            "Translate in a background process and add the result as layers",
        )
        self._unclear = self._why_unclear()
        self.job_foot.set_error(self.validation_error())
        self._refresh_comparison()
        self.strength.refresh()

    def _refresh_comparison(self) -> None:
        switch = side_by_side(self.viewer)
        can = switch.is_on or bool(self._panes())
        self.compare.setEnabled(can)
        self.compare.setChecked(switch.is_on)
        self.flip.setEnabled(can)
        first = "Translate images first; then they can be shown next to the real ones."
        self.compare.setToolTip(
            "Real, reconstructed and translated images and what has changed, next to each other, "
            "moved by one camera. Press again to go back."
            if can
            else first
        )
        self.flip.setToolTip(
            f"Show the real and the translated image in turn, in place. Key: {FLIP_KEY}."
            if can
            else first
        )

    # ---- what happens ------------------------------------------------------------------------

    def start(self) -> None:
        """Translate what is chosen."""
        side_by_side(self.viewer).off()
        end_with_window(self.viewer, self)
        try:
            job = start_translation(self.viewer, self.request())
        except (InputError, OSError) as error:
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
        self._refresh_comparison()

    def _on_switched(self, on: bool) -> None:
        if isalive(self):
            self._refresh_comparison()

    def _on_ended(self) -> None:
        self.refresh()

    def _on_slider(self, event: object = None) -> None:
        """Update the message about the image at the position of the slider."""
        if not isalive(self):
            return
        # An animated slider emits many events, and refreshing reads the run from disk: refresh only
        # when the message changes.
        if self._why_unclear() != self._unclear:
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
        run = self.run_choice.run()
        self.settings.suit(run)
        conditions = run.conditions if run is not None else ()
        for index, combo in enumerate((self.source, self.target)):
            fill_choices(combo, [(name, name) for name in conditions])
            combo.setCurrentIndex(min(index, len(conditions) - 1))
        for index in range(self.images.count()):
            if conditions and self.images.itemData(index).infos[0][0].condition == conditions[0]:
                self.images.setCurrentIndex(index)
                break
        self._on_images()
