"""What is asked for when the images of open layers are to be measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.survey import MADE
from napari_phenldiff.images.wells import check_wells
from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.measurement.profiles.channels import with_channels
from napari_phenldiff.measurement.segmentation.segmenters import (
    NOTHING_YET,
    GivenLabels,
    objects_field,
    with_segmenter,
)
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.viewer.conditions import why_no_pair
from napari_phenldiff.viewer.given_labels import GivenByLayers, LabelsSnapshot
from napari_phenldiff.viewer.image_places import FieldImages, parts_of
from napari_phenldiff.viewer.layer_groups import LayerGroup

RECONSTRUCTED, TRANSLATED = MADE
"""Names of the groups that the model made, in tables and figures."""


@dataclass(frozen=True, slots=True, eq=False)
class MeasuringRequest:
    """A measurement as the user has filled it in, valid or not.

    Attributes
    ----------
    profile : str
        Name of the profile.
    source, target : LayerGroup or None
        Real images of the two conditions.
    reconstructed, translated : LayerGroup or None
        Layers of one translation, measured in the same way.
    settings : Settings or None
        Settings of the profile; None for its defaults.
    thresholds : mapping of str to float or None
        Thresholds of an earlier measurement to be used; those that lack are fitted.
    z : int, "max", "mean" or "sum", or None
        Plane (from 0) or projection that is measured where there are z planes.
    labels : mapping of str to labels layer, or None
        By the name that each group has in tables, the layer with its objects, in place of what
        the profile would cut out first. None where thresholds are used.
    wells : str or None
        Pattern that finds the well in the name of an image, or ``"image"``; None for what names and
        tables tell.
    """

    profile: str
    source: LayerGroup | None
    target: LayerGroup | None
    reconstructed: LayerGroup | None = None
    translated: LayerGroup | None = None
    settings: Settings | None = None
    thresholds: Mapping[str, float] | None = None
    z: int | Projection | None = None
    labels: Mapping[str, Any] | None = None
    wells: str | None = None

    def chosen_settings(self) -> Settings:
        """Return the settings, or else the defaults of the profile, with channels by their names.

        Where labels are given, no threshold belongs to what they show.

        Raises
        ------
        InputError
            If no name tells which channel is meant.
        """
        profile = find_profile(self.profile)
        settings = profile.settings_type() if self.settings is None else self.settings
        assert isinstance(settings, Settings)
        if self.source is not None:
            settings = with_channels(profile, settings, [self.source.channel_names])
            assert isinstance(settings, Settings)
        return settings if self.labels is None else with_segmenter(settings, NOTHING_YET)

    def given_labels(self) -> GivenLabels | None:
        """Return what looks up the labels of an image; None where thresholds are used.

        Raises
        ------
        InputError
            If a group has no labels, or those it has do not fit.
        """
        if self.labels is None or self.source is None:
            return None
        return GivenByLayers(self.labels, self.groups(), self.source)

    def groups(self) -> dict[str, LayerGroup]:
        """Return what is measured, by the name it has in tables and figure."""
        named: dict[str, LayerGroup] = {}
        if self.source is not None:
            named[self.source.name] = self.source
        if self.target is not None:
            named[self.target.name] = self.target
        if self.reconstructed is not None:
            named[RECONSTRUCTED] = self.reconstructed
        if self.translated is not None:
            named[TRANSLATED] = self.translated
        return named

    def images(self) -> dict[str, FieldImages]:
        """Return the images of the groups, read out of the layers one at a time."""
        return {name: FieldImages(group, self.z) for name, group in self.groups().items()}

    def real(self) -> list[str]:
        """Return the names of the groups that thresholds are fitted on."""
        return [group.name for group in (self.source, self.target) if group is not None]

    def strength(self) -> float:
        """Return the strength at which the translated images are shown."""
        if self.translated is None:
            return 1.0
        provenance = self.translated.infos[0][0].provenance
        return float(next(iter(provenance.get("strengths", ())), provenance.get("strength", 1.0)))

    def validation_error(self) -> str | None:
        """Return why this can't be measured, if it can't; None if it looks right."""
        error = why_no_pair(self.source, self.target)
        if error is not None or self.source is None or self.target is None:
            return error
        ours, theirs = self.source.channel_names, self.target.channel_names
        if ours != theirs:
            return (
                f"{self.source.name} has the channels {', '.join(ours)}, {self.target.name} has "
                f"{', '.join(theirs)}; choose conditions with the same."
            )
        try:
            self.chosen_settings()
        except InputError as error:
            return str(error)
        for name, group in self.groups().items():
            if group.n_planes > 1 and self.z is None:
                return f"{name} has {group.n_planes} z planes; choose what is made of them."
        if self.translated is not None:
            wrong = self._direction_error(self.translated)
            if wrong is not None:
                return wrong
            strengths = self.translated.infos[0][0].provenance.get("strengths", ())
            if len(set(strengths)) > 1:
                return (
                    f"The translated images are shown at strengths from {min(strengths):.2f} to "
                    f"{max(strengths):.2f}; turn their dials to one strength, or translate again."
                )
        return self._labels_error() or self._wells_error()

    def _wells_error(self) -> str | None:
        if self.wells is None:
            return None
        names = [name for group in self.groups().values() for name in parts_of(group)]
        try:
            check_wells(names, self.wells)
        except InputError as error:
            return str(error)
        return None

    def _direction_error(self, translated: LayerGroup) -> str | None:
        """Return why a translation can't be compared with these conditions, if it can't."""
        assert self.source is not None
        assert self.target is not None
        for name in (self.source.name, self.target.name):
            if name in (RECONSTRUCTED, TRANSLATED):
                return (
                    f"A condition is called {name}, as images of the model are in tables; give its "
                    "layers another name."
                )
        provenance = translated.infos[0][0].provenance
        said = [str(provenance.get(role, "")) for role in ("source", "target")]
        ours, theirs = (group.infos[0][0].condition for group in (self.source, self.target))
        if said[0] != said[1] and (ours == said[1] or theirs == said[0]):
            return (
                f"The translation is from {said[0]} to {said[1]}, but the source is {ours} and the "
                f"target {theirs}; choose them the other way round, or another translation."
            )
        return None

    def _labels_error(self) -> str | None:
        if self.labels is None:
            return None
        profile, settings = find_profile(self.profile), self.chosen_settings()
        if all(part.segmenter is None for _, part in profile.segmented(settings).values()):
            # Without its channel, the profile leaves out what the labels would stand for.
            part = objects_field(settings)
            return f"Choose a channel for the {part}: the labels layers show these."
        try:
            self.given_labels()
        except InputError as error:
            return str(error)
        return None

    def snapshot(self) -> MeasuringRequest:
        """Return the same request with layers that another thread may read."""

        def taken(group: LayerGroup | None) -> LayerGroup | None:
            return None if group is None else group.snapshot()

        return replace(
            self,
            source=taken(self.source),
            target=taken(self.target),
            reconstructed=taken(self.reconstructed),
            translated=taken(self.translated),
            labels=None
            if self.labels is None
            else {
                name: None if layer is None else LabelsSnapshot.of(layer)
                for name, layer in self.labels.items()
            },
        )
