"""What is said of an evaluation before it starts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest

from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.hardware import Hardware
from napari_phenldiff.viewer.conditions import ConditionChoice
from napari_phenldiff.viewer.evaluation_forecast import EvaluationForecast

CPU = Hardware("cpu", "CPU, 2 cores", seconds=0.04)


@dataclass(frozen=True, slots=True, eq=False)
class Wells(ConditionChoice):
    """A condition whose images lie in wells."""

    def images(self) -> dict[str, str | None]:
        return {f"{well}_{k}": well or None for well in self.dtype.split() for k in range(4)}


def condition(name: str, wells: str) -> ConditionChoice:
    return Wells(name, 4 * len(wells.split()), sizes=((128, 128),), dtype=wells)


def forecast(trained: str, wells: str = "A1 A2 A3 A4", **changes: Any) -> EvaluationForecast:
    records = [
        SimpleNamespace(condition=name, name=f"{well}_{k}", validation=False)
        for name in ("untreated", "treated")
        for well in trained.split()
        for k in range(4)
    ]
    run: Any = SimpleNamespace(
        images=records,
        conditions=("untreated", "treated"),
        config=TrainingConfig(conditions=("untreated", "treated")),
        calibration=None,
        channel_names=("DNA", "marker"),
        reference_channels=(),
    )
    conditions = [condition("untreated", wells), condition("treated", wells)]
    made = EvaluationForecast(run, conditions, 24, 3, trained_too=False, settings={})
    return replace(made, **changes)


def test_only_images_that_were_not_trained_on_are_counted():
    told = forecast("A1 A2").text(CPU)
    assert told.startswith("Translates 8 images, each 3 times: about ")
    assert told.endswith(" on CPU, 2 cores.")
    assert "16 images" in forecast("A1 A2", trained_too=True).text(CPU)
    assert "5 images" in forecast("A1 A2", images=5).text(CPU)


@pytest.mark.parametrize("hardware", [None, "phenldiff device has ended without an answer"])
def test_without_the_speed_of_the_machine_no_time_is_told(hardware):
    assert forecast("A1").text(hardware) == "Translates 12 images, each 3 times."


def test_one_well_cannot_tell_which_is_said_before_the_start():
    told = forecast("A1 A2 A3").text(CPU)
    assert "of untreated comes from one well or field" in told
    assert "of treated comes from one well or field" in told
    assert "⚠" not in forecast("A1 A2").text(CPU)


def test_a_run_that_knows_all_images_cannot_be_judged_by_them():
    told = forecast("A1 A2 A3 A4").text(CPU)
    assert "0 of untreated were not trained on" in told
