"""The name of the image that is shown stands in the canvas."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY
from napari_phenldiff.viewer.shown_name import names_shown, tell_names


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
    assert text(shown) == "treated_2 | untreated_2"

    for layer in shown.layers:
        layer.visible = False
    assert text(shown) == ""
    shown.layers["treated: marker"].visible = True
    assert text(shown) == "treated_2"
    shown.layers.clear()
    assert text(shown) == ""


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
