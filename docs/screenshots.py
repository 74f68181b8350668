"""Make the screenshots of the documentation by driving the real viewer through a real run.

Usage, where there is no screen in front of one::

    xvfb-run -a -s "-screen 0 1600x1000x24" python docs/screenshots.py --data DATA

DATA is a folder with one sub-folder of TIFFs per condition. Of each condition some images are held
out: the model is fine-tuned on the others, and only what is held out is translated and measured.
Without DATA, simulated images are used. With ``--run``, a run that exists already is shown instead
of making one; with that and ``--held-out 2 --inference-steps 4``, it takes the least time to see
whether everything is there.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import napari
import numpy as np
import PIL.Image
import PIL.ImageDraw
from qtpy.QtWidgets import QApplication, QTabBar

from napari_phenldiff.images.control_names import suggest_pair
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.simulate import get_phenotype, simulate_pairs
from napari_phenldiff.jobs.job import Job, JobState
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.viewer.turns import adding
from napari_phenldiff.widgets.finetune_dock import BASE_FOLDER, HUB
from napari_phenldiff.widgets.parts.turning import turning_of
from napari_phenldiff.widgets.translate_dock import ALL_FIELDS, CURRENT_FIELD

NAME = "napari-phenldiff"
SIZE = (1500, 920)

Conditions = dict[str, list[Image]]


def main(argv: Sequence[str] | None = None) -> int:
    """Make all screenshots."""
    args = parse(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    train, held_out = split(conditions(args), args)
    with tempfile.TemporaryDirectory(prefix="phenldiff-docs-") as folder:
        viewer = napari.Viewer(show=True)
        viewer.theme = args.theme
        viewer.window.resize(*SIZE)
        try:
            Shots(viewer, args, Path(folder)).take(train, held_out)
        finally:
            viewer.close()
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder with a sub-folder per condition")
    parser.add_argument("--run", type=Path, help="show this run, do not make one")
    parser.add_argument("--base", default="bundled", help="base model to fine-tune")
    parser.add_argument("--steps", type=int, default=TrainingConfig.model_fields["steps"].default)
    parser.add_argument("--images", type=int, default=100, help="per condition, to train on")
    parser.add_argument("--held-out", type=int, default=12, help="per condition, to translate")
    parser.add_argument(
        "--hold-out-pattern",
        default="",
        help="names of the images to hold out, as a regular expression; else the last ones are",
    )
    parser.add_argument("--inference-steps", type=int, default=50)
    parser.add_argument("--field", type=int, default=0, help="which held-out image is shown")
    parser.add_argument("--profile", default="translocation")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("images"))
    return parser.parse_args(argv)


def conditions(args: argparse.Namespace) -> Conditions:
    if args.data is not None:
        experiment = Experiment.from_folder(args.data)
        return {condition.name: list(condition.images) for condition in experiment.conditions}
    kind = get_phenotype("translocation")
    count = args.images + args.held_out
    pairs = list(simulate_pairs(kind.name, 2 * count))
    return {
        kind.source: [pair.source for pair in pairs[:count]],
        kind.target: [pair.target for pair in pairs[count:]],
    }


def split(found: Conditions, args: argparse.Namespace) -> tuple[Conditions, Conditions]:
    """Part the images of two conditions into those to train on and those held out."""
    names = list(found)
    train: Conditions = {}
    held_out: Conditions = {}
    for index in suggest_pair(names) or sys.exit("there are fewer than two conditions"):
        images = found[names[index]]
        if args.hold_out_pattern:
            held = [i for i in images if re.search(args.hold_out_pattern, i.name)]
            rest = [i for i in images if not re.search(args.hold_out_pattern, i.name)]
        else:
            held, rest = images[-args.held_out :], images[: -args.held_out]
        train[names[index]], held_out[names[index]] = rest[: args.images], held[: args.held_out]
    return train, held_out


class Shots:
    """The way through the docks, with a picture at each stop."""

    def __init__(self, viewer: napari.Viewer, args: argparse.Namespace, folder: Path) -> None:
        self.viewer, self.args = viewer, args
        self.run = args.run or folder / "run"
        self.docks: dict[str, Any] = {}
        for name in ("Fine-tune", "Translate", "Measure"):
            dock, self.docks[name] = viewer.window.add_plugin_dock_widget(
                NAME, name, tabify=bool(self.docks)
            )
            # As the menu names them.
            dock.setWindowTitle(f"{name} (PhenLDiff)")

    def take(self, train: Conditions, held_out: Conditions) -> None:
        """Open, fine-tune, translate, compare, measure."""
        self.open(train)
        self.fine_tune()
        self.viewer.layers.clear()
        self.open(held_out)
        self.translate()
        self.compare()
        self.measure()
        self.turn()

    def open(self, images: Conditions) -> None:
        """Open images and show the wanted one."""
        for data, arguments, _ in experiment_layers(images):
            self.viewer.add_image(data, **arguments)
        if self.viewer.dims.ndim > 2:
            self.viewer.dims.set_current_step(0, self.args.field)
        self.viewer.reset_view()

    def fine_tune(self) -> None:
        """Fine-tune on the open layers; one picture before, one on the way."""
        dock = self.show("Fine-tune")
        if self.args.base != "bundled":
            is_folder = Path(self.args.base).is_dir()
            dock.base_kind.setCurrentText(BASE_FOLDER if is_folder else HUB)
            dock.base_folder.set_path(Path(self.args.base))
            dock.base_hub.setText(self.args.base)
        dock.steps.setValue(self.args.steps)
        self.shot("load")
        if self.args.run is not None:
            return
        dock.out.set_path(self.run)
        dock.start()
        job = dock.job_foot.job
        wait_for(lambda: job.done >= 0.6 * self.args.steps or not job.state.live)
        dock.settings.go_to_previews.click()
        self.shot("fine-tune")
        self.end(job)

    def translate(self) -> None:
        """Translate all open source images."""
        dock = self.show("Translate")
        dock.run_field.set_path(self.run)
        dock.fields.setCurrentText(ALL_FIELDS)
        dock.inference_steps.setValue(self.args.inference_steps)
        dock.start()
        self.end(dock.job_foot.job)
        self.shot("translate")

    def compare(self) -> None:
        """Show real, reconstructed and translated side by side."""
        dock = self.docks["Translate"]
        wait_for(dock.compare.isEnabled)
        dock.compare.click()
        self.shot("compare")
        dock.compare.click()

    def turn(self) -> None:
        """Turn the dial from the source to the target and beyond, as an animation."""
        dock = self.show("Translate")
        turning = turning_of(self.viewer)
        frames = []
        dock.fields.setCurrentText(CURRENT_FIELD)
        dock.start()
        self.end(dock.job_foot.job)
        wait_for(dock.compare.isEnabled)
        dock.compare.click()
        for strength in [*np.arange(0, 2.01, 0.25), *np.arange(1.75, -0.01, -0.25)]:
            dock.strength.slider.setValue(strength)
            wait_for(lambda: not turning.busy)
            settle(0.3)
            picture = self.viewer.screenshot(canvas_only=True, flash=False)[..., :3]
            frames.append(labelled(picture, f"strength {strength:.2f}"))
        dock.compare.click()
        path = self.args.out / "dial.gif"
        save_animation(path, frames)
        print(f"wrote {path}")

    def measure(self) -> None:
        """Measure the four groups."""
        dock = self.show("Measure")
        dock.profile.setCurrentIndex(dock.profile.findData(self.args.profile))
        wait_for(lambda: dock.translation.currentData() is not None)
        dock.start()
        self.end(dock.job_foot.job)
        wait_for(lambda: dock.figure.figure is not None and not dock.figure.busy)
        self.shot("measure")

    def show(self, name: str) -> Any:
        """Bring a dock to the front."""
        settle(0.5)
        for bar in self.docks[name].window().findChildren(QTabBar):
            for index in range(bar.count()):
                if bar.tabText(index).startswith(name):
                    bar.setCurrentIndex(index)
        wait_for(self.docks[name].isVisible)
        return self.docks[name]

    def shot(self, name: str) -> None:
        """Write a picture of the whole window."""
        settle(0.8)
        path = self.args.out / f"{name}.png"
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        print(f"wrote {path}")

    def end(self, job: Job) -> None:
        """Wait until a job has ended well."""
        wait_for(lambda: not job.state.live and not adding(self.viewer))
        if job.state is not JobState.FINISHED:
            sys.exit(f"{job.title}: {job.state.value}. {job.message}")


def labelled(picture: np.ndarray, text: str) -> PIL.Image.Image:
    """Make a frame of an animation: smaller, with a line of text below."""
    frame = PIL.Image.fromarray(picture)
    frame.thumbnail((640, 640))
    image = PIL.Image.new("RGB", (frame.width, frame.height + 28))
    image.paste(frame)
    draw = PIL.ImageDraw.Draw(image)
    draw.text((10, frame.height + 4), text, fill="white", font_size=16)
    return image


def save_animation(path: Path, frames: list[PIL.Image.Image]) -> None:
    """Write frames as a GIF with one palette for all, so that nothing flickers."""
    sheet = PIL.Image.new("RGB", (frames[0].width, frames[0].height * len(frames)))
    for index, frame in enumerate(frames):
        sheet.paste(frame, (0, index * frame.height))
    # An octree gives rare colours a place too; the median cut drops them.
    palette = sheet.quantize(255, method=PIL.Image.Quantize.FASTOCTREE)
    indexed = [frame.quantize(palette=palette, dither=PIL.Image.Dither.NONE) for frame in frames]
    indexed[0].save(path, save_all=True, append_images=indexed[1:], duration=350, loop=0)


def wait_for(condition: Callable[[], bool]) -> None:
    """Keep the viewer going until a condition holds."""
    while not condition():
        settle(0.05)


def settle(seconds: float) -> None:
    """Keep the viewer going for a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    sys.exit(main())
