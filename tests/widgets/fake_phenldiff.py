"""Stands in for ``phenldiff``: the same arguments, folders and events, and no model.

What it does is told by the environment variable ``FAKE_PHENLDIFF``, a JSON object: ``steps``,
``delay`` (seconds per step), and ``end``: ``"finish"``, ``"crash"``, ``"refuse"``, ``"fail"``,
``"memory"`` or ``"disk"``.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import sys
import time
from pathlib import Path

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import read_image, tiff_files, write_tiff
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import (
    Event,
    Failed,
    Finished,
    Loading,
    Progress,
    Step,
    append_event,
)
from napari_phenldiff.runs.failures import explain
from napari_phenldiff.runs.folder import Run

PLAN = {"steps": 4, "delay": 0.01, "end": "finish", **json.loads(os.environ["FAKE_PHENLDIFF"])}


def end_early() -> None:
    if PLAN["end"] == "crash":
        sys.stderr.write("CUDA error: an illegal memory access was encountered\n")
        os._exit(139)
    if PLAN["end"] == "refuse":
        sys.stderr.write("phenldiff: The images are not to my taste; give others.\n")
        sys.exit(2)


def shortage(place: Path) -> str:
    """Return what ``phenldiff`` says when memory or room on the disk runs out."""
    if PLAN["end"] == "memory":
        return explain(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    return explain(OSError(errno.ENOSPC, "No space left on device", str(place)))


def train(args: argparse.Namespace) -> None:
    if args.resume:
        run = Run.open(args.resume)
    else:
        conditions = (args.source, args.target)
        experiment = Experiment.from_folder(args.data, conditions=conditions).select(conditions)
        config = TrainingConfig(conditions=conditions, steps=args.steps)
        scaling = IntensityScaling.fit(experiment.images)
        run = Run.from_experiment(args.out, config, experiment=experiment, scaling=scaling)
    with run.lock():
        run.clear_stop()
        run.append(Loading("Loading the base model"))
        before = max((e.step for e in run.events()[0] if isinstance(e, Step)), default=0)
        for step in range(before + 1, PLAN["steps"] + 1):
            if step == 3:
                end_early()
            if run.stop_requested:
                run.save_adapter({"adapter.safetensors": b"weights"})
                run.append(Finished(step - 1, stopped=True))
                return
            time.sleep(PLAN["delay"])
            left = (PLAN["steps"] - step) * PLAN["delay"]
            run.append(Step(step, PLAN["steps"], 1 / step, left))
        if PLAN["end"] == "fail":
            run.append(Failed("There is not enough memory: use a smaller batch size."))
            sys.exit(1)
        if PLAN["end"] in ("memory", "disk"):
            run.append(Failed(shortage(run.path)))
            sys.exit(1)
        run.save_adapter({"adapter.safetensors": b"weights"})
        run.append(Finished(PLAN["steps"]))


def translate(args: argparse.Namespace) -> None:
    def tell(event: Event) -> None:
        append_event(args.out / "events.jsonl", event)

    args.out.mkdir(parents=True)
    tell(Loading("Loading the model"))
    files = tiff_files(args.input)
    for done, file in enumerate(files, 1):
        if done == 1:
            end_early()
        time.sleep(PLAN["delay"])
        if PLAN["end"] in ("memory", "disk"):
            tell(Failed(shortage(args.out)))
            sys.exit(1)
        image = read_image(file)
        write_tiff(args.out / "reconstructed" / file.name, image)
        image.data[-1] = 255 - image.data[-1]
        write_tiff(args.out / "translated" / file.name, image)
        tell(Progress(done, len(files), image.name, 0.0))
    record = {"images": [{"image": file.stem, "residual": 1e-6} for file in files]}
    (args.out / "translation.json").write_text(json.dumps(record))
    tell(Finished(len(files)))


def main() -> None:
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    trainer = commands.add_parser("train")
    trainer.add_argument("data", nargs="?", type=Path)
    trainer.add_argument("--resume", type=Path)
    translator = commands.add_parser("translate")
    translator.add_argument("run", type=Path)
    translator.add_argument("input", type=Path)
    for command in (trainer, translator):
        command.add_argument("--source")
        command.add_argument("--target")
        command.add_argument("--out", type=Path)
    trainer.add_argument("--steps", type=int)
    args, _ = parser.parse_known_args()
    (train if args.command == "train" else translate)(args)


if __name__ == "__main__":
    main()
