from __future__ import annotations

import gc
import weakref
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.viewer.flip import flip
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_data import condition_layers
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.side_by_side import (
    comparison_panes,
    latest_translation,
    side_by_side,
    translation_panes,
)


@pytest.fixture
def translated(experiment_folder: Path, open_in, viewer: ViewerModel) -> str:
    """Layers of two conditions and of one translation, which is returned."""
    open_in(experiment_folder)
    group = next(g for g in group_layers(viewer.layers) if g.name == "untreated")
    images = list(FieldImages(group))
    return add_translation(
        viewer,
        group.layers,
        NewTranslation(images, images, source="untreated", target="treated"),
    )


def state(viewer: ViewerModel) -> dict:
    grid = viewer.canvas.grid
    return {
        "order": [layer.name for layer in viewer.layers],
        "visible": [layer.visible for layer in viewer.layers],
        "captions": [layer.name_overlay.visible for layer in viewer.layers],
        "grid": (grid.enabled, grid.stride, grid.shape, grid.spacing),
        "scale bar": viewer.canvas.overlays.scale_bar.gridded,
    }


def test_panes_hold_the_same_channels_of_each_kind(viewer: ViewerModel, translated: str):
    panes = translation_panes(viewer.layers, translated)

    assert [[layer.name for layer in pane] for pane in panes] == [
        ["untreated: DNA", "untreated: marker"],
        ["reconstructed: DNA", "reconstructed: marker"],
        ["→ treated: DNA", "→ treated: marker"],
        ["difference: DNA", "difference: marker"],
    ]


def test_each_pane_shows_its_layers_and_no_other(viewer: ViewerModel, translated: str):
    viewer.layers.reverse()
    panes = translation_panes(viewer.layers, translated)

    side_by_side(viewer).on(panes)

    grid = viewer.canvas.grid
    assert grid.actual_shape(viewer.layers) == (2, 2)
    for place, pane in enumerate(panes):
        shown = [viewer.layers[i] for i in grid.contents_at(divmod(place, 2), viewer.layers)]
        assert shown == pane
    visible = [layer for layer in viewer.layers if layer.visible]
    assert visible == [layer for pane in panes for layer in pane]
    assert all(layer.name_overlay.visible for layer in visible)
    green = panes[0][1].name_overlay.color
    np.testing.assert_allclose(green, (0, 1, 0, 1))
    for layer in visible:  # green on the white canvas of the light theme can't be read
        assert layer.name_overlay.box
        np.testing.assert_allclose(layer.name_overlay.box_color[:3], 0)


@pytest.mark.parametrize(("canvas", "least"), [((1400, 1800), 8.0), ((650, 560), 5.0)])
def test_captions_fit_into_their_panes(
    viewer: ViewerModel, make_image, canvas: tuple[int, int], least: float
):
    names = ("DAPI", "Mitotracker Deep Red", "F-actin")
    images = [make_image("a", shape=(64, 64), channels=names)]
    for condition in ("nocodazole 3 uM", "untreated"):
        for data, arguments, _ in condition_layers(condition, images, [(0, 100)] * 3):
            viewer.add_image(data, **arguments)
    real = [layer for layer in viewer.layers if layer.name.startswith("untreated")]
    new = NewTranslation(images, images, "untreated", "nocodazole 3 uM")
    panes = comparison_panes(viewer.layers, add_translation(viewer, real, new))
    viewer.canvas.size = canvas

    side_by_side(viewer).on(panes)

    (size,) = {layer.name_overlay.font_size for pane in panes for layer in pane}
    assert least <= size <= 8.0
    rows, columns = viewer.canvas.grid.actual_shape(viewer.layers)
    longest = max(len(layer.name) for pane in panes for layer in pane)
    assert 0.9 * size * longest < canvas[1] / columns
    assert 3 * 1.8 * size < canvas[0] / rows / 3


def test_a_dark_colour_is_lightened_in_captions(viewer: ViewerModel, translated: str):
    panes = translation_panes(viewer.layers, translated)
    panes[0][0].colormap = "magenta"
    side_by_side(viewer).on(panes)
    red, green, blue, _ = panes[0][0].name_overlay.color
    assert red == blue == 1
    assert 0.1 < green < 0.5


def test_the_real_target_is_compared_with_where_it_is_open(viewer: ViewerModel, translated: str):
    panes = comparison_panes(viewer.layers, translated)
    assert panes[:-1] == translation_panes(viewer.layers, translated)
    assert [layer.name for layer in panes[-1]] == ["treated: DNA", "treated: marker"]

    viewer.layers.remove("treated: marker")
    assert comparison_panes(viewer.layers, translated) == panes[:-1]


def test_the_difference_tells_what_its_colours_mean(viewer: ViewerModel, translated: str):
    panes = comparison_panes(viewer.layers, translated)
    plain = panes[3][0].colorbar.size
    panes[3][1].contrast_limits = (-7, 7)
    side_by_side(viewer).on(panes)

    shown = [layer.name for layer in viewer.layers if layer.colorbar.visible]
    assert shown == ["difference: DNA", "difference: marker"]

    side_by_side(viewer).off()
    assert not any(layer.colorbar.visible for layer in viewer.layers)
    assert panes[3][0].colorbar.size == plain

    panes[3][1].contrast_limits = panes[3][0].contrast_limits
    side_by_side(viewer).on(panes)  # one bar tells of both
    shown = [layer.name for layer in viewer.layers if layer.colorbar.visible]
    assert shown == ["difference: DNA"]


def test_off_restores_what_was(viewer: ViewerModel, translated: str):
    viewer.layers.reverse()
    viewer.layers[1].visible = False
    viewer.canvas.grid.stride = 4
    before = state(viewer)
    switch = side_by_side(viewer)

    switch.on(translation_panes(viewer.layers, translated))
    assert state(viewer) != before
    switch.off()

    assert state(viewer) == before
    assert not switch.is_on


def test_on_again_does_not_forget_how_it_was(viewer: ViewerModel, translated: str):
    before = state(viewer)
    switch = side_by_side(viewer)

    for _ in range(2):
        switch.on(translation_panes(viewer.layers, translated))
    switch.off()

    assert state(viewer) == before


def test_the_grid_button_of_napari_ends_it(viewer: ViewerModel, translated: str):
    before = state(viewer)
    told: list[bool] = []
    switch = side_by_side(viewer)
    switch.switched.connect(told.append)
    switch.on(translation_panes(viewer.layers, translated))

    viewer.canvas.grid.enabled = False

    assert told == [True, False]
    assert state(viewer) == before


@pytest.mark.parametrize("change", ["add", "remove", "clear"])
def test_a_change_of_layers_ends_it(viewer: ViewerModel, translated: str, change: str):
    switch = side_by_side(viewer)
    switch.on(translation_panes(viewer.layers, translated))

    if change == "add":
        viewer.add_labels(np.zeros((4, 4), int))
    elif change == "remove":
        viewer.layers.remove("→ treated: DNA")
    else:
        viewer.layers.clear()

    assert not switch.is_on
    assert not viewer.canvas.grid.enabled
    expected = {"add": 11, "remove": 9, "clear": 0}[change]
    assert len(viewer.layers) == expected
    assert not any(layer.name_overlay.visible for layer in viewer.layers)
    visible = {layer.name for layer in viewer.layers if layer.visible}
    assert "treated: DNA" not in visible


def test_panes_are_reduced_to_what_is_left(viewer: ViewerModel, translated: str):
    viewer.layers.remove("untreated: DNA")
    panes = translation_panes(viewer.layers, translated)
    assert [[layer.name.split(": ")[1] for layer in pane] for pane in panes] == [["marker"]] * 4

    viewer.layers.remove("untreated: marker")
    assert len(translation_panes(viewer.layers, translated)) == 3

    for layer in list(viewer.layers):
        if "reconstructed" in layer.name or "difference" in layer.name:
            viewer.layers.remove(layer)
    assert translation_panes(viewer.layers, translated) == []


def test_the_latest_translation_is_the_topmost(viewer: ViewerModel, translated: str):
    assert latest_translation(viewer.layers) == translated
    assert latest_translation([]) is None
    assert latest_translation(list(viewer.layers)[:4]) is None


def test_uneven_panes_are_refused(viewer: ViewerModel, translated: str):
    layers = list(viewer.layers)
    with pytest.raises(InputError, match="same channels"):
        side_by_side(viewer).on([layers[:2], layers[2:3]])
    with pytest.raises(InputError, match="two or more"):
        side_by_side(viewer).on([layers])
    assert not viewer.canvas.grid.enabled


def test_a_viewer_has_one_switch():
    viewer = ViewerModel()

    assert side_by_side(viewer) is side_by_side(viewer)
    assert side_by_side(viewer) is not side_by_side(ViewerModel())


def test_a_switch_goes_with_its_viewer():
    viewer = ViewerModel()
    switch = weakref.ref(side_by_side(viewer))

    del viewer
    gc.collect()

    assert switch() is None


@pytest.mark.parametrize(
    ("canvas", "image", "shape"),
    [
        ((600, 900), (100, 100), (2, 2)),
        ((400, 1600), (100, 100), (1, 4)),
        ((1600, 400), (100, 100), (4, 1)),
        ((800, 800), (300, 80), (1, 4)),
        ((800, 1000), (80, 400), (4, 1)),
    ],
)
def test_panes_are_laid_out_to_be_large(viewer: ViewerModel, canvas, image, shape):
    viewer.canvas.size = canvas
    panes = [[viewer.add_image(np.zeros(image))] for _ in range(4)]

    side_by_side(viewer).on(panes)

    assert viewer.canvas.grid.actual_shape(viewer.layers) == shape


def test_the_camera_looks_at_what_was_translated_and_comes_back(viewer: ViewerModel):
    whole = viewer.add_image(np.zeros((400, 400)))
    part = viewer.add_image(np.zeros((100, 100)), translate=(250, 50))
    viewer.scene.camera.center, viewer.scene.camera.zoom = (0, 10, 20), 1.5
    switch = side_by_side(viewer)
    switch.on([[whole], [part]])

    np.testing.assert_allclose(viewer.scene.camera.center[-2:], (299.5, 99.5), atol=1)
    switch.off()
    assert viewer.scene.camera.center == (0, 10, 20)
    assert viewer.scene.camera.zoom == 1.5


def test_panes_have_a_scale_bar_where_the_pixel_size_is_known(viewer: ViewerModel):
    plain = [[viewer.add_image(np.zeros((9, 9)))] for _ in range(2)]
    scaled = [
        [viewer.add_image(np.zeros((9, 9)), scale=(0.5, 0.5), units=("um", "um"))] for _ in range(2)
    ]
    bar, switch = viewer.canvas.overlays.scale_bar, side_by_side(viewer)
    switch.on(plain)
    assert not bar.visible
    switch.on(scaled)
    assert bar.visible
    assert bar.gridded
    switch.off()
    assert not bar.visible


def test_side_by_side_the_translation_is_the_one_that_is_seen(viewer: ViewerModel, translated: str):
    group = next(g for g in group_layers(viewer.layers) if g.name == "untreated")
    images = list(FieldImages(group))
    second = add_translation(
        viewer, group.layers, NewTranslation(images, images, "untreated", "treated")
    )
    assert latest_translation(viewer.layers) == second
    side_by_side(viewer).on(translation_panes(viewer.layers, second))
    assert latest_translation(viewer.layers) == second
    side_by_side(viewer).on(translation_panes(viewer.layers, translated))
    assert latest_translation(viewer.layers) == translated


@pytest.mark.parametrize("shown", [False, True])
def test_a_scale_bar_is_drawn_in_each_pane(make_napari_viewer, open_in_window, shown: bool):
    """A bar that had been shown and hidden before failed in napari's canvas."""
    viewer = make_napari_viewer()
    translation = open_in_window(viewer)
    bar = viewer.canvas.overlays.scale_bar
    bar.visible = True
    bar.visible = shown
    switch = side_by_side(viewer)
    canvas = viewer.window._qt_viewer.canvas

    for _ in range(2):
        flip(viewer)
        switch.on(comparison_panes(viewer.layers, translation))
        assert bar.visible
        assert len(canvas._viewer_overlay_to_visual[bar]) == 5
        canvas.on_draw(None)
        bar.visible = False
        viewer.layers[0].visible = viewer.layers[1].visible = False
        viewer.layers[0].visible = viewer.layers[1].visible = True
        bar.visible = True  # as from napari's menu
        assert len(canvas._viewer_overlay_to_visual[bar]) == 5
        switch.off()
        assert bar.visible == shown
        assert not viewer.canvas.grid.enabled
        canvas.on_draw(None)
    viewer.canvas.grid.enabled = True
    viewer.canvas.grid.enabled = False


@pytest.fixture
def open_in_window(make_image):
    """Open images of two conditions and a translation in a viewer; returns the translation."""

    def add(viewer) -> str:
        images = {name: [make_image(name)] for name in ("treated", "untreated")}
        for data, arguments, _ in experiment_layers(images):
            viewer.add_image(data, **arguments)
        real = next(g for g in group_layers(viewer.layers) if g.name == "untreated")
        made = images["untreated"]
        return add_translation(
            viewer, real.layers, NewTranslation(made, made, source="untreated", target="treated")
        )

    return add
