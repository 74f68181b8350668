"""Settings of the baselines PhenDiff and CycleGAN, in the published size and one for a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.common_config import CommonTraining
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.settings import Shown

Preset = Literal["paper", "cpu"]

_Settings = Mapping[str, Any]


def _settings(**values: Any) -> _Settings:
    return MappingProxyType(values)


class BaselineConfig(CommonTraining):
    """Settings that both baselines share."""

    presets: ClassVar[Mapping[Preset, _Settings]]

    preset: Annotated[Preset, Shown(default="what suits the device")] = "cpu"
    """Size of a baseline, which sets the values that are not given: paper is the published size,
    cpu one that a single CPU core trains in ten to twenty minutes."""

    learning_rate: Annotated[
        float, Field(gt=0, allow_inf_nan=False), Shown(step=1e-4, advanced=True)
    ] = 1e-4
    """Peak learning rate."""

    @model_validator(mode="before")
    @classmethod
    def _fill_from_preset(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        return {**cls.presets.get(values.get("preset", "cpu"), {}), **values}

    @property
    def base(self) -> str:
        """Initial weights: a baseline has no base model."""
        return "random"


class PhenDiffConfig(BaselineConfig):
    """Settings of PhenDiff: a class-conditional diffusion model of pixels, trained from scratch."""

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
    """Which method this is the configuration of."""

    widths: Annotated[
        tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2), Shown(advanced=True)
    ]
    """Channels of the network's levels; the last level has attention."""

    layers_per_block: Annotated[int, Field(ge=1), Shown(advanced=True)]
    """Residual blocks per level."""

    groups: Annotated[int, Field(ge=1), Shown(advanced=True)]
    """Groups of the group normalisation; divides all widths."""

    train_timesteps: Annotated[int, Field(ge=10), Shown(advanced=True)] = 3000
    """Time steps of the noise schedule."""

    warmup: Annotated[int, Field(ge=0), Shown(unit="steps", advanced=True)]
    """Steps over which the learning rate rises, before it falls along a cosine to 0."""

    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False), Shown(advanced=True)] = 1e-6
    """Decoupled weight decay."""

    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False), Shown(advanced=True)] = 1.0
    """Gradients are clipped to this norm."""

    inference_steps: Annotated[int, Field(ge=1), Shown(advanced=True)] = 100
    """Steps of the inversion and of the generation."""

    @model_validator(mode="after")
    def _fits(self) -> PhenDiffConfig:
        if any(width % self.groups for width in self.widths):
            raise ValueError(f"the widths {self.widths} must be multiples of {self.groups} groups")
        if self.inference_steps > self.train_timesteps:
            raise ValueError("there cannot be more inference steps than time steps")
        return self


class CycleGANConfig(BaselineConfig):
    """Settings of a CycleGAN between exactly two conditions."""

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
    """Which method this is the configuration of."""

    generator_filters: Annotated[int, Field(ge=1), Shown(advanced=True)]
    """Channels of the first layer of the generators."""

    discriminator_filters: Annotated[int, Field(ge=1), Shown(advanced=True)]
    """Channels of the first layer of the discriminators."""

    blocks: Annotated[int, Field(ge=1), Shown(advanced=True)] = 6
    """Residual blocks of a generator."""

    batch_size: Annotated[int, Field(ge=1), Shown(unit="tiles", advanced=True)] = 1
    """Tiles per step. Less needs less memory."""

    ema: Annotated[float, Field(ge=0, lt=1), Shown(advanced=True)] = 0.0
    """Decay of the exponential moving average of the weights that is saved; 0 for no average."""

    learning_rate: Annotated[
        float, Field(gt=0, allow_inf_nan=False), Shown(step=1e-4, advanced=True)
    ] = 2e-4
    """Peak learning rate."""

    cycle_weight: Annotated[float, Field(ge=0, allow_inf_nan=False), Shown(advanced=True)] = 10.0
    """Weight of the cycle consistency (L1) loss; the adversarial loss has weight 1."""

    identity_weight: Annotated[float, Field(ge=0, allow_inf_nan=False), Shown(advanced=True)] = 0.5
    """Weight of the identity (L1) loss, relative to `cycle_weight`."""

    pool_size: Annotated[int, Field(ge=0), Shown(advanced=True)] = 50
    """Generated tiles in the image pool of a discriminator."""

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
    return str(found or "phenldiff")  # runs made before there were baselines have no method


AnyTrainingConfig = Annotated[
    Annotated[TrainingConfig, Tag("phenldiff")]
    | Annotated[PhenDiffConfig, Tag("phendiff")]
    | Annotated[CycleGANConfig, Tag("cyclegan")],
    Discriminator(_method),
]
"""Any configuration in the config.json of a run."""

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
        "inversion_tolerance": 0.0,
    }
)
"""Values of a baseline for settings that only the method itself has."""


def settings_of(
    method: str, config: TranslationConfig, *, inference_steps: int | None = None
) -> TranslationConfig:
    """Return the settings that a method actually applies in a translation.

    Parameters
    ----------
    method : str
        Method of the run; "phenldiff" supports all settings.
    config : TranslationConfig
        Requested settings. Values equal to the default count as not requested.
    inference_steps : int, optional
        Default number of steps of a baseline; None if it takes no steps.

    Returns
    -------
    TranslationConfig
        The applied settings; passing them to this function again does not change them.

    Raises
    ------
    InputError
        If a setting is requested that a baseline does not have.
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
