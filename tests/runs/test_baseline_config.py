from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.baseline_config import (
    CycleGANConfig,
    PhenDiffConfig,
    settings_of,
)
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig, validated
from napari_phenldiff.runs.records import RunRecord
from napari_phenldiff.runs.translation_settings import settings_of_run

TWO = {"conditions": ("a", "b")}


def record(config: object) -> dict[str, object]:
    return {
        "created": 1.0,
        "config": config,
        "channel_names": ("DNA",),
        "scaling": {},
        "digest": "",
        "versions": {},
    }


@pytest.mark.parametrize(
    "config",
    [
        TrainingConfig(**TWO),
        CycleGANConfig(**TWO, preset="paper", steps=7),
        PhenDiffConfig(**TWO, minutes=3),
    ],
)
def test_a_run_of_any_method_is_read_as_it_was_written(config):
    text = RunRecord.model_validate(record(config)).model_dump_json()
    assert RunRecord.model_validate_json(text).config == config


def test_an_old_run_names_no_method():
    values = json.loads(TrainingConfig(**TWO, rank=3).model_dump_json())
    del values["method"], values["minutes"]
    read = RunRecord.model_validate(record(values)).config
    assert read == TrainingConfig(**TWO, rank=3)


def test_an_unknown_method_is_told():
    with pytest.raises(InputError, match=r"config: .*magic"):
        validated(RunRecord, record({**TWO, "method": "magic"}), where="config.json")


def test_a_preset_fills_in_what_is_not_given():
    paper = PhenDiffConfig(**TWO, preset="paper", steps=5)
    assert (paper.widths, paper.batch_size, paper.steps) == ((128, 256, 512), 96, 5)
    assert (paper.train_timesteps, paper.inference_steps, paper.learning_rate) == (3000, 100, 1e-4)
    small = PhenDiffConfig(**TWO)
    assert small.preset == "cpu"
    assert max(small.widths) < 512
    gan = CycleGANConfig(**TWO, preset="paper")
    assert (gan.generator_filters, gan.blocks, gan.batch_size, gan.pool_size) == (64, 6, 1, 50)
    assert (gan.learning_rate, gan.cycle_weight, gan.identity_weight) == (2e-4, 10, 0.5)


@pytest.mark.parametrize(
    ("model", "values", "told"),
    [
        (CycleGANConfig, {"conditions": ("a", "b", "c")}, "between two conditions, got 3"),
        (CycleGANConfig, {**TWO, "rank": 4}, "rank"),
        (CycleGANConfig, {**TWO, "preset": "huge"}, "preset"),
        (PhenDiffConfig, {**TWO, "groups": 7}, "multiples of 7"),
        (PhenDiffConfig, {**TWO, "inference_steps": 4000}, "more inference steps"),
        (TrainingConfig, {**TWO, "minutes": 0}, "minutes"),
    ],
)
def test_what_makes_no_sense_is_refused(model, values, told):
    with pytest.raises(InputError, match=told):
        validated(model, values, where="train")


def test_what_a_baseline_does_is_told_twice_the_same():
    config = TranslationConfig(source="a", target="b")
    for asked, steps in ((CycleGANConfig(**TWO), 1), (PhenDiffConfig(**TWO, preset="paper"), 100)):
        run = SimpleNamespace(config=asked, calibration=None)
        used = settings_of_run(run, config)
        assert (used.guidance, used.depth, used.inference_steps) == (1.0, 1.0, steps)
        assert used.fixed_point_iterations == 1
        assert settings_of_run(run, used) == used
    run = SimpleNamespace(config=TrainingConfig(**TWO), calibration=None)
    assert settings_of_run(run, config) == config
    asked = config.model_copy(update={"inference_steps": 20})
    run = SimpleNamespace(config=PhenDiffConfig(**TWO), calibration=None)
    assert settings_of_run(run, asked).inference_steps == 20
    with pytest.raises(InputError, match="cyclegan has no inference steps"):
        settings_of("cyclegan", asked)
