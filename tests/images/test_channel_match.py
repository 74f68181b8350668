from __future__ import annotations

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_match import match_channels
from napari_phenldiff.images.image import Image


@pytest.mark.parametrize(
    ("ours", "theirs", "row", "guessed"),
    [
        ("DNA, GFP", "DNA, GFP", (0, 1), ()),
        ("DNA, GFP", "GFP, DNA", (1, 0), ()),
        ("DNA, GFP", "gfp ,  dna", (1, 0), ()),
        ("DNA (DRAQ), FKHR-GFP", "fkhr, dapi", (1, 0), ()),
        ("GFP, Hoechst 33342, actin", "Actin-TRITC, nuclei, GFP", (2, 1, 0), ()),
        ("DNA, GFP", "channel 0, channel 1", (0, 1), (0, 1)),
        ("DNA, GFP", "GFP, red", (1, 0), (0,)),
        ("DNA, GFP, actin", "GFP, DNA", (1, 0, None), ()),
        ("GFP, DNA", "DNA, tubulin, GFP", (2, 0), ()),
        ("a, a", "a, a", (0, 1), ()),
        # Two nuclear stains on one side: none is taken for the other.
        ("DAPI, H2B-RFP", "H2B, dapi", (1, 0), ()),
        ("α-tubulin, β-actin", "β-Actin, α-Tubulin", (1, 0), ()),
    ],
)
def test_channels_are_found_by_name_then_by_order(ours, theirs, row, guessed):
    names = {"source": tuple(ours.split(", ")), "target": tuple(theirs.split(", "))}

    match = match_channels(names)

    assert tuple(cell for (cell,) in match.rows) == row
    assert match.by_order == {(index, 0) for index in guessed}


def test_only_what_differs_wants_a_look():
    same = match_channels({"a": ("DNA", "GFP"), "b": ("DNA", "GFP"), "c": ("DNA", "GFP")})
    spelling = match_channels({"a": ("DNA", "GFP"), "b": ("dna", "Gfp ")})
    swapped = match_channels({"a": ("DNA", "GFP"), "b": ("DNA", "GFP"), "c": ("GFP", "DNA")})
    more = match_channels({"a": ("DNA",), "b": ("DNA", "GFP")})

    assert [m.changes_nothing for m in (same, spelling, swapped, more)] == [True] + [False] * 3
    assert [m.wants_a_look for m in (same, spelling, swapped, more)] == [False, False, True, True]


def test_a_cell_can_be_put_right():
    match = match_channels({"a": ("DNA", "GFP"), "b": ("x", "y", "z")})
    assert match.by_order == {(0, 0), (1, 0)}

    match = match.with_cell(1, 0, 2)

    assert match.rows == ((0,), (2,))
    assert match.by_order == {(0, 0)}
    assert match.validation_error() is None
    twice = match.with_cell(0, 0, 2).validation_error()
    assert twice is not None
    assert "z of b is chosen for both DNA and GFP" in twice
    left = match.with_cell(0, 0, None)
    assert left.names == ("GFP",)
    assert left.validation_error() is None
    assert "at least one" in (left.with_cell(1, 0, None).validation_error() or "")


def test_a_channel_is_left_out_and_taken_in_again_for_all_conditions():
    match = match_channels({"a": ("DNA", "GFP"), "b": ("GFP", "DNA"), "c": ("DNA", "GFP")})

    left = match.with_cell(0, 1, None)
    assert left.rows == ((None, None), (0, 1))
    assert left.remarks() == ["Left out: DNA (a), DNA (b), DNA (c)."]
    again = left.with_cell(0, 0, 1)
    assert again == match
    assert again.remarks() == []


def test_guesses_are_told():
    match = match_channels({"a": ("DNA", "GFP"), "b": ("GFP", "x"), "c": ("y", "GFP", "z")})

    assert match.remarks() == [
        "Check what only the order tells: DNA = x (b), DNA = y (c).",
        "Left out: z (c).",
    ]


def image(*names: str, name: str = "i", path=None) -> Image:
    data = np.stack([np.full((4, 4), ord(n[0]), np.uint8) for n in names])
    return Image(data, names, None, name, path)


def test_images_get_the_channels_of_the_source(tmp_path):
    match = match_channels(
        {"a": ("DNA", "GFP", "x"), "b": ("gfp", "dna"), "c": ("dapi", "gfp", "x")}
    )
    path = tmp_path / "i.tif"

    (a,) = match.apply("a", [image("DNA", "GFP", "x", path=path)])
    (b,) = match.apply("b", [image("gfp", "dna", path=path)])
    (c,) = match.apply("c", [image("dapi", "gfp", "x", path=path)])

    assert a.channel_names == b.channel_names == c.channel_names == ("DNA", "GFP")
    assert [int(plane[0, 0]) for plane in b.data] == [ord("d"), ord("g")]
    # Their files hold other channels than these.
    assert a.path is b.path is c.path is None


def test_a_file_that_only_names_its_channels_otherwise_is_still_referred_to(tmp_path):
    match = match_channels({"a": ("DNA", "GFP"), "b": ("dapi", "gfp")})

    (b,) = match.apply("b", [image("dapi", "gfp", path=tmp_path / "i.tif")])

    assert b.channel_names == ("DNA", "GFP")
    assert b.path == tmp_path / "i.tif"


def test_an_image_with_other_channels_than_the_rest_is_refused():
    match = match_channels({"a": ("DNA", "GFP"), "b": ("GFP", "DNA")})

    with pytest.raises(InputError, match='"odd" of condition "b" has the channels "DNA"'):
        match.apply("b", [image("GFP", "DNA"), image("DNA", name="odd")])
