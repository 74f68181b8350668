"""The figure of a measurement, drawn for the screen and written for paper."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.viewer.measuring import Measured

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from napari_phenldiff.measurement.theme import ThemeName

_DOTS_PER_INCH = 300


def four_group_figure(measured: Measured, *, theme: ThemeName) -> Figure:
    """Draw the main column of all groups: real, reconstructed and translated.

    Parameters
    ----------
    measured : Measured
        What `run_measurement` returned.
    theme : {"light", "dark"}
        Ground that the figure is put on.
    """
    from napari_phenldiff.measurement.figures import four_groups

    return four_groups(
        measured.measurement,
        **measured.names_of_groups(),
        strength=measured.strength,
        theme=theme,
    )


def save_figure(measured: Measured, path: Path, *, theme: ThemeName = "light") -> Path:
    """Write the figure, or as CSV what it shows.

    Parameters
    ----------
    measured : Measured
        What `run_measurement` returned.
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
        If it can't be written there, or not in this format.
    """
    if not path.suffix:
        path = path.with_name(f"{path.name}.svg")
    if path.suffix.lower() == ".csv":
        from napari_phenldiff.measurement.figure_values import four_group_values

        table = four_group_values(measured.measurement, **measured.names_of_groups())
        with write_atomic(path) as temporary:
            table.to_csv(temporary, index=False)
        return path
    import matplotlib as mpl

    figure = four_group_figure(measured, theme=theme)
    # Text stays text, to be set in the font of the paper that the figure goes into.
    with (
        mpl.rc_context({"svg.fonttype": "none", "pdf.fonttype": 42}),
        write_atomic(path) as temporary,
    ):
        figure.savefig(temporary, dpi=_DOTS_PER_INCH, bbox_inches="tight")
    return path
