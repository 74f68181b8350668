"""What the documents call a button or a field is called so in the docks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLabel, QWidget

from napari_phenldiff.widgets.evaluate_dock import EvaluateWidget
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.measure_dock import MeasureWidget
from napari_phenldiff.widgets.parts.figure_page import FORMATS
from napari_phenldiff.widgets.parts.translation_figure import TranslationFigureWindow
from napari_phenldiff.widgets.translate_dock import TranslateWidget

DOCS = Path(__file__).resolve().parents[2] / "docs" / "tasks"

PAGES = {
    "fine-tune.md": "## In napari",
    "translate.md": "## In napari",
    "measure.md": "## In napari",
    "evaluate.md": "## With a verdict",
}

OTHER = {
    "Reset view",  # napari's
    "Features table widget",
    "Flip",  # with its key
    "Resume",  # what the buttons of the foot become
    "Stop",
    "The curve",
    "How well the conditions are separated",
    "Difference",  # layers
    "Objects from: labels layers",
    "OME-TIFF, one per image (PhenLDiff)",
    *FORMATS,
}


@pytest.fixture
def texts(qtbot, model: ViewerModel) -> set[str]:
    docks = [kind(model) for kind in (FineTuneWidget, TranslateWidget, MeasureWidget)]
    docks += [EvaluateWidget(model), TranslationFigureWindow(docks[1], model)]
    found = set()
    for dock in docks:
        qtbot.addWidget(dock)
        found.add(getattr(dock, "title", ""))
        for widget in dock.findChildren(QWidget):
            if isinstance(widget, QLabel | QAbstractButton):
                found.add(widget.text())
            if isinstance(widget, QComboBox):
                found |= {widget.itemText(index) for index in range(widget.count())}
    return {re.sub(r"\s*[…▾]$", "", text) for text in found}


def test_buttons_and_fields_are_called_as_in_the_documents(texts: set[str]):
    unknown = []
    for page, heading in PAGES.items():
        section = (DOCS / page).read_text(encoding="utf-8").partition(f"{heading}\n")[2]
        section = re.split(r"^## ", section, flags=re.M)[0]
        assert section, page
        named = re.findall(r"(?<!\*)\*{1,2}([^*]+?)\*{1,2}(?!\*)", section)
        for text in (" ".join(words.split()) for words in named):
            about_docks = text[0].isupper() and not text.endswith((".", "?", ":"))
            if about_docks and "›" not in text and text not in texts | OTHER:
                unknown.append(f"{page}: {text}")
    assert not unknown, unknown
