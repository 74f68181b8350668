import pytest

from napari_phenldiff.images.wells import wells_in


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
