"""Simulated cells as sample data: File > Open Sample > PhenLDiff."""

from __future__ import annotations

from napari_phenldiff.images.image import Image
from napari_phenldiff.viewer.layer_data import LayerDataTuple
from napari_phenldiff.viewer.reader import experiment_layers

N_IMAGES = 32
"""Images per condition: enough to try everything, drawn in a few seconds."""


def translocation() -> list[LayerDataTuple]:
    """Open cells with a marker that moves from the cytoplasm into the nucleus."""
    return _sample("translocation")


def golgi_scatter() -> list[LayerDataTuple]:
    """Open cells with a Golgi apparatus that breaks into scattered stacks."""
    return _sample("golgi")


def neuron_loss() -> list[LayerDataTuple]:
    """Open cultures in which neurites are lost and shortened."""
    return _sample("neurons")


def _sample(phenotype: str) -> list[LayerDataTuple]:
    # Imported here, since scipy is only needed when a sample is opened.
    from napari_phenldiff.images.simulate import get_phenotype, simulate_images

    kind = get_phenotype(phenotype)
    # As in an experiment, the cells of the two conditions are not the same ones.
    conditions: dict[str, list[Image]] = {
        kind.source: simulate_images(phenotype, "source", N_IMAGES),
        kind.target: simulate_images(phenotype, "target", N_IMAGES, first=N_IMAGES),
    }
    return experiment_layers(conditions)
