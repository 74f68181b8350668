from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.choice import trained_wells
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import sha256_of_array
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.places import Site
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.images.wells import well_of_image
from napari_phenldiff.measurement.statistics.units import units_of_images
from napari_phenldiff.runs.checkpoints import is_complete
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import Failed, Finished, Loading, Step
from napari_phenldiff.runs.folder import Run, is_run

TRAIN = """
import sys, time
from napari_phenldiff.runs.events import Loading, Saved, Step
from napari_phenldiff.runs.folder import Run
run = Run.open(sys.argv[1])
with run.lock():
    run.append(Loading("training"))
    found = run.latest_checkpoint()
    step = found[0] if found else 0
    while not run.stop_requested:
        step += 1
        run.append(Step(step, 1_000_000, 0.5))
        state = str(step).encode()
        run.save_checkpoint(step, {"state": state, "weights": state * 10_000})
        run.save_adapter({"weights": state * 10_000})
        print(step, flush=True)
"""


# ---- making and opening


def test_a_run_comes_back_as_it_was_made(run, experiment, config):
    opened = Run.open(run.path)
    assert opened.config == config
    assert opened.scaling == run.scaling
    assert opened.conditions == ("untreated", "treated")
    assert opened.channel_names == ("DNA", "marker")
    assert opened.digest == experiment.digest()
    assert opened.trained_images == {sha256_of_array(i.data) for i in experiment.images}
    assert opened.versions["python"]
    assert abs(opened.created - time.time()) < 60
    assert opened.state == "created"
    assert opened.latest_checkpoint() is None
    assert not opened.has_adapter
    assert is_run(run.path)


def test_a_run_is_made_from_plain_records_too(tmp_path: Path, config):
    record = {"condition": "treated", "name": "a", "sha256": "0" * 64, "path": None}
    scaling = IntensityScaling(("DNA",), (0.0,), (1.0,), (0.0,))
    made = Run.create(
        tmp_path / "run",
        config,
        scaling=scaling,
        channel_names=["DNA"],
        images=[record],
        digest="d",
        versions={"torch": "2"},
    )
    opened = Run.open(made.path)
    assert opened.images[0].model_dump() == {**record, "validation": False}
    assert opened.versions == {"torch": "2"}
    with pytest.raises(InputError, match=r"image a of condition treated existed in memory only"):
        opened.load_experiment()


def test_a_run_may_be_made_in_an_empty_folder(tmp_path: Path, experiment, config):
    scaling = IntensityScaling.fit(experiment.images)
    (tmp_path / "empty").mkdir()
    Run.from_experiment(tmp_path / "empty", config, experiment=experiment, scaling=scaling)
    assert is_run(tmp_path / "empty")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_run_is_not_made_over_something_else(tmp_path: Path, experiment, config, kind):
    there = tmp_path / "there"
    if kind == "folder":
        there.mkdir()
        (there / "thesis.tex").write_text("precious")
    else:
        there.write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    scaling = IntensityScaling.fit(experiment.images)
    with pytest.raises(InputError, match=r"there .*name a new folder"):
        Run.from_experiment(there, config, experiment=experiment, scaling=scaling)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_conditions_must_be_in_the_experiment(tmp_path: Path, experiment):
    config = TrainingConfig(conditions=("untreated", "cured"))
    scaling = IntensityScaling.fit(experiment.images)
    with pytest.raises(InputError, match='"cured"'):
        Run.from_experiment(tmp_path / "run", config, experiment=experiment, scaling=scaling)
    assert not (tmp_path / "run").exists()


def test_a_run_that_cannot_be_written_leaves_nothing(tmp_path, experiment, config, monkeypatch):
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("napari_phenldiff.runs.folder.write_model", full)
    before = sorted(tmp_path.rglob("*"))
    scaling = IntensityScaling.fit(experiment.images)
    with pytest.raises(OSError, match="No space left"):
        Run.from_experiment(tmp_path / "run", config, experiment=experiment, scaling=scaling)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_is_not_a_run_is_refused(tmp_path: Path):
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"is not a run folder .*phenldiff train"):
            Run.open(path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda text: text[: len(text) // 2], "damaged or cannot be read"),
        (lambda text: "", "damaged or cannot be read"),
        (lambda text: "[1, 2]", "is damaged"),
        (lambda text: text.replace('"steps": 20', '"steps": -20').replace(" ", ""), "steps"),
        (lambda text: text.replace('"scaling"', '"scalling"'), "scaling: field required"),
        (lambda text: text.replace('"low"', '"lowest"'), "scaling"),
        (lambda text: text.replace('"format": 1', '"format": 99'), r"format: .*\(got 99\)"),
        (lambda text: text.replace("untreated", "treated"), "must differ"),
    ],
    ids=["half", "empty", "list", "negative", "misspelt", "scaling", "newer", "same"],
)
def test_a_damaged_config_is_told_in_one_sentence(run, damage, told):
    path = run.path / "config.json"
    text = path.read_text().replace('"steps":20', '"steps": 20')
    path.write_text(damage(text))
    with pytest.raises(InputError, match=told) as caught:
        Run.open(run.path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


# ---- the images


def test_the_images_are_read_again_from_their_files(run, experiment):
    again = Run.open(run.path).load_experiment()
    assert again.names == experiment.names
    assert again.digest() == experiment.digest()
    assert not (run.path / "images").exists()


def test_images_without_a_file_are_written_into_the_run(tmp_path: Path, experiment, config):
    in_memory = Experiment.from_images(
        {
            c.name: [
                replace(i, path=None, data=i.data.astype(np.int64), channel_names=("a", "b"))
                for i in c.images
            ]
            for c in experiment.conditions
        }
    )
    made = Run.from_experiment(
        tmp_path / "run",
        config,
        experiment=in_memory,
        scaling=IntensityScaling.fit(in_memory.images),
    )
    assert (made.path / "images" / "treated" / "treated_0.tif").is_file()
    # The folder may move to another place, or another machine.
    moved = made.path.rename(tmp_path / "elsewhere")
    again = Run.open(moved).load_experiment()
    assert again.channel_names == ("a", "b")
    for ours, theirs in zip(again.images, in_memory.images, strict=True):
        assert ours.name == theirs.name
        np.testing.assert_array_equal(ours.data, theirs.data)


def test_wells_that_nothing_but_a_table_names_are_known_again(tmp_path, experiment, config):
    told = Experiment.from_images(
        {
            condition.name: [
                replace(
                    image,
                    # Of one condition files of their own, of the other images in the run.
                    path=None if condition.name == "treated" else image.path,
                    part_of=site.part_of,
                    site=site,
                )
                for i, image in enumerate(condition.images)
                for site in [Site("one", f"{condition.name[0].upper()}0{1 + i % 2}", str(i))]
            ]
            for condition in experiment.conditions
        }
    )
    scaling = IntensityScaling.fit(told.images)
    made = Run.from_experiment(tmp_path / "run", config, experiment=told, scaling=scaling)
    again = Run.open(made.path).load_experiment()
    assert [(i.part_of, i.site) for i in again.images] == [(i.part_of, i.site) for i in told.images]
    judged = {well_of_image(image, units_of_images(told.images).wells) for image in told.images}
    assert trained_wells(Run.open(made.path).load_experiment, None) == judged
    # Runs of earlier versions do not know; they can still be read.
    where = made.path / "images.json"
    records = json.loads(where.read_text())
    for record in records["images"]:
        del record["part_of"], record["site"]
    where.write_text(json.dumps(records))
    assert Run.open(made.path).load_experiment().digest() == told.digest()


def test_planes_of_a_stack_are_found_again(tmp_path: Path, config):
    import tifffile

    rng = np.random.default_rng(0)
    for condition in config.conditions:
        folder = tmp_path / "stacks" / condition
        folder.mkdir(parents=True)
        data = rng.integers(0, 255, (5, 2, 8, 8), dtype=np.uint8)
        tifffile.imwrite(folder / "s.tif", data, imagej=True, metadata={"axes": "TCYX"})
    stacks = Experiment.from_folder(tmp_path / "stacks").select(config.conditions).subset(3, 0)
    made = Run.from_experiment(
        tmp_path / "run", config, experiment=stacks, scaling=IntensityScaling.fit(stacks.images)
    )
    again = made.load_experiment()
    assert [i.name for i in again.images] == [i.name for i in stacks.images]
    assert again.digest() == stacks.digest()


def test_an_image_that_is_missing_or_changed_is_named(run, data_folder, experiment):
    path = data_folder / "treated" / "treated_1.tif"
    image = experiment["treated"].images[1]
    data = image.data.copy()
    data[0, 0, 0] ^= 1
    write_tiff(path, replace(image, data=data))
    with pytest.raises(InputError, match=r"treated_1.tif has changed"):
        run.load_experiment()
    path.unlink()
    with pytest.raises(InputError, match=r"treated_1.tif is missing"):
        run.load_experiment()


def test_the_folder_alone_is_enough_to_translate(tmp_path: Path, run, data_folder):
    """What the result depends on is in the folder: adapter, channels, scaling, settings."""
    run.save_adapter({"weights": b"1234"})
    trained_images = run.trained_images
    copied = shutil.copytree(run.path, tmp_path / "other machine" / "run")
    shutil.rmtree(data_folder)
    shutil.rmtree(run.path)
    opened = Run.open(copied)
    assert (opened.adapter_path / "weights").read_bytes() == b"1234"
    assert opened.has_adapter
    assert opened.channel_names == ("DNA", "marker")
    assert opened.scaling == run.scaling
    assert opened.config == run.config
    assert opened.trained_images == trained_images


def test_channels_that_a_result_leaves_as_they_are(run):
    assert run.reference_channels == ()
    run.save_adapter({"adapter.json": b'{"reference_channels": ["DNA"]}'})
    assert run.reference_channels == ("DNA",)
    run.save_adapter({"adapter.json": b"{damaged"})
    assert run.reference_channels == ()


# ---- what happens


@pytest.mark.parametrize(
    ("events", "state"),
    [
        ([Loading("a"), Step(1, 2, 0.1), Finished(2)], "finished"),
        ([Finished(1, stopped=True)], "stopped"),
        ([Step(1, 2, 0.1), Failed("why")], "failed"),
        ([Step(1, 2, 0.1)], "interrupted"),
        ([Finished(1, stopped=True), Loading("again")], "interrupted"),
    ],
)
def test_the_state_is_told_by_the_last_event(run, events, state):
    for event in events:
        run.append(event)
    assert run.events()[0] == events
    assert run.state == state
    with run.lock():
        assert run.state == "running"
    assert run.state == state


def test_a_request_to_stop_is_seen_and_cleared(run):
    assert not run.stop_requested
    run.clear_stop()
    run.request_stop()
    assert Run.open(run.path).stop_requested
    run.clear_stop(before=time.time() - 60)
    assert run.stop_requested
    run.clear_stop(before=time.time() + 60)
    assert not run.stop_requested


def test_a_trainer_killed_at_any_moment_leaves_a_run_that_can_be_resumed(run, python):
    reached = 0
    for delay in (0.0, 0.004, 0.02):
        trainer = python(TRAIN, run.path)
        for _ in range(3):
            assert trainer.stdout.readline()
        assert run.state == "running"
        with pytest.raises(InputError, match=f"in use by process {trainer.pid}"):
            run.lock().__enter__()
        time.sleep(delay)
        os.kill(trainer.pid, signal.SIGKILL)
        trainer.wait()

        assert run.state == "interrupted"
        step, path = run.latest_checkpoint()
        assert (path / "state").read_bytes() == str(step).encode()
        assert (path / "weights").read_bytes() == str(step).encode() * 10_000
        assert run.has_adapter
        weights = (run.adapter_path / "weights").read_bytes()
        assert weights in (str(step).encode() * 10_000, str(step - 1).encode() * 10_000)
        steps = [event.step for event in run.events()[0] if isinstance(event, Step)]
        assert steps[-1] in (step, step + 1)
        assert step >= reached + 3
        reached = step

    trainer = python(TRAIN, run.path)
    assert int(trainer.stdout.readline()) == reached + 1
    run.request_stop()
    assert trainer.wait(20) == 0
    kept = [p for p in (run.path / "checkpoints").iterdir() if not p.name.startswith(".")]
    assert len(kept) == 2
    assert not [p for p in run.path.rglob(".*") if p.name != ".previous-adapter"]


def test_a_checkpoint_that_could_not_be_written_leaves_the_last_one(run):
    def full(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    run.save_checkpoint(1, {"state": b"1"})
    with pytest.raises(OSError, match="No space left"):
        run.save_checkpoint(2, {"state": b"2", "weights": full})
    assert run.latest_checkpoint() == (1, run.path / "checkpoints" / "step_000001")
    assert [p.name for p in (run.path / "checkpoints").iterdir()] == ["step_000001"]


def test_config_and_image_lists_are_plain_json(run):
    config = json.loads((run.path / "config.json").read_text())
    assert config["config"]["conditions"] == ["untreated", "treated"]
    images = json.loads((run.path / "images.json").read_text())["images"]
    assert len(images) == 6
    assert set(images[0]) == {"condition", "name", "sha256", "path", "validation"}


def test_a_damaged_list_of_images_is_told(run):
    (run.path / "images.json").write_text("{")
    with pytest.raises(InputError, match=r"images.json is damaged"):
        _ = Run.open(run.path).trained_images


def test_two_images_with_equal_pixels_are_both_found_again(tmp_path: Path, config):
    data = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    images = [Image(data, ("a", "b"), None, name) for name in ("x", "y")]
    twins = Experiment.from_images(dict.fromkeys(config.conditions, images))
    made = Run.from_experiment(
        tmp_path / "run", config, experiment=twins, scaling=IntensityScaling.fit(twins.images)
    )
    assert made.load_experiment().digest() == twins.digest()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["images.json", "events.jsonl"])
def test_a_pipe_in_the_place_of_a_file_is_told(run, name):
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    with pytest.raises(InputError, match=rf"{name}.* no(t a regular)? file"):
        _ = Run.open(run.path).images


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.timeout(60)
def test_pipes_that_no_run_needs_are_passed_over(run):
    for name in ("note.txt", "base_at.txt", "run.lock", "adapter/manifest.json"):
        (run.path / name).parent.mkdir(exist_ok=True)
        os.mkfifo(run.path / name)
        os.utime(run.path / name, (0, 0))
    opened = Run.open(run.path)
    assert (opened.note, opened.base) == ("", run.config.base)
    assert not is_complete(run.path / "adapter")
    with opened.lock():
        assert (run.path / "run.lock").is_file()
