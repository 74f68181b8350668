"""Checks for NaN and infinite values: diverged trainings and damaged weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from napari_phenldiff.errors import InputError


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether the tensors contain neither NaN nor infinite values."""
    return all(bool(torch.isfinite(t).all()) for t in tensors if t.is_floating_point())


def check_weights(weights: Mapping[str, torch.Tensor], what: str, remedy: str) -> None:
    """Refuse weights that are not finite, which would give black images.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        By name.
    what : str
        What the weights belong to; the subject of the error message.
    remedy : str
        What to do about it; the end of the error message.

    Raises
    ------
    InputError
        If a weight is not finite; the message names the first one.
    """
    for name, tensor in weights.items():
        if not all_finite([tensor]):
            raise InputError(
                f"{what} has weights that are not finite numbers (the first is {name}); {remedy}."
            )


def check_progress(
    step: int, loss: float, weights: Iterable[torch.Tensor], *, config: Any, kept: Callable[[], str]
) -> None:
    """Stop a training that has diverged.

    Parameters
    ----------
    step : int
        The last step.
    loss : float
        Its loss.
    weights : iterable of torch.Tensor
        Weights and averages to check; empty at steps at which only the loss is checked.
    config : CommonTraining or PretrainingConfig
        Settings with `learning_rate` and `precision`, for the suggestion in the message.
    kept : callable
        Returns a clause about what has been saved. It reads the disk, so it is only called when
        the training is stopped.

    Raises
    ------
    InputError
        If the loss or a weight is not finite; the message suggests other settings.
    """
    if math.isfinite(loss) and all_finite(weights):
        return
    what = "weights" if math.isfinite(loss) else "loss"
    also = "" if config.precision == "float32" else ", or in float32 (--precision float32)"
    raise InputError(
        f"The training has diverged: at step {step} the {what} no longer "
        f"{'are finite numbers' if what == 'weights' else 'is a finite number'}. {kept()}; start a "
        f"new one with a lower learning rate, such as "
        f"{config.learning_rate / 10:.1g} (--learning-rate){also}."
    )
