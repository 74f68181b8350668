from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.survey import ImageFacts, Survey


def image(name, *, seed=0, dtype=np.uint16, pixel_size=None, top=None, part=0.1):
    data = np.random.default_rng(seed).integers(1, 200, (2, 20, 20)).astype(dtype)
    if top is not None:
        data[1].flat[: round(part * data[1].size)] = top
    return Image(data, ("DNA", "GFP"), pixel_size, name)


def surveyed(*images):
    survey = Survey()
    for condition, one in images:
        survey.add(condition, one)
    return survey.warnings()


def test_all_is_well():
    assert surveyed(("x", image("a", seed=1)), ("y", image("b", seed=2))) == ()


def test_kinds_of_images_that_differ():
    sizes, dtypes = surveyed(
        ("x", image("a", pixel_size=(0.65, 0.65))),
        ("y", image("b", seed=1, dtype=np.uint8, pixel_size=(0.325, 0.325))),
    )
    assert "0.325 × 0.325 µm, 0.65 × 0.65 µm" in sizes
    assert "uint16, uint8" in dtypes


@pytest.mark.parametrize("top", [255, 4095, 65535, 4095 << 4, 1023 << 6, 16383 << 2])
def test_the_highest_value_of_a_camera_also_where_it_is_shifted_up(top):
    (told,) = surveyed(("x", image("a", top=top)))
    assert told.startswith("10.0% of the pixels of channel GFP are clipped")
    assert str(top) in told


def test_a_high_value_that_is_no_end():
    assert surveyed(("x", image("a", top=5000))) == ()


def test_what_one_image_clips_is_counted_over_all():
    rows = [("x", image(str(seed), seed=seed, top=4095 if not seed else None)) for seed in range(5)]
    (told,) = surveyed(*rows)
    assert told.startswith("2.0% of the pixels")
    assert surveyed(*reversed(rows)) == (told,)


def test_what_a_model_left_as_it_was_is_no_copy():
    names = ("x", "reconstructed", "translated")
    assert surveyed(*((name, image(name)) for name in names)) == ()
    (told,) = surveyed(*((name, image(name)) for name in (*names, "y")))
    assert told == "1 image is in more than one condition."


def test_pixels_are_told_as_width_and_height():
    sizes, stretched = surveyed(
        ("x", image("a", pixel_size=(0.65, 0.325))), ("y", image("b", seed=1, pixel_size=(1, 1)))
    )
    assert "0.325 × 0.65 µm" in sizes
    assert "Pixels are not square (0.325 × 0.65 µm)" in stretched
    assert surveyed(("x", image("a", pixel_size=(0.65, 0.6501)))) == ()


def test_facts_come_from_other_processes():
    images = [("x", image("a", top=255)), ("y", image("b", top=255))]
    facts = [(name, pickle.loads(pickle.dumps(ImageFacts.of(one)))) for name, one in images]
    assert surveyed(*facts) == surveyed(*images)
    assert "1 image is in more than one condition".lower() in surveyed(*images)[-1].lower()


def test_what_files_lack_is_told():
    lacking = [replace(image(f"a{k}", seed=k), lacking=f"{k}.zarr: parts") for k in range(5)]
    again = replace(image("a9", seed=9), lacking=lacking[0].lacking)
    told = surveyed(*(("x", one) for one in (*lacking[:2], again)))
    assert told == ("0.zarr: parts", "1.zarr: parts")
    *_, last = surveyed(*(("x", pickle.loads(pickle.dumps(one))) for one in lacking))
    assert last == "The same is so in 2 other places."


def test_an_experiment_tells_the_same_and_that_images_are_few():
    images = {"x": [image("a", dtype=np.uint8)], "y": [image("b", seed=1)]}
    told = Experiment.from_images(images).warnings()
    assert set(surveyed(("x", images["x"][0]), ("y", images["y"][0]))) < set(told)
    assert sum("only 1 image" in text for text in told) == 2


@pytest.mark.parametrize(
    ("plates", "told"),
    [
        ({"dmso": ("P1", "P2"), "drug": ("P2", "P3")}, False),
        ({"dmso": ("P1",), "drug": ("P2", "P3")}, True),
        ({"dmso": ("P1",), "drug": ("P2", None)}, False),
        ({"dmso": ("P1",), "translated": ("P2",)}, False),
    ],
)
def test_conditions_on_plates_of_their_own_are_told(plates, told):
    survey = Survey()
    for condition, names in plates.items():
        for i, plate in enumerate(names):
            facts = ImageFacts("unknown", "uint8", f"{condition}{i}".encode(), {}, 100, plate)
            survey.add(condition, facts)
    found = [text for text in survey.warnings() if text.startswith("No plate has images of both")]
    assert bool(found) == told
    if told:
        assert '(dmso: "P1"; drug: "P2", "P3")' in found[0]


def test_copies_under_other_names_are_told():
    one, other, third = (image(name, seed=k) for k, name in enumerate(("f0", "f1", "f2")))
    copy = replace(one, name="f0 - Copy")
    assert surveyed(("x", one), ("x", other), ("y", third)) == ()
    (told,) = surveyed(("x", one), ("x", other), ("x", copy), ("y", third))
    assert told.startswith('1 image of x is a copy of another one ("f0", "f0 - Copy")')
    # what a model draws, and fields without anything, may be the same with good reason
    assert surveyed(("translated", one), ("translated", copy), ("x", other)) == ()
    blank = [replace(one, name=name, data=np.zeros_like(one.data)) for name in "ab"]
    assert surveyed(*(("x", empty) for empty in blank)) == ()


@pytest.mark.parametrize("pixel_size", [None, (0.5, 0.5)])
def test_conditions_of_other_sizes_are_told(pixel_size):
    def sized(side, seed):
        pixels = np.random.default_rng(seed).integers(0, 100, (1, side, side), np.uint8)
        return Image(pixels, ("c",), pixel_size, f"{side}_{seed}")

    mixed = [("x", sized(32, 0)), ("x", sized(40, 1)), ("y", sized(32, 2)), ("y", sized(40, 3))]
    assert surveyed(*mixed) == ()
    larger = [*(("x", sized(64, k)) for k in range(3)), ("y", sized(32, 9))]
    (told,) = surveyed(*larger)
    assert "Images of x have 64 × 64 px, those of y 32 × 32: numbers and areas per image" in told
    assert ("binned" in told) == (pixel_size is None)
    survey = Survey()
    for condition, one in larger:
        survey.add(condition, one)
    assert "px" not in " ".join(survey.warnings(to_learn=True)), "tiles are trained on"
    assert surveyed(("x", sized(64, 0)), ("translated", sized(32, 1))) == ()
    by_hand = [("x", sized(64 - k, k)) for k in range(4)] + [
        ("y", sized(30 + k, k)) for k in range(4)
    ]
    assert surveyed(*by_hand) == ()


def test_conditions_of_mixed_sizes_are_told_if_one_has_larger_images():
    sides = {"ctrl": (64, 128, 64, 256, 64, 128), "drug": (64, 256, 256, 64, 128, 512)}

    def told(**sides):
        survey = Survey()
        for name, given in sides.items():
            for k, side in enumerate(given):
                digest = f"{name}{k}".encode()
                facts = ImageFacts("unknown", "uint8", digest, {}, side**2, shape=(side, side))
                survey.add(name, facts)
        return survey.warnings()

    (text,) = told(**sides)
    assert text.startswith("Images have 4 sizes, and those of drug have 3.8 times as many pixels")
    assert told(ctrl=sides["ctrl"], drug=sides["ctrl"]) == ()
    assert told(ctrl=sides["ctrl"], translated=sides["drug"]) == ()


def depths(*projected):
    """Survey images with the condition, the projection and the number of planes of each."""
    rows = []
    for k, (condition, projection, n_planes) in enumerate(projected):
        told = None if projection is None else (projection, n_planes)
        rows.append((condition, replace(image(f"a{k}", seed=k), projection=told)))
    return surveyed(*rows)


@pytest.mark.parametrize("projection", ["max", "mean", "sum"])
def test_projections_of_other_numbers_of_planes_are_told(projection):
    same = [(name, projection, 5) for name in ("x", "x", "y", "y")]
    assert depths(*same) == ()
    (told,) = depths(*same[:2], ("y", projection, 5), ("y", projection, 12))
    assert "differ between images (x: 5; y: 5 to 12)" in told
    assert ("sum of more planes is brighter" in told) == (projection == "sum")
    # Single planes beside stacks; what a model made has no planes, and is not asked.
    (told,) = depths(("x", None, 0), ("y", projection, 5))
    assert "(x: 1; y: 5)" in told
    assert depths(("x", projection, 5), ("translated", None, 0)) == ()
    assert depths(("x", None, 0), ("y", None, 0)) == ()


def test_depths_that_vary_in_all_conditions_alike_are_told_of_a_sum_only():
    varied = [(name, "max", n) for name in ("x", "y") for n in (11, 12, 13)]
    assert depths(*varied) == ()
    assert len(depths(*((name, "sum", n) for name, _, n in varied))) == 1


def test_values_that_were_shifted_up_are_told():
    plain = [("x", image(f"a{k}", seed=k)) for k in range(3)]
    drug = [("y", image(f"b{k}", seed=9 + k)) for k in range(3)]
    shifted = [("y", replace(one, data=one.data << 4)) for _, one in drug]
    (told,) = surveyed(*plain, *shifted)
    assert told.startswith("In 3 of 3 images of y all values are multiples of 16, in others")
    assert pickle.loads(pickle.dumps(ImageFacts.of(shifted[0][1]))).step == 16
    both = [("x", replace(one, data=one.data << 4)) for _, one in plain]
    assert surveyed(*both, *shifted) == ()
    # Values of a few levels may be multiples by chance, and floats have no bits.
    levels = np.where(drug[0][1].data > 100, 192, 64).astype(np.uint16)
    assert surveyed(*plain, ("y", replace(drug[0][1], data=levels))) == ()
    mask = np.where(drug[0][1].data > 100, 0xFF00, 0).astype(np.uint16)
    assert ImageFacts.of(replace(drug[0][1], data=mask)).step == 0
    assert ImageFacts.of(image("f", dtype=np.float32)).step == 0
