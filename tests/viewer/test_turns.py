from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_phenldiff.viewer.turns import add_quietly, adding, in_turns


def test_layers_come_one_in_a_turn_and_the_selection_stays(viewer: ViewerModel):
    first = viewer.add_image(np.zeros((4, 4)), name="first")
    turns: list = []

    def add():
        for name in ("a", "b"):
            yield from add_quietly(viewer, Image(np.ones((4, 4)), name=name))
            yield

    in_turns(viewer, add(), turns.append)
    seen = []
    while turns:
        assert adding(viewer)
        seen.append([(layer.name, layer.visible) for layer in viewer.layers][1:])
        turns.pop(0)()

    assert seen == [
        [("a", False)],  # drawn for the first time in a turn of its own
        [("a", True)],
        [("a", True), ("b", False)],
        [("a", True), ("b", True)],
    ]
    assert not adding(viewer)
    assert viewer.layers.selection.active is first


def test_what_fails_ends_the_adding(viewer: ViewerModel, caplog: pytest.LogCaptureFixture):
    turns: list = []

    def add():
        yield
        raise RuntimeError("the viewer is half closed")

    in_turns(viewer, add(), turns.append)
    turns.pop(0)()
    assert not turns
    assert not adding(viewer)
    assert "could not be added" in caplog.text
