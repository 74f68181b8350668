"""Bounds on how far a guided prediction may go: no darker or brighter than there is nearby."""

from __future__ import annotations

import torch

from napari_phenldiff.diffusion.base import BaseModel


class LightBounds:
    """Hold guided latents within what the network itself expects of the target nearby.

    Guidance extrapolates: where the target makes nuclei brighter and cytoplasm dimmer, it makes
    them brighter and dimmer than the network believes of any cell. Thresholding the predicted clean
    image to the range of pixels is known from Saharia et al. 2022 (section 2.3) for whole images;
    here each pixel has the range of the unguided prediction around it, so that the effect may move
    but not exceed what is there.

    Parameters
    ----------
    base : BaseModel
        With an autoencoder that keeps image channels apart.
    given : torch.Tensor
        ``(1, L, 1, 1)`` bool, latents that are not generated; their channels are left alone.
    radius : int
        Pixels to each side.
    """

    def __init__(self, base: BaseModel, given: torch.Tensor, radius: int) -> None:
        if base.coefficients is None:
            raise ValueError("the autoencoder mixes image channels")
        if radius < 1:
            raise ValueError(f"radius {radius}")
        self._base, self._size = base, 2 * radius + 1
        # channels are given as a whole
        kept = given.flatten().unflatten(0, (-1, base.coefficients))[:, 0]
        self._channels = (~kept).nonzero().flatten()

    def __call__(self, guided: torch.Tensor, expected: torch.Tensor) -> torch.Tensor:
        """Bound clean latents.

        Parameters
        ----------
        guided, expected : torch.Tensor
            ``(N, L, Y, X)``: what guidance makes of the prediction, and the prediction under the
            target alone.

        Returns
        -------
        torch.Tensor
            `guided`, changed where it is decoded to pixels that are out of range.
        """
        if not len(self._channels):
            return guided
        wanted, range_of = self._decode(guided), self._decode(expected)
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
        for size in ((self._size, 1), (1, self._size)):
            margins = (size[0] // 2, size[1] // 2)
            pixels = torch.nn.functional.max_pool2d(pixels, size, stride=1, padding=margins)
        return pixels
