"""The verdict on wrong pictures with the right measurement: the tables of docs/notes/structure.md.

    python benchmarks/structure_stand_ins.py DATA [--images 24] [--sets neurites ...]

DATA holds the data sets below. Nothing is trained. What stands in for translated images has as much
of the measured quantity as real target images, image by image, but is made of the source images by
brightness alone; held-out real target images show that the right picture is supported. The last are
other cells than the sources, so that the rules on whose cells they are are left out for them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage as ndi

from napari_phenldiff.evaluation.benchmark.split import middle
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.evaluate import Model, evaluate
from napari_phenldiff.evaluation.schema import Metrics
from napari_phenldiff.evaluation.structure import MEASURES
from napari_phenldiff.evaluation.verdict import structure_outcome
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.measurement.measure import labels, measure
from napari_phenldiff.runs.config import TranslationConfig

OTHER_CELLS = ("Whose cells they show", "Cells lost or invented")


@dataclass(frozen=True, slots=True)
class Task:
    """A data set, its conditions, what is measured, and how brightness alone can imitate it."""

    folder: str
    source: str
    target: str
    profile: str
    settings: dict[str, Any]
    channel: int
    stand_ins: tuple[str, ...]
    crop: int | None = None
    wells: str | None = None


AREA = ("as they are", "dimmed or brightened", "all but the brightest blackened", "thinner, dimmed")
TASKS = {
    "neurites": Task(
        "neurite_axotomy", "uncut", "cut", "area", {"channel": 0}, 0, AREA, crop=128
    ),
    "autophagosomes": Task(
        "autophagosomes", "treatment_B", "treatment_A", "area", {"channel": 1}, 1, AREA
    ),
    "autophagosomes back": Task(
        "autophagosomes", "treatment_A", "treatment_B", "area", {"channel": 1}, 1, AREA[:2]
    ),
    "bbbc013": Task(
        "bbbc013_translocation", "untreated", "treated", "translocation", {}, 1,
        ("as they are", "nuclei brightened", "nuclei painted flat"),
    ),
    "bbbc013 wells": Task(
        "bbbc013_translocation", "untreated", "treated", "translocation", {}, 1,
        ("as they are", "nuclei brightened", "nuclei painted flat"), wells="^[A-H][0-9]+",
    ),
}  # fmt: skip


@dataclass
class Made:
    """What `evaluate` looks at of a translation."""

    translated: Image
    reconstructed: Image


@dataclass
class Translator:
    """Gives what stands in for the translation; the reconstruction is the image itself."""

    made: dict[str, Image]

    def translate(self, images: Sequence[Image], how: TranslationConfig) -> Iterator[Made]:
        """Translate; to their own condition, images stay as they are."""
        for image in images:
            own = how.source == how.target
            yield Made(image if own else self.made[image.name], image)


def with_plane(image: Image, channel: int, plane: np.ndarray) -> Image:
    data = image.data.copy()
    if data.dtype.kind in "ui":
        plane = np.clip(np.rint(plane), 0, np.iinfo(data.dtype).max)
    data[channel] = plane
    return replace(image, data=data)


def dimmed(plane: np.ndarray, part: float, threshold: float) -> np.ndarray:
    """Multiply what is above the background so that a part of the plane is above the threshold."""
    background = np.quantile(plane, 0.05)
    limit = np.quantile(plane, 1 - part)
    return background + (plane - background) * (threshold - background) / max(
        limit - background, 1e-9
    )


def blackened(plane: np.ndarray, part: float, threshold: float) -> np.ndarray:
    """Leave the brightest part of the plane as it is, the rest at the background."""
    limit = max(np.quantile(plane, 1 - part), threshold)
    return np.where(plane > limit, plane, np.quantile(plane, 0.05))


def thinner(plane: np.ndarray, part: float, threshold: float) -> np.ndarray:
    """Make all that is bright a pixel thinner on either side, and dim it."""
    return dimmed(ndi.grey_erosion(plane, (3, 3)), part, threshold)


AREA_MADE: dict[str, Callable[[np.ndarray, float, float], np.ndarray]] = {
    AREA[1]: dimmed,
    AREA[2]: blackened,
    AREA[3]: thinner,
}


def brighter_nuclei(plane: np.ndarray, nuclei: np.ndarray, gain: float) -> np.ndarray:
    """Multiply the nuclei, and dim the whole until a camera of 8 bit holds it."""
    background = np.quantile(plane, 0.05)
    inside = ndi.gaussian_filter(nuclei.astype(np.float64), 1)
    light = (plane - background) * (1 + (gain - 1) * inside)
    return background + light * min(1.0, 250 / max(light.max(), 1))


def flat_nuclei(plane: np.ndarray, nuclei: np.ndarray, gain: float) -> np.ndarray:
    """Paint all nuclei in one shade, and dim the rest until that is as bright as it must be."""
    if not nuclei.any():
        return plane
    background = np.quantile(plane, 0.05)
    shade = (plane[nuclei].mean() - background) * gain
    dim = min(1.0, 200 / max(shade, 1))
    return background + dim * np.where(nuclei, shade, plane - background)


NUCLEI_MADE = {"nuclei brightened": brighter_nuclei, "nuclei painted flat": flat_nuclei}


def stand_in(
    name: str, task: Task, sources: Sequence[Image], targets: Sequence[Image]
) -> list[Image]:
    """Make of each source image one that has as much of what is measured as a target image."""
    if name == "as they are":
        return list(sources)
    settings = _settings(task)
    found = measure(task.profile, {"source": sources, "target": targets}, settings)
    wanted = found.values("target")
    made = []
    for number, image in enumerate(sources):
        plane = image.data[task.channel].astype(np.float64)
        if task.profile == "area":
            (threshold,) = found.thresholds.values()
            new = AREA_MADE[name](plane, wanted[number % wanted.size], threshold)
        else:
            nuclei = labels(task.profile, image, settings, thresholds=found.thresholds) > 0
            gap = np.nanmedian(wanted) - found.values("source")[number]
            new = NUCLEI_MADE[name](plane, nuclei, 2 ** np.nan_to_num(gap))
        made.append(with_plane(image, task.channel, new))
    return made


def _settings(task: Task) -> Any:
    from napari_phenldiff.measurement.profiles import find_profile

    return find_profile(task.profile).settings_type.model_validate(task.settings)


def answer_of(
    metrics: Metrics, leave_out: tuple[str, ...] = ()
) -> tuple[str, list[str], list[str]]:
    findings = [f for f in metrics.verdict.findings if f.rule not in leave_out]
    against = [f.rule for f in findings if f.outcome == "against"]
    unsure = [f.rule for f in findings if f.outcome == "open"]
    said = "not supported" if against else "cannot tell" if unsure else "supported"
    return said, against, unsure


def run(task: Task, data: Path, n: int, seed: int) -> None:
    """Print both tables of a data set."""
    real = Experiment.from_folder(data / task.folder, conditions=(task.source, task.target))
    groups = {c.name: list(c.images) for c in real.conditions}
    if task.crop is not None:
        groups = {name: [middle(i, task.crop) for i in images] for name, images in groups.items()}
    rng = np.random.default_rng(seed)
    sources, targets = (
        [groups[c][i] for i in rng.permutation(len(groups[c]))] for c in (task.source, task.target)
    )
    held_out, targets = targets[: len(targets) // 2], targets[len(targets) // 2 :]
    experiment = Experiment.from_images({task.source: sources, task.target: targets})
    scaling = IntensityScaling.fit(experiment.images)
    translation = TranslationConfig(source=task.source, target=task.target)
    config = EvaluationConfig(images=n, cycle=False, latent_images=0, wells=task.wells, seed=seed)
    rows = []
    for name in (*task.stand_ins, "real target, held out"):
        held = name == "real target, held out"
        if held:
            made = [held_out[i % len(held_out)] for i in range(len(sources))]
        else:
            made = stand_in(name, task, sources, held_out)
        translator = Translator({s.name: m for s, m in zip(sources, made, strict=True)})
        keep = tuple(sources[0].channel_names[:1]) if task.channel and not held else ()
        m = evaluate(
            Model(translator, scaling, reference_channels=keep),
            experiment, translation, config, task.profile, _settings(task),
        ).metrics  # fmt: skip
        rows.append((name, m, *answer_of(m, OTHER_CELLS if held else ())))
    structure = rows[-1][1].structure
    assert structure is not None
    print(f"\n{task.source} to {task.target}, {n} images, {rows[0][1].counted} counted\n")
    print("| structure | source | target | AUC (95 %) | p (Holm) | "
          + " | ".join(name for name, *_ in rows) + " |")  # fmt: skip
    print("|---|" + "---|" * (4 + len(rows)))
    for at, one in enumerate(structure.measures):
        cells = []
        for _, m, *_ in rows:
            assert m.structure is not None
            other = m.structure.measures[at]
            outcome = structure_outcome(other, m.rules)
            where = other.translated
            cells.append(f"{where.value:.2f} ({where.low:.2f} to {where.high:.2f}) {outcome}")
        print(
            f"| {one.channel}: {MEASURES[one.measure]} | {one.median('source'):.3g} | "
            f"{one.median('target'):.3g} | {one.auc:.2f} ({one.auc_low:.2f} to {one.auc_high:.2f}) "
            f"| {one.p_value:.2g} | {' | '.join(cells)} |"
        )
    print("\n| in place of translated | recovery | taken for target | layout r | answer | against "
          "| open |\n|---|---|---|---|---|---|---|")  # fmt: skip
    for name, m, said, against, unsure in rows:
        assert m.structure is not None
        rate = "" if m.classifier is None else f"{m.classifier.judged.translated.value:.0%}"
        layout = list(m.structure.layout.values())[task.channel].median
        print(
            f"| {name} | {m.recovery.value:.2f} | {rate} | "
            f"{layout:.2f} | **{said}** | {'; '.join(against)} | {'; '.join(unsure)} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--sets", nargs="+", choices=list(TASKS), default=list(TASKS))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for name in args.sets:
        run(TASKS[name], args.data, args.images, args.seed)


if __name__ == "__main__":
    main()
