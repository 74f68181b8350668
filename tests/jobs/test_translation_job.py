from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_phenldiff.images import tiff
from napari_phenldiff.images.image import Image
from napari_phenldiff.jobs.cell_count import CellCount
from napari_phenldiff.jobs.translation_job import check_files
from napari_phenldiff.runs.folder import Run


def taken(run: Run, folder: Path, **options) -> list[Image]:
    paths = sorted((folder / "untreated").iterdir())
    files, _ = check_files(run, paths, "untreated", CellCount(run.channel_names), **options)
    return [image for file in files for image in file.take(None)]


def test_an_image_that_fits_into_memory_is_read_once(run: Run, data_folder: Path, monkeypatch):
    reads: list[str] = []
    read_tiff = tiff.read_tiff
    monkeypatch.setattr(
        tiff, "read_tiff", lambda path, **how: reads.append(path.stem) or read_tiff(path, **how)
    )
    names = [f"untreated_{number}" for number in range(3)]
    n_bytes = 2 * 24 * 24

    kept = taken(run, data_folder, keep_bytes=3 * n_bytes)
    assert reads == names
    reads.clear()
    one_kept = taken(run, data_folder, keep_bytes=n_bytes)
    assert reads == [*names, *names[1:]]
    reads.clear()
    again = taken(run, data_folder)
    assert reads == [*names, *names]

    for images in (one_kept, again):
        assert [image.name for image in images] == names
        for image, first in zip(images, kept, strict=True):
            np.testing.assert_array_equal(image.data, first.data)
