"""How long a fine-tuning will take, how much memory, and on what: said before it starts.

torch is not imported here: a child process, ``phenldiff device``, tells what there is.
"""

from __future__ import annotations

import logging
import socket
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import ceil, prod
from pathlib import Path

from napari_phenldiff.jobs.base_size import BaseSize, base_size
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Event, Started, Step, read_events
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.hardware import Hardware

_log = logging.getLogger(__name__)

STEP = 16.0
"""A training step of the bundled base, batch 16 and 128 px, in times of `Hardware.seconds`."""

_PASS, _PASS_SAMPLE = 0.55, 0.3
"""A pass of the bundled base without gradients, and what each tile of 128 px adds to it, in times
of `Hardware.seconds` (45 ms for one tile and 157 ms for eight, where that was 54 ms)."""

_EVALUATIONS = 1.75
"""Of the network, per step of an inversion."""

_SLOWEST_GPU = 0.05
"""Seconds below which no step was seen on a GPU: the processor can't ask for more."""

KNOWN: dict[tuple[str, str], Hardware | str] = {}
"""What `ask_hardware` has said, by device and precision: it does not change while napari runs."""

UNKNOWN = (
    "Could not find out what devices there are; the CPU is used if no other is found at the start."
)
"""What is said where the child process gave no answer."""

_ASKING = threading.Lock()

_PATIENCE = 120.0
"""Seconds that ``phenldiff device`` may take; importing torch from a cold disk takes its time."""

_START = 12.0
"""Seconds until the first step: importing, loading the base."""

_PER_TILE = 0.015
"""Seconds for reading a tile and encoding its eight views, of 128 px on one core."""

_MEASURED, _GUESSED = (0.85, 1.25), (0.6, 1.7)
"""How wide the range is that is told: where a former run took its time, and where none did."""

_OVERHEAD = 470e6
"""Bytes of the process itself."""

_MOST_KEPT = 2 * 2**27
"""Bytes of latents, and of pixels, that stay in memory at most; what is more lies in files."""

_PER_WEIGHT = {"lora": 5.0, "svdiff": 16.0, "attention": 21.0, "full": 51.0}
"""Bytes per weight of the base by strategy: what learns has gradients, moments and an average."""

_PER_SAMPLE = 33e6
"""Bytes per tile of a batch with the bundled base at 128 px."""

_SLOWER = {"lora": 1.25, "svdiff": 1.7, "attention": 1.1, "full": 1.1}
"""Time of a step by strategy, in times of that with LoRA on the attention's layers alone."""

_LONGEST_PAST = 200
"""Steps of a former run that are looked at."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be trained, as far as time and memory depend on it.

    Attributes
    ----------
    config : TrainingConfig
        Base, steps, batch size and so on.
    images : tuple of int
        Number of images per condition.
    sides : (int, int) or None
        Height and width of an image, None if not known.
    channels : int
        Channels of an image.
    """

    config: TrainingConfig
    images: tuple[int, ...]
    sides: tuple[int, int] | None
    channels: int = 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """What to say about it.

    Attributes
    ----------
    text : str
        Time and memory.
    warning : str or None
        Why it may not fit.
    """

    text: str
    warning: str | None = None


def hardware_of(device: str = "auto", precision: str = "auto") -> Hardware | str:
    """Return what `ask_hardware` says, asked once however many docks want to know at a time.

    It may take seconds: call it in a thread.
    """
    with _ASKING:
        if (device, precision) not in KNOWN:
            KNOWN[device, precision] = ask_hardware(device, precision)
        return KNOWN[device, precision]


def ask_hardware(device: str = "auto", precision: str = "auto") -> Hardware | str:
    """Ask a child process what there is to compute with.

    It takes seconds: call it in a thread.

    Returns
    -------
    Hardware or str
        A sentence if there is no such device, or the process has failed.
    """
    command = [sys.executable, "-m", "napari_phenldiff", "device", "--json"]
    command += ["--device", device, "--precision", precision]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE)
        if done.returncode == 0:
            return Hardware.from_json(done.stdout.strip().splitlines()[-1])
        said = done.stderr.strip().splitlines()
    except (OSError, subprocess.TimeoutExpired, ValueError, IndexError) as error:
        _log.warning("what computes here is not known: %s", error)
        said = []
    return said[-1].removeprefix("phenldiff: ") if said else UNKNOWN


def estimate(work: Work, hardware: Hardware, past: float | None = None) -> Estimate:
    """Tell time and memory of a fine-tuning.

    Parameters
    ----------
    work : Work
        What is to be trained.
    hardware : Hardware
        What trains it.
    past : float, optional
        What `past_pace` says.
    """
    size = base_size(work.config.base)
    if size is None:
        return Estimate("Time and memory are unknown until the base model is downloaded.")
    bundled = base_size("bundled")
    assert bundled is not None
    side, tiles = _tiles(work, size)
    # each group of channels is a pass of its own
    cells = (side / bundled.tile) ** 2 * _groups(work, size)
    heavier = cells * size.weights / bundled.weights
    pace = past
    if pace is None:
        pace = STEP * hardware.seconds / 16 * heavier * _slower(work.config)
    step = pace * work.config.batch_size
    if hardware.device != "cpu":
        step = max(step, _SLOWEST_GPU)
    per_tile = _PER_TILE * cells * (1.0 if hardware.device == "cpu" else 0.3)
    seconds = _START + per_tile * tiles + step * work.config.steps
    low, high = _GUESSED if past is None else _MEASURED
    memory = _memory(work, hardware, size, tiles, cells, (size.weights / bundled.weights) ** 0.5)
    time = time_range(seconds * low, seconds * high) if hardware.seconds or past else ""
    free = f" ({_bytes(hardware.free)} are free)" if hardware.free else ""
    text = f"{_bytes(memory)} of memory{free}"
    text = f"About {time}, and {text}" if time else f"About {text}"
    if hardware.free and memory > hardware.free:
        smaller = "a smaller batch size" if work.config.batch_size > 1 else "smaller images"
        return Estimate(
            f"{text}.",
            f"This will hardly fit into the memory: about {_bytes(memory)} are needed, "
            f"{_bytes(hardware.free)} are free; close other programs or choose {smaller}.",
        )
    return Estimate(f"{text}.")


def translation_time(
    shape: tuple[int, int], images: int, config: TranslationConfig, run: Run, hardware: Hardware
) -> str:
    """Tell how long it takes to translate images, once the model is loaded.

    Parameters
    ----------
    shape : (int, int)
        Height and width of an image, in pixels.
    images : int
        How many there are.
    config : TranslationConfig
        As the run applies it.
    run : Run
    hardware : Hardware
        What translates them.

    Returns
    -------
    str
        ``"3 to 5 min"``; empty if it is not known: for a baseline, or without the base.
    """
    size = base_size(run.config.base) if isinstance(run.config, TrainingConfig) else None
    bundled = base_size("bundled")
    if size is None or bundled is None or not hardware.seconds:
        return ""
    side = min(size.tile, 32 * ceil(max(shape) / 32))
    # Neighbouring tiles share a quarter of their side.
    tiles = images * prod(max(1, ceil((n - side) / (0.75 * side)) + 1) for n in shape)
    batch = min(tiles, config.batch_size)
    heavier = (side / bundled.tile) ** 2 * size.weights / bundled.weights
    # groups of reference channels are given, and need no pass
    asked = len(run.channel_names) - len(run.reference_channels)
    heavier *= size.groups(max(1, asked))

    def pass_of(samples: int) -> float:
        return (_PASS + _PASS_SAMPLE * samples * heavier) * hardware.seconds

    conditions = {"source": 2, "null": 3}[config.guidance_from] if config.strength else 1
    steps = max(1, round(config.inference_steps * config.depth))
    evaluations = min(config.fixed_point_iterations, _EVALUATIONS)
    one = (evaluations + 1) * pass_of(batch) + pass_of(conditions * batch)
    seconds = ceil(tiles / batch) * steps * one
    low, high = _GUESSED
    return time_range(seconds * low, seconds * high)


def past_pace(runs: Iterable[Path], config: TrainingConfig, hardware: Hardware) -> float | None:
    """Return seconds per step and tile of the batch that a former run took here.

    Parameters
    ----------
    runs : iterable of Path
        Run folders, the latest first.
    config : TrainingConfig
        What is to be trained now: a run with another base, strategy or precision says nothing
        about it.
    hardware : Hardware
        What it is trained on.

    Returns
    -------
    float or None
        None if there was no such run on this machine.
    """
    for path in runs:
        try:
            run = Run.open(path)
            if not isinstance(run.config, TrainingConfig):
                continue  # a baseline
            if (run.config.base, run.config.strategy) != (config.base, config.strategy):
                continue
            stat = run.events_path.stat()
            device, pace = _pace(run.events_path, stat.st_mtime_ns, run.config.batch_size)
        except Exception:  # damaged, or gone: another one will do
            continue
        if pace is not None and device == (socket.gethostname(), hardware.name):
            return pace
    return None


@lru_cache(maxsize=64)
def _pace(path: Path, changed: int, batch_size: int) -> tuple[tuple[str, str], float | None]:
    events, _ = read_events(path)
    started = [event for event in events if isinstance(event, Started)]
    where = (started[-1].host, started[-1].device) if started else ("", "")
    return where, seconds_per_step(events, batch_size)


def seconds_per_step(events: Iterable[Event], batch_size: int = 1) -> float | None:
    """Return what a step took, with previews and checkpoints, divided by the batch size."""
    steps = [event for event in events if isinstance(event, Step)][-_LONGEST_PAST:]
    gaps = [
        later.time - sooner.time
        for sooner, later in pairwise(steps)
        if later.step == sooner.step + 1 and later.time > sooner.time
    ]
    if len(gaps) < 5:
        return None
    # A pause (a notebook was closed) is no part of the work; a checkpoint is.
    usual = statistics.median(gaps)
    return statistics.fmean(gap for gap in gaps if gap < 20 * usual) / batch_size


def _groups(work: Work, size: BaseSize) -> int:
    named = work.config.reference_channels
    return size.groups(work.channels, 0 if isinstance(named, str) else len(named))


def _tiles(work: Work, size: BaseSize) -> tuple[int, int]:
    """Return the side of a tile in pixels, and their number."""
    wanted = work.config.images_per_condition
    images = sum(n if wanted is None else min(n, wanted) for n in work.images)
    if work.sides is None:
        return size.tile, images
    side = min(size.tile, 32 * ceil(max(work.sides) / 32))
    return side, images * prod(ceil(length / side) for length in work.sides)


def _memory(
    work: Work, hardware: Hardware, size: BaseSize, tiles: int, cells: float, wider: float
) -> float:
    weights = _PER_WEIGHT[work.config.strategy] * size.weights
    batch = work.config.batch_size * _PER_SAMPLE * cells * wider
    if hardware.device != "cpu":
        return weights + batch + 0.5e9
    groups = _groups(work, size)
    per_tile = 8 * size.latents * groups * (size.tile / 8) ** 2 * 2 * min(1.0, cells / groups)
    pixels = sum(work.images) * work.channels * prod(work.sides or (size.tile,) * 2)
    kept = min(min(tiles, 3000) * per_tile, _MOST_KEPT) + min(10 * pixels, _MOST_KEPT)
    return _OVERHEAD + weights + batch + kept


def time_range(low: float, high: float) -> str:
    """Tell a range of times as people do: ``"3 to 5 min"``."""
    if high < 90:
        return f"{max(10, _rounded(low, 10))} to {max(20, _rounded(high, 10))} s"
    if high < 5400:
        return f"{max(1, round(low / 60))} to {max(2, ceil(high / 60))} min"
    return f"{_rounded(low / 3600, 0.5):g} to {max(1.0, _rounded(high / 3600, 0.5)):g} h"


def _rounded(value: float, unit: float) -> float:
    whole = round(value / unit) * unit
    return int(whole) if unit >= 1 else whole


def _bytes(number: float) -> str:
    return f"{number / 1e9:.1f} GB"


def in_words(hardware: Hardware | str | None) -> str:
    """Say what will compute; None is a question that is not answered yet."""
    if hardware is None:
        return "Looking for a GPU …"
    if isinstance(hardware, str):
        return hardware
    return f"Runs on {hardware.words}."


def _slower(config: TrainingConfig) -> float:
    if config.strategy == "lora" and config.layers == "attention":
        return 1.0
    return _SLOWER[config.strategy]
