"""What makes a training fast: it learns the same, and a device is asked for nothing in a step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from napari_phenldiff.diffusion import finetune as finetune_module
from napari_phenldiff.diffusion import training as training_module
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.device import cast_weights
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.latent_pool import LatentPool
from napari_phenldiff.diffusion.loop import optimise
from napari_phenldiff.diffusion.low_rank import use_fast_updates
from napari_phenldiff.diffusion.memory import Fit, Kept, bytes_kept, choose_fit
from napari_phenldiff.diffusion.noising import noise_loss
from napari_phenldiff.diffusion.readings import Reading
from napari_phenldiff.diffusion.strategies import EVERYWHERE, Lora
from napari_phenldiff.diffusion.training import Training
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import Noted, Saved, Step
from napari_phenldiff.runs.folder import Run

PREPARED = {"reference_channels": (), "normalised_channels": ()}


def network() -> tuple[UNet2DConditionModel, list[nn.Parameter]]:
    """Return a tiny network with LoRA everywhere that has an effect, and what learns in it."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=8,
        out_channels=8,
        block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=24,
        attention_head_dim=4,
        use_linear_projection=True,
    )
    (group,) = Lora(3, EVERYWHERE, 24.0).add_to(unet)
    with torch.no_grad():
        for parameter in group.parameters:
            parameter.normal_(std=0.05)
    return unet, group.parameters


def passed(
    unet: UNet2DConditionModel, learned: list[nn.Parameter], dtype: torch.dtype, layout
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return output and gradients of a pass."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 8, 8, 8, generator=generator).to(memory_format=layout)
    states = torch.randn(2, 4, 24, generator=generator)
    unet.to(memory_format=layout)
    with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
        output = unet(x, torch.tensor([10, 500]), encoder_hidden_states=states).sample
    output.float().square().mean().backward()
    return output.detach().float(), torch.cat([p.grad.flatten() for p in learned])


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_updates_are_those_of_peft(layout):
    truth = passed(*network(), torch.float32, torch.contiguous_format)
    unet, learned = network()
    use_fast_updates(unet)
    fast = passed(unet, learned, torch.float32, layout)
    assert distance(fast[0], truth[0]) < 1e-5
    assert distance(fast[1], truth[1]) < 1e-5

    unet, learned = network()
    with_peft = passed(unet, learned, torch.bfloat16, layout)
    unet, learned = network()
    use_fast_updates(unet)
    cast_weights(unet, torch.bfloat16)
    rounded = passed(unet, learned, torch.bfloat16, layout)
    for ours, theirs, exact in zip(rounded, with_peft, truth, strict=True):
        assert distance(ours, exact) < 1.25 * distance(theirs, exact)


def test_a_disabled_or_second_adapter_is_left_to_peft():
    unet, _ = network()
    plain, _ = network()
    use_fast_updates(unet)
    x, t, states = torch.randn(1, 8, 8, 8), torch.tensor([3]), torch.randn(1, 4, 24)
    for change in (
        lambda net: net.disable_adapters(),
        lambda net: net.enable_adapters(),
        lambda net: net.fuse_lora(),
    ):
        outputs = []
        for net in (unet, plain):
            change(net)
            outputs.append(net(x, t, encoder_hidden_states=states).sample)
        assert torch.allclose(*outputs, atol=1e-5)


def prepared(base: Path | str, experiment, folder: Path, **settings) -> Training:
    values = {"batch_size": 4, "rank": 2, "steps": 20, "precision": "float32", **PREPARED}
    config = TrainingConfig(
        conditions=("untreated", "treated"), base=str(base), **(values | settings)
    )
    scaling = IntensityScaling.fit(experiment.images)
    run = Run.from_experiment(folder, config, experiment=experiment, scaling=scaling)
    training = Training(BaseModel.load(str(base)), config)
    training.encode(experiment, run)
    return training


def test_what_does_not_learn_is_in_the_precision_of_the_passes(tiny_base, experiment, tmp_path):
    training = prepared(tiny_base, experiment, tmp_path / "run", precision="bfloat16")
    kinds = {True: set(), False: set()}
    for module in training.base.unet.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            for parameter in module.parameters(recurse=False):
                kinds[parameter.requires_grad].add(parameter.dtype)
    assert kinds == {True: {torch.float32}, False: {torch.bfloat16}}
    before = [p.detach().clone() for p in training.average.parameters]
    assert float(training.step(1)) > 0
    training.step(2)
    changed = [
        not torch.equal(p, b) for p, b in zip(training.average.parameters, before, strict=True)
    ]
    assert sum(changed) > 0.9 * len(changed)


@pytest.mark.parametrize("strategy", ["svdiff", "attention", "full"])
def test_other_strategies_learn_in_single_precision(strategy, tiny_base, experiment, tmp_path):
    training = prepared(
        tiny_base, experiment, tmp_path / "run", strategy=strategy, precision="bfloat16"
    )
    assert {p.dtype for p in training.average.parameters} == {torch.float32}
    assert float(training.step(1)) > 0


def test_a_step_asks_the_device_for_nothing(tiny_base, experiment, tmp_path):
    """Tensors on the meta device have no values: reading one, or counting a mask, is an error."""
    training = prepared(tiny_base, experiment, tmp_path / "run", normalised_channels=("marker",))
    meta = torch.device("meta")
    training.base = replace(training.base, device=meta)
    unet = training.base.unet.to(meta)
    training.tokens = training.tokens.to(meta)
    for name in ("alphas", "padding", "given", "noise"):
        setattr(training, name, getattr(training, name).to(meta))
    training.pool = LatentPool(training.latents, meta, resident=True)
    learned = [p for p in (*unet.parameters(), *training.tokens.parameters()) if p.requires_grad]
    training.average = MovingAverage(learned, 0.9)
    groups = [{"params": learned, "rate": 1e-3}]
    training.optimizer = torch.optim.AdamW(groups, foreach=True)
    for number in (1, 2):
        loss = training.step(number)
    with pytest.raises(RuntimeError):
        float(loss)


def test_a_pool_draws_the_same_wherever_its_latents_lie(tiny_base, experiment, tmp_path):
    training = prepared(tiny_base, experiment, tmp_path / "run")
    cpu = torch.device("cpu")
    index = torch.tensor([0, 1, 1, 0, 1])
    there, here = (
        LatentPool(training.latents, cpu, resident=resident).draw(
            index, torch.Generator().manual_seed(3)
        )
        for resident in (True, False)
    )
    assert torch.equal(there, here)
    assert not LatentPool(training.latents, cpu).resident


def steps_of(training: Training, number: int = 3) -> torch.Tensor:
    for step in range(1, number + 1):
        training.step(step)
    return torch.cat([p.detach().flatten() for p in training.average.parameters])


@pytest.mark.parametrize("fit", [Fit(4, 3), Fit(4, 1), Fit(4, 2, recomputed=True)])
def test_parts_of_a_batch_learn_what_the_whole_does(fit, tiny_base, experiment, tmp_path):
    whole = steps_of(prepared(tiny_base, experiment, tmp_path / "whole"))
    training = prepared(tiny_base, experiment, tmp_path / "parts")
    training._set_fit(fit)
    assert distance(steps_of(training), whole) < 1e-3


def test_a_step_that_does_not_fit_is_made_in_parts(tiny_base, experiment, tmp_path, monkeypatch):
    whole = steps_of(prepared(tiny_base, experiment, tmp_path / "whole"))
    training = prepared(tiny_base, experiment, tmp_path / "parts")
    output = training._output

    def small(batch):
        if len(batch.noisy) > 1:
            raise torch.OutOfMemoryError
        return output(batch)

    monkeypatch.setattr(training, "_output", small)
    assert distance(steps_of(training), whole) < 1e-3
    assert training.fit == Fit(4, 1)

    def never(batch):
        raise torch.OutOfMemoryError

    monkeypatch.setattr(training, "_output", never)
    with pytest.raises(torch.OutOfMemoryError):
        training.step(4)


def test_how_a_batch_fits():
    kept = Kept(each=1000, once=500)
    assert choose_fit(8, kept, learned=0, free=10**6).is_whole
    few = choose_fit(8, kept, learned=0, free=6000)
    assert few == Fit(8, 3)
    assert "3 at a time" in few.in_words()
    none = choose_fit(8, kept, learned=100, free=2000)
    assert none == Fit(8, 1, recomputed=True)
    assert "checkpointing" in none.in_words()
    assert Fit(8, 8).smaller() == Fit(8, 4)
    assert Fit(8, 1).smaller() == none
    assert none.smaller() is None


def test_what_a_pass_keeps_is_counted():
    weight = torch.ones(10, 10, requires_grad=True)
    x = torch.ones(5, 10)
    # the exponential is kept twice, by itself and by the product, and counted once
    assert bytes_kept(lambda: (x @ weight).exp().square().sum(), [weight]) == 4 * (50 + 50)


def test_a_small_memory_is_told(tiny_base, experiment, tmp_path, monkeypatch):
    monkeypatch.setattr(training_module, "free_memory", lambda device: 2 * 10**6)
    config = TrainingConfig(
        conditions=("untreated", "treated"), base=str(tiny_base), steps=1, rank=2, **PREPARED
    )
    scaling = IntensityScaling.fit(experiment.images)
    run = Run.from_experiment(tmp_path / "run", config, experiment=experiment, scaling=scaling)
    events = list(finetune_module.finetune(experiment, config, run))
    told = [event.message for event in events if isinstance(event, Noted)]
    assert any("does not fit into the memory" in text for text in told)


class Slow(Reading):
    """A number that is there once the step after it has been started."""

    started = 0

    def __init__(self, number: int) -> None:
        self._number = number

    on_its_way = True

    def __float__(self) -> float:
        Slow.waited += Slow.started == self._number
        return float(self._number)

    waited = 0


def test_losses_are_read_a_step_later(tiny_base, experiment, tmp_path):
    config = TrainingConfig(
        conditions=("untreated", "treated"), base=str(tiny_base), steps=10, checkpoint_every=5
    )
    scaling = IntensityScaling.fit(experiment.images)
    run = Run.from_experiment(tmp_path / "run", config, experiment=experiment, scaling=scaling)
    Slow.started = Slow.waited = 0

    class Trainer:
        def step(self, number: int) -> Reading:
            Slow.started = number
            return Slow(number)

        def save(self, run: Run, number: int) -> str:
            return "adapter"

    parameter = nn.Parameter(torch.zeros(1))
    trained = [(MovingAverage([parameter], 0.0), torch.optim.AdamW([parameter]))]
    events = list(
        optimise(
            Trainer(),
            trained,
            run,
            config,
            done=0,
            since=0.0,
            should_stop=lambda: False,
            on_steps_chosen=lambda config: None,
        )
    )
    assert [e.loss for e in events if isinstance(e, Step)] == list(range(1, 11))
    order = [e.step for e in events if isinstance(e, (Step, Saved))]
    assert order == sorted(order)
    assert [e.step for e in events if isinstance(e, Saved)] == [5, 10]
    # only where the weights are checked and saved
    assert Slow.waited <= 4


def test_the_loss_is_the_mean_of_what_is_asked():
    output, target = torch.randn(3, 4, 2, 2), torch.randn(3, 4, 2, 2)
    given = torch.tensor([True, False, False, True]).view(1, 4, 1, 1)
    output[:, 0] = float("inf")
    expected = (output - target)[:, 1:3].square().mean()
    assert torch.allclose(noise_loss(output, target, given), expected)
