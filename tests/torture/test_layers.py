"""Metadata of layers that are anything: the same images, or a sentence, and nothing that raises."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY, entry_in
from napari_phenldiff.images.layers import images_from_layers
from napari_phenldiff.viewer.layer_data import stack_layers
from napari_phenldiff.viewer.layer_groups import LayerInfo, group_layers


def layers(role: str) -> list:
    """Two channels of three images, as the plugin adds them."""
    from napari.layers import Image as ImageLayer

    rng = np.random.default_rng(0)
    images = [
        Image(rng.integers(1, 999, (2, 9, 11), dtype=np.uint16), ("DNA", "marker"), None, f"i{k}")
        for k in range(3)
    ]
    infos = [
        LayerInfo(
            "treated", channel, index, ("i0", "i1", "i2"), (None,) * 3, role=role,
            translation="t1", provenance={"source": "untreated", "strengths": [1.0] * 3},
        )
        for index, channel in enumerate(("DNA", "marker"))
    ]  # fmt: skip
    made = stack_layers(["treated: DNA", "treated: marker"], infos, images, [(0, 999)] * 2)
    return [ImageLayer(data, **arguments) for data, arguments, _ in made]


@pytest.mark.parametrize("role", ["real", "translated"])
def test_layer_metadata(torture, odd, attempt, role, tmp_path):
    from napari.components import ViewerModel

    from napari_phenldiff.viewer.shown_name import names_shown
    from napari_phenldiff.viewer.writers import write_images

    trial = torture(f"the metadata of a layer of {role} images hold odd values", 30)
    whole = layers(role)
    entries = [layer.metadata[LAYER_METADATA_KEY] for layer in whole]
    for rng in trial.tries():
        for layer, entry in zip(whole, entries, strict=True):
            changed = odd(entry, rng) if rng.random() < 0.7 else entry
            layer.metadata = {LAYER_METADATA_KEY: changed}

        def work() -> None:
            viewer = ViewerModel()
            viewer.layers.extend(whole)
            groups = group_layers(viewer.layers)
            # What says nothing of a role is a layer of anybody, and real.
            real = [
                layer
                for layer in whole
                if (entry_in(layer.metadata) or {}).get("role", "real") == "real"
            ]
            found = []
            for group in groups:
                _ = group.channel_names, group.sizes, group.n_images, group.label()
                images = images_from_layers(group.name, group.snapshot().layers)
                planes = [plane for image in images for plane in image.data]
                found.append(sum(int(plane.sum()) for plane in planes))
            if sum(found) != sum(int(layer.data.sum()) for layer in real):
                trial.lose(f"other pixels than in the layers: {found}")
            names_shown(viewer)
            viewer.layers.clear()

        attempt(trial, repr([layer.metadata for layer in whole])[:400], work)
        saved = [layer.as_layer_data_tuple() for layer in whole]
        attempt(trial, "write", partial(write_images, str(tmp_path / "saved.tif"), saved))
    trial.check()
