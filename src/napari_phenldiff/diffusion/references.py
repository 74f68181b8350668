"""Reference channels: channels in which the conditions do not differ.

Many stains of an experiment only show where the cells are. If nothing in a channel separates the
conditions, a translation should not change it: the channel is *given* to the network without noise,
in training and in translation, and the network learns how the other channels look next to it. So
nuclei stay in place, and the model learns the phenotype and not which nuclei happened to be imaged.

The reference channels are estimated from the training images. For each channel, a cross-validated
classifier predicts the condition of an image from the statistics of that channel
(`conditioning.describe`). If neither a single channel nor all channels together predict it, there
is no phenotype to show, and all channels become references unless the user says otherwise.

The brightness of a stain also varies between wells. If a channel separates the conditions by its
brightness alone, while another one does by its structure, that is likely a batch effect. The
channel is then *normalised* to a common brightness before the training, and judged by its
structure. If no channel separates the conditions by structure, brightness is taken for the
phenotype.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_phenldiff.diffusion.base import BaseModel, place_of
from napari_phenldiff.diffusion.separation import Separation
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import named_channels


def choose_normalised(
    wanted: str | Sequence[str], channel_names: Sequence[str], found: Separation
) -> tuple[str, ...]:
    """Choose the channels that are normalised to a common brightness.

    Parameters
    ----------
    wanted : str or sequence of str
        ``"auto"``, or the names chosen by the user, which may be none.
    channel_names : sequence of str
        Channels of the images.
    found : Separation
        Separation of the conditions.

    Raises
    ------
    InputError
        If there is no channel of a name.
    """
    if wanted == "auto":
        alone = found.brightness_alone
        return tuple(n for n, is_so in zip(channel_names, alone, strict=False) if is_so)
    return named_channels((wanted,) if isinstance(wanted, str) else wanted, channel_names)


def choose_references(
    wanted: str | Sequence[str],
    channel_names: Sequence[str],
    found: Separation,
    base: BaseModel,
) -> tuple[str, ...]:
    """Choose the reference channels.

    Parameters
    ----------
    wanted : str or sequence of str
        ``"auto"``, or the names chosen by the user, which may be none.
    channel_names : sequence of str
        Channels of the images.
    found : Separation
        Separation of the conditions.
    base : BaseModel
        Base to fine-tune. If it mixes channels, nothing is known of each, and ``"auto"`` finds
        none.

    Returns
    -------
    tuple of str
        Names of the reference channels: all channels if nothing separates the conditions. If the
        conditions are only separated by all channels together, the best channel is not a reference.

    Raises
    ------
    InputError
        If there is no channel of a name, or if all channels are named.
    """
    if wanted == "auto":
        if base.coefficients is None:
            return ()
        best = int(np.argmax(found.channels))
        return tuple(
            name
            for k, (name, differs_little) in enumerate(
                zip(channel_names, found.references, strict=True)
            )
            if differs_little and not (found.found and k == best)
        )
    chosen = named_references(wanted, channel_names)
    if chosen and set(chosen) == set(channel_names):
        raise InputError(
            "All channels are named as references, so none is left to translate; leave one out."
        )
    return chosen


def named_references(wanted: str | Sequence[str], channel_names: Sequence[str]) -> tuple[str, ...]:
    """Return the reference channels that the user has named, before any are looked for.

    Raises
    ------
    InputError
        If there is no channel of a name.
    """
    if wanted == "auto":
        return ()
    return named_channels((wanted,) if isinstance(wanted, str) else wanted, channel_names)


def in_words(
    channel_names: Sequence[str],
    found: Separation,
    references: Sequence[str],
    normalised: Sequence[str] = (),
) -> str:
    """Describe for the user how well each channel separates the conditions."""
    if not found.channels:
        return "This base model mixes channels: the references are those that are named"
    parts = []
    for k, (name, value) in enumerate(zip(channel_names, found.channels, strict=True)):
        part = f"{name} {value:.2f}"
        if name in normalised and found.structure:
            part += f", without its brightness {found.structure[k]:.2f}"
        parts.append(part + (" (reference)" if name in references else ""))
    if len(parts) > 1:
        parts.append(f"all together {found.together:.2f}")
    return f"How well the conditions are separated (0.5 not, 1 fully): {', '.join(parts)}"


def given_latents(
    base: BaseModel, channel_names: Sequence[str], references: Sequence[str] = ()
) -> torch.Tensor:
    """Return a mask of the latent channels that are not noised.

    Returns
    -------
    torch.Tensor
        ``(1, L, 1, 1)`` bool on the base's device: True for the channels in `references` and for
        channels that the images do not have, which are known to be black.
    """
    given = torch.zeros(1, base.latent_channels, 1, 1, dtype=torch.bool, device=base.device)
    if base.coefficients is not None:
        size = base.coefficients
        given[:, len(channel_names) * size :] = True
        for name in references:
            k = place_of(name, channel_names)
            given[:, k * size : (k + 1) * size] = True
    elif base.groups is not None:
        size = base.latent_channels // len(base.groups)
        places = {place_of(name, channel_names) for name in references}
        for k, members in enumerate(base.groups.members):
            given[:, k * size : (k + 1) * size] = places.issuperset(members)
    return given
