"""Which channel of one condition is which channel of another."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.images.stains import is_nuclear

_MEAN_NOTHING = {"channel", "ch", "c", "stain", "wavelength"}


@dataclass(frozen=True, slots=True)
class ChannelMatch:
    """For each channel of the source, the same channel of every other condition.

    Attributes
    ----------
    channels : mapping of str to tuple of str
        Names of all channels of each condition; the first is the source.
    rows : tuple of tuple of (int or None)
        Per channel of the source, and per other condition, the place of its channel there. None
        leaves the channel out of the training.
    by_order : frozenset of (int, int)
        Cells, as (row, condition), that no name speaks for: it is the order alone.
    """

    channels: Mapping[str, tuple[str, ...]]
    rows: tuple[tuple[int | None, ...], ...]
    by_order: frozenset[tuple[int, int]] = frozenset()

    @property
    def conditions(self) -> tuple[str, ...]:
        """Names of the conditions, source first."""
        return tuple(self.channels)

    @property
    def kept(self) -> tuple[int, ...]:
        """Places of the channels of the source that all conditions have."""
        return tuple(index for index, row in enumerate(self.rows) if None not in row)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the channels that are trained on: those of the source."""
        source = self.channels[self.conditions[0]]
        return tuple(source[index] for index in self.kept)

    @property
    def changes_nothing(self) -> bool:
        """Whether all conditions have the same channels, in the same order, and all are kept."""
        same = all(names == self.names for names in self.channels.values())
        return same and all(places == self.kept for places in self._places().values())

    @property
    def only_leaves_out(self) -> bool:
        """Whether all conditions have the same channels, in the same order, and some are kept."""
        same = len(set(self.channels.values())) == 1
        return same and all(
            cell in (None, row) for row, cells in enumerate(self.rows) for cell in cells
        )

    @property
    def wants_a_look(self) -> bool:
        """Whether more than spelling differs, or a channel is left out."""
        ours, *others = self.channels.values()
        same = all([_plain(a) for a in ours] == [_plain(b) for b in names] for names in others)
        return not same or any(cell != index for index, row in enumerate(self.rows) for cell in row)

    def with_cell(self, row: int, condition: int, place: int | None) -> ChannelMatch:
        """Return the match with one cell put right.

        Parameters
        ----------
        row : int
            Channel of the source.
        condition : int
            Which of the other conditions, from 0.
        place : int or None
            Its channel; None leaves the channel of the source out, in all conditions.
        """
        others = range(len(self.conditions) - 1)
        if place is None:
            cells: list[int | None] = [None for _ in others]
        else:
            # A channel that is taken in again is taken in for all conditions that have it.
            suggested = match_channels(self.channels).rows[row]
            cells = [
                suggested[column] if cell is None else cell
                for column, cell in enumerate(self.rows[row])
            ]
            cells[condition] = place
        rows = (*self.rows[:row], tuple(cells), *self.rows[row + 1 :])
        return replace(self, rows=rows, by_order=self.by_order - {(row, c) for c in others})

    def with_row(self, row: int, *, kept: bool) -> ChannelMatch:
        """Return the match with a channel of the source left out of all conditions, or taken in.

        One is only taken in where every condition has a channel for it.
        """
        others = range(len(self.conditions) - 1)
        cells = match_channels(self.channels).rows[row] if kept else (None,) * len(others)
        rows = (*self.rows[:row], cells, *self.rows[row + 1 :])
        return replace(self, rows=rows, by_order=self.by_order - {(row, c) for c in others})

    def keeping(self, names: Collection[str]) -> ChannelMatch:
        """Leave out the channels of the source that are not named.

        Nothing is left out where one of the names is none of its channels.
        """
        ours = self.channels[self.conditions[0]]
        if not set(names) <= set(ours):
            return self
        match = self
        for row, name in enumerate(ours):
            if name not in names:
                match = match.with_row(row, kept=False)
        return match

    def remarks(self) -> list[str]:
        """Return what should be looked at: guesses, and channels that nothing is learned from."""
        source, *others = self.conditions
        remarks = []
        guesses = [
            f"{self.channels[source][row]} = {self.channels[others[column]][place]} "
            f"({others[column]})"
            for row, column in sorted(self.by_order)
            if (place := self.rows[row][column]) is not None
        ]
        if guesses:
            remarks.append(f"Check what only the order tells: {', '.join(guesses)}.")
        left = []
        for name, places in self._places().items():
            names = [c for i, c in enumerate(self.channels[name]) if i not in places]
            if names:
                left.append(f"{', '.join(names)} ({name})")
        if left:
            remarks.append(f"Left out: {', '.join(left)}.")
        return remarks

    def validation_error(self) -> str | None:
        """Return why images can't be trained on with these channels, if they can't."""
        source = self.channels[self.conditions[0]]
        if not self.kept:
            return "All channels are left out; keep at least one."
        for column, name in enumerate(self.conditions[1:]):
            seen: dict[int, int] = {}
            for index in self.kept:
                place = self.rows[index][column]
                assert place is not None
                if place in seen:
                    return (
                        f"Channel {self.channels[name][place]} of {name} is chosen for both "
                        f"{source[seen[place]]} and {source[index]}; choose different ones, or "
                        "leave one out."
                    )
                seen[place] = index
        return None

    def apply(self, condition: str, images: Sequence[Image]) -> list[Image]:
        """Return images with the channels that are trained on, in order and under their names.

        Parameters
        ----------
        condition : str
            One of `conditions`.
        images : sequence of Image
            Its images.

        Returns
        -------
        list of Image
            Those that no longer show what is in their file have no path.

        Raises
        ------
        InputError
            If an image has other channels than the condition was said to have.
        """
        known = self.channels[condition]
        places = self._places()[condition]
        whole = places == tuple(range(len(known)))
        for image in images:
            if image.channel_names != known:
                raise InputError(
                    f'Image "{image.name}" of condition "{condition}" has the channels '
                    f"{quoted(image.channel_names)} but others have {quoted(known)}: give all "
                    "images of a condition the same channels."
                )
        if whole:
            return [replace(image, channel_names=self.names) for image in images]
        return [
            replace(image, data=image.data[list(places)], channel_names=self.names, path=None)
            for image in images
        ]

    def _places(self) -> dict[str, tuple[int, ...]]:
        """Return, per condition, where the channels that are trained on are."""
        source, *others = self.conditions
        places = {source: self.kept}
        for column, name in enumerate(others):
            cells = (self.rows[index][column] for index in self.kept)
            places[name] = tuple(cell for cell in cells if cell is not None)
        return places


def images_of_folder(
    folder: Path,
    conditions: Sequence[str],
    match: ChannelMatch | None,
    z: int | Projection | None,
    arrangement: Arrangement | None = None,
) -> dict[str, list[Image]]:
    """Read the images of conditions from a folder or table, by the names of the conditions.

    Without a match, channels of the same names are brought into one order. With one, each
    condition keeps its own order, which is what was matched.

    Raises
    ------
    InputError
        As `Experiment.open`.
    """
    if match is None:
        read = Experiment.open(folder, conditions=conditions, z=z, arrangement=arrangement)
        return {name: list(read[name].images) for name in conditions}

    def images_of(name: str) -> list[Image]:
        read = Experiment.open(folder, conditions=[name], z=z, arrangement=arrangement)
        return list(read.images)

    return {name: images_of(name) for name in conditions}


def match_channels(channels: Mapping[str, tuple[str, ...]]) -> ChannelMatch:
    """Find the channels of the source in the other conditions.

    They are found by name, whatever the case and the punctuation; then nuclear stains are taken
    for one another; then names are compared word by word; what is left goes by order.

    Parameters
    ----------
    channels : mapping of str to tuple of str
        Names of the channels of each condition, the source first.
    """
    ours, *others = channels.values()
    columns = [_find(ours, theirs) for theirs in others]
    rows = tuple(tuple(column.get(index) for column, _ in columns) for index in range(len(ours)))
    by_order = frozenset(
        (row, column) for column, (_, guessed) in enumerate(columns) for row in guessed
    )
    return ChannelMatch(dict(channels), rows, by_order)


def _find(ours: tuple[str, ...], theirs: tuple[str, ...]) -> tuple[dict[int, int], set[int]]:
    """Return the place of each channel in `theirs`, and which went by order alone."""
    found: dict[int, int] = {}

    def free() -> tuple[list[int], list[int]]:
        return (
            [i for i in range(len(ours)) if i not in found],
            [j for j in range(len(theirs)) if j not in found.values()],
        )

    for i, name in enumerate(ours):
        same = [j for j in free()[1] if _plain(theirs[j]) == _plain(name)]
        # Of two channels of one name, the one that is in the same place.
        if same:
            found[i] = i if i in same else same[0]
    left, right = free()
    ours_nuclear = [i for i in left if is_nuclear(ours[i])]
    theirs_nuclear = [j for j in right if is_nuclear(theirs[j])]
    if len(ours_nuclear) == len(theirs_nuclear) == 1:
        found[ours_nuclear[0]] = theirs_nuclear[0]
    left, right = free()
    alike = [(_likeness(ours[i], theirs[j]), -i, -j) for i in left for j in right]
    for likeness, i, j in sorted(alike, reverse=True):
        if likeness and -i not in found and -j not in found.values():
            found[-i] = -j
    left, right = free()
    by_order = dict(zip(left, right, strict=False))
    return {**found, **by_order}, set(by_order)


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.casefold())


def _plain(name: str) -> str:
    return " ".join(_words(name)) or name.strip()


def _likeness(ours: str, theirs: str) -> float:
    """Return which part of the words of two names they have in common."""
    a, b = set(_words(ours)) - _MEAN_NOTHING, set(_words(theirs)) - _MEAN_NOTHING
    return len(a & b) / len(a | b) if a & b else 0.0
