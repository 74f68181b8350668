"""Measure groups of images with one of the profiles, into tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.measurement.profiles.channels import with_channels
from napari_phenldiff.measurement.profiles.fitting import (
    complete_thresholds,
    fit_thresholds,
    fitted_parts,
)
from napari_phenldiff.measurement.profiles.profile import ImageResult, Profile, as_labels
from napari_phenldiff.measurement.segmentation.segment import (
    SegmentationSettings,
    Segmenter,
)
from napari_phenldiff.measurement.segmentation.segmenters import (
    NOTHING_YET,
    Given,
    GivenLabels,
    LabelFolder,
    Numbering,
    objects_field,
    with_segmenter,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.measurement.tables.measurement import Measurement, cell_table, image_table
from napari_phenldiff.measurement.tables.outcome import Outcome

Groups = Mapping[str, Iterable[Image]]


def measure(
    profile: str,
    groups: Groups,
    settings: Settings | None = None,
    *,
    fit_on: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
    segmenter: Segmenter | None = None,
    given_labels: GivenLabels | None = None,
    on_image: Callable[[int], None] | None = None,
    on_objects: Callable[[str, np.ndarray], None] | None = None,
) -> Measurement:
    """Measure images, one row for each.

    An image that cannot be measured gives a row without values and with a reason, not an error.

    Parameters
    ----------
    profile : str
        Name of one of `PROFILES`.
    groups : mapping of str to iterable of Image
        Images per condition. Translated images are groups of their own. The images are gone
        through once for the thresholds and once for the measurement: what can be gone through
        only once (a generator) is read into memory.
    settings : Settings, optional
        Settings of the profile; its defaults if not given.
    fit_on : sequence of str, optional
        Groups that the thresholds for the whole experiment come from: the real images, so that
        translated ones are measured with the same thresholds. By default all groups.
    thresholds : mapping of str to float, optional
        Thresholds of an earlier measurement, to be used instead of fitting. What lacks is fitted.
    segmenter : callable, optional
        What cuts out the nuclei, or what else the profile measures first, in place of thresholds:
        from a plane of shape (Y, X) in grey values to labels of that shape, 0 is background.
    given_labels : callable, optional
        From the name of a group and an image to its labels, in place of `segmenter`: a
        `LabelFolder`, or what looks them up in a labels layer.
    on_image : callable, optional
        Called with the number of images measured so far. What it raises ends the measurement.
    on_objects : callable, optional
        Called for each image with its condition and what `labels` would give for it.

    Returns
    -------
    Measurement

    Raises
    ------
    InputError
        If there is no such profile, the settings are another profile's, `fit_on` names an
        unknown group, there are no images, or none has the channels that the settings name.
    """
    chosen = find_profile(profile)
    settings = checked_settings(chosen, settings, list(groups), fit_on)
    if given_labels is not None:
        settings = with_segmenter(settings, NOTHING_YET)
    elif segmenter is not None:
        settings = with_segmenter(settings, segmenter)
    groups = {
        name: list(images) if isinstance(images, Iterator) else images
        for name, images in groups.items()
    }
    check = given_labels.checking() if isinstance(given_labels, LabelFolder) else None
    names = (image.channel_names for images in groups.values() for image in images)
    with closing(names):  # lets go of the image that was looked at
        settings = with_channels(chosen, settings, names)
    known = dict(thresholds or {})
    doubts: list[str] = []
    if any(name not in known for name in fitted_parts(chosen, settings)):
        fitting = (image for name in fit_on or groups for image in groups[name])
        known = fit_thresholds(chosen, fitting, settings, doubts.append) | known

    rows: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    lacking: list[InputError] = []
    outcome = Outcome(chosen.suited(settings), doubts)
    for condition, images in groups.items():
        for image in images:
            if check is not None:
                check(condition, image.name, image.path)
            row = measure_row(chosen, condition, image, settings, known, given_labels)
            rows.append(row.values)
            outcome.add(row.values, image)
            if row.cells:
                cells.append(row.cells)
            if row.error is not None:
                lacking.append(row.error)
            if on_objects is not None:
                on_objects(condition, as_labels(row.objects, image))
            if on_image is not None:
                on_image(len(rows))
    if not rows:
        raise InputError("There are no images to measure: give a folder or layers with some.")
    if len(lacking) == len(rows):
        raise lacking[0]
    return Measurement(
        profile=chosen.suited(settings),
        images=image_table(chosen, rows),
        cells=cell_table(chosen, cells) if chosen.cell_columns else None,
        settings=settings,
        thresholds=known,
        outcome=outcome,
    )


@dataclass(frozen=True, slots=True)
class Row:
    """What an image gives the tables.

    Parameters
    ----------
    values : dict of str to object
        Its row in the table of images.
    cells : dict of str to object
        Its columns of the table of cells; empty if it has none.
    objects : numpy.ndarray of shape (Y, X) or None
        As in `ImageResult`.
    error : InputError or None
        Why it does not fit the settings at all, if it does not.
    """

    values: dict[str, Any]
    cells: dict[str, Any]
    objects: np.ndarray | None = None
    error: InputError | None = None


def measure_row(
    profile: Profile[Any],
    condition: str,
    image: Image,
    settings: Settings,
    thresholds: Mapping[str, float],
    given_labels: GivenLabels | None = None,
) -> Row:
    """Measure one image for the tables; what cannot be measured gives a reason."""
    error = None
    try:
        if given_labels is not None:
            settings = with_segmenter(settings, Given(given_labels(condition, image)))
        result = measure_image(profile, image, settings, thresholds)
    except InputError as raised:
        error, result = raised, ImageResult({}, reason=str(raised))
    key = {"image": image.name, "condition": condition}
    # Only tables of stacks have this column, and only those of plates the others.
    part = {} if image.part_of is None else {"part_of": image.part_of}
    part |= {} if image.site is None else image.site.columns()
    values = {**key, **result.values, **part, "reason": result.reason}
    return Row(values, {**key, **result.cells} if result.cells else {}, result.objects, error)


def checked_settings(
    profile: Profile[Any],
    settings: Settings | None,
    groups: Sequence[str],
    fit_on: Sequence[str] | None,
) -> Any:
    """Return the settings, or the profile's defaults, if they and `fit_on` are sound.

    Raises
    ------
    InputError
        If the settings are another profile's, or `fit_on` names an unknown group.
    """
    settings = settings if settings is not None else profile.settings_type()
    if not isinstance(settings, profile.settings_type):
        raise InputError(
            f'The profile "{profile.name}" takes {profile.settings_type.__name__}, '
            f"not {type(settings).__name__}: give it settings of its own."
        )
    unknown = [name for name in fit_on or () if name not in groups]
    if unknown:
        raise InputError(
            f"There is no group {quoted(unknown)} to fit thresholds on: "
            f"choose from {quoted(list(groups))}."
        )
    return settings


def measure_image(
    profile: Profile[Any], image: Image, settings: Settings, thresholds: Mapping[str, float]
) -> ImageResult:
    """Measure one image; thresholds that are missing are found in the image itself.

    Raises
    ------
    InputError
        If the image lacks a channel that the settings name.
    """
    settings = with_channels(profile, settings, [image.channel_names])
    doubts: list[str] = []
    complete = complete_thresholds(profile, image, settings, thresholds, doubts.append)
    field = objects_field(settings)
    segmentation: SegmentationSettings = getattr(settings, field)
    if segmentation.segmenter is None:
        result = profile.measure(image, settings, complete)
    else:
        numbering = Numbering(segmentation.segmenter)
        result = profile.measure(image, with_segmenter(settings, numbering), complete)
        result = _under_own_numbers(result, numbering)
        if field == "nuclei":  # an area is the same in however many pieces
            doubts.append(numbering.doubt)
    if any(doubts):
        reason = "; ".join(dict.fromkeys(filter(None, (result.reason, *doubts))))
        result = replace(result, reason=reason)
    # Thresholds are infinite where a segmenter cuts objects out: they are left out of the table.
    values = {name: value for name, value in result.values.items() if not _endless(value)}
    return result if len(values) == len(result.values) else replace(result, values=values)


def _under_own_numbers(result: ImageResult, numbering: Numbering) -> ImageResult:
    """Give the objects of an image the numbers that the segmenter gave them."""
    if "label" not in result.cells or result.objects is None:
        return result
    cells = {**result.cells, "label": numbering.numbered(result.cells["label"].astype(int))}
    return replace(result, cells=cells, objects=numbering.numbered(result.objects))


def _endless(value: object) -> bool:
    return isinstance(value, float) and math.isinf(value)


def labels(
    profile: str,
    image: Image,
    settings: Settings | None = None,
    *,
    thresholds: Mapping[str, float] | None = None,
) -> np.ndarray:
    """Give the objects that a profile measures in an image, to be looked at.

    Parameters
    ----------
    profile : str
        Name of one of `PROFILES`.
    image : Image
    settings : Settings, optional
        Settings of the profile; its defaults if not given.
    thresholds : mapping of str to float, optional
        `Measurement.thresholds`; without them, they are found in this image alone.

    Returns
    -------
    numpy.ndarray of shape (Y, X), int32
        0 is background; the numbers are those in the table of cells. All 0 if the image cannot
        be measured.

    Raises
    ------
    InputError
        If there is no such profile, or the image lacks a channel that the settings name.
    """
    chosen = find_profile(profile)
    settings = settings if settings is not None else chosen.settings_type()
    settings = with_channels(chosen, settings, [image.channel_names])
    complete = complete_thresholds(chosen, image, settings, thresholds or {})
    return chosen.labels(image, settings, complete)
