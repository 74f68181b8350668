from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from napari.components import ViewerModel
from napari.layers import Labels

from napari_phenldiff.errors import InputError
from napari_phenldiff.viewer.jobs import JobState
from napari_phenldiff.viewer.layers import group_layers
from napari_phenldiff.widgets.measure import MeasureWidget

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
    add_translated(model, untreated.images(), treated.images())
    return model


def labels_in(model: ViewerModel) -> dict[str, Labels]:
    return {layer.name: layer for layer in model.layers if isinstance(layer, Labels)}


def test_the_form_follows_the_profile_and_the_channels(dock: MeasureWidget):
    fields = dock.settings.values()
    assert fields["nuclei_channel"] == 0
    assert fields["marker_channel"] == 1
    assert fields["nuclei"]["threshold"]["method"] == "minimum-cross-entropy"

    dock.profile.setCurrentIndex(dock.profile.findData("area"))

    fields = dock.settings.values()
    assert fields["channel"] == 0
    assert set(fields["segmentation"]) >= {"threshold", "min_size"}
    assert dock.request().profile == "area"


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
    labels_in(model)["treated: objects"].visible = True
    dock.start()
    until_ended(dock)

    assert len(labels_in(model)) == 2
    assert labels_in(model)["treated: objects"].visible


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
    method = dock.settings._fields["nuclei", "threshold", "method"]
    number = dock.settings._numbers["nuclei", "threshold", "method"]
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

    from napari_phenldiff.measurement import translocation

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
