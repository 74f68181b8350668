"""When a fine-tuning begins to memorise its images: told by images that it is not trained on."""

from __future__ import annotations

from collections.abc import Sequence

from napari_phenldiff.runs.events import Validated

_WINDOW = 3
"""Values that are averaged: a single one is too noisy."""

_RISE = 1.05
"""How far above its minimum the loss is worth a warning."""


class OverfittingWatch:
    """Looks for a loss that rises on images not trained on, while it falls on the others."""

    def __init__(self) -> None:
        self._seen: list[Validated] = []
        self._lowest: tuple[float, float, int] | None = None
        self._told = False

    def add(self, event: Validated) -> str | None:
        """Take in the next values; returns what to tell the user, once."""
        self._seen.append(event)
        last = self._seen[-_WINDOW:]
        if len(last) < _WINDOW:
            return None
        loss = _mean([e.loss for e in last])
        training = _mean([e.training_loss for e in last])
        if self._lowest is None or loss < self._lowest[0]:
            self._lowest = loss, training, last[_WINDOW // 2].step
            return None
        lowest, training_then, step = self._lowest
        if self._told or loss < _RISE * lowest or training >= training_then:
            return None
        self._told = True
        return (
            f"From about step {step} on the model memorises its images: its loss on images that it "
            f"is not trained on has risen by {loss / lowest - 1:.0%} since, while it fell on the "
            f"others. Train for about {step} steps, or on more images."
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
