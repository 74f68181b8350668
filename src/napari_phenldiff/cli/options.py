"""Options that several commands share, and options made from a configuration's fields."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from napari_phenldiff.settings import Setting, settings_in

if TYPE_CHECKING:
    from napari_phenldiff.images.arrangement import Arrangement
    from napari_phenldiff.images.axes import Projection
    from napari_phenldiff.images.dataset import Dataset


def add_settings(
    parser: argparse.ArgumentParser,
    model: type[BaseModel],
    *,
    leave_out: Collection[str] = (),
    only: Collection[str] | None = None,
    group: str | None = None,
) -> None:
    """Add one option per field of a configuration, as `napari_phenldiff.settings` describes it.

    Options that are not given are absent from the parsed arguments, so that the defaults live in
    the configuration alone.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Where the options are added; advanced ones to a group of that name.
    model : type
        The configuration.
    leave_out : collection of str
        Fields that have no option, or one that the command adds itself.
    only : collection of str, optional
        Fields that have an option; by default all but those left out.
    group : str, optional
        Heading that all options stand under, the advanced ones too.
    """
    plain: argparse._ActionsContainer = parser if group is None else _group(parser, group)
    for name, setting in settings_in(model).items():
        if name in leave_out or (only is not None and name not in only):
            continue
        advanced = setting.shown.advanced and group is None
        add_setting(_group(parser, "advanced") if advanced else plain, setting)


def add_setting(parser: argparse._ActionsContainer, setting: Setting, **how: Any) -> None:
    """Add the option of a setting; with `how`, it is read as argparse is told by that."""
    kind, metavar = _reading(setting)
    if not how:
        how = (
            {"action": argparse.BooleanOptionalAction}
            if setting.kinds == (bool,)
            else {"type": kind, "metavar": metavar}
        )
    parser.add_argument(
        setting.option, dest=setting.name, help=_help(setting), default=argparse.SUPPRESS, **how
    )


def _group(parser: argparse.ArgumentParser, title: str) -> argparse._ArgumentGroup:
    found = [group for group in parser._action_groups if group.title == title]
    return found[0] if found else parser.add_argument_group(title)


def _reading(setting: Setting) -> tuple[Callable[[str], Any], str]:
    """Return what reads the text of an option, and what stands for it in the help."""
    if setting.several:
        return (numbers, "N,N,...") if int in setting.kinds else (names, "NAMES")
    if setting.choices:
        # what is none of these, the configuration tells in a sentence
        numeric = tuple("N" for kind in setting.kinds if kind in (int, float))
        return str, "{" + ",".join((*setting.choices, *numeric)) + "}"
    if setting.kinds == (int,):
        return int, "N"
    if setting.kinds == (float,):
        return float, "X"
    return str, _METAVARS.get(setting.name, "TEXT")


_METAVARS = {
    "base": "BASE",
    "device": "DEVICE",
    "from_adapter": "ADAPTER",
    "source": "NAME",
    "start": "BASE",
    "target": "NAME",
    "wells": "PATTERN",
}
"""What stands for texts of a certain kind."""


def _help(setting: Setting) -> str:
    text = setting.sentence
    if text.split(" ", 1)[0][1:].islower():  # not LoRA
        text = text[:1].lower() + text[1:]
    if setting.shown.choices:
        meant = (f"{word} {choice.text}" for word, choice in setting.shown.choices.items())
        text = f"{text}: {'; '.join(meant)}"
    default = setting.default
    if setting.shown.default is not None:
        text = f"{text} (default: {setting.shown.default})"
    elif default not in (None, ()) and setting.kinds != (bool,):
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
        unit = f" {setting.shown.unit}" if setting.shown.unit else ""
        before = setting.shown.before_default
        text = f"{text} (default: {f'{before}, else ' if before else ''}{shown}{unit})"
    return text.replace("%", "%%")


def given(args: argparse.Namespace, model: type[BaseModel]) -> dict[str, Any]:
    """Return those fields of a configuration that were given on the command line."""
    return {key: value for key, value in vars(args).items() if key in model.model_fields}


def numbers(text: str) -> tuple[int, ...]:
    """Read whole numbers separated by commas."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} should be whole numbers separated by commas"
        ) from None


def names(text: str) -> str | tuple[str, ...]:
    """Read names separated by commas; ``auto`` stays as it is.

    Which channels they are, `named_channels` says once it is known what channels there are: a name
    may have commas, and one may be ``none``.
    """
    return text if text == "auto" else tuple(part.strip() for part in text.split(","))


def add_z(parser: argparse._ActionsContainer) -> None:
    """Add ``--z``, for images that have planes in depth."""
    parser.add_argument(
        "--z",
        type=z_choice,
        metavar="PLANE",
        help="for images with planes in depth: the number of a plane (from 0), or max, mean or sum",
    )


def add_direction(parser: argparse._ActionsContainer) -> None:
    """Add options for the conditions of a translation by a run, see `jobs.directions`."""
    for option, where in (("--source", "from"), ("--target", "to")):
        parser.add_argument(
            option,
            metavar="NAME",
            help=f"condition to translate {where} (default: the run's; of two, the other)",
        )


def add_workers(parser: argparse._ActionsContainer, what: str) -> None:
    """Add ``--workers`` and ``--scheduler``, of which one may be given.

    Parameters
    ----------
    parser : argparse.ArgumentParser
    what : str
        What workers do, as in "translate".
    """
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--workers", type=int, default=1, metavar="N", help=f"processes that {what} (default: 1)"
    )
    where.add_argument(
        "--scheduler", metavar="ADDRESS", help=f"{what} on a Dask cluster with this address"
    )


def add_arrangement(parser: argparse.ArgumentParser) -> None:
    """Add what says which images are read, where folders and names alone do not tell."""
    from napari_phenldiff.images.arrangement import Arrangement

    group = parser.add_argument_group(
        "which images",
        "For images that are not told apart by folders, the names of files or a table alone.",
    )
    for name, setting in settings_in(Arrangement).items():
        repeated = name in ("channels", "condition_columns")
        group.add_argument(
            setting.option,
            dest=name,
            action="append" if repeated else "store",
            type=Path if name in ("layout", "root") else str,
            metavar=_ARRANGED[name],
            help=_help(setting),
            default=argparse.SUPPRESS,
        )


_ARRANGED = {
    "channels": "NAME",
    "pattern": "PATTERN",
    "layout": "TABLE",
    "condition_columns": "COLUMN",
    "root": "FOLDER",
}


def arrangement(args: argparse.Namespace) -> Arrangement:
    """Return what the options of `add_arrangement` say."""
    from napari_phenldiff.images.arrangement import Arrangement

    return Arrangement.model_validate(given(args, Arrangement))


def found(
    args: argparse.Namespace, where: Path, conditions: Sequence[str] | None = None
) -> Dataset:
    """Return the images of conditions that a path and the options of `add_arrangement` mean."""
    from napari_phenldiff.images.dataset import Dataset

    how = arrangement(args)
    return Dataset.find(where, how, conditions=conditions, folders_only=True)


def add_base_at(parser: argparse._ActionsContainer) -> None:
    """Add ``--base-at``, for runs whose base model is not where it was."""
    parser.add_argument(
        "--base-at",
        type=Path,
        metavar="FOLDER",
        help="where the run's base model lies now; it must be the one that was trained on, and is "
        "remembered",
    )


def z_choice(text: str) -> int | Projection:
    """Read the value of ``--z``."""
    match text:
        case "max" | "mean" | "sum":
            return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither the number of a plane nor max, mean or sum"
        ) from None
