from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from qtpy.QtWidgets import QLabel

from napari_phenldiff.errors import InputError
from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.tables.measurement import read_settings, write_settings
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import LayerInfo, group_layers, is_plain_image
from napari_phenldiff.viewer.object_preview import preview_layer
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.samples import golgi_scatter
from napari_phenldiff.viewer.shown_strength import show_at
from napari_phenldiff.viewer.turns import turns
from napari_phenldiff.widgets.measure_dock import MeasureWidget

# What napari lets scikit-image warn of when it makes the first colours for labels.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB:UserWarning")


@pytest.fixture
def dock(qtbot, model: ViewerModel) -> MeasureWidget:
    widget = MeasureWidget(model)
    qtbot.addWidget(widget)
    widget.show()
    return widget


@pytest.fixture
def translated(model: ViewerModel, add_translated) -> ViewerModel:
    """The viewer with a perfect translation of the untreated images."""
    treated, untreated = group_layers(model.layers)
    add_translated(model, list(FieldImages(untreated)), list(FieldImages(treated)))
    return model


def labels_in(model: ViewerModel) -> dict[str, Labels]:
    return {layer.name: layer for layer in model.layers if isinstance(layer, Labels)}


def test_the_form_follows_the_profile_and_the_channels(dock: MeasureWidget):
    fields = dock.settings.values()
    assert fields["nuclei_channel"] == "DNA"
    assert fields["marker_channel"] == "marker"
    assert fields["nuclei"]["threshold"]["method"] == "minimum-cross-entropy"

    dock.profile.setCurrentIndex(dock.profile.findData("area"))

    fields = dock.settings.values()
    assert fields["channel"] == "marker"
    assert set(fields["segmentation"]) >= {"threshold", "min_size"}
    assert dock.request().profile == "area"


def test_channels_that_may_be_left_out(dock: MeasureWidget):
    dock.profile.setCurrentIndex(dock.profile.findData("golgi"))
    assert dock.settings.values()["nuclei_channel"] is None
    assert dock.validation_error() is None

    dock.settings.set_values({"nuclei_channel": 1})
    assert dock.settings.values()["nuclei_channel"] == "marker"
    assert dock.request().settings.nuclei_channel == "marker"

    dock.settings.set_values({"nuclei_channel": None})
    assert dock.request().settings.nuclei_channel is None


@pytest.mark.parametrize("profile", ["golgi", "neurons", "cells"])
def test_profiles_can_be_measured_and_saved(
    dock: MeasureWidget, model: ViewerModel, until_ended, tmp_path: Path, profile: str
):
    dock.profile.setCurrentIndex(dock.profile.findData(profile))
    dock.job_foot.button.click()
    assert until_ended(dock).state is JobState.FINISHED
    assert dock.figure.isVisible()
    dock.write_table(tmp_path / "t.csv")
    dock.load_settings(tmp_path / "t_settings.json")
    assert dock.profile.currentData() == profile
    # Two things are cut out: which of them a setting is for has to be seen.
    texts = [label.text() for label in dock.findChildren(QLabel)]
    assert len([text for text in texts if text.endswith(": method")]) == 2


def test_why_it_cannot_start_stands_beside_the_button(
    qtbot, dock: MeasureWidget, model: ViewerModel
):
    dock.target.setCurrentIndex(dock.source.currentIndex())
    assert "same condition" in dock.job_foot.message.text()
    assert not dock.job_foot.button.isEnabled()

    model.layers.clear()
    qtbot.waitUntil(lambda: "Open images of two" in dock.job_foot.message.text())


def test_the_measurement_finds_the_effect(dock: MeasureWidget, model: ViewerModel, until_ended):
    dock.job_foot.button.click()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    table = job.result.measurement.images
    assert list(table["condition"].unique()) == ["untreated", "treated"]
    median = table.groupby("condition")["ratio"].median()
    assert median["treated"] > 1.5 * median["untreated"]
    assert set(labels_in(model)) == {"untreated: objects", "treated: objects"}


def test_features_belong_to_the_objects_and_row_0_to_the_background(
    dock: MeasureWidget, model: ViewerModel, until_ended
):
    dock.start()
    cells = until_ended(dock).result.measurement.cells
    layer = labels_in(model)["untreated: objects"]
    image = model.layers["untreated: DNA"]

    assert layer.data.shape == image.data.shape
    np.testing.assert_allclose(layer.scale, image.scale)
    features = layer.features
    assert len(features) == layer.data.max() + 1
    assert list(features["label"]) == list(range(len(features)))
    assert features["image"].iloc[0] == ""
    assert np.isnan(features["ratio"].iloc[0])
    mine = cells[cells["condition"] == "untreated"]
    np.testing.assert_allclose(features["ratio"].iloc[1:], mine["ratio"])
    # No number is used in two images, and a row tells of the object with its number.
    last = int(layer.data[3].max())
    assert not np.isin(last, layer.data[:3])
    row = features.iloc[last]
    assert row["image"] == mine["image"].iloc[-1]
    assert row["area_px"] == np.sum(layer.data == last)


def test_the_objects_of_what_is_shown_are_shown(
    dock: MeasureWidget, model: ViewerModel, until_ended
):
    dock.start()
    until_ended(dock)
    found = labels_in(model)

    assert found["untreated: objects"].visible
    assert not found["treated: objects"].visible
    assert found["treated: objects"].contour == 1


def test_a_measurement_made_again_takes_the_place_of_the_first(
    dock: MeasureWidget, model: ViewerModel, until_ended
):
    dock.start()
    until_ended(dock)
    for channel in ("DNA", "marker"):
        model.layers[f"treated: {channel}"].visible = True
    labels_in(model)["treated: objects"].visible = True
    labels_in(model)["untreated: objects"].visible = False
    dock.start()
    until_ended(dock)

    assert len(labels_in(model)) == 2
    assert labels_in(model)["treated: objects"].visible
    assert not labels_in(model)["untreated: objects"].visible


def test_table_and_csv_hold_one_row_per_image(
    qtbot, dock: MeasureWidget, model: ViewerModel, until_ended, tmp_path: Path
):
    with pytest.raises(InputError, match="measure first"):
        dock.write_table(tmp_path / "t.csv")
    assert not dock.results.isVisible()
    dock.start()
    until_ended(dock)

    shown = dock.results.images.model()
    assert shown.rowCount() == 8
    headings = [
        shown.headerData(i, dock.results.images.horizontalHeader().orientation()) for i in range(3)
    ]
    assert headings == ["condition", "image", "log2 ratio"]
    assert shown.index(0, 0).data() == "untreated"
    assert dock.write_table(tmp_path / "t.csv")
    assert len(pd.read_csv(tmp_path / "t.csv")) == 8
    assert len(pd.read_csv(tmp_path / "t_cells.csv")) > 8


def test_a_row_of_the_table_leads_to_its_image(
    dock: MeasureWidget, model: ViewerModel, until_ended
):
    dock.start()
    until_ended(dock)
    dock.results.images.sortByColumn(2, dock.results.images.horizontalHeader().sortIndicatorOrder())
    image = dock.job_foot.job.result.measurement.images["image"]

    for row in (0, 5):
        index = dock.results.images.model().index(row, 0)
        dock.results.images.clicked.emit(index)
        name = dock.results.images.model().index(row, 1).data()
        place = list(image).index(name) % 4
        assert model.dims.current_step[0] == place


def test_four_groups_are_measured_and_drawn(
    qtbot, translated: ViewerModel, until_ended, tmp_path: Path
):
    dock = MeasureWidget(translated)
    qtbot.addWidget(dock)
    assert dock.translation.currentText() == "1: untreated → treated (4)"
    dock.start()
    measured = until_ended(dock).result

    assert measured.measurement.conditions == (
        "untreated",
        "treated",
        "reconstructed",
        "translated",
    )
    values = measured.measurement.values
    np.testing.assert_allclose(values("translated"), values("treated"))
    np.testing.assert_allclose(values("reconstructed"), values("untreated"))
    qtbot.waitUntil(lambda: dock.results.figure.figure is not None, timeout=20_000)
    axes = dock.results.figure.figure.axes[0]
    assert axes.get_title("left").startswith("recovery")
    assert [label.get_text().split("\n")[0] for label in axes.get_xticklabels()] == [
        "real",
        "real",
        "reconstructed",
        "translated",
    ]


def test_figures_of_pairs_effects_and_changes(
    qtbot, model: ViewerModel, add_translated, until_ended, tmp_path: Path
):
    treated, untreated = (list(FieldImages(group)) for group in group_layers(model.layers))
    named = [
        replace(after, name=before.name) for after, before in zip(treated, untreated, strict=True)
    ]
    add_translated(model, untreated, named)
    dock = MeasureWidget(model)
    qtbot.addWidget(dock)
    dock.start()
    measured = until_ended(dock).result
    assert all(not group.objects for group in measured.groups)
    page = dock.results.figures
    seen = []
    for kind, button in page.buttons.items():
        assert button.isEnabled()
        if kind != "groups":
            button.click()
        assert page.kind == kind
        qtbot.waitUntil(
            lambda: page.view.figure is not None and page.view.figure not in seen, timeout=20_000
        )
        seen.append(page.view.figure)
        page.write(tmp_path / f"{kind}.csv")
        said = f"Saved as {tmp_path / f'{kind}.csv'}"
        qtbot.waitUntil(lambda said=said: page.said.text() == said, timeout=20_000)
    assert page.view.minimumHeight() > 260
    heights = {page.view.height()}
    window = page.open_window()
    qtbot.waitUntil(lambda: window.view.figure is not None, timeout=20_000)
    window.write(tmp_path / "gallery.png")
    qtbot.waitUntil(lambda: window.said.text() == f"Saved as {tmp_path / 'gallery.png'}")
    window.close()
    page.choose("groups")  # nothing moves when another figure is chosen
    qtbot.waitUntil(lambda: page.view.figure is not None and page.view.figure not in seen)
    assert heights == {page.view.height()}
    seen.append(page.view.figure)
    page.choose("gallery")
    qtbot.waitUntil(lambda: page.view.figure is not None and page.view.figure not in seen)
    seen.append(page.view.figure)
    changed = pd.read_csv(tmp_path / "gallery.csv")
    assert list(changed["change"].abs()) == sorted(changed["change"].abs(), reverse=True)
    assert len(changed) == 4
    assert set(pd.read_csv(tmp_path / "effects.csv")["effect"]) == {"real", "translated"}

    # The images may go: what is shown was kept when it was measured.
    model.layers.clear()
    model.theme = "light"
    qtbot.waitUntil(lambda: page.view.figure is not seen[-1], timeout=20_000)
    assert sum(page.view.figure.get_facecolor()[:3]) > 2


def test_a_figure_waits_for_the_layers_that_are_added(qtbot, dock: MeasureWidget, until_ended):
    page = dock.results.figures
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(lambda: page.view.figure is not None, timeout=20_000)
    before = page.view.figure
    turns.begin(dock.viewer)
    page.choose("effects")
    qtbot.wait(500)
    assert page.view.figure is before
    turns.end(dock.viewer)
    qtbot.waitUntil(lambda: page.view.figure is not before, timeout=20_000)


def test_a_figure_goes_when_another_measurement_comes(qtbot, dock: MeasureWidget, until_ended):
    page = dock.results.figures
    dock.start()
    measured = until_ended(dock).result
    qtbot.waitUntil(lambda: page.view.figure is not None, timeout=20_000)
    before = page.view.figure
    page.show_measured(measured)
    assert page.view.figure is None
    assert page.view._words.text() == "Drawing …"
    assert not page.view._words.isHidden()
    qtbot.waitUntil(lambda: page.view.figure is not None, timeout=20_000)
    assert page.view.figure is not before


def test_what_cannot_be_drawn_says_why(qtbot, dock: MeasureWidget, until_ended):
    page = dock.results.figures
    page.kind = "gallery"
    dock.start()
    until_ended(dock)
    assert page.kind == "groups"
    for kind in ("pairs", "gallery"):
        assert not page.buttons[kind].isEnabled()
        assert "translation" in page.buttons[kind].toolTip()
    page.choose("effects")
    page.choose("groups")
    qtbot.waitUntil(lambda: page.view.figure is not None, timeout=20_000)
    qtbot.wait(1000)
    # Only the one that was asked for last is shown.
    assert "untreated" in page.view.figure.axes[0].get_xticklabels()[0].get_text()


def test_the_figure_follows_the_theme(qtbot, dock: MeasureWidget, model: ViewerModel, until_ended):
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(lambda: dock.results.figure.figure is not None, timeout=20_000)
    dark = dock.results.figure.figure
    assert sum(dark.get_facecolor()[:3]) < 1

    model.theme = "light"

    qtbot.waitUntil(lambda: dock.results.figure.figure is not dark, timeout=20_000)
    assert sum(dock.results.figure.figure.get_facecolor()[:3]) > 2


def test_a_manual_threshold_can_be_given(dock: MeasureWidget, until_ended):
    method = dock.settings.field("nuclei", "threshold", "method").native
    number = dock.settings.field("nuclei", "threshold", "method").number
    method.setCurrentIndex(method.count() - 1)
    number.setValue(60.0)

    assert dock.settings.values()["nuclei"]["threshold"]["method"] == 60.0
    dock.start()
    result = until_ended(dock).result
    assert result.measurement.thresholds == {"nuclei": 60.0}


def test_a_dock_opened_again_shows_the_last_result(qtbot, model: ViewerModel, until_ended):
    dock = MeasureWidget(model)
    dock.start()
    until_ended(dock)
    dock.close()
    dock.deleteLater()
    del dock

    reopened = MeasureWidget(model)
    qtbot.addWidget(reopened)
    assert reopened.results.images.model().rowCount() == 8
    assert not reopened.results.isHidden()


def test_stop_ends_the_measurement(
    qtbot, dock: MeasureWidget, model: ViewerModel, until_ended, monkeypatch
):
    import time

    from napari_phenldiff.measurement.profiles import translocation

    original = translocation.Translocation.measure

    def slow(*args, **kwargs):
        time.sleep(0.5)
        return original(*args, **kwargs)

    monkeypatch.setattr(translocation.Translocation, "measure", slow)
    dock.start()
    qtbot.waitUntil(lambda: dock.job_foot.job.done >= 1, timeout=10_000)
    dock.job_foot.button.click()
    job = until_ended(dock)

    assert job.state is JobState.STOPPED
    assert labels_in(model) == {}


# ---- preview -------------------------------------------------------------------------------------


def previewed(qtbot, dock: MeasureWidget, change) -> str:
    """Change something and wait for what the preview says to it."""
    with qtbot.waitSignal(dock.preview.shown, timeout=20_000):
        change()
    return dock.preview.note.text()


def test_a_preview_that_is_ticked_is_there_before_something_is_changed(
    qtbot, dock: MeasureWidget, model: ViewerModel
):
    assert dock.preview.box.isChecked()
    qtbot.waitUntil(lambda: preview_layer(model) is not None)
    assert "objects" in dock.preview.note.text()
    model.dims.set_current_step(0, 2)

    text = previewed(qtbot, dock, lambda: dock.profile.setCurrentIndex(1))
    assert "area from" in text
    layer = preview_layer(model)
    assert layer is not None
    assert layer.translate[0] == 2


def test_an_unticked_preview_adds_nothing(qtbot, dock: MeasureWidget, model: ViewerModel):
    dock.preview.box.setChecked(False)
    dock.profile.setCurrentIndex(1)
    qtbot.wait(300)
    assert preview_layer(model) is None
    assert dock.preview.note.text() == ""


def test_a_preview_says_what_it_waits_for_after_a_measurement(
    qtbot, dock: MeasureWidget, model: ViewerModel, until_ended
):
    dock.start()
    until_ended(dock)
    qtbot.waitUntil(lambda: len(labels_in(model)) == 2)
    assert preview_layer(model) is None
    assert "A change is previewed again" in dock.preview.note.text()
    previewed(qtbot, dock, lambda: dock.profile.setCurrentIndex(1))
    assert preview_layer(model) is not None


def test_the_preview_follows_settings_and_slider(qtbot, dock: MeasureWidget, model: ViewerModel):
    size = dock.settings.field("nuclei", "min_size").native
    few = previewed(qtbot, dock, lambda: size.setValue(100_000))
    assert "no objects" in few
    many = previewed(qtbot, dock, lambda: size.setValue(10))
    assert "objects," in many
    layer = preview_layer(model)
    assert layer is not None
    before = layer.data.copy()
    previewed(qtbot, dock, lambda: model.dims.set_current_step(0, 0))
    assert preview_layer(model) is layer
    assert (layer.data != before).any()
    dna = model.layers["untreated: DNA"]
    dark = previewed(qtbot, dock, lambda: setattr(dna, "data", np.zeros_like(dna.data)))
    assert "nothing can be measured" in dark


def test_only_the_latest_of_many_changes_is_shown(qtbot, dock: MeasureWidget, monkeypatch):
    import time

    from napari_phenldiff.widgets.parts import live_preview

    original, seen = live_preview.outline, []

    def slow(target, on_step):
        seen.append(target.request.settings.ring_width)
        time.sleep(0.2)
        return original(target, on_step)

    monkeypatch.setattr(live_preview, "outline", slow)
    shown: list[str] = []
    dock.preview.shown.connect(lambda: shown.append(dock.preview.note.text()))
    ring = dock.settings.field("ring_width").native
    for width in range(6, 16):
        ring.setValue(width)
        qtbot.wait(20)
    qtbot.waitUntil(lambda: bool(shown), timeout=20_000)
    assert len(shown) == 1
    assert seen[-1] == 15
    assert len(seen) <= 2


def test_the_preview_goes_with_the_box_the_images_and_the_measurement(
    qtbot, dock: MeasureWidget, model: ViewerModel, until_ended
):
    previewed(qtbot, dock, dock.preview.touch)
    dock.preview.box.setChecked(False)
    assert preview_layer(model) is None
    previewed(qtbot, dock, lambda: dock.preview.box.setChecked(True))
    dock.start()
    assert preview_layer(model) is None
    until_ended(dock)
    assert dock.preview.box.isChecked()

    previewed(qtbot, dock, dock.preview.touch)
    model.layers.remove(preview_layer(model))
    qtbot.waitUntil(lambda: not dock.preview.box.isChecked())
    previewed(qtbot, dock, lambda: dock.preview.box.setChecked(True))
    model.layers.clear()
    qtbot.waitUntil(lambda: not dock.preview.touched)
    assert dock.preview.box.isChecked()
    assert len(model.layers) == 0


def test_what_goes_wrong_in_a_preview_is_said(
    qtbot, dock: MeasureWidget, model: ViewerModel, monkeypatch
):
    from napari_phenldiff.widgets.parts import live_preview

    def broken(target, on_step):
        raise RuntimeError("out of luck")

    monkeypatch.setattr(live_preview, "outline", broken)
    assert "out of luck" in previewed(qtbot, dock, dock.preview.touch)
    monkeypatch.undo()
    previewed(qtbot, dock, dock.preview.touch)
    for layer in model.layers:
        layer.visible = False
    qtbot.waitUntil(lambda: "visible" in dock.preview.note.text())
    assert preview_layer(model) is None


def test_what_is_made_of_z_planes_is_asked_only_where_there_are_some(qtbot, dock: MeasureWidget):
    assert dock.choices.planes.isHidden()
    stacks = ViewerModel()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        for channel in ("DNA", "GFP"):
            data = rng.integers(0, 255, (3, 5, 24, 24), dtype=np.uint8)
            labels = ("field", "z", "y", "x")
            stacks.add_image(data, name=f"{name}: {channel}", axis_labels=labels)
    other = MeasureWidget(stacks)
    qtbot.addWidget(other)
    assert not other.choices.planes.isHidden()
    assert other.request().z == "max"
    other.choices.planes.setCurrentIndex(2)
    stacks.dims.set_current_step(1, 4)
    assert other.request().z == 4
    assert other.validation_error() is None
    other.profile.setCurrentIndex(1)
    qtbot.waitUntil(lambda: preview_layer(stacks) is not None, timeout=20_000)
    assert preview_layer(stacks).data.shape == (1, 5, 24, 24)


# ---- tables and viewer ---------------------------------------------------------------------------


def test_a_row_picks_its_object_and_an_object_its_row(
    dock: MeasureWidget, model: ViewerModel, until_ended
):
    dock.start()
    cells = until_ended(dock).result.measurement.cells
    objects = dock.results.objects
    row = len(cells) - 1

    objects.selectRow(row)

    layer = labels_in(model)["treated: objects"]
    assert layer.visible
    assert model.layers.selection.active is layer
    assert layer.features["image"].iloc[layer.selected_label] == cells["image"].iloc[row]
    assert model.layers["treated: DNA"].visible
    assert not model.layers["untreated: DNA"].visible
    layer.selected_label = 1
    first = int(np.flatnonzero(cells["condition"] == "treated")[0])
    assert objects.chosen() == [first]
    layer.selected_label = 0
    assert objects.chosen() == []

    dock.results.only_chosen.setChecked(True)
    assert layer.show_selected_label
    model.layers.remove(layer)
    objects.selectRow(0)
    objects.selectRow(row)
    assert "measure again" in dock.results.said["Objects"].text()


def test_areas_have_no_table_of_objects(dock: MeasureWidget, until_ended):
    dock.profile.setCurrentIndex(dock.profile.findData("area"))
    dock.start()
    until_ended(dock)
    assert not dock.results.isTabEnabled(2)
    assert dock.results.isTabEnabled(1)


def test_the_table_is_filtered_by_words(dock: MeasureWidget, until_ended):
    dock.start()
    until_ended(dock)
    dock.results.filter_images.setText("Untreated")
    assert dock.results.images.model().rowCount() == 4
    dock.start()
    until_ended(dock)
    assert dock.results.images.model().rowCount() == 4


# ---- files ---------------------------------------------------------------------------------------


def test_a_figure_is_written_for_paper_or_as_shown(
    qtbot, dock: MeasureWidget, until_ended, tmp_path: Path
):
    dock.start()
    until_ended(dock)
    said = dock.results.figures.said
    for name, as_shown in (("paper.svg", False), ("dark.svg", True), ("numbers.csv", False)):
        dock.results.figures.as_shown.setChecked(as_shown)
        dock.results.figures.write(tmp_path / name)
        qtbot.waitUntil(
            lambda name=name: said.text() == f"Saved as {tmp_path / name}", timeout=20_000
        )
    assert "#ffffff" in (tmp_path / "paper.svg").read_text()
    assert "#16181d" in (tmp_path / "dark.svg").read_text()
    assert "image" in set(pd.read_csv(tmp_path / "numbers.csv")["what"])
    dock.results.figures.write(tmp_path / "figure.xyz")
    qtbot.waitUntil(lambda: "could not be written" in said.text(), timeout=20_000)
    menu = dock.results.figures.formats_menu()
    assert [action.text() for action in menu.actions()] == ["SVG…", "PNG…", "PDF…", "CSV…"]
    menu.close()


def test_settings_go_into_a_file_and_come_back_with_their_thresholds(
    qtbot, dock: MeasureWidget, model: ViewerModel, until_ended, tmp_path: Path
):
    dock.settings.field("ring_width").native.setValue(9)
    early = dock.save_settings(tmp_path / "early.json")
    dock.start()
    found = dict(until_ended(dock).result.measurement.thresholds)
    assert early in ({}, found)  # the preview finds the same ones, sooner or later
    assert dock.save_settings(tmp_path / "settings.json") == found
    profile, settings, thresholds = read_settings(tmp_path / "settings.json")
    assert (profile, settings.ring_width, thresholds) == ("translocation", 9, found)

    for layer in model.layers:
        if layer.name == "treated: DNA":
            layer.data = layer.data // 2
    dock.profile.setCurrentIndex(1)
    dock.files.load_requested.emit(tmp_path / "settings.json")
    assert dock.profile.currentData() == "translocation"
    assert dock.settings.values()["ring_width"] == 9
    assert dock.request().thresholds == found
    assert not dock.files.keep.isHidden()
    dock.start()
    assert until_ended(dock).result.measurement.thresholds == found
    dock.files.keep.setChecked(False)
    dock.start()
    assert until_ended(dock).result.measurement.thresholds != found

    dock.files.keep.setChecked(True)
    method = dock.settings.field("nuclei", "threshold", "method").native
    method.setCurrentIndex(method.findData("otsu"))
    assert dock.request().thresholds is None
    assert dock.files.keep.isHidden()


def test_a_file_that_does_not_fit_is_told_and_changes_nothing(dock: MeasureWidget, tmp_path: Path):
    before = dock.settings.values()
    (tmp_path / "bad.json").write_text("[]")
    dock.files.load_requested.emit(tmp_path / "bad.json")
    assert "no measurement settings" in dock.files.said.text()
    write_settings(tmp_path / "far.json", "area", AreaSettings(channel="GFP"), {})
    dock.files.load_requested.emit(tmp_path / "far.json")
    assert 'no channel "GFP"' in dock.files.said.text()
    assert dock.profile.currentData() == "translocation"
    assert dock.settings.values() == before
    write_settings(tmp_path / "fits.json", "area", AreaSettings(channel="MARKER"), {})
    dock.files.load_requested.emit(tmp_path / "fits.json")
    assert dock.settings.values()["channel"] == "marker"


def test_what_is_filled_in_outlives_the_dock(qtbot, model: ViewerModel, until_ended):
    dock = MeasureWidget(model)
    dock.settings.field("ring_width").native.setValue(7)
    dock.source.setCurrentIndex(0)
    dock.target.setCurrentIndex(1)
    pair = dock.source.currentText(), dock.target.currentText()
    dock.profile.setCurrentIndex(1)
    dock.settings.field("channel").native.setCurrentIndex(0)
    dock.preview.box.setChecked(False)
    dock.close()
    dock.deleteLater()
    del dock

    again = MeasureWidget(model)
    qtbot.addWidget(again)
    assert again.profile.currentData() == "area"
    assert again.settings.values()["channel"] == "DNA"
    assert (again.source.currentText(), again.target.currentText()) == pair
    assert not again.preview.box.isChecked()
    again.profile.setCurrentIndex(0)
    assert again.settings.values()["ring_width"] == 7


def test_a_viewer_has_its_own_state(qtbot, dock: MeasureWidget, open_simulated):
    other = ViewerModel()
    open_simulated(other)
    dock.settings.field("ring_width").native.setValue(7)
    second = MeasureWidget(other)
    qtbot.addWidget(second)
    assert second.settings.values()["ring_width"] == 5
    second.preview.touch()
    qtbot.waitUntil(lambda: preview_layer(other) is not None, timeout=20_000)
    assert second.job_foot.job is None


def test_layers_may_change_while_they_are_measured(
    qtbot, dock: MeasureWidget, model: ViewerModel, until_ended
):
    dock.start()
    model.layers["untreated: DNA"].name = "something"
    model.layers["treated: marker"].data = np.zeros((4, 96, 96), np.uint8)
    model.layers.remove("treated: DNA")
    job = until_ended(dock)
    assert job.state is JobState.FINISHED, job.message
    assert len(labels_in(model)) == 2
    dock.results.images.selectRow(7)
    dock.results.objects.selectRow(0)


def test_a_threshold_as_a_number_starts_from_the_one_that_was_found(qtbot, dock: MeasureWidget):
    previewed(qtbot, dock, dock.preview.touch)
    found = dock.preview.thresholds["nuclei"]
    method = dock.settings.field("nuclei", "threshold", "method").native
    text = previewed(qtbot, dock, lambda: method.setCurrentIndex(method.count() - 1))
    number = dock.settings.values()["nuclei"]["threshold"]["method"]
    assert number == pytest.approx(found, abs=1e-6)
    assert "as given" in text


# ---- labels layers in place of thresholds --------------------------------------------------------


def test_labels_layers_take_the_place_of_thresholds(
    qtbot, dock: MeasureWidget, model: ViewerModel, until_ended
):
    labels = dock.choices.labels
    assert labels.labels() is None
    assert all(box.isHidden() for box in labels.boxes.values())
    method = dock.settings.field("nuclei", "threshold", "method").native
    explained = method.toolTip()

    labels.kind.setCurrentText("labels layers")
    assert "No labels layers are open" in labels.words.text()
    assert "Choose a labels layer for untreated" in dock.job_foot.message.text()
    assert not dock.job_foot.button.isEnabled()

    drawn = np.zeros((4, 96, 96), int)
    drawn[:, 20:30, 20:30], drawn[:, 60:70, 60:70] = 1, 2
    model.add_labels(drawn, name="untreated_cellpose")
    model.add_labels(drawn[:3], name="three")
    qtbot.waitUntil(lambda: labels.boxes["source"].currentText() == "untreated_cellpose")
    assert labels.boxes["target"].currentText() == "choose …"
    assert labels.boxes["target"].findText("three") < 0
    assert "Choose a labels layer for treated" in dock.job_foot.message.text()
    assert labels.boxes["translated"].isHidden()
    model.add_labels(drawn, name="treated masks")
    qtbot.waitUntil(lambda: labels.boxes["target"].currentText() == "treated masks")
    assert dock.validation_error() is None
    assert not method.isEnabled()
    assert "thresholds are not used" in method.toolTip()
    assert dock.settings.field("ring_width").native.isEnabled()

    text = previewed(qtbot, dock, dock.preview.touch)
    assert "2 objects" in text
    assert "from the labels layer" in text
    dock.start()
    job = until_ended(dock)
    assert job.state is JobState.FINISHED, job.message
    assert set(job.result.measurement.images["n_cells"]) == {2}
    # What is chosen stays chosen, although there are more labels layers now.
    assert dock.validation_error() is None
    assert labels.boxes["source"].currentText() == "untreated_cellpose"

    labels.kind.setCurrentText("thresholds")
    assert method.isEnabled()
    assert method.toolTip() == explained
    assert dock.request().labels is None


def test_labels_that_are_called_like_both_conditions_are_used_without_being_asked_for(
    qtbot, dock: MeasureWidget, model: ViewerModel, until_ended
):
    labels = dock.choices.labels
    dock.start()
    assert until_ended(dock).state is JobState.FINISHED
    # Objects of a measurement are called like them, too.
    assert {"untreated: objects", "treated: objects"} <= set(labels_in(model))
    dock.refresh()
    assert not labels.used

    drawn = np.ones((4, 96, 96), int)
    model.add_labels(drawn, name="untreated cellpose")
    qtbot.wait(50)
    assert not labels.used
    model.add_labels(drawn, name="treated cellpose")
    qtbot.waitUntil(lambda: labels.used)
    found = {name: layer.name for name, layer in (labels.labels() or {}).items()}
    assert found == {"untreated": "untreated cellpose", "treated": "treated cellpose"}
    assert "thresholds are not used" in labels.words.text()

    labels.kind.setCurrentText("thresholds")
    model.add_labels(drawn, name="untreated again")
    qtbot.wait(50)
    assert not labels.used


def test_a_translation_has_the_labels_of_the_source(
    qtbot, translated: ViewerModel, add_translated, until_ended
):
    for name in ("treated", "untreated"):
        translated.add_labels(np.ones((4, 96, 96), int), name=f"{name} masks")
    dock = MeasureWidget(translated)
    qtbot.addWidget(dock)
    dock.choices.labels.kind.setCurrentText("labels layers")
    chosen = {name: layer.name for name, layer in dock.request().labels.items()}
    assert chosen == {
        "untreated": "untreated masks",
        "treated": "treated masks",
        "reconstructed": "untreated masks",
        "translated": "untreated masks",
    }
    assert "right only where" in dock.choices.labels.words.text()
    assert dock.validation_error() is None
    dock.choices.labels.kind.setCurrentText("thresholds")
    assert dock.request().labels is None


def test_choices_stay_when_a_dial_is_turned_and_layers_are_renamed(qtbot, model: ViewerModel):
    _, untreated = group_layers(model.layers)
    images = list(FieldImages(untreated))
    made = NewTranslation(images, images, source="untreated", target="treated")
    translation = add_translation(model, untreated.layers, made)
    for name in ("treated masks", "untreated masks", "translated: mine"):
        model.add_labels(np.ones((4, 96, 96), int), name=name)
    dock = MeasureWidget(model)
    qtbot.addWidget(dock)
    labels = dock.choices.labels
    labels.kind.setCurrentText("labels layers")
    assert labels.boxes["translated"].currentText() == "translated: mine"
    model.layers["translated: mine"].name = "by hand"
    for place, image in enumerate(images):
        show_at(model.layers, translation, place, image, 1.8)
    dock._on_layers()
    assert "× 1.8" in dock.translation.currentText()
    assert dock.request().translated is not None
    assert labels.boxes["translated"].currentText() == "by hand"
    model.layers.remove("by hand")
    dock._on_layers()
    assert labels.boxes["translated"].currentText() == "untreated masks"


def test_a_translation_the_other_way_round_is_refused(dock: MeasureWidget, translated: ViewerModel):
    dock.source.setCurrentIndex(dock.source.findText("untreated (4 images)"))
    dock.target.setCurrentIndex(dock.target.findText("treated (4 images)"))
    dock.translation.setCurrentIndex(dock.translation.count() - 1)
    assert dock.validation_error() is None
    dock.source.setCurrentIndex(dock.source.findText("treated (4 images)"))
    dock.target.setCurrentIndex(dock.target.findText("untreated (4 images)"))
    assert "from untreated to treated" in (dock.validation_error() or "")


def test_the_conditions_are_those_of_a_translation_that_appears(
    qtbot, dock: MeasureWidget, model: ViewerModel
):
    treated, _ = group_layers(model.layers)
    images = list(FieldImages(treated))
    assert dock.source.currentText().startswith("untreated")
    back = NewTranslation(images, images, source="treated", target="untreated")
    add_translation(model, treated.layers, back)
    qtbot.waitUntil(lambda: dock.translation.currentData() is not None)
    assert dock.source.currentText().startswith("treated")
    assert dock.target.currentText().startswith("untreated")
    assert dock.validation_error() is None


def test_a_translation_whose_layers_come_one_by_one_is_chosen_and_stays(
    qtbot, dock: MeasureWidget, model: ViewerModel
):
    _, untreated = group_layers(model.layers)
    images = list(FieldImages(untreated))
    later: list = []
    first, second = (
        NewTranslation(images, images, "untreated", "treated", provenance={"guidance": guidance})
        for guidance in (1.0, 2.0)
    )
    identity = add_translation(model, untreated.layers, first, later.append)
    while later:
        later.pop(0)()
        qtbot.wait(5)  # the dock looks in between
    assert dock.request().translated.translation == identity

    other = add_translation(model, untreated.layers, second)
    qtbot.waitUntil(lambda: dock.translation.count() == 3)
    assert dock.request().translated.translation == identity, "the latest comes first in the list"
    for layer in [x for x in model.layers if is_plain_image(x)]:
        if LayerInfo.of(layer).translation == other:
            model.layers.remove(layer)
    qtbot.waitUntil(lambda: dock.translation.count() == 2)
    assert dock.request().translated.translation == identity


def test_conditions_that_the_user_has_chosen_stay_when_a_translation_appears(
    qtbot, dock: MeasureWidget, model: ViewerModel
):
    treated, _ = group_layers(model.layers)
    images = list(FieldImages(treated))
    dock.source.activated.emit(dock.source.currentIndex())
    back = NewTranslation(images, images, source="treated", target="untreated")
    add_translation(model, treated.layers, back)
    qtbot.waitUntil(lambda: dock.translation.currentData() is not None)
    assert dock.source.currentText().startswith("untreated")
    # Whoever chooses a translation wants to see it measured.
    dock.translation.activated.emit(dock.translation.currentIndex())
    assert dock.source.currentText().startswith("treated")


def test_where_no_name_tells_the_user_chooses_the_channel(qtbot):
    model = ViewerModel()
    for name in ("a", "b"):
        model.add_image(
            np.random.default_rng(0).integers(0, 255, (2, 3, 16, 16), dtype=np.uint8),
            name=name,
            axis_labels=("field", "channel", "y", "x"),
        )
    dock = MeasureWidget(model)
    qtbot.addWidget(dock)
    dock.profile.choose("translocation")
    nuclei = dock.settings.field("nuclei_channel").native
    assert nuclei.currentText() == "choose …"
    assert "nuclei channel" in (dock.validation_error() or "")
    dock.settings.set_values({"nuclei_channel": "channel 2", "marker_channel": 0})
    assert dock.validation_error() is None
    settings = dock.request().chosen_settings()
    assert (settings.nuclei_channel, settings.marker_channel) == ("channel 2", "channel 0")


def test_the_nuclei_of_a_scattered_golgi_are_not_its_golgi(qtbot):
    model = ViewerModel()
    for data, arguments, _ in golgi_scatter():
        model.add_image(data, **arguments)
    dock = MeasureWidget(model)
    qtbot.addWidget(dock)
    dock.profile.setCurrentIndex(dock.profile.findData("cells"))
    assert dock.settings.values()["nuclei_channel"] == "DNA"
    dock.profile.setCurrentIndex(dock.profile.findData("golgi"))
    assert dock.settings.values()["channel"] == "Golgi"
