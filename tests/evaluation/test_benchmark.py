from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.benchmark import judging
from napari_phenldiff.evaluation.benchmark.config import BenchmarkConfig, BenchmarkRecord
from napari_phenldiff.evaluation.benchmark.folder import Made, how_trained
from napari_phenldiff.evaluation.benchmark.split import middle, prepare_data, split
from napari_phenldiff.evaluation.benchmark.table import markdown
from napari_phenldiff.evaluation.cycle import Cycle
from napari_phenldiff.evaluation.identity import Identity
from napari_phenldiff.evaluation.numbers import Spread
from napari_phenldiff.evaluation.schema import Recovered
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.files import sha256_of_array
from napari_phenldiff.images.image import Image
from napari_phenldiff.runs.events import Finished, Loading, Noted, Saved, Started, Step


def _image(name: str, size: int = 20) -> Image:
    rng = np.random.default_rng([ord(letter) for letter in name])
    return Image(rng.integers(0, 255, (1, size, size), np.uint8), ("DNA",), None, name)


def _experiment(names: dict[str, list[str]]) -> Experiment:
    return Experiment.from_images({c: [_image(n) for n in group] for c, group in names.items()})


def _of_wells(source: int, target: int, each: int) -> Experiment:
    return _experiment(
        {
            c: [f"{c}{w}_{i}" for w in range(wells) for i in range(each)]
            for c, wells in (("a", source), ("b", target))
        }
    )


def test_a_well_is_on_one_side():
    training, test = split(_of_wells(6, 8, 5), 15, wells=r"^\w\d+", seed=1)
    for name, wells in (("a", 6), ("b", 8)):
        seen, kept = (
            {i.name.split("_")[0] for i in part[name].images} for part in (training, test)
        )
        assert not seen & kept
        assert len(seen | kept) == wells
        assert len(training[name].images) == 15


def test_of_large_wells_one_is_taken_in_part():
    training, test = split(_of_wells(2, 2, 10), 4, wells=r"^\w\d+")
    assert [len(c.images) for c in training.conditions] == [4, 4]
    assert [len(c.images) for c in test.conditions] == [10, 10]


def test_three_quarters_of_small_sets_and_as_many_of_each():
    names = {c: [f"{c}{i}" for i in range(n)] for c, n in (("a", 12), ("b", 40))}
    training, test = split(_experiment(names), 100)
    assert [len(c.images) for c in training.conditions] == [9, 9]
    assert [len(c.images) for c in test.conditions] == [3, 31]


def test_images_of_one_name_are_on_one_side():
    names = [f"field{i}" for i in range(12)]
    training, test = split(_experiment({"a": names, "b": names}), 6)
    seen = {image.name for image in training.images}
    assert len(seen) == 6
    assert not seen & {image.name for image in test.images}


def test_a_condition_of_one_well_cannot_be_divided():
    with pytest.raises(InputError, match="b has fewer than two images to"):
        split(_of_wells(3, 1, 8), 8, wells=r"^\w\d+")


def test_the_seed_decides_and_nothing_is_shared():
    experiment = _of_wells(6, 6, 5)
    first, again, other = (
        prepare_data(experiment, images_per_condition=12, test_images=4, seed=seed)
        for seed in (0, 0, 1)
    )
    assert first.training.digest() == again.training.digest() != other.training.digest()
    assert [i.name for i in first.test.sources] == [i.name for i in again.test.sources]
    trained = {sha256_of_array(image.data) for image in first.training.images}
    tested = {
        sha256_of_array(image.data) for image in first.test.real_source + first.test.real_target
    }
    assert not trained & tested
    assert len(first.test.sources) == len(first.other_target) == 4
    # what stands for a perfect method is not what methods are compared with
    assert {sha256_of_array(image.data) for image in first.other_target} <= trained


def test_the_middle_of_an_image():
    image = _image("one", 21)
    np.testing.assert_array_equal(middle(image, 7).data, image.data[:, 7:14, 7:14])
    assert middle(image, None) is image
    with pytest.raises(InputError, match="fewer than --crop 22"):
        middle(image, 22)


def test_time_between_sessions_is_not_trained(tmp_path):
    class Stopped:
        adapter_path = tmp_path

        def events(self):
            return [
                Loading("", time=0.0),
                Started("CPU, 1 core", "", time=10.0),
                Noted("", time=11.0),
                Loading("measuring", time=12.0),
                Step(1, 2, 0.5, time=30.0),
                Saved(1, "", time=30.0),
                Loading("again", time=1030.0),
                Started("CPU, 1 core", "", time=1040.0),
                Step(2, 2, 0.5, time=1060.0),
                Finished(2, stopped=False, time=1060.0),
            ], 0

    settings = {"trained_parameters": 5, "token_parameters": 2}
    (tmp_path / "adapter.json").write_text(json.dumps(settings), encoding="utf-8")
    found = how_trained(Stopped())
    assert found.minutes == 1
    assert (found.steps, found.parameters) == (2, 7)
    assert found.machine == "CPU, 1 core, float32"


def test_whose_cells_and_copies_are_judged_in_what_a_method_draws(monkeypatch):
    rng = np.random.default_rng(0)

    def some(prefix):
        return [
            Image(rng.integers(0, 200, (2, 32, 32)).astype(np.uint8), ("DNA", "GFP"), None, f"{n}")
            for n in (f"{prefix}{k}" for k in range(8))
        ]

    groups = {"a": some("a"), "b": some("b")}
    data = prepare_data(Experiment.from_images(groups), images_per_condition=4, test_images=4)
    sources, trained = data.test.sources, data.training["b"].images
    # the source's DNA beside what a training image has in the other channel
    copied = tuple(
        replace(one, data=np.stack([one.data[0], other.data[1]]))
        for one, other in zip(sources, trained, strict=True)
    )
    monkeypatch.setattr(judging, "_appearance", lambda *args: judging._Seen([]))
    config = BenchmarkConfig(
        source="a", target="b", profile="area", settings={"channel": "GFP"}, steps=1
    )
    made = Made(sources, copied, sources, 0.0, 0.0)
    found, every = (
        judging.judge_method("phenldiff", config, data, made, reference_channels=given)[0]
        for given in (("DNA",), ())
    )
    assert every.identity.own_source == 1
    assert found.identity.own_source < 1
    assert (found.memorisation.copies, every.memorisation.copies) == (1, 0)
    record = BenchmarkRecord(config=config, data="x", digest="", training=data_names(data), test={})
    told = markdown(record, {"phenldiff": found})
    assert "DNA is given to phenldiff" in told
    assert "it counts with an error of 0" in told
    assert "is given to" not in markdown(record, {"phenldiff": every})


@pytest.mark.parametrize("lost", ["cycle", "correlation", "correlation_with_real"])
def test_numbers_of_a_method_that_lack_something_are_damaged(tmp_path, lost):
    found = method()
    found.write(tmp_path)
    assert judging.read_method(tmp_path) is not None
    kept = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    if lost == "cycle":
        del kept["cycle"][0]
    else:
        del kept["identity"][lost]["DNA"]
    (tmp_path / "metrics.json").write_text(json.dumps(kept), encoding="utf-8")
    with pytest.raises(InputError, match="is damaged or of another version"):
        judging.read_method(tmp_path)


def method():
    some = Spread.of([1.0])
    nothing = Recovered(value=0, low=0, high=0, reason="")
    return judging.MethodMetrics(
        method="copy", preset="", n_translated=2, measurement="area", recovery=nothing,
        recovery_from_real=nothing, recovery_of_real=nothing, distances=(), fid=None,
        cycle=tuple(
            Cycle(what=what, image_shape=(8, 8), norm=some, rmse=some, rmse_grey={"DNA": some})
            for what in ("there and back", "reconstructed")
        ),
        classifier=None,
        identity=Identity(
            kept_channel="DNA", correlation={"DNA": some}, correlation_with_real={"DNA": some},
            nuclei_channel=None, nuclei_kept=None, nuclei_overlap=None, nuclei_distance_px=None,
            own_source=1.0,
        ),
        memorisation=None, seconds_per_image=0, minutes=0, steps=0, parameters=0, machine="",
        largest_residual=0, reference_channels=(), notes=(), provenance={},
    )  # fmt: skip


def data_names(data):
    return {c.name: tuple(image.name for image in c.images) for c in data.training.conditions}
