"""Random numbers that depend on what they are for, and not on what was drawn before."""

from __future__ import annotations

import numpy as np
import torch


def stream(*numbers: int) -> torch.Generator:
    """Return a generator on the CPU of its own for every sequence of non-negative numbers.

    With a seed and the number of a step, or of an image, a resumed training and a batch of another
    size go on with the very numbers that they would have seen otherwise, on every device.
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
