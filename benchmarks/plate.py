"""How long a plate takes: the cost of a tile measured here, times the number of tiles.

    python benchmarks/plate.py [--tiles 16] [--device auto] [--check 2]

A tile goes through `Translator.translate` with the bundled base and all defaults; a model that was
not trained takes as long as one that was. What else a field takes is measured on one field of the
plate: it is read twice, hashed, checked, written twice. The plate has 384 wells x 9 fields x 2,048
px x 4 channels of 16 bit.

*--check N* translates N small fields by `napari_phenldiff.translate` as a whole and compares the
seconds with those that the arithmetic gives. Rows of GPUs are printed where the device is one, and
are open otherwise; several GPUs share fields, and nothing passes between them.
"""

from __future__ import annotations

from napari_phenldiff.runs.threads import share_cores

share_cores()  # before torch is loaded

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from napari_phenldiff import translate
from napari_phenldiff.baselines.loading import load_translator
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.device import choose_device
from napari_phenldiff.diffusion.hardware import device_name
from napari_phenldiff.diffusion.training import Training
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import read_tiff, write_stack, write_tiff
from napari_phenldiff.images.tiles import TileGrid
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.suitability import Suitability

WELLS, FIELDS, SIDE = 384, 9, 2048
CHANNELS = ("DNA", "ER", "actin", "mitochondria")
CONFIG = TranslationConfig(source="untreated", target="treated")
OVERLAP = 0.25


def field(shape: tuple[int, int], seed: int) -> Image:
    """Return an image of smooth noise, which takes as long as one of cells."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(100, 4000, (4, shape[0] // 8 + 1, shape[1] // 8 + 1))
    data = coarse.repeat(8, 1).repeat(8, 2)[:, : shape[0], : shape[1]].astype(np.uint16)
    return Image(data, CHANNELS, (0.65, 0.65), f"B07_s{seed}")


def untrained(folder: Path, device: str) -> Run:
    """Return a run whose adapter has learned nothing."""
    images = {name: [field((256, 256), k + 9 * (name == "treated")) for k in range(2)]
              for name in ("untreated", "treated")}  # fmt: skip
    found = Experiment.from_images(images)
    config = TrainingConfig(
        conditions=("untreated", "treated"), reference_channels=(), normalised_channels=(),
        batch_size=2, device=device,
    )  # fmt: skip
    run = Run.from_experiment(
        folder, config, experiment=found, scaling=IntensityScaling.fit(found.images)
    )
    training = Training(BaseModel.load(device=choose_device(device)), config)
    training.encode(found, run)
    training.save(run, 0)
    return Run.open(folder)


def clock(device: str) -> float:
    """Return seconds of the processor; on a GPU, of the clock on the wall."""
    if choose_device(device).type == "cpu":
        return time.process_time()
    import torch

    torch.cuda.synchronize()
    return time.perf_counter()


def tiles_of(translator: Any, shape: tuple[int, int]) -> int:
    """Return how many tiles a field is cut into."""
    base = translator.base
    grid = TileGrid.cover(shape, base.tile, round(OVERLAP * base.tile), multiple=base.multiple)
    return len(grid)


def seconds_per_tile(translator: Any, tiles: int, device: str) -> tuple[float, int]:
    """Translate a strip of about so many tiles; returns seconds of one, and how many they were."""
    side = translator.base.tile
    step = side - round(OVERLAP * side)
    image = field((side, side + (tiles - 1) * step), 1)
    list(translator.translate([field((side, side), 0)], CONFIG))  # first passes take longer
    since = clock(device)
    list(translator.translate([image], CONFIG))
    return (clock(device) - since) / tiles_of(translator, image.shape), tiles_of(
        translator, image.shape
    )


def seconds_beside(run: Run, folder: Path) -> float:
    """Return what a field of the plate takes beside its tiles: files, hashes, checks."""
    write_tiff(folder / "field.tif", field((SIDE, SIDE), 0))
    since = time.process_time()
    (image,) = read_tiff(folder / "field.tif")
    _ = image.sha256
    Suitability(run).add("untreated", image)
    (image,) = read_tiff(folder / "field.tif")
    for kind in ("translated", "reconstructed"):
        write_stack(folder / f"{kind}.tif", [image], provenance={"kind": kind})
    return time.process_time() - since


def in_words(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours / 24:.1f} days" if hours > 48 else f"{hours:.1f} h"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=16)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--check", type=int, default=0, metavar="N")
    args = parser.parse_args()
    device = choose_device(args.device)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run = untrained(folder / "run", args.device)
        since = clock(args.device)
        translator: Any = load_translator(run, device=args.device)
        loading = clock(args.device) - since
        tile, made = seconds_per_tile(translator, args.tiles, args.device)
        beside = seconds_beside(run, folder)
        per_field = tiles_of(translator, (SIDE, SIDE))
        fields = WELLS * FIELDS
        print(f"{device_name(device)}: {tile:.2f} s a tile of {translator.base.tile} px "
              f"({made} tiles translated), {loading:.1f} s to load the model, "
              f"{beside:.1f} s of one core a field for files and checks")  # fmt: skip
        print(f"{WELLS} wells x {FIELDS} fields = {fields:,} fields; {SIDE} px = {per_field} "
              f"tiles; {fields * per_field:,} tiles")  # fmt: skip
        whole = fields * (per_field * tile + beside)
        print("| on | a field | the plate |\n|---|---|---|")
        rows = ((1, "core"), (16, "cores")) if device.type == "cpu" else ((1, "GPU"), (8, "GPUs"))
        for number, noun in rows:
            print(f"| {number} {noun} | {(per_field * tile + beside) / 60:.1f} min | "
                  f"{in_words(whole / number + loading)} |")  # fmt: skip
        if device.type == "cpu":
            print("| 1 GPU | open: --device cuda | |\n| 8 GPUs | open: --device cuda | |")
        if args.check:
            check(run, folder, args.check, tile, args.device)


def check(run: Run, folder: Path, number: int, tile: float, device: str) -> None:
    """Translate small fields as a whole, and compare."""
    for k in range(number):
        write_tiff(folder / "plate" / "untreated" / f"B07_s{k}.tif", field((256, 256), k))
    translator: Any = load_translator(run, device=device)
    tiles = number * tiles_of(translator, (256, 256))
    del translator
    since = clock(device)
    done = translate(run, folder / "plate", folder / "out", CONFIG, device=device)
    found = clock(device) - since
    assert done.complete
    part = tiles / (WELLS * FIELDS * 441)
    print(f"Checked: {number} fields, {tiles} tiles ({part:.4%} of the plate's) as a whole took "
          f"{found:.1f} s, {found / tiles:.2f} s a tile; the arithmetic says {tiles * tile:.1f} s "
          f"and the loading of the model")  # fmt: skip


if __name__ == "__main__":
    main()
