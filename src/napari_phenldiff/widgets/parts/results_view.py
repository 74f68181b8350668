"""What was measured: the figure, the tables of images and objects, and buttons that save them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_phenldiff.errors import InputError
from napari_phenldiff.viewer.measuring import Measured
from napari_phenldiff.viewer.objects import ObjectRows, show_image, show_object
from napari_phenldiff.widgets.parts.figure_page import FigurePage, words_of
from napari_phenldiff.widgets.parts.form import note
from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.parts.table_view import Table

if TYPE_CHECKING:
    import pandas as pd
    from napari.viewer import Viewer


class ResultsView(QTabWidget):
    """Figure, images and objects of the latest measurement in a viewer.

    Choosing a row of a table shows its image or object in the viewer; picking an object in the
    viewer chooses its row.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        Where the images and objects are.
    """

    drawn = Signal()
    """Emitted when there is a new figure to look at."""

    def __init__(self, viewer: Viewer) -> None:
        super().__init__()
        self._viewer = viewer
        self._rows: ObjectRows | None = None
        self._busy = False
        self.measured: Measured | None = None
        self.figures = FigurePage(viewer)
        self.figure = self.figures.view
        self.images = Table("One row per image. Choosing one shows it in the viewer.")
        self.objects = Table("One row per object. Choosing one picks it in the viewer.")
        self.images.row_chosen.connect(self._show_image)
        self.objects.row_chosen.connect(self._show_object)
        self.said = {page: note() for page in ("Images", "Objects")}
        self.addTab(self.figures, "Figure")
        self.figures.drawn.connect(self.drawn)
        self._add_images()
        self._add_objects()

    def _add_images(self) -> None:
        self.filter_images = self._filter(self.images)
        self.save_table = QPushButton("Save tables…")
        self.save_table.setToolTip("Write the tables of images and of cells as CSV")
        self.save_table.clicked.connect(self._on_save_table)
        self._page("Images", self.images, self.filter_images, self.save_table)

    def _add_objects(self) -> None:
        self.filter_objects = self._filter(self.objects)
        self.only_chosen = QCheckBox("Only the chosen")
        self.only_chosen.setToolTip("Show only the chosen object in the viewer")
        self.only_chosen.toggled.connect(self._on_only_chosen)
        self._page("Objects", self.objects, self.filter_objects, self.only_chosen)

    @staticmethod
    def _filter(table: Table) -> QLineEdit:
        edit = QLineEdit()
        edit.setPlaceholderText("Filter by condition or image")
        edit.setToolTip("Show only rows with these words in the condition or the image's name")
        edit.setAccessibleName("Filter")
        edit.setClearButtonEnabled(True)
        edit.textChanged.connect(table.filter)
        return edit

    def _page(self, title: str, view: QWidget, *below: QWidget) -> None:
        page = QWidget()
        layout = QVBoxLayout(page)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(view, 1)
        row = QHBoxLayout()
        for widget in below:
            row.addWidget(widget, 1 if isinstance(widget, QLineEdit) else 0)
        layout.addLayout(row)
        layout.addWidget(self.said[title])
        self.said[title].setVisible(False)
        self.addTab(page, title)

    # ---- what is shown -----------------------------------------------------------------------

    def show_measured(self, measured: Measured) -> None:
        """Show a measurement in place of the one before."""
        self.measured = measured
        measurement = measured.measurement
        first = ["condition", "image", measurement.main_column]
        self.images.show_table(_in_front(measurement.images, first))
        self.images.filter(self.filter_images.text())
        cells = measurement.cells
        has_cells = cells is not None and not cells.empty
        if cells is not None and has_cells:
            self.objects.show_table(
                _in_front(cells, ["condition", "image", "label", measurement.main_column])
            )
            self.objects.filter(self.filter_objects.text())
        page = self.count() - 1
        self.setTabEnabled(page, has_cells)
        self.setTabToolTip(
            page, "" if has_cells else "This profile has no objects that are measured one by one."
        )
        for said in self.said.values():
            said.setVisible(False)
        self.find_objects()
        self.figures.show_measured(measured)

    def find_objects(self) -> None:
        """Look for the layers with the objects anew: some may have come or gone."""
        if self.measured is None:
            return
        self._rows = ObjectRows(self.measured, self._viewer.layers)
        for layer in self._rows.layers:
            # Connecting again what is connected has no effect.
            listen(self, layer.events.selected_label, self._on_picked)
            layer.show_selected_label = self.only_chosen.isChecked()

    # ---- tables and viewer -------------------------------------------------------------------

    def _show_image(self, row: int) -> None:
        if self.measured is not None:
            show_image(self._viewer, self.measured, row)

    def _show_object(self, row: int) -> None:
        if self.measured is None or self._rows is None:
            return
        found = self._rows.place_of(row)
        if found is None or found.layer not in self._viewer.layers:
            self._say("Objects", "The layer with this object is gone; measure again.")
            return
        self._say("Objects", "")
        self._busy = True
        try:
            show_object(self._viewer, self.measured, found)
        finally:
            self._busy = False

    def _on_picked(self, event: object) -> None:
        if self._busy or not isalive(self) or self._rows is None:
            return
        layer = getattr(event, "source", None)
        if layer is not None and layer in self._rows.layers:
            self.objects.choose(self._rows.row_of(layer, layer.selected_label))

    def _on_only_chosen(self, checked: bool) -> None:
        for layer in self._rows.layers if self._rows is not None else ():
            layer.show_selected_label = checked

    # ---- saving ------------------------------------------------------------------------------

    def _on_save_table(self) -> None:
        name, _ = QFileDialog.getSaveFileName(
            self, "Save tables", str(Path.home() / "phenotype.csv"), "Tables (*.csv)"
        )
        if name:
            path = Path(name)
            path = path if path.suffix else path.with_suffix(".csv")
            self._say("Images", words_of(lambda: self._saved_tables(path), path))

    def _saved_tables(self, path: Path) -> str:
        written = self.write_table(path)
        return f"Saved in {path.parent}: {', '.join(file.name for file in reversed(written))}"

    def write_table(self, path: Path) -> tuple[Path, ...]:
        """Write the tables of images and cells, and the settings, beside each other.

        Raises
        ------
        InputError
            If nothing has been measured yet.
        """
        if self.measured is None:
            raise InputError("There is no table yet; measure first.")
        return self.measured.measurement.write(path)

    def _say(self, page: str, text: str) -> None:
        if isalive(self):
            self.said[page].setText(text)
            self.said[page].setVisible(bool(text))


def _in_front(table: pd.DataFrame, first: list[str]) -> pd.DataFrame:
    """Return a table with what is looked at first in front."""
    return table[[*first, *(c for c in table.columns if c not in first)]]
