from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from napari_phenldiff import __version__
from napari_phenldiff.cli import main
from napari_phenldiff.cli.progress import Reporter, duration
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.runs.events import Failed, Finished, Loading, Progress, Step, Warned
from napari_phenldiff.runs.failures import explain, is_out_of_memory

COMMANDS = ("train", "translate", "measure", "benchmark", "simulate", "demo")


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert f"phenldiff {command}" in text
    assert "example" in text
    assert "default" in text
    assert max(map(len, text.splitlines())) <= 100


def test_defaults_in_the_help_are_those_of_the_configuration(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    from napari_phenldiff.runs.config import TrainingConfig

    with pytest.raises(SystemExit):
        main(["train", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert f"optimisation steps (default: {TrainingConfig.model_fields['steps'].default})" in text


@pytest.mark.parametrize("args", [[], ["dance"], ["train", "--steps", "many"], ["translate", "a"]])
def test_arguments_that_are_none_end_with_2(args, capsys):
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_the_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert __version__ in capsys.readouterr().out


def test_neither_help_nor_a_refusal_loads_the_heavy_libraries(tmp_path):
    code = """
import sys
from pathlib import Path
from napari_phenldiff.cli import main
args = (["--help"], ["train", "x", "--source", "a", "--target", "b", "--out", "y"],
        ["translate", "x", "y", "--out", "z"], ["train", "--resume", "x"])
for arg in args:
    try:
        assert main(arg) == 2
    except SystemExit:
        pass
heavy = {"torch", "diffusers", "peft", "napari", "qtpy", "matplotlib", "skimage"}
print(sorted(heavy & set(sys.modules)))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert result.stdout.endswith("[]\n")


def test_the_package_can_be_run(tmp_path):
    command = [sys.executable, "-m", "napari_phenldiff", "translate", "x", "y", "--out", "z"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("phenldiff: ")
    assert result.stderr.count("\n") == 1


class OutOfMemoryError(RuntimeError):
    """Named like torch's, and like a base class of it may be."""


class SomeLibrarysOutOfMemoryError(OutOfMemoryError):
    pass


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (OutOfMemoryError("x"), True),
        (SomeLibrarysOutOfMemoryError("x"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 1 GiB"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried ..."), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_lack_of_memory_is_recognised(error, is_it):
    assert is_out_of_memory(error) == is_it
    assert ("not enough memory" in explain(error)) == is_it


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("16384 requested and 4096 written"),  # as numpy tells it
    ],
)
def test_a_full_disk_is_told_with_the_file(error, tmp_path):
    def fill() -> None:
        with write_atomic(tmp_path / "table.csv"):
            raise error

    with pytest.raises(OSError) as caught:  # noqa: PT011
        fill()

    assert "disk is full" in explain(caught.value)
    assert f"while writing {tmp_path / 'table.csv'}: make room" in explain(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0"), True),
        (RuntimeError("PytorchStreamWriter failed writing file data/1: file write failed"), True),
        (ValueError("Error while serializing: I/O error: File too large (os error 27)"), True),
        (ValueError("Error: I/O error: Permission denied (os error 13)"), False),
    ],
)
@pytest.mark.skipif(errno.EFBIG != 27, reason="errors have other numbers")
def test_libraries_that_tell_of_a_full_disk_in_words(error, full):
    assert ("disk is full" in explain(error)) == full


def test_no_permission_is_told_with_the_place():
    message = explain(PermissionError(13, "Permission denied", "/data/run"))
    assert message.startswith("/data/run: no permission")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (200, "3 min 20 s"), (7500, "2 h 5 min")],
)
def test_durations_in_words(seconds, text):
    assert duration(seconds) == text


def report(*events) -> None:
    with Reporter() as reporter:
        for event in events:
            reporter(event)


def test_without_a_terminal_there_is_a_line_now_and_then(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("napari_phenldiff.cli.progress.time.monotonic", lambda: now[0])
    with Reporter() as reporter:
        for step in range(1, 101):
            now[0] += 1
            reporter(Step(step, 100, 0.5, 100.0 - step))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 1/100, loss 0.5000, 1 min 39 s left"
    assert lines[-1] == "step 100/100, loss 0.5000, 0 s left"
    assert 10 <= len(lines) <= 12


def test_on_a_terminal_there_is_a_bar(capsys, monkeypatch):
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    report(Loading("Loading"), Step(1, 4, 0.5, 90), Warned("beware"), Step(4, 4, 0.25, 0))
    text = capsys.readouterr().out
    assert "Loading ..." in text
    assert "4/4" in text
    assert "loss 0.2500, 0 s left" in text
    assert "warning: beware" in text


def test_the_end_is_told(capsys):
    report(Progress(1, 2, "a"), Finished(2))
    report(Step(3, 9, 0.5), Finished(3, stopped=True))
    report(Step(300, 300, 0.5), Progress(4, 6, "guidance", unit="trial"), Finished(300))
    report(Failed("told by the command"))
    text = capsys.readouterr().out
    assert "Finished after 2 images." in text
    assert "Stopped after 3 steps." in text
    assert "Finished after 300 steps." in text
    assert "told by the command" not in text


@pytest.mark.skipif(sys.platform == "win32", reason="a shell that closes files")
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "how",
    [
        ">&-",
        "<&- >&- 2>&-",
        pytest.param(
            ">/dev/full",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="a disk that is always full"),
        ),
    ],
)
def test_what_cannot_be_said_ends_no_command(data, tmp_path, how, unbuffered):
    out = tmp_path / "t.csv"
    done = shell(f'measure area "{data}" --channel marker --out "{out}" {how}', unbuffered)
    assert done.returncode == 0, done.stderr
    assert out.is_file()
    told = "phenldiff: standard output cannot be written (No space left on device); the work goes"
    assert done.stderr.splitlines() == ([f"{told} on"] if "full" in how else [])


@pytest.mark.skipif(sys.platform != "linux", reason="a disk that is always full")
@pytest.mark.parametrize("how", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
@pytest.mark.parametrize("command", ["measure area nowhere --out t.csv", "dance"])
def test_what_cannot_be_complained_about_keeps_its_exit_code(how, command):
    assert shell(f"{command} {how}").returncode == 2


@pytest.mark.skipif(sys.platform != "linux", reason="a disk that is always full")
def test_training_goes_on_in_a_daemon(data, tmp_path):
    out = tmp_path / "run"
    command = f'train "{data}" --source untreated --target treated --out "{out}" --steps 5'
    script = Path(__file__).with_name("fake_diffusion.py")
    done = shell(f"{command} --images-per-condition 3 <&- >&- 2>&-", program=f'"{script}"')
    assert done.returncode == 0
    assert (out / "config.json").is_file()


def shell(
    command: str, unbuffered: str = "", program: str = "-m napari_phenldiff"
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        f'"{sys.executable}" {program} {command}',
        shell=True,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        check=False,
    )


# Of a bar that is half made, versions of tqdm before 4.70 complain when it is collected.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_terminal_that_is_gone_ends_no_training(monkeypatch):
    class Gone:
        def isatty(self) -> bool:
            return True

        def write(self, *text: str) -> None:
            raise OSError(errno.EIO, "Input/output error")

        flush = write

    monkeypatch.setattr("sys.stdout", Gone())
    monkeypatch.setattr("sys.stderr", Gone())
    report(Loading("Loading"), Step(1, 4, 0.5, 90), Warned("beware"), Step(4, 4, 0.25, 0))
    report(Finished(4))
