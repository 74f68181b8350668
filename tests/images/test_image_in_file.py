from __future__ import annotations

import pickle
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images import image_in_file, tiff
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.image_in_file import ImageInFile, changed, in_files
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.tiff import read_tiff, write_stack, write_tiff


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for condition in ("a", "b"):
        for number in range(4):
            names = ("DNA", "tubulin") if number % 2 else ("tubulin", "DNA")
            pixels = rng.integers(1, 4000, (2, 20, 30), dtype=np.uint16)
            image = Image(pixels, names, (0.5, 0.5), f"{condition}{number}")
            write_tiff(tmp_path / condition / f"{image.name}.tif", image)
    return tmp_path


@pytest.fixture
def nothing_kept(monkeypatch):
    monkeypatch.setattr(image_in_file, "KEPT_BYTES", 0)


@pytest.fixture
def reads(monkeypatch) -> Counter[str]:
    """How often each file is read."""
    counted: Counter[str] = Counter()
    read = tiff.read_tiff

    def count(path, **how):
        counted[Path(path).name] += 1
        return read(path, **how)

    monkeypatch.setattr(tiff, "read_tiff", count)
    return counted


def in_memory(experiment) -> int:
    return sum(image._reader._images is not None for image in experiment.images)


def test_an_experiment_is_the_same_whether_its_pixels_stay_in_memory_or_not(folder, monkeypatch):
    kept = Dataset.find(folder).read()
    monkeypatch.setattr(image_in_file, "KEPT_BYTES", 0)
    read_again = Dataset.find(folder).read()
    assert read_again.digest() == kept.digest()
    assert read_again.summary() == kept.summary()
    assert IntensityScaling.fit(read_again.images) == IntensityScaling.fit(kept.images)
    assert read_again.channel_names == ("tubulin", "DNA")
    for one, other in zip(read_again.images, kept.images, strict=True):
        assert one.channel_names == ("tubulin", "DNA")
        assert (one.shape, one.dtype, one.n_channels) == ((20, 30), np.dtype("uint16"), 2)
        assert np.array_equal(one.data, other.data)
        assert (one.path is None) == (other.path is None)


def test_of_a_large_experiment_only_what_was_read_last_is_in_memory(folder, monkeypatch):
    one_image = 2 * 20 * 30 * 2
    monkeypatch.setattr(image_in_file, "KEPT_BYTES", 3 * one_image)
    experiment = Dataset.find(folder).read()
    assert in_memory(experiment) == 3
    experiment.check()
    experiment.warnings()
    IntensityScaling.fit(experiment.images)
    assert in_memory(experiment) == 3


@pytest.mark.usefixtures("nothing_kept")
def test_checks_warnings_and_hashes_need_no_second_reading(folder, reads):
    experiment = Dataset.find(folder, conditions=["a"]).read()
    before = Counter(reads)
    experiment.warnings()
    experiment.digest()
    for image in experiment.images:
        assert image.sha256
    assert reads == before


def test_pixels_of_a_small_experiment_are_read_once(folder, reads):
    experiment = Dataset.find(folder).read()
    experiment.check()
    experiment.warnings()
    IntensityScaling.fit(experiment.images)
    assert set(reads.values()) == {1}
    assert len(reads) == 8


@pytest.mark.usefixtures("nothing_kept")
def test_a_stack_is_not_read_again_for_each_of_its_images(tmp_path, reads):
    pixels = np.arange(5 * 2 * 8 * 8, dtype=np.uint16).reshape(5, 2, 8, 8)
    planes = [Image(plane, ("a", "b"), None, f"s_{k:04d}") for k, plane in enumerate(pixels)]
    write_stack(tmp_path / "s.tif", planes)
    found = in_files(lambda: tiff.read_tiff(tmp_path / "s.tif"))
    for image, plane in zip(found, pixels, strict=True):
        assert np.array_equal(image.data, plane)
    assert reads["s.tif"] == 1


@pytest.mark.usefixtures("nothing_kept")
def test_a_file_that_changes_meanwhile_is_refused(folder):
    experiment = Dataset.find(folder).read()
    first = experiment.images[0]
    path = folder / "a" / "a0.tif"
    write_tiff(path, replace(read_tiff(path)[0], data=np.ones((2, 20, 30), np.uint16)))
    with pytest.raises(InputError, match="has changed while it was used"):
        _ = first.data


def test_replacing_gives_an_image_in_memory_and_changing_one_in_its_file(folder):
    (image,) = in_files(lambda: read_tiff(folder / "a" / "a0.tif"))
    assert isinstance(image, ImageInFile)
    renamed = replace(image, name="other")
    assert type(renamed) is Image
    assert np.array_equal(renamed.data, image.data)
    turned = changed(image, lambda one: replace(one, data=one.data[::-1], path=None))
    assert isinstance(turned, ImageInFile)
    assert np.array_equal(turned.data, image.data[::-1])
    assert turned.sha256 == replace(image, data=image.data[::-1]).sha256 != image.sha256
    assert changed(image, lambda one: one) is image


def test_another_process_gets_the_pixels(folder):
    (image,) = in_files(lambda: read_tiff(folder / "a" / "a0.tif"))
    copy = pickle.loads(pickle.dumps(image))
    assert type(copy) is Image
    assert copy.sha256 == image.sha256
    assert copy.name == image.name
