"""The cost of the plugin in napari: responsiveness, opening times, memory and leaks.

    xvfb-run -a -s "-screen 0 1600x1000x24" python benchmarks/viewer_limits.py --out DIR \
        [--data bbbc013_translocation] [--seconds 60] [--steps 60] [--idle] [--short]
        [--only tick,open,pauses,memory,cycles]

Writes DIR/viewer_limits.md and .json, and prints a table of each part and one of all limits. With
`--short` everything is done a few times only: for a look at whether it works. Pauses are judged by
the time that the GUI's thread was computing; with `--idle`, on a machine on which nothing else
runs, by the clock.

tick
    A timer of 10 ms in the GUI's thread; the time from one tick to the next, its 95th percentile
    and its maximum, in ms. Measured in a window with the images open: idle; with the Fine-tune dock
    open while a real training (bundled base, LoRA, default batch size, a preview every 5 steps)
    runs in its child process, counted from its first step. The limits are 33 and 150 ms.
open
    From asking napari for a dock to the dock being painted, in s, each in a fresh process with an
    empty window that is already there; and whether torch was imported. The limit is 1 s. Measure
    also in a window in which 400 tiles are open, where the limit is 1.5 s.
pauses
    The longest turn of the event loop, in ms, while a translation's layers are added, objects are
    measured and their layers added, and figures are drawn and shown, of 96 images a group; how long
    400 tiles take to open, in s. Each is told as time on the clock, and as time that the GUI's
    thread was computing, which is what counts on a machine that others use too. The limits are
    150 ms and 1.5 s.
memory
    Resident memory of the viewer's process before and after a training of `--steps` steps and a
    translation, and how many child processes are left, 10 s after the end.
cycles
    Each dock opened and closed 100 times; 50 translations by a stand-in that answers at once, the
    layers removed each time; and for comparison, a dock and layers that have nothing to do with the
    plugin. Resident memory is told twice: as it is, and after the C library has been asked to give
    back what it keeps for the next time. What is alive then, over what was alive after the first
    10: growth in percent. The limit is 5 %, or what napari itself grows by with plain layers.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

os.environ.setdefault("NAPARI_CONFIG", "")

import napari
import numpy as np
import psutil
from qtpy.QtCore import QCoreApplication, QEvent, QEventLoop, QThread, QThreadPool, QTimer
from qtpy.QtWidgets import QApplication, QSpinBox, QVBoxLayout, QWidget

from napari_phenldiff.images.simulate import simulate_images
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.jobs import process as child_processes
from napari_phenldiff.jobs.job import Job, JobState
from napari_phenldiff.viewer.model_session import session_of
from napari_phenldiff.viewer.turns import adding

PLUGIN = "napari-phenldiff"
DOCKS = ("Fine-tune", "Translate", "Measure", "Evaluate")
STAND_IN = Path(__file__).parents[1] / "tests" / "widgets" / "fake_phenldiff.py"
P95, LONGEST, OPEN_SECONDS, TILES_SECONDS, GROWTH = 33.0, 150.0, 1.0, 1.5, 5.0
_MIB = 1024**2

Row = dict[str, Any]


def spin(seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
    """Process events for a while; returns whether `until` became true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        if until():
            return True
        time.sleep(0.001)
    return until()


# ---- smoothness ----------------------------------------------------------------------------------


def ticks(seconds: float, until: Callable[[], bool] = lambda: False) -> np.ndarray:
    """Return the intervals between the ticks of a 10 ms timer, in ms, in Qt's own event loop."""
    times: list[float] = []
    loop = QEventLoop()  # not the application's: to leave that one closes all windows
    end = time.monotonic() + seconds

    def tick() -> None:
        times.append(time.perf_counter())
        if time.monotonic() > end or (len(times) % 20 == 0 and until()):
            loop.quit()

    timer = QTimer()
    timer.setInterval(10)
    timer.timeout.connect(tick)
    timer.start()
    loop.exec()
    timer.stop()
    return np.diff(times) * 1000


def tick_row(what: str, intervals: np.ndarray) -> Row:
    p95, longest = float(np.percentile(intervals, 95)), float(intervals.max())
    return {
        "what": what,
        "ticks": len(intervals),
        "p95 ms": round(p95, 1),
        "max ms": round(longest, 1),
        "held": p95 <= P95 and longest <= LONGEST,
    }


def measure_ticks(data: Path, seconds: float) -> list[Row]:
    with window(data) as viewer, tempfile.TemporaryDirectory() as folder:
        rows = [tick_row("idle", ticks(min(seconds, 10)))]
        dock = open_dock(viewer, "Fine-tune")
        rows.append(tick_row("idle, dock open", ticks(min(seconds, 10))))
        job = start_training(dock, Path(folder) / "run", steps=100_000)
        reached = spin(300, lambda: len(job.losses) > 0 or not job.state.live)
        if not reached or not job.state.live:
            raise SystemExit(f"the training did not start: {job.message}")
        rows.append(tick_row("training", ticks(seconds, lambda: not job.state.live)))
        rows[-1]["steps"] = len(job.losses)
        stop(job)
    return rows


# ---- pauses --------------------------------------------------------------------------------------


def turns(begin: Callable[[], object], done: Callable[[], bool], after: float = 1.5) -> np.ndarray:
    """Return clock and computing time of each turn of the event loop, in ms, as (N, 2).

    Parameters
    ----------
    begin : callable
        Called in the loop.
    done : callable
        Asked now and then whether what was begun is done.
    after : float
        Seconds to go on after that.
    """
    times: list[tuple[float, float]] = []
    loop = QEventLoop()
    end = [time.monotonic() + 240]

    def tick() -> None:
        times.append((time.perf_counter(), time.thread_time()))
        if time.monotonic() > end[0]:
            loop.quit()
        elif after >= 0 and len(times) > 10 and len(times) % 5 == 0 and done():
            end[0] = min(end[0], time.monotonic() + after)

    timer = QTimer()
    timer.setInterval(5)
    timer.timeout.connect(tick)
    timer.start()
    QTimer.singleShot(20, begin)
    loop.exec()
    timer.stop()
    return np.diff(times, axis=0) * 1000


def pause_row(what: str, found: np.ndarray, *, idle: bool) -> Row:
    clock, computing = found.max(axis=0)
    return {
        "what": what,
        "turns": len(found),
        "longest ms": round(float(clock), 1),
        "computing ms": round(float(computing), 1),
        "held": bool((clock if idle else computing) <= LONGEST),
    }


def measure_pauses(n_images: int, *, idle: bool) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        data = simulated(Path(folder) / "data", n_images)
        tiles = simulated(Path(folder) / "tiles", 200)
        with window(data) as viewer:
            names = [str(path) for path in sorted(tiles.iterdir())]
            began, computed = time.perf_counter(), time.thread_time()
            viewer.open(names, plugin=PLUGIN, stack=True)
            QApplication.processEvents()
            seconds = time.perf_counter() - began, time.thread_time() - computed
            opened = {
                "what": "400 tiles opened",
                "s": round(seconds[0], 2),
                "computing s": round(seconds[1], 2),
                "held": seconds[0 if idle else 1] <= TILES_SECONDS,
            }
        with window(data) as viewer, stand_in():

            def ended(job: Job | None) -> bool:
                return job is not None and not job.state.live and not adding(viewer)

            dock = open_dock(viewer, "Translate")
            run = Path(folder) / "run"
            job = start_training(open_dock(viewer, "Fine-tune"), run, steps=4)
            spin(300, lambda: not job.state.live)
            choose_run(dock, run)
            dock.fields.setCurrentIndex(dock.fields.count() - 1)
            rows = [
                pause_row(
                    f"translation of {n_images} images added",
                    turns(dock.start, lambda: ended(dock.job_foot.job)),
                    idle=idle,
                )
            ]
            close_docks(viewer)
            measuring = open_dock(viewer, "Measure")
            rows.append(
                pause_row(
                    f"objects of 4 x {n_images} images measured and added",
                    turns(measuring.start, lambda: ended(measuring.job_foot.job), 3.0),
                    idle=idle,
                )
            )
            job = measuring.job_foot.job
            if job.state is not JobState.FINISHED:
                raise SystemExit(f"measuring: {job.state}: {job.message}")
            page = measuring.results.figures
            for kind, button in page.buttons.items():
                if not button.isEnabled():
                    continue
                before = page.view.figure
                found = turns(
                    lambda kind=kind: page.choose(kind),
                    lambda before=before: (
                        page.view.figure not in (None, before) and not page.view.busy
                    ),
                )
                rows.append(pause_row(f"figure: {kind}", found, idle=idle))
        return [*rows, opened]


# ---- opening -------------------------------------------------------------------------------------

_OPEN = """
import json, sys, time
import napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer(show=True)
if len(sys.argv) > 2:
    viewer.open(sys.argv[2:], plugin="napari-phenldiff", stack=True)
for _ in range(20):
    QApplication.processEvents()
    time.sleep(0.02)
start = time.perf_counter()
_, dock = viewer.window.add_plugin_dock_widget("napari-phenldiff", sys.argv[1])
while not dock.isVisible():
    QApplication.processEvents()
QApplication.processEvents()
dock.repaint()
seconds = time.perf_counter() - start
print(json.dumps([seconds, "torch" in sys.modules]))
viewer.close()
"""


def measure_opening(times: int, tiles: Path) -> list[Row]:
    folders = [str(path) for path in sorted(tiles.iterdir())]
    rows = []
    for name, opened in (*((name, []) for name in DOCKS), ("Measure", folders)):
        limit = TILES_SECONDS if opened else OPEN_SECONDS
        found = []
        for _ in range(times):
            command = [sys.executable, "-c", _OPEN, name, *opened]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
        seconds = [entry[0] for entry in found]
        torch = any(entry[1] for entry in found)
        rows.append(
            {
                "what": f"{name}, 400 tiles open" if opened else name,
                "median s": round(float(np.median(seconds)), 2),
                "max s": round(max(seconds), 2),
                "torch imported": torch,
                "held": max(seconds) <= limit and not torch,
            }
        )
    return rows


# ---- memory --------------------------------------------------------------------------------------


def measure_memory(data: Path, steps: int) -> list[Row]:
    me = psutil.Process()
    rows = []
    with window(data) as viewer, tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        tuning, translating = open_dock(viewer, "Fine-tune"), open_dock(viewer, "Translate")
        spin(2)

        def around(what: str, begin: Callable[[], Job | None]) -> None:
            settle()
            before = me.memory_info().rss
            job = begin()
            largest = [0]

            def ended() -> bool:
                largest[0] = max(largest[0], sum(_rss(child) for child in me.children(True)))
                return job is None or not job.state.live

            spin(1800, ended)
            if job is not None and job.state is not JobState.FINISHED:
                raise SystemExit(f"{what}: {job.state}: {job.message}")
            spin(10, lambda: not me.children(recursive=True))
            settle()
            after, left = me.memory_info().rss, len(me.children(recursive=True))
            rows.append(
                {
                    "what": what,
                    "before MiB": round(before / _MIB),
                    "after MiB": round(after / _MIB),
                    "child MiB": round(largest[0] / _MIB),
                    "growth %": round(100 * (after / before - 1), 1),
                    "children left": left,
                }
            )

        around("training", lambda: start_training(tuning, run, steps=steps))

        def translate() -> Job:
            choose_run(translating, run)
            translating.start()
            return translating.job_foot.job

        around("translation", translate)
        around("translation, again", translate)
        # The model stays in memory for the next one; a fine-tuning, or ten minutes, let it go.
        session_of(viewer).free_memory()
        around("model let go", lambda: None)
    return rows


def _rss(child: psutil.Process) -> int:
    try:
        return child.memory_info().rss
    except psutil.Error:
        return 0


# ---- what stays behind ---------------------------------------------------------------------------


def measure_cycles(opens: int, translations: int, warm_up: int) -> list[Row]:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        data = simulated(Path(folder) / "data", 4)
        with window(data) as viewer:
            for name in DOCKS:

                def open_and_close(name: str = name) -> None:
                    open_dock(viewer, name)
                    spin(0.05)
                    close_docks(viewer)

                rows += growth(f"{name}: opened and closed", open_and_close, opens, warm_up, viewer)

            def plain_dock() -> None:
                box = QWidget()
                layout = QVBoxLayout(box)
                for _ in range(20):
                    layout.addWidget(QSpinBox())
                dock = viewer.window.add_dock_widget(box)
                spin(5, box.isVisible)
                spin(0.05)
                viewer.window.remove_dock_widget(dock)

            def plain_layers() -> None:
                layers = [viewer.add_image(np.zeros((4, 128, 128), np.uint8)) for _ in range(6)]
                spin(0.1)
                for layer in layers:
                    viewer.layers.remove(layer)
                spin(0.3)  # as long as a translation leaves napari for tidying up

            # What napari itself keeps, to hold the rest against.
            rows += growth("napari: plain dock of 20 boxes", plain_dock, opens, warm_up, viewer)
            own = growth("napari: 6 plain layers", plain_layers, translations, warm_up, viewer)
            rows += own
        with window(data) as viewer, stand_in():
            run = Path(folder) / "run"
            tuning = open_dock(viewer, "Fine-tune")
            job = start_training(tuning, run, steps=4)
            spin(120, lambda: not job.state.live)
            dock = open_dock(viewer, "Translate")
            choose_run(dock, run)

            def translate() -> None:
                real = set(viewer.layers)
                dock.start()
                job = dock.job_foot.job
                spin(60, lambda: not job.state.live)
                if job.state is not JobState.FINISHED:
                    raise SystemExit(f"translation: {job.state}: {job.message}")
                spin(0.1)
                for layer in [layer for layer in viewer.layers if layer not in real]:
                    viewer.layers.remove(layer)

            found = growth("translated, layers removed", translate, translations, warm_up, viewer)
            for row, theirs in zip(found, own, strict=True):
                if row["of"].startswith("resident"):
                    row["held"] = row["growth %"] <= max(GROWTH, theirs["growth %"])
            rows += found
    return rows


def growth(
    what: str, cycle: Callable[[], None], times: int, warm_up: int, viewer: napari.Viewer
) -> list[Row]:
    for _ in range(min(warm_up, times - 1)):
        cycle()
    spin(10, lambda: not psutil.Process().children())  # what a first dock asks another process
    before = alive(viewer)
    for _ in range(times - min(warm_up, times - 1)):
        cycle()
    after = alive(viewer)
    rows = []
    for kind, count in after.items():
        grown = 100 * (count - before[kind]) / max(before[kind], 1)
        rows.append(
            {
                "what": what,
                "times": times,
                "of": kind,
                "before": before[kind],
                "after": count,
                "growth %": round(grown, 1),
                "held": grown <= GROWTH,
            }
        )
    return rows


def alive(viewer: napari.Viewer) -> dict[str, int]:
    """Count objects that should not accumulate."""
    from napari.layers.utils import _link_layers

    settle()
    return {
        "links of layers": len(_link_layers._UNLINKERS),
        "callbacks": callbacks(viewer),
        "Python threads": threading.active_count(),
        "Qt threads": sum(isinstance(o, QThread) and o.isRunning() for o in gc.get_objects())
        + QThreadPool.globalInstance().activeThreadCount(),
        "widgets": sum(isinstance(w, QWidget) for w in QApplication.allWidgets()),
        "open files": psutil.Process().num_fds() if hasattr(psutil.Process, "num_fds") else 0,
        "resident MiB": round(psutil.Process().memory_info().rss / _MIB),
        "resident MiB, in use": round(_in_use() / _MIB),
    }


def _in_use() -> int:
    """Return the resident memory without what the C library keeps for the next time (Linux)."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss


def callbacks(viewer: napari.Viewer) -> int:
    """Count the callbacks on the viewer and its layers."""
    models = [viewer, viewer.layers, viewer.layers.selection, viewer.dims, viewer.canvas.grid]
    groups = [model.events for model in (*models, *viewer.layers)]
    return sum(
        len(emitter.callbacks) for group in groups for emitter in (group, *group.emitters.values())
    )


def settle() -> None:
    """Process pending deletions and collect garbage."""
    for _ in range(3):
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        QApplication.processEvents()
        gc.collect()
        spin(0.1)


# ---- the window ----------------------------------------------------------------------------------


@contextmanager
def window(data: Path) -> Any:
    viewer = napari.Viewer(show=True)
    viewer.window._qt_window.resize(1500, 950)
    folders = sorted(str(path) for path in data.iterdir() if path.is_dir())[:2]
    viewer.open(folders, plugin=PLUGIN, stack=True)
    spin(1)
    try:
        yield viewer
    finally:
        close_docks(viewer)
        viewer.close()
        settle()


def open_dock(viewer: napari.Viewer, name: str) -> Any:
    _, dock = viewer.window.add_plugin_dock_widget(PLUGIN, name)
    spin(5, dock.isVisible)
    return dock


def close_docks(viewer: napari.Viewer) -> None:
    for dock in list(viewer.window._wrapped_dock_widgets.values()):
        if PLUGIN in dock.name:
            viewer.window.remove_dock_widget(dock)


def choose_run(dock: Any, run: Path) -> None:
    dock.run_field.set_path(run)
    spin(1, lambda: dock.validation_error() is None)


def start_training(dock: Any, out: Path, *, steps: int) -> Job:
    dock.out.set_path(out)
    dock.steps.setValue(steps)
    # Where the number of steps between previews can be chosen.
    previews = next((box for box in dock.findChildren(QSpinBox) if _is_about_previews(box)), None)
    if previews is not None:
        previews.setValue(5)
    spin(5, lambda: dock.validation_error() is None)
    dock.start()
    if dock.job_foot.job is None:
        raise SystemExit(f"the training can't start: {dock.validation_error()}")
    return dock.job_foot.job


def _is_about_previews(box: QSpinBox) -> bool:
    return "preview" in box.accessibleName().lower()


def stop(job: Job) -> None:
    job.stop()
    spin(30, lambda: not job.state.live)
    if job.state.live:
        job.stop()
        spin(10, lambda: not job.state.live)


@contextmanager
def stand_in() -> Any:
    """Replace child processes by the tests' stand-in, which answers at once and needs no torch."""
    os.environ["FAKE_PHENLDIFF"] = json.dumps({"steps": 2, "delay": 0})
    real = subprocess.Popen

    def popen(command: Sequence[str], *args: Any, **options: Any) -> Any:
        words = list(command)
        if words[1:3] == ["-m", "napari_phenldiff"]:
            words[1:3] = [str(STAND_IN)]
        return real(words, *args, **options)

    class Module:
        Popen = staticmethod(popen)

        def __getattr__(self, name: str) -> Any:
            return getattr(subprocess, name)

    child_processes.subprocess = Module()  # type: ignore[assignment]
    try:
        yield
    finally:
        child_processes.subprocess = subprocess


def simulated(folder: Path, n_images: int) -> Path:
    for name, side in (("untreated", "source"), ("treated", "target")):
        for image in simulate_images("translocation", side, n_images):
            write_tiff(folder / name / f"{image.name}.tif", image)
    return folder


# ---- what is told --------------------------------------------------------------------------------


def limits(result: Mapping[str, Sequence[Row]]) -> list[Row]:
    """Return a row for each limit: what it is, what was reached, whether it was held."""

    def worst(what: str, column: str, limit: object, rows: Sequence[Row]) -> None:
        known = [row for row in rows if column in row]
        if known:
            row = max(known, key=lambda row: row[column])
            reached = f"{row[column]:g} ({row['what']})"
            held = all(row.get("held", True) for row in known)
            told.append({"what": what, "limit": limit, "reached": reached, "held": held})

    told: list[Row] = []
    opened = result.get("open", [])
    tiles = [row for row in opened if "tiles" in row["what"]]
    worst("dock opened, s", "max s", OPEN_SECONDS, [r for r in opened if r not in tiles])
    worst("Measure opened beside 400 tiles, s", "max s", TILES_SECONDS, tiles)
    pauses = result.get("pauses", [])
    worst("400 tiles opened, s", "s", TILES_SECONDS, pauses)
    for words, column in (("on the clock", "longest ms"), ("computing", "computing ms")):
        worst(f"longest pause, {words}, ms", column, LONGEST, pauses)
    trained = [row for row in result.get("tick", []) if row["what"] == "training"]
    worst("event loop while training, p95, ms", "p95 ms", P95, trained)
    worst("event loop while training, longest, ms", "max ms", LONGEST, trained)
    cycles = result.get("cycles", [])
    ours = [row for row in cycles if not row["what"].startswith("napari")]
    for kind in dict.fromkeys(row["of"] for row in ours):
        some = [row for row in ours if row["of"] == kind]
        worst(f"growth of {kind}, %", "growth %", f"{GROWTH:g}, or napari's", some)
    left = result.get("memory", [])[-1:]
    worst("processes left", "children left", 0, left)
    return told


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [row.get(column, "") for column in columns]
        words = ("yes" if c is True else "no" if c is False else str(c) for c in cells)
        lines.append("| " + " | ".join(words) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="folder of two conditions (default: simulated)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of ticks while training")
    parser.add_argument("--steps", type=int, default=60, help="of the training for its memory")
    parser.add_argument("--idle", action="store_true", help="nothing else runs: judge by the clock")
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="tick,open,pauses,memory,cycles")
    args = parser.parse_args()
    short, parts = args.short, args.only.split(",")
    steps = 3 if short else args.steps
    args.out.mkdir(parents=True, exist_ok=True)
    result: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = args.data or simulated(Path(folder) / "few", 16)
        tiles = Path(folder) / "tiles"
        measures: dict[str, Callable[[], list[Row]]] = {
            "open": lambda: measure_opening(1 if short else 3, simulated(tiles, 200)),
            "pauses": lambda: measure_pauses(8 if short else 96, idle=args.idle),
            "tick": lambda: measure_ticks(data, 5.0 if short else args.seconds),
            "memory": lambda: measure_memory(data, steps),
            "cycles": lambda: measure_cycles(*((12, 8, 4) if short else (100, 50, 10))),
        }
        for part, measure in measures.items():
            if part in parts:
                result[part] = measure()
                print(f"\n## {part}\n\n{table(result[part])}", flush=True)
    result["limits"] = limits(result)
    print(f"\n## limits\n\n{table(result['limits'])}", flush=True)
    (args.out / "viewer_limits.json").write_text(json.dumps(result, indent=1))
    text = "\n\n".join(f"## {part}\n\n{table(rows)}" for part, rows in result.items())
    (args.out / "viewer_limits.md").write_text(f"# Limits in the viewer\n\n{text}\n")


if __name__ == "__main__":
    main()
