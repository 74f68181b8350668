"""The loss as it falls: every step faint, their running mean clear, and what is not trained on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_phenldiff.runs.events import Validated

_SMOOTHING = 0.96
"""Weight of the past in the running mean."""


_ORANGE = "#e69f00"
"""From Okabe and Ito's palette: distinct from blue for all readers, on dark and light themes."""

_DOT = 2.5
"""Radius of a dot in pixels."""


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
        self._watched: list[Validated] = []
        self._text = QColor("gray")
        self._line = QColor("steelblue")
        self._other = QColor(_ORANGE)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "Loss of the training: each step faint, their running mean clear. It should fall "
            "quickly at first and then slowly.\n"
            "Dots: the loss on some images that are trained on, and on images that are not, with "
            "the same noise. Where the second rises while the first falls, the model memorises."
        )

    def sizeHint(self) -> QSize:
        """Wide, and high enough to see the trend."""
        return QSize(280, 120)

    def set_colors(self, text: QColor, line: QColor) -> None:
        """Take the colours of the viewer's theme."""
        self._text, self._line = text, line
        self.update()

    def set_losses(
        self,
        losses: Sequence[tuple[int, float]],
        total: int,
        watched: Sequence[Validated] = (),
    ) -> None:
        """Show losses as (step, loss) of a training of `total` steps, and those on other images."""
        self._watched = [
            e for e in watched if math.isfinite(e.loss) and math.isfinite(e.training_loss)
        ]
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
        if not self._watched:
            return

        def place(step: int, loss: float) -> QPointF:
            span = (top - bottom) or 1.0
            return QPointF(
                area.left() + area.width() * step / max(1, end),
                area.bottom() - area.height() * (min(loss, top) - bottom) / span,
            )

        seen = [place(e.step, e.training_loss) for e in self._watched]
        unseen = [place(e.step, e.loss) for e in self._watched]
        right = area.right()
        # Readers with a colour vision deficiency tell the dots apart by their shape: one kind is
        # filled and joined by a line.
        for color, points, text, filled in (
            (self._other, unseen, "not trained on", True),
            (self._line, seen, "trained on", False),
        ):
            painter.setPen(QPen(color, 1.5))
            painter.setBrush(color if filled else Qt.BrushStyle.NoBrush)
            if filled:
                painter.drawPolyline(QPolygonF(points))
            for point in points:
                painter.drawEllipse(point, _DOT, _DOT)
            width = metrics.horizontalAdvance(text)
            box = QRectF(right - width, area.top() - height / 2, width, height)
            painter.drawEllipse(QPointF(box.left() - 3 * _DOT, box.center().y()), _DOT, _DOT)
            painter.setPen(self._text)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight, text)
            right = box.left() - 8 * _DOT
        painter.setBrush(Qt.BrushStyle.NoBrush)

    def _range(self) -> tuple[float, float]:
        """Return the highest and lowest loss shown; single outliers are cut off."""
        if not self._losses:
            return 1.0, 0.0
        ordered = sorted(self._losses)
        top = ordered[min(len(ordered) - 1, math.ceil(0.98 * len(ordered)))]
        top = max([top, *(max(e.loss, e.training_loss) for e in self._watched)])
        return (top * 1.05 or 1.0), 0.0


def _number(value: float) -> str:
    return "0" if value == 0 else f"{value:.2g}"
