"""``phenldiff simulate``: images of cells whose true counterpart is known."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff import __version__
from napari_phenldiff.cli.progress import Reporter, say
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.events import Progress

if TYPE_CHECKING:
    from napari_phenldiff.images.image import Image

PHENOTYPE_NAMES = ("translocation", "golgi", "neurons", "beading")

_EPILOG = """\
phenotypes:
  translocation   a marker moves from the cytoplasm into the nucleus   (untreated -> treated)
  golgi           a compact Golgi apparatus scatters over the cell     (control -> scattered)
  neurons         neurites are lost and shortened                      (wild_type -> mutant)
  beading         neurites break into rows of beads                    (intact -> beaded)

DIR gets a folder of TIFFs per condition and truth.csv with the true measurements. Without --paired
the two folders show different cells, as in a real experiment. With --paired, files of the same name
show the same cells under both conditions.

examples:
  phenldiff simulate golgi --out data --images 100 --seed 0
  phenldiff simulate golgi --out pairs --images 20 --seed 1 --paired
"""


def add_parser(commands: Any) -> None:
    """Add the command to the parser's sub-commands."""
    parser = commands.add_parser(
        "simulate",
        help="simulate cells whose true counterparts are known",
        description="Simulate fluorescence images of cells under two conditions.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "phenotype",
        metavar="PHENOTYPE",
        help=f"what differs between the conditions: {', '.join(PHENOTYPE_NAMES)}",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="new folder")
    parser.add_argument(
        "--images", type=int, default=100, metavar="N", help="images per condition (default: 100)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="seed of the cells (default: 0)"
    )
    parser.add_argument(
        "--size", type=int, default=128, metavar="PIXELS", help="side of an image (default: 128)"
    )
    parser.add_argument(
        "--paired", action="store_true", help="show the same cells under both conditions"
    )
    parser.set_defaults(command=run)


def run(args: argparse.Namespace) -> int:
    """Carry out the command."""
    if args.seed < 0:
        raise InputError(f"The seed is {args.seed}; give a number that is not negative.")
    write_simulation(
        args.phenotype, args.out, args.images, seed=args.seed, size=args.size, paired=args.paired
    )
    say(f"The images are in {args.out}.")
    return 0


def write_simulation(
    phenotype: str,
    out: Path,
    n_images: int,
    *,
    seed: int,
    size: int = 128,
    paired: bool = False,
    first: int = 0,
) -> None:
    """Write simulated images, whole or not at all.

    Parameters
    ----------
    phenotype : str
        What differs between the conditions.
    out : Path
        New folder, which gets one sub-folder per condition and truth.csv.
    n_images : int
        Images per condition.
    seed, size, first : int
        See :func:`napari_phenldiff.images.simulate.simulate_pairs`.
    paired : bool
        Whether images of the same name show the same cells.
    """
    from napari_phenldiff.images.files import make_folder_atomic
    from napari_phenldiff.images.tiff import write_tiff
    from napari_phenldiff.runs.folder import check_output_folder

    check_output_folder(out)
    fields = _fields(phenotype, n_images, seed=seed, size=size, paired=paired, first=first)
    with make_folder_atomic(out) as aside:
        rows = []
        with Reporter() as report:
            for number, (condition, image, truth) in enumerate(fields, start=1):
                provenance = {
                    "software": f"napari-phenldiff {__version__}",
                    "simulated": phenotype,
                    "condition": condition,
                    "seed": seed,
                    "truth": truth,
                }
                write_tiff(aside / condition / f"{image.name}.tif", image, provenance=provenance)
                rows.append({"condition": condition, "image": image.name, **truth})
                report(Progress(number, 2 * n_images))
        with (aside / "truth.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(rows[0]))
            table.writeheader()
            table.writerows(rows)


def _fields(
    phenotype: str, n_images: int, *, seed: int, size: int, paired: bool, first: int
) -> Iterator[tuple[str, Image, dict[str, float]]]:
    """Return an iterator over condition, image and true measurements."""
    from napari_phenldiff.images.simulate import get_phenotype, simulate_pairs

    kind = get_phenotype(phenotype)
    # Called here, not in the generator, so that wrong arguments are refused at once.
    sources = simulate_pairs(phenotype, n_images, seed=seed, size=size, first=first)
    other = first if paired else first + n_images
    targets = simulate_pairs(phenotype, n_images, seed=seed, size=size, first=other)

    def fields() -> Iterator[tuple[str, Image, dict[str, float]]]:
        for pair in sources:
            yield kind.source, pair.source, dict(pair.truth["source"])
        for pair in targets:
            yield kind.target, pair.target, dict(pair.truth["target"])

    return fields()
