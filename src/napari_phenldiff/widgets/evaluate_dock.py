"""The dock that judges a run: whether what its translations show is supported by the controls."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from superqt.utils import signals_blocked

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs import estimate
from napari_phenldiff.jobs.job import JobState, jobs
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.profiles.channels import suggested_channel
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.viewer.evaluation_forecast import EvaluationForecast
from napari_phenldiff.viewer.evaluation_request import EvaluationRequest
from napari_phenldiff.viewer.evaluations import evaluations_of
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.widgets.parts.background import Lookup
from napari_phenldiff.widgets.parts.choices import choice_box
from napari_phenldiff.widgets.parts.data_source import DataSource
from napari_phenldiff.widgets.parts.drops import DropPanel
from napari_phenldiff.widgets.parts.evaluation_choices import EvaluationChoices
from napari_phenldiff.widgets.parts.evaluation_view import EvaluationView
from napari_phenldiff.widgets.parts.form import note
from napari_phenldiff.widgets.parts.job_foot import JobFoot, problem_with
from napari_phenldiff.widgets.parts.profile_choice import ProfileChoice
from napari_phenldiff.widgets.parts.profile_form import SettingsForm
from napari_phenldiff.widgets.parts.run_choice import RunChoice
from napari_phenldiff.widgets.parts.tasks import start_evaluation
from napari_phenldiff.widgets.parts.theme import plain_viewer
from napari_phenldiff.widgets.parts.translation_form import TranslationSettings

if TYPE_CHECKING:
    from napari.viewer import Viewer


class EvaluateWidget(DropPanel):
    """Choose a run, images and a profile, press Evaluate, and read the verdict.

    The evaluation runs in a process of its own and writes into the folder of the run. It goes on
    when this dock or the viewer is closed; its results are found again when the run is chosen.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, as napari hands it to a widget.
    """

    title = "Evaluate"

    def __init__(self, napari_viewer: Viewer) -> None:
        viewer = plain_viewer(napari_viewer)
        super().__init__(viewer)
        self._channels: tuple[str, ...] = ()
        self._conditions: tuple[object, ...] = ()
        self._settings: dict[str, dict[str, Any]] = {}
        self.run_choice = RunChoice(self.section("Run"), viewer)
        self.run_field = self.run_choice.folder
        self.data = DataSource(self, viewer, two_only=True)
        self._add_measurement()
        self.choices = EvaluationChoices(self)
        self.translation = TranslationSettings(self.fold("Translation"))
        self._add_results()
        self._speed = Lookup(self)
        self._speed.found.connect(self._on_speed)
        self.job_foot = JobFoot(viewer, "Evaluate", "Stop", "step", icon="evaluate")
        self.foot.addWidget(self.job_foot)

        self.run_choice.changed.connect(self._on_run)
        self.run_choice.updated.connect(self._on_run_news)
        self.data.changed.connect(self._on_data)
        self.profile.currentIndexChanged.connect(self._on_profile)
        self.settings.changed.connect(self._on_settings)
        self.choices.changed.connect(self.refresh)
        self.results.currentIndexChanged.connect(self._on_chosen)
        self.job_foot.start_requested.connect(self.start)
        self.job_foot.ended.connect(self._on_ended)
        self._on_run()
        job = jobs.latest("evaluate", viewer)
        self.job_foot.set_job(job)
        if job is not None and job.state.live and isinstance(job.asked, EvaluationRequest):
            self._show_asked(job.asked)

    def _add_measurement(self) -> None:
        self.profile = ProfileChoice()
        form = self.section("Measurement")
        form.row(
            "Profile",
            self.profile,
            "What is measured in each image. The verdict is about its first measurement.",
        )
        self.settings = SettingsForm(self.section("Settings"), self.fold("Segmentation"), self)

    def _add_results(self) -> None:
        self.results = choice_box()
        self.view = EvaluationView(self.viewer)
        self._result_form = form = self.section("Verdict")
        form.row("Evaluation", self.results, "The evaluations of this run, the latest first.")
        self.no_result = note("This run has not been evaluated yet.")
        form.wide(self.no_result)
        self.add(self.view)

    # ---- what is filled in -------------------------------------------------------------------

    def request(self) -> EvaluationRequest:
        """Return what is filled in, valid or not.

        Raises
        ------
        InputError
            If the settings of the measurement contradict each other.
        """
        source, target = self.data.choices()
        return EvaluationRequest(
            run=self.run_choice.path(),
            source=source,
            target=target,
            folder=self.data.path(),
            profile=self.profile.currentData(),
            settings=self._model(),
            translation=self.translation.values(),
            base_at=self.translation.base_at.path(),
            device=preferences().device,
            match=self.data.match(),
            z=self.data.z(),
            arrangement=self.data.arrangement(),
            name=self.choices.name.text().strip(),
            evaluation=self.choices.values(),
            shuffled=self.choices.shuffled.path(),
            half_split=self.choices.half_split.path(),
        )

    def _model(self) -> Settings | None:
        if not self._channels[1:]:
            return None  # nothing is known whose channels could be named
        return self.settings.checked()

    def validation_error(self) -> str | None:
        """Return why this can't be evaluated, if it can't; it is shown beside the button."""
        return problem_with(self.request)

    def refresh(self) -> None:
        """Say what the button does now, and why it can't if it can't."""
        self.job_foot.set_start("Evaluate", "Judge the run in a background process")
        error = self.validation_error()
        self.job_foot.set_error(error)
        self.job_foot.set_forecast("" if error else self._forecast())
        self.job_foot.set_asked(self._key())

    def _key(self) -> str:
        """Return what a failure is about: with something else filled in, it is over."""
        chosen = [None if c is None else (c.name, c.n_images) for c in self.data.choices()]
        values = (self.choices.values(), self.settings.values(), self.translation.values())
        controls = (self.choices.shuffled.path(), self.choices.half_split.path())
        where = (self.run_choice.path(), self.data.path(), self.choices.name.text())
        return repr((where, chosen, self.profile.currentData(), values, controls))

    def _forecast(self) -> str:
        """Say what is done and how long it takes, as soon as the speed of the machine is known."""
        run, wishes = self.choices.run, preferences()
        if run is None:
            return ""
        key = (wishes.device, wishes.precision)
        hardware = estimate.KNOWN.get(key)
        if hardware is None:
            self._speed.ask(lambda: estimate.hardware_of(*key))
        return EvaluationForecast(
            run,
            [choice for choice in self.data.choices() if choice is not None],
            self.choices.images.value(),
            self.choices.rounds(),
            self.choices.trained_too.isChecked(),
            self.translation.values(),
        ).text(hardware)

    def _on_speed(self, found: object) -> None:
        if isalive(self):
            self.refresh()

    # ---- what happens ------------------------------------------------------------------------

    def start(self) -> None:
        """Evaluate what is chosen."""
        try:
            job = start_evaluation(self.viewer, self.request())
        except (InputError, OSError) as error:
            self.job_foot.set_error(str(error))
            return
        self.profile.keep()
        self.job_foot.set_job(job)

    def _show_asked(self, asked: EvaluationRequest) -> None:
        """Fill in what an evaluation that is under way was asked for."""
        if asked.run is None:
            return
        settings = {} if asked.settings is None else asked.settings.model_dump()
        self.aim(asked.run, asked.profile, settings)
        self.choices.fill(asked.evaluation)

    def aim(
        self, run: Path, profile: str, settings: dict[str, Any], *, start: bool = False
    ) -> None:
        """Choose a run, and what is measured, and perhaps evaluate."""
        self.run_choice.aim(run)
        self.profile.choose(profile)
        with suppress(InputError):  # these images may have other channels than the run
            self.settings.set_values(settings)
        chosen = self.run_choice.run()
        if chosen is not None:
            self.data.choose(*chosen.conditions[:2])
        job = self.job_foot.job
        if start and not (job is not None and job.state.live) and self.validation_error() is None:
            self.start()

    def _on_run(self) -> None:
        """List the channels and evaluations of the run, and take its conditions if they are there.

        Layers and folders that come later are looked at then.
        """
        run = self.run_choice.run()
        self.choices.set_run(run)
        self._conditions = ()
        self._on_data()
        self._list_results()

    def _on_run_news(self) -> None:
        """Say what is known of the same run by now."""
        run = self.run_choice.run()
        self.choices.set_run(run)
        listed = [self.results.itemData(row) for row in range(self.results.count())]
        if listed != list(() if run is None else evaluations_of(run.path)):
            self._list_results(self.results.currentData())
        self.refresh()

    def _on_data(self) -> None:
        chosen = [choice for choice in self.data.choices() if choice is not None]
        self.choices.wells.show_images({choice.name: choice.images() for choice in chosen})
        run, names = self.run_choice.run(), self.data.names()
        there = (None if run is None else run.path, *names)
        if there != self._conditions:
            # Only when the run has changed, so that what the user chooses afterwards is kept.
            self._conditions = there
            if run is not None:
                self.data.prefer_channels(run.channel_names)
                self.data.choose(*run.conditions[:2])
        self._on_profile()

    def _on_profile(self) -> None:
        self._show_settings()
        self.choices.suggest_name(self.profile.currentData())
        self.refresh()

    def _on_settings(self) -> None:
        self.profile.keep()
        self._settings[self.profile.currentData()] = self.settings.values()
        self.refresh()

    def _show_settings(self) -> None:
        """Make the form for the profile, with the channels of the run to choose from."""
        run = self.run_choice.run()
        self.profile.suggest(() if run is None else run.channel_names)
        profile = PROFILES[self.profile.currentData()]
        channels = (profile.name, *(() if run is None else run.channel_names))
        if channels == self._channels:
            return
        self._channels = channels
        with signals_blocked(self.settings):
            self.settings.show_model(
                profile.settings_type,
                channels[1:],
                lambda field: suggested_channel(profile, field, channels[1:]),
            )
            try:
                self.settings.set_values(self._settings.get(profile.name, {}))
            except InputError:  # another run may have other channels
                self._settings.pop(profile.name)

    # ---- what was found ----------------------------------------------------------------------

    def _list_results(self, wanted: Path | None = None) -> None:
        """List the evaluations of the run; the wanted one is chosen, or else the latest."""
        run = self.run_choice.run()
        folders = () if run is None else evaluations_of(run.path)
        with signals_blocked(self.results):
            self.results.clear()
            for folder in folders:
                self.results.addItem(folder.name, folder)
            index = next((i for i, folder in enumerate(folders) if folder == wanted), 0)
            self.results.setCurrentIndex(index if folders else -1)
        self._on_chosen()

    def _on_chosen(self) -> None:
        folder = self.results.currentData()
        self._result_form.show_row(self.results, folder is not None)
        self.no_result.setVisible(folder is None)
        self.view.setVisible(folder is not None)
        if folder is not None:
            self.view.show_evaluation(folder)

    def _on_ended(self) -> None:
        job, run = self.job_foot.job, self.run_choice.run()
        done = job is not None and job.state is JobState.FINISHED
        if done and job is not None and run is not None and job.path is not None:
            # Only results of the run that is chosen by now are listed.
            self._list_results(job.path)
            if self.results.currentData() == job.path:
                self.reveal(self.view, at_top=True)
            self.choices.forget_name(job.path.name)
        self.choices.suggest_name(self.profile.currentData())
        self.refresh()
