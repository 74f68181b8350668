"""What a fine-tuning and a translation are asked to do, validated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.common_config import CommonTraining, Name

Model = TypeVar("Model", bound=BaseModel)


LEARNING_RATES = {"lora": 1e-3, "svdiff": 1e-2, "attention": 1e-4, "full": 3e-4}
"""Peak learning rate by strategy, where none is given; ``docs/notes/strategies.md`` says why."""


class TrainingConfig(CommonTraining):
    """Everything that decides how a base model is fine-tuned on an experiment.

    Conditions, images, time, batches, averages, precision, seed, checkpoints, previews and device
    are as in `CommonTraining`.

    Parameters
    ----------
    steps : int
        Optimisation steps. A thousand draw structures with the bundled base, three hundred do not
        (``docs/notes/freedom.md``).
    method : {"phenldiff"}
        Which method this is the configuration of.
    base : str
        ``"bundled"``, a folder in diffusers' layout, or the id of a model on a hub.
    strategy : {"auto", "lora", "svdiff", "attention", "full"}
        Which weights learn: low-rank updates, shifts of singular values, the attention modules,
        or all. "auto" becomes "full" with the bundled base, which is small and draws much better
        cells that way (``docs/notes/guidance.md``), and "lora" with any other, or where a rank or
        layers are chosen.
    rank : int
        Rank of the low-rank updates.
    layers : {"attention", "everywhere"}
        Whether only the attention's projections get low-rank updates or shifts, or the
        convolutions and feed-forward layers too. None is "everywhere" for "svdiff", as its authors
        do it, and "attention" otherwise; the strategies "attention" and "full" pay no heed to it.
    reference_channels : "auto" or tuple of str
        Channels in which the conditions do not differ. They are given to the network as they are
        and stay as they are in a translation. "auto" finds them: those whose own statistics do not
        separate the conditions, or by their brightness alone. None are, with ``()``.
    normalised_channels : "auto" or tuple of str
        Channels that are brought to a common brightness in all conditions before anything is
        learned, since the difference is a batch effect such as staining. "auto" finds them: those
        that separate the conditions by brightness alone, while another channel does by structure.
        None are, with ``()``: brightness is part of the phenotype then.
    learning_rate : float
        Peak learning rate of the adapted weights. None is that of the strategy, see
        `LEARNING_RATES`; which it was is kept.
    token_learning_rate : float
        Peak learning rate of the condition tokens.
    tokens_per_condition : int
        Learned tokens that stand for one condition.
    condition_dropout : float
        Probability, per sample, that the condition is replaced by the null tokens.
    warmup : int
        Steps over which the learning rates rise to their peak.
    weight_decay : float
        Decoupled weight decay of the adapted weights.
    max_grad_norm : float
        Gradients are clipped to this norm.
    """

    method: Literal["phenldiff"] = "phenldiff"
    steps: Annotated[int, Field(ge=1)] = 1000
    base: Annotated[str, Field(min_length=1)] = "bundled"
    strategy: Literal["auto", "lora", "svdiff", "attention", "full"] = "auto"
    rank: Annotated[int, Field(ge=1)] = 16
    layers: Literal["attention", "everywhere"] = "attention"
    reference_channels: Literal["auto"] | tuple[Name, ...] = "auto"
    normalised_channels: Literal["auto"] | tuple[Name, ...] = "auto"
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-3
    token_learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3e-3
    tokens_per_condition: Annotated[int, Field(ge=1)] = 4
    condition_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    warmup: Annotated[int, Field(ge=0)] = 20
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-2
    max_grad_norm: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_strategy(cls, values: Any) -> Any:
        if not isinstance(values, Mapping):
            return values
        strategy = str(values.get("strategy", "auto"))
        if strategy == "auto":
            rank = cls.model_fields["rank"].default
            low_rank = values.get("rank", rank) != rank or values.get("layers") is not None
            bundled = values.get("base", "bundled") == "bundled"
            strategy = "full" if bundled and not low_rank else "lora"
            values = {**values, "strategy": strategy}
        defaults = {
            "learning_rate": LEARNING_RATES.get(strategy, LEARNING_RATES["lora"]),
            "layers": "everywhere" if strategy == "svdiff" else "attention",
        }
        missing = {key: value for key, value in defaults.items() if values.get(key) is None}
        return {**values, **missing}


class TranslationConfig(BaseModel):
    """Everything that decides how images are translated between two conditions.

    Parameters
    ----------
    source, target : str
        Condition that the images are in, and the one that they are translated to. They may be the
        same: a translation that should change nothing.
    strength : float
        Position between the source's (0) and the target's (1) tokens; may lie beyond.
    guidance : float
        How far the prediction is pushed away from the reference and towards the target; 1 is none.
    guidance_from : {"null", "source"}
        Reference of the guidance: the null tokens, or the source's.
    bound_radius : int
        Guidance may make no pixel brighter or darker than the network, unguided, expects of the
        target within so many pixels of it; 0 sets no bounds. Only with an autoencoder that keeps
        image channels apart, such as the bundled one.
    anchor : float
        How firmly the generation is held to the path that the image was inverted along, in
        [0, 1]; 0 leaves it free. Keeps more of channels that are not references, and more of the
        source than there would really be left.
    depth : float
        Part of the noise schedule that is inverted, in (0, 1]; 1 is all of it. Less keeps more of
        the image.
    freedom : float
        How much of the image is drawn anew, in [0, 1]: structures finer than a limit, which rises
        from the finest (0) to all of the image (1), come from seeded noise instead of the image's
        own code, so that they can become others. The reconstruction is drawn from the same noise.
    detail : float
        Part, in [0, 1], of what the autoencoder cannot carry (the finest texture and the camera's
        noise) that is put back, less of it where light is gone. Only with an autoencoder that
        keeps image channels apart, such as the bundled one.
    inference_steps : int
        Steps into which the whole schedule is divided.
    fixed_point_iterations : int
        Evaluations of the network per step of the inversion; more invert more exactly.
    seed : int
        Seed of whatever is random: the noise that images are drawn anew from.
    batch_size : int
        Tiles that go through the network at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Name
    target: Name
    strength: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    guidance: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.75
    guidance_from: Literal["null", "source"] = "source"
    bound_radius: Annotated[int, Field(ge=0)] = 4
    anchor: Annotated[float, Field(ge=0, le=1)] = 0.0
    depth: Annotated[float, Field(gt=0, le=1)] = 0.8
    freedom: Annotated[float, Field(ge=0, le=1)] = 0.0
    detail: Annotated[float, Field(ge=0, le=1)] = 1.0
    inference_steps: Annotated[int, Field(ge=1, le=1000)] = 25
    fixed_point_iterations: Annotated[int, Field(ge=1)] = 2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    batch_size: Annotated[int, Field(ge=1)] = 8

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
