"""Adapters and merged runs in other programs, and adapters of other programs here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    DiffusionPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

from napari_phenldiff import merge, resume, train
from napari_phenldiff.cli import main
from napari_phenldiff.diffusion.adaptation import load_adapter
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.start import read_start
from napari_phenldiff.diffusion.strategies import strategy_of
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import Noted
from napari_phenldiff.runs.folder import Run

BASES = ("tiny_base", "tiny_stable_diffusion")
QUERY = "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
OUT = "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0"
CONV = "down_blocks.0.resnets.0.conv1"


def settings(base: Path, **values) -> TrainingConfig:
    return TrainingConfig.model_validate(
        {
            "base": str(base),
            "conditions": ("untreated", "treated"),
            "steps": 3,
            "batch_size": 2,
            "rank": 2,
            "warmup": 0,
            "learning_rate": 0.01,
            "device": "cpu",
            "precision": "float32",
            "validation_images": 0,
            "reference_channels": (),
            **values,
        }
    )


def output(unet: torch.nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, unet.config.in_channels, 8, 8, generator=generator)
    tokens = torch.randn(2, 4, unet.config.cross_attention_dim, generator=generator)
    with torch.no_grad():
        return unet(x, 300, encoder_hidden_states=tokens).sample


def plain(base: Path) -> UNet2DConditionModel:
    return BaseModel.load(str(base)).unet


@pytest.fixture(params=BASES)
def base(request) -> Path:
    return request.getfixturevalue(request.param)


@pytest.mark.parametrize("layers", ["attention", "everywhere"])
def test_an_adapter_is_the_same_in_peft_and_diffusers(base, layers, experiment, tmp_path):
    run = train(experiment, settings(base, layers=layers, lora_alpha=6.0), tmp_path / "run")
    folder = str(run.adapter_path)
    ours = plain(base)
    load_adapter(run.adapter_path, ours)
    expected = output(ours)
    assert not torch.allclose(expected, output(plain(base)), atol=1e-4)

    def same(found: torch.Tensor) -> None:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)

    same(output(PeftModel.from_pretrained(plain(base), folder)))
    unet = plain(base)
    unet.load_lora_adapter(folder, prefix="unet", use_safetensors=True)
    same(output(unet))
    pipeline = StableDiffusionPipeline(
        vae=None,
        text_encoder=None,
        tokenizer=None,
        unet=plain(base),
        scheduler=DDIMScheduler(clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.load_lora_weights(folder)
    same(output(pipeline.unet))


def test_a_merged_run_opens_as_a_pipeline(tiny_stable_diffusion, experiment, tmp_path):
    run = train(experiment, settings(tiny_stable_diffusion), tmp_path / "run")
    merged = merge(run, tmp_path / "merged")
    ours = BaseModel.load(str(merged.path))
    for kind in (DiffusionPipeline, StableDiffusionPipeline):
        pipeline = kind.from_pretrained(merged.path, text_encoder=None, tokenizer=None)
        assert isinstance(pipeline, StableDiffusionPipeline)
        assert isinstance(pipeline.scheduler, DDIMScheduler)
        # to the rounding of two kinds of attention
        torch.testing.assert_close(output(pipeline.unet), output(ours.unet), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        pipeline.scheduler.alphas_cumprod.numpy(), ours.alphas_cumprod, rtol=1e-6
    )
    # it makes images of a condition by the tokens in the adapter
    tokens = load_file(merged.adapter_path / "condition_tokens.safetensors")
    pipeline.set_progress_bar_config(disable=True)
    made = pipeline(
        prompt_embeds=tokens["values"][1:2],
        negative_prompt_embeds=tokens["null"][None],
        num_inference_steps=2,
        height=32,
        width=32,
        output_type="np",
    )
    assert made.images.shape == (1, 32, 32, 3)
    vae = AutoencoderKL.from_pretrained(merged.path, subfolder="vae")
    assert vae.config.latent_channels == 4


def test_a_merged_run_of_the_bundled_kind_opens_in_parts(tiny_base, experiment, tmp_path):
    run = train(experiment, settings(tiny_base), tmp_path / "run")
    merged = merge(run, tmp_path / "merged")
    unet = UNet2DConditionModel.from_pretrained(merged.path, subfolder="unet")
    ours = BaseModel.load(str(merged.path)).unet
    torch.testing.assert_close(output(unet), output(ours), rtol=1e-4, atol=1e-5)
    DDIMScheduler.from_pretrained(merged.path, subfolder="scheduler")
    assert not (merged.path / "model_index.json").exists()


# ---- adapters of other programs ------------------------------------------------------------------


def trained_by_peft(unet: UNet2DConditionModel, **options) -> tuple[PeftModel, torch.Tensor]:
    """Return a network with an adapter of random weights, and its output."""
    torch.manual_seed(3)
    config = LoraConfig(
        **{"r": 3, "lora_alpha": 5, "target_modules": ["to_q", "to_out.0", "conv1"], **options}
    )
    model = get_peft_model(unet, config)
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return model, output(model)


def factors(model: PeftModel) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Return both factors of every layer."""
    return {
        name.removeprefix("base_model.model."): (
            module.lora_A["default"].weight.detach().clone(),
            module.lora_B["default"].weight.detach().clone(),
        )
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }


def as_peft(model: PeftModel, folder: Path) -> Path:
    model.save_pretrained(folder)
    return folder


def as_diffusers(model: PeftModel, folder: Path) -> Path:
    weights = {}
    for name, (down, up) in factors(model).items():
        weights |= {f"unet.{name}.lora_A.weight": down, f"unet.{name}.lora_B.weight": up}
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers={name.removeprefix("unet."): value for name, value in weights.items()},
        unet_lora_adapter_metadata=model.peft_config["default"].to_dict(),
    )
    return folder


def as_kohya(model: PeftModel, folder: Path) -> Path:
    weights = {"lora_te_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.zeros(3, 4)}
    weights["lora_te_text_model_encoder_layers_0_mlp_fc1.lora_up.weight"] = torch.zeros(4, 3)
    weights["lora_te_text_model_encoder_layers_0_mlp_fc1.alpha"] = torch.tensor(5.0)
    for name, (down, up) in factors(model).items():
        layer = f"lora_unet_{name.replace('.', '_')}"
        weights |= {
            f"{layer}.lora_down.weight": down,
            f"{layer}.lora_up.weight": up,
            f"{layer}.alpha": torch.tensor(5.0),
        }
    folder.mkdir()
    save_file(weights, folder / "any name.safetensors", {"ss_network_dim": "3"})
    return folder / "any name.safetensors"


def as_first_diffusers(model: PeftModel, folder: Path) -> Path:
    """Write the names of 2023, whose scale is one; the factors must have none."""
    weights = {}
    for name, (down, up) in factors(model).items():
        attention, _, layer = name.replace("to_out.0", "to_out").rpartition(".")
        if layer.startswith("to_"):
            start = f"unet.{attention}.processor.{layer}_lora"
        else:
            start = f"unet.{name}.lora"
        weights |= {f"{start}.down.weight": down, f"{start}.up.weight": up * 5 / 3}
    folder.mkdir()
    save_file(weights, folder / "pytorch_lora_weights.safetensors")
    return folder


WRITERS = (as_peft, as_diffusers, as_kohya, as_first_diffusers)


@pytest.mark.parametrize("write", WRITERS)
def test_an_adapter_of_another_program_is_where_a_training_starts(base, write, tmp_path):
    model, expected = trained_by_peft(plain(base))
    place = write(model, tmp_path / "theirs")
    unet = plain(base)
    start = read_start(place, unet)
    strategy = start.widen(strategy_of(settings(base, rank=2, lora_alpha=7.0)))
    assert strategy.rank == 3
    assert strategy.alpha / strategy.rank == 3.5
    strategy.add_to(unet)
    start.put_into(unet, strategy)
    torch.testing.assert_close(output(unet), expected, rtol=1e-4, atol=1e-5)
    learned = strategy.state(unet)
    assert f"{CONV}.lora_A.weight" in learned, "theirs are trained on"
    assert f"{QUERY.replace('to_q', 'to_k')}.lora_A.weight" in learned, "and ours too"
    assert start.text_encoder == (1 if write is as_kohya else 0)


def test_a_smaller_rank_is_filled_up_without_effect(tiny_base, tmp_path):
    model, expected = trained_by_peft(
        plain(tiny_base),
        rank_pattern={"to_q": 1},
        alpha_pattern={"attn1.to_q": 9},
        use_rslora=True,
    )
    place = as_peft(model, tmp_path / "theirs")
    unet = plain(tiny_base)
    start = read_start(place, unet)
    strategy = start.widen(strategy_of(settings(tiny_base, rank=8)))
    assert strategy.rank == 8
    strategy.add_to(unet)
    start.put_into(unet, strategy)
    torch.testing.assert_close(output(unet), expected, rtol=1e-4, atol=1e-5)
    down, up = (strategy.state(unet)[f"{QUERY}.lora_{name}.weight"] for name in "AB")
    assert torch.all(up[:, 1:] == 0)
    assert torch.all(down[1:].abs().sum(1) > 0), "what is added can learn"


@pytest.mark.parametrize("write", [as_peft, as_kohya])
def test_a_run_starts_from_an_adapter_and_is_bound_to_it(
    tiny_base, write, experiment, tmp_path, capsys
):
    model, expected = trained_by_peft(plain(tiny_base))
    place = write(model, tmp_path / "theirs")
    told = []
    config = settings(
        tiny_base, from_adapter=str(place), learning_rate=1e-12, weight_decay=0.0, steps=2
    )
    run = train(experiment, config, tmp_path / "run", on_event=told.append)
    texts = [event.message for event in told if isinstance(event, Noted)]
    assert any("Started from" in text and "rank 3" in text for text in texts)
    assert any("text encoder" in text for text in texts) == (write is as_kohya)
    unet = plain(tiny_base)
    load_adapter(run.adapter_path, unet)
    torch.testing.assert_close(output(unet), expected, rtol=1e-4, atol=1e-5)
    assert len(run.from_adapter_sha256) == 64
    # it goes on with the same adapter only
    resume(run.path, steps=3)
    file = place if place.is_file() else place / "adapter_model.safetensors"
    kept = file.read_bytes()
    file.write_bytes(kept[:-4] + b"abcd")
    with pytest.raises(InputError, match=r"not the one that .* was started from"):
        resume(run.path, steps=4)
    file.unlink()
    with pytest.raises(InputError, match="no adapter at"):
        resume(run.path, steps=4)
    # and what was refused has not become a training of 4 steps
    assert resume(run.path).config.steps == 3


def test_a_run_starts_from_a_run_with_its_tokens(tiny_base, experiment, tmp_path):
    first = train(experiment, settings(tiny_base, token_learning_rate=0.5), tmp_path / "first")
    config = settings(
        tiny_base,
        from_adapter=str(first.path),
        learning_rate=1e-12,
        token_learning_rate=1e-12,
        weight_decay=0.0,
        steps=1,
    )
    second = train(experiment, config, tmp_path / "second")
    for name in ("condition_tokens", "pytorch_lora_weights"):
        before = load_file(first.adapter_path / f"{name}.safetensors")
        after = load_file(second.adapter_path / f"{name}.safetensors")
        for key, value in before.items():
            torch.testing.assert_close(after[key], value, rtol=1e-5, atol=1e-7)
    merged = merge(Run.open(second.path), tmp_path / "merged")
    assert merged.config.from_adapter is None


def test_the_command_takes_an_adapter_and_refuses_what_is_none(
    tiny_base, experiment, tmp_path, capsys
):
    assert "--from-adapter" in _help(capsys)
    data = tmp_path / "data"
    for name in experiment.names:
        from napari_phenldiff import write_tiff

        (data / name).mkdir(parents=True)
        for image in experiment[name].images:
            write_tiff(data / name / f"{image.name}.tif", image)
    out = tmp_path / "run"
    line = ["train", str(data), "--source", "untreated", "--target", "treated", "--out", str(out)]
    line += ["--base", str(tiny_base), "--steps", "1", "--batch-size", "2", "--device", "cpu"]
    assert main([*line, "--from-adapter", str(tmp_path / "nothing")]) == 2
    assert "There is no adapter at" in capsys.readouterr().err
    assert not out.exists()
    assert main([*line, "--from-adapter", "x", "--strategy", "svdiff"]) == 2
    assert "the strategy is svdiff" in capsys.readouterr().err
    place = as_kohya(trained_by_peft(plain(tiny_base))[0], tmp_path / "theirs")
    assert main([*line, "--from-adapter", str(place)]) == 0
    assert json.loads((out / "config.json").read_text())["config"]["from_adapter"] == str(place)


def _help(capsys) -> str:
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"lora_unet_x.hada_w1_a": torch.zeros(2)}, "is a LoHa"),
        ({"unet.x.lokr_w1": torch.zeros(2)}, "is a LoKr"),
        ({f"{QUERY}.lora_magnitude_vector": torch.zeros(2)}, "is a DoRA"),
        ({"conv_in.weight": torch.zeros(2)}, "not those of a LoRA"),
        ({f"unet.{QUERY}.lora_A.weight": torch.zeros(2, 32)}, "not complete"),
        (
            {
                f"unet.{QUERY}.lora_A.weight": torch.zeros(2, 320),
                f"unet.{QUERY}.lora_B.weight": torch.zeros(320, 2),
            },
            "has another size here",
        ),
        (
            {
                "lora_unet_input_blocks_4_1.lora_down.weight": torch.zeros(2, 320),
                "lora_unet_input_blocks_4_1.lora_up.weight": torch.zeros(320, 2),
            },
            "made for another base model",
        ),
        (
            {
                f"unet.{QUERY}.lora_A.weight": torch.full((2, 32), torch.nan),
                f"unet.{QUERY}.lora_B.weight": torch.zeros(32, 2),
            },
            "damaged",
        ),
        ({"text_encoder.x.lora_A.weight": torch.zeros(2, 2)}, "only of a text encoder"),
    ],
)
def test_what_is_no_adapter_of_this_base_is_told(tiny_base, tmp_path, weights, told):
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=told) as caught:
        read_start(tmp_path / "x.safetensors", plain(tiny_base))
    assert "\n" not in str(caught.value)


def test_other_formats_and_damaged_files_are_told(tiny_base, experiment, tmp_path):
    unet = plain(tiny_base)
    (tmp_path / "adapter_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match="no safetensors file"):
        read_start(tmp_path / "adapter_model.bin", unet)
    with pytest.raises(InputError, match="no adapter at"):
        read_start(tmp_path, unet)
    place = as_peft(trained_by_peft(plain(tiny_base))[0], tmp_path / "theirs")
    shutil.copytree(place, tmp_path / "cut")
    path = tmp_path / "cut" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        read_start(tmp_path / "cut", unet)
    (place / "adapter_config.json").unlink()
    with pytest.raises(InputError, match=r"adapter_config\.json belongs beside it"):
        read_start(place, unet)
    run = train(experiment, settings(tiny_base, strategy="svdiff", steps=1), tmp_path / "run")
    with pytest.raises(InputError, match=r"not trained with LoRA.*phenldiff merge"):
        read_start(run.path, unet)
