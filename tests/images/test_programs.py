"""Names of channels and sizes of pixels as microscopes' programs write them into TIFFs."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

from napari_phenldiff.images.metadata import micrometres
from napari_phenldiff.images.programs import told_by_program
from napari_phenldiff.images.tiff import read_image

PLANE = np.random.default_rng(0).integers(0, 4000, (20, 16)).astype(np.uint16)

METASERIES = """<MetaData><PlaneInfo>
<prop id="spatial-calibration-state" type="bool" value="{on}"/>
<prop id="spatial-calibration-x" type="float" value="0.325"/>
<prop id="spatial-calibration-y" type="float" value="0.325"/>
<prop id="spatial-calibration-units" type="string" value="um"/>
<custom-prop id="_IllumSetting_" type="string" value="Cy3"/>
</PlaneInfo></MetaData>"""


@pytest.mark.parametrize(("on", "size"), [("on", (0.325, 0.325)), ("off", None)])
def test_metaxpress(tmp_path, on, size):
    path = tmp_path / "a.tif"
    text = METASERIES.format(on=on)
    tifffile.imwrite(path, PLANE, description=text, metadata=None, software="MetaSeries")
    with tifffile.TiffFile(path) as tif:
        assert tif.is_metaseries
    image = read_image(path)
    assert (image.channel_names, image.pixel_size) == (("Cy3",), size)


def test_micro_manager(tmp_path):
    path = tmp_path / "a.tif"
    told = json.dumps({"PixelSizeUm": 0.65, "Channel": "DAPI"})
    tags = [(51123, "s", 0, told, True)]
    tifffile.imwrite(path, PLANE, metadata=None, extratags=tags)
    image = read_image(path)
    assert (image.channel_names, image.pixel_size) == (("DAPI",), (0.65, 0.65))


class Told:
    """A file of a program, as tifffile gives it."""

    def __init__(self, **told) -> None:
        self.pages = type("Pages", (), {"first": type("Page", (), {"tags": {}})})
        for name in ("metaseries", "stk", "lsm", "sis", "fluoview"):
            setattr(self, f"is_{name}", f"{name}_metadata" in told)
        self.__dict__.update(told)


@pytest.mark.parametrize(
    ("told", "names", "size"),
    [
        (
            {"lsm_metadata": {"VoxelSizeX": 1e-7, "VoxelSizeY": 2e-7,
                              "ChannelColors": {"ColorNames": ["Ch1", "Ch2"]}}},
            ("Ch1", "Ch2"), (0.2, 0.1),
        ),
        (
            {"sis_metadata": {"pixelsizex": 6.5e-7, "pixelsizey": 6.5e-7, "channelname": "FITC"}},
            ("FITC",), (0.65, 0.65),
        ),
        (
            {"stk_metadata": {"XCalibration": 0.16, "YCalibration": 0.16,
                              "CalibrationUnits": "um"}},
            None, (0.16, 0.16),
        ),
        (
            {"fluoview_metadata": {"Dimensions": [("x", 512, 0.0, 0.5, "um"),
                                                  ("y", 512, 0.0, 0.25, "um")]}},
            None, (0.25, 0.5),
        ),
        ({"sis_metadata": {"pixelsizex": "broken", "pixelsizey": 1}}, None, None),
    ],
)  # fmt: skip
def test_what_other_programs_tell(told, names, size):
    found = told_by_program(Told(**told), micrometres)  # type: ignore[arg-type]
    if names is None and size is None:
        assert found is None
        return
    assert found is not None
    assert found.channel_names == names
    assert found.pixel_size == (None if size is None else pytest.approx(size))


def test_a_plain_file_tells_nothing(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANE, metadata=None)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert told_by_program(tif, micrometres) is None


@pytest.mark.parametrize(
    ("unit", "factor"),
    [
        ("dm", 1e5),
        ("thou", 25.4),
        ("Å", 1e-4),
        ("pixel", None),
        ("km", 1e9),
        ("hm", 1e8),
        ("ft", 304.8e3),
        ("yd", 914.4e3),
        ("pt", 25.4e3 / 72),
        ("li", 25.4e3 / 12),
        ("attometer", 1e-12),
        ("feet", 304.8e3),
        ("Micrometers", 1.0),
        # Capitals count in OME only where they are another unit.
        ("Mm", 1e12),
        ("MM", 1e3),
        ("Pm", 1e21),
        ("pm", 1e-6),
        ("UM", 1.0),
    ],
)
def test_units_of_length(unit, factor):
    assert micrometres(unit) == factor
