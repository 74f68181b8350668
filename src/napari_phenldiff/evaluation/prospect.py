"""What an evaluation can find out with so many images: told before minutes are spent on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from napari_phenldiff.evaluation.evidence import Rules
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.wells import EACH_IMAGE, Wells, well_of
from napari_phenldiff.measurement.statistics.compare import min_p_value
from napari_phenldiff.measurement.statistics.units import units_of_named


def why_cannot_tell(
    names: Mapping[str, Iterable[str]],
    wells: Wells | None = None,
    parts: Mapping[str, Mapping[str, str | None]] | None = None,
    *,
    translated: Iterable[str] | None = None,
) -> str:
    """Say why the verdict can only be *cannot tell*, whatever the images show.

    Parameters
    ----------
    names : mapping of str to iterable of str
        Of the real images of each condition that can be measured.
    wells : str or mapping of str to str, optional
        Pattern that finds the well in the names, see `wells_by_pattern`, or the well of each name;
        by default what the names tell.
    parts : mapping of str to mapping, optional
        By condition, what images are a part of, by their names, see `units_of_named`.
    translated : iterable of str, optional
        Names of the source images that can be translated; by default all of the first condition.

    Returns
    -------
    str
        A sentence; empty if another verdict is possible.
    """
    groups = {condition: list(group) for condition, group in names.items()}
    parts, first = parts or {}, next(iter(groups))
    known = {
        condition: [(name, parts.get(condition, {}).get(name)) for name in group]
        for condition, group in groups.items()
    }
    shown = known[first]
    if translated is not None:
        shown = [(name, parts.get(first, {}).get(name)) for name in translated]
    counted = "wells"
    if wells is None:
        units = units_of_named([one for group in known.values() for one in group])
        wells, counted = units.wells, units.counted
    if wells is None or wells == EACH_IMAGE:
        numbers = {condition: len(group) for condition, group in groups.items()}
        counted, pairs = "images", len(shown)
    else:
        pairs = len({well_of(name, wells, part) for name, part in shown})
        numbers = {
            condition: len({well_of(name, wells, part) for name, part in group})
            for condition, group in known.items()
        }
    one = counted[:-1]
    for condition, number in [*numbers.items(), (first, pairs)]:
        if number == 1:
            return (
                f"The verdict can only be that one cannot tell: all images of {condition} to judge "
                f"with come from one {one}, which does not tell how {counted} vary."
                if counted != "images"
                else "The verdict can only be that one cannot tell: there is one image of "
                f"{condition} to judge with, which does not tell how images vary."
            )
    number, other = list(numbers.values())[:2]
    said = ""
    if not min_p_value(number, other) < Rules().alpha:
        said = f"{count(number, one)} and {other}"
    elif not min_p_value(pairs, pairs, paired=True) < Rules().alpha:
        said = f"{count(pairs, one)} of {first}, before and after"
    if said:
        return (
            f"The verdict can only be that one cannot tell: no test of so few ({said}) can give p "
            f"below {Rules().alpha:g}."
        )
    return ""
