"""The course of the learning rate, the same for pre-training and fine-tuning."""

from __future__ import annotations

import math


def warmed_cosine(step: int, *, steps: int, warmup: int, floor: float) -> float:
    """Return the part of the peak rate that optimisation step `step` (from 1) takes.

    It rises evenly over `warmup` steps, then falls along a cosine and ends at `floor`.
    """
    if step <= warmup:
        return step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))
