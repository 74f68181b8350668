"""How many cells a translation loses or invents, image by image."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.events import Noted, Warned

if TYPE_CHECKING:
    from napari_phenldiff.diffusion.fields import Translation
    from napari_phenldiff.images.image import Image

MUCH = 0.05
"""Part of the cells, lost or invented, from which on it is a warning."""

_NO_CHANNEL = "no channel is named like one of nuclei"


class CellCount:
    """Matches the nuclei of reconstructed and translated images one to one.

    Parameters
    ----------
    channel_names : sequence of str
        Of the images; the one with the nuclei is told by its name.
    sources : callable
        Gives the images that are translated, from which the one threshold for all comes. It is
        only called if there is such a channel, and once.
    """

    def __init__(
        self, channel_names: tuple[str, ...], sources: Callable[[], Iterable[Image]]
    ) -> None:
        from napari_phenldiff.evaluation.identity import nuclei_channel

        self._channel = nuclei_channel(channel_names)
        self._names = channel_names
        self._sources = sources
        self._thresholds: dict[str, float] | None = None
        self._reason = "" if self._channel else _NO_CHANNEL
        self._before = self._after = self._same = 0

    def add(self, translation: Translation) -> dict[str, int] | None:
        """Count the cells of one image.

        Returns
        -------
        dict of str to int or None
            ``before``, ``after``, ``lost`` and ``invented``; None if they cannot be counted.
        """
        from dataclasses import replace

        from napari_phenldiff.evaluation.identity import match_cells, nuclei_thresholds

        if self._channel is None:
            return None
        try:
            if self._thresholds is None:
                sources = (replace(x, channel_names=self._names) for x in self._sources())
                self._thresholds = nuclei_thresholds(sources, self._channel)
                if any(map(math.isnan, self._thresholds.values())):
                    raise InputError(f"no threshold for nuclei was found in {self._channel}")
            before, after = (
                replace(image, channel_names=self._names)
                for image in (translation.reconstructed, translation.translated)
            )
            found = match_cells(before, after, self._channel, self._thresholds)
        except InputError as error:
            self._channel, self._reason = None, str(error)
            return None
        self._before += found.n_before
        self._after += found.n_after
        self._same += found.n_same
        return {
            "before": found.n_before,
            "after": found.n_after,
            "lost": found.n_before - found.n_same,
            "invented": found.n_after - found.n_same,
        }

    def summary(self) -> dict[str, Any]:
        """Return the numbers of all images, for JSON."""
        if self._channel is None:
            return {"channel": None, "reason": self._reason}
        return {
            "channel": self._channel,
            "before": self._before,
            "after": self._after,
            "lost": self._before - self._same,
            "invented": self._after - self._same,
        }

    def event(self) -> Noted | Warned:
        """Tell it in words, as a warning where it is much."""
        if self._channel is None:
            return Noted(f"Cells lost or invented were not counted: {self._reason}")
        lost, invented = self._before - self._same, self._after - self._same
        text = (
            f"Of {self._before} nuclei in {self._channel}, {lost} are lost in the translation and "
            f"{invented} invented"
        )
        if max(lost, invented) <= MUCH * self._before:
            return Noted(text)
        return Warned(
            f"{text}. If cells are not what differs between the conditions, what else changes may "
            "be that of other cells; name the channel as a reference in the training."
        )
