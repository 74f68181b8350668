from __future__ import annotations

from pathlib import Path

import torch

from napari_phenldiff.diffusion.budget import rolled_back
from napari_phenldiff.diffusion.ema import MovingAverage
from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.state import pack_state
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.events import Noted, Step
from napari_phenldiff.runs.folder import Run


def make_run(folder: Path, experiment: Experiment, base: Path, **settings) -> Run:
    config = TrainingConfig(
        conditions=("untreated", "treated"), base=str(base), batch_size=2, rank=2, **settings
    )
    scaling = IntensityScaling.fit(experiment.images)
    return Run.from_experiment(folder, config, experiment=experiment, scaling=scaling)


def test_minutes_are_a_training_of_so_many_steps(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "minutes", experiment, tiny_base, minutes=0.05)
    events = list(finetune(experiment, run.config, run))
    steps = Run.open(run.path).config.steps
    assert {e.total for e in events if isinstance(e, Step)} == {steps}
    assert events[-1].step == steps
    assert any("fit into 0.05 minutes" in e.message for e in events if isinstance(e, Noted))
    took = [e.time for e in events]
    assert took[-1] - took[0] < 4 * 3  # a busy machine may be slower than when it was measured
    plain = make_run(tmp_path / "steps", experiment, tiny_base, steps=steps)
    list(finetune(experiment, plain.config, plain))
    made = [path.adapter_path / "pytorch_lora_weights.safetensors" for path in (run, plain)]
    assert made[0].read_bytes() == made[1].read_bytes()


def test_a_stop_while_measuring_leaves_a_usable_run(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base, minutes=5)
    events = list(finetune(experiment, run.config, run, should_stop=lambda: True))
    assert (events[-1].step, events[-1].stopped) == (1, True)
    assert run.has_adapter
    fixed = run.config.steps
    (step, *_) = (
        e
        for e in finetune(experiment, run.config, run, resume=True, should_stop=lambda: True)
        if isinstance(e, Step)
    )
    assert (step.step, step.total) == (2, fixed)


def test_steps_that_are_tried_leave_no_trace():
    weight = torch.nn.Parameter(torch.ones(3))
    average = MovingAverage([weight], 0.5)
    optimizer = torch.optim.AdamW([weight], lr=0.1)

    def step(number: int) -> None:
        optimizer.zero_grad()
        (weight**2).sum().backward()
        optimizer.step()
        average.update(number)

    with rolled_back([(average, optimizer)]):
        step(1)
        assert not torch.equal(weight, torch.ones(3))
    assert torch.equal(weight, torch.ones(3))
    assert torch.equal(average.averages[0], torch.ones(3))
    step(1)
    once = pack_state(average, optimizer)
    other = torch.nn.Parameter(torch.ones(3))
    average, weight = MovingAverage([other], 0.5), other
    optimizer = torch.optim.AdamW([other], lr=0.1)
    step(1)
    straight = pack_state(average, optimizer)
    assert all(torch.equal(once[key], straight[key]) for key in straight)
