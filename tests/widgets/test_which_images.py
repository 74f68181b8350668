"""Which images and channels a dock reads, where folders and names do not tell."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtCore import Qt

from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.jobs.requests import EvaluateRequest, TrainRequest, read_request
from napari_phenldiff.viewer.evaluation_request import EvaluationRequest
from napari_phenldiff.viewer.layer_groups import group_layers
from napari_phenldiff.viewer.measured_figures import Figures
from napari_phenldiff.viewer.measuring import run_measurement
from napari_phenldiff.viewer.reader import experiment_layers
from napari_phenldiff.widgets.evaluate_dock import EvaluateWidget
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.measure_dock import MeasureWidget
from napari_phenldiff.widgets.parts.data_source import FOLDER

PAINTING = ("DNA", "ER", "RNA", "AGP", "Mito")


@pytest.fixture
def dock(qtbot, tmp_path: Path) -> FineTuneWidget:
    made = FineTuneWidget(ViewerModel())
    qtbot.addWidget(made)
    made.out.set_path(tmp_path / "run")
    made.data.kind.setCurrentText(FOLDER)
    made.show()
    return made


def paint(path: Path, name: str, channels: tuple[str, ...] = PAINTING) -> Path:
    data = np.random.default_rng(len(name)).integers(0, 99, (len(channels), 32, 32), np.uint16)
    file = path / f"{name}.tif"
    write_tiff(file, Image(data, channels, None, name))
    return file


@pytest.fixture
def painted(tmp_path: Path) -> Path:
    for condition in ("dmso", "drug"):
        for k in range(3):
            paint(tmp_path / "data" / condition, f"{condition}_{k}")
    return tmp_path / "data"


@pytest.fixture
def plate(tmp_path: Path) -> Path:
    """Images of four wells in one folder, and a table of what the wells had."""
    for well in ("B02", "B03", "C02", "C03"):
        for field in (1, 2):
            paint(tmp_path / "plate", f"{well}_f{field}", ("DNA", "marker"))
    with (tmp_path / "layout.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["well", "condition"])
        rows.writerows([["B02", "dmso"], ["B03", "dmso"], ["C02", "drug"], ["C03", "drug"]])
    return tmp_path / "plate"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table with conditions that no column is called after, and paths from another folder."""
    path = tmp_path / "lists" / "images.csv"
    path.parent.mkdir()
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "well", "site", "what"])
        for what, well in (("dmso", "B02"), ("drug", "C02")):
            for site in (1, 2):
                name = f"{what}_{site}"
                paint(tmp_path / "elsewhere", name, ("DNA", "marker"))
                rows.writerow([f"{name}.tif", well, site, what])
    return path


def names(dock: FineTuneWidget) -> tuple[str, ...]:
    return dock.data.names()


def tick(columns, name: str) -> None:
    (item,) = columns.findItems(name, Qt.MatchFlag.MatchExactly)
    item.setCheckState(Qt.CheckState.Checked)


def asked_for(dock: FineTuneWidget) -> TrainRequest:
    assert dock.validation_error() is None
    request = dock.request()
    assert not request.needs_preparing
    return request.job_request()


def test_nothing_is_asked_of_layers_and_little_of_a_folder(dock: FineTuneWidget, painted: Path):
    data = dock.data
    assert not data.files.pattern.isVisibleTo(dock)

    data.folder.set_path(painted)

    assert data.files.arrangement() == data.arrangement()
    assert not data.files.columns.isVisibleTo(data.files.columns.parentWidget())
    assert asked_for(dock).arrangement.model_dump(exclude_defaults=True) == {}


def test_channels_that_are_not_ticked_are_not_read(
    dock: FineTuneWidget, painted: Path, tmp_path: Path
):
    dock.data.folder.set_path(painted)
    assert [tick.text() for tick in dock.data.table.ticks] == list(PAINTING)
    assert all(tick.isChecked() for tick in dock.data.table.ticks)

    for channel in (1, 2, 3):
        dock.data.table.ticks[channel].click()

    asked = asked_for(dock)
    assert asked.arrangement.channels == ("DNA", "Mito")
    assert "DNA, Mito" in dock.data.summary.text()
    images = asked.dataset().read().images
    assert {image.channel_names for image in images} == {("DNA", "Mito")}
    dock.data.table.ticks[1].click()
    assert asked_for(dock).arrangement.channels == ("DNA", "ER", "Mito")


def test_a_layout_tells_the_conditions_of_wells(dock: FineTuneWidget, plate: Path, tmp_path: Path):
    dock.data.folder.set_path(plate)
    assert names(dock) == ()

    dock.data.files.layout_table.set_path(tmp_path / "layout.csv")

    assert names(dock) == ("dmso", "drug")
    found = asked_for(dock).dataset()
    assert [len(group) for group in found.conditions.values()] == [4, 4]


def test_what_a_layout_tells_can_be_opened_in_the_viewer(
    qtbot, dock: FineTuneWidget, plate: Path, tmp_path: Path
):
    viewer, button = dock.viewer, dock.data.open_found
    assert not button.isVisible(), "there is nothing to open yet"
    dock.data.folder.set_path(plate)
    dock.data.files.layout_table.set_path(tmp_path / "layout.csv")
    qtbot.waitUntil(button.isVisible)

    button.click()

    qtbot.waitUntil(lambda: len(viewer.layers) == 4)
    assert [(g.name, g.n_images) for g in group_layers(viewer.layers)] == [("dmso", 4), ("drug", 4)]
    assert viewer.layers["dmso: DNA"].visible
    assert not viewer.layers["drug: DNA"].visible
    qtbot.waitUntil(lambda: names(dock) == ("dmso", "drug"))
    assert dock.data.path() is None, "it is the layers that are trained on"
    assert not button.isVisible()
    # A training may read a folder itself only where that arranges its images by itself.
    assert dock.request().needs_preparing


def test_what_cannot_be_opened_in_the_viewer_says_why(
    qtbot, dock: FineTuneWidget, painted: Path, tmp_path: Path
):
    dock.data.folder.set_path(painted)
    next((painted / "drug").iterdir()).write_bytes(b"no image")
    dock.data.open_found.click()
    qtbot.waitUntil(dock.data.open_found.isEnabled)
    assert "drug_" in dock.data.summary.text()
    assert not dock.viewer.layers


def test_a_pattern_tells_conditions_and_what_is_wrong_with_it_is_told(
    dock: FineTuneWidget, plate: Path
):
    dock.data.folder.set_path(plate)

    dock.data.files.pattern.setText("(?P<condition>[BC]")
    assert "regular expression" in dock.data.summary.text()
    assert names(dock) == ()

    dock.data.files.pattern.setText(r"(?P<condition>[BC])(?P<col>\d+)_f(?P<field>\d)")
    assert names(dock) == ("B", "C")
    assert asked_for(dock).dataset().names == ("B", "C")


def test_a_table_has_columns_and_a_root(dock: FineTuneWidget, table: Path, tmp_path: Path):
    data = dock.data
    data.folder.set_path(table)
    assert "is called like a condition" in data.summary.text()
    assert not data.files.pattern.isVisibleTo(data.files.pattern.parentWidget())

    tick(data.files.columns, "what")
    assert "does not exist" in data.summary.text()
    data.files.root.set_path(tmp_path / "elsewhere")

    assert names(dock) == ("dmso", "drug")
    asked = asked_for(dock)
    assert {source.site.well for source in asked.dataset().sources} == {"B02", "C02"}
    # What belongs to a table says nothing about a folder.
    data.folder.set_path(tmp_path)
    assert data.arrangement().condition_columns == ()


def test_what_is_asked_for_arrives_in_the_other_process(
    dock: FineTuneWidget, plate: Path, tmp_path: Path
):
    from napari_phenldiff.jobs.requests import write_request

    dock.data.folder.set_path(plate)
    dock.data.files.layout_table.set_path(tmp_path / "layout.csv")
    asked = asked_for(dock)

    write_request(tmp_path / "request.json", asked)

    assert read_request(tmp_path / "request.json") == asked


def test_evaluate_reads_the_channels_that_the_run_knows(qtbot, run_folder: Path, tmp_path: Path):
    for condition in ("untreated", "treated"):
        for k in range(2):
            paint(tmp_path / "more" / condition, f"{condition}_{k}", ("ER", "DNA", "marker"))
    dock = EvaluateWidget(ViewerModel())
    qtbot.addWidget(dock)
    dock.run_choice.set_path(run_folder)
    dock.data.kind.setCurrentText(FOLDER)
    dock.data.folder.set_path(tmp_path / "more")

    assert [tick.isChecked() for tick in dock.data.table.ticks] == [False, True, True]
    request: EvaluationRequest = dock.request()
    assert request.validation_error() is None, request.validation_error()
    asked = replace(request, name="first").prepare(tmp_path / "aside")
    assert isinstance(asked, EvaluateRequest)
    assert asked.dataset().channel_names == ("DNA", "marker")
    assert not (tmp_path / "aside").exists()


# ---- what is counted -------------------------------------------------------------------------


def open_wells(viewer: ViewerModel) -> None:
    rng = np.random.default_rng(0)
    conditions = {
        condition: [
            Image(rng.integers(0, 200, (1, 32, 32), np.uint8), ("DNA",), None, f"{well}_f{field}")
            for well in wells
            for field in (1, 2)
        ]
        for condition, wells in {"mock": ("B02", "B03"), "drug": ("C02", "C03")}.items()
    }
    for data, arguments, _ in experiment_layers(conditions):
        viewer.add_image(data, **arguments)


def test_measure_says_which_wells_it_found_and_counts_what_is_chosen(qtbot):
    viewer = ViewerModel()
    open_wells(viewer)
    dock = MeasureWidget(viewer)
    qtbot.addWidget(dock)
    dock.profile.setCurrentIndex(dock.profile.findData("area"))
    wells = dock.choices.wells

    assert wells.words.text() == "4 wells: B02, B03, C02, C03 (2 of mock, 2 of drug)."
    assert dock.request().wells is None
    assert run_measurement(dock.request()).units().counted == "wells"

    wells.kind.setCurrentText("each image")
    told = wells.words.text()
    assert told.startswith("⚠ Each image is counted, as asked, though their names tell wells")
    assert told.endswith("(4 of mock, 4 of drug)")
    assert run_measurement(dock.request()).units().counted == "images"

    wells.kind.setCurrentText("by a pattern")
    wells.pattern.setText("f.$")
    assert wells.words.text().startswith("2 wells: f1, f2 ")
    assert Figures(run_measurement(dock.request())).effects()["n_before"].iloc[0] == 2
    wells.pattern.setText("nowhere")
    assert "is not in the name" in (dock.validation_error() or "")


def test_what_is_counted_is_remembered_while_the_dock_is_closed(qtbot):
    viewer = ViewerModel()
    open_wells(viewer)
    dock = MeasureWidget(viewer)
    qtbot.addWidget(dock)
    dock.choices.wells.kind.setCurrentText("by a pattern")
    dock.choices.wells.pattern.setText("^...")

    again = MeasureWidget(viewer)
    qtbot.addWidget(again)

    assert again.choices.wells.value() == "^..."


def test_evaluate_has_the_same_field(qtbot, dock: FineTuneWidget, table: Path, tmp_path: Path):
    evaluate = EvaluateWidget(ViewerModel())
    qtbot.addWidget(evaluate)
    data = evaluate.data
    data.kind.setCurrentText(FOLDER)
    data.folder.set_path(table)
    tick(data.files.columns, "what")
    data.files.root.set_path(tmp_path / "elsewhere")

    words = evaluate.choices.wells.words.text()
    assert words.startswith("2 wells: B02, C02 (1 of dmso, 1 of drug).")
    assert "no p-value" in words
    evaluate.choices.wells.kind.setCurrentText("each image")
    assert evaluate.choices.values()["wells"] == "image"
