from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.cli.measure import PROFILE_NAMES, find_groups, real_groups, settings_from
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.simulate import simulate_images
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.measurement.profiles import PROFILES


def disc(name: str, radius: float) -> Image:
    """A bright disc in the first channel, a dim one in the second."""
    y, x = np.mgrid[:48, :48] - 24
    inside = np.hypot(y, x) < radius
    noise = np.random.default_rng(int(radius * 10)).integers(0, 4, (2, 48, 48))
    pixels = noise + np.stack([200 * inside, 90 * inside])
    return Image(pixels.astype(np.uint8), ("DNA", "actin"), None, name)


@pytest.fixture
def discs(tmp_path: Path) -> Path:
    for condition, radius in (("small", 5), ("large", 12)):
        for i in range(3):
            path = tmp_path / "discs" / condition / f"{condition}_{i}.tif"
            write_tiff(path, disc(path.stem, radius + i / 10))
    return tmp_path / "discs"


def test_there_is_a_row_per_image_and_the_condition_is_the_folder(discs, tmp_path, phenldiff):
    table = tmp_path / "tables" / "t.csv"
    code, out, _ = phenldiff("measure", "area", discs, "--channel", "actin", "--out", table)
    assert code == 0
    rows = pd.read_csv(table)
    assert list(rows["image"]) == [f"{c}_{i}" for c in ("large", "small") for i in range(3)]
    assert list(rows["condition"]) == ["large"] * 3 + ["small"] * 3
    assert set(rows["channel"]) == {"actin"}
    expected = np.pi * np.array([12, 12.1, 12.2, 5, 5.1, 5.2]) ** 2
    np.testing.assert_allclose(rows["area_px"], expected, rtol=0.13)
    assert rows["threshold"].nunique() == 1
    assert str(table) in out
    assert "large: 3 images, median area_fraction 0.2" in out
    assert sorted(p.name for p in table.parent.iterdir()) == ["t.csv", "t_settings.json"]


def test_a_profile_with_cells_gets_a_second_table(data, tmp_path, phenldiff):
    from napari_phenldiff.images.simulate import simulate_pairs

    for pair in simulate_pairs("translocation", 2, seed=1):
        write_tiff(tmp_path / "cells" / f"{pair.source.name}.tif", pair.source)
    table = tmp_path / "t.csv"
    code, _, _ = phenldiff("measure", "translocation", tmp_path / "cells", "--out", table)
    assert code == 0
    rows, cells = pd.read_csv(table), pd.read_csv(tmp_path / "t_cells.csv")
    assert list(rows["condition"]) == ["cells", "cells"]
    assert len(cells) == rows["n_cells"].sum()


def test_settings_from_the_command_line(discs, tmp_path, phenldiff):
    table = tmp_path / "t.csv"
    args = ("measure", "area", discs, "--out", table, "--channel", 1)
    code, _, _ = phenldiff(*args, "--threshold", "0.2", "--scale", 255)
    assert code == 0
    assert set(pd.read_csv(table)["threshold"]) == {0.2}
    code, _, _ = phenldiff(*args, "--per-image", "--threshold", "minimum-cross-entropy", "--log")
    assert code == 0
    assert pd.read_csv(table)["threshold"].nunique() > 1


def test_the_settings_of_one_measurement_serve_another(discs, tmp_path, phenldiff):
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    assert phenldiff("measure", "area", discs, "--out", first, "--channel", "actin")[0] == 0
    settings = tmp_path / "first_settings.json"
    args = ("measure", "area", discs / "small", "--out", second, "--settings", settings)
    assert phenldiff(*args)[0] == 0
    both = pd.read_csv(first), pd.read_csv(second)
    assert set(both[0]["threshold"]) == set(both[1]["threshold"])
    assert set(both[1]["channel"]) == {"actin"}
    code, _, err = phenldiff(*args, "--smoothing", 1)
    assert (code, "leave out other settings" in err) == (2, True)
    code, _, err = phenldiff(
        "measure", "translocation", discs, "--out", second, "--settings", settings
    )
    assert (code, "is for the profile area" in err) == (2, True)


def test_thresholds_come_from_the_images_that_no_model_made(discs, tmp_path, phenldiff):
    bright = replace(disc("x", 5), data=disc("x", 5).data + np.uint8(40))
    for kind in ("translated", "reconstructed"):
        write_tiff(tmp_path / "result" / kind / "x.tif", bright, provenance={"kind": kind})
    groups = find_groups([str(discs), str(tmp_path / "result")])
    assert list(groups) == ["large", "small", "reconstructed", "translated"]
    assert real_groups(groups) == ("large", "small")
    assert real_groups(find_groups([str(tmp_path / "result")])) == ("reconstructed", "translated")

    thresholds = []
    for number, fit_on in enumerate(((), ("--fit-on", "translated"))):
        table = tmp_path / f"{number}.csv"
        args = ("measure", "area", discs, tmp_path / "result", "--out", table, *fit_on)
        # below the threshold of the real images nothing is left of the bright ones
        assert phenldiff(*args)[0] == (0 if fit_on else 2)
        (threshold,) = set(pd.read_csv(table)["threshold"])
        thresholds.append(threshold)
    assert thresholds[0] < thresholds[1]


def test_groups_are_named_by_folder_or_by_the_user(discs, tmp_path):
    groups = find_groups([f"source={discs / 'small'}", f"both={discs}"])
    assert {name: len(g.paths) for name, g in groups.items()} == {
        "source": 3, "both/large": 3, "both/small": 3
    }  # fmt: skip
    files = [str(discs / "small" / f"small_{i}.tif") for i in range(2)]
    groups = find_groups(files)
    assert [len(g.paths) for g in groups.values()] == [2]
    assert list(groups) == ["small"]
    # a path may contain an equals sign
    odd = shutil.copytree(discs / "small", tmp_path / "dose=1")
    assert list(find_groups([str(odd)])) == ["dose=1"]
    copied = shutil.copytree(discs, tmp_path / "copy")
    with pytest.raises(InputError, match="would both be called small; give one of them as NAME="):
        find_groups([str(discs / "small"), str(copied / "small")])


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("magic", "discs"), '"magic": choose one of'),
        (("area", "nothing"), "does not exist"),
        (("area", "discs", "--channel", "tubulin"), '"tubulin"'),
        (("area", "discs", "--threshold", "magic"), "magic"),
        (("area", "discs", "--smoothing", "-1"), "smoothing"),
        (("area", "discs", "--marker-channel", "1"), "no --marker-channel"),
        (("area", "discs", "--fit-on", "medium"), '"medium"'),
        (("area", "discs", "--settings", "nothing.json"), "nothing.json"),
    ],
)
def test_what_cannot_be_measured_is_refused(discs, tmp_path, phenldiff, monkeypatch, args, told):
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    code, _, err = phenldiff("measure", *args, "--out", tmp_path / "t.csv")
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_table_is_no_folder(discs, phenldiff):
    code, _, err = phenldiff("measure", "area", discs, "--out", discs)
    assert (code, "is a folder" in err) == (2, True)


def test_a_truncated_file_is_told_before_a_table_is_written(discs, tmp_path, phenldiff):
    path = discs / "small" / "small_1.tif"
    path.write_bytes(path.read_bytes()[:300])
    code, _, err = phenldiff("measure", "area", discs, "--out", tmp_path / "t.csv")
    assert (code, "small_1.tif" in err) == (2, True)
    assert not list(tmp_path.glob("t*"))


def test_the_help_names_all_profiles():
    assert set(PROFILE_NAMES) == set(PROFILES)


@pytest.mark.parametrize(
    ("profile", "options", "columns"),
    [
        ("golgi", ("--channel", "Golgi"), {"area_um2", "n_fragments", "half_area_px"}),
        (
            "golgi",
            ("--channel", "Golgi", "--nuclei-channel", "DNA", "--threshold", "otsu"),
            {"scatter_um", "compactness", "cell_area_px"},
        ),
        (
            "neurons",
            ("--channel", "tubulin", "--marker-channel", "Golgi", "--nuclei-channel", "none"),
            {"neurite_length_um", "n_branch_points", "marker_mean"},
        ),
        (
            "cells",
            ("--nuclei-channel", "DNA", "--cytoplasm-channel", "tubulin"),
            {"n_cells", "area_um2", "cytoplasm_area_um2", "intensity_mean_tubulin"},
        ),
    ],
)
def test_profiles_by_the_names_of_their_channels(tmp_path, phenldiff, profile, options, columns):
    images = simulate_images("golgi", "source", 2, size=96)
    for image in images:
        write_tiff(tmp_path / "control" / f"{image.name}.tif", image)
    table, again = tmp_path / "t.csv", tmp_path / "again.csv"
    code, _, err = phenldiff("measure", profile, tmp_path / "control", "--out", table, *options)
    assert code == 0, err
    found = pd.read_csv(table)
    assert columns <= set(found)
    assert found[list(columns)].notna().any().all()
    settings = tmp_path / "t_settings.json"
    args = ("measure", profile, tmp_path / "control", "--out", again, "--settings", settings)
    assert phenldiff(*args)[0] == 0
    assert again.read_bytes() == table.read_bytes()


def test_the_threshold_given_is_that_of_what_is_measured():
    settings = settings_from("golgi", {"method": 7.0, "nuclei_channel": "DNA"})
    assert settings.segmentation.threshold.method == 7.0
    assert settings.nuclei.threshold.method == "minimum-cross-entropy"
    assert settings_from("cells", {"method": 7.0}).nuclei.threshold.method == 7.0


def test_nuclei_at_the_border_can_be_measured(tmp_path, phenldiff):
    assert settings_from("cells", {}).exclude_border
    assert not settings_from("cells", {"exclude_border": False}).exclude_border
    out = ("--no-exclude-border", "--out", tmp_path / "t.csv")
    code, _, said = phenldiff("measure", "area", tmp_path, *out)
    assert (code, "area has no --exclude-border" in said) == (2, True)


def test_dim_structures_can_be_left_out():
    assert settings_from("neurons", {}).segmentation.dimmest == 0.5
    assert settings_from("neurons", {"dimmest": 1.0}).segmentation.dimmest == 1.0
    assert settings_from("area", {}).segmentation.dimmest == 1.0


def test_the_command_of_the_docs_has_the_columns_of_the_docs(discs, tmp_path, phenldiff):
    table = tmp_path / "t.csv"
    for method in ("otsu", "otsu3", "minimum-cross-entropy", "robust-background", "0.3"):
        code, _, _ = phenldiff(
            "measure", "area", discs, "--channel", "DNA", "--threshold", method, "--scale", 255,
            "--log", "--smoothing", 1.3488, "--per-experiment", "--out", table,
        )  # fmt: skip
        assert code == 0
        rows = pd.read_csv(table)
        columns = ["image", "condition", "channel", "threshold", "area_px", "perimeter_px"]
        assert list(rows)[:7] == [*columns, "total_px"]
        assert rows["threshold"].between(0, 1).all()
        assert rows["area_px"].notna().all()


def test_every_option_is_in_the_settings_file(discs, tmp_path, phenldiff):
    args = (
        "--threshold", "otsu3", "--scale", 255, "--log", "--smoothing", 1, "--per-image",
        "--adaptive-window", 20, "--background-radius", 15, "--min-size", 4, "--max-hole", 9,
        "--split", "--dimmest", 0.6, "--channel", 1,
    )  # fmt: skip
    first, second = tmp_path / "first.csv", tmp_path / "second.csv"
    assert phenldiff("measure", "area", discs, *args, "--out", first)[0] == 0
    saved = json.loads((tmp_path / "first_settings.json").read_text(encoding="utf-8"))["settings"]
    assert saved["channel"] == "actin"
    segmentation = saved["segmentation"]
    assert segmentation["threshold"] == {
        "method": "otsu3", "scope": "image", "scale": 255, "log_transform": True, "smoothing": 1,
        "adaptive_window": 20,
    }  # fmt: skip
    names = ("background_radius", "min_size", "max_hole", "split", "dimmest")
    assert [segmentation[name] for name in names] == [15, 4, 9, True, 0.6]
    settings = ("--settings", tmp_path / "first_settings.json")
    assert phenldiff("measure", "area", discs, *settings, "--out", second)[0] == 0
    assert first.read_bytes() == second.read_bytes()
    code, _, err = phenldiff("measure", "area", discs, *settings, "--min-size", 1, "--out", second)
    assert (code, "leave out other settings" in err) == (2, True)


def test_columns_as_cellprofiler_calls_them(discs, tmp_path, phenldiff):
    ours, theirs = tmp_path / "ours.csv", tmp_path / "theirs.csv"
    dna = ("--channel", "DNA")
    assert phenldiff("measure", "area", discs, *dna, "--out", ours)[0] == 0
    names = ("--column-names", "cellprofiler")
    assert phenldiff("measure", "area", discs, *dna, *names, "--out", theirs)[0] == 0
    ours, theirs = pd.read_csv(ours), pd.read_csv(theirs)
    for name, column in (
        ("area_px", "AreaOccupied_AreaOccupied_DNA"),
        ("perimeter_px", "AreaOccupied_Perimeter_DNA"),
        ("total_px", "AreaOccupied_TotalArea_DNA"),
        ("threshold", "Threshold_FinalThreshold_DNA"),
        ("condition", "Metadata_Condition"),
    ):
        assert list(ours[name]) == list(theirs[column])
    assert phenldiff("measure", "cells", discs, *names, "--out", tmp_path / "cells.csv")[0] == 0
    images, cells = pd.read_csv(tmp_path / "cells.csv"), pd.read_csv(tmp_path / "cells_cells.csv")
    assert {"Count_Nuclei", "Median_Nuclei_AreaShape_Area"} <= set(images)
    wanted = {"ObjectNumber", "AreaShape_Area", "AreaShape_Center_X", "Intensity_MeanIntensity_dna"}
    assert wanted <= set(cells)
    assert not any(name.startswith("AreaOccupied") for name in images)


def test_labels_that_something_else_made(discs, tmp_path, phenldiff):
    for path in discs.rglob("*.tif"):
        labels = np.zeros((1, 48, 48), np.uint8)
        labels[0, 5:15, 5:25] = 3
        write_tiff(tmp_path / "labels" / path.name, Image(labels, ("labels",), None, path.stem))
    args = ("measure", "cells", discs, "--labels", tmp_path / "labels", "--out")
    assert phenldiff(*args, tmp_path / "t.csv")[0] == 0
    rows = pd.read_csv(tmp_path / "t.csv")
    assert set(rows["n_cells"]) == {1}
    assert set(rows["area_px"]) == {200}
    code, _, err = phenldiff(
        "measure", "cells", discs, "--labels", tmp_path / "none", "--out", tmp_path / "u.csv"
    )
    assert (code, "is no folder" in err) == (2, True)


@pytest.mark.slow
def test_two_workers_write_the_same_table(discs, tmp_path, phenldiff):
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    assert phenldiff("measure", "area", discs, "--out", one)[0] == 0
    assert phenldiff("measure", "area", discs, "--workers", 2, "--out", two)[0] == 0
    assert one.read_bytes() == two.read_bytes()
    code, _, err = phenldiff("measure", "area", discs, "--workers", 0, "--out", two)
    assert (code, "at least 1" in err) == (2, True)


def test_a_file_that_no_measurement_made_is_never_replaced(discs, tmp_path, phenldiff):
    measured = ("measure", "area", discs, "--channel", "actin")
    measured += ("--source", "small", "--target", "large")
    table, effects, figure = (tmp_path / name for name in ("t.csv", "e.csv", "g.png"))
    for precious, what in (
        (table, ()),
        (tmp_path / "t_cells.csv", ()),
        (effects, ("--effects", effects)),
        (figure, ("--figure", f"groups={figure}")),
    ):
        precious.write_text("my own", encoding="utf-8")
        code, _, said = phenldiff(*measured, "--out", table, *what)
        assert code == 2
        assert f"{precious} exists" in said
        assert "name a new file" in said
        assert precious.read_text(encoding="utf-8") == "my own"
        assert [path.name for path in tmp_path.glob("*.*")] == [precious.name]
        precious.unlink()

    everything = (*measured, "--out", table, "--effects", effects, "--figure", f"groups={figure}")
    effects.touch()  # as workflow systems make them
    assert phenldiff(*everything)[0] == 0
    first = table.read_bytes()
    # the same again, with another threshold, replaces what it wrote
    assert phenldiff(*everything, "--threshold", "150")[0] == 0
    assert table.read_bytes() != first
    # as a spreadsheet saves it
    effects.write_text(effects.read_text(encoding="utf-8"), encoding="utf-8-sig")
    assert phenldiff(*everything)[0] == 0
    # but not what took the place of the effects meanwhile
    effects.write_text("my own", encoding="utf-8")
    code, _, said = phenldiff(*everything)
    assert code == 2
    assert f"{effects} exists" in said
    assert effects.read_text(encoding="utf-8") == "my own"


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (("--effects", "t.csv"), "as the table and again as the effects"),
        (("--effects", "t_cells.csv"), "as the table of cells and again as the effects"),
        (("--effects", "e.csv", "--figure", "groups=t_settings.json"), "is not KIND=FILE"),
        (
            ("--figure", "groups=f.png", "--figure", "effects=sub/../f.png"),
            "as figure 1 (groups) and again as figure 2 (effects)",
        ),
        (("--effects", "e.tif"), "e.tif is called like an image"),
        (("--out", "t.PNG"), "t.PNG is called like an image"),
    ],
)
def test_outputs_that_are_one_file_are_refused(
    discs, tmp_path, phenldiff, monkeypatch, capsys, what, told
):
    monkeypatch.chdir(tmp_path)
    measured = ("measure", "area", discs, "--channel", "actin", "--out", "t.csv", *what)
    measured += ("--source", "small", "--target", "large")
    if "KIND" in told:  # by the parser
        with pytest.raises(SystemExit, match="2"):
            phenldiff(*measured)
        said = capsys.readouterr().err
    else:
        code, _, said = phenldiff(*measured)
        assert code == 2
    assert told in said
    assert [path.name for path in tmp_path.iterdir()] == ["discs"]


def test_nothing_that_is_read_is_replaced(discs, tmp_path, phenldiff, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = tmp_path / "labels"
    for path in discs.rglob("*.tif"):
        mask = (disc(path.stem, 8).data[:1] > 100).astype(np.uint8)
        write_tiff(labels / path.parent.name / path.name, Image(mask, ("labels",), None, path.stem))
    shutil.copy(next(labels.rglob("*.tif")), labels / "mask.png")
    images = pd.DataFrame({"condition": "small", "path": sorted(map(str, discs.rglob("*.tif")))})
    images.loc[:2, "condition"] = "large"
    # after a measurement its files may be replaced, and these look as if they were of one
    common = ("--channel", "actin", "--source", "small", "--target", "large")
    measured = ("measure", "area", discs, *common, "--out", "t.csv")
    assert phenldiff(*measured, "--effects", "e.csv")[0] == 0
    own = ("--settings", "t_settings.json", "--out", "t.csv")
    assert phenldiff("measure", "area", discs, *own)[0] == 0
    twice = ("--settings", "e.csv", "--effects", "e.csv")
    images.to_csv("t.csv", index=False)
    shutil.copy("t_settings.json", "e.csv")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    for given, read in (
        (("measure", "area", "t.csv", *common, "--out", "t.csv"), "t.csv"),
        (("measure", "area", "x=t.csv", *common, "--out", "t.csv"), "t.csv"),
        ((*measured, "--labels", labels, "--figure", f"groups={labels / 'mask.png'}"), "mask.png"),
        (
            ("measure", "area", discs, *common[2:], *own[2:], *twice),
            "e.csv",
        ),
    ):
        code, _, said = phenldiff(*given)
        assert code == 2, said
        assert f"{read} is one of the files that are read; name another one for" in said
    assert {path: path.read_bytes() for path in before} == before


def test_settings_that_are_of_no_measurement_are_not_replaced(discs, tmp_path, phenldiff):
    (tmp_path / "t_settings.json").write_text("my own", encoding="utf-8")
    code, _, said = phenldiff("measure", "area", discs, "--out", tmp_path / "t.csv")
    assert (code, "t_settings.json exists" in said) == (2, True)
    assert (tmp_path / "t_settings.json").read_text(encoding="utf-8") == "my own"
