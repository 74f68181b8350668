"""Pictures of all docks in both themes, in two sizes of the window, and with a large font.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/looks.py DATA --out DIR
        [--images 24] [--only dark-1280,light-1600]

DATA is a folder with a sub-folder of TIFFs per condition, of which a few images are opened. The
docks are led through the guided way with the stand-in of the tests in place of the model, so the
layers are real and what is translated is not: these pictures are for looking whether something is
cut, overlaps or can't be read, by eye. For each look there is a picture of the whole window, one of
all docks beside each other, of each from its top and from its bottom, and one of each window of a
figure.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("NAPARI_CONFIG", "")

import napari
import PIL.Image
from napari.settings import get_settings
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QCheckBox, QDockWidget, QScrollArea

# isort: split
from viewer_limits import close_docks, open_dock, spin, stand_in, start_training, window
from walk import some_of

from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.viewer.side_by_side import side_by_side
from napari_phenldiff.viewer.turns import adding
from napari_phenldiff.widgets.parts.drops import DropPanel

TITLES = ("Fine-tune", "Translate", "Measure", "Evaluate")


@dataclass(frozen=True, slots=True)
class Look:
    """How a viewer looks: its theme, its size in pixels, its font in points."""

    theme: str
    size: tuple[int, int]
    font: int

    @property
    def name(self) -> str:
        """Return what its files are called."""
        return f"{self.theme}-{self.size[0]}" + (f"-font{self.font}" if self.font > 12 else "")


LOOKS = (
    Look("dark", (1280, 720), 9),
    Look("light", (1280, 720), 9),
    Look("dark", (1600, 1000), 9),
    Look("light", (1600, 1000), 9),
    Look("dark", (1600, 1000), 16),
    Look("light", (1280, 720), 16),
)


def lead_through(viewer: napari.Viewer, run: Path) -> None:
    """Fine-tune, translate, measure and evaluate, each dock leading to the next one."""
    dock = open_dock(viewer, "Fine-tune")
    wait_for(start_training(dock, run, steps=8), viewer)
    for title in TITLES[1:]:
        before, dock = dock, None
        before.next.go.click()
        spin(120, lambda title=title: panel(viewer, title) is not None)
        dock = panel(viewer, title)
        spin(120, lambda dock=dock: dock.job_foot.job is not None)
        if dock.job_foot.job is None:
            raise SystemExit(f"{title} does not start: {dock.job_foot.message.text()}")
        wait_for(dock.job_foot.job, viewer)
        spin(5, before.next.go.isVisible)


def wait_for(job: Any, viewer: napari.Viewer) -> None:
    spin(300, lambda: not job.state.live and not adding(viewer))
    if job.state is not JobState.FINISHED:
        raise SystemExit(f"{job.title}: {job.state.value}. {job.message}")
    spin(1)


def panel(viewer: napari.Viewer, title: str) -> Any:
    found = viewer.window._qt_window.findChildren(DropPanel)
    return next((one for one in found if one.title == title), None)


def put_on(viewer: napari.Viewer, look: Look) -> None:
    """Let the viewer have a look."""
    appearance = get_settings().appearance
    appearance.font_size, appearance.theme = look.font, look.theme
    viewer.window._qt_window.resize(*look.size)
    spin(1)


def pictures(viewer: napari.Viewer, look: Look, out: Path) -> Iterator[Path]:
    """Take the pictures of one look."""
    put_on(viewer, look)
    shots: dict[str, list[QImage]] = {"top": [], "bottom": []}
    for title in TITLES:
        dock = panel(viewer, title)
        holder = dock
        while not isinstance(holder, QDockWidget):
            holder = holder.parentWidget()
        holder.show()
        holder.raise_()
        spin(1.5, lambda dock=dock: not dock.visibleRegion().isEmpty())
        bar = dock.findChild(QScrollArea).verticalScrollBar()
        for place, value in (("top", bar.minimum()), ("bottom", bar.maximum())):
            bar.setValue(value)
            spin(0.7)
            shots[place].append(holder.grab().toImage())
        if title == "Translate":
            yield whole(viewer, out / f"{look.name}-window.png")
            dock.compare.click()
            spin(1)
            yield whole(viewer, out / f"{look.name}-compare.png")
            side_by_side(viewer).off()
            yield from figure_windows(dock, look, out)
    for place, images in shots.items():
        yield beside(images, out / f"{look.name}-docks-{place}.png")


def figure_windows(dock: Any, look: Look, out: Path) -> Iterator[Path]:
    """Take pictures of the window of a figure, with overlays and with single channels."""
    shown: Any = dock.open_figure()
    seen: list[Any] = [None]
    for name in ("figure", "figure-single"):
        spin(60, lambda: shown.view.figure not in seen and not shown.view.busy)
        spin(0.5)
        seen.append(shown.view.figure)
        path = out / f"{look.name}-{name}.png"
        shown.grab().save(str(path))
        yield path
        shown.findChild(QCheckBox).setChecked(True)
    shown.close()
    spin(0.3)


def whole(viewer: napari.Viewer, path: Path) -> Path:
    viewer.screenshot(str(path), canvas_only=False, flash=False)
    return path


def beside(images: list[QImage], path: Path) -> Path:
    """Write pictures next to each other."""
    size = (sum(x.width() + 8 for x in images), max(x.height() for x in images))
    sheet, left = PIL.Image.new("RGB", size, "magenta"), 0
    for image in images:
        plain = image.convertToFormat(QImage.Format.Format_RGB888)
        plain.save(str(path))
        sheet.paste(PIL.Image.open(path).convert("RGB"), (left, 0))
        left += image.width() + 8
    sheet.save(path)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=24, help="of each condition")
    parser.add_argument("--only", default="", help="looks, such as dark-1280,light-1280-font16")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    wanted = [name for name in args.only.split(",") if name]
    with tempfile.TemporaryDirectory() as folder, stand_in():
        data = some_of(args.data.resolve(), Path(folder) / "data", args.images)
        with window(data) as viewer:
            lead_through(viewer, Path(folder) / "run")
            for look in LOOKS:
                if not wanted or look.name in wanted:
                    for path in pictures(viewer, look, args.out):
                        print(f"wrote {path}", flush=True)
            close_docks(viewer)


if __name__ == "__main__":
    main()
