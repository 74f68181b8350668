"""Files beside the images, and images that are spread over several files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.grouping import Grouped, group_files
from napari_phenldiff.images.tiff import files_left_out, tiff_files

STAINS = ("DAPI", "GFP")
PLANE = np.random.default_rng(0).integers(0, 255, (20, 16)).astype(np.uint8)


def fill(folder: Path, *names: str, n_channels: int = 1) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    data = PLANE if n_channels == 1 else np.stack([PLANE] * n_channels)
    for name in names:
        tifffile.imwrite(folder / name, data, photometric="minisblack")
    return folder


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("f0_w1_thumbC3D4.tif", "thumbnail"),
        ("f0_thumb.tif", "thumbnail"),
        ("f0_thumbnail.TIF", "thumbnail"),
        ("f0_cp_masks.tif", "segmentation"),
        ("g_cp_outlines.tif", "segmentation"),
        ("f0_mask.tif", "segmentation"),
        ("f0-labels.tif", "segmentation"),
        ("f0_Probabilities.tiff", "segmentation"),
        ("f0_Simple Segmentation.tif", "segmentation"),
        ("f0_binary.tif", "segmentation"),
        ("Mask of f0.tif", "segmentation"),
        ("Result of f1.tif", "result of a calculation"),
        ("MAX_f0.tif", "projection of an image beside"),
        ("STD_f1.tif", "projection of an image beside"),
        ("flatfield.tif", "calibration image"),
        ("Illum_DAPI.tif", "calibration image"),
    ],
)
def test_what_is_no_image_is_left_out_and_named(tmp_path, name, what):
    fill(tmp_path, "f0.tif", "f1.tif", name)
    assert [path.name for path in tiff_files(tmp_path)] == ["f0.tif", "f1.tif"]
    (told,) = files_left_out(tmp_path)
    assert name in told
    assert what in told


@pytest.mark.parametrize(
    "name",
    [
        "unmasked.tif",
        "k_mask.tif",
        "thumbelina.tif",
        "label.tif",
        "MAX_f7.tif",
        "Result of f7.tif",
        "f0-1.tif",
        "background2.tif",
        "darkfield.tif",
        "std_f0.tif",  # a standard
        "background.tif",  # of a mutant
        "illumination.tif",
        "dark.tif",
        "dark_phase.tif",
        "dark_c1.tif",
        "light_red.tif",
    ],
)
def test_names_that_only_sound_like_it(tmp_path, name):
    """A mask has the name of an image; where there is none, it is an image of that name."""
    fill(tmp_path, "f0.tif", name)
    assert name in [path.name for path in tiff_files(tmp_path)]
    assert files_left_out(tmp_path) == []


@pytest.mark.parametrize(
    ("folder", "names", "n_images"),
    [
        ("x", ("flatfield", "dark", "a", "b", "c"), 3),
        ("x", ("flatfield", "dark", "light", "b", "c"), 4),
        ("dark", ("flatfield", "dark", "a", "b", "c"), 4),
        ("x", ("dark_c1", "dark_c2", "light_c1", "light_c2"), 4),
    ],
)
def test_what_is_dark_is_calibration_beside_a_flat_field_alone(tmp_path, folder, names, n_images):
    fill(tmp_path / folder, *(f"{name}.tif" for name in names))
    assert len(tiff_files(tmp_path / folder)) == n_images


def test_calibration_images_alone_are_images(tmp_path):
    fill(tmp_path, "background.tif", "dark.tif")
    assert len(tiff_files(tmp_path)) == 2


def test_links_that_lead_nowhere_are_named(tmp_path):
    fill(tmp_path, "f0.tif")
    (tmp_path / "f9.tif").symlink_to(tmp_path / "gone.tif")
    assert [path.name for path in tiff_files(tmp_path)] == ["f0.tif"]
    assert files_left_out(tmp_path) == [
        f'Left out of {tmp_path.name}: "f9.tif", whose link leads nowhere.'
    ]


def grouped(folder: Path) -> Grouped:
    return group_files(folder, tiff_files(folder))


SPREAD = {
    "ImageXpress": ("f{}_s1_w{}.TIF", 1),
    "MetaXpress": ("f{}_w{}A1B2C3D4.tif", 1),
    "LAS X": ("f{}_ch0{}.tif", 1),
    "Operetta": ("r01c0{}f01p01-ch{}sk1fk1fl1.tiff", 1),
    "c": ("f{}_c{}.tif", 2),
    "Cellomics": ("MFGTMP_A01f0{}d{}.TIF", 1),
    "z": ("f{}_z{}.tif", 1),
}


@pytest.mark.parametrize("pattern", SPREAD)
def test_one_file_for_each_channel_or_plane_is_one_image(tmp_path, pattern):
    form, fewest = SPREAD[pattern]
    names = [form.format(i, k) for i in range(1, fewest + 1) for k in (1, 2)]
    fill(tmp_path, *names)
    found = grouped(tmp_path)
    files = [[path.name for planes in group.files for path in planes] for group in found.groups]
    assert files == [names[2 * k : 2 * k + 2] for k in range(fewest)]
    assert "channels (" in found.told or "2 planes" in found.told
    assert f"{2 * fewest} files are {fewest} image" in found.told


@pytest.mark.parametrize("form", ["f{}_{}.tif", "{1}_f{0}.tif"])
def test_channels_by_the_names_of_dyes(tmp_path, form):
    fill(tmp_path, *(form.format(i, dye) for i in range(2) for dye in ("DAPI", "GFP")))
    found = grouped(tmp_path)
    assert [(group.name, group.channel_names) for group in found.groups] == [
        ("f0", ("DAPI", "GFP")),
        ("f1", ("DAPI", "GFP")),
    ]


@pytest.mark.parametrize(
    ("names", "n_channels"),
    [
        (("f0_w1.tif", "f0_w2.tif"), 2),  # each holds its channels
        (("f0_w1.tif", "f1_w1.tif"), 1),  # one channel was exported
        (("a_c1.tif", "a_c2.tif"), 1),  # may be crops
        (("A01.tif", "A02.tif", "B01.tif", "B02.tif"), 1),
        (("day1_DAPI.tif",), 1),
        (("t00.tif", "t01.tif"), 1),
        (("p1_C02.tif", "p1_C03.tif", "p2_C02.tif", "p2_C03.tif"), 1),  # wells of two plates
        (("a_d1.tif", "a_d3.tif", "b_d1.tif", "b_d3.tif"), 1),  # days
        (("w1_f0.tif", "w1_f1.tif", "w2_f0.tif", "w2_f1.tif"), 1),  # wells
        (tuple(f"f_c{i}.tif" for i in range(20)) + tuple(f"g_c{i}.tif" for i in range(20)), 1),
    ],
)
def test_files_that_are_images_of_their_own(tmp_path, names, n_channels):
    fill(tmp_path, *names, n_channels=n_channels)
    found = grouped(tmp_path)
    assert sorted(group.name for group in found.groups) == sorted(Path(n).stem for n in names)
    assert (found.told, found.left_out) == ("", ())


def test_an_image_that_lacks_a_channel_is_left_out_and_named(tmp_path):
    fill(tmp_path, "f0_w1.tif", "f0_w2.tif", "f1_w1.tif", "f2_w1.tif", "f2_w2.tif", "odd.tif")
    found = grouped(tmp_path)
    assert [group.name for group in found.groups] == ["f0", "f2"]
    assert [text.split(", ")[0] for text in found.left_out] == [
        f'Left out of {tmp_path.name}: "odd.tif"',
        f'Left out of {tmp_path.name}: "f1"',
    ]


def test_most_images_lack_a_channel(tmp_path):
    fill(tmp_path, "f0_w1.tif", "f0_w2.tif", "f1_w1.tif", "f2_w1.tif")
    with pytest.raises(InputError, match="seems to hold one file for each channel"):
        grouped(tmp_path)


FORMS = {
    "stain at the end": ("f{}_{}.tif", ("DAPI", "GFP")),
    "channel at the end": ("f{}_{}.tif", ("c1", "c2")),
    "Fiji": ("{1}-f{0}.tif", ("C1", "C2")),
    "stain at the beginning": ("{1}_f{0}.tif", ("DAPI", "GFP")),
}


@pytest.mark.parametrize("program", FORMS)
@pytest.mark.parametrize("extra", [False, True])
def test_a_file_too_few_or_too_many_does_not_make_channels_images(tmp_path, program, extra):
    form, channels = FORMS[program]
    for condition in ("ctrl", "drug"):
        fill(tmp_path / condition, *(form.format(i, c) for i in range(3) for c in channels))
        if not extra:
            (tmp_path / condition / form.format(2, channels[1])).unlink()
    if extra:
        fill(tmp_path / "ctrl", "overview.tif")
    found = Dataset.find(tmp_path)
    if channels[0].lower() == "c1" and not extra:  # crops are counted so too
        assert [len(sources) for sources in found.conditions.values()] == [5, 5]
        assert f"look like those of one file for each channel ({program}" in found.summary()
        return
    n = 3 if extra else 2
    assert [len(sources) for sources in found.conditions.values()] == [n, n]
    assert {source.read()[0].channel_names for source in found.sources} == {channels}
    assert program in found.summary()
    told = ["overview.tif"] if extra else ["f2", "f2"]
    for text, name in zip(found.left_out, told, strict=True):
        assert f'"{name}"' in text


@pytest.mark.parametrize(
    ("parts", "overlay"),
    [
        (("Image_000{}_CH1", "Image_000{}_CH2"), "Image_000{}_Overlay"),
        (("XY0{}_00001_Z001_CH1", "XY0{}_00001_Z001_CH2"), "XY0{}_00001_Z001_Overlay"),
        (("P_Series00{}_ch00", "P_Series00{}_ch01"), "P_Series00{}_overlay"),
        (("Exp{}_c1_ORG", "Exp{}_c2_ORG"), "Exp{}_c1+2_ORG"),
        (("Exp{}_c1_ORG", "Exp{}_c2_ORG"), "Exp{}_c1-2_ORG"),
        (("f{}_DAPI", "f{}_GFP"), "f{}_merge"),
        (("f{}_DAPI", "f{}_GFP"), "Composite_f{}"),
        (("f{}_c1", "f{}_c2"), "f{}_RGB"),
    ],
)
def test_pictures_of_all_channels_beside_these_are_left_out(tmp_path, parts, overlay):
    for condition in ("ctrl", "drug"):
        fill(
            tmp_path / condition, *(f"{p.format(i)}.tif" for i in (1, 2) for p in (*parts, overlay))
        )
    found = Dataset.find(tmp_path)
    assert [len(sources) for sources in found.conditions.values()] == [2, 2]
    assert all(source.read()[0].n_channels == 2 for source in found.sources)
    assert len(found.left_out) == 2
    assert (
        f'"{overlay.format(1)}.tif", "{overlay.format(2)}.tif", by their names' in found.left_out[0]
    )


@pytest.mark.parametrize("names", [("f0_merge", "f1_merge"), ("f0", "f0_merge"), ("a_c1-2", "b")])
def test_merged_images_without_channels_beside_are_images(tmp_path, names):
    fill(tmp_path, *(f"{name}.tif" for name in names))
    assert [group.name for group in grouped(tmp_path).groups] == list(names)


@pytest.mark.parametrize("n_others", [1, 2])
def test_files_beside_images_are_left_out_where_they_are_few(tmp_path, n_others):
    fill(tmp_path, *(f"p_A0{i}_s1_w{k}.tif" for i in (1, 2) for k in (1, 2)))
    fill(tmp_path, *("map.tif", "overview.tif")[:n_others])
    found = grouped(tmp_path)
    if n_others == 1:
        assert [group.channel_names for group in found.groups] == [("w1", "w2")] * 2
        assert '"map.tif"' in found.left_out[0]
    else:
        assert len(found.groups) == 6
        assert found.left_out == ()


def test_a_condition_of_which_many_files_do_not_fit_keeps_them(tmp_path):
    fill(tmp_path / "A", *(f"a{i}_{c}.tif" for i in range(9) for c in ("red", "green")))
    fill(tmp_path / "B", *(f"b{i}_{c}.tif" for i in range(2) for c in ("red", "green")))
    fill(tmp_path / "B", "b7.tif", "b8.tif", "b9.tif")
    found = Dataset.find(tmp_path)
    assert [len(sources) for sources in found.conditions.values()] == [9, 7]
    assert found.left_out == ()


def test_one_image_of_each_condition_has_channels_of_stains(tmp_path):
    for condition in ("ctrl", "drug"):
        fill(tmp_path / condition, "f0_DAPI.tif", "f0_GFP.tif")
    found = Dataset.find(tmp_path)
    assert [s.read()[0].channel_names for s in found.sources] == [("DAPI", "GFP")] * 2
    for condition in ("ctrl", "drug"):  # these may be crops
        fill(tmp_path / "crops" / condition, "f0_c1.tif", "f0_c2.tif")
    assert len(Dataset.find(tmp_path / "crops").sources) == 4


def test_a_condition_of_one_channel_alone_says_which(tmp_path):
    fill(tmp_path / "ctrl", "f0_DAPI.tif", "f1_DAPI.tif")
    fill(tmp_path / "drug", *(f"f{i}_{c}.tif" for i in range(2) for c in ("DAPI", "GFP")))
    ctrl, drug = Dataset.find(tmp_path).conditions.values()
    assert [source.read()[0].channel_names for source in ctrl] == [("DAPI",)] * 2
    assert [source.read()[0].channel_names for source in drug] == [("DAPI", "GFP")] * 2


def test_small_letters_name_the_same_channels(tmp_path):
    fill(tmp_path, "f0_dapi.tif", "f0_gfp.tif", *(f"f{i}_{c}.tif" for i in (1, 2) for c in STAINS))
    found = grouped(tmp_path)
    assert [len(group.files) for group in found.groups] == [2] * 3
    assert found.left_out == ()


def test_two_files_of_one_part_are_refused(tmp_path):
    fill(tmp_path, "f0_w1A1B2.tif", "f0_w1C3D4.tif", "f0_w2E5F6.tif")
    with pytest.raises(InputError, match=r"A1B2\.tif and f0_w1C3D4\.tif are both channel w1"):
        grouped(tmp_path)


def test_real_images_are_images_of_their_own(shared_data):
    folders = [path for path in shared_data.rglob("*") if path.is_dir() and tiff_files(path)]
    assert folders
    for folder in folders:
        assert len(grouped(folder).groups) == len(tiff_files(folder))
        assert files_left_out(folder) == []


def test_an_experiment_tells_what_was_left_out(tmp_path):
    for name in ("x", "y"):
        fill(tmp_path / name, "f0.tif", "f1.tif", "f0_cp_masks.tif")
    experiment = Experiment.from_folder(tmp_path)
    assert [len(condition.images) for condition in experiment.conditions] == [2, 2]
    told = [text for text in experiment.warnings() if text.startswith("Left out of")]
    assert [text.split(":")[0] for text in told] == ["Left out of x", "Left out of y"]
    assert experiment.select(["y", "x"]).subset(1, 0).left_out == experiment.left_out


def test_an_experiment_of_single_channels_is_put_together_and_says_so(tmp_path):
    for name in ("x", "y"):
        fill(tmp_path / name, "f0_w1.tif", "f0_w2.tif")
    experiment = Experiment.from_folder(tmp_path)
    assert experiment.channel_names == ("w1", "w2")
    assert [image.name for image in experiment.images] == ["f0", "f0"]
    assert "4 files are 2 images of 2 channels (w1, w2), by their names" in experiment.summary()


@pytest.mark.parametrize("where", ["ZStep_0/", ""])
def test_the_projection_beside_a_stack_is_none_of_its_planes(tmp_path, where):
    wells = ("A01", "A02", "B01")
    for plane in range(1, 4):
        fill(tmp_path / f"ZStep_{plane}", *(f"P_{w}_s1_w{c}.tif" for w in wells for c in (1, 2)))
    fill(tmp_path / where, *(f"P_{w}_s1_w2.tif" for w in wells))
    found = group_files(tmp_path, sorted(tmp_path.rglob("*.tif")))
    assert [len(planes) for group in found.groups for planes in group.files] == [3] * 6
    (told,) = found.left_out
    assert f'"{where}P_A01_s1_w2.tif"' in told
    assert "projections of the planes beside" in told


def test_a_projection_alone_is_an_image(tmp_path):
    fill(tmp_path / "ZStep_0", *(f"P_{w}_s1_w{c}.tif" for w in ("A01", "A02") for c in (1, 2)))
    found = group_files(tmp_path, sorted(tmp_path.rglob("*.tif")))
    assert [len(planes) for group in found.groups for planes in group.files] == [1] * 4
    assert found.left_out == ()


def test_stacks_of_different_depth_are_told(tmp_path):
    for condition, depth in (("ctrl", 2), ("drug", 3)):
        for plane in range(1, depth + 1):
            fill(tmp_path / condition, *(f"P_{w}_s1_z{plane}_w1.tif" for w in ("A01", "A02")))
    assert "2 to 3 z planes" in Dataset.find(tmp_path).summary()
    images = Dataset.find(tmp_path).read(z="sum").images
    assert {image.projection for image in images} == {("sum", 2), ("sum", 3)}
    assert "· 3 z planes" in Dataset.find(tmp_path / "drug").summary()
