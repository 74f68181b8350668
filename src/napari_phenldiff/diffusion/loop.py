"""The loop of every training: steps, checkpoints, previews, and an end when asked for one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch

from napari_phenldiff.diffusion.budget import choose_steps
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.finite import check_progress
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.events import Event, Finished, Saved, Step
from napari_phenldiff.runs.folder import Run


class Trainer(Protocol):
    """What changes from step to step."""

    def step(self, number: int) -> float:
        """Make optimisation step `number` (from 1) and return its loss."""

    def save(self, run: Run, number: int) -> str:
        """Write checkpoint and adapter after step `number`; the adapter's path within the run."""


def no_events(step: int) -> Iterator[Event]:
    """Look at nothing after a step."""
    return iter(())


def optimise(
    trainer: Trainer,
    trained: Sequence[tuple[MovingAverage, torch.optim.Optimizer]],
    run: Run,
    config: AnyTrainingConfig,
    *,
    done: int,
    since: float,
    should_stop: Callable[[], bool],
    on_steps_chosen: Callable[[AnyTrainingConfig], None],
    after_step: Callable[[int], Iterator[Event]] = no_events,
    preview: Callable[[int], Iterator[Event]] = no_events,
    reset: Callable[[], None] = lambda: None,
) -> Iterator[Event]:
    """Make the steps that are left.

    Parameters
    ----------
    trainer : Trainer
        What learns.
    trained : sequence of (MovingAverage, torch.optim.Optimizer)
        Weights, averages and optimisers that its steps change.
    run : Run
        Where checkpoints and adapter are written.
    config : AnyTrainingConfig
        What was asked for. With `minutes`, a new training first finds out how many steps that is.
    done : int
        Steps done before.
    since : float
        ``time.monotonic()`` when the clock of the minutes was started.
    should_stop : callable
        Asked after every step.
    on_steps_chosen : callable
        Told the configuration when its number of steps has been fixed.
    after_step, preview : callable
        What is looked at after each step, and after each `preview_every` steps.
    reset : callable
        Makes the trainer forget what else the steps have changed that were only tried.

    Yields
    ------
    Event
        Step, what is seen, Saved and one Finished; before them Loading and Noted where `minutes`
        are asked for.

    Raises
    ------
    InputError
        If more steps are done than are asked for, or if the training diverges: what was saved last
        is then what is kept.
    """
    if config.minutes is not None and done == 0:
        yield from choose_steps(
            config, run, trainer.step, trained, since=since, should_stop=should_stop, reset=reset
        )
        config = config.model_copy(update={"steps": run.config.steps})
        on_steps_chosen(config)
    if done > config.steps:
        raise InputError(f"The run {run.path} has done {done} steps already.")

    def check(step: int, loss: float, weights: Iterable[torch.Tensor] = ()) -> None:
        check_progress(step, loss, weights, config=config, kept=lambda: _kept(run))

    def weights() -> Iterator[torch.Tensor]:
        for average, _ in trained:
            yield from (parameter.detach() for parameter in average.parameters)
            yield from average.averages

    started, step = time.monotonic(), done
    for step in range(done + 1, config.steps + 1):
        loss = trainer.step(step)
        check(step, loss)
        left = (time.monotonic() - started) / (step - done) * (config.steps - step)
        yield Step(step=step, total=config.steps, loss=loss, seconds_left=left)
        yield from after_step(step)
        stopping = should_stop()
        if step % config.checkpoint_every == 0 or step == config.steps or stopping:
            check(step, loss, weights())
            yield Saved(step=step, path=trainer.save(run, step))
        if config.preview_every and step % config.preview_every == 0:
            yield from preview(step)
        if stopping:
            break
    if not run.has_adapter:  # resumed after the last step, killed before the adapter was there
        trainer.save(run, step)
    yield Finished(step=step, stopped=step < config.steps)


def _kept(run: Run) -> str:
    newest = run.latest_checkpoint()
    if newest is None:
        return "Nothing had been saved before"
    return f"What had been learned by step {newest[0]} is kept"
