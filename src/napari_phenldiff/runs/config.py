"""Settings of a fine-tuning and of a translation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.destinations import is_regular_file
from napari_phenldiff.runs.common_config import CommonTraining, Name
from napari_phenldiff.settings import SETTINGS, Choice, Shown

Model = TypeVar("Model", bound=BaseModel)


LORA_SCALE = 8.0
"""Default scale (alpha / rank) of LoRA's updates of the bundled base, and of those that `pretrain`
made; with other bases it is 1. ``docs/notes/strategies.md`` has the reasons."""

PROMPT_TOKENS = 77
"""Tokens that the text encoders of Stable Diffusion make, of which the last ones only fill up."""

LEARNING_RATES = {"lora": 1e-3, "svdiff": 1e-2, "attention": 1e-4, "full": 3e-4}
"""Default peak learning rate of each strategy; ``docs/notes/strategies.md`` has the reasons."""


def _is_of_our_kind(base: str) -> bool:
    """Whether a base is the bundled one, or as small: one that `pretrain` or `merge` has made.

    What suits these does not suit Stable Diffusion, whose folders hold no conditioner.
    """
    return base == "bundled" or is_regular_file(Path(base, "conditioner", "config.json"))


STRATEGIES = {
    "auto": Choice("Automatic", "is LoRA"),
    "lora": Choice("LoRA", "adds small matrices to the weights"),
    "svdiff": Choice("SVDiff", "shifts the singular values of the weights, fewest numbers of all"),
    "attention": Choice("Attention", "changes the whole attention modules"),
    "full": Choice("Full", "changes all weights, and needs most memory"),
}
"""What each strategy is called, and what it does."""


class TrainingConfig(CommonTraining):
    """Settings of the fine-tuning of a base model on an experiment."""

    method: Annotated[Literal["phenldiff"], Shown(in_docks=False)] = "phenldiff"
    """Method that this is the configuration of."""

    steps: Annotated[int, Field(ge=1), Shown(step=50)] = 1000
    """Optimisation steps. With the bundled base, a thousand are enough to generate structures and
    three hundred are not (see the note on freedom); with more the model starts to memorise the
    images."""

    base: Annotated[str, Field(min_length=1), Shown("Base model")] = "bundled"
    """Base model: bundled, a folder in diffusers' layout, a safetensors file of Stable Diffusion 1
    or 2, or a model on a hub (``owner/name``, ``owner/name@revision`` or the address of its page),
    which is downloaded once."""

    from_adapter: Annotated[
        str | None, Field(min_length=1), Shown("From adapter", advanced=True, in_docks=False)
    ] = None
    """LoRA to start from, in place of one that has no effect yet: a safetensors file as diffusers,
    peft or kohya's scripts write it, a folder with one, or a run. Its layers and its rank are
    trained, if they are more than those of the settings. Only with the strategy lora."""

    strategy: Annotated[
        Literal["auto", "lora", "svdiff", "attention", "full"], Shown(choices=STRATEGIES)
    ] = "auto"
    """Which weights are trained. With large base models, LoRA and SVDiff generalise from 50 to 100
    images per condition; the strategies attention and full memorise so few."""

    rank: Annotated[int, Field(ge=1), Shown(advanced=True)] = 14
    """Rank of the matrices that LoRA adds. A higher rank can learn more, and memorise more. With
    14, a run on the bundled base takes a tenth of the space of one with full."""

    lora_alpha: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False),
        Shown(
            "LoRA alpha",
            advanced=True,
            default="8 x rank with the bundled base or one of pretrain, else rank",
            unset="automatic",
        ),
    ] = 14.0
    """Scale of LoRA's matrices, times their rank. A larger one learns faster, until the loss
    becomes unstable."""

    layers: Annotated[
        Literal["attention", "everywhere"],
        Shown(
            advanced=True,
            default="everywhere with SVDiff, or with the bundled base or one of pretrain; else "
            "attention",
            in_docks=False,
        ),
    ] = "attention"
    """Layers that LoRA and SVDiff act on: the attention projections, or the convolutions and
    feed-forward layers too. The strategies attention and full ignore it."""

    reference_channels: Annotated[
        Literal["auto"] | tuple[Name, ...], Shown("Reference", advanced=True)
    ] = "auto"
    """Channels in which the conditions do not differ, such as a nuclear stain, which are given to
    the network and do not change in a translation. ``auto`` finds the channels whose statistics do
    not separate the conditions, or only by brightness."""

    normalised_channels: Annotated[
        Literal["auto"] | tuple[Name, ...], Shown("Brightness", advanced=True)
    ] = "auto"
    """Channels that are brought to a common brightness in all conditions before the training,
    because the difference is a batch effect such as staining. ``auto`` finds the channels that
    separate the conditions by brightness alone, while another channel does by structure. With none,
    brightness is part of the phenotype."""

    learning_rate: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False),
        Shown(step=1e-4, advanced=True, default="that of the strategy", unset="automatic"),
    ] = 1e-3
    """Peak learning rate of the trained weights. If the loss is unstable, use a lower one and more
    steps."""

    token_learning_rate: Annotated[
        float, Field(gt=0, allow_inf_nan=False), Shown(advanced=True, in_docks=False)
    ] = 3e-3
    """Peak learning rate of the condition tokens."""

    tokens_per_condition: Annotated[
        int, Field(ge=1), Shown(advanced=True, default="4, or 77 with prompts", in_docks=False)
    ] = 4
    """Number of learned tokens that represent one condition."""

    prompts: Annotated[
        dict[Name, Annotated[str, Field(min_length=1)]] | None,
        Shown(option="--prompt", advanced=True, in_docks=False),
    ] = None
    """Texts that the tokens of conditions start from, by the names of the conditions, as the text
    encoder of the base reads them. A condition without a text starts from the statistics of its
    images where the base was pre-trained with them, else from small random numbers. A text may have
    as many tokens as a condition has, with one for its beginning and one for its end; 77 is as many
    as Stable Diffusion knows."""

    condition_dropout: Annotated[float, Field(ge=0, lt=1), Shown(advanced=True, in_docks=False)] = (
        0.1
    )
    """Probability, per sample, that the condition is replaced by the null tokens."""

    warmup: Annotated[int, Field(ge=0), Shown(unit="steps", advanced=True, in_docks=False)] = 20
    """Steps over which the learning rates rise to their peak."""

    weight_decay: Annotated[
        float, Field(ge=0, allow_inf_nan=False), Shown(advanced=True, in_docks=False)
    ] = 1e-2
    """Decoupled weight decay of the trained weights."""

    max_grad_norm: Annotated[
        float, Field(gt=0, allow_inf_nan=False), Shown(advanced=True, in_docks=False)
    ] = 1.0
    """Gradients are clipped to this norm."""

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_strategy(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        strategy = str(values.get("strategy", "auto"))
        if strategy == "auto":
            strategy = "lora"
            values = {**values, "strategy": strategy}
        own = _is_of_our_kind(str(values.get("base", "bundled")))
        everywhere = strategy == "svdiff" or (strategy == "lora" and own)
        rank = values.get("rank", cls.model_fields["rank"].default)
        defaults: dict[str, Any] = {
            "learning_rate": LEARNING_RATES.get(strategy, LEARNING_RATES["lora"]),
            "layers": "everywhere" if everywhere else "attention",
        }
        if isinstance(rank, int):  # what is none is refused by its field
            defaults["lora_alpha"] = rank * (LORA_SCALE if own else 1.0)
        if values.get("prompts"):
            defaults["tokens_per_condition"] = PROMPT_TOKENS
        missing = {key: value for key, value in defaults.items() if values.get(key) is None}
        return {**values, **missing}

    @model_validator(mode="after")
    def _prompts_are_of_conditions(self) -> TrainingConfig:
        others = [name for name in self.prompts or {} if name not in self.conditions]
        if others:
            raise ValueError(
                f"a prompt is given for {', '.join(others)}, which is none of the conditions "
                f"{', '.join(self.conditions)}"
            )
        return self

    @model_validator(mode="after")
    def _only_lora_starts(self) -> TrainingConfig:
        if self.from_adapter is not None and self.strategy != "lora":
            raise ValueError(
                f"an adapter to start from is a LoRA, and the strategy is {self.strategy}; leave "
                "one of them out"
            )
        return self


class TranslationConfig(BaseModel):
    """Settings of the translation of images between two conditions."""

    model_config = SETTINGS

    source: Annotated[Name, Shown("From")]
    """Condition of the images."""

    target: Annotated[Name, Shown("To")]
    """Condition to translate to; the source again as a control, in which nothing should change."""

    strength: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """How far to go from the source (0) to the target (1); may exceed 1."""

    guidance: Annotated[
        float,
        Field(ge=0, allow_inf_nan=False),
        Shown(step=0.25, advanced=True, before_default="what was chosen for the run"),
    ] = 1.75
    """Guidance scale: how strongly the prediction is pushed towards the target; 1 is no guidance.
    More increases the phenotype, and eventually also changes what should stay."""

    guidance_from: Annotated[Literal["null", "source"], Shown(advanced=True, in_docks=False)] = (
        "source"
    )
    """What guidance pushes away from: the null tokens, or the source condition."""

    bound_radius: Annotated[int, Field(ge=0), Shown(unit="px", advanced=True, in_docks=False)] = 4
    """Guidance may make no pixel brighter or darker than the unguided prediction of the target
    within this radius; 0 for no bounds. Only with an autoencoder that keeps image channels apart,
    such as the bundled one."""

    anchor: Annotated[float, Field(ge=0, le=1), Shown(step=0.1, advanced=True)] = 0.0
    """How firmly the generation is held to the path of the inversion; 0 is not at all. More
    preserves more of the channels that are not references, but leaves ghosts of structures that
    should disappear."""

    depth: Annotated[float, Field(gt=0, le=1), Shown(step=0.05, advanced=True)] = 0.8
    """Fraction of the noise schedule that is inverted; 1 is all of it. Less preserves more of the
    image."""

    freedom: Annotated[
        float,
        Field(ge=0, le=1),
        Shown(step=0.1, advanced=True, before_default="what was chosen for the run"),
    ] = 0.0
    """How much of the image is generated from seeded noise instead of the image's own code, from
    the finest structures (above 0) to everything (1), so that structures can change into others.
    The reconstruction is generated from the same noise."""

    detail: Annotated[float, Field(ge=0, le=1), Shown(step=0.1, advanced=True)] = 1.0
    """Fraction of the detail that is restored: the finest texture and the camera noise, which the
    autoencoder cannot represent. Less is restored where the image becomes dimmer; 0 shows the
    output of the model. Only with an autoencoder that keeps image channels apart, such as the
    bundled one."""

    inference_steps: Annotated[int, Field(ge=1, le=1000), Shown("Steps", advanced=True)] = 25
    """Steps into which the whole noise schedule is divided; fewer are faster and less exact."""

    fixed_point_iterations: Annotated[int, Field(ge=1), Shown(advanced=True, in_docks=False)] = 6
    """Most evaluations of the network per step of the inversion. The first steps and unusual images
    take several, most others one; 1 is plain DDIM inversion."""

    inversion_tolerance: Annotated[
        float, Field(ge=0, allow_inf_nan=False), Shown(advanced=True, in_docks=False)
    ] = 0.002
    """Relative change of an image's latents below which a step of the inversion is not iterated
    further; 0 makes all evaluations, which is slower and more exact."""

    seed: Annotated[int, Field(ge=0, lt=2**32), Shown(advanced=True)] = 0
    """Seed of the noise that images are generated from, and of everything else that is random."""

    batch_size: Annotated[int, Field(ge=1), Shown(unit="tiles", advanced=True, in_docks=False)] = 8
    """Tiles that go through the network at once; fewer need less memory."""

    @model_validator(mode="after")
    def _anchored_or_free(self) -> TranslationConfig:
        if self.anchor and self.freedom:
            raise ValueError("an anchor holds on to what freedom replaces; set one of them to 0")
        return self


def validated(model: type[Model], values: Mapping[str, Any], *, where: str) -> Model:
    """Validate `values` as a `model`, or raise an error with a message in one sentence.

    Parameters
    ----------
    model : type
        A pydantic model.
    values : mapping
        Its fields, as read from a file or the command line.
    where : str
        Source of the values, a file or a command, with which the message starts.

    Raises
    ------
    InputError
        If the values are not valid.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {in_one_sentence(error)}.") from error


def in_one_sentence(error: ValidationError) -> str:
    """Format all errors as one sentence, for example ``steps: ... (got -3)``."""
    parts = []
    for problem in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        text = _shortened(text[:1].lower() + text[1:])
        got = (
            ""
            if problem["type"] in ("missing", "value_error")
            else f" (got {_shortened(repr(problem['input']))})"
        )
        parts.append(f"{field}: {text}{got}" if field else f"{text}{got}")
    more = [f"and {len(parts) - _MOST_ERRORS} more"] if len(parts) > _MOST_ERRORS else []
    return "; ".join([*parts[:_MOST_ERRORS], *more])


_MOST_ERRORS, _MOST_TEXT = 8, 160
"""Of errors in a sentence, and characters of one: a file may hold anything."""


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} …"
