"""Who may import whom, and what importing costs."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import napari_phenldiff

_ROOT = Path(__file__).resolve().parents[1]
_METHOD = {"accelerate", "diffusers", "peft", "torch", "transformers"}
_QT = {"PyQt5", "PyQt6", "PySide2", "PySide6", "qtpy", "superqt"}
_LIGHT_ROOMS = ("cli", "errors", "images", "jobs", "measurement", "runs", "viewer")


def _loaded_after(statements: str) -> set[str]:
    """Top-level packages that a fresh interpreter has loaded after these statements."""
    code = f"import json, sys\n{statements}\nprint(json.dumps(sorted(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False
    )
    assert result.returncode == 0, result.stderr
    return {name.partition(".")[0] for name in json.loads(result.stdout.splitlines()[-1])}


def _modules_of(*rooms: str) -> list[str]:
    prefix = f"{napari_phenldiff.__name__}."
    return [
        module.name
        for module in pkgutil.walk_packages(napari_phenldiff.__path__, prefix)
        if module.name.removeprefix(prefix).partition(".")[0] in rooms
    ]


def test_layers():
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
            "--no-logo",
        ],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_importing_the_package_is_light():
    loaded = _loaded_after("import napari_phenldiff; napari_phenldiff.__version__")
    heavy = {"magicgui", "napari", "numpy", "pandas", "pydantic"}
    unwanted = (_METHOD | _QT | heavy) & loaded
    assert not unwanted


@pytest.mark.parametrize("name", napari_phenldiff.__all__)
def test_public_name_exists(name):
    assert getattr(napari_phenldiff, name).__name__ == name


def test_public_names_are_listed():
    assert set(napari_phenldiff.__all__) <= set(dir(napari_phenldiff))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = napari_phenldiff.no_such_name


def test_rooms_below_the_widgets_load_neither_method_nor_qt():
    modules = _modules_of(*_LIGHT_ROOMS)
    assert {name.split(".")[1] for name in modules} == set(_LIGHT_ROOMS)
    loaded = _loaded_after("\n".join(f"import {name}" for name in modules))
    unwanted = (_METHOD | _QT) & loaded
    assert not unwanted


def test_the_door_to_the_methods_loads_none_of_them():
    loaded = _loaded_after("import napari_phenldiff.baselines.loading")
    unwanted = (_METHOD | _QT) & loaded
    assert not unwanted


def test_widget_modules_load_without_the_method():
    modules = _modules_of("widgets")
    assert modules
    loaded = _loaded_after("\n".join(f"import {name}" for name in modules))
    unwanted = _METHOD & loaded
    assert not unwanted
