"""Every control of every dock can be reached by Tab, from top to bottom, and says what it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLabel,
    QLineEdit,
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
