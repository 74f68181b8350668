"""The name of the image that is shown stands in the canvas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY
from napari_phenldiff.viewer.flip import flip
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.shown_name import names_shown, tell_names
from napari_phenldiff.viewer.side_by_side import (
    comparison_panes,
    latest_translation,
    side_by_side,
)


@pytest.fixture
def shown(viewer: ViewerModel, experiment_folder: Path, open_in) -> ViewerModel:
    tell_names(viewer)
    open_in(experiment_folder)
    return viewer


def text(viewer: ViewerModel) -> str:
    overlay = viewer.canvas.overlays.text
    return str(overlay.text) if overlay.visible else ""


def test_it_follows_the_slider_and_what_is_visible(shown: ViewerModel):
    shown.dims.set_point(0, 0)
    assert text(shown) == "untreated_0"

    shown.dims.set_point(0, 2)
    assert text(shown) == "untreated_2"

    shown.layers["treated: DNA"].visible = True
    assert text(shown) == "treated treated_2 | untreated untreated_2"

    for layer in shown.layers:
        layer.visible = False
    assert text(shown) == ""
    shown.layers["treated: marker"].visible = True
    assert text(shown) == "treated_2"
    shown.layers.clear()
    assert text(shown) == ""


@pytest.fixture
def second_translated(shown: ViewerModel, make_image) -> ViewerModel:
    image = make_image("made_1")
    real = [layer for layer in shown.layers if layer.name.startswith("untreated")]
    shown.dims.set_point(0, 0)
    add_translation(shown, real, NewTranslation([image], [image], "untreated", "treated", field=1))
    return shown


def test_it_names_what_is_seen_and_not_what_lies_below(second_translated: ViewerModel):
    viewer = second_translated
    assert text(viewer) == "untreated_0"
    viewer.dims.set_point(0, 1)
    assert text(viewer) == "made_1"
    for layer in viewer.layers:
        if layer.name.startswith("→"):
            layer.opacity = 0.5
    for layer in viewer.layers:
        layer.visible = not layer.name.startswith(("recon", "treated", "diff"))
    assert text(viewer) == "untreated untreated_1 | → treated made_1"


def test_it_comes_back_after_comparing_and_flipping_which_names_the_image(
    second_translated: ViewerModel,
):
    viewer = second_translated
    viewer.dims.set_point(0, 1)
    flip(viewer)
    assert text(viewer) == "real: untreated · untreated_1"
    viewer.dims.set_point(0, 2)
    assert text(viewer) == "real: untreated · untreated_2"
    viewer.dims.set_point(0, 1)
    flip(viewer)
    assert text(viewer) == "translated → treated · made_1"
    side_by_side(viewer).on(
        comparison_panes(viewer.layers, latest_translation(viewer.layers) or "")
    )
    assert text(viewer) == "untreated untreated_1 | reconstructed made_1 | treated treated_1"
    side_by_side(viewer).off()
    assert text(viewer) == "made_1"
    viewer.canvas.overlays.text.visible = False
    flip(viewer)
    assert text(viewer).startswith("real: untreated")
    viewer.layers["treated: DNA"].visible = True
    assert text(viewer) == "", "it was hidden before"


def test_layers_of_others_have_no_name(shown: ViewerModel):
    shown.dims.set_point(0, 1)
    shown.add_image(np.zeros((9, 4, 4)), name="mine")
    assert text(shown) == "untreated_1"

    shown.dims.set_point(0, 7)
    assert names_shown(shown) == ()
    assert text(shown) == ""


def test_previews_of_a_training_have_no_name_that_matters(shown: ViewerModel):
    shown.dims.set_point(0, 1)
    preview = {"role": "preview", "images": ["step_000030"], "condition": "untreated"}
    metadata = {LAYER_METADATA_KEY: {**shown.layers[-1].metadata[LAYER_METADATA_KEY], **preview}}
    shown.add_image(np.zeros((4, 4)), metadata=metadata, axis_labels=("y", "x"))
    assert text(shown) == "untreated_1"


def test_a_text_of_somebody_else_stays(shown: ViewerModel):
    shown.canvas.overlays.text.text = "figure 1"

    shown.dims.set_point(0, 2)

    assert text(shown) == "figure 1"


def test_one_that_was_hidden_stays_hidden(shown: ViewerModel):
    shown.dims.set_point(0, 0)
    shown.canvas.overlays.text.visible = False

    shown.dims.set_point(0, 2)

    assert text(shown) == ""
