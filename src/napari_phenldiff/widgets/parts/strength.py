"""The strength: what the next translation takes, and a dial for the one that is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QCheckBox
from superqt import QLabeledDoubleSlider
from superqt.utils import signals_blocked

from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.settings import settings_in
from napari_phenldiff.viewer.geometry import Geometry
from napari_phenldiff.viewer.image_places import Lot
from napari_phenldiff.viewer.layer_groups import LayerInfo
from napari_phenldiff.viewer.model_session import session_of
from napari_phenldiff.viewer.shown_strength import layers_of, strengths_of
from napari_phenldiff.viewer.side_by_side import latest_translation
from napari_phenldiff.widgets.parts.form import Form, note
from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.parts.turning import Turn, turning_of

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

MOST = 2.0
"""Twice as far as the target: beyond it, to see where the change leads."""


class Strength(QObject):
    """A slider, whether it turns what is shown, and a line that says what it does.

    Parameters
    ----------
    form : Form
        Gets the rows.
    viewer : napari.viewer.Viewer
        Whose translated layers are turned.
    """

    changed = Signal()

    def __init__(self, form: Form, viewer: Viewer) -> None:
        super().__init__(form)
        self._viewer = viewer
        self.slider = QLabeledDoubleSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0.0, MOST)
        self.slider.setDecimals(2)
        # The stubs know these of a slider of whole numbers only.
        self.slider.setSingleStep(0.05)  # type: ignore[arg-type]
        self.slider.setPageStep(0.25)  # type: ignore[arg-type]
        setting = settings_in(TranslationConfig)["strength"]
        self._default = setting.default
        self.slider.setValue(setting.default)
        self.live = QCheckBox("Turn what is shown")
        self.live.setChecked(True)
        self.words = note()
        form.row(
            setting.label,
            self.slider,
            f"{setting.explanation} After a translation this is a dial: the translated layers "
            "follow, roughly at first and then exactly.",
        )
        form.row(
            "",
            self.live,
            "Let the translated layers follow the slider. Off, it only says how far the next "
            "translation goes.",
        )
        self.live.setAccessibleName("Turn what is shown")
        form.wide(self.words)
        self._turning = turning_of(viewer)
        self._turning.told.connect(self._say)
        self.slider.valueChanged.connect(self._on_value)
        self.live.toggled.connect(self.refresh)
        listen(self, viewer.dims.events.current_step, self._on_field)
        self.refresh()

    def value(self) -> float:
        """Return the strength, rounded to the hundredths that the slider shows."""
        return round(self.slider.value(), 2)

    def setValue(self, value: float) -> None:
        """Set the strength, and turn what is shown."""
        self.slider.setValue(value)

    def reset(self) -> None:
        """Go back to the default, without turning what is shown: there are other images now."""
        self._show_value(self._default)
        self.refresh()

    def refresh(self) -> None:
        """Say whether there is something to turn, and show the strength that it has."""
        turn = self._turn(self.value())
        self.live.setEnabled(turn is not None)
        if turn is None:
            self.words.setText(self._why_not())
        elif self._turning.busy:
            self.words.setText(self._turning.words)
        else:
            strengths = strengths_of(self._viewer.layers, turn.translation)
            if self.live.isChecked():
                self._show_value(strengths[turn.place])
            self.words.setText(_told(strengths, turn.place))
        self.words.setVisible(bool(self.words.text()))

    def _why_not(self) -> str:
        translation = latest_translation(self._viewer.layers)
        if translation is None:
            return ""
        if session_of(self._viewer).kept(translation) is None:
            return "Translate again to turn this dial."
        layers = layers_of(self._viewer.layers, translation, "translated")
        if layers:
            layer = next(iter(layers.values()))
            return _told_place(layer)
        return ""

    def _turn(self, strength: float) -> Turn | None:
        """Return where the dial is turned to, None if there is none for what is shown."""
        translation = latest_translation(self._viewer.layers)
        if translation is None or session_of(self._viewer).kept(translation) is None:
            return None
        layers = layers_of(self._viewer.layers, translation, "translated")
        layer = next(iter(layers.values()), None)
        place = None if layer is None else self._place(layer)
        strengths = strengths_of(self._viewer.layers, translation)
        if layer is None or place is None or place >= len(strengths):
            return None
        return Turn(translation, place, strength, self._near(layer))

    def _place(self, layer: Layer) -> int | None:
        """Return which of the layer's images is seen, None if the slider is elsewhere."""
        return Lot.of(layer, LayerInfo.of(layer)).place_shown(self._viewer)

    def _near(self, layer: Layer) -> tuple[float, float]:
        """Return where the camera looks, in pixels of the layer."""
        dims, geometry = self._viewer.dims, Geometry.of(layer)
        point = list(dims.point)
        for axis, at in zip(dims.displayed, self._viewer.scene.camera.center[-2:], strict=False):
            point[axis] = at
        y, x = geometry.to_data(point, dims.units)[-2:]
        return float(y), float(x)

    def _on_value(self) -> None:
        turn = self._turn(self.value())
        if turn is not None and self.live.isChecked():
            self._turning.turn(turn)
        self.changed.emit()

    def _on_field(self, event: object = None) -> None:
        if isalive(self):
            self.refresh()

    def _say(self, words: str) -> None:
        if isalive(self):
            self.words.setText(words)
            self.words.setVisible(bool(words))

    def _show_value(self, value: float) -> None:
        """Show the strength that a field has, without turning it."""
        with signals_blocked(self.slider):
            self.slider.setValue(min(max(value, 0.0), MOST))


def _told_place(layer: Layer) -> str:
    """Say which images of the slider can be turned."""
    info = LayerInfo.of(layer)
    what = f"image {info.images[0]}" if len(info.images) == 1 else f"the images of {layer.name}"
    return f"Move the slider to {what} to turn the dial."


def _told(strengths: list[float], place: int) -> str:
    others = {s for i, s in enumerate(strengths) if i != place}
    if others and others != {strengths[place]}:
        told = f"{min(others):.2f}" if len(others) == 1 else "various strengths"
        return f"Shown at {strengths[place]:.2f}; the other images at {told}."
    return f"Shown at {strengths[place]:.2f}"
