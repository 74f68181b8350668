from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.cli import simulate as command
from napari_phenldiff.cli.simulate import PHENOTYPE_NAMES
from napari_phenldiff.images.simulate import PHENOTYPES
from napari_phenldiff.images.tiff import read_image, read_provenance


def simulate(phenldiff, out: Path, *args: object) -> None:
    code, _, err = phenldiff("simulate", "translocation", "--out", out, "--size", 48, *args)
    assert code == 0, err


def test_there_is_a_folder_per_condition_with_different_cells(tmp_path, phenldiff):
    simulate(phenldiff, tmp_path / "s", "--images", 3, "--seed", 5)
    names = {c: [p.name for p in sorted((tmp_path / "s" / c).iterdir())]
             for c in ("untreated", "treated")}  # fmt: skip
    assert [len(n) for n in names.values()] == [3, 3]
    assert not set(names["untreated"]) & set(names["treated"])
    truth = pd.read_csv(tmp_path / "s" / "truth.csv")
    assert list(truth["condition"]) == ["untreated"] * 3 + ["treated"] * 3
    assert [f"{n}.tif" for n in truth["image"]] == names["untreated"] + names["treated"]
    assert truth["ratio"].notna().all()


def test_pairs_show_the_same_cells_under_the_same_name(tmp_path, phenldiff):
    simulate(phenldiff, tmp_path / "s", "--images", 2, "--seed", 5, "--paired")
    a, b = (sorted((tmp_path / "s" / c).iterdir()) for c in ("untreated", "treated"))
    assert [p.name for p in a] == [p.name for p in b]
    for source, target in zip(a, b, strict=True):
        ours, theirs = read_image(source).data, read_image(target).data
        assert np.corrcoef(ours[0].ravel(), theirs[0].ravel())[0, 1] > 0.95
        assert not np.array_equal(ours[1], theirs[1])
    provenance = read_provenance(a[0])
    assert provenance["simulated"] == "translocation"
    assert provenance["seed"] == 5


def test_the_seed_decides(tmp_path, phenldiff):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(phenldiff, tmp_path / name, "--images", 1, "--seed", seed)
    first, same, other = (
        read_image(tmp_path / n / "untreated" / "field_0000.tif").data for n in "abc"
    )
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("magic",), "magic"),
        (("golgi", "--images", "0"), "at least 1"),
        (("golgi", "--size", "8"), "8 pixels"),
        (("golgi", "--seed", "-1"), "seed"),
    ],
)
def test_what_cannot_be_simulated_is_refused(tmp_path, phenldiff, args, told):
    code, _, err = phenldiff("simulate", *args, "--out", tmp_path / "s")
    assert code == 2
    assert told in err
    assert list(tmp_path.iterdir()) == []


def test_a_failure_on_the_way_leaves_nothing(tmp_path, phenldiff, monkeypatch):
    from napari_phenldiff.images import tiff

    write_tiff = tiff.write_tiff

    def full(path: Path, image: object, **kwargs: object) -> None:
        if path.stem == "field_0002":
            raise OSError(28, "No space left on device", str(path))
        write_tiff(path, image, **kwargs)

    monkeypatch.setattr(tiff, "write_tiff", full)
    code, _, err = phenldiff(
        "simulate", "golgi", "--out", tmp_path / "s", "--images", 2, "--size", 32
    )
    assert (code, "disk is full" in err) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_all_phenotypes():
    assert set(PHENOTYPE_NAMES) == set(PHENOTYPES)


def test_a_folder_that_another_simulation_fills_meanwhile_is_refused(
    tmp_path, phenldiff, monkeypatch
):
    args = ("simulate", "golgi", "--out", tmp_path / "s", "--images", 1, "--size", 32)
    fields = command._fields

    def twice(*given, **more):
        monkeypatch.setattr(command, "_fields", fields)
        assert phenldiff(*args)[0] == 0
        return fields(*given, **more)

    monkeypatch.setattr(command, "_fields", twice)
    code, _, err = phenldiff(*args)
    assert code == 2
    assert f"{tmp_path / 's'} exists and is not empty; name a new folder for the output." in err
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
