"""How the images of an experiment are arranged, where folders and names alone do not tell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from napari_phenldiff.settings import SETTINGS, Shown


class Arrangement(BaseModel):
    """What somebody says about the files of an experiment."""

    model_config = SETTINGS

    channels: Annotated[
        Annotated[tuple[str, ...], Field(min_length=1)] | None, Shown(in_docks=False)
    ] = None
    """Channel to read, by its name or number, if not all are wanted; may be given several times."""

    pattern: Annotated[str | None, Shown(unset="as microscopes name files")] = None
    """Regular expression with named groups (condition, plate, well, row, col, field, time, channel,
    z) that is looked for in the path of each file, in place of the ways in which microscopes name
    files."""

    layout: Annotated[Path | None, Shown("Layout table")] = None
    """Table that says which well had which condition: the layout of the plate."""

    condition_columns: Annotated[
        tuple[str, ...], Shown("Condition", option="--condition-column")
    ] = ()
    """Column of a table that names the condition; of several, the values are joined."""

    root: Annotated[Path | None, Shown("Paths start at")] = None
    """Folder that the paths in a table start from, if it is not that of the table."""
