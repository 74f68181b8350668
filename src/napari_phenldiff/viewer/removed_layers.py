"""Which layers of a translation somebody has removed, in words: without them, channels are missing.

Each channel of a translation has a layer of the real image, of the reconstructed one, of the
translated one and of their difference. Whole kinds may be gone; one of several channels may not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from napari_phenldiff.images.naming import quoted
from napari_phenldiff.viewer.layer_groups import (
    LayerGroup,
    LayerInfo,
    Role,
    group_layers,
    is_plain_image,
)
from napari_phenldiff.viewer.results import title_of

if TYPE_CHECKING:
    from napari.layers import Layer


def removed_layers(layers: Iterable[Layer], translation: str, *, differences: bool = True) -> str:
    """Say which layers of a translation, or of its real images, are missing beside others.

    Parameters
    ----------
    layers : iterable of napari layers
        The layers of the viewer.
    translation : str
        Identity of the translation (`LayerInfo.translation`).
    differences : bool
        Whether layers of differences are missed too.

    Returns
    -------
    str
        A sentence; empty if no channel lacks a layer.
    """
    layers = [layer for layer in layers if is_plain_image(layer)]
    made = [
        group
        for group in group_layers(layers, "original", "reconstructed", "translated", "difference")
        if group.translation == translation
    ]
    sources = {info.real_layer for group in made for infos in group.infos for info in infos}
    there = {str(layer.unique_id): layer for layer in layers}
    real = [LayerInfo.of(there[name]) for name in sources if name is not None and name in there]
    return _told(made, real, () if differences else ("difference",))


def removed_of(made: Iterable[LayerGroup | None]) -> str:
    """Say the same of groups of one translation: of what was made alone."""
    return _told([group for group in made if group is not None])


def _told(
    made: Sequence[LayerGroup], real: Sequence[LayerInfo] = (), passed_over: Sequence[Role] = ()
) -> str:
    wanted = list(dict.fromkeys(name for group in made for name in group.channel_names))
    have = [
        (_title(group.infos[0][0]), group.channel_names)
        for group in made
        if group.role not in passed_over
    ]
    if real:
        have.append((real[0].condition, tuple(n for info in real for n in info.channel_names)))
    missing = [
        f"{title}: {name}"
        for title, names in have
        # Of more real channels than the run knows, the others are not missed.
        if len(names) < len(wanted)
        for name in wanted
        if name not in names
    ]
    if not missing:
        return ""
    which = "layer {} was" if len(missing) == 1 else "layers {} were"
    return f"The {which.format(quoted(missing))} removed: translate again."


def _title(info: LayerInfo) -> str:
    told = info.provenance
    strengths = told.get("strengths") or (1.0,)
    return title_of(info.role, str(told.get("target", "")), strengths, str(told.get("named") or ""))
