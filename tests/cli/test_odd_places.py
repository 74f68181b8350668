"""Places where nothing can be written, or that go away: a sentence at once, and no other trace."""

from __future__ import annotations

import errno
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import why_no_file, why_no_folder
from napari_phenldiff.images.files import make_folder_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.failures import explain, is_expected

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and names differ there")

COMMANDS = ("measure", "effects", "groups", "simulate", "train", "translate", "evaluate", "merge")
COMMANDS += ("export", "figure", "pretrain", "benchmark", "demo")


@pytest.fixture
def line(data, trained, tmp_path, phenldiff):
    """Return the command line that writes into a place."""
    phenldiff("translate", trained, data, "--out", tmp_path / "result")
    both = ("--source", "untreated", "--target", "treated")
    area = ("area", data, "--channel", "marker", "--out", tmp_path / "table.csv", *both)

    def make(command: str, out: Path) -> list[object]:
        profile = ("--profile", "area", "--channel", "marker")
        lines: dict[str, list[object]] = {
            "measure": ["measure", *area[:3], "marker", "--out", f"{out}.csv"],
            "effects": ["measure", *area, "--effects", f"{out}.csv"],
            "groups": ["measure", *area, "--figure", f"groups={out}.png"],
            "simulate": ["simulate", "golgi", "--images", 2, "--out", out],
            "train": ["train", data, *both, "--out", out, "--steps", 2],
            "translate": ["translate", trained, data, "--out", out],
            "evaluate": ["evaluate", trained, data, *profile, "--out", out],
            "merge": ["merge", trained, "--out", out],
            "export": ["export", trained, "--out", f"{out}.zip"],
            "figure": ["figure", tmp_path / "result", "--out", f"{out}.png"],
            "pretrain": ["pretrain", data, "--out", out, "--steps", 1],
            "benchmark": ["benchmark", data, *both, *profile, "--out", out, "--methods", "copy"],
            "demo": ["demo", "--out", out],
        }
        return lines[command]

    return make


def bad_places(folder: Path) -> dict[str, Path]:
    (folder / "file").write_text("text")
    (folder / "loop").symlink_to(folder / "loop")
    (folder / "astray").symlink_to(folder / "nothing")
    return {
        "below a file": folder / "file" / "deep" / "out",
        "in a loop": folder / "loop" / "out",
        "below a link to nothing": folder / "astray" / "out",
        "too long": folder / ("n" * 300),
        "too long in the middle": folder / ("µ" * 200) / "out",
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_a_place_where_nothing_can_be_written_is_refused_at_once(
    command, line, tmp_path, phenldiff
):
    places = bad_places(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for what, out in places.items():
        code, _, said = phenldiff(*line(command, out))
        assert code == 2, (what, said)
        assert "Traceback" not in said, what
        assert len(said) < 400, said
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_is_read_only_is_refused_at_once(
    command, line, tmp_path, phenldiff, monkeypatch
):
    locked = tmp_path / "locked"
    locked.mkdir()
    access = os.access
    # As a mounted snapshot answers, to root as well.
    monkeypatch.setattr(
        os, "access", lambda path, mode: Path(path) != locked and access(path, mode)
    )
    code, _, said = phenldiff(*line(command, locked / "out"))
    assert code == 2, said
    assert f"no permission to write in {locked}" in said
    assert list(locked.iterdir()) == []


def test_long_names_are_measured_in_bytes_and_with_what_is_added(tmp_path):
    assert why_no_folder(tmp_path / ("n" * 255)) is None
    assert "(256 bytes" in why_no_folder(tmp_path / ("n" * 256))
    assert "(256 bytes" in why_no_folder(tmp_path / ("µ" * 128))
    assert why_no_file(tmp_path / f"{'n' * 251}.csv") is None
    assert "too long" in why_no_file(tmp_path / f"{'n' * 251}.csv", "_settings.json")
    assert "is a folder" in why_no_file(tmp_path)


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (errno.EROFS, "choose another place"),
        (errno.EEXIST, "choose another place"),
        (errno.ENOENT, "removed meanwhile"),
        (errno.EIO, "check the disk"),
        (errno.ESTALE, "check the disk"),
    ],
)
def test_what_the_disk_says_is_a_sentence_with_the_file(number, told):
    error = OSError(number, os.strerror(number), "/data/t.csv")
    assert is_expected(error)
    assert explain(error).startswith("/data/t.csv")
    assert told in explain(error)


def test_a_full_disk_promises_nothing_and_images_need_no_smaller_batches(tmp_path):
    full = explain(OSError(errno.ENOSPC, "No space left on device", "t.csv"))
    assert full.endswith("make room and try again.")
    assert "batch" not in explain(MemoryError())
    assert "batch" in explain(RuntimeError("CUDA out of memory"))


def test_what_was_saved_before_the_disk_was_full_is_told(data, tmp_path, fake_diffusion, phenldiff):
    fake_diffusion("disk")
    run = tmp_path / "run"
    line = ["train", data, "--source", "untreated", "--target", "treated", "--steps", 9]
    code, out, said = phenldiff(*line, "--out", run, "--checkpoint-every", 2)
    assert code == 1
    assert "disk is full" in said
    assert f"phenldiff train --resume {run}" in out + said
    code, out, said = phenldiff(*line, "--out", tmp_path / "other", "--checkpoint-every", 8)
    assert code == 1
    assert "--resume" not in out + said


def test_a_folder_that_was_removed_while_it_was_filled_is_no_result(tmp_path):
    image = Image(np.ones((1, 8, 8), np.uint8), ("DNA",), None, "a")

    def fill() -> None:
        with make_folder_atomic(tmp_path / "out") as aside:
            write_tiff(aside / "first" / "a.tif", image)
            shutil.rmtree(aside)
            write_tiff(aside / "second" / "a.tif", image)  # makes its folders

    with pytest.raises(FileNotFoundError) as caught:
        fill()
    assert explain(caught.value).startswith(str(tmp_path / "out"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["train", "translate"])
@pytest.mark.parametrize("moment", [0.1, 0.5, 0.9])
def test_a_command_whose_folder_is_removed_does_not_end_well(
    what, moment, data, trained, tmp_path, start
):
    out = tmp_path / "out"
    line = {
        "train": [
            "train", data, "--source", "untreated", "--target", "treated", "--out", out,
            "--steps", 60, "--checkpoint-every", 5,
        ],
        "translate": ["translate", trained, data, "--out", out],
    }[what]  # fmt: skip
    process = start(*line)
    until = time.monotonic() + 60
    while not (out / "run.lock").exists() and time.monotonic() < until:
        time.sleep(0.02)
    time.sleep(moment)
    while out.exists():  # something may be written into it meanwhile
        shutil.rmtree(out, ignore_errors=True)
    _, said = process.communicate(timeout=60)
    assert process.returncode in (1, 2), said
    assert "Traceback" not in said
    assert "removed" in said
    assert not (out / "translation.json").exists()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (7, 8)])
def test_images_of_a_few_pixels_are_refused(size, tmp_path, trained, phenldiff):
    rng = np.random.default_rng(0)
    for condition in ("untreated", "treated"):
        for number in range(3):
            pixels = rng.integers(1, 1000, (2, *size), dtype=np.uint16)
            image = Image(pixels, ("DNA", "marker"), (0.5, 0.25), f"{condition[0]}{number}")
            write_tiff(tmp_path / "few" / condition / f"{image.name}.tif", image)
    for line in (
        ["train", tmp_path / "few", "--source", "untreated", "--target", "treated"],
        ["translate", trained, tmp_path / "few"],
    ):
        code, _, said = phenldiff(*line, "--out", tmp_path / "out")
        assert code == 2, said
        assert "a model needs at least 8 × 8" in said
        assert not (tmp_path / "out").exists()


def test_a_translator_refuses_images_of_a_few_pixels():
    from napari_phenldiff.diffusion.fields import field_batches

    image = Image(np.ones((1, 4, 400), np.uint8), ("DNA",), None, "strip")
    with pytest.raises(InputError, match="has 4 × 400 px"):
        list(field_batches([image], ("DNA",), tile=32, multiple=8, batch_size=4))


@pytest.mark.skipif(sys.platform != "linux", reason="names on disk are text elsewhere")
@pytest.mark.parametrize("kind", ["long", "no text"])
def test_names_of_images_of_any_kind(kind, data, tmp_path, fake_diffusion, phenldiff):
    for path in list(data.rglob("*.tif")):
        long = path.stem + "n" * (251 - len(path.stem))
        other = long.encode() if kind == "long" else path.stem.encode() + b"\xff"
        path.rename(path.with_name(os.fsdecode(other + b".tif")))
    run, result = tmp_path / "run", tmp_path / "result"
    both = ("--source", "untreated", "--target", "treated")
    for line in (
        ["train", data, *both, "--out", run, "--steps", 5, "--images-per-condition", 3],
        ["translate", run, data, "--out", result],
        ["measure", "area", data, result, "--channel", "marker", "--out", tmp_path / "t.csv",
         "--figure", f"groups={tmp_path / 'g.png'}", *both],
        ["figure", result, "--out", tmp_path / "f.png"],
    ):  # fmt: skip
        code, _, said = phenldiff(*line)
        assert code == 0, said
    assert len(list((result / "translated").glob("*.tif"))) == 5
