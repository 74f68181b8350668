"""The loss as it falls: every step faint, their running mean clear."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

_SMOOTHING = 0.96
"""Weight of the past in the running mean."""


def running_mean(values: Sequence[float]) -> list[float]:
    """Smooth values with an exponential mean that is unbiased from the first one on."""
    smooth, mean, weight = [], 0.0, 0.0
    for value in values:
        mean = _SMOOTHING * mean + (1 - _SMOOTHING) * value
        weight = _SMOOTHING * weight + (1 - _SMOOTHING)
        smooth.append(mean / weight)
    return smooth


class LossCurve(QWidget):
    """Painted by hand: it opens without matplotlib and repaints in well under a millisecond."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[int] = []
        self._losses: list[float] = []
        self._total = 0
        self._text = QColor("gray")
        self._line = QColor("steelblue")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Loss of the training: each step faint, their running mean clear.\n"
            "It should fall quickly at first and then slowly."
        )

    def sizeHint(self) -> QSize:
        """Wide, and high enough to see the trend."""
        return QSize(280, 120)

    def set_colors(self, text: QColor, line: QColor) -> None:
        """Take the colours of the viewer's theme."""
        self._text, self._line = text, line
        self.update()

    def set_losses(self, losses: Sequence[tuple[int, float]], total: int) -> None:
        """Show losses as (step, loss) of a training of `total` steps."""
        self._steps = [step for step, _ in losses]
        self._losses = [loss for _, loss in losses]
        self._total = total
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw axes, steps and mean."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        metrics = painter.fontMetrics()
        faint = QColor(self._text)
        faint.setAlphaF(0.35)
        top, bottom = self._range()
        labels = [_number(top), _number(bottom)]
        left = max(metrics.horizontalAdvance(label) for label in labels) + 8
        height = metrics.height()
        area = QRectF(left, height / 2, self.width() - left - 6, self.height() - 1.9 * height)
        painter.setPen(QPen(faint, 1))
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.topLeft(), area.bottomLeft())
        painter.setPen(self._text)
        end = max(self._total, self._steps[-1] if self._steps else 0)
        under = QRectF(area.left(), area.bottom() + 2, area.width(), height)
        if not self._losses:
            painter.drawText(area, Qt.AlignmentFlag.AlignCenter, "The loss appears here")
            return
        painter.drawText(under, Qt.AlignmentFlag.AlignLeft, "0")
        painter.drawText(under, Qt.AlignmentFlag.AlignHCenter, "step")
        painter.drawText(under, Qt.AlignmentFlag.AlignRight, f"{end:,}")
        for label, y in zip(labels, (area.top(), area.bottom()), strict=True):
            box = QRectF(0, y - height / 2, left - 5, height)
            painter.drawText(
                box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, label
            )

        def curve(values: Sequence[float]) -> QPolygonF:
            # More points than pixels would only cost time.
            stride = max(1, len(values) // max(1, int(area.width())))
            span = (top - bottom) or 1.0
            return QPolygonF(
                [
                    QPointF(
                        area.left() + area.width() * self._steps[i] / max(1, end),
                        area.bottom() - area.height() * (min(values[i], top) - bottom) / span,
                    )
                    for i in range(0, len(values), stride)
                ]
            )

        raw = QColor(self._line)
        raw.setAlphaF(0.35)
        painter.setPen(QPen(raw, 1))
        painter.drawPolyline(curve(self._losses))
        painter.setPen(QPen(self._line, 2))
        painter.drawPolyline(curve(running_mean(self._losses)))

    def _range(self) -> tuple[float, float]:
        """Return the highest and lowest loss shown; single outliers are cut off."""
        if not self._losses:
            return 1.0, 0.0
        ordered = sorted(self._losses)
        top = ordered[min(len(ordered) - 1, math.ceil(0.98 * len(ordered)))]
        return (top * 1.05 or 1.0), 0.0


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}"
