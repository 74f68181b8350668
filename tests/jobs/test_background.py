from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_phenldiff.jobs.background import Answered, BackgroundJob
from napari_phenldiff.jobs.process import ChildProcess
from napari_phenldiff.jobs.requests import Request, ResumeRequest, read_request, write_request
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading, Step

REQUEST = ResumeRequest(run=Path("run"))

WORK = """
import sys, time
from pathlib import Path
from napari_phenldiff.runs.events import Finished, Step, append_event
events = Path(sys.argv[1]).with_name("events.jsonl")
append_event(events, Step(1, 2, 0.5))
time.sleep({seconds})
append_event(events, Finished(2))
"""


class Launched:
    """Starts a piece of Python that writes events beside the request."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.paths: list[Path] = []
        self.process: ChildProcess | None = None

    def __call__(self, request: Request, path: Path, log: Path) -> ChildProcess:
        write_request(path, request)
        self.paths.append(path)
        command = [sys.executable, "-c", WORK.format(seconds=self.seconds), str(path)]
        with log.open("ab") as output:
            self.process = ChildProcess(
                subprocess.Popen(command, stdout=output, stderr=output), log
            )
        return self.process


@pytest.mark.parametrize("preparing", ["", "reading the images"])
def test_a_request_is_carried_out_and_what_lies_aside_is_deleted(preparing: str):
    launch = Launched(0)
    job = BackgroundJob(launch)
    asked: list[Request] = []
    events: list[Event] = []

    for event in job.carry_out(lambda aside: Answered(REQUEST), preparing=preparing):
        events.append(event)
        if isinstance(event, Step):
            asked.append(read_request(launch.paths[0]))
        if isinstance(event, Finished):
            assert launch.process is not None
            assert launch.process.poll() == 0, "whoever hears of the end may begin the next"

    assert asked == [REQUEST]
    words = [event.message for event in events if isinstance(event, Loading)]
    assert words == [*filter(None, [preparing]), "starting the background process"]
    assert not launch.paths[0].parent.exists()


def test_a_stop_before_the_start_starts_nothing():
    launch = Launched(0)
    job = BackgroundJob(launch)
    job.stop()

    *_, last = job.carry_out(lambda aside: Answered(REQUEST))

    assert isinstance(last, Finished)
    assert last.stopped
    assert launch.paths == []


def test_the_first_stop_asks_and_the_second_ends_the_process():
    launch = Launched(60)
    asked: list[bool] = []
    job = BackgroundJob(launch, ask_to_stop=lambda: asked.append(True) or True)
    events: list[Event] = []
    for event in job.carry_out(lambda aside: Answered(REQUEST)):
        events.append(event)
        if isinstance(event, Step):
            job.stop()
            assert launch.process is not None
            assert launch.process.poll() is None
            job.stop()

    assert asked == [True]
    assert isinstance(events[-1], Failed)
    assert launch.process is not None
    assert launch.process.wait(10) != 0


def test_a_process_goes_on_when_nobody_watches_any_longer():
    launch = Launched(60)
    stopped: list[bool] = []
    events = BackgroundJob(launch).carry_out(
        lambda aside: Answered(REQUEST), should_stop=lambda: bool(stopped)
    )
    for event in events:
        if isinstance(event, Step):
            stopped.append(True)

    assert launch.process is not None
    assert launch.process.poll() is None
    assert launch.paths[0].exists()
    launch.process.kill()
    launch.process.wait(10)
