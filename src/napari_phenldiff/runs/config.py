"""What a fine-tuning and a translation are asked to do, validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, model_validator

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.common_config import CommonTraining, Name
from napari_phenldiff.settings import SETTINGS, Shown

Model = TypeVar("Model", bound=BaseModel)


LORA_SCALE = 8.0
"""Scale (alpha over rank) of LoRA's updates of the bundled base where none is given, 1 with others;
``docs/notes/strategies.md`` says why."""

LEARNING_RATES = {"lora": 1e-3, "svdiff": 1e-2, "attention": 1e-4, "full": 3e-4}
"""Peak learning rate by strategy, where none is given; ``docs/notes/strategies.md`` says why."""


class TrainingConfig(CommonTraining):
    """Everything that decides how a base model is fine-tuned on an experiment."""

    method: Literal["phenldiff"] = "phenldiff"
    """Which method this is the configuration of."""

    steps: Annotated[int, Field(ge=1), Shown(step=50)] = 1000
    """Optimisation steps. A thousand draw structures with the bundled base, three hundred do not
    (see the note on freedom); with more the model starts to memorise the images."""

    base: Annotated[str, Field(min_length=1), Shown("Base model")] = "bundled"
    """Base model: bundled, a folder in the layout of diffusers, or the id of a model on a hub,
    which is downloaded once."""

    strategy: Literal["auto", "lora", "svdiff", "attention", "full"] = "auto"
    """Which weights learn: LoRA adds small matrices, SVDiff shifts singular values, attention
    changes the attention modules, full changes all weights. ``auto`` is lora."""

    rank: Annotated[int, Field(ge=1), Shown(advanced=True)] = 14
    """Rank of the matrices that LoRA adds. More can learn more, and memorise more. With 14, a run
    on the bundled base takes a tenth of the space of one with full."""

    lora_alpha: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False),
        Shown("LoRA alpha", advanced=True, default="8 times the rank with the bundled base, or it"),
    ] = 14.0
    """Scale of LoRA's matrices, times their rank. Larger ones learn faster, until the loss jumps
    about."""

    layers: Annotated[
        Literal["attention", "everywhere"],
        Shown(advanced=True, default="everywhere with SVDiff or the bundled base, or attention"),
    ] = "attention"
    """Layers that LoRA and SVDiff act on: the projections of the attention, or the convolutions and
    feed-forward layers too. The strategies attention and full do not use it."""

    reference_channels: Annotated[
        Literal["auto"] | tuple[Name, ...], Shown("Reference", advanced=True)
    ] = "auto"
    """Channels in which the conditions do not differ, such as a nuclear stain, which are given to
    the network and stay as they are in a translation. ``auto`` finds them: those whose own
    statistics do not separate the conditions, or by their brightness alone."""

    normalised_channels: Annotated[
        Literal["auto"] | tuple[Name, ...], Shown("Brightness", advanced=True)
    ] = "auto"
    """Channels that are brought to a common brightness in all conditions before anything is
    learned, since the difference is a batch effect such as staining. ``auto`` finds them: those
    that separate the conditions by brightness alone, while another channel does by structure. With
    none, brightness is part of the phenotype."""

    learning_rate: Annotated[
        float,
        Field(gt=0, allow_inf_nan=False),
        Shown(step=1e-4, advanced=True, default="that of the strategy"),
    ] = 1e-3
    """Peak learning rate of the adapted weights. Less if the loss jumps about, and then more
    steps."""

    token_learning_rate: Annotated[
        float, Field(gt=0, allow_inf_nan=False), Shown(advanced=True)
    ] = 3e-3
    """Peak learning rate of the condition tokens."""

    tokens_per_condition: Annotated[int, Field(ge=1), Shown(advanced=True)] = 4
    """Learned tokens that stand for one condition."""

    condition_dropout: Annotated[float, Field(ge=0, lt=1), Shown(advanced=True)] = 0.1
    """Probability, per sample, that the condition is replaced by the null tokens."""

    warmup: Annotated[int, Field(ge=0), Shown(unit="steps", advanced=True)] = 20
    """Steps over which the learning rates rise to their peak."""

    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False), Shown(advanced=True)] = 1e-2
    """Decoupled weight decay of the adapted weights."""

    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False), Shown(advanced=True)] = 1.0
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
        bundled = values.get("base", "bundled") == "bundled"
        everywhere = strategy == "svdiff" or (strategy == "lora" and bundled)
        rank = values.get("rank", cls.model_fields["rank"].default)
        defaults: dict[str, Any] = {
            "learning_rate": LEARNING_RATES.get(strategy, LEARNING_RATES["lora"]),
            "layers": "everywhere" if everywhere else "attention",
        }
        if isinstance(rank, int):  # what is none is refused by its field
            defaults["lora_alpha"] = rank * (LORA_SCALE if bundled else 1.0)
        missing = {key: value for key, value in defaults.items() if values.get(key) is None}
        return {**values, **missing}


class TranslationConfig(BaseModel):
    """Everything that decides how images are translated between two conditions."""

    model_config = SETTINGS

    source: Name
    """Condition that the images are in."""

    target: Name
    """Condition that they are translated to; the source again for a translation that should change
    nothing."""

    strength: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    """How far to go from the source (0) to the target (1); may lie beyond."""

    guidance: Annotated[
        float, Field(ge=0, allow_inf_nan=False), Shown(step=0.25, advanced=True)
    ] = 1.75
    """How strongly the prediction is pushed away from the reference and towards the target; 1 is no
    push. More changes the phenotype more, and in the end also what should stay."""

    guidance_from: Annotated[Literal["null", "source"], Shown(advanced=True)] = "source"
    """What guidance pushes away from: the null tokens, or the source."""

    bound_radius: Annotated[int, Field(ge=0), Shown(unit="px", advanced=True)] = 4
    """Guidance may make no pixel brighter or darker than the network, unguided, expects of the
    target within so many pixels of it; 0 sets no bounds. Only with an autoencoder that keeps
    image channels apart, such as the bundled one."""

    anchor: Annotated[float, Field(ge=0, le=1), Shown(step=0.1, advanced=True)] = 0.0
    """How firmly the generation is held to the path that the image was inverted along; 0 leaves it
    free. More keeps more of channels that are not references, and leaves ghosts of what would
    really be gone."""

    depth: Annotated[float, Field(gt=0, le=1), Shown(step=0.05, advanced=True)] = 0.8
    """Part of the noise schedule that is inverted; 1 is all of it. Less keeps more of the image."""

    freedom: Annotated[float, Field(ge=0, le=1), Shown(step=0.1, advanced=True)] = 0.0
    """How much of the image is drawn anew from seeded noise instead of the image's own code, from
    the finest structures (above 0) to all of it (1), so that structures can become others. The
    reconstruction is drawn from the same noise."""

    detail: Annotated[float, Field(ge=0, le=1), Shown(step=0.1, advanced=True)] = 1.0
    """Part of what the autoencoder cannot carry (the finest texture and the camera's noise) that is
    put back, less of it where light is gone; 0 shows what the model makes. Only with an autoencoder
    that keeps image channels apart, such as the bundled one."""

    inference_steps: Annotated[int, Field(ge=1, le=1000), Shown("Steps", advanced=True)] = 25
    """Steps into which the whole noise schedule is divided. Fewer are faster and coarser."""

    fixed_point_iterations: Annotated[int, Field(ge=1), Shown(advanced=True)] = 2
    """Evaluations of the network per step of the inversion; more invert more exactly."""

    seed: Annotated[int, Field(ge=0, lt=2**32), Shown(advanced=True)] = 0
    """Seed of the noise that images are drawn anew from, and of whatever else is random."""

    batch_size: Annotated[int, Field(ge=1), Shown(unit="tiles", advanced=True)] = 8
    """Tiles that go through the network at once. Less needs less memory."""

    @model_validator(mode="after")
    def _anchored_or_free(self) -> TranslationConfig:
        if self.anchor and self.freedom:
            raise ValueError(
                "an anchor holds to the image what freedom draws anew; set one of them to 0"
            )
        return self


def validated(model: type[Model], values: Mapping[str, Any], *, where: str) -> Model:
    """Return `model` made from `values`, or tell in one sentence why it cannot be.

    Parameters
    ----------
    model : type
        A pydantic model.
    values : mapping
        Its fields, as read from a file or the command line.
    where : str
        What the message starts with: the file, or the command, that the values come from.

    Raises
    ------
    InputError
        If the values do not describe such a model.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise InputError(f"{where}: {in_one_sentence(error)}.") from error


def in_one_sentence(error: ValidationError) -> str:
    """Tell all that is wrong with some values, for example ``steps: ... (got -3)``."""
    parts = []
    for problem in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"])
        text = problem["msg"].removeprefix("Value error, ")
        text = text[:1].lower() + text[1:]
        got = (
            "" if problem["type"] in ("missing", "value_error") else f" (got {problem['input']!r})"
        )
        parts.append(f"{field}: {text}{got}" if field else f"{text}{got}")
    return "; ".join(parts)
