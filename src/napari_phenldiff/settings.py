"""Settings: what a field of a configuration says about itself, for every place that shows it.

A configuration is a pydantic model, and each of its fields is described there and nowhere else:
its type and bounds by the annotation, its default, what it does by the docstring below it, and how
it is shown by a `Shown` in the annotation. Options of the command line, rows of the docks and
tables of the documents are made from that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

SETTINGS = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
"""Configuration of every pydantic model that holds settings."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a field is shown; goes into its annotation beside pydantic's ``Field``.

    Attributes
    ----------
    label : str, optional
        In a dock. Made from the name of the field where None.
    unit : str, optional
        Of a number, such as ``"px"`` or ``"steps"``.
    advanced : bool
        Whether it stands among the settings that most people leave alone.
    step : float, optional
        What one turn of a wheel or one arrow key adds, where a dock shows a number.
    option : str, optional
        Name of the option of the command line, where it is not that of the field.
    default : str, optional
        What the default is in words, where it depends on other settings.
    """

    label: str | None = None
    unit: str | None = None
    advanced: bool = False
    step: float | None = None
    option: str | None = None
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Setting:
    """What a field of a configuration says about itself.

    Attributes
    ----------
    name : str
        Of the field.
    kinds : tuple of type
        Types that a value may have, without None and without the words in `choices`; a sequence is
        the type of its elements, see `several`.
    several : bool
        Whether a value is a sequence of such.
    choices : tuple of str
        Words that a value may be.
    optional : bool
        Whether a value may be None.
    low, high : float or None
        Bounds of a number; `low_excluded` where it must lie above `low`.
    low_excluded : bool
        See `low`.
    default : Any
        None where there is none.
    required : bool
        Whether there is no default.
    text : str
        What it does, without markup.
    shown : Shown
        How it is shown.
    """

    name: str
    kinds: tuple[type, ...]
    several: bool
    choices: tuple[str, ...]
    optional: bool
    low: float | None
    high: float | None
    low_excluded: bool
    default: Any
    required: bool
    text: str
    shown: Shown

    @property
    def label(self) -> str:
        """Return what it is called in a dock."""
        words = self.name.replace("_", " ")
        return self.shown.label or words[:1].upper() + words[1:]

    @property
    def sentence(self) -> str:
        """Return the first sentence of its text, without the full stop."""
        return re.split(r"\.(?:\s|$)", self.text, maxsplit=1)[0]

    @property
    def option(self) -> str:
        """Return its option of the command line, such as ``--batch-size``."""
        return self.shown.option or "--" + self.name.replace("_", "-")


def settings_in(model: type[BaseModel]) -> dict[str, Setting]:
    """Return what the fields of a configuration say about themselves, by name.

    Parameters
    ----------
    model : type
        A pydantic model; its fields are described by docstrings if its configuration is `SETTINGS`.
    """
    return {name: _setting(name, info) for name, info in model.model_fields.items()}


def without_markup(text: str) -> str:
    """Return a docstring as one line of plain text."""
    return " ".join(text.replace("`", "").split())


def _setting(name: str, info: FieldInfo) -> Setting:
    found = list(_parts(info.annotation))
    kinds = tuple(dict.fromkeys(kind for kind, _ in found if isinstance(kind, type)))
    limits = [*info.metadata, *(limit for _, limits in found for limit in limits)]
    low = _limit(limits, "ge")
    above = _limit(limits, "gt")
    required = info.default is PydanticUndefined and info.default_factory is None
    return Setting(
        name=name,
        kinds=tuple(kind for kind in kinds if kind not in (NoneType, tuple)),
        several=tuple in kinds,
        choices=tuple(kind for kind, _ in found if isinstance(kind, str)),
        optional=NoneType in kinds,
        low=above if low is None else low,
        high=_highest(limits, whole=float not in kinds),
        low_excluded=low is None and above is not None,
        default=None if required else info.get_default(call_default_factory=True),
        required=required,
        text=without_markup(info.description or ""),
        shown=next((part for part in info.metadata if isinstance(part, Shown)), Shown()),
    )


def _parts(annotation: Any) -> Iterator[tuple[type | str, tuple[Any, ...]]]:
    """Yield the types and words of an annotation, each with the limits that are put on it.

    A sequence yields ``tuple`` and then what its elements are.
    """
    origin = get_origin(annotation)
    if origin is Literal:
        yield from ((word, ()) for word in get_args(annotation))
    elif hasattr(annotation, "__metadata__"):
        inner, *metadata = get_args(annotation)
        for kind, limits in _parts(inner):
            flat = [m for part in metadata for m in getattr(part, "metadata", [part])]
            yield kind, (*limits, *flat)
    elif origin in (tuple, list):
        yield tuple, ()
        for kind, _ in _parts(get_args(annotation)[0]):
            yield kind, ()
    elif get_args(annotation):
        for part in get_args(annotation):
            yield from _parts(part)
    elif isinstance(annotation, type):
        yield annotation, ()


def _highest(limits: list[Any], *, whole: bool) -> float | None:
    below = _limit(limits, "lt")
    if below is None:
        return _limit(limits, "le")
    return below - 1 if whole else below


def _limit(limits: list[Any], name: str) -> float | None:
    found = [getattr(limit, name) for limit in limits if getattr(limit, name, None) is not None]
    return found[0] if found else None
