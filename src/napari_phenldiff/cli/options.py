"""Options that several commands share, and options made from a configuration's fields."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

if TYPE_CHECKING:
    from napari_phenldiff.images.axes import Projection


def flag(field: str) -> str:
    """Return the option for a field: ``batch_size`` -> ``--batch-size``."""
    return "--" + field.replace("_", "-")


def add_fields(
    parser: argparse._ActionsContainer,
    model: type[BaseModel],
    fields: Mapping[str, tuple[Callable[[str], Any], str, str]],
) -> None:
    """Add one option per field of a configuration.

    Options that are not given are absent from the parsed arguments, so that the defaults live in
    the configuration alone.

    Parameters
    ----------
    parser : argparse parser or group
        Where the options are added.
    model : type
        The configuration, from which the defaults shown are taken.
    fields : mapping
        By field: type (or what reads the text), metavar and help.
    """
    for field, (kind, metavar, text) in fields.items():
        default = model.model_fields[field].default
        if default is not None and default is not PydanticUndefined:
            text = f"{text} (default: {default})"
        parser.add_argument(
            flag(field), type=kind, metavar=metavar, help=text, default=argparse.SUPPRESS
        )


def given(args: argparse.Namespace, model: type[BaseModel]) -> dict[str, Any]:
    """Return those fields of a configuration that were given on the command line."""
    return {key: value for key, value in vars(args).items() if key in model.model_fields}


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
