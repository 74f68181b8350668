"""What is counted: wells where they are known, else fields, else images.

Images of one well are as little independent as cells of one image. Counted as if they were, ten
tiles of one well make any difference significant.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.places import (
    SITE_COLUMNS,
    Habits,
    Place,
    groups_in,
    moments_before_well,
    place_of,
)
from napari_phenldiff.images.wells import EACH_IMAGE, Named, Wells, check_wells, well_of, wells_by
from napari_phenldiff.measurement.tables.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd

    from napari_phenldiff.images.image import Image


Summary = Literal["mean", "median"]


UNNAMED = "the same"
"""Stands for the well or field of images whose names tell tiles and no more.

Those of one condition count as one; it is not that of another condition.
"""

_CAUTION = (
    "Each image is counted, as asked, though their names tell {0}: images of one {1} are less "
    "independent than that, and p-values and intervals too good."
)
_PLATES = (
    "Each image is counted, since the names of the images tell no wells, though they are of {0} "
    "plates or days ({1}): images of one plate or day are less independent than that, and p-values "
    "and intervals too good. "
)
_GROUPS = (
    "Each image is counted, since the names of the images tell no wells, though they look like {0} "
    "groups of several images each ({1}): images of one culture, animal or day are less "
    "independent than that, and p-values and intervals too good. "
)
_APART = (
    "No plate or day has images of both {0} and {1} ({2}; {3}): what differs between plates or "
    "days differs between these conditions as well, and p-values and intervals do not tell the two "
    "apart."
)
_NAME_THEM = (
    "If these are what was repeated, name them as the wells: by a pattern that finds them in the "
    'names of the images, with “Wells” (--wells), or in a column "well" of a table.'
)
_LOST = (
    "Images of several {1}s are called {0}, and nothing tells of which of them those are that "
    "name no {1} themselves, so these count as one {1}: name the {1} of each in a table."
)

_LOOSE = (
    "The names of {0} tell no {1}, unlike those of the others: each of them counts as one {1}, "
    "which is too many if they are of these. Name the {1} of each image, in a table or by a "
    "pattern with “Wells” (--wells), or leave them out."
)

_MOMENTS = (
    "Images of one well that were taken at several times ({0}) are of one well, which is counted "
    "once. If these are plates of their own, say so: with “Wells” (--wells), or a table."
)

_PLATE = re.compile(
    r"(?:19|20)?\d{6}|(?:plates?|days?|exp(?:eriment)?|batch|runs?|donors?|patients?|animals?|mouse"
    r"|rats?|fish|subjects?|rep(?:licate|eat)?|sessions?|passage|biorep)-?\d+",
    re.I,
)
"""A plate, a day, or what else is repeated."""

_LONE, _PADDED = re.compile(r"[tz]\d+", re.I), re.compile(r"[tz]0\d+", re.I)


@dataclass(frozen=True, slots=True)
class Units:
    """What is counted.

    Attributes
    ----------
    wells : str or mapping of str to str or None
        Column that names what is counted, or its name for each image's name, see `well_of`; None
        where each image is counted.
    counted : {"wells", "fields", "stacks", "images"}
        What that is.
    caution : str
        A sentence where images are counted although wells or fields are known, or it is not known
        of which wells some are; else empty.
    """

    wells: Wells | None = None
    counted: str = "images"
    caution: str = ""

    @property
    def one(self) -> str:
        """The word for one of them."""
        return self.counted[:-1]


def units_of(measurement: Measurement, wells: Wells | Units | None = None) -> Units:
    """Say what is counted in a measurement.

    Parameters
    ----------
    measurement : Measurement
    wells : str or mapping of str to str or Units, optional
        Column of the table of images that names the well, or the well of each image's name;
        ``"image"`` counts each image. By default what the names of the images tell, see
        `place_of`, and the stack that they come from.
    """
    if isinstance(wells, Units):
        return wells
    if wells is not None and wells != EACH_IMAGE:
        return Units(wells, "wells")
    units = units_of_named(_named_in(measurement.images), each=wells is not None)
    if units.wells is None and wells is None:
        images = measurement.images
        return replace(units, caution=_about_plates(images) or _about_groups(images))
    return units


def units_of_images(images: Iterable[Image], *, each: bool = False) -> Units:
    """Say what is counted of images, by their names and by what they are parts of.

    Parameters
    ----------
    images : iterable of Image
    each : bool
        Whether each is counted, whatever the names tell, with a caution if that is more.
    """
    return units_of_named([(image.name, image.part_of) for image in images], each=each)


def units_of_named(images: Iterable[tuple[str, str | None]], *, each: bool = False) -> Units:
    """Say what is counted of images, by their names with what each is a part of.

    Parameters
    ----------
    images : iterable of (str, str or None)
        Those of several conditions may have the same name, and be parts of something else.
    each : bool
        Whether each is counted, whatever the names tell, with a caution if that is more.
    """
    found = list(dict.fromkeys(images))
    parts: dict[str, list[str]] = {}
    for name, part in found:
        if part is not None:
            parts.setdefault(name, []).append(part)
    # What says nothing itself is of the same well as what it was made of: that with its name.
    alone = {name for name, part in found if part is None}
    lost = sorted(name for name in alone if len(parts.get(name, ())) > 1)
    known = [
        (name, parts[name][0] if part is None and name in parts else part) for name, part in found
    ]
    # A letter and a digit that all names share ("A1" everywhere) do not name wells.
    habits = Habits.of(part or name for name, part in known)
    unsure = len({place_of(part or name, habits=habits).name for name, part in known}) > 1
    places = {(name, part): _place(name, part, unsure, habits) for name, part in known}
    # Times and planes are counted with leading zeros; t1 to t12 may be treated images as well.
    if not any(_PADDED.fullmatch(name) for name, _ in known):
        places |= {one: Place(one[0], "image") for one in known if _LONE.fullmatch(one[0])}
    kinds = {place.kind for place in places.values()}
    if kinds <= {"image"}:
        return Units()
    kind = next(kind for kind in ("field", "stack", "well") if kind in kinds)
    if each:
        return Units(caution=_CAUTION.format(f"{kind}s", kind))
    wells: dict[Named, str] = {}
    for (name, part), place in places.items():
        several = len(parts.get(name, ())) > 1
        wells[(name, part) if several else name] = place.name or UNNAMED
    if not lost:
        loose = sorted({name for (name, _), place in places.items() if place.kind == "image"})
        told = [_LOOSE.format(quoted(loose, limit=3), kind)] if loose else []
        told += _about_moments(places)
        return Units(wells, f"{kind}s", " ".join(told))
    # Which of them it was made of nothing tells; more than one might be too many.
    wells |= dict.fromkeys(lost, UNNAMED)
    return Units(wells, f"{kind}s", _LOST.format(quoted(lost, limit=3), kind))


def _about_moments(places: Mapping[tuple[str, str | None], Place]) -> list[str]:
    """Say which wells have images of several times before their names, in a sentence or none."""
    moments: dict[str, dict[str, None]] = {}
    for (name, _), place in places.items():
        moments.setdefault(place.name, {}).update(dict.fromkeys(moments_before_well(name)))
    most = max(moments.values(), key=len, default={})
    return [_MOMENTS.format(quoted(list(most), limit=3))] if len(most) > 1 else []


def _about_plates(images: pd.DataFrame) -> str:
    """Say that images are counted of which several are of one plate, or of one day; else nothing.

    Where all are of one plate, it does not tell any of them apart.
    """
    if "plate" not in images:
        return ""
    known = images[images["plate"].notna()]
    plates = [str(name) for name in known["plate"].unique()]
    if len(plates) < 2 or not known.duplicated(["condition", "plate"]).any():
        return ""
    return _PLATES.format(len(plates), quoted(plates, limit=3)) + _NAME_THEM


def plates_apart(measurement: Measurement, before: str, after: str, units: Units) -> str:
    """Say that no plate, day, donor or the like holds images of both conditions.

    Parameters
    ----------
    measurement : Measurement
    before, after : str
        Conditions.
    units : Units
        What is counted. Where that is plates or days, their differences are in the p-value.

    Returns
    -------
    str
        A sentence; empty where a plate holds both, or nothing tells of plates.
    """
    images = measurement.images
    habits = Habits.of(part or name for name, part in _named_in(images))
    held = [
        sorted(_plates_of(images[images["condition"] == name], habits)) for name in (before, after)
    ]
    if not all(held) or set(held[0]) & set(held[1]):
        return ""
    counted = [unit_values(measurement, name, wells=units.wells).index for name in (before, after)]
    # Each counted unit is a plate of its own: the plates are what was repeated.
    if all(len(plates) == len(set(one)) for plates, one in zip(held, counted, strict=True)) and (
        max(map(len, held)) > 1
    ):
        return ""
    return _APART.format(before, after, *(quoted(plates, limit=3) for plates in held))


def _plates_of(images: pd.DataFrame, habits: Habits) -> set[str]:
    """Name the plates of images, or what their names tell in place of one before the well.

    Times such as 24h, and words that may be those of treatments, are none.
    """
    plates = images["plate"] if "plate" in images else [None] * len(images)
    found: set[str] = set()
    for (name, part), plate in zip(_named_in(images), plates, strict=True):
        if isinstance(plate, str) and plate:
            found.add(plate)
            continue
        before = place_of(part or name, habits=habits).name.split()[:-1]
        found.add(" ".join(filter(_PLATE.fullmatch, before)))
    return found - {""}


def _about_groups(images: pd.DataFrame) -> str:
    """Say that images are counted whose names look like groups of several; else nothing."""
    by_condition = images["image"].astype(str).groupby(images["condition"], sort=False)
    groups = max((groups_in(names) for _, names in by_condition), key=len, default=[])
    return _GROUPS.format(len(groups), quoted(groups, limit=3)) + _NAME_THEM if groups else ""


def _named_in(images: pd.DataFrame) -> list[tuple[str, str | None]]:
    """Name each row of a table of images, with what it is a part of."""
    names = images["image"].astype(str)
    if "part_of" not in images:
        return [(name, None) for name in names]
    parts = images["part_of"].astype(object).where(images["part_of"].notna(), None)
    return [
        (name, None if part is None else str(part)) for name, part in zip(names, parts, strict=True)
    ]


def _placed_in(images: pd.DataFrame) -> list[tuple[str | None, ...]]:
    """Name each row of a table of images, with the plate, well and field that columns tell."""
    told = images.reindex(columns=["image", "part_of", *SITE_COLUMNS]).astype(object)
    return [tuple(map(str, row)) for row in told.itertuples(index=False)]


def _place(name: str, part_of: str | None, unsure: bool, habits: Habits) -> Place:
    if part_of is None:
        return place_of(name, unsure=unsure, habits=habits)
    found = place_of(part_of, unsure=unsure, habits=habits)
    return found if found.kind == "well" else Place(found.name, "stack")


def unit_values(
    measurement: Measurement,
    condition: str,
    column: str | None = None,
    *,
    wells: Wells | None = None,
    summary: Summary = "median",
) -> pd.Series:
    """Give one value per image of a condition, or one per well.

    Images of one well are as little independent as cells of one image: where several come from
    each well, or culture, or animal, the well is what should be counted.

    Parameters
    ----------
    measurement : Measurement
    condition : str
    column : str, optional
        By default the main column.
    wells : str or mapping of str to str, optional
        Column of the table of images that names the well, or the well of each image's name.
    summary : {"median", "mean"}
        What of a well's images is its value; those that could not be measured do not count.

    Returns
    -------
    pandas.Series of float64
        By the name of the image or well.

    Raises
    ------
    InputError
        If there is no such condition or column, or an image has no well.
    """
    import pandas as pd

    values = measurement.values(condition, column)
    images = measurement.images[measurement.images["condition"] == condition]
    if wells is None:
        return pd.Series(values, index=images["image"].astype(str))
    if isinstance(wells, str):
        if wells not in images:
            raise InputError(
                f'There is no column "{wells}" that names wells: choose one of '
                f"{quoted(list(images))}."
            )
        named = images[wells]
        if wells == "well" and "plate" in images:  # plates have wells of the same names
            named = images["plate"].astype("string").fillna("") + " " + named
    else:
        found = [wells_by(wells, *one) for one in _named_in(images)]
        named = pd.Series(found, index=images.index, dtype=object)
    if named.isna().any():
        lost = images.loc[named.isna(), "image"].iloc[0]
        raise InputError(f'Image "{lost}" of {condition} has no well: name one for each image.')
    grouped = pd.Series(values).groupby(named.astype(str).to_numpy(), sort=False)
    return grouped.median() if summary == "median" else grouped.mean()


def wells_by_pattern(measurement: Measurement, pattern: str) -> Wells:
    r"""Read from the names of images which well, or place, they are of.

    Parameters
    ----------
    measurement : Measurement
    pattern : str
        Regular expression that is looked for in each name: its groups, or all of it if it has
        none, name the well. ``"^[A-H]\d+"`` finds the well of ``B07_field3.tif``, and
        ``"(s\d+)_t.(_y\d+_x\d+)"`` the place of ``s010_te_y000_x256.tif``, at any time. The word
        ``"image"`` alone counts each image.

    Returns
    -------
    dict of str to str, or str
        The well of each image's name, or the column that names it, for `unit_values` and `effects`.

    Raises
    ------
    InputError
        If the pattern is none, or is not in a name.
    """
    if pattern == EACH_IMAGE:
        return EACH_IMAGE
    names = measurement.images["image"].astype(str).unique()
    check_wells(names, pattern)
    return {name: well_of(name, pattern) for name in names}


def matched(
    before: pd.Series, after: pd.Series, *, by_place: bool = False
) -> tuple[pd.Series, pd.Series]:
    """Bring values of the same images into the same order, by their names.

    Parameters
    ----------
    before, after : pandas.Series
        As `unit_values` gives them.
    by_place : bool
        Whether as many values that share no names belong together in their order.

    Returns
    -------
    tuple of pandas.Series
        Those that are in both, with the names of `before`.

    Raises
    ------
    InputError
        If none is in both, or a name stands for several.
    """
    common = [name for name in before.index if name in set(after.index)]
    unique = before.index.is_unique and after.index.is_unique
    if common and unique:
        return before[common], after[common]
    if by_place and len(before) == len(after):
        return before, after.set_axis(before.index)
    if common:
        raise InputError(
            "Several images of a condition have the same name: give each a name of its own, so "
            "that before and after can be paired."
        )
    raise InputError(
        f"No image is there both before and after: {before.index[0]} and {after.index[0]}, for "
        "example, have different names."
    )


def before_and_after(
    measurement: Measurement,
    before: str,
    after: str,
    column: str | None = None,
    *,
    wells: Wells | None = None,
    summary: Summary = "median",
    by_place: bool = False,
) -> tuple[pd.Series, pd.Series]:
    """Give the values of images, or wells, before and after, in the same order.

    Parameters
    ----------
    measurement, column, wells, summary
        As for `unit_values`.
    before, after : str
        Conditions. An image of the same name after shows the same place as before, so it counts
        for the same well, even if that is called something else after. Of wells, the values are
        those of the images that were measured both before and after, where these have the same
        names: else the difference would be one of other images.
    by_place : bool
        As for `matched`.

    Raises
    ------
    InputError
        As `unit_values` and `matched` do.
    """
    images = measurement.images
    rows = {name: images[images["condition"] == name] for name in (before, after)}
    if wells is not None:
        measurement = _measured_in_both(measurement, rows, column)
    first = unit_values(measurement, before, column, wells=wells, summary=summary)
    if isinstance(wells, Mapping):
        same = {one[0]: wells_by(wells, *one) for one in _named_in(rows[before])}
        again = {one: same[one[0]] for one in _named_in(rows[after]) if one[0] in same}
        by: dict[Any, Any] = {**wells, **again}
        wells = by
    second = unit_values(measurement, after, column, wells=wells, summary=summary)
    return matched(first, second, by_place=by_place)


def _measured_in_both(
    measurement: Measurement, rows: Mapping[str, pd.DataFrame], column: str | None
) -> Measurement:
    """Take the values away of images that were measured either before or after alone."""
    column = column or measurement.main_column
    keys: dict[str, list[tuple[str | None, ...]]]
    keys = {name: [*_named_in(images)] for name, images in rows.items()}
    if any(len(set(names)) < len(names) for names in keys.values()):
        # Images of different wells may have the same name.
        keys = {name: _placed_in(images) for name, images in rows.items()}
    values = {name: measurement.values(name, column) for name in rows}
    before, after = (
        {key for key, value in zip(keys[name], values[name], strict=True) if np.isfinite(value)}
        for name in rows
    )
    shared = set.intersection(*map(set, keys.values()))
    if not shared or any(len(set(names)) < len(names) for names in keys.values()):
        return measurement
    images = measurement.images.copy()
    images[column] = images[column].astype(np.float64)
    for name, table in rows.items():
        lost = [key not in before & after for key in keys[name]]
        images.loc[table.index[lost], column] = np.nan
    return replace(measurement, images=images)


def known(values: pd.Series) -> np.ndarray:
    """Return the values that could be measured."""
    array = values.to_numpy(np.float64)
    return array[np.isfinite(array)]
