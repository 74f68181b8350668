"""A run as one network that stands by itself: grey values in, translated grey values out.

Programs that run networks of others know tensors and a class to load weights into, and neither runs
nor base models. So everything that a translation needs is in the weights of this network (the UNet
with the adapter merged in, the autoencoder, the condition tokens, the noise schedule) or in the
arguments that it is made with. It computes what `Translator` computes, by the same code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from napari_phenldiff.diffusion.autoencoder import LappedAutoencoder
from napari_phenldiff.diffusion.base import BaseModel, PosteriorMean
from napari_phenldiff.diffusion.conditioning import ConditionTokens
from napari_phenldiff.diffusion.finite import check_weights
from napari_phenldiff.diffusion.grouped import GroupedAutoencoder
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.calibration import calibrated
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run

_AUTOENCODERS = {kind.__name__: kind for kind in (AutoencoderKL, LappedAutoencoder)}


class TranslationNetwork(nn.Module):
    """A whole translation, from source to target, as a network.

    All arguments are plain values as JSON and YAML have them; the weights are loaded into it with
    ``load_state_dict``.

    Parameters
    ----------
    unet, autoencoder : mapping
        Configurations of the networks; that of the autoencoder with ``_class_name``.
    tokens : sequence of int
        Shape of the condition tokens ``(conditions, tokens, width)``.
    conditions : sequence of str
        Names of the conditions.
    steps : int
        Time steps of the noise schedule.
    prediction_type : str
        What the UNet predicts.
    image_channels, factor : int
        As in `BaseModel`; further channels go through the network in groups.
    channels, reference_channels : sequence of str
        Channels of the images, in order, and those that are given and not translated.
    scaling : mapping
        `IntensityScaling` as a mapping.
    translation : mapping
        Fields of `TranslationConfig`.
    """

    def __init__(
        self,
        unet: Mapping[str, Any],
        autoencoder: Mapping[str, Any],
        tokens: Sequence[int],
        conditions: Sequence[str],
        steps: int,
        prediction_type: str,
        image_channels: int,
        factor: int,
        channels: Sequence[str],
        reference_channels: Sequence[str],
        scaling: Mapping[str, Any],
        translation: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.unet = UNet2DConditionModel.from_config(dict(unet))
        self.autoencoder = _AUTOENCODERS[autoencoder["_class_name"]].from_config(dict(autoencoder))
        self.tokens = ConditionTokens(conditions, torch.zeros(*tokens), torch.zeros(*tokens[1:]))
        self._values = (prediction_type, image_channels, factor)
        self._channels, self._references = tuple(channels), tuple(reference_channels)
        # once, since it also makes the network take all groups of channels
        self._parts = self._base()
        self.links = self._parts.links
        self.alphas_cumprod: torch.Tensor
        self.register_buffer("alphas_cumprod", torch.zeros(steps, dtype=torch.float64))
        self._scaling = IntensityScaling.from_dict(scaling)
        self._config = TranslationConfig.model_validate(dict(translation))
        self.requires_grad_(False).eval()

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Translate images.

        Parameters
        ----------
        images : torch.Tensor
            ``(N, C, Y, X)`` in the grey values of the images that were trained on.

        Returns
        -------
        translated, reconstructed : torch.Tensor
            ``(N, C, Y, X)`` float32 in grey values. They differ by the condition alone, so compare
            the translated image with the reconstructed one.
        """
        translator = self._translator(images.device)
        given = [
            Image(pixels, self._channels, None, str(number))
            for number, pixels in enumerate(images.detach().float().cpu().numpy())
        ]
        made = list(translator.translate(given, self._config))
        return tuple(  # type: ignore[return-value]
            torch.from_numpy(np.stack([getattr(one, name).data for one in made])).to(images.device)
            for name in ("translated", "reconstructed")
        )

    def _base(self) -> BaseModel:
        """Return the parts as a base for the channels, on the CPU and without a noise schedule."""
        prediction_type, image_channels, factor = self._values
        autoencoder = self.autoencoder
        if isinstance(autoencoder, AutoencoderKL):
            autoencoder = PosteriorMean(autoencoder)
        return BaseModel(
            reference="the package",
            unet=self.unet,
            autoencoder=autoencoder,
            encoder=None,
            alphas_cumprod=np.zeros(0),
            prediction_type=prediction_type,
            image_channels=image_channels,
            factor=factor,
            device=torch.device("cpu"),
        ).in_groups(self._channels, self._references)

    def _translator(self, device: torch.device) -> Translator:
        alphas = self.alphas_cumprod.cpu().numpy()
        return Translator(
            replace(self._parts, alphas_cumprod=alphas).to(device),
            self.tokens,
            self._scaling,
            self._channels,
            reference_channels=self._references,
            precision="float32",
        )


def packaged(run: Run, config: TranslationConfig) -> tuple[TranslationNetwork, dict[str, Any]]:
    """Make a network of a run that translates as the run does.

    Parameters
    ----------
    run : Run
        A fine-tuning with a result.
    config : TranslationConfig
        Source, target and settings; the calibration of the run completes them.

    Returns
    -------
    network : TranslationNetwork
        With the weights of the run, in single precision on the CPU.
    arguments : dict
        What it was made with, as plain values.

    Raises
    ------
    InputError
        If the run has no result, or its base is missing or has changed.
    """
    translator = Translator.from_run(run, device="cpu", precision="float32")
    base, tokens = translator.base, translator.tokens
    within: Any = base.autoencoder
    image_channels = base.image_channels
    if isinstance(within, GroupedAutoencoder):
        within, image_channels = within.within, within.most
    autoencoder = getattr(within, "network", within)
    arguments: dict[str, Any] = {
        "unet": _plain(base.unet.config),
        "autoencoder": {
            "_class_name": type(autoencoder).__name__,
            **_plain(autoencoder.config),
        },
        "tokens": list(tokens.values.shape),
        "conditions": list(tokens.conditions),
        "steps": len(base.alphas_cumprod),
        "prediction_type": base.prediction_type,
        "image_channels": image_channels,
        "factor": base.factor,
        "channels": list(run.channel_names),
        "reference_channels": list(translator.reference_channels),
        "scaling": _plain(run.scaling.to_dict()),
        "translation": calibrated(config, run.calibration).model_dump(mode="json"),
    }
    network = TranslationNetwork(**arguments)
    network.unet.load_state_dict(base.unet.state_dict())
    network.autoencoder.load_state_dict(autoencoder.state_dict())
    network.tokens.load_state_dict(tokens.state_dict())
    if network.links is not None and base.links is not None:
        network.links.load_state_dict(base.links.state_dict())
    network.alphas_cumprod = torch.from_numpy(base.alphas_cumprod)
    return network, arguments


def save_weights(network: TranslationNetwork, path: Path) -> None:
    """Write the weights as PyTorch does: a dictionary of tensors and nothing else."""
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    check_weights(state, "The network", "train the run again")
    # Given a name, torch writes it into the file: equal weights would not be equal bytes.
    with write_atomic(path) as aside, aside.open("wb") as file:
        torch.save(state, file)


def translate_arrays(
    network: TranslationNetwork, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the network makes of images ``(N, C, Y, X)``: translated, reconstructed."""
    translated, reconstructed = network(torch.from_numpy(images))
    return translated.numpy(), reconstructed.numpy()


def torch_version() -> str:
    """Return the version of PyTorch without what its build adds."""
    return str(torch.__version__).partition("+")[0]


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as JSON has it, without what says how it was written."""
    kept = {name: value for name, value in config.items() if not name.startswith("_")}
    found: dict[str, Any] = json.loads(json.dumps(kept))
    return found
