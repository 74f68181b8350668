"""Which well, or which field, an image shows: read from its name.

Tiles of one field, planes and times of one stack, and fields of one well are as little independent
of each other as cells of one image. Names of files usually tell which belong together, in the
ways that microscopes and people write them; what they do not tell is not guessed at.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise, zip_longest
from typing import Literal

Kind = Literal["well", "field", "stack", "image"]

_SUFFIXES = ("tif", "tiff", "ome")
_BETWEEN = re.compile(r"[\s_\-.,;+#()\[\]/\\]+")
# The ways of microscopes, the surest first. What is found is the well.
_WELLS = (
    re.compile(r"(?<![a-z])well[ _-]?([a-p]{1,2}[ _-]?\d{1,3}|\d{1,4})(?!\d)", re.I),
    re.compile(r"(?<![a-z0-9])(r\d{2}c\d{2})(?=[ _-]?f\d)", re.I),
    re.compile(r"(?<![A-Za-z0-9])(W\d{4,5})(?=F\d{4})"),
    re.compile(r"(?<![A-Za-z0-9])([A-P] ?- ?\d{1,2})(?= ?\()"),
    # With a second digit, before one without.
    re.compile(r"(?<![A-Za-z0-9])((?:[A-P]|A[A-F])(?:0?[0-3]\d|0?4[0-8]))(?=f\d|s\d|w\d|[\W_]|$)"),
    re.compile(r"(?<![A-Za-z0-9])((?:[ABEI-LNO]|A[A-F])[1-9])(?=[\W_]|$)"),
    # May be a channel (C1), a frame, a plane, a day, a phase, a histone or a mouse as well.
    re.compile(r"(?<![A-Za-z0-9])([CDFGHMP][1-9])(?=[\W_]|$)"),
)
_UNSURE = _WELLS[-1]
# Only where all names of a set are of that kind, see `Habits`.
_SMALL = re.compile(r"(?<![A-Za-z0-9])([a-p](?:0[1-9]|1\d|2[0-4]))(?=[\W_]|$)")
_ROW_AND_COLUMN = re.compile(r"([A-Pa-p]|A[A-F])0*(\d+)")
_OTHERWISE = frozenset("cdefghilmnp")
"""Small letters that stand before the number of a channel, a day (of an embryo as well), a field, a
larva, a mouse, a repeat (n) and the like."""
_LEAST_ROWS = 3
"""How many adjacent letters are rows of a plate, whatever each of them may stand for."""
# When an image was taken: no part of a well's name, where the day may be.
_DAY = re.compile(r"20\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_TIME = re.compile(r"(?:[01]\d|2[0-3])(?:[0-5]\d){2}(?:\d{3})?")
# The same with signs between, as people write them, and with a time after a T.
_DAY_APART = re.compile(
    r"(?<!\d)(?:(?P<year>20\d{2})([-_.])(?P<month>0[1-9]|1[0-2])\2(?P<day>0[1-9]|[12]\d|3[01])"
    r"|(?P<a>\d{2})([-_.])(?P<b>\d{2})\6(?P<last>20\d{2}))(?!\d)"
    r"(?:T(\d{2})[-_.]?(\d{2})[-_.]?(\d{2})(?!\d))?",
    re.I,
)
_LONG_NUMBER = re.compile(r"\d{6,}")
_PLATE = re.compile(r"P\d{1,3}")
# Parts of a field, and times, planes and channels of it.
_PART = re.compile(
    r"([zt]\d+|tp\d+|(?:row|col|column)\d*|r\d+c\d+|(?:tile|crop|patch|cut|roi|window)s?\d*"
    r"|(?:time|timepoint|frame|plane|slice|stack)\d*|(?:w|wv|ch|channel)\d+|[xy]\d+[xy]\d+)",
    re.I,
)
# How long after something, or which time the same well was scanned.
_MOMENT = re.compile(
    r"\d+(?:[.,]\d+)?(?:h|hrs?|hours?|mins?|minutes?|secs?|days?|wks?|weeks?)"
    r"|(?:re)?(?:scan|acq|acquisition)\d*",
    re.I,
)
_TIME_LETTER = re.compile(r"t[a-z]")
_COORDINATE = re.compile(r"[xy]-?\d+", re.I)
_CHANNEL = re.compile(r"(?:w|wv|ch|channel)\d+", re.I)
# Parts of a well; without a well, each field counts.
_FIELD = re.compile(
    r"(?:f|s|p|fld|fov|field|site|pos|position|xy|series|img|image|im|pic|scan|view|file"
    r"|scene|acq|acquisition|snap|capture|shot)s?\d*"
    r"|\d{1,5}",
    re.I,
)
# What several images may be of that is no well, but is what was repeated.
_REPEAT = re.compile(
    r"(plate|rep|repl|replicate|exp|experiment|batch|day|run|dish|slide|coverslip|culture|mouse"
    r"|animal|donor|patient|fish|embryo|larva|worm)\d*[a-z]?",
    re.I,
)
# A name whose last part counts, behind another that does: a number, with a word before it or not,
# or a letter.
_COUNTED = re.compile(
    r"(.*\d|(?:.*[\s_\-.,#])?[A-Za-z])(?:[\s_\-.,#]+(?:[A-Za-z]*\d+|[A-Za-z])|(?<=\d)[a-z])"
)
_LEAST_NAMES, _NEARLY = 4, 0.9
"""How many names, and which part of all, are different where a number counts images."""
_MOST_PLATES = 4
"""Of so many plates, at most, images may be counted through by one number in their names."""
_CULTURE = re.compile(
    r"((?:bio)?rep|repl|(?:bio)?replicate|dish|slide|coverslip|culture|organoid|spheroid|mouse|rat"
    r"|rabbit|pig|animal|donor|patient|subject|fish|embryo|larva|worm)(\d*)[a-z]?",
    re.I,
)
_NUMBER = re.compile(r"(?:id|no|nr)?\d+", re.I)
"""What may follow that word, as a part of its own."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where on a plate an image was taken, as its name, its folder, a table or its file tells.

    Attributes
    ----------
    plate, well, field : str or None
        None where nothing tells.
    """

    plate: str | None = None
    well: str | None = None
    field: str | None = None

    @property
    def part_of(self) -> str | None:
        """The well with its plate, in words that `place_of` reads; None where no well is known."""
        if self.well is None:
            return None
        if self.plate is None or is_moment(self.plate):
            return f"well {self.well}"
        # In one word, of which no part is taken for a field or a counter.
        return f"plate{re.sub(r'[^A-Za-z0-9]', '', self.plate)} well {self.well}"

    def columns(self) -> dict[str, str]:
        """Return what is known, by the names of the columns of a table."""
        told = {"plate": self.plate, "well": self.well, "field": self.field}
        return {name: value for name, value in told.items() if value is not None}

    @classmethod
    def told_by(cls, columns: object) -> Site | None:
        """Return what `columns` of a site said, as it was written down; None for anything else."""
        if not isinstance(columns, Mapping):
            return None
        told = {name: str(columns[name]) for name in SITE_COLUMNS if columns.get(name)}
        return cls(**told) if told else None


SITE_COLUMNS = ("plate", "well", "field")
"""Columns of a table that tell where an image was taken."""

NOWHERE = Site()
"""Of an image of which no place is known."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an image was taken, as far as its name tells.

    Attributes
    ----------
    name : str
        The same for all images of one well, or of one field or stack where no well is told; the
        name of the image itself where it tells neither.
    kind : {"well", "field", "stack", "image"}
        What that is. A dish, an animal or a donor is a well here.
    """

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Habits:
    """How the names of a set of images are written, which one of them alone does not tell.

    Attributes
    ----------
    small : bool
        Whether wells are written in small letters.
    counters : frozenset of str
        Long numbers before the well that count images, and so differ between those of one well.
    times : bool
        Whether what can be a time, after a day, is one; otherwise it may be the number of a plate.
    letters : bool
        Whether a capital letter after the word for an animal or the like (mouse A) counts them.
    spelled : mapping of str to str
        Wells that are written in several ways (B1, B01, b01), and the one that stands for all.
    """

    small: bool = False
    counters: frozenset[str] = frozenset()
    times: bool = True
    letters: bool = False
    spelled: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, names: Iterable[str]) -> Habits:
        """Look at the names of all images that are counted together."""
        names = list(dict.fromkeys(names))
        letters = _letters_count(names)
        habits = cls(_in_small_letters(names), letters=letters, spelled=_spelled(names))
        habits = replace(habits, times=_have_times(names, habits))
        return replace(habits, counters=_counters(names, habits))


NO_HABITS = Habits()


def place_of(name: str, *, unsure: bool = True, habits: Habits = NO_HABITS) -> Place:
    """Read from the name of an image which well or field it is of.

    Parameters
    ----------
    name : str
        Name of an image, without suffix.
    unsure : bool
        Whether a letter with one digit (C1, P3), which may be something else, is a well.
    habits : Habits
        Of the set that it is of.

    Returns
    -------
    Place
        ``B07_field3_y128`` is of the well ``B07``, ``rep2_C003_x0`` of ``rep2 C003``,
        ``scan3_y000_x128`` of the field ``scan3``, and ``field_0003`` an image for itself.
    """
    found = _well_in(name, unsure, habits)
    if found is not None:
        well = found.group(1)
        well = habits.spelled.get(well, well.upper() if found.re is _SMALL else well)
        after = _tokens(name[found.end() :])
        kept = _before(_tokens(name[: found.start()]), after, habits)
        return Place(" ".join([*kept, well, *_repeats(after, habits)]), "well")
    tokens = _tokens(name)
    cultures = _repeats(tokens, habits, _CULTURE)
    if cultures:
        return Place(" ".join(cultures), "well")
    return _field(name, tokens)


def well_named(name: str) -> str | None:
    """Return the well that stands in the name of an image, alone; None where there is none."""
    found = _well_in(name)
    return None if found is None else found.group(1)


def with_well_of(site: Site, stem: str) -> Site:
    """Name the well of a file in a folder such as P1, which is a position in names of images.

    Otherwise the equal wells of such plates would be one.
    """
    if site.plate is None or site.well is not None or not _PLATE.fullmatch(site.plate):
        return site
    place = place_of(stem, unsure=False)
    return replace(site, well=place.name) if place.name == well_named(stem) else site


def groups_in(names: Iterable[str]) -> list[str]:
    """Return what the names of images begin with, if they look like groups of several images each.

    Parameters
    ----------
    names : iterable of str
        Of images of one condition.

    Returns
    -------
    list of str
        ``["exp1", "exp2"]`` of ``exp1_1, exp1_2, exp2_1, exp2_2``; empty where there are no two
        groups, or one of a single image.
    """
    begun: Counter[str] = Counter()
    for name in names:
        found = _COUNTED.fullmatch(name)
        if found is None:
            return []
        begun[found[1]] += 1
    return list(begun) if len(begun) > 1 and min(begun.values()) > 1 else []


def moments_before_well(name: str) -> list[str]:
    """Return what stands before the well in a name and tells when an image was taken."""
    found = _well_in(name)
    before = [] if found is None else _tokens(name[: found.start()])
    return [token for token in before if _MOMENT.fullmatch(token)]


def is_moment(text: str) -> bool:
    """Whether a text tells when an image was taken (``24h``, ``scan2``), and no plate."""
    tokens = _tokens(text)
    return bool(tokens) and all(map(_MOMENT.fullmatch, tokens))


def _tokens(text: str) -> list[str]:
    text = _DAY_APART.sub(_day_together, text)
    return [token for token in _BETWEEN.split(text) if token and token not in _SUFFIXES]


def _day_together(found: re.Match[str]) -> str:
    """Write a day with signs between (2024-01-05, 05.01.2024) as one number, year first."""
    parts = found.groupdict()
    orders = (
        f"{parts['year']}{parts['month']}{parts['day']}",
        f"{parts['last']}{parts['b']}{parts['a']}",
        f"{parts['last']}{parts['a']}{parts['b']}",
    )
    day = next((order for order in orders if _DAY.fullmatch(order)), None)
    if day is None:
        return found[0]
    time = "".join(found.groups()[-3:]) if found[9] else ""
    return f"{day}T{time}" if time else day


def _well_in(name: str, unsure: bool = True, habits: Habits = NO_HABITS) -> re.Match[str] | None:
    for expression in _WELLS:
        found = None if expression is _UNSURE and not unsure else expression.search(name)
        if found is not None:
            return found
    small = _SMALL.search(name)
    known = small is not None and (habits.small or small.group(1) in habits.spelled)
    return small if known else None


def _before(tokens: list[str], after: list[str], habits: Habits) -> list[str]:
    """Leave out what does not name a well's plate of what stands before the well."""
    # P1 is a position, unless another token counts the fields.
    if len(tokens) == 1 and _PLATE.fullmatch(tokens[0]) and any(map(_is_field, after)):
        return tokens
    kept: list[str] = []
    for k, token in enumerate(tokens):
        timed = habits.times and _is_time(tokens, k)
        counted = token in habits.counters and _may_count(tokens, k)
        field = _is_field(token) and not _numbers_repeat(tokens, k)
        if timed or counted or _PART.fullmatch(token) or _MOMENT.fullmatch(token) or field:
            continue
        kept.append(token[:8] if habits.times and _is_day_with_time(token) else token)
    return kept


def _is_time(tokens: list[str], k: int) -> bool:
    return k > 0 and bool(_DAY.fullmatch(tokens[k - 1]) and _TIME.fullmatch(tokens[k]))


def _is_day_with_time(token: str) -> bool:
    return bool(_DAY.fullmatch(token[:8]) and _TIME.fullmatch(token[8:].lstrip("Tt")))


def _may_count(tokens: list[str], k: int) -> bool:
    """Whether a number may count images: it is no day, and not that of a plate or a donor."""
    token = tokens[k]
    if _DAY.fullmatch(token) or _is_day_with_time(token) or _numbers_repeat(tokens, k):
        return False
    return _LONG_NUMBER.fullmatch(token) is not None


def _numbers_repeat(tokens: list[str], k: int) -> bool:
    """Whether a number is that of a plate, a donor or the like, which stands before it."""
    word = tokens[k - 1] if k else ""
    told = word.isalpha() and (word.lower() == "plate" or _CULTURE.fullmatch(word) is not None)
    return bool(told) and tokens[k].isdigit()


def _in_small_letters(names: list[str]) -> bool:
    """Whether each name has one well in small letters, and nothing else that it could be."""
    if any(place_of(name).kind == "well" for name in names):
        return False
    found = [_SMALL.findall(name) for name in names]
    if not found or not all(len(wells) == 1 for wells in found):
        return False
    wells = {one for (one,) in found}
    rows = {well[0] for well in wells}
    adjacent = ord(max(rows)) - ord(min(rows)) + 1 == len(rows) >= _LEAST_ROWS
    return len(wells) > 1 and (adjacent or not rows <= _OTHERWISE)


def _spelled(names: list[str]) -> dict[str, str]:
    """Find wells that are written in several ways, and choose one for each."""
    found = [_well_in(name) or _SMALL.match(name) for name in names]
    if None in found:  # small letters may be anything
        found = [_well_in(name) for name in names]
    ways: dict[tuple[str, int], set[str]] = {}
    for well in found:
        parts = None if well is None else _ROW_AND_COLUMN.fullmatch(well.group(1))
        if parts is not None:
            ways.setdefault((parts[1].upper(), int(parts[2])), set()).add(parts[0])
    return {
        way: chosen
        for spellings in ways.values()
        if len(spellings) > 1
        # A capital one, with as many digits as any of these.
        and (chosen := max(spellings, key=lambda way: (way.isupper(), len(way)))).isupper()
        for way in spellings
    }


def _tokens_around_well(name: str, habits: Habits) -> tuple[list[str], list[str]]:
    """Split a name into what stands before its well, and the well with what follows it."""
    found = _well_in(name, habits=habits)
    if found is None:
        return [], []
    return _tokens(name[: found.start()]), _tokens(name[found.start() :])


def _counters(names: list[str], habits: Habits) -> frozenset[str]:
    """Find long numbers before wells that are another in nearly every name, and count images.

    Without these, wells have several images, with different names. Where many names would be the
    same, each number is that of a plate, of which the same field was taken; where few are, images
    are counted through some plates, which nothing else tells apart.
    """
    numbers: dict[int, dict[str, str]] = {}
    left: dict[int, list[tuple[str, ...]]] = {}
    for name in names:
        before, rest = _tokens_around_well(name, habits)
        for k, token in enumerate(before):
            if _may_count(before, k):
                numbers.setdefault(k, {})[name] = token
                left.setdefault(k, []).append((*before[:k], *before[k + 1 :], *rest))
    least = max(_LEAST_NAMES, _NEARLY * len(names))
    counters: set[str] = set()
    for k, by_name in numbers.items():
        found = frozenset(by_name.values())
        most = max(Counter(left[k]).values())
        if len(found) < least or most > min(len(set(left[k])), _MOST_PLATES):
            continue
        wells = _by_well(by_name, replace(habits, counters=found))
        if any(len({by_name[name] for name in well}) > 1 for well in wells):
            counters |= found
    return frozenset(counters)


def _have_times(names: list[str], habits: Habits) -> bool:
    """Whether what can be times after a day are times, and not numbers of plates.

    A plate's number is in the names of all fields of a well, or of the only one. A time is in those
    of one field, or of one plane, and a well has several of these.
    """
    times: dict[str, str] = {}
    left: dict[str, tuple[str, ...]] = {}
    for name in names:
        before, rest = _tokens_around_well(name, habits)
        for k, token in enumerate(before):
            if _is_time(before, k):
                times[name], left[name] = token, (*before[:k], *before[k + 1 :], *rest)
            elif _is_day_with_time(token):
                times[name], left[name] = (
                    token[8:],
                    (*before[:k], token[:8], *before[k + 1 :], *rest),
                )
    if len(set(left.values())) == len(left):
        return True
    # Two plates of one day may have the same fields, each with a time of its own.
    fields = {
        name: tuple(token for token in tokens if not _PART.fullmatch(token))
        for name, tokens in left.items()
    }
    return all(
        len({times[name] for name in well}) == 1
        or any(_tell_apart(times, images, well) for images in (fields, left))
        for well in _by_well(times, habits)
    )


def _tell_apart(
    times: Mapping[str, str], images: Mapping[str, tuple[str, ...]], well: list[str]
) -> bool:
    """Whether a well has several fields, or images, and each time is of one of them."""
    pairs = {(times[name], images[name]) for name in well}
    return len({image for _, image in pairs}) > 1 and len({time for time, _ in pairs}) == len(pairs)


def _by_well(names: Iterable[str], habits: Habits) -> list[list[str]]:
    """Put together the names that are of one well, by such habits."""
    wells: dict[str, list[str]] = {}
    for name in names:
        wells.setdefault(place_of(name, habits=habits).name, []).append(name)
    return list(wells.values())


def _is_field(token: str) -> bool:
    return _FIELD.fullmatch(token) is not None and _REPEAT.fullmatch(token) is None


def _repeats(tokens: list[str], habits: Habits, wanted: re.Pattern[str] = _REPEAT) -> list[str]:
    """Return what names a repeat, each with the number, or letter, that may follow it."""
    kept = []
    for token, after in zip_longest(tokens, tokens[1:], fillvalue=""):
        if not wanted.fullmatch(token):
            continue
        if any(sign.isdigit() for sign in token):
            kept.append(token)
        elif _NUMBER.fullmatch(after) or (habits.letters and _is_capital(after)):
            kept.append(f"{token}{after}")
    return kept


def _is_capital(token: str) -> bool:
    return len(token) == 1 and token.isascii() and token.isupper()


def _letters_count(names: list[str]) -> bool:
    """Whether the capitals after words for animals and the like are A, B, C ..., and no sides."""
    found = {
        after
        for tokens in map(_tokens, names)
        for word, after in pairwise(tokens)
        if _CULTURE.fullmatch(word) and _is_capital(after)
    }
    return len(found) > 1 and sorted(found) == [chr(ord("A") + k) for k in range(len(found))]


def _field(name: str, tokens: list[str]) -> Place:
    """Leave out what names a part of a field; the rest names the field."""
    # Along one axis alone, x3 may be the third of anything.
    axes = {token[0].lower() for token in tokens if _COORDINATE.fullmatch(token)}
    with_places = len(axes) == 2
    rest: list[str] = []
    left_out = False
    i = 0
    while i < len(tokens):
        token = tokens[i]
        placed = _COORDINATE.fullmatch(token) or _TIME_LETTER.fullmatch(token)
        # "tile 12" is written in many ways; a tile without a number is none of several.
        apart = token.isalpha() and i + 1 < len(tokens) and tokens[i + 1].isdigit()
        numbered = apart or not token.isalpha()
        if (numbered and _PART.fullmatch(token)) or (with_places and placed):
            left_out = left_out or _CHANNEL.fullmatch(token) is None
            i += apart
        else:
            rest.append(token)
        i += 1
    if not left_out:
        return Place(name, "image")
    return Place(" ".join(rest), "field")
