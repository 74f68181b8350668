from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.viewer.colors import channel_colormaps
from napari_phenldiff.viewer.controls import suggest_pair
from napari_phenldiff.viewer.layers import LayerInfo, find_group, group_layers


def test_metadata_survives_the_way_through_a_layer(viewer: ViewerModel):
    info = LayerInfo(
        "treated",
        "DNA",
        1,
        ("a", "b"),
        ("/a.tif", None),
        role="translated",
        part=2,
        translation="t1",
        real_layer="r1",
        provenance={"seed": 3},
    )
    layer = viewer.add_image(np.zeros((2, 4, 4)), metadata=info.to_metadata())

    assert LayerInfo.of(layer) == info


@pytest.mark.parametrize(
    ("name", "condition", "channel", "index"),
    [
        ("treated: DNA", "treated", "DNA", 0),
        ("well A: DNA: blue", "well A", "DNA: blue", 0),
        ("Image [2]", "Image", "channel 2", 2),
        ("control", "control", "channel 0", 0),
        ("a/b", "a-b", "channel 0", 0),
    ],
)
def test_layers_of_others_are_understood_by_their_names(
    viewer: ViewerModel, name: str, condition: str, channel: str, index: int
):
    info = LayerInfo.of(viewer.add_image(np.zeros((4, 4)), name=name))

    assert (info.condition, info.channel, info.channel_index) == (condition, channel, index)
    assert info.images == (condition,)


def test_channels_that_napari_split_are_one_condition(viewer: ViewerModel):
    viewer.add_image(np.zeros((5, 2, 4, 4)), channel_axis=1, name="control")

    (group,) = group_layers(viewer.layers)

    assert (group.name, group.n_images) == ("control", 5)
    assert group.channel_names == ("channel 0", "channel 1")


def test_only_scalar_images_of_two_or_three_axes_count(viewer: ViewerModel):
    viewer.add_labels(np.zeros((4, 4), int))
    viewer.add_image(np.zeros((4, 4, 3), np.uint8), rgb=True)
    viewer.add_image(np.zeros((2, 2, 4, 4)))
    viewer.add_points([[0, 0]])

    assert group_layers(viewer.layers) == ()


def test_a_folder_opened_twice_is_two_groups(experiment_folder: Path, open_in, viewer):
    open_in(experiment_folder)
    open_in(experiment_folder)

    names = [group.name for group in group_layers(viewer.layers)]
    assert names == ["treated", "treated (2)", "untreated", "untreated (2)"]


def test_channels_are_in_their_order_wherever_the_layers_lie(
    experiment_folder: Path, open_in, viewer
):
    open_in(experiment_folder)
    viewer.layers.move(0, 4)

    (treated,) = (g for g in group_layers(viewer.layers) if g.name == "treated")

    assert treated.channel_names == ("DNA", "marker")


def test_images_are_those_of_the_files(experiment_folder: Path, open_in, viewer):
    open_in(experiment_folder)
    group = find_group(group_layers(viewer.layers), "untreated")

    images = group.snapshot().images()

    assert [image.name for image in images] == ["untreated_0", "untreated_1", "untreated_2"]
    assert images[1].path == experiment_folder / "untreated" / "untreated_1.tif"
    assert images[1].channel_names == ("DNA", "marker")
    assert images[1].pixel_size == pytest.approx((0.5, 0.25))


def test_a_renamed_layer_keeps_its_condition(experiment_folder: Path, open_in, viewer):
    for layer in open_in(experiment_folder):
        layer.name = "something else"

    assert {group.name for group in group_layers(viewer.layers)} == {"treated", "untreated"}


def test_an_unknown_condition_is_refused_with_the_known_ones(viewer: ViewerModel):
    viewer.add_image(np.zeros((4, 4)), name="control")

    with pytest.raises(InputError, match="'drug'; open are control"):
        find_group(group_layers(viewer.layers), "drug")


def test_channels_get_colours_that_stay_apart():
    assert channel_colormaps(["GFP"]) == ("gray",)
    assert channel_colormaps(["DNA (DRAQ)", "FKHR-GFP"]) == ("bop blue", "green")
    hela = channel_colormaps(["DNA (Hoechst)", "tubulin (FITC)", "F-actin (TRITC)"])
    assert hela == ("bop blue", "green", "magenta")
    many = channel_colormaps([f"channel {i}" for i in range(9)])
    assert len(set(many[:7])) == 7
    assert len(many) == 9


@pytest.mark.parametrize(
    ("names", "pair"),
    [
        (["treated", "untreated"], (1, 0)),
        (["drug_10uM", "DMSO"], (1, 0)),
        (["mutant", "wild_type"], (1, 0)),
        (["a", "b", "c"], (0, 1)),
        (["RLUC_siRNA", "UBC_siRNA"], (0, 1)),
        (["newt", "other"], (0, 1)),
        (["one"], None),
    ],
)
def test_a_condition_named_like_a_control_is_suggested_as_the_source(names, pair):
    assert suggest_pair(names) == pair
