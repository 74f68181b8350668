"""A translation of many images, shown from the first on while the others are still translated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4
from weakref import ref

from napari_phenldiff.viewer.image_places import Lot
from napari_phenldiff.viewer.layer_groups import LayerInfo, is_plain_image
from napari_phenldiff.viewer.results import (
    NewTranslation,
    add_translation,
    adding_steps,
    made_before,
    named_apart,
)
from napari_phenldiff.viewer.turns import Later, in_turns

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_phenldiff.viewer.translated_stack import TranslatedStack


class GrowingTranslation:
    """The layers of a translation, which hold at any time the images that are there.

    So they can be looked at, measured and saved before all are there, and stay if no more come.
    Images along several axes are shown when all are there, and so are those of which an equal
    translation is open, which goes only then.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where the layers are added.
    real : sequence of napari.layers.Image
        As for `add_translation`.
    new : NewTranslation
        All that is going to be shown, with a stack.
    later : callable, optional
        In a window: what is done at a time, see `in_turns`.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        real: Sequence[Layer],
        new: NewTranslation,
        later: Later | None = None,
    ) -> None:
        assert new.stack is not None
        # The job must not keep the viewer alive.
        self._viewer_ref = ref(viewer)
        self._real, self._new, self._later = real, new, later
        self._stack: TranslatedStack = new.stack
        self._identity = ""
        self._begun = False
        self._there = self._shown = 0
        self._told: Mapping[str, Any] | None = None
        self._going = False

    @property
    def _viewer(self) -> ViewerModel:
        viewer = self._viewer_ref()
        if viewer is None:
            raise RuntimeError("the viewer has been closed")
        return viewer

    @property
    def identity(self) -> str:
        """Identity of the translation; empty as long as no layers are there."""
        return self._identity

    def show(self, count: int) -> None:
        """Show the first images of the stack, in which these are by now."""
        self._there = count
        if self._identity or self._can_grow():
            self._start()

    def finish(self, told: Mapping[str, Any]) -> str:
        """Show all images, with what is known about them by now, and return their identity.

        Raises
        ------
        InputError
            If the layers of the real images don't hold as many images any more.
        """
        new = replace(self._new, provenance={**self._new.provenance, **told})
        if not self._identity:
            return add_translation(self._viewer, self._real, new, self._later)
        self._there, self._told = len(self._stack.names), told
        self._start()
        return self._identity

    def _can_grow(self) -> bool:
        lot = Lot.of(self._real[0], LayerInfo.of(self._real[0]))
        return lot.axes.kinds.count("field") == 1 and not made_before(
            self._viewer.layers, self._real, self._new
        )

    def _start(self) -> None:
        if self._going:
            return
        self._going = True
        # At once, and not in the first step, which comes later: all images may be there by then.
        self._identity = self._identity or uuid4().hex
        in_turns(self._viewer, self._steps(self._viewer), self._later)

    def _steps(self, viewer: ViewerModel) -> Iterator[None]:
        """Add or change a layer in each step, until all that is there is shown."""
        try:
            if not self._begun:
                yield from self._begin(viewer)
            while self._shown < self._there or self._told is not None:
                yield from self._extend()
        finally:
            self._going = False

    def _begin(self, viewer: ViewerModel) -> Iterator[None]:
        self._begun, self._shown = True, self._there
        self._new = named_apart(viewer.layers, self._new)
        new = self._first(self._there)
        try:
            yield from adding_steps(viewer, self._real, new, self._identity, ())
        except Exception:
            # Whoever finishes this tries again, and tells why it fails.
            self._identity, self._begun = "", False
            raise

    def _first(self, count: int) -> NewTranslation:
        return replace(self._new, count=count, provenance=_first_of(self._new.provenance, count))

    def _extend(self) -> Iterator[None]:
        count, told = self._there, self._told
        viewer = self._viewer
        for layer in list(viewer.layers):
            if layer in viewer.layers and is_plain_image(layer):
                info = LayerInfo.of(layer)
                if info.translation == self._identity:
                    self._grow(layer, info, count, told or {})
                    yield
        self._shown = count
        if told is not None:
            self._told = None

    def _grow(self, layer: Layer, info: LayerInfo, count: int, told: Mapping[str, Any]) -> None:
        new = self._first(count)
        before = list(info.provenance.get("strengths", ()))
        strength = 0.0 if info.role in ("original", "reconstructed") else new.strength
        # A dial may have been turned meanwhile.
        strengths = before + [strength] * (count - len(before))
        provenance = {**new.provenance, **told, "source": new.source, "target": new.target}
        described = replace(
            info,
            images=new.names,
            paths=(None,) * count,
            sites=new.image_sites,
            provenance={**info.provenance, **provenance, "strengths": strengths},
        )
        axes = Lot.of(layer, info).axes
        layer.metadata = {**layer.metadata, **described.to_metadata()}
        if layer.data.shape[axes.kinds.index("field")] < count:
            planes = new.planes(info.role, info.channel_index)
            shape = [count if kind == "field" else 1 for kind in axes.kinds]
            layer.data = planes.reshape(*shape, *planes.shape[-2:])


def _first_of(provenance: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return what is known of all images for the first ones alone."""
    of_each = ("source_images", "source_files")
    return {
        name: list(value)[:count] if name in of_each else value
        for name, value in provenance.items()
    }
