from __future__ import annotations

import pytest

from napari_phenldiff.images.naming import count, some_of


@pytest.mark.parametrize(
    ("number", "total", "said"),
    [(1, 1, "the only well"), (3, 3, "all 3 wells"), (1, 3, "1 of the 3 wells")],
)
def test_some_of_several_things(number: int, total: int, said: str):
    assert some_of(number, total, "well") == said


def test_one_thing_is_no_plural():
    assert (count(1, "image"), count(2, "image")) == ("1 image", "2 images")
