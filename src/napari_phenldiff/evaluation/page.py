"""One HTML file with text, figures and tables that needs nothing beside itself.

No scripts, no fonts, no network. It follows the reader's choice of light or dark.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.measurement.figures.style import ThemeName

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_RESOLUTION = 144  # dots per inch, twice what screens show: sharp on dense ones
_STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --text: #1f2328; --faint: #59636e;
  --line: #d1d9e0; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #16181d; --text: #e6e8eb; --faint: #9198a1; --line: #3d444d; } }
body { margin: 2.5rem auto; max-width: 62rem; padding: 0 1.5rem; background: var(--ground);
  color: var(--text); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin-bottom: .6rem; }
h2 { font-size: 1.15rem; margin: 2.6rem 0 .6rem; }
.lead { font-size: 1.08rem; }
.verdict { font-size: 1.45rem; font-weight: 600; margin: .2rem 0 .4rem; padding-left: .8rem;
  border-left: .4rem solid var(--faint); }
.verdict.good { border-color: #009e73; }
.verdict.bad { border-color: #d55e00; }
figure { margin: 1rem 0; overflow-x: auto; }
figure img { max-width: 100%; height: auto; }
figcaption, .note { color: var(--faint); font-size: .9rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem 1rem .3rem 0; text-align: left;
  vertical-align: top; }
td.number, th.number { text-align: right; }
td { overflow-wrap: anywhere; }
""".strip()


@dataclass(frozen=True, slots=True)
class Picture:
    """A figure of a report.

    Parameters
    ----------
    draw : callable
        Takes ``"light"`` or ``"dark"`` and returns the figure in that theme.
    caption : str
        What it shows, in words; also read to those who cannot see it.
    """

    draw: Callable[[ThemeName], Figure]
    caption: str


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report.

    Parameters
    ----------
    title : str
    text : str
        A paragraph before the rest; may be empty.
    pictures : tuple of Picture
    table : pandas.DataFrame, optional
    facts : mapping, optional
        Names and values, shown as a table of two columns; nested values as JSON.
    """

    title: str
    text: str = ""
    pictures: tuple[Picture, ...] = ()
    table: pd.DataFrame | None = None
    facts: Mapping[str, Any] | None = None


def write_page(
    out: str | os.PathLike[str],
    title: str,
    sections: Sequence[Section],
    *,
    lead: str = "",
    verdict: str = "",
    mood: Literal["", "good", "bad"] = "",
) -> Path:
    """Write sections as one HTML file that needs nothing beside itself.

    Parameters
    ----------
    out : path-like
        File to write; missing parent folders are made.
    title : str
    sections : sequence of Section
    lead : str
        The result in a sentence, below the title.
    verdict : str
        The result in a few words, large, before that.
    mood : {"", "good", "bad"}
        Colour of the bar beside the verdict.

    Returns
    -------
    pathlib.Path
        The file.

    Raises
    ------
    InputError
        If `out` is a folder.
    """
    path = Path(out)
    if path.is_dir():
        raise InputError(f"{path} is a folder: name the HTML file to write.")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        f'<p class="verdict {mood}">{escape(verdict)}</p>' if verdict else "",
        f'<p class="lead">{escape(lead)}</p>' if lead else "",
        *(_section_html(section) for section in sections),
        "</body></html>",
    ]
    with write_atomic(path) as temporary:
        temporary.write_text("\n".join(part for part in parts if part), encoding="utf-8")
    return path


def _section_html(section: Section) -> str:
    parts = [f"<section><h2>{escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    parts += [_picture_html(picture) for picture in section.pictures]
    if section.table is not None:
        parts.append(_table_html(section.table))
    if section.facts is not None:
        rows = "".join(
            f"<tr><th>{escape(str(name))}</th><td>{escape(_in_words(value))}</td></tr>"
            for name, value in section.facts.items()
        )
        parts.append(f'<div class="scroll"><table>{rows}</table></div>')
    parts.append("</section>")
    return "\n".join(parts)


def _picture_html(picture: Picture) -> str:
    caption = escape(picture.caption)
    return (
        "<figure><picture>"
        f'<source media="(prefers-color-scheme: dark)" srcset="{_data_url(picture.draw("dark"))}">'
        f'<img src="{_data_url(picture.draw("light"))}" alt="{caption}">'
        f"</picture><figcaption>{caption}</figcaption></figure>"
    )


def _data_url(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_RESOLUTION)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _table_html(table: pd.DataFrame) -> str:
    kinds = [' class="number"' if table[name].dtype.kind in "iuf" else "" for name in table]
    head = "".join(
        f"<th{kind}>{escape(str(name))}</th>" for name, kind in zip(table, kinds, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{kind}>{escape(_in_words(value))}</td>"
            for value, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in table.itertuples(index=False)
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{rows}</table></div>'


def _in_words(value: object) -> str:
    if isinstance(value, float | np.floating):
        return "–" if np.isnan(value) else f"{value:.4g}"
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
