from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.errors import InputError


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
