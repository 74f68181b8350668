"""One file per channel and a table, as BBBC021 comes."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff

CHANNELS = ("DNA", "tubulin", "actin")
FILES = {name: f"Image_FileName_{name}" for name in CHANNELS}
PATHS = {name: f"Image_PathName_{name}" for name in CHANNELS}
CONDITION = ["Image_Metadata_Compound", "Image_Metadata_Concentration"]


def plane(seed: int, shape=(8, 9)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 60_000, shape).astype(np.uint16)


def write_table(path: Path, rows: list[dict[str, str]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, rows[0], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def rows(tmp_path) -> list[dict[str, str]]:
    """Rows of a table in the manner of BBBC021, and its files."""
    made = []
    for index, (compound, concentration) in enumerate(
        [("DMSO", "0.0"), ("latrunculin B", "3.0"), ("DMSO", "0.0"), ("TNF/x", "0.10")]
    ):
        row = {"": str(index), "ImageNumber": str(index + 1)}
        folder = f"Week1/Week1_{index}"
        (tmp_path / folder).mkdir(parents=True)
        for number, name in enumerate(CHANNELS):
            row[PATHS[name]] = folder
            row[FILES[name]] = f"G10_s{index}_w{number}ABC.tif"
            tifffile.imwrite(tmp_path / folder / row[FILES[name]], plane(10 * index + number))
        row |= dict(zip(CONDITION, (compound, concentration), strict=True))
        made.append(row)
    return made


def read(table: Path, **options) -> Experiment:
    return Experiment.from_table(
        table,
        **{
            "condition_column": CONDITION,
            "channel_columns": FILES,
            "path_columns": PATHS,
            **options,
        },
    )


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_bbbc021(tmp_path, rows, delimiter):
    made = read(write_table(tmp_path / "image.csv", rows, delimiter))
    assert made.names == ("DMSO_0.0", "latrunculin B_3.0", "TNF-x_0.10")
    assert made.channel_names == CHANNELS
    first, second = made["DMSO_0.0"].images
    assert (first.name, second.name) == ("G10_s0_w0ABC", "G10_s2_w0ABC")
    np.testing.assert_array_equal(second.data, [plane(20), plane(21), plane(22)])
    # No single file holds these channels.
    assert second.path is None


def test_channels_and_conditions_come_as_asked_for(tmp_path, rows):
    table = write_table(tmp_path / "image.csv", rows)
    # Files of conditions that were not asked for are not needed.
    for file in (tmp_path / "Week1" / "Week1_3").iterdir():
        file.unlink()
    made = read(
        table,
        channel_columns={name: FILES[name] for name in ("actin", "DNA")},
        path_columns={name: PATHS[name] for name in ("actin", "DNA")},
        conditions=["latrunculin B_3.0", "DMSO_0.0"],
    )
    assert made.names == ("latrunculin B_3.0", "DMSO_0.0")
    assert made.channel_names == ("actin", "DNA")
    np.testing.assert_array_equal(made.images[0].data, [plane(12), plane(10)])
    assert made.images[0].name == "G10_s1_w2ABC"


def test_one_condition_column_one_channel_and_a_root(tmp_path, rows):
    (tmp_path / "tables").mkdir()
    for row in rows:
        row["file"] = "\\".join((row[PATHS["DNA"]].replace("/", "\\"), row[FILES["DNA"]]))
    made = Experiment.from_table(
        str(write_table(tmp_path / "tables" / "image.csv", rows)),
        condition_column="Image_Metadata_Compound",
        channel_columns={"nuclei": "file"},
        root=tmp_path,
    )
    assert made.names == ("DMSO", "latrunculin B", "TNF-x")
    image = made["DMSO"].images[1]
    assert image.path == tmp_path / "Week1" / "Week1_2" / "G10_s2_w0ABC.tif"
    assert image.channel_names == ("nuclei",)
    np.testing.assert_array_equal(image.data, plane(20)[None])


def test_equal_file_names_are_told_apart_by_their_folders(tmp_path, rows):
    for row in (rows[0], rows[2]):
        for name in CHANNELS:
            file = tmp_path / row[PATHS[name]] / row[FILES[name]]
            file.rename(file.with_name(f"{name}.tif"))
            row[FILES[name]] = f"{name}.tif"
    made = read(write_table(tmp_path / "image.csv", rows))
    assert [image.name for image in made["DMSO_0.0"].images] == ["Week1_0_DNA", "Week1_2_DNA"]


def test_tables_that_cannot_be_used(tmp_path, rows):
    table = tmp_path / "image.csv"
    with pytest.raises(InputError, match=r"image\.csv cannot be read as a table"):
        read(table)
    table.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="cannot be read as a table"):
        read(table)
    write_table(table, rows)
    with pytest.raises(InputError, match='has no column "Compound": it has "", "ImageNumber", '):
        read(table, condition_column="Compound")
    with pytest.raises(InputError, match=r'no condition "mock": it has "DMSO_0\.0", '):
        read(table, conditions=["DMSO_0.0", "mock"])
    with pytest.raises(InputError, match=r'"DMSO_0\.0" was given twice'):
        read(table, conditions=["DMSO_0.0", "DMSO_0.0"])
    with pytest.raises(InputError, match='column of folders for "dna" but none of files'):
        read(table, path_columns={"dna": PATHS["DNA"]})
    with pytest.raises(InputError, match="Name the columns"):
        read(table, channel_columns={}, path_columns={})
    table.write_text(table.read_text().splitlines()[0])
    with pytest.raises(InputError, match="header but no rows"):
        read(table)


def test_rows_that_cannot_be_used(tmp_path, rows):
    table = tmp_path / "image.csv"
    rows[1]["Image_Metadata_Compound"] = " "
    with pytest.raises(InputError, match="names no condition in line 3"):
        read(write_table(table, rows))
    rows[1]["Image_Metadata_Compound"] = "taxol"
    rows[1][FILES["actin"]] = "gone.tif"
    with pytest.raises(InputError, match=r"in line 3 the file .*gone\.tif, which does not exist"):
        read(write_table(table, rows))
    folder = tmp_path / rows[1][PATHS["actin"]]
    tifffile.imwrite(folder / "gone.tif", plane(0, (8, 10)))
    with pytest.raises(InputError, match=r"gone\.tif has 8 × 10 pixels but .* has 8 × 9"):
        read(table)
    tifffile.imwrite(folder / "gone.tif", plane(0, (2, 8, 9)))
    with pytest.raises(InputError, match="2 channels: a table needs one file per channel"):
        read(table)


@pytest.mark.parametrize(
    ("columns", "first", "second"),
    [
        (["compound"], ["A/B"], ["A:B"]),
        (["compound"], ["A-B"], ["A/B"]),
        (["compound", "dose"], ["A_B", "C"], ["A", "B_C"]),
    ],
)
def test_conditions_that_would_get_one_name_are_not_merged(tmp_path, columns, first, second):
    write_tiff(tmp_path / "f.tif", Image(np.ones((1, 4, 4), np.uint8), ("DNA",), None, "f"))
    lines = [",".join([*columns, "file"])]
    lines += [",".join([*values, "f.tif"]) for values in (first, second)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    with pytest.raises(InputError, match=r"in line 2 and .* in line 3"):
        Experiment.from_table(
            tmp_path / "t.csv", condition_column=columns, channel_columns={"DNA": "file"}
        )
