"""Random streams that depend on their purpose, and not on what was drawn before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import numpy as np
import torch

_GLOBAL = Lock()


def stream(*numbers: int) -> torch.Generator:
    """Return a CPU generator that is seeded by a sequence of non-negative numbers.

    Seeded by the seed of a run and the number of a step or image, the random numbers are the same
    after a resume, in batches of another size, and on every device. Zeros at the end make no
    difference, so sequences of one purpose should be equally long.
    """
    state = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state >> np.uint64(1)))


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global random generator inside the context, and restore it after that.

    Layers draw their initial weights from the global generator, and take no other one. Two threads
    that do so wait for each other, because each would get numbers of the other's sequence.
    """
    devices = [torch.cuda.current_device()] if torch.cuda.is_initialized() else []
    with _GLOBAL, torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
