"""What every training is asked, whichever its method."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from napari_phenldiff.images.naming import composed
from napari_phenldiff.settings import SETTINGS, Shown

Name = Annotated[str, Field(min_length=1), AfterValidator(composed)]


class CommonTraining(BaseModel):
    """What all methods are asked: which images, how long, where."""

    model_config = SETTINGS

    conditions: Annotated[tuple[Name, ...], Field(min_length=2)]
    """Names of at least two different conditions. The first is the source and the second the
    target that a translation uses when none are named."""

    images_per_condition: Annotated[
        Annotated[int, Field(ge=2)] | None, Shown("Images each", step=10)
    ] = None
    """Images drawn at random from each condition; all of them where none are given. Images that
    are left out can later show how well a translation does on new ones."""

    validation_images: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=0)], Shown("Watched images", advanced=True)
    ] = "auto"
    """Images per condition that are not trained on but watched, to notice when the others are being
    memorised. ``auto`` takes those that are left out, at most 8, or else one tenth (2 to 8) where
    every condition has at least 20 images."""

    steps: Annotated[int, Field(ge=1), Shown(step=50)] = 300
    """Optimisation steps. More learn the phenotype better, until the model starts to memorise the
    images."""

    minutes: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, Shown(unit="min")
    ] = None
    """Time that a new training may take, from loading to its last step, in place of a number of
    steps. The time of a step is measured first and the steps are fixed by it, in the run's
    config.json too, so that the course of the learning rate is that of a training of so many steps,
    and a resume repeats it."""

    batch_size: Annotated[int, Field(ge=1), Shown(unit="tiles", advanced=True)] = 16
    """Tiles per step. Less needs less memory."""

    ema: Annotated[float, Field(ge=0, lt=1), Shown(advanced=True)] = 0.98
    """Decay of the averaged weights that are saved; 0 saves the weights as they are."""

    precision: Annotated[Literal["auto", "float32", "bfloat16"], Shown(advanced=True)] = "auto"
    """Precision of the network's passes. ``auto`` takes bfloat16 where the device is faster with
    it."""

    seed: Annotated[int, Field(ge=0, lt=2**32), Shown(advanced=True)] = 0
    """Seed of the choice of images, of the initial weights and of the noise."""

    checkpoint_every: Annotated[int, Field(ge=1), Shown(unit="steps", advanced=True)] = 100
    """Steps between two checkpoints."""

    preview_every: Annotated[
        int, Field(ge=0), Shown("Preview each", unit="steps", step=10, advanced=True)
    ] = 0
    """Steps between two previews; 0 makes none. For a preview a piece of an image of the source is
    translated with what has been learned so far, which takes a second or two on a CPU."""

    device: Annotated[str, Field(min_length=1), Shown(advanced=True)] = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1 or mps. ``auto`` takes a GPU if there is one that
    torch can use."""

    control: Literal["shuffled", "half-split"] | None = None
    """What the run is a control of, if it is one: the conditions do not differ then, since they
    were given to images at random (shuffled), or are two halves of the source (half-split)."""

    @model_validator(mode="after")
    def _conditions_differ(self) -> Self:
        if len(set(self.conditions)) != len(self.conditions):
            raise ValueError(f"the conditions must differ, got {', '.join(self.conditions)}")
        return self
