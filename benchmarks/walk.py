"""A walk through the viewer by mouse and keyboard: from a dropped folder to a verdict.

    xvfb-run -a -s "-screen 0 1280x720x24" python benchmarks/walk.py DATA --out DIR
        [--steps 60] [--images 40] [--theme light] [--font 16]

DATA is a folder with a sub-folder of TIFFs per condition. napari is a process of its own, and
everything is done to its window from outside with xdotool: a folder is dragged from another window
and dropped on the canvas (by the protocol of X11, Xdnd), menus and buttons are clicked, numbers are
typed. So it needs X11 and xdotool, and ImageMagick's `import` for the pictures.

The guided way is gone with all defaults: Fine-tune, *Translate with it*, *Measure it*, *Evaluate
the run*. Written to DIR: a picture of the screen at each stage, `walk.md` and `walk.json` with what
was clicked and how long each stage took. The goal is six clicks from open images to the verdict.
`--steps` shortens the training; what is clicked for that is told apart. `--images` drops a folder
with links to a few images of each condition instead.

Where things are on the screen is asked of the napari process, which writes the rectangles of what
can be seen into a file; nothing else is asked of it, and nothing is told to it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

MOST_CLICKS = 6
PLUGIN = "PhenLDiff"
_ASK, _SHOWN = "ask", "shown.json"
_PATIENCE = 3600.0
"""Seconds that a stage may take: the machine may be busy."""


# ---- the driver ----------------------------------------------------------------------------------


@dataclass
class Hand:
    """Mouse and keyboard. What is clicked is kept, apart what is only done to save time."""

    folder: Path
    clicks: list[str] = field(default_factory=list)
    aside: list[str] = field(default_factory=list)

    def shown(self) -> list[dict[str, Any]]:
        """Return what can be seen: name, kind, rectangle on the screen, whether it is enabled."""
        answer = self.folder / _SHOWN
        answer.unlink(missing_ok=True)
        (self.folder / _ASK).touch()
        end = time.monotonic() + 120
        while not answer.exists():
            if time.monotonic() > end:
                raise SystemExit("napari does not answer any more")
            time.sleep(0.02)
        found: list[dict[str, Any]] = json.loads(answer.read_text())
        return found

    def find(self, name: str, kind: str = "") -> dict[str, Any] | None:
        """Return what is called like that and can be pressed now, if there is such a thing."""
        for one in self.shown():
            if one["name"] == name and one["enabled"] and kind in ("", one["kind"]):
                return one
        return None

    def wait(self, name: str, kind: str = "", failed: Callable[[], str] = lambda: "") -> Any:
        """Wait until something can be pressed."""
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            one = self.find(name, kind)
            if one is not None:
                return one
            if failed():
                raise SystemExit(failed())
            time.sleep(0.25)
        raise SystemExit(f"{name} did not appear in {_PATIENCE:.0f} s")

    def point(self, one: dict[str, Any]) -> None:
        """Move the mouse to the middle of what can be seen."""
        x, y, width, height = one["rect"]
        # A hand does not jump: menus unfold, and a drag begins, when the mouse moves on the way.
        tool("mousemove", x + width // 2 - 2, y + height // 2)
        tool("mousemove", x + width // 2, y + height // 2)
        time.sleep(0.1)

    def click(self, name: str, kind: str = "", *, count: bool = True) -> None:
        """Click what is called like that, as soon as it can be."""
        self.point(self.wait(name, kind))
        tool("click", 1)
        (self.clicks if count else self.aside).append(name)
        time.sleep(0.3)

    def hover(self, name: str, kind: str = "") -> None:
        """Hold the mouse over it until what unfolds has unfolded."""
        self.point(self.wait(name, kind))
        time.sleep(0.7)

    def type(self, name: str, kind: str, text: str) -> None:
        """Write into a field; counted as done to save time."""
        self.click(name, kind, count=False)
        tool("key", "ctrl+a")
        tool("type", text)
        tool("key", "Tab")
        time.sleep(0.3)

    def drag(self, start: dict[str, Any], end: dict[str, Any]) -> None:
        """Press in the middle of one rectangle, move, and let go in the middle of another one."""
        (x, y), (to_x, to_y) = (_middle(one["rect"]) for one in (start, end))
        tool("mousemove", x, y)
        tool("mousedown", 1)
        for part in range(1, 21):
            tool("mousemove", x + (to_x - x) * part // 20, y + (to_y - y) * part // 20)
            time.sleep(0.05)
        time.sleep(0.3)
        tool("mouseup", 1)


def tool(*words: object) -> None:
    subprocess.run(["xdotool", *map(str, words)], check=True)


def _middle(rect: list[int]) -> tuple[int, int]:
    x, y, width, height = rect
    return x + width // 2, y + height // 2


class Walk:
    """The way, with a picture and a time at each stage."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        self.hand = Hand(args.out / "screen")
        self.stages: list[dict[str, Any]] = []
        self._since = time.monotonic()

    def go(self) -> None:
        """Go the whole way."""
        self.start()
        self.drop()
        self.open_finetune()
        self.train()
        self.follow("translated", "Translate with it", "Measure it")
        self.follow("measured", "Measure it", "Evaluate the run")
        self.judge()

    def start(self) -> None:
        """Wait for an empty window."""
        self.hand.wait("Plugins", "menu")
        window = subprocess.run(
            ["xdotool", "search", "--onlyvisible", "--name", "napari"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        if window:  # without a window manager nobody else gives it the keyboard
            tool("windowfocus", window[-1])
        self.stage("empty")

    def drop(self) -> None:
        """Drag the folder from a window of files to the canvas."""
        (canvas,) = [one for one in self.hand.shown() if one["kind"] == "canvas"]
        with files_window(self.args.data, self.hand.folder) as place:
            self.hand.drag(place, canvas)
            # napari reads folders itself too, so it asks; the plugin is chosen already.
            self.hand.wait("OK", "button")
            self.picture("napari asks")
        self.hand.click("OK", "button")
        self.hand.wait("layers", "list")
        time.sleep(2)
        self.stage("opened")

    def open_finetune(self) -> None:
        """Open the first dock from the menu."""
        self.hand.click("Plugins", "menu")
        if self.hand.find(PLUGIN, "action") is not None:
            self.hand.hover(PLUGIN, "action")
        self.hand.click("Fine-tune", "action")
        self.hand.wait("Start fine-tuning", "button")
        time.sleep(2)  # what the machine is like is asked of a process of its own
        self.stage("fine-tune")

    def train(self) -> None:
        """Start the training, and wait for its end."""
        if self.args.steps:
            self.hand.type("Steps", "field", str(self.args.steps))
        self.hand.click("Start fine-tuning", "button")
        time.sleep(10)
        self.picture("training")
        self.hand.wait("Translate with it", "button", self.failure)
        self.stage("trained")

    def follow(self, stage: str, name: str, then: str) -> None:
        """Press the button that leads on, and wait for the one that leads further."""
        self.hand.click(name, "button")
        time.sleep(10)
        self.picture(f"{stage}-on-the-way")
        self.hand.wait(then, "button", self.failure)
        while any(one["name"].startswith("Drawing") for one in self.hand.shown()):
            time.sleep(0.5)
        time.sleep(2)
        self.stage(stage)

    def judge(self) -> None:
        """Press the last button, and wait for the verdict."""
        self.hand.click("Evaluate the run", "button")
        time.sleep(10)
        self.picture("judged-on-the-way")
        self.hand.wait("Open the report", "button", self.failure)
        time.sleep(2)
        self.stage("judged")

    def failure(self) -> str:
        """Return what a dock says of a job that has failed."""
        told = [one["name"] for one in self.hand.shown() if one["kind"] == "label"]
        return next((text for text in told if "has failed" in text), "")

    def stage(self, name: str) -> None:
        """End a stage: its time, its clicks, a picture."""
        seconds = time.monotonic() - self._since
        done = sum(stage["clicks"] for stage in self.stages)
        clicks = len(self.hand.clicks) - done
        self.stages.append({"stage": name, "clicks": clicks, "s": round(seconds, 1)})
        print(f"{name}: {clicks} clicks, {seconds:.0f} s", flush=True)
        self.picture(name)
        self._since = time.monotonic()

    def picture(self, name: str) -> None:
        """Take a picture of the whole screen."""
        self._pictures = getattr(self, "_pictures", 0) + 1
        path = self.args.out / f"{self._pictures:02}-{name}.png"
        subprocess.run(["import", "-window", "root", str(path)], check=True)

    def report(self) -> str:
        """Write down the stages, and return them as a table."""
        to_open = sum(s["clicks"] for s in self.stages if s["stage"] in ("empty", "opened"))
        clicks = self.hand.clicks[to_open:]
        lines = [
            f"# {self.args.data.name}",
            "",
            "| stage | clicks | s |",
            "|---|---|---|",
            *(f"| {s['stage']} | {s['clicks']} | {s['s']} |" for s in self.stages),
            "",
            f"To open: a folder dropped, {', '.join(self.hand.clicks[:to_open])}.",
            f"From there {len(clicks)} clicks (goal: {MOST_CLICKS}): {', '.join(clicks)}.",
        ]
        if self.hand.aside:
            lines.append(f"To save time, not counted: {', '.join(self.hand.aside)}.")
        result = {"stages": self.stages, "clicks": clicks, "aside": self.hand.aside}
        (self.args.out / "walk.json").write_text(json.dumps(result, indent=1))
        return "\n".join(lines) + "\n"


@contextmanager
def napari_process(args: argparse.Namespace, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start napari in a home folder of its own, as for somebody who has never used it."""
    home = args.out / "home"
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "NAPARI_CONFIG": ""}
    command = [sys.executable, __file__, "--napari", str(folder), "--theme", args.theme]
    command += ["--font", str(args.font)]
    with (args.out / "napari.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(20)
            process.kill()
            process.wait()


@contextmanager
def files_window(data: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Open a window with a folder that can be dragged; gives the folder's place on the screen."""
    place = folder / "files.json"
    place.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--files", str(folder), str(data)]
    process = subprocess.Popen(command)
    try:
        while not place.exists():
            if process.poll() is not None:
                raise SystemExit("the window of files did not open")
            time.sleep(0.1)
        time.sleep(0.5)
        yield json.loads(place.read_text())
    finally:
        process.terminate()
        process.wait()


def some_of(data: Path, folder: Path, n_images: int) -> Path:
    """Link to a few images of each condition, far apart in the alphabet."""
    shutil.rmtree(folder, ignore_errors=True)
    for condition in sorted(path for path in data.iterdir() if path.is_dir()):
        files = sorted(path for path in condition.iterdir() if path.suffix in (".tif", ".tiff"))
        (folder / condition.name).mkdir(parents=True)
        for file in files[:: max(1, len(files) // n_images)][:n_images]:
            (folder / condition.name / file.name).symlink_to(file)
    return folder


# ---- in the napari process -----------------------------------------------------------------------


def run_napari(folder: Path, theme: str, font: int) -> None:
    """Start napari with nothing in it, and answer what can be seen when a file asks for it."""
    import napari
    from napari.settings import get_settings
    from qtpy.QtCore import QTimer

    get_settings().appearance.theme = theme
    if font:
        get_settings().appearance.font_size = font
    viewer = napari.Viewer(show=True)
    window = viewer.window._qt_window
    screen = window.screen().availableGeometry()
    window.setGeometry(screen)

    def answer() -> None:
        ask = folder / _ASK
        if ask.exists():
            ask.unlink()
            text = json.dumps(list(seen(viewer)))
            (folder / "aside").write_text(text)
            (folder / "aside").rename(folder / _SHOWN)

    timer = QTimer()
    timer.setInterval(50)
    timer.timeout.connect(answer)
    timer.start()
    napari.run()


def seen(viewer: Any) -> Iterator[dict[str, Any]]:
    """Yield what can be seen, and where it is on the screen."""
    from qtpy.QtCore import QPoint
    from qtpy.QtWidgets import (
        QAbstractButton,
        QAbstractSpinBox,
        QApplication,
        QComboBox,
        QLabel,
        QMenu,
        QMenuBar,
    )

    from napari_phenldiff.widgets.parts.figure_view import FigureView

    kinds = (
        (QAbstractButton, "button"),
        (QAbstractSpinBox, "field"),
        (QComboBox, "list"),
        (QLabel, "label"),
    )

    def entry(name: str, kind: str, widget: Any, rect: Any, enabled: bool = True) -> dict[str, Any]:
        corner = widget.mapToGlobal(QPoint(rect.x(), rect.y()))
        place = [corner.x(), corner.y(), rect.width(), rect.height()]
        return {"name": name.replace("&", ""), "kind": kind, "rect": place, "enabled": enabled}

    canvas = viewer.window._qt_viewer.canvas.native
    yield entry("canvas", "canvas", canvas, canvas.rect())
    if len(viewer.layers):
        yield entry("layers", "list", canvas, canvas.rect())
    for top in QApplication.topLevelWidgets():
        if not top.isVisible():
            continue
        yield entry(top.windowTitle(), "window", top, top.rect())
        for widget in (top, *top.findChildren((QMenuBar,)), *top.findChildren(QAbstractButton)):
            if isinstance(widget, (QMenuBar, QMenu)) and widget.isVisible():
                kind = "action" if isinstance(widget, QMenu) else "menu"
                for action in widget.actions():
                    area = widget.actionGeometry(action)
                    if not area.isEmpty():
                        name = action.text().split("…")[0].split("(")[0].strip()
                        yield entry(name, kind, widget, area, action.isEnabled())
        for view in top.findChildren(FigureView):
            if view.busy and not view.visibleRegion().isEmpty():
                yield entry("Drawing", "label", view, view.rect())
        for kind_of, kind in kinds:
            for widget in top.findChildren(kind_of):
                area = widget.visibleRegion().boundingRect()
                if widget.isVisible() and not area.isEmpty():
                    text = widget.text() if hasattr(widget, "text") and kind != "field" else ""
                    name = text or widget.accessibleName()
                    yield entry(name, kind, widget, area, widget.isEnabled())


def run_files(folder: Path, data: Path) -> None:
    """Show a window with one folder in it, which can be dragged like in a file manager."""
    from qtpy.QtCore import QMimeData, QPoint, Qt, QUrl
    from qtpy.QtGui import QDrag, QMouseEvent
    from qtpy.QtWidgets import QApplication, QLabel

    class Icon(QLabel):
        def mouseMoveEvent(self, event: QMouseEvent) -> None:
            content = QMimeData()
            content.setUrls([QUrl.fromLocalFile(str(data))])
            drag = QDrag(self)
            drag.setMimeData(content)
            drag.exec(Qt.DropAction.CopyAction)

    app = QApplication(sys.argv[:1])
    icon = Icon(f"  {data.name}  ")
    icon.setWindowTitle("Files")
    screen = app.primaryScreen().availableGeometry()
    icon.setGeometry(screen.width() - 300, screen.height() - 140, 280, 120)
    icon.show()
    icon.raise_()
    app.processEvents()
    corner = icon.mapToGlobal(QPoint(0, 0))
    place = {"rect": [corner.x(), corner.y(), icon.width(), icon.height()]}
    (folder / "aside").write_text(json.dumps(place))
    (folder / "aside").rename(folder / "files.json")
    app.exec()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=0, help="of the training (default: its own)")
    parser.add_argument("--images", type=int, default=0, help="of each condition (default: all)")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--font", type=int, default=0, help="size of napari's font")
    parser.add_argument("--napari", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.napari is not None:
        run_napari(args.napari, args.theme, args.font)
        return
    if args.files is not None:
        run_files(args.files, args.data)
        return
    if args.data is None or args.out is None:
        parser.error("DATA and --out are needed")
    missing = [name for name in ("xdotool", "import") if shutil.which(name) is None]
    if missing or not os.environ.get("DISPLAY"):
        parser.error(f"this needs X11, xdotool and ImageMagick; missing: {missing or 'a display'}")
    args.data, args.out = args.data.resolve(), args.out.resolve()
    if args.images:
        args.data = some_of(args.data, args.out / "data" / args.data.name, args.images)
    walk = Walk(args)
    walk.hand.folder.mkdir(parents=True, exist_ok=True)
    try:
        with napari_process(args, walk.hand.folder):
            try:
                walk.go()
            except BaseException:
                walk.picture("failed")
                raise
    finally:
        text = walk.report()
        (args.out / "walk.md").write_text(text)
        print(f"\n{text}")


if __name__ == "__main__":
    main()
