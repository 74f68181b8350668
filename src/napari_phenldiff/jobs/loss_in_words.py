"""What a loss that hardly falls means, and what to look at in its place."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from napari_phenldiff.runs.events import Validated

_FEWEST = 30
"""Steps before which a loss tells nothing: a single one depends on noise and its level."""

_FLAT = 0.1
"""Fall of the loss, as a fraction of it, below which a curve looks flat."""

_RISE = 1.02
"""Rise of the watched loss, as a factor, from which on it is told."""


def about_the_loss(
    losses: Sequence[tuple[int, float]], validations: Sequence[Validated] = ()
) -> str:
    """Say what to look at when the loss of a training is flat; empty when it falls.

    A loss is mostly noise that no network can predict, so that a base model which fits the images
    has a flat one from the start, also while it learns how the conditions differ.

    Parameters
    ----------
    losses : sequence of (int, float)
        Step and loss.
    validations : sequence of Validated
        Losses on images that are not trained on.
    """
    values = [loss for _, loss in losses]
    part = len(values) // 3
    if len(values) < _FEWEST or part == 0:
        return ""
    before, after = fmean(values[:part]), fmean(values[-part:])
    if before <= 0 or after < (1 - _FLAT) * before:
        return ""
    told = (
        "The loss is flat. That is usual: most of it is noise, and what the conditions differ in "
        "is a small part of it. Look at the previews"
    )
    if len(validations) < 2:
        return told + "."
    first, last = validations[0].loss, validations[-1].loss
    change = f"{first:.4f} at step {validations[0].step:,}, {last:.4f} at step "
    change += f"{validations[-1].step:,}"
    if last > _RISE * first:
        return (
            f"{told}; the watched loss (orange dots) rises ({change}): fewer steps may be better."
        )
    return f"{told} and at the watched loss (orange dots): {change}, so nothing is memorised."
