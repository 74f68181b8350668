"""Random streams that depend on their purpose, and not on what was drawn before."""

from __future__ import annotations

import numpy as np
import torch


def stream(*numbers: int) -> torch.Generator:
    """Return a CPU generator that is seeded by a sequence of non-negative numbers.

    Seeded by the seed of a run and the number of a step or image, the random numbers are the same
    after a resume, in batches of another size, and on every device.
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))
