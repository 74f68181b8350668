"""Random damage to pixels and files, through every command: a sentence, or a right number.

Each seed makes a small experiment, damages some of its files in ways that images of people have
been damaged, and runs `train`, `translate`, `measure` and `evaluate` on it. Set PHENLDIFF_SEEDS to
look at more of them than the few that are always tried.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tifffile
from scipy import ndimage as ndi

from napari_phenldiff.cli import main
from napari_phenldiff.evaluation.appearance import Appearance
from napari_phenldiff.images.tiff import read_tiff

SEEDS = range(int(os.environ.get("PHENLDIFF_SEEDS", "10")))
CONDITIONS = ("untreated", "treated")
SIDE = 32

Damage = Callable[[Path, np.random.Generator], None]
HARMLESS: dict[str, Damage] = {}
"""Changes of how images are stored, which do not change what they show."""
HARMFUL: dict[str, Damage] = {}
"""Damage after which files must not be used."""
OTHER: dict[str, Damage] = {}
"""Changes that give other images, for which the correct values are not known."""


def kind(group: dict[str, Damage]) -> Callable[[Damage], Damage]:
    def add(damage: Damage) -> Damage:
        group[damage.__name__] = damage
        return damage

    return add


def pixels(path: Path) -> np.ndarray:
    return tifffile.imread(path)


def write(path: Path, data: np.ndarray, **options: object) -> None:
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}} | options
    tifffile.imwrite(path, data, **options)


# ---- harmless


@kind(HARMLESS)
def white_is_zero(path: Path, rng: np.random.Generator) -> None:
    write(path, 255 - pixels(path), photometric="miniswhite")


@kind(HARMLESS)
def other_layout(path: Path, rng: np.random.Generator) -> None:
    layouts = ({"tile": (16, 16)}, {"rowsperstrip": 5}, {"bigtiff": True}, {"byteorder": ">"})
    compression = rng.choice(["none", "zlib", "lzw", "packbits"])
    write(path, pixels(path), compression=str(compression), **layouts[rng.integers(4)])


@kind(HARMLESS)
def thumbnail_in_the_file(path: Path, rng: np.random.Generator) -> None:
    data = pixels(path)
    with tifffile.TiffWriter(path) as writer:
        small = {"subfiletype": int(rng.integers(2))}
        if rng.integers(2):
            writer.write(data[0, ::4, ::4], photometric="minisblack", metadata=None, **small)
            writer.write(data, photometric="minisblack", metadata=None)
        else:
            writer.write(data, photometric="minisblack", metadata=None)
            writer.write(data[0, ::4, ::4], photometric="minisblack", metadata=None, **small)


@kind(HARMLESS)
def channels_last(path: Path, rng: np.random.Generator) -> None:
    write(path, np.moveaxis(pixels(path), 0, -1), metadata=None)


@kind(HARMLESS)
def files_beside(path: Path, rng: np.random.Generator) -> None:
    suffix = rng.choice(["_cp_masks", "_thumb", "_thumbA1B2", "_mask", "_labels", "_outlines"])
    beside = path.with_name(f"{path.stem}{suffix}.tif")
    tifffile.imwrite(beside, (pixels(path)[0] > 100).astype(np.uint16))


@kind(HARMLESS)
def link_that_leads_nowhere(path: Path, rng: np.random.Generator) -> None:
    path.with_name("gone.tif").symlink_to(path.with_name("nowhere"))


# ---- harmful


@kind(HARMFUL)
def not_finite(path: Path, rng: np.random.Generator) -> None:
    data = pixels(path).astype(np.float32)
    channel = data[rng.integers(2)]
    part = rng.choice(["pixel", "corner", "all"])
    where = {"pixel": np.s_[3, 3], "corner": np.s_[:9, :9], "all": np.s_[:, :]}[str(part)]
    channel[where] = rng.choice([np.nan, np.inf, -np.inf])
    write(path, data)


@kind(HARMFUL)
def truncated(path: Path, rng: np.random.Generator) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * rng.uniform())])


@kind(HARMFUL)
def missing_strip(path: Path, rng: np.random.Generator) -> None:
    write(path, pixels(path), rowsperstrip=8, compression=rng.choice([None, "zlib", "lzw"]))
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as tif:
        tags = tif.pages[int(rng.integers(2))].tags
        places, lengths, height = tags[273], tags[279], tags[257]

    def put(tag: tifffile.TiffTag, value: int) -> None:
        size = {3: 2, 4: 4}[int(tag.dtype)]
        at = tag.valueoffset + int(rng.integers(tag.count)) * size
        content[at : at + size] = value.to_bytes(size, "little")

    what = rng.integers(4)
    if what == 0:
        put(places, 0)
    elif what == 1:
        put(lengths, 0)
    elif what == 2:
        put(height, 2 * SIDE)
    else:
        for tag in (places, lengths):
            content[tag.offset + 4 : tag.offset + 8] = (tag.count - 1).to_bytes(4, "little")
    path.write_bytes(content)


@kind(HARMFUL)
def palette_of_colours(path: Path, rng: np.random.Generator) -> None:
    colors = rng.integers(0, 65536, (3, 256)).astype(np.uint16)
    tifffile.imwrite(path, pixels(path)[0], photometric="palette", colormap=colors, metadata=None)


@kind(HARMFUL)
def page_of_another_kind(path: Path, rng: np.random.Generator) -> None:
    data = pixels(path)
    other = (data[1].astype(np.float32), data[1, :24], data[1].astype(np.uint16))[rng.integers(3)]
    with tifffile.TiffWriter(path) as writer:
        for page in (data[0], other):
            writer.write(page, photometric="minisblack", metadata=None)


@kind(HARMFUL)
def channel_that_is_forgotten(path: Path, rng: np.random.Generator) -> None:
    xml = (
        '<?xml version="1.0" encoding="UTF-8"?><OME xmlns="http://www.openmicroscopy.org/Schemas/'
        'OME/2016-06"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8"'
        f' SizeX="{SIDE}" SizeY="{SIDE}" SizeC="1" SizeZ="1" SizeT="1"><Channel ID="Channel:0:0"/>'
        "<TiffData/></Pixels></Image></OME>"
    )
    write(path, pixels(path), description=xml.encode(), metadata=None)


def spread(path: Path, *signs: str) -> None:
    for sign, plane in zip(signs, pixels(path), strict=True):
        tifffile.imwrite(path.with_name(f"{path.stem}_{sign}.tif"), plane, metadata=None)
    path.unlink()


@kind(HARMFUL)
def spread_as_w1_and_w2(path: Path, rng: np.random.Generator) -> None:
    spread(path, "w1", "w2")


@kind(HARMFUL)
def spread_by_dyes(path: Path, rng: np.random.Generator) -> None:
    spread(path, "DAPI", "GFP")


@kind(HARMFUL)
def spread_as_planes(path: Path, rng: np.random.Generator) -> None:
    spread(path, "z1", "z2")


# ---- other images


@kind(OTHER)
def other_depth(path: Path, rng: np.random.Generator) -> None:
    data = pixels(path).astype(np.float64)
    factor, dtype = ((257, np.uint16), (1 / 255, np.float32), (1, np.uint16))[rng.integers(3)]
    write(path, (data * factor).astype(dtype))


@kind(OTHER)
def hot_pixel(path: Path, rng: np.random.Generator) -> None:
    data = pixels(path).astype(np.float32)
    data[:, 3, 3] = rng.choice([1e38, -1e38, 1e10])
    write(path, data)


@kind(OTHER)
def nothing_to_see(path: Path, rng: np.random.Generator) -> None:
    data = pixels(path)
    data[rng.integers(2) :] = rng.choice([0, 255, 17])
    write(path, data)


@kind(OTHER)
def brighter(path: Path, rng: np.random.Generator) -> None:
    write(path, np.clip(pixels(path).astype(int) * 3, 0, 255).astype(np.uint8))


@kind(OTHER)
def colour(path: Path, rng: np.random.Generator) -> None:
    data = pixels(path)
    planes = np.stack([data[0], data[0] if rng.integers(2) else data[1], data[0]], -1)
    tifffile.imwrite(path, planes, photometric="rgb", metadata=None)


@kind(OTHER)
def flipped_bits(path: Path, rng: np.random.Generator) -> None:
    content = bytearray(path.read_bytes())
    for at in rng.integers(0, min(len(content), 400), 3):
        content[at] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


GROUPS = (HARMLESS, HARMFUL, OTHER)


def smooth(rng: np.random.Generator, level: int) -> np.ndarray:
    plane = ndi.gaussian_filter(rng.standard_normal((SIDE, SIDE)), 3)
    plane = (plane - plane.min()) / np.ptp(plane)
    return np.rint(5 + plane * level).astype(np.uint8)


def make_experiment(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    for condition, level in zip(CONDITIONS, (90, 240), strict=True):
        (folder / condition).mkdir(parents=True)
        for i in range(4):
            data = np.stack([smooth(rng, 240), smooth(rng, level)])
            write(folder / condition / f"{condition[0]}{i}.tif", data)
    return folder


@pytest.fixture(scope="module")
def clean(tmp_path_factory) -> Path:
    return make_experiment(tmp_path_factory.mktemp("clean") / "data")


def train(data: Path, base: Path, out: Path) -> int:
    return main([
        "train", str(data), "--source", "untreated", "--target", "treated", "--out", str(out),
        "--base", str(base), "--steps", "2", "--batch-size", "2", "--preview-every", "0",
        "--device", "cpu", "--reference-channels", "none",
    ])  # fmt: skip


def measure(data: Path, out: Path) -> int:
    return main(["measure", "area", str(data), "--channel", "1", "--per-image", "--out", str(out)])


@pytest.fixture(scope="module")
def run(clean, tiny_base, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert train(clean, tiny_base, folder) == 0
    return folder


@pytest.fixture(scope="module")
def true_values(clean, tmp_path_factory) -> pd.Series:
    table = tmp_path_factory.mktemp("true") / "table.csv"
    assert measure(clean, table) == 0
    return pd.read_csv(table).set_index(["condition", "image"])["area_fraction"]


def damage(folder: Path, rng: np.random.Generator) -> dict[Path, list[str]]:
    """Damage one to three files, or all of a condition; what was done to which."""
    done: dict[Path, list[str]] = {}
    files = sorted(folder.rglob("*.tif"))
    group = GROUPS[rng.integers(len(GROUPS))]
    name = list(group)[rng.integers(len(group))]
    condition = CONDITIONS[rng.integers(2)]
    whole = rng.integers(2) or name.startswith("spread")
    chosen = [f for f in files if f.parent.name == condition] if whole else []
    for path in chosen or rng.permutation(files)[: rng.integers(1, 4)]:
        group[name](path, rng)
        done[path] = [name]
    return done


def check_table(path: Path, true: pd.Series, damaged: dict[Path, list[str]], said: str) -> None:
    """Check that every number in the table is that of the clean image, unless it is unknown."""
    rows = pd.read_csv(path).set_index(["condition", "image"])
    harmed = {
        (file.parent.name, file.stem): names[0]
        for file, names in damaged.items()
        if names[0] not in HARMLESS
    }
    spread = any(names[0].startswith("spread") for names in damaged.values())
    for key, row in rows.iterrows():
        value, reason = row["area_fraction"], row["reason"]
        if key not in harmed and key in true.index:
            # where names of files gave the other condition names of channels, these are asked for
            asked = spread and np.isnan(value) and "has no channel" in str(reason)
            assert asked or value == pytest.approx(true[key], abs=1e-12), key
        elif harmed.get(key) in HARMFUL:
            unharmed = value == pytest.approx(true[key], abs=1e-12)
            assert unharmed or (np.isnan(value) and isinstance(reason, str)), key
        elif key not in harmed:
            pytest.fail(f"{key} is no image of the experiment")
        if np.isnan(value):
            assert isinstance(reason, str), key
            assert "could not be measured" in said
    for key in true.index:
        assert key in rows.index or harmed.get(key) in OTHER, key


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sentence_or_a_right_number(
    seed, clean, run, true_values, tiny_base, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(
        "napari_phenldiff.evaluation.evaluate.compare_appearance",
        lambda *args: Appearance([], None, None),
    )
    rng = np.random.default_rng(seed)
    data = tmp_path / "data"
    shutil.copytree(clean, data)
    damaged = damage(data, rng)
    note = {path.name: names for path, names in damaged.items()}
    outs = {name: tmp_path / name for name in ("train", "translate", "evaluate")}
    table = tmp_path / "table.csv"
    commands = {
        "train": lambda: train(data, tiny_base, outs["train"]),
        "translate": lambda: main([
            "translate", str(run), str(data), "--out", str(outs["translate"]),
            "--inference-steps", "2", "--device", "cpu",
        ]),
        "measure": lambda: measure(data, table),
        "evaluate": lambda: main([
            "evaluate", str(run), str(data), "--out", str(outs["evaluate"]), "--profile", "area",
            "--channel", "1", "--trained-too", "--images", "2", "--inference-steps", "2",
            "--latent-images", "1", "--no-cycle", "--device", "cpu",
        ]),
    }  # fmt: skip
    for name, command in commands.items():
        capsys.readouterr()
        code = command()
        told = capsys.readouterr()
        where = (seed, name, note, told.out[-600:], told.err)
        assert code in (0, 2), where
        assert "Traceback" not in told.err, where
        if code == 2:
            assert told.err.startswith("phenldiff: "), where
            assert told.err.count("\n") == 1, where
            out = outs.get(name, table)
            if name == "translate" and out.exists():
                # The others were translated, and each that was not is a row.
                assert (out / "failures.csv").is_file(), where
                check_translated(out, damaged, where)
            elif name == "measure" and out.exists():
                # Nothing of a condition was measured, and each row says why.
                assert "could be measured; the column reason of" in told.err, where
                check_table(out, true_values, damaged, told.out)
            else:
                assert not out.exists(), where
        elif name == "measure":
            check_table(table, true_values, damaged, told.out)
        elif name == "translate":
            check_translated(outs[name], damaged, where)
            harmful = any(
                names[0] in HARMFUL and path.parent.name == "untreated"
                for path, names in damaged.items()
            )
            assert not harmful or "truncated" in str(note), where


def check_translated(out: Path, damaged: dict[Path, list[str]], where: object) -> None:
    """Nothing is made of what cannot be read."""
    made = [i for p in (out / "translated").iterdir() for i in read_tiff(p)]
    assert made, where
    assert all(np.isfinite(image.data).all() for image in made), where
    for path, names in damaged.items():
        if names[0] in HARMFUL and path.parent.name == "untreated" and names[0] != "truncated":
            assert not (out / "translated" / f"{path.stem}.tif").exists(), where
