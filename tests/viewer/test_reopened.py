from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.viewer.layer_groups import LayerInfo, group_layers
from napari_phenldiff.viewer.measuring import translations
from napari_phenldiff.viewer.reader import experiment_layers, read_layers
from napari_phenldiff.viewer.writers import write_images


@pytest.fixture
def saved(tmp_path: Path, viewer: ViewerModel, add_translated) -> Path:
    """Real images of one condition and a translation of them, saved into one folder."""
    pairs = list(simulate_pairs("translocation", 3, size=64))
    source, target = [pair.source for pair in pairs], [pair.target for pair in pairs]
    for data, arguments, _ in experiment_layers({"untreated": source}):
        viewer.add_image(data, **arguments)
    add_translated(viewer, source, target)
    tuples = [layer.as_layer_data_tuple() for layer in viewer.layers]
    write_images(str(tmp_path / "all.tif"), tuples)
    return tmp_path


def test_a_translation_is_opened_again_as_one(saved: Path, viewer: ViewerModel):
    before = {LayerInfo.of(layer).role: layer for layer in viewer.layers}
    names = LayerInfo.of(before["translated"]).images
    opened = ViewerModel()
    for data, arguments, _ in read_layers(saved):
        opened.add_image(data, **arguments)

    (real,) = group_layers(opened.layers)
    assert real.n_images == 3
    ((identity, groups),) = translations(opened.layers).items()
    assert identity == "t1"
    assert set(groups) == {"reconstructed", "translated"}
    translated = groups["translated"]
    assert translated.infos[0][0].images == names
    assert translated.infos[0][0].provenance["target"] == "treated"
    np.testing.assert_array_equal(translated.layers[1].data, before["translated"].data)
    np.testing.assert_allclose(translated.layers[0].scale, before["translated"].scale)
    assert translated.layers[0].name == "→ treated: DNA"


def test_only_what_a_model_made_is_opened_when_there_is_nothing_else(saved: Path):
    file = next(saved.glob("*translated.tif"))
    layers = read_layers(file)
    roles = {arguments["metadata"]["napari-phenldiff"]["role"] for _, arguments, _ in layers}
    assert roles == {"translated"}
