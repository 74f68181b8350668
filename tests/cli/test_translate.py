from __future__ import annotations

import csv
import json
import shutil
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.images.files import sha256_of_array
from napari_phenldiff.images.tiff import read_image, read_provenance, read_tiff, write_tiff
from napari_phenldiff.runs.events import Failed, Finished, Progress
from napari_phenldiff.runs.events import read_events as read
from napari_phenldiff.runs.folder import Run

NAMES = ("--source", "untreated", "--target", "treated")


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_each_image_comes_out_under_its_name_and_like_itself(data, trained, tmp_path, phenldiff):
    out = tmp_path / "out"
    code, said, _ = phenldiff("translate", trained, data, *NAMES, "--out", out)
    assert code == 0
    assert "image 5/5" in said
    sources = sorted((data / "untreated").iterdir())
    for kind in ("translated", "reconstructed"):
        assert [p.name for p in sorted((out / kind).iterdir())] == [p.name for p in sources]
    for path in sources:
        source = read_image(path)
        translated = read_image(out / "translated" / path.name)
        assert translated.data.shape == source.data.shape
        assert translated.data.dtype == source.data.dtype
        assert translated.channel_names == source.channel_names
        assert translated.pixel_size == source.pixel_size
        np.testing.assert_array_equal(translated.data, source.data.max() - source.data)
        reconstructed = read_image(out / "reconstructed" / path.name)
        np.testing.assert_array_equal(reconstructed.data, source.data)


def test_what_was_done_is_written_down(data, trained, tmp_path, phenldiff):
    out = tmp_path / "out"
    path = data / "untreated" / "u1.tif"
    code, _, _ = phenldiff(
        "translate", trained, path, *NAMES, "--out", out, "--strength", "0.5", "--guidance", 3,
        "--depth", "0.9", "--inference-steps", 20, "--seed", 4,
    )  # fmt: skip
    assert code == 0
    summary = json.loads((out / "translation.json").read_text())
    assert summary["complete"]
    settings = summary["settings"]
    assert (settings["source"], settings["target"]) == ("untreated", "treated")
    assert (settings["strength"], settings["guidance"], settings["depth"]) == (0.5, 3, 0.9)
    assert (settings["inference_steps"], settings["seed"]) == (20, 4)
    (image,) = summary["images"]
    assert image["image"] == "u1"
    assert image["file"] == "u1.tif"
    assert image["residual"] == 0.01
    assert image["seconds"] == 0.5
    assert image["source_sha256"] == sha256_of_array(read_image(path).data)

    provenance = read_provenance(out / "translated" / "u1.tif")
    assert provenance["kind"] == "translated"
    assert provenance["settings"] == settings
    assert provenance["run"] == str(trained)
    assert provenance["source_file"] == str(path)
    assert read_provenance(out / "reconstructed" / "u1.tif")["kind"] == "reconstructed"

    events, _ = read(out / "events.jsonl")
    assert any(isinstance(e, Progress) and e.done == e.total == 1 for e in events)
    assert events[-1] == Finished(1, time=events[-1].time)
    assert not (out / "run.lock").exists()


def test_lost_and_invented_cells_are_told(data, trained, tmp_path, phenldiff, monkeypatch):
    out = tmp_path / "out"
    code, said, _ = phenldiff("translate", trained, data, *NAMES, "--out", out)
    assert code == 0
    summary = json.loads((out / "translation.json").read_text())
    cells = summary["cells"]
    assert cells["channel"] == "DNA"
    each = [image["cells"] for image in summary["images"]]
    assert all(one["before"] - one["lost"] == one["after"] - one["invented"] for one in each)
    for key in ("before", "after", "lost", "invented"):
        assert cells[key] == sum(one[key] for one in each)
    assert cells["before"] > 0
    # the stand-in makes negatives
    assert cells["lost"] > 0
    assert f"warning: Of {cells['before']} nuclei in DNA, {cells['lost']} are lost" in said


def test_without_a_channel_of_nuclei_no_cells_are_counted(trained, data, tmp_path, phenldiff):
    record = json.loads((trained / "config.json").read_text())
    for part in (record, record["scaling"]):
        part["channel_names"] = ["tubulin", "marker"]
    (trained / "config.json").write_text(json.dumps(record))
    for path in (data / "untreated").iterdir():
        write_tiff(path, replace(read_image(path), channel_names=("tubulin", "marker")))
    out = tmp_path / "out"
    code, said, _ = phenldiff("translate", trained, data, *NAMES, "--out", out)
    assert code == 0
    summary = json.loads((out / "translation.json").read_text())
    assert summary["cells"]["channel"] is None
    assert summary["images"][0]["cells"] is None
    assert "not counted: no channel is named like one of nuclei" in said


def test_source_and_target_are_by_default_those_of_the_run(data, trained, tmp_path, phenldiff):
    code, _, _ = phenldiff("translate", trained, data, "--out", tmp_path / "out")
    assert code == 0
    settings = json.loads((tmp_path / "out" / "translation.json").read_text())["settings"]
    assert (settings["source"], settings["target"]) == ("untreated", "treated")


def test_a_folder_of_tiffs_is_taken_as_it_is(data, trained, tmp_path, phenldiff):
    out = tmp_path / "out"
    code, _, _ = phenldiff("translate", trained, data / "treated", *NAMES, "--out", out)
    assert code == 0
    assert sorted(p.name for p in (out / "translated").iterdir()) == [f"t{i}.tif" for i in range(5)]


def test_images_trained_on_can_be_left_out(data, trained, tmp_path, phenldiff):
    images = [r for r in Run.open(trained).images if r.condition == "untreated"]
    used = {r.name for r in images if not r.validation}
    assert len(used) == 3
    assert len(images) == 5, "the other two are watched, and not trained on"
    out = tmp_path / "out"
    code, said, _ = phenldiff("translate", trained, data, *NAMES, "--out", out, "--held-out")
    assert code == 0
    assert "Left out 3 images that the run was trained on" in said
    assert {p.stem for p in (out / "translated").iterdir()} == {f"u{i}" for i in range(5)} - used

    code, said, _ = phenldiff("translate", trained, data, *NAMES, "--out", tmp_path / "all")
    assert "trained on 3 of these images" in said

    # A copy under another name is still the same image.
    name = sorted(used)[0]
    shutil.copy(data / "untreated" / f"{name}.tif", tmp_path / "innocent.tif")
    before = everything(tmp_path)
    code, _, err = phenldiff(
        "translate", trained, tmp_path / "innocent.tif", *NAMES, "--out", tmp_path / "none",
        "--held-out",
    )  # fmt: skip
    assert code == 2
    assert "--held-out leaves none" in err
    assert everything(tmp_path) == before


@pytest.mark.parametrize("axes", ["TCYX", "CYX", "YX"])
def test_stacks_come_out_as_stacks(data, tmp_path, fake_diffusion, phenldiff, axes):
    shape = {"TCYX": (4, 2, 12, 10), "CYX": (2, 12, 10), "YX": (12, 10)}[axes]
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 200, shape, dtype=np.uint8)
    for condition in ("untreated", "treated"):
        folder = tmp_path / "stacks" / condition
        folder.mkdir(parents=True)
        for name in ("a", "b"):
            tifffile.imwrite(folder / f"{name}.tif", pixels, metadata={"axes": axes}, ome=True)
            pixels = pixels[::-1].copy() if axes == "YX" else pixels + 1
    run = tmp_path / "run"
    code, _, err = phenldiff(
        "train", tmp_path / "stacks", *NAMES, "--out", run, "--steps", 1,
    )  # fmt: skip
    assert code == 0, err
    out = tmp_path / "out"
    code, _, err = phenldiff("translate", run, tmp_path / "stacks", *NAMES, "--out", out)
    assert code == 0, err
    source = tifffile.imread(tmp_path / "stacks" / "untreated" / "a.tif")
    result = tifffile.imread(out / "reconstructed" / "a.tif")
    assert result.shape == source.shape == shape
    assert result.dtype == source.dtype
    np.testing.assert_array_equal(result, source)
    originals = read_tiff(tmp_path / "stacks" / "untreated" / "a.tif")
    again = read_tiff(out / "reconstructed" / "a.tif")
    assert [i.name for i in again] == [i.name for i in originals]
    assert [i.channel_names for i in again] == [i.channel_names for i in originals]
    images = json.loads((out / "translation.json").read_text())["images"]
    assert len(images) == 2 * len(originals)
    assert read_provenance(out / "translated" / "a.tif")["kind"] == "translated"


def test_a_stack_keeps_names_and_pixel_size(data, trained, tmp_path, phenldiff):
    planes = np.stack([read_image(p).data for p in sorted((data / "untreated").iterdir())])
    tifffile.imwrite(
        tmp_path / "stack.tif",
        planes,
        ome=True,
        metadata={
            "axes": "TCYX",
            "Channel": {"Name": ["DNA", "marker"]},
            "PhysicalSizeX": 0.25,
            "PhysicalSizeY": 0.5,
        },
    )
    out = tmp_path / "out"
    code, _, _ = phenldiff("translate", trained, tmp_path / "stack.tif", *NAMES, "--out", out)
    assert code == 0
    again = read_tiff(out / "translated" / "stack.tif")
    assert len(again) == 5
    assert {i.channel_names for i in again} == {("DNA", "marker")}
    assert {i.pixel_size for i in again} == {(0.5, 0.25)}
    np.testing.assert_array_equal(again[2].data, planes[2].max() - planes[2])

    code, _, _ = phenldiff(
        "translate", trained, tmp_path / "stack.tif", *NAMES, "--out", tmp_path / "2", "--held-out"
    )
    assert code == 0
    assert len(read_tiff(tmp_path / "2" / "translated" / "stack.tif")) == 2


def test_images_are_read_and_written_one_file_at_a_time(
    data, trained, tmp_path, phenldiff, monkeypatch
):
    """No more than one file is ahead of what is written."""
    from napari_phenldiff.images import tiff

    trace: list[str] = []
    read_tiff, write_stack = tiff.read_tiff, tiff.write_stack
    monkeypatch.setattr(
        tiff, "read_tiff", lambda p, **k: (trace.append(f"r {p.name}"), read_tiff(p, **k))[1]
    )
    monkeypatch.setattr(
        tiff,
        "write_stack",
        lambda p, *a, **k: (trace.append(f"w {p.name}"), write_stack(p, *a, **k))[1],
    )
    code, _, _ = phenldiff("translate", trained, data, *NAMES, "--out", tmp_path / "out")
    assert code == 0
    names = [f"u{i}.tif" for i in range(5)]
    assert trace[:5] == [f"r {n}" for n in names]
    assert trace[5:] == [step for n in names for step in (f"r {n}", f"w {n}", f"w {n}")]


def _rename(data: Path) -> None:
    for path in (data / "untreated").iterdir():
        write_tiff(path, replace(read_image(path), channel_names=("Hoechst", "GFP")))


def test_channels_that_are_only_named_otherwise_are_taken_with_a_warning(
    data, trained, tmp_path, phenldiff
):
    _rename(data)
    code, out, _ = phenldiff("translate", trained, data, *NAMES, "--out", tmp_path / "out")
    assert code == 0
    assert "taken to be DNA, marker, in this order" in out
    again = read_image(tmp_path / "out" / "translated" / "u0.tif")
    assert again.channel_names == ("Hoechst", "GFP")


def _swap_channels(data: Path) -> None:
    path = data / "untreated" / "u3.tif"
    write_tiff(path, replace(read_image(path), channel_names=("marker", "DNA")))


def _one_channel(data: Path) -> None:
    path = data / "untreated" / "u3.tif"
    image = read_image(path)
    write_tiff(path, replace(image, data=image.data[:1], channel_names=("DNA",)))


def _truncate(data: Path) -> None:
    path = data / "untreated" / "u3.tif"
    path.write_bytes(path.read_bytes()[:300])


def _no_source(data: Path) -> None:
    shutil.rmtree(data / "untreated")


def _empty(data: Path) -> None:
    shutil.rmtree(data)
    data.mkdir()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_swap_channels, "u3.tif has the channels marker, DNA"),
        (_one_channel, "u3.tif has the channels DNA"),
        (_truncate, "u3.tif"),
    ],
)
def test_a_file_that_cannot_be_translated_is_a_row_and_the_others_go_on(
    data, trained, tmp_path, phenldiff, spoil, told, monkeypatch
):
    out = tmp_path / "out"
    good = (data / "untreated" / "u3.tif").read_bytes()
    spoil(data)
    code, said, err = phenldiff("translate", trained, data, *NAMES, "--out", out)
    assert code == 2
    assert err.count("\n") == 1
    assert "1 file of 5 could not be translated" in err
    assert told in err
    assert told in said
    with (out / "failures.csv").open(newline="") as opened:
        (row,) = csv.DictReader(opened)
    assert row["image"] == "u3"
    assert row["file"] == str(data / "untreated" / "u3.tif")
    assert told in row["reason"]
    rest = ["u0.tif", "u1.tif", "u2.tif", "u4.tif"]
    for kind in ("translated", "reconstructed"):
        assert sorted(p.name for p in (out / kind).iterdir()) == rest
    summary = json.loads((out / "translation.json").read_text())
    assert not summary["complete"]
    assert [image["file"] for image in summary["images"]] == rest

    # Mended, it is the only one that the same command translates.
    (data / "untreated" / "u3.tif").write_bytes(good)
    written = count_written(monkeypatch)
    assert phenldiff("translate", trained, data, *NAMES, "--out", out)[0] == 0
    assert set(written) == {"u3.tif"}
    assert not (out / "failures.csv").exists()
    assert not (out / "images.jsonl").exists()
    summary = json.loads((out / "translation.json").read_text())
    assert summary["complete"]
    assert [image["file"] for image in summary["images"]] == [f"u{i}.tif" for i in range(5)]


def test_a_file_that_has_gone_meanwhile_is_a_row_too(
    data, trained, tmp_path, phenldiff, monkeypatch
):
    from napari_phenldiff.jobs import translation

    check = translation.check_translation

    def check_and_lose(*args, **how):
        job = check(*args, **how)
        (data / "untreated" / "u2.tif").unlink()
        return job

    monkeypatch.setattr("napari_phenldiff.cli.translate.check_translation", check_and_lose)
    out = tmp_path / "out"
    code, _, err = phenldiff("translate", trained, data, *NAMES, "--out", out)
    assert (code, "1 file of 5" in err) == (2, True)
    assert "u2," in (out / "failures.csv").read_text()
    rest = ["u0.tif", "u1.tif", "u3.tif", "u4.tif"]
    assert sorted(p.name for p in (out / "translated").iterdir()) == rest


def _all_truncated(data: Path) -> None:
    for path in (data / "untreated").iterdir():
        path.write_bytes(path.read_bytes()[:300])


def test_files_of_one_name_are_translated_under_two(data, trained, tmp_path, phenldiff):
    shutil.copy(data / "untreated" / "u3.tif", data / "untreated" / "u3.tiff")
    code, _, err = phenldiff("translate", trained, data, *NAMES, "--out", tmp_path / "out")
    assert code == 0, err
    names = {path.name for path in (tmp_path / "out" / "translated").glob("u3*")}
    assert names == {"u3_tif.tif", "u3_tiff.tif"}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_all_truncated, "u0.tif"),
        (_empty, "holds no TIFFs"),
        (shutil.rmtree, "does not exist"),
        (_no_source, 'no TIFF files for condition "untreated": there are some for "treated"'),
    ],
)
def test_input_that_cannot_be_translated_is_refused(
    data, trained, tmp_path, phenldiff, spoil, told
):
    spoil(data)
    before = everything(tmp_path)
    code, _, err = phenldiff("translate", trained, data, *NAMES, "--out", tmp_path / "out")
    assert code == 2
    assert told in err
    assert err.count("\n") == 1
    assert everything(tmp_path) == before


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (("--source", "untreated", "--target", "cured"), "cured; it knows untreated, treated"),
        ((*NAMES, "--depth", "0"), "depth"),
        ((*NAMES, "--strength", "nan"), "strength"),
    ],
)
def test_settings_that_make_no_sense_are_refused(data, trained, tmp_path, phenldiff, args, told):
    before = everything(tmp_path)
    code, _, err = phenldiff("translate", trained, data, *args, "--out", tmp_path / "out")
    assert code == 2
    assert told in err
    assert everything(tmp_path) == before


def test_something_that_is_no_run_or_not_trained_yet_is_refused(data, trained, tmp_path, phenldiff):
    out = tmp_path / "out"
    code, _, err = phenldiff("translate", data, data, *NAMES, "--out", out)
    assert (code, "is not a run folder" in err) == (2, True)
    shutil.rmtree(trained / "adapter")
    code, _, err = phenldiff("translate", trained, data, *NAMES, "--out", out)
    assert (code, "has no result yet" in err) == (2, True)
    assert not out.exists()


def test_an_output_folder_with_something_in_it_is_refused(data, trained, phenldiff):
    before = everything(data)
    code, _, err = phenldiff("translate", trained, data, *NAMES, "--out", data)
    assert (code, "not empty" in err) == (2, True)
    assert everything(data) == before


def test_a_translation_refused_before_its_first_image_leaves_nothing(
    data, trained, tmp_path, fake_diffusion, phenldiff
):
    fake_diffusion("refuse")
    before = everything(tmp_path)
    code, _, err = phenldiff("translate", trained, data, *NAMES, "--out", tmp_path / "out")
    assert (code, "takes 1 channel" in err) == (2, True)
    assert everything(tmp_path) == before


def test_what_was_done_before_a_failure_is_kept_and_accounted_for(
    data, trained, tmp_path, fake_diffusion, phenldiff
):
    fake_diffusion("memory")
    out = tmp_path / "out"
    code, _, err = phenldiff("translate", trained, data, *NAMES, "--out", out)
    assert code == 1
    assert "not enough memory" in err
    assert sorted(p.name for p in (out / "translated").iterdir()) == ["u0.tif", "u1.tif"]
    summary = json.loads((out / "translation.json").read_text())
    assert not summary["complete"]
    assert [i["image"] for i in summary["images"]] == ["u0", "u1"]
    last = read(out / "events.jsonl")[0][-1]
    assert isinstance(last, Failed)
    assert "not enough memory" in last.message


def test_ctrl_c_leaves_whole_files_and_an_account(data, trained, tmp_path, start, monkeypatch):
    monkeypatch.setenv("FAKE_DIFFUSION", "wait u2")  # so that it is not done before the signal
    out = tmp_path / "out"
    process = start("translate", trained, data, *NAMES, "--out", out)
    deadline = time.monotonic() + 30
    while not (out / "translated" / "u0.tif").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    summary = json.loads((out / "translation.json").read_text())
    assert not summary["complete"]
    done = [i["file"] for i in summary["images"]]
    assert 1 <= len(done) < 5
    for kind in ("translated", "reconstructed"):
        assert sorted(p.name for p in (out / kind).iterdir()) == done
    last = read(out / "events.jsonl")[0][-1]
    assert last == Finished(len(done), stopped=True, time=last.time)


def test_naming_one_condition_names_the_other(data, trained, tmp_path, phenldiff):
    for flag, expected in (
        (("--source", "treated"), ("treated", "untreated")),
        (("--target", "untreated"), ("treated", "untreated")),
        (("--target", "treated"), ("untreated", "treated")),
        ((), ("untreated", "treated")),
    ):
        out = tmp_path / "-".join(["out", *flag])
        code, told, said = phenldiff("translate", trained, data, *flag, "--out", out)
        assert code == 0, said
        assert ("From treated to untreated: the other way" in told) == (expected[0] == "treated")
        settings = json.loads((out / "translation.json").read_text())["settings"]
        assert (settings["source"], settings["target"]) == expected


def test_a_folder_of_the_other_condition_is_not_taken_for_the_source(
    data, trained, tmp_path, phenldiff
):
    out = tmp_path / "out"
    for given in (data / "treated", data / "treated" / "t1.tif"):
        code, _, said = phenldiff("translate", trained, given, "--out", out)
        assert code == 2
        assert "folder called treated" in said
        assert not out.exists()
    more = ("--source", "untreated", "--out", out)
    assert phenldiff("translate", trained, data / "treated", *more)[0] == 0


def read_all(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.tif"))
    }


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert path.exists()


def count_written(monkeypatch) -> list[str]:
    from napari_phenldiff.images import tiff

    written: list[str] = []
    write_stack = tiff.write_stack
    monkeypatch.setattr(
        tiff, "write_stack", lambda p, *a, **k: (written.append(p.name), write_stack(p, *a, **k))[1]
    )
    return written


def test_a_killed_translation_goes_on_where_it_was(
    data, trained, tmp_path, start, phenldiff, monkeypatch
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert phenldiff("translate", trained, data, *NAMES, "--out", whole)[0] == 0
    monkeypatch.setenv("FAKE_DIFFUSION", "wait u3")  # so that it is not done before it is killed
    process = start("translate", trained, data, *NAMES, "--out", out)
    wait_for(out / "translated" / "u1.tif")
    process.kill()
    monkeypatch.delenv("FAKE_DIFFUSION")
    process.communicate()
    assert (out / "run.lock").exists()
    leftover = out / "translated" / ".u4.tif.part"
    done = sorted(p.name for p in (out / "translated").glob("u*.tif"))
    assert 2 <= len(done) < 5
    written = count_written(monkeypatch)
    code, said, err = phenldiff("translate", trained, data, *NAMES, "--out", out)
    assert code == 0, err
    assert not leftover.exists()
    assert "were done before" in said
    # The last one may have been killed between its results and the line that says so.
    assert len(set(written) & set(done)) <= 1
    assert read_all(out) == read_all(whole)
    summaries = [json.loads((f / "translation.json").read_text()) for f in (whole, out)]
    assert summaries[0]["complete"]
    for key in ("complete", "cells", "settings", "warnings"):
        assert summaries[0][key] == summaries[1][key]
    assert summaries[0]["images"] == summaries[1]["images"]
    assert not (out / "run.lock").exists()
    assert not (out / "images.jsonl").exists()


def test_a_stopped_translation_goes_on_too(data, trained, tmp_path, start, monkeypatch, phenldiff):
    monkeypatch.setenv("FAKE_DIFFUSION", "wait u2")  # so that it is not done before the signal
    out = tmp_path / "out"
    process = start("translate", trained, data, *NAMES, "--out", out)
    wait_for(out / "translated" / "u0.tif")
    process.send_signal(signal.SIGTERM)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert f"in {out}; the same command goes on there." in told
    monkeypatch.delenv("FAKE_DIFFUSION")
    code, said, _ = phenldiff("translate", trained, data, *NAMES, "--out", out)
    assert code == 0
    assert "were done before" in said
    assert json.loads((out / "translation.json").read_text())["complete"]


def test_one_that_was_killed_before_its_first_image_begins_again(
    data, trained, tmp_path, phenldiff
):
    out = tmp_path / "out"
    out.mkdir()
    dead = {"pid": 2**22 + 1, "host": socket.gethostname(), "started": 0.0, "token": "x"}
    (out / "run.lock").write_text(json.dumps(dead))
    (out / "events.jsonl").write_text("")
    assert phenldiff("translate", trained, data, *NAMES, "--out", out)[0] == 0
    assert not (out / "run.lock").exists()


def test_an_unfinished_translation_of_another_kind_is_refused_and_stays(
    data, trained, tmp_path, fake_diffusion, phenldiff
):
    fake_diffusion("memory")
    out = tmp_path / "out"
    assert phenldiff("translate", trained, data, *NAMES, "--out", out)[0] == 1
    before = read_all(out)
    fake_diffusion("")
    other = (*NAMES, "--strength", "0.5")
    code, _, err = phenldiff("translate", trained, data, *other, "--out", out)
    assert code == 2
    assert "strength: 1.0 there, 0.5 here" in err
    assert read_all(out) == before
    assert phenldiff("translate", trained, data, *NAMES, "--out", out)[0] == 0


def test_an_image_that_has_changed_meanwhile_is_done_again(
    data, trained, tmp_path, fake_diffusion, phenldiff, monkeypatch
):
    fake_diffusion("memory")
    out = tmp_path / "out"
    assert phenldiff("translate", trained, data, *NAMES, "--out", out)[0] == 1
    fake_diffusion("")
    path = data / "untreated" / "u1.tif"
    image = read_image(path)
    write_tiff(path, replace(image, data=image.data[:, ::-1]))
    written = count_written(monkeypatch)
    assert phenldiff("translate", trained, data, *NAMES, "--out", out)[0] == 0
    assert set(written) == {"u1.tif", "u2.tif", "u3.tif", "u4.tif"}
