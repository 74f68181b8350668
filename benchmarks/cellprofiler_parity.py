"""Compare the command ``phenldiff measure area`` with CellProfiler's results, row by row.

Usage::

    python benchmarks/cellprofiler_parity.py REFERENCE.csv DATA [--out ROWS.csv]
        [--cellprofiler PYTHON [--planes 40]]

REFERENCE.csv has the columns dataset, condition, file, channel, scale, method, log_transform,
smoothing, threshold, area_occupied, perimeter and total_area, as CellProfiler's
MeasureImageAreaOccupied gave them; DATA/dataset/condition/file are the images. Every row goes
through the command itself, one call for all images that share their settings. Prints a table per
data set and method, and what is off; ends with 1 if anything is.

With PYTHON, the interpreter of an environment with ``cellprofiler-library``, every method is also
compared with that library, with and without logarithm and adaptive windows, on some planes of each
set: thresholds (of each pixel, in windows) and what lies above. That prints a table, too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import subprocess
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
# Beyond the rows: every method of CellProfiler's that there is, on planes of these sets.
ALL_METHODS = ("otsu", "otsu3", "minimum-cross-entropy", "robust-background")
SCALES = {"golgi_bfa": 131072.0}
SETS = ("bbbc013_translocation", "bbbc013_translocation_fields", "golgi_bfa")
SETS += ("hela_sirna", "hela_sirna_fields", "neurite_axotomy")
SMOOTHING = 1.3488
WINDOW = 50
TOLERANCE = {"threshold": 1e-4, "area": 0.005, "perimeter": 0.01}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, help="CSV with all rows, theirs and ours")
    parser.add_argument("--cellprofiler", type=Path, help="Python with cellprofiler-library")
    parser.add_argument("--planes", type=int, default=40, help="of each set, with --cellprofiler")
    args = parser.parse_args()
    rows = compare(pd.read_csv(args.reference), args.data)
    if args.out is not None:
        rows.to_csv(args.out, index=False)
    print(summary(rows).to_string(index=False))
    off = rows[~rows.agrees]
    print(f"\n{len(rows) - len(off)} of {len(rows)} rows agree within {TOLERANCE}.")
    if len(off):
        print(off.to_string(index=False))
    if args.cellprofiler is not None:
        table = compare_with_library(args.cellprofiler, args.data, args.planes)
        print(f"\n{table.to_string(index=False)}")
    return int(len(off) > 0)


def compare(reference: pd.DataFrame, data: Path) -> pd.DataFrame:
    """Measure all rows of the reference with the command, and compare the results.

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


def compare_with_library(python: Path, data: Path, n_planes: int) -> pd.DataFrame:
    """Compare all methods with CellProfiler's library on planes of each set.

    Parameters
    ----------
    python : pathlib.Path
        Interpreter with ``cellprofiler-library``.
    data : pathlib.Path
        Folder of the data sets.
    n_planes : int
        How many planes of each set; all channels of images at even steps.

    Returns
    -------
    pandas.DataFrame
        A row per set, method, logarithm and window: the number of ``planes``; how many ``agree``
        in threshold and area; of how many only one of both tells a threshold (``alone``); the
        largest errors of ``threshold`` (in parts of the range, of any pixel) and ``area`` (in
        parts of theirs), and the median of both.
    """
    lines = []
    server = Path(__file__).with_name("cellprofiler_server.py")
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [str(python), str(server)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as them,
    ):
        path, out = Path(folder) / "planes.npy", Path(folder) / "theirs.npz"
        for dataset in SETS:
            planes = _planes(data / dataset, n_planes) / SCALES.get(dataset, 255.0)
            np.save(path, planes)
            for window in (0, WINDOW):
                for method in ALL_METHODS:
                    for log in (False, True):
                        job = {"method": method, "log_transform": log, "window": window}
                        files = {"planes": str(path), "out": str(out), "smoothing": SMOOTHING}
                        print(json.dumps(job | files), file=them.stdin, flush=True)
                        them.stdout.readline()
                        found = [_both(p, *t, job) for p, t in zip(planes, _load(out), strict=True)]
                        lines.append({"set": dataset, **job, **_errors(found)})
        them.stdin.close()
    return pd.DataFrame(lines)


def _planes(folder: Path, n_planes: int) -> np.ndarray:
    from napari_phenldiff import read_tiff

    files = sorted(folder.rglob("*.tif"))
    n_channels = read_tiff(files[0])[0].n_channels
    chosen = np.linspace(0, len(files) - 1, min(len(files), -(-n_planes // n_channels)))
    images = [read_tiff(files[round(place)])[0] for place in chosen]
    return np.concatenate([image.data for image in images]).astype(np.float64)


def _load(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    with np.load(path) as file:
        return list(zip(file["thresholds"], file["masks"], strict=True))


def _both(
    plane: np.ndarray, threshold: np.ndarray, mask: np.ndarray, job: dict[str, object]
) -> tuple[float, float]:
    """Return the errors of threshold and area; infinite if only one side has a threshold."""
    from napari_phenldiff.images.image import Image
    from napari_phenldiff.measurement.measure import measure_image
    from napari_phenldiff.measurement.profiles import PROFILES
    from napari_phenldiff.measurement.profiles.area import AreaSettings
    from napari_phenldiff.measurement.segmentation.thresholds import level_of

    chosen = {"method": job["method"], "log_transform": job["log_transform"]}
    chosen |= {"adaptive_window": job["window"], "smoothing": SMOOTHING, "scope": "image"}
    settings = AreaSettings(segmentation={"threshold": chosen})
    image = Image(plane[None], ("a",), None, "a")
    found = measure_image(PROFILES["area"], image, settings, {})
    if found.objects is None or np.isnan(threshold).any():
        both = found.objects is None and (np.isnan(threshold).any() or plane.min() == plane.max())
        return (np.nan, np.nan) if both else (np.inf, np.inf)
    ours = level_of(plane, settings.segmentation.threshold, found.values["threshold"])
    ours = np.clip(ours, 0, 1)  # theirs end there
    theirs = mask.sum()
    area = abs(int(found.objects.sum()) - theirs) / theirs if theirs else float(found.objects.any())
    return float(np.abs(ours - threshold).max()), float(area)


def _errors(found: list[tuple[float, float]]) -> dict[str, float]:
    values = np.array(found)
    values = values[~np.isnan(values[:, 0])]
    told = values[np.isfinite(values[:, 0])]
    agree = (told[:, 0] <= TOLERANCE["threshold"]) & (told[:, 1] <= TOLERANCE["area"])
    errors: dict[str, float] = {"planes": len(values), "agree": int(agree.sum())}
    errors["alone"] = len(values) - len(told)
    for column, name in enumerate(("threshold", "area")):
        errors[name] = float(told[:, column].max(initial=0))
        errors[f"median_{name}"] = float(np.median(told[:, column])) if len(told) else 0.0
    return errors


if __name__ == "__main__":
    sys.exit(main())
