"""The profile to measure: suggested by the names of the channels until the user chooses one."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtWidgets import QComboBox

from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.profiles.suggestion import suggested_profile
from napari_phenldiff.widgets.parts.choices import keep_narrow


class ProfileChoice(QComboBox):
    """A list of the profiles, whose data are their names."""

    def __init__(self) -> None:
        super().__init__()
        keep_narrow(self)
        for profile in PROFILES.values():
            self.addItem(profile.title, profile.name)
        self._suggested = self.currentData()
        self._kept = False
        self.activated.connect(self.keep)

    @property
    def kept(self) -> bool:
        """Whether the profile was chosen, so that no suggestion changes it any more."""
        return self._kept or self.currentData() != self._suggested

    def keep(self) -> None:
        """Let no suggestion change the profile from now on."""
        self._kept = True

    def choose(self, name: str) -> None:
        """Choose a profile by its name, for good."""
        self.keep()
        self.setCurrentIndex(self.findData(name))

    def suggest(self, channel_names: Sequence[str]) -> None:
        """Choose what suits images with these channels, unless something was chosen."""
        if not channel_names or self.kept:
            return
        self._suggested = suggested_profile(channel_names)
        self.setCurrentIndex(self.findData(self._suggested))
