from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from napari_phenldiff.jobs.process import ChildProcess, follow, tail
from napari_phenldiff.runs.events import Failed, Finished, Loading, Step, append_event
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.lock import hold

WORK = """
import sys, time
from pathlib import Path
from napari_phenldiff.runs.events import Finished, Step, append_event
print("working")
for n in range(1, 6):
    append_event(Path(sys.argv[1]), Step(n, 5, 0.5))
    time.sleep(0.02)
end = sys.argv[2]
if end == "finish":
    append_event(Path(sys.argv[1]), Finished(5))
    time.sleep(60)
print("CUDA error: an illegal memory access", file=sys.stderr)
if end == "hang":
    print("waiting", flush=True)
    time.sleep(60)
sys.exit(3)
"""


@pytest.fixture
def work(tmp_path: Path):
    """Start a process that writes events and ends as told."""
    children = []

    def start(end: str) -> ChildProcess:
        log = tmp_path / "train.log"
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", WORK, tmp_path / "events.jsonl", end],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        children.append(ChildProcess(process, log))
        return children[-1]

    yield start
    for child in children:
        child.kill()
        child.wait()


def test_a_process_is_followed_to_its_end(tmp_path: Path, work):
    events = list(follow(tmp_path / "events.jsonl", work("finish"), interval=0.01))
    assert [e.step for e in events] == [1, 2, 3, 4, 5, 5]
    assert isinstance(events[-1], Finished)


def test_a_process_that_goes_away_without_a_word_has_failed(tmp_path: Path, work):
    events = list(follow(tmp_path / "events.jsonl", work("crash"), interval=0.01))
    assert [e.step for e in events[:-1]] == [1, 2, 3, 4, 5]
    assert isinstance(events[-1], Failed)
    assert "exit code 3" in events[-1].message
    assert "illegal memory access" in events[-1].message


def test_a_process_that_is_killed_has_failed(tmp_path: Path, work):
    child = work("hang")
    seen = []
    for event in follow(tmp_path / "events.jsonl", child, interval=0.01):
        seen.append(event)
        if len(seen) == 5:
            child.kill()
    assert isinstance(seen[-1], Failed)
    assert "can be resumed" in seen[-1].message


def test_watching_ends_when_asked_and_the_process_goes_on(tmp_path: Path, work):
    child = work("hang")
    stop = threading.Event()
    for event in follow(tmp_path / "events.jsonl", child, interval=0.01, should_stop=stop.is_set):
        assert isinstance(event, Step)
        stop.set()
    assert child.poll() is None


def test_how_an_earlier_process_ended_is_not_how_this_one_ends(tmp_path: Path, run, python):
    run.append(Finished(3, stopped=True))
    start = run.events()[1]
    with run.lock():
        threading.Timer(
            0.05, lambda: (run.append(Step(4, 5, 0.1)), run.append(Finished(5)))
        ).start()
        events = list(follow(run.events_path, None, interval=0.01, start=start))
    assert [type(e) for e in events] == [Step, Finished]


def test_the_whole_history_can_be_followed(run):
    for event in (Step(1, 2, 0.5), Finished(1, stopped=True), Loading("again"), Finished(2)):
        run.append(event)
    with run.lock():
        assert list(follow(run.events_path, None, interval=0.01)) == run.events()[0]


def test_a_run_of_somebody_else_is_followed_until_its_holder_is_gone(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    (tmp_path / "train.log").write_text("Segmentation fault\n")
    append_event(path, Step(1, 2, 0.5))
    with hold(tmp_path / "run.lock", what="run x"):
        watching = follow(path, None, interval=0.01)
        assert isinstance(next(watching), Step)
    last = list(watching)
    assert isinstance(last[-1], Failed)
    assert "Segmentation fault" in last[-1].message


def test_a_command_runs_apart_from_this_process(tmp_path: Path):
    log = tmp_path / "train.log"
    child = ChildProcess.start(["train", "--resume", tmp_path / "nothing"], log=log)
    try:
        # Neither Ctrl-C in our terminal nor our end reaches it.
        assert os.getsid(child.pid) == child.pid
        assert child.wait(60) == 2
    finally:
        child.kill()
    assert child.poll() == 2
    # What the command refused is told as it is, without the circumstances.
    (failed,) = follow(tmp_path / "events.jsonl", child)
    assert isinstance(failed, Failed)
    assert failed.message.startswith(f"{tmp_path / 'nothing'} is not a run folder")


def test_waiting_may_end_before_the_process(tmp_path: Path, work):
    with pytest.raises(TimeoutError, match="still runs"):
        work("hang").wait(0.01)


def test_a_process_can_be_asked_to_end(tmp_path: Path, work):
    child = work("hang")
    deadline = time.monotonic() + 20
    while "waiting" not in child.tail() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.terminate()
    assert child.wait(20) == -signal.SIGTERM


def test_the_tail_of_a_log(tmp_path: Path):
    log = tmp_path / "log"
    assert tail(log) == ""
    log.write_bytes(b"\xff\n" + b"".join(b"line %d\n\n" % n for n in range(50_000)))
    assert tail(log, 2) == "line 49998\nline 49999"


def test_the_log_of_a_run_is_where_followers_look_for_it(run: Run):
    assert run.log_path == run.path / "train.log"


def test_a_process_ended_by_the_system_is_told_as_a_lack_of_memory(tmp_path):
    log = tmp_path / "log"
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    process = ChildProcess(subprocess.Popen([sys.executable, "-c", code]), log)

    (last,) = follow(tmp_path / "events.jsonl", process, interval=0.01)

    assert isinstance(last, Failed)
    if sys.platform != "win32":
        assert "memory of the computer ran out" in last.message
    assert "can be resumed" in last.message
