from __future__ import annotations

from napari_phenldiff.diffusion.overfitting import OverfittingWatch
from napari_phenldiff.runs.events import Validated


def told(losses, training) -> list[tuple[int, str]]:
    watch = OverfittingWatch()
    found = []
    for number, (loss, other) in enumerate(zip(losses, training, strict=True), 1):
        text = watch.add(Validated(25 * number, loss, other))
        if text is not None:
            found.append((25 * number, text))
    return found


FALLING = [1.0 - 0.05 * k for k in range(10)]


def test_a_training_that_goes_well_is_left_alone():
    assert told(FALLING, FALLING) == []


def test_memorising_is_told_once_with_the_step_and_the_way_out():
    rising = [1.0, 0.9, 0.8, 0.8, 0.85, 0.9, 0.95, 1.0, 1.05, 1.1]
    ((step, text),) = told(rising, FALLING)
    assert step == 175
    assert "From about step 100" in text
    assert "about 100 steps" in text
    assert "more images" in text


def test_one_bad_value_is_no_reason():
    assert told([1.0, 0.9, 0.8, 0.9, 0.8, 0.78, 0.77, 0.76, 0.75, 0.74], FALLING) == []


def test_losses_that_rise_together_are_no_memorising():
    rising = [0.8, 0.8, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5]
    assert told(rising, rising) == []
