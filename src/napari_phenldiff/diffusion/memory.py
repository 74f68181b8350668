"""How a batch fits into memory: whole, in parts whose gradients add up, or computed twice.

What the backward pass of one sample needs is counted and not guessed: it depends on the network,
on the side of the tiles and on which layers learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch

_SPARE = 0.9
"""Fraction of the free memory that is used."""

_BESIDES = 1.3
"""What a pass takes in all, in times of what it keeps for the backward pass."""

_PER_LEARNED = 12
"""Bytes per learned number that come later: its gradient and both moments."""


@dataclass(frozen=True, slots=True)
class Fit:
    """How a batch goes through the network.

    Attributes
    ----------
    batch_size : int
        Samples of a step.
    part : int
        Samples that go through the network at once; their gradients are added.
    recomputed : bool
        Whether what lies between the blocks of the network is computed again in the backward pass
        and not kept (gradient checkpointing), which takes a third more time.
    """

    batch_size: int
    part: int
    recomputed: bool = False

    @property
    def is_whole(self) -> bool:
        """Whether the batch goes through at once, with nothing computed twice."""
        return self.part >= self.batch_size and not self.recomputed

    def smaller(self) -> Fit | None:
        """Return what to try if this does not fit; None if nothing is smaller."""
        if self.part > 1:
            return replace(self, part=-(-self.part // 2))
        return None if self.recomputed else replace(self, recomputed=True)

    def in_words(self) -> str:
        """Say it in one sentence."""
        parts = -(-self.batch_size // self.part)
        said = []
        if parts > 1:
            said.append(
                f"its tiles go through the network {self.part} at a time and their gradients are "
                "added, which learns the same"
            )
        if self.recomputed:
            said.append(
                "what the network computes is computed again where it is needed (gradient "
                "checkpointing), which takes a third more time"
            )
        return f"A batch of {self.batch_size} does not fit into the memory: {'; '.join(said)}"


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that a forward pass keeps for the backward pass.

    Attributes
    ----------
    each : int
        For every sample.
    once : int
        Whatever the number of samples is: weights in another precision, for example.
    """

    each: int
    once: int = 0


def choose_fit(batch_size: int, kept: Kept, *, learned: int, free: int) -> Fit:
    """Choose how a batch goes through the network.

    Parameters
    ----------
    batch_size : int
        Samples of a step.
    kept : Kept
        What a pass keeps, see `bytes_kept`.
    learned : int
        Numbers that learn.
    free : int
        Bytes that are free on the device.

    Returns
    -------
    Fit
        The whole batch if it fits, else as many samples at once as do; one, computed twice, if
        not even one does.
    """
    room = _SPARE * free - _PER_LEARNED * learned - kept.once
    part = int(room / (_BESIDES * max(1, kept.each)))
    if part < 1:
        return Fit(batch_size, 1, recomputed=True)
    if part >= batch_size:
        return Fit(batch_size, batch_size)
    # parts of nearly equal sizes
    return Fit(batch_size, -(-batch_size // -(-batch_size // part)))


def bytes_kept(forward: Callable[[], torch.Tensor], weights: Iterable[torch.Tensor]) -> int:
    """Count what a forward pass keeps for the backward pass, in bytes.

    Parameters
    ----------
    forward : callable
        Makes the pass; what it returns is thrown away.
    weights : iterable of torch.Tensor
        What is there anyway, and does not count.
    """
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            # the storage itself is kept, so that no other takes its address
            kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    del result
    return sum(storage.nbytes() for storage in kept.values())
