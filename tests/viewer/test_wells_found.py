from __future__ import annotations

import pytest

from napari_phenldiff.viewer.wells_found import wells_in_words


def named(*names: str) -> dict[str, str | None]:
    return dict.fromkeys(names)


@pytest.mark.parametrize(
    ("untreated", "treated", "wells", "told"),
    [
        (
            named("B02_f1", "B02_f2", "B03_f1"),
            named("C02_f1", "C03_f1", "C03_f2"),
            None,
            "4 wells: B02, B03, C02, C03 (2 of untreated, 2 of treated).",
        ),
        (
            {"a": "platePone well B02", "b": "platePone well B03"},
            {"c": "platePone well C02", "d": "platePone well C03"},
            None,
            "4 wells: Pone B02, Pone B03, Pone C02, Pone C03 (2 of untreated, 2 of treated).",
        ),
        (
            {"a": "well B02", "b": "well B02"},
            {"c": "well C02", "d": "well C03"},
            None,
            (
                "3 wells: B02, C02, C03 (1 of untreated, 2 of treated). From one well of a "
                "condition there is no p-value."
            ),
        ),
        (
            {"a": "well B02", "b": "well B02"},
            {"a": "well C02", "b": "well C03"},
            None,
            (
                "3 wells: B02, C02, C03 (1 of untreated, 2 of treated). From one well of a "
                "condition there is no p-value."
            ),
        ),
        (
            named("B02_f1", "B02_f2"),
            named("C02_f1", "C02_f2"),
            "image",
            (
                "⚠ Each image is counted, as asked, though their names tell wells: images of one "
                "well are less independent than that, and p-values and intervals too good. "
                "(2 of untreated, 2 of treated)"
            ),
        ),
        (
            named("first", "second"),
            named("third"),
            None,
            "No name tells a well: each image counts (2 of untreated, 1 of treated).",
        ),
        (
            named("y0000_x0000", "y0000_x0128"),
            named("y0000_x0000", "y0000_x0128"),
            None,
            (
                "2 fields: one of untreated and one of treated, whose names no image tells (1 of "
                "untreated, 1 of treated). From one field of a condition there is no p-value."
            ),
        ),
        (
            named("y0000_x0000", "y0000_x0128", "scan2_y0000_x0128"),
            named("scan3_y0000_x0000", "scan4_y0000_x0128"),
            None,
            (
                "4 fields: scan2, scan3, scan4, one of untreated, whose name no image tells (2 of "
                "untreated, 2 of treated)."
            ),
        ),
        (
            named("first", "second"),
            named("third"),
            "image",
            "Each image counts (2 of untreated, 1 of treated).",
        ),
        (
            named("x7_a", "x7_b", "x9_a"),
            named("y1_a", "y2_a"),
            r"^[xy]\d",
            "4 wells: x7, x9, y1, y2 (2 of untreated, 2 of treated).",
        ),
        (
            named("x7"),
            named("none"),
            r"\d",
            'The pattern "\\d" is not in the name "none": it must name the well of every image.',
        ),
        (named("a"), named("b"), "(", '"(" is not a regular expression: '),
        ({}, {}, None, ""),
    ],
)
def test_what_is_counted_is_said(untreated, treated, wells, told):
    text = wells_in_words({"untreated": untreated, "treated": treated}, wells)

    assert text.startswith(told)
    assert text == told or wells == "("


def test_of_many_wells_some_are_named():
    images = named(*(f"{row}{column:02d}_f1" for row in "BC" for column in range(2, 12)))

    text = wells_in_words({"dmso": images}, None)

    assert text == "20 wells: B02, B03, B04, B05, B06, B07, B08, B09, ... (20 of dmso)."
