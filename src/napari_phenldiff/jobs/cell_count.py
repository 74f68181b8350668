"""How many cells a translation loses or invents, image by image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
        Of the run; the channel with the nuclei is told by its name. Images may name theirs
        differently.
    """

    def __init__(self, channel_names: Sequence[str]) -> None:
        from napari_phenldiff.evaluation.identity import nuclei_settings
        from napari_phenldiff.images.stains import nuclei_channel
        from napari_phenldiff.measurement.profiles import find_profile
        from napari_phenldiff.measurement.profiles.fitting import ThresholdFit

        self._names = tuple(channel_names)
        self._channel = nuclei_channel(self._names)
        self._reason = "" if self._channel else _NO_CHANNEL
        settings = nuclei_settings(self._channel or 0)
        self._fit = ThresholdFit(find_profile("cells"), settings)
        self._thresholds: dict[str, float] = {}
        self._before = self._after = self._same = 0

    def look(self, source: Image) -> None:
        """Take in an image that is going to be translated: one threshold comes from all of them."""
        from napari_phenldiff.measurement.profiles.fitting import draw_samples

        if self._channel is not None:
            image = replace(source, channel_names=self._names)
            self._fit.add(draw_samples(image, self._fit.parts, self._fit.fractions))

    def add(self, translation: Translation) -> dict[str, int] | None:
        """Count the cells of one image.

        Returns
        -------
        dict of str to int or None
            ``before``, ``after``, ``lost`` and ``invented``; None if they cannot be counted.
        """
        from napari_phenldiff.evaluation.identity import match_cells

        if self._channel is None:
            return None
        self._thresholds = self._thresholds or self._fit.thresholds()
        if any(map(math.isnan, self._thresholds.values())):
            self._reason = f"no threshold for nuclei was found in {self._channel}"
            self._channel = None
            return None
        before, after = (
            replace(image, channel_names=self._names)
            for image in (translation.reconstructed, translation.translated)
        )
        found = match_cells(before, after, self._channel, self._thresholds)
        self._before += found.n_before
        self._after += found.n_after
        self._same += found.n_same
        return {
            "before": found.n_before,
            "after": found.n_after,
            "lost": found.n_before - found.n_same,
            "invented": found.n_after - found.n_same,
        }

    def add_counted(self, counted: Mapping[str, int] | None) -> None:
        """Add what was counted before in an image, see `add`."""
        if counted is not None:
            self._before += counted["before"]
            self._after += counted["after"]
            self._same += counted["before"] - counted["lost"]

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
