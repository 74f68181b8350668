"""The dock that measures what differs between conditions, and whether translation recovers it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from qtpy.compat import isalive
from qtpy.QtWidgets import (
    QFileDialog,
    QHBoxLayout,
    QMessageBox,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.threshold import Settings
from napari_phenldiff.runs.config import in_one_sentence
from napari_phenldiff.viewer.jobs import JobState, jobs
from napari_phenldiff.viewer.layers import group_layers
from napari_phenldiff.viewer.measuring import (
    Measured,
    MeasuringRequest,
    translations,
)
from napari_phenldiff.widgets.parts.choices import choice_box, fill_choices, fill_pair
from napari_phenldiff.widgets.parts.data_source import LayerWatch
from napari_phenldiff.widgets.parts.drops import DropPanel
from napari_phenldiff.widgets.parts.figure_view import FigureView
from napari_phenldiff.widgets.parts.job_foot import JobFoot
from napari_phenldiff.widgets.parts.measuring_task import draw_in_background, start_measuring
from napari_phenldiff.widgets.parts.settings_form import SettingsForm
from napari_phenldiff.widgets.parts.table import Table
from napari_phenldiff.widgets.parts.theme import is_dark, plain_viewer

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from napari.viewer import Viewer

NO_TRANSLATION = "none"


class MeasureWidget(DropPanel):
    """Choose a profile and two conditions, press Measure, and see objects, table and figure.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, as napari hands it to a widget.
    """

    def __init__(self, napari_viewer: Viewer) -> None:
        viewer = plain_viewer(napari_viewer)
        super().__init__(viewer)
        self._channels: tuple[str, ...] | None = None
        self._measured: Measured | None = None
        self._add_choices()
        plain = self.section("Settings")
        self.settings = SettingsForm(plain, self.fold("Segmentation"), self)
        self._add_results()
        self.job_foot = JobFoot(viewer, "Measure", "Stop", "image")
        self.foot.addWidget(self.job_foot)

        self._watch = LayerWatch(viewer, self)
        self._watch.changed.connect(self._on_layers)
        self.profile.currentIndexChanged.connect(self._show_settings)
        self.source.currentIndexChanged.connect(self._show_settings)
        self.target.currentIndexChanged.connect(self.refresh)
        self.settings.changed.connect(self.refresh)
        self.job_foot.start_requested.connect(self.start)
        self.job_foot.ended.connect(self._on_ended)
        viewer.events.theme.connect(self._on_theme)
        self._on_layers()
        self._show_settings()
        self.job_foot.set_job(jobs.latest("measure", viewer))
        self._on_ended()

    def _add_choices(self) -> None:
        self.profile = choice_box()
        for profile in PROFILES.values():
            self.profile.addItem(profile.title, profile.name)
        self.source = choice_box()
        self.target = choice_box()
        self.translation = choice_box()
        form = self.section("Measurement")
        form.row("Profile", self.profile, "What is measured in each image.")
        form.row("Source", self.source, "Real images of the condition that was translated from.")
        form.row("Target", self.target, "Real images of the condition that was translated to.")
        form.row(
            "Translation",
            self.translation,
            "Translated images, measured in the same way together with their reconstructions. "
            "Thresholds come from the real images alone.",
        )

    def _add_results(self) -> None:
        self.figure = FigureView()
        self.table = Table()
        self.table.row_chosen.connect(self._show_image)
        self.save_table = QPushButton("Save table…")
        self.save_table.setToolTip("Write the tables of images and of cells as CSV")
        self.save_table.clicked.connect(self._on_save_table)
        self.save_figure = QPushButton("Save figure…")
        self.save_figure.setToolTip("Write the figure as SVG, PNG or PDF")
        self.save_figure.clicked.connect(self._on_save_figure)
        self.results = QTabWidget()
        for title, view, button in (
            ("Figure", self.figure, self.save_figure),
            ("Table", self.table, self.save_table),
        ):
            page = QWidget()
            layout = QVBoxLayout(page)
            layout.setContentsMargins(0, 4, 0, 0)
            layout.addWidget(view, 1)
            row = QHBoxLayout()
            row.addStretch(1)
            row.addWidget(button)
            layout.addLayout(row)
            self.results.addTab(page, title)
        self.results.setVisible(False)
        self.add(self.results)

    # ---- what is filled in -------------------------------------------------------------------

    def request(self) -> MeasuringRequest:
        """Return what is filled in, valid or not.

        Raises
        ------
        InputError
            If the settings contradict each other.
        """
        translated = self.translation.currentData() or {}
        return MeasuringRequest(
            self.profile.currentData(),
            self.source.currentData(),
            self.target.currentData(),
            translated.get("reconstructed"),
            translated.get("translated"),
            self._settings(),
        )

    def _settings(self) -> Settings | None:
        if self.source.currentData() is None:
            return None  # no images are open whose channels could be named
        try:
            settings = self.settings.model()
        except ValidationError as error:
            raise InputError(f"Change the settings: {in_one_sentence(error)}.") from error
        assert isinstance(settings, Settings)
        return settings

    def validation_error(self) -> str | None:
        """Return why this can't be measured, if it can't; it is shown beside the button."""
        try:
            return self.request().validation_error()
        except InputError as error:
            return str(error)

    def refresh(self) -> None:
        """Say what the button does now, and why it can't if it can't."""
        self.job_foot.set_start("Measure", "Measure all images of both conditions")
        self.job_foot.set_error(self.validation_error())

    # ---- what happens ------------------------------------------------------------------------

    def start(self) -> None:
        """Measure what is chosen."""
        try:
            job = start_measuring(self.viewer, self.request())
        except InputError as error:
            self.job_foot.set_error(str(error))
            return
        self.job_foot.set_job(job)

    def _on_layers(self) -> None:
        groups = group_layers(self.viewer.layers)
        fill_pair(self.source, self.target, [(group.label(), group) for group in groups])
        found: list[tuple[str, object]] = []
        for kinds in translations(self.viewer.layers).values():
            group = kinds.get("translated") or kinds["reconstructed"]
            made = group.infos[0][0].provenance
            text = f"{len(found) + 1}: {made['source']} → {made['target']} ({group.n_images})"
            found.append((text, kinds))
        before = self.translation.count()
        fill_choices(self.translation, [(NO_TRANSLATION, None), *found])
        if found and before <= 1:
            self.translation.setCurrentIndex(1)
        self.refresh()

    def _show_settings(self) -> None:
        """Make the form for the profile, with the channels of the chosen images to choose from."""
        group = self.source.currentData()
        channels = () if group is None else group.channel_names
        profile = PROFILES[self.profile.currentData()]
        if self._channels != (profile.name, *channels):
            self._channels = (profile.name, *channels)
            self.settings.show_model(profile.settings_type, channels)
        self.refresh()

    def _on_ended(self) -> None:
        job = self.job_foot.job
        if job is not None and job.state is JobState.FINISHED and job.result is not None:
            self._measured = job.result
            self.table.show_table(self._images_table())
            self._draw()
            self.results.setVisible(True)
            self.reveal(self.results)
        self.refresh()

    def _images_table(self) -> pd.DataFrame:
        """Return the per-image table with what is looked at first in front."""
        assert self._measured is not None
        measurement = self._measured.measurement
        table = measurement.images
        first = ["condition", "image", measurement.main_column]
        return table[[*first, *(c for c in table.columns if c not in first)]]

    def _draw(self) -> None:
        if self._measured is not None:
            self.figure.say("Drawing …")
            dark = is_dark(self.viewer)
            draw_in_background(self._measured, dark=dark, show=self._show_figure)

    def _show_figure(self, figure: Figure | str) -> None:
        if not isalive(self):
            return
        if isinstance(figure, str):
            self.figure.say(figure)
        else:
            self.figure.show_figure(figure)
            self.reveal(self.results)
        self.save_figure.setEnabled(not isinstance(figure, str))

    def _on_theme(self, event: object = None) -> None:
        if isalive(self):
            self._draw()

    def _show_image(self, row: int) -> None:
        """Move the slider to the image of a row of the table."""
        if self._measured is None:
            return
        for group in self._measured.groups:
            if row < len(group.image_names):
                place = row if group.field is None else group.field
                if self.viewer.dims.ndim > 2:
                    self.viewer.dims.set_current_step(self.viewer.dims.ndim - 3, place)
                return
            row -= len(group.image_names)

    # ---- saving ------------------------------------------------------------------------------

    def _on_save_table(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save table", str(Path.home() / "phenotype.csv"), "Tables (*.csv)"
        )
        if name:
            self._save(self.write_table, Path(name))

    def _on_save_figure(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save figure", str(Path.home() / "phenotype.svg"), "Figures (*.svg *.png *.pdf)"
        )
        if name:
            self._save(self.figure.save, Path(name))

    def write_table(self, path: Path) -> tuple[Path, ...]:
        """Write the tables of images and cells, and the settings, beside each other.

        Raises
        ------
        InputError
            If nothing has been measured yet.
        """
        if self._measured is None:
            raise InputError("There is no table yet; measure first.")
        return self._measured.measurement.write(path)

    def _save(self, write: Callable[[Path], object], path: Path) -> None:
        try:
            write(path)
        except (OSError, ValueError) as error:
            QMessageBox.warning(self, "Not saved", f"{path} could not be written: {error}")
