"""Fine-tune a base model on the conditions of an experiment (paper, section 3.2)."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial

import torch

from napari_phenldiff.diffusion.base import check_channels
from napari_phenldiff.diffusion.base_weights import fetch_base_of, load_base_of, record_base
from napari_phenldiff.diffusion.calibration import MOST_TRIALS, calibrating
from napari_phenldiff.diffusion.hardware import device_name
from napari_phenldiff.diffusion.latents import pick_tiles, training_tiles
from napari_phenldiff.diffusion.loop import no_events, optimise
from napari_phenldiff.diffusion.monitoring import (
    VALIDATE_EVERY,
    FixedNoiseLoss,
    choose_examples,
    write_previews,
)
from napari_phenldiff.diffusion.overfitting import OverfittingWatch
from napari_phenldiff.diffusion.processes import Processes
from napari_phenldiff.diffusion.references import in_words, named_references
from napari_phenldiff.diffusion.shared_training import SharedTraining
from napari_phenldiff.diffusion.start import record_start
from napari_phenldiff.diffusion.training import Training
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.runs.calibration import Calibration
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import (
    Event,
    Finished,
    Loading,
    Noted,
    Progress,
    Saved,
    Started,
    Validated,
    Warned,
)
from napari_phenldiff.runs.folder import Run

_MOST_VALIDATION = 64
"""Largest number of tiles per condition for the validation loss."""

_FEWEST_CALIBRATED = 4
"""With fewer validation tiles of the source, guidance and freedom keep their defaults."""


def finetune(
    experiment: Experiment,
    config: TrainingConfig,
    run: Run,
    *,
    should_stop: Callable[[], bool] = lambda: False,
    resume: bool = False,
    validation: Experiment | None = None,
    processes: Processes | None = None,
) -> Iterator[Event]:
    """Fine-tune a base model on the conditions of an experiment.

    Parameters
    ----------
    experiment : Experiment
        Training images; it must have the conditions of `config`, and all their images are used.
    config : TrainingConfig
        Settings. Equal seeds give equal weights on the same machine, also after a resume.
    run : Run
        Run folder for checkpoints, previews and the adapter. The events are not written to it; the
        caller does that.
    should_stop : callable
        Called after every step; when it returns True, checkpoint and adapter are saved and the
        training ends.
    resume : bool
        Continue from the newest checkpoint, if there is one.
    validation : Experiment, optional
        Images of the same conditions for the validation loss, the previews and the calibration.
        They do not influence the trained weights.
    processes : Processes, optional
        The processes that share each batch, if this one has joined them already. Only the first
        one writes checkpoints, previews and the adapter.

    Yields
    ------
    Event
        Loading, Progress of a download, Started, Warned, Noted, Step, Validated, Preview, Saved and
        one Finished. If all channels are references, there are no steps.

    Raises
    ------
    InputError
        If the base cannot be loaded, takes fewer channels, or the checkpoint is damaged.
    """
    since = time.monotonic()
    yield from fetch_base_of(run, should_stop)
    record_base(run)
    record_start(run)
    # The others wait here, until there are a run and its base that they can read.
    processes = Processes.start(config.device) if processes is None else processes
    device = processes.device
    base = load_base_of(run, device=device).in_groups(
        run.channel_names, named_references(config.reference_channels, run.channel_names)
    )
    check_channels(experiment.n_channels, base)
    several = processes.count > 1
    training = SharedTraining(base, config, processes) if several else Training(base, config)
    precision = str(training.dtype).removeprefix("torch.")
    yield Started(device=device_name(device), host=socket.gethostname(), precision=precision)
    yield Loading("Encoding the images")
    for warning in training.encode(experiment, run):
        yield Warned(warning)
    monitor = _TrainingMonitor(training, validation, run)
    if training.start is not None:
        yield Noted(training.start.in_words())
    if config.prompts:
        named = ", ".join(config.prompts)
        yield Noted(f"The condition tokens start from prompts, read by a text encoder: {named}")
    if base.groups is not None:
        yield Noted(base.groups.in_words(run.channel_names))
    yield Noted(training.size.in_words(training.strategy))
    yield Noted(
        in_words(run.channel_names, training.separation, training.references, training.normalised)
    )
    if training.references:
        yield Noted(f"Reference, left as it is: {', '.join(training.references)}")
    if training.nothing_to_learn:
        # a translation would return the images unchanged whatever the weights are
        yield Saved(0, training.save(run, 0))
        yield Finished(0, stopped=False)
        return
    if not training.fit.is_whole:
        yield Noted(training.fit.in_words())
    done = training.restore(run) if resume else 0
    if isinstance(training, SharedTraining):
        training.begin()
        yield Noted(processes.in_words(config.batch_size))
    monitor.replay(run, done)
    for event in optimise(
        training,
        [(training.average, training.optimizer)],
        run,
        config,
        done=done,
        since=since,
        should_stop=lambda: processes.any(should_stop()),
        on_steps_chosen=partial(setattr, training, "config"),
        after_step=monitor.after_step,
        preview=partial(monitor.preview, run) if processes.rank == 0 else no_events,
    ):
        if isinstance(event, Finished) and not event.stopped:
            chosen = yield from monitor.calibrate(run, should_stop)
            if not chosen:  # resuming goes on from here
                event = Finished(event.step, stopped=True)
        yield event


class _TrainingMonitor:
    """Validation loss, previews and calibration; none of them influences the training."""

    def __init__(self, training: Training, validation: Experiment | None, run: Run) -> None:
        config, base = training.config, training.base
        self._training, self._fit = training, training.fit
        self._overfitting = OverfittingWatch()
        self._losses: list[FixedNoiseLoss] = []
        self._unseen: list[torch.Tensor] = []
        if validation is not None:
            unseen = []
            for name in config.conditions:
                tiles, _ = training_tiles(
                    validation[name].images,
                    run.scaling.of(name),
                    training.side,
                    limit=_MOST_VALIDATION,
                    seed=config.seed,
                )
                # rounded as those that are trained on, so that the losses are comparable
                unseen.append(base.encode(tiles, dtype=training.dtype).cpu().half().float())
            self._unseen = unseen
            # equally many tiles of each condition in both sets, so that their losses are comparable
            seen = [
                cached.upright(pick_tiles(len(cached), len(other), config.seed))
                for cached, other in zip(training.latents, unseen, strict=True)
            ]
            self._losses = [
                FixedNoiseLoss(base, latents, training.given, config, training.dtype)
                for latents in (unseen, seen)
            ]
        self._examples = (
            choose_examples(validation or training.experiment, config, run.scaling, training.side)
            if config.preview_every
            else []
        )

    def replay(self, run: Run, done: int) -> None:
        """Restore the state of the overfitting watch from the events up to step `done`."""
        for event in run.events()[0]:
            if isinstance(event, Validated) and event.step <= done:
                self._overfitting.add(event)

    def after_step(self, step: int) -> Iterator[Event]:
        """Yield what became known by a step: that a batch did not fit, and losses."""
        if self._training.fit != self._fit:
            self._fit = self._training.fit
            yield Noted(self._fit.in_words())
        yield from self.validate(step)

    def validate(self, step: int) -> Iterator[Event]:
        """Yield the losses every `VALIDATE_EVERY` steps, and a warning if they diverge."""
        if not self._losses or step % VALIDATE_EVERY:
            return
        with self._training.average.applied():
            unseen, seen = (losses.mean(self._training.tokens) for losses in self._losses)
        event = Validated(step, unseen, seen)
        yield event
        warning = self._overfitting.add(event)
        if warning is not None:
            yield Warned(warning)

    def preview(self, run: Run, step: int) -> Iterator[Event]:
        """Translate the preview tiles and write them."""
        with self._training.average.applied():
            yield from write_previews(self._translator(run), self._examples, run, step)

    def calibrate(self, run: Run, should_stop: Callable[[], bool]) -> Generator[Event, None, bool]:
        """Choose guidance and freedom, if there are enough validation images.

        Returns whether it was not stopped.
        """
        training = self._training
        few = not self._unseen or len(self._unseen[0]) < _FEWEST_CALIBRATED
        if few or training.base.coefficients is None:
            return True
        yield Loading("Choosing guidance and freedom")
        source, target = training.config.conditions[:2]
        config = TranslationConfig(source=source, target=target, seed=training.config.seed)
        device = training.base.device
        sources, targets = (cached.upright_batches() for cached in training.latents[:2])
        with training.average.applied():
            unknown = self._unseen[0].to(device)
            found = yield from _told(
                calibrating(self._translator(run), unknown, sources, targets, config), should_stop
            )
        if found is None:
            return False
        found.write(run.path)
        yield Noted(found.in_words())
        return True

    def _translator(self, run: Run) -> Translator:
        training = self._training
        return Translator(
            training.base,
            training.tokens,
            run.scaling,
            run.channel_names,
            reference_channels=training.references,
            precision=training.config.precision,
        )


def _told(
    trials: Generator[int, None, Calibration], should_stop: Callable[[], bool]
) -> Generator[Event, None, Calibration | None]:
    """Tell how many trials are done; there may be fewer than the most. None if it was stopped."""
    since = time.monotonic()
    while True:
        if should_stop():
            return None
        try:
            done = next(trials)
        except StopIteration as end:
            found: Calibration = end.value
            return found
        if not done:
            since = time.monotonic()
        left = (time.monotonic() - since) / done * (MOST_TRIALS - done) if done else None
        yield Progress(done, MOST_TRIALS, "choosing guidance and freedom", left, "trial")
