"""Which of two conditions is the one to start from."""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONTROL = re.compile(
    r"(^|[^a-z])(control|ctrl|untreated|dmso|mock|vehicle|wild.?type|wt|neg(ative)?|normal|healthy|"
    r"before|uncut|scrambled?|rescued?|rluc)([^a-z]|$)",
    re.I,
)


def is_control(name: str) -> bool:
    """Tell whether a condition is named like a control."""
    return _CONTROL.search(name.replace("_", " ")) is not None


def suggest_pair(names: Sequence[str]) -> tuple[int, int] | None:
    """Suggest source and target among the names of conditions.

    Parameters
    ----------
    names : sequence of str
        Names of conditions, in the order in which they are listed.

    Returns
    -------
    (int, int) or None
        Indices of source and target: a condition that is named like a control is the source, else
        the first one. None if there are fewer than two.
    """
    if len(names) < 2:
        return None
    controls = [i for i, name in enumerate(names) if is_control(name)]
    source = controls[0] if controls else 0
    return source, next(i for i in range(len(names)) if i != source)
