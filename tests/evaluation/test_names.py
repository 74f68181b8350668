"""Conditions, images and channels of any name, through measurement, evaluation and report."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.document import write_document
from napari_phenldiff.evaluation.evaluate import Model, evaluate
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.measurement.figures.four_groups import four_groups
from napari_phenldiff.measurement.figures.pairs import paired_lines
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings
from napari_phenldiff.measurement.statistics.effects import effects
from napari_phenldiff.measurement.tables.measurement import read_measurement
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.viewer.evaluations import FoundEvaluation

NAMES = (
    "untreated", "treated", "NA", "nan", "None", "null", "True", "07",
    "1e5", "-1", "inf", "<b>drug", "a & b", '"quoted"', "it's", "1,5 µM; 2", "_hidden",
    "cost $5 and $6", "$^$", "{x}", "%s", "source", "target", "translated", "reconstructed",
    "own condition", "image", "condition", "control", "Ä", "ß → ∞", " spaced  out", "=1+1",
)  # fmt: skip
N = 6


def square(side: int, name: str, seed: int, channels: tuple[str, ...] = ("stain",)) -> Image:
    rng = np.random.default_rng(seed)
    data = rng.integers(5, 15, (len(channels), 48, 48)).astype(np.uint8)
    data[:, 4 : 4 + side, 4 : 4 + side] += 100
    return Image(data, channels, None, name)


def images_of(side: int, seed: int, names: list[str]) -> list[Image]:
    return [square(side + i % 3, name, seed + i) for i, name in enumerate(names)]


def picked(seed: int, n: int, *key: int) -> list[str]:
    return np.random.default_rng([*key, seed]).permutation([*NAMES])[:n].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_tables_and_figures_know_them(tmp_path: Path, seed: int):
    source, target = ("$^$", "NA") if seed == 0 else picked(seed, 2, 0)
    model = [name for name in ("translated", "reconstructed") if name not in (source, target)]
    if len(model) < 2:
        pytest.skip("the groups of the model need names of their own")
    images = picked(seed, N, 1)
    groups = {
        source: images_of(10, 0, images),
        target: images_of(20, 10, images),
        "reconstructed": images_of(10, 20, images),
        "translated": images_of(20, 30, images),
    }
    order = np.random.default_rng([2, seed]).permutation(list(groups)).tolist()
    settings = AreaSettings(
        segmentation={"threshold": ThresholdSettings(method=60.0)}  # type: ignore[arg-type]
    )
    found = measure("area", {name: groups[name] for name in order}, settings)
    found.write(tmp_path / "t.csv")
    again = read_measurement(tmp_path / "t.csv")
    assert again.conditions == tuple(order)
    for name in order:
        # Older versions of pandas read the last digit of some numbers as another.
        np.testing.assert_allclose(again.values(name), found.values(name), rtol=1e-14)
    assert sorted(again.images["image"].unique()) == sorted(images)
    roles = {"source": source, "target": target}
    roles |= {"translated": "translated", "reconstructed": "reconstructed"}
    table = effects(again, **roles)
    row = table[(table["measurement"] == "area_fraction") & (table["effect"] == "translated")]
    assert row["recovery"].iloc[0] == pytest.approx(1, abs=0.05)
    for figure in (
        four_groups(again, **roles),
        paired_lines(again, before="reconstructed", after="translated", target=target, made=True),
    ):
        with mpl.rc_context({"svg.fonttype": "none"}):
            figure.savefig(tmp_path / "f.svg")
        drawn = (tmp_path / "f.svg").read_text(encoding="utf-8")
        words = " ".join(unescape(re.sub(r"<[^>]*>", " ", drawn)).split())
        assert " ".join(target.split())[:8] in words


@dataclass
class Made:
    translated: Image
    reconstructed: Image
    residual: float = 0.0


class Honest:
    """Makes a square of the other condition's size out of one."""

    def translate(self, images, config):
        for number, image in enumerate(images):
            target = config.source != config.target
            made = square(20 + number % 3, image.name, 50 + number, image.channel_names)
            yield Made(made if target else image, image)


@pytest.mark.parametrize("seed", range(3))
def test_an_evaluation_knows_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int):
    from napari_phenldiff.evaluation.appearance import Appearance

    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance",
        lambda *args: Appearance([], None, None),
    )
    source, target = picked(seed, 2, 3)
    images = [f"{name} {i}" for i, name in enumerate(picked(seed, 2 * N, 4))]
    data = {
        source: images_of(10, 0, images[:N]),
        target: images_of(20, 10, images[N:]),
    }
    experiment = Experiment.from_images(
        {name: data[name] for name in np.random.default_rng(seed).permutation(list(data)).tolist()}
    )
    model = Model(
        Honest(),
        IntensityScaling.fit(experiment.images),
        frozenset(),
        (),
        None,
    )
    found = evaluate(
        model,
        experiment,
        TranslationConfig(source=source, target=target),
        EvaluationConfig(images=N, cycle=False, latent_images=0),
        "area",
        AreaSettings(segmentation={"threshold": {"method": 60.0}}),  # type: ignore[arg-type]
    )
    assert found.metrics.recovery.value == pytest.approx(1, abs=0.1)
    out = tmp_path / "run" / "evaluations" / "one"
    found.measurement.write(out / "measured.csv")
    found.metrics.write(out / "metrics.json")
    write_document(out / "report.html", found)
    text = (out / "report.html").read_text(encoding="utf-8")
    page = unescape(re.sub(r"<[^>]*>", " ", text))
    assert source in page
    assert target in page
    read = FoundEvaluation.read(out)
    measurement = read.measurement()
    assert measurement.conditions[:2] == (source, target)
    assert len(set(measurement.conditions)) == 5
    read.draw(theme="light").savefig(tmp_path / "f.png")


def test_two_channels_of_one_name_are_told_apart_or_refused():
    image = square(10, "a", 0, ("GFP", "GFP"))
    with pytest.raises(InputError, match="several channels"):
        measure("area", {"a": [image]}, AreaSettings(channel="GFP"))
    assert len(measure("area", {"a": [image]}, AreaSettings(channel=1)).images) == 1
    other = [replace(image, name=f"b{i}") for i in range(2)]
    with pytest.raises(InputError, match="Two channels are called"):
        Experiment.from_images({"a": other, "b": other}).check()
