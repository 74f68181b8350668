from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.area import Area, AreaSettings
from napari_phenldiff.measurement.compare import compare, holm, recovery
from napari_phenldiff.measurement.effects import (
    effects,
    matched,
    result_columns,
    unit_values,
    wells_by_pattern,
)
from napari_phenldiff.measurement.tables import Measurement, image_table

GROUPS = {"source": "a", "target": "b", "reconstructed": "ra", "translated": "tb"}
MEANS = {"a": 0.2, "b": 0.6, "ra": 0.22, "tb": 0.5}


@pytest.fixture
def measurement() -> Measurement:
    """Four groups of 4 wells with 3 fields each; fields of a well are alike."""
    rng = np.random.default_rng(0)
    rows = []
    for name, mean in MEANS.items():
        for well in "ABCD":
            centre = mean + rng.normal(0, 0.02)
            for field in range(3):
                area = centre + rng.normal(0, 0.002)
                rows.append(
                    {
                        "image": f"{well}1_f{field}.tif",
                        "condition": name,
                        "threshold": 3.0 + rng.normal(),
                        "area_px": round(1e6 * area),
                        "total_px": 1000000 + field,
                        "perimeter_px": rng.normal(50, 1),
                        "area_fraction": area,
                    }
                )
    return Measurement(Area(), image_table(Area(), rows), None, AreaSettings())


def test_columns_that_tell_how_it_was_measured_are_left_out(measurement):
    assert result_columns(measurement) == ("area_fraction", "area_px", "perimeter_px")


def test_what_is_there_in_two_units_counts_once(measurement):
    images = measurement.images.assign(area_um2=measurement.images["area_px"] / 4.0)
    both = replace(measurement, images=images)
    assert sorted(result_columns(both)) == ["area_fraction", "area_um2", "perimeter_px"]
    images.loc[3, "area_um2"] = np.nan
    assert sorted(result_columns(both)) == ["area_fraction", "area_px", "perimeter_px"]


def test_rows_are_what_compare_and_recovery_give(measurement):
    table = effects(measurement, **GROUPS)
    assert list(table["effect"]) == ["real", "translated"] * 3
    values = {name: measurement.values(name) for name in MEANS}
    real, made = table.iloc[0], table.iloc[1]
    expected = compare(values["a"], values["b"])
    for name in ("shift", "shift_low", "cliffs_delta_low", "p_value", "permutation_p_value"):
        assert real[name] == getattr(expected, name)
    assert real["least_p_value"] == expected.min_p_value
    paired = compare(values["ra"], values["tb"], paired=True)
    assert (made["shift"], made["p_value"]) == (paired.shift, paired.p_value)
    assert made["cliffs_delta"] == compare(values["ra"], values["tb"]).cliffs_delta
    found = recovery(values["a"], values["b"], values["tb"], reconstructed=values["ra"])
    assert (made["recovery"], made["recovery_low"]) == (found.value, found.low)
    reals = table[table["effect"] == "real"]
    np.testing.assert_array_equal(reals["p_holm"], holm(reals["p_value"]))
    assert reals["p_holm"].iloc[0] == 3 * reals["p_value"].iloc[0]
    nothing = table[(table["measurement"] == "perimeter_px") & (table["effect"] == "translated")]
    assert nothing["note"].item() == "no effect between the real conditions"


def test_wells_are_counted_and_not_their_images(measurement):
    wells = wells_by_pattern(measurement, r"^[A-H]\d+")
    assert wells["A1_f2.tif"] == "A1"
    table = effects(measurement, **GROUPS, wells=wells)
    assert set(table["n_before"]) == {4}
    assert table["least_p_value"].iloc[0] == pytest.approx(2 / 70)
    named = replace(
        measurement, images=measurement.images.assign(well=measurement.images["image"].map(wells))
    )
    assert effects(named, **GROUPS, wells="well").equals(table)
    means = unit_values(measurement, "a", wells=wells, summary="mean")
    assert means["B1"] == pytest.approx(measurement.values("a")[3:6].mean())
    with pytest.raises(InputError, match="names wells"):
        effects(measurement, **GROUPS, wells="plate")
    with pytest.raises(InputError, match=r"A1_f0\.tif.*no well"):
        effects(measurement, **GROUPS, wells={"A1_f1.tif": "A1"})
    with pytest.raises(InputError, match="not in the name"):
        wells_by_pattern(measurement, "^Z")
    with pytest.raises(InputError, match="regular expression"):
        wells_by_pattern(measurement, "(")


def test_the_same_fields_before_and_after(measurement):
    shuffled = replace(measurement, images=measurement.images.iloc[::-1].reset_index(drop=True))
    there = effects(measurement, source="a", target="b", paired=True)
    back = effects(shuffled, source="a", target="b", paired=True)
    assert there["paired"].all()
    np.testing.assert_allclose(there["shift"], back["shift"])
    fewer = replace(measurement, images=measurement.images.drop(index=[0, 13]))
    assert set(effects(fewer, source="a", target="b", paired=True)["n_before"]) == {10}


def test_pairs_that_are_none_are_told(measurement):
    a = unit_values(measurement, "a")
    other = a.set_axis([f"x{i}" for i in range(len(a))])
    with pytest.raises(InputError, match="different names"):
        matched(a, other)
    assert list(matched(a, other, by_place=True)[1].index) == list(a.index)
    twice = a.set_axis(["x"] * len(a))
    with pytest.raises(InputError, match="same name"):
        matched(twice, twice)
    with pytest.raises(InputError, match="reconstructed"):
        effects(measurement, source="a", target="b", reconstructed="ra")
