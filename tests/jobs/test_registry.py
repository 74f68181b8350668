from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.jobs import registry
from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.jobs.registry import RunIndex, RunRegistry, past_job, registry_path, so_far
from napari_phenldiff.runs import contents
from napari_phenldiff.runs.baseline_config import CycleGANConfig
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import Failed, Finished, Preview, Step, Warned
from napari_phenldiff.runs.folder import Run


def make_run(path: Path, **settings) -> Run:
    config = TrainingConfig(conditions=("untreated", "treated"), steps=10, **settings)
    scaling = IntensityScaling(("DNA",), (0.0,), (1.0,), (0.0,))
    return Run.create(path, config, scaling=scaling, channel_names=["DNA"], versions={})


def test_runs_are_remembered_by_whoever_comes_next(tmp_path: Path, user_data: Path):
    assert registry_path() == user_data / "runs.json"
    for name in ("one", "two", "one"):
        RunRegistry().register(tmp_path / name)

    assert RunRegistry().registered() == (tmp_path / "one", tmp_path / "two")
    RunRegistry().forget(tmp_path / "one")
    assert RunRegistry().registered() == (tmp_path / "two",)
    assert RunRegistry().forgotten() == {tmp_path / "one"}
    RunRegistry().register(tmp_path / "one")
    assert RunRegistry().forgotten() == frozenset()


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"runs": 3}', b'{"runs": [1, null]}', b"\xff\xfe"]
)
def test_a_damaged_list_is_no_reason_to_fail(tmp_path: Path, user_data: Path, content: bytes):
    (user_data / "runs.json").write_bytes(content)
    assert RunRegistry().registered() == ()
    RunRegistry().register(tmp_path / "run")
    assert RunRegistry().registered() == (tmp_path / "run",)


def test_a_list_that_cannot_be_written_is_no_reason_to_fail(tmp_path: Path, caplog):
    (tmp_path / "file").touch()
    RunRegistry(tmp_path / "file" / "runs.json").register(tmp_path / "run")
    assert "could not be written" in caplog.text


def test_the_list_does_not_grow_for_ever(tmp_path: Path, monkeypatch, user_data: Path):
    monkeypatch.setattr(registry, "_MOST", 3)
    for number in range(5):
        RunRegistry().register(tmp_path / str(number))
    assert [path.name for path in RunRegistry().registered()] == ["4", "3", "2"]
    assert json.loads((user_data / "runs.json").read_text())["format"] == 1


def test_known_runs_those_beside_them_and_those_of_a_folder_are_found(tmp_path: Path):
    known = make_run(tmp_path / "here" / "known")
    beside = make_run(tmp_path / "here" / "beside")
    usual = make_run(tmp_path / "usual" / "run")
    (tmp_path / "here" / "data").mkdir()
    registry = RunRegistry()
    registry.register(known.path)
    registry.register(tmp_path / "gone")

    found = RunIndex().look([tmp_path / "usual", tmp_path / "nowhere"])

    assert [run.path for run in found] == [usual.path, beside.path, known.path]
    assert [run.own for run in found] == [False, False, True]
    assert (found[0].conditions, found[0].channels) == (("untreated", "treated"), ("DNA",))
    registry.forget(beside.path)
    assert [run.path for run in RunIndex().look()] == [known.path]
    assert beside.path.is_dir()


@pytest.mark.parametrize(
    ("file", "content", "state"),
    [
        ("config.json", b"{", "damaged"),
        ("config.json", b"\xff\xfe", "damaged"),
        ("config.json", b"[" * 100_000, "damaged"),
        ("run.lock", b"\xff\x00 no text", "running"),  # as if it were just being written
        ("events.jsonl", b'{"event": []}\n', "created"),
        ("events.jsonl", b'{"event": {"step": 3}}\n', "created"),
        ("events.jsonl", b'{"event": "step", "step": "many", "total": []}\n', "created"),
        ("events.jsonl", b"[" * 100_000 + b"\n", "created"),
        ("note.txt", b"\xff\xff", "created"),
    ],
)
def test_a_damaged_run_is_named_and_hides_no_other(tmp_path: Path, file, content, state):
    good = make_run(tmp_path / "good")
    bad = make_run(tmp_path / "bad")
    for run in (good, bad):
        RunRegistry().register(run.path)
    (bad.path / file).write_bytes(content)
    found = {run.name: run for run in RunIndex().look()}
    assert found["good"].state == "created"
    assert found["bad"].state == state
    assert found["bad"].resumable == (state == "created")
    if state == "damaged":
        assert file in found["bad"].note


def test_the_state_is_told_in_words(tmp_path: Path):
    run = make_run(tmp_path / "run")
    RunRegistry().register(run.path)
    index = RunIndex()

    def words() -> str:
        (found,) = index.look()
        assert found.state == run.state
        return found.state_words

    assert words() == "Not started"
    with run.lock():
        run.append(Step(3, 10, 0.5))
        assert words() == "Running 3/10"
    assert words() == "Interrupted 3/10"
    run.append(Failed("no"))
    assert words() == "Failed 3/10"
    run.append(Finished(10))
    assert words() == "Finished"


def test_what_has_not_changed_is_not_read_again(tmp_path: Path, monkeypatch):
    run = make_run(tmp_path / "run")
    run.append(Step(1, 10, 0.5))
    RunRegistry().register(run.path)
    reads: list[Path] = []
    read = contents.read_events
    monkeypatch.setattr(
        contents, "read_events", lambda path, start: reads.append(path) or read(path, start)
    )
    index = RunIndex()
    for _ in range(3):
        index.look()
    assert len(reads) == 1
    run.append(Step(2, 10, 0.5))
    assert index.look()[0].done == 2
    assert len(reads) == 2


def test_asking_for_the_state_reads_the_events_again_only_when_there_are_new_ones(
    tmp_path: Path, monkeypatch
):
    run = make_run(tmp_path / "run")
    run.append(Step(1, 10, 0.5))
    reads: list[Path] = []
    read = contents.read_events
    monkeypatch.setattr(
        contents, "read_events", lambda path, start: reads.append(path) or read(path, start)
    )
    for _ in range(3):
        assert Run.open(run.path).state == "interrupted"
    assert len(reads) == 1
    run.append(Finished(10))
    assert Run.open(run.path).state == "finished"
    assert len(reads) == 2


def test_only_the_end_of_a_long_training_is_read(tmp_path: Path, monkeypatch):
    run = make_run(tmp_path / "run")
    for step in range(1, 500):
        run.append(Step(step, 500, 0.5))
    RunRegistry().register(run.path)
    starts: list[int] = []
    read = contents.read_events
    monkeypatch.setattr(
        contents, "read_events", lambda path, start: starts.append(start) or read(path, start)
    )
    assert RunIndex().look()[0].done == 499
    assert starts == [run.events_path.stat().st_size - contents._TAIL]


def test_a_note_comes_back_and_can_be_taken_away(tmp_path: Path):
    run = make_run(tmp_path / "run")
    assert run.note == ""
    run.note = " best so far, 20 µm \n"
    assert Run.open(run.path).note == "best so far, 20 µm"
    assert (run.path / "note.txt").read_text(encoding="utf-8") == "best so far, 20 µm\n"
    run.note = " "
    assert not (run.path / "note.txt").exists()
    assert run.note == ""


def test_how_a_run_went_is_told_afterwards(tmp_path: Path):
    run = make_run(tmp_path / "run")
    assert past_job(run.path).state is JobState.STOPPED
    for event in (Warned("few"), Step(1, 10, 0.5), Step(2, 10, 0.4), Failed("disk full")):
        run.append(event)
    job = past_job(run.path)
    assert (job.state, job.message) == (JobState.FAILED, "disk full")
    # Resumed from the checkpoint after step 1, then killed.
    run.append(Step(2, 10, 0.3))
    job = past_job(run.path)
    assert job.losses == [(1, 0.5), (2, 0.3)]
    assert job.state is JobState.FAILED
    assert "resumed" in job.message
    run.append(Finished(2, stopped=True))
    job = past_job(run.path)
    assert (job.state, job.warnings, job.done) == (JobState.STOPPED, ["few"], 2)


def test_who_joins_late_sees_one_preview():
    events = [Preview(1, "a"), Step(2, 9, 0.1), Finished(2, stopped=True), Preview(4, "b")]
    assert so_far(events) == [events[1], events[3]]


def test_a_run_of_a_baseline_says_so(tmp_path: Path):
    config = CycleGANConfig(conditions=("untreated", "treated"))
    scaling = IntensityScaling(("DNA",), (0.0,), (1.0,), (0.0,))
    run = Run.create(tmp_path / "gan", config, scaling=scaling, channel_names=["DNA"], versions={})
    make_run(tmp_path / "usual")
    found = {summary.name: summary for summary in RunIndex().look([tmp_path])}
    assert (found["gan"].method, found["gan"].base) == ("cyclegan", "random")
    assert (found["usual"].method, found["usual"].base) == ("phenldiff", "bundled")
    run.record_steps(77)
    assert Run.open(run.path).config.steps == 77
