from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.layers import stacks_of
from napari_phenldiff.images.places import Place, groups_in, place_of
from napari_phenldiff.images.tiff import read_image, read_tiff, write_stack, write_tiff
from napari_phenldiff.images.wells import known_wells
from napari_phenldiff.measurement.statistics.units import units_of_images, units_of_named


@pytest.mark.parametrize(
    ("name", "well"),
    [
        ("E11_y128_x384", "E11"),
        ("rep11_C003_y127_x128", "rep11 C003"),
        ("B07_field3.ome.tif", "B07"),
        ("r02c03f01p01-ch1sk1fk1fl1", "r02c03"),
        ("plate1_A01_s1_w1", "plate1 A01"),
        ("A01_plate2_f3", "A01 plate2"),
        ("A01f00d0", "A01"),
        ("W0001F0002T0001Z001C1", "W0001"),
        ("AssayPlate_A01_T0001F001L01A01Z01C01", "AssayPlate A01"),
        ("B - 02(fld 1 wv DAPI)", "B - 02"),
        ("img001_A01_f1", "A01"),
        ("donor 3_A01_1", "donor 3 A01"),
        ("rep_2_img_003_B02", "rep 2 B02"),
        ("plate_12_A01_f1", "plate 12 A01"),
        ("wellA01_2", "A01"),
        ("mouse_2_3", "mouse2"),
        ("dish3-004", "dish3"),
        ("r02c03_f01", "r02c03"),
        ("20240115_143037_A01_f0", "20240115 A01"),
        ("20240115T143037_A01_f0", "20240115 A01"),
        ("exp_20240115_A01_f0", "exp 20240115 A01"),
        ("2024-01-15_A01_1", "20240115 A01"),
        ("15.01.2024 A01 1", "20240115 A01"),
        ("01-25-2024_A01_1", "20240125 A01"),
        ("2024_01_15_plate2_A01_1", "20240115 plate2 A01"),
        ("2024-01-15T14-30-37_A01_f0", "20240115 A01"),
        ("2024-01-15_14-30-37_A01_f0", "20240115 A01"),
        ("1-2-2024_A01_1", "A01"),
        ("24h_A01_1", "A01"),
        ("scan2_A01_s0", "A01"),
        ("Mouse#2_1", "Mouse2"),
        ("mouse_id2_1", "mouseid2"),
        ("biorep2_1", "biorep2"),
        ("rat2_s1", "rat2"),
        ("Scene1_A01", "A01"),
        ("Acq12_A01", "A01"),
        # A position, and a plate whose wells have fields.
        ("Exp-Scene-2-P2-A1", "Exp A1"),
        ("P2_A01_1", "P2 A01"),
    ],
)
def test_wells_are_read_as_microscopes_and_people_write_them(name, well):
    assert place_of(name) == Place(well, "well")


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("y0384_x0512", ""),
        ("t00", ""),
        ("tile_12", ""),
        ("s010_ta_y512_x768", "s010"),
        ("pos3_t004", "pos3"),
        ("field3_r0c1", "field3"),
        ("scene 3 frame 12", "scene 3"),
        ("control_z03", "control"),
    ],
)
def test_parts_of_a_field_belong_together(name, field):
    assert place_of(name) == Place(field, "field")


@pytest.mark.parametrize(
    "name",
    ["field_0003", "field", "control_0003", "cells 12", "Image1", "untreated-1", "0003", "x3",
     "img_w1", "noise 1", "s2", "xy03"],
)  # fmt: skip
def test_what_a_name_does_not_tell_is_not_guessed(name):
    assert place_of(name) == Place(name, "image")


@pytest.mark.parametrize(
    ("names", "wells"),
    [
        # Times, or numbers of files; but not the barcodes of plates.
        ([f"1{'AB'.index(w)}{i:02d}37_{w}01_f{i}" for w in "AB" for i in range(4)], 2),
        ([f"{code}_A0{i}" for code in (1000231, 1000232) for i in range(1, 5)], 8),
        # Counted on through two plates, which have the same fields.
        (
            [
                f"{100001 + 8 * plate + 4 * 'AB'.index(w) + i}_{w}01_f{i}"
                for plate in (0, 1)
                for w in "AB"
                for i in range(4)
            ],
            2,
        ),
        # A well that is written in several ways, and what may be anything.
        (["A1_f1", "A01_f2", "a01_f3", "B2_f1", "B02_f2"], 2),
        (["A01_c01_1", "A01_c02_1"], 1),
        # Animals called by letters; but not their sides, or regions.
        ([f"animal_{a}_{i}" for a in "ABC" for i in (1, 2)], 3),
        ([f"dish {a} {i}" for a in "AB" for i in (1, 2)], 2),
        ([f"mouse_{a}_{i}" for a in "LR" for i in (1, 2)], 0),
        ([f"rat_{a}_{i}" for a in "CH" for i in (1, 2)], 0),
        # A way to grow cells, and no time.
        ([f"{a}_B0{i}_1" for a in ("2D", "3D") for i in (1, 2)], 4),
        ([f"{100201 + 10 * i}_A0{1 + i % 2}" for i in range(8)], 8),
        ([f"20240115_1430{i:02d}_{w}01_f{i}" for w in "AB" for i in range(4)], 2),
        ([f"20240115T1{i}30{i:02d}_{w}01_f{i}" for w in "AB" for i in range(4)], 2),
        # Of one time for both channels, and of two plates of a day.
        ([f"20240115_1430{i:02d}_A01_f{i}_ch{c}" for i in range(4) for c in range(2)], 1),
        (
            [
                f"20240115_{h}30{i:02d}_A01_f{i}_ch{c}"
                for h in (10, 14)
                for i in (0, 1)
                for c in (1, 2)
            ],
            1,
        ),
        # One image each of several days, donors and plates, also after the day.
        ([f"2024{month:02d}05_A01_1" for month in range(1, 7)], 6),
        ([f"2024{month:02d}05_A01_{month}" for month in range(1, 7)], 6),
        ([f"2024{month:02d}05T143037_A01_{month}" for month in range(1, 7)], 6),
        ([f"donor {number}_A01_1" for number in range(204510, 204516)], 6),
        ([f"plate_{number}_A01_{number % 9}" for number in range(204510, 204516)], 6),
        ([f"rep1_{number}_A01_{number % 9}" for number in range(204510, 204516)], 1),
        ([f"donor_{number}_A01_{number % 9}" for number in range(204510, 204516)], 6),
        ([f"{number}_B02" for number in range(204510, 204516)], 6),
        ([f"20240101_11023{i}_A01" for i in (4, 5)], 2),
        ([f"20240101T11023{i}_A01" for i in (4, 5)], 2),
        ([f"20240101_11023{i}_A01_f{f}" for i in (4, 5) for f in (1, 2)], 2),
        ([f"20240101_11023{i}_A01_z{z}" for i in (4, 5) for z in (1, 2)], 2),
        ([f"20240101_11987{i}_A01_f1" for i in range(5)], 5),
        ([f"{well}_{i}" for well in ("a01", "a02", "b01", "b02") for i in range(4)], 4),
        # Channels, positions and fields; a gene; numbered images.
        ([f"{a}{n:02d}_{i}" for a in "cp" for n in (1, 2) for i in range(2)], 0),
        (["brain_e12_1", "brain_e12_2", "brain_e14_1"], 0),
        (["e12_1", "e14_1", "p02_1", "p02_2"], 0),
        (["ctrl_n01_1", "ctrl_n01_2", "ctrl_n02_1"], 0),
        (["n01_1", "n02_1", "p01_1", "p02_1"], 0),
        (["l01_1", "l01_2", "l02_1"], 0),
        # Rows of a plate, the middle ones too.
        (["a01_0", "b02_3"], 2),
        (["a01_0", "a01_1", "a02_0"], 2),
        ([f"{row}02_{i}" for row in "cdef" for i in range(2)], 4),
        ([f"a20_{i}" for i in range(4)], 0),
        (["cells_a01", "cells"], 0),
    ],
)
def test_all_names_together_tell_how_wells_are_written(names, wells):
    units = units_of_named((name, None) for name in names)
    assert len(set((units.wells or {}).values())) == wells
    assert known_wells(Image(np.ones((1, 2, 2)), ("a",), None, n) for n in names) == (
        list(units.wells.values()) if wells else None
    )


@pytest.mark.parametrize("stem", ["A01", "A01_1"])
def test_equal_wells_of_plates_in_folders_are_different_wells(stem, image, tmp_path):
    for condition in "ab":
        for plate in ("P1", "P2", "P3"):
            (tmp_path / condition / plate).mkdir(parents=True)
            write_tiff(tmp_path / condition / plate / f"{stem}.tif", image)
    units = units_of_images(Experiment.open(tmp_path)["a"].images)
    assert units.counted == "wells"
    assert len(set(units.wells.values())) == 3


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        ([f"exp{k}_{i}" for k in (1, 2) for i in (1, 2)], ["exp1", "exp2"]),
        ([f"2024010{k}_{i:03d}" for k in (1, 2) for i in (1, 2)], ["20240101", "20240102"]),
        ([f"BR{k}_TR{i}" for k in (1, 2) for i in (1, 2)], ["BR1", "BR2"]),
        ([f"{k}-{i}" for k in (1, 2) for i in (1, 2)], ["1", "2"]),
        ([f"ctl{k}{a}" for k in (1, 2) for a in "abc"], ["ctl1", "ctl2"]),
        ([f"batch{k}_img{i}" for k in (1, 2) for i in (1, 2)], ["batch1", "batch2"]),
        ([f"field_{i:04d}" for i in range(9)], []),
        ([f"ctl{i}" for i in range(9)], []),
        (["exp1_1", "exp1_2", "exp2_1"], []),
        (["one", "two"], []),
        ([f"{side}_{i}" for side in ("left", "right") for i in (1, 2)], []),
    ],
)
def test_names_that_look_like_groups_of_images(names, groups):
    assert groups_in(names) == groups


def test_a_letter_with_one_digit_may_be_a_channel():
    assert place_of("C1_003").kind == "well"
    assert place_of("C1_003", unsure=False).kind == "image"


@pytest.fixture
def image() -> Image:
    return Image(np.arange(64, dtype=np.uint8).reshape(1, 8, 8), ("DNA",), None, "one")


def test_images_of_a_stack_know_it_wherever_they_are_written(image, tmp_path):
    write_stack(tmp_path / "movie.tif", [image, replace(image, name="two")])
    images = read_tiff(tmp_path / "movie.tif")
    assert [x.part_of for x in images] == ["movie", "movie"]
    # As docks do with what is in layers.
    write_tiff(tmp_path / "again.tif", images[1])
    assert read_image(tmp_path / "again.tif").part_of == "movie"
    write_tiff(tmp_path / "alone.tif", image)
    assert read_image(tmp_path / "alone.tif").part_of is None
    units = units_of_images(images)
    assert (units.counted, set(units.wells.values())) == ("stacks", {"movie"})


@pytest.mark.parametrize(
    ("n", "named", "paths", "expected"),
    [
        (1, False, (), (None,)),
        (3, False, (), ("layer",) * 3),
        (2, True, (None, None), (None, None)),
        (2, True, ("a.tif", "b.tif"), (None, None)),
        (3, True, ("s.tif", "s.tif", "b.tif"), ("s", "s", None)),
    ],
)
def test_images_of_a_layer_that_come_from_one_stack(n, named, paths, expected):
    assert stacks_of("layer", n, named=named, paths=paths) == expected


@pytest.mark.parametrize("column", ["well", "Metadata_Well", "Image_Metadata_Well", "WellID"])
def test_wells_that_a_table_names_are_counted(image, tmp_path, column):
    lines = [f"file,condition,{column},plate"]
    for i in range(6):
        write_tiff(tmp_path / f"img{i}.tif", replace(image, name=f"img{i}"))
        lines.append(f"img{i}.tif,{'ab'[i % 2]},{'B03' if i < 4 else '12'},P{i // 4}")
    (tmp_path / "table.csv").write_text("\n".join(lines))
    experiment = Experiment.from_table(
        tmp_path / "table.csv", condition_column="condition", channel_columns={"DNA": "file"}
    )
    units = units_of_images(experiment["a"].images)
    assert units.counted == "wells"
    assert [units.wells[f"img{i}"] for i in (0, 2, 4)] == [
        "plateP0 B03",
        "plateP0 B03",
        "plateP1 12",
    ]


def test_a_lone_letter_with_a_number_is_a_time_if_it_is_written_so():
    assert units_of_named((f"t{i:02d}", None) for i in range(12)).counted == "fields"
    assert units_of_named((f"{c}{i}", None) for c in "tu" for i in range(12)).counted == "images"
