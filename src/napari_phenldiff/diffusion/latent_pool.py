"""Draw training latents of all conditions, from the device itself where they fit."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from napari_phenldiff.diffusion.device import free_memory, to_device
from napari_phenldiff.diffusion.latents import VIEWS, CachedLatents

_MOST = 0.25
"""Fraction of a device's free memory that latents may take."""


class LatentPool:
    """The cached latents of all conditions, from which batches are drawn.

    Parameters
    ----------
    latents : sequence of CachedLatents
        Of each condition, all of one shape.
    device : torch.device
        Where batches are needed.
    resident : bool, optional
        Whether all latents are moved to the device; by default where it is a GPU with room for
        them. Then a batch is one indexing there, and the processor waits for nothing.
    """

    def __init__(
        self,
        latents: Sequence[CachedLatents],
        device: torch.device,
        *,
        resident: bool | None = None,
    ) -> None:
        self._latents, self._device = latents, device
        total = sum(cached.nbytes for cached in latents)
        if resident is None:
            resident = device.type == "cuda" and total < _MOST * free_memory(device)
        self._whole: torch.Tensor | None = None
        self._starts = [0]
        for cached in latents:
            self._starts.append(self._starts[-1] + VIEWS * len(cached))
        if resident:
            own, *sides = latents[0].shape
            self._whole = torch.empty(
                self._starts[-1], own, *sides, dtype=torch.float16, device=device
            )
            for cached, start in zip(latents, self._starts, strict=False):
                for first, some in cached.stored():
                    self._whole[start + first : start + first + len(some)] = some.to(device)
            self._missing = latents[0].missing.to(device)

    @property
    def conditions(self) -> int:
        """Number of conditions."""
        return len(self._latents)

    @property
    def resident(self) -> bool:
        """Whether all latents are on the device."""
        return self._whole is not None

    def draw(self, index: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw a tile in one of its eight views for each condition number of `index` ``(n,)``.

        Returns
        -------
        torch.Tensor
            ``(n, L, y, x)`` float32 on the device. The same numbers are drawn wherever the latents
            lie.
        """
        drawn = []
        for condition in index.tolist():
            view = int(torch.randint(VIEWS, (1,), generator=generator))
            tile = int(torch.randint(len(self._latents[condition]), (1,), generator=generator))
            drawn.append((condition, view, tile))
        if self._whole is None:
            found = torch.stack([self._latents[c].view(view, tile) for c, view, tile in drawn])
            return to_device(found, self._device)
        places = [self._starts[c] + v * len(self._latents[c]) + t for c, v, t in drawn]
        chosen = self._whole[to_device(torch.tensor(places), self._device)].float()
        return torch.cat([chosen, self._missing.expand(len(chosen), *self._missing.shape)], dim=1)
