"""Fields per second of the profile *area*, against CellProfiler's library on the same pixels.

Usage::

    python benchmarks/measuring_speed.py FOLDER --cellprofiler PYTHON [--channel N] [--repeats R]

FOLDER holds TIFFs, PYTHON is the interpreter of an environment of its own with
``cellprofiler-library``. Both measure the same planes from memory, with the same method, one
threshold per image: the threshold, what is above it, its area and perimeter. Planes are given as
each has them after reading a file: as the detector's whole numbers here, as floats from 0 to 1 to
CellProfiler, of which the conversion is not counted. They take turns, and the best turn of each
counts, so that a busy machine does not decide. Prints fields per second, their ratio and the
largest difference in area.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

METHODS = ("otsu", "minimum-cross-entropy")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cellprofiler", type=Path, help="Python with cellprofiler-library")
    parser.add_argument("--channel", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scale", type=float, default=255.0)
    parser.add_argument("--smoothing", type=float, default=1.3488)
    parser.add_argument("--theirs", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.theirs:
        serve(np.load(args.folder), args.smoothing)
        return

    from napari_phenldiff import read_tiff

    files = sorted(args.folder.rglob("*.tif"))
    planes = np.stack([read_tiff(file)[0].data[args.channel] for file in files])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "planes.npy"
        np.save(path, planes.astype(np.float64) / args.scale)
        command = [str(args.cellprofiler), __file__, str(path), "--theirs"]
        command += ["--smoothing", str(args.smoothing)]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as them:
            for method in METHODS:
                compare(them, planes, method, args)
            them.stdin.close()


def compare(
    them: subprocess.Popen[str], planes: np.ndarray, method: str, args: argparse.Namespace
) -> None:
    """Measure with both in turns, and print their speeds."""
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(args.repeats + 1):
        began = time.perf_counter()
        ours = measure_ours(planes, method, args)
        seconds["ours"].append(time.perf_counter() - began)
        them.stdin.write(f"{method}\n")
        them.stdin.flush()
        answer = json.loads(them.stdout.readline())
        seconds["theirs"].append(answer["seconds"])
    # The first turn imports.
    rates = {who: len(planes) / min(times[1:]) for who, times in seconds.items()}
    off = np.max(np.abs(np.array(ours) - answer["areas"]) / np.maximum(answer["areas"], 1))
    print(
        f"{method}: {rates['ours']:.1f} fields/s, CellProfiler's library {rates['theirs']:.1f}: "
        f"{rates['ours'] / rates['theirs']:.2f} x; largest difference in area {off:.2g} "
        f"({len(planes)} fields of {planes.shape[1]} x {planes.shape[2]})"
    )


def measure_ours(planes: np.ndarray, method: str, args: argparse.Namespace) -> list[float]:
    """Measure all planes with the profile, as the command does."""
    from napari_phenldiff.images.image import Image
    from napari_phenldiff.measurement.measure import measure_image
    from napari_phenldiff.measurement.profiles import PROFILES
    from napari_phenldiff.measurement.profiles.area import AreaSettings

    threshold = {"method": method, "scope": "image"}
    threshold |= {"smoothing": args.smoothing, "scale": args.scale}
    settings = AreaSettings(segmentation={"threshold": threshold})
    images = (Image(plane[None], ("a",), None, "field") for plane in planes)
    results = [measure_image(PROFILES["area"], image, settings, {}) for image in images]
    return [result.values["area_px"] for result in results]


def serve(planes: np.ndarray, smoothing: float) -> None:
    """Measure with CellProfiler's library whenever a line names a method."""
    from cellprofiler_library.modules import _measureimageareaoccupied as area
    from cellprofiler_library.modules._threshold import threshold
    from cellprofiler_library.opts.threshold import Method, Scope

    methods = {"otsu": Method.OTSU, "minimum-cross-entropy": Method.MINIMUM_CROSS_ENTROPY}
    for line in sys.stdin:
        began = time.perf_counter()
        areas = []
        for plane in planes:
            *_, binary, _ = threshold(
                plane,
                threshold_scope=Scope.GLOBAL,
                threshold_method=methods[line.strip()],
                log_transform=False,
                threshold_correction_factor=1.0,
                threshold_min=0.0,
                threshold_max=1.0,
                window_size=50,
                smoothing=smoothing,
                volumetric=False,
                automatic=False,
                predefined_threshold=None,
            )
            found = area.measure_image_area_perimeter(binary, "a", False)
            areas.append(float(found.image["AreaOccupied_AreaOccupied_a"]))
        print(json.dumps({"seconds": time.perf_counter() - began, "areas": areas}), flush=True)


if __name__ == "__main__":
    main()
