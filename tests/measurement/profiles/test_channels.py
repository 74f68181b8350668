"""Which channels are measured: those that are named, in whatever order images have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.measurement.batch import measure_files
from napari_phenldiff.measurement.measure import labels, measure
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.profiles.channels import (
    channels_in_words,
    suggested_channel,
    with_channels,
)
from napari_phenldiff.measurement.profiles.golgi import GolgiSettings
from napari_phenldiff.measurement.profiles.translocation import TranslocationSettings

SIDES = {"DAPI": 4, "GFP": 9, "405": 14, "none": 19, "α, β": 24, "auto": 29}
"""The side of the square that each channel shows."""


def squares(names: tuple[str, ...], name: str, seed: int = 0) -> Image:
    data = np.random.default_rng(seed).integers(0, 9, (len(names), 40, 40)).astype(np.uint8)
    for plane, channel in zip(data, names, strict=True):
        plane[: SIDES[channel], : SIDES[channel]] += 100
    return Image(data, names, None, name)


def area_settings(**channel: object) -> AreaSettings:
    segmentation = {"threshold": {"method": 50.0}}
    return AreaSettings.model_validate({**channel, "segmentation": segmentation})


@pytest.mark.parametrize("seed", range(12))
def test_the_named_channel_is_measured_wherever_it_is(tmp_path: Path, seed: int):
    rng = np.random.default_rng(seed)
    names = rng.permutation(list(SIDES)).tolist()[: int(rng.integers(2, 7))]
    wanted = names[int(rng.integers(len(names)))]
    groups: dict[str, list[Image]] = {}
    for condition in "ab":
        groups[condition] = [
            squares(tuple(rng.permutation(names).tolist()), f"{condition}{i}", i) for i in range(3)
        ]
    first = groups["a"][0].channel_names
    typed = rng.choice([wanted, wanted.upper(), str(first.index(wanted))])
    # A number counts where no channel is called so.
    given: str | int = str(typed) if rng.random() < 0.5 else first.index(wanted)
    found = measure("area", groups, area_settings(channel=given))
    assert set(found.images["channel"]) == {wanted}
    assert set(found.images["area_px"]) == {SIDES[wanted] ** 2}
    assert found.settings.channel == wanted
    for condition, images in groups.items():
        for image in images:
            write_tiff(tmp_path / condition / f"{image.name}.tif", image)
    files = {name: sorted((tmp_path / name).iterdir()) for name in groups}
    written = measure_files("area", files, tmp_path / "t.csv", area_settings(channel=given))
    assert channels_in_words(written.settings) == wanted
    for name in groups:
        np.testing.assert_array_equal(written.main_values[name], found.values(name))


def test_no_profile_takes_the_first_two():
    golgi_first = ("Golgi", "tubulin", "DNA")
    cases = {
        ("translocation", ("marker", "DAPI")): ("DAPI", "marker"),
        ("translocation", ("GFP", "Hoechst 33342")): ("Hoechst 33342", "GFP"),
        ("translocation", golgi_first): ("DNA", None),
        ("translocation", ("channel 0", "channel 1")): (None, None),
        ("cells", golgi_first): ("DNA", None),
        ("cells", ("stain",)): ("stain", None),
        ("golgi", golgi_first): ("DNA", "Golgi"),
        ("neurons", golgi_first): ("DNA", "tubulin"),
        ("area", ("DAPI", "actin")): ("DAPI", "actin"),
        ("area", ("actin", "tubulin")): (None, None),
    }
    for (profile, names), (nuclei, other) in cases.items():
        field = "marker_channel" if profile == "translocation" else "channel"
        kind = PROFILES[profile]
        assert suggested_channel(kind, "nuclei_channel", names) == nuclei, (profile, names)
        if profile != "cells":
            assert suggested_channel(kind, field, names) == other, (profile, names)


def test_where_no_name_tells_the_channel_is_asked_for(tmp_path: Path):
    image = Image(squares(("DAPI", "GFP"), "a").data, ("channel 0", "channel 1"), None, "a")
    with pytest.raises(InputError, match=r"do not tell .* nuclei channel .*--nuclei-channel"):
        measure("translocation", {"a": [image]})
    with pytest.raises(InputError, match="--channel"):
        labels("area", image)
    write_tiff(tmp_path / "a.tif", image)
    with pytest.raises(InputError, match="--channel"):
        measure_files("area", {"a": [tmp_path / "a.tif"]}, tmp_path / "t.csv")
    assert not (tmp_path / "t.csv").exists()
    settings = TranslocationSettings(nuclei_channel=0, marker_channel=1)
    assert len(measure("translocation", {"a": [image]}, settings).images) == 1


def test_none_leaves_a_channel_out_unless_one_is_called_so():
    profile, settings = PROFILES["golgi"], GolgiSettings(channel="GFP", nuclei_channel="none")
    assert with_channels(profile, settings, [("DAPI", "GFP")]).nuclei_channel is None
    assert with_channels(profile, settings, [("none", "GFP")]).nuclei_channel == "none"


def test_a_condition_without_the_channel_says_so():
    groups = {"a": [squares(("DAPI", "GFP"), "a")], "b": [squares(("DAPI", "405"), "b")]}
    found = measure("area", groups, area_settings(channel="GFP"))
    assert found.images["area_px"].notna().tolist() == [True, False]
    assert 'no channel "GFP"' in found.images["reason"][1]


def test_nuclei_and_marker_of_one_channel_are_refused():
    images = {"a": [squares(("DAPI", "GFP"), "1")]}
    settings = TranslocationSettings(marker_channel="DAPI")
    with pytest.raises(InputError, match=r"DAPI is both the nuclei channel and the marker channel"):
        measure("translocation", images, settings)


def test_one_channel_is_too_few_for_two():
    with pytest.raises(InputError, match=r"one channel, DAPI: .* needs a marker channel beside"):
        measure("translocation", {"a": [squares(("DAPI",), "1")]})
