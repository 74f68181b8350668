"""Where the pixels of a layer lie in the world, with all that napari lets a layer be moved by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """The transforms of a layer of N axes: scale, rotation, shear, translation and affine.

    Attributes
    ----------
    linear : numpy.ndarray of shape (N, N)
        Scale, shear and rotation in one matrix.
    translate : numpy.ndarray of shape (N,)
        Added afterwards.
    affine : numpy.ndarray of shape (N + 1, N + 1)
        What is done to the result (napari's ``affine``), in homogeneous coordinates.
    units : tuple
        Units of the axes.
    axis_labels : tuple of str
        Their labels.
    """

    linear: np.ndarray
    translate: np.ndarray
    affine: np.ndarray
    units: tuple[Any, ...]
    axis_labels: tuple[str, ...]

    @classmethod
    def of(cls, layer: Layer) -> Geometry:
        """Take the transforms of a layer; they stay as they are when the layer is moved."""
        rotate, scale = np.array(layer.rotate, float), np.array(layer.scale, float)
        linear = np.diag(scale)
        if np.any(layer.shear) or not np.array_equal(rotate, np.eye(len(scale))):
            from napari.utils.transforms import Affine

            linear = Affine(scale=scale, rotate=rotate, shear=layer.shear).linear_matrix
        return cls(
            np.array(linear, float),
            np.array(layer.translate, float),
            np.array(layer.affine.affine_matrix, float),
            tuple(layer.units),
            tuple(layer.axis_labels),
        )

    @property
    def matrix(self) -> np.ndarray:
        """From places in the data to the world, (N + 1, N + 1), in homogeneous coordinates."""
        matrix = np.eye(len(self.translate) + 1)
        matrix[:-1, :-1], matrix[:-1, -1] = self.linear, self.translate
        return np.asarray(self.affine @ matrix)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments with which napari adds a layer that lies here."""
        from napari.utils.transforms import Affine

        found: dict[str, Any] = {"units": self.units, "axis_labels": self.axis_labels}
        found["translate"] = tuple(self.translate.tolist())
        if np.array_equal(self.linear, np.diag(np.diag(self.linear))):
            found["scale"] = tuple(np.diag(self.linear).tolist())
            found["rotate"] = np.eye(len(self.translate))
            found["shear"] = np.eye(len(self.translate))
        else:
            parts = Affine(linear_matrix=self.linear)
            found["scale"] = tuple(parts.scale.tolist())
            found["rotate"], found["shear"] = parts.rotate, parts.shear
        found["affine"] = self.affine
        return found

    def move(self, layer: Layer) -> None:
        """Bring a layer here, and touch it only where it lies elsewhere."""
        there = Geometry.of(layer)
        if not np.array_equal(there.linear, self.linear):
            arguments = self.arguments()
            for name in ("scale", "rotate", "shear"):
                setattr(layer, name, arguments[name])
        if not np.array_equal(there.translate, self.translate):
            layer.translate = self.translate
        if not np.array_equal(there.affine, self.affine):
            layer.affine = self.affine
        if there.units != self.units:
            layer.units = self.units
        if there.axis_labels != self.axis_labels:
            layer.axis_labels = self.axis_labels

    def starting_at(self, place: ArrayLike) -> Geometry:
        """Return where an array lies that was cut out of the data from this place on."""
        return replace(self, translate=self.translate + self.linear @ np.asarray(place, float))

    def without(self, axis: int) -> Geometry:
        """Return the geometry without an axis along which nothing is left."""
        kept = [i for i in range(len(self.translate)) if i != axis]
        corners = [*kept, len(self.translate)]
        return Geometry(
            self.linear[np.ix_(kept, kept)],
            self.translate[kept],
            self.affine[np.ix_(corners, corners)],
            tuple(self.units[i] for i in kept),
            tuple(self.axis_labels[i] for i in kept),
        )

    def stretched(self, axis: int, length: int) -> Geometry:
        """Return where an array of length 1 along an axis fills the place of this many steps."""
        place = np.zeros(len(self.translate))
        place[axis] = (length - 1) / 2
        linear = self.linear.copy()
        linear[:, axis] *= length
        return replace(self.starting_at(place), linear=linear)

    def to_world(self, place: Sequence[float]) -> np.ndarray:
        """Return the point of the world where a place in the data, of N axes, lies."""
        return np.asarray((self.matrix @ [*place, 1.0])[:-1])

    def to_data(
        self,
        point: Sequence[float],
        units: Sequence[Any] | None = None,
        axes: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Return the place in the data that lies at a point of the world, as napari finds it.

        Parameters
        ----------
        point : sequence of float
            In the axes of the viewer, of which the last are those of the layer.
        units : sequence, optional
            Units that the point is in, where the viewer has others than the layer.
        axes : sequence of int, optional
            Axes that the point is told for; by default all. What lies along the others has no
            part in it: napari does not show slices that are tilted.

        Returns
        -------
        numpy.ndarray of shape (len(axes),)
        """
        n = len(self.translate)
        chosen = list(range(n)) if axes is None else list(axes)
        # A viewer that holds this layer alone has as many axes, others more.
        at = np.array(([0.0] * n + [float(x) for x in point])[-n:])
        inverse = np.linalg.inv(self.matrix)
        linear = inverse[:-1, :-1]
        if units is not None and len(units) >= n:
            linear = linear * [_factor(a, b) for a, b in zip(units[-n:], self.units, strict=True)]
        return np.asarray(linear[np.ix_(chosen, chosen)] @ at[chosen] + inverse[:-1, -1][chosen])

    def to_points(
        self, place: Sequence[float], axes: Sequence[int], units: Sequence[Any] | None = None
    ) -> np.ndarray:
        """Return the points along some axes at which `to_data` gives a place, of as many axes."""
        chosen, n = list(axes), len(self.translate)
        inverse = np.linalg.inv(self.matrix)
        linear = inverse[np.ix_(chosen, chosen)]
        if units is not None and len(units) >= n:
            linear = linear * [_factor(units[i - n], self.units[i]) for i in chosen]
        return np.linalg.solve(linear, np.asarray(place, float) - inverse[:-1, -1][chosen])


def indices_shown(viewer: ViewerModel, geometry: Geometry) -> tuple[int | None, ...]:
    """Return where a viewer cuts a layer: the only place that computes what is shown.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose sliders count, with the order of its axes and their units.
    geometry : Geometry
        Of the layer.

    Returns
    -------
    tuple of int or None
        Per axis of the layer, the index in its data at which it is cut, which may lie outside of
        it: then nothing of it is shown. None for an axis that is displayed.
    """
    displayed = axes_displayed(viewer, geometry)
    cut = [axis for axis in range(len(geometry.translate)) if axis not in displayed]
    place = geometry.to_data(viewer.dims.point, viewer.dims.units, cut)
    found: dict[int, int] = {
        axis: int(np.round(at)) for axis, at in zip(cut, place, strict=True) if np.isfinite(at)
    }
    return tuple(found.get(axis) for axis in range(len(geometry.translate)))


def axes_displayed(viewer: ViewerModel, geometry: Geometry) -> tuple[int, ...]:
    """Return the axes of a layer that a viewer displays, in the order in which it does."""
    dims = viewer.dims
    more = dims.ndim - len(geometry.translate)
    order = [*range(-more), *(axis - more for axis in dims.order if axis >= more)]
    return tuple(order[-dims.ndisplay :])


def _factor(unit: Any, own: Any) -> float:
    """Return how many of a layer's own units are in a unit of the viewer."""
    if unit == own:
        return 1.0
    ours, theirs = (float((1 * u).to_base_units().magnitude) for u in (own, unit))
    return theirs / ours
