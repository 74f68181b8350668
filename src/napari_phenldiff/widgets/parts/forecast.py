"""What starting a fine-tuning would mean: device, time and memory, in a few lines."""

from __future__ import annotations

import re
from dataclasses import replace

import psutil  # type: ignore[import-untyped]
from pydantic import ValidationError
from qtpy.QtCore import QObject, Signal

from napari_phenldiff.evaluation.prospect import why_cannot_tell
from napari_phenldiff.images.checks import warning_about_number
from napari_phenldiff.jobs import estimate
from napari_phenldiff.jobs.registry import RunRegistry
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.hardware import Hardware
from napari_phenldiff.viewer.conditions import warnings_about_copies
from napari_phenldiff.viewer.training_request import TrainingRequest
from napari_phenldiff.widgets.parts.background import Lookup

_DEVICE = re.compile(r"auto|cpu|mps|cuda(:\d+)?")

_Question = tuple[str, str, str]
_Answer = tuple[_Question, Hardware | str, float | None]


class Forecast(QObject):
    """Finds out what there is to compute with, and says what a fine-tuning would take.

    Parameters
    ----------
    parent : QObject
        The dock.
    registry : RunRegistry
        Former runs, which say best how long a step takes.
    """

    changed = Signal()

    def __init__(self, parent: QObject, registry: RunRegistry) -> None:
        super().__init__(parent)
        self._registry = registry
        self._asked: _Question | None = None
        self._answered: _Answer | None = None
        self._lookup = Lookup(self)
        self._lookup.found.connect(self._on_answer)

    def text(self, request: TrainingRequest, *, resuming: bool = False) -> str:
        """Return what to say about a request, now; `changed` tells when there is more to say."""
        if _DEVICE.fullmatch(request.setting("device")) is None:
            return f"Unknown device {request.setting('device')!r}; choose auto, cpu, cuda or mps."
        self._ask(
            (request.setting("device"), request.setting("precision"), request.setting("base"))
        )
        hardware = estimate.KNOWN.get((request.setting("device"), request.setting("precision")))
        lines = [estimate.in_words(hardware)]
        config = _config(request)
        enough = len(request.conditions) > 1  # without images there is nothing to estimate
        if isinstance(hardware, Hardware) and config is not None and enough and not resuming:
            if hardware.device == "cpu":
                hardware = replace(hardware, free=int(psutil.virtual_memory().available))
            past = self._answered[2] if self._answered is not None else None
            told = estimate.estimate(_work(request, config), hardware, past)
            lines += [told.text, *([f"⚠ {told.warning}"] if told.warning else [])]
        if not resuming:
            lines += [f"⚠ {text}" for text in warnings_about_copies(request.conditions)]
            lines += [f"⚠ {text}" for text in (*_about_numbers(request), *_about_judging(request))]
        return "\n".join(lines)

    def ask_again(self) -> None:
        """Read the former runs again, since there is a new one."""
        self._asked = None

    def _ask(self, question: _Question) -> None:
        if question == self._asked or self._lookup.busy:
            return
        self._asked = question
        device, precision, base = question
        registry = self._registry

        def answer() -> _Answer:
            hardware = estimate.hardware_of(device, precision)
            past = None
            if isinstance(hardware, Hardware) and base:
                config = TrainingConfig(conditions=("a", "b"), base=base)
                past = estimate.past_pace(registry.registered()[:20], config, hardware)
            return question, hardware, past

        self._lookup.ask(answer)

    def _on_answer(self, answer: _Answer) -> None:
        self._answered = answer
        self.changed.emit()


def _config(request: TrainingRequest) -> TrainingConfig | None:
    try:
        return TrainingConfig(**{**request.settings, "conditions": ("a", "b")})
    except ValidationError:
        return None


def _work(request: TrainingRequest, config: TrainingConfig) -> estimate.Work:
    sizes = [size for choice in request.conditions for size in choice.sizes]
    channels = max((len(choice.channel_names) for choice in request.conditions), default=1)
    return estimate.Work(
        config,
        tuple(choice.n_images for choice in request.conditions),
        max(sizes, key=lambda size: size[0] * size[1], default=None),
        max(1, channels),
    )


def _about_numbers(request: TrainingRequest) -> list[str]:
    if request.folder is not None:
        return []  # a file may be a stack of many
    wanted = request.setting("images_per_condition")
    told = (
        warning_about_number(c.name, c.n_images if wanted is None else min(c.n_images, wanted))
        for c in request.conditions
    )
    return [text for text in told if text is not None]


def _about_judging(request: TrainingRequest) -> list[str]:
    """Say if no verdict will be possible, even if no image were trained on."""
    pair = request.conditions[:2]
    if len(pair) < 2 or request.folder is not None:
        return []
    images = {choice.name: choice.images() for choice in pair}
    if len(images) < 2 or not all(images.values()):
        return []
    why = why_cannot_tell(images, parts=images)
    return [f"With these images: {why}"] if why else []
