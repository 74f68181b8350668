"""Exponential moving average of the trained weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch


class MovingAverage:
    """Average of parameters, with a warm-up so that short trainings are averaged too.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
        The trained parameters.
    decay : float
        Decay after the warm-up; with 0 the average equals the parameters.
    """

    def __init__(self, parameters: Iterable[torch.nn.Parameter], decay: float) -> None:
        self.parameters = list(parameters)
        self.decay = decay
        self.averages = [p.detach().clone().float() for p in self.parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the average after optimisation step `step` (counted from 1)."""
        decay = min(self.decay, step / (step + 10))
        values = [parameter.detach().float() for parameter in self.parameters]
        torch._foreach_lerp_(self.averages, values, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replace the parameters by their averages inside the context."""
        online = [p.detach().clone() for p in self.parameters]
        self._copy(self.averages)
        try:
            yield
        finally:
            self._copy(online)

    @torch.no_grad()
    def _copy(self, values: list[torch.Tensor]) -> None:
        for parameter, value in zip(self.parameters, values, strict=True):
            parameter.copy_(value)
