"""What the docks ask about the images: only what has to be asked, and nothing twice."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import tifffile
from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox

from napari_phenldiff.images.tiff import read_tiff, write_tiff
from napari_phenldiff.jobs.job import JobState
from napari_phenldiff.jobs.requests import ResumeRequest
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.reader import read_layers
from napari_phenldiff.widgets.finetune_dock import FineTuneWidget
from napari_phenldiff.widgets.parts.channel_table import LEAVE_OUT
from napari_phenldiff.widgets.parts.data_source import FOLDER, DataSource


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def open_dock(qtbot, tmp_path: Path) -> Callable[[ViewerModel], FineTuneWidget]:
    """Open the dock on what is in the viewer."""

    def make(viewer: ViewerModel) -> FineTuneWidget:
        dock = FineTuneWidget(viewer)
        qtbot.addWidget(dock)
        dock.out.set_path(tmp_path / "run")
        dock.show()
        return dock

    return make


def add(viewer: ViewerModel, *names: str, shape=(4, 32, 32), **options):
    rng = np.random.default_rng(len(viewer.layers))
    return [
        viewer.add_image(rng.integers(0, 255, shape, dtype=np.uint8), name=name, **options)
        for name in names
    ]


def choose(combo: QComboBox, start: str) -> None:
    texts = [combo.itemText(index) for index in range(combo.count())]
    combo.setCurrentIndex(next(i for i, text in enumerate(texts) if text.startswith(start)))


def tick(data: DataSource, start: str, *, on: bool = True) -> None:
    (item,) = data.others.findItems(start, Qt.MatchFlag.MatchStartsWith)
    item.setCheckState(Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)


def told(data: DataSource) -> str:
    return data.summary.text().replace("\N{NO-BREAK SPACE}", " ")


def test_a_choice_is_kept_by_its_name_when_its_number_of_images_changes(
    qtbot, open_dock, viewer: ViewerModel
):
    add(viewer, "a", "b", "c")
    dock = open_dock(viewer)
    choose(dock.data.source, "c")
    choose(dock.data.target, "b")

    viewer.layers["c"].axis_labels = ("channel", "y", "x")

    qtbot.waitUntil(lambda: dock.data.source.currentText() == "c (1 image)")
    assert dock.data.target.currentText() == "b (4 images)"


def test_any_path_can_be_typed(open_dock, viewer: ViewerModel, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    dock = open_dock(viewer)
    dock.data.kind.setCurrentText(FOLDER)

    for text in ("~", "~nobody-of-that-name", "~nobody-of-that-name/data", "\0"):
        dock.data.folder.edit.setText(text)
        assert dock.validation_error() is not None


def test_nothing_more_is_asked_of_two_plain_conditions(open_dock, model: ViewerModel):
    dock = open_dock(model)
    data = dock.data

    for field in (data.others, data.stacks, data.depth):
        assert not field.isVisible()
    assert data.table.isVisible()
    assert not data.table.isExpanded()
    assert (data.further(), data.z()) == ((), None)
    match = data.match()
    assert match is not None
    assert match.changes_nothing


def test_further_conditions_are_ticked(open_dock, model: ViewerModel, child, until_ended, tmp_path):
    add(model, "dose: DNA", "dose: marker", "other: DNA", "other: marker")
    dock = open_dock(model)
    data = dock.data
    assert data.others.isVisible()
    assert data.others.count() == 2

    tick(data, "dose")
    assert [choice.name for choice in data.further()] == ["dose"]
    # The target is no further condition; the ticks of others stay.
    choose(data.target, "other")
    assert [choice.name for choice in data.further()] == ["dose"]
    choose(data.target, "dose")
    assert data.further() == ()
    choose(data.target, "treated")
    tick(data, "dose")
    tick(data, "other")

    dock.start()
    job = until_ended(dock)
    assert job.state is JobState.FINISHED, job.message
    run = Run.open(tmp_path / "run")
    assert run.conditions == ("untreated", "treated", "dose", "other")
    assert {record.condition for record in run.images} == set(run.conditions)


def test_ticks_stay_when_layers_come_and_go(qtbot, open_dock, model: ViewerModel):
    add(model, "dose: DNA", "dose: marker")
    dock = open_dock(model)
    data = dock.data
    tick(data, "dose")

    add(model, "late: DNA", "late: marker")
    qtbot.waitUntil(lambda: data.others.count() == 2)
    assert [choice.name for choice in data.further()] == ["dose"]

    for layer in ("dose: DNA", "dose: marker"):
        model.layers.remove(layer)
    qtbot.waitUntil(lambda: data.others.count() == 1)
    assert data.further() == ()


def test_channels_in_another_order_are_matched_and_can_be_put_right(
    open_dock, model: ViewerModel, child, until_ended, tmp_path: Path
):
    marker, dna = add(model, "dose: Marker", "dose: dapi", shape=(3, 96, 96))
    dock = open_dock(model)
    data = dock.data
    choose(data.target, "dose")
    table = data.table
    assert table.isExpanded()
    assert [[cell.currentText() for cell in row] for row in table.cells] == [["dapi"], ["Marker"]]
    assert not table.note.isVisible()
    assert dock.validation_error() is None

    table.cells[0][0].setCurrentText("Marker")
    assert "Marker of dose is chosen for both DNA and marker" in (dock.validation_error() or "")
    assert not dock.job_foot.button.isEnabled()
    table.cells[0][0].setCurrentText("dapi")
    assert dock.job_foot.button.isEnabled()

    dock.start()
    job = until_ended(dock)
    assert job.state is JobState.FINISHED, job.message
    run = Run.open(tmp_path / "run")
    assert run.channel_names == ("DNA", "marker")
    trained = run.load_experiment()["dose"].images[1].data
    np.testing.assert_array_equal(trained, [dna.data[1], marker.data[1]])


def test_a_channel_can_be_left_out(open_dock, model: ViewerModel, child, until_ended, tmp_path):
    dock = open_dock(model)
    table = dock.data.table
    table.expand()
    table.cells[0][0].setCurrentText(LEAVE_OUT)
    assert told(dock.data).startswith("Channels: marker ·")
    assert table.note.text() == "Left out: DNA (untreated), DNA (treated)."
    table.cells[1][0].setCurrentText(LEAVE_OUT)
    assert "keep at least one" in (dock.validation_error() or "")
    table.cells[1][0].setCurrentText("marker")

    dock.start()
    until_ended(dock)
    assert Run.open(tmp_path / "run").channel_names == ("marker",)


def test_what_was_put_right_stays_while_something_else_is_looked_at(
    qtbot, open_dock, model: ViewerModel
):
    add(model, "dose: x", "dose: y", "dose: z")
    dock = open_dock(model)
    data = dock.data
    choose(data.target, "dose")
    assert "order" in data.table.note.text()
    data.table.cells[0][0].setCurrentText("z")
    before = data.match()

    choose(data.target, "treated")
    assert not data.table.isExpanded()
    choose(data.target, "dose")
    assert data.match() == before

    add(model, "unrelated: DNA")
    qtbot.waitUntil(lambda: data.source.count() == 4)
    assert data.match() == before
    assert data.table.cells[0][0].currentText() == "z"


def test_what_an_axis_without_a_label_is_can_be_told(qtbot, open_dock, viewer: ViewerModel):
    layers = add(viewer, "control", "drug", shape=(3, 24, 32))
    dock = open_dock(viewer)
    data = dock.data
    assert data.stacks.isVisible()
    assert data.stacks.currentText() == "images"
    assert told(data) == "Channels: channel 0 · 32 × 24 px · 8 bit"

    data.stacks.setCurrentIndex(data.stacks.findData("channel"))
    data.stacks.activated.emit(data.stacks.currentIndex())
    assert layers[0].axis_labels == ("channel", "y", "x")
    assert told(data).startswith("Channels: channel 0, channel 1, channel 2 ·")
    assert data.source.currentText() == "control (1 image)"
    assert "one image" in (dock.validation_error() or "")

    # And told otherwise, also by somebody else.
    assert data.stacks.isVisible()
    for layer in layers:
        layer.axis_labels = ("t", "y", "x")
    qtbot.waitUntil(lambda: data.source.currentText() == "control (3 images)")
    assert dock.validation_error() is None


def test_planes_are_projected_or_chosen_by_the_slider(
    open_dock, viewer: ViewerModel, child, until_ended, tmp_path: Path
):
    labels = ("field", "z", "y", "x")
    layer, _ = add(viewer, "control", "drug", shape=(3, 7, 24, 32), axis_labels=labels)
    for each in viewer.layers:
        each.scale = (1, 2.5, 1, 1)
    dock = open_dock(viewer)
    data = dock.data
    assert data.depth.isVisible()
    assert told(data) == "Channels: channel 0 · 32 × 24 px · 8 bit · 7 z planes"
    assert data.z() == "max"
    choose(data.depth, "plane")
    viewer.dims.set_point(1, 4 * 2.5)
    assert data.z() == 4

    dock.start()
    job = until_ended(dock)
    assert job.state is JobState.FINISHED, job.message
    trained = Run.open(tmp_path / "run").load_experiment()["control"].images[2].data
    np.testing.assert_array_equal(trained[0], layer.data[2, 4])


def test_a_folder_tells_what_is_in_it(open_dock, viewer, tmp_path: Path):
    rng = np.random.default_rng(0)
    for name in ("control", "drug", "washout"):
        for i in range(2):
            path = tmp_path / "data" / name / f"{i}.tif"
            path.parent.mkdir(parents=True, exist_ok=True)
            stack = rng.integers(0, 4000, (5, 2, 24, 32), dtype=np.uint16)
            tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZCYX"})
    dock = open_dock(viewer)
    data = dock.data
    data.kind.setCurrentText(FOLDER)
    data.folder.set_path(tmp_path)
    assert "no sub-folders" in told(data)
    data.folder.set_path(tmp_path / "data")
    assert told(data) == "Channels: channel 0, channel 1 · 32 × 24 px · 16 bit · 5 z planes"
    # There is no slider to choose a plane by.
    assert [data.depth.itemData(i) for i in range(data.depth.count())] == ["max", "mean"]
    tick(data, "washout")

    assert dock.validation_error() is None
    asked = dock.request().job_request()
    assert asked.config.conditions[2:] == ("washout",)
    assert asked.z == "max"


def test_a_folder_with_other_channels_is_prepared_here(
    open_dock, viewer, data_folder: Path, child, until_ended, tmp_path: Path
):
    for path in sorted((data_folder / "treated").iterdir()):
        (image,) = read_tiff(path)
        names = image.channel_names[::-1]
        write_tiff(path, type(image)(image.data[::-1], names, image.pixel_size, image.name))
    dock = open_dock(viewer)
    dock.data.kind.setCurrentText(FOLDER)
    dock.data.folder.set_path(data_folder)
    assert dock.data.table.isExpanded()

    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    assert child.requests == [ResumeRequest(run=tmp_path / "run")]
    run = Run.open(tmp_path / "run")
    (swapped,) = read_tiff(sorted((data_folder / "treated").iterdir())[0])
    trained = run.load_experiment()["treated"].images[0]
    np.testing.assert_array_equal(trained.data, swapped.data[::-1])


def test_colour_layers_of_real_cells(
    open_dock, viewer: ViewerModel, shared_data: Path, child, until_ended, tmp_path: Path
):
    with zipfile.ZipFile(shared_data / "pretrain_bloodcells_rgb64" / "images.zip") as archive:
        for kind in ("neutrophil", "monocyte"):
            names = sorted(n for n in archive.namelist() if n.startswith(kind))[:3]
            cells = [np.asarray(PIL.Image.open(archive.open(name))) for name in names]
            viewer.add_image(np.stack(cells), name=kind, rgb=True)
    dock = open_dock(viewer)
    assert told(dock.data) == "Channels: red, green, blue · 64 × 64 px · 8 bit"
    assert not dock.data.stacks.isVisible()

    dock.start()
    job = until_ended(dock)

    assert job.state is JobState.FINISHED, job.message
    run = Run.open(tmp_path / "run")
    assert run.channel_names == ("red", "green", "blue")
    source = run.conditions[0]
    trained = run.load_experiment()[source].images[1].data
    np.testing.assert_array_equal(trained, np.moveaxis(viewer.layers[source].data[1], -1, 0))


def test_three_real_conditions_with_three_channels(
    open_dock, viewer: ViewerModel, shared_data: Path
):
    for data, arguments, _ in read_layers(shared_data / "hela_sirna_fields"):
        viewer.add_image(data, **arguments)
    # Opened by somebody else, in another order and as one layer.
    rows = [layer.data for layer in viewer.layers if layer.name.startswith("UBC")]
    viewer.add_image(np.stack(rows[::-1], axis=1), name="other", axis_labels=("t", "c", "y", "x"))
    dock = open_dock(viewer)
    data = dock.data
    assert data.source.currentText() == "RLUC_siRNA (4 images)"
    choose(data.target, "UBC")
    tick(data, "kinase")
    match = data.match()
    assert match is not None
    assert match.changes_nothing

    tick(data, "other")
    assert told(data) == (
        "Channels: DNA (Hoechst), tubulin (FITC), F-actin (TRITC) · 1024 × 510 px · 8 bit"
    )
    assert "only the order" in data.table.note.text()
    data.table.cells[0][-1].setCurrentText("channel 2")
    data.table.cells[1][-1].setCurrentText("channel 1")
    data.table.cells[2][-1].setCurrentText("channel 0")
    assert dock.validation_error() is None
    images = dock.request()._images()
    for ours, theirs in zip(images["UBC_siRNA"], images["other"], strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)
        assert ours.channel_names == theirs.channel_names


def test_real_tiles_whose_channels_were_named_otherwise(
    open_dock, viewer: ViewerModel, shared_data: Path
):
    for condition, names in (("untreated", ("DNA", "GFP")), ("treated", ("FKHR-GFP", "draq5"))):
        files = sorted((shared_data / "bbbc013_translocation" / condition).iterdir())[:3]
        tiles = np.stack([read_tiff(file)[0].data for file in files])
        if condition == "treated":
            tiles = tiles[:, ::-1]
        for c, name in enumerate(names):
            viewer.add_image(tiles[:, c], name=f"{condition}: {name}")
    dock = open_dock(viewer)

    assert dock.data.table.isExpanded()
    images = dock.request()._images()
    assert {image.channel_names for group in images.values() for image in group} == {("DNA", "GFP")}
    (real,) = read_tiff(sorted((shared_data / "bbbc013_translocation" / "treated").iterdir())[1])
    np.testing.assert_array_equal(images["treated"][1].data, real.data)


def test_cells_explain_themselves_and_keep_still_while_the_dock_scrolls(
    open_dock, model: ViewerModel
):
    add(model, "dose: x", "dose: y")
    dock = open_dock(model)
    choose(dock.data.target, "dose")

    for (cell,) in dock.data.table.cells:
        assert "dose" in cell.accessibleName()
        assert "untreated" in cell.toolTip()
        assert cell.focusPolicy() == Qt.FocusPolicy.StrongFocus
