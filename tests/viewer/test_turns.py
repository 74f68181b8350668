from __future__ import annotations

import gc

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_phenldiff.viewer.turns import add_quietly, adding, in_turns, remove_layers, turns


def test_layers_come_one_in_a_turn_and_the_selection_stays(viewer: ViewerModel):
    first = viewer.add_image(np.zeros((4, 4)), name="first")
    later: list = []

    def add():
        for name in ("a", "b"):
            yield from add_quietly(viewer, Image(np.ones((4, 4)), name=name))
            yield

    in_turns(viewer, add(), later.append)
    assert len(viewer.layers) == 1, "the turn that asks has enough to do"
    later.pop(0)()
    seen = []
    while later:
        assert adding(viewer)
        seen.append([(layer.name, layer.visible) for layer in viewer.layers][1:])
        later.pop(0)()

    assert seen == [
        [("a", False)],  # drawn for the first time in a turn of its own
        [("a", True)],
        [("a", True), ("b", False)],
        [("a", True), ("b", True)],
    ]
    assert not adding(viewer)
    assert viewer.layers.selection.active is first


def test_what_fails_ends_the_adding(viewer: ViewerModel, caplog: pytest.LogCaptureFixture):
    later: list = []

    def add():
        yield
        raise RuntimeError("the viewer is half closed")

    in_turns(viewer, add(), later.append)
    for _ in range(2):
        later.pop(0)()
    assert not later
    assert gc.isenabled()
    assert not adding(viewer)
    assert "could not be added" in caplog.text


def test_no_pass_over_all_objects_falls_into_the_adding_of_layers(viewer: ViewerModel):
    later: list = []
    ended: list = []
    turns.ended.connect(ended.append)
    in_turns(viewer, iter([None]), later.append)
    in_turns(viewer, iter([None]), later.append)
    collecting = []
    while later:
        collecting.append(gc.isenabled())
        assert not ended
        later.pop(0)()
    turns.ended.disconnect(ended.append)
    assert not any(collecting)
    assert gc.isenabled()
    assert ended == [viewer]


def test_a_collector_that_is_off_stays_off(viewer: ViewerModel):
    later: list = []
    gc.disable()
    try:
        in_turns(viewer, iter([None]), later.append)
        while later:
            later.pop(0)()
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize(("collect", "passes"), [(True, 1), (False, 0)])
def test_layers_are_removed_with_one_pass_of_the_collector_or_none(
    viewer: ViewerModel, collect, passes
):
    layers = [viewer.add_image(np.zeros((4, 4)), name=name) for name in "abc"]
    elsewhere = Image(np.zeros((4, 4)))
    frozen: list[bool] = []
    viewer.layers.events.removed.connect(lambda: frozen.append(gc.get_freeze_count() > 0))
    remove_layers(viewer, [*layers, elsewhere], collect=collect)
    assert not viewer.layers
    assert len(frozen) == 3
    assert frozen.count(False) == passes, "napari's pass finds nothing in what is frozen"
    assert gc.get_freeze_count() == 0
