"""Judge a run on images that it was not trained on, and write down why it may be believed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.images.checks import check_channels
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import make_folder_atomic
from napari_phenldiff.images.wells import check_wells
from napari_phenldiff.jobs.directions import direction, other_way_round
from napari_phenldiff.jobs.inputs import Images, dataset_of, experiment_of
from napari_phenldiff.jobs.shared_translator import SharedTranslator
from napari_phenldiff.jobs.telling import OnEvent, ignore
from napari_phenldiff.jobs.trained_channels import (
    OTHER_NAMES,
    left_out_in_words,
    other_names,
    trained_of,
)
from napari_phenldiff.jobs.translated_before import TranslationsBefore
from napari_phenldiff.jobs.translation_files import unfinished
from napari_phenldiff.jobs.translation_job import identity_of
from napari_phenldiff.jobs.translation_unit import RunToLoad
from napari_phenldiff.measurement.statistics.units import units_of_images
from napari_phenldiff.runs.cluster import workers_at
from napari_phenldiff.runs.config import TranslationConfig, validated
from napari_phenldiff.runs.events import Finished, Loading, Noted, Progress, Warned
from napari_phenldiff.runs.folder import Run, check_output_folder
from napari_phenldiff.runs.suitability import Suitability
from napari_phenldiff.runs.translation_settings import settings_of_run

if TYPE_CHECKING:
    from napari_phenldiff.evaluation.evaluate import Evaluation
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.measurement.segmentation.thresholds import Settings

_PART_SECONDS = 0.5
"""Seconds between two reports of how far an image is."""

AnyRun = Run | str | os.PathLike[str]


@dataclass(frozen=True, slots=True, eq=False)
class Control:
    """A run that was trained where conditions do not differ, and how it translates.

    Attributes
    ----------
    run : Run
    translation : TranslationConfig
        As the run that is judged, between the conditions that the control knows.
    """

    run: Run
    translation: TranslationConfig


def evaluate(
    run: AnyRun,
    images: Images,
    out: str | os.PathLike[str],
    profile: str,
    config: EvaluationConfig | None = None,
    *,
    settings: Settings | None = None,
    translation: TranslationConfig | Mapping[str, Any] | None = None,
    shuffled: Sequence[AnyRun] = (),
    half_split: Sequence[AnyRun] = (),
    translated: str | os.PathLike[str] | None = None,
    device: str = "auto",
    z: int | Projection | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    on_event: OnEvent = ignore,
) -> Evaluation:
    """Judge whether what a run shows may be believed, and write a report.

    Parameters
    ----------
    run : Run or path-like
        The run that is judged; it must have a result.
    images : path-like, Dataset, Experiment or mapping of str to sequence of Image
        Images of both conditions, as for `train`. Those that the run was trained on are left out.
    out : path-like
        New folder for ``report.html``, ``metrics.json`` and ``measured.csv``, which appear all at
        once or not at all.
    profile : str
        What is measured, see `measure`; the verdict is about its main column.
    config : EvaluationConfig, optional
        How many images, what is counted, and so on.
    settings : Settings, optional
        Of the profile; its defaults if not given.
    translation : TranslationConfig or mapping, optional
        From what to what, and how; a mapping names those settings that are not left at what suits
        the run, and the run's source and target where it names none.
    shuffled, half_split : sequence of Run or path-like
        Control runs, trained on permuted conditions and on two halves of one condition.
    translated : path-like, optional
        Folder of a translation by this run with the same settings: what is there of the images
        that are judged is not translated again.
    device : str
        ``"auto"`` or a torch device.
    z : int, "max", "mean" or "sum", optional
        Plane (from 0) or projection of files with a z axis.
    workers : int
        Processes of this machine that translate, see `translate`.
    scheduler : str, optional
        Address of a Dask cluster, in place of `workers`.
    on_event : callable
        Told what happens: see :mod:`napari_phenldiff.runs.events`.

    Returns
    -------
    Evaluation
        All numbers (``metrics``, with the ``verdict``) and tables (``measurement``).

    Raises
    ------
    InputError
        If the run has no result, the images are too few or do not fit it, nothing can be
        measured, or `translated` was translated otherwise.

    Examples
    --------
    >>> from napari_phenldiff import evaluate
    >>> found = evaluate("run", "data", "judged", "translocation")  # doctest: +SKIP
    >>> print(found.metrics.verdict.answer, found.metrics.verdict.reason)  # doctest: +SKIP
    """
    opened = _opened(run)
    if not opened.has_adapter:
        raise InputError(f"{opened.path} has no result yet (its state is: {opened.state}).")
    check_output_folder(Path(out))
    translation = _translation(opened, translation)
    reverse = other_way_round(opened, translation.source, translation.target)
    if reverse is not None:
        on_event(Noted(reverse))
    before = None
    if translated is not None:
        asked = identity_of(opened, settings_of_run(opened, translation), z)
        before = TranslationsBefore(Path(translated), asked)
    controls = {
        kind: [_control(kind, _opened(one), translation) for one in runs]
        for kind, runs in (("shuffled", shuffled), ("half-split", half_split))
    }
    conditions = (translation.source, translation.target)
    told: list[str] = []
    if not isinstance(images, Experiment | Mapping):
        images = dataset_of(images, conditions)
        chosen = trained_of(opened, images.channel_names)
        if chosen is not None:
            told.append(left_out_in_words(images.channel_names, chosen))
            images = images.with_channels(chosen)
    experiment = experiment_of(images, conditions, z=z, on_event=on_event)
    check_channels(experiment)
    config = EvaluationConfig() if config is None else config
    prospect = _prospect(opened, experiment.select(conditions), config)
    if prospect:
        on_event(Noted(prospect.removesuffix(".")))
    first = experiment.images[0]
    if other_names(opened, first.path or Path(first.name), first):
        on_event(Noted(OTHER_NAMES.format(", ".join(opened.channel_names))))
    told += [text] if (text := unfinished(opened)) else []
    warnings = (*experiment.left_out, *told, *_about_images(opened, experiment))
    for text in warnings:
        on_event(Warned(text))
    on_event(Loading("Loading the model"))
    from napari_phenldiff.baselines.loading import load_translator
    from napari_phenldiff.evaluation.document import write_document
    from napari_phenldiff.evaluation.evaluate import Model
    from napari_phenldiff.evaluation.evaluate import evaluate as evaluate_model

    started = last = time.monotonic()
    stage = ""

    def on_step(what: str, done: float, total: int) -> None:
        nonlocal started, last, stage
        now, whole = time.monotonic(), int(done)
        if what.partition(",")[0] != stage:
            stage = what.partition(",")[0]
            on_event(Loading(stage[:1].upper() + stage[1:]))
        if done > whole and now - last < _PART_SECONDS:
            return
        last = now
        if not done:
            started = now  # loading the model is no part of it
        left = (now - started) * (total - done) / done if done else None
        on_event(Progress(whole, total, what, left, "step", done - whole))

    with workers_at(workers, scheduler) as where:

        def loaded(run: Run) -> Any:
            translator = load_translator(run, device=device)
            if where.executor is None:
                return translator
            return SharedTranslator(translator, RunToLoad.of(run, device), where)

        result = evaluate_model(
            Model.of_run(opened, loaded(opened)),
            experiment,
            translation,
            config,
            profile,
            settings,
            shuffled=[(loaded(one.run), one.translation) for one in controls["shuffled"]],
            half_split=[(loaded(one.run), one.translation) for one in controls["half-split"]],
            made_before=(lambda image: None) if before is None else before.of,
            warnings=warnings,
            on_step=on_step,
        )
    with make_folder_atomic(Path(out)) as aside:
        result.measurement.write(aside / "measured.csv")
        result.metrics.write(aside / "metrics.json")
        failure = _failure(write_document, aside / "report.html", result)
    if failure is not None:
        on_event(
            Warned(f"The report could not be drawn, but all numbers and the verdict are in {out}")
        )
        raise failure
    on_event(Finished(result.metrics.n_translated))
    return result


def _prospect(run: Run, experiment: Experiment, config: EvaluationConfig) -> str:
    """Refuse what cannot be judged, before a model is loaded; say what can only be undecided.

    Raises
    ------
    InputError
        If too few images are left that the run was not trained on.
    """
    from napari_phenldiff.evaluation.choice import choose
    from napari_phenldiff.evaluation.prospect import why_cannot_tell

    if config.wells is not None:
        check_wells((image.name for image in experiment.images), config.wells)
    told = units_of_images(experiment.images).wells
    chosen = choose(
        experiment,
        run.trained_images,
        config.images,
        with_trained=config.trained_too,
        calibrated=run.calibrated_images,
        paired=config.paired,
        wells=told if config.wells is None else config.wells,
        seed=config.seed,
    )
    real = dict(zip(experiment.names, chosen.measured, strict=False))
    return why_cannot_tell(
        {name: [image.name for image in group] for name, group in real.items()},
        config.wells,
        {name: {i.name: i.part_of for i in group} for name, group in real.items()},
        translated=[image.name for image in chosen.sources],
    )


def _failure(work: Callable[..., object], *given: object) -> Exception | None:
    """Do something after which what was computed before is kept, whether it fails or not."""
    try:
        work(*given)
    except Exception as error:
        return error
    return None


def _opened(run: AnyRun) -> Run:
    return run if isinstance(run, Run) else Run.open(run)


def _translation(
    run: Run, asked: TranslationConfig | Mapping[str, Any] | None
) -> TranslationConfig:
    if isinstance(asked, TranslationConfig):
        return asked
    values = dict(asked or {})
    source, target = direction(run, values.get("source"), values.get("target"))
    return validated(
        TranslationConfig, {**values, "source": source, "target": target}, where="evaluate"
    )


def _about_images(run: Run, experiment: Experiment) -> tuple[str, ...]:
    """Say what makes images unlike those of the run, or refuse them."""
    suitability = Suitability(run)
    for condition in experiment.conditions:
        for image in condition.images:
            suitability.add(condition.name, image)
    suitability.check()
    return suitability.warnings()


def _control(kind: str, run: Run, translation: TranslationConfig) -> Control:
    """Translate as the run that is judged, between the conditions that a control run knows."""
    if not run.has_adapter:
        raise InputError(f"The control run {run.path} has no result yet; train it first.")
    if run.config.control != kind:
        raise InputError(
            f"{run.path} was not trained as such a control (--control {kind}), so it says nothing "
            f"about false conditions (its control is: {run.config.control or 'none'})."
        )
    names = translation.source, translation.target
    if kind != "shuffled" or not set(names) <= set(run.conditions):
        names = run.conditions[0], run.conditions[1]
    return Control(run, translation.model_copy(update={"source": names[0], "target": names[1]}))
