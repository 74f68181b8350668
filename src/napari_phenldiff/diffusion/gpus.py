"""Share the GPUs of a machine among processes."""

from __future__ import annotations

import torch


def device_of_worker(wanted: str, worker: int) -> str:
    """Return the device of one of several processes: each has a GPU of its own, if there are some.

    Parameters
    ----------
    wanted : str
        ``"auto"`` or a torch device; one that names a GPU by its number is left.
    worker : int
        Number of the process, from 0.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return f"cuda:{worker % gpus}" if gpus > 1 and wanted in ("auto", "cuda") else wanted
