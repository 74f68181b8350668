"""Choose the number of training steps for a time budget, by timing a few steps.

Methods differ in the time of a step and in the number of steps they need. To compare them at equal
wall-clock time, the number of steps is chosen before the first one, so that the learning rate runs
through its whole schedule.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median
from typing import SupportsFloat

import torch

from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.runs.common_config import CommonTraining
from napari_phenldiff.runs.events import Event, Loading, Noted
from napari_phenldiff.runs.folder import Run

WARMUP_STEPS, TIMED_STEPS = 3, 8
"""Trial steps: the first ones are slower, since memory is allocated and kernels are selected."""

_STEP_FRACTION = 0.98
"""Fraction of the time that is planned for steps; checkpoints and validation take the rest."""


def choose_steps(
    config: CommonTraining,
    run: Run,
    step: Callable[[int], SupportsFloat],
    trained: Sequence[tuple[MovingAverage, torch.optim.Optimizer]],
    *,
    since: float,
    should_stop: Callable[[], bool],
    reset: Callable[[], None],
) -> Iterator[Event]:
    """Measure the time of a step and record how many steps fit into the minutes of a run.

    The trial steps are rolled back, so that the training is identical to one that was configured
    with this number of steps. The number is at least one.

    Parameters
    ----------
    config : CommonTraining
        Configuration with `minutes`.
    run : Run
        Run whose configuration gets the number of steps.
    step : callable
        Takes the number of an optimisation step, makes it and returns its loss. Turning that into a
        float waits until the device has finished.
    trained : sequence of (MovingAverage, torch.optim.Optimizer)
        Weights, averages and optimisers that steps change.
    since : float
        ``time.monotonic()`` at the start of the time budget.
    should_stop : callable
        Ends the trial early when it returns True.
    reset : callable
        Resets any other state that the trial steps have changed.

    Yields
    ------
    Event
        One Loading and one Noted.
    """
    assert config.minutes is not None
    yield Loading("Measuring the time of a step")
    seconds = []
    with rolled_back(trained):
        for number in range(1, WARMUP_STEPS + TIMED_STEPS + 1):
            started = time.monotonic()
            float(step(number))
            seconds.append(time.monotonic() - started)
            too_long = time.monotonic() - since > 30 * config.minutes
            if should_stop() or (too_long and number > WARMUP_STEPS):
                break
    reset()
    each = median(seconds[WARMUP_STEPS:] or seconds)
    left = 60 * config.minutes - (time.monotonic() - since)
    steps = max(1, int(_STEP_FRACTION * left / each))
    run.record_steps(steps)
    yield Noted(f"A step takes {each:.3g} s: {steps} of them fit into {config.minutes:g} minutes")


@contextmanager
def rolled_back(trained: Sequence[tuple[MovingAverage, torch.optim.Optimizer]]) -> Iterator[None]:
    """On exit, restore weights and averages, and clear the state of the (new) optimisers."""
    before = [
        ([p.detach().clone() for p in average.parameters], [a.clone() for a in average.averages])
        for average, _ in trained
    ]
    try:
        yield
    finally:
        with torch.no_grad():
            for (average, optimizer), (weights, averages) in zip(trained, before, strict=True):
                for parameter, value in zip(average.parameters, weights, strict=True):
                    parameter.copy_(value)
                for kept, value in zip(average.averages, averages, strict=True):
                    kept.copy_(value)
                optimizer.state.clear()
                optimizer.zero_grad(set_to_none=True)
