"""The training loop that diffusers documents for LoRA, rebuilt to compare with.

Its steps are those of ``examples/text_to_image/train_text_to_image_lora.py`` of diffusers 0.42 (and
of the documentation page *LoRA*, *text-to-image*), in our own code:

1. network, autoencoder and text encoder are frozen and brought to the precision of the training;
   the LoRA matrices of the attention's projections are added by peft and stay in single precision;
2. in every step the images are encoded by the autoencoder (a sample of the posterior) and the
   prompts by the text encoder;
3. noise and time steps are drawn, the scheduler adds the noise;
4. the network predicts in mixed precision, the loss is the mean squared error in single precision,
   and its value is read;
5. gradients are clipped to a norm of 1; AdamW (1e-4, weight decay 1e-2) takes the step, and the
   schedule of the learning rate goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import cast_training_params
from peft import LoraConfig
from transformers import CLIPTextModel

from napari_phenldiff.diffusion.base import BaseModel, PosteriorMean

Encode = Callable[[torch.Tensor], torch.Tensor]


class PlainLoop:
    """The loop over a base model; `step` takes images and returns their loss.

    Parameters
    ----------
    folder : str
        The base, as `BaseModel.load` takes it.
    layers : sequence of str
        Endings of the names of the layers with LoRA.
    rank, alpha : float
        Of LoRA.
    dtype : torch.dtype
        Precision of what does not learn, and of the passes.
    device : torch.device
        Where it trains.
    """

    def __init__(
        self,
        folder: str,
        *,
        layers: Sequence[str],
        rank: int,
        alpha: float,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        base = BaseModel.load(folder, device="cpu")
        self.dtype, self.device = dtype, device
        self.unet: UNet2DConditionModel = base.unet
        # `BaseModel` chooses attention for a CPU; diffusers' own choice is the fused one
        self.unet.set_default_attn_processor()
        self.unet.to(device, dtype)
        self.encode, self.text = _encoders(base, folder, dtype, device)
        self.unet.add_adapter(
            LoraConfig(
                r=rank,
                lora_alpha=alpha,
                init_lora_weights="gaussian",
                target_modules=list(layers),
            )
        )
        cast_training_params(self.unet, dtype=torch.float32)
        self.learned = [p for p in self.unet.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.learned, lr=1e-4, weight_decay=1e-2)
        self.rates = get_scheduler("constant", optimizer=self.optimizer)
        self.scheduler = DDPMScheduler(
            num_train_timesteps=len(base.alphas_cumprod),
            trained_betas=1 - base.alphas_cumprod / [1.0, *base.alphas_cumprod[:-1]],
            prediction_type=base.prediction_type,
        )

    def step(self, images: torch.Tensor) -> float:
        """Train on images ``(N, C, Y, X)`` float32 in [-1, 1]."""
        with torch.no_grad():
            latents = self.encode(images.to(self.device, self.dtype))
        noise = torch.randn_like(latents)
        t = torch.randint(0, len(self.scheduler.betas), (len(latents),), device=self.device)
        noisy = self.scheduler.add_noise(latents, noise, t)
        with torch.no_grad():
            states = self.text(len(latents))
        if self.scheduler.config.prediction_type == "epsilon":
            target = noise
        else:
            target = self.scheduler.get_velocity(latents, noise, t)
        mixed = (
            nullcontext()
            if self.dtype is torch.float32
            else torch.autocast(self.device.type, self.dtype)
        )
        with mixed:
            predicted = self.unet(noisy, t, encoder_hidden_states=states, return_dict=False)[0]
        loss = torch.nn.functional.mse_loss(predicted.float(), target.float(), reduction="mean")
        value = loss.item()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learned, 1.0)
        self.optimizer.step()
        self.rates.step()
        self.optimizer.zero_grad()
        return value


def _encoders(
    base: BaseModel, folder: str, dtype: torch.dtype, device: torch.device
) -> tuple[Encode, Callable[[int], torch.Tensor]]:
    """Return what encodes images and prompts, as the base has it."""
    if not isinstance(base.autoencoder, PosteriorMean):
        # The bundled base has a fixed transform and no text encoder: its part costs nothing.
        transform = base.autoencoder.to(device)
        tokens = torch.zeros(4, base.token_width, device=device, dtype=dtype)
        return (
            lambda images: transform.encode(images.float()).to(dtype),
            lambda n: tokens.expand(n, -1, -1),
        )
    vae = base.autoencoder.network.to(device, dtype)
    scale = float(vae.config.scaling_factor)
    encoder = CLIPTextModel.from_pretrained(Path(folder) / "text_encoder", dtype=dtype)
    encoder.requires_grad_(False)
    encoder.to(device).eval()
    prompt = torch.full((1, 77), 49407, device=device)

    def encode(images: torch.Tensor) -> torch.Tensor:
        latents: torch.Tensor = vae.encode(images).latent_dist.sample()
        return latents * scale

    return encode, lambda n: encoder(prompt.expand(n, -1), return_dict=False)[0]
