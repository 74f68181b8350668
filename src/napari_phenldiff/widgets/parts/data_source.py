"""Where the images of a fine-tuning come from: the open layers, or a folder of conditions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal
from qtpy.QtWidgets import QComboBox

from napari_phenldiff.viewer.conditions import (
    ConditionChoice,
    conditions_in_folder,
    conditions_of_layers,
)
from napari_phenldiff.widgets.parts.choices import choice_box, fill_pair
from napari_phenldiff.widgets.parts.folder_field import FolderField
from napari_phenldiff.widgets.parts.form import Panel, note

if TYPE_CHECKING:
    from napari.viewer import Viewer

LAYERS, FOLDER = "Open layers", "Folder"


class LayerWatch(QObject):
    """Tell when the layers of a viewer have changed, once for a whole bunch of changes.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    parent : QObject
        The widget that wants to know; the watch ends with it.
    """

    changed = Signal()

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        # 400 files opened at once are 400 events; look when they are all there.
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(0)
        self._timer.timeout.connect(self.changed)
        for event in (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.layers.events.reordered,
            viewer.layers.events.renamed,
        ):
            event.connect(self._on_event)

    def _on_event(self, event: object = None) -> None:
        if isalive(self):
            self._timer.start()


class DataSource(QObject):
    """The fields that say where the images are and which condition is which.

    Parameters
    ----------
    panel : Panel
        Gets a section with the fields.
    viewer : napari.viewer.Viewer
        Whose layers can be chosen.
    """

    changed = Signal()

    def __init__(self, panel: Panel, viewer: Viewer) -> None:
        super().__init__(panel)
        self._viewer = viewer
        self.kind = QComboBox()
        self.kind.addItems([LAYERS, FOLDER])
        self.folder = FolderField("one sub-folder per condition")
        self.source = choice_box()
        self.target = choice_box()
        self.summary = note()
        self._form = form = panel.section("Images")
        form.row("Images from", self.kind, "Train on layers open in the viewer, or on a folder.")
        form.row(
            "Folder",
            self.folder,
            "A folder with one sub-folder of TIFFs per condition. It can be dropped here.",
        )
        form.row("Source", self.source, "The condition to translate from, for example untreated.")
        form.row("Target", self.target, "The condition to see the cells in, for example treated.")
        form.wide(self.summary)
        self._watch = LayerWatch(viewer, self)
        self._watch.changed.connect(self._on_layers)
        self.kind.currentIndexChanged.connect(self.refresh)
        self.folder.changed.connect(self.refresh)
        self.source.currentIndexChanged.connect(self._on_choice)
        self.target.currentIndexChanged.connect(self._on_choice)
        self.refresh()

    def path(self) -> Path | None:
        """Return the folder, None if the images are open layers."""
        return self.folder.path() if self.kind.currentText() == FOLDER else None

    def choices(self) -> tuple[ConditionChoice | None, ConditionChoice | None]:
        """Return source and target, as far as they are chosen."""
        return self.source.currentData(), self.target.currentData()

    def refresh(self) -> None:
        """List the conditions there are now."""
        from_folder = self.kind.currentText() == FOLDER
        self._form.show_row(self.folder, from_folder)
        conditions: tuple[ConditionChoice, ...]
        if from_folder:
            path = self.folder.path()
            conditions = conditions_in_folder(path) if path is not None else ()
        else:
            conditions = conditions_of_layers(self._viewer.layers)
        fill_pair(self.source, self.target, [(c.label(), c) for c in conditions])
        self._on_choice()

    def _on_layers(self) -> None:
        if self.kind.currentText() == LAYERS:
            self.refresh()

    def _on_choice(self) -> None:
        source, _ = self.choices()
        if source is None:
            self.summary.setText(
                "Drop TIFFs, or a folder with one sub-folder per condition, on the viewer, or "
                "choose a folder above."
            )
        else:
            channels = ", ".join(source.channel_names) or "unknown"
            self.summary.setText(f"Channels: {channels}")
        self.changed.emit()
