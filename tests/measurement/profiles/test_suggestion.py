from __future__ import annotations

import pytest

from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.profiles.suggestion import suggested_profile


@pytest.mark.parametrize(
    ("names", "profile"),
    [
        (["DNA", "marker"], "translocation"),
        (["GFP", "Hoechst 33342"], "translocation"),
        (["DAPI", "GM130"], "golgi"),
        (["Golgi"], "golgi"),
        (["MAP2-488", "DAPI"], "neurons"),
        (["beta-tubulin"], "neurons"),
        (["TUJ1", "alpha-synuclein"], "neurons"),
        (["DAPI", "F-actin"], "area"),
        (["channel 1"], "area"),
        (["channel 1", "channel 2"], "area"),
        (["DAPI"], "cells"),
        (["DNA", "ER", "RNA", "AGP", "Mito"], "cells"),
    ],
)
def test_the_names_of_the_channels_tell_the_profile(names: list[str], profile: str):
    assert suggested_profile(names) == profile
    assert profile in PROFILES
