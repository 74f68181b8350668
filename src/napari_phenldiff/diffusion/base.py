"""Load base models: the bundled one, a local folder, or a model on a hub.

All of them are folders in diffusers' layout (``unet/``, ``vae/``, ``scheduler/``, and for bases
made with `pretrain` also ``conditioner/``). Their differences are read from their configurations
and never inferred from their names.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from napari_phenldiff.diffusion.autoencoder import LappedAutoencoder
from napari_phenldiff.diffusion.base_files import (
    check_configs,
    check_shapes,
    read_config,
    variant_in,
    weight_files,
)
from napari_phenldiff.diffusion.channel_groups import ChannelGroups
from napari_phenldiff.diffusion.conditioning import DescriptorEncoder
from napari_phenldiff.diffusion.device import autocast, use_fast_attention
from napari_phenldiff.diffusion.finite import check_weights
from napari_phenldiff.diffusion.grouped import GroupedAutoencoder, GroupLinks, pass_in_groups
from napari_phenldiff.diffusion.hub import cached, not_here
from napari_phenldiff.diffusion.hub import fetch as fetch_from_hub
from napari_phenldiff.diffusion.hub_reference import HubModel
from napari_phenldiff.diffusion.single_file import load_single_file
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import is_there
from napari_phenldiff.images.naming import count
from napari_phenldiff.runs.events import Event


class Autoencoder(Protocol):
    """Interface of the autoencoders that the method works with."""

    @property
    def latent_channels(self) -> int:
        """Number of channels of the latents."""

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """Return scaled latents ``(N, L, y, x)`` of images ``(N, C, Y, X)`` in [-1, 1]."""

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """Return the images of scaled latents."""

    def to(self, device: torch.device) -> Any:
        """Move the weights to a device."""


class PosteriorMean:
    """Adapt a diffusers `AutoencoderKL`; encoding takes the mean of the posterior."""

    def __init__(self, vae: AutoencoderKL) -> None:
        self.network = vae
        self._scale = float(vae.config.scaling_factor)
        self._shift = float(vae.config.get("shift_factor") or 0.0)
        self.latent_channels = int(vae.config.latent_channels)

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """See `Autoencoder`."""
        mean: torch.Tensor = self.network.encode(images).latent_dist.mean
        return (mean - self._shift) * self._scale

    def decode(self, latents: torch.Tensor) -> torch.Tensor:
        """See `Autoencoder`."""
        images: torch.Tensor = self.network.decode(latents / self._scale + self._shift).sample
        return images

    def to(self, device: torch.device) -> None:
        """See `Autoencoder`."""
        self.network.to(device)


@dataclass(frozen=True, slots=True, eq=False)
class BaseModel:
    """A pretrained latent diffusion model.

    Attributes
    ----------
    reference : str
        The name, folder or hub id that it was loaded by.
    unet : UNet2DConditionModel
        The network, with float32 weights.
    autoencoder : Autoencoder
        Converts between images and scaled latents.
    encoder : DescriptorEncoder or None
        Gives the initial condition tokens; None if the base has none.
    alphas_cumprod : numpy.ndarray
        ``alpha_bar`` of the training schedule.
    prediction_type : str
        ``epsilon`` or ``v_prediction``.
    image_channels : int
        Largest number of channels of an image.
    factor : int
        Pixels per latent along one axis.
    device : torch.device
        Device of the weights.
    links : GroupLinks or None
        What groups of channels see of each other, see `in_groups`; None where there is one.
    """

    reference: str
    unet: UNet2DConditionModel
    autoencoder: Autoencoder
    encoder: DescriptorEncoder | None
    alphas_cumprod: np.ndarray
    prediction_type: str
    image_channels: int
    factor: int
    device: torch.device
    links: GroupLinks | None = None

    @classmethod
    def load(cls, reference: str = "bundled", *, device: torch.device | str = "cpu") -> BaseModel:
        """Load a base model.

        Parameters
        ----------
        reference : str
            ``"bundled"``, a folder, a single safetensors file of Stable Diffusion 1 or 2, or a
            model on a hub: ``owner/name``, ``owner/name@revision`` or the address of its page.
            Only the last uses the network, unless the model was downloaded earlier and a commit is
            given as its revision.
        device : torch.device or str
            Device to load it on.

        Raises
        ------
        InputError
            If there is no such base, or it cannot be used.
        """
        place = find_base(reference)
        load = _from_file if place.is_file() else _from_folder
        return load(place, reference).to(device)

    def to(self, device: torch.device | str) -> BaseModel:
        """Move the weights to another device and return the base."""
        device = torch.device(device)
        for model in (self.unet, self.autoencoder, self.encoder, self.links):
            if model is not None:
                model.to(device)
        use_fast_attention(self.unet, device)
        return replace(self, device=device)

    def in_groups(self, names: Sequence[str], references: Sequence[str] = ()) -> BaseModel:
        """Return this base as one for these channels, which may be more than it takes at once.

        Where the autoencoder mixes channels, they go through it and the network in groups, and
        reference channels in groups of their own, see `grouped`. The network is changed in place:
        it takes latents and tokens of all groups.

        Parameters
        ----------
        names : sequence of str
            Channels of the images.
        references : sequence of str
            Those of them that are given.

        Returns
        -------
        BaseModel
            This one, if one group is enough or each channel has its own latents.

        Raises
        ------
        InputError
            If `names` lacks a reference.
        """
        if self.coefficients is not None:
            return self
        places = [place_of(name, names) for name in references]
        groups = ChannelGroups.of(len(names), places, self.image_channels)
        if len(groups) == 1:
            return self
        links = GroupLinks(len(groups), self.unet).to(self.device)
        pass_in_groups(self.unet, links)
        autoencoder = GroupedAutoencoder(self.autoencoder, groups, self.image_channels)
        return replace(self, autoencoder=autoencoder, image_channels=len(names), links=links)

    @property
    def groups(self) -> ChannelGroups | None:
        """Groups of channels, see `in_groups`; None where there is one."""
        found = self.autoencoder
        return found.groups if isinstance(found, GroupedAutoencoder) else None

    @property
    def tile(self) -> int:
        """Native side of an image, in pixels."""
        return int(self.unet.config.sample_size) * self.factor

    @property
    def multiple(self) -> int:
        """Number of pixels that the sides of images must be divisible by."""
        return int(self.factor * 2 ** (len(self.unet.config.block_out_channels) - 1))

    @property
    def latent_channels(self) -> int:
        """Number of channels of the latents."""
        return int(self.autoencoder.latent_channels)

    @property
    def coefficients(self) -> int | None:
        """Latent channels per image channel; None where the autoencoder mixes image channels."""
        if isinstance(self.autoencoder, LappedAutoencoder):
            return self.latent_channels // self.image_channels
        return None

    @property
    def token_width(self) -> int:
        """Width of a condition token."""
        return int(self.unet.config.cross_attention_dim)

    def encode(
        self, images: np.ndarray, *, batch_size: int = 16, dtype: torch.dtype = torch.float32
    ) -> torch.Tensor:
        """Encode images.

        Parameters
        ----------
        images : numpy.ndarray
            ``(N, C, Y, X)`` float32 in [-1, 1] with at most `image_channels` channels; missing ones
            are black. Sides divisible by `multiple`.
        batch_size : int
            Images that are encoded at once.
        dtype : torch.dtype
            Precision of a trained autoencoder; a fixed transform takes no time and is always
            computed in single precision.

        Returns
        -------
        torch.Tensor
            ``(N, L, Y / factor, X / factor)`` float32 on `device`.
        """
        check_channels(images.shape[1], self)
        missing = self.image_channels - images.shape[1]
        padded = np.pad(images, ((0, 0), (0, missing), (0, 0), (0, 0)), constant_values=-1)
        if isinstance(self.autoencoder, LappedAutoencoder):
            dtype = torch.float32
        with torch.no_grad(), autocast(self.device, dtype):
            parts = [
                self.autoencoder.encode(torch.from_numpy(part).to(self.device)).float()
                for part in np.array_split(padded, max(1, -(-len(padded) // batch_size)))
            ]
        return torch.cat(parts)

    def decode(self, latents: torch.Tensor, channels: int) -> np.ndarray:
        """Decode latents to images ``(N, channels, Y, X)`` float32 in [-1, 1]."""
        with torch.no_grad():
            images = self.autoencoder.decode(latents.float())
        clipped: np.ndarray = images[:, :channels].clamp(-1, 1).cpu().numpy()
        return clipped


def find_base(reference: str, *, fetch: bool = True) -> Path:
    """Return the folder or single file of a base model, downloading it if it is on a hub.

    Parameters
    ----------
    reference : str
        As for `BaseModel.load`.
    fetch : bool
        Whether the hub may be asked. If not, a model of the hub is taken from the cache, where an
        earlier download left it.

    Raises
    ------
    InputError
        If there is no such base.
    """
    work = fetch_base(reference, fetch=fetch)
    while True:
        try:
            next(work)
        except StopIteration as end:
            return Path(end.value)


def fetch_base(
    reference: str, *, fetch: bool = True, should_stop: Callable[[], bool] = lambda: False
) -> Generator[Event, None, Path]:
    """Find the folder of a base model like `find_base`, and tell how a download goes.

    Parameters
    ----------
    reference, fetch
        As for `find_base`.
    should_stop : callable
        Called during a download, which ends when it returns True.

    Yields
    ------
    Event
        Noted and Progress, if it is downloaded.

    Raises
    ------
    InputError
        If there is no such base, or the download was stopped.
    """
    if reference == "bundled":
        return Path(str(files("napari_phenldiff") / "diffusion" / "bundled"))
    place = Path(reference).expanduser()
    if is_there(place):
        return place
    model = HubModel.parse(reference)
    if model is None:
        raise InputError(
            f"There is no base model at {reference}; give bundled, a folder in diffusers' layout, "
            "or the id of a model on a hub (owner/name)."
        )
    if fetch:
        return (yield from fetch_from_hub(model, should_stop=should_stop))
    known = cached(model)
    if known is None:
        raise not_here(model)
    return known


def place_of(reference: str, names: Sequence[str]) -> int:
    """Return the place of a run's reference channel among its channels.

    Raises
    ------
    InputError
        If it is none of them.
    """
    if reference not in names:
        raise InputError(
            f"{reference[:80]!r} is a reference channel of this run, and no channel of it "
            f"({', '.join(names)}): its adapter is damaged; train the run again."
        )
    return list(names).index(reference)


def check_channels(channels: int, base: BaseModel) -> None:
    """Raise `InputError` if images have more channels than the base takes."""
    if channels > base.image_channels:
        raise InputError(
            f"The images have {count(channels, 'channel')} but the base model "
            f"{base.reference} takes at most {base.image_channels}; leave some channels out."
        )


def _from_file(path: Path, reference: str) -> BaseModel:
    parts = load_single_file(path, reference)
    return _assembled(
        reference,
        parts.unet,
        PosteriorMean(parts.autoencoder),
        None,
        parts.scheduler,
        channels=int(parts.autoencoder.config.in_channels),
        factor=2 ** (len(parts.autoencoder.config.block_out_channels) - 1),
    )


def _from_folder(folder: Path, reference: str) -> BaseModel:
    check_configs(folder, reference)
    vae_config = read_config(folder, "vae", reference)
    unet_config = read_config(folder, "unet", reference)
    schedule = read_config(folder, "scheduler", reference, "scheduler_config.json")
    autoencoder: Autoencoder
    if vae_config.get("_class_name") == "LappedAutoencoder":
        channels, factor = int(vae_config["image_channels"]), 8
        autoencoder = _load(LappedAutoencoder, folder / "vae", reference)
    else:
        channels = int(vae_config["in_channels"])
        factor = 2 ** (len(vae_config["block_out_channels"]) - 1)
        check_shapes(AutoencoderKL, vae_config, folder / "vae", reference)
        autoencoder = PosteriorMean(_load(AutoencoderKL, folder / "vae", reference))
    check_shapes(UNet2DConditionModel, unet_config, folder / "unet", reference)
    unet = _load(UNet2DConditionModel, folder / "unet", reference)
    encoder = None
    if (folder / "conditioner" / "config.json").exists():
        config = read_config(folder, "conditioner", reference)
        check_shapes(DescriptorEncoder, config, folder / "conditioner", reference)
        encoder = _load(DescriptorEncoder, folder / "conditioner", reference)
    try:
        scheduler = DDIMScheduler.from_config(schedule)
    except Exception as error:
        raise InputError(
            f"The noise schedule of the base model {reference} cannot be made "
            f"({type(error).__name__}: {error}); its configuration is damaged, so download or copy "
            "it again."
        ) from error
    check_weights(
        {"alphas_cumprod": scheduler.alphas_cumprod},
        f"The scheduler of the base model {reference}",
        "its configuration is damaged, so download or copy it again",
    )
    return _assembled(
        reference, unet, autoencoder, encoder, scheduler, channels=channels, factor=factor
    )


def _assembled(
    reference: str,
    unet: UNet2DConditionModel,
    autoencoder: Autoencoder,
    encoder: DescriptorEncoder | None,
    scheduler: DDIMScheduler,
    *,
    channels: int,
    factor: int,
) -> BaseModel:
    for model in (unet, encoder):
        if model is not None:
            model.requires_grad_(False).eval()
    return BaseModel(
        reference=reference,
        unet=unet,
        autoencoder=autoencoder,
        encoder=encoder,
        alphas_cumprod=scheduler.alphas_cumprod.double().numpy(),
        prediction_type=str(scheduler.config.prediction_type),
        image_channels=channels,
        factor=factor,
        device=torch.device("cpu"),
    )


def _load(kind: Any, folder: Path, reference: str) -> Any:
    weight_files(folder, reference)
    try:
        # weights saved in half precision are computed with in single precision
        model = kind.from_pretrained(
            str(folder),
            use_safetensors=True,
            local_files_only=True,
            torch_dtype=torch.float32,
            variant=variant_in(folder, reference),
        )
    except Exception as error:
        raise InputError(
            f"The {folder.name} of the base model {reference} cannot be loaded "
            f"({type(error).__name__}: {(str(error).splitlines() or ['no reason given'])[0]}); "
            "download or copy it again."
        ) from error
    check_weights(
        model.state_dict(),
        f"The {folder.name} of the base model {reference}",
        "it is damaged or its training diverged, so use another base or download it again",
    )
    return model
