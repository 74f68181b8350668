from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import (
    append_line,
    make_folder_atomic,
    remove_leftovers,
    sha256_of,
    sha256_of_array,
    write_atomic,
)


def test_write_atomic_makes_folders_and_leaves_one_file(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with write_atomic(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".csv"
        assert temporary.name.startswith(".")
        temporary.write_text("a,b")
        assert not path.exists()
    assert path.read_text() == "a,b"
    assert list(path.parent.iterdir()) == [path]


def test_write_atomic_keeps_the_old_file_if_writing_fails(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")

    def fail():
        with write_atomic(path) as temporary:
            temporary.write_text("ne")
            raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_sha256_of_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"phenotype")
    assert sha256_of(path) == hashlib.sha256(b"phenotype").hexdigest()


def test_sha256_of_array_is_about_values_not_memory():
    array = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    digest = sha256_of_array(array)
    assert sha256_of_array(array.astype(">u2")) == digest
    assert sha256_of_array(np.asfortranarray(array)) == digest
    assert sha256_of_array(array.astype(np.int16)) != digest
    assert sha256_of_array(array.reshape(3, 2, 4)) != digest
    changed = array.copy()
    changed[1, 2, 3] += 1
    assert sha256_of_array(changed) != digest


def test_a_folder_is_whole_or_absent(tmp_path):
    with make_folder_atomic(tmp_path / "sub" / "new") as aside:
        (aside / "a").write_text("1")
        assert not (tmp_path / "sub" / "new").exists()
    assert (tmp_path / "sub" / "new" / "a").read_text() == "1"
    with pytest.raises(FileNotFoundError), make_folder_atomic(tmp_path / "other") as aside:
        (aside / "missing" / "a").write_text("1")
    assert [path.name for path in tmp_path.iterdir()] == ["sub"]


@pytest.mark.parametrize("before", [False, True])
def test_a_folder_that_another_process_fills_meanwhile_is_refused(tmp_path, before):
    out = tmp_path / "new"
    if before:
        out.mkdir()
    taken = f"{out} exists and is not empty; name a new folder for the output."

    def fill(what: str) -> None:
        with make_folder_atomic(out) as aside:
            (aside / "a").write_text(what)
            if what == "second":
                fill("first")

    with pytest.raises(InputError, match=re.escape(taken)):
        fill("second")
    assert (out / "a").read_text() == "first"
    assert list(tmp_path.iterdir()) == [out]
    with pytest.raises(InputError, match="is a file"), make_folder_atomic(tmp_path / "f"):
        (tmp_path / "f").write_text("mine")
    assert (tmp_path / "f").read_text() == "mine"


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    with make_folder_atomic(tmp_path / "empty") as aside:
        (aside / "a").write_text("1")
    assert (tmp_path / "empty" / "a").exists()


LEAVE = """
import os, sys
from napari_phenldiff.images.files import make_folder_atomic, write_atomic
folder = sys.argv[1]
with write_atomic(f"{folder}/table.csv") as aside, make_folder_atomic(f"{folder}/new") as other:
    aside.write_text("half")
    (other / "file").write_text("half")
    os._exit(9)
"""


def test_what_a_killed_process_left_goes_with_the_next_that_writes_there(tmp_path):
    subprocess.run([sys.executable, "-c", LEAVE, str(tmp_path)], check=False)
    assert len(list(tmp_path.glob(".*"))) == 2
    mine = tmp_path / ".table.mine.csv"
    mine.write_text("of somebody else")
    with write_atomic(tmp_path / "table.csv") as aside:
        aside.write_text("whole")
    assert sorted(tmp_path.iterdir()) == [mine, tmp_path / "table.csv"]


def test_what_a_running_process_writes_stays(tmp_path):
    with write_atomic(tmp_path / "a.csv") as aside:
        aside.write_text("half")
        remove_leftovers(tmp_path)
        assert aside.exists()


def test_what_another_machine_left_stays_until_it_is_old(tmp_path):
    path = tmp_path / ".a.0123ab-17-00000000.part.csv"
    path.write_text("half")
    remove_leftovers(tmp_path)
    assert path.exists()
    os.utime(path, (1, 1))
    remove_leftovers(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["n" * 251, "ü" * 125])
def test_names_as_long_as_the_file_system_takes_are_written(tmp_path, name):
    path = tmp_path / f"{name}.csv"
    with write_atomic(path) as aside:
        aside.write_text("whole")
    assert path.read_text() == "whole"
    with make_folder_atomic(tmp_path / name[:120]) as aside:
        (aside / "file").write_text("whole")
    assert (tmp_path / name[:120] / "file").exists()


def test_a_line_that_was_cut_off_does_not_take_the_next_one_with_it(tmp_path):
    path = tmp_path / "lines"
    append_line(path, "one")
    with path.open("a") as file:
        file.write("tw")
    append_line(path, "three")
    assert path.read_text() == "one\ntw\nthree\n"
