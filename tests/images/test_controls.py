from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.controls import halves, permuted
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.wells import well_of

WELL = r"^[A-Z]\d"


def square(side, name, seed):
    plane = np.random.default_rng(seed).normal(10, 1, (40, 40))
    plane[:side, :side] += 100
    return Image(plane[None].astype(np.float32), ("stain",), None, name)


def group(letter, n, side):
    return [square(side + k % 3, f"{letter}{k // 4}_f{k}", 100 * side + k) for k in range(n)]


@pytest.fixture
def experiment():
    return Experiment.from_images({"a": group("A", 16, 8), "b": group("B", 16, 24)})


def test_conditions_are_permuted_and_numbers_kept(experiment):
    mixed = permuted(experiment, seed=1)
    assert mixed.names == ("a", "b")
    assert [len(c.images) for c in mixed.conditions] == [16, 16]
    letters = Counter(image.name[0] for image in mixed["a"].images)
    assert min(letters["A"], letters["B"]) > 2
    assert {i.name for i in mixed.images} == {i.name for i in experiment.images}
    assert permuted(experiment, seed=2)["a"].images != mixed["a"].images


def test_wells_stay_together(experiment):
    mixed = permuted(experiment, seed=3, wells=WELL)
    for condition in mixed.conditions:
        assert set(Counter(well_of(i.name, WELL) for i in condition.images).values()) == {4}
    split = halves(experiment["a"], seed=0, wells=WELL)
    assert split.names == ("a_a", "a_b")
    wells = [{well_of(i.name, WELL) for i in c.images} for c in split.conditions]
    assert not wells[0] & wells[1]
    with pytest.raises(InputError, match="cannot be split"):
        halves(Experiment.from_images({"a": group("A", 3, 8)})["a"], wells=WELL)


def test_images_of_one_name_are_renamed():
    same = Experiment.from_images({"a": group("A", 6, 8), "b": group("A", 6, 24)})
    mixed = permuted(same, seed=0)
    assert sum(len(c.images) for c in mixed.conditions) == 12
