from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.images.tiff import read_image, read_provenance
from napari_phenldiff.jobs.process import ChildProcess, follow
from napari_phenldiff.jobs.requests import SessionRequest, write_request
from napari_phenldiff.jobs.session import Session, StrengthRequest, TranslateRequest
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading, Preview, Progress

STAND_IN = Path(__file__).with_name("fake_diffusion.py")
CONFIG = TranslationConfig(source="untreated", target="treated")


class Talk:
    """A session with the stand-in for the method, in a real process."""

    def __init__(self, run: Path, folder: Path, data: Path) -> None:
        self.data = data
        self.run = run
        self.idle = 60.0
        self.started = 0
        folder.mkdir()
        self.session = Session(folder, self.start)

    def start(self, log: Path) -> ChildProcess:
        self.started += 1
        request = SessionRequest(run=self.run, folder=log.parent, idle=self.idle)
        write_request(log.parent / "request.json", request)
        command = [sys.executable, str(STAND_IN), "job", str(log.parent / "request.json")]
        with log.open("ab") as output:
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
        return ChildProcess(process, log)

    def translate(self, *names: str) -> tuple[int, Path]:
        number, folder = self.session.new_folder()
        (folder / "images").mkdir()
        for name in names:
            shutil.copy(self.data / "untreated" / f"{name}.tif", folder / "images")
        self.session.ask(TranslateRequest(number=number, config=CONFIG))
        return number, folder

    def turn(self, of: int, strength: float, image: int = 0) -> Path:
        number, folder = self.session.new_folder()
        self.session.ask(StrengthRequest(number=number, of=of, image=image, strength=strength))
        return folder

    def events(self, folder: Path) -> Iterator[Event]:
        return follow(folder / "events.jsonl", self.session.process, interval=0.02)


@pytest.fixture
def talk(trained: Path, data: Path, tmp_path: Path) -> Iterator[Talk]:
    made = Talk(trained, tmp_path / "session", data)
    yield made
    made.session.kill()
    made.session.close()


def ended(events: Iterator[Event]) -> Event:
    *_, last = events
    return last


def test_images_are_translated_and_shown_at_other_strengths(talk: Talk):
    number, folder = talk.translate("u0", "u1")
    events = list(talk.events(folder))
    assert isinstance(events[-1], Finished)
    assert [e.done for e in events if isinstance(e, Progress)] == [1, 2]
    real = read_image(talk.data / "untreated" / "u1.tif").data
    translated = folder / "translated" / "u1.tif"
    np.testing.assert_array_equal(read_image(translated).data, real.max() - real)
    assert read_provenance(translated)["kind"] == "translated"
    assert (folder / "translation.json").is_file()

    turned = talk.turn(number, 0.0, image=1)
    events = list(talk.events(turned))
    names = [e.path for e in events if isinstance(e, Preview)]
    assert names == ["rough_0001.tif", "rough_0002.tif", "exact_0003.tif"]
    np.testing.assert_array_equal(read_image(turned / names[-1]).data, real)
    assert talk.started == 1
    assert not any(isinstance(e, Loading) for e in events), "the model is in memory"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    return lambda: monkeypatch.setenv("FAKE_DIFFUSION", "slow")


def test_a_newer_turn_takes_the_place_of_those_before(talk: Talk, slow):
    slow()
    number, folder = talk.translate("u0")
    assert isinstance(ended(talk.events(folder)), Finished)
    turns = [talk.turn(number, strength) for strength in (0.2, 0.4, 0.6)]

    assert [ended(talk.events(turn)).stopped for turn in turns] == [True, True, False]
    assert list(turns[2].glob("exact_*.tif"))


def test_cancel_gives_up_what_is_done_and_keeps_the_model(talk: Talk, slow):
    slow()
    number, folder = talk.translate("u0", "u1", "u2", "u3", "u4")
    events = talk.events(folder)
    while not isinstance(next(events), Progress):
        pass
    talk.session.cancel()
    last = ended(events)
    assert isinstance(last, Finished)
    assert last.stopped
    assert last.step < 5

    assert not ended(talk.events(talk.turn(number, 0.5))).stopped
    assert talk.started == 1


@pytest.mark.parametrize("end", ["kill", "close"])
def test_a_process_that_has_gone_is_replaced_and_inverts_again(talk: Talk, end: str):
    number, folder = talk.translate("u0")
    ended(talk.events(folder))
    getattr(talk.session, end)()
    talk.session.process.wait(10)

    events = list(talk.events(talk.turn(number, 0.5)))
    assert isinstance(events[-1], Finished)
    assert [e.message for e in events if isinstance(e, Loading)] == [
        "Loading the model",
        "Inverting the image",
    ]
    assert talk.started == 2


def test_it_ends_by_itself_when_nobody_asks(talk: Talk):
    talk.idle = 0.2
    _, folder = talk.translate("u0")
    ended(talk.events(folder))

    assert talk.session.process.wait(20) == 0


def test_it_ends_when_the_viewer_has_gone(talk: Talk, slow):
    slow()
    _, folder = talk.translate("u0", "u1", "u2")
    next(talk.events(folder))
    talk.session.close()

    assert talk.session.process.wait(20) == 0


def test_the_images_of_a_viewer_that_was_killed_are_deleted(talk: Talk):
    _, folder = talk.translate("u0")
    ended(talk.events(folder))
    talk.session.process.close_stdin()  # as the system does it then: without a word

    assert talk.session.process.wait(20) == 0
    assert not talk.session.folder.exists()


def test_the_images_of_a_session_that_is_closed_stay_for_the_next_process(talk: Talk):
    _, folder = talk.translate("u0")
    ended(talk.events(folder))
    talk.session.close()

    assert talk.session.process.wait(20) == 0
    assert (folder / "images" / "u0.tif").is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGSTOP")
def test_a_process_that_does_not_end_is_ended(talk: Talk, monkeypatch):
    monkeypatch.setattr("napari_phenldiff.jobs.session._EXIT_SECONDS", 0.3)
    _, folder = talk.translate("u0")
    ended(talk.events(folder))
    os.kill(talk.session.process.pid, signal.SIGSTOP)
    talk.session.close()

    until = time.monotonic() + 20
    while talk.session.process.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert talk.session.process.poll() == -signal.SIGKILL


def test_what_goes_wrong_is_told_and_the_process_lives_on(talk: Talk, monkeypatch):
    monkeypatch.setenv("FAKE_DIFFUSION", "memory")
    _, folder = talk.translate("u0", "u1", "u2")
    last = ended(talk.events(folder))
    assert isinstance(last, Failed)
    assert "not enough memory" in last.message

    number, folder = talk.translate("u0")
    assert isinstance(ended(talk.events(folder)), Finished)
    last = ended(talk.events(talk.turn(99, 0.5)))
    assert isinstance(last, Failed)
    assert "translate it again" in last.message
    assert isinstance(ended(talk.events(talk.turn(number, 0.5))), Finished)
    assert talk.started == 1


def test_a_line_that_is_no_request_is_passed_over(talk: Talk):
    number, folder = talk.translate("u0")
    ended(talk.events(folder))
    assert talk.session.process.send('{"do": "delete everything"}')

    assert isinstance(ended(talk.events(talk.turn(number, 0.5))), Finished)
    assert "delete everything" in (talk.session.folder / "log").read_text()


def test_a_model_that_was_loaded_early_is_the_one_that_translates(talk: Talk):
    talk.session.prepare()
    talk.session.prepare()
    assert talk.session.running
    _, folder = talk.translate("u0")
    events = list(talk.events(folder))
    assert isinstance(events[-1], Finished)
    assert "Loading the model" not in [e.message for e in events if isinstance(e, Loading)]
    assert talk.started == 1
