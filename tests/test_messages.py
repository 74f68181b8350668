"""What is said in docks: no option of the command line, which nobody can give there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import napari_phenldiff
from napari_phenldiff.settings import without_options

ROOT = Path(napari_phenldiff.__file__).parent

ONLY_COMMANDS = {
    "diffusion/archive.py",  # pretrain
    "diffusion/hardware.py",
    "diffusion/model_card.py",  # written into a file
    "diffusion/pretraining_config.py",
    "diffusion/pretraining_data.py",
    "diffusion/pretraining_folder.py",
    "diffusion/processes.py",  # accelerate launch
    "evaluation/page.py",  # style sheet
    "images/exports.py",  # names of files
    "images/arrangement.py",  # the option itself
    "runs/folder.py",  # says which command has written the folder
    "runs/workers.py",
    "settings.py",
    "widgets/parts/settings_files.py",  # says which command takes the file
}


def sentences(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yield the strings of a module that are no docstrings, with ``…`` for what is filled in."""
    inside = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            inside.add(node.value)
        if isinstance(node, ast.JoinedStr):
            inside |= set(ast.walk(node)) - {node}
    for node in ast.walk(tree):
        if node in inside:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "…" for p in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def test_options_stand_in_parentheses_which_docks_leave_out():
    rooms = ("diffusion", "baselines", "evaluation", "images", "measurement", "runs", "viewer")
    files = [path for room in (*rooms, "widgets") for path in (ROOT / room).rglob("*.py")]
    assert len(files) > 200
    found = []
    for path in files:
        where = path.relative_to(ROOT).as_posix()
        if where in ONLY_COMMANDS or where.startswith("evaluation/benchmark/"):
            continue
        for line, text in sentences(ast.parse(path.read_text(encoding="utf-8"))):
            is_an_option = re.fullmatch(r"--[a-z-]+", text)  # where it is defined
            if not is_an_option and re.search(r"(?<![\w-])--[a-z]", without_options(text)):
                found.append(f"{where}:{line}: {text}")
    assert not found, "\n".join(found)
