from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
from napari.components import ViewerModel
from pydantic import BaseModel, Field
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QColor, QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSpinBox,
    QApplication,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QSlider,
    QSpinBox,
)

from napari_phenldiff.jobs.job import Job
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.runs.events import Finished, Progress, Warned
from napari_phenldiff.settings import SETTINGS
from napari_phenldiff.viewer.turns import in_turns
from napari_phenldiff.widgets.evaluate_dock import EvaluateWidget
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.measure_dock import MeasureWidget
from napari_phenldiff.widgets.parts import figure_view
from napari_phenldiff.widgets.parts.choices import choice_box, fill_choices, fill_pair
from napari_phenldiff.widgets.parts.figure_view import FigureView
from napari_phenldiff.widgets.parts.folder_field import CHECKPOINTS, FolderField
from napari_phenldiff.widgets.parts.form import Capped, Panel, note
from napari_phenldiff.widgets.parts.job_foot import JobFoot
from napari_phenldiff.widgets.parts.loss_curve import LossCurve, running_mean
from napari_phenldiff.widgets.parts.profile_form import SettingsForm
from napari_phenldiff.widgets.translate_dock import TranslateWidget


def test_a_folder_can_be_typed_or_dropped(qtbot, tmp_path: Path, home: Path, drop):
    field = FolderField("here")
    qtbot.addWidget(field)
    assert field.path() is None
    field.edit.setText("~/runs ")
    assert field.path() == home / "runs"

    (tmp_path / "file.tif").touch()
    drop(field, tmp_path / "file.tif")
    assert field.path() == home / "runs"
    drop(field, tmp_path / "file.tif", tmp_path)
    assert field.path() == tmp_path

    base = FolderField(files=CHECKPOINTS)
    qtbot.addWidget(base)
    (tmp_path / "sd2.safetensors").touch()
    drop(base, tmp_path / "file.tif", tmp_path / "sd2.safetensors")
    assert base.path() == tmp_path / "sd2.safetensors"

    field.set_path(home / "runs" / "one")
    assert field.edit.text() == str(Path("~/runs/one"))
    assert field.edit.toolTip() == str(home / "runs" / "one")


@pytest.mark.parametrize("styled", ["QWidget", "QLabel"])  # napari's style is about some widgets
def test_fields_lie_below_their_labels_where_there_is_no_room_beside_them(qtbot, styled: str):
    panel = Panel()
    qtbot.addWidget(panel)
    form, box = panel.section("Images"), choice_box()
    label = form.row("Source", box, "Where cells come from.")
    panel.resize(panel.sizeHint())
    panel.show()
    qtbot.waitUntil(lambda: box.geometry().left() > label.geometry().right() - 1)

    panel.setStyleSheet(f"{styled} {{ font-size: 16pt; }}")
    qtbot.waitUntil(lambda: box.geometry().top() >= label.geometry().bottom())
    assert box.width() > form.width() - 20

    panel.resize(900, 640)
    qtbot.waitUntil(lambda: box.geometry().left() > label.geometry().right() - 1)


def test_sentences_of_a_capped_note_begin_at_its_top(qtbot):
    label = note("one")
    capped = Capped(label, note("two"))
    qtbot.addWidget(capped)
    capped.resize(120, 60)
    capped.show()
    for one in capped._widgets:
        one.setVisible(False)
    qtbot.waitUntil(capped.isHidden)
    label.setVisible(True)
    qtbot.waitUntil(capped.isVisible)
    assert label.alignment() & Qt.AlignmentFlag.AlignTop
    bar = capped.verticalScrollBar()
    assert bar is not None
    qtbot.waitUntil(lambda: bar.maximum() == 0)  # one line has room, however narrow it is
    label.setText("one sentence after the other, " * 9)
    qtbot.waitUntil(lambda: bar.maximum() > 0)


def test_a_figure_is_drawn_in_a_thread_at_the_size_of_its_view(
    qtbot, monkeypatch: pytest.MonkeyPatch
):
    from matplotlib.figure import Figure

    drawn_in, drawn = [], figure_view.pixels_of

    def watched(figure: Figure, size: tuple[int, int], ratio: float = 1.0) -> np.ndarray:
        drawn_in.append((threading.current_thread() is threading.main_thread(), size))
        return drawn(figure, size, ratio)

    monkeypatch.setattr(figure_view, "pixels_of", watched)
    view = FigureView()
    qtbot.addWidget(view)
    view.resize(400, 340)
    view.show()
    figure = Figure(facecolor="red")
    figure.add_axes((0, 0, 1, 0.5)).set_facecolor("blue")
    with qtbot.waitSignal(view.painted, timeout=20_000):
        view.show_figure(figure)
    assert view.figure is figure
    assert not view.busy
    assert QColor(view.grab().toImage().pixel(200, 40)) == QColor("red")
    assert QColor(view.grab().toImage().pixel(200, 300)) == QColor("blue")

    with qtbot.waitSignal(view.painted, timeout=20_000):
        view.resize(600, 500)
    (width, height) = drawn_in[-1][1]
    assert width > 550
    assert height > 450
    assert len(drawn_in) <= 3, "not for every pixel that an edge is dragged"
    assert not any(main for main, _ in drawn_in)

    view.clear()
    view.say("nothing")
    assert view.figure is None


def test_a_figure_that_cannot_be_drawn_says_why(qtbot, monkeypatch: pytest.MonkeyPatch):
    from matplotlib.figure import Figure

    def broken(*args: object) -> None:
        raise RuntimeError("no room")

    monkeypatch.setattr(figure_view, "pixels_of", broken)
    view = FigureView()
    qtbot.addWidget(view)
    view.resize(400, 340)
    view.show()
    view.show_figure(Figure())
    qtbot.waitUntil(lambda: view.figure is None)
    assert "no room" in view.findChild(QLabel).text()


def test_a_choice_is_kept_while_it_can_be_chosen(qtbot):
    combo = choice_box()
    qtbot.addWidget(combo)
    changes: list[int] = []
    combo.currentIndexChanged.connect(changes.append)

    fill_choices(combo, [("a", 1), ("b", 2)])
    combo.setCurrentIndex(1)
    changes.clear()
    fill_choices(combo, [("b", 3), ("c", 4)])
    assert (combo.currentText(), combo.currentData()) == ("b", 3)
    assert changes == []
    fill_choices(combo, [("c", 4)])
    assert (combo.currentText(), changes) == ("c", [0])
    fill_choices(combo, [])
    assert combo.currentIndex() == -1


def test_a_pair_is_suggested_once_and_then_left_to_the_user(qtbot):
    source, target = choice_box(), choice_box()
    for combo in (source, target):
        qtbot.addWidget(combo)
    choices = [("drug", 1), ("control", 2), ("other", 3)]

    fill_pair(source, target, choices)
    assert (source.currentText(), target.currentText()) == ("control", "drug")
    source.setCurrentText("other")
    fill_pair(source, target, [*choices, ("more", 4)])
    assert (source.currentText(), target.currentText()) == ("other", "drug")


def test_the_mean_of_the_loss_is_unbiased_from_the_start():
    assert running_mean([]) == []
    assert running_mean([2.0, 2.0, 2.0]) == pytest.approx([2.0, 2.0, 2.0])
    noisy = running_mean([1.0, 0.0] * 100)
    assert noisy[0] == 1.0
    assert noisy[-1] == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    "losses", [[], [(1, 0.5)], [(s, 1 / s) for s in range(1, 5000)], [(1, 0.0), (2, 0.0)]]
)
def test_the_curve_can_be_painted(qtbot, losses):
    curve = LossCurve()
    qtbot.addWidget(curve)
    curve.resize(200, 100)
    line = QColor("red")
    curve.set_colors(QColor("black"), line)
    curve.set_losses(losses, 6000)

    image = curve.grab().toImage()

    colours = {image.pixelColor(x, y).name() for x in range(200) for y in range(100)}
    assert (line.name() in colours) == (len(losses) > 1)


def test_the_wheel_scrolls_the_form_and_changes_no_value(qtbot):
    panel = Panel()
    qtbot.addWidget(panel)
    box = QSpinBox()
    box.setValue(5)
    panel.section("Section").row("Value", box, "A value.")
    panel.show()
    assert not box.hasFocus()

    turn = QWheelEvent(
        QPointF(2, 2),
        QPointF(box.mapToGlobal(QPoint(2, 2))),
        QPoint(0, 0),
        QPoint(0, 120),
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(box, turn)

    assert box.value() == 5


class Inner(BaseModel):
    """Settings of a part."""

    model_config = SETTINGS

    method: Literal["a", "b-c"] | float = "b-c"
    """How it is done,
    in two lines."""


class Outer(BaseModel):
    """Settings."""

    model_config = SETTINGS

    dna_channel: int | str = 0
    """Which channel."""

    other_channel: int | str = 5
    """Which channel."""

    count: Annotated[int, Field(ge=1)] = 3
    """How many."""

    ratio: Annotated[float, Field(ge=0, le=1)] = 0.5
    """How much."""

    exact: bool = True
    """Whether it is exact."""

    inner: Inner = Inner()
    """Settings of a part."""


def test_a_form_is_made_from_settings(qtbot):
    panel = Panel()
    qtbot.addWidget(panel)
    form = SettingsForm(panel.section("Plain"), panel.fold("Nested"), panel)
    told: list[bool] = []
    form.changed.connect(lambda: told.append(True))

    form.show_model(Outer, ["DNA", "GFP"])

    assert form.model() == Outer(dna_channel="DNA", other_channel="GFP")
    dna, other, count, ratio, exact, method = (field.native for field in form._fields.values())
    assert method.toolTip() == "How it is done, in two lines."
    assert isinstance(dna, QComboBox)
    assert [dna.itemText(i) for i in range(dna.count())] == ["DNA", "GFP"]
    assert count.toolTip() == "How many."
    assert isinstance(count, QSpinBox)
    assert count.minimum() == 1
    assert isinstance(ratio, QDoubleSpinBox)
    assert ratio.maximum() == 1.0
    assert isinstance(exact, QCheckBox)
    assert method.currentText() == "b c"
    told.clear()
    count.setValue(7)
    other.setCurrentIndex(0)
    method.setCurrentText("a")
    exact.setChecked(False)
    assert len(told) == 4
    changed = Outer(
        dna_channel="DNA", other_channel="DNA", count=7, exact=False, inner=Inner(method="a")
    )
    assert form.model() == changed

    form.show_model(Inner, [])
    assert form.values() == {"method": "b-c"}


def test_every_field_of_every_dock_explains_itself(qtbot, model):
    for kind in (FineTuneWidget, TranslateWidget, MeasureWidget, EvaluateWidget):
        dock = kind(model)
        qtbot.addWidget(dock)
        controls = [
            child
            for control in (QComboBox, QAbstractSpinBox, QPushButton, QCheckBox, QSlider, QLineEdit)
            for child in dock.findChildren(control)
            if not child.objectName().startswith("qt_")
        ]
        assert len(controls) > 10
        silent = [
            (type(child).__name__, child.parent())
            for child in controls
            if not child.toolTip() and not isinstance(child.parent(), QComboBox | QAbstractSpinBox)
        ]
        assert silent == []


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda profile: profile.name)
def test_settings_that_nobody_has_changed_keep_all_their_digits(qtbot, profile):
    panel = Panel()
    qtbot.addWidget(panel)
    form = SettingsForm(panel.section("Plain"), panel.fold("Nested"), panel)
    form.show_model(profile.settings_type, ["DNA", "GFP"])
    channels = {name for name in profile.settings_type.model_fields if name.endswith("channel")}
    defaults = profile.settings_type().model_dump(exclude=channels)
    assert {name: form.values()[name] for name in defaults} == defaults


def test_labels_are_as_wide_as_their_words_in_any_font(qtbot):
    panel = Panel()
    qtbot.addWidget(panel)
    form = panel.section("Settings")
    labels = [
        form.row(text, QLineEdit(), "what it is")
        for text in ("Condition", "Background percentile", "Translation")
    ]
    for size in (9, 16):
        panel.setStyleSheet(f"QWidget {{ font-size: {size}pt; }}")
        panel.show()
        qtbot.wait(10)
        for label in labels:
            words = label.text().split()
            widest = max(label.fontMetrics().horizontalAdvance(word) for word in words)
            assert label.width() >= widest
    assert len({label.width() for label in labels}) == 1


def test_many_warnings_leave_room_for_the_rest(qtbot):
    label = note("")
    capped = Capped(label, lines=4)
    qtbot.addWidget(capped)
    capped.resize(200, 10)
    capped.show()
    label.setText("one line")
    qtbot.waitUntil(lambda: 0 < capped.height() < 2 * capped.fontMetrics().lineSpacing() + 4)
    label.setText("\n".join(["a line"] * 30))
    most = 4 * label.fontMetrics().lineSpacing() + 4  # what a theme may draw around it
    qtbot.waitUntil(lambda: capped.height() == most)
    label.setVisible(False)
    qtbot.waitUntil(lambda: capped.height() <= 1)
    hidden = note("")
    hidden.setVisible(False)
    empty = Capped(hidden)
    qtbot.addWidget(empty)
    empty.show()
    assert empty.maximumHeight() == 0


def test_sentences_grow_into_the_room_that_the_form_leaves(qtbot):
    panel = Panel()
    qtbot.addWidget(panel)
    form = panel.section("Form")
    form.row("Row", QSpinBox(), "A value.")
    first, second = note("\n".join(["a line"] * 12)), note("\n".join(["a line"] * 12))
    areas = [Capped(first), Capped(second)]
    for area in areas:
        panel.foot.addWidget(area)
    panel.resize(400, 200)
    panel.show()
    line = first.fontMetrics().lineSpacing()
    qtbot.waitUntil(lambda: [area.height() for area in areas] == [4 * line + 4] * 2)
    panel.resize(400, 1000)
    qtbot.waitUntil(lambda: [area.height() for area in areas] == [12 * line + 4] * 2)
    second.setText("\n".join(["a line"] * 20))
    qtbot.waitUntil(lambda: areas[1].height() == 20 * line + 4)
    panel.resize(400, 200)
    qtbot.waitUntil(lambda: [area.height() for area in areas] == [4 * line + 4] * 2)


def test_what_is_counted_is_called_as_the_work_calls_it(qtbot):
    foot = JobFoot(ViewerModel(), "Fetch", "Stop", "image")
    qtbot.addWidget(foot)
    job = Job("translate", "Translating")
    foot.set_job(job)
    job.apply(Progress(3, 40, "unet.safetensors", unit="MB"))
    foot.refresh()
    assert "MB 3 of 40" in foot.status.text()


def test_the_first_of_many_warnings_is_shown_as_well(qtbot):
    foot = JobFoot(ViewerModel(), "Start", "Stop", "image")
    qtbot.addWidget(foot)
    job = Job("measure", "Measuring")
    foot.set_job(job)
    for number in range(12):
        job.apply(Warned(f"number {number}"))
    foot.refresh()
    shown = foot.warnings.text().splitlines()
    assert shown == [f"⚠ number {number}" for number in (0, 1, 2, 3, 8, 9, 10, 11)]


def test_docks_name_fields_and_no_options_of_the_command_line(qtbot):
    label = note("Take them with “Images it knows” (--trained-too), or --keep.")
    qtbot.addWidget(label)
    assert label.text() == "Take them with “Images it knows”, or --keep."
    label.setText("choose it (--marker-channel NAME).")
    assert label.text() == "choose it."
    foot = JobFoot(ViewerModel(), "Start", "Stop", "step")
    qtbot.addWidget(foot)
    foot.set_error("Choose a smaller batch (--batch-size), or the CPU (--device cpu).")
    assert foot.button.toolTip() == foot.message.text() == "Choose a smaller batch, or the CPU."


def test_a_result_is_finished_when_all_its_layers_are_there(qtbot):
    viewer, later = ViewerModel(), []
    foot = JobFoot(viewer, "Start", "Stop", "image")
    qtbot.addWidget(foot)
    job = Job("translate", "Translating", on_stop=lambda: None)
    foot.set_job(job)
    in_turns(viewer, iter([None]), later.append)
    job.apply(Finished(1))
    foot.refresh()
    assert "finished" not in foot.status.text()
    assert "Showing the result" in foot.status.text()
    while later:
        later.pop(0)()
    assert "finished" in foot.status.text()


def test_a_dock_with_much_to_say_fits_a_low_window_and_scrolls(qtbot):
    panel = Panel()
    buttons = [QPushButton(str(number)) for number in range(30)]
    for button in buttons:
        panel.foot.addWidget(button)
    words = note("A sentence that wraps. " * 30)
    panel.foot.addWidget(words)
    qtbot.addWidget(panel)
    assert panel.minimumSizeHint().height() < 200
    panel.resize(300, 300)
    panel.show()
    qtbot.waitExposed(panel)
    assert panel.height() == 300
    bar = panel._foot.verticalScrollBar()
    qtbot.waitUntil(lambda: bar.maximum() > 0)
    bar.setValue(bar.maximum())
    assert not words.visibleRegion().isEmpty()
    for button in buttons[1:]:
        button.hide()
    words.setText("Short.")
    qtbot.waitUntil(lambda: bar.maximum() == 0)
    low = panel._foot.geometry()
    assert low.bottom() == 299
    assert low.height() == panel._foot.sizeHint().height() < 120, "the form has the rest"
