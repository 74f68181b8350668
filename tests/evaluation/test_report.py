from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.page import Picture, Section, write_page
from napari_phenldiff.evaluation.report import write_report
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles.area import AreaSettings

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


@pytest.fixture
def images():
    rng = np.random.default_rng(0)

    def group(side, n=5):
        return [square(side + int(rng.integers(3)), f"field {i}", i) for i in range(n)]

    return {
        "a <b>": group(8),
        "treated": group(24),
        "reconstructed": group(8),
        "translated": group(18),
    }


@pytest.fixture
def measurement(images):
    blank = replace(images["a <b>"][0], data=np.zeros((1, 9, 9)))
    groups = {**images, "a <b>": [*images["a <b>"], blank]}
    return measure("area", groups, fit_on=["a <b>", "treated"])


def test_report(images, measurement, tmp_path):
    pictures = list(
        zip(images["a <b>"], images["reconstructed"], images["translated"], strict=True)
    )
    path = write_report(
        tmp_path / "new" / "report.html",
        measurement,
        source="a <b>",
        target="treated",
        pictures=pictures * 3,
        provenance={"run": "run-1", "versions": {"torch": "2.x"}},
        more=[Section("Remarks", "Seen by eye.")],
    )
    reader, words = read(path)
    # Two figures in two themes each, all of them in the file itself.
    assert len(reader.links) == 4
    assert all(link.startswith("data:image/png;base64,") for link in reader.links)
    assert len(set(reader.links)) == 4
    assert "<script" not in path.read_text(encoding="utf-8")
    for expected in (
        "a <b> → treated",
        "recovery",
        "Cliff's delta",
        "run-1",
        '{"torch": "2.x"}',
        "stain: constant",
        "1 of 21 images",
        "Seen by eye.",
        "minimum-cross-entropy" if measurement.profile.name == "translocation" else "otsu",
    ):
        assert expected in words
    found = re.search(r"recovery (\d+) %", words)
    assert found is not None
    assert 30 <= int(found.group(1)) <= 65
    assert list(path.parent.iterdir()) == [path]


def test_report_without_pictures(measurement, tmp_path):
    path = write_report(tmp_path / "r.html", measurement, source="a <b>", target="treated")
    reader, words = read(path)
    assert len(reader.links) == 2
    assert "The same cells" not in words
    assert "Not measured" in words


def test_report_needs_its_groups(images, tmp_path):
    found = measure("area", {"a": images["treated"], "b": images["translated"]}, AreaSettings())
    with pytest.raises(InputError, match='"reconstructed"'):
        write_report(tmp_path / "r.html", found, source="a", target="b", translated="b")
    assert not list(tmp_path.iterdir())


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
