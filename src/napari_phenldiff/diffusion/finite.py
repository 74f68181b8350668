"""Numbers that are none: where a training has diverged, and where weights are damaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

from napari_phenldiff.errors import InputError


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Whether no number of the tensors is infinite or none at all."""
    return all(bool(torch.isfinite(t).all()) for t in tensors if t.is_floating_point())


def check_weights(weights: Mapping[str, torch.Tensor], what: str, remedy: str) -> None:
    """Refuse weights that are not finite, with which everything that is drawn would be black.

    Parameters
    ----------
    weights : mapping of str to torch.Tensor
        By name.
    what : str
        Whose they are, as the subject of the sentence.
    remedy : str
        What to do about it, as its end.

    Raises
    ------
    InputError
        Naming the first that is not.
    """
    for name, tensor in weights.items():
        if not all_finite([tensor]):
            raise InputError(
                f"{what} has weights that are no finite numbers (the first is {name}); {remedy}."
            )


def check_progress(
    step: int, loss: float, weights: Iterable[torch.Tensor], *, config: Any, kept: Callable[[], str]
) -> None:
    """Refuse to go on with a training that has diverged.

    Parameters
    ----------
    step : int
        That has just been made.
    loss : float
        Of that step.
    weights : iterable of torch.Tensor
        That learn, and their averages; those that are to be looked at now.
    config : CommonTraining or PretrainingConfig
        With `learning_rate` and `precision`.
    kept : callable
        Says what is left of the training, as a part of the sentence. It looks at the disk, and is
        asked only if there is something to refuse: steps are many.

    Raises
    ------
    InputError
        If the loss or a weight is not finite, with what to try.
    """
    if math.isfinite(loss) and all_finite(weights):
        return
    what = "weights" if math.isfinite(loss) else "loss"
    also = "" if config.precision == "float32" else ", or in float32 (--precision float32)"
    raise InputError(
        f"The training has diverged: at step {step} the {what} no longer "
        f"{'are finite numbers' if what == 'weights' else 'is a finite number'}. {kept()}; start a "
        f"new one with a lower learning rate, such as --learning-rate "
        f"{config.learning_rate / 10:.1g}{also}."
    )
