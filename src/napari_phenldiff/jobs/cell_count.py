"""How many cells a translation loses or invents, image by image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_phenldiff.runs.events import Noted, Warned

if TYPE_CHECKING:
    from napari_phenldiff.diffusion.fields import Translation
    from napari_phenldiff.images.image import Image

MUCH = 0.05
"""Part of the cells, lost or invented, from which on it is a warning."""

_NO_CHANNEL = "no channel is named like one of nuclei"


@dataclass(frozen=True, slots=True)
class NucleiCounter:
    """Matches the nuclei of a reconstructed and a translated image one to one.

    Attributes
    ----------
    channel_names : tuple of str
        Of the run; images may name theirs differently.
    channel : str
        That shows the nuclei.
    thresholds : dict of str to float
        One for all images.
    """

    channel_names: tuple[str, ...]
    channel: str
    thresholds: dict[str, float]

    def count(self, translation: Translation) -> dict[str, int]:
        """Count the cells of one image.

        Returns
        -------
        dict of str to int
            ``before``, ``after``, ``lost`` and ``invented``.
        """
        from napari_phenldiff.evaluation.identity import match_cells

        before, after = (
            replace(image, channel_names=self.channel_names)
            for image in (translation.reconstructed, translation.translated)
        )
        found = match_cells(before, after, self.channel, self.thresholds)
        return {
            "before": found.n_before,
            "after": found.n_after,
            "lost": found.n_before - found.n_same,
            "invented": found.n_after - found.n_same,
        }


class CellCount:
    """How many nuclei all images have, and what counts those of one.

    Parameters
    ----------
    channel_names : sequence of str
        Of the run; the channel with the nuclei is told by its name. Images may name theirs
        differently.
    reference_channels : sequence of str
        Those that are given to the model and left as they are: no cell can be lost in them.
    """

    def __init__(
        self, channel_names: Sequence[str], reference_channels: Sequence[str] = ()
    ) -> None:
        from napari_phenldiff.evaluation.identity import nuclei_settings
        from napari_phenldiff.images.stains import nuclei_channel
        from napari_phenldiff.measurement.profiles import find_profile
        from napari_phenldiff.measurement.profiles.fitting import ThresholdFit

        self._names = tuple(channel_names)
        self._given = tuple(reference_channels)
        self._channel = nuclei_channel(self._names)
        self._reason = "" if self._channel else _NO_CHANNEL
        settings = nuclei_settings(self._channel or 0)
        self._fit = ThresholdFit(find_profile("cells"), settings)
        self._before = self._after = self._same = 0

    def look(self, source: Image) -> None:
        """Take in an image that is going to be translated: one threshold comes from all of them."""
        from napari_phenldiff.measurement.profiles.fitting import draw_samples

        if self._channel is not None:
            image = replace(source, channel_names=self._names)
            self._fit.add(draw_samples(image, self._fit.parts, self._fit.fractions))

    def counter(self) -> NucleiCounter | None:
        """Return what counts the cells of an image; None if they cannot be counted."""
        if self._channel is None:
            return None
        thresholds = self._fit.thresholds()
        if any(map(math.isnan, thresholds.values())):
            self._reason = f"no threshold for nuclei was found in {self._channel}"
            self._channel = None
            return None
        return NucleiCounter(self._names, self._channel, thresholds)

    def add_counted(self, counted: Mapping[str, int] | None) -> None:
        """Add what was counted in an image, see `NucleiCounter.count`."""
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
        if self._channel in self._given and not lost and not invented:
            # Said so that it is not taken for a merit of the translation.
            text += f" (by construction: {self._channel} is a reference channel)"
        if max(lost, invented) <= MUCH * self._before:
            return Noted(text)
        return Warned(
            f"{text}. If cells are not what differs between the conditions, what else changes may "
            "be that of other cells; name the channel as a reference in the training."
        )
