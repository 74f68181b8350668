"""Guidance and freedom that suit a run, chosen on images that were kept aside for it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from napari_phenldiff.images.naming import count
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.records import read_model, write_model

_NAME = "calibration.json"
_CLOSE = 0.05
"""Scores that differ by less are taken to be as good: the images are few."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Trial(BaseModel):
    """How translations and reconstructions came out with one choice.

    Parameters
    ----------
    guidance, freedom : float
        As in `TranslationConfig`.
    to_target : float
        Distance of translated images to real target images, in parts of that of the real source
        images; 0 if they were the same to the measures.
    to_source : float
        The same of reconstructed images to the real source images.
    effect : float
        Change from reconstructed to translated images along the line from source to target, in
        parts of the real one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    guidance: _Finite
    freedom: _Finite
    to_target: _Finite
    to_source: _Finite
    effect: _Finite

    @property
    def score(self) -> float:
        """What is wrong with it, all together; less is better."""
        return self.to_target + self.to_source + abs(1 - self.effect)


class Calibration(BaseModel):
    """What calibration.json in a run's folder holds.

    Parameters
    ----------
    source, target : str
        Between which it was made.
    images : int
        Tiles per condition, none of them trained on, that it was made with.
    trials : tuple of Trial
        All that was tried, at least one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    target: str
    images: Annotated[int, Field(ge=1)]
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]

    @property
    def chosen(self) -> Trial:
        """The best; of those that are as good, the one that changes least."""
        best = min(trial.score for trial in self.trials)
        close = [trial for trial in self.trials if trial.score <= best + _CLOSE]
        return min(close, key=lambda trial: (trial.freedom, trial.guidance))

    def in_words(self) -> str:
        """Say what was chosen and how translations come out with it."""
        chosen = self.chosen
        return (
            f"Guidance {chosen.guidance:g} and freedom {chosen.freedom:g} suit this run: on "
            f"{count(self.images, 'tile')} that were kept aside, the change is {chosen.effect:.2f} "
            f"of the real one, and {chosen.to_target:.0%} of the distance to "
            f"{self.target} is left."
        )

    def write(self, run: Path) -> None:
        """Write it into the folder of a run."""
        write_model(run / _NAME, self)


def read_calibration(run: Path) -> Calibration | None:
    """Return what a run was calibrated to, if it was.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = run / _NAME
    return read_model(path, Calibration) if path.is_file() else None


def calibrated(config: TranslationConfig, calibration: Calibration | None) -> TranslationConfig:
    """Fill in guidance and freedom of a run where they were not asked for.

    Parameters
    ----------
    config : TranslationConfig
        What is asked for. What was not given to it explicitly is not asked for.
    calibration : Calibration or None
        Of the run.

    Returns
    -------
    TranslationConfig
        In which they count as given.
    """
    if calibration is None:
        return config
    chosen = calibration.chosen
    # an anchor holds what freedom draws anew
    found = {"guidance": chosen.guidance, "freedom": 0.0 if config.anchor else chosen.freedom}
    return config.model_copy(
        update={name: x for name, x in found.items() if name not in config.model_fields_set}
    )
