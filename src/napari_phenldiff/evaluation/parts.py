"""The parts of an evaluation, each put into the form in which it is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation import schema
from napari_phenldiff.evaluation.choice import Chosen, cut_tiles
from napari_phenldiff.evaluation.classifier import Classified, classify
from napari_phenldiff.evaluation.cycle import (
    Translating,
    cycle_error,
    is_latent,
    latent_cycle,
)
from napari_phenldiff.evaluation.distance_table import (
    COPY,
    REAL,
    RECONSTRUCTED,
    TRANSLATED,
    DistanceRow,
    distance_table,
    inception_distance,
    split_target,
)
from napari_phenldiff.evaluation.evidence import Cells, Effect
from napari_phenldiff.evaluation.features import extract_features
from napari_phenldiff.evaluation.identity import (
    NucleiMatch,
    correlations,
    kept_nuclei,
    nuclei_in,
    nuclei_thresholds,
    own_source,
)
from napari_phenldiff.evaluation.memorisation import nearest_training
from napari_phenldiff.evaluation.structure import layouts, measure_structure
from napari_phenldiff.images.channel_names import nuclei_channel
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.wells import Wells, well_of
from napari_phenldiff.measurement.statistics.units import units_of_images
from napari_phenldiff.runs.config import TranslationConfig

LARGEST_TILE = 256
"""Side in pixels of what is shown to the network at once; larger images are cut."""
AS_GOOD_AS_A_COPY = 0.95
"""Centred cosine similarity with a training image from which on an image is its copy, provided
that no real image that was not trained on is as similar to one."""


def as_bright_as_source(
    chosen: Chosen, scaling: IntensityScaling, translation: TranslationConfig, notes: list[str]
) -> Chosen:
    """Show real target images as bright as the source, where brightness was a batch effect.

    A translated image keeps the brightness of its source in these channels. Held against images as
    they are, it would lack what nobody wants to see.
    """
    source, target = translation.source, translation.target
    normalised = scaling.normalised
    if not normalised or source == target:
        return chosen

    def shown(images: Sequence[Image]) -> tuple[Image, ...]:
        return tuple(scaling.regrade(image, target, source) for image in images)

    notes.append(
        f"{', '.join(normalised)} of real {target} images is shown in the brightness of {source}: "
        "in the training its difference was taken for a batch effect."
    )
    counterparts = chosen.counterparts
    return replace(
        chosen,
        real_target=shown(chosen.real_target),
        counterparts=None if counterparts is None else shown(counterparts),
    )


def cycle(
    what: str, before: Sequence[Image], after: Sequence[Image], scaling: IntensityScaling
) -> schema.Cycle:
    """Sum up how far images are from what they were."""
    found = cycle_error(before, after, scaling)
    return schema.Cycle(
        what=what,
        image_shape=before[0].shape,
        norm=schema.Spread.of(found.norm),
        rmse=schema.Spread.of(found.rmse),
        rmse_grey=_by_channel(before[0], found.rmse_grey),
    )


def latents(
    translator: Translating, images: Sequence[Image], translation: TranslationConfig
) -> schema.LatentCycles | None:
    """Measure the cycle of latents, of models that have them."""
    if not images or not is_latent(translator):
        return None
    found = latent_cycle(translator, images, translation)  # type: ignore[arg-type]
    return schema.LatentCycles(
        rmse=schema.Spread.of(found.rmse),
        relative=schema.Spread.of(found.relative),
        floor=schema.Spread.of(found.floor),
        floor_norm=schema.Spread.of(found.floor_norm),
    )


def identity(
    chosen: Chosen,
    reconstructed: Sequence[Image],
    translated: Sequence[Image],
    keep: Sequence[str],
    notes: list[str],
    wells: Wells | None = None,
) -> tuple[schema.Identity, float | None, float | None]:
    """Measure what should not change.

    Returns
    -------
    found : Identity
    nuclei_kept, correlation_kept : float or None
        What the verdict goes by: of channels that should stay, if there are any.
    """
    names = chosen.sources[0].channel_names
    inside = correlations(reconstructed, translated)
    whole = correlations(chosen.sources, translated)
    nuclei = nuclei_channel(keep) or nuclei_channel(names)
    kept = overlap = distance = cells = None
    if nuclei is None:
        notes.append(
            "Cells lost or invented were not counted: no channel is named like one of nuclei."
        )
    else:
        fit_on = (*chosen.real_source, *chosen.real_target)
        try:
            found = kept_nuclei(reconstructed, translated, nuclei, fit_on)
        except InputError as error:
            notes.append(f"Nuclei were not matched: {error}")
        else:
            cells = _cells(chosen, found, nuclei, wells)
            kept = schema.Spread.of([match.kept for match in found])
            overlap = schema.Spread.of([match.overlap for match in found])
            distance = schema.Spread.of([match.distance for match in found])
    medians = [schema.Spread.of(inside[:, names.index(name)]).median for name in keep]
    if not keep:
        notes.append("No channel is known that should stay as it is; name some with --keep.")
    part = schema.Identity(
        kept_channel=", ".join(keep) or None,
        correlation=_by_channel(chosen.sources[0], inside),
        correlation_with_real=_by_channel(chosen.sources[0], whole),
        nuclei_channel=nuclei,
        nuclei_kept=kept,
        nuclei_overlap=overlap,
        nuclei_distance_px=distance,
        own_source=own_source(chosen.sources, translated),
        cells=cells,
    )
    judged = kept.median if kept is not None and nuclei in keep else None
    known = [value for value in medians if not math.isnan(value)]
    correlation = (min(known) if known else math.nan) if keep else None
    return part, judged, correlation


def structure(
    chosen: Chosen,
    reconstructed: Sequence[Image],
    translated: Sequence[Image],
    keep: Sequence[str],
    wells: Wells | None,
    seed: int,
    notes: list[str],
) -> schema.Structure | None:
    """Measure the structure of all four groups, brightness aside, and the layout."""
    try:
        measures = measure_structure(
            chosen.real_source,
            chosen.real_target,
            reconstructed,
            translated,
            [well_of(image.name, wells) for image in chosen.real_source],
            [well_of(image.name, wells) for image in chosen.real_target],
            keep,
            seed=seed,
        )
    except InputError as error:
        notes.append(f"Structure was not measured: {error}")
        return None
    first = chosen.sources[0]
    return schema.Structure(
        measures=measures,
        layout=_by_channel(first, layouts(chosen.sources, translated)),
        layout_reconstructed=_by_channel(first, layouts(chosen.sources, reconstructed)),
    )


def _cells(
    chosen: Chosen, found: Sequence[NucleiMatch], channel: str, wells: Wells | None
) -> Cells:
    """Count cells in all groups; real ones per image, or per well where these are named."""
    from napari_phenldiff.measurement.statistics.compare import compare

    thresholds = nuclei_thresholds((*chosen.real_source, *chosen.real_target), channel)
    real = []
    for images in (chosen.real_source, chosen.real_target):
        numbers = np.array([nuclei_in(image, channel, thresholds).max() for image in images], float)
        names = np.array([well_of(image.name, wells) for image in images])
        groups = range(len(images)) if wells is None else dict.fromkeys(names)
        index = np.arange(len(images)) if wells is None else names
        real.append(np.array([numbers[index == group].mean() for group in groups]))
    n_before, n_after = sum(x.n_before for x in found), sum(x.n_after for x in found)
    source, target = (float(numbers.mean()) for numbers in real)
    return Cells(
        channel,
        n_before,
        n_after,
        sum(x.n_same for x in found),
        (n_after - n_before) / len(found),
        Effect.from_comparison(compare(*real)),
        target / source if source else math.nan,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """What networks say of images; empty where they cannot be asked."""

    distances: list[DistanceRow]
    fid: dict[str, float] | None
    classified: Classified | None


def appearance(
    chosen: Chosen,
    reconstructed: Sequence[Image],
    translated: Sequence[Image],
    scaling: IntensityScaling,
    wells: Wells | None,
    fid: bool,
    seed: int,
    notes: list[str],
) -> Appearance:
    """Measure distances to real target images, and ask a classifier."""
    side = _side((*chosen.real_source, *chosen.real_target))
    sets = {
        "source": chosen.real_source,
        "target": chosen.real_target,
        RECONSTRUCTED: reconstructed,
        TRANSLATED: translated,
    }
    tiles: dict[str, np.ndarray] = {}
    groups: dict[str, list[str]] = {}
    for name, images in sets.items():
        cut, names = cut_tiles(images, side)
        tiles[name] = np.stack([scaling.apply(tile) for tile in cut])
        groups[name] = [well_of(image, wells) for image in names]
    if any(len(set(groups[name])) < 2 for name in ("source", "target")):
        notes.append(
            "All images of a condition come from one well or field: the classifier and the floor "
            "of the distances share their images out one by one, and say too much of them."
        )
        for name, images in sets.items():
            groups[name] = cut_tiles(images, side)[1]
    n_made = len(tiles[TRANSLATED])
    tiles[COPY] = tiles["source"][:n_made]
    rows: list[DistanceRow] = []
    classified = found_fid = None
    try:
        # Networks see the range that was trained on; what lies outside is clipped there, too.
        features = {name: extract_features(np.clip(x, -1, 1)) for name, x in tiles.items()}
    except InputError as error:
        notes.append(f"Neither distances nor a classifier: {error}")
        return Appearance(rows, None, None)
    try:
        split = split_target(groups["target"], n_made, seed=seed)
        made = {name: features[name] for name in (TRANSLATED, RECONSTRUCTED, COPY)}
        channels = chosen.sources[0].channel_names
        rows = distance_table(made, features["target"], split, channels, seed=seed)
        if fid:
            reference = tiles["target"][split.reference]
            compared = {name: tiles[name][: split.n] for name in made}
            compared[REAL] = tiles["target"][split.other]
            found_fid = {
                name: inception_distance(images, reference) for name, images in compared.items()
            }
    except InputError as error:
        notes.append(str(error))
    try:
        classified = classify(
            features["source"].composite,
            features["target"].composite,
            groups["source"],
            groups["target"],
            features[TRANSLATED].composite,
            features[RECONSTRUCTED].composite,
            groups[TRANSLATED],
            seed=seed,
        )
    except InputError as error:
        notes.append(str(error))
    return Appearance(rows, found_fid, classified)


def memorisation(
    training: Callable[[], Experiment] | None,
    target: str,
    chosen: Chosen,
    translated: Sequence[Image],
    scaling: IntensityScaling,
    notes: list[str],
    source: str | None = None,
) -> schema.Memorisation | None:
    """Look for translated images among the training images of the target condition.

    All but these are in the grey values of the condition `source`, where one is named.
    """
    if training is None:
        notes.append("Whether images were memorised is not known: no training images are known.")
        return None
    try:
        images = training()[target].images
    except InputError as error:
        notes.append(f"Whether images were memorised is not known: {error}")
        return None
    if source is not None:
        images = tuple(scaling.regrade(image, target, source) for image in images)
        scaling = scaling.of(source)
    side = _side((*images, *translated, *chosen.real_target))
    known, made, other = (
        np.stack([scaling.apply(tile) for tile in cut_tiles(group, side)[0]])
        for group in (images, translated, chosen.real_target)
    )
    found, real = nearest_training(made, known), nearest_training(other, known)
    limit = max(AS_GOOD_AS_A_COPY, float(real.centred.max()))
    if chosen.trained_on:
        # training images are copies of themselves and tell nothing
        limit = AS_GOOD_AS_A_COPY
    return schema.Memorisation(
        n_training=found.n_training,
        copies=float((found.centred > limit).mean()),
        translated=schema.Spread.of(found.centred),
        held_out=schema.Spread.of(real.centred),
        translated_raw=schema.Spread.of(found.raw),
        held_out_raw=schema.Spread.of(real.raw),
    )


def trained_wells(training: Callable[[], Experiment], wells: Wells | None) -> set[str]:
    """Name the wells of the images that were trained on; none if they cannot be read.

    Parameters
    ----------
    training : callable
        Gives the images that were trained on.
    wells : str or None
        Pattern that finds the well in the names; None for what the names tell themselves.
    """
    try:
        images = training().images
        found = wells if wells is not None else units_of_images(images).wells
        return {well_of(image.name, found) for image in images}
    except InputError:
        return set()


def _side(images: Sequence[Image]) -> int:
    return min(LARGEST_TILE, *(min(image.shape) for image in images))


def _by_channel(image: Image, values: np.ndarray) -> dict[str, schema.Spread]:
    return {
        name: schema.Spread.of(column)
        for name, column in zip(image.channel_names, values.T, strict=True)
    }
