"""What a benchmark is asked to do, validated, and kept beside its results."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.runs.common_config import Name
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig, validated
from napari_phenldiff.settings import SETTINGS, Shown, option_of

FILE = "benchmark.json"
METHODS = ("phenldiff", "phendiff", "cyclegan", "copy")
"""In the order of the table."""


class BenchmarkConfig(BaseModel):
    """What a benchmark is asked to do: the same for all methods."""

    model_config = SETTINGS

    source: Name
    """Condition to translate from."""

    target: Name
    """Condition to translate to."""

    images_per_condition: Annotated[int, Field(ge=2)] = 100
    """Images to train on; of conditions with fewer than 134 no more than three quarters of the
    smallest."""

    test_images: Annotated[int, Field(ge=2)] = 40
    """Images to translate that were not trained on."""

    wells: str | None = None
    """Regular expression that finds the well in the name of an image: a well is then wholly in
    training or test."""

    crop: Annotated[Annotated[int, Field(ge=16)] | None, Shown(unit="px")] = None
    """Side of the square in the middle of each test image; only this part is used."""

    minutes: Annotated[
        Annotated[float, Field(gt=0, allow_inf_nan=False)] | None, Shown(unit="min")
    ] = None
    """Time that each method trains; 20 minutes if no number of steps is given either."""

    steps: Annotated[int, Field(ge=1)] | None = None
    """Optimisation steps of each method, in place of minutes."""

    preset: Annotated[Literal["paper", "cpu"], Shown(default="what suits the device")] = "cpu"
    """Size of the baselines: as published, or one for a CPU."""

    base: Name = "bundled"
    """Base model of phenldiff."""

    strategy: Literal["auto", "lora", "svdiff", "attention", "full"] = "auto"
    """Which weights of phenldiff learn, as for a training."""

    translation: dict[str, Any] = {}
    """Settings of phenldiff's translation that are not the default."""

    profile: Name
    """What is measured."""

    settings: dict[str, Any] = {}
    """Settings of the profile."""

    keep: tuple[str, ...] | None = None
    """Channels that should not change; by default the one that is named like a nuclear stain."""

    fid: bool = False
    """Compute FID as well, with the extra ``fid``."""

    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Seed of the split and of everything else that is random."""

    @model_validator(mode="after")
    def _one_budget(self) -> Self:
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("minutes or steps say how long each method trains: give one of them")
        if self.source == self.target:
            raise ValueError("source and target must differ")
        return self

    @property
    def budget(self) -> str:
        """How long each method trains, in words."""
        return f"{self.steps} steps" if self.minutes is None else f"{self.minutes:g} minutes"

    def translating(self, method: str) -> TranslationConfig:
        """Return the settings with which a method translates: a baseline has no choice."""
        chosen = self.translation if method == "phenldiff" else {}
        values = {"seed": self.seed, **chosen, "source": self.source, "target": self.target}
        return validated(TranslationConfig, values, where="benchmark")

    def training(self, method: str, device: str) -> dict[str, Any]:
        """Return what a method's configuration is made with."""
        values: dict[str, Any] = {
            "conditions": (self.source, self.target),
            "seed": self.seed,
            "device": device,
        }
        if self.minutes is None:
            values["steps"] = self.steps
        else:
            values["minutes"] = self.minutes
        if method == "phenldiff":
            # steps take seconds on a CPU, and a process that is killed should lose few
            return {
                **values,
                "base": self.base,
                "strategy": self.strategy,
                "checkpoint_every": 50,
            }
        # baselines have nothing to choose on images that are set aside
        return {**values, "preset": self.preset, "validation_images": 0}

    def variant(self, method: str) -> str:
        """Return what a method's name alone does not say: its preset or strategy, or nothing."""
        if method == "phenldiff":
            return validated(
                TrainingConfig, self.training(method, "cpu"), where="benchmark"
            ).strategy
        return self.preset if method in ("phendiff", "cyclegan") else ""

    def command(self, data: str) -> str:
        """Return the command that does the same, for a folder of a name."""
        words = ["phenldiff", "benchmark", data]
        default = {name: field.default for name, field in type(self).model_fields.items()}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if name in ("settings", "translation") or value == default[name]:
                continue
            flag = option_of(name)
            if name == "base" and Path(value).is_absolute():
                value = Path(value).name  # where it lies is nobody's business
            if value is True:
                words.append(flag)
            else:
                words += [flag, ",".join(value) if isinstance(value, tuple) else f"{value}"]
        for name, value in {**self.translation, **self._channels()}.items():
            words += [option_of(name), f"{value}"]
        return " ".join(shlex.quote(word) for word in [*words, "--out", "DIR"])

    def _channels(self) -> dict[str, Any]:
        """Channels that are measured, where they are not the profile's default."""
        from napari_phenldiff.measurement.profiles import find_profile

        default = find_profile(self.profile).settings_type().model_dump()
        return {
            name: x
            for name, x in self.settings.items()
            if name.endswith("channel") and x is not None and x != default.get(name)
        }


class BenchmarkRecord(BaseModel):
    """What benchmark.json holds.

    Attributes
    ----------
    config : BenchmarkConfig
    data : str
        Name of the folder of images.
    digest : str
        Hash over all images.
    training, test : dict of str to tuple of str
        Names of the images by condition; the test images in the order in which they are taken.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    config: BenchmarkConfig
    data: str
    digest: str
    training: dict[str, tuple[str, ...]]
    test: dict[str, tuple[str, ...]]


def read_record(out: Path) -> BenchmarkRecord | None:
    """Read what a folder's benchmark was asked; None if there is none yet.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    path = out / FILE
    if not path.is_file():
        return None
    try:
        return BenchmarkRecord.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged or of another version: name a new folder.") from error


def keep_record(out: Path, record: BenchmarkRecord) -> None:
    """Write down what is asked, or refuse if something else was before.

    Raises
    ------
    InputError
        If the folder holds a benchmark of other images or settings.
    """
    before = read_record(out)
    if before is None:
        out.mkdir(parents=True, exist_ok=True)
        with write_atomic(out / FILE) as aside:
            aside.write_text(record.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return
    if before.digest != record.digest:
        raise InputError(f"{out} holds a benchmark of other images: name a new folder.")
    # through JSON, which knows no tuples
    old, new = (one.config.model_dump(mode="json") for one in (before, record))
    other = [name for name in new if old.get(name) != new[name]]
    if other:
        text = ", ".join(f"{name}: {old.get(name)}, not {new[name]}" for name in other)
        raise InputError(f"{out} holds a benchmark with other settings ({text}); name a new one.")
