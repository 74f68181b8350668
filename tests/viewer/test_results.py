from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.viewer.layers import LayerGroup, LayerInfo, group_layers
from napari_phenldiff.viewer.results import add_translation


@pytest.fixture
def untreated(experiment_folder: Path, open_in, viewer: ViewerModel) -> LayerGroup:
    open_in(experiment_folder)
    return next(g for g in group_layers(viewer.layers) if g.name == "untreated")


def translate(viewer, group: LayerGroup, *, field: int | None = None, real=None) -> str:
    images = group.images() if field is None else group.images()[field : field + 1]
    return add_translation(
        viewer,
        group.layers if real is None else real,
        images,
        images,
        source="untreated",
        target="treated",
        provenance={"seed": 7},
        field=field,
    )


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
    ]
    assert [layer.colormap.name for layer in added] == ["magenta", "green"] * 2
    assert [layer.gamma for layer in added] == [0.5, 1.0] * 2
    assert all(np.allclose(layer.scale, untreated.layers[0].scale) for layer in added)
    assert [layer.blending for layer in added] == ["opaque", "additive"] * 2
    infos = [LayerInfo.of(layer) for layer in added]
    assert [info.role for info in infos] == ["reconstructed"] * 2 + ["translated"] * 2
    assert [info.condition for info in infos] == ["untreated"] * 2 + ["treated"] * 2
    assert {info.translation for info in infos} == {identity}
    assert infos[3].provenance == {"source": "untreated", "target": "treated", "seed": 7}
    assert infos[3].images == ("untreated_0", "untreated_1", "untreated_2")


def test_channels_are_linked_in_how_intensity_is_shown_and_nothing_else(viewer, untreated):
    translate(viewer, untreated)
    dna, marker = untreated.layers
    _, _, reconstructed_dna, _, translated_dna, translated_marker = list(viewer.layers)[2:]

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

    layer = viewer.layers[-1]
    assert layer.data.shape == (1, 24, 32)
    np.testing.assert_allclose(layer.translate, (2, 0, 0))
    np.testing.assert_allclose(layer.scale, untreated.layers[0].scale)
    np.testing.assert_array_equal(layer.data[0], untreated.layers[1].data[2])


def test_a_real_layer_that_has_left_lends_its_look_only(viewer, untreated):
    dna, _ = untreated.layers
    images = untreated.images()
    viewer.layers.remove(dna)

    add_translation(
        viewer,
        untreated.layers,
        images,
        images,
        source="untreated",
        target="treated",
        provenance={},
    )

    reconstructed_dna, _, translated_dna, _ = list(viewer.layers)[3:]
    translated_dna.contrast_limits = (1, 2)
    assert tuple(reconstructed_dna.contrast_limits) == (1, 2)
    assert tuple(dna.contrast_limits) != (1, 2)


def test_results_without_images_are_refused(viewer, untreated):
    with pytest.raises(InputError, match="no translated images"):
        add_translation(viewer, untreated.layers, [], [], source="a", target="b", provenance={})
    with pytest.raises(InputError, match="2 channels, the layers 1"):
        translate(viewer, untreated, real=untreated.layers[:1])
    assert len(viewer.layers) == 4
