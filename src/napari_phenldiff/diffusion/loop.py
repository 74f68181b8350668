"""The training loop of all methods: steps, checkpoints, previews and stopping."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import torch

from napari_phenldiff.diffusion.budget import choose_steps
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.finite import check_progress
from napari_phenldiff.diffusion.readings import Reading
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.events import Event, Finished, Preview, Saved, Step
from napari_phenldiff.runs.folder import Run


class Trainer(Protocol):
    """Networks and optimisers in training."""

    def step(self, number: int) -> float | Reading:
        """Make optimisation step `number` (from 1) and return its loss."""

    def save(self, run: Run, number: int) -> str:
        """Write checkpoint and adapter after step `number`; returns the path of the adapter."""


def no_events(step: int) -> Iterator[Event]:
    """Yield no events after a step."""
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
    """Run the remaining training steps.

    Parameters
    ----------
    trainer : Trainer
        The training.
    trained : sequence of (MovingAverage, torch.optim.Optimizer)
        Weights, averages and optimisers that its steps change.
    run : Run
        Run folder for checkpoints and adapter.
    config : AnyTrainingConfig
        Settings. With `minutes`, a new training first measures how many steps fit into them.
    done : int
        Steps that are already done.
    since : float
        ``time.monotonic()`` at the start of the time budget.
    should_stop : callable
        Called after every step; the training ends when it returns True.
    on_steps_chosen : callable
        Called with the updated configuration when the number of steps for `minutes` is known.
    after_step, preview : callable
        Called with the step number after every step, and after every `preview_every` steps; their
        events are yielded.
    reset : callable
        Resets any other state of the trainer that the trial steps have changed.

    Yields
    ------
    Event
        Step, Saved, the events of `after_step` and `preview`, and one Finished; with `minutes`
        first Loading and Noted.

    Raises
    ------
    InputError
        If more steps are done than the configuration has, or if the training diverges. The last
        checkpoint is kept in both cases.
    """
    if config.minutes is not None and done == 0:
        yield from choose_steps(
            config, run, trainer.step, trained, since=since, should_stop=should_stop, reset=reset
        )
        config = config.model_copy(update={"steps": run.config.steps})
        on_steps_chosen(config)
    if done > config.steps:
        raise InputError(
            f"The run {run.path} has done {done} steps already; start a new one to train less."
        )

    def check(step: int, loss: float, weights: Iterable[torch.Tensor] = ()) -> None:
        check_progress(step, loss, weights, config=config, kept=lambda: _kept(run))

    def weights() -> Iterator[torch.Tensor]:
        for average, _ in trained:
            yield from (parameter.detach() for parameter in average.parameters)
            yield from average.averages

    if config.preview_every and done and done % config.preview_every == 0:
        yield from _lost_previews(run, config, done, preview)
    started, step = time.monotonic(), done
    unread: deque[tuple[int, float | Reading]] = deque()

    def read(most: int = 0) -> Iterator[Event]:
        """Yield the steps whose losses are read, which leaves at most so many unread."""
        while len(unread) > most:
            number, reading = unread.popleft()
            loss = float(reading)
            check(number, loss)
            left = (time.monotonic() - started) / (number - done) * (config.steps - number)
            yield Step(step=number, total=config.steps, loss=loss, seconds_left=left)

    for step in range(done + 1, config.steps + 1):
        made = trainer.step(step)
        unread.append((step, made))
        # a GPU has the next step to do while the loss of this one is read
        yield from read(1 if isinstance(made, Reading) and made.on_its_way else 0)
        for event in after_step(step):
            yield from read()
            yield event
        stopping = should_stop()
        if step % config.checkpoint_every == 0 or step == config.steps or stopping:
            yield from read()
            check(step, float(made), weights())
            yield Saved(step=step, path=trainer.save(run, step))
        if config.preview_every and step % config.preview_every == 0:
            yield from read()
            yield from preview(step)
        if stopping:
            break
    if not run.has_adapter:  # killed after the last checkpoint, before the adapter was written
        trainer.save(run, step)
    yield Finished(step=step, stopped=step < config.steps)


def _lost_previews(
    run: Run, config: AnyTrainingConfig, done: int, preview: Callable[[int], Iterator[Event]]
) -> Iterator[Event]:
    """Make the previews of a checkpoint, if the process was killed between the two."""
    shown = {e.path for e in run.events()[0] if isinstance(e, Preview) and e.step == done}
    if len(shown) < len(config.conditions) - 1:  # one of each condition but the target
        for event in preview(done):
            if not isinstance(event, Preview) or event.path not in shown:
                yield event


def _kept(run: Run) -> str:
    newest = run.latest_checkpoint()
    if newest is None:
        return "Nothing had been saved before"
    return f"What had been learned by step {newest[0]} is kept"
