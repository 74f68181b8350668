from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from skimage.io import imread

from napari_phenldiff.diffusion import pretrain as pretrain_module
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.conditioning import describe, initial_tokens
from napari_phenldiff.diffusion.network import build_unet, count_parameters, save_half
from napari_phenldiff.diffusion.pool import (
    ImagePool,
    compose_tiles,
    in_chunks,
    simulated_fields,
    write_pool,
)
from napari_phenldiff.diffusion.pretrain import pretrain
from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig, shape_of
from napari_phenldiff.diffusion.pretraining_folder import PretrainingFolder
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.simulate import PHENOTYPES
from napari_phenldiff.runs.config import validated
from napari_phenldiff.runs.events import Finished, Preview, Saved, Step

TINY = PretrainingConfig(
    widths=(32, 32), heads=(1, 1), token_width=16, tile=32, steps=6, batch_size=2, device="cpu",
    preview_every=0,
)  # fmt: skip


def tiny(**changes: object) -> PretrainingConfig:
    return TINY.model_copy(update=changes)


@pytest.fixture(scope="module")
def pool() -> ImagePool:
    rng = np.random.default_rng(0)
    tiles = (rng.random((6, 32, 32)) ** 4 * 255).astype(np.uint8)
    return ImagePool(compose_tiles(tiles, np.array([0, 0, 0, 1, 1, 1]), 24))


@pytest.fixture(scope="module")
def made(pool, tmp_path_factory) -> Path:
    """A base of six steps, made without a stop."""
    folder = tmp_path_factory.mktemp("made") / "base"
    list(pretrain(pool, TINY, folder))
    return folder


def weights(base: Path) -> dict[str, torch.Tensor]:
    files = sorted(base.glob("*/*.safetensors"))
    assert len(files) == 3
    return {f"{f.parent.name}.{k}": v for f in files for k, v in load_file(str(f)).items()}


def same(first: Path, second: Path) -> bool:
    a, b = weights(first), weights(second)
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_pretraining_makes_a_base(pool, made):
    base = BaseModel.load(str(made))
    assert (base.tile, base.image_channels, base.prediction_type) == (32, 3, "v_prediction")
    latents = base.encode(pool(np.random.default_rng(0), 16))
    assert float(latents.std()) == pytest.approx(1, abs=0.4)
    card = (made / "README.md").read_text()
    assert "6 steps of 2 images, seed 0, started from random weights" in card
    assert str(made.parent) not in card


def test_a_stopped_pretraining_goes_on_as_if_it_had_not_been(pool, made, tmp_path):
    asked = iter([False, False, True])
    first = list(pretrain(pool, TINY, tmp_path, should_stop=lambda: next(asked)))
    assert first[-1].stopped
    assert not (tmp_path / "README.md").exists()
    second = list(pretrain(pool, TINY, tmp_path))
    assert [e.step for e in second if isinstance(e, Step)] == [4, 5, 6]
    assert isinstance(second[-2], Saved)
    assert second[-1] == Finished(6, time=second[-1].time)
    assert same(tmp_path, made)
    # nothing is left to do
    assert [type(e) for e in pretrain(pool, TINY, tmp_path)] == [Finished]


def test_a_killed_pretraining_goes_on_from_its_last_checkpoint(pool, made, tmp_path):
    config = tiny(checkpoint_every=2)
    for event in pretrain(pool, config, tmp_path):
        if isinstance(event, Step) and event.step == 5:
            break
    # killed while it wrote: a half written base, and a half written checkpoint
    half = tmp_path / "training" / "checkpoints" / ".tmp-step_000006-0"
    half.mkdir()
    (half / "state.safetensors").write_bytes(b"half")
    (tmp_path / "unet" / ".diffusion_pytorch_model.0.part.safetensors").write_bytes(b"half")
    steps = [e.step for e in pretrain(pool, config, tmp_path) if isinstance(e, Step)]
    assert steps == [5, 6]
    (tmp_path / "unet" / ".diffusion_pytorch_model.0.part.safetensors").unlink()
    assert same(tmp_path, made)
    kept = sorted(p.name for p in (tmp_path / "training" / "checkpoints").glob("step_*"))
    assert kept == ["step_000004", "step_000006"]


def test_the_seed_decides(pool, made, tmp_path):
    list(pretrain(pool, TINY, tmp_path / "same"))
    list(pretrain(pool, tiny(seed=1), tmp_path / "other"))
    assert same(tmp_path / "same", made)
    assert not same(tmp_path / "other", made)


def test_other_settings_are_refused(pool, made):
    before = weights(made)
    with pytest.raises(InputError, match=r"other settings \(widths is 32, 32 there, not 64, 64\)"):
        list(pretrain(pool, tiny(widths=(64, 64)), made))
    with pytest.raises(InputError, match="steps is 6 there, not 9"):
        list(pretrain(pool, tiny(steps=9), made))
    assert all(torch.equal(before[key], value) for key, value in weights(made).items())


def test_a_damaged_checkpoint_is_told(pool, tmp_path):
    list(pretrain(pool, tiny(checkpoint_every=3), tmp_path))
    newest = tmp_path / "training" / "checkpoints" / "step_000006" / "state.safetensors"
    newest.write_bytes(b"x" * newest.stat().st_size)
    with pytest.raises(InputError, match=r"step_000006 cannot be read.*delete that folder"):
        list(pretrain(pool, tiny(checkpoint_every=3), tmp_path))


@pytest.mark.parametrize("at", [1, 4])
def test_a_pretraining_that_diverges_keeps_what_was_good(pool, tmp_path, at, monkeypatch):
    step = pretrain_module._Training.step
    monkeypatch.setattr(
        pretrain_module._Training,
        "step",
        lambda self, number, batch: float("nan") if number == at else step(self, number, batch),
    )
    with pytest.raises(InputError, match=f"has diverged: at step {at} the loss .* lower learning"):
        list(pretrain(pool, tiny(checkpoint_every=2), tmp_path / "base"))
    newest = PretrainingFolder(tmp_path / "base").latest_checkpoint()
    assert (newest and newest[0]) == (None if at == 1 else 2)


def test_weights_that_half_precision_cannot_hold_are_not_written(tmp_path):
    layer = build_unet(TINY)
    with torch.no_grad():
        next(layer.parameters()).view(-1)[0] = 1e6
    with pytest.raises(InputError, match="cannot be saved, so"):
        save_half(layer, tmp_path / "unet")
    assert not (tmp_path / "unet").exists()


def test_previews_show_generated_images_below_real_ones_and_change_nothing(pool, made, tmp_path):
    config = tiny(preview_every=4)
    events = list(pretrain(pool, config, tmp_path))
    previews = [e for e in events if isinstance(e, Preview)]
    assert [e.path for e in previews] == [
        "training/previews/step_000004.png",
        "training/previews/step_000006.png",
    ]
    first, last = (imread(tmp_path / e.path)[..., :3] for e in previews)
    assert first.shape == (2 * 36, 8 * 36, 3)
    assert np.array_equal(first[:36], last[:36])
    assert first[:36].std() > 5
    assert not np.array_equal(first[36:], last[36:])
    assert same(tmp_path, made)


def test_a_base_can_be_trained_on(pool, made, tmp_path):
    config = tiny(start=str(made), steps=1, learning_rate=1e-9, ema=0.0)
    list(pretrain(pool, config, tmp_path / "on"))
    before, after = weights(made), weights(tmp_path / "on")
    # its scales are taken as they are, and its weights are where the training starts
    for name in ("vae.weights", "conditioner.mean", "conditioner.spread"):
        assert torch.equal(before[name], after[name])
    assert all(torch.allclose(before[k].float(), after[k].float(), atol=2e-3) for k in before)
    vae = json.loads((made / "vae" / "config.json").read_text())
    assert json.loads((tmp_path / "on" / "vae" / "config.json").read_text()) == vae
    list(pretrain(pool, tiny(start=str(made)), tmp_path / "further"))
    assert not same(made, tmp_path / "further")
    assert "started from the base base" in (tmp_path / "further" / "README.md").read_text()


def test_a_base_of_another_kind_cannot_be_trained_on(pool, made, tiny_stable_diffusion, tmp_path):
    with pytest.raises(
        InputError, match=r"not a base that can be trained further.*phenldiff pretrain"
    ):
        list(pretrain(pool, tiny(start=str(tiny_stable_diffusion)), tmp_path / "out"))
    wide = tiny(start=str(made), widths=(64, 64))
    with pytest.raises(InputError, match="widths 32,32, not 64,64"):
        list(pretrain(pool, wide, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_shape_of_a_base_is_read(made):
    shape = shape_of(str(made))
    assert {key: getattr(TINY, key) for key in shape} == shape
    assert shape_of("bundled")["widths"] == (128, 160, 224)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"steps": 0}, "steps: input should be greater"),
        ({"widths": (48,), "heads": (1,)}, "multiple of 32"),
        ({"widths": (32, 64)}, "2 widths and 3 heads"),
        ({"widths": (32, 64, 64), "heads": (3, 1, 1)}, "cannot be shared by 3 heads"),
        ({"tile": 40}, "multiple of 32"),
        ({"simulated": 10, "image_channels": 2}, "up to 3 channels"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"ema": 1}, "ema"),
        ({"depth": 3}, "depth"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values, told):
    with pytest.raises(InputError, match=told):
        validated(PretrainingConfig, values, where="pretrain")


def test_one_channel_is_enough(tmp_path):
    rng = np.random.default_rng(0)
    grey = ImagePool((rng.random((6, 1, 32, 32)) ** 4 * 255).astype(np.uint8))
    list(pretrain(grey, tiny(image_channels=1, steps=1, preview_every=1), tmp_path))
    assert BaseModel.load(str(tmp_path)).image_channels == 1


def test_weights_are_counted():
    assert count_parameters(TINY) == sum(p.numel() for p in build_unet(TINY).parameters())


def test_pool_draws_within_range_and_repeats_with_its_seed(pool):
    first, again, other = (pool(np.random.default_rng(seed), 8) for seed in (0, 0, 1))
    assert first.shape == (8, 3, 32, 32)
    assert first.dtype == np.float32
    assert first.min() >= -1
    assert first.max() <= 1
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_pool_on_the_disk_draws_the_same(pool, tmp_path):
    path = tmp_path / "pool.npy"
    write_pool(path, pool.images.shape, [pool.images[:10], pool.images[10:]])
    opened = ImagePool.open(path)
    assert isinstance(opened.images, np.memmap)
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    assert np.array_equal(opened(rng, 4), pool(again, 4))
    with pytest.raises(ValueError, match="10 images for a pool of 24"):
        write_pool(tmp_path / "other.npy", pool.images.shape, [pool.images[:10]])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pool.npy"]


def test_a_missing_pool_is_told(made):
    with pytest.raises(InputError, match=r"pool\.npy is missing or damaged"):
        _ = PretrainingFolder(made).pool


def test_chunks_are_different_and_as_many_as_wanted():
    parts = list(in_chunks(lambda n, seed: np.full((n, 1), seed), 7, 0, chunk=3))
    assert [len(part) for part in parts] == [3, 3, 1]
    assert len({int(part[0, 0]) for part in parts}) == 3


def test_simulated_fields_use_all_phenotypes():
    fields = simulated_fields(12, size=48)
    assert fields.shape == (12, 3, 48, 48)
    lit = (fields.max((2, 3)) > 0).reshape(3, 4, 3).any(0).sum(1)
    assert lit.tolist() == [len(kind.channel_names) for kind in PHENOTYPES.values()]


def test_descriptors_know_nothing_of_places():
    latents = torch.randn(2, 48, 6, 6)
    shuffled = latents.flatten(2)[:, :, torch.randperm(36)].unflatten(2, (6, 6))
    assert torch.allclose(describe(latents, 16), describe(shuffled, 16), atol=1e-4)
    assert not torch.allclose(describe(latents, 16), describe(2 * latents, 16), atol=0.1)


def test_tokens_of_different_images_start_differently(made):
    encoder = BaseModel.load(str(made)).encoder
    generator = torch.Generator().manual_seed(0)
    dark, bright = torch.full((4, 48, 4, 4), -1.0), torch.randn(4, 48, 4, 4)
    values, null = initial_tokens([dark, bright], encoder, tokens=9, width=9, generator=generator)
    assert values.shape == (2, 4, 16)
    assert null.shape == (4, 16)
    assert float((values[0] - values[1]).abs().max()) > 0.1
    values, null = initial_tokens([dark, bright], None, tokens=5, width=8, generator=generator)
    assert values.shape == (2, 5, 8)
    assert not null.any()


def test_channels_that_an_image_lacks_come_last_and_are_black(pool):
    images = np.zeros((8, 5, 32, 32), np.uint8)
    images[:, [1, 3]] = np.random.default_rng(0).integers(0, 255, (8, 2, 32, 32))
    drawn = np.concatenate([ImagePool(images)(np.random.default_rng(i), 1) for i in range(40)])
    there = (drawn != -1).any((2, 3))
    assert there[:, 0].all()
    assert 0.5 < there[:, 1].mean() < 1
    assert not there[:, 2:].any()


def test_channels_that_no_image_has_are_given_and_teach_nothing(tmp_path):
    images = np.zeros((8, 3, 32, 32), np.uint8)
    images[:, 0] = np.random.default_rng(0).integers(0, 255, (8, 32, 32))
    list(pretrain(ImagePool(images), tiny(steps=3, given_share=1.0), tmp_path))
    learned = weights(tmp_path)["unet.conv_out.bias"]
    assert learned[:16].any()
    torch.manual_seed(TINY.seed)
    assert torch.equal(learned[16:].float(), build_unet(TINY).conv_out.bias[16:].half().float())


def test_more_time_steps_are_drawn_from_the_middle():
    from napari_phenldiff.diffusion.pretrain import _time_step

    generator = torch.Generator().manual_seed(0)
    shares = {}
    for levels in ("uniform", "middle"):
        t = torch.cat([_time_step(1000, levels, generator) for _ in range(2000)])
        assert 0 <= t.min() < 20
        assert 980 < t.max() < 1000
        shares[levels] = float(((t > 200) & (t < 700)).float().mean())
    assert shares["uniform"] == pytest.approx(0.5, abs=0.04)
    assert shares["middle"] > 0.58


def test_a_constant_course_stays_at_the_full_learning_rate(pool, tmp_path):
    list(pretrain(pool, tiny(course="constant", warmup=1), tmp_path / "constant"))
    list(pretrain(pool, tiny(course="cosine", warmup=1), tmp_path / "cosine"))
    assert not same(tmp_path / "constant", tmp_path / "cosine")
    with pytest.raises(InputError, match="course is constant there, not cosine"):
        list(pretrain(pool, tiny(course="cosine", warmup=1), tmp_path / "constant"))


def test_structure_descriptors_see_direction_and_spots_and_no_brightness():
    from napari_phenldiff.diffusion.conditioning import describe_structure

    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    lines = 0.5 * torch.sin((x + 0.5 * y) / 2)
    spots = torch.full((64, 64), -0.9)
    places = torch.randint(0, 64, (2, 60), generator=torch.Generator().manual_seed(0))
    spots[places[0], places[1]] = 1.0
    encode = BaseModel.load("bundled").autoencoder.encode
    seen = []
    for image in (lines, spots, 0.5 * lines - 0.3):
        padded = torch.full((1, 3, 64, 64), -1.0)
        padded[0, 0] = image
        latents = encode(padded)[:, :16]
        seen.append(describe_structure(latents, 16)[0])
    assert seen[0][3] > 0.8  # coherence
    assert seen[1][3] < seen[0][3] - 0.2
    assert seen[1][2] < 0.9  # sparse
    assert torch.allclose(seen[0], seen[2], atol=0.05)


class _Others:
    """Replaces accelerate with several processes, whose averages are known."""

    def __init__(self, average: float) -> None:
        self.average = average

    def prepare_model(self, network: torch.nn.Module) -> torch.nn.Module:
        return network

    def reduce(self, tensor: torch.Tensor, how: str) -> torch.Tensor:
        assert how == "mean"
        return torch.full_like(tensor, self.average)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("count", [2, 4])
def test_a_batch_has_the_same_loss_and_gradient_however_it_is_shared(pool, tmp_path, seed, count):
    """Processes average over different numbers of latents, since their given channels differ."""
    from napari_phenldiff.diffusion.pretrain import _Training
    from napari_phenldiff.diffusion.processes import Processes

    config = tiny(batch_size=8, seed=seed, precision="float32", learning_rate=1e-12)
    device = torch.device("cpu")

    def training(processes: Processes) -> _Training:
        return _Training(pool, config, PretrainingFolder(tmp_path / "none"), processes)

    def gradient(one: _Training) -> torch.Tensor:
        return torch.cat([p.grad.flatten() for p in one.average.parameters if p.grad is not None])

    torch.nn.utils.clip_grad_norm_, clip = (lambda *_: None), torch.nn.utils.clip_grad_norm_
    try:
        alone = training(Processes(device))
        batch = alone.draw(1, range(8))
        loss = alone.step(1, batch)
        asked = float((~batch.given).sum()) * config.coefficients
        parts = []
        for rank in range(count):
            processes = Processes(device, rank, count, _Others(asked / count))
            one = training(processes)
            parts.append((one.step(1, one.draw(1, processes.share(8))), gradient(one)))
    finally:
        torch.nn.utils.clip_grad_norm_ = clip
    assert np.mean([part[0] for part in parts]) == pytest.approx(loss, rel=1e-5)
    torch.testing.assert_close(
        torch.stack([part[1] for part in parts]).mean(0), gradient(alone), rtol=1e-3, atol=1e-5
    )
