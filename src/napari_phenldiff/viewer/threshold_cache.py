"""Thresholds fitted on open layers, remembered as long as the layers hold the same images."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import TYPE_CHECKING, Any

from napari_phenldiff.measurement.profiles import find_profile
from napari_phenldiff.measurement.profiles.fitting import fit_thresholds, threshold_basis

if TYPE_CHECKING:
    from napari_phenldiff.images.image import Image
    from napari_phenldiff.viewer.measuring import MeasuringRequest

_MOST = 32
"""Fits that are remembered; one is a few numbers."""

_Reference = weakref.ref[Any] | Callable[[], Any]
_Fit = tuple[list[_Reference], dict[str, float], list[str]]


class ThresholdCache:
    """Remembers thresholds by all that they depend on: profile, settings and real images."""

    def __init__(self) -> None:
        self._fits: OrderedDict[Hashable, _Fit] = OrderedDict()

    def known(self, request: MeasuringRequest) -> dict[str, float] | None:
        """Return the thresholds for what is asked for, None if they have not been fitted yet.

        Raises
        ------
        InputError
            If there is no such profile.
        """
        profile = find_profile(request.profile)
        settings = request.chosen_settings()
        if not threshold_basis(profile, settings):
            return {}  # every image has a threshold of its own
        given = request.thresholds or {}
        if all(name in given for name, _ in threshold_basis(profile, settings)):
            return dict(given)
        found = self._fits.get(self._key(request))
        # Python reuses the id of an object that has been deleted.
        if found is None or any(reference() is None for reference in found[0]):
            return None
        return found[1] | dict(given)

    def fit(
        self,
        request: MeasuringRequest,
        on_image: Callable[[int, int], None] = lambda done, total: None,
    ) -> dict[str, float]:
        """Return the thresholds, fitted on all real images if they are not known.

        Parameters
        ----------
        request : MeasuringRequest
            What is asked for. In a thread, its `snapshot`.
        on_image : callable
            Called with the number of images looked at and their total; what it raises ends this.

        Raises
        ------
        InputError
            If the images can't be read out of the layers.
        """
        known = self.known(request)
        if known is not None:
            return known
        images = request.images()
        real = [image for name in request.real() for image in (images[name],)]
        total = sum(len(group) for group in real)

        def counted() -> Iterator[Image]:
            done = 0
            for group in real:
                for image in group:
                    on_image(done := done + 1, total)
                    yield image

        on_image(0, total)
        settings = request.chosen_settings()
        doubts: list[str] = []
        profile = find_profile(request.profile)
        fitted = fit_thresholds(profile, counted(), settings, doubts.append)
        references = [_reference(data) for data in self._data(request)]
        self._fits[self._key(request)] = references, fitted, doubts
        while len(self._fits) > _MOST:
            self._fits.popitem(last=False)
        return fitted | dict(request.thresholds or {})

    def doubts(self, request: MeasuringRequest) -> tuple[str, ...]:
        """Say what may be wrong with the thresholds that `fit` has found."""
        given = request.thresholds or {}
        profile = find_profile(request.profile)
        if all(name in given for name, _ in threshold_basis(profile, request.chosen_settings())):
            return ()
        found = self._fits.get(self._key(request))
        return () if found is None else tuple(found[2])

    @staticmethod
    def _data(request: MeasuringRequest) -> list[Any]:
        groups = (request.source, request.target)
        return [layer.data for group in groups if group is not None for layer in group.layers]

    def _key(self, request: MeasuringRequest) -> Hashable:
        profile = find_profile(request.profile)
        groups = (request.source, request.target)
        return (
            request.profile,
            request.z,
            threshold_basis(profile, request.chosen_settings()),
            tuple(group.channel_names for group in groups if group is not None),
            tuple(id(data) for data in self._data(request)),
        )


def _reference(data: Any) -> _Reference:
    try:
        return weakref.ref(data)
    except TypeError:
        return lambda: data


thresholds = ThresholdCache()
"""The thresholds fitted in this process."""
