"""A dock's body: headed forms that scroll, above a foot that stays in view."""

from __future__ import annotations

import textwrap
from itertools import pairwise

from qtpy.QtCore import QEvent, QObject, QPoint, QSize, Qt, QTimer
from qtpy.QtGui import QKeyEvent, QResizeEvent
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QFormLayout,
    QFrame,
    QLabel,
    QScrollArea,
    QScrollBar,
    QSizePolicy,
    QTabBar,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_phenldiff.settings import without_options

_LABEL_WIDTH = 96
"""Least width of the labels in pixels, the same in all sections, so that the fields line up."""

_LONGEST_WORD = "Reconstructed"
"""About as wide as the longest word of a label: words are not broken, whatever the font."""

_OF_FONT = (QEvent.Type.Polish, QEvent.Type.FontChange, QEvent.Type.StyleChange)
"""Events after which a widget may have another font."""

_LONG_ENTRY = "treated (200 images)    "
"""About as wide as what most fields hold, with the arrow of a list."""

_WIDEST = 480
"""Pixels that a dock asks for at most, however large its font is."""

_FIELD_WIDTH = 80
"""Least width of a field in pixels; the dock can be made as narrow as label and field."""


_TOOLTIP_COLUMNS = 80

_LEAST_OF_FORM, _LEAST_OF_FOOT = 80, 60
"""Heights in pixels below which neither part of a dock becomes."""

_FRAME = 4
"""Pixels that a theme may draw around what scrolls, of both sides together."""

_MARGIN = 8
"""Pixels around what is scrolled to."""

_SAME_ROW = 12
"""Controls whose upper edges differ by fewer pixels stand in one row."""


class Panel(QWidget):
    """A dock: sections in a scroll area, and `foot` below them.

    On a small screen the form scrolls and the button that starts the work stays visible. Where even
    the foot has no room, it scrolls as well: a dock never makes its window higher.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        body = QWidget()
        self.body = QVBoxLayout(body)
        self.body.setContentsMargins(8, 4, 8, 4)
        self.body.setSpacing(4)
        self.body.addStretch(1)
        self._scroll = scroll = QScrollArea()
        scroll.setWidget(body)
        scroll.setWidgetResizable(True)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._revealed: QWidget | None = None
        self._at_top = False
        self._forget = QTimer(self)
        self._forget.setSingleShot(True)
        self._forget.setInterval(1000)
        bar = scroll.verticalScrollBar()
        assert bar is not None
        bar.rangeChanged.connect(self._on_range)
        # All that the foot leaves: its height is no wish of its own.
        scroll.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        scroll.setMinimumHeight(_LEAST_OF_FORM)
        self._foot = foot = _Foot()
        self.foot = foot.rows
        for inside in (body, foot.widget()):
            assert inside is not None
            inside.installEventFilter(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(0)
        layout.addWidget(scroll, 1)
        layout.addWidget(foot)
        self.setMinimumWidth(_LABEL_WIDTH + 200)
        self._wheel = _WheelGuard(self)

    def sizeHint(self) -> QSize:
        """Wide enough for the names of most conditions and files."""
        letters = self.fontMetrics().horizontalAdvance(_LONGEST_WORD + _LONG_ENTRY + "   ")
        return QSize(min(max(_LABEL_WIDTH + 280, letters), _WIDEST), 640)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Give what the form leaves to the sentences of the foot."""
        super().resizeEvent(event)
        self._share_room()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow form and foot."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self._share_room()
        return super().eventFilter(watched, event)

    def _share_room(self) -> None:
        """Let sentences that are cut grow into the room that would stay empty below the form."""
        seen = self._scroll.viewport()
        assert seen is not None
        wanted = self.body.totalHeightForWidth(seen.width()), self.body.totalSizeHint().height()
        form = max(*wanted, _LEAST_OF_FORM)
        cut = [one for one in self._foot.findChildren(Capped) if not one.isHidden()]
        foot = self._foot.sizeHint().height() - sum(one.extra for one in cut)
        room = max(0, self.height() - form - foot)
        for one in cut:
            room -= one.take(room)

    def focusNextPrevChild(self, forward: bool) -> bool:
        """Go from top to bottom, also through rows that were added later than those below."""
        self._order_by_place()
        return super().focusNextPrevChild(forward)

    def _order_by_place(self) -> None:
        body = self._scroll.widget()
        assert body is not None
        places = []
        for widget in self.findChildren(QWidget):
            takes_focus = widget.focusPolicy() & Qt.FocusPolicy.TabFocus
            if takes_focus and widget.focusProxy() is None and widget.isVisibleTo(self):
                place = widget.mapTo(self, QPoint(0, 0))
                # The foot is the last, also where what is scrolled away lies below it.
                places.append((not body.isAncestorOf(widget), place.y(), place.x(), widget))
        places.sort(key=lambda place: place[:3])
        rows: list[list[tuple[bool, int, int, QWidget]]] = []
        for entry in places:
            if rows and entry[0] == rows[-1][0][0] and entry[1] - rows[-1][0][1] < _SAME_ROW:
                rows[-1].append(entry)
            else:
                rows.append([entry])
        order = [entry[3] for row in rows for entry in sorted(row, key=lambda place: place[2])]
        for before, after in pairwise(order):
            self.setTabOrder(before, after)

    def add(self, widget: QWidget) -> None:
        """Add a widget below the sections there are."""
        self._wheel.guard(widget)
        self.body.insertWidget(self.body.count() - 1, widget)

    def reveal(self, widget: QWidget, *, at_top: bool = False) -> None:
        """Scroll to a widget that has just appeared, also while the layout makes room for it.

        One that may be higher than the dock is best shown from its top.
        """
        self._revealed, self._at_top = widget, at_top
        self._forget.start()
        self._on_range()

    def _on_range(self) -> None:
        widget, body = self._revealed, self._scroll.widget()
        if not self._forget.isActive() or widget is None or body is None:
            return
        bar, seen = self._scroll.verticalScrollBar(), self._scroll.viewport()
        higher = seen is not None and widget.height() > seen.height()
        if (self._at_top or higher) and bar is not None:
            bar.setValue(widget.mapTo(body, QPoint(0, 0)).y() - _MARGIN)
        else:
            self._scroll.ensureWidgetVisible(widget, 0, _MARGIN)

    def section(self, title: str) -> Form:
        """Add a headed form below the sections there are."""
        heading = QLabel(title)
        font = heading.font()
        font.setBold(True)
        heading.setFont(font)
        heading.setContentsMargins(0, 6, 0, 0)
        form = Form(self._wheel)
        self.add(heading)
        self.add(form)
        return form

    def show_fold(self, form: Form, visible: bool) -> None:
        """Show or hide a form that is folded in, with its heading."""
        widget: QWidget | None = form
        while widget is not None and not isinstance(widget, QCollapsible):
            widget = widget.parentWidget()
        if widget is not None:
            widget.setVisible(visible)

    def fold(self, title: str) -> Form:
        """Add a form that is folded in at first."""
        form = Form(self._wheel)
        fold = QCollapsible(title, expandedIcon="▾", collapsedIcon="▸")
        fold.setDuration(0)
        for layout, top in ((fold.layout(), 4), (fold.content().layout(), 0)):
            assert layout is not None
            layout.setContentsMargins(0, top, 0, 0)
        fold.addWidget(form)
        fold.toggleButton().setToolTip(f"Show or hide: {title.lower()}")
        hide_when_folded(fold)
        # What unfolds below the edge of a small dock would go unseen.
        fold.toggled.connect(lambda unfolded: self.reveal(fold) if unfolded else None)
        self.add(fold)
        return form


class _FittedArea(QScrollArea):
    """An area whose height follows what is inside, where sentences wrap."""

    def _fit(self) -> None:
        """Take the height of what is inside."""
        raise NotImplementedError

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Follow what is inside."""
        if event is not None and event.type() == QEvent.Type.LayoutRequest:
            self._fit()
        return super().eventFilter(watched, event)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Sentences wrap at another width."""
        super().resizeEvent(event)
        self._fit()


class _Foot(_FittedArea):
    """The lower part of a dock: as high as its rows, and where there is less room it scrolls."""

    def __init__(self) -> None:
        super().__init__()
        inside = QWidget()
        self.rows = QVBoxLayout(inside)
        self.rows.setContentsMargins(8, 4, 8, 8)
        self.rows.setSpacing(6)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        inside.installEventFilter(self)

    def sizeHint(self) -> QSize:
        """As high as the rows in this width."""
        return QSize(self.rows.totalSizeHint().width(), self._whole() + _FRAME)

    def _whole(self) -> int:
        whole = self.rows.totalHeightForWidth(self.width() - _FRAME)
        if whole < 0:  # nothing that wraps
            whole = self.rows.totalSizeHint().height()
        return max(1, whole)

    def minimumSizeHint(self) -> QSize:
        """Low enough for any window."""
        return QSize(0, min(self.sizeHint().height(), _LEAST_OF_FOOT))

    def _fit(self) -> None:
        inside, whole = self.widget(), self._whole()
        # Said, because a wrapped text asks for the height that it would have in a narrow place.
        if inside is not None and inside.minimumHeight() != whole:
            inside.setMinimumHeight(whole)
            self.updateGeometry()


class Form(QWidget):
    """Rows of label and field, aligned with those of the other forms of a panel."""

    def __init__(self, wheel: _WheelGuard) -> None:
        super().__init__()
        self._wheel = wheel
        self._layout = QFormLayout(self)
        self._layout.setContentsMargins(0, 0, 0, 0)
        self._layout.setVerticalSpacing(4)
        self._layout.setHorizontalSpacing(8)
        self._long = False
        self._label: QLabel | None = None
        self._layout.setLabelAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self._layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)

    def row(self, text: str, field: QWidget, tooltip: str) -> QLabel:
        """Add a field; both it and its label explain themselves by the tooltip."""
        # Qt shows a text without markup in one line, however long it is
        tooltip = textwrap.fill(tooltip, _TOOLTIP_COLUMNS, break_on_hyphens=False)
        label = _RowLabel(text)
        self._label = self._label or label
        label.setToolTip(tooltip)
        label.setBuddy(field)
        field.setToolTip(tooltip)
        for child in field.findChildren(QWidget):
            if not child.toolTip():
                child.setToolTip(tooltip)
            if not child.accessibleName():
                child.setAccessibleName(text)
        field.setAccessibleName(text)
        if field.findChild(QAbstractSlider) is not None:
            # A slider with its number: both take the focus, and the box around them need not.
            field.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        field.setMinimumWidth(_FIELD_WIDTH)
        field.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._wheel.guard(field)
        self._layout.addRow(label, field)
        return label

    def event(self, event: QEvent | None) -> bool:
        """Follow the width of the dock, and the font, which comes from the style of the viewer."""
        done = super().event(event)
        if event is not None and event.type() in (QEvent.Type.Resize, *_OF_FONT):
            self.wrap()
        return done

    def wrap(self) -> None:
        """Put fields below their labels where there is no room beside them, in a large font say."""
        # The style of the viewer gives a font to labels and fields, and none to what holds them.
        metrics = (self._label or self).fontMetrics()
        label = max(_LABEL_WIDTH, metrics.horizontalAdvance(_LONGEST_WORD))
        long = self.width() - label < metrics.horizontalAdvance(_LONG_ENTRY)
        if long != self._long:
            self._long = long
            policy = QFormLayout.RowWrapPolicy
            self._layout.setRowWrapPolicy(policy.WrapAllRows if long else policy.DontWrapRows)

    def guard(self, field: QWidget) -> None:
        """Keep turns of the wheel from changing a field that is not in a row of its own."""
        self._wheel.guard(field)

    def wide(self, widget: QWidget) -> None:
        """Add a widget over the whole width."""
        self._layout.addRow(widget)

    def show_row(self, field: QWidget, visible: bool) -> None:
        """Show or hide a field with its label."""
        self._layout.setRowVisible(field, visible)

    def clear(self) -> None:
        """Remove all rows."""
        self._label = None
        while self._layout.rowCount():
            self._layout.removeRow(0)


class _RowLabel(QLabel):
    """The label of a row, as wide as all others in the same font."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.setWordWrap(True)
        self.setFixedWidth(_LABEL_WIDTH)

    def event(self, event: QEvent | None) -> bool:
        """Follow the size of the font, which comes from the style of the viewer."""
        done = super().event(event)
        if event is not None and event.type() in _OF_FONT:
            wanted = self.fontMetrics().horizontalAdvance(_LONGEST_WORD)
            width = max(_LABEL_WIDTH, wanted)
            if width != self.minimumWidth():
                self.setFixedWidth(width)
            form = self.parentWidget()
            if isinstance(form, Form):
                form.wrap()  # which has no font of its own from the style
        return done


_GUARDED = (QAbstractSpinBox, QComboBox, QAbstractSlider, QTabBar)

_LEAVING = (Qt.Key.Key_Tab, Qt.Key.Key_Backtab, Qt.Key.Key_Escape)


class _WheelGuard(QObject):
    """Let neither wheel nor keys change what has no focus or is not seen.

    A turn of the wheel is meant to scroll the form. A key that is pressed where the control with
    the focus was scrolled away brings it back, and does nothing else.
    """

    def guard(self, field: QWidget) -> None:
        for widget in (field, *field.findChildren(QWidget)):
            if isinstance(widget, _GUARDED) and not isinstance(widget, QScrollBar):
                if isinstance(widget, (QAbstractSpinBox, QComboBox)):
                    widget.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
                widget.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        if event is None or not isinstance(watched, QWidget):
            return super().eventFilter(watched, event)
        if event.type() == QEvent.Type.Wheel and not watched.hasFocus():
            event.ignore()
            return True
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            unseen = watched.isVisible() and watched.visibleRegion().isEmpty()
            if unseen and event.key() not in _LEAVING:
                _bring_into_view(watched)
                return True
        return super().eventFilter(watched, event)


class Capped(_FittedArea):
    """Holds sentences that may be many: as high as they are, up to a limit, and then it scrolls.

    Parameters
    ----------
    lines : int
        The limit, in lines of its font.

    Attributes
    ----------
    extra : int
        Pixels over the limit that there is room for, see `take`.
    """

    def __init__(self, *widgets: QWidget, lines: int = 4) -> None:
        super().__init__()
        self._lines, self._widgets = lines, widgets
        self.extra = 0
        inside = QWidget()
        layout = QVBoxLayout(inside)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for widget in widgets:
            if isinstance(widget, QLabel):
                # A wrapped text may get more height than it needs, and would float in its middle.
                widget.setAlignment(Qt.AlignmentFlag.AlignTop)
            layout.addWidget(widget)
        layout.addStretch(1)
        self.setWidget(inside)
        self.setWidgetResizable(True)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        inside.installEventFilter(self)

    def _fit(self) -> None:
        inside, viewport = self.widget(), self.viewport()
        if inside is None or viewport is None:
            return
        layout = inside.layout()
        assert layout is not None
        # Of no height it would still show the arrows of its bar.
        self.setVisible(not all(one.isHidden() for one in self._widgets))
        whole = max(0, layout.totalHeightForWidth(viewport.width()))
        # Said, because a wrapped text asks for the height that it would have in a narrow place.
        if inside.minimumHeight() != max(whole, 1):
            inside.setMinimumHeight(max(whole, 1))
            self.updateGeometry()  # so that the dock shares out its room anew
        height = min(whole, self._limit() + self.extra) + (_FRAME if whole else 0)
        if (height, height) != (self.minimumHeight(), self.maximumHeight()):
            self.setFixedHeight(height)

    def _limit(self) -> int:
        return self._lines * max(one.fontMetrics().lineSpacing() for one in self._widgets)

    def take(self, room: int) -> int:
        """Grow by at most `room` pixels over the limit, and return by how many."""
        inside = self.widget()
        lacking = 0 if inside is None else inside.minimumHeight() - self._limit()
        extra = max(0, min(room, lacking))
        if extra != self.extra:
            self.extra = extra
            self._fit()
        return extra


def _bring_into_view(widget: QWidget) -> None:
    parent = widget.parentWidget()
    while parent is not None:
        if isinstance(parent, QScrollArea):
            parent.ensureWidgetVisible(widget)
        parent = parent.parentWidget()


def hide_when_folded(fold: QCollapsible) -> None:
    """Keep Tab and keys out of what is folded in, which Qt counts as shown and of no height."""
    content = fold.content()
    content.setVisible(fold.isExpanded())
    fold.toggled.connect(content.setVisible)


class _Note(QLabel):
    """A sentence that may come from what the command line shares: its options are left out."""

    def __init__(self, text: str) -> None:
        super().__init__(without_options(text))

    def setText(self, text: str | None) -> None:
        super().setText(without_options(text or ""))


def note(text: str = "") -> QLabel:
    """Return a label for a sentence: it wraps, and its text can be copied."""
    label = _Note(text)
    label.setWordWrap(True)
    label.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    return label
