"""Broken on purpose, at random: how often, with which seed, and a table of what came of it.

Three environment variables rule it. ``PHENLDIFF_TORTURE`` is how often each fault is tried (a few
times by default, so that every test run has some of it; ``tox run -e torture`` tries them often),
``PHENLDIFF_TORTURE_SEED`` repeats a run, and ``PHENLDIFF_TORTURE_REPORT`` names a file for the
table, which is written after each try.
"""

from __future__ import annotations

import importlib.util
import os
import random
import resource
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from napari_phenldiff.errors import InputError

_ROUNDS = "PHENLDIFF_TORTURE"
_SEED = "PHENLDIFF_TORTURE_SEED"
_REPORT = "PHENLDIFF_TORTURE_REPORT"


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"torture_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


_COMMANDS = _load(Path(__file__).with_name("commands.py"))


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
            _report()

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


_SECONDS = 30
_MEMORY = 2**30


class TooSlow(Exception):
    """Raised where something hangs."""


@contextmanager
def bounded(memory: int = _MEMORY) -> Iterator[None]:
    """Refuse more than a GiB of memory on top, and more than half a minute of a processor."""

    def stop(*_: object) -> None:
        raise TooSlow(f"it took more than {_SECONDS} s of a processor, or ten times as long")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stop), signal.signal(signal.SIGPROF, stop)
    resource.setrlimit(resource.RLIMIT_AS, (used + memory, hard))
    # Of a processor, since other programs may make everything slow.
    signal.setitimer(signal.ITIMER_PROF, _SECONDS)
    signal.alarm(10 * _SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before[0])
        signal.signal(signal.SIGPROF, before[1])
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _attempt(
    trial: Torture, what: str, work: Callable[[], object], *, memory: int = _MEMORY
) -> None:
    """Do something that may refuse with a sentence, and take note if it does anything else."""
    try:
        with bounded(memory):
            work()
    except InputError as error:
        text = str(error)
        if not text or "Traceback" in text or len(text) > 2000:
            trial.lose(f"{what}: not a sentence: {text[:200]!r}")
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        trial.lose(f"{what}: {type(error).__name__}: {str(error)[:150]} ({place})")


def _damaged(data: bytes, rng: random.Random) -> bytes:
    """Damage bytes in one of several ways."""
    changed = bytearray(data)
    match rng.randrange(5):
        case 0:  # some bytes are others
            for _ in range(rng.randint(1, 8)):
                changed[rng.randrange(len(changed))] = rng.randrange(256)
        case 1:  # in the header, where a byte means much
            for _ in range(rng.randint(1, 4)):
                changed[rng.randrange(min(400, len(changed)))] = rng.randrange(256)
        case 2:  # the end is missing
            del changed[rng.randrange(len(changed)) :]
        case 3:  # something in between is missing
            start = rng.randrange(len(changed))
            del changed[start : start + rng.randint(1, 200)]
        case _:  # something is there twice
            start = rng.randrange(len(changed))
            changed[start:start] = changed[start : start + rng.randint(1, 200)]
    return bytes(changed)


_ODD: tuple[object, ...] = (
    None,
    True,
    -1,
    0,
    10**400,
    1e308,
    float("nan"),
    "",
    "x" * 500,
    [],
    {},
    [[]],
    "\ud800",
    0.5,
    -7,
    2**63,
)


def _odd(value: object, rng: random.Random) -> object:
    """Return JSON with one value, somewhere in it, that nobody expects there."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(sorted(value))
        if rng.random() < 0.1:
            return {name: one for name, one in value.items() if name != key}
        return {**value, key: _odd(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        number = rng.randrange(len(value))
        return [*value[:number], _odd(value[number], rng), *value[number + 1 :]]
    return rng.choice(_ODD)


@pytest.fixture(scope="session")
def commands() -> ModuleType:
    """What is in ``commands.py``, which is no test."""
    return _COMMANDS


@pytest.fixture(scope="session")
def workshop(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Any]:
    """What makes the commands; see there."""
    made = _COMMANDS.Workshop(
        tmp_path_factory.mktemp("workshop"),
        lambda: request.getfixturevalue("tiny_base"),
        _load(Path(__file__).parents[1] / "local_hub.py"),
    )
    yield made
    made.close()


@pytest.fixture
def attempt() -> Callable[..., None]:
    """Do something that may refuse with a sentence, and take note if it does anything else."""
    return _attempt


@pytest.fixture
def damaged() -> Callable[[bytes, random.Random], bytes]:
    """Damage bytes in one of several ways."""
    return _damaged


@pytest.fixture
def odd() -> Callable[[object, random.Random], object]:
    """Change JSON in one place into what nobody expects there."""
    return _odd


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not _rows:
        return
    terminalreporter.section("torture")
    terminalreporter.write_line(_table())


def _report() -> None:
    """Write the table so far, so that a run that is cut short has one, too."""
    report = os.environ.get(_REPORT)
    if report:
        Path(report).write_text(f"{_table()}\n", encoding="utf-8", errors="backslashreplace")


def _table() -> str:
    lines = ["| fault | tried | survived | lost | seed |", "|---|---|---|---|---|"]
    for row in _rows:
        lost = "; ".join(row.lost) or "none"
        lines.append(f"| {row.fault} | {row.tried} | {row.survived} | {lost} | {row.seed} |")
    return "\n".join(lines)
