from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from napari_phenldiff.diffusion.base import BaseModel, find_base
from napari_phenldiff.diffusion.base_weights import checked_base
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run


def test_sizes_come_from_the_configs(tiny_base, tiny_stable_diffusion):
    small = BaseModel.load(str(tiny_base))
    assert (small.tile, small.factor, small.multiple) == (32, 8, 16)
    assert (small.prediction_type, small.token_width) == ("v_prediction", 16)
    assert small.encoder is not None
    other = BaseModel.load(str(tiny_stable_diffusion))
    assert (other.tile, other.factor, other.multiple) == (32, 4, 8)
    assert (other.prediction_type, other.token_width) == ("epsilon", 24)
    assert other.encoder is None


def test_images_with_fewer_channels_are_padded(tiny_base):
    base = BaseModel.load(str(tiny_base))
    images = np.random.default_rng(0).uniform(-1, 0, (2, 1, 32, 32)).astype(np.float32)
    latents = base.encode(images)
    assert latents.shape == (2, 48, 4, 4)
    assert base.decode(latents, 1).shape == images.shape


def test_missing_folder_is_told_at_once():
    start = time.monotonic()
    with pytest.raises(InputError, match="no base model at no_such_base"):
        BaseModel.load("no_such_base")
    with pytest.raises(InputError, match="no base model at"):
        BaseModel.load("./models/missing")
    assert time.monotonic() - start < 2


def test_folder_that_is_no_base(tmp_path: Path):
    with pytest.raises(InputError, match=r"not a base model: it has no vae/config\.json"):
        BaseModel.load(str(tmp_path))


def test_pickled_weights_are_refused(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    weights = tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(InputError, match="safetensors"):
        BaseModel.load(str(tmp_path / "base"))


def test_other_architectures_are_refused(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    path = tmp_path / "base" / "unet" / "config.json"
    config = json.loads(path.read_text()) | {"_class_name": "FluxTransformer2DModel"}
    path.write_text(json.dumps(config))
    with pytest.raises(InputError, match="FluxTransformer2DModel"):
        BaseModel.load(str(tmp_path / "base"))


def test_damaged_weights_are_told(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    path = tmp_path / "base" / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="unet of the base model"):
        BaseModel.load(str(tmp_path / "base"))


def test_a_base_that_predicts_the_sample_is_refused(tiny_base, tmp_path):
    import json
    import shutil

    folder = shutil.copytree(tiny_base, tmp_path / "base")
    path = folder / "scheduler" / "scheduler_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"prediction_type": "sample"}))
    with pytest.raises(InputError, match="predicts sample; give one that predicts epsilon or"):
        BaseModel.load(str(folder))


def change(folder: Path, part: str, name: str = "config.json", **values: Any) -> None:
    path = folder / part / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def base(tiny_base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


@pytest.fixture
def stable_diffusion(tiny_stable_diffusion: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_stable_diffusion, tmp_path / "sd"))


@pytest.fixture
def no_weights_are_read(monkeypatch):
    """What is refused must be refused before a network is allocated or a weight is read."""

    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", fail)


@pytest.mark.usefixtures("no_weights_are_read")
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"layers_per_block": 10**6}, "layers_per_block is 1,000,000"),
        ({"block_out_channels": [2**20, 64]}, "block_out_channels is 1,048,576"),
        ({"block_out_channels": [32] * 1000}, "block_out_channels has 1000 entries"),
        ({"cross_attention_dim": [16, 16]}, "conditioning width"),
        ({"addition_embed_type": "text_time"}, "Stable Diffusion XL"),
        ({"class_embed_type": "projection"}, "unCLIP"),
        ({"num_class_embeds": 1000}, "upscalers"),
        ({"encoder_hid_dim_type": "image_proj"}, "embeddings of images"),
        ({"in_channels": 9}, "inpainting"),
        ({"out_channels": 3}, "makes 3 channels"),
        ({"norm_num_groups": 7}, "cannot be made from its configuration"),
        ({"cross_attention_dim": 32}, "another shape"),
        ({"layers_per_block": 2}, "lacks weights"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_before_it_is_made(base, values, told):
    change(base, "unet", **values)
    with pytest.raises(InputError, match=told):
        BaseModel.load(str(base))


@pytest.mark.usefixtures("no_weights_are_read")
@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"prediction_type": "sample"}, "predicts sample"),
        ({"num_train_timesteps": 0}, "at least 10"),
        ({"num_train_timesteps": 10**9}, "1,000,000,000"),
        ({"beta_start": float("nan")}, "beta_start is nan"),
    ],
)
def test_a_schedule_that_cannot_be_used_is_refused(base, values, told):
    change(base, "scheduler", "scheduler_config.json", **values)
    with pytest.raises(InputError, match=told):
        BaseModel.load(str(base))


@pytest.mark.usefixtures("no_weights_are_read")
@pytest.mark.parametrize(
    "values", [{"shift": 1e308}, {"scale": [0.0] * 16}, {"scale": [-1.0] * 16}, {"shift": "x"}]
)
def test_an_autoencoder_with_an_absurd_scale_is_refused(base, values):
    change(base, "vae", **values)
    with pytest.raises(InputError, match=f"has the {next(iter(values))} "):
        BaseModel.load(str(base))


@pytest.mark.usefixtures("no_weights_are_read")
def test_configurations_that_are_no_files_or_nested_without_end_are_refused(base):
    path = base / "unet" / "config.json"
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"unet.config\.json of the base model cannot be read"):
        BaseModel.load(str(base))
    path.unlink()
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(path)
    with pytest.raises(InputError, match="not a regular file"):
        BaseModel.load(str(base))


@pytest.mark.parametrize("name", ["diffusion_pytorch_model.bin", "../../../weights.safetensors"])
def test_an_index_that_names_other_files_than_safetensors_beside_it_is_refused(base, name):
    weights = base / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(base / "unet" / "diffusion_pytorch_model.bin")
    index = {"metadata": {}, "weight_map": {"conv_in.weight": name}}
    (base / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="only safetensors files beside it are read"):
        BaseModel.load(str(base))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_an_index_that_is_no_regular_file_is_refused(base):
    (base / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    os.mkfifo(base / "unet" / "diffusion_pytorch_model.safetensors.index.json")
    with pytest.raises(InputError, match="no safetensors weights"):
        BaseModel.load(str(base))


def test_weights_in_pieces_are_loaded_as_those_in_one_file(base):
    whole = BaseModel.load(str(base))
    (base / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    whole.unet.save_pretrained(base / "unet", max_shard_size="200KB")
    assert (base / "unet" / "diffusion_pytorch_model.safetensors.index.json").is_file()
    pieces = BaseModel.load(str(base))
    for name, tensor in whole.unet.state_dict().items():
        assert torch.equal(tensor, pieces.unet.state_dict()[name])


@pytest.mark.usefixtures("no_weights_are_read")
def test_weights_of_another_network_are_refused(base):
    path = base / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(str(path))
    save_file({**weights, "more.weight": torch.zeros(2)}, str(path))
    with pytest.raises(InputError, match=r"too many weights .*more\.weight"):
        BaseModel.load(str(base))
    kept = dict(list(weights.items())[3:])
    save_file(kept, str(path))
    with pytest.raises(InputError, match="lacks weights"):
        BaseModel.load(str(base))


def test_the_old_names_in_the_autoencoder_of_stable_diffusion_are_known(stable_diffusion):
    new = BaseModel.load(str(stable_diffusion))
    path = stable_diffusion / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    renamed = {}
    for name, tensor in load_file(str(path)).items():
        for today, before in old.items():
            if "attentions" in name:
                name = name.replace(f".{today}.", f".{before}.")
        renamed[name] = tensor
    assert any(".query." in name for name in renamed)
    save_file(renamed, str(path), metadata={"format": "pt"})
    images = np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    again = BaseModel.load(str(stable_diffusion))
    assert torch.equal(again.encode(images), new.encode(images))


def test_only_what_the_user_typed_may_ask_the_hub(hub, stable_diffusion, tmp_path, experiment):
    config = TrainingConfig(conditions=experiment.names, base="owner/name")
    scaling = IntensityScaling.fit(experiment.images)
    made = Run.from_experiment(tmp_path / "run", config, experiment=experiment, scaling=scaling)
    with pytest.raises(InputError, match="no base model at owner/name"):
        checked_base(made)
    assert hub.asked == ["GET /api/models/owner/name"]
    hub.add("owner/name", stable_diffusion)
    # the same run, as it comes from somebody else
    opened = Run.open(made.path)
    with pytest.raises(InputError, match=r"the run names it.*phenldiff fetch.*--base-at FOLDER"):
        checked_base(opened)
    assert len(hub.asked) == 1
    # and once its user has fetched the model
    found = find_base("owner/name")
    asked = len(hub.asked)
    assert checked_base(opened) == found
    assert len(hub.asked) == asked
