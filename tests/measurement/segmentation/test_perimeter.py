"""Length of outlines."""

import numpy as np
import pytest
from scipy import ndimage as ndi
from skimage import measure

from napari_phenldiff.measurement.segmentation.outlines import perimeter


@pytest.mark.parametrize("seed", range(6))
def test_perimeter_is_that_of_scikit_image(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(3, 90, 2)
    for sigma in (0, 1, 3):
        mask = ndi.gaussian_filter(rng.normal(size=shape), sigma) > 0
        assert perimeter(mask) == pytest.approx(measure.perimeter(mask), rel=1e-12)


def test_perimeter_of_nothing_of_everything_and_of_one_pixel():
    assert perimeter(np.zeros((5, 6), bool)) == 0.0
    everything = np.ones((5, 6), bool)
    assert perimeter(everything) == measure.perimeter(everything)
    one = np.zeros((5, 6), bool)
    one[2, 3] = True
    assert perimeter(one) == measure.perimeter(one)
