"""Tables as people have them: encodings, separators, Excel, empty rows; and what columns mean."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.layout import read_layout
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.spreadsheet import read_spreadsheet
from napari_phenldiff.images.table import find_columns, images_of_table, lists_images
from napari_phenldiff.measurement.statistics.units import units_of_named

ROWS = [("compound", "dose"), ("Nocodazol µM", "1"), ("", ""), ("DMSO", "0")]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_tables_of_any_encoding_and_separator(tmp_path, separator, encoding):
    text = "\r\n".join(separator.join(row) for row in ROWS)
    sheet = read_spreadsheet(write(tmp_path / "t.csv", text, encoding))
    assert sheet.columns == ("compound", "dose")
    assert [line.number for line in sheet.lines] == [2, 4]
    assert [line["compound"] for line in sheet.lines] == ["Nocodazol µM", "DMSO"]
    assert bool(sheet.remarks) == (encoding == "cp1252")


def test_cells_in_quotes_and_a_word_on_the_separator(tmp_path):
    text = 'sep=;\n"name";"of, all"\n"a; b";"1\n2"\nc;3'
    sheet = read_spreadsheet(write(tmp_path / "t.csv", text))
    assert sheet.columns == ("name", "of, all")
    assert sheet.lines[0]["name"] == "a; b"
    assert sheet.lines[0]["of, all"] == "1\n2"


def test_excel(tmp_path):
    path = tmp_path / "t.xlsx"
    pd.DataFrame(ROWS[1:], columns=ROWS[0]).to_excel(path, index=False)
    sheet = read_spreadsheet(path)
    assert [(line.number, line["compound"]) for line in sheet.lines] == [
        (2, "Nocodazol µM"),
        (4, "DMSO"),
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("a,b\n", "header but no rows"),
        ("a,a\n1,2", 'two columns called "a"'),
        ("a,b\n1,2\n1,2,3", "3 cells in line 3 but 2 columns"),
        ("a,b\n1,\0\n", "cannot be read as a table"),
    ],
)
def test_tables_that_cannot_be_used_are_told_with_the_line(tmp_path, text, told):
    with pytest.raises(InputError, match=told):
        read_spreadsheet(write(tmp_path / "t.csv", text))


def images(folder: Path, *names: str, value: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for k, name in enumerate(names):
        tifffile.imwrite(folder / name, np.full((9, 8), value + k, np.uint8))


def columns(tmp_path: Path, header: str, row: str):
    return find_columns(read_spreadsheet(write(tmp_path / "t.csv", f"{header}\n{row}")))[0]


@pytest.mark.parametrize(
    ("header", "row", "conditions", "files"),
    [
        (
            "Metadata_Compound,FileName_DNA,PathName_DNA,FileName_IllumDNA",
            "d,a.tif,x,b.tif",
            ("Metadata_Compound",),
            {"DNA": "FileName_DNA"},
        ),
        (
            "Image_Metadata_Treatment,Image_FileName_A,Image_FileName_B",
            "d,a.tif,b.tif",
            ("Image_Metadata_Treatment",),
            {"A": "Image_FileName_A", "B": "Image_FileName_B"},
        ),
        ("group,DAPI_path,GFP_path", "d,a.tif,b.tif", ("group",),
         {"DAPI": "DAPI_path", "GFP": "GFP_path"}),
        ("drug,file", "d,a.tif", ("drug",), {"": "file"}),
        ("condition,nuclei,actin", "d,a.tif,b.tif", ("condition",),
         {"nuclei": "nuclei", "actin": "actin"}),
        ("Metadata_JCP2022,URL_OrigDNA", "d,file:///a.tif", ("Metadata_JCP2022",),
         {"OrigDNA": "URL_OrigDNA"}),
    ],
)  # fmt: skip
def test_columns_are_known_by_their_names(tmp_path, header, row, conditions, files):
    found = columns(tmp_path, header, row)
    assert found.conditions == conditions
    assert dict(found.files) == files


def test_doses_are_part_of_the_condition_where_they_differ(tmp_path):
    text = "compound,concentration,file\nA,1,a.tif\nA,10,b.tif"
    found, said = find_columns(read_spreadsheet(write(tmp_path / "t.csv", text)))
    assert found.conditions == ("compound", "concentration")
    assert "conditions are those of compound and concentration" in said


def test_tables_of_something_else_are_no_images(tmp_path):
    assert not lists_images(write(tmp_path / "a.csv", "x,y\n1,2"))
    assert not lists_images(write(tmp_path / "b.csv", "file,y\na.tif,2"))
    assert lists_images(write(tmp_path / "c.csv", "file,condition\na.tif,2"))


def test_a_row_for_each_file_is_put_together_by_well_and_field(tmp_path):
    images(tmp_path, "a.tif", "b.tif", "c.tif", "d.tif")
    text = "path,channel,well,site,treatment\n" + "\n".join(
        [
            "a.tif,DNA,B02,1,mock",
            "b.tif,GFP,B02,1,mock",
            "c.tif,DNA,B03,1,drug",
            "d.tif,GFP,B03,1,drug",
        ]
    )
    table = write(tmp_path / "t.csv", text)
    read = Dataset.find(table).read()
    assert read.names == ("mock", "drug")
    assert [image.data[:, 0, 0].tolist() for image in read.images] == [[1, 2], [3, 4]]
    assert read.images[1].site == Site(None, "B03", "1")
    write(table, text.replace("d.tif,GFP", "d.tif,DNA"))
    with pytest.raises(InputError, match="channel DNA of one image in line 4 and in line 5"):
        Dataset.find(table)
    write(table, text.rsplit("\n", 1)[0])
    with pytest.raises(InputError, match=r'no file of "GFP" for the image of line 4'):
        Dataset.find(table)


def test_files_that_have_moved_are_found_below_the_root_and_told(tmp_path):
    images(tmp_path / "data" / "plate1", "a.tif", "b.tif")
    text = "compound,FileName_X,PathName_X\n"
    text += "m,a.tif,/home/u/bucket/plate1\nd,b.tif,C:\\u\\plate1"
    table = write(tmp_path / "t.csv", text)
    found = Dataset.find(table, Arrangement(root=tmp_path / "data"))
    assert [source.path.name for source in found.sources] == ["a.tif", "b.tif"]
    assert "2 files are no longer where the table says" in found.summary()
    with pytest.raises(InputError, match=r"in line 2 the file .*does not exist"):
        Dataset.find(table)


def test_files_on_the_network_are_told(tmp_path):
    table = write(tmp_path / "t.csv", "condition,URL_A\nx,https://example.org/a.tif")
    with pytest.raises(InputError, match="in line 2 a file on the network"):
        Dataset.find(table)


def test_a_column_of_conditions_can_be_named(tmp_path):
    images(tmp_path, "a.tif", "b.tif")
    table = write(tmp_path / "t.csv", "Serum,file\nlow,a.tif\nhigh,b.tif")
    with pytest.raises(InputError, match=r"--condition-column\), one of \"Serum\", \"file\""):
        Dataset.find(table)
    found = Dataset.find(table, Arrangement(condition_columns=("serum",)))
    assert found.names == ("low", "high")


@pytest.mark.parametrize(
    "text",
    [
        "well,condition\nB02,mock\nb-3,drug",
        "plate;Well;treatment\nP1;B2;mock\nP1;B03;drug",
        ",2,3\nA,,\nB,mock,drug",
    ],
)
def test_layouts_say_which_well_had_which_condition(tmp_path, text):
    layout = read_layout(write(tmp_path / "layout.csv", text))
    assert layout.condition_of(Site("P1", "B02")) == "mock"
    assert layout.condition_of(Site("P1", "B3")) == "drug"
    assert layout.condition_of(Site("P1", "C01")) is None
    assert layout.condition_of(Site()) is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("place,condition\nB02,mock", "is no layout of a plate"),
        ("well,condition\nB02,mock\nB2,drug", 'line 3 that well B02 had "drug"'),
        ("well,condition\nB02,", "names no condition for any well"),
    ],
)
def test_layouts_that_cannot_be_used(tmp_path, text, told):
    with pytest.raises(InputError, match=told):
        read_layout(write(tmp_path / "layout.csv", text))


def test_a_layout_sorts_the_files_of_a_plate(tmp_path):
    images(tmp_path / "plate", "p_B02_s1_w1.tif", "p_B02_s1_w2.tif", "p_B03_s1_w1.tif",
           "p_B03_s1_w2.tif", "p_C01_s1_w1.tif", "p_C01_s1_w2.tif")  # fmt: skip
    layout = write(tmp_path / "layout.csv", "well,condition\nB02,mock\nB03,drug")
    found = Dataset.find(tmp_path / "plate", Arrangement(layout=layout))
    assert {n: [s.name for s in g] for n, g in found.conditions.items()} == {
        "drug": ["p_B03_s1"],
        "mock": ["p_B02_s1"],
    }
    assert 'Left out of plate: 1 image of "C01"' in found.summary()
    write(layout, "well,condition\nH12,mock")
    with pytest.raises(InputError, match="condition of none of the 3 images"):
        Dataset.find(tmp_path / "plate", Arrangement(layout=layout))
    write(layout, "plate,well,condition\n1,B02,mock")
    with pytest.raises(InputError, match=r"well B02 of plate p\): .* wells, and of the plates"):
        Dataset.find(tmp_path / "plate", Arrangement(layout=layout))


@pytest.mark.parametrize(
    ("column", "conditions", "told"),
    [
        ("treatment", ("treatment", "dose"), "those of treatment and dose"),
        ("Perturbation", ("Perturbation", "dose"), "those of Perturbation and dose"),
        ("condition", ("condition",), 'dose differs within "drug": to take doses apart'),
        ("group", ("group",), 'dose differs within "drug": to take doses apart'),
    ],
)
def test_doses_are_conditions_of_their_own_or_told(tmp_path, column, conditions, told):
    text = f"{column},dose,file\nDMSO,0,a.tif\ndrug,1,b.tif\ndrug,10,c.tif"
    sheet = read_spreadsheet(write(tmp_path / "t.csv", text))
    found, said = find_columns(sheet)
    assert found.conditions == conditions
    assert told in said
    _, said = find_columns(sheet, [column])
    assert "differs" not in said


def test_doses_are_numbers_and_a_control_may_have_none(tmp_path):
    for name in "abcd":
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((8, 8), np.uint8))
    text = "treatment;dose;file\nDMSO;;a.tif\ndrug;1,5;b.tif\ndrug;10;c.tif\ndrug;10.0;d.tif"
    found = images_of_table(write(tmp_path / "t.csv", text))
    assert {name: len(group) for name, group in found.conditions.items()} == {
        "DMSO": 1,
        "drug_1,5": 1,
        "drug_10": 2,
    }
    # one dose, written in two ways, is no other condition
    text = "treatment;dose;file\nDMSO;0;a.tif\ndrug;10;c.tif\ndrug;10.0;d.tif"
    assert set(images_of_table(write(tmp_path / "u.csv", text)).conditions) == {"DMSO", "drug"}
    with pytest.raises(InputError, match="no condition in line 2: fill in the column treatment"):
        images_of_table(write(tmp_path / "v.csv", "treatment;file\n;a.tif\ndrug;b.tif"))


def test_doses_of_several_units_are_different_doses(tmp_path):
    images(tmp_path, "a.tif", "b.tif", "c.tif", "d.tif")
    text = (
        "compound,concentration,unit,file\nDMSO,,,a.tif\nA,1,nM,b.tif\nA,1,uM,c.tif\nA,1.0,uM,d.tif"
    )
    found = images_of_table(write(tmp_path / "t.csv", text)).conditions
    assert {name: len(group) for name, group in found.items()} == {
        "DMSO": 1,
        "A_1nM": 1,
        "A_1uM": 2,
    }
    text = "well,compound,conc,units\nA1,DMSO,0,nM\nB1,A,5,nM\nB2,A,5,uM"
    assert set(read_layout(write(tmp_path / "l.csv", text)).wells.values()) == {
        "DMSO_0nM", "A_5nM", "A_5uM"
    }  # fmt: skip


def sites(tmp_path: Path, header: str, *rows: str) -> tuple[list[Site], str]:
    """Return the sites of a table of images that are there, and what is said of it."""
    names = [f"{chr(ord('a') + k)}.tif" for k in range(len(rows))]
    images(tmp_path, *names)
    lines = [f"{name},{row}" for name, row in zip(names, rows, strict=True)]
    table = write(tmp_path / "t.csv", "\n".join([f"file,condition,{header}", *lines]))
    found = images_of_table(table)
    told = [source.site for group in found.conditions.values() for source in group]
    return told, " ".join(found.remarks)


@pytest.mark.parametrize("missing", ["", "NA", "n/a", "nan", "-", "None", "unknown", "empty"])
def test_a_column_that_tells_wells_in_some_lines_only_is_refused(tmp_path, missing):
    rows = ("c,B02", f"c,{missing}", "d,C02", f"d,{missing}")
    with pytest.raises(
        InputError, match=r"nothing of well in 2 lines of 4 \(line 3, 5\).*merged ones"
    ):
        sites(tmp_path, "well", *rows)
    # One that tells nothing anywhere is none.
    told, _ = sites(tmp_path, "well", f"c,{missing}", "d,")
    assert told == [Site(), Site()]


def test_a_column_that_tells_plates_in_some_lines_only_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"nothing of Plate ID in 1 line of 2 \(line 3\)"):
        sites(tmp_path, "Plate ID,well", "c,P1,B02", "d,,B03")


@pytest.mark.parametrize(
    "column",
    ["Well ID", "Well No.", "well_no", "Well Position", "Wells", "Metadata_Well", "Well [96]",
     "WELL.ID", "Well #", "Assay Well", "Well_DAPI"],
)  # fmt: skip
def test_columns_of_wells_are_known_however_they_are_written(tmp_path, column):
    told, said = sites(tmp_path, column, "c,b2", "c,B02", "d,B-03")
    assert told == [Site(well="B02"), Site(well="B02"), Site(well="B03")]
    assert f"wells are those of {column.rstrip('.')}." in said
    layout = write(tmp_path / "layout.csv", f"{column},condition\nB02,mock\nb-3,drug")
    assert read_layout(layout).condition_of(Site("P1", "B3")) == "drug"


def test_what_is_counted_in_wells_is_no_well(tmp_path):
    told, said = sites(tmp_path, "cells per well,Source Well", "c,100,A01", "d,200,A02")
    assert told == [Site(), Site()]
    assert "wells" not in said


def test_a_plate_and_a_number_that_are_written_in_two_ways_are_one(tmp_path):
    told, said = sites(tmp_path, "Plate ID,well", "c,1,1", "c,1.0,01", "d,01,2.0", "d,2,2")
    assert told == [Site("1", "1"), Site("1", "1"), Site("1", "2"), Site("2", "2")]
    assert "wells are those of well; plates are those of Plate ID" in said
    layout = write(tmp_path / "l.csv", "Plate ID,Well,condition\n1.0,B2,mock\n2.0,B2,drug")
    assert read_layout(layout).condition_of(Site("2", "B02")) == "drug"


def test_rows_and_columns_may_have_been_numbers_in_excel(tmp_path):
    told, said = sites(tmp_path, "Row,Column", "c,2.0,3.0", "d,B,4")
    assert [site.well for site in told] == ["B03", "B04"]
    assert "wells are those of Row and Column" in said


@pytest.mark.parametrize(
    ("column", "values", "wells"),
    [
        ("replicate", ("1", "1", "2", "3"), ["replicate 1"] * 2 + ["replicate 2", "replicate 3"]),
        ("Biological replicate", ("1.0", "1", "2", "2"), ["replicate 1"] * 2 + ["replicate 2"] * 2),
        ("Donor ID", ("7", "7", "8", "8"), ["donor 7"] * 2 + ["donor 8"] * 2),
        ("mouse", ("mouse1", "mouse1", "mouse2", "mouse2"), ["mouse1"] * 2 + ["mouse2"] * 2),
        # Signs in names of wells, of which some are left out.
        (
            "animal",
            ("1-1", "1-1", "1-2", "t3"),
            ["animal 1 (1-1)"] * 2 + ["animal 2 (1-2)", "animal 3 (t3)"],
        ),
        (
            "dish",
            ("left", "left", "right", "right"),
            ["dish 1 (left)"] * 2 + ["dish 2 (right)"] * 2,
        ),
    ],
)
def test_what_was_repeated_stands_for_the_well(tmp_path, column, values, wells):
    rows = [f"{'ccdd'[k]},{value}" for k, value in enumerate(values)]
    told, said = sites(tmp_path, column, *rows)
    assert [site.well for site in told] == wells
    assert f"{column} tells what is counted, in place of a well" in said
    units = units_of_named([(f"img{k}", site.part_of) for k, site in enumerate(told)])
    assert units.counted == "wells"
    assert len(set(units.wells.values())) == len(set(wells))


def test_wells_are_counted_before_what_was_repeated(tmp_path):
    told, said = sites(tmp_path, "replicate,Well ID", "c,1,B02", "d,2,B03")
    assert [site.well for site in told] == ["B02", "B03"]
    assert "wells are those of Well ID, and not replicate" in said
    # The same everywhere, it is a kind of animal, or tells nothing.
    told, said = sites(tmp_path, "animal", "c,mouse", "d,mouse")
    assert told == [Site(), Site()]
    assert "animal is the same everywhere, and tells no images apart" in said
    # Donors that are compared are no repeats of each other.
    table = write(tmp_path / "donors.csv", "file,donor\na.tif,1\nb.tif,2")
    found = images_of_table(table, condition_columns=["donor"])
    assert [group[0].site for group in found.conditions.values()] == [Site(), Site()]
    # Names of files may tell wells, too.
    images(tmp_path, "x_B02_s1.tif", "x_B03_s1.tif")
    text = "file,condition,replicate\nx_B02_s1.tif,c,1\nx_B03_s1.tif,d,2"
    found = images_of_table(write(tmp_path / "named.csv", text))
    assert "wells are those in the names of the files, and not replicate" in found.remarks[-1]
    assert all(group[0].site == Site() for group in found.conditions.values())


@pytest.mark.parametrize(
    "dose",
    ["Dose (uM)", "dose_uM", "Concentration [µM]", "conc_nM", "Conc. µM", "Drug concentration",
     "dose mg/kg", "Dose", "Concentration_ng_per_ml"],
)  # fmt: skip
def test_doses_are_known_with_their_unit(tmp_path, dose):
    text = f"treatment,{dose},file\nDMSO,NA,a.tif\ndrug,1,b.tif\ndrug,10,c.tif"
    assert columns(tmp_path, *text.split("\n", 1)).conditions == ("treatment", dose)
    images(tmp_path, "a.tif", "b.tif", "c.tif")
    found = images_of_table(write(tmp_path / "t.csv", text))
    assert list(found.conditions) == ["DMSO", "drug_1", "drug_10"]
    text = f"well,compound,{dose}\nB02,DMSO,\nB03,drug,1\nB04,drug,1.0\nB05,drug,10"
    layout = read_layout(write(tmp_path / "layout.csv", text))
    assert list(layout.wells.values()) == ["DMSO", "drug_1", "drug_1", "drug_10"]
    assert layout.remarks == (f"layout.csv: conditions are those of compound and {dose}.",)
    layout = read_layout(write(tmp_path / "other.csv", text.replace("compound", "condition")))
    assert set(layout.wells.values()) == {"DMSO", "drug"}
    assert f'{dose} differs within "drug"' in layout.remarks[0]


def test_a_layout_may_have_exceptions_for_a_plate_and_a_legend(tmp_path):
    text = "plate,well,condition\n,B02,mock\n,B03,drug\nP2,B03,mock\n,,*edge wells"
    layout = read_layout(write(tmp_path / "layout.csv", text))
    assert [layout.condition_of(Site(plate, "B03")) for plate in ("P1", "P2")] == ["drug", "mock"]
    assert layout.condition_of(Site("P2", "B02")) == "mock"
    assert layout.remarks == (
        "layout.csv: no well is told in 1 line of 4 (line 5), left out.",
        "layout.csv: what is told in 2 lines of 3 (line 2, 3) without a plate is so on each.",
    )


@pytest.mark.parametrize("column", ["Plate map name", "Platemap_name", "Plate no."])
def test_the_name_of_a_map_of_plates_in_a_layout_is_no_plate(tmp_path, column):
    text = f"{column},well,condition\nmap1,B02,mock\nmap1,B03,drug"
    layout = read_layout(write(tmp_path / "layout.csv", text))
    assert layout.condition_of(Site("P1", "B03")) == "drug"


def test_wells_are_told_by_row_and_column_before_numbers_and_not_by_labels(tmp_path):
    text = "Well number,Well position,condition\n1,A1,mock\n2,A2,drug"
    layout = read_layout(write(tmp_path / "layout.csv", text))
    assert layout.condition_of(Site("P1", "A02")) == "drug"
    told, _ = sites(tmp_path, "Well label", "c,ctrl", "d,drug")
    assert told == [Site(), Site()]
    told, _ = sites(tmp_path, "Well label", "c,A1", "d,A2")
    assert told == [Site(well="A01"), Site(well="A02")]


@pytest.mark.parametrize("other", ["Treatment (h)", "Condition [h]", "Group #", "Image condition"])
def test_columns_with_a_unit_or_a_number_are_no_conditions(tmp_path, other):
    header = f"File,Compound,{other}"
    assert columns(tmp_path, header, "a.tif,ctrl,24").conditions == ("Compound",)
    with pytest.raises(InputError, match="no column that is called like a condition"):
        columns(tmp_path, "File,Condition [h]", "a.tif,24")
    text = f"Well,Drug,{other},Sample #\nB2,mock,24,7"
    assert read_layout(write(tmp_path / "layout.csv", text)).wells == {(None, "B02"): "mock"}
    with pytest.raises(InputError, match="is no layout of a plate"):
        read_layout(write(tmp_path / "other.csv", "Well,Genotype,Sample #\nB2,WT,1"))


@pytest.mark.parametrize(
    ("header", "rows", "told"),
    [
        ("Replicate", ("c,1", "c,2", "d,1", "d,"), "Replicate says nothing in 1 line of 4"),
        ("Patient", ("c,NA", "c,NA", "d,7", "d,8"), "Patient says nothing in 2 lines of 4"),
        ("Barcode", ("c,1", "c,", "d,2", "d,"), "Barcode says nothing in 2 lines of 4"),
        ("Row,Column", ("c,A,1", "c,,", "d,B,2", "d,,"), "Row and Column say nothing in 2 lines"),
        ("Well", ("c,", "c,", "d,B2", "d,B3"), "Well says nothing in 2 lines of 4 (line 2, 3)"),
        ("Mouse", ("c,C57", "c,BALB", "d,C57", "d,BALB"), "Mouse names kinds"),
        ("Culture", ("c,mono", "c,co", "d,mono", "d,co"), "Culture names kinds"),
        ("Cell culture", ("c,2D", "c,3D", "d,2D", "d,3D"), "Cell culture names kinds"),
    ],
)
def test_what_is_not_sure_to_be_counted_is_told_and_not_used(tmp_path, header, rows, told):
    found, said = sites(tmp_path, header, *rows)
    assert found == [Site()] * 4
    assert told in said


def test_a_replicate_in_some_lines_only_does_not_matter_where_wells_are_known(tmp_path):
    found, said = sites(tmp_path, "Well,Replicate", "c,B2,1", "d,B3,")
    assert [site.well for site in found] == ["B02", "B03"]
    assert "nothing" not in said
    found, said = sites(tmp_path, "Donor,Replicate", "c,A,1", "c,,2", "d,B,1", "d,B,2")
    assert [site.well for site in found] == ["replicate 1", "replicate 2"] * 2
    assert "Donor says nothing in 1 line of 4 (line 3), and is not used" in said
    images(tmp_path, "x_B02_s1.tif", "x_B03_s1.tif", "x_B04_s1.tif")
    text = "file,condition,replicate\nx_B02_s1.tif,c,1\nx_B03_s1.tif,d,\nx_B04_s1.tif,d,2"
    said = images_of_table(write(tmp_path / "named.csv", text)).remarks[-1]
    assert "wells are those in the names of the files" in said


def test_of_several_columns_of_doses_that_of_numbers_is_taken(tmp_path):
    text = "compound,Dose,Concentration,file\nA,low,0,a.tif\nA,low,10,b.tif\nA,high,20,c.tif"
    assert columns(tmp_path, *text.split("\n", 1)).conditions == ("compound", "Concentration")
