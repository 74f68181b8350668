from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.figures.four_groups import four_group_values
from napari_phenldiff.measurement.figures.pairs import paired_values
from napari_phenldiff.measurement.profiles.area import Area, AreaSettings
from napari_phenldiff.measurement.statistics.compare import compare
from napari_phenldiff.measurement.statistics.recovery import recovery
from napari_phenldiff.measurement.tables.measurement import Measurement, image_table

GROUPS = {"source": "a", "target": "b", "reconstructed": "ra", "translated": "tb"}


@pytest.fixture
def measurement() -> Measurement:
    rng = np.random.default_rng(0)
    rows = [
        {"image": f"{name}{i}", "condition": name, "area_fraction": rng.normal(mean, 0.02)}
        for name, mean in (("a", 0.2), ("b", 0.6), ("ra", 0.22), ("tb", 0.5))
        for i in range(8)
    ]
    rows[3]["area_fraction"] = np.nan
    return Measurement(Area(), image_table(Area(), rows), None, AreaSettings())


def test_all_that_the_figure_shows_is_in_the_table(measurement: Measurement):
    table = four_group_values(measurement, **GROUPS)
    values = {name: measurement.values(name) for name in ("a", "b", "ra", "tb")}

    dots = table[table["what"] == "image"]
    assert len(dots) == 32
    np.testing.assert_array_equal(dots["value"], np.concatenate(list(values.values())))
    assert list(dots["image"][:2]) == ["a0", "a1"]
    medians = table[table["what"] == "median"].set_index("group")
    assert list(medians["n"]) == [7, 8, 8, 8]
    assert medians["value"]["a"] == np.nanmedian(values["a"])
    real, made = (table[table["what"] == "shift"].iloc[i] for i in (0, 1))
    expected = compare(values["a"], values["b"])
    assert (real["value"], real["low"]) == (expected.shift, expected.shift_low)
    assert real["p_value"] == expected.p_value
    recovered = recovery(values["a"], values["b"], values["tb"], reconstructed=values["ra"])
    assert made["value"] == recovered.translated_effect
    assert made["test"] == "Wilcoxon signed-rank"
    last = table.iloc[-1]
    assert (last["what"], last["value"]) == ("recovery", recovered.value)
    assert 0.5 < last["low"] < last["value"] < last["high"] < 1
    assert set(table["measurement"]) == {"area_fraction"}


def test_two_groups_have_no_recovery(measurement: Measurement):
    table = four_group_values(measurement, source="a", target="b")
    assert set(table["what"]) == {"image", "median", "shift"}
    assert isinstance(table, pd.DataFrame)


def test_a_group_that_is_not_there_is_told(measurement: Measurement):
    with pytest.raises(InputError, match="nobody"):
        four_group_values(measurement, source="a", target="nobody")


def test_pairs_and_their_shift_are_in_the_table(measurement: Measurement):
    table = paired_values(measurement, before="ra", after="tb")
    before, after = measurement.values("ra"), measurement.values("tb")
    pairs = table[table["what"] == "pair"]
    np.testing.assert_array_equal(pairs["change"], after - before)
    shift = table[table["what"] == "shift of pairs"].iloc[0]
    expected = compare(before, after, paired=True)
    assert (shift["value"], shift["low"], shift["high"]) == (
        expected.shift,
        expected.shift_low,
        expected.shift_high,
    )
    assert (shift["n"], shift["test"]) == (8, "Wilcoxon signed-rank")
    with pytest.raises(InputError, match="different names"):
        paired_values(measurement, before="a", after="b", made=False)
