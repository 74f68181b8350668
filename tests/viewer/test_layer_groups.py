from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.colormaps import ensure_colormap

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_colors import COLORS, channel_rgb
from napari_phenldiff.images.control_names import suggest_pair
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import read_tiff, write_stack
from napari_phenldiff.measurement.figures.style import composite
from napari_phenldiff.viewer import image_places as fields
from napari_phenldiff.viewer.colors import channel_colormaps
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import LayerInfo, find_group, group_layers
from napari_phenldiff.viewer.unclear_axes import axis_kind, settle_axis, unclear_axis


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


def test_what_is_no_image_is_passed_over(viewer: ViewerModel):
    viewer.add_labels(np.zeros((4, 4), int))
    viewer.add_points([[0, 0]])
    viewer.add_image(np.zeros((2, 2, 2, 4, 4)), name="too many axes")

    assert group_layers(viewer.layers) == ()


@pytest.mark.parametrize(
    ("shape", "options", "n_images", "channels"),
    [
        ((4, 5, 3), {"rgb": True}, 1, ("red", "green", "blue")),
        ((6, 4, 5, 4), {"rgb": True}, 6, ("red", "green", "blue")),
        ((6, 2, 4, 5), {}, 6, ("channel 0", "channel 1")),
        ((2, 6, 4, 5), {"axis_labels": ("c", "t", "y", "x")}, 6, ("channel 0", "channel 1")),
        ((2, 4, 5), {"axis_labels": ("channel", "y", "x")}, 1, ("channel 0", "channel 1")),
        ((2, 4, 5), {}, 2, ("channel 0",)),
        ((2, 3, 4, 5), {"axis_labels": ("t", "well", "y", "x")}, 6, ("channel 0",)),
        (
            (3, 2, 7, 4, 5),
            {"axis_labels": ("t", "c", "z", "y", "x")},
            3,
            ("channel 0", "channel 1"),
        ),
    ],
)
def test_a_layer_may_have_several_channels(
    viewer: ViewerModel, shape, options, n_images: int, channels
):
    rng = np.random.default_rng(0)
    viewer.add_image(rng.integers(0, 200, shape, dtype=np.uint8), name="control", **options)

    (group,) = group_layers(viewer.layers)

    assert (group.n_images, group.channel_names) == (n_images, channels)
    assert group.sizes == ((4, 5),)
    assert group.one_layer_per_channel == (len(channels) == 1)
    images = list(FieldImages(group, z="max"))
    assert len(images) == n_images
    assert images[0].channel_names == channels
    assert images[0].data.shape == (len(channels), 4, 5)
    assert len({image.name for image in images}) == n_images


def test_channels_of_a_layer_that_names_one_are_named_after_it(viewer: ViewerModel):
    for name in ("control: HE", "control: PAS"):
        viewer.add_image(np.zeros((2, 4, 5, 3), np.uint8), rgb=True, name=name)

    (group,) = group_layers(viewer.layers)

    assert group.channel_names[::3] == ("HE red", "PAS red")
    assert list(FieldImages(group))[1].channel_names == group.channel_names


def test_layers_that_others_have_named_by_channel_are_one_condition(viewer: ViewerModel):
    for name in ("control: GFP", "control: DNA"):
        viewer.add_image(np.zeros((2, 4, 5)), name=name)

    (group,) = group_layers(viewer.layers)

    assert group.channel_names == ("GFP", "DNA")
    assert next(iter(FieldImages(group))).channel_names == ("GFP", "DNA")


def test_colour_layers_of_one_name_are_two_conditions(viewer: ViewerModel):
    for _ in range(2):
        viewer.add_image(np.zeros((2, 4, 5, 3), np.uint8), rgb=True, name="fields")

    assert [group.name for group in group_layers(viewer.layers)] == ["fields", "fields [1]"]


def test_a_pyramid_is_taken_at_full_resolution(viewer: ViewerModel):
    full = np.arange(2 * 64 * 64, dtype=np.uint16).reshape(2, 64, 64)
    viewer.add_image([full, full[:, ::2, ::2]], name="control", multiscale=True)

    (group,) = group_layers(viewer.layers)

    assert (group.n_images, group.sizes, group.dtype) == (2, ((64, 64),), np.dtype("uint16"))
    np.testing.assert_array_equal(list(FieldImages(group))[1].data[0], full[1])


def test_planes_are_chosen_or_projected(viewer: ViewerModel):
    stack = np.arange(2 * 5 * 16, dtype=np.uint8).reshape(2, 5, 4, 4)
    viewer.add_image(stack, name="control", axis_labels=("field", "z", "y", "x"))
    (group,) = group_layers(viewer.layers)

    assert (group.n_planes, group.n_images) == (5, 2)
    assert not group.one_layer_per_channel
    np.testing.assert_array_equal(list(FieldImages(group, z=3))[1].data[0], stack[1, 3])
    np.testing.assert_array_equal(
        next(iter(FieldImages(group, z="mean"))).data[0], stack[0].mean(axis=0)
    )
    with pytest.raises(InputError, match="5 z planes"):
        list(FieldImages(group))
    with pytest.raises(InputError, match="no z plane 9"):
        list(FieldImages(group, z=9))


def test_the_kind_of_an_axis_can_be_told(viewer: ViewerModel):
    layer = viewer.add_image(np.zeros((3, 4, 5)), name="control")
    (group,) = group_layers(viewer.layers)
    assert unclear_axis(group) == 0
    assert axis_kind(layer, 0) == "field"

    settle_axis(layer, 0, "channel")
    (group,) = group_layers(viewer.layers)
    assert (group.n_images, len(group.channel_names)) == (1, 3)
    assert layer.axis_labels == ("channel", "y", "x")
    # What was told can be told otherwise.
    assert unclear_axis(group) == 0
    settle_axis(layer, 0, "z")
    assert group_layers(viewer.layers)[0].n_planes == 3
    settle_axis(layer, 0, "field")
    assert group_layers(viewer.layers)[0].n_images == 3


def test_the_second_of_two_unnamed_axes_is_unclear(viewer: ViewerModel):
    layer = viewer.add_image(np.zeros((6, 3, 4, 5)), name="control")
    (group,) = group_layers(viewer.layers)
    assert unclear_axis(group) == 1
    assert axis_kind(layer, 1) == "channel"

    settle_axis(layer, 1, "z")

    (group,) = group_layers(viewer.layers)
    assert (group.n_images, group.n_planes) == (6, 3)


def test_axes_that_are_told_are_not_asked_for(viewer: ViewerModel, experiment_folder, open_in):
    open_in(experiment_folder)
    viewer.add_image(np.zeros((3, 4, 5)), name="a", axis_labels=("t", "y", "x"))
    viewer.add_image(np.zeros((3, 4, 5)), name="b: DNA")
    viewer.add_image(np.zeros((3, 4, 5)), name="b: GFP")
    viewer.add_image(np.zeros((3, 4, 5, 3), np.uint8), name="c", rgb=True)

    assert [unclear_axis(group) for group in group_layers(viewer.layers)] == [None] * 5


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

    images = list(FieldImages(group.snapshot(), with_files=True))

    assert [image.name for image in images] == ["untreated_0", "untreated_1", "untreated_2"]
    assert images[1].path == experiment_folder / "untreated" / "untreated_1.tif"
    assert images[1].channel_names == ("DNA", "marker")
    assert images[1].pixel_size == pytest.approx((0.5, 0.25))
    assert [image.path for image in FieldImages(group)] == [None] * 3


def test_a_stack_of_images_is_read_once_to_see_whether_it_is_the_same(
    tmp_path: Path, make_image, open_in, viewer, monkeypatch
):
    file = tmp_path / "untreated" / "stack.tif"
    write_stack(file, [make_image(str(i), seed=i) for i in range(5)])
    open_in(file.parent)
    reads: list[Path] = []
    monkeypatch.setattr(fields, "read_tiff", lambda path: reads.append(path) or read_tiff(path))

    images = list(FieldImages(group_layers(viewer.layers)[0], with_files=True))

    assert [image.path for image in images] == [file] * 5
    assert reads == [file]


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
    ("names", "colours"),
    [
        (["red", "green", "blue"], ("red", "green", "blue")),
        (["Red channel", "GFP", "blue"], ("red", "green", "blue")),
        (["GFP", "green"], ("magenta", "green")),
        (["infrared", "green"], ("magenta", "green")),
        (["red"], ("gray",)),
    ],
)
def test_a_channel_called_like_a_colour_has_it(names, colours):
    assert channel_colormaps(names) == colours
    assert len(channel_rgb(names)) == len(names)


def test_figures_have_the_colours_of_the_viewer():
    for name, color in COLORS.items():
        np.testing.assert_allclose(ensure_colormap(name).map([1.0])[0][:3], color, atol=1e-3)
    data = np.zeros((2, 1, 2), np.float32)
    data[0, 0, 0] = data[1, 0, 1] = 1  # DNA on the left, the marker on the right
    image = Image(data, ("DNA (DRAQ)", "FKHR-GFP"), None, "x")
    dna, marker = composite(image, np.zeros(2), np.ones(2))[0]
    np.testing.assert_allclose(dna, COLORS["bop blue"])
    np.testing.assert_allclose(marker, COLORS["green"])


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


def test_conditions_that_would_get_one_folder_are_kept_apart(viewer: ViewerModel):
    for condition in ("A/B", "A:B", "A-B"):
        for channel in ("DAPI", condition):
            viewer.add_image(np.zeros((8, 8)), name=f"{condition}: {channel}")
    groups = group_layers(viewer.layers)
    assert [group.name for group in groups] == ["A-B", "A-B (2)", "A-B (3)"]
    assert [len(group.layers) for group in groups] == [2, 2, 2]
    for group, condition in zip(groups, ("A/B", "A:B", "A-B"), strict=True):
        assert all(layer.name.startswith(condition) for layer in group.layers)
