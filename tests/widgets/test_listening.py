from __future__ import annotations

import gc

import pytest
from napari.components import ViewerModel
from napari.utils.events import EventEmitter
from qtpy.QtCore import QObject

from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.measure_dock import MeasureWidget
from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.translate_dock import TranslateWidget


class Listener(QObject):
    def __init__(self) -> None:
        super().__init__()
        self.heard = 0

    def hear(self, event: object = None) -> None:
        self.heard += 1


def test_who_listens_hears_once_and_leaves_nothing_behind(qapp):
    emitter = EventEmitter(type_name="news")
    listener = Listener()
    listen(listener, emitter, listener.hear)
    listen(listener, emitter, listener.hear)
    emitter()
    assert listener.heard == 1

    del listener
    gc.collect()

    assert emitter.callbacks == ()


@pytest.mark.parametrize("kind", [FineTuneWidget, TranslateWidget, MeasureWidget])
def test_a_closed_dock_leaves_nobody_listening(qtbot, qapp, model: ViewerModel, kind):
    def count() -> int:
        models = [model, model.layers, model.dims, model.canvas.grid, *model.layers]
        groups = [one.events for one in models]
        return sum(
            len(emitter.callbacks)
            for group in groups
            for emitter in (group, *group.emitters.values())
        )

    def open_and_close() -> None:
        dock = kind(model)
        dock.show()
        qtbot.wait(50)
        dock.close()
        dock.deleteLater()
        del dock
        qtbot.wait(50)
        gc.collect()

    open_and_close()
    before = count()
    for _ in range(3):
        open_and_close()

    def nobody_is_left() -> bool:
        gc.collect()  # what a thread still held when the dock was closed
        return count() == before

    qtbot.waitUntil(nobody_is_left, timeout=10_000)
