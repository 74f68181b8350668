"""The functions for scripts do what the examples in their docstrings say."""

from __future__ import annotations

import doctest
import inspect
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import napari_phenldiff
from napari_phenldiff import (
    Experiment,
    InputError,
    Run,
    TrainingConfig,
    measure,
    prepare,
    read_image,
    resume,
    simulate_pairs,
    train,
    write_tiff,
)
from napari_phenldiff.evaluation.appearance import Appearance
from napari_phenldiff.runs.events import Loading, Noted, Step, Warned

JOBS = ("prepare", "resume", "train", "translate", "measure", "evaluate", "merge")
CONDITIONS = ("untreated", "treated")


def write_cells(folder: Path, first: int) -> None:
    """Write four small images of each condition, of cells that are numbered from `first` on."""
    for number, pair in enumerate(simulate_pairs("translocation", 8, size=64, seed=first)):
        condition, image = ("untreated", pair.source) if number < 4 else ("treated", pair.target)
        write_tiff(folder / condition / f"{first + number}.tif", image)


@pytest.fixture
def cells(tmp_path: Path) -> Path:
    """Four small images of each condition in the folder ``data``."""
    write_cells(tmp_path / "data", 0)
    return tmp_path / "data"


@pytest.fixture
def follow_example(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], dict]:
    """Do what the example of a public function says, in little time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance",
        lambda *args: Appearance([], None, None),
    )

    def follow(name: str) -> dict:
        text = inspect.getdoc(getattr(napari_phenldiff, name))
        assert text is not None
        names: dict = {}
        for example in doctest.DocTestParser().get_examples(text):
            source = example.source.replace("# doctest: +SKIP", "")
            if "base=" not in source:
                source = source.replace("steps=1000", f"steps=1000, base={str(tiny_base)!r}")
            source = source.replace("steps=1000", "steps=1, batch_size=2")
            code = compile(source, name, "single")
            exec(code, names)
        return names

    return follow


def test_a_finished_run_is_trained_longer(cells: Path, tiny_base: Path, tmp_path: Path):
    config = TrainingConfig(
        conditions=CONDITIONS, base=str(tiny_base), steps=2, batch_size=2, checkpoint_every=1
    )
    run = train(cells, config, tmp_path / "run")
    before = (run.adapter_path / "pytorch_lora_weights.safetensors").read_bytes()
    with pytest.raises(InputError, match="a training of 2 steps already"):
        resume(run, steps=2)
    longer = resume(run.path, steps=4)
    assert (longer.state, longer.config.steps) == ("finished", 4)
    events = longer.events()[0]
    assert [event.step for event in events if isinstance(event, Step)] == [1, 2, 3, 4]
    assert "Trained longer: 4 steps in place of 2" in [
        event.message for event in events if isinstance(event, Noted)
    ]
    assert (run.adapter_path / "pytorch_lora_weights.safetensors").read_bytes() != before

    # what cannot be trained longer stays as it is
    shutil.rmtree(cells)
    with pytest.raises(InputError):
        resume(run.path, steps=6)
    same = Run.open(run.path)
    assert (same.state, same.config.steps) == ("finished", 4)


@pytest.mark.parametrize("name", JOBS)
def test_a_public_function_says_what_it_takes_gives_and_raises(name: str):
    text = inspect.getdoc(getattr(napari_phenldiff, name))
    assert text is not None
    sections = [line for line in text.splitlines() if line.isidentifier()]
    assert [s for s in ("Parameters", "Raises", "Examples") if s in sections] == [
        "Parameters",
        "Raises",
        "Examples",
    ]
    for parameter in inspect.signature(getattr(napari_phenldiff, name)).parameters:
        assert parameter in text, f"{name} does not tell of {parameter}"


@pytest.mark.slow
def test_the_examples_follow_each_other(cells: Path, tmp_path: Path, follow_example, capsys):
    names = follow_example("prepare")
    assert names["run"].path == tmp_path / "prepared"
    assert Run.open("prepared").state == "finished"
    follow_example("resume")
    assert "'finished'" in capsys.readouterr().out

    follow_example("train")
    assert Run.open("run").state == "finished"
    assert "Finished(" in capsys.readouterr().out

    done = follow_example("translate")["done"]
    assert done.complete
    sources = sorted((cells / "untreated").iterdir())
    assert [image["file"] for image in done.images] == [path.name for path in sources]
    for path in sources:
        translated = read_image(tmp_path / "half" / "translated" / path.name)
        assert translated.data.shape == read_image(path).data.shape

    table = follow_example("measure")["found"]
    assert table.conditions == ("treated", "untreated")
    assert (tmp_path / "table.csv").is_file()

    write_cells(cells, 8)
    found = follow_example("evaluate")["found"]
    assert found.metrics.n_translated == 4
    assert (tmp_path / "judged" / "report.html").is_file()
    assert found.metrics.verdict.reason in capsys.readouterr().out

    follow_example("merge")
    assert Run.open("further").config.base == str(tmp_path / "merged")
    assert Run.open("further").state == "finished"


def test_images_are_prepared_from_memory_as_from_a_folder(cells: Path, tmp_path: Path):
    config = TrainingConfig(conditions=CONDITIONS)
    experiment = Experiment.from_folder(cells)
    by_name = {name: experiment[name].images for name in CONDITIONS}
    told: list = []

    runs = [
        prepare(images, config, tmp_path / str(number), on_event=told.append)
        for number, images in enumerate((cells, experiment, by_name))
    ]

    assert {run.state for run in runs} == {"created"}
    assert len({run.digest for run in runs}) == 1
    assert [event.message for event in told if isinstance(event, Loading)] == [f"Reading {cells}"]
    warned = [event.message for event in runs[0].events()[0] if isinstance(event, Warned)]
    assert any("only 4 images" in text for text in warned)


def test_nothing_is_written_where_images_cannot_be_trained_on(cells: Path, tmp_path: Path):
    (cells / "treated").rename(cells / "other")
    with pytest.raises(InputError, match="treated"):
        prepare(cells, TrainingConfig(conditions=CONDITIONS), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_folders_and_images_in_memory_are_measured_alike(cells: Path):
    experiment = Experiment.from_folder(cells)
    in_memory = {name: experiment[name].images for name in CONDITIONS}

    tables = [
        measure("translocation", groups)
        for groups in (in_memory, {name: cells / name for name in CONDITIONS})
    ]

    assert tables[0].conditions == tables[1].conditions == CONDITIONS
    for name in CONDITIONS:
        np.testing.assert_array_equal(tables[0].values(name), tables[1].values(name))
