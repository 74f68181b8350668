"""What an evaluation is asked to do, validated."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from napari_phenldiff.settings import SETTINGS, Shown


class EvaluationConfig(BaseModel):
    """What an evaluation is asked to do."""

    model_config = SETTINGS

    images: Annotated[int, Field(ge=2)] = 24
    """Images to translate, drawn at random; twice as many real ones of each condition are measured,
    if there are so many. Few show nothing: with fewer than 6 the verdict is *Cannot tell*."""

    trained_too: Annotated[bool, Shown("Images it knows", switch="Take them, too")] = False
    """Take images that the run was trained on, too. That shows less, and the verdict is then never
    *Supported*."""

    paired: Annotated[bool, Shown("Same cells", switch="Images are paired")] = False
    """Images of the same name show the same cells in both conditions, as simulated ones do: the
    truth is known, and the translation is compared with it."""

    wells: Annotated[str | None, Shown(unset="as the names tell")] = None
    """Regular expression that finds the well in the name of an image, such as ``^[A-H][0-9]+``, so
    that wells are counted; or the word image, and each image is counted. Without it, the wells or
    fields that the names tell are counted."""

    keep: Annotated[tuple[str, ...] | None, Shown("Should stay")] = None
    """Channels that should not change; by default the reference channels of the run."""

    cycle: Annotated[bool, Shown(switch="There and back")] = True
    """Translate back to the source as well, and see what was lost; it takes half of the time."""

    latent_images: Annotated[int, Field(ge=0), Shown(advanced=True, in_docks=False)] = 4
    """Images of which the cycle of latents is measured, for models that have latents."""

    fid: Annotated[bool, Shown("FID", advanced=True, in_docks=False)] = False
    """Compute FID as well, with the extra ``fid``, which loads Inception."""

    seed: Annotated[int, Field(ge=0), Shown(advanced=True, in_docks=False)] = 0
    """Seed of the choice of images, of splits and of intervals."""
