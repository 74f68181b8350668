"""The figures of a measurement, drawn for the screen and written for paper."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.jobs.translation_figure import write_figure
from napari_phenldiff.measurement.figures.kinds import FigureKind, draw_comparison
from napari_phenldiff.viewer.colors import channel_rgb
from napari_phenldiff.viewer.drawing import DRAWING
from napari_phenldiff.viewer.measuring import Measured

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from napari_phenldiff.measurement.figures.style import ThemeName


class Figures:
    """All figures of one measurement; what takes long is worked out once.

    Its methods may be called from any thread.

    Parameters
    ----------
    measured : Measured
        What `run_measurement` returned, with or without its pixels.
    """

    def __init__(self, measured: Measured) -> None:
        self.measured = measured
        self._names = measured.names_of_groups()
        self._effects: pd.DataFrame | None = None
        self._comparing = threading.Lock()

    def why_not(self, kind: FigureKind) -> str:
        """Return why there is no such figure of this measurement; empty if there is one."""
        if kind == "gallery":
            return "" if self.measured.gallery is not None else self.measured.no_gallery
        if kind == "pairs":
            return self._why_no_pairs()
        return ""

    def draw(self, kind: FigureKind, *, theme: ThemeName, narrow: bool = False) -> Figure:
        """Draw a figure.

        Parameters
        ----------
        kind : {"groups", "pairs", "effects", "gallery"}
        theme : {"light", "dark"}
            Ground that the figure is put on.
        narrow : bool
            Whether it is made for a dock: rather high than wide.

        Raises
        ------
        InputError
            If there is no such figure of this measurement.
        """
        why_not = self.why_not(kind)
        if why_not:
            raise InputError(why_not)
        measurement = self.measured.measurement
        table = self.effects() if kind == "effects" else None
        with DRAWING:
            if kind == "gallery":
                from napari_phenldiff.measurement.figures.gallery import draw_gallery

                assert self.measured.gallery is not None
                shape: dict[str, Any] = {"columns": 1, "width": 1.1} if narrow else {}
                names = self.measured.gallery.rows[0][0].channel_names
                colors = channel_rgb(names)[: len(self.measured.gallery.low)]
                return draw_gallery(self.measured.gallery, theme=theme, channels=colors, **shape)
            return draw_comparison(
                kind,
                measurement,
                self._names,
                table=table,
                wells=self.measured.units(),
                theme=theme,
                narrow=narrow,
                strength=self.measured.strength,
            )

    def effects(self) -> pd.DataFrame:
        """Return the effects in all measurements; they take seconds the first time."""
        from napari_phenldiff.measurement.statistics.effects import effects

        with self._comparing:
            if self._effects is None:
                self._effects = effects(
                    self.measured.measurement, **self._names, wells=self.measured.units()
                )
            return self._effects

    def values(self, kind: FigureKind) -> pd.DataFrame:
        """Return what a figure shows as numbers.

        Raises
        ------
        InputError
            If there is no such figure of this measurement.
        """
        from napari_phenldiff.measurement.figures.four_groups import four_group_values
        from napari_phenldiff.measurement.figures.pairs import pair_ends, paired_values
        from napari_phenldiff.measurement.statistics.units import Units

        why_not = self.why_not(kind)
        if why_not:
            raise InputError(why_not)
        if kind == "effects":
            return self.effects()
        if kind == "groups":
            return four_group_values(
                self.measured.measurement, **self._names, wells=self.measured.units()
            )
        table = paired_values(
            self.measured.measurement,
            **pair_ends(**self._names),
            # a gallery shows images, whatever is counted
            wells=Units() if kind == "gallery" else self.measured.units(),
        )
        if kind == "pairs":
            return table
        assert self.measured.gallery is not None
        shown = [row[0].name for row in self.measured.gallery.rows]
        pairs = table[table["what"] == "pair"].set_index("image", drop=False)
        return pairs.loc[shown].dropna(axis="columns", how="all")

    def save(self, kind: FigureKind, path: Path, *, theme: ThemeName = "light") -> Path:
        """Write a figure, or as CSV what it shows.

        Parameters
        ----------
        kind : {"groups", "pairs", "effects", "gallery"}
        path : pathlib.Path
            Its suffix names the format: SVG (with text as text), PNG, PDF or CSV. Without one it
            becomes an SVG.
        theme : {"light", "dark"}
            Ground of the figure.

        Returns
        -------
        pathlib.Path
            The file that was written.

        Raises
        ------
        OSError, ValueError
            If it can't be written there, not in this format, or there is no such figure.
        """
        if not path.suffix:
            path = path.with_name(f"{path.name}.svg")
        if path.suffix.lower() == ".csv":
            from napari_phenldiff.measurement.tables.csv_files import write_csv

            table = self.values(kind)
            with write_atomic(path) as temporary:
                write_csv(table, temporary)
            return path
        figure = self.draw(kind, theme=theme)
        with DRAWING:
            write_figure(figure, path)
        return path

    def _why_no_pairs(self) -> str:
        from napari_phenldiff.measurement.figures.pairs import pair_ends
        from napari_phenldiff.measurement.statistics.units import matched, unit_values

        pairs = pair_ends(**self._names)
        if not pairs["made"]:
            # Tiles of two wells have the same names, and hold other cells.
            return (
                "Pairs need a translation: choose one and measure again. Real images of two "
                "conditions show different cells, even where they have the same names."
            )
        before, after = (
            unit_values(self.measured.measurement, pairs[end]) for end in ("before", "after")
        )
        try:
            matched(before, after, by_place=True)
        except InputError as error:
            return str(error)
        return ""


def save_figure(
    measured: Measured, path: Path, *, kind: FigureKind = "groups", theme: ThemeName = "light"
) -> Path:
    """Write a figure, or as CSV what it shows; see `Figures.save`."""
    return Figures(measured).save(kind, path, theme=theme)
