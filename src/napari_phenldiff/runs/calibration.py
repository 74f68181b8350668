"""The calibration of a run: guidance and freedom, chosen on held-out images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from napari_phenldiff.images.naming import count
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.records import read_model, write_model

_NAME = "calibration.json"
_CLOSE = 0.025
"""Errors of pictures that differ by less count as equal, since there are few images."""
_SAME_LAYOUT, _SAME_STRUCTURE = 0.93, 0.15
"""Least layout and largest drift of reconstructed images that still show the same scene."""

_Finite = Annotated[float, Field(allow_inf_nan=False)]


class Trial(BaseModel):
    """Scores of translations and reconstructions with one combination of settings.

    Parameters
    ----------
    guidance, freedom : float
        As in `TranslationConfig`.
    to_target : float
        Distance of translated images to real target images, as a fraction of the distance of real
        source images to them. It is not 0 for real target images either, see `Calibration.real`.
    to_source : float
        How much further reconstructed images are from the real source images than the images that
        they were made of, as a fraction of the same distance.
    effect : float
        Change from reconstructed to translated images along the line from source to target, as a
        fraction of the real change.
    structure : float, optional
        The same in descriptors that do not depend on brightness alone; None if these hardly differ
        between source and target, and in runs of older versions.
    layout : float, optional
        Correlation of the local means of reconstructed images with those of the images that they
        were made of, mean over images and channels. None in runs of older versions.
    drift : float, optional
        How far reconstructed images have gone from these images to the target, as `structure` (or
        as `effect` where that is None). None in runs of older versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    guidance: _Finite
    freedom: _Finite
    to_target: _Finite
    to_source: _Finite
    effect: _Finite
    structure: _Finite | None = None
    layout: _Finite | None = None
    drift: _Finite | None = None

    @property
    def same_scene(self) -> bool:
        """Whether reconstructed images still show what the images show that they were made of.

        True where that is not known.
        """
        if self.layout is None or self.drift is None:
            return True
        return self.layout >= _SAME_LAYOUT and abs(self.drift) <= _SAME_STRUCTURE

    @property
    def picture_error(self) -> float:
        """How far translated and reconstructed images are from real ones; lower is better."""
        return self.to_target + self.to_source

    @property
    def score(self) -> float:
        """Sum of the errors, in which that of the effect counts twice; lower is better.

        How large an effect is will be measured and reported. Distances mostly tell how well the
        images are drawn, on which guidance has less influence. Where structure differs its effect
        counts by itself: brightness, which changes first, may overshoot while it is behind.
        """
        structure = self.effect if self.structure is None else self.structure
        return self.picture_error + abs(1 - self.effect) + abs(1 - structure)


class Calibration(BaseModel):
    """Content of calibration.json in a run folder.

    Parameters
    ----------
    source, target : str
        Conditions that it was made for.
    images : int
        Number of held-out tiles that were translated.
    trials : tuple of Trial
        All trials, at least one.
    untranslated, real : float, optional
        What `Trial.to_target` is for these tiles themselves, and for as many real tiles of the
        target: so few are never as their whole condition. None in runs of older versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    target: str
    images: Annotated[int, Field(ge=1)]
    trials: Annotated[tuple[Trial, ...], Field(min_length=1)]
    untranslated: _Finite | None = None
    real: _Finite | None = None

    @property
    def chosen(self) -> Trial:
        """The best trial: first the guidance is chosen, and then the freedom.

        Of the trials with the least freedom the one with the best score gives the guidance, which
        sets the size of the effect. Freedom is for structures that would not be drawn without it:
        with that guidance it is chosen by the pictures alone, and of those that are about as good
        the least is taken. A freedom with which reconstructed images show another scene, or the
        target's structure, is none that could be chosen: nobody could tell then what the treatment
        has done to these cells.
        """
        least = min(trial.freedom for trial in self.trials)
        guided = min(
            (trial for trial in self.trials if trial.freedom == least),
            key=lambda trial: (trial.score, trial.guidance),
        )
        freed = [
            trial
            for trial in self.trials
            if trial.guidance == guided.guidance and (trial.same_scene or trial is guided)
        ]
        best = min(trial.picture_error for trial in freed)
        close = [trial for trial in freed if trial.picture_error <= best + _CLOSE]
        return min(close, key=lambda trial: trial.freedom)

    def in_words(self) -> str:
        """Describe the chosen settings and their scores for the user."""
        chosen = self.chosen
        told = (
            f"Guidance {chosen.guidance:g} and freedom {chosen.freedom:g} suit this run: on "
            f"{count(self.images, 'tile')} that were kept aside, the change is {chosen.effect:.2f} "
            "of the real one"
        )
        if self.untranslated is None or self.real is None:
            return told
        return (
            f"{told}, and their distance to {self.target} goes from {self.untranslated:.2f} to "
            f"{chosen.to_target:.2f} (as many real ones: {self.real:.2f})"
        )

    def write(self, run: Path) -> None:
        """Write the calibration into the folder of a run."""
        write_model(run / _NAME, self)


def read_calibration(run: Path) -> Calibration | None:
    """Return the calibration of a run, or None if it has none.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = run / _NAME
    return read_model(path, Calibration) if path.is_file() else None


def calibrated(config: TranslationConfig, calibration: Calibration | None) -> TranslationConfig:
    """Set guidance and freedom from a run's calibration, unless they were set explicitly.

    Parameters
    ----------
    config : TranslationConfig
        Requested settings; only fields that were passed explicitly count as set.
    calibration : Calibration or None
        Calibration of the run.

    Returns
    -------
    TranslationConfig
        Settings in which guidance and freedom count as set.
    """
    if calibration is None:
        return config
    chosen = calibration.chosen
    # an anchor would hold on to what freedom replaces
    found = {"guidance": chosen.guidance, "freedom": 0.0 if config.anchor else chosen.freedom}
    return config.model_copy(
        update={name: x for name, x in found.items() if name not in config.model_fields_set}
    )
