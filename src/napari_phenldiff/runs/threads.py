"""How a process that computes shares the cores with others; to be said before torch is loaded.

Threads of OpenMP wait for each other by spinning, which keeps the cores that they wait for: beside
one busy process, two threads on two cores take many times as long as one. So they sleep while they
wait, and there are no more of them than there are free cores.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping, MutableMapping

import psutil  # type: ignore[import-untyped]

WAITING = {
    # of GNU's OpenMP, which torch has on Linux; of LLVM's and Intel's; and of any
    "GOMP_SPINCOUNT": "0",
    "KMP_BLOCKTIME": "0",
    "OMP_WAIT_POLICY": "PASSIVE",
}
"""What has threads sleep while they wait."""

_CHOICES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_THREAD_LIMIT")
_LOOK = 0.25
"""Seconds over which it is watched how busy the cores are."""


def share_cores(environment: MutableMapping[str, str] | None = None) -> int | None:
    """Have this process wait politely, with as many threads as there are free cores.

    What is set already is left as it is: whoever set it knows better. Without effect once torch is
    loaded, which reads the environment then.

    Parameters
    ----------
    environment : mutable mapping, optional
        By default that of this process.

    Returns
    -------
    int or None
        The number of threads, if there are fewer than usual since others keep cores busy.
    """
    if "torch" in sys.modules and environment is None:
        return None
    environment = os.environ if environment is None else environment
    if not any(name in environment for name in WAITING):
        environment.update(WAITING)
    # Several processes that share batches look at each other's work, and are told their number.
    if any(name in environment for name in (*_CHOICES, "WORLD_SIZE")):
        return None
    cores = _cores()
    free = max(1, cores - round(busy_cores()))
    if free >= cores:
        return None
    environment["OMP_NUM_THREADS"] = str(free)
    return free


def busy_cores() -> float:
    """Tell how many of the cores that this process may use are kept busy by others.

    Those of low priority do not count, as they give way, unless this one is of low priority too.
    """
    allowed, with_nice = _allowed(), _is_nice()
    # psutil's own percentages are too low over less than a second.
    before = psutil.cpu_times(percpu=True)
    time.sleep(_LOOK)
    after = psutil.cpu_times(percpu=True)
    return sum(
        _busy(first._asdict(), second._asdict(), with_nice=with_nice)
        for k, (first, second) in enumerate(zip(before, after, strict=True))
        if allowed is None or k in allowed
    )


def _busy(before: Mapping[str, float], after: Mapping[str, float], *, with_nice: bool) -> float:
    """Tell which part of the time a core was busy, with what has low priority or without."""
    # Time of guests is in that of users already.
    spent = {k: after[k] - before[k] for k in after if k not in ("guest", "guest_nice")}
    total = sum(spent.values())
    free = ("idle", "iowait") if with_nice else ("idle", "iowait", "nice")
    return 1 - sum(spent.get(k, 0.0) for k in free) / total if total > 0 else 0.0


def _is_nice() -> bool:
    try:
        return os.getpriority(os.PRIO_PROCESS, 0) > 0
    except (AttributeError, OSError):
        return False  # on Windows such time is not told apart


def _allowed() -> set[int] | None:
    try:
        return set(os.sched_getaffinity(0))  # type: ignore[attr-defined,unused-ignore]
    except (AttributeError, OSError):
        return None  # not a question that this system answers


def _cores() -> int:
    allowed = _allowed()
    return len(allowed) if allowed else psutil.cpu_count() or 1
