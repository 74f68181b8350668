"""Stands in for ``phenldiff job``: the same requests, folders and events, and no model.

What it does is told by the environment variable ``FAKE_PHENLDIFF``, a JSON object: ``steps``,
``delay`` (seconds per step or image), ``trained_on`` (whether to warn of that), and ``end``:
``"finish"``, ``"crash"``, ``"refuse"``, ``"fail"``, ``"memory"`` or ``"disk"``.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import read_image, tiff_files, write_tiff
from napari_phenldiff.jobs.requests import (
    EvaluateRequest,
    ResumeRequest,
    SessionRequest,
    TrainRequest,
    read_request,
)
from napari_phenldiff.runs.events import (
    Event,
    Failed,
    Finished,
    Loading,
    Preview,
    Progress,
    Step,
    Warned,
    append_event,
)
from napari_phenldiff.runs.failures import explain
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.hardware import Hardware
from napari_phenldiff.settings import in_message

PLAN = {
    "steps": 4,
    "delay": 0.01,
    "end": "finish",
    "trained_on": False,
    **json.loads(os.environ["FAKE_PHENLDIFF"]),
}


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


def train(request: TrainRequest | ResumeRequest) -> None:
    if isinstance(request, ResumeRequest):
        run = Run.open(request.run)
    else:
        names = request.config.conditions
        experiment = Experiment.from_folder(request.data, conditions=names).select(names)
        scaling = IntensityScaling.fit(experiment.images)
        run = Run.from_experiment(
            request.out, request.config, experiment=experiment, scaling=scaling
        )
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


def negative(image: Image, strength: float) -> Image:
    """Fade the last channel to its negative."""
    data = image.data.copy()
    plane = data[-1].astype(float)
    data[-1] = np.rint(plane + strength * (255 - 2 * plane)).astype(data.dtype)
    return replace(image, data=data, path=None)


def session(args: SessionRequest) -> None:
    requests: SimpleQueue[dict | None] = SimpleQueue()
    given_up: set[int] = set()
    arrived: list[int] = []

    def listen() -> None:
        for line in sys.stdin:
            request = json.loads(line)
            if request["do"] == "close":
                continue
            if request["do"] == "load":
                known = Hardware("cpu", "CPU, 2 cores", seconds=0.05).to_json()
                (args.folder / "hardware.json").write_text(known)
                continue
            if request["do"] == "cancel":
                given_up.update(arrived)
                continue
            if request["do"] == "strength":
                given_up.update(arrived)
            arrived.append(request["number"])
            requests.put(request)
        # Nobody is there any more.
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while request := requests.get():
        folder = args.folder / f"{request['number']:06d}"
        work = turn if request["do"] == "strength" else translate
        work(args.folder, folder, request, lambda number=request["number"]: number in given_up)


def wait(stopped: Callable[[], bool]) -> bool:
    """Take as long as planned, or until nobody waits any more; returns whether that is so."""
    until = time.monotonic() + PLAN["delay"]
    while time.monotonic() < until and not stopped():
        time.sleep(0.005)
    return stopped()


def translate(parent: Path, folder: Path, request: dict, stopped: Callable[[], bool]) -> None:
    def tell(event: Event) -> None:
        append_event(folder / "events.jsonl", event)

    tell(Loading("Loading the model"))
    if PLAN["trained_on"]:
        tell(Warned("The run was trained on 1 of these images."))
    files = tiff_files(folder / "images")
    for done, file in enumerate(files, 1):
        if done == 1:
            end_early()
        if wait(stopped):
            tell(Finished(done - 1, stopped=True))
            return
        if PLAN["end"] == "fail":
            tell(Failed("There is not enough memory: use a smaller batch size."))
            return
        if PLAN["end"] in ("memory", "disk"):
            tell(Failed(shortage(folder)))
            if PLAN["end"] == "memory":
                os._exit(1)
            PLAN["end"] = "finish"  # somebody makes room meanwhile
            return
        image = read_image(file)
        write_tiff(folder / "reconstructed" / file.name, image)
        strength = request["config"]["strength"]
        write_tiff(folder / "translated" / file.name, negative(image, strength))
        tell(Progress(done, len(files), image.name, 0.0))
    record = {"images": [{"image": file.stem, "residual": 1e-6} for file in files]}
    (folder / "translation.json").write_text(json.dumps(record))
    tell(Finished(len(files)))


def turn(parent: Path, folder: Path, request: dict, stopped: Callable[[], bool]) -> None:
    images = tiff_files(parent / f"{request['of']:06d}" / "images")
    image = read_image(images[request["image"]])
    for seen, name in ((1, "rough_0001.tif"), (2, "exact_0002.tif")):
        if wait(stopped):
            break
        strength = request["strength"] + (0.1 if seen == 1 else 0)
        write_tiff(folder / name, negative(image, min(strength, 1)))
        append_event(folder / "events.jsonl", Preview(seen, name))
    append_event(folder / "events.jsonl", Finished(2, stopped=stopped()))


def evaluate(request: EvaluateRequest, events: Path) -> None:
    def tell(event: Event) -> None:
        append_event(events, event)

    tell(Loading("Loading the model"))
    for done in range(1, PLAN["steps"] + 1):
        if done == 3:
            end_early()
        time.sleep(PLAN["delay"])
        tell(Progress(done, PLAN["steps"], "translating"))
    if PLAN["end"] == "fail":
        knows = in_message(EvaluationConfig, "trained_too")
        tell(Failed(f"Give others, or take these as well with {knows}."))
        sys.exit(2)
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from canned_evaluation import write_evaluation

    write_evaluation(request.out)
    tell(Finished(PLAN["steps"]))


def main() -> None:
    command, path = sys.argv[1:]
    assert command == "job"
    request = read_request(Path(path))
    match request:
        case TrainRequest() | ResumeRequest():
            train(request)
        case SessionRequest():
            session(request)
        case EvaluateRequest():
            evaluate(request, Path(path).with_name("events.jsonl"))


if __name__ == "__main__":
    main()
