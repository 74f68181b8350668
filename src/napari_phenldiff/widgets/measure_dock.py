"""The dock that measures what differs between conditions, and whether translation recovers it."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from superqt.utils import signals_blocked

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import JobState, jobs
from napari_phenldiff.measurement.profiles.channels import suggested_channel
from napari_phenldiff.measurement.profiles.fitting import threshold_basis
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.measurement.tables.measurement import read_settings, write_settings
from napari_phenldiff.viewer.measuring import Measured, MeasuringRequest
from napari_phenldiff.viewer.objects import outdated_labels
from napari_phenldiff.viewer.threshold_cache import thresholds
from napari_phenldiff.widgets.parts.data_source import LayerWatch
from napari_phenldiff.widgets.parts.drops import DropPanel
from napari_phenldiff.widgets.parts.form import note
from napari_phenldiff.widgets.parts.job_foot import JobFoot, problem_with
from napari_phenldiff.widgets.parts.live_preview import LivePreview
from napari_phenldiff.widgets.parts.measure_choices import MeasureChoices
from napari_phenldiff.widgets.parts.measure_memory import measure_memory
from napari_phenldiff.widgets.parts.measuring_task import start_measuring
from napari_phenldiff.widgets.parts.next_step import NextStep, open_dock
from napari_phenldiff.widgets.parts.profile_form import SettingsForm, check_channels
from napari_phenldiff.widgets.parts.results_view import ResultsView
from napari_phenldiff.widgets.parts.settings_files import SettingsFiles
from napari_phenldiff.widgets.parts.theme import plain_viewer

if TYPE_CHECKING:
    from napari.viewer import Viewer


class MeasureWidget(DropPanel):
    """Choose a profile and two conditions, press Measure, and see objects, table and figure.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, as napari hands it to a widget.
    """

    title = "Measure"

    def __init__(self, napari_viewer: Viewer) -> None:
        viewer = plain_viewer(napari_viewer)
        super().__init__(viewer)
        self._channels: tuple[str, ...] | None = None
        self._state = measure_memory(viewer)
        self.choices = MeasureChoices(self.section("Measurement"), viewer)
        self.profile, self.source = self.choices.profile, self.choices.source
        self.target, self.translation = self.choices.target, self.choices.translation
        plain = self.section("Settings")
        self.settings = SettingsForm(plain, self.fold("Segmentation"), self)
        self.files = SettingsFiles()
        self.add(self.files)
        self.preview = LivePreview(viewer, self.request)
        self.add(self.preview)
        self.measured_of = note()
        self.measured_of.setVisible(False)
        self.add(self.measured_of)
        self.results = ResultsView(viewer)
        self.figure = self.results.figure
        self.results.setVisible(False)
        self.add(self.results)
        self.job_foot = JobFoot(viewer, "Measure", "Stop", "image", icon="measure")
        self.foot.addWidget(self.job_foot)
        self.next = NextStep(
            "Evaluate the run",
            "Open Evaluate, aimed at the run that translated these images and at this profile, "
            "and judge it",
            "Measure a translation first; then the run that made it can be evaluated.",
        )
        self.foot.addWidget(self.next)
        self._watch = LayerWatch(viewer, self)
        self._restore()
        self._connect()
        self.job_foot.set_job(jobs.latest("measure", viewer))
        self._on_ended()

    def _connect(self) -> None:
        self._watch.changed.connect(self._on_layers)
        self._watch.seen.connect(self._say_what_was_measured)
        self.profile.currentIndexChanged.connect(self._on_profile)
        self.choices.changed.connect(self._on_choice)
        # Only when it was the user who chose.
        self.choices.chosen.connect(self.preview.touch)
        self.settings.changed.connect(self._on_settings)
        self.files.changed.connect(self._on_thresholds)
        self.files.load_requested.connect(self._on_load)
        self.files.save_requested.connect(self._on_save)
        self.preview.shown.connect(self._on_preview)
        self.preview.changed.connect(self._remember)
        self.results.drawn.connect(lambda: self.reveal(self.results, at_top=True))
        self.job_foot.start_requested.connect(self.start)
        self.next.asked.connect(self._on_next)
        self.job_foot.ended.connect(self._on_ended)

    # ---- what is filled in -------------------------------------------------------------------

    def request(self) -> MeasuringRequest:
        """Return what is filled in, valid or not.

        Raises
        ------
        InputError
            If the settings contradict each other.
        """
        translated = self.choices.translated()
        return MeasuringRequest(
            self.profile.currentData(),
            self.source.currentData(),
            self.target.currentData(),
            translated.get("reconstructed"),
            translated.get("translated"),
            self._settings(),
            self.files.thresholds(),
            self.choices.z(),
            self.choices.given_labels(),
            self.choices.wells.value(),
        )

    def _settings(self) -> Settings | None:
        if self.source.currentData() is None:
            return None  # no images are open whose channels could be named
        return self.settings.checked()

    def validation_error(self) -> str | None:
        """Return why this can't be measured, if it can't; it is shown beside the button."""
        return problem_with(self.request)

    def refresh(self) -> None:
        """Say what the button does now, and why it can't if it can't."""
        self.choices.refresh()
        self.settings.replace_part(self.choices.replaced_part(), self.choices.labels.words.text())
        self.job_foot.set_start("Measure", "Measure all images of both conditions")
        error = self.validation_error()
        self.job_foot.set_error(error)
        outdated = () if error else outdated_labels(self.request())
        self.job_foot.set_forecast("\n".join(f"⚠ {text}" for text in outdated))
        self.job_foot.set_asked(self._key())
        job = self.job_foot.job
        live = job is not None and job.state.live
        ready = self.results.measured is not None and bool(self._run()) and not live
        self.next.set_ready(ready)

    def _key(self) -> str:
        """Return what a failure is about: with something else filled in, it is over."""
        groups = (self.source.currentData(), self.target.currentData())
        layers = [id(layer) for group in groups if group is not None for layer in group.layers]
        return repr(
            (self.choices.texts(), self.profile.currentData(), layers, self.settings.values())
        )

    def _run(self) -> str:
        """Return the folder of the run that made the chosen translation, empty without one."""
        group = next(iter(self.choices.translated().values()), None)
        return "" if group is None else str(group.infos[0][0].provenance.get("run", ""))

    # ---- what happens ------------------------------------------------------------------------

    def start(self) -> None:
        """Measure what is chosen."""
        try:
            job = start_measuring(self.viewer, self.request())
        except InputError as error:
            self.job_foot.set_error(str(error))
            return
        self.profile.keep()
        self.preview.end()
        self._remember()
        self.job_foot.set_job(job)

    def aim(self, translation: str, *, start: bool = False) -> None:
        """Choose a translation with its two conditions, and perhaps measure."""
        self._on_layers()
        self.choices.aim(translation)
        self._show_settings()
        job = self.job_foot.job
        if start and not (job is not None and job.state.live) and self.validation_error() is None:
            self.start()

    def _on_next(self, start: bool) -> None:
        dock = open_dock(self, "Evaluate")
        if dock is not None and self._run():
            profile = self.profile.currentData()
            dock.aim(Path(self._run()), profile, self.settings.values(), start=start)

    def _on_layers(self) -> None:
        self.choices.fill()
        self._show_settings()
        self.preview.on_layers()
        self.results.find_objects()
        self._say_what_was_measured()
        self.refresh()

    def _on_profile(self) -> None:
        self._show_settings()
        self.files.say("")
        self.preview.touch()
        self._remember()

    def _on_choice(self) -> None:
        self._show_settings()
        self.preview.schedule()
        self._remember()

    def _on_settings(self) -> None:
        self.profile.keep()
        self._state.settings[self.profile.currentData()] = self.settings.values()
        if self.files.check(self._basis()):
            self._state.thresholds.pop(self.profile.currentData(), None)
        self.preview.touch()
        self._remember()
        self.refresh()

    def _on_thresholds(self) -> None:
        self.preview.touch()
        self.refresh()

    def _on_preview(self) -> None:
        """Let a threshold that is given as a number start from the one that was found."""
        settings = self._settings_or_none()
        if settings is None:
            return
        parts = self.choices.chosen_profile().segmented(settings)
        for name, value in self.preview.thresholds.items():
            if name not in parts:
                continue  # what was previewed is of another profile
            for field in type(settings).model_fields:
                if getattr(settings, field) is parts[name][1] and math.isfinite(value):
                    self.settings.suggest_number((field, "threshold", "method"), value)

    def _show_settings(self) -> None:
        """Make the form for the profile, with the channels of the chosen images to choose from."""
        channels = self.choices.channel_names()
        self.profile.suggest(channels)
        profile = self.choices.chosen_profile()
        if self._channels != (profile.name, *channels):
            self._channels = (profile.name, *channels)
            kept = self._state.settings.get(profile.name, {})
            with signals_blocked(self.settings):
                self.settings.show_model(
                    profile.settings_type,
                    channels,
                    lambda field: suggested_channel(profile, field, channels),
                )
                with suppress(InputError):  # other images may have other channels
                    self.settings.set_values(kept)
            self.files.set_thresholds(self._state.thresholds.get(profile.name), self._basis())
        self.refresh()

    def _settings_or_none(self) -> Settings | None:
        try:
            return self._settings()
        except InputError:
            return None

    def _basis(self) -> Any:
        """Return what thresholds of a file belong to: with something else they are dropped."""
        settings = self._settings_or_none()
        return (
            None if settings is None else threshold_basis(self.choices.chosen_profile(), settings)
        )

    def _on_ended(self) -> None:
        job = self.job_foot.job
        if job is not None and job.state is JobState.FINISHED and isinstance(job.result, Measured):
            self.results.show_measured(job.result)
            self.results.setVisible(True)
            self._say_what_was_measured()
            self.reveal(self.measured_of, at_top=True)
        self.refresh()

    def _say_what_was_measured(self) -> None:
        """Say what the figure and the tables are of, which may not be what is open now."""
        measured = self.results.measured
        if measured is None:
            return
        told = f"Measured: {measured.in_words()}."
        if not measured.is_open(self.viewer.layers):
            told += " These images are not open any more, or have changed: measure again."
        self.measured_of.setText(told)
        self.measured_of.setVisible(True)

    # ---- what outlives the dock --------------------------------------------------------------

    def _remember(self) -> None:
        state = self._state
        state.profile = self.profile.currentData() if self.profile.kept else None
        state.choices = self.choices.texts()
        state.preview, state.ended = self.preview.box.isChecked(), self.preview.ended

    def _restore(self) -> None:
        """Fill in what was filled in when the dock was open before."""
        state = self._state
        if state.profile is not None:
            self.profile.choose(state.profile)
        self.preview.box.setChecked(state.preview)
        if state.ended:
            self.preview.end()
        self._on_layers()
        self.choices.choose(state.choices)
        self._show_settings()

    # ---- files -------------------------------------------------------------------------------

    def load_settings(self, path: Path) -> None:
        """Take profile, settings and thresholds from a file that a measurement wrote.

        Raises
        ------
        InputError
            If it is none, or names a channel that the open images don't have.
        """
        name, settings, found = read_settings(path)
        values = settings.model_dump()
        channels = self.choices.channel_names()
        if channels:
            check_channels(values, channels)
        # NaN stands for a threshold that could not be found then; it is looked for anew.
        found = {part: value for part, value in found.items() if math.isfinite(value)}
        self._state.settings[name] = values
        self._state.thresholds[name] = found
        self.profile.choose(name)
        self._channels = None  # the form is filled in anew
        self._show_settings()
        self.preview.touch()
        self._remember()

    def save_settings(self, path: Path) -> dict[str, float]:
        """Write profile, settings and the thresholds that are known, and return these.

        Raises
        ------
        InputError
            If the settings contradict each other, or no images are open.
        """
        request = self.request()
        if request.settings is None:
            raise InputError("Open images first: the settings name their channels.")
        known = thresholds.known(request) or {}
        write_settings(path, request.profile, request.settings, known)
        return known

    def write_table(self, path: Path) -> tuple[Path, ...]:
        """Write the tables of images and cells, and the settings, beside each other.

        Raises
        ------
        InputError
            If nothing has been measured yet.
        """
        return self.results.write_table(path)

    def _on_load(self, path: Path) -> None:
        try:
            self.load_settings(path)
        except InputError as error:
            self.files.say(str(error))
        else:
            self.files.say(f"Loaded from {path}")

    def _on_save(self, path: Path) -> None:
        try:
            known = self.save_settings(path)
        except (InputError, OSError) as error:
            self.files.say(f"{path} could not be written: {error}")
            return
        words = "" if known else "; thresholds are not known yet and will be found when measuring"
        self.files.say(f"Saved as {path}{words}")
