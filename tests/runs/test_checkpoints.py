from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from napari_phenldiff.runs import checkpoints

# Checkpoint n holds two files that consist of the number n, as do the files of the adapter.
WRITE = """
import itertools, sys
from pathlib import Path
from napari_phenldiff.runs import checkpoints
root = Path(sys.argv[1])
for n in itertools.count(int(sys.argv[2])):
    content = b"%08d" % n * 4096
    files = {"a.bin": content, "more/b.bin": lambda path: path.write_bytes(content)}
    checkpoints.write_folder(root / "checkpoints" / f"step_{n:06d}", files)
    checkpoints.keep_last(root / "checkpoints", 2)
    checkpoints.write_folder(root / "adapter", files)
    print(n, flush=True)
"""

LIMITED = """
import resource, sys
from pathlib import Path
from napari_phenldiff.runs import checkpoints
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    checkpoints.write_folder(Path(sys.argv[1]), {"a": b"new", "b": b"x" * 200_000})
except OSError as error:
    print(type(error).__name__, error.errno)
"""


def _number_in(folder: Path) -> int:
    contents = {(folder / name).read_bytes() for name in ("a.bin", "more/b.bin")}
    assert len(contents) == 1
    (content,) = contents
    assert content == content[:8] * 4096
    return int(content[:8])


def test_a_writer_killed_at_any_moment_leaves_whole_folders(tmp_path: Path, python):
    last = 0
    for delay in (0.0, 0.001, 0.003, 0.007, 0.015, 0.03):
        writer = python(WRITE, tmp_path, last + 1)
        for _ in range(3):
            last = int(writer.stdout.readline())
        time.sleep(delay)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        done = [int(line) for line in writer.stdout.read().split()]
        last = max([last, *done])

        found = checkpoints.steps_in(tmp_path / "checkpoints")
        assert found[-1][0] in (last, last + 1)
        assert len(found) in (2, 3)
        assert [_number_in(path) for _, path in found] == [step for step, _ in found]
        adapter = checkpoints.recover(tmp_path / "adapter")
        assert checkpoints.is_complete(adapter)
        assert _number_in(adapter) in (last, last + 1)
        last = found[-1][0]

    for folder in (tmp_path, tmp_path / "checkpoints"):
        checkpoints.remove_leftovers(folder)
    assert {path.name for path in tmp_path.rglob(".*")} <= {".previous-adapter"}
    assert checkpoints.is_complete(checkpoints.recover(tmp_path / "adapter"))


def test_a_full_disk_leaves_the_old_folder_and_nothing_half(tmp_path: Path, python):
    target = tmp_path / "adapter"
    checkpoints.write_folder(target, {"a": b"old"})
    process = python(LIMITED, target)
    assert process.stdout.read().startswith("OSError")
    assert (target / "a").read_bytes() == b"old"
    assert not (target / "b").exists()
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_replaced_not_mixed(tmp_path: Path):
    target = tmp_path / "adapter"
    checkpoints.write_folder(target, {"a": b"1", "gone": b"2"})
    checkpoints.write_folder(target, {"a": b"3"})
    assert {path.name for path in target.iterdir()} == {"a", checkpoints.MANIFEST}
    assert list(tmp_path.iterdir()) == [target]


def test_the_last_two_are_kept(tmp_path: Path):
    for step in (5, 100, 99, 1_000_000):
        checkpoints.write_folder(tmp_path / f"step_{step:06d}", {"a": b"1"})
    checkpoints.keep_last(tmp_path, 2)
    assert [step for step, _ in checkpoints.steps_in(tmp_path)] == [100, 1_000_000]


@pytest.mark.parametrize("damage", ["truncate", "remove", "manifest", "no manifest"])
def test_a_damaged_checkpoint_is_not_taken(tmp_path: Path, damage):
    for step in (100, 200):
        checkpoints.write_folder(tmp_path / f"step_{step:06d}", {"a": b"1234", "b": b"5"})
    newest = tmp_path / "step_000200"
    match damage:
        case "truncate":
            (newest / "a").write_bytes(b"12")
        case "remove":
            (newest / "b").unlink()
        case "manifest":
            (newest / checkpoints.MANIFEST).write_text(json.dumps([1, 2]))
        case _:
            (newest / checkpoints.MANIFEST).unlink()
    assert [step for step, _ in checkpoints.steps_in(tmp_path)] == [100]


def test_the_previous_version_is_found_when_the_writer_died_between_two_renames(tmp_path: Path):
    target = tmp_path / "adapter"
    checkpoints.write_folder(target, {"a": b"1"})
    target.rename(tmp_path / ".previous-adapter")
    assert (checkpoints.recover(target) / "a").read_bytes() == b"1"
    checkpoints.remove_leftovers(tmp_path)
    assert (checkpoints.recover(target) / "a").read_bytes() == b"1"
    checkpoints.write_folder(target, {"a": b"2"})
    assert checkpoints.recover(target) == target
    assert list(tmp_path.iterdir()) == [target]
