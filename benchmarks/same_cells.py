"""Whether cells are preserved when stain or density differ between the conditions.

    python benchmarks/same_cells.py DATA --out DIR [--steps 300] [--images 100]
    python benchmarks/same_cells.py DATA --references

DATA holds bbbc013_translocation; of it three sets are made in ``DIR/sets``:

- ``untouched``: as it is;
- ``dimmed``: the DNA of treated tiles 0.4 times as bright, rounded to whole grey values;
- ``thinned``: in every other treated tile half of the cells are masked out, each with the pixels
  that are nearest to its nucleus, which get grey values of the tile's darkest pixels.

Each is trained and translated as by `phenldiff train` and `phenldiff translate`, with their
defaults, on tiles that were not trained on. A row per set: which channels are references and
normalised; of the nuclei how many are kept (half of their union, one to one), lost and invented,
reconstructed to translated; recovery of the log2 ratio of nucleus and ring, and its share of that
on the first set. All are measured against the untouched treated tiles, whose phenotype it is.
What is in DIR is not made again.

``--references`` trains nothing: it tells, for the data sets there are, how well each channel
separates the conditions, as it is and without its brightness, and what follows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy import ndimage as ndi
from skimage.filters import threshold_otsu

from napari_phenldiff.cli.train import train
from napari_phenldiff.cli.translate import translate
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.latents import training_side, training_tiles
from napari_phenldiff.diffusion.references import choose_normalised, choose_references
from napari_phenldiff.diffusion.separation import Separation, separation, tile_wells
from napari_phenldiff.evaluation.identity import match_cells, nuclei_thresholds
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import sha256_of_array
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import read_tiff, write_tiff
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.statistics.effects import effects
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.folder import Run, is_run

FOLDER, SOURCE, TARGET, DNA = "bbbc013_translocation", "untreated", "treated", 0
SETS = ("untouched", "dimmed", "thinned")
OTHERS = (
    ("hela_sirna", "RLUC_siRNA", "UBC_siRNA"),
    ("hela_sirna", "RLUC_siRNA", "kinase_siRNA"),
    ("neurite_axotomy", "uncut", "cut"),
    ("autophagosomes", "treatment_A", "treatment_B"),
    ("nuclear_protein", "untreated", "treated"),
    ("golgi_bfa", "before_bfa", "after_bfa"),
)


def dimmed(image: Image, gain: float = 0.4) -> Image:
    """Make the DNA of an image dimmer."""
    data = image.data.copy()
    data[DNA] = np.rint(data[DNA] * gain)
    return replace(image, data=data, path=None)


def thinned(image: Image, rng: np.random.Generator, share: float = 0.5) -> Image:
    """Mask out some of the cells of an image, each with what is nearest to its nucleus."""
    dna = ndi.gaussian_filter(image.data[DNA].astype(float), 1.5)
    nuclei, n = ndi.label(dna > threshold_otsu(dna))
    if not n:
        return image
    nearest = ndi.distance_transform_edt(nuclei == 0, return_distances=False, return_indices=True)
    gone = rng.permutation(np.arange(1, n + 1))[: max(1, round(n * share))]
    mask = np.isin(nuclei[tuple(nearest)], gone)
    data = image.data.copy()
    for plane in data:
        dark = plane[plane <= np.percentile(plane, 15)]
        plane[mask] = rng.choice(dark, int(mask.sum()))
    return replace(image, data=data, path=None)


def changed(name: str, images: Sequence[Image]) -> list[Image]:
    """Make the treated tiles of one of the `SETS`."""
    rng = np.random.default_rng(0)
    if name == "dimmed":
        return [dimmed(image) for image in images]
    if name == "thinned":
        return [thinned(x, rng) if k % 2 == 0 else x for k, x in enumerate(images)]
    return list(images)


def write_set(real: Experiment, name: str, folder: Path) -> None:
    """Write a set as a folder per condition, if it is not there."""
    groups = {SOURCE: real[SOURCE].images, TARGET: changed(name, real[TARGET].images)}
    for condition, images in groups.items():
        (folder / condition).mkdir(parents=True, exist_ok=True)
        for image in images:
            path = folder / condition / f"{image.name}.tif"
            if not path.is_file():
                write_tiff(path, image)


@dataclass(frozen=True, slots=True)
class Row:
    """Results for a data set."""

    name: str
    references: tuple[str, ...]
    normalised: tuple[str, ...]
    nuclei: int
    kept: float
    lost: float
    invented: float
    recovery: float


def carry_out(real: Experiment, name: str, args: argparse.Namespace) -> Row:
    """Train on a set, translate what was left out of it, and measure."""
    data, run_folder, out = (args.out / part / name for part in ("sets", "runs", "translated"))
    write_set(real, name, data)
    if not is_run(run_folder):
        config = TrainingConfig(
            conditions=(SOURCE, TARGET),
            steps=args.steps,
            images_per_condition=args.images,
            seed=args.seed,
        )
        train(data, config, run_folder)
    run = Run.open(run_folder)
    if not (out / "translation.json").is_file():
        settings = {} if args.inference_steps is None else {"inference_steps": args.inference_steps}
        config = TranslationConfig(source=SOURCE, target=TARGET, **settings)
        sources = args.out / "sources" / name
        hashes = run.trained_images
        left = [x for x in real[SOURCE].images if sha256_of_array(x.data) not in hashes]
        for image in left[: args.test_images]:
            sources.mkdir(parents=True, exist_ok=True)
            write_tiff(sources / f"{image.name}.tif", image)
        translate(run, sources, config, out)
    made = json.loads((out / "translation.json").read_text(encoding="utf-8"))
    files = [one["file"] for one in made["images"]]
    before, after = (
        [image for file in files for image in read_tiff(out / kind / file)]
        for kind in ("reconstructed", "translated")
    )
    sources = {image.name: image for image in real[SOURCE].images}
    thresholds = nuclei_thresholds(real[SOURCE].images, real.channel_names[DNA])
    found = [
        match_cells(one, other, real.channel_names[DNA], thresholds)
        for one, other in zip(before, after, strict=True)
    ]
    n_before, n_after, kept, same = (
        sum(getattr(one, key) for one in found)
        for key in ("n_before", "n_after", "n_matched", "n_same")
    )
    measurement = measure(
        "translocation",
        {
            SOURCE: [sources[Path(file).stem] for file in files],
            TARGET: real[TARGET].images,
            "reconstructed": before,
            "translated": after,
        },
        fit_on=(SOURCE, TARGET),
    )
    table = effects(
        measurement,
        source=SOURCE,
        target=TARGET,
        translated="translated",
        reconstructed="reconstructed",
    )
    main = table[(table["measurement"] == "log2_ratio") & (table["effect"] == "translated")]
    return Row(
        name,
        tuple(run.reference_channels),
        tuple(made["normalised_channels"]),
        n_before,
        kept / n_before,
        (n_before - same) / n_before,
        (n_after - same) / n_before,
        float(main["recovery"].iloc[0]),
    )


def separations(data: Path, n: int) -> Iterator[tuple[str, tuple[str, ...], Separation]]:
    """Tell how well channels separate the conditions of all sets there are."""
    base = BaseModel.load("bundled")
    if (data / FOLDER).is_dir():
        real = Experiment.from_folder(data / FOLDER, conditions=(SOURCE, TARGET)).subset(n, 0)
        for name in SETS:
            images = [real[SOURCE].images, changed(name, real[TARGET].images)]
            yield f"{FOLDER}, {name}", real.channel_names, _separate(images, base)
    for folder, source, target in OTHERS:
        if (data / folder).is_dir():
            real = Experiment.from_folder(data / folder, conditions=(source, target)).subset(n, 0)
            images = [condition.images for condition in real.conditions]
            yield f"{folder}, {source} and {target}", real.channel_names, _separate(images, base)


def _separate(groups: Sequence[Sequence[Image]], base: BaseModel) -> Separation:
    every = [image for group in groups for image in group]
    scaling = IntensityScaling.fit(every)
    side = training_side((image.shape for image in every), base)
    latents, origins = [], []
    for group in groups:
        tiles, origin = training_tiles(group, scaling, side)
        latents.append(base.encode(tiles).cpu())
        origins.append(origin)
    return separation(
        latents,
        origins,
        coefficients=base.coefficients or 1,
        channels=every[0].n_channels,
        wells=tile_wells([[image.name for image in group] for group in groups], origins),
    )


def print_references(data: Path, n: int) -> None:
    """Print which channels are references, before and now, as Markdown."""
    base = BaseModel.load("bundled")
    titles = (
        "data set", "separated by", "without brightness", "arrangement", "references before", "now",
        "normalised",
    )  # fmt: skip
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    for title, names, found in separations(data, n):
        normalised = choose_normalised("auto", names, found)
        counted = found.normalised([name in normalised for name in names])
        chosen = [choose_references("auto", names, one, base) for one in (found, counted)]
        cells = (
            title,
            ", ".join(f"{a} {b:.2f}" for a, b in zip(names, found.channels, strict=True)),
            ", ".join(f"{b:.2f}" for b in found.structure),
            f"{found.arrangement:.2f}" if len(names) > 1 else "",
            *(", ".join(one) or "none" for one in (*chosen, normalised)),
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Read the arguments and do what is asked."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--references", action="store_true")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--images", type=int, default=100, help="per condition, to train on")
    parser.add_argument("--test-images", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0, help="of the training; name another --out")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--inference-steps", type=int, help="default: that of the translation")
    args = parser.parse_args()
    if args.references:
        print_references(args.data, args.images)
        return
    if args.out is None:
        parser.error("name a folder with --out")
    real = Experiment.from_folder(args.data / FOLDER, conditions=(SOURCE, TARGET))
    rows = [carry_out(real, name, args) for name in args.sets]
    print("| set | references | normalised | nuclei | kept | lost | invented | recovery | share |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row.name} | {', '.join(row.references) or 'none'} | "
            f"{', '.join(row.normalised) or 'none'} | {row.nuclei} | {row.kept:.3f} | "
            f"{row.lost:.3f} | {row.invented:.3f} | {row.recovery:.2f} | "
            f"{row.recovery / rows[0].recovery:.2f} |"
        )


if __name__ == "__main__":
    main()
