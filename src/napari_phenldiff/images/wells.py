"""The wells that images were taken in, as far as their names tell."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WELL = re.compile(r"(?<![A-Za-z0-9])([A-P])(0{0,2}[1-9]|0?1[0-9]|0?2[0-4])(?![A-Za-z0-9])")
"""Row and column on a plate of up to 384 wells, such as B02 or B002."""


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
