"""Which profile suits images, told by what their channels are called."""

from __future__ import annotations

from collections.abc import Sequence

from napari_phenldiff.images.stains import STRUCTURES, channels_showing


def suggested_profile(names: Sequence[str]) -> str:
    """Guess what is to be measured from the names of the channels.

    Parameters
    ----------
    names : sequence of str
        Of the channels of an image.

    Returns
    -------
    str
        Name of a profile: *golgi* or *neurons* where a channel shows these, *translocation* where
        a marker that is no known stain lies beside a nuclear stain, *cells* where nothing but
        nuclei is known of several channels or of one. Where nothing tells, *area*, which needs no
        nuclei.
    """
    nuclear = channels_showing(names, "nuclei")
    others = [name for name in names if name not in nuclear]
    if channels_showing(others, "golgi"):
        return "golgi"
    if channels_showing(others, "neurites", "microtubules"):
        return "neurons"
    if not nuclear:
        return "area"
    if len(others) != 1:
        return "cells"
    # Actin or mitochondria do not move into the nucleus.
    return "area" if channels_showing(others, *STRUCTURES) else "translocation"
