from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.diffusion import pretraining_data
from napari_phenldiff.diffusion.archive import draw_crops, find_collections
from napari_phenldiff.diffusion.model_card import model_card
from napari_phenldiff.diffusion.pretraining_data import new_pretraining
from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff

NETWORKS = {"widths": (32, 32), "heads": (1, 1), "token_width": 16, "tile": 32, "device": "cpu"}


def save(path: Path, channels: int = 2, side: int = 64, level: int = 1000, seed: int = 0) -> None:
    rng = np.random.default_rng([seed, len(path.name)])
    planes = ndi.gaussian_filter(rng.random((channels, side, side)), (0, 2, 2))
    planes = (planes - planes.min()) / np.ptp(planes) * level
    names = tuple(f"c{i}" for i in range(channels))
    write_tiff(path, Image(planes.astype(np.uint16), names, None, path.stem))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two collections: six fields of two channels, and two of three channels in a sub-folder."""
    root = tmp_path / "archive"
    for i in range(6):
        save(root / "plates" / f"p{i}.tif", seed=i, level=1000)
    for i in range(2):
        save(root / "confocal" / "day 1" / f"c{i}.tif", channels=3, seed=i, level=50)
    return root


def make(out: Path, *folders: Path, **values: object):
    return new_pretraining(out, folders, {**NETWORKS, "crops": 40, **values})


def pool_of(folder) -> np.ndarray:
    return np.asarray(folder.pool.images)


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


def test_files_are_found_below_a_folder_and_hidden_ones_are_not(archive):
    save(archive / "confocal" / ".thumbnails" / "t.tif")
    (archive / "confocal" / "notes.txt").write_text("no image")
    plates, confocal = find_collections([archive / "plates", archive / "confocal"])
    assert [len(plates.files), len(confocal.files)] == [6, 2]
    assert (plates.name, confocal.name) == ("plates", "confocal")


def test_a_pool_is_drawn(archive, tmp_path):
    folder, notes = make(tmp_path / "base", archive / "plates", archive / "confocal")
    assert notes == ()
    images = pool_of(folder)
    assert (images.shape, images.dtype) == ((40, 3, 32, 32), np.uint8)
    assert folder.config.image_channels == 3
    plates, confocal = folder.record.sources
    assert (plates.name, plates.images, plates.channels) == ("plates", 6, 2)
    assert (confocal.name, confocal.images, confocal.channels) == ("confocal", 2, 3)
    # the small collection is seen more often than its share of the files
    assert (plates.crops, confocal.crops) == (25, 15)
    # the third channel is black where there is none, and each collection has its own range
    assert images[:25, 2].max() == 0
    assert images[25:, 2].max() > 200
    assert images[:25, :2].max() == images[25:].max() == 255
    assert everything(tmp_path / "base") == [
        tmp_path / "base" / "training",
        *(tmp_path / "base" / "training" / f for f in ("config.json", "pool.json", "pool.npy")),
    ]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_seed_draws_the_crops(archive, tmp_path):
    first, again, other = (
        pool_of(make(tmp_path / name, archive / "plates", seed=seed)[0])
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_intensities_are_scaled_over_the_collection(archive, tmp_path):
    for i in range(6):
        save(archive / "plates" / f"dim{i}.tif", seed=i, level=100)
    images = pool_of(make(tmp_path / "base", archive / "plates", crops=60)[0])
    brightest = np.sort(images[:, 0].max((1, 2)))
    # those of a tenth of the intensity are as dim in the pool
    assert brightest[10] < 40
    assert brightest[-10] > 200


def test_fewer_crops_than_files_open_no_more_files_than_needed(archive, tmp_path):
    read: list[str] = []
    collections = find_collections([archive / "plates"])
    drawn = draw_crops(
        collections,
        crops=4,
        tile=32,
        seed=0,
        scratch=tmp_path,
        report=lambda done, total, name: read.append(f"{done}/{total} {name}"),
    )
    assert len(set(read)) == 4
    assert read[-1].startswith("4/4 p")
    assert drawn.groups[0].crops == 4


def test_a_crop_is_a_piece_of_its_field(tmp_path):
    side = 48
    data = np.arange(side * side, dtype=np.uint16).reshape(1, side, side)
    write_tiff(tmp_path / "a" / "a.tif", Image(data, ("c",), None, "a"))
    (group,) = draw_crops(
        find_collections([tmp_path / "a"]), crops=30, tile=32, seed=0, scratch=tmp_path
    ).groups
    plain = [crop for crop in group.raw[:, 0] if np.allclose(np.diff(crop, axis=1), 1)]
    zoomed = [crop for crop in group.raw[:, 0] if not np.allclose(np.diff(crop, axis=1), 1)]
    assert len(plain) > 5
    assert len(zoomed) > 5
    for crop in plain:
        y, x = divmod(int(crop[0, 0]), side)
        assert np.array_equal(crop, data[0, y : y + 32, x : x + 32])
    steps = [float(np.diff(crop, axis=1).mean()) for crop in zoomed]
    assert 0.7 < min(steps) < 1 < max(steps) < 1.45


def test_small_fields_are_enlarged_and_smaller_ones_left_out(archive, tmp_path):
    save(archive / "small" / "nearly.tif", side=24)
    save(archive / "small" / "tiny.tif", side=23)
    folder, (note,) = make(tmp_path / "base", archive / "small", crops=8)
    images = pool_of(folder)
    assert len(images) == 4
    assert np.array_equal(images[0], images[1])
    assert images[:, 0].std() > 10
    assert note.startswith("1 image was left out; the first: tiny (")
    assert note.endswith(
        "has a side below 24 pixels, too small for tiles of 32: give a smaller --tile, if many "
        "are as small."
    )


def test_broken_files_are_left_out_and_told(archive, tmp_path):
    path = archive / "plates" / "p2.tif"
    path.write_bytes(path.read_bytes()[:300])
    folder, notes = make(tmp_path / "base", archive / "plates")
    assert len(notes) == 1
    assert notes[0].startswith("1 file of 6 could not be read and was left out; the first: ")
    assert "p2.tif" in notes[0]
    assert folder.record.sources[0].images == 5


def test_an_empty_channel_is_black_and_values_that_are_no_numbers_do_no_harm(tmp_path):
    rng = np.random.default_rng(0)
    data = rng.random((2, 64, 64)).astype(np.float32)
    data[1] = 7
    data[0, 10:14, 10:14] = np.nan
    write_tiff(tmp_path / "a" / "a.tif", Image(data, ("full", "empty"), None, "a"))
    images = pool_of(make(tmp_path / "base", tmp_path / "a")[0])
    assert images[:, 1].max() == 0
    assert images[:, 0].min((1, 2)).max() < 30
    assert images[:, 0].max((1, 2)).min() > 200


def test_grey_images_are_composed_and_others_are_not(archive, tmp_path):
    for i in range(5):
        save(archive / "grey" / f"g{i}.tif", channels=1, seed=i)
    folder, _ = make(tmp_path / "plain", archive / "grey")
    assert folder.config.image_channels == 1
    folder, _ = make(
        tmp_path / "composed", archive / "grey", archive / "plates", compose=True, simulated=6
    )
    grey, plates, simulated = folder.record.sources
    assert (grey.composed, plates.composed, simulated.crops) == (True, False, 6)
    images = pool_of(folder)
    assert images.shape == (46, 3, 32, 32)
    assert images[: plates.crops, 2].max() == 0
    composed = images[plates.crops : 40]
    assert (composed.max((2, 3)) > 0).all(1).any()
    assert images[40:].max((1, 2, 3)).min() > 0
    card = model_card("base", folder.config, folder.record)
    assert f"| grey | 5 | 1, composed | {grey.crops} |" in card
    assert "| simulated fields | 6 | 3 | 6 |" in card
    assert str(tmp_path) not in card


def test_a_base_to_start_from_gives_the_shape(archive, tiny_base, tmp_path):
    folder, _ = new_pretraining(
        tmp_path / "base",
        [archive / "plates"],
        {"start": str(tiny_base), "crops": 12, "device": "cpu"},
    )
    config = folder.config
    assert (config.image_channels, config.tile, config.widths) == (3, 32, (32, 64))
    assert pool_of(folder).shape == (12, 3, 32, 32)


def _no_folder(archive: Path) -> list[Path]:
    return [archive / "nowhere"]


def _no_images(archive: Path) -> list[Path]:
    (archive / "empty" / "below").mkdir(parents=True)
    return [archive / "empty"]


def _twice(archive: Path) -> list[Path]:
    return [archive / "plates", archive / "confocal" / ".." / "plates"]


def _all_broken(archive: Path) -> list[Path]:
    for path in (archive / "plates").iterdir():
        path.write_bytes(b"II*\0")
    return [archive / "plates"]


def _all_small(archive: Path) -> list[Path]:
    save(archive / "small" / "s.tif", side=8)
    return [archive / "small"]


def _one(archive: Path) -> list[Path]:
    return [archive / "plates"]


def _both(archive: Path) -> list[Path]:
    return [archive / "plates", archive / "confocal"]


@pytest.mark.parametrize(
    ("folders", "values", "told"),
    [
        (_no_folder, {}, "nowhere is not a folder"),
        (_no_images, {}, "empty has no TIFF files"),
        (_twice, {}, "was given twice"),
        (_all_broken, {}, r"Of 6 files none can be used; the first: .*p\d\.tif"),
        (_all_small, {}, r"Of 1 file none can be used; the first: s .* has a side below 24"),
        (_both, {"image_channels": 2}, r"c\d\.tif has 3 channels, and the base takes 2: .*--chan"),
        (_one, {"compose": True}, "nothing to compose: leave out --compose"),
        (_one, {"tile": 40}, "the tile must be a multiple of 16"),
        (_one, {"device": "no such"}, "Unknown device"),
        (_one, {"start": "nowhere"}, "nowhere is not a base that can be trained further"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    archive, tmp_path, folders, values, told
):
    given = folders(archive)
    before = everything(tmp_path)
    with pytest.raises(InputError, match=told) as refused:
        make(tmp_path / "base", *given, **values)
    assert "\n" not in str(refused.value)
    assert everything(tmp_path) == before


def test_a_disk_without_room_is_told_before_images_are_read(archive, tmp_path, monkeypatch):
    class Full:
        free = 1000

    monkeypatch.setattr(pretraining_data.shutil, "disk_usage", lambda path: Full)
    monkeypatch.setattr(pretraining_data, "draw_crops", None)
    with pytest.raises(InputError, match=r"need \d+\.\d GB and .* has 0\.0 GB left"):
        make(tmp_path / "base", archive / "plates")


def test_a_stack_of_planes_needs_a_choice(tmp_path):
    import tifffile

    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    stack = rng.integers(0, 100, (3, 2, 40, 40), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "a" / "z.tif", stack, imagej=True, metadata={"axes": "ZCYX"})
    with pytest.raises(InputError, match=r"Of 1 file none can be used; the first: .*z planes"):
        make(tmp_path / "base", tmp_path / "a")
    folder, _ = new_pretraining(
        tmp_path / "base", [tmp_path / "a"], {**NETWORKS, "crops": 4}, z="max"
    )
    assert folder.config.image_channels == 2
    record = json.loads((tmp_path / "base" / "training" / "pool.json").read_text())
    assert record["sources"][0]["images"] == 1
