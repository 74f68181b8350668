"""Checkpoints of Stable Diffusion in a single file, with the names of the original code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file

from napari_phenldiff import merge, train
from napari_phenldiff.diffusion import hub_client, single_file
from napari_phenldiff.diffusion.base import BaseModel, find_base
from napari_phenldiff.diffusion.base_weights import weights_in
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.errors import InputError
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.folder import Run

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}


def original_unet(unet: UNet2DConditionModel) -> dict[str, torch.Tensor]:
    """Rename the weights of a UNet as the code of latent diffusion names them."""
    layers = unet.config.layers_per_block

    def renamed(name: str) -> str:
        module, _, kind = name.rpartition(".")
        if module in _ENDS:
            return f"{_ENDS[module]}.{kind}"
        words = name.split(".")
        if words[0] == "mid_block":
            number = 1 if words[1] == "attentions" else 2 * int(words[2])
            place, rest = f"middle_block.{number}", words[3:]
        else:
            block, part, layer, rest = int(words[1]), words[2], int(words[3]), words[4:]
            if words[0] == "down_blocks":
                number = 1 + block * (layers + 1)
                if part == "downsamplers":
                    return f"input_blocks.{number + layers}.0.op.{kind}"
                place = f"input_blocks.{number + layer}"
            else:
                number = block * (layers + 1)
                if part == "upsamplers":
                    has_attention = "CrossAttn" in unet.config.up_block_types[block]
                    return f"output_blocks.{number + layers}.{1 + has_attention}.conv.{kind}"
                place = f"output_blocks.{number + layer}"
            place += ".1" if part == "attentions" else ".0"
        if "attentions" not in words:
            rest = [_RESNET[rest[0]], *rest[1:]]
        return ".".join([place, *rest])

    return {f"model.diffusion_model.{renamed(n)}": v for n, v in unet.state_dict().items()}


def original_autoencoder(vae: AutoencoderKL) -> dict[str, torch.Tensor]:
    """Rename the weights of an autoencoder as the code of latent diffusion names them."""
    blocks = len(vae.config.block_out_channels)
    attention = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out": "proj_out"}
    made = {}
    for name, value in vae.state_dict().items():
        words, kind = name.split("."), name.rpartition(".")[2]
        if words[1] in ("down_blocks", "up_blocks"):
            number = int(words[2]) if words[1] == "down_blocks" else blocks - 1 - int(words[2])
            place = f"{words[0]}.{words[1].removesuffix('_blocks')}.{number}"
            if words[3] == "resnets":
                inner = "nin_shortcut" if words[5] == "conv_shortcut" else words[5]
                new = f"{place}.block.{words[4]}.{inner}.{kind}"
            else:
                new = f"{place}.{words[3].removesuffix('rs')}.conv.{kind}"
        elif words[1] == "mid_block" and words[2] == "resnets":
            inner = "nin_shortcut" if words[4] == "conv_shortcut" else words[4]
            new = f"{words[0]}.mid.block_{int(words[3]) + 1}.{inner}.{kind}"
        elif words[1] == "mid_block":
            new = f"{words[0]}.mid.attn_1.{attention[words[4]]}.{kind}"
            if kind == "weight" and words[4] != "group_norm":
                value = value[:, :, None, None]  # they are convolutions there
        else:
            new = name.replace("conv_norm_out", "norm_out")
        made[f"first_stage_model.{new}"] = value.contiguous()
    return made


@pytest.fixture
def checkpoint(tiny_stable_diffusion, tmp_path, monkeypatch) -> Path:
    """The tiny base in a single file, and what the code knows of sizes made as tiny."""
    unet = UNet2DConditionModel.from_pretrained(tiny_stable_diffusion / "unet")
    vae = AutoencoderKL.from_pretrained(tiny_stable_diffusion / "vae")
    unet_config, vae_config = (
        {key: value for key, value in model.config.items() if not key.startswith("_")}
        for model in (unet, vae)
    )
    monkeypatch.setattr(single_file, "UNETS", {24: unet_config})
    monkeypatch.setattr(single_file, "AUTOENCODER", vae_config)
    monkeypatch.setattr(single_file, "_NOISE_ONLY", 24)
    monkeypatch.setattr(single_file, "_SIDES", {"epsilon": 8, "v_prediction": 12})
    weights = original_unet(unet) | original_autoencoder(vae)
    weights["cond_stage_model.transformer.weight"] = torch.zeros(3)
    weights["model_ema.decay"] = torch.ones(())
    place = tmp_path / "models" / "sd.safetensors"
    place.parent.mkdir()
    save_file(weights, place)
    return place


def rewrite(path: Path, change, metadata: dict[str, str] | None = None) -> None:
    weights = load_file(path)
    change(weights)
    path.unlink()
    save_file(weights, path, metadata)


def output(base: BaseModel) -> torch.Tensor:
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, 4, 8, 8, generator=generator)
    tokens = torch.randn(2, 4, base.token_width, generator=generator)
    with torch.no_grad():
        return base.unet(x, 300, encoder_hidden_states=tokens).sample


def test_a_single_file_is_the_same_model_as_its_folder(checkpoint, tiny_stable_diffusion):
    folder, single = BaseModel.load(str(tiny_stable_diffusion)), BaseModel.load(str(checkpoint))
    assert torch.equal(output(single), output(folder))
    images = np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    latents = folder.encode(images)
    assert torch.equal(single.encode(images), latents)
    np.testing.assert_array_equal(single.decode(latents, 3), folder.decode(latents, 3))
    np.testing.assert_array_equal(single.alphas_cumprod, folder.alphas_cumprod)
    for name in ("tile", "factor", "multiple", "image_channels", "prediction_type", "token_width"):
        assert getattr(single, name) == getattr(folder, name), name


def test_half_precision_is_read(checkpoint, tiny_stable_diffusion):
    rewrite(checkpoint, lambda weights: weights.update({k: v.half() for k, v in weights.items()}))
    single, folder = BaseModel.load(str(checkpoint)), BaseModel.load(str(tiny_stable_diffusion))
    assert single.unet.dtype == torch.float32
    torch.testing.assert_close(output(single), output(folder), rtol=1e-2, atol=1e-2)


def test_a_run_on_a_single_file_trains_translates_merges_and_moves(
    checkpoint, experiment, tmp_path, monkeypatch
):
    monkeypatch.chdir(checkpoint.parent)
    config = TrainingConfig(
        base="sd.safetensors",
        conditions=experiment.names,
        steps=2,
        batch_size=2,
        rank=2,
        device="cpu",
    )
    run = train(experiment, config, tmp_path / "run")
    assert run.config.base == str(checkpoint.resolve())
    assert run.base_weights == weights_in(checkpoint)
    quick = TranslationConfig(source="untreated", target="treated", inference_steps=4, depth=0.5)

    def translated(run: Run) -> np.ndarray:
        translator = Translator.from_run(run, device="cpu", precision="float32")
        (made,) = translator.translate(experiment["untreated"].images[:1], quick)
        return made.translated.data

    expected = translated(run)
    merged = merge(run, tmp_path / "merged")
    np.testing.assert_allclose(translated(merged), expected, atol=1)
    checkpoint.rename(tmp_path / "moved.safetensors")
    with pytest.raises(InputError, match=r"is not there.*--base-at"):
        translated(Run.open(run.path))
    moved = Run.open(run.path, base_at=tmp_path / "moved.safetensors")
    np.testing.assert_array_equal(translated(moved), expected)
    np.testing.assert_array_equal(translated(Run.open(run.path)), expected)
    rewrite(tmp_path / "moved.safetensors", lambda weights: weights["model_ema.decay"].add_(1))
    with pytest.raises(InputError, match="not the one"):
        translated(Run.open(run.path))


def test_stable_diffusion_2_must_say_what_it_predicts(checkpoint, monkeypatch):
    monkeypatch.setattr(single_file, "_NOISE_ONLY", 768)
    with pytest.raises(InputError, match=r"noise or v.*sd\.yaml"):
        BaseModel.load(str(checkpoint))
    beside = checkpoint.with_suffix(".yaml")
    beside.write_text('model:\n  params:\n    parameterization: "v"\n')
    found = BaseModel.load(str(checkpoint))
    assert (found.prediction_type, found.tile) == ("v_prediction", 48)
    beside.write_text("model:\n  params:\n    linear_start: 0.00085\n")
    found = BaseModel.load(str(checkpoint))
    assert (found.prediction_type, found.tile) == ("epsilon", 32)
    beside.unlink()
    for metadata, prediction in (
        ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v_prediction"),
        ({"modelspec.architecture": "stable-diffusion-v2-512"}, "epsilon"),
        ({"modelspec.prediction_type": "v"}, "v_prediction"),
    ):
        rewrite(checkpoint, lambda weights: None, metadata)
        assert BaseModel.load(str(checkpoint)).prediction_type == prediction


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda w: w.update(
                {single_file._XL_ATTENTION: torch.zeros(8, 2048), single_file._ATTENTION: None}
            ),
            "Stable Diffusion XL",
        ),
        (lambda w: w.update({f"{single_file._CLASSES}0.0.weight": torch.zeros(2)}), "unCLIP"),
        (lambda w: w.update({single_file._FIRST: torch.zeros(32, 9, 3, 3)}), "inpainting"),
        (lambda w: w.update({single_file._ATTENTION: torch.zeros(32, 99)}), "width of 99"),
        (lambda w: w.update({k: None for k in w if k.startswith("first")}), "no autoencoder"),
        (lambda w: w.update({k: None for k in w if "middle_block.0" in k}), "lacks weights"),
        (lambda w: w.update({k: None for k in w if k != "model_ema.decay"}), "no UNet"),
        (lambda w: w.update({f"{single_file._UNET}out.2.bias": torch.zeros(7)}), "be loaded"),
        (
            lambda w: w.update({f"{single_file._UNET}out.2.bias": torch.full((4,), torch.nan)}),
            "not finite|NaN",
        ),
    ],
)
def test_other_checkpoints_are_refused_with_the_reason(checkpoint, change, told):
    def changed(weights: dict) -> None:
        change(weights)
        for name in [name for name, value in weights.items() if value is None]:
            del weights[name]

    rewrite(checkpoint, changed)
    with pytest.raises(InputError, match=told) as caught:
        BaseModel.load(str(checkpoint))
    assert "\n" not in str(caught.value)


def test_an_adapter_is_no_base_and_other_formats_are_not_read(checkpoint, tmp_path):
    adapter = tmp_path / "lora.safetensors"
    save_file({"lora_unet_mid_block_attentions_0.lora_down.weight": torch.zeros(2)}, adapter)
    with pytest.raises(InputError, match="--from-adapter"):
        BaseModel.load(str(adapter))
    other = checkpoint.with_suffix(".ckpt")
    other.write_bytes(checkpoint.read_bytes())
    with pytest.raises(InputError, match="no safetensors file"):
        BaseModel.load(str(other))
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be read"):
        BaseModel.load(str(checkpoint))


def test_a_single_file_of_a_hub_is_fetched_with_what_says_its_prediction(
    hub, checkpoint, monkeypatch
):
    monkeypatch.setattr(hub_client, "_PAUSE", 0.0)
    checkpoint.with_suffix(".yaml").write_text("parameterization: v")
    (checkpoint.parent / "other.safetensors").write_bytes(b"not asked for")
    hub.add("lab/single", checkpoint.parent)
    base = BaseModel.load(f"{hub.endpoint}/lab/single/blob/main/sd.safetensors")
    assert base.prediction_type == "v_prediction"
    assert hub.fetched() == {"sd.safetensors"}
    commit = hub.models["lab/single"].branches["main"]
    asked = len(hub.asked)
    found = find_base(f"lab/single/sd.safetensors@{commit}", fetch=False)
    assert weights_in(found).commit == commit
    assert len(hub.asked) == asked
    with pytest.raises(InputError, match=r"no file none\.safetensors"):
        find_base("lab/single/none.safetensors")


@pytest.mark.parametrize(("width", "numbers"), [(768, 859_520_964), (1024, 865_910_724)])
def test_the_networks_are_those_that_were_published(width, numbers):
    with torch.device("meta"):
        unet = UNet2DConditionModel.from_config(single_file.UNETS[width])
        vae = AutoencoderKL.from_config(single_file.AUTOENCODER)
    assert sum(p.numel() for p in unet.parameters()) == numbers
    assert sum(p.numel() for p in vae.parameters()) == 83_653_863
    assert unet.config.attention_head_dim == (8 if width == 768 else (5, 10, 20, 20))
