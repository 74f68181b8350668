"""Every control of every dock can be reached by Tab, from top to bottom, and says what it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QScrollBar,
    QTabBar,
    QTabWidget,
    QWidget,
)
from superqt import QCollapsible

from napari_phenldiff.jobs.job import jobs
from napari_phenldiff.widgets.evaluate_dock import EvaluateWidget
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.measure_dock import MeasureWidget
from napari_phenldiff.widgets.translate_dock import TranslateWidget


@pytest.fixture(params=[FineTuneWidget, TranslateWidget, MeasureWidget, EvaluateWidget])
def dock(request, qtbot, model):
    """A dock with all folds open."""
    widget = request.param(model)
    qtbot.addWidget(widget)
    for fold in widget.findChildren(QCollapsible):
        fold.expand(animate=False)
    widget.resize(380, 1600)
    with qtbot.waitExposed(widget):
        widget.show()
    return widget


def reached_by_tab(dock: QWidget) -> Iterator[QWidget]:
    """Yield the controls in the order in which the Tab key reaches them, until it comes round."""
    dock.activateWindow()
    QTest.qWait(20)
    first = next(w for w in dock.findChildren(QWidget) if _takes_focus(w))
    first.setFocus(Qt.FocusReason.TabFocusReason)
    seen: list[QWidget] = []
    while dock.focusWidget() not in seen:
        seen.append(dock.focusWidget())
        QTest.keyClick(dock.focusWidget(), Qt.Key.Key_Tab)
    top = min(range(len(seen)), key=lambda i: seen[i].mapTo(dock, QPoint(0, 0)).y())
    yield from (*seen[top:], *seen[:top])


def _takes_focus(widget: QWidget) -> bool:
    return bool(
        widget.isVisible() and widget.isEnabled() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus
    )


def name_of(control: QWidget, dock: QWidget) -> str:
    """What a screen reader says: the control's own name or text, or the label beside it."""
    if control.accessibleName():
        return control.accessibleName()
    if isinstance(control, QAbstractButton) and control.text():
        return control.text()
    labels = [label.text() for label in dock.findChildren(QLabel) if label.buddy() is control]
    return labels[0] if labels else ""


def test_controls_explain_themselves(dock):
    controls = list(reached_by_tab(dock))
    assert len(controls) > 8
    for control in controls:
        if isinstance(control, QTabWidget) or type(control).__name__ == "QTabBar":
            continue
        where = f"{type(control).__name__} in {type(control.parentWidget()).__name__}"
        assert control.toolTip(), f"no tooltip: {where} {name_of(control, dock)!r}"
        name = name_of(control, dock)
        assert name, f"no name: {where} {control.toolTip()!r}"
        assert name not in ("…", "..."), f"a name that says nothing: {control.toolTip()!r}"


def test_tab_goes_from_top_to_bottom(dock):
    places = [control.mapTo(dock, QPoint(0, 0)) for control in reached_by_tab(dock)]
    controls = list(reached_by_tab(dock))
    for before, after, one, two in zip(places, places[1:], controls, controls[1:], strict=False):
        same_row = abs(before.y() - after.y()) < 12
        goes_on = after.x() > before.x() if same_row else after.y() > before.y()
        assert goes_on, (
            f"from {name_of(one, dock)!r} at {before} back to {name_of(two, dock)!r} at {after}"
        )


def test_every_control_that_can_be_used_is_reached(dock):
    reached = set(reached_by_tab(dock))
    for control in dock.findChildren(QWidget):
        inside = isinstance(control.parentWidget(), (QAbstractSpinBox, QComboBox))
        if _takes_focus(control) and control.focusProxy() is None and not inside:
            assert control in reached, f"{type(control).__name__} {name_of(control, dock)!r}"


def test_enter_and_escape_start_and_lose_nothing(dock, qtbot):
    editors = [
        control
        for control in reached_by_tab(dock)
        if isinstance(control, (QLineEdit, QAbstractSpinBox, QComboBox))
    ]
    before = [_value(editor) for editor in editors]
    for editor in editors:
        for key in (Qt.Key.Key_Return, Qt.Key.Key_Escape):
            QTest.keyClick(editor, key)
    assert dock.isVisible()
    assert [_value(editor) for editor in editors] == before
    kinds = ("train", "translate", "measure", "evaluate")
    assert all(jobs.latest(kind, dock.viewer) is None for kind in kinds)
    assert not dock.job_foot.button.isDefault()
    assert not dock.job_foot.button.autoDefault()


def _value(editor: QWidget) -> str:
    return editor.currentText() if isinstance(editor, QComboBox) else editor.text()


# ---- what has no focus, or is not seen, stays as it is ------------------------------------------


@pytest.fixture(params=[FineTuneWidget, TranslateWidget, MeasureWidget, EvaluateWidget])
def folded(request, qtbot, model):
    """A dock as it opens: the parts for experts are folded in."""
    widget = request.param(model)
    qtbot.addWidget(widget)
    widget.resize(380, 1600)
    with qtbot.waitExposed(widget):
        widget.show()
    return widget


def test_tab_stays_out_of_what_is_folded_in(folded):
    reached = list(reached_by_tab(folded))
    assert len(reached) > 8
    for control in reached:
        assert not control.visibleRegion().isEmpty(), name_of(control, folded)
    folds = folded.findChildren(QCollapsible)
    assert folds
    for fold in folds:
        assert not fold.isExpanded()
        assert not any(fold.content().isAncestorOf(control) for control in reached)


def test_no_wheel_changes_what_has_no_focus(dock):
    kinds = (QAbstractSpinBox, QComboBox, QAbstractSlider, QTabBar)
    controls = [
        c
        for kind in kinds
        for c in dock.findChildren(kind)
        if c.isVisible() and c.isEnabled() and not isinstance(c, QScrollBar)
    ]
    assert len(controls) > 4
    for control in controls:
        control.clearFocus()
        before = _state(control)
        place = QPointF(control.rect().center())
        for turn in (120, -120):
            wheel = QWheelEvent(
                place,
                QPointF(control.mapToGlobal(control.rect().center())),
                QPoint(0, 0),
                QPoint(0, turn),
                Qt.MouseButton.NoButton,
                Qt.KeyboardModifier.NoModifier,
                Qt.ScrollPhase.NoScrollPhase,
                False,
            )
            QApplication.sendEvent(control, wheel)
            assert _state(control) == before, f"{type(control).__name__} {name_of(control, dock)}"


def test_a_key_brings_back_what_was_scrolled_away_before_it_changes_it(qtbot, model):
    widget = TranslateWidget(model)
    qtbot.addWidget(widget)
    for fold in widget.findChildren(QCollapsible):
        fold.expand(animate=False)
    widget.resize(380, 320)
    with qtbot.waitExposed(widget):
        widget.show()
    seed = widget.seed
    widget.activateWindow()
    seed.setFocus()
    bar = widget._scroll.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 100)
    bar.setValue(0)
    assert seed.visibleRegion().isEmpty()
    QTest.keyClick(seed, Qt.Key.Key_Up)
    assert seed.value() == 0
    assert not seed.visibleRegion().isEmpty()
    QTest.keyClick(seed, Qt.Key.Key_Up)
    assert seed.value() == 1


def _state(control: QWidget) -> object:
    if isinstance(control, (QComboBox, QTabBar)):
        return control.currentIndex()
    return control.value() if isinstance(control, QAbstractSlider) else control.text()
