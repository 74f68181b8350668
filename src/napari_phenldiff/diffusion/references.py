"""Reference channels: channels in which the conditions do not differ.

Most stains of an experiment are there to show where the cells are. If nothing in a channel tells
the conditions apart, a translation has no business with it: the channel is *given* to the network
as it is, in training and in translation, and the network learns how the other channels look
beside it. So nuclei stay where they are, and what is learned is the phenotype and not which nuclei
happened to be imaged.

Which channels these are is estimated from the training images alone: from the statistics of one
channel at a time (`conditioning.describe`), how well can the condition of an image be guessed that
was not looked at? If it can be guessed from no channel, nor from all of them together, there is
nothing to be shown, and nothing is: all channels are references, unless somebody says otherwise.

A stain is also brighter in one well than in another. Where a channel separates the conditions by
its brightness alone, while another one does by its structure, that is likely a batch effect: the
channel is *normalised*, brought to a common brightness, before anything is learned, and counts by
its structure. Where no channel separates by structure, brightness is the phenotype.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.separation import Separation
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import named_channels


def choose_normalised(
    wanted: str | Sequence[str], channel_names: Sequence[str], found: Separation
) -> tuple[str, ...]:
    """Names of the channels that are brought to a common brightness.

    Parameters
    ----------
    wanted : str or sequence of str
        ``"auto"``, or the names that somebody chose; none is a choice, too.
    channel_names : sequence of str
        Of the images.
    found : Separation
        Of the conditions.

    Raises
    ------
    InputError
        If a name is no channel's.
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
    """Names of the reference channels.

    Parameters
    ----------
    wanted : str or sequence of str
        ``"auto"``, or the names that somebody chose; none is a choice, too.
    channel_names : sequence of str
        Of the images.
    found : Separation
        Of the conditions.
    base : BaseModel
        What will be fine-tuned.

    Returns
    -------
    tuple of str
        All of the channels if nothing separates the conditions. If only all together do, the one
        that separates best is left to be translated.

    Raises
    ------
    InputError
        If a name is no channel's, if all channels are named, or the base mixes channels.
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
    chosen = named_channels((wanted,) if isinstance(wanted, str) else wanted, channel_names)
    if chosen and set(chosen) == set(channel_names):
        raise InputError(
            "All channels are named as references, so none is left to translate; leave one out."
        )
    if chosen and base.coefficients is None:
        raise InputError(
            f"The autoencoder of the base model {base.reference} mixes channels, so none can be a "
            "reference; use the bundled base, or no reference channels."
        )
    return chosen


def in_words(
    channel_names: Sequence[str],
    found: Separation,
    references: Sequence[str],
    normalised: Sequence[str] = (),
) -> str:
    """Tell a user what each channel says about the conditions, and what follows."""
    if not found.channels:
        return "This base model mixes channels: none can be a reference"
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
    """Mark the latent channels that are not noised.

    Returns
    -------
    torch.Tensor
        ``(1, L, 1, 1)`` bool on the base's device: True for the channels in `references` and for
        those that the images do not have (they are black, and known to be).
    """
    given = torch.zeros(1, base.latent_channels, 1, 1, dtype=torch.bool, device=base.device)
    if base.coefficients is not None:
        size = base.coefficients
        given[:, len(channel_names) * size :] = True
        for name in references:
            k = list(channel_names).index(name)
            given[:, k * size : (k + 1) * size] = True
    return given
