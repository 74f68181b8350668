"""Small experiments with random pixels: two conditions, two channels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Layer

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.viewer.reader import read_layers

MakeImage = Callable[..., Image]


@pytest.fixture
def make_image() -> MakeImage:
    def make(
        name: str,
        *,
        seed: int = 0,
        shape: tuple[int, int] = (24, 32),
        channels: tuple[str, ...] = ("DNA", "marker"),
        brightness: int = 100,
        pixel_size: tuple[float, float] | None = (0.5, 0.25),
    ) -> Image:
        rng = np.random.default_rng(seed)
        data = rng.integers(0, brightness, (len(channels), *shape), dtype=np.uint8)
        return Image(data, channels, pixel_size, name)

    return make


@pytest.fixture
def experiment_folder(tmp_path: Path, make_image: MakeImage) -> Path:
    """Folder with ``treated/`` (bright) and ``untreated/`` (dim), three images each."""
    folder = tmp_path / "experiment"
    for number, (condition, brightness) in enumerate({"treated": 200, "untreated": 50}.items()):
        for i in range(3):
            image = make_image(f"{condition}_{i}", seed=10 * number + i, brightness=brightness)
            write_tiff(folder / condition / f"{image.name}.tif", image)
    return folder


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def open_in(viewer: ViewerModel) -> Callable[..., list[Layer]]:
    """Open paths in the viewer as the reader would."""

    def open_paths(*paths: Path) -> list[Layer]:
        layers = read_layers(paths[0] if len(paths) == 1 else list(paths))
        return [viewer.add_image(data, **arguments) for data, arguments, _ in layers]

    return open_paths
