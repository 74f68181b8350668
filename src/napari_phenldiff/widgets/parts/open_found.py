"""Open what a folder or table holds as layers, arranged as a dock was told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from napari.qt.threading import create_worker
from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.viewer.first_shown import keep_something_shown
from napari_phenldiff.viewer.layer_data import LayerDataTuple
from napari_phenldiff.viewer.reader import dataset_layers
from napari_phenldiff.viewer.shown_name import tell_names
from napari_phenldiff.viewer.turns import in_turns
from napari_phenldiff.widgets.parts.idle import later_in

if TYPE_CHECKING:
    from napari.viewer import Viewer

_TEXT = "Open in the viewer"


class OpenFound(QPushButton):
    """A button that opens images as layers.

    A folder that is dropped on the viewer is arranged by the names of its files. Where these do not
    tell it, the dock asks for a pattern or a layout, and what it finds then can be looked at and
    measured too.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the layers are added.
    """

    opened = Signal()
    """Emitted when the layers are being added."""

    failed = Signal(str)
    """Emitted with why the images can't be opened."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__(_TEXT)
        self._viewer = viewer
        self._found: Dataset | None = None
        self._where: Path | None = None
        self.setToolTip("Open the images as layers, put together as it is said here")
        self.clicked.connect(self._on_click)

    def offer(self, found: Dataset | None, where: Path | None) -> None:
        """Take note of what could be opened.

        Parameters
        ----------
        found : Dataset or None
            The images.
        where : Path or None
            Folder or table that holds just these, arranged by itself.
        """
        self._found, self._where = found, where

    def _on_click(self) -> None:
        found, where = self._found, self._where
        if found is None:
            return
        self.setEnabled(False)
        self.setText("Reading …")
        worker = create_worker(lambda: _read(found, where), _start_thread=False)
        worker.returned.connect(self._show)
        worker.start()

    def _show(self, read: list[LayerDataTuple] | str) -> None:
        if not isalive(self):
            return
        self.setEnabled(True)
        self.setText(_TEXT)
        if isinstance(read, str):
            self.failed.emit(read)
            return
        keep_something_shown(self._viewer)
        tell_names(self._viewer)
        in_turns(self._viewer, _adding(self._viewer, read), later_in(self._viewer))
        self.opened.emit()


def _adding(viewer: Viewer, tuples: list[LayerDataTuple]) -> Iterator[None]:
    """Add a layer in each step."""
    from napari.layers import Layer

    for data, arguments, kind in tuples:
        viewer.add_layer(Layer.create(data, arguments, kind))
        yield


def _read(found: Dataset, where: Path | None) -> list[LayerDataTuple] | str:
    """Read the images, or say why they can't be read."""
    try:
        return dataset_layers(found.conditions, where)
    except (InputError, OSError) as error:
        return str(error)
