"""Simulated cells whose true counterpart under the other condition is known.

Every field is drawn twice from the same random numbers: the same cells in the same places with the
same stain, background and camera noise, once under the source and once under the target condition.
Only what the phenotype changes differs. Cells and fields vary more than the conditions do, as in
real experiments, so no single image gives its condition away by brightness alone.

Four phenotypes, the first three after the data sets of the Phen-LDiff paper (section 4.1):

``translocation``
    a marker moves from the cytoplasm into the nucleus (channels DNA, marker).
``golgi``
    one compact Golgi apparatus breaks into stacks scattered over the cell (Golgi, tubulin, DNA).
``neurons``
    neurites are lost and shortened (neurons, DNA).
``beading``
    neurites break into rows of beads in their places: a structure that changes where it is
    (neurites, DNA).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage as ndi

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.phenotypes import PHENOTYPES as PHENOTYPES
from napari_phenldiff.images.phenotypes import Drawing as Drawing
from napari_phenldiff.images.phenotypes import Phenotype as Phenotype
from napari_phenldiff.images.phenotypes import get_phenotype as get_phenotype

_PIXEL_SIZE = (0.65, 0.65)


@dataclass(frozen=True, slots=True)
class SimulatedField:
    """An image of cells whose measurements are known.

    Attributes
    ----------
    image : Image
        ``(C, Y, X)`` uint8.
    drawing : Drawing
        What is there, without optics and noise.
    expected : numpy.ndarray of shape (C, Y, X), float64
        The image, in grey values, before noise, rounding and saturation.
    """

    image: Image
    drawing: Drawing
    expected: np.ndarray


@dataclass(frozen=True, slots=True)
class SimulatedPair:
    """The same cells under both conditions.

    Attributes
    ----------
    source, target : Image
        ``(C, Y, X)`` uint8, the same name in both.
    truth : mapping
        ``{"source": {...}, "target": {...}}``: measurements known without noise. ``ratio`` (mean
        nucleus over cytoplasm of the marker), ``area`` (pixels occupied by the structure).
    """

    source: Image
    target: Image
    truth: Mapping[str, Mapping[str, float]]


def simulate_pairs(
    phenotype: str, n_images: int, *, seed: int = 0, size: int = 128, first: int = 0
) -> Iterator[SimulatedPair]:
    """Draw fields together with their true counterparts.

    Parameters
    ----------
    phenotype : {"translocation", "golgi", "neurons", "beading"}
        What differs between the conditions.
    n_images : int
        Number of fields.
    seed : int
        Field ``i`` depends on `seed` and ``i`` alone, so longer series begin with shorter ones.
    size : int
        Height and width in pixels (0.65 micrometres each), at least 32.
    first : int
        Index of the first field.

    Yields
    ------
    SimulatedPair

    Raises
    ------
    InputError
        Unknown phenotype, fewer than one image, or fields under 32 pixels.
    """
    kind = get_phenotype(phenotype)
    if n_images < 1:
        raise InputError(f"{n_images} images were asked for; simulate at least 1.")
    if size < 32:
        raise InputError(f"Fields of {size} pixels are too small for a cell; use at least 32.")
    return _pairs(kind, n_images, seed, size, first)


def simulate_images(
    phenotype: str,
    condition: Literal["source", "target"],
    n_images: int,
    *,
    seed: int = 0,
    size: int = 128,
    first: int = 0,
) -> list[Image]:
    """Simulate one side of pairs: the very images of `simulate_pairs`, in half of the time.

    Parameters
    ----------
    phenotype, n_images, seed, size, first
        As for `simulate_pairs`.
    condition : {"source", "target"}
        Which of the two images of each pair.

    Returns
    -------
    list of Image
        uint8 images ``(C, size, size)``.

    Raises
    ------
    InputError
        Unknown phenotype.
    """
    fields = simulate_fields(phenotype, condition, n_images, seed=seed, size=size, first=first)
    return [field.image for field in fields]


def simulate_fields(
    phenotype: str,
    condition: Literal["source", "target"],
    n_images: int,
    *,
    seed: int = 0,
    size: int = 128,
    first: int = 0,
) -> Iterator[SimulatedField]:
    """Simulate one side of pairs together with what is known of it, masks included.

    Parameters
    ----------
    phenotype, condition, n_images, seed, size, first
        As for `simulate_images`.

    Returns
    -------
    iterator of SimulatedField

    Raises
    ------
    InputError
        Unknown phenotype.
    """
    kind = get_phenotype(phenotype)
    dose = 0.0 if condition == "source" else 1.0
    return (_field(kind, index, dose, seed, size) for index in range(first, first + n_images))


def _pairs(
    kind: Phenotype, n_images: int, seed: int, size: int, first: int
) -> Iterator[SimulatedPair]:
    for index in range(first, first + n_images):
        source = _field(kind, index, 0.0, seed, size)
        target = _field(kind, index, 1.0, seed, size)
        truth = {"source": source.drawing.truth, "target": target.drawing.truth}
        yield SimulatedPair(source.image, target.image, truth)


def _field(kind: Phenotype, index: int, dose: float, seed: int, size: int) -> SimulatedField:
    rng = np.random.default_rng([seed, index, list(PHENOTYPES).index(kind.name)])
    drawing = kind.draw(rng, size, dose)
    # the camera has its own stream: its noise must not depend on how many numbers the
    # drawing took, which differs between the conditions
    camera = np.random.default_rng([seed, index, 99])
    data, expected = _photograph(drawing.planes, camera)
    image = Image(
        data=data,
        channel_names=kind.channel_names,
        pixel_size=_PIXEL_SIZE,
        name=f"field_{index:04d}",
    )
    return SimulatedField(image, drawing, expected)


def _photograph(planes: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Blur, illuminate and digitise planes ``(C, Y, X)`` to uint8; also as float64, noise-free."""
    size = planes.shape[-1]
    y, x = np.mgrid[:size, :size] / size - 0.5
    out, expected = np.empty(planes.shape, np.uint8), np.empty(planes.shape)
    for channel, plane in enumerate(planes):
        tilt = 1 + 0.15 * (rng.normal() * y + rng.normal() * x)
        gain = np.exp(rng.normal(0, 0.15))
        background = rng.uniform(0.015, 0.04)
        photons = rng.uniform(400, 900)
        signal = ndi.gaussian_filter(plane, rng.uniform(0.6, 0.9)) * gain * tilt + background
        expected[channel] = signal * 200
        noise = rng.standard_normal(plane.shape)
        signal = signal + noise * np.sqrt(np.clip(signal, 0, None) / photons + 0.004**2)
        out[channel] = np.clip(np.rint(signal * 200), 0, 255)
    return out, expected
