"""Images whose measurements are known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_phenldiff.images.image import Image

CENTRES = ((30, 30), (30, 95), (95, 30), (90, 92))


def disk(shape, centre, radius):
    y, x = np.ogrid[: shape[0], : shape[1]]
    return (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


@pytest.fixture
def make_cells():
    """Make a field of round cells with the given ratio of nucleus to cytoplasm."""

    def make(ratio, *, name="field", centres=CENTRES, seed=0, noise=0.5, brightness=100.0):
        rng = np.random.default_rng(seed)
        dna = np.full((128, 128), 10.0)
        marker = np.full((128, 128), 5.0)
        for centre in centres:
            marker[disk(marker.shape, centre, 18)] = 5 + 20
        for centre in centres:
            nucleus = disk(dna.shape, centre, 8)
            dna[nucleus] = 10 + brightness
            marker[nucleus] = 5 + 20 * ratio
        data = np.stack([dna, marker]) + rng.normal(0, noise, (2, 128, 128))
        return Image(data.astype(np.float32), ("DNA", "marker"), None, name)

    return make


@pytest.fixture
def make_plane():
    """Make an image of one channel."""

    def make(plane, *, name="plane", pixel_size=None):
        return Image(np.asarray(plane)[None], ("stain",), pixel_size, name)

    return make
