"""Fine-tune on images, wherever they are, into a run folder: begin, and go on later.

The command line, scripts and the viewer train through these functions. What happens is written
into the run folder as events, and told to `on_event` as well.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.diffusion.hub_reference import HubModel
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import named_channels
from napari_phenldiff.images.controls import control_experiment
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.destinations import is_there
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.wells import known_wells
from napari_phenldiff.jobs.inputs import Images, dataset_of, experiment_of
from napari_phenldiff.jobs.taking_part import check_shared, take_part, takes_part
from napari_phenldiff.jobs.telling import OnEvent, ShouldStop, ignore, never
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.common_config import CommonTraining
from napari_phenldiff.runs.events import Event, Failed, Finished, Loading, Noted, Step, Warned
from napari_phenldiff.runs.failures import explain
from napari_phenldiff.runs.folder import Run, check_output_folder
from napari_phenldiff.runs.preparing import WELLS_OF_A_VERDICT, Prepared
from napari_phenldiff.runs.preparing import prepare as choose_images
from napari_phenldiff.settings import in_message, option_of

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection

_SPARE = 16
"""Files of a condition that are read beside those that are trained on: some are watched."""

_MOST_READ, _FEWEST_READ = 1500, 100
_MOST_PIXELS = 2**27
"""Of very many images of a condition, so many are read where no number was asked for: one for each
tile that is trained on, and of large images so many as have so many pixels in all channels."""

_Training = tuple[Experiment, Experiment | None]
"""The images that are trained on, and those that are watched meanwhile."""


@dataclass(frozen=True, slots=True, eq=False)
class NewRun:
    """A run that was just made, with its images still in memory.

    Attributes
    ----------
    run : Run
        Not trained yet.
    training : Experiment
        The images that are trained on.
    validation : Experiment or None
        Those that are watched and not trained on.
    warnings : tuple of str
        What the user should know about them.
    notes : tuple of str
        What will be worth knowing later: whether images are left to judge the run with.
    """

    run: Run
    training: Experiment
    validation: Experiment | None
    warnings: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def told(self) -> tuple[Event, ...]:
        """Return notes and warnings as events of the run."""
        return (*map(Noted, self.notes), *map(Warned, self.warnings))


def prepare(
    images: Images,
    config: AnyTrainingConfig,
    out: str | os.PathLike[str],
    *,
    z: int | Projection | None = None,
    wells: str | None = None,
    on_event: OnEvent = ignore,
) -> Run:
    """Make a run folder without training it yet: `resume` does that, here or elsewhere.

    Parameters
    ----------
    images, config, out, z, wells, on_event
        As in `train`.

    Returns
    -------
    Run
        In the state ``"created"``. What the user should know about the images is among its events.

    Raises
    ------
    InputError
        If the images cannot be trained on, or the folder is not empty.

    Examples
    --------
    >>> from napari_phenldiff import TrainingConfig, prepare, resume
    >>> config = TrainingConfig(conditions=("untreated", "treated"), steps=1000)
    >>> run = prepare("data", config, "prepared")  # doctest: +SKIP
    >>> run.state  # doctest: +SKIP
    'created'
    >>> resume(run).state  # doctest: +SKIP
    'finished'
    """
    new = new_run(images, config, out, z=z, wells=wells, on_event=on_event)
    for event in new.told():
        new.run.append(event)
    return new.run


def train(
    images: Images,
    config: AnyTrainingConfig,
    out: str | os.PathLike[str],
    *,
    z: int | Projection | None = None,
    wells: str | None = None,
    should_stop: ShouldStop = never,
    on_event: OnEvent = ignore,
) -> Run:
    """Fine-tune a base model on images of two or more conditions.

    Where several processes call this, as `accelerate launch` starts them, they share each batch,
    and the first one reads the images, tells what happens and writes the run.

    Parameters
    ----------
    images : path-like, Dataset, Experiment or mapping of str to sequence of Image
        A folder with a sub-folder of images per condition, or a table that lists them; what
        `Dataset.find` has found; or images in memory by condition.
        Images have the shape (C, Y, X), grey values in any real dtype.
    config : TrainingConfig
        What is learned and how, or the configuration of a baseline.
    out : path-like
        New folder for the run.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection of files with a z axis.
    wells : str, optional
        For a run that is a control (``config.control``): regular expression that finds the well in
        the name of an image. Images of a well stay together.
    should_stop : callable
        Asked after every step. When it returns True, the training is saved and ends.
    on_event : callable
        Told what happens: see :mod:`napari_phenldiff.runs.events`.

    Returns
    -------
    Run
        Its state is ``"finished"``, or ``"stopped"`` if it was asked to stop.

    Raises
    ------
    InputError
        If the images cannot be trained on, or the folder is not empty. Nothing is written then.

    Examples
    --------
    >>> from napari_phenldiff import TrainingConfig, train
    >>> config = TrainingConfig(conditions=("untreated", "treated"), steps=1000)
    >>> run = train("data", config, "run", on_event=print)  # doctest: +SKIP
    >>> run.state  # doctest: +SKIP
    'finished'
    """
    if takes_part():
        return take_part(out, device=config.device, should_stop=should_stop)
    new = new_run(images, config, out, z=z, wells=wells, on_event=on_event)
    return train_new(new, should_stop=should_stop, on_event=on_event)


def resume(
    run: Run | str | os.PathLike[str],
    *,
    steps: int | None = None,
    base_at: str | os.PathLike[str] | None = None,
    should_stop: ShouldStop = never,
    on_event: OnEvent = ignore,
) -> Run:
    """Go on with a run from its last checkpoint, or begin one that was only prepared.

    Parameters
    ----------
    run : Run or path-like
        The run, or its folder. One that is finished is returned as it is, unless `steps` are
        given.
    steps : int, optional
        Train longer, to this number of steps in all. The learning rate goes on where it would be in
        a training of so many steps, so the result is not quite that of one that was begun with
        them.
    base_at : path-like, optional
        Where the base model of the run lies now, if it is not where it was.
    should_stop, on_event
        As in `train`.

    Raises
    ------
    InputError
        If it is no run, another process trains it, its images are gone or have changed, or it
        would not be trained longer with `steps`.

    Examples
    --------
    >>> from napari_phenldiff import resume
    >>> resume("prepared").state  # doctest: +SKIP
    'finished'
    """
    opened = run if isinstance(run, Run) else Run.open(run, base_at=base_at)
    if steps is None and opened.state == "finished":
        opened.remove_dead_lock()  # of one that was killed once all was written
        return opened  # in every process: one that took part would wait for the others
    if takes_part():
        return take_part(
            opened.path, device=opened.config.device, steps=steps, should_stop=should_stop
        )
    check_shared(opened.config)
    if steps is not None:
        _check_longer(opened, steps)
    return train_run(
        opened,
        lambda: (opened.load_experiment(), opened.load_validation()),
        steps=steps,
        should_stop=should_stop,
        on_event=on_event,
    )


def _check_longer(run: Run, steps: int) -> None:
    if steps <= run.config.steps:
        raise InputError(
            f"{run.path} is a training of {count(run.config.steps, 'step')} already: give more, or "
            "resume it without a number of steps."
        )
    if run.has_adapter and run.latest_checkpoint() is None:
        raise InputError(
            f"{run.path} has no checkpoint to go on from, only its result; train anew with "
            f"{count(steps, 'step')}."
        )


def new_run(
    images: Images,
    config: AnyTrainingConfig,
    out: str | os.PathLike[str],
    *,
    z: int | Projection | None = None,
    wells: str | None = None,
    on_event: OnEvent = ignore,
) -> NewRun:
    """Make a run folder and keep its images in memory, for `train_new`; parameters as in `train`.

    Everything that can be refused is refused before anything is written.
    """
    if wells is not None and config.control is None:
        raise InputError("Wells say what stays together in a control: choose one, or no wells.")
    check_shared(config)
    check_output_folder(Path(out))
    all_read = True
    if not isinstance(images, Experiment | Mapping):
        found = dataset_of(images, config.conditions)
        images = _few_of(found, config, on_event)
        all_read = images is found
    experiment = experiment_of(images, config.conditions, z=z, on_event=on_event)
    config = _with_names_of(experiment, _with_absolute_paths(config))
    prepared = choose_images(experiment.select(config.conditions), config)
    notes: tuple[str, ...] = ()
    if all_read and config.control is None:
        notes = _about_judging(experiment.select(config.conditions), prepared.training)
    if config.control is not None:
        prepared, config = _as_control(prepared, config, wells)
        pair = " and ".join(config.conditions)
        on_event(Noted(f"Control: {config.control}, {pair} do not differ"))
    run = prepared.make_run(out, config)
    return NewRun(run, prepared.training, prepared.validation, prepared.warnings, notes)


def _about_judging(experiment: Experiment, training: Experiment) -> tuple[str, ...]:
    """Say that too few images are left to judge the run with, if so: later it is too late."""
    from napari_phenldiff.evaluation.prospect import why_cannot_tell

    known = {image.sha256 for image in training.images}
    left = {
        condition.name: [image.name for image in condition.images if image.sha256 not in known]
        for condition in experiment.conditions
    }
    few = [name for name, images in left.items() if len(images) < 2]
    advice = f"keep some aside with fewer images per condition ({option_of('images_per_condition')}"
    if few:
        which = " and ".join(few)
        number = "No image" if not any(left[name] for name in few) else "Only one image"
        return (f"{number} of {which} stays to evaluate with: {advice}), or give others then",)
    pair = experiment.conditions[:2]
    why = why_cannot_tell(
        {condition.name: [image.name for image in condition.images] for condition in pair},
        parts={
            condition.name: {image.name: image.part_of for image in condition.images}
            for condition in pair
        },
        translated=left[pair[0].name],
    )
    if not why:
        return ()
    return (
        f"Of an evaluation with the images that stay: {why.removesuffix('.')}{_more(experiment)}",
    )


def _more(experiment: Experiment) -> str:
    """Say how many wells to hold out for a verdict, where there are enough to train on others."""
    wells = [known_wells(condition.images) for condition in experiment.conditions[:2]]
    enough = all(names is not None and len(set(names)) > WELLS_OF_A_VERDICT for names in wells)
    if not enough:
        return ""
    setting = in_message(CommonTraining, "held_out_wells")
    return (
        f"; to be able to tell, hold out {WELLS_OF_A_VERDICT} wells of each condition ({setting})"
    )


def _few_of(found: Dataset, config: AnyTrainingConfig, on_event: OnEvent) -> Dataset:
    """Leave out most of many files before they are read, if only some images are needed."""
    wanted = config.images_per_condition
    if wanted is None:
        most = _enough_of(found)
        setting = in_message(CommonTraining, "images_per_condition")
        advice = f"; {setting} takes another number"
    else:
        watched = config.validation_images
        most = wanted + (_SPARE if watched == "auto" else watched)
        advice = ""
    many = max(len(group) for group in found.conditions.values())
    if many <= most:
        return found
    on_event(
        Noted(
            f"Of each condition {most} of up to {many} files are read, drawn at random: grey "
            f"values, checks and training are of these{advice}"
        )
    )
    return found.subset(most, config.seed)


def _enough_of(found: Dataset) -> int:
    """Return how many files of a condition are read at most, where no number was asked for."""
    peeks = [group[0].peek() for group in found.conditions.values() if group]
    pixels = [
        len(peek.channel_names) * peek.size[0] * peek.size[1] * peek.n_images
        for peek in peeks
        if peek is not None
    ]
    return max(_FEWEST_READ, min(_MOST_READ, _MOST_PIXELS // max([1, *pixels])))


def train_new(new: NewRun, *, should_stop: ShouldStop = never, on_event: OnEvent = ignore) -> Run:
    """Train a run that `new_run` has made; parameters as in `train`."""
    return train_run(
        new.run,
        lambda: (new.training, new.validation),
        told=new.told(),
        is_new=True,
        should_stop=should_stop,
        on_event=on_event,
    )


def train_run(
    run: Run,
    read_images: Callable[[], _Training],
    *,
    told: Sequence[Event] = (),
    is_new: bool = False,
    steps: int | None = None,
    should_stop: ShouldStop = never,
    on_event: OnEvent = ignore,
) -> Run:
    """Train a run and write down what happens.

    Whatever goes wrong is written into the run as its last event, since nobody may be looking at
    this process. A new run that is refused before its first step is removed again.

    Parameters
    ----------
    run : Run
        The run, which nobody else may be training.
    read_images : callable
        Returns the images to train on, and those to watch if there are any.
    told : sequence of Event
        What the user should know.
    is_new : bool
        Whether the run folder was made for this training.
    steps : int, optional
        Steps in all, if it is to be trained longer than it was.
    should_stop, on_event
        As in `train`. A stop that is requested in the run folder counts as well.

    Raises
    ------
    RuntimeError
        If the training has failed; the run says why, and can be resumed.
    """
    refused: InputError | None = None
    with run.lock():
        run.clear_stop(before=_process_start())
        last: Event | None = None
        # Until its first step a longer training can be refused, and the run stays what it was.
        held: list[Event] | None = None if steps is None else []

        def note(event: Event) -> None:
            if held is None:
                run.append(event)
            else:
                held.append(event)
            on_event(event)

        try:
            for event in told:
                note(event)
            if steps is not None:
                note(Noted(f"Trained longer: {steps} steps in place of {run.config.steps}"))
                run.plan_steps(steps)
            for event in _events(run, read_images, should_stop, reading=not is_new):
                if held is not None and isinstance(event, Step):
                    run.record_steps(run.config.steps)
                    for earlier in held:
                        run.append(earlier)
                    held = None
                last = event if isinstance(event, Step | Finished | Failed) else last
                note(event)
        except Exception as error:
            if is_new and last is None and isinstance(error, InputError):
                refused = error
            else:
                if held is None:
                    with suppress(OSError):
                        run.append(Failed(explain(error)))
                if not isinstance(error, InputError) and run.latest_checkpoint() is not None:
                    on_event(Noted(f"Go on with: phenldiff train --resume {run.path}"))
                raise
        finally:
            run.clear_stop()
    if refused is not None:
        shutil.rmtree(run.path, ignore_errors=True)
        raise refused
    if isinstance(last, Failed):
        raise RuntimeError(last.message)
    return Run.open(run.path)


def _events(
    run: Run, read_images: Callable[[], _Training], should_stop: ShouldStop, *, reading: bool
) -> Iterator[Event]:
    if reading:
        yield Loading("Reading the images")
    experiment, validation = read_images()
    yield Loading("Loading the base model" if run.config.base != "random" else "Loading torch")
    from napari_phenldiff.baselines.loading import train as train_method

    yield from train_method(
        experiment,
        run,
        should_stop=lambda: should_stop() or run.stop_requested,
        resume=run.latest_checkpoint() is not None,
        validation=validation,
    )


def _with_absolute_paths(config: AnyTrainingConfig) -> AnyTrainingConfig:
    """Name what is read later so that the run may be used from another working folder."""
    start = getattr(config, "from_adapter", None)
    if start is not None:
        place = str(Path(start).expanduser().resolve())
        config = config.model_copy(update={"from_adapter": place})
    if "base" not in type(config).model_fields or config.base == "bundled":
        return config
    if is_there(config.base):
        return config.model_copy(update={"base": str(Path(config.base).resolve())})
    model = HubModel.parse(config.base)  # which may be a pasted address
    return config if model is None else config.model_copy(update={"base": str(model)})


def _with_names_of(experiment: Experiment, config: AnyTrainingConfig) -> AnyTrainingConfig:
    """Return the configuration with the reference channels as the images call them."""
    listed = getattr(config, "reference_channels", "auto")
    if isinstance(listed, str):
        return config
    names = named_channels(listed, experiment.channel_names)
    return config.model_copy(update={"reference_channels": names})


def _as_control(
    prepared: Prepared, config: AnyTrainingConfig, wells: str | None
) -> tuple[Prepared, AnyTrainingConfig]:
    """Take the conditions from the images of a run; scaling and images stay those of that run."""
    assert config.control is not None
    training = control_experiment(
        config.control, prepared.training, config.conditions[0], seed=config.seed, wells=wells
    )
    training.check()
    config = config.model_copy(update={"conditions": training.names})
    return replace(prepared, training=training, validation=None), config


def _process_start() -> float:
    import psutil  # type: ignore[import-untyped]

    return float(psutil.Process().create_time())
