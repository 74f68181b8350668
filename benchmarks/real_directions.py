r"""Compare the effects that the READMEs of the real images state with measured ones.

Usage::

    python benchmarks/real_directions.py DATA [--out FILE] [--set NAME ...]

DATA holds the data sets, each with a folder per condition. A row per statement of a README: what
it says, the medians of both conditions over images (places, where pairs are compared), the shift
between them and Cliff's delta with their 95 % intervals, p, n, and whether direction and size
agree. The direction agrees if the interval of the shift lies on that side of 0, or, where nothing
should change, holds it. The size agrees if both medians are within
10 % of the README's, or within half a cell or 0.01 of an area fraction. Rows that are there to
tell what goes wrong are marked so. Writes Markdown, and prints it. Ends with 1 if a row that is
not marked disagrees.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.profiles.profile import NUCLEI
from napari_phenldiff.measurement.statistics.effects import effects
from napari_phenldiff.measurement.statistics.units import wells_by_pattern

PER_IMAGE = {"threshold": {"scope": "image"}}
# How the READMEs count nuclei: touching ones are one, and pieces are none.
COARSE = {"nuclei": {**NUCLEI.model_dump(), "split": False, "min_size": 100}}
PLACE = r"(s\d+)_t.(_y\d+_x\d+)"


@dataclass(frozen=True, slots=True)
class Statement:
    """What a README says of a measurement, and how to make it.

    Parameters
    ----------
    folder, before, after : str
        Data set and its conditions.
    profile, column : str
    direction : {"up", "down", "same"}
    settings : dict
        Of the profile, where they are not the default.
    size : (float, float) or None
        The medians that the README tells; None if it tells a direction only.
    pairs : str or None
        Pattern that finds the place in an image's name, if the same places are compared.
    note : str
        What the settings are, or what the README measured instead.
    goes_wrong : bool
        Whether the row is known to disagree, and is there to tell why.
    """

    folder: str
    before: str
    after: str
    profile: str
    column: str
    direction: str
    settings: dict[str, Any] = field(default_factory=dict)
    size: tuple[float, float] | None = None
    pairs: str | None = None
    note: str = ""
    goes_wrong: bool = False


def statements() -> Iterator[Statement]:
    """Give all statements of the READMEs, set by set."""
    for folder, ratio, nuclei in (
        ("bbbc013_translocation", (0.73, 6.6), (9, 8)),
        ("bbbc013_translocation_fields", (0.72, 6.2), (188, 170)),
    ):
        drug = (folder, "untreated", "treated", "translocation")
        yield Statement(*drug, "ratio", "up", size=ratio)
        yield Statement(*drug, "fraction_translocated", "up")
        yield Statement(*drug, "n_cells", "same", size=nuclei)

    golgi = ("golgi_bfa", "before_bfa", "after_bfa")
    yield Statement(*golgi, "golgi", "half_area_fraction", "up")
    yield Statement(*golgi, "golgi", "half_area_px", "up", note="above the median")
    yield Statement(*golgi, "golgi", "n_half_fragments", "up")
    each = {"segmentation": PER_IMAGE}
    yield Statement(
        *golgi, "area", "area_px", "up", each, size=(276, 927), note="threshold per image"
    )
    yield Statement(*golgi, "golgi", "n_fragments", "up", each, note="threshold per image")
    one = "one threshold for all"
    yield Statement(*golgi, "area", "area_px", "up", size=(276, 927), note=one, goes_wrong=True)
    yield Statement(*golgi, "golgi", "n_fragments", "up", note=one)

    for folder, nuclei, actin, kinase in (
        ("hela_sirna", (3, 1), (0.229, 0.010), (3, 3)),
        ("hela_sirna_fields", (78.5, 19.5), (0.256, 0.050), (78.5, 80)),
    ):
        toxic = (folder, "RLUC_siRNA", "UBC_siRNA")
        control = (folder, "RLUC_siRNA", "kinase_siRNA")
        coarse = "not split, from 100 px"
        for what, direction, size in ((toxic, "down", nuclei), (control, "same", kinase)):
            count = (*what, "cells", "n_cells", direction)
            yield Statement(*count, size=size, goes_wrong=True)
            yield Statement(*count, COARSE, size=size, note=coarse)
        yield Statement(
            *toxic, "area", "area_fraction", "down", {"channel": 2}, size=actin, note="F-actin"
        )
        yield Statement(*toxic, "area", "area_fraction", "down", {"channel": 1}, note="tubulin")

    cut = ("neurite_axotomy", "uncut", "cut")
    same_places = ("neurite_axotomy", "cut_before", "cut")
    yield Statement(*cut, "area", "area_fraction", "down", size=(0.375, 0.115))
    for column in ("area_fraction", "neurite_length_um", "segment_length_um"):
        yield Statement(*cut, "neurons", column, "down")
        yield Statement(
            *same_places, "neurons", column, "down", pairs=PLACE, note="pairs of the same place"
        )


@cache
def measured(data: Path, folder: str, profile: str, settings: str) -> Any:
    """Measure all conditions of a set; thresholds come from all of them, as in the READMEs."""
    experiment = Experiment.from_folder(data / folder)
    groups = {condition.name: condition.images for condition in experiment.conditions}
    return measure(profile, groups, PROFILES[profile].settings_type.model_validate_json(settings))


def row(data: Path, said: Statement) -> dict[str, Any]:
    """Measure what a statement is about, and compare."""
    settings = PROFILES[said.profile].settings_type.model_validate(said.settings)
    found = measured(data, said.folder, said.profile, settings.model_dump_json())
    # The READMEs tell of tiles, whichever well they are of.
    wells = "image" if said.pairs is None else wells_by_pattern(found, said.pairs)
    effect = effects(
        found,
        source=said.before,
        target=said.after,
        columns=[said.column],
        paired=said.pairs is not None,
        wells=wells,
    ).iloc[0]
    medians = effect["median_before"], effect["median_after"]
    size = "" if said.size is None else "yes" if close(said, medians) else "no"
    direction = "same" if effect["shift_low"] <= 0 <= effect["shift_high"] else "up"
    if direction == "up" and effect["shift"] < 0:
        direction = "down"
    agrees = direction == said.direction
    known = " (known)" if said.goes_wrong else ""
    numbers = "" if said.size is None else f" {said.size[0]:g}, {said.size[1]:g}"
    return {
        "set": f"{said.folder}: {said.before}, {said.after}",
        "measurement": f"{said.profile} `{said.column}`" + (f" ({said.note})" if said.note else ""),
        "README": f"{said.direction}{numbers}",
        "medians": f"{medians[0]:.3g}, {medians[1]:.3g}",
        "shift": interval(effect, "shift"),
        "Cliff's delta": interval(effect, "cliffs_delta"),
        "p": f"{effect['p_value']:.1e}",
        "n": f"{effect['n_before']}, {effect['n_after']}" if said.pairs is None
        else f"{effect['n_before']} pairs",
        "direction": "yes" if agrees else f"**no**, {direction}{known}",
        "size": f"**no**{known}" if size == "no" else size,
        "off": not said.goes_wrong and (not agrees or size == "no"),
    }  # fmt: skip


def close(said: Statement, medians: tuple[float, float]) -> bool:
    """Return whether both medians equal the README's within its digits."""
    smallest = 0.01 if said.column == "area_fraction" else 0.5 if said.column == "n_cells" else 0
    return bool(np.allclose(medians, said.size, rtol=0.1, atol=smallest))


def interval(effect: Any, name: str) -> str:
    """Write a number with its interval."""
    numbers = (effect[name], effect[f"{name}_low"], effect[f"{name}_high"])
    return "{:.3g} ({:.3g} to {:.3g})".format(*numbers)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="Markdown to write")
    parser.add_argument("--set", nargs="+", help="only these data sets")
    args = parser.parse_args()
    chosen = [said for said in statements() if not args.set or said.folder in args.set]
    rows = [row(args.data, said) for said in chosen]
    off = sum(line.pop("off") for line in rows)
    cells = [list(rows[0]), ["---"] * len(rows[0]), *([*line.values()] for line in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in cells)
    print(table)
    print(f"\n{len(rows) - off} of {len(rows)} rows are as they should be.")
    if args.out is not None:
        args.out.write_text(f"{table}\n", encoding="utf-8")
    return int(off > 0)


if __name__ == "__main__":
    sys.exit(main())
