"""Write the map of files in docs/architecture.md: every module and what its docstring says first.

python tools/file_map.py          # writes it
python tools/file_map.py --check  # exits with 1 if it is out of date
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGE = _ROOT / "src" / "napari_phenldiff"
PAGE = _ROOT / "docs" / "architecture.md"
BEGIN = "<!-- the map of files, written by tools/file_map.py -->"
END = "<!-- end of the map of files -->"


def file_map(package: Path = _PACKAGE) -> str:
    """Return the map as Markdown: a list for each folder."""
    lines = []
    folders = sorted({path.parent for path in package.rglob("*.py")})
    for folder in folders:
        name = folder.relative_to(package.parent).as_posix()
        lines += [f"\n**{name}/**\n"]
        for path in sorted(folder.glob("*.py")):
            if path.name != "_version.py":
                lines.append(f"- `{path.name}`: {_first_line(path)}")
    return "\n".join(lines)


def with_map(text: str) -> str:
    """Return the page with the map as it should be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{file_map()}\n\n{END}{after}"


def _first_line(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def main() -> int:
    """Write the page, or tell whether it is as it should be."""
    text = PAGE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        return int(with_map(text) != text)
    PAGE.write_text(with_map(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
