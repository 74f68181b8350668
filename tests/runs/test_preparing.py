from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images import image
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.places import Site
from napari_phenldiff.runs.config import TrainingConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.runs.preparing import Prepared, prepare

NAMES = ("untreated", "treated")


def experiment(*numbers: int, high: float = 250) -> Experiment:
    rng = np.random.default_rng(0)

    def image(name: str) -> Image:
        data = rng.integers(0, 200, (2, 8, 8)).astype(np.float32)
        data[:, 0, 0] = high
        return Image(data, ("DNA", "marker"), None, name)

    return Experiment.from_images(
        {c: [image(f"{c}_{i:03d}") for i in range(n)] for c, n in zip(NAMES, numbers, strict=True)}
    )


def config(**settings) -> TrainingConfig:
    return TrainingConfig(conditions=NAMES, **settings)


def counts(made: Experiment | None) -> tuple[int, ...]:
    return () if made is None else tuple(len(c.images) for c in made.conditions)


@pytest.mark.parametrize(
    ("numbers", "settings", "trained", "watched"),
    [
        ((100, 40), {}, (92, 36), (8, 4)),
        ((20, 20), {}, (18, 18), (2, 2)),
        ((19, 100), {}, (19, 100), ()),
        ((100, 13), {"images_per_condition": 10}, (10, 10), (8, 3)),
        # No image is left over in the first condition: it gives some of those chosen.
        ((30, 40), {"images_per_condition": 30}, (27, 30), (3, 8)),
        ((5, 40), {"images_per_condition": 30}, (5, 30), ()),
        ((100, 40), {"validation_images": 0}, (100, 40), ()),
        ((10, 6), {"validation_images": 4}, (6, 2), (4, 4)),
        ((10, 6), {"validation_images": 4, "images_per_condition": 4}, (4, 2), (4, 4)),
    ],
)
def test_images_are_set_aside_for_validation(numbers, settings, trained, watched):
    images = experiment(*numbers)
    prepared = prepare(images, config(**settings))
    assert counts(prepared.training) == trained
    assert counts(prepared.validation) == watched
    seen = set(prepared.training.images)
    assert seen.isdisjoint(prepared.validation.images if prepared.validation else ())
    again = prepare(images, config(**settings))
    assert again.training.digest() == prepared.training.digest()


def test_validating_on_left_over_images_does_not_change_the_training_images():
    images = experiment(30, 30)
    with_, without = (
        prepare(images, config(images_per_condition=20, validation_images=n)).training
        for n in ("auto", 0)
    )
    assert with_.digest() == without.digest()


def test_too_many_validation_images_are_refused():
    with pytest.raises(
        InputError, match="for validation leave fewer than two to train on; use fewer"
    ):
        prepare(experiment(6, 6), config(validation_images=5))


def test_the_run_records_which_are_for_validation(tmp_path):
    asked = config(images_per_condition=4)
    prepared = prepare(experiment(6, 6), asked)
    prepared.make_run(tmp_path / "run", asked)
    run = Run.open(tmp_path / "run")
    assert run.load_experiment().digest() == prepared.training.digest() == run.digest
    validation = run.load_validation()
    assert validation is not None
    assert prepared.validation is not None
    assert validation.digest() == prepared.validation.digest()
    assert len(run.images) == 12
    assert len(run.trained_images) == 8


def test_a_run_without_any_has_none(tmp_path):
    asked = config()
    prepare(experiment(4, 4), asked).make_run(tmp_path / "run", asked)
    assert Run.open(tmp_path / "run").load_validation() is None


def test_few_images_are_told_by_how_few_they_are():
    few, rather, enough = (prepare(experiment(n, 60), config()).warnings for n in (19, 49, 50))
    assert len(few) == len(rather) == 1
    assert "only 19 images" in few[0]
    assert "only" not in rather[0]
    assert "49 images" in rather[0]
    assert enough == ()


def test_what_is_not_there_is_told():
    warnings = prepare(experiment(60, 60), config(images_per_condition=70)).warnings
    assert [text for text in warnings if "all of them are used" in text]


def test_clipped_intensities_are_told():
    images = experiment(50, 50, high=4095)
    (told,) = prepare(images, config()).warnings[:1]
    assert "1.6% of the pixels of channel DNA are clipped" in told
    assert "4095" in told
    assert prepare(experiment(50, 50, high=4094), config()).warnings == ()


def test_the_pixels_of_an_image_are_hashed_once(tmp_path: Path, monkeypatch):
    hashed: list[np.ndarray] = []
    digest = image.sha256_of_array
    monkeypatch.setattr(
        image, "sha256_of_array", lambda array: hashed.append(array) or digest(array)
    )
    made = experiment(4, 4)

    run = prepare(made, config()).make_run(tmp_path / "run", config())

    assert run.trained_images == {one.sha256 for one in made.images}
    assert len(hashed) == 8


def plate(wells: dict[str, tuple[str, ...]], fields: int = 8, by_table: bool = False) -> Experiment:
    rng = np.random.default_rng(1)

    def image(condition: str, well: str, field: int) -> Image:
        name = f"shot{condition}{well}x{field}q" if by_table else f"{well}_f{field}"
        site = Site(plate="P1", well=well, field=str(field)) if by_table else None
        data = rng.integers(0, 200, (2, 8, 8)).astype(np.float32)
        part_of = None if site is None else site.part_of
        return Image(data, ("DNA", "marker"), None, name, part_of=part_of, site=site)

    return Experiment.from_images(
        {
            c: [image(c, well, k) for well in names for k in range(fields)]
            for c, names in wells.items()
        }
    )


WELLS = {"untreated": ("B02", "B03", "B04"), "treated": ("C02", "C03", "C04", "C05")}


def wells_of(experiment: Experiment | None) -> dict[str, set[str]]:
    return {
        condition.name: {
            (image.site and image.site.well) or image.name[:3] for image in condition.images
        }
        for condition in (experiment.conditions if experiment else ())
    }


@pytest.mark.parametrize("by_table", [False, True])
def test_whole_wells_are_held_out_where_wells_are_known(by_table):
    prepared = prepare(plate(WELLS, by_table=by_table), config())

    trained, watched = wells_of(prepared.training), wells_of(prepared.validation)
    for condition, all_wells in WELLS.items():
        assert len(watched[condition]) == 1
        assert trained[condition] == set(all_wells) - watched[condition]
    assert counts(prepared.training) == (16, 24)
    assert counts(prepared.validation) == (8, 8)
    (told,) = [text for text in prepared.warnings if "well" in text]
    assert all(next(iter(wells)) in told for wells in watched.values())


def test_wells_that_are_held_out_are_not_drawn_from():
    images = plate(WELLS)

    prepared = prepare(images, config(images_per_condition=10))

    assert counts(prepared.training) == (10, 10)
    held = wells_of(prepared.validation)
    assert all(not wells & held[name] for name, wells in wells_of(prepared.training).items())
    # The same wells, however many images are wanted, and others with another seed.
    assert held == wells_of(prepare(images, config()).validation)
    seeds = {str(wells_of(prepare(images, config(seed=k)).validation)) for k in range(6)}
    assert len(seeds) > 1


def test_a_well_that_was_in_both_conditions_is_held_out_of_both():
    same = ("B02", "B03", "B04", "B05")

    prepared = prepare(plate({"untreated": same, "treated": same}), config())

    watched = wells_of(prepared.validation)
    assert watched["untreated"] == watched["treated"]
    assert len(watched["treated"]) == 1


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("number", "left"), [(1, (1, 2)), (2, (1, 1))])
def test_wells_are_held_out_of_all_plates_in_turn(number, left, seed):
    """Otherwise a condition could be trained on one plate and the other on another."""
    rng = np.random.default_rng(1)

    def image(repeat: int, well: str, field: int) -> Image:
        data = rng.integers(0, 200, (2, 8, 8)).astype(np.float32)
        return Image(data, ("DNA", "marker"), None, f"rep{repeat}_{well}_y{field}_x0")

    wells = {"untreated": ("C03", "D03"), "treated": ("A03", "B03")}
    images = {
        condition: [image(r, well, f) for r in (10, 11) for well in names for f in range(4)]
        for condition, names in wells.items()
    }
    prepared = prepare(Experiment.from_images(images), config(held_out_wells=number, seed=seed))
    kept = []
    for condition in prepared.training.conditions:
        trained = {image.name.split("_y")[0] for image in condition.images}
        kept.append([sum(well.startswith(f"rep{r}") for well in trained) for r in (10, 11)])
    assert tuple(sorted(kept[0])) == left
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("wells", "fields"),
    [
        ({"untreated": ("B02", "B03"), "treated": ("C02", "C03", "C04")}, 20),  # too few wells
        ({"untreated": ("B02", "B03", "B04"), "treated": ("C02", "C03", "C04")}, 6),  # images
    ],
)
def test_images_are_held_out_where_wells_are_too_few(wells, fields):
    prepared = prepare(plate(wells, fields), config())

    assert all(known == set(wells[name]) for name, known in wells_of(prepared.training).items())


def test_a_number_of_validation_images_is_drawn_from_all():
    prepared = prepare(plate(WELLS), config(validation_images=3))

    assert counts(prepared.validation) == (3, 3)
    assert counts(prepared.training) == (21, 29)


def held_out(prepared: Prepared, wells: Mapping[str, Sequence[str]]) -> list[int]:
    trained = wells_of(prepared.training)
    return [len(set(names) - trained[name]) for name, names in wells.items()]


@pytest.mark.parametrize(
    ("wells", "fields", "settings", "expected"),
    [
        # as many as a verdict needs, where that leaves enough
        ((8, 8), 3, {}, [4, 4]),
        ((7, 8), 3, {}, [1, 1]),
        ((24, 45), 2, {}, [4, 4]),
        ((45, 24), 2, {}, [4, 4]),
        # as many as are asked for
        ((8, 8), 3, {"held_out_wells": 6}, [6, 6]),
        ((2, 3), 10, {"held_out_wells": 1}, [1, 1]),
        ((8, 8), 3, {"held_out_wells": 0}, [0, 0]),
        ((8, 8), 3, {"held_out_wells": 2, "validation_images": 0}, [2, 2]),
        ((8, 8), 3, {"held_out_wells": 2, "validation_images": 1}, [2, 2]),
    ],
)
def test_how_many_wells_are_held_out(wells, fields, settings, expected):
    names = {
        condition: [f"{row}{1 + k:02d}" if k < 24 else f"{row2}{k - 23:02d}" for k in range(n)]
        for condition, row, row2, n in zip(NAMES, "BD", "CE", wells, strict=True)
    }

    prepared = prepare(plate(names, fields), config(**settings))

    assert held_out(prepared, names) == expected
    watched = settings.get("validation_images", 8)
    assert (prepared.validation is None) == (watched == 0)
    assert any("well" in text for text in prepared.warnings) == bool(sum(expected))


@pytest.mark.parametrize(
    ("images", "asked", "told"),
    [
        (lambda: plate(WELLS), 3, "but untreated has 3 wells"),
        (lambda: experiment(8, 8), 1, "are not known"),
    ],
)
def test_wells_that_cannot_be_held_out_are_told(images, asked, told):
    with pytest.raises(InputError, match=told):
        prepare(images(), config(held_out_wells=asked))
