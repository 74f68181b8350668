"""The dock that shows the cells of one condition as if they had been in another."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

from qtpy.compat import isalive
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QPushButton

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count
from napari_phenldiff.jobs import estimate
from napari_phenldiff.jobs.job import jobs
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.hardware import Hardware
from napari_phenldiff.runs.translation_settings import settings_of_run
from napari_phenldiff.settings import settings_in
from napari_phenldiff.viewer.commands import tell_what_is_missing
from napari_phenldiff.viewer.flip import FLIP_KEY, bind_flip, flip
from napari_phenldiff.viewer.image_places import image_shown
from napari_phenldiff.viewer.layer_groups import LayerGroup, group_layers
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.viewer.side_by_side import (
    chosen_translation,
    comparison_panes,
    latest_translation,
    side_by_side,
)
from napari_phenldiff.viewer.translation_request import Region, TranslationRequest
from napari_phenldiff.viewer.turns import adding, turns
from napari_phenldiff.widgets.parts.choices import choice_box, fill_choices
from napari_phenldiff.widgets.parts.data_source import LayerWatch
from napari_phenldiff.widgets.parts.drops import DropPanel
from napari_phenldiff.widgets.parts.icons import keep_icon
from napari_phenldiff.widgets.parts.job_foot import JobFoot, problem_with
from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.parts.next_step import NextStep, open_dock
from napari_phenldiff.widgets.parts.preload import Preload
from napari_phenldiff.widgets.parts.run_choice import RunChoice
from napari_phenldiff.widgets.parts.strength import Strength
from napari_phenldiff.widgets.parts.tasks import end_with_window, start_translation
from napari_phenldiff.widgets.parts.theme import plain_viewer
from napari_phenldiff.widgets.parts.translation_figure import TranslationFigureWindow
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

    title = "Translate"

    def __init__(self, napari_viewer: Viewer) -> None:
        viewer = plain_viewer(napari_viewer)
        super().__init__(viewer)
        self._unclear = ""
        self._proposing = False
        self._chosen = ""
        self._proposed: tuple[object, str] | None = None
        self._known_layers: WeakSet[Layer] = WeakSet()
        self.run_choice = RunChoice(self.section("Run"), viewer)
        self.run_field = self.run_choice.folder
        self._add_images()
        self._add_conditions()
        self._add_advanced()
        self.job_foot = JobFoot(viewer, "Translate", "Stop", "image", icon="translate")
        self.foot.addWidget(self.job_foot)
        self._add_comparison()
        self._preload = Preload(self, viewer)
        self._preload.told.connect(self.refresh)
        self.next = NextStep(
            "Measure it",
            "Open Measure, aimed at this translation and its two conditions, and measure",
            "Translate images first; then they can be measured.",
        )
        self.foot.addWidget(self.next)

        self._watch = LayerWatch(viewer, self)
        self._watch.changed.connect(self._on_layers)
        self._watch.seen.connect(self._propose)
        self.run_choice.changed.connect(self._on_run)
        self.run_choice.updated.connect(self._on_run_news)
        self.images.currentIndexChanged.connect(self._on_images)
        for combo in (self.fields, self.source, self.target):
            combo.currentIndexChanged.connect(self.refresh)
        self.job_foot.start_requested.connect(self.start)
        self.next.asked.connect(self._on_next)
        self.job_foot.ended.connect(self._on_ended)
        turns.ended.connect(self._on_added)
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
        self.unseen = QCheckBox("Only what it was not trained on")
        self._image_form = form
        form.row(
            "New images",
            self.unseen,
            "Leave out the images that the run was trained on: what it does to images that it "
            "knows says little about others. Those that are left follow each other along the "
            "slider, in layers of their own.",
        )
        self.unseen.toggled.connect(lambda: self.refresh())

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
        self.figure = QPushButton("Figure")
        self.figure.setAccessibleName("Figure of the translation")
        row.addWidget(self.figure, 1)
        self.figure.clicked.connect(self.open_figure)
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
            unseen=self._wants_all() and self.unseen.isChecked(),
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
        error = self.validation_error()
        self._image_form.show_row(self.unseen, self._several())
        self.job_foot.set_start(
            self._start_text(error),
            "Translate in a background process and add the result as layers",
        )
        self._unclear = self._why_unclear()
        self.job_foot.set_error(error)
        self.job_foot.set_asked(self._key())
        run = None if error else self.run_choice.run()
        self._preload.want(run, self.settings.base_at.path())
        self.job_foot.set_forecast("" if run is None else self._forecast(run))
        self._refresh_comparison()
        self.strength.refresh()

    def _several(self) -> bool:
        group = self.images.currentData()
        return group is not None and group.n_images > 1 and self._wants_all()

    def _start_text(self, error: str | None) -> str:
        if not self._several():
            return "Translate"
        unseen = self.unseen.isChecked()
        if unseen and error:
            return "Translate new images"
        return f"Translate {count(self.request().n_images, 'new image' if unseen else 'image')}"

    def _forecast(self, run: Run) -> str:
        """Say what is odd about it, and how long it will take once the machine's speed is known."""
        asked = self.request()
        caution = f"⚠ {asked.caution}" if asked.caution else ""
        return "\n".join(filter(None, (caution, self._time(run, asked))))

    def _time(self, run: Run, asked: TranslationRequest) -> str:
        wishes = preferences()
        hardware = estimate.KNOWN.get((wishes.device, wishes.precision))
        if not isinstance(hardware, Hardware) or asked.group is None:
            return ""
        shape, images = asked.group.sizes[0], 1
        if asked.region is not None:
            rows, columns = asked.region.slices
            shape = (rows.stop - rows.start, columns.stop - columns.start)
        elif self._wants_all():
            images = asked.n_images
        config = settings_of_run(run, asked.config())
        time = estimate.translation_time(shape, images, config, run, hardware)
        return f"About {time} on {hardware.name}." if time else ""

    def _key(self) -> str:
        """Return what a failure is about: with something else filled in, it is over."""
        group = self.images.currentData()
        layers = [] if group is None else [id(layer) for layer in group.layers]
        chosen = [box.currentText() for box in (self.fields, self.source, self.target)]
        values = self.settings.values()
        return repr((self.run_choice.path(), layers, chosen, self.strength.value(), values))

    def _refresh_comparison(self) -> None:
        switch = side_by_side(self.viewer)
        whole = not adding(self.viewer)  # some of the layers would be no comparison
        can = switch.is_on or (whole and bool(self._panes()))
        self.compare.setEnabled(can)
        self.compare.setChecked(switch.is_on)
        self.flip.setEnabled(can)
        self.figure.setEnabled(can)
        job = self.job_foot.job
        self.next.set_ready(can and whole and (job is None or not job.state.live))
        first = "Translate images first; then they can be shown next to the real ones."
        self.compare.setToolTip(
            "Real, reconstructed and translated images, what has changed, and real images of the "
            "target if they are open, next to each other, moved by one camera. Press again to go "
            "back."
            if can
            else first
        )
        self.figure.setToolTip(
            "Lay out real, reconstructed, translated, difference and real target for a paper, with "
            "what you draw as rectangles shown larger, and save it."
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

    def open_figure(self) -> TranslationFigureWindow:
        """Show the translation as a figure for a paper, in a window of its own."""
        window = TranslationFigureWindow(self, self.viewer)
        window.show()
        return window

    def aim(self, run: Path, *, start: bool = False) -> None:
        """Choose a run, its own direction and all images of its source, and perhaps translate."""
        self._chosen, self._proposed = "", None
        self.run_choice.aim(run)
        self._on_run()
        self._choose_source()
        self.fields.setCurrentText(ALL_FIELDS)
        job = self.job_foot.job
        if start and not (job is not None and job.state.live) and self.validation_error() is None:
            self.start()

    def _on_next(self, start: bool) -> None:
        translation = chosen_translation(self.viewer) or latest_translation(self.viewer.layers)
        dock = open_dock(self, "Measure")
        if dock is not None and translation is not None:
            dock.aim(translation, start=start)

    def _panes(self) -> list[list[Layer]]:
        translation = latest_translation(self.viewer.layers)
        return comparison_panes(self.viewer.layers, translation) if translation else []

    def _on_compare(self, checked: bool) -> None:
        switch = side_by_side(self.viewer)
        panes = self._panes()
        if checked and panes:
            translation = latest_translation(self.viewer.layers)
            switch.on(panes)
            tell_what_is_missing(self.viewer, translation or "")
        else:
            switch.off()
        self._refresh_comparison()

    def _on_switched(self, on: bool) -> None:
        if isalive(self):
            self._refresh_comparison()

    def _on_ended(self) -> None:
        self.refresh()

    def _on_added(self, viewer: object) -> None:
        if isalive(self) and viewer is self.viewer:
            self._refresh_comparison()

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
        with self._by_itself():
            fill_choices(self.images, [(group.label(), group) for group in groups])
        self._propose()

    def _on_images(self) -> None:
        """Follow another choice of images; what the user has chosen is not proposed anew."""
        if not self._proposing:
            group = self.images.currentData()
            self._chosen = "" if group is None else group.name
            self._propose_direction()

    @contextmanager
    def _by_itself(self) -> Iterator[None]:
        """Do inside what is not the user's choice."""
        before, self._proposing = self._proposing, True
        try:
            yield
        finally:
            self._proposing = before

    def _propose(self) -> None:
        """Choose the images that the canvas shows, or else those that the run goes from.

        What the user has chosen stays for as long as it is there. While panes are side by side, or
        come and go, it is not the user's doing what is visible: all stays as it is.
        """
        if side_by_side(self.viewer).decides and self.images.currentData() is not None:
            self._propose_direction()
            return
        groups = [self.images.itemData(index) for index in range(self.images.count())]
        if self._chosen not in [group.name for group in groups]:
            self._chosen = ""
        run = self.run_choice.run()
        if run is not None and not self._chosen:
            known = [g for g in groups if _condition(g) in run.conditions]
            shown = [g for g in known if any(layer.visible for layer in g.layers)]
            wanted = shown if len({_condition(g) for g in shown}) == 1 else known
            first = next((g for g in wanted if _condition(g) == run.conditions[0]), None)
            if wanted:
                with self._by_itself():
                    self.images.setCurrentIndex(groups.index(first or wanted[0]))
        self._propose_direction()

    def _choose_source(self) -> None:
        """Choose the images that the run goes from, whatever the canvas shows."""
        run = self.run_choice.run()
        groups = [self.images.itemData(index) for index in range(self.images.count())]
        wanted = next((g for g in groups if run and _condition(g) == run.conditions[0]), None)
        if wanted is not None:
            self._chosen = wanted.name
            with self._by_itself():
                self.images.setCurrentIndex(groups.index(wanted))
            self._propose_direction()

    def _propose_direction(self) -> None:
        """Take the condition of the images as the source, and the way that the run goes.

        It is proposed once for a run and the condition of the images, so what is chosen stays.
        """
        group, run = self.images.currentData(), self.run_choice.run()
        if group is not None and run is not None:
            condition = _condition(group)
            if (run.path, condition) != self._proposed and condition in run.conditions:
                self._proposed = (run.path, condition)
                source = run.conditions.index(condition)
                self.source.setCurrentIndex(source)
                if self.target.currentIndex() == source:
                    self.target.setCurrentIndex(1 if source == 0 else 0)
        if group is not None:
            fresh = [layer for layer in group.layers if layer not in self._known_layers]
            self._known_layers.update(fresh)
            if len(fresh) == len(group.layers):
                self.strength.reset()
        self.refresh()

    def _on_run(self) -> None:
        """List the conditions of the run, and propose its own direction."""
        run = self.run_choice.run()
        self.settings.suit(run)
        conditions = run.conditions if run is not None else ()
        for index, combo in enumerate((self.source, self.target)):
            fill_choices(combo, [(name, name) for name in conditions])
            combo.setCurrentIndex(min(index, len(conditions) - 1))
        self._proposed = None
        if self._chosen and self._chosen_condition() not in conditions:
            self._chosen = ""
        self._propose()

    def _chosen_condition(self) -> str:
        group = self.images.currentData()
        return "" if group is None else _condition(group)

    def _on_run_news(self) -> None:
        """Say what is known of the same run by now."""
        self.settings.suit(self.run_choice.run())
        self.refresh()


def _condition(group: LayerGroup) -> str:
    return group.infos[0][0].condition
