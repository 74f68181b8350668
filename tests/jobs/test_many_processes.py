"""Translations and evaluations with a real, tiny model, in processes and on a cluster of Dask."""

from __future__ import annotations

import json
import logging
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil
import pytest
from scipy import ndimage as ndi

from napari_phenldiff import (
    EvaluationConfig,
    InputError,
    Run,
    TrainingConfig,
    TranslationConfig,
    evaluate,
    train,
    translate,
)
from napari_phenldiff.evaluation.appearance import Appearance
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals are not sent there"),
]

CONDITIONS = ("untreated", "treated")
CONFIG = TranslationConfig(source="untreated", target="treated", inference_steps=4, batch_size=4)


def write_images(folder: Path, number: int) -> Path:
    rng = np.random.default_rng(0)
    for condition, level in zip(CONDITIONS, (900, 3000), strict=True):
        for k in range(number):
            planes = ndi.gaussian_filter(rng.random((2, 32, 32)), (0, 2, 2))
            planes -= planes.min((1, 2), keepdims=True)
            planes /= planes.max((1, 2), keepdims=True)
            data = np.rint(planes * np.array([2000, level])[:, None, None]).astype(np.uint16)
            image = Image(data, ("DNA", "marker"), (0.5, 0.5), f"{condition}_{k:02d}")
            write_tiff(folder / condition / f"{image.name}.tif", image)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_base) -> tuple[Path, Run]:
    """Sixty images per condition, and a run of a few of them."""
    folder = tmp_path_factory.mktemp("many")
    data = write_images(folder / "data", 60)
    config = TrainingConfig(
        conditions=CONDITIONS, base=str(tiny_base), steps=1, batch_size=2, preview_every=0,
        images_per_condition=6, validation_images=0, reference_channels=(), device="cpu",
    )  # fmt: skip
    return data, train(data, config, folder / "run")


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory) -> Path:
    data, run = made
    return translate(run, data, tmp_path_factory.mktemp("whole") / "out", CONFIG).folder


def tiffs(folder: Path) -> dict[str, bytes]:
    found = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*.tif"))
    }
    assert len(found) == 120
    return found


def lines(out: Path) -> list[str]:
    """Names of the files that the journal says are done."""
    try:
        text = (out / "images.jsonl").read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [json.loads(line)["file"] for line in text.splitlines()[1:]]


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


def test_a_worker_that_is_killed_loses_nothing(made, whole, tmp_path):
    data, run = made
    out = tmp_path / "out"
    ended: list[int] = []
    journal: list[str] = []
    others = {child.pid for child in psutil.Process().children()}

    def kill_one() -> None:
        while not ended:
            time.sleep(0.02)
            workers = [
                child for child in psutil.Process().children()
                if child.pid not in others and "spawn_main" in _command(child)
            ]  # fmt: skip
            if lines(out) and len(workers) == 2:
                workers[0].send_signal(signal.SIGKILL)
                ended.append(workers[0].pid)
                journal.extend(lines(out))

    killer = threading.Thread(target=kill_one, daemon=True)
    killer.start()
    add = []

    def note(folder, file, *rest, before=None):
        add.append(file)
        return before(folder, file, *rest)

    from functools import partial

    from napari_phenldiff.jobs import journal as journal_module

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal_module, "add", partial(note, before=journal_module.add))
        done = translate(run, data, out, CONFIG, workers=2)
    assert ended
    assert 0 < len(journal) < 60
    assert done.complete
    assert done.failure is None
    assert tiffs(out) == tiffs(whole)
    # No image that was done was done again.
    assert max(Counter(add).values()) == 1
    assert not list(out.rglob("*.part*"))


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def cluster(tmp_path):
    """A scheduler and two workers, each a process of its own that may be ended."""
    pytest.importorskip("distributed")
    address = f"tcp://127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler = [*command, "--host", "127.0.0.1", "--port", port, "--no-dashboard"]
    worker = [
        sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1",
        "--no-dashboard", "--local-directory", str(tmp_path),
    ]  # fmt: skip
    with (tmp_path / "log").open("wb") as log:
        started = [
            subprocess.Popen(one, stdout=log, stderr=log) for one in (scheduler, worker, worker)
        ]
        try:
            from distributed import Client

            with Client(address, timeout=120, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=120)
            yield address, started
        finally:
            for process in started[::-1]:
                process.terminate()
            for process in started:
                process.wait(60)


def test_a_cluster_translates_alike_and_goes_on_when_its_scheduler_dies(
    made, whole, tmp_path, cluster, caplog
):
    data, run = made
    address, (scheduler, *_) = cluster
    out = tmp_path / "out"
    caplog.set_level(logging.ERROR)

    def end() -> None:
        while len(lines(out)) < 5:
            time.sleep(0.02)
        scheduler.kill()

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    started = time.monotonic()
    with pytest.raises(InputError, match="is gone or cannot be reached any more") as told:
        translate(run, data, out, CONFIG, scheduler=address)
    assert time.monotonic() - started < 200
    assert "give the same command" in str(told.value)
    assert caplog.text == ""
    done = lines(out)
    assert 5 <= len(done) < 60
    assert not (out / "run.lock").exists()
    assert (out / "translation.json").exists()

    again = translate(run, data, out, CONFIG)
    assert again.complete
    assert tiffs(out) == tiffs(whole)


def test_a_cluster_loads_the_model_once_and_gives_the_same(made, whole, tmp_path, cluster):
    data, run = made
    address, _ = cluster
    out = tmp_path / "out"
    assert translate(run, data, out, CONFIG, scheduler=address).complete
    assert tiffs(out) == tiffs(whole)

    from distributed import Client

    with Client(address, set_as_default=False) as client:
        loaded = client.run(_models)
    assert list(loaded.values()) == [1, 1]


def _models() -> int:
    from napari_phenldiff.jobs.translation_unit import _loaded

    return len(_loaded)


def test_an_evaluation_is_the_same_for_two_workers(made, tmp_path, monkeypatch):
    data, run = made
    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance",
        lambda *args: Appearance([], None, None),
    )
    config = EvaluationConfig(images=10, latent_images=2)
    found = []
    for number in (1, 2):
        out = tmp_path / str(number)
        evaluate(
            run, data, out, "area", config, translation=CONFIG, workers=number,
            settings=_area(), device="cpu",
        )  # fmt: skip
        metrics = json.loads((out / "metrics.json").read_text())
        del metrics["provenance"]["seconds"]
        found.append((metrics, (out / "measured.csv").read_bytes()))
    assert found[0] == found[1]


def _area():
    from napari_phenldiff.measurement.profiles.area import AreaSettings

    return AreaSettings(channel="marker")
