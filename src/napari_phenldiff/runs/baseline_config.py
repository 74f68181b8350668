"""What the baselines are asked: PhenDiff and CycleGAN, in the papers' size and in one for a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.common_config import CommonTraining
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig

Preset = Literal["paper", "cpu"]

_Settings = Mapping[str, Any]


def _settings(**values: Any) -> _Settings:
    return MappingProxyType(values)


class BaselineConfig(CommonTraining):
    """What both baselines are asked.

    Parameters
    ----------
    preset : {"paper", "cpu"}
        Where the values come from that are not given: "paper" is the published size, "cpu" one that
        a processor core trains in ten to twenty minutes. Say which one in every table.
    learning_rate : float
        Peak learning rate.
    """

    presets: ClassVar[Mapping[Preset, _Settings]]

    preset: Preset = "cpu"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {**cls.presets.get(values.get("preset", "cpu"), {}), **values}

    @property
    def base(self) -> str:
        """What the weights start from: random numbers, and no base model."""
        return "random"


class PhenDiffConfig(BaselineConfig):
    """How PhenDiff is trained: diffusion of pixels, from scratch, told the condition as a class.

    Parameters
    ----------
    widths : tuple of int
        Channels of the network's levels; the last one has attention.
    layers_per_block : int
        Residual blocks per level.
    groups : int
        Groups of the group normalisation; divides all `widths`.
    train_timesteps : int
        Time steps of the noise schedule.
    warmup : int
        Steps over which the learning rate rises, before it falls along a cosine to 0.
    weight_decay : float
        Decoupled weight decay.
    max_grad_norm : float
        Gradients are clipped to this norm.
    inference_steps : int
        Steps of the inversion and of the generation.
    """

    presets: ClassVar[Mapping[Preset, _Settings]] = MappingProxyType(
        {
            "paper": _settings(
                widths=(128, 256, 512),
                layers_per_block=2,
                groups=32,
                steps=30_000,
                batch_size=96,
                ema=0.9999,
                warmup=500,
                checkpoint_every=1000,
            ),
            "cpu": _settings(
                widths=(32, 64, 128, 128),
                layers_per_block=1,
                groups=8,
                inference_steps=50,
                steps=1000,
                batch_size=4,
                ema=0.995,
                warmup=50,
                checkpoint_every=100,
            ),
        }
    )

    method: Literal["phendiff"] = "phendiff"
    widths: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2)]
    layers_per_block: Annotated[int, Field(ge=1)]
    groups: Annotated[int, Field(ge=1)]
    train_timesteps: Annotated[int, Field(ge=10)] = 3000
    warmup: Annotated[int, Field(ge=0)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-6
    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    inference_steps: Annotated[int, Field(ge=1)] = 100

    @model_validator(mode="after")
    def _fits(self) -> PhenDiffConfig:
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"the widths {self.widths} must be multiples of {self.groups} groups")
        if self.inference_steps > self.train_timesteps:
            raise ValueError("there cannot be more inference steps than time steps")
        return self


class CycleGANConfig(BaselineConfig):
    """How a CycleGAN is trained, between exactly two conditions.

    Parameters
    ----------
    generator_filters, discriminator_filters : int
        Channels of the first layer of the generators and of the discriminators.
    blocks : int
        Residual blocks of a generator.
    cycle_weight : float
        Weight of the cycle's L1 loss; the adversarial loss has 1.
    identity_weight : float
        Weight of the identity's L1 loss, as a part of `cycle_weight`.
    pool_size : int
        Translated tiles that a discriminator remembers.
    """

    presets: ClassVar[Mapping[Preset, _Settings]] = MappingProxyType(
        {
            # 200 passes over 100 images per condition
            "paper": _settings(
                generator_filters=64, discriminator_filters=64, steps=20_000, checkpoint_every=1000
            ),
            "cpu": _settings(
                generator_filters=16, discriminator_filters=16, steps=2000, checkpoint_every=250
            ),
        }
    )

    method: Literal["cyclegan"] = "cyclegan"
    generator_filters: Annotated[int, Field(ge=1)]
    discriminator_filters: Annotated[int, Field(ge=1)]
    blocks: Annotated[int, Field(ge=1)] = 6
    batch_size: Annotated[int, Field(ge=1)] = 1
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.0
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2e-4
    cycle_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 10.0
    identity_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    pool_size: Annotated[int, Field(ge=0)] = 50

    @model_validator(mode="after")
    def _two_conditions(self) -> CycleGANConfig:
        if len(self.conditions) != 2:
            raise ValueError(
                f"a CycleGAN translates between two conditions, got {len(self.conditions)}"
            )
        return self


AnyBaselineConfig = PhenDiffConfig | CycleGANConfig


def _method(values: Any) -> str:
    found = values.get("method") if isinstance(values, Mapping) else getattr(values, "method", None)
    return str(found or "phenldiff")  # runs made before there were others do not name it


AnyTrainingConfig = Annotated[
    Annotated[TrainingConfig, Tag("phenldiff")]
    | Annotated[PhenDiffConfig, Tag("phendiff")]
    | Annotated[CycleGANConfig, Tag("cyclegan")],
    Discriminator(_method),
]
"""What config.json of a run holds."""

CONFIGS: Mapping[str, type[TrainingConfig] | type[PhenDiffConfig] | type[CycleGANConfig]] = (
    MappingProxyType(
        {"phenldiff": TrainingConfig, "phendiff": PhenDiffConfig, "cyclegan": CycleGANConfig}
    )
)
"""Configurations by the name of their method."""

_FIXED = MappingProxyType(
    {
        "strength": 1.0,
        "guidance": 1.0,
        "guidance_from": "source",
        "bound_radius": 0,
        "anchor": 0.0,
        "depth": 1.0,
        "freedom": 0.0,
        "detail": 0.0,
        "fixed_point_iterations": 1,
    }
)
"""What a baseline does where the method has a choice."""


def settings_of(
    method: str, config: TranslationConfig, *, inference_steps: int | None = None
) -> TranslationConfig:
    """Tell what a method does of what a translation is asked for.

    Parameters
    ----------
    method : str
        Of the run; "phenldiff" does all that can be asked for.
    config : TranslationConfig
        What is asked for. What is left at its default is not asked for.
    inference_steps : int, optional
        Steps that a baseline takes where none are asked for; None if it takes no steps.

    Returns
    -------
    TranslationConfig
        Which this function gives back as it is.

    Raises
    ------
    InputError
        If something is asked for that a baseline does not have.
    """
    if method == "phenldiff":
        return config
    default = {name: field.default for name, field in TranslationConfig.model_fields.items()}
    fixed = {**_FIXED, **({"inference_steps": 1} if inference_steps is None else {})}
    for name, value in fixed.items():
        asked = getattr(config, name)
        if asked not in (value, default[name]):
            raise InputError(
                f"The method {method} has no {name.replace('_', ' ')} to choose: leave it at "
                f"{default[name]}, not {asked}."
            )
    if inference_steps is not None and config.inference_steps == default["inference_steps"]:
        fixed["inference_steps"] = inference_steps
    return config.model_copy(update=fixed)
