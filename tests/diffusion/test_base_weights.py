"""A run can only be used with the base model that it was trained on, wherever that is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.diffusion.base import find_base
from napari_phenldiff.diffusion.base_weights import checked_base, weights_in
from napari_phenldiff.diffusion.finetune import finetune
from napari_phenldiff.diffusion.merging import merge
from napari_phenldiff.diffusion.translate import Translator
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.runs.folder import Run

CONFIG = TranslationConfig(source="untreated", target="treated", inference_steps=4, depth=0.5)


@pytest.fixture
def base(tiny_base, tmp_path) -> Path:
    """A base that a test may change."""
    return Path(shutil.copytree(tiny_base, tmp_path / "base"))


def trained(folder: Path, experiment, base: str | Path, steps: int = 1) -> Run:
    config = TrainingConfig(
        base=str(base), conditions=("untreated", "treated"), steps=steps, batch_size=2, rank=2
    )
    scaling = IntensityScaling.fit(experiment.images)
    run = Run.from_experiment(folder, config, experiment=experiment, scaling=scaling)
    list(finetune(experiment, config, run))
    return Run.open(folder)


def translated(run: Run, experiment) -> np.ndarray:
    translator = Translator.from_run(run, device="cpu", precision="float32")
    (made,) = translator.translate(experiment["untreated"].images[:1], CONFIG)
    return made.translated.data


def change(path: Path, place: int) -> None:
    """Change one bit of the weights."""
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 1
    path.write_bytes(content)


def test_the_run_says_which_weights_it_was_trained_on(base, experiment, tmp_path):
    run = trained(tmp_path / "run", experiment, base)
    known = run.base_weights
    assert known == weights_in(base)
    assert known.bytes == sum(path.stat().st_size for path in base.rglob("*.safetensors"))
    assert json.loads((run.path / "config.json").read_text())["base_weights"]["sha256"]
    translated(run, experiment)


@pytest.mark.parametrize("seed", range(6))
def test_any_other_base_is_refused(base, experiment, tmp_path, seed):
    run = trained(tmp_path / "run", experiment, base)
    rng = np.random.default_rng(seed)
    files = sorted(base.rglob("*.safetensors"))
    change(files[seed % len(files)], -int(rng.integers(1, 500)))
    with pytest.raises(InputError, match=r"not the one that .*run was trained on.*--base-at") as e:
        Translator.from_run(run, device="cpu")
    assert str(e.value).count(". ") == 1


def test_another_schedule_is_another_base_and_another_version_is_not(base, experiment, tmp_path):
    run = trained(tmp_path / "run", experiment, base)
    path = base / "scheduler" / "scheduler_config.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"_diffusers_version": "99.0"}, indent=7))
    assert checked_base(run) == base
    path.write_text(json.dumps(settings | {"beta_end": 0.5}))
    with pytest.raises(InputError, match="not the one"):
        checked_base(run)


def test_a_run_moves_with_its_base_and_remembers_where(base, experiment, tmp_path):
    run = trained(tmp_path / "run", experiment, base)
    expected = translated(run, experiment)
    elsewhere = tmp_path / "other machine"
    shutil.move(base, elsewhere / "base")
    shutil.move(run.path, elsewhere / "run")
    with pytest.raises(InputError, match=r"is not there.*--base-at FOLDER"):
        Translator.from_run(elsewhere / "run", device="cpu")
    with pytest.raises(InputError, match="There is nothing at"):
        Run.open(elsewhere / "run", base_at=tmp_path / "nowhere")
    moved = Run.open(elsewhere / "run", base_at=elsewhere / "base")
    np.testing.assert_array_equal(translated(moved, experiment), expected)
    np.testing.assert_array_equal(translated(Run.open(moved.path), experiment), expected)


def test_a_wrong_folder_is_refused_and_not_remembered(base, tiny_base, experiment, tmp_path):
    run = trained(tmp_path / "run", experiment, base)
    shutil.rmtree(base)
    wrong = Path(shutil.copytree(tiny_base, tmp_path / "wrong"))
    change(wrong / "unet" / "diffusion_pytorch_model.safetensors", -1)
    with pytest.raises(InputError, match="not the one"):
        checked_base(Run.open(run.path, base_at=wrong))
    assert Run.open(run.path).base == str(base)


def test_the_bundled_base_of_another_version_is_refused(experiment, tmp_path):
    config = TrainingConfig(conditions=("untreated", "treated"))
    scaling = IntensityScaling.fit(experiment.images)
    run = Run.create(
        tmp_path / "run",
        config,
        scaling=scaling,
        channel_names=experiment.channel_names,
        versions={"napari-phenldiff": "0.0.7"},
    )
    bundled = weights_in(checked_base(run))
    run.record_base_weights(bundled.model_copy(update={"sha256": "0" * 64}))
    sentence = r"comes with this version.*train again, use version 0\.0\.7, or.*--base-at"
    with pytest.raises(InputError, match=sentence):
        checked_base(Run.open(run.path))


def test_training_goes_on_with_the_same_base_only(base, experiment, tmp_path):
    run = trained(tmp_path / "run", experiment, base)
    change(base / "unet" / "diffusion_pytorch_model.safetensors", -1)
    with pytest.raises(InputError, match="not the one"):
        list(finetune(experiment, run.config, run, resume=True))


def test_a_run_of_an_older_version_still_opens(base, experiment, tmp_path):
    run = trained(tmp_path / "run", experiment, base)
    older = run.record.model_dump(mode="json", exclude={"base_weights"})
    (run.path / "config.json").write_text(json.dumps(older))
    run = Run.open(run.path)
    assert run.base_weights is None
    translated(run, experiment)
    # The old weights are unknown, so those that are there now are not recorded.
    list(finetune(experiment, run.config, run, resume=True))
    assert Run.open(run.path).base_weights is None


def test_a_merged_run_knows_its_own_weights(base, experiment, tmp_path):
    run = trained(tmp_path / "run", experiment, base)
    merged = merge(run, tmp_path / "merged")
    assert merged.base_weights == weights_in(merged.path)
    shutil.move(merged.path, tmp_path / "moved")
    translated(Run.open(tmp_path / "moved"), experiment)
    change(tmp_path / "moved" / "unet" / "diffusion_pytorch_model.safetensors", -1)
    with pytest.raises(InputError, match="not the one"):
        translated(Run.open(tmp_path / "moved"), experiment)


def test_a_base_from_a_hub_is_that_of_its_commit(base, experiment, tmp_path, hub):
    model = hub.add("lab/cells", base)
    first = model.branches["main"]
    run = trained(tmp_path / "run", experiment, "lab/cells")
    assert run.base_weights.commit == first
    expected = translated(run, experiment)
    moved = Path(shutil.copytree(base, tmp_path / "moved"))
    change(moved / "unet" / "diffusion_pytorch_model.safetensors", -1)
    second = model.commit(moved)
    later = find_base("lab/cells")
    assert later.name == second
    # The commit is what is loaded, not what main is now.
    np.testing.assert_array_equal(translated(Run.open(run.path), experiment), expected)

    shutil.rmtree(later.with_name(first))
    with pytest.raises(InputError, match=r"is not there.*--base-at FOLDER"):
        checked_base(Run.open(run.path))
    with pytest.raises(InputError, match=rf"not the one.*commit {first[:4]}"):
        checked_base(Run.open(run.path, base_at=later))
    # A copy of the commit is as good.
    np.testing.assert_array_equal(
        translated(Run.open(run.path, base_at=base), experiment), expected
    )
