"""What napari's menus and its command palette run. The palette finds commands by their titles.

napari hands over the viewer of the window by the annotation, so that stays a plain `Viewer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app_model import Application
from napari.utils.notifications import show_info

from napari_phenldiff.viewer.flip import flip
from napari_phenldiff.viewer.removed_layers import removed_layers
from napari_phenldiff.viewer.side_by_side import (
    chosen_translation,
    comparison_panes,
    side_by_side,
)
from napari_phenldiff.viewer.turns import adding

if TYPE_CHECKING:
    from napari.viewer import Viewer

_DOCKS = {
    "Fine-tune": "napari-phenldiff.finetune",
    "Translate": "napari-phenldiff.translate",
    "Measure": "napari-phenldiff.measure",
    "Evaluate": "napari-phenldiff.evaluate",
}


def open_finetune(viewer: Viewer) -> None:
    """Open the dock that fine-tunes, if it is not open."""
    _open(viewer, "Fine-tune")


def open_translate(viewer: Viewer) -> None:
    """Open the dock that translates, if it is not open."""
    _open(viewer, "Translate")


def open_measure(viewer: Viewer) -> None:
    """Open the dock that measures, if it is not open."""
    _open(viewer, "Measure")


def open_evaluate(viewer: Viewer) -> None:
    """Open the dock that judges a run, if it is not open."""
    _open(viewer, "Evaluate")


def compare(viewer: Viewer) -> None:
    """Show real, reconstructed and translated images side by side, or go back.

    The translation is the one of the selected layers, else the one that lies on top.
    """
    switch = side_by_side(viewer)
    if switch.is_on:
        switch.off()
        return
    if adding(viewer):
        show_info("Layers are being added; compare them in a moment.")
        return
    translation = chosen_translation(viewer)
    panes = comparison_panes(viewer.layers, translation) if translation else []
    if translation and panes:
        switch.on(panes)
        tell_what_is_missing(viewer, translation)
    else:
        show_info("There is nothing to compare yet; translate images first.")


def tell_what_is_missing(viewer: Viewer, translation: str) -> None:
    """Say in a notification why a comparison has fewer channels than were translated, if it has."""
    removed = removed_layers(viewer.layers, translation)
    if removed:
        show_info(removed)


def flip_images(viewer: Viewer) -> None:
    """Show the real image in place of the translated one, or the other way round."""
    if flip(viewer) is None:
        show_info("There is nothing to flip yet; translate images first.")


def _open(viewer: Viewer, name: str) -> None:
    shown = viewer.window.dock_widgets.get(f"{name} (PhenLDiff)")
    if shown is not None and shown.isVisible():
        return
    # As from the menu, and not with `add_plugin_dock_widget`: that knows its docks by other names,
    # so there would be two. The menu's command hides a dock that is shown, hence the line above.
    application = Application.get_app("napari")
    assert application is not None, "napari's window is open"
    application.commands.execute_command(_DOCKS[name]).result()
