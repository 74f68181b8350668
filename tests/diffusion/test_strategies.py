"""Four strategies with one interface: trained weights, saved weights, exact restoring."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.loaders import StableDiffusionLoraLoaderMixin
from safetensors.torch import load_file, save_file

from napari_phenldiff.cli import main
from napari_phenldiff.diffusion.adaptation import load_adapter
from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.merging import merge
from napari_phenldiff.diffusion.strategies import strategy_from_dict, strategy_of
from napari_phenldiff.diffusion.training import Training
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import LEARNING_RATES, TrainingConfig, TranslationConfig
from napari_phenldiff.runs.events import Finished, Noted, Step
from napari_phenldiff.runs.folder import Run

ALL = ("lora", "svdiff", "attention", "full")
BASES = ("tiny_base", "tiny_stable_diffusion")
QUICK = TranslationConfig(
    source="untreated",
    target="treated",
    inference_steps=6,
    depth=0.5,
    fixed_point_iterations=2,
)


def make_run(folder: Path, experiment: Experiment, base: Path, strategy: str, **settings) -> Run:
    values = {"steps": 4, "batch_size": 4, "rank": 2, "checkpoint_every": 2, "warmup": 0} | settings
    if strategy == "lora":
        values = {"layers": "attention", "lora_alpha": 2.0} | values
    config = TrainingConfig(
        base=str(base),
        conditions=("untreated", "treated"),
        strategy=strategy,
        precision="float32",
        **values,
    )
    scaling = IntensityScaling.fit(experiment.images)
    return Run.from_experiment(folder, config, experiment=experiment, scaling=scaling)


def train(run: Run, experiment: Experiment, **options):
    events = []
    for event in finetune(experiment, run.config, run, **options):
        run.append(event)
        events.append(event)
    return events


def output(base: BaseModel) -> torch.Tensor:
    """Output of the network for fixed input."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(2, base.unet.config.in_channels, 8, 8, generator=generator)
    tokens = torch.randn(2, 4, base.token_width, generator=generator)
    with torch.no_grad():
        return base.unet(x, 300, encoder_hidden_states=tokens).sample


def config_of(strategy: str, **settings) -> TrainingConfig:
    return TrainingConfig(conditions=("a", "b"), strategy=strategy, rank=2, **settings)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("layers", ["attention", "everywhere"])
@pytest.mark.parametrize("strategy", ALL)
def test_before_the_first_step_nothing_is_changed(strategy, layers, kind, request):
    base = BaseModel.load(str(request.getfixturevalue(kind)))
    before = output(base)
    chosen = strategy_of(config_of(strategy, layers=layers))
    groups = chosen.add_to(base.unet)
    assert torch.equal(output(base), before)
    # exactly what is handed to the optimiser learns
    learning = {id(p) for p in base.unet.parameters() if p.requires_grad}
    assert learning == {id(p) for group in groups for p in group.parameters}
    assert sum(p.numel() for g in groups for p in g.parameters) == sum(
        value.numel() for value in chosen.state(base.unet).values()
    )
    again = strategy_from_dict(json.loads(json.dumps(chosen.to_dict())))
    assert (type(again), again.to_dict()) == (type(chosen), chosen.to_dict())


def test_the_right_layers_learn(tiny_base):
    names = {}
    for strategy in ALL:
        for layers in ("attention", "everywhere"):
            base = BaseModel.load(str(tiny_base))
            chosen = strategy_of(config_of(strategy, layers=layers))
            chosen.add_to(base.unet)
            names[strategy, layers] = set(chosen.state(base.unet))
    every = {name for name, _ in BaseModel.load(str(tiny_base)).unet.named_parameters()}
    assert names["full", "attention"] == names["full", "everywhere"] == every
    assert names["attention", "attention"] == {
        name for name in every if "attentions" in name.rpartition(".")[0]
    }
    assert any("norm" in name for name in names["attention", "attention"])
    assert all(
        name.endswith(("to_q.shift", "to_k.shift", "to_v.shift", "to_out.0.shift"))
        for name in names["svdiff", "attention"]
    )
    everywhere = {name.removesuffix(".shift") for name in names["svdiff", "everywhere"]}
    weights = {name.removesuffix(".weight") for name in every if name.endswith(".weight")}
    assert everywhere == weights


def test_normalisations_learn_a_thousand_times_slower(tiny_base):
    base = BaseModel.load(str(tiny_base))
    matrices, norms = strategy_of(config_of("svdiff", layers="everywhere")).add_to(base.unet)
    assert (matrices.rate, norms.rate) == (1.0, 1e-3)
    assert not matrices.decays
    assert not norms.decays
    assert all(p.numel() == 1 for p in norms.parameters)


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("strategy", ALL)
def test_only_the_right_weights_move(strategy, kind, request, tmp_path, experiment):
    place = request.getfixturevalue(kind)
    before = BaseModel.load(str(place)).unet.state_dict()
    run = make_run(
        tmp_path / "run", experiment, place, strategy, learning_rate=1e-2, layers="everywhere"
    )
    losses = [event.loss for event in train(run, experiment) if isinstance(event, Step)]
    assert np.isfinite(losses).all()
    merged = merge(run, tmp_path / "merged")
    after = BaseModel.load(str(merged.path)).unet.state_dict()
    assert after.keys() == before.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    if strategy == "attention":
        assert all("attentions" in name for name in moved)
    if strategy in ("lora", "svdiff"):
        assert all(name.endswith(".weight") for name in moved)
    if strategy in ("svdiff", "full"):
        assert "conv_in.weight" in moved


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("strategy", ALL)
def test_what_is_saved_comes_back_to_the_bit(strategy, kind, request, tmp_path, experiment):
    place = request.getfixturevalue(kind)
    run = make_run(tmp_path / "run", experiment, place, strategy, learning_rate=1e-2, ema=0.0)
    base = BaseModel.load(str(place))
    training = Training(base, run.config)
    training.encode(experiment, run)
    training.step(1)
    training.save(run, 1)
    trained = output(base)
    again = BaseModel.load(str(place))
    adapter = load_adapter(run.adapter_path, again.unet)
    assert torch.equal(output(again), trained)
    assert not torch.equal(trained, output(BaseModel.load(str(place))))
    assert torch.equal(adapter.tokens.values, training.tokens.values)
    assert not any(p.requires_grad for p in again.unet.parameters())
    files = {path.name for path in run.adapter_path.iterdir()}
    settings = json.loads((run.adapter_path / "adapter.json").read_text())
    assert settings["strategy"] == strategy
    if strategy == "lora":
        files -= {"adapter_config.json", "adapter_model.safetensors"}  # the same for peft
    (file,) = files - {"adapter.json", "condition_tokens.safetensors", "manifest.json"}
    saved = load_file(run.adapter_path / file)
    assert sum(value.numel() for value in saved.values()) == settings["trained_parameters"]
    assert (run.adapter_path / file).stat().st_size == settings["file_bytes"]


@pytest.mark.parametrize("strategy", ALL)
def test_a_resumed_training_is_the_uninterrupted_one(strategy, tiny_base, tmp_path, experiment):
    adapters = []
    for name in ("straight", "resumed"):
        run = make_run(tmp_path / name, experiment, tiny_base, strategy)
        if name == "resumed":
            stops = iter([False, True])
            events = train(run, experiment, should_stop=lambda stops=stops: next(stops))
            assert isinstance(events[-1], Finished)
            assert events[-1].stopped
            train(run, experiment, resume=True)
        else:
            told = [e.message for e in train(run, experiment) if isinstance(e, Noted)]
            (text,) = [text for text in told if text.startswith(f"Strategy {strategy}: ")]
            assert "kB" in text or "MB" in text
        adapters.append({p.name: p.read_bytes() for p in run.adapter_path.glob("*.safetensors")})
    own = {strategy_of(config_of(strategy)).file, "condition_tokens.safetensors"}
    assert set(adapters[0]) == own | (
        {"adapter_model.safetensors"} if strategy == "lora" else set()
    )
    assert adapters[0] == adapters[1]


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("strategy", ALL)
def test_merged_is_the_same_model(strategy, kind, request, tmp_path, experiment):
    place = request.getfixturevalue(kind)
    run = make_run(
        tmp_path / "run", experiment, place, strategy, learning_rate=1e-2, layers="everywhere"
    )
    train(run, experiment)
    merged = merge(run, tmp_path / "merged")
    # it stands alone, and may be moved
    (tmp_path / "merged").rename(tmp_path / "moved")
    merged = Run.open(tmp_path / "moved")
    assert merged.state == "finished"
    assert merged.trained_images == run.trained_images
    both = [Translator.from_run(r, device="cpu", precision="float32") for r in (run, merged)]
    apart, together = (output(translator.base) for translator in both)
    assert (apart - together).abs().max() < 1e-5
    assert not torch.equal(together, output(BaseModel.load(str(place))))
    assert both[0].reference_channels == both[1].reference_channels
    images = experiment["untreated"].images[:1]
    (first,), (second,) = (list(t.translate(images, QUICK)) for t in both)
    difference = first.translated.data.astype(int) - second.translated.data
    assert np.abs(difference).max() <= 1


def test_a_merged_base_is_trained_further_from_its_tokens(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base, "lora", token_learning_rate=0.5)
    train(run, experiment)
    merge(run, tmp_path / "merged")
    learned = load_file(run.adapter_path / "condition_tokens.safetensors")
    images = {"treated": experiment["treated"].images, "drug": experiment["untreated"].images}
    other = Experiment.from_images(images)
    config = run.config.model_copy(
        update={
            "base": str(tmp_path / "merged"),
            "conditions": ("treated", "drug"),
            "token_learning_rate": 1e-12,
            "weight_decay": 0.0,
        }
    )
    scaling = IntensityScaling.fit(other.images)
    further = Run.from_experiment(tmp_path / "further", config, experiment=other, scaling=scaling)
    train(further, other)
    tokens = load_file(further.adapter_path / "condition_tokens.safetensors")
    torch.testing.assert_close(tokens["values"][0], learned["values"][1])
    torch.testing.assert_close(tokens["null"], learned["null"])
    assert not torch.allclose(tokens["values"][1], learned["values"][0])
    Translator.from_run(further, device="cpu")


def test_merging_needs_a_result_and_a_new_folder(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base, "lora")
    with pytest.raises(InputError, match="no adapter yet"):
        merge(run, tmp_path / "merged")
    train(run, experiment)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InputError, match="not empty"):
        merge(run, tmp_path / "full")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def _lose_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors.popitem()
    path.unlink()
    save_file(tensors, path)


def _other_shape(path: Path) -> None:
    tensors = load_file(path)
    name = next(iter(tensors))
    tensors[name] = tensors[name].repeat_interleave(2, 0)
    path.unlink()
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (_truncate, "cannot be read"),
        (Path.unlink, "cannot be read"),
        (_lose_a_tensor, "another base model"),
        (_other_shape, "another base model"),
    ],
)
@pytest.mark.parametrize("strategy", ALL)
def test_a_damaged_file_is_told_in_one_sentence(
    strategy, damage, told, tiny_base, tmp_path, experiment
):
    run = make_run(tmp_path / "run", experiment, tiny_base, strategy, steps=1)
    train(run, experiment)
    damage(run.adapter_path / strategy_of(run.config).file)
    with pytest.raises(InputError, match=told) as caught:
        load_adapter(run.adapter_path, BaseModel.load(str(tiny_base)).unet)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings", [{"strategy": "magic"}, {"strategy": "lora"}, {"strategy": "svdiff", "layers": 3}]
)
def test_an_unknown_strategy_is_told(settings, tmp_path, tiny_base):
    (tmp_path / "adapter.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match="cannot be read"):
        load_adapter(tmp_path, BaseModel.load(str(tiny_base)).unet)


def test_an_adapter_of_the_first_version_still_opens(tiny_base, tmp_path, experiment):
    run = make_run(tmp_path / "run", experiment, tiny_base, "lora")
    train(run, experiment)
    path = run.adapter_path / "adapter.json"
    settings = json.loads(path.read_text())
    assert settings["layers"] == ["to_q", "to_k", "to_v", "to_out.0"]
    for name in ("trained_parameters", "token_parameters", "file_bytes"):
        del settings[name]
    path.write_text(json.dumps(settings))
    base = BaseModel.load(str(tiny_base))
    load_adapter(run.adapter_path, base.unet)
    assert not torch.equal(output(base), output(BaseModel.load(str(tiny_base))))


def test_the_learning_rate_is_that_of_the_strategy_unless_given():
    for strategy in ALL:
        assert config_of(strategy).learning_rate == LEARNING_RATES[strategy]
        assert config_of(strategy, learning_rate=None).learning_rate == LEARNING_RATES[strategy]
        assert config_of(strategy, learning_rate=0.5).learning_rate == 0.5
        layers = "everywhere" if strategy in ("lora", "svdiff") else "attention"
        assert config_of(strategy).layers == layers
        assert config_of(strategy, layers="attention").layers == "attention"
    kept = config_of("full").model_dump_json()
    assert json.loads(kept)["learning_rate"] == LEARNING_RATES["full"]
    assert TrainingConfig.model_validate_json(kept) == config_of("full")


def test_the_scale_of_lora_is_kept_with_it(tiny_base):
    outputs = []
    for alpha in (1.0, 6.0):
        base = BaseModel.load(str(tiny_base))
        chosen = strategy_of(config_of("lora", layers="everywhere", lora_alpha=alpha))
        chosen.add_to(base.unet)
        learned = {
            name: torch.full_like(value, 0.02) for name, value in chosen.state(base.unet).items()
        }
        again = strategy_from_dict(json.loads(json.dumps(chosen.to_dict())))
        other = BaseModel.load(str(tiny_base))
        again.add_to(other.unet)
        for strategy, network in ((chosen, base.unet), (again, other.unet)):
            strategy.restore(network, learned)
        assert torch.equal(output(base), output(other))
        again.merge(other.unet)
        torch.testing.assert_close(output(other), output(base), rtol=1e-4, atol=1e-5)
        outputs.append(output(base))
    assert not torch.allclose(*outputs, atol=1e-3)


def test_diffusers_loads_what_lora_has_learned(tiny_base, tmp_path, experiment):
    settings = {"steps": 2, "layers": "everywhere", "lora_alpha": 6.0}
    run = make_run(tmp_path / "run", experiment, tiny_base, "lora", **settings)
    for _ in finetune(experiment, run.config, run):
        pass
    ours = BaseModel.load(str(tiny_base))
    load_adapter(run.adapter_path, ours.unet)
    plain = BaseModel.load(str(tiny_base))
    before = output(plain)
    loader = StableDiffusionLoraLoaderMixin
    weights, alphas, metadata = loader.lora_state_dict(
        str(run.adapter_path),
        weight_name="pytorch_lora_weights.safetensors",
        return_lora_metadata=True,
    )
    loader.load_lora_into_unet(weights, alphas, plain.unet, metadata=metadata)
    assert not torch.allclose(output(plain), before, atol=1e-6)
    torch.testing.assert_close(output(plain), output(ours), rtol=1e-4, atol=1e-5)
    # and without a pipeline
    alone = BaseModel.load(str(tiny_base)).unet
    alone.load_lora_adapter(
        str(run.adapter_path), prefix="unet", weight_name="pytorch_lora_weights.safetensors"
    )
    assert len(alone.peft_config) == 1


def test_an_adapter_without_a_scale_has_that_of_its_rank():
    old = {"strategy": "lora", "rank": 4, "layers": ["to_q"]}
    assert strategy_from_dict(old).to_dict()["alpha"] == 4


def test_a_run_is_merged_by_the_command(tiny_base, tmp_path, experiment, capsys):
    run = make_run(tmp_path / "run", experiment, tiny_base, "svdiff", steps=1)
    train(run, experiment)
    out = tmp_path / "merged"
    assert main(["merge", str(run.path), "--out", str(out)]) == 0
    assert "The base model is in" in capsys.readouterr().out
    assert main(["merge", str(run.path), "--out", str(out)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert main(["merge", str(out / "scheduler"), "--out", str(tmp_path / "other")]) == 2
    assert "not a run folder" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
    # nothing of the machine it was made on but where it lies
    assert (out / "unet" / "diffusion_pytorch_model.safetensors").is_file()
    assert "_name_or_path" not in (out / "unet" / "config.json").read_text()
