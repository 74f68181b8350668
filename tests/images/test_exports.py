"""How microscopes name files: which image, channel, plane and place each one holds."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.exports import NAMINGS, Named, own_naming, well_name


def read(path: str) -> tuple[str, Named]:
    for naming in NAMINGS:
        named = naming.read(path)
        if named is not None:
            return naming.program, named
    raise AssertionError(path)


@pytest.mark.parametrize(
    ("path", "program", "image", "channel", "z", "well", "field"),
    [
        ("r02c03f04p05-ch1sk1fk1fl1", "Operetta", "r02c03f04sk1", "ch1", "05", "B03", "04"),
        ("002003-1-001001002", "Operetta", "002003-1-001", "002", "001", "B03", "1"),
        ("001002003.flex", "Opera (Flex)", "001002003.flex", None, None, "A02", "003"),
        ("P_B03_T0001F002L01A01Z01C02", "CellVoyager", "P_B03_T0001F002", "C02", "01", "B03",
         "002"),
        ("W0012F0001T0001Z001C1", "CellVoyager", "W0012F0001T0001", "C1", "001", "12", "0001"),
        ("img_000000000_DAPI_000", "Micro-Manager", "000000000", "DAPI", "000", None, None),
        (
            "img_channel001_position002_time000000000_z003",
            "Micro-Manager 2", "img_position002_time000000000", "channel001", "003", None, "002",
        ),
        ("x--W00001--P00002--Z00000--T00000--Cy3", "ScanR", "W00001--P00002--T00000", "Cy3",
         "00000", "1", "00002"),
        ("A - 01(fld 1 wv DAPI - DAPI)", "IN Cell", "A - 01(fld 1)", "DAPI - DAPI", None, "A01",
         "1"),
        ("B - 11(fld 02 wv Green - dsRed z 3)", "IN Cell", "B - 11(fld 02)", "Green - dsRed", "3",
         "B11", "02"),
        ("A1_02_1_1_DAPI_001", "Gen5", "A1_1_001", "DAPI", None, "A1", "1"),
        ("MFGTMP_A01f00d0", "CellInsight", "MFGTMP_A01f00", "d0", None, "A01", "00"),
        ("Channel1-01-A-02", "ArrayScan", "01-A-02", "Channel1", None, "A02", "01"),
        ("VID12_A1_1_2023y05m01d_10h00m", "Incucyte", "VID12_A1_1_2023y05m01d_10h00m", None, None,
         "A1", "1"),
        ("exp_Phase_B12_1_00d02h00m", "Incucyte", "exp_B12_1_00d02h00m", "Phase", None, "B12", "1"),
        ("plate1_B03_s1_w1", "ImageXpress", "plate1_B03_s1", "w1", None, "B03", "1"),
        ("x_B02_s1_w1A1B2C3D4-1234-1234-1234-ABCDEF012345", "ImageXpress", "x_B02_s1", "w1", None,
         "B02", "1"),
        ("TimePoint_1/ZStep_2/p_B03_s1_w2", "ImageXpress", "TimePoint_1/p_B03_s1", "w2", "2", "B03",
         "1"),
        ("exp_w2Cy3 confocal_s1_t1", "MetaMorph", "exp_s1_t1", "Cy3 confocal", None, None, "1"),
        ("Series003_z003_ch01", "LAS X", "Series003", "ch01", "003", None, None),
        ("i--U01--V02--X00--Y01--T0000--Z00--C01.ome", "LAS X", "i--U01--V02--X00--Y01--T0000.ome",
         "C01", "00", "C02", "X00--Y01"),
        ("name_s1c2_ORG", "ZEN", "name_s1_ORG", "c2", None, None, "1"),
        ("C2-MAX_cells_3", "Fiji", "MAX_cells_3", "C2", None, None, None),
        ("f0_DAPI", "stain at the end", "f0", "DAPI", None, None, None),
        ("Hoechst_f0", "stain at the beginning", "f0", "Hoechst", None, None, None),
        ("field1/GFP", "a folder for each image", "field1/", "GFP", None, None, None),
        ("expt1xy02c1", "NIS-Elements", "expt1xy02", "c1", None, None, "02"),
        ("cell0_z3c2", "NIS-Elements", "cell0", "c2", "3", None, None),
        ("s1_C001Z002", "Olympus", "s1", "C001", "002", None, None),
        ("im1_t0001_z0002_c0001", "channel at the end", "im1_t0001", "c0001", "0002", None, None),
        ("im1_Z0_C1_T0", "channel at the end", "im1_T0", "C1", "0", None, None),
        ("exp_w1405_s2_t1", "MetaMorph", "exp_s2_t1", "w1405", None, None, "2"),
        ("p_B03_s1_w10", "ImageXpress", "p_B03_s1", "w10", None, "B03", "1"),
        ("x_B02_s1_w123456789-1234-1234-1234-ABCDEF012345", "ImageXpress", "x_B02_s1", "w1", None,
         "B02", "1"),
        ("A1_0_2_3_Fluorescence_405_nm_Ex", "Squid", "A1_0_2", "Fluorescence_405_nm_Ex", "3", "A1",
         "0_2"),
        ("f0_488", "wavelength at the end", "f0", "488", None, None, None),
        ("f0_405nm", "wavelength at the end", "f0", "405nm", None, None, None),
        ("B03_DAPI_s1", "channel in the middle", "B03_s1", "DAPI", None, None, None),
        ("f0 (DAPI)", "stain in brackets", "f0", "DAPI", None, None, None),
        ("DAPI001", "stain at the beginning", "001", "DAPI", None, None, None),
        ("f0_Vinculin", "a stain among words at the end", "f0", "Vinculin", None, None, None),
        ("cell0z3", "plane at the end", "cell0", None, "3", None, None),
        ("cell0_Z03_T00", "plane at the end", "cell0_T00", None, "03", None, None),
        ("cell0/z03", "a folder of planes", "cell0/", None, "03", None, None),
        ("mCherry/f0", "a folder for each channel", "f0", "mCherry", None, None, None),
    ],
)  # fmt: skip
def test_names_of_files_tell_channel_plane_and_place(path, program, image, channel, z, well, field):
    by, named = read(path)
    assert program in by
    assert (named.image, named.channel, named.z) == (image, channel, z)
    assert (named.site.well, named.site.field) == (well, field)


@pytest.mark.parametrize("name", ["image01", "treated_f0", "experiment", "A01", "t00"])
def test_plain_names_tell_nothing(name):
    assert all(naming.read(name) is None for naming in NAMINGS)


@pytest.mark.parametrize(
    ("words", "n_images"), [(("DAPI", "Vinculin"), 2), (("before", "after"), 4)]
)
def test_words_are_channels_where_one_is_a_stain(tmp_path, words, n_images):
    for i in range(2):
        for word in words:
            tifffile.imwrite(tmp_path / f"f{i}_{word}.tif", np.zeros((9, 8), np.uint8))
    assert len(Dataset.find(tmp_path).sources) == n_images


@pytest.mark.parametrize(
    "names",
    [
        *(
            tuple(f"p{i}_{word}" for i in (1, 2, 3) for word in words.split())
            for words in (
                "er ctrl",
                "blue dark",
                "blue red dark",
                "red white",
                "gfp nonTg",
                "bf ctx hc",
                "red ctrl drug",
                "bf treated",
                "ER PR HER2",
                "merge dapi",
                "rgb red",
                "w12 w16",  # weeks
                "w4 w8 w12",
                "c001 c002 c003 c004",  # cells
                "ch1_1 ch2_1 ch3_1",  # chambers
                "551 552 553 554 555 556",
                "405 407 440",
            )
        ),
        tuple(f"f{i}_c{k}" for i in range(4) for k in (1, 2, 3))[:-1],
        (*(f"f{i}_c{k}" for i in range(4) for k in (1, 2, 3)), "f5_c1", "f5_c2"),
        ("n1_merge", "n1_dapi"),
        ("n1_rgb", "n1_red"),
        ("mouse_green", "mouse_red", "mouse_blue"),
        ("red1", "red2", "green1", "green2"),
        ("m1 (red)", "m1 (green)", "m2 (red)", "m2 (green)"),
        tuple(f"mouse_{colour}_{i}" for colour in ("green", "red", "blue") for i in (1, 2)),
        (*(f"B0{i}_w{k}" for i in (2, 3, 4) for k in (1, 2)), "x1", "x2", "y1", "z"),
    ],
)
def test_ordinary_names_are_those_of_images(tmp_path, names):
    for condition in ("A", "B"):
        (tmp_path / condition).mkdir()
        for name in names:
            tifffile.imwrite(tmp_path / condition / f"{name}.tif", np.zeros((9, 8), np.uint8))
    found = Dataset.find(tmp_path)
    assert [len(sources) for sources in found.conditions.values()] == [len(names)] * 2
    assert found.left_out == ()


@pytest.mark.parametrize(
    "words",
    [
        ("DAPI", "Vinculin"),
        ("AF647", "pERK"),
        ("405", "488", "561"),
        tuple(f"w{k}" for k in range(1, 11)),
        ("DAPI_1", "GFP_1"),
        ("(DAPI)", "(green)"),
    ],
)
def test_names_that_surely_tell_channels_still_do(tmp_path, words):
    for condition in ("A", "B"):
        (tmp_path / condition).mkdir()
        for name in (f"p{i}_{word}" for i in (1, 2, 3) for word in words):
            tifffile.imwrite(tmp_path / condition / f"{name}.tif", np.zeros((9, 8), np.uint8))
    found = Dataset.find(tmp_path)
    assert [len(sources) for sources in found.conditions.values()] == [3, 3]
    assert found.sources[0].read()[0].n_channels == len(words)


@pytest.mark.parametrize(("row", "col", "name"), [(1, 1, "A01"), ("b", 12, "B12"), (27, 3, "AA03")])
def test_wells_are_named_by_row_and_column(row, col, name):
    assert well_name(row, col) == name


@pytest.mark.parametrize(
    ("names", "doubtful"),
    [
        (["01_D", "01_F", "02_D", "02_F"], True),
        (["01_D", "01_F", "02_D", "02_R"], False),  # not the same for each
        (["01_D", "01_F"], False),  # two images, for all that is known
        (["01_1", "01_2", "02_1", "02_2"], False),  # fields
        (["cells_D", "cells_F", "plain"], False),
    ],
)
def test_names_that_may_tell_channels_are_told(tmp_path, names, doubtful):
    for name in names:
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((9, 8), np.uint8))
    found = Dataset.find(tmp_path)
    assert [len(sources) for sources in found.conditions.values()] == [len(names)]
    told = 'All names end in "D", "F" in turn, as if each image had a file for each channel'
    assert (told in found.summary()) == doubtful
    assert (r"(?P<channel>D|F)$" in found.summary()) == doubtful


@pytest.mark.parametrize(
    ("forms", "told", "pattern"),
    [
        (("i_ch1_{}", "i_ch2_{}"), 'have "ch1", "ch2" in turn', "[_ .-](?P<channel>ch1|ch2)[_ .-]"),
        (("f{}_ER", "f{}_HER2"), 'end in "ER", "HER2" in turn', "(?P<channel>ER|HER2)$"),
        (("f{}_plane0", "f{}_plane1"), "a file for each z plane", r"[_ .-]plane(?P<z>\d+)$"),
        (("f{}_p62", "f{}_nuc"), 'end in "nuc", "p62" in turn', "(?P<channel>nuc|p62)$"),
        (
            ("f{}_ex405", "f{}_ex488"),
            'end in "ex405", "ex488" in turn',
            "(?P<channel>ex405|ex488)$",
        ),
        (("f{}", "f{}_D3D"), 'with and without "_D3D", such as "f0", "f0_D3D"', ""),
        (("f{}", "f{}-Airyscan Processing"), 'with and without "-Airyscan Processing"', ""),
        (("f{}", "denoised f{}"), 'with and without "denoised "', ""),
        (("f{}", "f{}_2"), "", ""),  # fields
        (("f{}", "f{} (2)"), "", ""),
        (("f{}", "f{}_t2"), "", ""),
        (("f{}", "f{}_treated"), "", ""),
        (("AVG_f{}", "SUM_f{}"), "as if they were projections of the same stacks", ""),
        (("f{}_f0", "f{}_f1"), "", ""),  # fields
        (("f{}_A01", "f{}_B01"), "", ""),  # wells
        (("f{}_t0", "f{}_t1"), "", ""),  # times
        (("f{}_before", "f{}_after"), "", ""),
        (("f{}_male", "f{}_female"), "", ""),
        (("f{}_cortex", "f{}_hippocampus"), "", ""),
        (("f{}_apical", "f{}_basal"), "", ""),
        (("f{}_baseline", "f{}_recovery"), "", ""),
        (("f{}_slice1", "f{}_slice2"), "", ""),
        (("f{}_section1", "f{}_section2"), "", ""),
        (("f{}_layer1", "f{}_layer2"), "", ""),
        (("e{}_C1-1", "e{}_C1-2"), "", ""),
        (("e_C1-{}", "e_C2-{}"), "", ""),
        (("plane1_{}", "plane2_{}"), "", ""),
        (("channel1_{}", "channel2_{}"), "", ""),
        (("rep1_{}", "rep2_{}"), "", ""),
        (("WT_{}", "KO_{}"), "", ""),
    ],
)
def test_names_that_differ_in_one_piece_are_told(tmp_path, forms, told, pattern):
    for condition in ("ctrl", "drug"):
        (tmp_path / condition).mkdir()
        for i in range(3):
            for form in forms:
                path = tmp_path / condition / f"{form.format(i)}.tif"
                tifffile.imwrite(path, np.zeros((9, 8), np.uint8))
    found = Dataset.find(tmp_path)
    assert len(found.sources) == 12
    assert len(found.remarks) == bool(told)  # once for all conditions
    assert told in found.summary()
    assert pattern in found.summary()
    if "channel" in pattern:
        from napari_phenldiff.images.arrangement import Arrangement

        given = pattern if pattern.startswith("[") else f"_{pattern}"
        assert len(Dataset.find(tmp_path, Arrangement(pattern=given)).sources) == 6


@pytest.mark.parametrize(
    ("names", "doubtful"),
    [
        (["0_DAPI", "0_GFP", "1_Hoechst", "1_GFP"], True),
        (["0_DAPI", "0_GFP"], True),
        (["0_DAPI", "1_GFP", "2_GFP"], False),
        (["x_C01", "x_C02", "y_C01"], False),  # wells
    ],
)
def test_channels_that_do_not_fit_are_told(tmp_path, names, doubtful):
    for name in names:
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((9, 8), np.uint8))
    found = Dataset.find(tmp_path)
    assert len(found.sources) == len(names)
    assert ("look like those of one file for each channel" in found.summary()) == doubtful


@pytest.mark.parametrize("folder", ["Well {}0{}", "{}0{}", "plate/{}0{}"])
def test_a_folder_that_is_a_well_is_no_plate(tmp_path, folder):
    for row, condition in (("A", "ctrl"), ("B", "drug")):
        for col in (1, 2):
            for stain in ("DAPI", "FITC"):
                path = tmp_path / condition / folder.format(row, col) / f"{stain} - n000000.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, np.zeros((9, 8), np.uint8))
    found = Dataset.find(tmp_path)
    assert [source.site.well for source in found.sources] == ["A01", "A02", "B01", "B02"]
    assert {source.site.plate for source in found.sources} == {None}
    assert "4 wells ·" in found.summary()


def test_a_folder_of_a_position_is_no_plate(tmp_path):
    """Those of a Keyence were six plates, with one image of each condition."""
    for condition in ("ctrl", "drug"):
        for k in (1, 2, 3):
            for channel in ("CH1", "CH4"):
                path = tmp_path / condition / f"XY0{k}" / f"Image_XY0{k}_{channel}.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                tifffile.imwrite(path, np.zeros((9, 8), np.uint8))
    found = Dataset.find(tmp_path)
    assert len(found.sources) == 6
    assert {source.site.plate for source in found.sources} == {None}


def test_a_pattern_of_ones_own(tmp_path):
    for condition in ("mock", "drug"):
        for well in ("B02", "B03"):
            for stain in ("nuc", "act"):
                path = tmp_path / f"2024-{condition}-{well}-{stain}.tif"
                tifffile.imwrite(path, np.full((9, 8), len(stain + condition), np.uint8))
    from napari_phenldiff.images.arrangement import Arrangement

    pattern = r"-(?P<condition>\w+)-(?P<well>[A-H]\d\d)-(?P<channel>\w+)"
    found = Dataset.find(tmp_path, Arrangement(pattern=pattern))
    assert {name: len(sources) for name, sources in found.conditions.items()} == {
        "drug": 2,
        "mock": 2,
    }
    (image,) = found.conditions["drug"][0].read()
    assert image.channel_names == ("act", "nuc")
    assert image.part_of == "well B02"
    assert "2 wells" not in found.summary()
    assert "4 wells" in found.summary()


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("(", "is not a regular expression"),
        ("abc", "give it some of"),
        (r"(?P<colour>\w+)", 'named groups "colour"'),
    ],
)
def test_patterns_that_tell_nothing_are_refused(pattern, told):
    with pytest.raises(InputError, match=told):
        own_naming(pattern)


def test_a_pattern_that_is_in_no_name_is_refused(tmp_path):
    from napari_phenldiff.images.arrangement import Arrangement

    tifffile.imwrite(tmp_path / "a.tif", np.zeros((9, 8), np.uint8))
    with pytest.raises(InputError, match=r"found in none of the 1 file of .*such as a:"):
        Dataset.find(tmp_path, Arrangement(pattern=r"(?P<well>[A-H]\d\d)_"))


def test_names_and_sizes_of_an_index_beside_the_files(tmp_path):
    images = tmp_path / "plate" / "Images"
    images.mkdir(parents=True)
    for channel in (1, 2):
        for field in (1, 2):
            name = f"r01c02f0{field}p01-ch{channel}sk1fk1fl1.tiff"
            tifffile.imwrite(images / name, np.full((9, 8), channel, np.uint16))
    (images / "Index.idx.xml").write_text(
        "<EvaluationInputData><Images>"
        + "".join(
            f"<Image><URL>x</URL><ChannelID>{k}</ChannelID><ChannelName>{name}</ChannelName>"
            '<ImageResolutionX Unit="m">6.5E-07</ImageResolutionX>'
            '<ImageResolutionY Unit="m">6.5E-07</ImageResolutionY></Image>'
            for k, name in ((1, "HOECHST 33342"), (2, "Alexa 488"))
        )
        + "</Images></EvaluationInputData>"
    )
    found = Dataset.find(tmp_path / "plate" / "Images")
    image = found.sources[0].read()[0]
    assert image.channel_names == ("HOECHST 33342", "Alexa 488")
    assert image.pixel_size == pytest.approx((0.65, 0.65))
    assert (image.site.well, image.site.field) == ("A02", "01")
    assert "they are called HOECHST 33342, Alexa 488 there" in found.summary()


def test_an_export_drawn_in_colours_is_read_as_its_channels(tmp_path):
    for channel, place in (("00", 2), ("01", 1)):
        data = np.zeros((9, 8, 3), np.uint8)
        data[..., place] = 10 + place
        tifffile.imwrite(tmp_path / f"f0_ch{channel}.tif", data, photometric="rgb")
    (source,) = Dataset.find(tmp_path).sources
    (image,) = source.read()
    np.testing.assert_array_equal(image.data[:, 0, 0], [12, 11])


@pytest.mark.parametrize("bar", [False, True])
def test_an_export_in_mixed_colours_or_with_a_scale_bar_is_told(tmp_path, bar):
    for i in range(2):
        for channel in (1, 2):
            data = np.zeros((9, 8, 3), np.uint8)
            data[..., 1] = 10
            data[0] = 255 if bar else 0
            data[..., 2] += 0 if bar else 10
            data[3, 3] = 7, 8, 9
            tifffile.imwrite(tmp_path / f"f{i}_c{channel}_ORG.tif", data, photometric="rgb")
    with pytest.raises(InputError, match="export each channel in grey values"):
        Dataset.find(tmp_path).sources[0].read()
