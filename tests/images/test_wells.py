import pytest

from napari_phenldiff.images.wells import well_of, wells_in


@pytest.mark.parametrize(
    ("names", "wells"),
    [
        (["B02_y000_x128", "B02_y128", "H12"], ["B2", "B2", "H12"]),
        (["rep10_A003_y000", "plate-P24-s1"], ["A3", "P24"]),
        (["B02_y000", "field7"], None),
        (["B25_a"], None),
        (["DNA2_x"], None),
        (["y0000_x0128"], None),
    ],
)
def test_wells_are_read_from_names(names, wells):
    assert wells_in(names) == wells


def test_the_groups_of_a_pattern_are_kept_apart():
    pattern = r"exp(\d+)_culture(\d+)"
    assert well_of("exp1_culture11_0", pattern) == "1 11"
    assert well_of("exp11_culture1_0", pattern) == "11 1"
    assert well_of("B07_1", r"^[A-H]\d+") == "B07"
