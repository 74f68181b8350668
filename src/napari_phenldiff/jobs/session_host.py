"""The process that keeps a run's model in memory and translates whenever it is asked to.

`napari_phenldiff.jobs.session` is its other end, in the viewer.
"""

from __future__ import annotations

import itertools
import shutil
import sys
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.requests import SessionRequest
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading, Preview, append_event
from napari_phenldiff.runs.failures import explain, is_expected
from napari_phenldiff.runs.folder import Run

if TYPE_CHECKING:
    from napari_phenldiff.baselines.loading import ImageTranslator
    from napari_phenldiff.diffusion.dial import Dial
    from napari_phenldiff.jobs.session import Request, StrengthRequest, TranslateRequest

_IMAGES_BYTES = 256 * 2**20
"""Images that are kept from the check to the translation; others are read twice."""

_DIALS_BYTES = 256 * 2**20
"""Inversions that are kept; older ones are made again when they are needed."""


def serve(request: SessionRequest) -> None:
    """Load the model of a run when it is first needed, and translate until nobody asks any more.

    Requests come over standard input, as `napari_phenldiff.jobs.session` describes them. This ends
    when standard input is closed, or after some time without a request.

    Raises
    ------
    InputError
        If the run cannot be opened.
    """
    run = Run.open(request.run, base_at=request.base_at)
    # Unbuffered: the lock of a buffer that a thread reads from is in the way when Python ends.
    lines = open(sys.stdin.fileno(), "rb", buffering=0, closefd=False)  # noqa: SIM115
    inbox = Inbox(lines)
    host = _Host(run, request.folder, request.device, request.precision, inbox)
    while True:
        asked = inbox.next(request.idle)
        if asked is None:
            break
        host.answer(asked)
    if inbox.abandoned:
        # Whoever asked was killed, so nobody else will delete the images that were sent.
        shutil.rmtree(request.folder, ignore_errors=True)


class Inbox:
    """Requests as they arrive, while an earlier one is being worked on.

    Parameters
    ----------
    stream : iterable of bytes
        Lines, a request each.
    """

    def __init__(self, stream: Iterable[bytes]) -> None:
        self._stream = stream
        self._waiting: SimpleQueue[tuple[int, Request] | None] = SimpleQueue()
        self._arrived = 0
        self._void = 0  # requests up to this one are given up
        self._void_turns = 0  # and turns of a dial up to this one
        self._current: tuple[int, Request] | None = None
        self.abandoned = False  # whether the stream has ended without a request to close
        threading.Thread(target=self._read, name="phenldiff-inbox", daemon=True).start()

    def next(self, patience: float) -> Request | None:
        """Wait for a request; None when there will be none, or none came for so many seconds."""
        try:
            self._current = self._waiting.get(timeout=patience)
        except Empty:
            self._current = None
        return None if self._current is None else self._current[1]

    def given_up(self) -> bool:
        """Whether nobody waits any longer for the request that `next` returned last."""
        if self._current is None:
            return True
        number, request = self._current
        return number <= self._void or (request.do == "strength" and number <= self._void_turns)

    def _read(self) -> None:
        from napari_phenldiff.jobs.session import (
            CancelRequest,
            CloseRequest,
            StrengthRequest,
            read_request,
        )

        dismissed = False
        for line in self._stream:
            try:
                request = read_request(line)
            except ValueError:
                traceback.print_exc()
                continue
            if isinstance(request, CloseRequest):
                dismissed = True
                continue
            if isinstance(request, CancelRequest):
                self._void = self._arrived
                continue
            if isinstance(request, StrengthRequest):
                self._void_turns = self._arrived
            self._arrived += 1
            self._waiting.put((self._arrived, request))
        self.abandoned = not dismissed
        self._void = self._arrived
        self._waiting.put(None)


class _Host:
    """The model, and the inversions that are kept."""

    def __init__(self, run: Run, folder: Path, device: str, precision: str, inbox: Inbox) -> None:
        self._run, self._folder = run, folder
        self._device, self._precision = device, precision
        self._inbox = inbox
        self._translator: ImageTranslator | None = None
        self._dials: OrderedDict[tuple[int, int], Dial] = OrderedDict()

    def answer(self, request: Request) -> None:
        """Do what is asked, and tell in the request's folder how it went."""
        from napari_phenldiff.jobs.session import EVENTS_NAME, StrengthRequest, request_folder

        if request.do == "load":
            self._load_early()
            return
        assert request.do in ("translate", "strength")
        folder = request_folder(self._folder, request.number)

        def tell(event: Event) -> None:
            append_event(folder / EVENTS_NAME, event)

        done = 0
        try:
            if not self._inbox.given_up():
                work = self._turn if isinstance(request, StrengthRequest) else self._translate
                done = work(request, folder, tell)  # type: ignore[arg-type]
        except Exception as error:
            if type(error).__name__ != "Cancelled":
                if not is_expected(error):
                    traceback.print_exc()
                # Nobody is asked to read this folder if it has gone, or if the disk is full.
                with suppress(OSError):
                    tell(Failed(explain(error)))
                return
        with suppress(OSError):
            tell(Finished(done, stopped=self._inbox.given_up()))

    def _load_early(self) -> None:
        """Load the model before there is anything to do, and tell how fast this machine is.

        What fails is told whoever needs the model then.
        """
        from napari_phenldiff.images.files import write_atomic
        from napari_phenldiff.jobs.session import HARDWARE_NAME

        with suppress(Exception):
            self._load(lambda event: None)
            from napari_phenldiff.diffusion.hardware import detect_hardware

            text = detect_hardware(self._device, self._precision).to_json()
            with write_atomic(self._folder / HARDWARE_NAME) as aside:
                aside.write_text(text, encoding="utf-8")

    def _load(self, tell: Callable[[Event], None]) -> ImageTranslator:
        if self._translator is None:
            tell(Loading("Loading the model"))
            from napari_phenldiff.baselines.loading import load_translator

            self._translator = load_translator(
                self._run, device=self._device, precision=self._precision
            )
            self._translator.should_stop = self._inbox.given_up
        return self._translator

    def _translate(
        self, request: TranslateRequest, folder: Path, tell: Callable[[Event], None]
    ) -> int:
        from napari_phenldiff.jobs.cell_count import CellCount
        from napari_phenldiff.jobs.translation_files import check_files, run_warnings
        from napari_phenldiff.jobs.translation_job import TranslationJob
        from napari_phenldiff.runs.events import Warned
        from napari_phenldiff.runs.translation_settings import settings_of_run

        tell(Loading("Checking the images"))
        config = settings_of_run(self._run, request.config)
        cells = CellCount(self._run.channel_names, self._run.reference_channels)
        files, warnings = check_files(
            self._run, _sent(folder), config.source, cells, keep_bytes=_IMAGES_BYTES
        )
        warnings += run_warnings(self._run)
        for text in warnings:
            tell(Warned(text))
        translator = self._load(tell)
        job = TranslationJob(self._run, config, files, folder, None, cells)
        job.warnings += warnings
        numbers = itertools.count()

        def keep(dial: Dial) -> None:
            self._keep(request.number, next(numbers), dial)

        job.carry_out(translator, self._inbox.given_up, tell, keep=keep)
        if job.failures:
            raise InputError(job.failures[0].reason)
        job.write_summary()
        return len(job.done)

    def _turn(self, request: StrengthRequest, folder: Path, tell: Callable[[Event], None]) -> int:
        from napari_phenldiff.images.tiff import write_tiff

        dial = self._dials.get((request.of, request.image))
        if dial is None:
            dial = self._invert(request, tell)
        else:
            self._dials.move_to_end((request.of, request.image))
        seen = 0
        for seen, shown in enumerate(dial.render(request.strength, request.near), 1):
            name = f"{'exact' if shown.exact else 'rough'}_{seen:04d}.tif"
            write_tiff(folder / name, shown.image)
            tell(Preview(seen, name))
        return seen

    def _invert(self, request: StrengthRequest, tell: Callable[[Event], None]) -> Dial:
        """Invert an image again whose inversion is not kept any longer."""
        from napari_phenldiff.images.tiff import read_image
        from napari_phenldiff.jobs.session import (
            REQUEST_NAME,
            TranslateRequest,
            read_request,
            request_folder,
        )

        folder = request_folder(self._folder, request.of)
        try:
            asked = read_request((folder / REQUEST_NAME).read_bytes())
            file = _sent(folder)[request.image]
        except (OSError, ValueError, IndexError):
            raise InputError("The image of this dial is gone; translate it again.") from None
        assert isinstance(asked, TranslateRequest)
        translator = self._load(tell)
        tell(Loading("Inverting the image"))
        dial = translator.dial(read_image(file), asked.config)
        self._keep(request.of, request.image, dial)
        return dial

    def _keep(self, of: int, image: int, dial: Dial) -> None:
        self._dials[of, image] = dial
        while len(self._dials) > 1 and sum(d.nbytes for d in self._dials.values()) > _DIALS_BYTES:
            self._dials.popitem(last=False)


def _sent(folder: Path) -> list[Path]:
    """Return the images of a request in their order, whatever their layers were called."""
    from napari_phenldiff.jobs.session import IMAGES_NAME

    return sorted((folder / IMAGES_NAME).glob("*.tif"))
