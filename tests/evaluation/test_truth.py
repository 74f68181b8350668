from __future__ import annotations

from types import SimpleNamespace

import numpy as np

from napari_phenldiff.evaluation.truth import against_truth
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling


def test_images_that_could_not_be_measured_are_not_counted_among_those_of_the_effect():
    rng = np.random.default_rng(0)
    images = [
        Image(rng.integers(0, 200, (1, 16, 16)).astype(np.uint8), ("GFP",), None, f"i{k}")
        for k in range(6)
    ]
    brighter = [Image(i.data + np.uint8(20), i.channel_names, None, i.name) for i in images]

    def values(of):
        found = np.array([float(image.data.mean()) for image in of])
        if of is brighter:
            found[1] = np.nan
        return found

    measured = SimpleNamespace(values=values)
    scaling = IntensityScaling.fit([*images, *brighter])
    truth = against_truth(images, images, list(brighter), brighter, scaling, measured)
    assert (truth.n, truth.n_measured) == (6, 5)
    assert truth.effect_error == 0
