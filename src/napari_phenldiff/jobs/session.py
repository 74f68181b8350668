"""A process that keeps a run's model in memory and translates whenever it is asked to.

Loading a model takes longer than translating an image, and an inversion that is kept makes another
strength a matter of a second. So the viewer talks with one ``phenldiff session``: a request is a
line of JSON on its standard input, an answer is a folder with events and images. Nothing else
goes over the pipe, and when the pipe is closed (the viewer has gone, however it went), the process
ends by itself and gives its memory back.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.jobs.process import ChildProcess
from napari_phenldiff.runs.config import TranslationConfig

EVENTS_NAME, REQUEST_NAME, IMAGES_NAME = "events.jsonl", "request.json", "images"

_EXIT_SECONDS = 30.0
"""Seconds that a process has for ending by itself."""

_KILL_SECONDS = 5.0
"""Seconds that the system has for ending a process."""

_Number = Annotated[int, Field(ge=0)]


class TranslateRequest(BaseModel):
    """Translate the images in the request's folder, and keep their inversions.

    Parameters
    ----------
    number : int
        Names the folder of the request: `request_folder`.
    config : TranslationConfig
        From what to what, and how.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["translate"] = "translate"
    number: _Number
    config: TranslationConfig


class StrengthRequest(BaseModel):
    """Show an image that was translated at another strength; a newer one takes its place.

    Parameters
    ----------
    number : int
        Names the folder of the request.
    of : int
        Number of the request that translated the image.
    image : int
        Its place among the images of that request.
    strength : float
        0 for the source, 1 for the target, or between and beyond.
    near : (float, float), optional
        Place (y, x) in pixels that is looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["strength"] = "strength"
    number: _Number
    of: _Number
    image: _Number
    strength: Annotated[float, Field(allow_inf_nan=False)]
    near: tuple[float, float] | None = None


class CancelRequest(BaseModel):
    """Give up what is being done and what is waiting."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["cancel"] = "cancel"


class CloseRequest(BaseModel):
    """Nothing more will come, and whoever asked takes care of the folder.

    When the pipe is closed without it, whoever asked has been killed, and the folder is deleted:
    there are somebody's images in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["close"] = "close"


Request = TranslateRequest | StrengthRequest | CancelRequest | CloseRequest

_REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="do")])


def read_request(line: str | bytes) -> Request:
    """Return the request that a line of JSON describes.

    Raises
    ------
    pydantic.ValidationError
        If it describes none.
    """
    return _REQUESTS.validate_json(line)


def request_folder(folder: Path, number: int) -> Path:
    """Return the folder of a request within that of its session."""
    return folder / f"{number:06d}"


class Session:
    """The process as the viewer sees it: started when it is needed, and again after its end.

    Parameters
    ----------
    folder : Path
        Folder of the requests and their answers. Images that were sent stay there until
        `delete_request`, so that a process that ended or crashed can be replaced.
    start : callable
        Starts the process, given the file that it prints into.
    """

    def __init__(self, folder: Path, start: Callable[[Path], ChildProcess]) -> None:
        self.folder = folder
        self._start = start
        self._process: ChildProcess | None = None
        self._number = 0
        # A request is written by a worker, a cancel by whoever presses Stop.
        self._lock = Lock()

    @property
    def process(self) -> ChildProcess | None:
        """The process, once there was something to ask."""
        return self._process

    @property
    def running(self) -> bool:
        """Whether the process is there, with the model in its memory."""
        return self._process is not None and self._process.poll() is None

    def new_folder(self) -> tuple[int, Path]:
        """Make the folder of the next request; returns its number too."""
        with self._lock:
            self._number += 1
            number = self._number
        folder = request_folder(self.folder, number)
        folder.mkdir(parents=True)
        return number, folder

    def ask(self, request: TranslateRequest | StrengthRequest) -> ChildProcess:
        """Send a request, to a new process if there is none.

        Raises
        ------
        OSError
            If no process can be started.
        """
        folder = request_folder(self.folder, request.number)
        text = request.model_dump_json()
        # A process started later reads here how the images of an earlier request were inverted.
        with write_atomic(folder / REQUEST_NAME) as aside:
            aside.write_text(text, encoding="utf-8")
        with self._lock:
            if self._process is None or not self._process.send(text):
                self.close()
                self._process = self._start(self.folder / "log")
                self._process.send(text)
            return self._process

    def cancel(self) -> None:
        """Ask for an end of what is being done; the model stays in memory."""
        with self._lock:
            if self._process is not None:
                self._process.send(CancelRequest().model_dump_json())

    def delete_request(self, number: int) -> None:
        """Delete what lies in the folder of a request that nobody will come back to."""
        shutil.rmtree(request_folder(self.folder, number), ignore_errors=True)

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            # Until it is really gone, it would seem to listen to the next request.
            with suppress(TimeoutError):
                self._process.wait(_KILL_SECONDS)

    def close(self) -> None:
        """Let the process end by itself, which it does at the next pass of the network.

        Somebody waits for it meanwhile: a process that nobody has waited for stays in the system's
        list, and one that hangs would keep its memory.
        """
        if self._process is not None:
            self._process.send(CloseRequest().model_dump_json())
            self._process.close_stdin()
            Thread(target=_wait_or_kill, args=(self._process,), daemon=True).start()


def _wait_or_kill(process: ChildProcess) -> None:
    try:
        process.wait(_EXIT_SECONDS)
    except TimeoutError:
        process.kill()
        process.wait()
