"""DDIM steps in terms of angles, and their exact inverse.

With ``phi = arccos(sqrt(alpha_bar))`` a noisy latent is ``x = cos(phi) x0 + sin(phi) noise``, and
one deterministic DDIM step from ``phi_t`` to ``phi_s`` rotates in the plane of ``x`` and
``v = cos(phi) noise - sin(phi) x0``::

    x_s = cos(phi_s - phi_t) x_t + sin(phi_s - phi_t) v(x_t, t)

for any kind of prediction, once it has been converted to ``v``. The inverse needs ``v`` at the
unknown ``x_t``; it is found by fixed-point iteration from ``x_s``. For ``epsilon`` the equivalent
step in ``epsilon`` is used, which converges faster than converting to ``v`` (a division by
``cos(phi)``). The inverse scheduler of diffusers mixes the angles of two time steps for
v-prediction and does not converge.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch

from napari_phenldiff.errors import InputError

# Steps divide by cosines, which amplify the network's errors: by 1,000 at this limit, and by 1e14
# at the end of a schedule that leaves no signal.
_LEAST_COSINE = 1e-3

PredictionType = Literal["epsilon", "v_prediction"]
Predict = Callable[[torch.Tensor, int], torch.Tensor]
PredictSome = Callable[[torch.Tensor, int, torch.Tensor], torch.Tensor]
"""Predicts for some of the samples: their latents, the time step, and their numbers ``(n,)``."""


@dataclass(frozen=True, slots=True, eq=False)
class Inversion:
    """The result of inverting clean latents.

    Attributes
    ----------
    path : tuple of torch.Tensor
        Latents ``(N, C, Y, X)`` from the clean ones to the code, one more than there are steps.
    residual : torch.Tensor
        ``(N,)``: the largest relative change by the last fixed-point iteration of any step, an
        estimate of the error of the inversion. NaN with a single iteration.
    """

    path: tuple[torch.Tensor, ...]
    residual: torch.Tensor

    @property
    def code(self) -> torch.Tensor:
        """Noisy latents at the last time step."""
        return self.path[-1]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The time steps of one inversion or generation.

    Attributes
    ----------
    timesteps : tuple of int
        Increasing time steps of the training schedule at which the network is evaluated.
    angles : tuple of float
        ``phi`` of the clean latents (0), followed by that of each time step.
    prediction_type : {"epsilon", "v_prediction"}
        What the network predicts.
    """

    timesteps: tuple[int, ...]
    angles: tuple[float, ...]
    prediction_type: PredictionType

    @classmethod
    def from_alphas(
        cls,
        alphas_cumprod: np.ndarray,
        prediction_type: str,
        *,
        steps: int,
        depth: float = 1.0,
    ) -> Schedule:
        """Spread `steps` evenly ("trailing") over the first `depth` of the training schedule.

        Parameters
        ----------
        alphas_cumprod : numpy.ndarray
            ``alpha_bar`` of the training schedule.
        prediction_type : str
            As in the scheduler's config.
        steps : int
            Number of steps for the whole schedule; with `depth` 0.5 half as many are made.
        depth : float
            Fraction of the schedule that is inverted, in (0, 1].

        Raises
        ------
        InputError
            If the depth, the number of steps or the prediction type cannot be used.
        """
        total = len(alphas_cumprod)
        if not 0 < depth <= 1:
            raise InputError(f"The depth is {depth}; choose more than 0 and at most 1.")
        if not 1 <= steps <= total:
            raise InputError(f"{steps} inference steps were asked for; choose 1 to {total}.")
        if prediction_type not in get_args(PredictionType):
            raise InputError(
                f"The base model predicts {prediction_type!r}; give one that predicts epsilon or "
                "v_prediction."
            )
        taken = max(1, round(steps * depth))
        timesteps = np.rint(np.linspace(0, depth * total, taken + 1)[1:]).astype(int) - 1
        phi = np.arccos(np.sqrt(np.clip(alphas_cumprod[timesteps], 0, 1)))
        if prediction_type == "epsilon" and np.cos(phi[-1]) < _LEAST_COSINE:
            usable = np.flatnonzero(np.sqrt(alphas_cumprod) >= _LEAST_COSINE).size / total
            raise InputError(
                "The base model predicts epsilon, and its schedule ends in pure noise, which "
                f"cannot be inverted: choose a depth of at most {math.floor(100 * usable) / 100}."
            )
        if np.cos(np.diff(phi, prepend=0.0)).min() < _LEAST_COSINE:
            raise InputError(
                f"{steps} inference steps are too few to invert a schedule that ends in pure "
                "noise: choose at least 2, or less depth."
            )
        return cls(
            tuple(int(t) for t in timesteps),
            (0.0, *(float(value) for value in phi)),
            prediction_type,  # type: ignore[arg-type]
        )

    def invert(
        self,
        latents: torch.Tensor,
        predict: PredictSome,
        *,
        iterations: int = 3,
        tolerance: float = 0.0,
        on_step: Callable[[], None] = lambda: None,
    ) -> Inversion:
        """Invert clean latents to the code that `generate` turns back into them.

        The iteration of a step starts at the point that the outputs of the two steps before,
        continued in a straight line, lead to: that is much closer to the solution than the starting
        point of the step. Every sample is iterated until it has converged, whatever the others
        of the batch do.

        Parameters
        ----------
        latents : torch.Tensor
            ``(N, C, Y, X)`` float32.
        predict : callable
            ``predict(x, t, numbers)`` returns the network's output for the samples `numbers`, of
            the shape of `x`.
        iterations : int
            Most evaluations of the network per step and sample; 1 is plain DDIM inversion.
        tolerance : float
            A sample is not iterated further once an evaluation changes it by less, relative to its
            norm. With 0, all evaluations are made.
        on_step : callable
            Called after every step.

        Returns
        -------
        Inversion
        """
        x = latents
        path = [x]
        outputs: list[torch.Tensor] = []
        worst = torch.full((len(x),), float("nan") if iterations < 2 else 0.0)
        for k, t in enumerate(self.timesteps):
            start = x
            if outputs and iterations > 1:
                x = self._inverse_step(start, self._expected(outputs, k), k)
            x, output, changes = self._solve(start, x, predict, k, t, iterations, tolerance)
            outputs = [*outputs[-1:], output]
            worst = torch.maximum(worst, changes.cpu())
            path.append(x)
            on_step()
        return Inversion(tuple(path), worst)

    def _expected(self, outputs: list[torch.Tensor], k: int) -> torch.Tensor:
        """Return the output that is expected at step `k`, by those of the one or two before."""
        if len(outputs) < 2:
            return outputs[-1]
        before, last, here = self.angles[k - 1 : k + 2]
        return torch.lerp(outputs[0], outputs[1], (here - before) / (last - before))

    def _solve(
        self,
        start: torch.Tensor,
        x: torch.Tensor,
        predict: PredictSome,
        k: int,
        t: int,
        iterations: int,
        tolerance: float,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the solution of a step, its output, and the last change of each sample."""
        x, output = x.clone(), torch.empty_like(x)
        changes = torch.zeros(len(x), device=x.device)
        numbers = torch.arange(len(x), device=x.device)
        for _ in range(iterations):
            found = predict(x[numbers], t, numbers)
            solved = self._inverse_step(start[numbers], found, k)
            change = (solved - x[numbers]).flatten(1).norm(dim=1) / solved.flatten(1).norm(dim=1)
            x[numbers], output[numbers], changes[numbers] = solved, found, change.to(changes)
            # what is not a number is not iterated either
            numbers = numbers[change > tolerance]
            if not len(numbers):
                break
        return x, output, changes

    def generate(self, code: torch.Tensor, predict: Predict) -> torch.Tensor:
        """Generate clean latents from a code at the last time step (deterministic DDIM)."""
        x = code
        for k in range(len(self.timesteps) - 1, -1, -1):
            x = self._step(x, predict(x, self.timesteps[k]), k)
        return x

    def output_along(self, path: tuple[torch.Tensor, ...], t: int) -> torch.Tensor:
        """Return the network output at `t` that stays exactly on the path of an inversion."""
        k = self.timesteps.index(t)
        low, high = self.angles[k], self.angles[k + 1]
        if self.prediction_type == "v_prediction":
            wanted = float(np.cos(high - low)) * path[k + 1] - path[k]
            return wanted / float(np.sin(high - low))
        ratio = float(np.cos(low) / np.cos(high))
        return (path[k] - ratio * path[k + 1]) / (float(np.sin(low)) - ratio * float(np.sin(high)))

    def clean_from(self, x: torch.Tensor, output: torch.Tensor, t: int) -> torch.Tensor:
        """Return the clean latents that the output at `t` predicts for noisy latents `x`."""
        angle = self.angles[self.timesteps.index(t) + 1]
        if self.prediction_type == "v_prediction":
            return float(np.cos(angle)) * x - float(np.sin(angle)) * output
        return (x - float(np.sin(angle)) * output) / float(np.cos(angle))

    def output_for(self, x: torch.Tensor, clean: torch.Tensor, t: int) -> torch.Tensor:
        """Return the network output that predicts `clean`; the inverse of `clean_from`."""
        angle = self.angles[self.timesteps.index(t) + 1]
        if self.prediction_type == "v_prediction":
            return (float(np.cos(angle)) * x - clean) / float(np.sin(angle))
        return (x - float(np.cos(angle)) * clean) / float(np.sin(angle))

    def _step(self, x: torch.Tensor, output: torch.Tensor, k: int) -> torch.Tensor:
        low, high = self.angles[k], self.angles[k + 1]
        if self.prediction_type == "v_prediction":
            return float(np.cos(high - low)) * x - float(np.sin(high - low)) * output
        clean = (x - float(np.sin(high)) * output) / float(np.cos(high))
        return float(np.cos(low)) * clean + float(np.sin(low)) * output

    def _inverse_step(self, x: torch.Tensor, output: torch.Tensor, k: int) -> torch.Tensor:
        low, high = self.angles[k], self.angles[k + 1]
        if self.prediction_type == "v_prediction":
            return (x + float(np.sin(high - low)) * output) / float(np.cos(high - low))
        clean = (x - float(np.sin(low)) * output) / float(np.cos(low))
        return float(np.cos(high)) * clean + float(np.sin(high)) * output
