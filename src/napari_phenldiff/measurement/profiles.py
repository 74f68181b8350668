"""Measure groups of images with one of the profiles, and keep the tables."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.measurement.area import Area
from napari_phenldiff.measurement.interface import (
    Channel,
    ImageResult,
    Profile,
    measurable_plane,
)
from napari_phenldiff.measurement.segment import SegmentationSettings, components, prepare
from napari_phenldiff.measurement.tables import Measurement as Measurement
from napari_phenldiff.measurement.tables import cell_table, image_table
from napari_phenldiff.measurement.threshold import PixelPool, Settings, fit_threshold
from napari_phenldiff.measurement.translocation import Translocation

PROFILES: dict[str, Profile[Any]] = {profile.name: profile for profile in (Translocation(), Area())}

Groups = Mapping[str, Iterable[Image]]


def measure(
    profile: str,
    groups: Groups,
    settings: Settings | None = None,
    *,
    fit_on: Sequence[str] | None = None,
    thresholds: Mapping[str, float] | None = None,
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
    settings = settings if settings is not None else chosen.settings_type()
    if not isinstance(settings, chosen.settings_type):
        raise InputError(
            f'The profile "{profile}" takes {chosen.settings_type.__name__}, '
            f"not {type(settings).__name__}: give it settings of its own."
        )
    unknown = [name for name in fit_on or () if name not in groups]
    if unknown:
        raise InputError(
            f"There is no group {quoted(unknown)} to fit thresholds on: "
            f"choose from {quoted(list(groups))}."
        )
    groups = {
        name: list(images) if isinstance(images, Iterator) else images
        for name, images in groups.items()
    }
    known = dict(thresholds or {})
    if any(name not in known for name in _fitted_parts(chosen, settings)):
        fitting = (image for name in fit_on or groups for image in groups[name])
        known = fit_thresholds(chosen, fitting, settings) | known

    rows: list[dict[str, Any]] = []
    cells: list[dict[str, Any]] = []
    lacking: list[InputError] = []
    for condition, images in groups.items():
        for image in images:
            try:
                result = measure_image(chosen, image, settings, known)
            except InputError as error:
                lacking.append(error)
                result = ImageResult({}, reason=str(error))
            key = {"image": image.name, "condition": condition}
            rows.append({**key, **result.values, "reason": result.reason})
            if result.cells:
                cells.append({**key, **result.cells})
            if on_objects is not None:
                on_objects(condition, _as_labels(result.objects, image))
            if on_image is not None:
                on_image(len(rows))
    if not rows:
        raise InputError("There are no images to measure: give a folder or layers with some.")
    if len(lacking) == len(rows):
        raise lacking[0]
    return Measurement(
        profile=chosen,
        images=image_table(chosen, rows),
        cells=cell_table(chosen, cells) if chosen.cell_columns else None,
        settings=settings,
        thresholds=known,
    )


def _as_labels(objects: np.ndarray | None, image: Image) -> np.ndarray:
    if objects is None:
        return np.zeros(image.shape, np.int32)
    return components(objects) if objects.dtype.kind == "b" else objects


def measure_image(
    profile: Profile[Any], image: Image, settings: Settings, thresholds: Mapping[str, float]
) -> ImageResult:
    """Measure one image; thresholds that are missing are found in the image itself.

    Raises
    ------
    InputError
        If the image lacks a channel that the settings name.
    """
    complete = complete_thresholds(profile, image, settings, thresholds)
    return profile.measure(image, settings, complete)


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
    complete = complete_thresholds(chosen, image, settings, thresholds or {})
    return chosen.labels(image, settings, complete)


def fit_thresholds(
    profile: Profile[Any], images: Iterable[Image], settings: Settings
) -> dict[str, float]:
    """Find the thresholds for a whole experiment.

    Parameters
    ----------
    profile : Profile
    images : iterable of Image
        Gone through once. Images that cannot be measured are left out.
    settings : Settings
        Settings of the profile.

    Returns
    -------
    dict of str to float
        For each part that the profile cuts out with one threshold for the experiment. NaN if
        none can be found in these images.
    """
    parts = _fitted_parts(profile, settings)
    # A number needs no pixels, and reading a thousand fields takes a while.
    fitted = {n: p for n, p in parts.items() if isinstance(p[1].threshold.method, str)}
    pools = {name: PixelPool() for name in parts}
    for image in images if fitted else ():
        for name, (channel, segmentation) in fitted.items():
            values = _measurable_pixels(image, channel, segmentation)
            if values is not None:
                pools[name].add(values)
    return {
        name: fit_threshold(pools[name].values, segmentation.threshold)
        for name, (_, segmentation) in parts.items()
    }


def threshold_basis(profile: Profile[Any], settings: Settings) -> tuple[tuple[str, Hashable], ...]:
    """Return all that the thresholds for an experiment depend on, apart from its images.

    Pairs of the name of a part and what its threshold depends on; settings of which these are
    equal have the same thresholds.
    """
    return tuple(
        (
            name,
            (
                channel,
                segmentation.background_radius,
                segmentation.threshold.model_copy(update={"smoothing": 0.0}),
            ),
        )
        for name, (channel, segmentation) in _fitted_parts(profile, settings).items()
    )


def _fitted_parts(
    profile: Profile[Any], settings: Settings
) -> dict[str, tuple[Channel, SegmentationSettings]]:
    return {
        name: part
        for name, part in profile.segmented(settings).items()
        if part[1].threshold.scope == "experiment"
    }


def find_profile(name: str) -> Profile[Any]:
    """Look up a profile by its name; InputError if there is none."""
    if name not in PROFILES:
        raise InputError(
            f'There is no measurement profile "{name}": choose one of {quoted(list(PROFILES))}.'
        )
    return PROFILES[name]


def read_settings(path: str | os.PathLike[str]) -> tuple[str, Settings, dict[str, float]]:
    """Read the settings that `Measurement.write` wrote beside a table.

    Parameters
    ----------
    path : path-like
        For example ``T_settings.json``.

    Returns
    -------
    profile : str
    settings : Settings
    thresholds : dict of str to float

    Raises
    ------
    InputError
        If the file is none of settings.
    """
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        profile = find_profile(content["profile"])
        settings = profile.settings_type.model_validate(content["settings"])
        thresholds = {
            name: math.nan if value is None else float(value)
            for name, value in content.get("thresholds", {}).items()
        }
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f'The settings in {path} do not fit at "{place}" ({first["msg"]}): correct them there.'
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"{path} holds no measurement settings: give a file that a measurement wrote."
        ) from error
    return profile.name, settings, thresholds


def complete_thresholds(
    profile: Profile[Any], image: Image, settings: Settings, thresholds: Mapping[str, float]
) -> dict[str, float]:
    """Add the thresholds that are found in each image to those of the experiment.

    Raises
    ------
    InputError
        If the image lacks a channel that the settings name.
    """
    complete = dict(thresholds)
    for name, (channel, segmentation) in profile.segmented(settings).items():
        if name not in complete:
            values = _measurable_pixels(image, channel, segmentation)
            empty = np.empty(0)
            complete[name] = fit_threshold(
                empty if values is None else values, segmentation.threshold
            )
    return complete


def _measurable_pixels(
    image: Image, channel: Channel, segmentation: SegmentationSettings
) -> np.ndarray | None:
    """Pixels to find a threshold in; None if the image or its channel cannot be measured."""
    try:
        plane, reason = measurable_plane(image, channel)
    except InputError:
        return None
    return None if reason else prepare(plane, segmentation)
