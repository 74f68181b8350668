"""Channels by their names, as people type them and as programs write them."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import (
    find_channel,
    in_order,
    named_channels,
    same_channels,
    unified,
    vary_by_file,
)
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.stains import is_nuclear
from napari_phenldiff.images.tiff import read_image, write_tiff

NAMES = ("DAPI", "GFP, 488/525", "none", "405", "α-Tubulin", "Phalloidin (ä)", "auto", "1")


def image_of(names: tuple[str, ...], name: str = "a") -> Image:
    """Each channel has the value of its name's length, to be recognised by."""
    data = np.zeros((len(names), 8, 8), np.uint16)
    for plane, channel in zip(data, names, strict=True):
        plane[:] = sum(map(ord, channel)) % 1000
        plane[0, 0] = 0
    return Image(data, names, None, name)


@pytest.mark.parametrize("seed", range(20))
def test_a_name_is_found_however_it_is_typed_and_wherever_the_channel_is(seed: int):
    rng = np.random.default_rng(seed)
    names = rng.permutation(NAMES).tolist()[: int(rng.integers(2, len(NAMES) + 1))]
    for index, name in enumerate(names):
        for typed in (
            name,
            unicodedata.normalize("NFD", name),
            name.upper() if len(name.upper()) == len(name) else name,
            f" {name.lower()} ",
        ):
            assert find_channel(names, typed) == index
    assert named_channels([part.strip() for part in ",".join(names).split(",")], names) == tuple(
        names
    )


def test_a_name_is_a_name_first():
    assert find_channel(["1", "0"], "1") == 0
    assert find_channel(["405", "488"], "488") == 1
    assert find_channel(["405", "488"], "1") == 1
    assert find_channel(["1", "0"], 1) == 1
    with pytest.raises(InputError, match='no channel "561"'):
        find_channel(["405", "488"], "561")
    with pytest.raises(InputError, match="several channels"):
        find_channel(["GFP", "gfp "], "Gfp")
    assert find_channel(["GFP", "gfp "], "GFP") == 0
    assert named_channels(["none"], ["DAPI"]) == ()
    assert named_channels(["none"], ["DAPI", "None"]) == ("None",)


def test_composed_and_decomposed_names_are_one(tmp_path: Path):
    decomposed = unicodedata.normalize("NFD", "Färbung")
    image = image_of((decomposed, "DAPI"))
    assert image.channel_names[0] == unicodedata.normalize("NFC", decomposed)
    conditions = ("unbehandelt ü", "1 µM ß")
    for condition in conditions:
        for i in range(2):
            folder = tmp_path / unicodedata.normalize("NFD", condition)
            write_tiff(folder / f"{i}.tif", image_of((decomposed, "DAPI"), str(i)))
    read = Experiment.from_folder(tmp_path, conditions=conditions)
    assert read.names == conditions
    assert read[unicodedata.normalize("NFD", conditions[0])].images
    assert read.channel_names == ("Färbung", "DAPI")


@pytest.mark.parametrize("seed", range(10))
def test_images_come_in_one_order_of_channels(tmp_path: Path, seed: int):
    rng = np.random.default_rng([1, seed])
    names = tuple(rng.permutation(NAMES).tolist()[:3])
    for condition in "ab":
        for i in range(3):
            mixed = tuple(rng.permutation(names).tolist())
            write_tiff(tmp_path / condition / f"{i}.tif", image_of(mixed, str(i)))
    experiment = Experiment.from_folder(tmp_path)
    experiment.check()
    expected = image_of(experiment.channel_names)
    for image in experiment.images:
        np.testing.assert_array_equal(image.data, expected.data)
        if image.path is not None:  # what reading it again gives
            np.testing.assert_array_equal(read_image(image.path).data, image.data)


def test_other_channels_are_refused_and_spelling_is_not(tmp_path: Path):
    for condition, names in (("a", ("DAPI", "GFP")), ("b", ("Dapi", "GFP "))):
        for i in range(2):
            write_tiff(tmp_path / condition / f"{i}.tif", image_of(names, str(i)))
    experiment = Experiment.from_folder(tmp_path)
    experiment.check()
    assert all(image.path is not None for image in experiment.images)
    write_tiff(tmp_path / "b" / "1.tif", image_of(("DAPI", "RFP"), "1"))
    with pytest.raises(InputError, match='"RFP"'):
        Experiment.from_folder(tmp_path).check()
    twice = image_of(("GFP", "GFP"))
    assert same_channels(("GFP", "GFP"), ("GFP", "GFP")) is None
    assert in_order(twice, ("GFP", "DAPI")) is twice


def write_labels(path: Path, labels: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = np.arange(2 * 64, dtype=np.uint16).reshape(2, 8, 8)
    tifffile.imwrite(path, data, imagej=True, metadata={"axes": "CYX", "Labels": labels})


@pytest.mark.parametrize(
    "label",
    [
        "{stem}_{stain}",
        "c:{place}/2 - Position {number}",
        "{well}-{stain}.lif",
        "{number}: {stain}",
    ],
)
def test_what_varies_by_file_is_no_name(tmp_path: Path, label: str):
    for k, condition in enumerate("ab"):
        for i in range(3):
            well = f"{'ABCDEF'[3 * k + i]}{i + 1:02d}"
            labels = [
                label.format(
                    stem=f"f{i}", stain=stain, place=place, number=100 + 10 * k + i, well=well
                )
                for place, stain in enumerate(("dapi", "gfp"), start=1)
            ]
            write_labels(tmp_path / condition / f"f{i}.tif", labels)
    experiment = Experiment.from_folder(tmp_path)
    experiment.check()
    assert experiment.channel_names == ("channel 0", "channel 1")
    assert all(image.path is not None for image in experiment.images)


def test_names_that_do_not_vary_by_file_stay(tmp_path: Path):
    for i in range(3):
        write_labels(tmp_path / "a" / f"f{i}.tif", ["DAPI", "GFP"])
    assert Experiment.from_folder(tmp_path).channel_names == ("DAPI", "GFP")
    # Different stains are not another text for the same.
    assert not vary_by_file([("DAPI", "GFP"), ("Hoechst", "RFP"), ("DRAQ5", "YFP")])
    assert not vary_by_file([("a1", "b1"), ("a2", "b2")])
    assert not vary_by_file([("Alexa 488",), ("Alexa 568",), ("Alexa 647",)])
    assert vary_by_file([("101 x", "101 y"), ("102 x", "102 y"), ("111 x", "111 y")])
    assert unified({}) == {}


def test_what_stains_nuclei_is_known():
    for name in ("DAPI", "Hoechst 33342", "dna_405", "H2B-GFP", "nuclei", "Nuclear stain", "DRAQ5"):
        assert is_nuclear(name), name
    for name in ("Golgi", "GFP", "nucleolin", "Lamin", "cDNA3", "nuclear protein"):
        assert not is_nuclear(name), name
