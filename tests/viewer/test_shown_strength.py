from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.viewer.layer_groups import LayerInfo
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.shown_strength import layers_of, show_at, strengths_of


@pytest.fixture
def images(make_image) -> list[Image]:
    return [make_image(name) for name in "abc"]


@pytest.fixture
def translation(viewer: ViewerModel, images: list[Image]) -> str:
    real = [
        viewer.add_image(np.stack([i.data[c] for i in images]), name=f"control: {name}")
        for c, name in enumerate(images[0].channel_names)
    ]
    return add_translation(viewer, real, NewTranslation(images, images, "control", "drug"))


def doubled(image: Image) -> Image:
    return replace(image, data=(image.data // 2).astype(image.data.dtype))


def test_a_field_is_shown_at_another_strength_and_the_others_stay(viewer, images, translation):
    show_at(viewer.layers, translation, 1, doubled(images[1]), 0.5)

    layer = viewer.layers["→ drug × various: marker"]
    np.testing.assert_array_equal(layer.data[1], images[1].data[1] // 2)
    np.testing.assert_array_equal(layer.data[[0, 2]], [images[0].data[1], images[2].data[1]])
    change = viewer.layers["difference: marker"]
    expected = images[1].data[1] // 2 - images[1].data[1].astype(float)
    np.testing.assert_array_equal(change.data[1], expected)
    assert not change.data[0].any()
    assert strengths_of(viewer.layers, translation) == [1.0, 0.5, 1.0]
    assert LayerInfo.of(change).provenance["strengths"] == [1.0, 0.5, 1.0]
    assert LayerInfo.of(viewer.layers["reconstructed: marker"]).provenance["strengths"] == [0] * 3


def test_names_tell_the_strength_unless_somebody_has_named_the_layer(viewer, images, translation):
    viewer.layers["→ drug: DNA"].name = "mine"
    for place in range(3):
        show_at(viewer.layers, translation, place, doubled(images[place]), 0.25)
    assert "→ drug × 0.25: marker" in viewer.layers
    assert "mine" in viewer.layers
    assert LayerInfo.of(viewer.layers["mine"]).provenance["strength"] == 0.25
    for place in range(3):
        show_at(viewer.layers, translation, place, images[place], 1.0)
    assert "→ drug: marker" in viewer.layers


def test_a_single_image_without_a_slider(viewer, images):
    real = [viewer.add_image(plane) for plane in images[0].data]
    new = NewTranslation(images[:1], images[:1], "control", "drug", strength=0.5)
    translation = add_translation(viewer, real, new)
    assert "→ drug × 0.5: marker" in viewer.layers

    show_at(viewer.layers, translation, 0, doubled(images[0]), 1.0)
    np.testing.assert_array_equal(viewer.layers["→ drug: marker"].data, images[0].data[1] // 2)


def test_the_view_is_redrawn(viewer, images, translation):
    drawn: list[int] = []
    viewer.layers["→ drug: marker"].events.set_data.connect(lambda: drawn.append(1))
    show_at(viewer.layers, translation, 0, doubled(images[0]), 0.5)
    assert drawn


def test_layers_that_have_gone_or_changed_are_told(viewer, images, translation):
    marker = viewer.layers["→ drug: marker"]
    viewer.layers.remove("→ drug: DNA")
    show_at(viewer.layers, translation, 0, doubled(images[0]), 0.5)
    viewer.layers.remove("reconstructed: marker")
    show_at(viewer.layers, translation, 0, doubled(images[0]), 0.6)
    assert strengths_of(viewer.layers, translation) == [0.6, 1.0, 1.0]

    marker.data = marker.data[:, :4, :4]
    with pytest.raises(InputError, match="another shape"):
        show_at(viewer.layers, translation, 0, images[0], 1.0)
    marker.data = np.zeros((1, *images[0].data.shape[1:]), np.uint8)
    with pytest.raises(InputError, match="no longer has image 3"):
        show_at(viewer.layers, translation, 2, images[2], 1.0)
    viewer.layers.remove(marker)
    assert layers_of(viewer.layers, translation, "translated") == {}
    assert strengths_of(viewer.layers, translation) == []
    with pytest.raises(InputError, match="have been removed"):
        show_at(viewer.layers, translation, 0, images[0], 1.0)
