"""Microscopes' own formats: read where a reader is installed, told how to install it elsewhere."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import tifffile

from napari_phenldiff.errors import InputError
from napari_phenldiff.images import formats
from napari_phenldiff.images.dataset import Dataset

DATA = np.random.default_rng(0).integers(0, 4000, (2, 3, 4, 9, 8)).astype(np.uint16)  # TCZYX


def dims(**lengths: int) -> SimpleNamespace:
    return SimpleNamespace(order="".join(lengths), shape=tuple(lengths.values()))


class BioImage:
    """Two scenes of two times, three channels and four planes."""

    dims = dims(T=2, C=3, Z=4, Y=9, X=8)
    reader = SimpleNamespace(dims=dims)

    def __init__(self, path) -> None:
        if path.read_bytes() == b"damaged":
            raise RuntimeError("no such segment")
        self.scenes, self._scene = ("Pos 1", "Pos 2"), 0
        self.channel_names = ["DAPI", "GFP", "Cy5"]
        self.physical_pixel_sizes = SimpleNamespace(Z=1.0, Y=0.5, X=0.25)
        self.shape, self.dtype = DATA.shape, DATA.dtype

    def set_scene(self, scene: int) -> None:
        self._scene = scene

    def get_image_data(self, axes: str) -> np.ndarray:
        assert axes == "TCZYX"
        return DATA + np.uint16(self._scene)


@pytest.fixture
def installed(monkeypatch):
    module = ModuleType("bioio")
    module.BioImage = BioImage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bioio", module)
    monkeypatch.setattr(formats, "lacking", lambda path: None)
    monkeypatch.setattr("napari_phenldiff.images.folders.lacking", lambda path: None)


@pytest.mark.parametrize("suffix", [".nd2", ".CZI", ".lif"])
def test_scenes_and_times_are_images(installed, tmp_path, suffix):
    path = tmp_path / f"plate{suffix}"
    path.write_bytes(b"x")
    found = Dataset.find(path)
    assert [source.name for source in found.sources] == ["plate_Pos 1", "plate_Pos 2"]
    images = found.sources[1].read(z="max")
    assert {image.projection for image in images} == {("max", 4)}
    np.testing.assert_array_equal(images[1].data, DATA[1].max(axis=1) + 1)
    assert [image.name for image in images] == ["plate_Pos 2_0000", "plate_Pos 2_0001"]
    assert (images[0].channel_names, images[0].pixel_size) == (("DAPI", "GFP", "Cy5"), (0.5, 0.25))
    assert len(found.sources[0].read_planes()[0]) == 4
    with pytest.raises(InputError, match=r"plate.*: There are 4 z planes"):
        found.sources[0].read()


def test_folders_of_such_files_are_conditions(installed, tmp_path):
    for condition in ("ctrl", "drug"):
        (tmp_path / condition).mkdir()
        (tmp_path / condition / "a.czi").write_bytes(b"x")
    assert len(Dataset.find(tmp_path).sources) == 4
    tifffile.imwrite(tmp_path / "ctrl" / "b.tif", np.zeros((9, 8), np.uint8))
    found = Dataset.find(tmp_path)
    assert [len(group) for group in found.conditions.values()] == [1, 2]
    assert "Left out of ctrl: 1 .czi" in found.summary()


@pytest.mark.parametrize(
    ("own", "given", "told"),
    [
        ({"S": 3}, {"S": 3}, "colours, an axis S of 3 steps"),
        ({"R": 2}, {}, "an axis R of 2 steps"),
        ({"M": 2}, {}, "tiles, an axis M, of 2 steps"),
        ({"M": 2}, {"X": 16}, None),
        ({"R": 1}, {}, None),
    ],
)
def test_axes_of_which_the_first_step_alone_would_be_read(
    installed, tmp_path, monkeypatch, own, given, told
):
    yx = {"Y": 9, "X": 8}
    monkeypatch.setattr(BioImage, "reader", SimpleNamespace(dims=dims(**(yx | own))))
    monkeypatch.setattr(BioImage, "dims", dims(**(yx | given)))
    path = tmp_path / "a.czi"
    path.write_bytes(b"x")
    source = Dataset.find(path).sources[0]
    if told is None:
        assert len(source.read(z=0)) == 2
        return
    with pytest.raises(InputError, match=rf"a\.czi has {told}, of which only the first"):
        source.read(z=0)


def test_damaged_files_are_told(installed, tmp_path):
    (tmp_path / "a.lif").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"a\.lif cannot be read \(no such segment\)"):
        Dataset.find(tmp_path / "a.lif")


def test_without_a_reader_the_line_that_installs_it_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "lacking", lambda path: "bioio")
    monkeypatch.setattr("napari_phenldiff.images.folders.lacking", lambda path: "bioio")
    (tmp_path / "ctrl").mkdir()
    (tmp_path / "ctrl" / "a.nd2").write_bytes(b"x")
    line = r'pip install "napari-phenldiff\[formats\]"'
    for given in (tmp_path, tmp_path / "ctrl" / "a.nd2"):
        with pytest.raises(InputError, match=line):
            Dataset.find(given)


def test_a_czi_is_read_to_the_pixels_and_names_that_were_written(tmp_path):
    pytest.importorskip("bioio_czi", reason="the extra `formats` is not installed")
    czi = pytest.importorskip("pylibCZIrw.czi", reason="what writes CZI is not installed")
    path = tmp_path / "a.czi"
    with czi.create_czi(str(path)) as document:
        for channel in range(2):
            document.write(DATA[0, channel, 0][..., np.newaxis], plane={"C": channel})
        names = {0: "DAPI", 1: "GFP"}
        document.write_metadata("a", channel_names=names, scale_x=5e-7, scale_y=5e-7)
    (source,) = Dataset.find(path).sources
    (image,) = source.read()
    np.testing.assert_array_equal(image.data, DATA[0, :2, 0])
    assert image.channel_names == ("DAPI", "GFP")
    assert image.pixel_size == pytest.approx((0.5, 0.5))


def test_colours_in_a_czi_are_refused(tmp_path):
    pytest.importorskip("bioio_czi", reason="the extra `formats` is not installed")
    czi = pytest.importorskip("pylibCZIrw.czi", reason="what writes CZI is not installed")
    path = tmp_path / "a.czi"
    with czi.create_czi(str(path)) as document:
        document.write(np.zeros((9, 8, 3), np.uint8), plane={"C": 0})
    with pytest.raises(InputError, match="colours, an axis S of 3 steps"):
        Dataset.find(path).sources[0].read()


def test_png_is_read_where_there_is_nothing_else(tmp_path):
    from imageio.v3 import imwrite

    for condition in ("ctrl", "drug"):
        (tmp_path / condition).mkdir()
        for k in range(2):
            imwrite(tmp_path / condition / f"f{k}_DAPI.png", DATA[0, 0, k])
            imwrite(tmp_path / condition / f"f{k}_GFP.png", DATA[0, 1, k])
            imwrite(tmp_path / condition / f"f{k}_DAPI_cp_masks.png", DATA[0, 0, k] > 9)
    read = Dataset.find(tmp_path).read()
    assert read.channel_names == ("DAPI", "GFP")
    np.testing.assert_array_equal(read["drug"].images[1].data, DATA[0, :2, 1])
    tifffile.imwrite(tmp_path / "ctrl" / "b.tif", DATA[0, :2, 0])
    assert "Left out of ctrl: 6 .png" in Dataset.find(tmp_path).summary()
    (tmp_path / "a.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"a\.png cannot be read as a PNG"):
        Dataset.find(tmp_path / "a.png").read()
    imwrite(tmp_path / "b.png", DATA[0, 0, 0])
    claim = bytearray((tmp_path / "b.png").read_bytes())
    claim[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    (tmp_path / "b.png").write_bytes(claim)
    with pytest.raises(InputError, match=r"b\.png: It claims 2147483647 × 2147483647 × 1 pixels"):
        Dataset.find(tmp_path / "b.png").read()
