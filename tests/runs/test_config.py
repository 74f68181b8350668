from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import (
    LEARNING_RATES,
    LORA_SCALE,
    TrainingConfig,
    TranslationConfig,
    validated,
)


def test_a_config_comes_back_from_json_as_it_was():
    config = TrainingConfig(conditions=("a", "b", "c"), images_per_condition=50, seed=3)
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config


def test_a_config_cannot_be_changed():
    with pytest.raises(ValidationError):
        TrainingConfig(conditions=("a", "b")).steps = 5


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"conditions": ["a"]}, "conditions"),
        ({"conditions": ["a", "a"]}, "must differ, got a, a"),
        ({"conditions": ["a", ""]}, "conditions.1"),
        ({"conditions": ["a", "b"], "steps": 0}, r"steps: .*\(got 0\)"),
        ({"conditions": ["a", "b"], "images_per_condition": 1}, "images_per_condition"),
        ({"conditions": ["a", "b"], "learning_rate": float("nan")}, "learning_rate"),
        ({"conditions": ["a", "b"], "ema": 1.0}, "ema"),
        ({"conditions": ["a", "b"], "strategy": "magic"}, r"strategy: .*'lora'.*\(got 'magic'\)"),
        ({"conditions": ["a", "b"], "seed": -1}, "seed"),
        ({"conditions": ["a", "b"], "stepps": 5}, "stepps"),
        ({}, "conditions: field required"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_sentence(values, told):
    with pytest.raises(InputError, match=told) as caught:
        validated(TrainingConfig, values, where="train")
    message = str(caught.value)
    assert message.startswith("train: ")
    assert "\n" not in message
    assert "pydantic" not in message


def test_all_faults_are_told_at_once():
    values = {"conditions": ["a", "b"], "steps": -1, "rank": 0}
    with pytest.raises(InputError, match=r"rank: .*; steps: |steps: .*; rank: "):
        validated(TrainingConfig, values, where="train")


@pytest.mark.parametrize(
    "wrong",
    [{"depth": 0}, {"depth": 1.1}, {"strength": float("inf")}, {"inference_steps": 0},
     {"guidance": -1}, {"guidance_from": "target"}],
)  # fmt: skip
def test_a_translation_that_cannot_be_is_refused(wrong):
    (field,) = wrong
    with pytest.raises(InputError, match=field):
        validated(TranslationConfig, {"source": "a", "target": "b", **wrong}, where="translate")


def test_a_translation_may_go_beyond_the_target_and_to_the_source_itself():
    config = TranslationConfig(source="a", target="a", strength=1.5, depth=1)
    assert json.loads(config.model_dump_json())["strength"] == 1.5


@pytest.mark.parametrize("given", [{}, {"strategy": "auto"}])
@pytest.mark.parametrize(
    ("base", "layers", "scale"),
    [
        (None, "everywhere", LORA_SCALE),
        ("bundled", "everywhere", LORA_SCALE),
        ("owner/name", "attention", 1),
        ("stable_diffusion", "attention", 1),
        ("pretrained", "everywhere", LORA_SCALE),
    ],
)
def test_lora_suits_the_base_unless_given(given, base, layers, scale, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for kind, part in (("stable_diffusion", "text_encoder"), ("pretrained", "conditioner")):
        (tmp_path / kind / part).mkdir(parents=True)
        (tmp_path / kind / part / "config.json").write_text("{}")
    values = {"conditions": ("a", "b"), **({"base": base} if base else {})}
    config = TrainingConfig(**values, **given)
    assert (config.strategy, config.learning_rate) == ("lora", LEARNING_RATES["lora"])
    assert (config.layers, config.lora_alpha) == (layers, scale * config.rank)
    assert TrainingConfig(**values, **given, rank=8).lora_alpha == scale * 8
    assert TrainingConfig(**values, **given, rank=8, lora_alpha=3).lora_alpha == 3
    assert TrainingConfig(**values, **given, layers="attention").layers == "attention"
    assert TrainingConfig(**values, strategy="svdiff").strategy == "svdiff"
    # what is kept says which it was
    assert TrainingConfig.model_validate_json(config.model_dump_json()) == config
