"""What the README and the documentation tell to type exists."""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import napari_phenldiff
from napari_phenldiff import cli

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = [_ROOT / "README.md", *sorted((_ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> Iterator[tuple[str, str]]:
    for page in _PAGES:
        for name, block in _BLOCK.findall(page.read_text(encoding="utf-8")):
            if name == language:
                yield page.relative_to(_ROOT).as_posix(), block


def _commands() -> list[tuple[str, str]]:
    lines = (
        (page, line.strip())
        for page, block in _blocks("sh")
        for line in block.replace("\\\n", " ").splitlines()
    )
    return [(page, line) for page, line in lines if line.startswith("phenldiff ")]


@pytest.mark.parametrize(("page", "block"), list(_blocks("python")))
def test_imported_names_are_public(page, block):
    imported = [
        alias.name
        for node in ast.walk(ast.parse(block, filename=page))
        if isinstance(node, ast.ImportFrom) and node.module == "napari_phenldiff"
        for alias in node.names
    ]
    assert imported
    assert set(imported) <= set(napari_phenldiff.__all__)


@pytest.mark.parametrize(("page", "line"), _commands())
def test_commands_are_understood(page, line):
    # The parser exits when it does not understand, and says why.
    cli._parser().parse_args(shlex.split(line, comments=True)[1:])


def test_pages_have_examples():
    assert len(_commands()) > 5
    assert len(list(_blocks("python"))) > 1


def test_the_licence_of_each_dependency_is_listed():
    command = [sys.executable, str(_ROOT / "tools" / "licences.py"), "--check"]
    done = subprocess.run(command, check=False)
    assert done.returncode == 0, "run: python tools/licences.py"


def test_every_benchmark_has_a_line_in_the_list():
    folder = _ROOT / "benchmarks"
    listed = re.findall(r"^\| `(\w+\.py)` \|", (folder / "README.md").read_text("utf-8"), re.M)
    assert listed == sorted(path.name for path in folder.glob("*.py"))


def test_the_tables_of_settings_are_what_the_models_say():
    spec = importlib.util.spec_from_file_location("settings_page", _ROOT / "docs" / "settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python docs/settings.py"


def test_the_tables_of_kinds_of_input_are_what_the_tests_say():
    spec = importlib.util.spec_from_file_location("kinds_page", _ROOT / "docs" / "kinds.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.PAGE.read_text(encoding="utf-8") == module.page(), "run python docs/kinds.py"


def test_the_map_of_files_is_up_to_date():
    command = [sys.executable, str(_ROOT / "tools" / "file_map.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0, "run: python tools/file_map.py"


def _imports() -> list[tuple[str, str, str]]:
    found = []
    for folder in ("benchmarks", "docs", "tools"):
        for path in sorted((_ROOT / folder).glob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("napari_ph"):
                    found += [(f"{folder}/{path.name}", node.module, a.name) for a in node.names]
    return found


def test_scripts_beside_the_package_import_what_there_is():
    missing = []
    for script, module, name in _imports():
        if not hasattr(importlib.import_module(module), name):
            with contextlib.suppress(ImportError):
                importlib.import_module(f"{module}.{name}")
                continue
            missing.append(f"{script}: {module}.{name}")
    assert not missing


def test_the_tests_that_reliability_names_exist():
    page = (_ROOT / "docs" / "reliability.md").read_text("utf-8")
    tests = {path: path.read_text("utf-8") for path in (_ROOT / "tests").rglob("test_*.py")}
    defined = {name for text in tests.values() for name in re.findall(r"def (test_\w+)\(", text)}
    files = {path.relative_to(_ROOT / "tests").as_posix() for path in tests}
    missing = sorted({*re.findall(r"(?:::|`)(test_\w+)`", page)} - defined)
    for named in re.findall(r"`((?:\w+/)*test_\w+\.py)", page):
        if not any(f"/{file}".endswith(f"/{named.removeprefix('tests/')}") for file in files):
            missing.append(named)
    assert not missing
