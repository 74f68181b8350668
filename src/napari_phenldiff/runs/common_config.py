"""What every training is asked, whichever its method."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from napari_phenldiff.images.naming import composed

Name = Annotated[str, Field(min_length=1), AfterValidator(composed)]


class CommonTraining(BaseModel):
    """What all methods are asked: which images, how long, where.

    Parameters
    ----------
    conditions : tuple of str
        Names of at least two different conditions. The first is the source and the second the
        target that a translation uses when none are named.
    images_per_condition : int, optional
        Number of images drawn from each condition; None takes all.
    validation_images : "auto" or int
        Images per condition that are not trained on but watched, to notice when the training ones
        are being memorised. "auto" takes those that `images_per_condition` leaves out, at most 8,
        or else one tenth (2 to 8) where every condition has at least 20 images.
    steps : int
        Optimisation steps.
    minutes : float, optional
        Time that a new training may take, from loading to its last step. The time of a step is
        measured first and `steps` is fixed by it, in the run's config.json too, so that the course
        of the learning rate is that of a training of so many steps, and a resume repeats it.
    batch_size : int
        Tiles per step.
    ema : float
        Decay of the exponential moving average that is saved; 0 saves the weights as they are.
    precision : {"auto", "float32", "bfloat16"}
        Precision of the network's passes. "auto" takes bfloat16 where the device is faster with it.
    seed : int
        Seed of the choice of images, of the initial weights and of the noise.
    checkpoint_every : int
        Steps between two checkpoints.
    preview_every : int
        Steps between two previews; 0 makes none.
    device : str
        ``"auto"`` or a torch device such as ``"cpu"`` or ``"cuda:1"``.
    control : {"shuffled", "half-split"}, optional
        What the run is a control of, if it is one: the conditions do not differ then, since they
        were given to images at random, or are two halves of one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    conditions: Annotated[tuple[Name, ...], Field(min_length=2)]
    images_per_condition: Annotated[int, Field(ge=2)] | None = None
    validation_images: Literal["auto"] | Annotated[int, Field(ge=0)] = "auto"
    steps: Annotated[int, Field(ge=1)] = 300
    minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    batch_size: Annotated[int, Field(ge=1)] = 16
    ema: Annotated[float, Field(ge=0, lt=1)] = 0.98
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    checkpoint_every: Annotated[int, Field(ge=1)] = 100
    preview_every: Annotated[int, Field(ge=0)] = 0
    device: Annotated[str, Field(min_length=1)] = "auto"
    control: Literal["shuffled", "half-split"] | None = None

    @model_validator(mode="after")
    def _conditions_differ(self) -> Self:
        if len(set(self.conditions)) != len(self.conditions):
            raise ValueError(f"the conditions must differ, got {', '.join(self.conditions)}")
        return self
