"""Which channels are read, and which is which: a small table that the user corrects."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QObject, QSize, Qt, Signal
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QGridLayout,
    QLabel,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible
from superqt.utils import signals_blocked

from napari_phenldiff.images.channel_match import ChannelMatch
from napari_phenldiff.widgets.parts.form import Form, hide_when_folded, note

LEAVE_OUT = "leave out"

_NO_LIMIT = 16777215
"""What Qt calls QWIDGETSIZE_MAX."""

_NARROW = 88
"""Least width of a column in pixels; with many conditions the table scrolls sideways."""


class ChannelTable(QCollapsible):
    """A row per channel of the source to tick, a column per other condition, folded in at first.

    Unfolded by itself when the channels of the conditions differ. `edited` tells that somebody
    has put a cell right; `match` is what the table says then.

    Parameters
    ----------
    form : Form
        Where the table is; it keeps turns of the wheel from changing cells.
    """

    edited = Signal()

    def __init__(self, form: Form) -> None:
        super().__init__("Channels", expandedIcon="▾", collapsedIcon="▸")
        self.match: ChannelMatch | None = None
        self.cells: list[list[QComboBox]] = []
        self.ticks: list[QCheckBox] = []
        self.note = note()
        self._form = form
        self._scroll = scroll = _SidewaysScroll()
        self.setDuration(0)
        inside = self.content().layout()
        assert isinstance(inside, QVBoxLayout)
        # Not by addWidget, which would keep the height that the table had when it was unfolded.
        inside.addWidget(scroll)
        inside.addWidget(self.note)
        for layout, top in ((self.layout(), 4), (inside, 0)):
            assert layout is not None
            layout.setContentsMargins(0, top, 0, 0)
        button = self.toggleButton()
        button.setToolTip(
            "Show or hide which channels are read, and which channel of one condition is which of "
            "the others."
        )
        self.toggled.connect(self._on_toggled)
        hide_when_folded(self)

    def show_match(self, match: ChannelMatch | None) -> None:
        """Show a match; none hides the table.

        The table of other conditions or channels is unfolded if there is something to look at.
        """
        self.setVisible(match is not None)
        if match == self.match:
            return
        other = self.match is None or match is None or match.channels != self.match.channels
        self.match = match
        if match is None:
            return
        if other:
            self._build(match)
            (self.expand if match.wants_a_look else self.collapse)(animate=False)
        self._fill(match)

    def _build(self, match: ChannelMatch) -> None:
        grid_widget = QWidget()
        grid = QGridLayout(grid_widget)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(8)
        grid.setVerticalSpacing(4)
        source, *others = match.conditions
        for column, name in enumerate(match.conditions):
            heading = _label(name)
            font = heading.font()
            font.setItalic(True)
            heading.setFont(font)
            grid.addWidget(heading, 0, column)
            grid.setColumnMinimumWidth(column, _NARROW)
            grid.setColumnStretch(column, 1)
        self.cells, self.ticks = [], []
        for row, channel in enumerate(match.channels[source]):
            grid.addWidget(self._tick(row, channel), row + 1, 0)
            self.cells.append([])
            for column, name in enumerate(others):
                cell = self._cell(match.channels[name])
                cell.setAccessibleName(f"Channel of {name} that is {channel}")
                cell.setToolTip(
                    f"The channel of {name} that shows what {channel} shows in {source}. Leave "
                    "out what a condition doesn't have, or what shall not be trained on."
                )
                cell.currentIndexChanged.connect(
                    lambda _, row=row, column=column: self._on_cell(row, column)
                )
                grid.addWidget(cell, row + 1, column + 1)
                self.cells[-1].append(cell)
        self._scroll.setWidget(grid_widget)
        self._scroll.updateGeometry()

    def _tick(self, row: int, channel: str) -> QCheckBox:
        tick = QCheckBox(channel)
        tick.setAccessibleName(f"Read the channel {channel}")
        tick.setToolTip(f"Read {channel}; a channel that is not ticked is left out.")
        tick.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        tick.toggled.connect(lambda kept, row=row: self._on_tick(row, kept))
        self.ticks.append(tick)
        return tick

    def _cell(self, channels: Sequence[str]) -> QComboBox:
        cell = QComboBox()
        cell.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        cell.setMinimumContentsLength(4)
        cell.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        for place, channel in enumerate(channels):
            cell.addItem(channel, place)
        cell.addItem(LEAVE_OUT, None)
        self._form.guard(cell)
        return cell

    def _fill(self, match: ChannelMatch) -> None:
        for cells, places in zip(self.cells, match.rows, strict=True):
            for cell, place in zip(cells, places, strict=True):
                with signals_blocked(cell):
                    cell.setCurrentIndex(cell.count() - 1 if place is None else place)
        for row, tick in enumerate(self.ticks):
            with signals_blocked(tick):
                tick.setChecked(row in match.kept)
        text = " ".join(match.remarks())
        self.note.setText(text)
        self.note.setVisible(bool(text))

    def _on_tick(self, row: int, kept: bool) -> None:
        if self.match is not None:
            self.match = self.match.with_row(row, kept=kept)
            self._fill(self.match)
            self.edited.emit()

    def _on_cell(self, row: int, column: int) -> None:
        if self.match is not None:
            place = self.cells[row][column].currentData()
            self.match = self.match.with_cell(row, column, place)
            self._fill(self.match)
            self.edited.emit()

    def _on_toggled(self, unfolded: bool) -> None:
        if unfolded:
            self.content().setMaximumHeight(_NO_LIMIT)


class _SidewaysScroll(QScrollArea):
    """As high as what is in it, with a bar only where that is too wide."""

    def __init__(self) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        inside, bar = self.widget(), self.horizontalScrollBar()
        if inside is None or bar is None:
            return super().sizeHint()
        least, wanted = inside.minimumSizeHint(), inside.sizeHint()
        height = max(least.height(), wanted.height()) + 2 * self.frameWidth()
        if least.width() > self.width():
            height += bar.sizeHint().height() + 4  # a theme's bar is a little higher than it says
        return QSize(wanted.width(), height)

    def minimumSizeHint(self) -> QSize:
        return QSize(0, self.sizeHint().height())

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        done = super().eventFilter(watched, event)
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self.updateGeometry()
        return done

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        super().resizeEvent(event)
        self.updateGeometry()


def _label(text: str) -> QLabel:
    """Return a label that is cut off rather than make the dock wider."""
    label = QLabel(text)
    label.setToolTip(text)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return label
