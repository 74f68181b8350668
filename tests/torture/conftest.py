"""Broken on purpose, at random: how often, with which seed, and a table of what came of it.

Three environment variables rule it. ``PHENLDIFF_TORTURE`` is how often each fault is tried (a few
times by default, so that every test run has some of it; ``tox run -e torture`` tries them often),
``PHENLDIFF_TORTURE_SEED`` repeats a run, and ``PHENLDIFF_TORTURE_REPORT`` names a file that the
table is appended to.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_ROUNDS = "PHENLDIFF_TORTURE"
_SEED = "PHENLDIFF_TORTURE_SEED"
_REPORT = "PHENLDIFF_TORTURE_REPORT"


@dataclass
class Row:
    """What came of one kind of fault."""

    fault: str
    seed: int
    tried: int = 0
    survived: int = 0
    lost: list[str] = field(default_factory=list)


_rows: list[Row] = []


class Torture:
    """One kind of fault, tried a number of times."""

    def __init__(self, fault: str, rounds: int, seed: int) -> None:
        self._row = Row(fault, seed)
        self.rounds = rounds
        self.seed = seed
        _rows.append(self._row)

    def tries(self) -> Iterator[random.Random]:
        """Yield random numbers for each try; each is told by the seed and its number."""
        for number in range(self.rounds):
            self._row.tried += 1
            before = len(self._row.lost)
            yield random.Random(f"{self.seed} {self._row.fault} {number}")
            self._row.survived += len(self._row.lost) == before

    def lose(self, what: str) -> None:
        """Take note of something that did not survive."""
        self._row.lost.append(f"seed {self.seed}, try {self._row.tried}: {what}")

    def check(self) -> None:
        """Fail if anything was lost."""
        assert self._row.tried == self.rounds
        assert not self._row.lost, "\n".join(self._row.lost)


@pytest.fixture
def torture() -> Callable[..., Torture]:
    """Begin to try a kind of fault: so often in every test run, or as often as it is asked for."""
    # Another seed each time would fail a run of the tests that nobody has changed anything for.
    seed = int(os.environ.get(_SEED) or (time.time() if os.environ.get(_ROUNDS) else 1))

    def begin(fault: str, few: int, *, costly: int = 1) -> Torture:
        asked = os.environ.get(_ROUNDS)
        rounds = few if not asked else max(1, int(asked) // costly)
        sys.stdout.write(f"{fault}: {rounds} times, {_SEED}={seed}\n")
        return Torture(fault, rounds, seed)

    return begin


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _rows:
        return
    lines = ["| fault | tried | survived | lost | seed |", "|---|---|---|---|---|"]
    for row in _rows:
        lost = "; ".join(row.lost) or "none"
        lines.append(f"| {row.fault} | {row.tried} | {row.survived} | {lost} | {row.seed} |")
    terminalreporter.section("torture")
    terminalreporter.write_line("\n".join(lines))
    report = os.environ.get(_REPORT)
    if report:
        with Path(report).open("a", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
