"""Read the settings of a configuration, to make command line options, docks and documents.

A configuration is a pydantic model, which is the only place where its fields are described: the
annotation gives type and bounds, the docstring below the field says what it does, and a `Shown` in
the annotation says how it is displayed. The options of the command line, the rows of the docks and
the tables in the documents are made from that.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any, Literal, NamedTuple, get_args, get_origin

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

SETTINGS = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
"""Configuration of every pydantic model that holds settings."""


class Choice(NamedTuple):
    """How one of several words that a setting may be is shown."""

    title: str
    """What it is called in a dock."""

    text: str
    """What it does, a clause that goes on after the title: "adds small matrices"."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a field is displayed; part of its annotation, next to pydantic's ``Field``.

    Attributes
    ----------
    label : str, optional
        Label in a dock; by default made from the name of the field.
    unit : str, optional
        Unit of a number, such as ``"px"`` or ``"steps"``.
    advanced : bool
        Whether it is one of the advanced settings.
    step : float, optional
        Increment of the mouse wheel and the arrow keys in a dock.
    option : str, optional
        Command line option, if it is not named after the field.
    default : str, optional
        Description of the default, if it depends on other settings.
    before_default : str, optional
        What is taken before the default where there is such a value, such as what was chosen for a
        run.
    unset : str, optional
        Word that a dock shows for no value, or for the lowest number, such as ``"all"`` or
        ``"never"``.
    switch : str, optional
        Label of the check box of a setting that is on or off.
    choices : mapping of str to Choice
        How the allowed words are displayed; words that are not listed are shown unchanged.
    in_docks : bool
        Whether docks show it; the command line and scripts always have it.
    """

    label: str | None = None
    unit: str | None = None
    advanced: bool = False
    step: float | None = None
    option: str | None = None
    default: str | None = None
    before_default: str | None = None
    unset: str | None = None
    switch: str | None = None
    choices: Mapping[str, Choice] = field(default_factory=dict, hash=False)
    in_docks: bool = True


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of a configuration.

    Attributes
    ----------
    name : str
        Name of the field.
    kinds : tuple of type
        Types of a value, except None and the words in `choices`; of a sequence, those of its
        elements, see `several`.
    several : bool
        Whether a value is a sequence.
    choices : tuple of str
        Words that are allowed as value.
    optional : bool
        Whether None is allowed.
    low, high : float or None
        Bounds of a number.
    low_excluded, high_excluded : bool
        Whether the bound itself is not allowed.
    default : Any
        Default value; None if there is none.
    required : bool
        Whether there is no default.
    text : str
        Description, without markup.
    shown : Shown
        How the field is displayed.
    """

    name: str
    kinds: tuple[type, ...]
    several: bool
    choices: tuple[str, ...]
    optional: bool
    low: float | None
    high: float | None
    low_excluded: bool
    high_excluded: bool
    default: Any
    required: bool
    text: str
    shown: Shown

    @property
    def label(self) -> str:
        """Return the label in a dock."""
        words = self.name.replace("_", " ")
        return self.shown.label or words[:1].upper() + words[1:]

    @property
    def sentence(self) -> str:
        """Return the first sentence of the description, without the full stop."""
        return re.split(r"\.(?:\s|$)", self.text, maxsplit=1)[0]

    @property
    def explanation(self) -> str:
        """Return the description, with that of each choice and of the default."""
        parts = [self.text, *(f"{title} {text}." for title, text in self.shown.choices.values())]
        if self.shown.default is not None:
            parts.append(f"By default {self.shown.default}.")
        return " ".join(parts)

    @property
    def model(self) -> type[BaseModel] | None:
        """Return the model of a nested configuration; None for other settings."""
        return next((kind for kind in self.kinds if issubclass(kind, BaseModel)), None)

    @property
    def option(self) -> str:
        """Return the command line option, such as ``--batch-size``."""
        return self.shown.option or option_of(self.name)


def option_of(name: str) -> str:
    """Return the option of the command line for a name: ``batch_size`` -> ``--batch-size``."""
    return "--" + name.replace("_", "-")


def settings_in(model: type[BaseModel]) -> dict[str, Setting]:
    """Return the settings of a configuration, by name.

    Parameters
    ----------
    model : type
        A pydantic model, whose fields are described by docstrings if its configuration is
        `SETTINGS`.
    """
    return {name: _setting(name, info) for name, info in model.model_fields.items()}


def in_message(model: type[BaseModel], name: str, *, off: bool = False) -> str:
    """Return a setting as messages name it, for whoever reads them in a dock or a terminal.

    Parameters
    ----------
    model : type
        Its configuration.
    name : str
        Of the field.
    off : bool
        Whether the message says to switch it off, for which it has an option of its own.

    Examples
    --------
    >>> from napari_phenldiff.evaluation.config import EvaluationConfig
    >>> in_message(EvaluationConfig, "trained_too")
    '“Images it knows” (--trained-too)'
    """
    setting = settings_in(model)[name]
    option = option_of(f"no_{name}") if off else setting.option
    return f"“{setting.label}” ({option})"


_OPTION = re.compile(r"\s*\(--[a-z][^()]*\)")


def without_options(text: str) -> str:
    """Return a message without the options of the command line, for whoever reads it in a dock.

    Examples
    --------
    >>> without_options("Choose it with “Images it knows” (--trained-too).")
    'Choose it with “Images it knows”.'
    """
    return _OPTION.sub("", text)


def without_markup(text: str) -> str:
    """Return a docstring as one line of plain text."""
    return re.sub(r"\*([^*]+)\*", r"\1", " ".join(text.replace("`", "").split()))


def _setting(name: str, info: FieldInfo) -> Setting:
    found = list(_parts(info.annotation))
    kinds = tuple(dict.fromkeys(kind for kind, _ in found if isinstance(kind, type)))
    limits = [*info.metadata, *(limit for _, limits in found for limit in limits)]
    low, above = _limit(limits, "ge"), _limit(limits, "gt")
    high, below = _limit(limits, "le"), _limit(limits, "lt")
    if below is not None and float not in kinds:
        high, below = below - 1, None
    required = info.default is PydanticUndefined and info.default_factory is None
    return Setting(
        name=name,
        kinds=tuple(kind for kind in kinds if kind not in (NoneType, tuple)),
        several=tuple in kinds,
        choices=tuple(kind for kind, _ in found if isinstance(kind, str)),
        optional=NoneType in kinds,
        low=above if low is None else low,
        high=below if high is None else high,
        low_excluded=low is None and above is not None,
        high_excluded=high is None and below is not None,
        default=None if required else info.get_default(call_default_factory=True),
        required=required,
        text=without_markup(info.description or ""),
        shown=next((part for part in info.metadata if isinstance(part, Shown)), Shown()),
    )


def _parts(annotation: Any) -> Iterator[tuple[type | str, tuple[Any, ...]]]:
    """Yield the types and words of an annotation, each with its bounds.

    A sequence yields ``tuple`` and then the types of its elements.
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


def _limit(limits: list[Any], name: str) -> float | None:
    found = [getattr(limit, name) for limit in limits if getattr(limit, name, None) is not None]
    return found[0] if found else None
