"""What an evaluation is asked to do, validated."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class EvaluationConfig(BaseModel):
    """What an evaluation is asked to do.

    Parameters
    ----------
    images : int
        Images to translate; twice as many real ones of each condition are measured, if there are.
    trained_too : bool
        Whether images that the run was trained on may be among them.
    paired : bool
        Whether images of the same name show the same cells in both conditions: the truth.
    wells : str, optional
        Regular expression that finds the well in the name of an image; wells are counted then.
        ``"image"`` counts each image. By default wells or fields that the names tell are counted.
    keep : tuple of str, optional
        Channels that should not change; by default the run's reference channels.
    cycle : bool
        Whether to translate back as well.
    latent_images : int
        Images of which the cycle of latents is measured, for models that have latents.
    fid : bool
        Whether to compute FID, with the extra ``fid``.
    seed : int
        Of the choice of images, of splits and of intervals.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Annotated[int, Field(ge=2)] = 24
    trained_too: bool = False
    paired: bool = False
    wells: str | None = None
    keep: tuple[str, ...] | None = None
    cycle: bool = True
    latent_images: Annotated[int, Field(ge=0)] = 4
    fid: bool = False
    seed: Annotated[int, Field(ge=0)] = 0
