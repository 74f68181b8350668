"""The learning rate schedule of pre-training and fine-tuning."""

from __future__ import annotations

import math


def warmed_cosine(step: int, *, steps: int, warmup: int, floor: float) -> float:
    """Return the learning rate of step `step` (from 1), as a fraction of the peak rate.

    It rises linearly over `warmup` steps and then falls along a cosine to `floor`.
    """
    if step <= warmup:
        return step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
