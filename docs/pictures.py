"""Make the picture of the README and the figure beside it from a result of `phenldiff translate`.

    python docs/pictures.py --source DATA/untreated --target DATA/treated --result DIR

DIR is the folder that `translate` wrote. Writes docs/images/readme.png (real, reconstructed,
translated, difference) and docs/images/four_groups.png (what was measured). With --panel NAME,
only the first of them, as docs/images/NAME.png; of large images, the middle.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import read_image, tiff_files
from napari_phenldiff.measurement.figures.four_groups import four_groups
from napari_phenldiff.measurement.figures.panel import translation_panel
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.statistics.recovery import recovery

HERE = Path(__file__).resolve().parent


def middle(image: Image, side: int = 160) -> Image:
    """Return the middle of an image, a square of `side` pixels."""
    y, x = ((max(0, length - side)) // 2 for length in image.shape)
    return replace(image, data=image.data[:, y : y + side, x : x + side])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--target", type=Path, required=True)
    parser.add_argument("--panel", metavar="NAME", help="only the picture, under this name")
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--side", type=int, default=160, help="of the middle, in pixels")
    parser.add_argument("--shown", nargs="+", help="names of the images to show")
    parser.add_argument("--out", type=Path, default=HERE / "images")
    args = parser.parse_args()

    names = [path.name for path in tiff_files(args.result / "translated")]
    real = [read_image(args.source / name) for name in names]
    translated = [read_image(args.result / "translated" / name) for name in names]
    reconstructed = [read_image(args.result / "reconstructed" / name) for name in names]
    source, target = args.source.name, args.target.name
    if args.panel:
        wanted = args.shown or [image.name for image in real]
        shown = [
            [middle(image, args.side) for image in group if image.name in wanted]
            for group in (real, translated, reconstructed)
        ]
        figure = translation_panel(
            shown[0], shown[1], reconstructed=shown[2], source=source, target=target
        )
        figure.savefig(args.out / f"{args.panel}.png", dpi=110)
        return
    measured = measure(
        "translocation",
        {
            source: real,
            target: [read_image(path) for path in tiff_files(args.target)],
            "reconstructed": reconstructed,
            "translated": translated,
        },
        fit_on=[source, target],
    )
    recovered = recovery(
        *(measured.values(name) for name in (source, target, "translated")),
        reconstructed=measured.values("reconstructed"),
    )
    args.out.mkdir(parents=True, exist_ok=True)
    figure = four_groups(
        measured,
        source=source,
        target=target,
        translated="translated",
        reconstructed="reconstructed",
    )
    figure.savefig(args.out / "four_groups.png", dpi=110)
    wanted = args.shown or [image.name for image in real[:3]]
    shown = [i for i, image in enumerate(real) if image.name in wanted]
    figure = translation_panel(
        [real[i] for i in shown],
        [translated[i] for i in shown],
        reconstructed=[reconstructed[i] for i in shown],
        source=source,
        target=target,
    )
    figure.savefig(args.out / "readme.png", dpi=110)
    print(recovered)


if __name__ == "__main__":
    main()
