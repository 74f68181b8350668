"""Condition tokens that start from prompts, with a tiny text encoder of random weights."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from napari_phenldiff import resume, train
from napari_phenldiff.cli import main
from napari_phenldiff.diffusion.prompts import read_prompts
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.runs.config import TrainingConfig, validated
from napari_phenldiff.runs.events import Noted
from napari_phenldiff.runs.folder import Run

PROMPTS = {"untreated": "a cell", "treated": "big cells"}
TOKENS = 14


@pytest.fixture(scope="session")
def with_text(tiny_stable_diffusion, tmp_path_factory) -> Path:
    """The tiny base, with a text encoder of 16 tokens and a tokenizer of letters."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("with_text") / "base"
    shutil.copytree(tiny_stable_diffusion, folder)
    letters = [chr(code) for code in range(97, 123)]
    words = [*letters, *(f"{one}</w>" for one in letters), "<|startoftext|>", "<|endoftext|>"]
    made = folder.parent / "words"
    made.mkdir()
    (made / "vocab.json").write_text(json.dumps({word: k for k, word in enumerate(words)}))
    (made / "merges.txt").write_text("#version: 0.2\n")
    CLIPTokenizer.from_pretrained(str(made)).save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(words),
            hidden_size=24,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=16,
            bos_token_id=len(words) - 2,
            eos_token_id=len(words) - 1,
            pad_token_id=len(words) - 1,
        )
    ).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture
def copied(with_text, tmp_path) -> Path:
    """A copy of that base, to damage."""
    return Path(shutil.copytree(with_text, tmp_path / "copied"))


def settings(base: Path, **values) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "base": str(base),
            "conditions": ("untreated", "treated"),
            "prompts": PROMPTS,
            "tokens_per_condition": TOKENS,
            "steps": 2,
            "batch_size": 2,
            "rank": 2,
            "device": "cpu",
            "precision": "float32",
            "validation_images": 0,
            "checkpoint_every": 1,
            # so little that what was learned does not show
            "learning_rate": 1e-9,
            "token_learning_rate": 1e-9,
            **values,
        }
    )


def as_a_pipeline_reads(base: Path, prompt: str) -> torch.Tensor:
    """Return the embedding of a prompt as diffusers makes it, of all tokens."""
    from transformers import CLIPTextModel, CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(str(base / "tokenizer"), model_max_length=16)
    pipeline = StableDiffusionPipeline(
        vae=None,
        text_encoder=CLIPTextModel.from_pretrained(base / "text_encoder"),
        tokenizer=tokenizer,
        unet=None,
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    return pipeline.encode_prompt(prompt, "cpu", 1, False)[0][0]


def test_a_prompt_is_read_as_diffusers_reads_it(with_text):
    values, null = read_prompts(with_text, "base", PROMPTS, tokens=16, width=24)
    for name, text in PROMPTS.items():
        torch.testing.assert_close(values[name], as_a_pipeline_reads(with_text, text))
    torch.testing.assert_close(null, as_a_pipeline_reads(with_text, ""))
    # fewer tokens are the first ones
    few, _ = read_prompts(with_text, "base", PROMPTS, tokens=TOKENS, width=24)
    torch.testing.assert_close(few["treated"], values["treated"][:TOKENS])


def test_tokens_start_from_prompts_and_the_encoder_does_not_stay(with_text, experiment, tmp_path):
    run = train(experiment, settings(with_text), tmp_path / "run")
    gc.collect()
    assert not [one for one in gc.get_objects() if type(one).__name__ == "CLIPTextModel"]
    values, null = read_prompts(with_text, "base", PROMPTS, tokens=TOKENS, width=24)
    kept = load_file(run.adapter_path / "condition_tokens.safetensors")
    for k, name in enumerate(PROMPTS):
        torch.testing.assert_close(kept["values"][k], values[name], rtol=0, atol=1e-6)
    torch.testing.assert_close(kept["null"], null, rtol=0, atol=1e-6)
    told = [event.message for event in run.events()[0] if isinstance(event, Noted)]
    assert any("start from prompts" in text for text in told)
    assert Run.open(run.path).config.prompts == PROMPTS


def test_a_condition_without_a_prompt_starts_as_without(with_text, experiment, tmp_path):
    config = settings(with_text, prompts={"treated": "big cells"})
    run = train(experiment, config, tmp_path / "run")
    kept = load_file(run.adapter_path / "condition_tokens.safetensors")["values"]
    values, _ = read_prompts(with_text, "base", PROMPTS, tokens=TOKENS, width=24)
    torch.testing.assert_close(kept[1], values["treated"], rtol=0, atol=1e-6)
    assert kept[0].abs().max() < 0.1


def test_each_group_of_channels_starts_from_the_prompt(with_text, experiment, tmp_path):
    config = settings(with_text, reference_channels=("DNA",))
    run = train(experiment, config, tmp_path / "run")
    kept = load_file(run.adapter_path / "condition_tokens.safetensors")["values"]
    assert kept.shape == (2, 2 * TOKENS, 24)
    torch.testing.assert_close(kept[:, :TOKENS], kept[:, TOKENS:], rtol=0, atol=1e-6)


def test_a_resumed_run_does_not_need_the_text_encoder(copied, experiment, tmp_path):
    asked = iter([True])
    run = train(experiment, settings(copied), tmp_path / "run", should_stop=lambda: next(asked))
    shutil.rmtree(copied / "text_encoder")
    assert resume(run).state == "finished"


def test_tokens_of_a_condition_are_as_many_as_the_text_encoder_makes():
    config = {"conditions": ("a", "b"), "base": "x"}
    assert TrainingConfig(**config).tokens_per_condition == 4
    assert TrainingConfig(**config, prompts={"a": "x"}).tokens_per_condition == 77
    assert TrainingConfig(**config, prompts={"a": "x"}, tokens_per_condition=9).prompts == {
        "a": "x"
    }
    for prompts, told in (({"c": "x"}, "none of the conditions"), ({"a": ""}, "prompts")):
        with pytest.raises(InputError, match=told):
            validated(TrainingConfig, {**config, "prompts": prompts}, where="train")


@pytest.mark.parametrize(
    ("prompt", "tokens", "told"),
    [
        ("these are far too many", TOKENS, "The prompt of treated has 20 tokens"),
        ("a", 2, "The prompt of treated has 3 tokens"),
        ("a", 17, "makes 16 tokens, and a condition has 17"),
    ],
)
def test_what_is_too_long_is_refused(with_text, prompt, tokens, told):
    with pytest.raises(InputError, match=told):
        read_prompts(with_text, "base", {"treated": prompt}, tokens=tokens, width=24)


def _without(part):
    return lambda folder: shutil.rmtree(folder / part)


def _config(**values):
    def change(folder):
        path = folder / "text_encoder" / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def _weights(change):
    def damage(folder):
        path = folder / "text_encoder" / "model.safetensors"
        save_file(change(load_file(path)), path)

    return damage


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_without("text_encoder"), "has no text encoder here .no text_encoder.: give a folder"),
        (_without("tokenizer"), "no tokenizer"),
        (_config(architectures=["T5EncoderModel"]), "is not a CLIPTextModel"),
        (_config(hidden_size="wide"), "hidden_size wide"),
        (_config(hidden_size=48), "makes tokens of the width 48, and its UNet takes 24"),
        (_config(num_hidden_layers=3), "lacks weights"),
        (_config(vocab_size=20), "its tokenizer knows tokens that its text encoder does not"),
        (_weights(lambda w: {n: v * torch.nan for n, v in w.items()}), "text encoder.*damaged"),
        (
            lambda f: (f / "text_encoder" / "model.safetensors").write_bytes(b"x"),
            "cannot be loaded",
        ),
        (
            lambda f: (f / "text_encoder" / "model.safetensors").rename(
                f / "text_encoder" / "pytorch_model.bin"
            ),
            "no safetensors weights in text_encoder",
        ),
        (
            lambda f: [path.write_text("{") for path in (f / "tokenizer").iterdir()],
            "tokenizer of the base model base cannot be loaded",
        ),
    ],
)
def test_a_base_that_cannot_read_prompts_is_told(copied, damage, told):
    damage(copied)
    with pytest.raises(InputError, match=told):
        read_prompts(copied, "base", PROMPTS, tokens=TOKENS, width=24)


def test_weights_under_the_names_of_2022_are_read(copied):
    expected, _ = read_prompts(copied, "base", PROMPTS, tokens=TOKENS, width=24)
    path = copied / "text_encoder" / "model.safetensors"
    weights = load_file(path)
    old = {f"text_model.{name.removeprefix('text_model.')}": v for name, v in weights.items()}
    old["text_model.embeddings.position_ids"] = torch.arange(16)[None]
    save_file(old, path)
    found, _ = read_prompts(copied, "base", PROMPTS, tokens=TOKENS, width=24)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)


def test_the_command_takes_prompts(with_text, experiment, tmp_path, capsys):
    for condition in experiment.conditions:
        for image in condition.images:
            write_tiff(tmp_path / "data" / condition.name / f"{image.name}.tif", image)
    command = [
        "train", str(tmp_path / "data"), "--source", "untreated", "--target", "treated", "--out",
        str(tmp_path / "run"), "--base", str(with_text), "--steps", "1", "--batch-size", "2",
        "--rank", "2", "--device", "cpu", "--validation-images", "0",
    ]  # fmt: skip
    assert main([*command, "--prompt", "treated"]) == 2
    assert "where NAME=TEXT is needed" in capsys.readouterr().err
    assert main([*command, "--prompt", "treated=big cells"]) == 2
    assert "makes 16 tokens, and a condition has 77" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
    more = ["--prompt", "treated=big cells", "--tokens-per-condition", "16"]
    assert main([*command, *more, "--prompt", "untreated=a = b"]) == 0
    assert Run.open(tmp_path / "run").config.prompts == {
        "treated": "big cells",
        "untreated": "a = b",
    }
