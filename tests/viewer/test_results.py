from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import LayerGroup, LayerInfo, group_layers
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.side_by_side import translation_panes


@pytest.fixture
def untreated(experiment_folder: Path, open_in, viewer: ViewerModel) -> LayerGroup:
    open_in(experiment_folder)
    return next(g for g in group_layers(viewer.layers) if g.name == "untreated")


def translate(viewer, group: LayerGroup, *, field: int | None = None, real=None, **more) -> str:
    images = (
        list(FieldImages(group)) if field is None else list(FieldImages(group))[field : field + 1]
    )
    new = NewTranslation(
        images,
        images,
        source="untreated",
        target="treated",
        provenance={"seed": 7},
        field=field,
        **more,
    )
    return add_translation(viewer, group.layers if real is None else real, new)


def test_results_are_named_coloured_and_scaled_like_the_real_ones(viewer, untreated):
    untreated.layers[0].colormap = "magenta"
    untreated.layers[0].gamma = 0.5

    identity = translate(viewer, untreated)

    added = list(viewer.layers)[4:]
    assert [layer.name for layer in added] == [
        "reconstructed: DNA",
        "reconstructed: marker",
        "→ treated: DNA",
        "→ treated: marker",
        "difference: DNA",
        "difference: marker",
    ]
    assert [layer.visible for layer in added] == [True] * 4 + [False] * 2
    assert [layer.colormap.name for layer in added] == ["magenta", "green"] * 2 + [
        "blue-orange"
    ] * 2
    assert [layer.gamma for layer in added[:4]] == [0.5, 1.0] * 2
    assert all(np.allclose(layer.scale, untreated.layers[0].scale) for layer in added)
    assert [layer.blending for layer in added] == ["opaque", "additive"] * 3
    infos = [LayerInfo.of(layer) for layer in added]
    assert [info.role for info in infos] == ["reconstructed"] * 2 + ["translated"] * 2 + [
        "difference"
    ] * 2
    assert [info.condition for info in infos[:4]] == ["untreated"] * 2 + ["treated"] * 2
    assert {info.translation for info in infos} == {identity}
    assert infos[3].provenance == {
        "source": "untreated",
        "target": "treated",
        "seed": 7,
        "strengths": [1.0] * 3,
    }
    assert infos[3].images == ("untreated_0", "untreated_1", "untreated_2")


def test_channels_are_linked_in_how_intensity_is_shown_and_nothing_else(viewer, untreated):
    translate(viewer, untreated)
    dna, marker = untreated.layers
    _, _, reconstructed_dna, _, translated_dna, translated_marker, *_ = list(viewer.layers)[2:]

    translated_dna.contrast_limits = (3, 40)
    dna.gamma = 1.5
    reconstructed_dna.colormap = "cyan"

    for layer in (dna, reconstructed_dna, translated_dna):
        assert tuple(layer.contrast_limits) == (3, 40)
        assert layer.gamma == 1.5
        assert layer.colormap.name == "cyan"
    assert marker.colormap.name == translated_marker.colormap.name == "green"
    assert tuple(marker.contrast_limits) != (3, 40)
    translated_dna.visible = False
    translated_dna.opacity = 0.3
    assert dna.visible
    assert dna.opacity == 1.0
    assert dna.metadata != translated_dna.metadata


def test_one_image_of_a_stack_appears_at_its_place(viewer, untreated):
    translate(viewer, untreated, field=2)

    layer = viewer.layers["→ treated: marker"]
    assert layer.data.shape == (1, 24, 32)
    np.testing.assert_allclose(layer.translate, (2, 0, 0))
    np.testing.assert_allclose(layer.scale, untreated.layers[0].scale)
    np.testing.assert_array_equal(layer.data[0], untreated.layers[1].data[2])


def test_a_real_layer_that_has_left_lends_its_look_only(viewer, untreated):
    dna, _ = untreated.layers
    images = list(FieldImages(untreated))
    viewer.layers.remove(dna)

    add_translation(
        viewer,
        untreated.layers,
        NewTranslation(images, images, source="untreated", target="treated"),
    )

    reconstructed_dna, _, translated_dna, *_ = list(viewer.layers)[3:]
    translated_dna.contrast_limits = (1, 2)
    assert tuple(reconstructed_dna.contrast_limits) == (1, 2)
    assert tuple(dna.contrast_limits) != (1, 2)


def test_results_without_images_are_refused(viewer, untreated):
    with pytest.raises(InputError, match="no translated images"):
        add_translation(viewer, untreated.layers, NewTranslation([], [], source="a", target="b"))
    with pytest.raises(InputError, match="2 channels, the layers 1"):
        translate(viewer, untreated, real=untreated.layers[:1])
    assert len(viewer.layers) == 4


def test_a_part_of_an_image_lies_upon_its_place(viewer, untreated):
    for layer in untreated.layers:
        layer.translate = (0, 10, 20)
    images = [
        Image(image.data[:, 4:20, 6:30], image.channel_names, image.pixel_size, image.name)
        for image in list(FieldImages(untreated))[1:2]
    ]
    new = NewTranslation(images, images, "untreated", "treated", field=1, corner=(4, 6))

    add_translation(viewer, untreated.layers, new)

    layer = viewer.layers["→ treated: marker"]
    assert layer.data.shape == (1, 16, 24)
    scale = untreated.layers[0].scale
    np.testing.assert_allclose(layer.translate, (1, 10 + 4 * scale[1], 20 + 6 * scale[2]))
    np.testing.assert_allclose(layer.scale, scale)
    assert layer.units == untreated.layers[0].units


def test_a_difference_is_in_grey_values_and_symmetric(viewer, untreated):
    real = list(FieldImages(untreated))
    changed = [Image(i.data // 2, i.channel_names, i.pixel_size, i.name) for i in real]
    untreated.layers[1].contrast_limits = (100, 300)

    add_translation(viewer, untreated.layers, NewTranslation(changed, real, "untreated", "treated"))

    layer = viewer.layers["difference: marker"]
    assert layer.data.dtype == np.float32
    expected = changed[2].data[1].astype(float) - real[2].data[1]
    np.testing.assert_array_equal(layer.data[2], expected)
    assert tuple(layer.contrast_limits) == (-100, 100)
    np.testing.assert_allclose(layer.colormap.map([0.5])[0][:3], 0, atol=0.01)
    layer.contrast_limits = (-5, 5)
    assert tuple(untreated.layers[1].contrast_limits) == (100, 300)


def test_a_layer_with_all_channels_is_shown_channel_by_channel(viewer):
    rng = np.random.default_rng(0)
    data = rng.integers(0, 255, (20, 30, 3), dtype=np.uint8)
    layer = viewer.add_image(data, rgb=True, name="control", translate=(5, 6), scale=(2, 2))
    (group,) = group_layers(viewer.layers)
    images = list(FieldImages(group))
    new = NewTranslation(images, images, "control", "drug", originals=images)

    identity = add_translation(viewer, group.layers, new)

    originals = [x for x in viewer.layers if x.name.startswith("original")]
    assert len(originals) == 3
    np.testing.assert_array_equal(originals[1].data, data[..., 1])
    np.testing.assert_allclose(originals[1].translate, (5, 6))
    assert [len(pane) for pane in translation_panes(viewer.layers, identity)] == [3] * 4
    assert [group.name for group in group_layers(viewer.layers)] == ["control"]
    originals[0].gamma = 0.4
    assert next(x for x in viewer.layers if x.name.startswith("→ drug")).gamma == 0.4
    assert layer in viewer.layers


def test_what_was_translated_is_selected(viewer, untreated):
    translate(viewer, untreated)
    assert viewer.layers.selection.active is viewer.layers["→ treated: marker"]
