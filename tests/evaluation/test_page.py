from __future__ import annotations

from dataclasses import replace
from html.parser import HTMLParser
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.appearance import Appearance
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.evaluation.document import write_document
from napari_phenldiff.evaluation.evaluate import Model, evaluate
from napari_phenldiff.evaluation.page import Picture, Section, write_page
from napari_phenldiff.evaluation.wording import headline
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TranslationConfig

_VOID = {"meta", "img", "source", "br"}


class Reader(HTMLParser):
    """Collect what a page shows, and check that its tags close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.links, self.words = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag not in _VOID:
            self.open.append(tag)
        self.links += [v for k, v in attributes if k in {"src", "srcset", "href"} and v]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)


def read(path):
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader, " ".join(reader.words)


def square(side, name, seed):
    plane = np.random.default_rng(seed).normal(10, 1, (40, 40))
    plane[:side, :side] += 100
    return Image(plane[None].astype(np.float32), ("stain",), None, name)


class Moves:
    """Gives the translated images that it was told, by the names of their sources."""

    def __init__(self, made):
        self.made = {image.name: image for image in made}

    def translate(self, images, config):
        for image in images:
            translated = image if config.target == config.source else self.made[image.name]
            yield SimpleNamespace(translated=translated, reconstructed=image)


@pytest.fixture
def evaluation(monkeypatch):
    """An evaluation of squares that grow half as much as they should, and one blank image."""
    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance",
        lambda *args: Appearance([], None, None),
    )
    rng = np.random.default_rng(0)

    def group(side, n=6):
        return [square(side + int(rng.integers(3)), f"field {i}", i) for i in range(n)]

    source, target, made = group(8), group(24), group(18)
    blank = replace(target[0], data=np.zeros((1, 40, 40), np.float32), name="blank")
    experiment = Experiment.from_images({"a <b>": source, "treated": [*target, blank]})
    model = Model(
        Moves(made),
        IntensityScaling.fit(experiment.images),
        provenance={"run": "run-1", "versions": {"torch": "2.x"}},
    )
    config = EvaluationConfig(images=6, cycle=False, wells="image")
    translation = TranslationConfig(source="a <b>", target="treated")
    return evaluate(model, experiment, translation, config, "area")


def test_document(evaluation, tmp_path):
    path = write_document(tmp_path / "new" / "report.html", evaluation)
    reader, words = read(path)
    # Each figure in two themes, all of them in the file itself.
    figures = path.read_text(encoding="utf-8").count("<figure>")
    assert figures >= 3
    assert len(reader.links) == 2 * figures
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert len(set(reader.links)) == 2 * figures
    assert "<script" not in path.read_text(encoding="utf-8")
    verdict = evaluation.metrics.verdict
    for expected in (
        "a <b> → treated",
        headline(verdict),
        verdict.reason,
        "recovery",
        "Cliff's delta",
        "run-1",
        '{"torch": "2.x"}',
        "stain: constant",
        "1 of 31 images",
        "otsu",
    ):
        assert expected in words
    found = evaluation.metrics.recovery
    assert 0.3 <= found.value <= 0.65
    assert f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})" in words
    assert list(path.parent.iterdir()) == [path]


def test_what_is_not_known_is_left_out_and_what_was_not_measured_is_told(evaluation, tmp_path):
    _, words = read(write_document(tmp_path / "r.html", evaluation))
    assert "Memorisation" not in words  # nothing is known of training images
    assert "What was noticed in measuring" in words


def test_page_escapes_what_it_is_given(tmp_path):
    table = pd.DataFrame({"<i>": ["<b>&"], "n": [0.123456], "missing": [np.nan]})
    facts = {"<u>": ["<s>"]}
    path = write_page(
        tmp_path / "p.html", "<h1>", [Section("<p>", "<em>", table=table, facts=facts)], lead="<q>"
    )
    _, words = read(path)
    for given in ("<h1>", "<p>", "<em>", "<i>", "<b>&", "<u>", '["<s>"]', "<q>", "0.1235", "–"):
        assert given in words


def test_page_is_whole_or_absent(tmp_path):
    def fail(theme):
        raise MemoryError

    with pytest.raises(MemoryError):
        write_page(tmp_path / "p.html", "t", [Section("s", pictures=(Picture(fail, "c"),))])
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="folder"):
        write_page(tmp_path, "t", [])
