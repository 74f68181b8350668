"""Profiles: sets of measurements that belong together."""

from __future__ import annotations

from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import quoted
from napari_phenldiff.measurement.profiles.area import Area
from napari_phenldiff.measurement.profiles.cells import Cells
from napari_phenldiff.measurement.profiles.golgi import Golgi
from napari_phenldiff.measurement.profiles.neurons import Neurons
from napari_phenldiff.measurement.profiles.profile import Profile
from napari_phenldiff.measurement.profiles.translocation import Translocation

PROFILES: dict[str, Profile[Any]] = {
    profile.name: profile for profile in (Translocation(), Area(), Golgi(), Neurons(), Cells())
}


def find_profile(name: str) -> Profile[Any]:
    """Look up a profile by its name; InputError if there is none."""
    if name not in PROFILES:
        raise InputError(
            f'There is no measurement profile "{name}": choose one of {quoted(list(PROFILES))}.'
        )
    return PROFILES[name]
