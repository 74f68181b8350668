"""What is measured: the profile, the conditions, a translation, and what is made of z planes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox

from napari_phenldiff.images.axes import Projection
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.profiles.profile import Profile
from napari_phenldiff.measurement.segmentation.segmenters import objects_field
from napari_phenldiff.viewer.image_places import parts_of
from napari_phenldiff.viewer.layer_groups import LayerGroup, group_layers
from napari_phenldiff.viewer.measuring import RECONSTRUCTED, TRANSLATED, translations
from napari_phenldiff.viewer.unclear_axes import plane_of_slider
from napari_phenldiff.widgets.parts.choices import choice_box, fill_choices, fill_pair
from napari_phenldiff.widgets.parts.form import Form
from napari_phenldiff.widgets.parts.labels_choice import LabelsChoice
from napari_phenldiff.widgets.parts.profile_choice import ProfileChoice
from napari_phenldiff.widgets.parts.wells_choice import WellsChoice

if TYPE_CHECKING:
    from napari.viewer import Viewer

NO_TRANSLATION = "none"

_KEPT = ("source", "target", "translation", "planes")

_PLANES = (
    ("maximum projection", "max"),
    ("mean projection", "mean"),
    ("plane of the slider", None),
)


class MeasureChoices(QObject):
    """Rows to choose from what is open in a viewer.

    Parameters
    ----------
    form : Form
        Gets the rows.
    viewer : napari.viewer.Viewer
        Whose layers can be chosen.
    """

    changed = Signal()
    """Emitted when something else than the profile is chosen now."""

    chosen = Signal()
    """Emitted when it was the user who chose."""

    def __init__(self, form: Form, viewer: Viewer) -> None:
        super().__init__(form)
        self._form, self._viewer = form, viewer
        self.profile = ProfileChoice()
        self.source = choice_box()
        self.target = choice_box()
        self.translation = choice_box()
        self.planes = choice_box()
        for text, projection in _PLANES:
            self.planes.addItem(text, projection)
        form.row("Profile", self.profile, "What is measured in each image.")
        form.row("Source", self.source, "Real images of the condition that was translated from.")
        form.row("Target", self.target, "Real images of the condition that was translated to.")
        form.row(
            "Translation",
            self.translation,
            "Translated images, measured in the same way together with their reconstructions. "
            "Thresholds come from the real images alone.",
        )
        form.row("z planes", self.planes, "What is measured of the z planes.")
        for name in _KEPT:
            getattr(self, name).currentIndexChanged.connect(self.changed)
            getattr(self, name).activated.connect(self.chosen)
        self.labels = LabelsChoice(form, viewer)
        self.wells = WellsChoice(form)
        self.wells.changed.connect(self.changed)
        self.labels.changed.connect(self._on_labels)
        self.labels.chosen.connect(self.chosen)
        self._filling = False
        self._by_hand = False
        for box in (self.source, self.target):
            box.activated.connect(self._on_pair)
        self.translation.activated.connect(self._on_translation)

    def fill(self) -> None:
        """List what is open now; what is chosen stays chosen as long as it is there."""
        layers = self._viewer.layers
        groups = group_layers(layers)
        fill_pair(self.source, self.target, [(group.label(), group) for group in groups])
        found: list[tuple[str, object]] = []
        for kinds in translations(layers).values():
            group = kinds.get("translated") or kinds["reconstructed"]
            made = group.infos[0][0].provenance
            at = set(made.get("strengths", ())) - {1.0}
            how_far = "" if not at else f" × {next(iter(at)):g}" if len(at) == 1 else " × various"
            text = f"{len(found) + 1}: {made['source']} → {made['target']}{how_far}"
            text += f" ({group.n_images})"
            found.append((text, kinds))
        before = self.translation.count()
        fill_choices(self.translation, [(NO_TRANSLATION, None), *found], _translation_of)
        if found and before <= 1:
            self.translation.setCurrentIndex(1)
            if not self._by_hand:
                self._follow_translation()

    def aim(self, translation: str) -> None:
        """Choose a translation, and the conditions between which it is."""
        for index in range(self.translation.count()):
            kinds = self.translation.itemData(index) or {}
            group = next(iter(kinds.values()), None)
            if group is not None and group.translation == translation:
                self.translation.setCurrentIndex(index)
                self._follow_translation()

    def _follow_translation(self) -> None:
        """Choose the conditions between which was translated."""
        group = next(iter(self.translated().values()), None)
        made = {} if group is None else group.infos[0][0].provenance
        for box, role in ((self.source, "source"), (self.target, "target")):
            _choose_condition(box, str(made.get(role, "")))

    def _on_pair(self) -> None:
        self._by_hand = True

    def _on_translation(self) -> None:
        self._by_hand = False
        self._follow_translation()

    def refresh(self) -> None:
        """Ask for what is made of z planes where there are some."""
        self._form.show_row(self.planes, self._planes() is not None)
        real = (self.source.currentData(), self.target.currentData())
        self.wells.show_images({group.name: parts_of(group) for group in real if group is not None})
        self._fill_labels()

    def given_labels(self) -> dict[str, Any] | None:
        """Return labels layers by the names of groups; None where thresholds are used."""
        return self.labels.labels()

    def replaced_part(self) -> str | None:
        """Name the setting that labels layers take the place of; None where thresholds are used."""
        if not self.labels.used:
            return None
        return objects_field(self.chosen_profile().settings_type)

    def _fill_labels(self) -> None:
        found = {"source": self.source.currentData(), "target": self.target.currentData()}
        made = {role: self.translated().get(role) for role in (RECONSTRUCTED, TRANSLATED)}
        groups = {role: (g.name, g) for role, g in found.items() if g is not None}
        groups |= {role: (role, g) for role, g in made.items() if g is not None}
        part = objects_field(self.chosen_profile().settings_type)
        self._filling = True
        try:
            self.labels.fill(groups, "objects" if part == "segmentation" else part)
        finally:
            self._filling = False

    def _on_labels(self) -> None:
        if not self._filling:
            self._fill_labels()
            self.changed.emit()

    def chosen_profile(self) -> Profile[Any]:
        """Return the profile."""
        return PROFILES[self.profile.currentData()]

    def translated(self) -> dict[str, LayerGroup]:
        """Return the groups of the translation; empty without one."""
        return self.translation.currentData() or {}

    def channel_names(self) -> tuple[str, ...]:
        """Return the channels that can be measured; none as long as no images are open."""
        group = self.source.currentData()
        return () if group is None else group.channel_names

    def z(self) -> int | Projection | None:
        """Return what is made of z planes; None where there are none."""
        group = self._planes()
        if group is None:
            return None
        chosen: Projection | None = self.planes.currentData()
        return plane_of_slider(self._viewer, group) if chosen is None else chosen

    def texts(self) -> dict[str, str]:
        """Return what is chosen apart from the profile, for `choose`."""
        texts = {name: getattr(self, name).currentText() for name in _KEPT}
        return texts | {
            "objects": self.labels.kind.currentText(),
            "wells": self.wells.value() or "",
        }

    def choose(self, texts: dict[str, str]) -> None:
        """Choose again what was chosen, as far as it is still there."""
        self.wells.setText(texts.get("wells", ""))
        for name, text in texts.items():
            if name == "wells":
                continue
            box = self.labels.kind if name == "objects" else getattr(self, name)
            if box.findText(text) >= 0:
                box.setCurrentIndex(box.findText(text))

    def _planes(self) -> LayerGroup | None:
        groups = (self.source.currentData(), self.target.currentData())
        return next((g for g in groups if g is not None and g.n_planes > 1), None)


def _translation_of(text: str, kinds: Any) -> str:
    """Return what a translation is known by: its text changes with its strength."""
    group = next(iter((kinds or {}).values()), None)
    return text if group is None else str(group.translation)


def _choose_condition(box: QComboBox, condition: str) -> None:
    for index in range(box.count()):
        if box.itemData(index).infos[0][0].condition == condition:
            box.setCurrentIndex(index)
            return
