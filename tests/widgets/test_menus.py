"""Menus and the command palette of the real viewer, used as a user uses them.

In a process of its own, because napari's fixtures put a stand-in in the place of the menus.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import npe2
import pytest

NAME = "napari-phenldiff"
COMPARE = "Compare real and translated side by side (PhenLDiff)"

_USE = """
import json, sys
import napari, numpy as np
from app_model import Application
from qtpy.QtCore import QEvent, Qt
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import QApplication

viewer = napari.Viewer(show=True)
window = viewer.window._qt_window
palette = window._command_palette

def offered(words):
    palette.update_context(window)
    palette.show()
    palette._line.setText(words)
    return [command.title for command in palette._list.iter_command()]

def press_enter():
    key = QKeyEvent(QEvent.Type.KeyPress, Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier)
    QApplication.sendEvent(palette._line, key)
    QApplication.processEvents()

def shown():
    return sorted(name for name, dock in viewer.window.dock_widgets.items() if dock.isVisible())

def menus():
    found = {}
    viewer.window.layers_menu.aboutToShow.emit()
    for action in viewer.window.layers_menu.actions():
        if action.menu() is not None:
            action.menu().aboutToShow.emit()
            found[action.text()] = {a.text(): a.isEnabled() for a in action.menu().actions()}
    return found

seen = {"empty": offered(""), "menus without layers": menus()}
for _ in range(2):
    viewer.add_image(np.zeros((8, 8)))
seen["two layers"] = offered("")
seen["menus"] = menus()
seen["words"] = {}
for words in json.loads(sys.argv[1]):
    first = offered(words)[:1]
    press_enter()
    once = shown()
    offered(words)
    press_enter()  # again, and it stays
    seen["words"][words] = (first, once, shown())
    for name in once:
        short = name.partition(" ")[0].lower().replace("-", "")
        Application.get_app("napari").commands.execute_command("napari-phenldiff." + short)
seen["hidden by the menu"] = shown()
offered("train")
press_enter()
from napari_phenldiff.widgets.parts.next_step import open_dock
panel = viewer.window.dock_widgets["Fine-tune (PhenLDiff)"]
seen["next"] = {}
for title in ("Translate", "Translate", "Measure", "Evaluate", "Translate"):
    opened = open_dock(panel, title)
    QApplication.processEvents()
    QApplication.processEvents()
    seen["next"][title] = [opened.title, not opened.visibleRegion().isEmpty(), len(shown())]
offered("side by side")
press_enter()
print(json.dumps(seen))
viewer.close()
"""

WORDS = {
    "train": "Fine-tune",
    "two conditions": "Fine-tune",
    "see in another condition": "Translate",
    "segment": "Measure",
    "compare phenotypes": "Measure",
    "judge": "Evaluate",
    "controls": "Evaluate",
}


@pytest.fixture(scope="module")
def seen(display: str) -> dict[str, Any]:
    """What a user sees in the menus and in the palette."""
    command = [sys.executable, "-c", _USE, json.dumps(list(WORDS))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("words", WORDS)
def test_the_words_of_a_biologist_open_a_dock_and_leave_it_open(seen, words: str):
    offered, once, twice = seen["words"][words]

    assert WORDS[words] in offered[0]
    assert once == twice == [f"{WORDS[words]} (PhenLDiff)"]


def test_the_menu_knows_the_docks_that_the_palette_has_opened(seen):
    assert seen["hidden by the menu"] == []


def test_a_dock_opens_the_next_one_once_and_brings_it_to_the_front(seen):
    assert seen["next"] == {
        "Translate": ["Translate", True, 4],
        "Measure": ["Measure", True, 3],
        "Evaluate": ["Evaluate", True, 4],
    }


def test_only_what_can_be_run_is_offered(seen):
    assert COMPARE in seen["two layers"]
    assert COMPARE not in seen["empty"]
    ours = [title for title in seen["two layers"] if "PhenLDiff" in title]
    assert ours
    assert not any("TIFF" in title for title in ours)


def test_the_menus_have_what_belongs_there(seen):
    assert seen["menus"]["Measure"]["Measure (PhenLDiff)"]
    assert seen["menus"]["Measure"]["Evaluate (PhenLDiff)"]
    assert seen["menus"]["Transform"]["Fine-tune (PhenLDiff)"]
    assert seen["menus"]["Transform"]["Translate (PhenLDiff)"]
    assert seen["menus"]["Visualize"][COMPARE]
    assert not seen["menus without layers"]["Visualize"][COMPARE]


def test_titles_are_short_and_no_icon_comes_from_the_network():
    for command in npe2.PluginManifest.from_distribution(NAME).contributions.commands:
        assert len(command.title) <= 60
        assert command.icon is None
