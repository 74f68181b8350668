"""Bound guided predictions to the intensities that the network expects nearby."""

from __future__ import annotations

import torch

from napari_phenldiff.diffusion.base import BaseModel


class IntensityBounds:
    """Clamp guided images to the range of the unguided prediction around each pixel.

    Guidance extrapolates: where the target makes nuclei brighter and cytoplasm dimmer, it makes
    them brighter and dimmer than the network predicts for any cell. Saharia et al. 2022 (section
    2.3) threshold the predicted clean image to one range per image; here each pixel has the range
    of the unguided prediction in its neighbourhood, so that structures may move but their
    intensities stay plausible.

    Parameters
    ----------
    base : BaseModel
        A base whose autoencoder keeps image channels apart.
    given : torch.Tensor
        ``(1, L, 1, 1)`` bool: latents that are not generated; their channels are not changed.
    radius : int
        Radius of the neighbourhood, in pixels to each side.
    """

    def __init__(self, base: BaseModel, given: torch.Tensor, radius: int) -> None:
        if base.coefficients is None:
            raise ValueError("the autoencoder mixes image channels")
        if radius < 1:
            raise ValueError(f"radius {radius}")
        self._base, self._size = base, 2 * radius + 1
        # a channel is given with all its coefficients, so looking at the first is enough
        kept = given.flatten().unflatten(0, (-1, base.coefficients))[:, 0]
        self._channels = (~kept).nonzero().flatten()

    def __call__(self, guided: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Bound clean latents.

        Parameters
        ----------
        guided, expected : torch.Tensor
            ``(N, L, Y, X)``: the guided prediction, and the unguided prediction under the target.

        Returns
        -------
        torch.Tensor
            `guided`, changed where its decoded pixels are out of range.
        """
        if not len(self._channels):
            return guided
        wanted, range_of = self._decode(torch.cat([guided, expected])).chunk(2)
        highest = self._highest(range_of).clamp(-1, 1)
        lowest = -self._highest(-range_of).clamp(-1, 1)
        bounded = self._base.autoencoder.encode(torch.clamp(wanted, lowest, highest))
        result = guided.unflatten(1, (-1, self._coefficients)).clone()
        result[:, self._channels] = bounded.unflatten(1, (-1, self._coefficients))
        return result.flatten(1, 2)

    @property
    def _coefficients(self) -> int:
        assert self._base.coefficients is not None
        return self._base.coefficients

    def _decode(self, latents: torch.Tensor) -> torch.Tensor:
        of_channels = latents.unflatten(1, (-1, self._coefficients))[:, self._channels]
        return self._base.autoencoder.decode(of_channels.flatten(1, 2))

    def _highest(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the maximum over the square around each pixel, one axis after the other."""
        for axis in (2, 3):
            pixels = _running_maximum(pixels, axis, self._size)
        return pixels


def _running_maximum(pixels: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """Return the maximum of `size` neighbours along an axis, which is odd; edges see fewer.

    The maximum of twice as many neighbours is that of two maxima, so few comparisons are needed.
    """
    length, margin = pixels.shape[axis], size // 2
    edges = (0, 0, margin, margin) if axis == 2 else (margin, margin, 0, 0)
    found = torch.nn.functional.pad(pixels, edges, value=float("-inf"))
    width = 1
    while 2 * width <= size:
        rest = found.shape[axis] - width
        found = torch.maximum(found.narrow(axis, 0, rest), found.narrow(axis, width, rest))
        width *= 2
    if width == size:
        return found
    return torch.maximum(found.narrow(axis, 0, length), found.narrow(axis, size - width, length))
