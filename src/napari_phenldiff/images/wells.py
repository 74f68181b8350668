"""The wells that images were taken in: as their names tell, or as a pattern finds them there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.places import Habits, place_of

_WELL = re.compile(r"(?<![A-Za-z0-9])([A-P])(0{0,2}[1-9]|0?1[0-9]|0?2[0-4])(?![A-Za-z0-9])")
"""Row and column on a plate of up to 384 wells, such as B02 or B002."""

EACH_IMAGE = "image"
"""In place of wells: each image counts."""
Named = str | tuple[str, str | None]
"""An image: its name, or its name with what it is a part of, where the name is not enough."""
Wells = str | Mapping[str, str] | Mapping[Named, str]
"""What names the well of an image: a pattern, or the wells by the names of the images, with what
they are parts of where images of several conditions have the same name."""


def wells_in(names: Sequence[str]) -> list[str] | None:
    """Name the well of each image, if every name has one.

    Parameters
    ----------
    names : sequence of str
        Of images, for example ``B02_y000_x128``.

    Returns
    -------
    list of str or None
        In the order of `names`: row and number, ``B2``. None if a name holds no well.
    """
    found = [_WELL.search(name) for name in names]
    wells = [f"{one[1]}{int(one[2])}" for one in found if one is not None]
    return wells if len(wells) == len(names) else None


def known_wells(images: Iterable[Image]) -> list[str] | None:
    """Name the well, culture or animal of each image, if all are known.

    Parameters
    ----------
    images : iterable of Image
        A table or a plate tells, or else the name of the image.

    Returns
    -------
    list of str or None
        In their order, with the plate where one is known.
    """
    return wells_named([image.part_of or image.name for image in images])


def wells_named(names: Iterable[str]) -> list[str] | None:
    """Name the well, culture or animal of each image by its name, or by what it is a part of.

    Returns
    -------
    list of str or None
        In their order; None if a name tells none.
    """
    names = list(names)
    habits = Habits.of(names)
    places = [place_of(name, habits=habits) for name in names]
    if not all(place.kind == "well" for place in places):
        return None
    return [place.name for place in places]


def check_wells(names: Iterable[str], pattern: str) -> None:
    """Refuse a pattern that does not name the well of every image.

    Parameters
    ----------
    names : iterable of str
        Of images.
    pattern : str
        Regular expression, or `EACH_IMAGE`.

    Raises
    ------
    InputError
        If the pattern is no regular expression, or is not in a name.
    """
    if pattern == EACH_IMAGE:
        return
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise InputError(f'"{pattern}" is not a regular expression: {error}.') from error
    for name in names:
        if expression.search(name) is None:
            raise InputError(
                f'The pattern "{pattern}" is not in the name "{name}": it must name the well of '
                "every image."
            )


def well_of(name: str, wells: Wells | None, part_of: str | None = None) -> str:
    """Return the well of an image; where it is not known, its name.

    Parameters
    ----------
    name : str
        Of the image.
    wells : str or mapping of str to str or None
        Pattern that finds it in the name (``"image"``: each image is one), or the well of each
        name.
    part_of : str, optional
        What the image is a part of, if something tells: images of two conditions may have the same
        name, and be of other wells.
    """
    if isinstance(wells, Mapping):
        return wells_by(wells, name, part_of) or name
    pattern = None if wells == EACH_IMAGE else wells
    found = None if pattern is None else re.search(pattern, name)
    if found is None:
        return name
    # With something between, since 1 and 11 are not 11 and 1.
    return " ".join(filter(None, found.groups())) or found.group()


def well_of_image(image: Image, wells: Wells | None) -> str:
    """Return the well of an image, as `well_of` does of its name and of what it is a part of."""
    return well_of(image.name, wells, image.part_of)


def wells_by(
    wells: Mapping[str, str] | Mapping[Named, str], name: str, part_of: str | None
) -> str | None:
    """Look up the well of an image; None where it is not known."""
    by: Mapping[Any, str] = wells
    return by.get((name, part_of), by.get(name))
