"""Detect when a fine-tuning begins to memorise, from the loss on validation images."""

from __future__ import annotations

from collections.abc import Sequence

from napari_phenldiff.runs.events import Validated

_WINDOW = 3
"""Number of validations that are averaged, since a single one is too noisy."""

_RISE = 1.05
"""Ratio of the validation loss to its minimum that triggers the warning."""


class OverfittingWatch:
    """Warns when the validation loss rises while the training loss falls."""

    def __init__(self) -> None:
        self._seen: list[Validated] = []
        self._lowest: tuple[float, float, int] | None = None
        self._told = False

    def add(self, event: Validated) -> str | None:
        """Add the next validation; returns a warning for the user the first time it is due."""
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
            f"others; train for about {step} steps, or on more images."
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
