"""OME-Zarr: images, plates and what bioformats2raw writes."""

from __future__ import annotations

import importlib.util
import json
import pickle
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.omezarr import zarr_sources as found_in_zarr
from napari_phenldiff.images.places import Site

_spec = importlib.util.spec_from_file_location(
    "zarr_plates", Path(__file__).with_name("zarr_plates.py")
)
assert _spec is not None
assert _spec.loader is not None
plates = importlib.util.module_from_spec(_spec)
sys.modules["zarr_plates"] = plates
_spec.loader.exec_module(plates)


def zarr_sources(path):
    """List the images of an OME-Zarr."""
    return list(found_in_zarr(path).sources)


VERSIONS = pytest.mark.parametrize("version", ["0.4", "0.5"])


@VERSIONS
def test_an_image_is_read_in_full_resolution_with_names_and_size(tmp_path, version):
    data = plates.field("A", 0, side=32)
    path = tmp_path / "cells.ome.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    plates.write_image(group, data, version, unit="nanometer", step=500.0)
    (source,) = Dataset.find(path).sources
    (image,) = source.read()
    np.testing.assert_array_equal(image.data, data[:, 0])
    assert (image.name, image.channel_names, image.pixel_size) == (
        "cells",
        ("DAPI", "GFP"),
        (0.5, 0.5),
    )
    peek = source.peek()
    assert peek is not None
    assert (peek.size, peek.dtype, peek.n_planes) == ((32, 32), "uint16", 1)


def _with_axes(path, data, axes, **others):
    """Write an image with axes of these names and types."""
    group = zarr.open_group(str(path), mode="w", zarr_format=2)
    group.create_array("0", data=data, chunks=data.shape)
    told = [{"name": name, **({} if kind is None else {"type": kind})} for name, kind in axes]
    scale = {"axes": told, "datasets": [{"path": "0"}]}
    plates.put(group, "0.4", {"multiscales": [scale], **others})
    (source,) = zarr_sources(path)
    return source


_YX = (("y", "space"), ("x", "space"))


@pytest.mark.parametrize(
    "axes",
    [
        (("ch", "channel"), *_YX),
        (("wavelength", "channel"), *_YX),
        (("channel", None), ("y", None), ("x", None)),
        (("C", "channel"), ("Y", "space"), ("X", "space")),
        (("c", None), ("row", "space"), ("column", "space")),
    ],
)
def test_axes_are_told_by_their_type_whatever_they_are_called(tmp_path, axes):
    data = np.arange(96, dtype=np.uint16).reshape(2, 6, 8) + 1
    omero = {"channels": [{"label": "DAPI"}, {"label": "GFP"}]}
    (image,) = _with_axes(tmp_path / "a.zarr", data, axes, omero=omero).read()
    np.testing.assert_array_equal(image.data, data)
    assert image.channel_names == ("DAPI", "GFP")


@pytest.mark.parametrize("name", ["depth", "Z", "plane"])
def test_a_third_axis_of_space_is_z(tmp_path, name):
    data = np.arange(96, dtype=np.uint16).reshape(2, 6, 8) + 1
    source = _with_axes(tmp_path / "d.zarr", data, ((name, "space"), *_YX))
    with pytest.raises(InputError, match=r"d\.zarr: There are 2 z planes"):
        source.read()
    np.testing.assert_array_equal(source.read(z=1)[0].data[0], data[1])


def test_an_axis_that_tells_nothing_is_refused_in_a_sentence(tmp_path):
    data = np.ones((2, 6, 8), np.uint16)
    for axis in (("angle", None), ("angle", "rotation")):
        source = _with_axes(tmp_path / "u.zarr", data, (axis, *_YX))
        with pytest.raises(InputError, match=r'u\.zarr: It has an axis "angle".* not known'):
            source.read()
    four = (("a", "space"), ("b", "space"), *_YX)
    with pytest.raises(InputError, match='It has an axis "a" of the type "space"'):
        _with_axes(tmp_path / "f.zarr", data[None].repeat(2, 0), four).read(z=0)
    two = (("z", "space"), ("Z", "space"), *_YX)
    with pytest.raises(InputError, match="several axes z"):
        _with_axes(tmp_path / "z.zarr", data[None], two).read(z=0)
    assert len(_with_axes(tmp_path / "o.zarr", data[:1], (("angle", None), *_YX)).read()) == 1
    assert len(_with_axes(tmp_path / "t.zarr", data, (("frames", "time"), *_YX)).read()) == 2


def test_labels_of_channels_may_be_numbers_and_must_be_those_of_all(tmp_path):
    data = np.ones((2, 6, 8), np.uint16)

    def read(*labels):
        omero = {"channels": [{"label": label} for label in labels]}
        axes = (("c", "channel"), *_YX)
        return _with_axes(tmp_path / "l.zarr", data, axes, omero=omero).read()[0]

    assert read(0, 1).channel_names == ("0", "1")
    assert read(None, " ").channel_names == ("channel 0", "channel 1")
    assert read(None, " ").lacking is None
    few = read("DAPI")
    assert few.channel_names == ("channel 0", "channel 1")
    assert 'l.zarr: It names 1 channel ("DAPI") but has 2' in (few.lacking or "")


@VERSIONS
def test_the_full_resolution_is_read_wherever_it_is_listed(tmp_path, version):
    data = plates.field("A", 0, side=32)
    path = tmp_path / "s.zarr"
    group = zarr.open_group(str(path), mode="w", zarr_format=2 if version == "0.4" else 3)
    plates.write_image(group, data, version)
    told = dict(group.attrs if version == "0.4" else group.attrs["ome"])
    (scale,) = told["multiscales"]
    listed = {"multiscales": [{**scale, "datasets": scale["datasets"][::-1]}]}
    plates.put(group, version, {**told, **listed})
    (source,) = zarr_sources(path)
    (image,) = source.read()
    np.testing.assert_array_equal(image.data, data[:, 0])
    assert image.pixel_size == (0.5, 0.5)
    shutil.rmtree(path / "0")  # so that only the smaller copy is there
    for order in (listed, told):
        plates.put(group, version, {**told, **order})
        with pytest.raises(InputError, match=r"s\.zarr cannot be read"):
            source.read()


def test_planes_are_chosen_or_projected(tmp_path):
    data = plates.field("A", 0, side=32, depth=3) + np.arange(3, dtype=np.uint16)[:, None, None]
    group = zarr.open_group(str(tmp_path / "z.zarr"), mode="w", zarr_format=2)
    plates.write_image(group, data, "0.4")
    (source,) = zarr_sources(tmp_path / "z.zarr")
    np.testing.assert_array_equal(source.read(z=1)[0].data, data[:, 1])
    np.testing.assert_array_equal(source.read(z="max")[0].data, data.max(axis=1))
    assert [source.read(z=z)[0].projection for z in ("max", 1)] == [("max", 3), None]
    assert len(source.read_planes()[0]) == 3
    for z in (None, 3):
        with pytest.raises(InputError, match=r"z\.zarr: There (are 3 z planes|is no z plane 3)"):
            source.read(z=z)


@VERSIONS
def test_a_plate_gives_fields_with_their_wells(tmp_path, version):
    found = Dataset.find(plates.write_plate(tmp_path / "plate.zarr", version))
    assert found.names == ("plate",)
    first, *_, last = found.sources
    assert len(found.sources) == 12
    assert (first.name, first.site) == ("A01_f0", Site("P1", "A01", "0"))
    assert (last.name, last.site) == ("B03_f1", Site("P1", "B03", "1"))
    np.testing.assert_array_equal(last.read()[0].data, plates.field("B", 11)[:, 0])
    assert last.read()[0].part_of == "plateP1 well B03"
    assert "12 images" in found.summary()
    assert "6 wells on 1 plate" in found.summary()


def test_a_well_that_is_not_there_is_told_and_costs_no_other(tmp_path):
    plate = plates.write_plate(tmp_path / "plate.zarr")
    shutil.rmtree(plate / "A" / "2")
    found = Dataset.find(plate)
    assert len(found.sources) == 10
    (told,) = found.left_out
    assert told == (
        "Left out of plate.zarr: 1 well (A02) of 6 that it lists: it is not there, or tells of no "
        "images; copy it again if it should be."
    )
    (plate / "B" / "1" / ".zattrs").write_text('{"well": {')
    (plate / "B" / "2" / ".zattrs").write_text('{"well": {"images": []}}')
    assert "3 wells (A02, B01, B02) of 6 that it lists: they" in Dataset.find(plate).left_out[0]
    for row in "AB":
        shutil.rmtree(plate / row)
    with pytest.raises(InputError, match=r"plate\.zarr: It is a plate of 6 wells, none of which"):
        Dataset.find(plate)


def test_acquisitions_are_told_apart(tmp_path):
    plate = plates.write_plate(tmp_path / "plate.zarr")
    for path in plate.glob("*/*/.zattrs"):
        told = json.loads(path.read_text())
        for k, image in enumerate(told["well"]["images"]):
            image["acquisition"] = k
        path.write_text(json.dumps(told))
    found = Dataset.find(plate)
    first, second, *_ = found.sources
    assert (first.name, second.name) == ("A01_acq0_f0", "A01_acq1_f1")
    assert (first.site, second.site) == (Site("P1", "A01", "0"), Site("P1", "A01", "1"))
    assert "plate.zarr has images of 2 acquisitions, which stand in" in found.summary()
    assert "(acq0, acq1)" in found.summary()
    assert "such as A/1/0, into a folder for each condition" in found.summary()
    assert "6 wells on 1 plate" in found.summary()


def test_a_layout_sorts_the_wells_into_conditions(tmp_path):
    plate = plates.write_plate(tmp_path / "plate.zarr")
    layout = plates.write_layout(tmp_path / "layout.csv")
    found = Dataset.find(plate, Arrangement(layout=layout))
    assert {name: len(group) for name, group in found.conditions.items()} == {"ctrl": 6, "drug": 6}
    read = found.read()
    assert {image.site.well[0] for image in read["drug"].images if image.site} == {"B"}
    layout.write_text("well,condition\nA1,ctrl\nB01,drug")
    found = Dataset.find(plate, Arrangement(layout=layout))
    assert [len(group) for group in found.conditions.values()] == [2, 2]
    assert "8 images of" in found.summary()


def test_folders_of_conditions_may_hold_plates(tmp_path):
    for condition in ("ctrl", "drug"):
        for number in (1, 2):
            plates.write_plate(tmp_path / condition / f"p{number}.zarr")
    found = Dataset.find(tmp_path)
    assert {name: len(group) for name, group in found.conditions.items()} == {
        "ctrl": 24,
        "drug": 24,
    }
    assert len({source.name for source in found.conditions["ctrl"]}) == 24


def test_what_bioformats2raw_writes(tmp_path):
    root = zarr.open_group(str(tmp_path / "b.zarr"), mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    for k in range(2):
        plates.write_image(root.create_group(str(k)), plates.field("A", k, side=32), "0.4")
    sources = zarr_sources(tmp_path / "b.zarr")
    assert [source.name for source in sources] == ["b_0000", "b_0001"]


def test_damaged_and_foreign_zarrs_are_refused_in_a_sentence(tmp_path):
    group = zarr.open_group(str(tmp_path / "plain.zarr"), mode="w", zarr_format=2)
    with pytest.raises(InputError, match=r"plain\.zarr: It is a Zarr, but neither an image nor"):
        zarr_sources(tmp_path / "plain.zarr")
    group.attrs["multiscales"] = [{"datasets": [{"path": "0"}]}]
    (source,) = zarr_sources(tmp_path / "plain.zarr")
    with pytest.raises(InputError, match=r"plain\.zarr cannot be read as OME-Zarr"):
        source.read()
    assert source.peek() is None
    (tmp_path / "broken.zarr").mkdir()
    (tmp_path / "broken.zarr" / ".zattrs").write_text("{")
    with pytest.raises(InputError, match=r"broken\.zarr cannot be read as OME-Zarr"):
        zarr_sources(tmp_path / "broken.zarr")


@pytest.mark.parametrize("told", ["/0", "0/", "//0", "\\\\0", "./0"])
def test_a_slash_before_a_part_is_not_the_root_of_the_disk(tmp_path, told):
    data = plates.field("A", 0, side=32)
    group = zarr.open_group(str(tmp_path / "s.zarr"), mode="w", zarr_format=2)
    plates.write_image(group, data, "0.4")
    scales = dict(group.attrs["multiscales"][0])
    group.attrs["multiscales"] = [{**scales, "datasets": [{"path": told}]}]
    (image,) = zarr_sources(tmp_path / "s.zarr")[0].read()
    np.testing.assert_array_equal(image.data, data[:, 0])
    assert image.lacking is None


def test_slashes_before_the_parts_of_a_plate(tmp_path):
    plate = plates.write_plate(tmp_path / "p.zarr", "0.4")
    names = [source.name for source in zarr_sources(plate)]
    for path in plate.rglob(".zattrs"):
        told = json.loads(path.read_text())
        for kind, parts in (("plate", "wells"), ("well", "images")):
            for part in told.get(kind, {}).get(parts, []):
                part["path"] = "/" + part["path"]
        path.write_text(json.dumps(told))
    assert [source.name for source in zarr_sources(plate)] == names
    assert zarr_sources(plate)[0].read()


@pytest.mark.parametrize("told", ["../o.zarr/0", "..\\o.zarr\\0", "0/../../o.zarr/0"])
def test_nothing_outside_of_the_folder_is_read(tmp_path, told):
    for name in ("o", "s"):
        group = zarr.open_group(str(tmp_path / f"{name}.zarr"), mode="w", zarr_format=2)
        plates.write_image(group, plates.field("A", 0, side=32), "0.4")
    group.attrs["multiscales"] = [{"datasets": [{"path": told}]}]
    (source,) = zarr_sources(tmp_path / "s.zarr")
    reason = r"s\.zarr: It names \.?.*o\.zarr.* which is not within its folder"
    with pytest.raises(InputError, match=reason):
        source.read()
    group.attrs.clear()
    group.attrs["well"] = {"images": [{"path": told.removesuffix("0").rstrip("/\\")}]}
    with pytest.raises(InputError, match=reason):
        zarr_sources(tmp_path / "s.zarr")
    group.attrs.clear()
    group.attrs["plate"] = {"wells": [{"path": told}]}
    with pytest.raises(InputError, match=reason):
        zarr_sources(tmp_path / "s.zarr")


def _with_array(path, told, chunks):
    """Write an image of version 0.4 by hand: the metadata of its array, and its chunks."""
    (path / "0").mkdir(parents=True)
    (path / ".zgroup").write_text('{"zarr_format": 2}')
    scales = {"version": "0.4", "axes": [{"name": name} for name in "cyx"]}
    scales["datasets"] = [{"path": "0"}]
    (path / ".zattrs").write_text(json.dumps({"multiscales": [scales]}))
    told = {
        "zarr_format": 2,
        "shape": [1, 8, 8],
        "chunks": [1, 8, 8],
        "dtype": "<u2",
        "compressor": None,
        "filters": None,
        "order": "C",
        "fill_value": 0,
        **told,
    }
    (path / "0" / ".zarray").write_text(json.dumps(told))
    for name, contents in chunks.items():
        (path / "0" / name).write_bytes(contents)
    return path


class _Evil:
    """Makes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = str(mark)

    def __reduce__(self):
        return open, (self.mark, "w")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"dtype": "|O", "filters": [{"id": "vlen-utf8"}], "fill_value": ""}, "where an image has"),
        ({"compressor": {"id": "pickle", "protocol": 4}}, "which is not read|cannot be read"),
    ],
)
def test_no_code_in_an_array_is_run(tmp_path, monkeypatch, told, reason):
    import numcodecs.pickles

    # As versions before 0.16.6 do.
    monkeypatch.setattr(numcodecs.pickles, "ALLOW_UNSAFE_PICKLE_DECODE", True, raising=False)
    mark = tmp_path / "mark"
    told = {"compressor": {"id": "pickle", "protocol": 4}, **told}
    path = _with_array(tmp_path / "e.zarr", told, {"0.0.0": pickle.dumps(_Evil(mark))})
    (source,) = zarr_sources(path)
    assert source.peek() is None
    with pytest.raises(InputError, match=reason):
        source.read()
    assert not mark.exists()


@pytest.mark.parametrize("where", ["compressor", "filters"])
def test_only_known_codecs_are_read(tmp_path, where):
    import numcodecs

    data = np.arange(64, dtype="<u2")
    for codec in (numcodecs.Base64(), numcodecs.LZMA(), numcodecs.Blosc()):
        told = {where: [codec.get_config()] if where == "filters" else codec.get_config()}
        name = codec.codec_id
        path = _with_array(tmp_path / f"{name}.zarr", told, {"0.0.0": codec.encode(data)})
        (source,) = zarr_sources(path)
        if name == "base64":
            with pytest.raises(InputError, match=r"base64\.zarr: It is packed with .*base64"):
                source.read()
        else:
            np.testing.assert_array_equal(source.read()[0].data.ravel(), data)


def test_what_only_changes_numbers_is_read(tmp_path):
    import imagecodecs.numcodecs
    import numcodecs

    data = np.arange(64, dtype="<u2")
    wider = numcodecs.AsType(encode_dtype="<u4", decode_dtype="<u2")
    told = {"filters": [wider.get_config()]}
    path = _with_array(tmp_path / "a.zarr", told, {"0.0.0": wider.encode(data).tobytes()})
    (source,) = zarr_sources(path)
    np.testing.assert_array_equal(source.read()[0].data.ravel(), data)
    zlib = imagecodecs.numcodecs.Zlib()
    numcodecs.registry.codec_registry.pop(zlib.codec_id, None)
    path = _with_array(
        tmp_path / "i.zarr", {"compressor": zlib.get_config()}, {"0.0.0": zlib.encode(data)}
    )
    (source,) = zarr_sources(path)
    np.testing.assert_array_equal(source.read()[0].data.ravel(), data)


@pytest.mark.parametrize("name", ["pickle", "msgpack2", "json2", "vlen-bytes", "categorize", "own"])
def test_what_may_run_code_or_is_unknown_is_named(tmp_path, name):
    (source,) = zarr_sources(_with_array(tmp_path / "u.zarr", {"filters": [{"id": name}]}, {}))
    with pytest.raises(InputError, match=rf"u\.zarr: It is packed with .*{name}.*: save it with"):
        source.read()


@pytest.mark.parametrize("version", [2, 3])
def test_what_has_to_be_installed_to_unpack_is_named(tmp_path, version):
    path = _with_array(tmp_path / "u.zarr", {"compressor": {"id": "imagecodecs_none"}}, {})
    if version == 3:
        group = zarr.open_group(str(tmp_path / "v.zarr"), mode="w", zarr_format=3)
        path = tmp_path / "v.zarr"
        plates.write_image(group, plates.field("A", 0, side=32), "0.5")
        told = json.loads((path / "0" / "zarr.json").read_text())
        told["codecs"] = [{"name": "bytes"}, {"name": "imagecodecs_none"}]
        (path / "0" / "zarr.json").write_text(json.dumps(told))
    (source,) = zarr_sources(path)
    with pytest.raises(InputError, match=r"imagecodecs_none.*cannot be unpacked here: install"):
        source.read()


def test_shards_are_read(tmp_path):
    group = zarr.open_group(str(tmp_path / "s.zarr"), mode="w", zarr_format=3)
    data = np.arange(256, dtype=np.uint16).reshape(1, 16, 16)
    group.create_array("0", data=data, chunks=(1, 4, 4), shards=(1, 8, 8))
    scales = {"axes": [{"name": name} for name in "cyx"], "datasets": [{"path": "0"}]}
    plates.put(group, "0.5", {"multiscales": [scales]})
    (source,) = zarr_sources(tmp_path / "s.zarr")
    np.testing.assert_array_equal(source.read()[0].data, data)


@VERSIONS
def test_chunks_that_are_missing_are_told(tmp_path, version):
    group = zarr.open_group(
        str(tmp_path / "m.zarr"), mode="w", zarr_format=2 if version == "0.4" else 3
    )
    plates.write_image(group, plates.field("A", 0, side=32, depth=3), version)
    (source,) = zarr_sources(tmp_path / "m.zarr")
    assert source.read(z="max")[0].lacking is None
    chunks = sorted(
        path
        for path in (tmp_path / "m.zarr" / "0").rglob("*")
        if path.is_file() and path.name not in (".zarray", ".zattrs", "zarr.json")
    )
    assert len(chunks) == 6
    chunks[0].unlink()
    found = Dataset.find(tmp_path / "m.zarr").read(z="max")
    told = f"{tmp_path / 'm.zarr'}: 1 of 6 chunks is not there and is read as 0, as zarr"
    assert [text.startswith(told) for text in found.warnings()].count(True) == 1
    assert source.read(z=1)[0].lacking is None  # which is not in the chunk
    assert "1 of 2 chunks" in (source.read(z=0)[0].lacking or "")
    chunks[3].unlink()  # of the other channel
    assert source.read(z=0)[0].lacking == (
        f"{tmp_path / 'm.zarr'}: 2 of 2 chunks are not there and are read as 0, as zarr leaves out "
        "what is 0 everywhere; if these places should not be black, copy it again."
    )
    for path in chunks:
        path.unlink(missing_ok=True)
    assert "2 of 2 chunks are" in (source.read(z=0)[0].lacking or "")
    assert not source.read(z="max")[0].data.any()


def test_an_image_of_zeros_is_read(tmp_path):
    group = zarr.open_group(str(tmp_path / "e.zarr"), mode="w", zarr_format=2)
    group.create_array("0", data=np.zeros((1, 16, 16), np.uint16), chunks=(1, 16, 16))
    scales = {"axes": [{"name": name} for name in "cyx"], "datasets": [{"path": "0"}]}
    plates.put(group, "0.4", {"multiscales": [scales]})
    (image,) = Dataset.find(tmp_path / "e.zarr").sources[0].read()
    assert image.data.shape == (1, 16, 16)
    assert not image.data.any()
    assert (image.lacking or "").endswith(
        "e.zarr: 1 of 1 chunk is not there and is read as 0, as zarr leaves out what is 0 "
        "everywhere; if this place should not be black, copy it again."
    )


def test_missing_shards_are_told(tmp_path):
    group = zarr.open_group(str(tmp_path / "s.zarr"), mode="w", zarr_format=3)
    data = np.arange(1, 257, dtype=np.uint16).reshape(1, 16, 16)
    group.create_array("0", data=data, chunks=(1, 4, 4), shards=(1, 8, 8))
    scales = {"axes": [{"name": name} for name in "cyx"], "datasets": [{"path": "0"}]}
    plates.put(group, "0.5", {"multiscales": [scales]})
    (tmp_path / "s.zarr" / "0" / "c" / "0" / "0" / "1").unlink()
    (source,) = zarr_sources(tmp_path / "s.zarr")
    assert "s.zarr: 1 of 4 chunks is not there" in (source.read()[0].lacking or "")


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        ({"shape": [9, 2**20, 2**20], "chunks": [1, 8, 8]}, "It claims 9 × 1048576 × 1048576 pix"),
        ({"chunks": [1, 2**24, 2**24]}, "It claims 1 × 16777216 × 16777216 pixels"),
        (
            {"chunks": [1, 2**14, 2**14]},
            r"A chunk of it takes 512 MiB, but all of it only 0\.0 MiB",
        ),
    ],
)
def test_what_takes_too_much_memory_is_refused(tmp_path, told, reason):
    path = _with_array(tmp_path / "b.zarr", told, {"0.0.0": bytes(128)})
    (source,) = zarr_sources(path)
    with pytest.raises(InputError, match=rf"b\.zarr: {reason}"):
        source.read()


def test_a_plane_is_read_of_what_does_not_fit_into_memory(tmp_path, monkeypatch):
    import psutil

    data = plates.field("A", 0, side=32, depth=3)
    group = zarr.open_group(str(tmp_path / "l.zarr"), mode="w", zarr_format=2)
    plates.write_image(group, data, "0.4")
    (source,) = zarr_sources(tmp_path / "l.zarr")
    memory = psutil.virtual_memory()._replace(total=data.nbytes - 1)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    assert source.peek() is not None
    np.testing.assert_array_equal(source.read(z=1)[0].data, data[:, 1])
    for read in (lambda: source.read(z="max"), source.read_planes):
        with pytest.raises(InputError, match=r"l\.zarr: It claims 2 × 3 × 32 × 32 pixels"):
            read()
    with pytest.raises(InputError, match="is no z plane 3"):
        source.read(z=3)


@pytest.mark.parametrize(("absent", "told"), [("zarr", "zarr"), ("zarr.storage", "zarr")])
def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch, absent, told):
    plates.write_plate(tmp_path / "p.zarr")
    monkeypatch.setitem(sys.modules, absent, None)
    with pytest.raises(InputError, match=rf"needs the package {told}: pip install {told}\."):
        zarr_sources(tmp_path / "p.zarr")


def test_a_package_that_zarr_needs_is_named(tmp_path, monkeypatch):
    plates.write_plate(tmp_path / "p.zarr")
    for name in [name for name in sys.modules if name.partition(".")[0] == "zarr"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "donfig", None)
    with pytest.raises(InputError, match=r"needs the package donfig: pip install donfig\."):
        zarr_sources(tmp_path / "p.zarr")
    for name in [name for name in sys.modules if name.partition(".")[0] == "zarr"]:
        monkeypatch.delitem(sys.modules, name)
