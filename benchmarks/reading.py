"""How long images take to be found and read: 5,000 files, and large ones.

    python benchmarks/reading.py [FOLDER] [--files 5000] [--train] [--viewer]

Writes the files into FOLDER (a temporary one by default), in two conditions, as one file per image
and as one file per channel, and tells for each:

- until the dock has its list of conditions (wanted: 3 s);
- until the first image is there (1 s), and how much memory has grown by then;
- with ``--train``, until a training that takes 100 images of each condition begins its first step
  (30 s);

- with ``--viewer`` (xvfb-run where there is no screen), in a napari window with the dock
  Fine-tune: until the dock lists a folder that is chosen in it; until the first image of one that
  is dropped on the viewer is painted and the dock lists it (4 s), how long a step of the slider
  takes, and how much memory has grown after 200 steps.

Seconds of the processor stand beside those of the clock, which other programs lengthen. And how
fast an OME-TIFF of 2,048 pixels is read, in parts of the speed of tifffile alone (0.8).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import tifffile

from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import read_tiff, write_tiff

CONDITIONS = ("treated", "untreated")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--files", type=int, default=5000)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--viewer", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        for kind, write in (("whole", write_whole), ("channels", write_channels)):
            place = folder / kind
            if not place.exists():
                write(place, args.files)
            finding(place)
            if args.viewer:
                viewing(place)
            if args.train:
                training(place, folder / f"run_{kind}")
        speed(folder / "large.ome.tif")


def cells(seed: int, size: int = 128, channels: int = 2) -> np.ndarray:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size]
    image = rng.normal(200, 10, (channels, size, size))
    for _ in range(6):
        cy, cx = rng.uniform(0, size, 2)
        image += 2000 * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / 50)
    return image.clip(0, 65535).astype(np.uint16)


def write_whole(folder: Path, n: int) -> None:
    kept = [cells(seed) for seed in range(50)]
    for k in range(n):
        data = kept[k % 50] + np.uint16(k // 50)
        name = f"f{k:05d}"
        image = Image(data, ("DAPI", "GFP"), (0.65, 0.65), name)
        write_tiff(folder / CONDITIONS[k % 2] / f"{name}.tif", image)


def write_channels(folder: Path, n: int) -> None:
    kept = [cells(seed) for seed in range(50)]
    for condition in CONDITIONS:
        (folder / condition).mkdir(parents=True)
    for k in range(n // 2):
        for w in (1, 2):
            well = f"{'ABCDEFGH'[k // 4 % 8]}{k // 32 % 12 + 1:02d}"
            name = f"plate{k // 384 + 1}_{well}_s{k % 4 + 1}_w{w}.TIF"
            data = kept[k % 50][w - 1] + np.uint16(k // 50)
            tifffile.imwrite(folder / CONDITIONS[k % 2] / name, data, metadata=None)


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._wall, self._busy = time.perf_counter(), time.process_time()

    def told(self) -> str:
        """Return them, with those of the processor."""
        wall, busy = time.perf_counter() - self._wall, time.process_time() - self._busy
        return f"{wall:.2f} s ({busy:.2f} s of the processor)"


def finding(folder: Path) -> None:
    from napari_phenldiff.viewer.conditions import conditions_in_folder

    files = sum(1 for _ in folder.rglob("*.[tT][iI][fF]"))
    process = psutil.Process()
    before = process.memory_info().rss
    clock = Clock()
    choices = conditions_in_folder(folder)
    listed, clock = clock.told(), Clock()
    found = Dataset.find(folder)
    next(found.images(found.names[0]))
    first, clock = clock.told(), Clock()
    for name in found.names:
        for image in found.images(name):
            del image
    every = clock.told()
    grown = (process.memory_info().rss - before) / 2**20
    print(
        f"{folder.name}: {files} files are {sum(c.n_images for c in choices)} images; listed in "
        f"{listed}, first image after {first}, all after {every}; memory grew by "
        f"{grown:.0f} MiB"
    )


def training(folder: Path, run: Path) -> None:
    start = time.perf_counter()
    command = [sys.executable, "-m", "napari_phenldiff", "train", str(folder), "--out", str(run)]
    command += ["--source", "untreated", "--target", "treated", "--steps", "1000"]
    command += ["--images-per-condition", "100", "--batch-size", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("step"):
                print(f"{folder.name}: first step after {time.perf_counter() - start:.1f} s")
                break
        process.terminate()


def viewing(folder: Path) -> None:
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_phenldiff.widgets.parts.data_source import FOLDER, LAYERS

    viewer = napari.Viewer(show=True)
    _, dock = viewer.window.add_plugin_dock_widget("napari-phenldiff", "Fine-tune")

    def wait(until: Callable[[], bool], seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while not until() and time.monotonic() < end:
            QApplication.processEvents()
            time.sleep(0.001)

    wait(lambda: False, 1)
    dock.data.kind.setCurrentText(FOLDER)
    clock = Clock()
    dock.data.folder.set_path(folder)
    wait(lambda: len(dock.data.names()) == len(CONDITIONS))
    chosen = clock.told()
    dock.data.folder.set_path(None)
    dock.data.kind.setCurrentText(LAYERS)
    process = psutil.Process()
    before = process.memory_info().rss
    clock = Clock()
    viewer.open(folder, plugin="napari-phenldiff")
    QApplication.processEvents()
    viewer.window._qt_viewer.canvas.native.repaint()
    shown = clock.told()
    wait(lambda: len(dock.data.names()) == len(CONDITIONS))
    listed = clock.told()
    opened = (process.memory_info().rss - before) / 2**20
    steps = []
    for place in np.linspace(0, len(viewer.layers[0].data) - 1, 200).astype(int):
        start = time.perf_counter()
        viewer.dims.set_point(0, int(place))
        QApplication.processEvents()
        steps.append(time.perf_counter() - start)
    grown = (process.memory_info().rss - before) / 2**20
    print(
        f"{folder.name} in the viewer: listed in the dock in {chosen}; dropped, first image after "
        f"{shown}, listed after {listed}; a step of the slider takes "
        f"{statistics.median(steps) * 1e3:.0f} ms (95 % within "
        f"{np.quantile(steps, 0.95) * 1e3:.0f} ms); memory grew by {opened:.0f} MiB, "
        f"by {grown:.0f} MiB after 200 steps"
    )
    viewer.close()


def speed(path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.integers(0, 4000, (4, 2048, 2048)).astype(np.uint16)
    for compression in (None, "zlib"):
        tifffile.imwrite(
            path, data, ome=True, photometric="minisblack", metadata={"axes": "CYX"},
            compression=compression,
        )  # fmt: skip
        own = timed(lambda: read_tiff(path))
        theirs = timed(lambda: tifffile.imread(path))
        print(
            f"2,048 px, 4 channels, {compression or 'uncompressed'}: {own * 1e3:.0f} ms, tifffile "
            f"{theirs * 1e3:.0f} ms: {theirs / own:.0%} of its speed"
        )
    path.unlink()


def timed(call: Callable[[], object], times: int = 9) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
