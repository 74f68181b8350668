from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.profiles.area import Area, AreaSettings
from napari_phenldiff.measurement.statistics.compare import compare, holm
from napari_phenldiff.measurement.statistics.effects import effects, result_columns
from napari_phenldiff.measurement.statistics.recovery import recovery
from napari_phenldiff.measurement.statistics.units import (
    Units,
    matched,
    unit_values,
    units_of,
    wells_by_pattern,
)
from napari_phenldiff.measurement.tables.measurement import Measurement, image_table

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


def test_images_that_are_counted_although_wells_are_known_carry_a_caution(measurement):
    table = effects(measurement, **GROUPS, wells="image")
    assert (table["counted"] == "images").all()
    real = table[table["effect"] == "real"]
    assert real["note"].str.contains("though their names tell wells").all()
    assert not effects(measurement, **GROUPS)["note"].str.contains("as asked").any()
    images = measurement.images.assign(image=[f"cell {i}" for i in range(len(measurement.images))])
    both = {"source": GROUPS["source"], "target": GROUPS["target"]}
    unknown = effects(replace(measurement, images=images), **both, wells="image")
    assert not unknown["note"].str.contains("as asked").any()


def test_rows_are_what_compare_and_recovery_give(measurement):
    table = effects(measurement, **GROUPS, wells="image")
    assert list(table["effect"]) == ["real", "translated"] * 3
    values = {name: measurement.values(name) for name in MEANS}
    real, made = table.iloc[0], table.iloc[1]
    expected = compare(values["a"], values["b"])
    for name in ("shift", "shift_low", "cliffs_delta_low"):
        assert real[name] == getattr(expected, name)
    paired = compare(values["ra"], values["tb"], paired=True)
    assert made["shift"] == paired.shift
    assert made["cliffs_delta"] == compare(values["ra"], values["tb"]).cliffs_delta
    found = recovery(values["a"], values["b"], values["tb"], reconstructed=values["ra"])
    assert (made["recovery"], made["recovery_low"]) == (found.value, found.low)
    nothing = table[(table["measurement"] == "perimeter_px") & (table["effect"] == "translated")]
    assert nothing["note"].item() == "the real conditions are not shown to differ"


def test_a_comparison_has_one_p_value_with_its_test_and_correction(measurement):
    table = effects(measurement, **GROUPS, wells="image")
    assert [name for name in table if name.startswith("p_") or name.endswith("p_value")] == [
        "p_value",
        "least_p_value",
    ]
    for effect, (a, b), test in (
        ("real", ("a", "b"), "Mann-Whitney U"),
        ("translated", ("ra", "tb"), "Wilcoxon signed-rank"),
    ):
        rows = table[table["effect"] == effect]
        plain = [
            compare(
                measurement.values(a, column),
                measurement.values(b, column),
                paired=effect == "translated",
            )
            for column in rows["measurement"]
        ]
        corrected = holm([found.p_value for found in plain])
        least = [3 * found.min_p_value for found in plain]
        words = ["Holm over 3 measurements"] * 3
        if effect == "translated":
            # The main one is asked for, whatever the others say.
            assert rows["measurement"].iloc[0] == measurement.main_column
            corrected[0], least[0], words[0] = plain[0].p_value, plain[0].min_p_value, "none"
        np.testing.assert_array_equal(rows["p_value"], corrected)
        np.testing.assert_array_equal(rows["least_p_value"], least)
        assert set(rows["test"]) == {test}
        assert list(rows["correction"]) == words
    # Whoever looks at one measurement sees the p-value that it has among all.
    one = effects(measurement, **GROUPS, wells="image", columns=["perimeter_px"])
    np.testing.assert_array_equal(
        one["p_value"], table.loc[table["measurement"] == "perimeter_px", "p_value"]
    )


def test_one_quantity_in_two_columns_is_one_measurement(measurement):
    images = measurement.images
    of_one_size = replace(measurement, images=images.assign(area_fraction=images["area_px"] / 1e6))
    table = effects(of_one_size, **GROUPS)
    real = table[table["effect"] == "real"].set_index("measurement")
    assert set(real["correction"]) == {"Holm over 2 measurements"}
    assert set(real["least_p_value"]) == {2 * 2 / 70}
    assert real["p_value"]["area_fraction"] == real["p_value"]["area_px"] == 2 * 2 / 70
    made = table[table["effect"] == "translated"].set_index("measurement")
    assert list(made["correction"]) == ["none", "none", "Holm over 2 measurements"]
    # The part that is free is the same quantity as well.
    free = images.assign(area_fraction=1 - images["area_px"] / 1e6)
    table = effects(replace(measurement, images=free), **GROUPS)
    assert table["correction"][0] == "Holm over 2 measurements"
    # The same order alone is not enough, nor are values that one of them lacks.
    bent = images.assign(area_fraction=np.log(images["area_px"].astype(float)))
    lacking = images.assign(area_fraction=images["area_px"] / 1e6)
    lacking.loc[0, "area_fraction"] = np.nan
    for other in (bent, lacking):
        table = effects(replace(measurement, images=other), **GROUPS)
        assert table["correction"][0] == "Holm over 3 measurements"


def test_two_columns_of_two_values_are_two_measurements(measurement):
    images = measurement.images
    of_b = images["condition"] == "b"
    images = images.assign(area_fraction=of_b * 0.5, area_px=of_b * 7)
    table = effects(replace(measurement, images=images), source="a", target="b")
    assert set(table["correction"]) == {"Holm over 3 measurements"}


def test_wells_that_the_names_tell_are_counted_by_default(measurement):
    wells = wells_by_pattern(measurement, r"^[A-H]\d+")
    assert effects(measurement, **GROUPS).equals(effects(measurement, **GROUPS, wells=wells))
    assert set(effects(measurement, **GROUPS)["counted"]) == {"wells"}


@pytest.mark.parametrize("lonely", [("a",), ("a", "ra", "tb"), tuple(MEANS)])
def test_images_of_one_well_have_no_p_value_but_a_sentence(measurement, lonely):
    images = measurement.images.copy()
    mine = images["condition"].isin(lonely)
    fields = images[mine].groupby("condition").cumcount()
    images.loc[mine, "image"] = [f"A1_f{i}.tif" for i in fields]
    table = effects(replace(measurement, images=images), **GROUPS)
    real = table[table["effect"] == "real"]
    assert real["p_value"].isna().all()
    assert real["least_p_value"].isna().all()
    assert real[["shift_low", "cliffs_delta_high"]].isna().all(axis=None)
    assert "All 12 images of a come from one well (A1)" in real["note"].iloc[0]
    assert "there is no p-value" in real["note"].iloc[0]
    assert real["n_before"].tolist() == [1] * 3
    # What these images show can still be told.
    assert real["shift"].iloc[0] == pytest.approx(0.4, abs=0.03)
    made = table[table["effect"] == "translated"].iloc[0]
    assert made["recovery"] == pytest.approx(0.7, abs=0.1)
    assert np.isnan(made["recovery_low"])
    assert "one well" in made["note"]


def test_images_of_several_plates_or_days_carry_a_caution_if_no_well_is_known(measurement):
    images = measurement.images
    images = images.assign(image=[f"img {i}" for i in range(len(images))], plate="2024-01-15")
    one = effects(replace(measurement, images=images), **GROUPS)
    assert not one["note"].str.contains("plates or days").any()
    number = images.groupby("condition").cumcount()
    images.loc[number >= 6, "plate"] = "2024-01-22"
    several = effects(replace(measurement, images=images), **GROUPS)
    assert (several["counted"] == "images").all()
    told = 'of 2 plates or days ("2024-01-15", "2024-01-22"): images of one plate or day'
    notes = several[several["effect"] == "real"]["note"]
    assert notes.str.contains(told, regex=False).all()
    assert notes.str.contains("“Wells” (--wells)", regex=False).all()
    # One image of each is no less independent.
    each = replace(measurement, images=images.assign(plate=[f"p{n}" for n in number]))
    assert not effects(each, **GROUPS)["note"].str.contains("plates or days").any()
    wells = images.assign(part_of=[f"well A{n:02d}" for n in number])
    counted = effects(replace(measurement, images=wells), **GROUPS)
    assert not counted["note"].str.contains("plates or days").any()


def test_images_whose_names_look_like_groups_carry_a_caution(measurement):
    number = measurement.images.groupby("condition").cumcount()
    both = {"source": "a", "target": "b"}
    grouped = measurement.images.assign(image=[f"exp{n // 4}_{n % 4}" for n in number])
    table = effects(replace(measurement, images=grouped), **both)
    assert (table["counted"] == "images").all()
    told = 'look like 3 groups of several images each ("exp0", "exp1"'
    assert table["note"].str.contains(told, regex=False).all()
    counted = measurement.images.assign(image=[f"field_{n:03d}" for n in number])
    plain = effects(replace(measurement, images=counted), **both)
    assert not plain["note"].str.contains("look like").any()


def test_images_without_a_well_among_others_carry_a_caution(measurement):
    number = measurement.images.groupby("condition").cumcount()
    names = [f"B{1 + n // 4:02d}_s{n}" if n < 8 else f"extra_{n}" for n in number]
    mixed = replace(measurement, images=measurement.images.assign(image=names))
    units = units_of(mixed)
    assert units.counted == "wells"
    assert units.caution.startswith('The names of "extra_10", "extra_11"')
    assert "each of them counts as one well" in units.caution


def test_wells_at_several_times_are_counted_once_and_that_is_told(measurement):
    number = measurement.images.groupby("condition").cumcount()
    names = [f"{24 + 24 * (n // 6)}h_B{1 + n % 6:02d}" for n in number]
    units = units_of(replace(measurement, images=measurement.images.assign(image=names)))
    assert len(set(units.wells.values())) == 6
    assert 'at several times ("24h", "48h")' in units.caution


@pytest.mark.parametrize("told_by", ["column", "names"])
def test_conditions_that_share_no_plate_carry_a_caution(measurement, told_by):
    images = measurement.images
    number = images.groupby("condition").cumcount()

    def with_plates(plates):
        names = [f"B{1 + n % 6:02d}_f{n}" for n in number]
        if told_by == "names":
            names = [f"{p}_{name}" for p, name in zip(plates, names, strict=True)]
            return replace(measurement, images=images.assign(image=names))
        return replace(measurement, images=images.assign(image=names, plate=plates))

    of_source = images["condition"].isin(["a", "ra", "tb"])
    apart = with_plates([f"plate{2 - own}" for own in of_source])
    table = effects(apart, **GROUPS, wells=units_of(apart))
    real = table["effect"] == "real"
    said = 'No plate or day has images of both a and b ("plate1"; "plate2"): what differs'
    assert table[real]["note"].str.contains(said, regex=False).all()
    # Translated images are of the plate that the images they were made of are of.
    assert not table[~real]["note"].str.contains("No plate").any()
    shared = with_plates([f"plate{1 + n % 2}" for n in number])
    assert not effects(shared, **GROUPS)["note"].str.contains("No plate").any()
    # Where plates are what is counted, the p-value is of their differences.
    each = with_plates(
        [f"plate{10 * (1 - own) + n}" for n, own in zip(number, of_source, strict=True)]
    )
    one_each = Units({name: name for name in each.images["image"]}, "wells")
    assert not effects(each, **GROUPS, wells=one_each)["note"].str.contains("No plate").any()


def test_times_that_are_the_conditions_are_no_plates(measurement):
    number = measurement.images.groupby("condition").cumcount()
    hours = measurement.images["condition"].map({"a": "0h", "b": "24h", "ra": "0h", "tb": "0h"})
    names = [f"{h}_B{1 + n % 6:02d}_f{n}" for h, n in zip(hours, number, strict=True)]
    timed = replace(measurement, images=measurement.images.assign(image=names))
    assert not effects(timed, **GROUPS)["note"].str.contains("No plate").any()


@pytest.mark.parametrize("named_by", ["names", "columns"])
def test_wells_before_and_after_are_compared_over_the_same_images(named_by):
    rng = np.random.default_rng(0)
    rows = []
    for well in range(8):
        for field in range(4):
            value = 0.2 * field + rng.normal(0, 0.01)
            lost = field > 1  # the brightest could not be measured after
            for name in ("a", "b"):
                area = np.nan if lost and name == "b" else value
                rows.append(
                    {
                        "image": f"B{1 + well:02d}_f{field}",
                        "condition": name,
                        "well": f"B{1 + well:02d}",
                        "threshold": 1.0,
                        "area_px": 10,
                        "total_px": 100,
                        "perimeter_px": 1.0 + field,
                        "area_fraction": area,
                    }
                )
    measurement = Measurement(Area(), image_table(Area(), rows), None, AreaSettings())
    ends = {"source": "a", "target": "b", "paired": True}
    if named_by == "columns":
        names = measurement.images["image"].str.partition("_")[2]
        measurement = replace(measurement, images=measurement.images.assign(image=names))
        ends["wells"] = "well"
    table = effects(measurement, **ends, columns=["area_fraction"])
    (row,) = table.to_dict("records")
    assert (row["counted"], row["n_before"]) == ("wells", 8)
    assert row["shift"] == 0
    assert row["p_value"] == 1
    whole = measurement.values("a", "area_fraction")
    assert np.isfinite(whole).all()  # the table is left as it is


def test_recovery_of_the_same_fields_is_held_against_the_paired_shift(measurement):
    """Fields differ by far more than the conditions, so that only pairs show the difference."""
    images = measurement.images.copy()
    number = images.groupby("condition").cumcount().to_numpy()
    rise = images["condition"].map({"a": 0.0, "b": 0.1, "ra": 0.0, "tb": 0.08}).to_numpy()
    noise = np.random.default_rng(1).normal(0, 0.004, len(images))
    images["area_fraction"] = number + rise + noise
    spread = replace(measurement, images=images)
    how = {**GROUPS, "columns": ["area_fraction"], "wells": "image"}
    apart, paired = (effects(spread, **how, paired=p).iloc[-1] for p in (False, True))
    assert np.isnan(apart["recovery"])
    assert "not shown to differ" in apart["note"]
    assert paired["recovery_low"] <= 0.8 <= paired["recovery_high"]


def test_equal_wells_of_two_plates_are_two_wells_in_a_column_too(measurement):
    number = measurement.images.groupby("condition").cumcount()
    images = measurement.images.assign(
        well=[f"B{1 + n % 6:02d}" for n in number], plate=[f"P{1 + n // 6}" for n in number]
    )
    found = unit_values(replace(measurement, images=images), "a", wells="well")
    assert len(found) == 12
    assert found.index[0] == "P1 B01"


@pytest.mark.parametrize("lonely", ["a", "b"])
def test_images_of_one_name_are_of_the_well_of_their_own_condition(measurement, lonely):
    images = measurement.images
    images = images.assign(image=[f"img{i}" for i in images.groupby("condition").cumcount()])
    other = "b" if lonely == "a" else "a"
    of = {"a": "a", "ra": "a", "tb": "a", "b": "b"}
    images["part_of"] = [
        "well A01" if of[condition] == lonely else f"well B{1 + int(image[3:]) // 2:02d}"
        for condition, image in zip(images["condition"], images["image"], strict=True)
    ]
    told = replace(measurement, images=images)
    n = {lonely: 1, other: 6}
    table = effects(told, **GROUPS)
    real, made = (table[table["effect"] == name].iloc[0] for name in ("real", "translated"))
    assert (real["counted"], real["n_before"], real["n_after"]) == ("wells", n["a"], n["b"])
    assert f"All 12 images of {lonely} come from one well (A01)" in real["note"]
    assert np.isnan(real["p_value"])
    assert made["n_before"] == n["a"]
    # Of the same fields, those after are of the wells of those before.
    paired = effects(told, source="a", target="b", paired=True).iloc[0]
    assert (paired["n_before"], paired["n_after"]) == (n["a"], n["a"])
    # Where those that were made name no well, and those of their names are of several.
    images.loc[images["condition"].isin(["ra", "tb"]), "part_of"] = None
    lost = effects(told, **GROUPS)
    assert lost[lost["effect"] == "translated"]["p_value"].isna().all()
    assert units_of(told).caution.startswith('Images of several wells are called "img0"')


def test_one_image_of_several_that_could_be_measured_is_not_called_the_only_one(measurement):
    first = measurement.images["condition"].iloc[0]
    rows = measurement.images.index[measurement.images["condition"] == first]
    images = measurement.images.copy()
    images.loc[rows[1:], measurement.main_column] = np.nan
    few = replace(measurement, images=images)
    other = next(name for name in measurement.conditions if name != first)
    found = effects(few, source=first, target=other, columns=[measurement.main_column])
    assert found["note"].iloc[0] == (
        f"Only 1 of {len(rows)} images of {first} could be measured, which does not tell how "
        "images vary, so there is no p-value."
    )


def test_wells_are_counted_and_not_their_images(measurement):
    wells = wells_by_pattern(measurement, r"^[A-H]\d+")
    assert wells["A1_f2.tif"] == "A1"
    table = effects(measurement, **GROUPS, wells=wells)
    assert set(table["n_before"]) == {4}
    assert table["least_p_value"].iloc[0] == pytest.approx(3 * 2 / 70)
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
    ends = {"source": "a", "target": "b", "paired": True, "wells": "image"}
    there, back = effects(measurement, **ends), effects(shuffled, **ends)
    assert there["paired"].all()
    np.testing.assert_allclose(there["shift"], back["shift"])
    fewer = replace(measurement, images=measurement.images.drop(index=[0, 13]))
    assert set(effects(fewer, **ends)["n_before"]) == {10}


def test_what_has_no_partner_is_left_out_and_told(measurement):
    ends = {"source": "a", "target": "b", "paired": True}
    images = measurement.images
    # Of the 12 images of each, three of a have no partner, and one of b.
    fewer = replace(measurement, images=images.drop(index=[0, 13, 14, 15]))
    table = effects(fewer, **ends, wells="image")
    assert set(table["n_before"]) == set(table["n_after"]) == {8}
    first = table["note"].iloc[0]
    assert first.startswith(
        "Left out, since they have no partner: 3 images of a "
        '("A1_f1.tif", "A1_f2.tif", "B1_f0.tif") and 1 of b ("A1_f0.tif").'
    )
    assert "though their names tell wells" in first
    # All wells are in both, with fewer images.
    assert not effects(fewer, **ends)["note"].str.contains("partner").any()
    lone = replace(measurement, images=images.drop(index=[0, 1, 2]))
    note = effects(lone, **ends)["note"].iloc[-1]
    assert note.startswith("Left out, since it has no partner: 1 well of b (")
    # Two of each, of which one is in both.
    wells = {"a": ["A1_f0.tif", "A1_f1.tif"], "b": ["A1_f0.tif", "A1_f2.tif"]}
    keep = [one in wells.get(c, []) for one, c in zip(images.image, images.condition, strict=True)]
    table = effects(replace(measurement, images=images[keep]), **ends, wells="image")
    assert set(table["note"]) == {
        "There is one pair of images, which does not tell how pairs vary, so there is no p-value."
    }


@pytest.mark.parametrize("opposite", [False, True])
def test_few_pairs_that_are_opposite_carry_a_caution(measurement, opposite):
    images = measurement.images[measurement.images["image"].str.contains("f0|A1_f1")].copy()
    number = images.groupby("condition").cumcount().to_numpy()
    after = images["condition"].to_numpy() == "b"
    images["area_fraction"] = np.where(after & opposite, -1, 1) * number + 0.3 * after
    few = replace(measurement, images=images)
    ends = {"source": "a", "target": "b", "paired": True, "wells": "image"}
    (row,) = effects(few, **ends, columns=["area_fraction"]).to_dict("records")
    assert row["n_before"] == 5
    assert ("high before are low after" in row["note"]) == opposite


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


def test_an_interval_that_few_images_cannot_bear_out_has_a_note(measurement):
    ends = {"source": "a", "target": "b"}
    images = measurement.images
    wells = images["image"].str[0]
    three = effects(replace(measurement, images=images[wells != "D"]), **ends)
    main = three.iloc[0]
    assert main["n_before"] == main["n_after"] == 3
    assert main["shift_low"] > 0
    assert main["p_value"] == main["least_p_value"] == pytest.approx(0.3)
    assert main["note"] == (
        "The interval of the shift leaves out 0, though p is not below 0.05: with so few wells it "
        "is Welch's t interval, which assumes normal distributions, and p cannot be below 0.3."
    )
    # The perimeter is the same in both: its interval holds 0.
    assert list(three["note"])[-1] == ""
    # Four and four wells give p = 0.029 in one measurement, and no less than 0.086 in three.
    four = effects(measurement, **ends).iloc[0]
    assert four["note"].endswith(
        "corrected, p cannot be below 0.086 with so few wells; intervals are not corrected."
    )
    pairs = effects(measurement, **ends, paired=True).iloc[0]
    assert "Student's t interval" in pairs["note"]
    assert (
        not effects(measurement, **ends, wells="image")["note"].str.contains("leaves out 0").any()
    )
