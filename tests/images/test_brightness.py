from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.images.brightness import (
    brightness_in_words,
    levels,
    with_common_brightness,
)
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling


def field(cells: int, seed: int, *, gain: float = 1.0, offset: float = 0.0) -> Image:
    """Bright discs on a noisy background, and a second channel that is always alike."""
    rng = np.random.default_rng(seed)
    plane = rng.normal(10, 1, (64, 64))
    y, x = np.mgrid[:64, :64]
    for cy, cx in rng.uniform(8, 56, (cells, 2)):
        plane[(y - cy) ** 2 + (x - cx) ** 2 < 25] = 110 + rng.normal(0, 5)
    planes = np.stack([plane * gain + offset, rng.uniform(0, 1000, (64, 64))])
    return Image(planes.astype(np.float32), ("DNA", "marker"), None, f"field{seed}")


def fields(n: int = 6, cells: int = 4, first: int = 0, **how: float) -> list[Image]:
    return [field(cells, first + i, **how) for i in range(n)]


def test_levels_follow_gain_and_offset_and_not_the_number_of_cells():
    many, few = levels(fields(cells=8), 0), levels(fields(cells=2), 0)
    changed = levels(fields(cells=8, gain=0.4, offset=7), 0)
    assert many.background == pytest.approx(10, abs=0.5)
    assert few.background == pytest.approx(many.background, abs=0.5)
    assert few.contrast == pytest.approx(many.contrast, rel=0.05)
    assert changed.background == pytest.approx(0.4 * many.background + 7, rel=1e-3)
    assert changed.contrast == pytest.approx(0.4 * many.contrast, rel=1e-3)


@pytest.mark.parametrize("bright", ["untreated", "treated"])
def test_a_dim_channel_is_brought_up_and_comes_back_in_its_own_grey_values(bright):
    dim = "treated" if bright == "untreated" else "untreated"
    images = {bright: fields(), dim: fields(gain=0.4, offset=3)}
    shared = IntensityScaling.fit([*images[bright], *images[dim]])
    scaling = with_common_brightness(shared, images, ("DNA",))

    assert scaling.normalised == ("DNA",)
    assert scaling.of(bright) == shared
    assert scaling.shared == shared
    for one, other in zip(images[bright], images[dim], strict=True):
        lit, same = scaling.of(bright).apply(one.data), scaling.of(dim).apply(other.data)
        np.testing.assert_allclose(same, lit, atol=0.01)
        assert np.abs(shared.apply(other.data)[0] - lit[0]).max() > 0.5, "as it was before"
        np.testing.assert_array_equal(scaling.of(dim).apply(other.data)[1], lit[1])
        inside = (other.data >= np.reshape(scaling.of(dim).low, (2, 1, 1))) & (
            other.data <= np.reshape(scaling.of(dim).high, (2, 1, 1))
        )
        back = scaling.of(dim).invert(same, np.float32)
        np.testing.assert_allclose(back[inside], other.data[inside], rtol=1e-4, atol=1e-2)

    text = brightness_in_words(scaling, "DNA", (bright, dim))
    assert text == f"0.40 times as bright in {dim} as in {bright}"


def test_grey_values_of_another_condition():
    images = {"a": fields(), "b": fields(gain=0.5)}
    scaling = with_common_brightness(
        IntensityScaling.fit([*images["a"], *images["b"]]), images, ("DNA",)
    )
    one = images["b"][0]
    lit = scaling.regrade(one, "b", "a")
    np.testing.assert_allclose(lit.data[0], images["a"][0].data[0], rtol=0.02, atol=0.5)
    np.testing.assert_allclose(lit.data[1], one.data[1], rtol=1e-5)
    np.testing.assert_allclose(scaling.regrade(lit, "a", "b").data, one.data, rtol=1e-4, atol=1e-3)
    assert scaling.regrade(one, "b", "b") is one
    assert scaling.shared.regrade(one, "b", "a") is one


def test_what_has_no_contrast_is_left_as_it_is():
    black = [replace(x, data=x.data * np.float32([[[0]], [[1]]])) for x in fields()]
    images = {"a": fields(), "b": black}
    shared = IntensityScaling.fit([*images["a"], *images["b"]])
    assert with_common_brightness(shared, images, ("DNA",)) == shared
    assert with_common_brightness(shared, images, ()) == shared


def test_own_ranges_are_kept_in_files_and_absent_without_any():
    images = {"a": fields(), "b": fields(gain=0.5)}
    shared = IntensityScaling.fit([*images["a"], *images["b"]])
    assert "own" not in shared.to_dict()
    scaling = with_common_brightness(shared, images, ("DNA",))
    assert IntensityScaling.from_dict(scaling.to_dict()) == scaling
    damaged = scaling.to_dict()
    damaged["own"] = [{"condition": "b"}]
    with pytest.raises(ValueError, match="lists of names and numbers"):
        IntensityScaling.from_dict(damaged)
