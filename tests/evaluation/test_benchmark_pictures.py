from __future__ import annotations

import numpy as np

from napari_phenldiff.evaluation.benchmark.folder import Made
from napari_phenldiff.evaluation.benchmark.pictures import pictures
from napari_phenldiff.images.image import Image


def image(name: str, level: int) -> Image:
    data = np.full((2, 16, 16), level, np.uint8)
    return Image(data, ("DNA", "actin"), None, name)


def test_fields_without_cells_are_not_shown():
    sources = [image(f"i{k}", level) for k, level in enumerate([2, 90, 100, 110])]
    made = Made(tuple(sources), tuple(sources), tuple(sources), 1.0, 0.0)
    figure = pictures(sources, {"copy": made}, sources, source="a", target="b")
    names = [axes.get_xlabel() for axes in figure.axes]
    assert [name for name in names if name] == ["i1", "i2", "i3"]


def test_images_that_are_all_alike_are_shown_in_their_order():
    sources = [image(f"i{k}", 0) for k in range(5)]
    made = Made(tuple(sources), tuple(sources), tuple(sources), 1.0, 0.0)
    figure = pictures(sources, {"copy": made}, sources, source="a", target="b", images=2)
    names = [axes.get_xlabel() for axes in figure.axes]
    assert [name for name in names if name] == ["i0", "i1"]
