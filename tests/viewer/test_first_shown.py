"""Opening never shows a black canvas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.viewer.first_shown import keep_something_shown, show_something
from napari_phenldiff.viewer.image_places import image_shown
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.reader import read_layers


@pytest.fixture
def watched(viewer: ViewerModel) -> ViewerModel:
    keep_something_shown(viewer)
    return viewer


def brightest(viewer: ViewerModel) -> float:
    """The largest value of what the visible layers show."""
    return max(
        float(np.nan_to_num(layer._slice.image.raw).max()) if not layer._slice.empty else 0.0
        for layer in viewer.layers
        if layer.visible
    )


def test_real_conditions_of_different_numbers_show_an_image(
    watched: ViewerModel, shared_data: Path
):
    for data, arguments, _ in read_layers(shared_data / "neurite_axotomy"):
        watched.add_image(data, **arguments)

    (visible,) = [
        group for group in group_layers(watched.layers) if any(la.visible for la in group.layers)
    ]
    assert visible.name == "cut_before"
    assert 0 <= image_shown(watched, visible) < 32
    assert brightest(watched) > 0


def test_a_slider_that_shows_something_is_left_alone(watched: ViewerModel, make_image, open_in):
    first = watched.add_image(np.ones((10, 4, 4)))
    watched.dims.set_point(0, 8)
    layers = read_layers_of(watched, 3)

    assert watched.dims.point[0] == 8
    assert first.visible
    first.visible = False
    show_something(watched)
    assert watched.dims.point[0] == 1
    assert brightest(watched) > 0
    assert len(layers) == 1


def test_planes_are_looked_for_as_well(watched: ViewerModel):
    deep = watched.add_image(np.ones((4, 20, 8, 8)), axis_labels=("field", "z", "y", "x"))
    watched.dims.set_point([0, 1], [3, 15])
    deep.visible = False
    metadata = {"napari-phenldiff": entry("flat")}

    watched.add_image(
        np.ones((2, 5, 8, 8)), axis_labels=("field", "z", "y", "x"), metadata=metadata
    )

    assert watched.dims.point[:2] == (0, 2)


def test_layers_of_others_move_nothing(watched: ViewerModel):
    watched.add_image(np.ones((30, 4, 4))).visible = False
    watched.dims.set_point(0, 25)

    watched.add_image(np.ones((3, 4, 4)))

    assert watched.dims.point[0] == 25


def entry(condition: str) -> dict[str, object]:
    return {"condition": condition, "channel": "DNA", "channel_index": 0, "images": ["a", "b"]}


def read_layers_of(viewer: ViewerModel, n: int) -> list[object]:
    return [viewer.add_image(np.ones((n, 4, 4)), metadata={"napari-phenldiff": entry("x")})]
