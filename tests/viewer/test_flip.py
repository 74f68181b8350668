from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.images.image import Image
from napari_phenldiff.viewer.flip import FLIP_KEY, bind_flip, flip
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.side_by_side import (
    latest_translation,
    side_by_side,
    translation_panes,
)


@pytest.fixture
def translated(viewer: ViewerModel, make_image) -> ViewerModel:
    image: Image = make_image("a")
    real = [
        viewer.add_image(plane, name=f"control: {name}")
        for plane, name in zip(image.data, image.channel_names, strict=True)
    ]
    viewer.add_image(np.zeros((4, 4)), name="something else")
    add_translation(viewer, real, NewTranslation([image], [image], "control", "treated"))
    viewer.add_labels(np.zeros((4, 4), int), name="outlines")
    return viewer


def shown(viewer: ViewerModel) -> list[str]:
    return [layer.name for layer in viewer.layers if layer.visible]


def test_real_and_translated_take_turns_and_nothing_else_is_seen(translated: ViewerModel):
    assert flip(translated) == "real"
    real = [name for name in shown(translated) if name != "outlines"]
    assert [name.split(":")[0] for name in real] == ["control"] * len(real)
    assert flip(translated) == "translated"
    assert all(name.startswith("→") for name in shown(translated) if name != "outlines")
    assert len(shown(translated)) == len(real) + 1
    assert "outlines" in shown(translated)


def test_a_channel_that_is_hidden_stays_hidden(translated: ViewerModel):
    flip(translated)
    translated.layers["control: DNA"].visible = False
    flip(translated)
    assert not translated.layers["→ treated: DNA"].visible
    assert translated.layers["→ treated: marker"].visible
    flip(translated)
    assert not translated.layers["control: DNA"].visible


def test_it_ends_the_comparison(translated: ViewerModel):
    panes = translation_panes(translated.layers, latest_translation(translated.layers))
    side_by_side(translated).on(panes)
    flip(translated)
    assert not side_by_side(translated).is_on


def test_without_a_translation_nothing_happens(viewer: ViewerModel):
    viewer.add_image(np.zeros((4, 4)))
    assert flip(viewer) is None
    assert viewer.layers[0].visible


def test_without_the_real_layers_nothing_happens(translated: ViewerModel):
    for layer in [x for x in translated.layers if x.name.startswith("control")]:
        translated.layers.remove(layer)
    before = shown(translated)
    assert flip(translated) is None
    assert shown(translated) == before


def test_the_key_flips_and_takes_no_key_of_anybody_else(translated: ViewerModel):
    bind_flip(translated)
    bind_flip(translated)
    translated.keymap[next(key for key in translated.keymap if str(key) == FLIP_KEY)](translated)
    assert any(layer.visible for layer in translated.layers if layer.name.startswith("control"))

    other = ViewerModel()
    pressed: list[int] = []
    other.bind_key(FLIP_KEY, lambda viewer: pressed.append(1))
    bind_flip(other)
    next(iter(other.keymap.values()))(other)
    assert pressed == [1]


def test_the_canvas_says_which_image_one_sees_until_something_else_is_shown(
    translated: ViewerModel,
):
    words = translated.canvas.overlays.text
    flip(translated)
    assert (words.visible, words.text) == (True, "real: control")
    flip(translated)
    assert (words.visible, words.text) == (True, "translated → treated")

    translated.layers["outlines"].visible = False
    assert words.visible, "no image was shown or hidden"
    translated.layers["something else"].visible = True
    assert (words.visible, words.text) == (False, "")
    flip(translated)
    assert words.text == "real: control"
    translated.layers.clear()
    assert not words.visible


def test_words_of_somebody_else_on_the_canvas_stay(translated: ViewerModel):
    flip(translated)
    translated.canvas.overlays.text.text = "mine"
    translated.layers["something else"].visible = True
    assert translated.canvas.overlays.text.text == "mine"
