"""What an evaluation would take, and whether it can tell anything: said before it starts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.naming import count
from napari_phenldiff.jobs import estimate
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.hardware import Hardware
from napari_phenldiff.runs.translation_settings import settings_of_run
from napari_phenldiff.viewer.conditions import ConditionChoice


@dataclass(frozen=True, slots=True)
class EvaluationForecast:
    """What is known of an evaluation before it starts.

    Attributes
    ----------
    run : Run
        That is to be judged.
    conditions : sequence of ConditionChoice
        Source and target, as far as they are chosen.
    images : int
        Images to translate at most.
    rounds : int
        How often each of them is translated.
    trained_too : bool
        Whether images that the run was trained on are taken as well.
    settings : mapping of str to object
        Of the translations, by the names of `TranslationConfig`.
    """

    run: Run
    conditions: Sequence[ConditionChoice]
    images: int
    rounds: int
    trained_too: bool
    settings: Mapping[str, Any]

    def text(self, hardware: Hardware | str | None) -> str:
        """Tell how many images are translated, how long it takes, and what it cannot tell.

        Which images were trained on is told by their names: their pixels are not read.
        """
        usable = {choice.name: self._usable(choice) for choice in self.conditions}
        lines = [self._time(hardware, usable)]
        for name, parts in usable.items():
            if len(parts) < 2:
                lines.append(
                    f"⚠ By their names, {len(parts)} of {name} were not trained on: open at least "
                    "two others, or take those that were trained on, too."
                )
            elif len(set(parts.values())) == 1 and None not in parts.values():
                lines.append(
                    f"⚠ What was not trained on of {name} comes from one well or field, so there "
                    "will be no p-value, and the verdict will be that it cannot tell."
                )
        return "\n".join(lines)

    def _usable(self, choice: ConditionChoice) -> dict[str, str | None]:
        """Return the well or stack of each image that may be taken."""
        known = {
            record.name
            for record in self.run.images
            if record.condition == choice.name and not record.validation
        }
        parts = choice.images()
        return {n: p for n, p in parts.items() if self.trained_too or n not in known}

    def _time(
        self, hardware: Hardware | str | None, usable: Mapping[str, Mapping[str, str | None]]
    ) -> str:
        found = len(next(iter(usable.values()), ()))
        some = min(self.images, found) or self.images
        often = "once" if self.rounds == 1 else f"{self.rounds} times"
        told = f"Translates {count(some, 'image')}, each {often}"
        source = next(iter(self.conditions), None)
        if not isinstance(hardware, Hardware) or source is None or not source.sizes:
            return f"{told}."
        asked = {"source": self.run.conditions[0], "target": self.run.conditions[1]}
        try:
            config = TranslationConfig.model_validate({**asked, **self.settings})
            config = settings_of_run(self.run, config)
        except (InputError, ValidationError):
            return f"{told}."
        largest = max(source.sizes, key=math.prod)
        time = estimate.translation_time(largest, some * self.rounds, config, self.run, hardware)
        return f"{told}: about {time} on {hardware.name}." if time else f"{told}."
