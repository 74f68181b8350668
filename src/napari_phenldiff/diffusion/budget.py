"""A training that may take so many minutes: how many steps that is, found by trying some.

Methods differ in what a step costs and in how many they need. To compare them at equal wall-clock,
the number of steps is fixed before the first one, so that the learning rate runs its full course.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from statistics import median

import torch

from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.runs.common_config import CommonTraining
from napari_phenldiff.runs.events import Event, Loading, Noted
from napari_phenldiff.runs.folder import Run

WARMUP_STEPS, TIMED_STEPS = 3, 8
"""Steps that are tried: the first ones are slower, since memory is found and kernels are chosen."""

_LEAVE = 0.98
"""Part of the time that is given to steps; writing checkpoints and looking at losses takes some."""


def fix_steps(
    config: CommonTraining,
    run: Run,
    step: Callable[[int], float],
    trained: Sequence[tuple[MovingAverage, torch.optim.Optimizer]],
    *,
    since: float,
    should_stop: Callable[[], bool],
    forget: Callable[[], None],
) -> Iterator[Event]:
    """Measure the time of a step and write into the run how many fit into its minutes.

    The steps that are tried are undone, so that the training is the very one that was asked for by
    so many steps. At least one step is made.

    Parameters
    ----------
    config : CommonTraining
        With `minutes`.
    run : Run
        Whose configuration gets the number of steps.
    step : callable
        Makes the optimisation step of a number and returns its loss, a float (so that a device
        has finished its work).
    trained : sequence of (MovingAverage, torch.optim.Optimizer)
        Weights, averages and optimisers that steps change.
    since : float
        ``time.monotonic()`` when the clock of the minutes was started.
    should_stop : callable
        Ends the trial early.
    forget : callable
        Makes forget what else steps have changed.

    Yields
    ------
    Event
        One Loading and one Noted.
    """
    assert config.minutes is not None
    yield Loading("Measuring the time of a step")
    seconds = []
    with undone(trained):
        for number in range(1, WARMUP_STEPS + TIMED_STEPS + 1):
            started = time.monotonic()
            step(number)
            seconds.append(time.monotonic() - started)
            too_long = time.monotonic() - since > 30 * config.minutes
            if should_stop() or (too_long and number > WARMUP_STEPS):
                break
    forget()
    each = median(seconds[WARMUP_STEPS:] or seconds)
    left = 60 * config.minutes - (time.monotonic() - since)
    steps = max(1, int(_LEAVE * left / each))
    run.fix_steps(steps)
    yield Noted(f"A step takes {each:.3g} s: {steps} of them fit into {config.minutes:g} minutes")


@contextmanager
def undone(trained: Sequence[tuple[MovingAverage, torch.optim.Optimizer]]) -> Iterator[None]:
    """Forget afterwards what steps did to weights, averages and optimisers that are new."""
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
