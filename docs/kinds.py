"""Write the tables of docs/tasks/load.md: kinds of input, from the tests, and names of files.

Usage::

    python docs/kinds.py
"""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

from napari_phenldiff.images.exports import NAMINGS

PAGE = Path(__file__).with_name("tasks") / "load.md"
_TESTS = Path(__file__).parents[1] / "tests" / "images" / "test_cases.py"


def page() -> str:
    """Return the page with tables as the tests and the patterns have them."""
    text = PAGE.read_text(encoding="utf-8")
    for name, table in (("kinds", kinds()), ("names", names())):
        begin, end = f"<!-- {name}: made by docs/kinds.py -->", f"<!-- {name}: end -->"
        text = re.sub(
            f"{re.escape(begin)}.*?{re.escape(end)}",
            lambda _, table=table, begin=begin, end=end: f"{begin}\n{table}\n{end}",
            text,
            flags=re.S,
        )
    return text


def kinds() -> str:
    """Return the table of kinds of input, with what each tested input gives."""
    lines = ["| kind | input | gives |", "|---|---|---|"]
    cases = sorted(_tests().CASES.items(), key=lambda item: item[1].kind)
    before = ""
    for name, case in cases:
        kind = case.kind if case.kind != before else ""
        before = case.kind
        lines.append(f"| {kind} | `{name}` | {_given(case)} |")
    return "\n".join(lines)


def _given(case: object) -> str:
    refused = str(getattr(case, "refused", ""))
    if refused:
        told = refused.replace("\\", "").replace(".*", " … ")
        return f"refused: {told}"
    images = " and ".join(str(n) for n in getattr(case, "images", ()))
    channels = ", ".join(getattr(case, "channels", ()))
    said = "; ".join(getattr(case, "said", ()))
    what = f"{images} images, channels {channels}"
    return f"{what}; said: {said}" if said else what


def names() -> str:
    """Return which programs' names of files are known."""
    sure = dict.fromkeys(naming.program for naming in NAMINGS if naming.sure)
    unsure = dict.fromkeys(naming.program for naming in NAMINGS if not naming.sure)
    return (
        f"Known: {'; '.join(sure)}. If nearly all files of all conditions agree, also: "
        f"{'; '.join(unsure)}."
    )


def _tests() -> ModuleType:
    spec = importlib.util.spec_from_file_location("test_cases", _TESTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["test_cases"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.stdout.write(f"{PAGE}\n")
