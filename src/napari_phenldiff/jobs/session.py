"""Requests to a process that keeps a model in memory and translates.

Loading a model takes longer than translating an image, and with a stored inversion another strength
only takes about a second. So the viewer keeps one such process running (``phenldiff job`` with a
`SessionRequest`): a request is a line of JSON on its standard input, and an answer is a folder with
events and images. When the pipe is closed, because the viewer was closed or killed, the process
ends and releases its memory.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, Thread
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.jobs.process import ChildProcess
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.hardware import Hardware

EVENTS_NAME, REQUEST_NAME, IMAGES_NAME = "events.jsonl", "request.json", "images"
HARDWARE_NAME = "hardware.json"

_EXIT_SECONDS = 30.0
"""Time that a process has to end by itself."""

_LOOK_SECONDS = 0.2
"""Time between two looks for an answer."""

_KILL_SECONDS = 5.0
"""Time that the system has to end a killed process."""

_Number = Annotated[int, Field(ge=0)]


class LoadRequest(BaseModel):
    """Load the model already, since it is likely to be needed, and tell how fast it will be.

    The answer is the file `HARDWARE_NAME` in the folder of the session; none if loading failed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["load"] = "load"


class TranslateRequest(BaseModel):
    """Translate the images in the request's folder, and keep their inversions.

    Parameters
    ----------
    number : int
        Number of the request, which determines its folder, see `request_folder`.
    config : TranslationConfig
        Source, target and settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["translate"] = "translate"
    number: _Number
    config: TranslationConfig


class StrengthRequest(BaseModel):
    """Render a translated image at another strength; a newer request replaces an older one.

    Parameters
    ----------
    number : int
        Number of the request, which determines its folder.
    of : int
        Number of the request that translated the image.
    image : int
        Index of the image in that request.
    strength : float
        0 for the source, 1 for the target; may lie between or beyond.
    near : (float, float), optional
        Position (y, x) in pixels that is in view.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["strength"] = "strength"
    number: _Number
    of: _Number
    image: _Number
    strength: Annotated[float, Field(allow_inf_nan=False)]
    near: tuple[float, float] | None = None


class CancelRequest(BaseModel):
    """Cancel the current request and all waiting ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["cancel"] = "cancel"


class CloseRequest(BaseModel):
    """End the session; the client deletes its folder.

    If the pipe is closed without this request, the client was killed, and the session deletes the
    folder, because it holds the user's images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    do: Literal["close"] = "close"


Request = LoadRequest | TranslateRequest | StrengthRequest | CancelRequest | CloseRequest

_REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="do")])


def read_request(line: str | bytes) -> Request:
    """Return the request that a line of JSON describes.

    Raises
    ------
    pydantic.ValidationError
        If it does not describe a request.
    """
    return _REQUESTS.validate_json(line)


def request_folder(folder: Path, number: int) -> Path:
    """Return the folder of a request within that of its session."""
    return folder / f"{number:06d}"


class Session:
    """The viewer's side of a session: starts the process when needed, and again after its end.

    Parameters
    ----------
    folder : Path
        Folder of the requests and their answers. Images that were sent stay there until
        `delete_request`, so that a process that ended or crashed can be replaced.
    start : callable
        Takes the path of a log file and starts the process.
    """

    def __init__(self, folder: Path, start: Callable[[Path], ChildProcess]) -> None:
        self.folder = folder
        self._start = start
        self._process: ChildProcess | None = None
        self._number = 0
        # Requests are sent by worker threads, and cancelled by the main thread.
        self._lock = Lock()

    @property
    def process(self) -> ChildProcess | None:
        """The process, or None before the first request."""
        return self._process

    @property
    def running(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def new_folder(self) -> tuple[int, Path]:
        """Create the folder of the next request; returns its number and its path."""
        with self._lock:
            self._number += 1
            number = self._number
        folder = request_folder(self.folder, number)
        folder.mkdir(parents=True)
        return number, folder

    def ask(self, request: TranslateRequest | StrengthRequest) -> ChildProcess:
        """Send a request; starts a process if none is running.

        Raises
        ------
        OSError
            If no process can be started.
        """
        folder = request_folder(self.folder, request.number)
        text = request.model_dump_json()
        # A process that is started later reads the settings of earlier requests from here.
        with write_atomic(folder / REQUEST_NAME) as aside:
            aside.write_text(text, encoding="utf-8")
        with self._lock:
            return self._send(text)

    def prepare(self) -> None:
        """Start the process and let it load the model, unless it is running already.

        Raises
        ------
        OSError
            If no process can be started.
        """
        with self._lock:
            if not self.running:
                self._send(LoadRequest().model_dump_json())

    def hardware(self, patience: float) -> Hardware | None:
        """Wait for what `prepare` makes the process find out; None if it does not answer."""
        end = time.monotonic() + patience
        while time.monotonic() < end:
            with suppress(OSError, ValueError):
                return Hardware.from_json((self.folder / HARDWARE_NAME).read_text("utf-8"))
            if not self.running:
                break
            time.sleep(_LOOK_SECONDS)
        return None

    def _send(self, text: str) -> ChildProcess:
        if self._process is None or not self._process.send(text):
            self.close()
            self._process = self._start(self.folder / "log")
            self._process.send(text)
        return self._process

    def cancel(self) -> None:
        """Cancel the current request; the model stays in memory."""
        with self._lock:
            if self._process is not None:
                self._process.send(CancelRequest().model_dump_json())

    def delete_request(self, number: int) -> None:
        """Delete the folder of a request that is not needed any more."""
        shutil.rmtree(request_folder(self.folder, number), ignore_errors=True)

    def kill(self) -> None:
        """End the process at once."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            # Until it has ended, it would seem to accept the next request.
            with suppress(TimeoutError):
                self._process.wait(_KILL_SECONDS)

    def close(self) -> None:
        """Ask the process to end, which it does before the next pass of the network.

        A thread waits for it, so that no zombie process is left, and kills it if it hangs.
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
