"""Which wells, or else fields, the statistics of chosen images count, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.wells import EACH_IMAGE, check_wells, well_of
from napari_phenldiff.measurement.statistics.units import (
    UNNAMED,
    Units,
    units_of_named,
)

_MOST_NAMED = 8
"""Wells that are named; of more, the first ones are."""

Images = Mapping[str, str | None]
"""By the name of an image, the well or stack that it is a part of, where one is known."""


def wells_in_words(conditions: Mapping[str, Images], wells: str | None) -> str:
    """Say what is counted of images, and how many there are in each condition.

    Parameters
    ----------
    conditions : mapping of str to mapping
        By the name of the condition, its images.
    wells : str or None
        Pattern that finds the well in a name, ``"image"`` where each image counts, or None for what
        names and tables tell.

    Returns
    -------
    str
        Empty without images; what is wrong with a pattern.
    """
    images = [one for group in conditions.values() for one in group.items()]
    if not images:
        return ""
    try:
        units = _units(images, wells)
    except InputError as error:
        return str(error)
    found: dict[str, list[str]] = {}
    for condition, group in conditions.items():
        named = (well_of(name, units.wells, part) for name, part in group.items())
        found[condition] = sorted(set(map(_plain, named)))
    each = ", ".join(f"{len(names)} of {condition}" for condition, names in found.items())
    if units.counted == "images":
        if units.caution:
            return f"⚠ {units.caution} ({each})"
        why = "" if wells is not None else "No name tells a well: "
        return f"{why}{'each' if why else 'Each'} image counts ({each})."
    every = sorted({name for names in found.values() for name in names} - {UNNAMED})
    listed = [*every[:_MOST_NAMED], *(["..."] if len(every) > _MOST_NAMED else [])]
    # Tiles of the same names in two conditions are not of one field.
    unnamed = [f"one of {condition}" for condition, names in found.items() if UNNAMED in names]
    if unnamed:
        whose = "whose name" if len(unnamed) == 1 else "whose names"
        listed.append(f"{' and '.join(unnamed)}, {whose} no image tells")
    text = f"{count(len(every) + len(unnamed), units.one)}: {', '.join(listed)} ({each})."
    if min(map(len, found.values())) < 2:
        text += f" From one {units.one} of a condition there is no p-value."
    return text


def _units(images: Sequence[tuple[str, str | None]], wells: str | None) -> Units:
    if wells is None or wells == EACH_IMAGE:
        return units_of_named(images, each=wells is not None)
    names = [name for name, _ in images]
    check_wells(names, wells)
    return Units({name: well_of(name, wells) for name in names}, "wells")


def _plain(name: str) -> str:
    """Return a well as people call it: a table's is "well B02" or "plateP1 well B02"."""
    return name.removeprefix("plate").replace(" well ", " ").removeprefix("well ")
