"""The dock that fine-tunes a base model on two conditions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from qtpy.compat import isalive
from qtpy.QtWidgets import QPushButton

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import Job, JobState, jobs
from napari_phenldiff.jobs.registry import past_job
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run, is_run
from napari_phenldiff.settings import settings_in
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.viewer.previews import PreviewLayers, previews_of, show_previews
from napari_phenldiff.viewer.run_state import why_unusable
from napari_phenldiff.viewer.training_request import TrainingRequest, suggest_run_folder
from napari_phenldiff.widgets.parts.data_source import DataSource
from napari_phenldiff.widgets.parts.drops import DropPanel
from napari_phenldiff.widgets.parts.forecast import Forecast
from napari_phenldiff.widgets.parts.idle import when_idle
from napari_phenldiff.widgets.parts.job_foot import JobFoot
from napari_phenldiff.widgets.parts.next_step import NextStep, open_dock
from napari_phenldiff.widgets.parts.run_watch import run_watch
from napari_phenldiff.widgets.parts.runs_list import RunsList
from napari_phenldiff.widgets.parts.tasks import resume_training, start_training
from napari_phenldiff.widgets.parts.theme import plain_viewer
from napari_phenldiff.widgets.parts.training_form import (
    BASE_FOLDER,
    BUNDLED,
    HUB,
    TrainingSettings,
)

__all__ = ["BASE_FOLDER", "BUNDLED", "HUB", "FineTuneWidget"]

if TYPE_CHECKING:
    from napari.viewer import Viewer

_START = "Start fine-tuning"


class FineTuneWidget(DropPanel):
    """Choose two conditions and a few settings, press Start, and watch the loss fall.

    The training runs in a process of its own and writes into its run folder. It goes on when this
    dock or the viewer is closed; the dock finds it again when it is opened.

    Parameters
    ----------
    napari_viewer : napari.viewer.Viewer
        The viewer, as napari hands it to a widget.
    """

    title = "Fine-tune"

    def __init__(self, napari_viewer: Viewer) -> None:
        viewer = plain_viewer(napari_viewer)
        super().__init__(viewer)
        self.data = DataSource(self, viewer)
        self.settings = TrainingSettings(self)
        # the fields that scripts fill in
        self.out = self.settings.out
        self.base_kind = self.settings.base_kind
        self.base_folder = self.settings.base_folder
        self.base_hub = self.settings.base_hub
        self.steps = self.settings.steps
        self.per_condition = self.settings.per_condition
        self.batch_size = self.settings.batch_size
        self.seed = self.settings.seed
        self.runs = RunsList()
        self.fold("Runs").wide(self.runs)
        self.job_foot = JobFoot(viewer, _START, "Stop", "step", icon="finetune", with_loss=True)
        self.foot.addWidget(self.job_foot)
        self.new_run = QPushButton("New run")
        self.new_run.setToolTip(
            "Leave this run as it is; the button above starts a new one then, in a folder of its "
            "own and with what is filled in"
        )
        self.foot.addWidget(self.new_run)
        self.next = NextStep(
            "Translate with it",
            "Open Translate, aimed at this run and its own direction, and translate all images of "
            "its source",
            "Fine-tune first, or choose a run above; then images can be translated with it.",
        )
        self.foot.addWidget(self.next)
        self._suggested: Path | None = None
        self._attached = False
        self._joined = False

        self.data.changed.connect(self._on_conditions)
        self.settings.changed.connect(self.refresh)
        self.settings.show_previews.toggled.connect(self._on_show_previews)
        self.settings.go_to_previews.clicked.connect(self._on_go_to_previews)
        self._forecast = Forecast(self, self.runs.index.registry)
        self._forecast.changed.connect(self.refresh)
        self.job_foot.start_requested.connect(self.start)
        self.new_run.clicked.connect(self.start_anew)
        self.next.asked.connect(self._on_next)
        self._watch_runs = run_watch()
        self._watch_runs.changed.connect(self._on_runs)
        self.job_foot.ended.connect(self._on_ended)
        self.runs.chosen.connect(self._on_run)
        self.runs.listed.connect(self._on_listed)
        self._on_conditions()
        latest = jobs.latest("train", viewer)
        self._show(latest)
        if latest is not None and latest.state.live:
            self._join(latest.path)

    # ---- what is filled in -------------------------------------------------------------------

    def request(self) -> TrainingRequest:
        """Return what is filled in, valid or not."""
        source, target = self.data.choices()
        return TrainingRequest(
            source=source,
            target=target,
            folder=self.data.path(),
            out=self.out.path(),
            settings=self.settings.values(),
            further=self.data.further(),
            match=self.data.match(),
            z=self.data.z(),
            arrangement=self.data.arrangement(),
        )

    def validation_error(self) -> str | None:
        """Return why this can't be trained, if it can't; it is shown beside the button."""
        return None if self._run_to_go_on_with() else self.request().validation_error()

    def _run_to_go_on_with(self) -> Run | None:
        """Return the run in the chosen folder, if it is there and not finished."""
        path = self.out.path()
        if path is None or not is_run(path):
            return None
        try:
            run = Run.open(path)
        except InputError:
            return None
        return None if run.state == "finished" else run

    def refresh(self) -> None:
        """Say what the button does now, and why it can't if it can't."""
        run = self._run_to_go_on_with()
        if run is None:
            self.job_foot.set_start(_START, "Fine-tune in a background process")
        elif run.state == "running":
            self.job_foot.set_start("Watch", "This run is being trained: show how it goes")
        else:
            self.job_foot.set_start(
                "Resume", "Go on from the last checkpoint, with the settings the run was made with"
            )
        self.job_foot.set_error(self.validation_error())
        watching = run is not None and run.state == "running"
        request = self.request()
        path = self.out.path()
        over = run is None and path is not None and is_run(path)  # nothing can be started there
        quiet = watching or over
        told = "" if quiet else self._forecast.text(request, resuming=run is not None)
        if run is not None and not watching:
            told = "\n".join(filter(None, [_about_resuming(run, request), told]))
        self.job_foot.set_forecast(told)
        self.job_foot.set_asked(_key(request))
        self._offer_what_comes_next(run)

    def _offer_what_comes_next(self, run: Run | None) -> None:
        job = self.job_foot.job
        live = job is not None and job.state.live
        path = self.out.path()
        self.new_run.setVisible(not live and (run is not None or (path and is_run(path)) is True))
        usable = job is not None and not live and why_unusable(job.path) is None
        self.next.set_ready(usable)

    def _on_runs(self) -> None:
        if isalive(self):
            self.refresh()

    def start_anew(self) -> None:
        """Leave the run that has stopped, and have the button start a new one."""
        self.runs.table.clearSelection()
        self._show(None)
        self._suggest_anew()

    def _on_next(self, start: bool) -> None:
        job = self.job_foot.job
        if job is None or job.path is None:
            return
        dock = open_dock(self, "Translate")
        if dock is not None:
            dock.aim(job.path, start=start)

    # ---- what happens ------------------------------------------------------------------------

    def start(self) -> None:
        """Start, resume, or watch a run."""
        error = self.validation_error()
        if error is not None:
            self.job_foot.set_error(error)
            return
        run = self._run_to_go_on_with()
        try:
            if run is not None:
                job = resume_training(self.viewer, run.path)
            else:
                job = start_training(self.viewer, self.request())
        except InputError as error:
            self.job_foot.set_error(str(error))
            return
        assert job.path is not None
        self.runs.remember(job.path)
        self._watch(job)

    def _watch(self, job: Job) -> None:
        """Show a job that has just begun, and its previews."""
        show_previews(
            job,
            self.viewer,
            wanted=self.settings.show_previews.isChecked(),
            later=when_idle,
        )
        self._show(job)

    def _show(self, job: Job | None) -> None:
        previews = None if job is None else previews_of(job)
        if previews is not None:
            self.settings.show_previews.setChecked(previews.wanted)
        self.job_foot.set_job(job)

    def _on_show_previews(self, wanted: bool) -> None:
        previews = self._previews()
        if previews is not None:
            previews.set_wanted(wanted)

    def _on_go_to_previews(self) -> None:
        previews = self._previews()
        if previews is not None:
            previews.look_at()

    def _previews(self) -> PreviewLayers | None:
        job = jobs.latest("train", self.viewer)
        return None if job is None else previews_of(job)

    def _join(self, path: Path | None) -> None:
        """Fill in the folder and the settings of a run that was started before this dock was."""
        self._joined = True
        if path is None or not is_run(path):
            return  # it is being prepared; see `_on_ended`
        with suppress(InputError):
            run = Run.open(path)
            self.data.choose(*run.conditions[:2])
            if isinstance(run.config, TrainingConfig):
                self.settings.show(run.config)
            self.out.set_path(path)

    def _on_ended(self) -> None:
        self._forecast.ask_again()
        self.runs.refresh()
        job = self.job_foot.job
        if job is not None and job.state is JobState.FINISHED:
            if self.out.path() == job.path:
                self._suggested = job.path  # whoever named it: the next one needs another
            self._on_conditions()  # the folder that was suggested is a run now
        else:
            if self._joined and job is not None:
                self._join(job.path)
            self.refresh()
        self._joined = False

    def _on_listed(self) -> None:
        """Watch a run of this user that is in progress, when the dock has just been opened."""
        if self._attached:
            return
        self._attached = True
        if self.job_foot.job is None:
            running = [run.path for run in self.runs.runs if run.own and run.state == "running"]
            with suppress(InputError):  # it has been deleted since
                for path in running[:1]:
                    self._watch(resume_training(self.viewer, path))
                    self._join(path)
        self.refresh()

    def _on_run(self) -> None:
        """Show how the selected run went, and have the button go on with it."""
        latest = jobs.latest("train", self.viewer)
        if latest is not None and latest.state.live:
            return
        run = self.runs.current()
        if run is None:
            self._show(latest)
            self._suggest_anew()
            return
        same = latest is not None and latest.path == run.path
        try:
            job = latest if same and latest is not None else past_job(run.path)
        except InputError as error:
            self.job_foot.set_error(str(error))
            return
        # a run in progress is not shown as if it had ended: the button says Watch
        self._show(None if run.state == "running" else job)
        self.runs.set_remarks(job.notes)
        self.out.set_path(run.path if run.state != "finished" else self._suggested)
        self.refresh()

    def _on_conditions(self) -> None:
        """Follow other images, for which another folder is suggested unless a run goes on in it."""
        if self.out.path() == self._suggested and not self._holds_its_run():
            self._suggest()
        self._show_channels()

    def _holds_its_run(self) -> bool:
        """Whether the folder is that of a run that is under way, or can be resumed."""
        job = self.job_foot.job
        if job is not None and job.state.live:
            return True
        run = self._run_to_go_on_with()
        chosen = [choice.name for choice in self.data.choices() if choice is not None]
        return run is not None and chosen == list(run.conditions[:2])

    def _suggest_anew(self) -> None:
        """Suggest a folder for a new run, in place of whatever folder there is."""
        self._suggest()
        self._show_channels()

    def _suggest(self) -> None:
        """Suggest a run folder named after the conditions."""
        source, target = self.data.choices()
        if source is not None and target is not None:
            parent = preferences().runs_folder
            self._suggested = suggest_run_folder(parent, source.name, target.name)
        self.out.set_path(self._suggested)

    def _show_channels(self) -> None:
        """Show the channels of the conditions, and what the buttons do now."""
        source, _ = self.data.choices()
        match = self.data.match()
        if match is not None:
            self.settings.set_channels(match.names)
        elif source is not None:
            self.settings.set_channels(source.channel_names)
        self.refresh()


def _key(request: TrainingRequest) -> str:
    """Return what a failure is about: with something else filled in, it is over."""
    conditions = [(choice.name, choice.n_images) for choice in request.conditions]
    layers = [id(x) for c in request.conditions if c.group is not None for x in c.group.layers]
    return repr((request.folder, request.out, conditions, layers, request.settings))


_MOST_TOLD = 5
"""Settings of a run that are told apart from those that are filled in."""


def _about_resuming(run: Run, request: TrainingRequest) -> str:
    """Say which of the settings that are filled in a run that goes on does not take."""
    told = []
    pair = tuple(choice.name for choice in request.conditions)
    if len(pair) > 1 and pair != run.conditions:
        told.append(f"{' → '.join(run.conditions)} (here {' → '.join(pair)})")
    try:
        ours = TrainingConfig.model_validate({**request.settings, "conditions": run.conditions})
    except ValidationError:
        ours = None
    for name, setting in settings_in(TrainingConfig).items():
        if ours is None or name not in request.settings or not hasattr(run.config, name):
            continue
        theirs, here = getattr(run.config, name), getattr(ours, name)
        if theirs != here:
            told.append(f"{setting.label.lower()} {_shown(theirs)} (here {_shown(here)})")
    if not told:
        return ""
    more = len(told) - _MOST_TOLD
    text = ", ".join(told[:_MOST_TOLD]) + (f", and {more} more" if more > 0 else "")
    return (
        f"⚠ Resume goes on with the run's own settings: {text}. What is filled in here is not "
        "used; New run takes it."
    )


def _shown(value: object) -> str:
    if isinstance(value, tuple):
        return " and ".join(map(str, value)) or "none"
    if value is None:
        return "automatic"
    return f"{value:g}" if isinstance(value, float) else str(value)
