from __future__ import annotations

import dataclasses
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import npe2
import pytest

from napari_phenldiff.viewer import preferences as module
from napari_phenldiff.viewer.colors import channel_colormaps
from napari_phenldiff.viewer.preferences import Precision, Preferences, preferences

NAME = "napari-phenldiff"


@pytest.fixture
def settings(plugin_settings, npe2pm):
    """The settings of this plugin, kept in a temporary folder."""
    from napari.settings import get_plugin_settings

    npe2pm.register(npe2.PluginManifest.from_distribution(NAME))
    return get_plugin_settings(NAME)


def test_nothing_set_means_the_defaults(settings, caplog):
    assert preferences() == Preferences()
    assert not caplog.records


def test_the_page_has_what_is_read_and_nothing_else():
    configurations = npe2.PluginManifest.from_distribution(NAME).contributions.configurations
    page = {group: set(part.properties) for group, part in configurations.items()}

    assert page == {group: set(readers) for group, readers in module._READERS.items()}
    names = [key for keys in page.values() for key in keys]
    assert sorted(names) == sorted(f.name for f in dataclasses.fields(Preferences))
    assert configurations["computation"].properties["precision"].enum == list(get_args(Precision))
    colormaps = configurations["colors"].properties["difference_colormap"].enum
    assert colormaps == list(module.DIFFERENCE_COLORMAPS)
    for part in configurations.values():
        assert all(prop.description for prop in part.properties.values())


def test_what_is_set_is_read(settings, tmp_path: Path):
    settings.computation.device = "CUDA:1"
    settings.computation.precision = "bfloat16"
    settings.folders.runs_folder = str(tmp_path)
    settings.folders.models_folder = "~/models"
    settings.colors.difference_colormap = "green-magenta"
    settings.colors.channel_colors = "actin = red, ER=cyan"

    assert preferences() == Preferences(
        device="cuda:1",
        precision="bfloat16",
        runs_folder=tmp_path,
        models_folder=Path.home() / "models",
        difference_colormap="green-magenta",
        channel_colors=(("actin", "red"), ("ER", "cyan")),
    )
    assert preferences().environment() == {"HF_HUB_CACHE": str(Path.home() / "models")}


@pytest.mark.parametrize(
    ("group", "key", "value", "word"),
    [
        ("computation", "device", "gpu", "no device"),
        ("folders", "runs_folder", "", "whole path"),
        ("folders", "runs_folder", "runs", "whole path"),
        ("colors", "channel_colors", "actin: red", "actin = red"),
        ("colors", "channel_colors", "actin = crimson", "crimson"),
    ],
)
def test_what_cannot_be_used_is_told_and_replaced(settings, caplog, group, key, value, word):
    setattr(getattr(settings, group), key, value)

    with caplog.at_level(logging.WARNING):
        assert preferences() == Preferences()

    assert key in caplog.text
    assert word in caplog.text


def test_settings_that_cannot_be_read_do_no_harm(monkeypatch, caplog):
    def broken(name: str) -> None:
        raise ValueError("a manifest of somebody else")

    monkeypatch.setattr(module, "get_plugin_settings", broken)

    assert preferences() == Preferences()
    assert "somebody else" in caplog.text


def test_without_the_plugin_registered_all_are_defaults(plugin_settings, caplog):
    with caplog.at_level(logging.WARNING, logger="napari_phenldiff"):
        assert preferences() == Preferences()

    assert not [r for r in caplog.records if r.name.startswith("napari_phenldiff")]
    assert preferences().environment() == {}


def test_reading_needs_no_qt():
    code = (
        "import sys; from napari_phenldiff.viewer.preferences import preferences; preferences();"
        "sys.exit(any(name.startswith(('qtpy', 'PyQt', 'PySide')) for name in sys.modules))"
    )
    environment = {**os.environ, "NAPARI_CONFIG": ""}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0


def test_channels_are_shown_in_the_users_colours(settings):
    settings.colors.channel_colors = "er = cyan; DNA = gray"

    assert channel_colormaps(["DNA", "Golgi", "ER"]) == ("gray", "green", "cyan")
    assert channel_colormaps(["ER"]) == ("cyan",)
    assert channel_colormaps(["actin"]) == ("gray",)
