from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.distance_table import (
    ALL_CHANNELS,
    REAL,
    TRANSLATED,
    DistanceRow,
    distance_table,
    inception_distance,
    split_target,
)
from napari_phenldiff.evaluation.document import _distances
from napari_phenldiff.evaluation.features import Features


def features(n, shift, seed):
    values = np.random.default_rng(seed).normal(shift, 1, (n, 2, 16))
    return Features(values.astype(np.float32), "noise")


def test_halves_share_no_well_and_rows_have_the_same_number():
    groups = [f"w{k // 5}" for k in range(40)]
    split = split_target(groups, 12, seed=1)
    assert split.n == len(split.reference) == len(split.other) == 12
    wells = [{groups[i] for i in side} for side in (split.reference, split.other)]
    assert not wells[0] & wells[1]
    assert split_target(groups, 100).n == 20
    with pytest.raises(InputError, match="halves"):
        split_target(["w0"] * 10, 10)


def test_rows_are_named_and_in_order_of_distance():
    target = features(40, 1.0, 0)
    split = split_target([str(k) for k in range(40)], 20)
    made = {TRANSLATED: features(25, 0.8, 1), "copy": features(25, 0.0, 2)}
    rows = distance_table(made, target, split, ("DNA", "actin"))
    assert [row.channel for row in rows[::3]] == [ALL_CHANNELS, "DNA", "actin"]
    assert {row.n for row in rows} == {20}
    assert all(row.features.startswith("noise") for row in rows)
    for channel in (ALL_CHANNELS, "DNA", "actin"):
        by_name = {row.images: row.kernel for row in rows if row.channel == channel}
        assert abs(by_name[REAL]) < by_name["copy"]
        assert by_name[TRANSLATED] < by_name["copy"]
    # one channel is all there is
    single = Features(target.values[:, :1], "noise")
    rows = distance_table({TRANSLATED: single}, single, split, ("DNA",))
    assert [row.channel for row in rows] == [ALL_CHANNELS] * 2


def test_without_torch_fidelity_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch_fidelity", None)
    with pytest.raises(InputError, match="extra 'fid'"):
        inception_distance(np.zeros((2, 1, 8, 8)), np.zeros((2, 1, 8, 8)))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_torch_fidelity_is_given_bytes_in_colour(monkeypatch, channels):
    given = {}

    def calculate_metrics(**how):
        given.update(how)
        return {"frechet_inception_distance": 7.0}

    stand_in = ModuleType("torch_fidelity")
    stand_in.calculate_metrics = calculate_metrics
    monkeypatch.setitem(sys.modules, "torch_fidelity", stand_in)
    images = np.full((2, channels, 8, 8), 1.0, np.float32)
    assert inception_distance(images, -images) == 7
    assert given["fid"] is True
    assert len(given["input1"]) == 2
    picture = given["input1"][1]
    assert (tuple(picture.shape), str(picture.dtype)) == ((3, 8, 8), "torch.uint8")
    assert picture.max() == 255
    assert given["input2"][0].max() == 0
    # two channels are red and green
    assert bool(picture[2].max()) is (channels != 2)


def test_a_report_says_that_intervals_are_over_tiles():
    row = DistanceRow("translated", "all channels", 24, 0.1, 0.05, 0.2, 1.0, False, "a network")
    section = _distances(SimpleNamespace(distances=(row,), fid=None, target="treated"))
    assert "24 tiles on each side" in section.text
    assert "Intervals are over tiles" in section.text
    assert section.table["N (tiles)"].tolist() == [24]
