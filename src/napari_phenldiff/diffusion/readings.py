"""Numbers that are read from a device without making the processor wait for it."""

from __future__ import annotations

import torch


class Reading:
    """A number that a GPU is still computing, on its way to the processor.

    Asking a GPU for a number makes the processor wait until all that was asked of it before is
    done, and then the GPU waits for the processor. A reading is copied as soon as it is computed;
    who turns it into a float a step later finds it there.

    Parameters
    ----------
    value : torch.Tensor
        One number on any device; on the processor it is there already.
    """

    def __init__(self, value: torch.Tensor) -> None:
        value = value.detach()
        self._there: torch.cuda.Event | None = None
        if value.device.type == "cuda":
            self._value = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
            self._value.copy_(value, non_blocking=True)
            self._there = torch.cuda.Event()
            self._there.record()
        else:
            self._value = value

    @property
    def on_its_way(self) -> bool:
        """Whether reading it would wait, and should be put off until there is more to do."""
        return self._there is not None

    def __float__(self) -> float:
        """Return the number, once it is there."""
        if self._there is not None:
            self._there.synchronize()
        return float(self._value)
