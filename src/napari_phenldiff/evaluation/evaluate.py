"""Evaluate a run on images: translate there and back, measure, compare, and reach a verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_phenldiff.evaluation.appearance import compare_appearance
from napari_phenldiff.evaluation.choice import Chosen, as_bright_as_source, choose, trained_wells
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.controls import (
    Measured,
    control_effect,
    is_reconstruction,
    null_config,
    paired_effect,
)
from napari_phenldiff.evaluation.cycle import (
    Translated,
    Translating,
    back_again,
    is_latent,
    measure_cycle,
    measure_latents,
)
from napari_phenldiff.evaluation.evidence import Effect, Evidence, Rules
from napari_phenldiff.evaluation.identity import measure_identity
from napari_phenldiff.evaluation.memorisation import find_copies
from napari_phenldiff.evaluation.progress import WITHOUT_MODEL, Course, OnStep
from napari_phenldiff.evaluation.schema import Controls, Metrics, Recovered
from napari_phenldiff.evaluation.structure import structure_and_layout
from napari_phenldiff.evaluation.truth import against_truth
from napari_phenldiff.evaluation.verdict import judge, why_no_recovery
from napari_phenldiff.evaluation.wording import NO_PLATE, NO_WELLS, TRAINED_WELLS
from napari_phenldiff.images.channel_names import named_channels
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.naming import count, some_of
from napari_phenldiff.images.wells import EACH_IMAGE, check_wells, well_of_image
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.measurement.statistics.effects import effects
from napari_phenldiff.measurement.statistics.two_groups import OF_INTERVAL
from napari_phenldiff.measurement.statistics.units import (
    Units,
    plates_apart,
    units_of,
    units_of_images,
    wells_by_pattern,
)
from napari_phenldiff.measurement.tables.measurement import Measurement
from napari_phenldiff.runs.calibration import Calibration, calibrated
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.residuals import warning_about_residuals
from napari_phenldiff.settings import in_message

if TYPE_CHECKING:
    import pandas as pd

    from napari_phenldiff.runs.folder import Run


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """The model that is evaluated, and what is known of it.

    Attributes
    ----------
    translator : Translating
    scaling : IntensityScaling
        That the run was trained with.
    trained : frozenset of str
        Hashes of the images it was trained on.
    calibrated : frozenset of str
        Hashes of those that its guidance and freedom were chosen on.
    calibration : Calibration or None
        What was chosen.
    reference_channels : tuple of str
    training : callable
        Gives the images that were trained on.
    provenance : dict
        Where it comes from.
    """

    translator: Translating
    scaling: IntensityScaling
    trained: frozenset[str] = frozenset()
    reference_channels: tuple[str, ...] = ()
    training: Callable[[], Experiment] | None = None
    provenance: dict[str, Any] | None = None
    calibrated: frozenset[str] = frozenset()
    calibration: Calibration | None = None

    @classmethod
    def of_run(cls, run: Run, translator: Translating) -> Model:
        """Take from a run folder what an evaluation needs to know."""
        return cls(
            translator,
            run.scaling,
            run.trained_images,
            tuple(run.reference_channels),
            run.load_experiment,
            {
                "run": str(run.path),
                "run_digest": run.digest,
                "training": run.config.model_dump(mode="json"),
                "trained_with": run.versions,
            },
            run.calibrated_images,
            run.calibration,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The result of an evaluation, with the images and tables that its page shows.

    Attributes
    ----------
    metrics : Metrics
    measurement : Measurement
        Of all groups.
    table : pandas.DataFrame
        Of all effects.
    chosen : Chosen
    reconstructed, translated : tuple of Image
    groups : dict of str to str
        Names of the groups in the measurement, by what they are: ``source``, ``target``,
        ``reconstructed``, ``translated`` and ``null``.
    units : Units
        What was counted.
    """

    metrics: Metrics
    measurement: Measurement
    table: pd.DataFrame
    chosen: Chosen
    reconstructed: tuple[Image, ...]
    translated: tuple[Image, ...]
    groups: dict[str, str]
    units: Units


def evaluate(
    model: Model,
    experiment: Experiment,
    translation: TranslationConfig,
    config: EvaluationConfig,
    profile: str,
    settings: Settings | None = None,
    *,
    shuffled: Sequence[tuple[Translating, TranslationConfig]] = (),
    half_split: Sequence[tuple[Translating, TranslationConfig]] = (),
    rules: Rules | None = None,
    made_before: Callable[[Image], Translated | None] = lambda image: None,
    warnings: Sequence[str] = (),
    on_step: OnStep = lambda what, done, total: None,
) -> Evaluation:
    """Judge a model that translates.

    Parameters
    ----------
    model : Model
    experiment : Experiment
        Holds at least the two conditions of `translation`.
    translation : TranslationConfig
        From what to what, and how.
    config : EvaluationConfig
    profile : str
        Of the measurements; its main column is what the verdict is about.
    settings : Settings, optional
        Of the profile.
    shuffled, half_split : sequence of (Translating, TranslationConfig)
        Models that were trained on permuted conditions, and on two halves of one.
    rules : Rules, optional
        Of the verdict.
    made_before : callable
        Returns what the same model has made of an image with the same settings, if it is there
        already; it is not made again.
    warnings : sequence of str
        What is known of the images beforehand and belongs into the report.
    on_step : callable
        Told what is done, how many steps of the evaluation are done, and how many there are.

    Returns
    -------
    Evaluation

    Raises
    ------
    InputError
        If the images are too few or do not fit, or nothing can be measured.
    """
    started = time.monotonic()
    notes: list[str] = list(warnings)
    # What the translator would do by itself, said so that it is reported.
    translation = calibrated(translation, model.calibration)
    data = experiment.select((translation.source, translation.target))
    if config.wells is not None:
        check_wells((image.name for image in data.images), config.wells)
    units = Units() if config.wells is not None else units_of_images(data.images)
    wells = config.wells if config.wells is not None else units.wells
    chosen = choose(
        data,
        model.trained,
        config.images,
        with_trained=config.trained_too,
        calibrated=model.calibrated,
        paired=config.paired,
        wells=wells,
        seed=config.seed,
    )
    chosen = as_bright_as_source(chosen, model.scaling, translation, notes)
    scaling = model.scaling.of(translation.source)
    sources = chosen.sources
    channels = sources[0].channel_names
    # Raises what is wrong with channels and settings before minutes are spent on translating.
    kept = named_channels(
        model.reference_channels if config.keep is None else config.keep, channels
    )
    measure(profile, {translation.source: sources[:1]}, settings)
    if chosen.left_out:
        notes.append(
            "1 image was left out: the run was trained on it."
            if chosen.left_out == 1
            else f"{chosen.left_out} images were left out: the run was trained on them."
        )
    if chosen.more_source or chosen.more_target:
        notes.append(
            f"Of these, {len(chosen.more_source)} and {len(chosen.more_target)} were measured all "
            "the same, as real images: how far the conditions differ does not depend on what the "
            "run has seen."
        )
    if chosen.aside:
        notes.append(
            f"{count(chosen.aside, 'image')} left out: guidance and freedom were chosen with them."
        )
    if chosen.calibrated_on:
        notes.append(
            f"Guidance and freedom were chosen on {chosen.calibrated_on} of these images, since "
            "hardly any others are left: on new images the effect may be another. Keep more images "
            "aside, with fewer images per condition to train on."
        )

    n = len(sources)
    models = [*shuffled, *half_split]
    n_latent = len(sources[: config.latent_images]) if is_latent(model.translator) else 0
    before = [made_before(image) for image in sources]
    left = [image for image, known in zip(sources, before, strict=True) if known is None]
    null_is_made = is_reconstruction(model.translator, null_config(translation))
    translations = int(not null_is_made) + int(config.cycle) + len(models)
    course = Course(len(left) + n * translations + 2 * n_latent + 5 * WITHOUT_MODEL, on_step)

    def translate(what: str, images: Sequence[Image], how: TranslationConfig) -> list[Translated]:
        stage = course.stage(what, len(images))
        with stage.following(model.translator, len(images)):
            return list(stage.images(model.translator.translate(images, how), len(images)))

    made = [known for known in before if known is not None]
    if left:
        new = iter(translate("translating", left, translation))
        made = [next(new) if known is None else known for known in before]
    translated = _named([m.translated for m in made], sources)
    reconstructed = _named([m.reconstructed for m in made], sources)
    null = reconstructed
    if not null_is_made:
        own = translate("translating to the own condition", sources, null_config(translation))
        null = _named([m.translated for m in own], sources)
    cycles = [measure_cycle("reconstructed", sources, reconstructed, scaling)]
    if config.cycle:
        stage = course.stage("translating back", n)
        with stage.following(model.translator, n):
            back = back_again(model.translator, translated, translation)
        cycles.insert(0, measure_cycle("there and back", sources, back, scaling))

    course.stage("measuring")
    names = _group_names(translation)
    real_source, real_target = chosen.measured
    measurement = measure(
        profile,
        {
            names["source"]: real_source,
            names["target"]: real_target,
            names["reconstructed"]: reconstructed,
            names["translated"]: translated,
            names["null"]: null,
        },
        settings,
        fit_on=(names["source"], names["target"]),
    )
    assert measurement.outcome is not None
    measurement.outcome.check()
    notes += measurement.outcome.about_lacking()
    notes += measurement.outcome.about_numbers()
    not_exact = warning_about_residuals(getattr(m, "residual", None) for m in made)
    if not_exact is not None:
        notes.append(not_exact)
    if config.wells is not None:
        units = units_of(measurement, wells_by_pattern(measurement, config.wells))
    elif units.wells is None:
        units = units_of(measurement)  # with a caution, if there are several plates
    table = effects(
        measurement,
        source=names["source"],
        target=names["target"],
        translated=names["translated"],
        reconstructed=names["reconstructed"],
        wells=units,
        seed=config.seed,
    )
    main = measurement.main_column
    measured = Measured(profile, measurement.settings, measurement.thresholds, main, wells)
    rows = {str(r["effect"]): r for r in table[table["measurement"] == main].to_dict("records")}
    real_effect, made_effect = (Effect.from_row(rows[name]) for name in ("real", "translated"))
    rules = rules or Rules()
    recovered = _recovered(rows["translated"], real_effect, rules)
    table = _as_the_verdict(table, rules)
    # The images to be translated are the first of the real ones.
    real = measurement.values(names["source"])[: len(sources)]
    null_effect = paired_effect(*measured.by_well(sources, real, measurement.values(names["null"])))
    false: dict[str, tuple[Effect, ...]] = {}
    for kind, given in (("shuffled", shuffled), ("half_split", half_split)):
        found = []
        for translator, how in given:
            stage = course.stage(f"translating with a control run ({kind.replace('_', ' ')})", n)
            with stage.following(translator, n):
                found.append(control_effect(translator, sources, how, measured))
        false[kind] = tuple(found)
    truth = None
    if chosen.counterparts is not None:
        truth = against_truth(
            sources, reconstructed, translated, chosen.counterparts, scaling, measured
        )

    course.stage("looking at what should not change")
    identity, nuclei_kept, correlation_kept = measure_identity(
        chosen,
        reconstructed,
        translated,
        kept,
        notes,
        wells,
        [name for name in channels if name in model.reference_channels],
    )
    course.stage("measuring structure")
    # What the model is given it leaves as it is, whichever channels the user named.
    fixed = tuple(dict.fromkeys((*kept, *identity.given)))
    structure = structure_and_layout(
        chosen, reconstructed, translated, fixed, wells, config.seed, notes
    )
    course.stage("comparing features and training a classifier")
    seen = compare_appearance(
        chosen, reconstructed, translated, scaling, wells, config.fid, config.seed,
        notes, units.counted,
    )  # fmt: skip
    course.stage("looking for training images")
    memorised = find_copies(
        model.training, translation.target, chosen, translated, model.scaling, notes,
        translation.source, identity.given,
    )  # fmt: skip
    latent = None
    if n_latent:
        stage = course.stage("sending latents there and back", 2 * n_latent)
        latent = measure_latents(
            model.translator,
            sources[:n_latent],
            translation,
            on_image=lambda done: stage.at(done, n_latent),
        )
    course.end()
    _warn_about_wells(model, chosen, config.wells, units, notes)
    cautions = _cautions(rows, units)
    if not any(note.startswith(NO_PLATE) for note in notes):
        apart = plates_apart(measurement, names["source"], names["target"], units)
        cautions += (apart,) if apart else ()
    notes += [text for text in cautions if text not in notes]

    verdict = judge(
        Evidence(
            real=real_effect,
            translated=made_effect,
            recovery=(recovered.value, recovered.low, recovered.high),
            null=null_effect,
            shuffled=false["shuffled"],
            half_split=false["half_split"],
            nuclei_kept=nuclei_kept,
            correlation_kept=correlation_kept,
            own_source=identity.own_source,
            copies=None if memorised is None else memorised.copies,
            trained_on=chosen.trained_on,
            structure=() if structure is None else structure.measures,
            classifier=seen.classified,
            cells=identity.cells,
            given=identity.given,
        ),
        rules,
    )
    metrics = Metrics(
        source=translation.source,
        target=translation.target,
        profile=profile,
        measurement=main,
        counted=units.counted,
        n_translated=len(sources),
        verdict=verdict,
        rules=rules,
        recovery=recovered,
        effects=tuple(
            {str(key): _plain(value) for key, value in one.items()}
            for one in table.to_dict("records")
        ),
        distances=tuple(seen.distances),
        fid=seen.fid,
        cycle=tuple(cycles),
        latent_cycle=latent,
        classifier=seen.classified,
        identity=identity,
        structure=structure,
        memorisation=memorised,
        controls=Controls(
            null=null_effect,
            shuffled=false["shuffled"],
            half_split=false["half_split"],
            truth=truth,
        ),
        notes=tuple(notes),
        cautions=cautions,
        provenance={
            **(model.provenance or {}),
            "data_digest": data.digest(),
            "channels": list(channels),
            "reference_channels": list(model.reference_channels),
            "translation": translation.model_dump(mode="json"),
            "evaluation": config.model_dump(mode="json"),
            "measurement_settings": measurement.settings.model_dump(mode="json"),
            "thresholds": {name: _plain(x) for name, x in measurement.thresholds.items()},
            "translated_images": [image.name for image in sources],
            "largest_inversion_residual": max(
                (float(getattr(m, "residual", np.nan)) for m in made), default=np.nan
            ),
            "seconds": round(time.monotonic() - started, 1),
        },
    )
    return Evaluation(
        metrics,
        measurement,
        table,
        chosen,
        tuple(reconstructed),
        tuple(translated),
        names,
        units,
    )


def _named(made: Sequence[Image], sources: Sequence[Image]) -> list[Image]:
    """Give what was made the names, the pixel size and the wells of its sources."""
    return [
        replace(
            image,
            name=source.name,
            pixel_size=source.pixel_size,
            path=None,
            part_of=source.part_of,
            site=source.site,
        )
        for image, source in zip(made, sources, strict=True)
    ]


def _group_names(translation: TranslationConfig) -> dict[str, str]:
    """Name the groups; conditions keep their names, whatever they are."""
    names = {"source": translation.source, "target": translation.target}
    for kind, name in (
        ("reconstructed", "reconstructed"),
        ("translated", "translated"),
        ("null", "own condition"),
    ):
        while name in names.values():
            name = f"{name} (model)"
        names[kind] = name
    return names


def _recovered(row: Mapping[str, Any], real: Effect, rules: Rules) -> Recovered:
    """Take the recovered part of the real effect from its row, if the verdict may speak of it."""
    value, low, high = (float(row[f"recovery{end}"]) for end in ("", "_low", "_high"))
    why = why_no_recovery(real, (value, low, high), rules)
    if why:
        value = low = high = np.nan
    return Recovered(value=value, low=low, high=high, reason=why)


def _as_the_verdict(table: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """Leave out of a table of effects the recoveries that the verdict would not speak of."""
    table = table.copy()
    real = {str(r["measurement"]): r for r in table.to_dict("records") if r["effect"] == "real"}
    for at, row in table[table["effect"] == "translated"].iterrows():
        effect = Effect.from_row(real[str(row["measurement"])])
        found = _recovered(row, effect, rules)
        if not np.isnan(found.value):
            continue
        # what the note says already is why there is no interval
        if not np.isnan(row["recovery_low"]):
            table.loc[at, "note"] = found.reason
        table.loc[at, ["recovery", "recovery_low", "recovery_high"]] = np.nan
    return table


def _warn_about_wells(
    model: Model, chosen: Chosen, pattern: str | None, units: Units, notes: list[str]
) -> None:
    """Tell if images come from wells that were trained on, or if wells are not known."""
    if units.wells is None:
        if pattern == EACH_IMAGE:
            judged = units_of_images((*chosen.real_source, *chosen.real_target), each=True)
            notes += [judged.caution] if judged.caution else []
        if pattern is None:
            notes.append(
                units.caution
                or f"{NO_WELLS}. Where several come from one well they are less independent than "
                "that, and p-values and intervals too good: name the wells with "
                f"{in_message(EvaluationConfig, 'wells')}."
            )
        return
    if pattern is None:
        notes.append(
            f"Counted are {units.counted}, as the names of the images tell them; if these are "
            f"read wrongly, say how to find them with {in_message(EvaluationConfig, 'wells')}."
        )
    if model.training is None:
        return
    known = trained_wells(model.training, pattern)
    assert not isinstance(units.wells, str)
    used = {
        well_of_image(image, units.wells) for image in (*chosen.real_source, *chosen.real_target)
    }
    if known & used:
        notes.append(
            f"{TRAINED_WELLS} {some_of(len(known & used), len(used), units.one)} were trained on: "
            f"what a {units.one} has of its own, the run may know."
        )


def _cautions(rows: Mapping[str, Mapping[str, Any]], units: Units) -> tuple[str, ...]:
    """Say of the main measurement what tables of `measure` say of what is counted."""
    told = [units.caution] if units.caution else []
    for name, row in rows.items():
        _, begins, rest = str(row["note"]).partition(OF_INTERVAL)
        if begins:
            told.append(f"{name.capitalize()} effect: {begins[0].lower()}{begins[1:]}{rest}")
    return tuple(told)


def _plain(value: Any) -> Any:
    """Return what JSON can hold of a number."""
    return value.item() if isinstance(value, np.generic) else value
