"""Settings that the trainings of all methods share."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from napari_phenldiff.images.naming import composed
from napari_phenldiff.settings import SETTINGS, Shown

Name = Annotated[str, Field(min_length=1), AfterValidator(composed)]


class CommonTraining(BaseModel):
    """Settings of every training: images, duration and device."""

    model_config = SETTINGS

    conditions: Annotated[tuple[Name, ...], Field(min_length=2), Shown(in_docks=False)]
    """Names of at least two different conditions. The first is the source and the second the
    target of a translation that does not name any."""

    images_per_condition: Annotated[
        Annotated[int, Field(ge=2)] | None, Shown("Images each", step=10, unset="all")
    ] = None
    """Number of images drawn at random from each condition; by default all of them, or a part of
    them if there are many hundreds, which is reported. The images that are left out can be used to
    test translations."""

    validation_images: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=0)], Shown("Validation images", advanced=True)
    ] = "auto"
    """Images per condition for the validation loss, which are not trained on; it rises when the
    model memorises the others. ``auto`` takes up to 8 images of the wells that are held out; where
    none are, up to 8 of the images that are left out, or else one tenth (2 to 8) if every condition
    has at least 20 images."""

    held_out_wells: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=0)], Shown("Wells held out", advanced=True)
    ] = "auto"
    """Wells of each condition of which no image is trained on, so that the run can be judged by
    them; 0 for none. A verdict by wells needs 4 of each condition: no test of fewer can give p
    below 0.05. ``auto`` holds out 4 where that is no more than half of the images of each
    condition, otherwise 1, and one in ten if that is more; none where wells are not known, a
    condition has less than 3 wells or 20 images, or a number of validation images is given."""

    steps: Annotated[int, Field(ge=1), Shown(step=50)] = 300
    """Optimisation steps. More learn the phenotype better, until the model starts to memorise the
    images."""

    minutes: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,
        Shown(unit="min", in_docks=False),
    ] = None
    """Time that a new training may take, from loading to its last step, instead of a number of
    steps. The time of a step is measured first; the resulting number of steps is written into
    config.json, so that the learning rate runs through its whole schedule and a resume repeats
    it."""

    batch_size: Annotated[int, Field(ge=1), Shown(unit="tiles", advanced=True)] = 16
    """Tiles per step; fewer need less memory."""

    ema: Annotated[float, Field(ge=0, lt=1), Shown(advanced=True, in_docks=False)] = 0.98
    """Decay of the exponential moving average of the weights that is saved; 0 for no average."""

    precision: Annotated[Literal["auto", "float32", "bfloat16"], Shown(advanced=True)] = "auto"
    """Precision of the network's passes. ``auto`` takes bfloat16 where the device is faster with
    it."""

    seed: Annotated[int, Field(ge=0, lt=2**32), Shown(advanced=True)] = 0
    """Seed of the choice of images, of the initial weights and of the noise."""

    checkpoint_every: Annotated[
        int, Field(ge=1), Shown(unit="steps", advanced=True, in_docks=False)
    ] = 100
    """Steps between two checkpoints."""

    preview_every: Annotated[
        int,
        Field(ge=0),
        Shown("Preview each", unit="steps", step=10, advanced=True, unset="never"),
    ] = 0
    """Steps between two previews; 0 for none. A preview translates a tile of a source image with
    the current weights, which takes one or two seconds on a CPU."""

    device: Annotated[str, Field(min_length=1), Shown(advanced=True)] = "auto"
    """Device: auto, cpu, cuda, cuda:1 or mps. ``auto`` takes a GPU if torch can use one."""

    control: Annotated[Literal["shuffled", "half-split"] | None, Shown(in_docks=False)] = None
    """Train a control run, in which the conditions do not differ: they are assigned to the images
    at random (shuffled), or are two halves of the source (half-split)."""

    @model_validator(mode="after")
    def _conditions_differ(self) -> Self:
        if len(set(self.conditions)) != len(self.conditions):
            raise ValueError(f"the conditions must differ, got {', '.join(self.conditions)}")
        return self
