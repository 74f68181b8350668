"""STAND-IN for `napari_phenldiff.diffusion` in tests of the command line: no torch, no method.

"Training" counts to the number of steps and keeps the count; "translating" turns each image into
its negative. The environment variable FAKE_DIFFUSION makes it fail on purpose, hang, or take its
time (``slow``, or ``wait u2 u3`` for the images named). Run as a script, this is ``phenldiff`` with
the stand-in in place, for tests that need a real process.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.events import Event, Finished, Loading, Saved, Step
from napari_phenldiff.runs.folder import Run


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


def _fail(kind: str) -> None:
    match kind:
        case "memory":
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        case "defect":
            raise ZeroDivisionError("division by zero")
        case "disk":
            raise OSError(errno.ENOSPC, "No space left on device", "weights.safetensors")
        case "hang":
            time.sleep(60)
        case "refuse":
            raise InputError("The base model takes 1 channel at most; leave some out.")


def finetune(
    experiment, config, run: Run, *, should_stop, resume=False, validation=None
) -> Iterator[Event]:
    how = os.environ.get("FAKE_DIFFUSION", "")
    yield Loading("pretending")
    if how == "refuse":
        _fail(how)
    step = 0
    if resume:
        _, folder = run.latest_checkpoint()
        step = json.loads((folder / "state.json").read_text())["step"]
    stopped = False
    while step < config.steps and not stopped:
        step += 1
        if step == 4:
            _fail(how)
        if how == "slow":
            time.sleep(0.02)
        stopped = should_stop()
        yield Step(step, config.steps, 1.0 / step, 0.1)
        if step % config.checkpoint_every == 0 or stopped:
            state = json.dumps({"step": step}).encode()
            path = run.save_checkpoint(step, {"state.json": state})
            yield Saved(step, path.relative_to(run.path).as_posix())
    run.save_adapter({"adapter.json": json.dumps({"step": step}).encode()})
    yield Saved(step, "adapter")
    yield Finished(step, stopped=stopped)


@dataclass(frozen=True)
class Translation:
    name: str
    translated: Image
    reconstructed: Image
    residual: float
    seconds: float
    dial: Dial | None = None
    code_correlation: float = 0.5
    code_spread: float = 1.0


@dataclass(frozen=True)
class Rendering:
    image: Image
    exact: bool


class Cancelled(Exception):
    pass


class Dial:
    """Fades to the negative: twice roughly, then exactly."""

    def __init__(self, translator: Translator, image: Image) -> None:
        self._translator, self.image = translator, image
        self.nbytes = image.data.nbytes

    def render(self, strength: float, near=None) -> Iterator[Rendering]:
        data = self.image.data.astype(float)
        moved = data + strength * (data.max() - 2 * data)
        for exact in (False, False, True):
            if os.environ.get("FAKE_DIFFUSION") == "slow":
                time.sleep(0.2)
            if self._translator.should_stop():
                raise Cancelled
            image = replace(self.image, data=moved.astype(self.image.data.dtype), path=None)
            yield Rendering(image, exact)


def _wait(should_stop: Callable[[], bool]) -> None:
    """Wait until it shall stop, or, where that is not told, until FAKE_DIFFUSION_GATE exists."""
    gate, waiting = os.environ.get("FAKE_DIFFUSION_GATE"), time.monotonic()
    while not should_stop() and time.monotonic() - waiting < 60:
        if gate is not None and Path(gate).exists():
            return
        time.sleep(0.02)


class Translator:
    should_stop = staticmethod(lambda: False)
    on_part = staticmethod(lambda images, step, steps: None)
    seen = 0  # images, by all calls

    @classmethod
    def from_run(cls, run: Run, *, device: str = "auto", precision: str = "auto") -> Translator:
        return cls()

    def dial(self, image: Image, config: TranslationConfig) -> Dial:
        return Dial(self, image)

    def translate(
        self, images: Iterable[Image], config: TranslationConfig, *, keep: bool = False
    ) -> Iterator[Translation]:
        how = os.environ.get("FAKE_DIFFUSION", "")
        if how == "refuse":
            _fail(how)
        for image in images:
            self.seen += 1
            if self.seen == 3:
                _fail(how)
            if how == "slow":
                time.sleep(0.2)
            if how.startswith("wait") and image.name in how.split():
                _wait(self.should_stop)
            if how.startswith("die") and image.name == how.removeprefix("die "):
                os._exit(9)
            if self.should_stop():
                raise Cancelled
            inverse = image.data.max() - image.data
            yield Translation(
                image.name,
                replace(image, data=inverse.astype(image.data.dtype), path=None),
                replace(image, path=None),
                0.01,
                0.5,
                Dial(self, image) if keep else None,
            )


def device_of_worker(wanted: str, worker: int) -> str:
    return wanted


def modules() -> dict[str, ModuleType]:
    """Return what is to be put into sys.modules."""
    made = {}
    stand_ins = (
        ("finetune", finetune),
        ("translate", Translator),
        ("gpus", device_of_worker),  # looking for some takes as long as loading torch
    )
    for name, content in stand_ins:
        module = ModuleType(f"napari_phenldiff.diffusion.{name}")
        setattr(module, content.__name__, content)
        made[module.__name__] = module
    return made


if __name__ in ("__main__", "__mp_main__"):  # the second in processes that the first has started
    sys.modules.update(modules())

if __name__ == "__main__":
    from napari_phenldiff.cli import main

    sys.exit(main())
