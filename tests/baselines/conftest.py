"""Small images and networks that are trained in a second."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.baseline_config import CONFIGS
from napari_phenldiff.runs.folder import Run

TINY = {
    "cyclegan": {"generator_filters": 4, "discriminator_filters": 4, "blocks": 1, "pool_size": 2},
    "phendiff": {
        "widths": (8, 16),
        "layers_per_block": 1,
        "groups": 4,
        "inference_steps": 5,
        "batch_size": 2,
    },
}


def _make_images(level: int, seed: int, *, channels: int = 2, size: int = 32) -> list[Image]:
    rng = np.random.default_rng(seed)

    def smooth(top: int) -> np.ndarray:
        plane = ndi.gaussian_filter(rng.standard_normal((size, size)), 3)
        plane = (plane - plane.min()) / np.ptp(plane)
        return np.rint(plane * top).astype(np.uint16)

    names = tuple(f"channel {k}" for k in range(channels))
    return [
        Image(np.stack([smooth(level) for _ in names]), names, (0.5, 0.25), f"image_{i}")
        for i in range(4)
    ]


@pytest.fixture
def make_images() -> Callable[..., list[Image]]:
    """Make four smooth images of a level of brightness, from a seed."""
    return _make_images


@pytest.fixture
def experiment() -> Experiment:
    """Two conditions of four 32 px images with two channels; one is brighter."""
    return Experiment.from_images(
        {"untreated": _make_images(300, 0), "treated": _make_images(1000, 1)}
    )


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """Make a run of a tiny baseline."""

    def make(name: str, method: str, experiment: Experiment, **settings: Any) -> Run:
        conditions = tuple(condition.name for condition in experiment.conditions)
        values = {"steps": 4, "checkpoint_every": 2, "device": "cpu", **TINY[method], **settings}
        config = CONFIGS[method](conditions=conditions, **values)
        return Run.from_experiment(
            tmp_path / name,
            config,
            experiment=experiment,
            scaling=IntensityScaling.fit(experiment.images),
        )

    return make
