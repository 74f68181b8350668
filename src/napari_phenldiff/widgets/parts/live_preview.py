"""The check box for the preview of objects, and the thread that cuts them out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING
from weakref import ref

from napari.qt.threading import create_worker
from qtpy.compat import isalive
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QCheckBox, QVBoxLayout, QWidget

from napari_phenldiff.errors import InputError
from napari_phenldiff.viewer.measuring import MeasuringRequest
from napari_phenldiff.viewer.object_preview import (
    ObjectPreview,
    PreviewTarget,
    SupersededError,
    make_preview_layer,
    outline,
    preview_layer,
    preview_target,
    remove_preview,
    show_preview,
)
from napari_phenldiff.widgets.parts.form import note
from napari_phenldiff.widgets.parts.listening import listen

if TYPE_CHECKING:
    from napari.layers import Labels, Layer
    from napari.viewer import Viewer

_log = logging.getLogger(__name__)

_WAIT_MS = 150
"""Scrolling a spin box emits many changes; objects are cut out once it rests for so long."""

_AT_ONCE_MS = 10
"""Delay of the first change after a rest: a single click may emit several changes."""

_TOLD_MS = 200


class _Task:
    """One image to cut objects out of, in a thread; `wanted` is cleared by the GUI's."""

    def __init__(self, target: PreviewTarget, *, first: bool) -> None:
        self.target = target
        self._first = first
        self.layer: Labels | None = None
        self.wanted = True
        self.doing = ""

    def __call__(self) -> ObjectPreview | str | None:
        try:
            preview = outline(self.target, self._on_step)
            if self._first:
                self.layer = make_preview_layer(preview)
            return preview
        except SupersededError:
            return None
        except InputError as error:
            return str(error)
        except Exception as error:
            _log.exception("the objects could not be previewed")
            return f"The objects could not be previewed: {type(error).__name__}: {error}"

    def _on_step(self, doing: str) -> None:
        self.doing = doing
        if not self.wanted:
            raise SupersededError


class LivePreview(QWidget):
    """A check box and a note: show the objects of the current image whenever something has changed.

    While the box is checked there is a preview as soon as there are images. After `end` it waits
    for `touch`, since objects that were measured are layers of their own. One thread works at a
    time; what is asked for meanwhile is done after it, the latest only.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Whose images are looked at.
    request : callable
        Returns what is to be measured now; it may raise InputError.
    """

    changed = Signal()
    """Emitted when the user has checked or cleared the box."""

    shown = Signal()
    """Emitted when there is a new preview, or a reason why there is none."""

    def __init__(self, viewer: Viewer, request: Callable[[], MeasuringRequest]) -> None:
        super().__init__()
        self._viewer, self._request = viewer, request
        self._touched = False
        self._ended = False
        self._task: _Task | None = None
        self._there = False
        self._watched: list[Layer] = []
        self.thresholds: Mapping[str, float] = {}
        self.box = QCheckBox("Preview on this image")
        self.box.setChecked(True)
        self.box.setToolTip(
            "Outline the objects of the image that is looked at, with these settings, whenever a "
            "setting or the slider has changed. For translocation the second outline is the ring."
        )
        self.note = note()
        self.note.setVisible(False)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self.box)
        layout.addWidget(self.note)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._start)
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(_WAIT_MS)
        self._told = QTimer(self)
        self._told.setInterval(_TOLD_MS)
        self._told.timeout.connect(self._tell)
        self.box.toggled.connect(self._on_box)
        listen(self, viewer.dims.events.point, self._on_event)
        listen(self, viewer.canvas.grid.events.enabled, self._on_event)

    @property
    def touched(self) -> bool:
        """Whether there is to be a preview, as far as the box is checked."""
        return self._touched

    @property
    def ended(self) -> bool:
        """Whether the preview waits for a change."""
        return self._ended

    def touch(self) -> None:
        """Show a preview from now on: the user has changed something."""
        self._touched, self._ended = True, False
        self.schedule()

    def schedule(self) -> None:
        """Update the preview soon, if it is switched on and wanted."""
        if self._touched and self.box.isChecked():
            if self._task is not None:
                self._task.wanted = False
            resting = not self._rest.isActive() and self._task is None
            self._timer.start(_AT_ONCE_MS if resting else _WAIT_MS)
            self._rest.start()

    def end(self) -> None:
        """Remove the preview until something is changed again."""
        self._touched, self._ended = False, True
        self._clear()
        if self.box.isChecked():
            self._say("What was measured is outlined by layers. A change is previewed again.")

    def on_layers(self) -> None:
        """Find out whether the images and the preview are still open."""
        same = all(layer in self._viewer.layers for layer in self._watched)
        self._watch()
        gone = self._there and preview_layer(self._viewer) is None
        if gone:
            # Removing the preview layer alone switches the preview off; removing the images removes
            # the preview too, and keeps it switched on.
            self._there = False
            self.thresholds = {}
            if self._watched and same:
                self.box.setChecked(False)
                self.changed.emit()
                return
        if not self._watched:
            self._touched = False
            self._clear()
        else:
            self._touched = not self._ended
            self.schedule()

    # ---- what happens ------------------------------------------------------------------------

    def _start(self) -> None:
        if not (self._touched and self.box.isChecked()):
            return
        if self._task is not None:
            return  # `_on_done` starts anew
        try:
            target = preview_target(self._viewer, self._request())
            task = _Task(target, first=preview_layer(self._viewer) is None)
        except InputError as error:
            self._hide()
            self._say(str(error))
            return
        self._watch()
        self._task = task
        worker = create_worker(task, _start_thread=False)
        done = partial(_tell_when_done, ref(self), task)
        worker.returned.connect(done)
        worker.errored.connect(lambda error: done(None))
        worker.start()
        self._told.start()

    def _on_done(self, task: _Task, result: ObjectPreview | str | None) -> None:
        if not isalive(self):
            return
        self._task = None
        self._told.stop()
        if not (self._touched and self.box.isChecked()):
            return
        if not task.wanted:
            if not self._timer.isActive():
                self._start()
            return
        if isinstance(result, str):
            self._hide()
            self._say(result)
        elif result is not None:
            show_preview(self._viewer, result, task.layer)
            self._there = True
            self.thresholds = result.thresholds
            self._say(result.text)

    def _tell(self) -> None:
        if self._task is not None and self._task.doing:
            self._say(self._task.doing, done=False)

    def _say(self, text: str, *, done: bool = True) -> None:
        self.note.setText(text)
        self.note.setVisible(bool(text))
        if done:
            self.shown.emit()

    def _clear(self) -> None:
        self._timer.stop()
        if self._task is not None:
            self._task.wanted = False
        self._hide()
        self._say("")

    def _hide(self) -> None:
        self._there = False
        # They belong to what was previewed: another profile has other thresholds.
        self.thresholds = {}
        remove_preview(self._viewer)

    def _watch(self) -> None:
        """Listen to the images that may be shown: whether they are seen, and what they hold."""
        try:
            groups = self._request().groups().values()
        except InputError:
            return
        layers = [layer for group in groups for layer in group.layers]
        for layer in self._watched:
            if layer not in layers:
                layer.events.visible.disconnect(self._on_event)
                layer.events.data.disconnect(self._on_event)
        for layer in layers:
            if layer not in self._watched:
                listen(self, layer.events.visible, self._on_event)
                listen(self, layer.events.data, self._on_event)
        self._watched = layers

    def _on_event(self, event: object = None) -> None:
        if isalive(self):
            self.schedule()

    def _on_box(self, checked: bool) -> None:
        if checked:
            self.touch()
        else:
            self._clear()
        self.changed.emit()


def _tell_when_done(
    preview: ref[LivePreview], task: _Task, result: ObjectPreview | str | None
) -> None:
    """Tell the check box, which the thread must not keep: its dock may have been closed."""
    there = preview()
    if there is not None:
        there._on_done(task, result)
