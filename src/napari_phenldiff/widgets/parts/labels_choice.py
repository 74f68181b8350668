"""Where objects come from: thresholds, or a labels layer for each group that is measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from superqt.utils import signals_blocked

from napari_phenldiff.viewer.given_labels import label_layers, suggested, why_not_given
from napari_phenldiff.viewer.layer_groups import LayerGroup
from napari_phenldiff.viewer.objects import MEASUREMENT_METADATA_KEY
from napari_phenldiff.widgets.parts.choices import choice_box, fill_choices
from napari_phenldiff.widgets.parts.form import Form, note

if TYPE_CHECKING:
    from napari.viewer import Viewer

THRESHOLDS, LABELS = "thresholds", "labels layers"
NOT_CHOSEN = "choose …"

_ROLES = {
    "source": "Labels of source",
    "target": "Labels of target",
    "reconstructed": "Labels of reconstructed",
    "translated": "Labels of translated",
}


class LabelsChoice(QObject):
    """Rows to choose labels layers that take the place of thresholds.

    A layer is chosen by itself if it is called like the group that it fits. Once there is one for
    both conditions that no measurement has made, labels are used without being asked for.

    Parameters
    ----------
    form : Form
        Gets the rows.
    viewer : napari.viewer.Viewer
        Whose layers can be chosen.
    """

    changed = Signal()
    """Emitted when something else is chosen now."""

    chosen = Signal()
    """Emitted when it was the user who chose."""

    def __init__(self, form: Form, viewer: Viewer) -> None:
        super().__init__(form)
        self._form, self._viewer = form, viewer
        self._groups: dict[str, tuple[str, LayerGroup]] = {}
        self.kind = choice_box()
        self.kind.addItems([THRESHOLDS, LABELS])
        form.row(
            "Objects from",
            self.kind,
            "What cuts out the nuclei, or in the profile area the structures: thresholds, or "
            "labels layers that hold what Cellpose, StarDist or your own hand has drawn.",
        )
        self.boxes = {role: choice_box() for role in _ROLES}
        for role, box in self.boxes.items():
            text = (
                "Labels layer with a plane for each of these images; 0 is background. Layers that "
                "do not fit are not in the list."
            )
            if role in ("reconstructed", "translated"):
                text += (
                    " Those of the source do as well, as long as translation leaves in place what "
                    "they show."
                )
            form.row(_ROLES[role], box, text)
            box.currentIndexChanged.connect(self.changed)
            box.activated.connect(self.chosen)
        self.words = note()
        form.wide(self.words)
        self.kind.currentIndexChanged.connect(self._on_kind)
        self.kind.activated.connect(self.chosen)
        self._settled = False
        self._show_rows()

    @property
    def used(self) -> bool:
        """Whether labels layers are used in place of thresholds."""
        return self.kind.currentText() == LABELS

    def fill(self, groups: Mapping[str, tuple[str, LayerGroup]], part: str) -> None:
        """Offer the layers that fit.

        Parameters
        ----------
        groups : mapping of str to (str, LayerGroup)
            What is measured, with its name in tables, by its role: "source", "target",
            "reconstructed" or "translated".
        part : str
            What the labels take the place of, in words.
        """
        self._groups = dict(groups)
        if not self.used and not self._settled and self._are_given(groups):
            self._settled = True
            with signals_blocked(self.kind):
                self.kind.setCurrentText(LABELS)
        layers = label_layers(self._viewer.layers) if self.used else []
        source = groups.get("source", ("", None))[1]
        for role, box in self.boxes.items():
            if role not in groups or not self.used:
                continue
            name, group = groups[role]
            real = None if role in ("source", "target") else source
            fitting = [layer for layer in layers if not why_not_given(layer, group, real)]
            nothing_yet = box.currentData() is None
            choices = [(layer.name, layer) for layer in fitting]
            fill_choices(box, [(NOT_CHOSEN, None), *choices], _layer_of)
            if nothing_yet:
                of_source = None if real is None else self.boxes["source"].currentData()
                found = suggested(fitting, group, of_source, known_as=name)
                if found is not None:
                    box.setCurrentIndex(1 + fitting.index(found))
        words = f"The {part} are those of the labels layers; their thresholds are not used."
        if self.used and not layers:
            words = (
                "No labels layers are open: open what Cellpose or StarDist wrote, or use "
                "thresholds."
            )
        elif self._made_has_labels_of_source():
            words += (
                " Translated images have the labels of the source: right only where translation "
                "leaves in place what these show."
            )
        self.words.setText(words)
        self._show_rows()

    def _on_kind(self) -> None:
        self._settled = True  # what somebody has chosen stays
        self.changed.emit()

    def _are_given(self, groups: Mapping[str, tuple[str, LayerGroup]]) -> bool:
        """Tell whether labels that no measurement has made are called like both conditions."""
        layers = [
            layer
            for layer in label_layers(self._viewer.layers)
            if MEASUREMENT_METADATA_KEY not in layer.metadata
        ]
        if not layers or not {"source", "target"} <= set(groups):
            return False
        return all(
            suggested(
                [layer for layer in layers if not why_not_given(layer, group)], group, known_as=name
            )
            is not None
            for name, group in (groups["source"], groups["target"])
        )

    def labels(self) -> dict[str, Any] | None:
        """Return the chosen layers by the names of the groups; None where thresholds are used."""
        if not self.used:
            return None
        return {name: self.boxes[role].currentData() for role, (name, _) in self._groups.items()}

    def _made_has_labels_of_source(self) -> bool:
        of_source = self.boxes["source"].currentData()
        return of_source is not None and any(
            role in self._groups and self.boxes[role].currentData() is of_source
            for role in ("reconstructed", "translated")
        )

    def _show_rows(self) -> None:
        for role, box in self.boxes.items():
            self._form.show_row(box, self.used and role in self._groups)
        self.words.setVisible(self.used)


def _layer_of(text: str, layer: object) -> object:
    """Return what a labels layer is known by: itself, whatever it is called."""
    return text if layer is None else id(layer)
