"""Compare measured areas and effects with known ones: docs/notes/simulated-truth.md.

Usage::

    python benchmarks/simulated_truth.py areas [--phenotypes NAME ...] [--settings NAME ...]
        [--fields 40] [--seed 0]
    python benchmarks/simulated_truth.py effects [--phenotypes NAME ...] [--settings NAME ...]
        [--experiments 200] [--images 12] [--seed 0]

``areas`` compares the area measured in simulated fields with the true one: pooled over the fields
of a condition, in the median, 95th percentile and largest of them, and as their number within 5 %.
Nuclei are taken as pairs of a found and a true whole nucleus that share more than half of their
union, and those without a counterpart are told.

``effects`` simulates whole experiments, images to interval: each has fields of its own, thresholds
of its own for all of them, and an effect with its interval. A row tells how many of the intervals
held the effect on the true areas, and how many that on measured areas, each in all images of all
experiments together. The first differs from the second by the bias of the segmentation, the second
tells whether the statistics do what they say.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import ndimage as ndi
from scipy import stats

from napari_phenldiff.images import simulate
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.measure import measure_image
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.profiles.cells import CellsSettings
from napari_phenldiff.measurement.profiles.fitting import fit_thresholds
from napari_phenldiff.measurement.profiles.golgi import GOLGI, GolgiSettings
from napari_phenldiff.measurement.profiles.neurons import NEURITES, NeuronsSettings
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.measurement.statistics import intervals

# How much larger a nucleus gets, along each axis: 15 % in area.
_SWELLING = 1.15**0.5
_CONDITIONS = ("source", "target")


# --- fields and what is true of them ----------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """An image, its true objects or mask (Y, X), its first channel without noise, and as drawn."""

    image: Image
    truth: np.ndarray
    expected: np.ndarray
    plane: np.ndarray


def known(phenotype: str, structure: str, size: int) -> Callable[[str, int, int], Field]:
    """Fields of one of the package's phenotypes."""

    def draw(condition: str, seed: int, index: int) -> Field:
        (field,) = simulate.simulate_fields(
            phenotype, condition, 1, seed=seed, size=size, first=index
        )
        truth = field.drawing.masks[structure]
        return Field(field.image, truth, field.expected[0], field.drawing.planes[0])

    return draw


def swelling(size: int) -> Callable[[str, int, int], Field]:
    """Fields whose nuclei are larger in the target: drawn in fewer pixels, and zoomed."""

    def draw(condition: str, seed: int, index: int) -> Field:
        rng = np.random.default_rng([seed, index, 7])
        zoom = _SWELLING if condition == "target" else 1.0
        drawing = simulate.PHENOTYPES["golgi"].draw(rng, round(size / zoom), 0.0)
        zoom = size / drawing.planes.shape[-1]
        nuclei = np.clip(
            ndi.zoom(drawing.planes[2], zoom, order=3, mode="nearest", grid_mode=True), 0, None
        )
        labels = ndi.zoom(drawing.masks["nuclei"], zoom, order=0, mode="nearest", grid_mode=True)
        camera = np.random.default_rng([seed, index, 99])
        data, expected = simulate._photograph(nuclei[None], camera)
        image = Image(data, ("DNA",), None, f"field_{index:04d}")
        return Field(image, labels, expected[0], nuclei)

    return draw


def nuclei_of(phenotype: str, size: int) -> Callable[[str, int, int], Field]:
    """Fields of one of the package's phenotypes, in their channel with the nuclei."""
    channel = simulate.PHENOTYPES[phenotype].channel_names.index("DNA")

    def draw(condition: str, seed: int, index: int) -> Field:
        (field,) = simulate.simulate_fields(
            phenotype, condition, 1, seed=seed, size=size, first=index
        )
        image = Image(field.image.data[[channel]], ("DNA",), None, field.image.name)
        drawing = field.drawing
        return Field(
            image, drawing.masks["nuclei"], field.expected[channel], drawing.planes[channel]
        )

    return draw


def whole(labels: np.ndarray) -> np.ndarray:
    """Areas of the objects that no border cuts; those that it cuts are 0, like the background."""
    sizes = np.bincount(labels.ravel())
    sizes[np.unique(np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]]))] = 0
    sizes[0] = 0
    return sizes


def nuclear_area(field: Field) -> float:
    sizes = whole(field.truth)
    return float(np.median(sizes[sizes > 0])) if sizes.any() else np.nan


def fraction(field: Field) -> float:
    return float(field.truth.mean())


def half_of_the_light(field: Field) -> float:
    """Fraction of the pixels that hold half of the light: an area that no level defines."""
    light = np.sort(field.plane.ravel())[::-1]
    held = np.cumsum(light)
    return float(np.argmax(held >= held[-1] / 2) + 1) / light.size


# --- what is measured -------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A phenotype, how it is measured, and what that is compared with."""

    draw: Callable[[str, int, int], Field]
    profile: str
    settings: dict[str, Settings]
    column: str
    true: Callable[[Field], float]


def thresholded(
    base: SegmentationSettings, dimmest: float = 1.0, **changes: object
) -> SegmentationSettings:
    threshold = base.threshold.model_copy(update=changes)
    return base.model_copy(update={"threshold": threshold, "dimmest": dimmest})


def golgi(**changes: object) -> GolgiSettings:
    return GolgiSettings(channel=0, segmentation=thresholded(GOLGI, **changes))


def neurons(**changes: object) -> NeuronsSettings:
    return NeuronsSettings(channel=0, segmentation=thresholded(NEURITES, **changes))


def blurred(
    draw: Callable[[str, int, int], Field], sigma: float, noise: float
) -> Callable[[str, int, int], Field]:
    """Photograph the same fields with more blur, in pixels, and so many times the noise."""

    def again(condition: str, seed: int, index: int) -> Field:
        field = draw(condition, seed, index)
        expected = ndi.gaussian_filter(field.expected, sigma) if sigma else field.expected
        rng = np.random.default_rng([seed, index, 98])
        # As the simulator's camera, with its mean number of photons.
        deviation = noise * 200 * np.sqrt(np.clip(expected, 0, None) / 200 / 650 + 0.004**2)
        plane = expected + deviation * rng.standard_normal(expected.shape)
        data = field.image.data.copy()
        data[0] = np.clip(np.rint(plane), 0, 255)
        image = Image(data, field.image.channel_names, None, field.image.name)
        return Field(image, field.truth, expected, field.plane)

    return again


# The levels that the simulator's true areas are defined at, in the grey values of a mean field.
FIRST_CHANNEL = CellsSettings(nuclei_channel=0)

CASES = {
    "swollen nuclei": Case(
        swelling(128),
        "cells",
        {"default": FIRST_CHANNEL},
        "area_px",
        nuclear_area,
    ),
    "golgi": Case(
        known("golgi", "golgi", 96),
        "golgi",
        {
            "default": GolgiSettings(channel=0),
            "threshold alone": golgi(),
            "threshold alone, smoothed": golgi(smoothing=1.3488),
            "true level": golgi(smoothing=0.0, method=0.2 * 200 + 5.5),
        },
        "area_fraction",
        fraction,
    ),
    "golgi, half of the light": Case(
        known("golgi", "golgi", 96),
        "golgi",
        {"default": GolgiSettings(channel=0)},
        "half_area_fraction",
        half_of_the_light,
    ),
    "neurons": Case(
        known("neurons", "neurons", 96),
        "neurons",
        {
            "default": NeuronsSettings(channel=0),
            "threshold alone": neurons(),
            "threshold alone, not smoothed": neurons(smoothing=0.0),
            "otsu3": neurons(method="otsu3"),
            "otsu3, not smoothed": neurons(smoothing=0.0, method="otsu3"),
            "true level": neurons(smoothing=0.0, method=0.15 * 200 + 5.5),
        },
        "area_fraction",
        fraction,
    ),
} | {
    f"nuclei of {name}": Case(
        nuclei_of(name, 160),
        "cells",
        {"default": FIRST_CHANNEL},
        "area_px",
        nuclear_area,
    )
    for name in simulate.PHENOTYPES
}

# No settings were chosen on these.
CASES |= {
    f"{name}, {text}": replace(CASES[name], draw=blurred(CASES[name].draw, sigma, noise))
    for name in ("golgi", "neurons")
    for text, sigma, noise in (
        ("noise x 3", 0.0, 3.0),
        ("0.8 px more blur", 0.8, 1.0),
        ("1.3 px more blur, noise x 2", 1.3, 2.0),
    )
}


# --- areas ------------------------------------------------------------------------------------


def pairs_of_nuclei(found: np.ndarray, truth: np.ndarray) -> tuple[float, float, int]:
    """Areas of the whole nuclei that were found, the true ones of these, and how many were not."""
    areas, true_areas = whole(found), np.bincount(truth.ravel())
    measured = known_area = lost = 0
    for number in np.flatnonzero(whole(truth)):
        shared = np.bincount(found[truth == number], minlength=len(areas))
        best = int(np.argmax(np.where(np.arange(len(shared)) > 0, shared, -1)))
        union = np.count_nonzero(found == best) + true_areas[number] - shared[best]
        if best and shared[best] > 0.5 * union:
            # One that is found to reach the border has lost nothing: there is none to cut it.
            measured += np.count_nonzero(found == best)
            known_area += true_areas[number]
        else:
            lost += 1
    return measured, known_area, lost


def areas(names: list[str], fields: int, seed: int) -> None:
    print(
        "| structure | settings | condition | pooled error, % | of the same without noise, % | "
        "fields: median, 95th percentile, largest | within 5 % | lost |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        case = CASES[name]
        profile = PROFILES[case.profile]
        groups = {
            condition: [
                case.draw(condition, seed, index) for index in range(k * fields, (k + 1) * fields)
            ]
            for k, condition in enumerate(_CONDITIONS)
        }
        images = [field.image for group in groups.values() for field in group]
        for label, settings in case.settings.items():
            thresholds = fit_thresholds(profile, images, settings)
            for condition, group in groups.items():
                rows = []
                for field in group:
                    found = profile.labels(field.image, settings, thresholds)
                    if case.profile == "cells":
                        measured, truth, lost = pairs_of_nuclei(found, field.truth)
                        clear = np.nan
                    elif case.column == "half_area_fraction":
                        result = profile.measure(field.image, settings, thresholds)
                        measured, truth, lost = result.values[case.column], case.true(field), 0
                        clear = np.nan
                    else:
                        measured, truth, lost = np.count_nonzero(found), field.truth.sum(), 0
                        photo = Image(field.expected[None], ("noise-free",), None, "noise-free")
                        clear = np.count_nonzero(profile.labels(photo, settings, thresholds))
                    rows.append((measured, truth, lost, clear))
                table = np.array(rows, float)
                table = table[table[:, 1] > 0]
                error = 100 * np.abs(table[:, 0] / table[:, 1] - 1)
                sums = table.sum(axis=0)
                clear = "" if np.isnan(sums[3]) else f"{100 * (sums[0] / sums[3] - 1):+.1f}"
                pooled = f"{100 * (sums[0] / sums[1] - 1):+.1f}"
                print(
                    f"| {name} | {label} | {condition} | {pooled} | {clear} | "
                    f"{np.median(error):.1f}, {np.percentile(error, 95):.1f}, {error.max():.1f} | "
                    f"{np.count_nonzero(error <= 5)} of {len(error)} | {int(sums[2])} |",
                    flush=True,
                )


# --- effects ----------------------------------------------------------------------------------


def effects(names: list[str], experiments: int, n: int, seed: int) -> None:
    print(
        "| structure | settings | effect | true | measured in all | held the true | "
        "held the measured | median width |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        case = CASES[name]
        profile = PROFILES[case.profile]
        true = np.empty((2, experiments, n))
        found = {label: np.empty((2, experiments, n)) for label in case.settings}
        for experiment in range(experiments):
            # No field is in two experiments, nor in both conditions.
            first = 2 * n * experiment
            groups = [
                [case.draw(condition, seed, first + k * n + i) for i in range(n)]
                for k, condition in enumerate(_CONDITIONS)
            ]
            true[:, experiment] = [[case.true(field) for field in group] for group in groups]
            images = [field.image for group in groups for field in group]
            for label, settings in case.settings.items():
                thresholds = fit_thresholds(profile, images, settings)
                rows = [measure_image(profile, image, settings, thresholds) for image in images]
                values = [row.values.get(case.column, np.nan) for row in rows]
                found[label][:, experiment] = np.reshape(values, (2, n)).astype(float)
        for label, values in found.items():
            for kind, statistic, interval in (
                ("shift", intervals.shift, intervals.shift_interval),
                ("Cliff's delta", intervals.cliffs_delta, intervals.delta_interval),
            ):
                targets = [statistic(*_known(x.reshape(2, -1))) for x in (true, values)]
                ends = np.array([interval(*_known(values[:, k])) for k in range(experiments)])
                held = [_share(ends, target) for target in targets]
                width = np.median(ends[:, 1] - ends[:, 0])
                print(
                    f"| {name} | {label} | {kind} | {targets[0]:.4g} | {targets[1]:.4g} | "
                    f"{held[0]} | {held[1]} | {width:.3g} |",
                    flush=True,
                )


def _known(values: np.ndarray) -> list[np.ndarray]:
    """Values (2, N) of both conditions, without images that none was found in."""
    return [group[np.isfinite(group)] for group in values]


def _share(ends: np.ndarray, target: float) -> str:
    """How many per cent of the intervals hold the target, with the interval of this share."""
    held = int(np.count_nonzero((ends[:, 0] <= target) & (target <= ends[:, 1])))
    low, high = stats.binomtest(held, len(ends)).proportion_ci(method="exact")
    return f"{100 * held / len(ends):.1f} % ({100 * low:.1f} to {100 * high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["areas", "effects"])
    parser.add_argument("--phenotypes", nargs="+", metavar="NAME", choices=list(CASES))
    parser.add_argument("--settings", nargs="+", metavar="NAME", help="default: all")
    parser.add_argument("--fields", type=int, default=40, help="per condition, of areas")
    parser.add_argument("--experiments", type=int, default=200)
    parser.add_argument("--images", type=int, default=12, help="per condition of an experiment")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for case in CASES.values():
        for name in set(case.settings) - set(args.settings or case.settings):
            del case.settings[name]
    if args.what == "areas":
        areas(args.phenotypes or list(CASES), args.fields, args.seed)
    else:
        with_effect = [
            name
            for name in CASES
            if not name.startswith("nuclei of") and "noise" not in name and "blur" not in name
        ]
        effects(args.phenotypes or with_effect, args.experiments, args.images, args.seed)


if __name__ == "__main__":
    main()
