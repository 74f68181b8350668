from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.images.image import Image
from napari_phenldiff.viewer import commands
from napari_phenldiff.viewer.layer_groups import LayerInfo
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.side_by_side import side_by_side
from napari_phenldiff.viewer.turns import in_turns


@pytest.fixture
def viewer(make_image) -> ViewerModel:
    """A viewer with one real image and two translations of it."""
    viewer = ViewerModel()
    image: Image = make_image("a")
    real = [viewer.add_image(plane, name=str(c)) for c, plane in enumerate(image.data)]
    for target in ("treated", "washed"):
        add_translation(viewer, real, NewTranslation([image], [image], "control", target))
    viewer.layers.selection.clear()
    return viewer


def shown_targets(viewer: ViewerModel) -> set[str]:
    infos = [LayerInfo.of(layer) for layer in viewer.layers if layer.visible]
    return {info.condition for info in infos if info.role == "translated"}


def test_compare_shows_the_translation_on_top_and_takes_it_back(viewer):
    order = list(viewer.layers)

    commands.compare(viewer)

    assert side_by_side(viewer).is_on
    assert viewer.canvas.grid.enabled
    assert shown_targets(viewer) == {"washed"}

    commands.compare(viewer)

    assert not viewer.canvas.grid.enabled
    assert list(viewer.layers) == order


def test_a_channel_that_cannot_be_compared_any_more_is_told(viewer, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(commands, "show_info", said.append)
    viewer.layers.remove("→ washed: marker")

    commands.compare(viewer)

    assert side_by_side(viewer).is_on
    assert said == ['The layer "→ washed: marker" was removed: translate again.']


def test_compare_shows_the_translation_that_is_selected(viewer):
    viewer.layers.selection = {layer for layer in viewer.layers if "→ treated" in layer.name}

    commands.compare(viewer)

    assert shown_targets(viewer) == {"treated"}


def test_nothing_is_compared_while_layers_are_being_added(viewer, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(commands, "show_info", said.append)
    later: list = []
    in_turns(viewer, iter([None]), later.append)
    commands.compare(viewer)
    assert not side_by_side(viewer).is_on
    assert "in a moment" in said[0]
    while later:
        later.pop(0)()
    commands.compare(viewer)
    assert side_by_side(viewer).is_on


def test_with_nothing_to_compare_this_is_said(monkeypatch):
    said: list[str] = []
    monkeypatch.setattr(commands, "show_info", said.append)
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 4)))

    commands.compare(viewer)

    assert "translate images first" in said[0]
    assert not viewer.canvas.grid.enabled


def test_flip_shows_the_real_image_and_the_translated_one_in_turn(viewer):
    commands.flip_images(viewer)
    assert shown_targets(viewer) == set()
    commands.flip_images(viewer)
    assert shown_targets(viewer) == {"washed"}


def test_flip_without_a_translation_says_so(monkeypatch):
    told: list[str] = []
    monkeypatch.setattr(commands, "show_info", told.append)
    commands.flip_images(ViewerModel())
    assert "translate images first" in told[0]
