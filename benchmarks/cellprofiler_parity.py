"""Hold the command ``phenldiff measure area`` to CellProfiler's own results, row by row.

Usage::

    python benchmarks/cellprofiler_parity.py REFERENCE.csv DATA [--out ROWS.csv]

REFERENCE.csv has the columns dataset, condition, file, channel, scale, method, log_transform,
smoothing, threshold, area_occupied, perimeter and total_area, as CellProfiler's
MeasureImageAreaOccupied gave them; DATA/dataset/condition/file are the images. Every row goes
through the command itself, one call for all images that share their settings. Prints a table per
data set and method, and what is off; ends with 1 if anything is.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from napari_phenldiff.cli import main as phenldiff

METHODS = {
    "Otsu": "otsu",
    "Minimum Cross-Entropy": "minimum-cross-entropy",
    "Robust Background": "robust-background",
}
SETTINGS = ["dataset", "channel", "scale", "method", "log_transform", "smoothing"]
TOLERANCE = {"threshold": 1e-4, "area": 0.005, "perimeter": 0.01}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="CSV with all rows, theirs and ours")
    args = parser.parse_args()
    rows = compare(pd.read_csv(args.reference), args.data)
    if args.out is not None:
        rows.to_csv(args.out, index=False)
    print(summary(rows).to_string(index=False))
    off = rows[~rows.agrees]
    print(f"\n{len(rows) - len(off)} of {len(rows)} rows agree within {TOLERANCE}.")
    if len(off):
        print(off.to_string(index=False))
    return int(len(off) > 0)


def compare(reference: pd.DataFrame, data: Path) -> pd.DataFrame:
    """Measure all rows of the reference with the command, and put both beside each other.

    Parameters
    ----------
    reference : pandas.DataFrame
        CellProfiler's results.
    data : pathlib.Path
        Folder of the data sets.

    Returns
    -------
    pandas.DataFrame
        The reference with ours (``our_threshold``, ``our_area``...), the errors
        (``threshold_error`` in parts of the range of the scaled grey values, which is 1;
        ``area_error`` and ``perimeter_error`` in parts of CellProfiler's value) and ``agrees``.
    """
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (_, theirs) in enumerate(reference.groupby(SETTINGS, sort=False)):
            ours = _measure(theirs, data, Path(folder) / f"{number}.csv")
            theirs = theirs.assign(image=theirs.file.map(lambda name: Path(name).stem))
            found.append(theirs.merge(ours, on=["condition", "image"], validate="1:1"))
    rows = pd.concat(found, ignore_index=True)
    rows["threshold_error"] = (rows.our_threshold - rows.threshold).abs()
    rows["area_error"] = _relative(rows.our_area, rows.area_occupied)
    rows["perimeter_error"] = _relative(rows.our_perimeter, rows.perimeter)
    within = [rows[f"{name}_error"] <= limit for name, limit in TOLERANCE.items()]
    rows["agrees"] = np.logical_and.reduce(within) & (rows.our_total == rows.total_area)
    return rows


def _measure(theirs: pd.DataFrame, data: Path, out: Path) -> pd.DataFrame:
    first = theirs.iloc[0]
    files = [data / row.dataset / row.condition / row.file for row in theirs.itertuples()]
    command = ["measure", "area", *map(str, files), "--out", str(out)]
    command += ["--channel", str(first.channel), "--threshold", METHODS[first.method]]
    command += ["--scale", str(first.scale), "--smoothing", str(first.smoothing), "--per-image"]
    command += ["--log"] if first.log_transform else []
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        code = phenldiff(command)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}: {printed.getvalue()}")
    table = pd.read_csv(out, dtype={"image": str, "condition": str})
    names = {
        "threshold": "our_threshold",
        "area_px": "our_area",
        "perimeter_px": "our_perimeter",
        "total_px": "our_total",
    }
    return table.rename(columns=names)[["image", "condition", *names.values(), "reason"]]


def _relative(ours: pd.Series, theirs: pd.Series) -> pd.Series:
    """Error in parts of their value; 0 where both are 0."""
    return (ours - theirs).abs().div(theirs).where(theirs != 0, (ours != 0).astype(float))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Give the largest errors per data set and method.

    Parameters
    ----------
    rows : pandas.DataFrame
        As `compare` gives them.
    """
    groups = rows.groupby(["dataset", "method", "log_transform", "smoothing"], sort=True)
    return groups.agg(
        rows=("agrees", "size"),
        agree=("agrees", "sum"),
        threshold=("threshold_error", "max"),
        area=("area_error", "max"),
        perimeter=("perimeter_error", "max"),
    ).reset_index()


if __name__ == "__main__":
    sys.exit(main())
