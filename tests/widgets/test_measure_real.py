"""The Measure dock on real images of four kinds."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from napari.components import ViewerModel

from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.viewer.object_preview import preview_layer
from napari_phenldiff.viewer.objects import measurement_of
from napari_phenldiff.viewer.reader import read_layers
from napari_phenldiff.widgets.measure_dock import MeasureWidget

# What napari lets scikit-image warn of when it makes the first colours for labels.
pytestmark = pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB:UserWarning")


@pytest.mark.parametrize(
    ("folder", "conditions", "profile"),
    [
        ("bbbc013_translocation", ("untreated", "treated"), "translocation"),
        ("hela_sirna_fields", ("RLUC_siRNA", "UBC_siRNA"), "translocation"),
        ("golgi_bfa", ("before_bfa", "after_bfa"), "area"),
        ("neurite_axotomy", ("uncut", "cut"), "area"),
    ],
)
def test_preview_and_measurement_agree_on_real_images(
    qtbot, until_ended, shared_data: Path, tmp_path: Path, folder, conditions, profile
):
    for condition in conditions:
        (tmp_path / condition).mkdir()
        for file in sorted((shared_data / folder / condition).glob("*.tif"))[:3]:
            shutil.copy(file, tmp_path / condition)
    model = ViewerModel()
    for data, arguments, _ in read_layers(tmp_path):
        model.add_image(data, **arguments)
    dock = MeasureWidget(model)
    qtbot.addWidget(dock)
    dock.profile.setCurrentIndex(dock.profile.findData(profile))
    if folder == "hela_sirna_fields":  # no name says which of two channels is the marker
        dock.settings.set_values({"marker_channel": 1})
    for box, condition in ((dock.source, conditions[0]), (dock.target, conditions[1])):
        box.setCurrentIndex(box.findText(f"{condition} (3 images)"))
    for layer in model.layers:
        layer.visible = layer.name.startswith(conditions[0] + ":")
    model.dims.set_current_step(0, 1)

    dock.preview.touch()
    # The outline is a field of its own; the colours tell objects from rings.
    qtbot.waitUntil(lambda: preview_layer(model) is not None, timeout=30_000)
    qtbot.waitUntil(lambda: preview_layer(model).translate[0] == 1, timeout=30_000)
    shown = preview_layer(model).data[0]
    text = dock.preview.note.text()
    assert text.startswith(f"{conditions[0]}: ")
    previewed = dict(dock.preview.thresholds)
    assert previewed

    dock.start()
    job = until_ended(dock, 60_000)
    assert job.state is JobState.FINISHED, job.message
    (layer,) = (x for x in model.layers if x.name == f"{conditions[0]}: objects")
    assert measurement_of(layer) is not None
    assert (((shown % 2) == 1) == (layer.data[1] > 0)).all()
    assert previewed == job.result.measurement.thresholds
    qtbot.waitUntil(lambda: dock.figure.figure is not None, timeout=30_000)
