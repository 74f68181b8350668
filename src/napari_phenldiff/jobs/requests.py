"""What a job is asked for, as a file: how the viewer tells a process of its own what to do.

A request is written as ``request.json`` and carried out by ``phenldiff job FILE``. It holds the
same models that scripts hand to the functions of this room, so whatever they can hold (a comma in
the name of a channel, say) arrives as it is.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.runs.baseline_config import AnyTrainingConfig
from napari_phenldiff.runs.config import in_one_sentence, validated

if TYPE_CHECKING:
    from napari_phenldiff.measurement.segmentation.thresholds import Settings

REQUEST_NAME, EVENTS_NAME = "request.json", "events.jsonl"


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TrainRequest(_Request):
    """Fine-tune on the images of a folder; see `napari_phenldiff.jobs.training.train`."""

    job: Literal["train"] = "train"
    data: Path
    config: AnyTrainingConfig
    out: Path
    z: int | Projection | None = None
    wells: str | None = None
    arrangement: Arrangement = Arrangement()

    def dataset(self) -> Dataset:
        """Find the images of the conditions.

        Raises
        ------
        InputError
            If there are none.
        """
        return Dataset.find(
            self.data, self.arrangement, conditions=self.config.conditions, folders_only=True
        )


class ResumeRequest(_Request):
    """Go on with a run; see `napari_phenldiff.jobs.training.resume`."""

    job: Literal["resume"] = "resume"
    run: Path
    base_at: Path | None = None


class EvaluateRequest(_Request):
    """Judge a run; see `napari_phenldiff.jobs.evaluation.evaluate`.

    Parameters
    ----------
    translation : dict
        Settings of the translation that are not left at their defaults, by the names of
        `TranslationConfig`: a method may lack what nobody has asked for.
    settings : dict
        Of the profile; what is not named keeps its default.
    """

    job: Literal["evaluate"] = "evaluate"
    run: Path
    data: Path
    out: Path
    profile: str
    settings: dict[str, Any] = {}
    config: EvaluationConfig = EvaluationConfig()
    translation: dict[str, Any] = {}
    shuffled: tuple[Path, ...] = ()
    half_split: tuple[Path, ...] = ()
    device: str = "auto"
    base_at: Path | None = None
    z: int | Projection | None = None
    arrangement: Arrangement = Arrangement()

    def dataset(self) -> Dataset:
        """Find the images, those of the two conditions where these are named.

        Raises
        ------
        InputError
            If there are none.
        """
        pair = [self.translation.get(role) for role in ("source", "target")]
        names = [str(name) for name in pair] if all(pair) else None
        return Dataset.find(self.data, self.arrangement, conditions=names, folders_only=True)

    def profile_settings(self) -> Settings:
        """Return the settings of the profile.

        Raises
        ------
        InputError
            If there is no such profile, or a setting is none of its.
        """
        from napari_phenldiff.measurement.profiles import find_profile

        kind: type[Settings] = find_profile(self.profile).settings_type
        return validated(kind, self.settings, where="evaluate")


class SessionRequest(_Request):
    """Keep a run's model in memory; see `napari_phenldiff.jobs.session`."""

    job: Literal["session"] = "session"
    run: Path
    folder: Path
    device: str = "auto"
    precision: str = "auto"
    base_at: Path | None = None
    idle: float = 600.0
    """After so many seconds without a request, the memory is more useful to somebody else."""


Request = TrainRequest | ResumeRequest | EvaluateRequest | SessionRequest

_REQUESTS: TypeAdapter[Request] = TypeAdapter(Annotated[Request, Field(discriminator="job")])


def write_request(path: Path, request: Request) -> None:
    """Write a request down, whole or not at all."""
    with write_atomic(path) as aside:
        aside.write_text(request.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_request(path: Path) -> Request:
    """Read a request.

    Raises
    ------
    InputError
        If the file cannot be read, or does not hold one.
    """
    try:
        return _REQUESTS.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}); ask again.") from error
    except ValidationError as error:
        raise InputError(
            f"{path} asks for no job ({in_one_sentence(error)}); ask again."
        ) from error
