from __future__ import annotations

import json
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.jobs import estimate as module
from napari_phenldiff.jobs.base_size import BaseSize, base_size
from napari_phenldiff.jobs.estimate import (
    Work,
    ask_hardware,
    estimate,
    in_words,
    past_pace,
    seconds_per_step,
    time_range,
    translation_time,
)
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Loading, Started, Step
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.hardware import Hardware

CPU = Hardware("cpu", "CPU, 2 cores", "no GPU was found", memory=8 * 10**9, free=6 * 10**9)
CPU = replace(CPU, seconds=0.04)


def work(images=(100, 100), sides=(128, 128), **settings) -> Work:
    config = TrainingConfig(conditions=("a", "b"), **settings)
    return Work(config, images, sides, 2)


def minutes(text: str) -> tuple[float, float]:
    words = text.split()
    at = words.index("to")
    factor = {"s,": 1 / 60, "min,": 1, "h,": 60}[words[at + 2]]
    return float(words[at - 1]) * factor, float(words[at + 1]) * factor


def test_the_bundled_base_is_measured():
    size = base_size("bundled")
    assert size is not None
    assert size.tile == 128
    assert 15e6 < size.weights < 25e6


def test_time_and_memory_are_told_as_a_range():
    told = estimate(work(steps=300), CPU)
    low, high = minutes(told.text)
    # 300 steps of 0.64 s
    assert low < 3.5 < high
    assert "GB of memory (6.0 GB are free)" in told.text
    assert told.warning is None


@pytest.mark.parametrize(
    "more",
    [
        {"steps": 3000},
        {"batch_size": 32},
        {"strategy": "svdiff"},
        {"images": (4000, 4000)},
        {"sides": (1024, 1024), "images": (500, 500)},
    ],
)
def test_more_work_takes_longer(more):
    assert minutes(estimate(work(**more), CPU).text) > minutes(estimate(work(), CPU).text)


def test_all_weights_take_a_little_longer_than_low_rank_updates_of_the_attention():
    few, full, everywhere = (
        estimate(work(**how), CPU).text
        for how in ({"strategy": "lora", "layers": "attention"}, {"strategy": "full"}, {})
    )
    assert minutes(few) <= minutes(full) <= minutes(everywhere)
    assert len({few, full, everywhere}) == 3


def test_only_images_that_are_drawn_count():
    many = work(images=(4000, 4000), images_per_condition=100)
    assert minutes(estimate(many, CPU).text) == minutes(estimate(work(), CPU).text)


def test_a_batch_that_does_not_fit_is_told_with_the_way_out():
    told = estimate(work(batch_size=512), CPU)
    assert told.warning is not None
    assert "smaller batch size" in told.warning


def test_a_gpu_needs_no_less_than_it_takes_to_be_asked():
    gpu = Hardware("cuda", "RTX", memory=24 * 10**9, free=20 * 10**9, seconds=0.0001)
    low, high = minutes(estimate(work(steps=6000), gpu).text)
    assert low >= 3
    assert high <= 10


def test_a_former_run_narrows_the_range():
    low, high = minutes(estimate(work(steps=3000), CPU, past=0.04).text)
    assert low < 32 < high
    assert high / low < 1.6


def test_a_larger_base_takes_longer_and_one_that_is_not_here_is_not_known(tmp_path: Path):
    folder = tmp_path / "base" / "unet"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"sample_size": 64, "in_channels": 4}))
    header = {"__metadata__": {}, "w": {"dtype": "F16", "shape": [1000, 860, 1000]}}
    text = json.dumps(header).encode()
    (folder / "weights.safetensors").write_bytes(len(text).to_bytes(8, "little") + text)
    size = base_size(str(tmp_path / "base"))
    assert size is not None
    assert (size.weights, size.tile) == (860_000_000, 512)
    told = estimate(work(base=str(tmp_path / "base")), CPU)
    assert " h," in told.text
    assert told.warning is not None
    assert "unknown until" in estimate(work(base="owner/name"), CPU).text


def headed(shapes: dict[str, list[int]], **said: str) -> bytes:
    """Return the beginning of a safetensors file."""
    parts = {name: {"dtype": "F16", "shape": shape} for name, shape in shapes.items()}
    text = json.dumps({"__metadata__": said, **parts}).encode()
    return len(text).to_bytes(8, "little") + text


def test_a_single_file_is_measured(tmp_path: Path):
    shapes = {
        "model.diffusion_model.input_blocks.0.0.weight": [320, 4, 3, 3],
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": [
            320,
            1024,
        ],
        "model.diffusion_model.rest": [1000, 865, 1000],
        "first_stage_model.encoder": [1000, 1000],
    }
    path = tmp_path / "sd2.safetensors"
    path.write_bytes(headed(shapes, **{"modelspec.prediction_type": "v"}))
    weights = 865_000_000 + 320 * 4 * 9 + 320 * 1024
    assert base_size(str(path)) == BaseSize(weights, 768, 4, 3)
    other = tmp_path / "sd2_base.safetensors"
    other.write_bytes(headed(shapes))
    assert base_size(str(other)) == BaseSize(weights, 512, 4, 3)
    adapter = tmp_path / "adapter.safetensors"
    adapter.write_bytes(headed({"unet.lora_A.weight": [4, 320]}))
    assert base_size(str(adapter)) is None


def test_a_downloaded_base_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert base_size("owner/name") is None
    repository, commit = tmp_path / "models--owner--name", "a" * 40
    unet = repository / "snapshots" / commit / "unet"
    unet.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    (unet / "config.json").write_text(json.dumps({"sample_size": 64, "in_channels": 4}))
    # of each precision that is there, one counts
    for name in ("diffusion_pytorch_model", "diffusion_pytorch_model.fp16"):
        (unet / f"{name}.safetensors").write_bytes(headed({"w": [1000, 1000]}))
    for name in ("owner/name", f"owner/name@{commit}", "https://huggingface.co/owner/name"):
        assert base_size(name) == BaseSize(1_000_000, 512, 4)
    assert base_size("owner/name@other") is None
    told = estimate(work(base="owner/name"), CPU)
    assert "unknown" not in told.text


def test_groups_of_channels_take_a_pass_each(tmp_path: Path):
    base = tmp_path / "base"
    for part, config in (
        ("unet", {"sample_size": 64, "in_channels": 4}),
        ("vae", {"_class_name": "AutoencoderKL", "in_channels": 3}),
    ):
        (base / part).mkdir(parents=True)
        (base / part / "config.json").write_text(json.dumps(config))
    (base / "unet" / "w.safetensors").write_bytes(headed({"w": [1000, 10_000]}))
    size = base_size(str(base))
    assert size == BaseSize(10_000_000, 512, 4, 3)
    assert [size.groups(n) for n in (1, 3, 4, 6, 7)] == [1, 1, 2, 2, 3]
    assert size.groups(5, references=1) == 3
    assert BaseSize(1, 128, 48).groups(20) == 1

    def told(channels: int, **settings) -> tuple[float, float]:
        config = work(base=str(base), steps=2000, sides=(512, 512), **settings).config
        told = estimate(Work(config, (20, 20), (512, 512), channels), CPU).text
        return minutes(told)[1], float(told.split(" GB")[0].split()[-1])

    one, two, three = told(3), told(5), told(5, reference_channels=("a",))
    assert one[0] < two[0] < three[0]
    assert one[1] < two[1] < three[1]


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff" * 20])
def test_a_damaged_base_is_not_known(tmp_path: Path, damage: bytes):
    folder = tmp_path / "unet"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"sample_size": 64, "in_channels": 4}))
    (folder / "weights.safetensors").write_bytes(damage)
    assert base_size(str(tmp_path)) is None


def test_the_pace_of_former_runs_on_this_machine_is_found(tmp_path: Path):
    config = TrainingConfig(conditions=("a", "b"), batch_size=8)
    scaling = IntensityScaling(("DNA",), (0.0,), (1.0,), (0.0,))

    def make(name: str, host: str, pace: float) -> Path:
        run = Run.create(
            tmp_path / name, config, scaling=scaling, channel_names=["DNA"], versions={}
        )
        run.append(Started("CPU, 2 cores", host))
        for step in range(1, 20):
            run.append(Step(step, 300, 0.1, time=1e9 + step * pace))
        return run.path

    here, there = make("here", socket.gethostname(), 4.0), make("there", "elsewhere", 1.0)
    assert past_pace([tmp_path / "gone", there, here], config, CPU) == pytest.approx(0.5)
    assert past_pace([there], config, CPU) is None
    assert past_pace([here], config.model_copy(update={"base": "x"}), CPU) is None
    assert past_pace([here], config, replace(CPU, name="RTX")) is None


def test_pauses_and_resumes_are_no_part_of_the_pace():
    times = [0, 1, 2, 3, 4, 5, 5000, 5001, 5002]
    steps = [Step(i, 99, 0.1, time=float(t)) for i, t in enumerate(times, 1)]
    again = [Step(3, 99, 0.1, time=9000.0), Step(4, 99, 0.1, time=9001.0)]
    assert seconds_per_step([Loading("x"), *steps, *again]) == pytest.approx(1.0)
    assert seconds_per_step(steps[:3]) is None


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (3, 8, "10 to 20 s"),
        (33, 62, "30 to 60 s"),
        (60, 100, "1 to 2 min"),
        (190, 290, "3 to 5 min"),
        (4000, 8000, "1 to 2 h"),
        (30000, 60000, "8.5 to 16.5 h"),
    ],
)
def test_times_are_told_as_people_do(low, high, text):
    assert time_range(low, high) == text


def test_the_device_is_said_in_words():
    assert in_words(None) == "Looking for a GPU …"
    assert in_words("no such device") == "no such device"
    assert in_words(CPU) == "Runs on CPU, 2 cores: no GPU was found."


def test_hardware_comes_back_as_it_was_told():
    assert Hardware.from_json(CPU.to_json()) == CPU
    newer = json.dumps({**json.loads(CPU.to_json()), "mood": "good"})
    assert Hardware.from_json(newer) == CPU
    for text in ("", "[]", "{}", "3"):
        with pytest.raises(ValueError, match=r".*"):
            Hardware.from_json(text)


@pytest.mark.parametrize(
    ("code", "out", "err", "told"),
    [
        (0, CPU.to_json() + "\n", "", CPU),
        (2, "", "phenldiff: There is no GPU here.\n", "There is no GPU here."),
        (0, "nonsense", "", "Could not find out what devices there are"),
        (1, "", "", "Could not find out what devices there are"),
    ],
)
def test_a_child_process_is_asked(monkeypatch, code, out, err, told):
    def run(command, **options):
        assert command[2:5] == ["napari_phenldiff", "device", "--json"]
        return subprocess.CompletedProcess(command, code, out, err)

    monkeypatch.setattr(module.subprocess, "run", run)
    answer = ask_hardware()
    if isinstance(told, str):
        assert told in str(answer)
    else:
        assert answer == told


def test_many_docks_ask_one_process(monkeypatch):
    asked: list[str] = []

    def answer(device: str, precision: str) -> str:
        time.sleep(0.05)
        asked.append(device)
        return "nothing to compute with"

    monkeypatch.setattr(module, "ask_hardware", answer)
    monkeypatch.setattr(module, "KNOWN", {})
    with ThreadPoolExecutor(8) as threads:
        answers = set(threads.map(lambda _: module.hardware_of("cpu"), range(8)))

    assert answers == {"nothing to compute with"}
    assert asked == ["cpu"]


def test_the_time_of_a_translation_grows_with_tiles_and_steps(run: Run):
    config = TranslationConfig(source="untreated", target="treated")

    def told(shape, images, **settings) -> tuple[int, int]:
        asked = config.model_copy(update=settings)
        words = translation_time(shape, images, asked, run, hardware).split()
        factor = {"s": 1, "min": 60}[words[3]]
        return int(words[0]) * factor, int(words[2]) * factor

    # one tile took 3.5 s on the machine on which the piece of work took 54 ms
    hardware = Hardware("cpu", "CPU, 1 core", seconds=0.54)
    low, high = told((128, 128), 1)
    assert low <= 35 <= high
    assert told((320, 320), 1)[0] > 3 * low  # nine tiles in two batches
    assert told((128, 128), 16)[0] > 5 * low
    assert told((128, 128), 1, inference_steps=100)[0] >= 3.5 * low
    assert translation_time((128, 128), 1, config, run, replace(hardware, seconds=0)) == ""


def test_a_machine_that_does_not_answer_in_time_is_told_in_a_sentence(monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(module.subprocess, "run", hang)
    told = in_words(ask_hardware())
    assert told.startswith("Could not find out what devices there are; the CPU is used")
    assert "TimeoutExpired" not in told
