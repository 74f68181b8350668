from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.layer_metadata import LAYER_METADATA_KEY
from napari_phenldiff.images.layers import images_from_layers
from napari_phenldiff.images.tiff import write_tiff


def pixels(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60_000, shape).astype(np.uint16)


def layer(data, name="DNA", *, unit="pixel", **options):
    ndim = data.ndim - int(options.get("rgb", False))
    made = {
        "data": data,
        "name": name,
        "metadata": {},
        "scale": np.full(ndim, 0.5),
        "units": (unit,) * ndim,
        "axis_labels": tuple(f"axis {i - ndim}" for i in range(ndim)),
        "rgb": False,
        "multiscale": False,
    }
    return SimpleNamespace(**(made | options))


def own_layer(data, channel, index, images, paths=()):
    entry = {
        "condition": "x",
        "channel": channel,
        "channel_index": index,
        "images": list(images),
        "paths": [None if path is None else str(path) for path in paths],
    }
    return layer(data, f"x: {channel}", metadata={LAYER_METADATA_KEY: entry})


def test_layers_are_channels_and_the_slider_goes_through_fields():
    dna, actin = pixels(3, 8, 9), pixels(3, 8, 9, seed=1)
    images = images_from_layers("x", [layer(dna, "DNA"), layer(actin, "actin")])
    assert [image.name for image in images] == ["DNA_0000", "DNA_0001", "DNA_0002"]
    assert images[1].channel_names == ("DNA", "actin")
    np.testing.assert_array_equal(images[1].data, [dna[1], actin[1]])
    assert images[1].path is None


def test_plane_of_one_channel():
    data = pixels(8, 9)
    (image,) = images_from_layers("x", [layer(data, "a/b")])
    np.testing.assert_array_equal(image.data, data[None])
    assert (image.name, image.channel_names) == ("a-b", ("a/b",))


def test_images_are_copies():
    data = pixels(8, 9)
    (image,) = images_from_layers("x", [layer(data)])
    before = image.data.copy()
    data[:] = 0
    np.testing.assert_array_equal(image.data, before)


@pytest.mark.parametrize(
    ("labels", "axis"), [(("n", "c", "y", "x"), 1), (("c", "n", "y", "x"), 0), ((), 1)]
)
def test_multichannel_layers(labels, axis):
    data = pixels(3, 3, 8, 9)
    images = images_from_layers("x", [layer(data, "field", axis_labels=labels)])
    assert [image.channel_names for image in images] == [
        ("channel 0", "channel 1", "channel 2")
    ] * 3
    np.testing.assert_array_equal(images[2].data, data.take(2, 1 - axis))


def test_one_multichannel_field():
    data = pixels(2, 8, 9)
    (image,) = images_from_layers("x", [layer(data, "field", axis_labels=("channel", "y", "x"))])
    np.testing.assert_array_equal(image.data, data)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("stack", [(), (2,)])
def test_colour_layers(stack, labelled):
    data = pixels(*stack, 8, 9, 4)
    data[..., 3] = 65535
    options = {} if labelled else {"axis_labels": ()}
    images = images_from_layers("x", [layer(data, "HE", rgb=True, **options)])
    assert images[0].channel_names == ("red", "green", "blue")
    expected = np.moveaxis(data[..., :3], -1, -3).reshape(-1, 3, 8, 9)
    np.testing.assert_array_equal([image.data for image in images], expected)


def test_multiscale_layers_are_read_at_full_resolution():
    data = pixels(8, 9)
    made = layer(data, data_levels=2)
    made.data, made.multiscale = [data, data[::2, ::2]], True
    (image,) = images_from_layers("x", [made])
    np.testing.assert_array_equal(image.data, data[None])


def test_long_integers_become_storable():
    (image,) = images_from_layers("x", [layer(pixels(8, 9).astype(np.int64))])
    assert image.data.dtype == np.int32


@pytest.mark.parametrize(
    ("unit", "size"), [("micrometer", 0.5), ("nanometer", 0.0005), ("pixel", None), ("", None)]
)
def test_pixel_size(unit, size):
    (image,) = images_from_layers("x", [layer(pixels(8, 9), unit=unit)])
    expected = None if size is None else pytest.approx((size, size))
    assert image.pixel_size == expected


def test_own_layers_are_put_together_by_their_images():
    """Two lots of fields of different size, their layers in any order."""
    large, small = pixels(2, 2, 8, 9), pixels(2, 1, 6, 7)
    images = images_from_layers(
        "x",
        [
            own_layer(large[1], "actin", 1, ["A01", "A02"]),
            own_layer(small[0, 0], "DNA", 0, ["A03"]),
            own_layer(large[0], "DNA", 0, ["A01", "A02"]),
            own_layer(small[1, 0], "actin", 1, ["A03"]),
        ],
    )
    assert [image.name for image in images] == ["A01", "A02", "A03"]
    assert {image.channel_names for image in images} == {("DNA", "actin")}
    np.testing.assert_array_equal(images[1].data, large[:, 1])
    np.testing.assert_array_equal(images[2].data, small[:, 0])


def test_names_that_do_not_fit_the_data_any_more_are_not_used():
    images = images_from_layers("x", [own_layer(pixels(2, 8, 9), "DNA", 0, ["A01", "A02", "A03"])])
    assert [image.name for image in images] == ["x- DNA_0000", "x- DNA_0001"]


def test_path_is_kept_while_layer_and_file_agree(tmp_path):
    paths = [tmp_path / f"A0{i}.tif" for i in range(4)]
    data = pixels(2, 4, 8, 9)
    for index, path in enumerate(paths):
        write_tiff(path, Image(data[:, index], ("DNA", "actin"), None, path.stem))
    painted = data.copy()
    painted[1, 1] = 0
    write_tiff(paths[2], Image(data[:, 0], ("DNA", "actin"), None, "A02"))
    paths[3].unlink()
    names = [path.stem for path in paths]
    layers = [own_layer(painted[i], c, i, names, paths) for i, c in enumerate(["DNA", "actin"])]
    assert [image.path for image in images_from_layers("x", layers)] == [paths[0], None, None, None]
    # Under another name the file would not be found again.
    renamed = [own_layer(data[i, 0], c, i, ["B01"], paths[:1]) for i, c in enumerate("ab")]
    assert images_from_layers("x", renamed)[0].path is None
    # Of two channels in the file only one is left.
    assert {image.path for image in images_from_layers("x", layers[:1])} == {None}


def test_path_of_a_stack(tmp_path):
    path = tmp_path / "stack.tif"
    data = pixels(3, 8, 9)
    tifffile.imwrite(path, data, photometric="minisblack", metadata={"axes": "TYX"})
    names = [f"stack_{i:04d}" for i in range(3)]
    images = images_from_layers("x", [own_layer(data, "DNA", 0, names, [path] * 3)])
    assert [image.path for image in images] == [path] * 3


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], 'Condition "x" has no layers'),
        ([layer(pixels(8, 9)), layer(pixels(9, 8), "b")], r'"b" has the shape .* "DNA" has'),
        ([layer(pixels(2, 8, 9)), layer(pixels(3, 8, 9), "b")], "need the same shape"),
        ([layer(pixels(5, 8, 9), axis_labels=("z", "y", "x"))], '"DNA" has 5 z planes'),
        ([layer(pixels(2, 2, 2, 8, 9))], r"shape \(2, 2, 2, 8, 9\)"),
        ([layer(pixels(8, 9).astype(complex))], "complex128 values"),
        ([own_layer(pixels(8, 9), "DNA", 0, ["a"])] * 2, 'the channel "DNA" again'),
    ],
)
def test_layers_that_cannot_be_used(layers, message):
    with pytest.raises(InputError, match=message):
        images_from_layers("x", layers)


def test_layers_of_napari(tmp_path):
    from napari.layers import Image as Layer

    path = tmp_path / "A01.tif"
    data = pixels(2, 8, 9)
    write_tiff(path, Image(data, ("DNA", "actin"), (0.5, 0.25), "A01"))
    layers = [
        Layer(
            data[index],
            name=name,
            scale=(0.5, 0.25),
            units=("um", "um"),
            metadata=own_layer(data[index], name, index, ["A01"], [path]).metadata,
        )
        for index, name in enumerate(("DNA", "actin"))
    ]
    bare = [Layer(pixels(3, 8, 9, seed=1), name="DNA"), Layer(pixels(3, 8, 9), name="actin")]
    made = Experiment.from_layers({"treated": layers, "untreated": bare})
    (image,) = made["treated"].images
    np.testing.assert_array_equal(image.data, data)
    assert image.pixel_size == (0.5, 0.25)
    assert isinstance(image.path, Path)
    assert [image.pixel_size for image in made["untreated"].images] == [None] * 3
    rgb = Layer(np.moveaxis(pixels(3, 8, 9), 0, -1).astype(np.uint8), name="HE", rgb=True)
    assert images_from_layers("x", [rgb])[0].n_channels == 3


@pytest.mark.parametrize("labels", [("axis -3", "axis -2", "axis -1"), ("y", "x", "c")])
def test_channels_that_come_last_are_no_columns(labels):
    data = pixels(40, 30, 2)
    with pytest.raises(InputError, match=r"its channels last|label its axes"):
        images_from_layers("x", [layer(data, axis_labels=labels)])


def test_channels_last_by_their_label_alone():
    with pytest.raises(InputError, match="label its axes"):
        images_from_layers("x", [layer(pixels(8, 9, 3), axis_labels=("y", "x", "channel"))])


@pytest.mark.parametrize(
    "options",
    [
        {"translate": (-3, 0), "scale": (0.5, 0.5)},
        {"scale": (0.25, 0.25)},
        {"scale": (-0.5, 0.5)},
        {"scale": (0.5, 0.5), "rotate": 10},
        {"scale": (0.5, 0.5), "units": ("nm", "nm")},
    ],
)
def test_channels_that_lie_apart_in_the_viewer_are_refused(options):
    """They are read pixel by pixel, so that what lies beside a nucleus would be measured in it."""
    napari_layers = pytest.importorskip("napari.layers")
    units = options.pop("units", ("um", "um"))
    dna = napari_layers.Image(pixels(30, 40), name="DNA", scale=(0.5, 0.5), units=("um", "um"))
    actin = napari_layers.Image(pixels(30, 40), name="actin", units=units, **options)
    with pytest.raises(InputError, match=r'"actin" lies elsewhere in the viewer than layer "DNA"'):
        images_from_layers("x", [dna, actin])


@pytest.mark.parametrize(
    "options",
    [
        {},  # as plugins return what they made of another layer
        {"scale": (500, 500), "units": ("nm", "nm")},
        {"scale": (0.501, 0.5), "units": ("um", "um")},  # rounded
        {"scale": (0.5, 0.5), "translate": (0.1, 0.1), "units": ("um", "um")},
    ],
)
def test_channels_that_lie_upon_each_other(options):
    napari_layers = pytest.importorskip("napari.layers")
    dna = napari_layers.Image(pixels(30, 40), name="DNA", scale=(0.5, 0.5), units=("um", "um"))
    actin = napari_layers.Image(pixels(30, 40), name="actin", **options)
    (image,) = images_from_layers("x", [dna, actin])
    assert image.pixel_size == pytest.approx((0.5, 0.5))
