"""Invert and generate latents under the tokens of conditions (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch

from napari_phenldiff.diffusion.base import BaseModel, check_channels
from napari_phenldiff.diffusion.bounds import IntensityBounds
from napari_phenldiff.diffusion.conditioning import ConditionTokens
from napari_phenldiff.diffusion.device import autocast, choose_precision
from napari_phenldiff.diffusion.fields import OnPart, no_part
from napari_phenldiff.diffusion.freedom import mix_in_noise, noise_shares
from napari_phenldiff.diffusion.references import given_latents
from napari_phenldiff.diffusion.schedule import Inversion, Predict, Schedule
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TranslationConfig

_USUAL = 1
"""Passes that a step of an inversion usually takes, for the progress."""


class Cancelled(Exception):
    """Raised by a translation when `Translator.should_stop` returns True."""


class LatentTranslator:
    """Inverts and generates latents with a fine-tuned model; `Translator` works on images.

    Parameters
    ----------
    base : BaseModel
        The base, with the adapter applied to its UNet.
    tokens : ConditionTokens
        Learned condition tokens.
    scaling : IntensityScaling
        Intensity scaling of the training.
    channel_names : tuple of str
        Channels of the images, in order.
    reference_channels : sequence of str
        Channels that are given to the network and not translated.
    precision : str
        Precision of the network's passes: ``auto``, ``float32`` or ``bfloat16``. Latents stay
        float32.

    Attributes
    ----------
    should_stop : callable
        Called before every pass of the network, of which a field takes hundreds; when it returns
        True, `Cancelled` is raised.
    on_pass : callable
        Called after every pass of a generation with the number of tokens that it was made under,
        which is what a pass costs, and after every step of an inversion.
    on_part : callable
        Called after every pass of the network while images are translated, see `OnPart`.
    """

    def __init__(
        self,
        base: BaseModel,
        tokens: ConditionTokens,
        scaling: IntensityScaling,
        channel_names: tuple[str, ...],
        *,
        reference_channels: Sequence[str] = (),
        precision: str = "auto",
    ) -> None:
        check_channels(len(channel_names), base)
        self.base = base
        self.tokens = tokens.to(base.device)
        self.scaling = scaling
        self.channel_names = channel_names
        self.reference_channels = tuple(reference_channels)
        self._given = given_latents(base, channel_names, reference_channels)
        self._dtype = choose_precision(precision, base.device)
        self.should_stop: Callable[[], bool] = lambda: False
        self.on_pass: Callable[[int], None] = lambda cost: None
        self.on_part: OnPart = no_part

    def passes(self, config: TranslationConfig) -> int:
        """Return what the passes for a batch cost: its inversion and both generations.

        Steps of the inversion take one pass or several, and count as many as they usually take.
        """
        per_step = {"source": 2, "null": 3}[config.guidance_from]
        if self.only_reconstructs(config):
            per_step = 0
        steps = len(self.schedule(config).timesteps)
        return steps * (_USUAL + per_step + 1)

    @staticmethod
    def only_reconstructs(config: TranslationConfig) -> bool:
        """Return whether a translation is the reconstruction, with nothing to guide towards.

        So it is at strength 0, and from a condition to itself: guidance goes along the difference
        of the outputs under both conditions' tokens, which is 0 under equal ones. Guided from the
        null tokens, it is not.
        """
        to_itself = config.source == config.target and config.guidance_from == "source"
        return to_itself or not config.strength

    def invert(self, latents: torch.Tensor, config: TranslationConfig) -> Inversion:
        """Invert latents ``(N, C, Y, X)`` under the source condition."""
        tokens = self.tokens.mixed(config.source, config.target, 0.0)

        def predict(x: torch.Tensor, t: int, numbers: torch.Tensor) -> torch.Tensor:
            return self.evaluate(x, t, tokens, clean=latents[numbers], told=False)[0]

        return self.schedule(config).invert(
            latents,
            predict,
            iterations=config.fixed_point_iterations,
            tolerance=config.inversion_tolerance,
            on_step=lambda: self.on_pass(_USUAL),
        )

    def apply_freedom(
        self, inversion: Inversion, noise: torch.Tensor, config: TranslationConfig
    ) -> Inversion:
        """Replace a part of the code by `noise` of the same shape, as `config.freedom` says."""
        if not config.freedom:
            return inversion
        shares = noise_shares(noise.shape[1], self.base.coefficients, config.freedom)
        code = mix_in_noise(inversion.code, noise, shares)
        return replace(inversion, path=(*inversion.path[:-1], code))

    def generate(
        self, inversion: Inversion, config: TranslationConfig, *, strength: float | None = None
    ) -> torch.Tensor:
        """Generate latents at `strength`, from source (0) to target (1)."""
        strength = config.strength if strength is None else strength
        schedule = self.schedule(config)
        predict = self._predict(schedule, inversion, config, strength=strength)
        generated = schedule.generate(inversion.code, predict)
        return torch.where(self._given, inversion.path[0], generated)

    def given_channels(self, coefficients: int) -> list[bool]:
        """Return for each image channel of the base whether it is given and not translated."""
        return self._given.flatten()[::coefficients].tolist()

    def schedule(self, config: TranslationConfig) -> Schedule:
        """Return the schedule of an inversion or generation."""
        return Schedule.from_alphas(
            self.base.alphas_cumprod,
            self.base.prediction_type,
            steps=config.inference_steps,
            depth=config.depth,
        )

    def evaluate(
        self,
        x: torch.Tensor,
        t: int,
        *tokens: torch.Tensor,
        clean: torch.Tensor,
        given: torch.Tensor | None = None,
        told: bool = True,
    ) -> tuple[torch.Tensor, ...]:
        """Evaluate the network on the same noisy latents under several tokens.

        Parameters
        ----------
        x : torch.Tensor
            ``(N, L, Y, X)``.
        t : int
            Time step.
        *tokens : torch.Tensor
            ``(tokens, width)`` each.
        clean : torch.Tensor
            Clean latents, which replace `x` where latents are given; broadcastable to `x`.
        given : torch.Tensor, optional
            Mask of the given latents, see `given_latents`; by default the reference channels and
            the channels that the images do not have.
        told : bool
            Whether `on_pass` is told of it.

        Returns
        -------
        tuple of torch.Tensor
            The network's output under each of the tokens, float32, 0 where latents are given.
        """
        if self.should_stop():
            raise Cancelled
        given = self._given if given is None else given
        seen = torch.where(given, clean, x)
        stacked = torch.cat([token.expand(len(x), -1, -1) for token in tokens])
        # groups of channels that are given as a whole need no pass
        options = {} if self.base.groups is None else {"given": given}
        with torch.no_grad(), autocast(self.base.device, self._dtype):
            output: torch.Tensor = self.base.unet(
                seen.repeat(len(tokens), 1, 1, 1), t, encoder_hidden_states=stacked, **options
            ).sample
        if told:
            self.on_pass(len(tokens))
        return output.float().masked_fill(given, 0).chunk(len(tokens))

    def _predict(
        self,
        schedule: Schedule,
        inversion: Inversion,
        config: TranslationConfig,
        *,
        strength: float,
    ) -> Predict:
        """Return the guided, bounded and anchored prediction for a generation.

        With `config.anchor`, the prediction under the source is mixed with the one that leads back
        along the path of the inversion. Cells then change by the difference that the target makes,
        and not by the drift that follows from earlier changes. `IntensityBounds` keeps guided
        pixels within the range that the network expects of the target nearby.
        """
        source = self.tokens.mixed(config.source, config.target, 0.0)
        wanted = self.tokens.mixed(config.source, config.target, strength)

        clean = inversion.path[0]
        bounds = None
        # If the autoencoder mixes image channels, it is also too slow to decode at every step.
        if config.bound_radius and self.base.coefficients is not None:
            bounds = IntensityBounds(self.base, self._given, config.bound_radius)

        def predict(x: torch.Tensor, t: int) -> torch.Tensor:
            if not strength or self.only_reconstructs(config):
                (stay,) = self.evaluate(x, t, source, clean=clean)
                towards, change = stay, torch.zeros_like(stay)
            elif config.guidance_from == "source":
                stay, towards = self.evaluate(x, t, source, wanted, clean=clean)
                change = config.guidance * (towards - stay)
            else:
                stay, away, towards = self.evaluate(
                    x, t, source, self.tokens.null, wanted, clean=clean
                )
                change = away + config.guidance * (towards - away) - stay
            if bounds is not None and towards is not stay and config.guidance > 1:
                guided = schedule.clean_from(x, stay + change, t)
                bounded = bounds(guided, schedule.clean_from(x, towards, t))
                change = schedule.output_for(x, bounded, t) - stay
            if config.anchor:
                stay = torch.lerp(stay, schedule.output_along(inversion.path, t), config.anchor)
            return stay + change

        return predict
