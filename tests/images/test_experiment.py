from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.experiment import Condition, Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff


def image(name="a", seed=0, n_channels=2, names=("DNA", "actin"), **options) -> Image:
    data = np.random.default_rng(seed).integers(0, 255, (n_channels, 8, 9)).astype(np.uint8)
    return Image(data, names[:n_channels], options.pop("pixel_size", None), name, **options)


def experiment(*, n=3, conditions=("untreated", "treated")) -> Experiment:
    return Experiment.from_images(
        {
            condition: [image(f"{i:02d}", seed=100 * index + i) for i in range(n)]
            for index, condition in enumerate(conditions)
        }
    )


def write_folder(root: Path, made: Experiment) -> Path:
    for condition in made.conditions:
        for each in condition.images:
            write_tiff(root / condition.name / f"{each.name}.tif", each)
    return root


# Folders


def test_folder_gives_back_what_was_written(tmp_path):
    made = experiment()
    folder = write_folder(tmp_path, made)
    read = Experiment.from_folder(folder)
    assert read.names == ("treated", "untreated")
    assert read.select(made.names).digest() == made.digest()
    assert read.channel_names == ("DNA", "actin")
    assert read["treated"].images[1].path == folder / "treated" / "01.tif"
    assert Experiment.from_folder(folder, conditions=["untreated"]).names == ("untreated",)
    assert Experiment.from_folder(str(folder), conditions=made.names).names == made.names


def test_other_files_in_the_folder_do_not_matter(tmp_path):
    folder = write_folder(tmp_path, experiment())
    expected = Experiment.from_folder(folder).digest()
    (folder / "README.md").write_text("about")
    (folder / "LICENSE.upstream.txt").write_text("licence")
    (folder / "overview.tif").write_bytes(b"not read")
    (folder / "notes").mkdir()
    (folder / ".cache").mkdir()
    shutil.copy(folder / "treated" / "00.tif", folder / ".cache" / "00.tif")
    (folder / "treated" / "table.csv").write_text("a,b")
    (folder / "treated" / ".00.tif").write_bytes(b"a file being written")
    (folder / "treated" / "inner.tif").mkdir()
    assert Experiment.from_folder(folder).digest() == expected


def test_files_of_any_spelling_and_stacks_are_read(tmp_path):
    for name in ("b.TIF", "a.tiff"):
        write_tiff(tmp_path / "x" / name, image())
    tifffile.imwrite(tmp_path / "x" / "c.tif", np.ones((3, 2, 8, 9), np.uint8))
    names = [each.name for each in Experiment.from_folder(tmp_path)["x"].images]
    assert names == ["a", "b", "c_0000", "c_0001", "c_0002"]


def test_z_is_passed_on(tmp_path):
    (tmp_path / "x").mkdir()
    data = np.arange(3 * 2 * 8 * 9, dtype=np.uint16).reshape(3, 2, 8, 9)
    tifffile.imwrite(tmp_path / "x" / "a.tif", data, metadata={"axes": "ZCYX"})
    with pytest.raises(InputError, match="3 z planes"):
        Experiment.from_folder(tmp_path)
    (read,) = Experiment.from_folder(tmp_path, z=1).images
    np.testing.assert_array_equal(read.data, data[1])


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match="nowhere is not a folder"):
        Experiment.from_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match="no sub-folders with TIFF files"):
        Experiment.from_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    write_tiff(tmp_path / "a.tif", image())
    with pytest.raises(InputError, match="no sub-folders with TIFF files"):
        Experiment.from_folder(tmp_path)
    folder = write_folder(tmp_path / "data", experiment())
    (folder / "empty").mkdir()
    for unknown in ("mock", "empty"):
        with pytest.raises(InputError, match=f'condition "{unknown}".*"treated", "untreated"'):
            Experiment.from_folder(folder, conditions=["treated", unknown])
    with pytest.raises(InputError, match='"treated" was given twice'):
        Experiment.from_folder(folder, conditions=["treated", "treated"])
    write_tiff(folder / "treated" / "00.tiff", image())
    names = [
        one.name for one in Experiment.from_folder(folder, conditions=["treated"])["treated"].images
    ]
    assert names[:2] == ["00_tif", "00_tiff"]


def test_real_folders(shared_data):
    expected = {
        "bbbc013_translocation": ({"treated": 200, "untreated": 200}, 2),
        "bbbc013_translocation_fields": ({"treated": 8, "untreated": 8}, 2),
        "hela_sirna_fields": ({"RLUC_siRNA": 4, "UBC_siRNA": 4, "kinase_siRNA": 4}, 3),
        "golgi_bfa": ({"after_bfa": 13, "before_bfa": 15}, 1),
    }
    for name, (numbers, n_channels) in expected.items():
        read = Experiment.from_folder(shared_data / name)
        assert {each.name: len(each.images) for each in read.conditions} == numbers
        assert read.n_channels == n_channels
        read.check()
        assert all("images: 50 to 200 are better" in warning for warning in read.warnings())


# Conditions and images


def test_unknown_conditions_are_named_with_the_known_ones():
    made = experiment()
    assert made["treated"].name == "treated"
    with pytest.raises(InputError, match=r'no condition "mock".*"untreated", "treated"'):
        made["mock"]
    with pytest.raises(InputError, match='no condition "mock"'):
        made.select(["treated", "mock"])
    with pytest.raises(InputError, match='"treated" was given twice'):
        made.select(["treated", "treated"])


def test_select_keeps_the_order_asked_for():
    made = experiment(conditions=("a", "b", "c"))
    assert made.select(["c", "a"]).names == ("c", "a")


def test_subset():
    made = experiment(n=20, conditions=("a", "b", "c"))
    chosen = made.subset(5, seed=1)
    names = [each.name for each in chosen["b"].images]
    assert len(names) == 5
    assert names == sorted(names)
    assert chosen.digest() == made.subset(5, seed=1).digest()
    assert chosen.digest() != made.subset(5, seed=2).digest()
    assert names != [each.name for each in chosen["a"].images]
    # Neither the other conditions nor the order of the images matter.
    assert [each.name for each in made.select(["b"]).subset(5, seed=1).images] == names
    backwards = Experiment((Condition("b", made["b"].images[::-1]),))
    assert [each.name for each in backwards.subset(5, seed=1).images] == names
    # More images of one choice contain the fewer.
    assert set(names) < {each.name for each in made.subset(6, seed=1)["b"].images}
    assert len(made.subset(99, seed=1)["a"].images) == 20
    with pytest.raises(InputError, match="at least 1"):
        made.subset(0, seed=1)


def test_digest_depends_on_everything_but_the_path():
    made = experiment()
    images = made["treated"].images
    digests = {made.digest(), made.select(["treated", "untreated"]).digest()}
    for changed in (
        [image("00", seed=7), *images[1:]],
        [image("zz", seed=100), *images[1:]],
        images[:-1],
        images[::-1],
    ):
        other = {"untreated": made["untreated"].images, "treated": changed}
        digests.add(Experiment.from_images(other).digest())
    digests.add(Experiment.from_images({"u": made["untreated"].images, "treated": images}).digest())
    assert len(digests) == 7
    moved = [image(each.name, seed=100 + i, path=Path("x")) for i, each in enumerate(images)]
    other = {"untreated": made["untreated"].images, "treated": moved}
    assert Experiment.from_images(other).digest() == made.digest()


def test_parts_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="no images: give at least one condition"):
        Experiment.from_images({})
    with pytest.raises(InputError, match='"treated" has no images'):
        Experiment.from_images({"treated": []})
    with pytest.raises(InputError, match='two images named "a"'):
        Condition("x", (image("a"), image("a", seed=1)))
    with pytest.raises(InputError, match='condition name "a/b" cannot be'):
        Condition("a/b", (image(),))


# Fit for training


def test_a_good_experiment_passes():
    made = experiment(n=50)
    made.check()
    assert made.warnings() == ()


def checked(**conditions: list[Image]) -> None:
    Experiment.from_images(conditions).check()


def test_too_little():
    with pytest.raises(InputError, match='only one condition, "a": at least two'):
        checked(a=[image(), image("b")])
    with pytest.raises(InputError, match='"b" has only one image'):
        checked(a=[image(), image("b")], b=[image()])


def test_different_channels():
    good = [image("a"), image("b", seed=1)]
    fewer = image("c", n_channels=1)
    message = 'Image "c" of condition "y" has 1 channel but image "a" of condition "x" has 2:'
    with pytest.raises(InputError, match=message):
        checked(x=good, y=[image("d"), fewer])
    with pytest.raises(InputError, match='"c" of condition "x" has 1 channel'):
        checked(x=[*good, fewer], y=good)
    renamed = image("c", names=("DNA", "tubulin"))
    with pytest.raises(InputError, match=r'channels "DNA", "tubulin" but .* has "DNA", "actin"'):
        checked(x=good, y=[image("d"), renamed])


def test_constant_channels():
    images = [image(f"{i}", seed=i) for i in range(4)]
    for each in images:
        each.data[1] = 7
    with pytest.raises(InputError, match='Channel "actin" has the same value'):
        checked(x=images[:2], y=images[2:])
    # Constant in one condition may be the phenotype, and is no error.
    images[3].data[1] = 8
    checked(x=images[:2], y=images[2:])


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(value):
    data = np.random.default_rng(0).normal(size=(2, 8, 9)).astype(np.float32)
    broken = data.copy()
    broken[1, 2, 3] = value
    good, bad = (Image(d, ("a", "b"), None, n) for d, n in ((data, "good"), (broken, "bad")))
    with pytest.raises(InputError, match='Image "bad" holds values that are not finite'):
        checked(x=[image("0", names=("a", "b")), image("1", names=("a", "b"))], y=[good, bad])


def test_warnings():
    made = Experiment.from_images(
        {
            "x": [image(f"{i}", seed=i, pixel_size=(0.30001, 0.3)) for i in range(50)],
            "y": [image(f"{i}", seed=48 + i, pixel_size=(0.3, 0.30001)) for i in range(19)],
        }
    )
    assert made.warnings() == (
        'Condition "y" has only 19 images: 50 to 200 are better, and fewer are soon memorised.',
        "2 images are in more than one condition.",
    )
    wide = image("w", seed=99, pixel_size=(0.3, 0.6))
    unknown = Image(wide.data.astype(np.uint16), wide.channel_names, None, "u")
    sizes, _, dtypes, *_ = Experiment.from_images({"x": [wide], "y": [unknown]}).warnings()
    assert "pixel sizes differ between images (0.6 × 0.3 µm, unknown)" in sizes
    assert "data types differ between images (uint16, uint8)" in dtypes
