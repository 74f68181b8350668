"""How far an evaluation is: its stages one after the other, each worth the time it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

OnStep = Callable[[str, float, int], None]
"""Told what is done, how many steps of the evaluation are done, and how many there are."""

WITHOUT_MODEL = 2
"""Steps that a stage counts in which no image goes through the model."""


class Course:
    """Counts the steps of an evaluation; a step is about as long as translating an image takes.

    Parameters
    ----------
    total : int
        Steps of all stages.
    on_step : callable
        Told of each step.
    """

    def __init__(self, total: int, on_step: OnStep) -> None:
        self.total = total
        self._on_step = on_step
        self._end = 0

    def stage(self, what: str, steps: int = WITHOUT_MODEL) -> Stage:
        """Begin the next stage."""
        begin, self._end = self._end, self._end + steps
        return Stage(what, steps, lambda text, done: self._on_step(text, begin + done, self.total))

    def end(self) -> None:
        """Tell that all stages are done."""
        self._on_step("reaching a verdict", self.total, self.total)


class Stage:
    """One stage of an evaluation.

    Parameters
    ----------
    what : str
        What is done in it.
    steps : int
        How many steps it counts.
    tell : callable
        Told what is done, and how many of its steps are done.
    """

    def __init__(self, what: str, steps: int, tell: Callable[[str, float], None]) -> None:
        self._what, self._steps, self._tell = what, steps, tell
        self._most = 0.0
        tell(what, 0)

    def images(self, results: Iterator[Any], n: int) -> Iterator[Any]:
        """Yield results for `n` images as they come, and tell of each."""
        for done, result in enumerate(results, start=1):
            self.at(done, n)
            yield result

    def at(self, done: float, n: int, more: str = "") -> None:
        """Tell that `done` of `n` images are done, unless more were before."""
        if done < self._most:
            return  # the images of a batch are made together, and then come one by one
        self._most = done
        text = f"{self._what}, image {min(int(done) + 1, n)} of {n}{more}"
        self._tell(text, self._steps * done / n)

    @contextmanager
    def following(self, translator: Any, n: int) -> Iterator[None]:
        """Tell of the passes of the network too, while a translator works on `n` images."""
        done = 0

        def on_part(together: int, step: int, steps: int) -> None:
            nonlocal done
            more = f" (step {step} of {steps})"
            self.at(min(done + together * step / steps, n), n, more)
            if step == steps:
                done += together

        before = getattr(translator, "on_part", None)
        translator.on_part = on_part
        try:
            yield
        finally:
            translator.on_part = before
        self.at(n, n)
