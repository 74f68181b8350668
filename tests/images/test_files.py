from __future__ import annotations

import hashlib

import numpy as np
import pytest

from napari_phenldiff.images.files import (
    make_folder_atomic,
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


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "empty").mkdir()
    with make_folder_atomic(tmp_path / "empty") as aside:
        (aside / "a").write_text("1")
    assert (tmp_path / "empty" / "a").exists()
