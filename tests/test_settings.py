"""A setting is described once, in its model; everything that shows it reads it there."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, Field

from napari_phenldiff.cli import options, train
from napari_phenldiff.evaluation.benchmark.config import BenchmarkConfig
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.runs.baseline_config import CycleGANConfig, PhenDiffConfig
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.settings import SETTINGS, Shown, settings_in
from napari_phenldiff.viewer import training_request as requests
from napari_phenldiff.viewer.conditions import ConditionChoice
from napari_phenldiff.viewer.training_request import TrainingRequest
from napari_phenldiff.widgets.parts import training_form
from napari_phenldiff.widgets.parts.form import Panel
from napari_phenldiff.widgets.parts.setting_rows import SettingRows

MODELS = [
    BenchmarkConfig,
    CycleGANConfig,
    EvaluationConfig,
    PhenDiffConfig,
    TrainingConfig,
    TranslationConfig,
]


class Baking(BaseModel):
    """Settings of an oven, which no other module knows."""

    model_config = SETTINGS

    heat: Annotated[int, Field(ge=50, lt=300), Shown("Heat of the oven", unit="°C", step=10)] = 180
    """How hot the oven is. More bakes faster, and burns in the end."""

    minutes: Annotated[float, Field(gt=0)] | None = None
    """Time in the oven; until it is brown where none is given."""

    air: Literal["still", "moving"] = "still"
    """Whether a fan moves the ``air``."""

    toppings: Annotated[tuple[str, ...], Shown(advanced=True)] = ()
    """What is put on top."""

    door: bool = True
    """Close the door."""


@pytest.fixture
def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bake")
    options.add_settings(parser, Baking)
    return parser


def test_a_setting_that_is_added_to_a_model_is_an_option_with_its_sentence_and_default(
    parser: argparse.ArgumentParser,
) -> None:
    text = " ".join(parser.format_help().split())
    assert "--heat N how hot the oven is (default: 180 °C)" in text
    assert "--air {still,moving} whether a fan moves the air (default: still)" in text
    assert "advanced: --toppings NAMES what is put on top" in text
    assert "--door, --no-door close the door" in text


def test_only_what_is_given_is_taken_over(parser: argparse.ArgumentParser) -> None:
    assert options.given(parser.parse_args([]), Baking) == {}
    args = parser.parse_args(["--heat", "200", "--no-door", "--toppings", "ham, egg"])
    found = Baking.model_validate(options.given(args, Baking))
    assert found == Baking(heat=200, door=False, toppings=("ham", "egg"))


def test_bounds_units_and_words_are_read_from_the_annotation() -> None:
    settings = settings_in(Baking)
    heat, minutes, air = settings["heat"], settings["minutes"], settings["air"]
    assert (heat.low, heat.high, heat.shown.unit, heat.label) == (50, 299, "°C", "Heat of the oven")
    assert (minutes.low, minutes.low_excluded, minutes.optional) == (0, True, True)
    assert air.choices == ("still", "moving")
    assert air.text == "Whether a fan moves the air."
    assert settings["toppings"].several


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_says_in_one_sentence_what_it_does(model: type[BaseModel]) -> None:
    for name, setting in settings_in(model).items():
        assert setting.sentence, f"{model.__name__}.{name} is not described"
        assert "`" not in setting.text
        assert setting.text.endswith("."), f"{model.__name__}.{name}: {setting.text!r}"


class TrainingOfTomorrow(TrainingConfig):
    """A training with a setting more, which nothing but this class knows."""

    patience: Annotated[int, Field(ge=1), Shown(unit="epochs", advanced=True)] = 7
    """How long to wait for a better loss. Shorter ends earlier."""


def test_a_setting_is_added_in_one_place_and_found_on_the_command_line_and_in_the_dock(
    qtbot, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(train, "TrainingConfig", TrainingOfTomorrow)
    monkeypatch.setattr(training_form, "TrainingConfig", TrainingOfTomorrow)
    parser = argparse.ArgumentParser()
    train.add_parser(parser.add_subparsers())
    commands = next(a for a in parser._actions if isinstance(a.choices, Mapping))
    text = " ".join(commands.choices["train"].format_help().split())
    assert "--patience N how long to wait for a better loss (default: 7 epochs)" in text

    panel = Panel()
    qtbot.addWidget(panel)
    settings = training_form.TrainingSettings(panel)
    box = settings.rows["patience"]
    assert (box.text(), box.minimum(), box.accessibleName()) == ("7 epochs", 1, "Patience")
    assert box.toolTip() == "How long to wait for a better loss. Shorter ends earlier."
    box.setValue(9)
    assert settings.values()["patience"] == 9
    monkeypatch.setattr(requests, "TrainingConfig", TrainingOfTomorrow)
    chosen = [ConditionChoice(name, 4, ("DNA",)) for name in ("untreated", "treated")]
    request = TrainingRequest(*chosen, None, tmp_path / "run", settings.values())
    assert request.config().patience == 9


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_for_docks_has_a_row(qtbot, model: type[BaseModel]) -> None:
    panel = Panel()
    qtbot.addWidget(panel)
    rows = SettingRows(model, panel)
    by_hand = {"reference_channels", "normalised_channels", "keep", "translation", "settings"}
    by_hand |= {"widths"}
    rows.add_rest(panel.section("All"), without=by_hand)
    for name, value in rows.values().items():
        setting = settings_in(model)[name]
        if not setting.required and setting.shown.default is None:
            assert value == setting.default, name
