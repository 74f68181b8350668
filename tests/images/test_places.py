from __future__ import annotations

import pytest

from napari_phenldiff.images.places import Place, place_of


@pytest.mark.parametrize(
    ("name", "well"),
    [
        ("E11_y128_x384", "E11"),
        ("rep11_C003_y127_x128", "rep11 C003"),
        ("B07_field3.ome.tif", "B07"),
        ("r02c03f01p01-ch1sk1fk1fl1", "r02c03"),
        ("plate1_A01_s1_w1", "plate1 A01"),
        ("A01_plate2_f3", "A01 plate2"),
        ("A01f00d0", "A01"),
        ("W0001F0002T0001Z001C1", "W0001"),
        ("AssayPlate_A01_T0001F001L01A01Z01C01", "AssayPlate A01"),
        ("B - 02(fld 1 wv DAPI)", "B - 02"),
        ("img001_A01_f1", "A01"),
        ("wellA01_2", "A01"),
        ("mouse_2_3", "mouse2"),
        ("dish3-004", "dish3"),
    ],
)
def test_wells_are_read_as_microscopes_and_people_write_them(name, well):
    assert place_of(name) == Place(well, "well")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("y0384_x0512", ""),
        ("t00", ""),
        ("tile_12", ""),
        ("s010_ta_y512_x768", "s010"),
        ("pos3_t004", "pos3"),
        ("field3_r0c1", "field3"),
        ("scene 3 frame 12", "scene 3"),
        ("control_z03", "control"),
    ],
)
def test_parts_of_a_field_belong_together(name, field):
    assert place_of(name) == Place(field, "field")


@pytest.mark.parametrize(
    "name",
    ["field_0003", "field", "control_0003", "cells 12", "Image1", "untreated-1", "0003", "x3",
     "img_w1", "noise 1", "s2", "xy03"],
)  # fmt: skip
def test_what_a_name_does_not_tell_is_not_guessed(name):
    assert place_of(name) == Place(name, "image")


def test_a_letter_with_one_digit_may_be_a_channel():
    assert place_of("C1_003").kind == "well"
    assert place_of("C1_003", unsure=False).kind == "image"
