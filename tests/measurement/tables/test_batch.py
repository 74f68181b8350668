from __future__ import annotations

import errno
import functools
import logging
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.images.tiff import read_tiff, write_stack, write_tiff
from napari_phenldiff.measurement import batch
from napari_phenldiff.measurement.batch import measure_files
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.profiles import PROFILES, fitting
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.profiles.fitting import PixelPool, PixelSample
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings
from napari_phenldiff.runs.cluster import scheduler_workers
from napari_phenldiff.runs.failures import explain
from napari_phenldiff.runs.workers import Workers, in_order, local_workers


@pytest.fixture(scope="module")
def fields(tmp_path_factory):
    """Fields of cells in two conditions; one cannot be measured, and one file holds two images."""
    folder = tmp_path_factory.mktemp("fields")
    found = {"untreated": [], "treated": []}
    for number, pair in enumerate(simulate_pairs("translocation", 6, seed=3)):
        for condition, image in zip(found, (pair.source, pair.target), strict=True):
            path = folder / condition / f"{number}.tif"
            write_tiff(path, image)
            found[condition].append(path)
    black = Image(np.zeros_like(image.data), image.channel_names, None, "black")
    write_tiff(folder / "treated" / "black.tif", black)
    write_stack(folder / "treated" / "two.tif", [image, image])
    found["treated"] += [folder / "treated" / "black.tif", folder / "treated" / "two.tif"]
    return found


def images_in(files):
    return {name: [i for path in paths for i in read_tiff(path)] for name, paths in files.items()}


def bytes_of(paths):
    return [path.read_bytes() for path in paths]


@pytest.mark.parametrize("profile", PROFILES)
def test_tables_are_those_of_a_measurement_in_memory(profile, fields, tmp_path):
    there = measure(profile, images_in(fields)).write(tmp_path / "memory" / "t.csv")
    done = []
    here = measure_files(profile, fields, tmp_path / "disk" / "t.csv", on_image=done.append)
    assert [path.name for path in here.written] == [path.name for path in there]
    assert bytes_of(here.written) == bytes_of(there)
    assert done == list(range(1, 16))
    table = pd.read_csv(here.written[-1])
    assert list(table.image[-3:]) == ["black", "two_0000", "two_0001"]
    # Older versions of pandas read the last digit of some numbers as another.
    np.testing.assert_allclose(
        here.main_values["treated"],
        table[table.condition == "treated"][here.main_column],
        rtol=1e-14,
    )


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["translocation", "area"])
def test_tables_are_the_same_for_any_number_of_workers(profile, fields, tmp_path, monkeypatch):
    # So few that each image gives only a part of its pixels to the threshold.
    few = functools.partial(PixelPool, limit=20_000)
    monkeypatch.setattr(fitting, "PixelPool", few)
    found = []
    for number in (1, 2, 3):
        with local_workers(number) as workers:
            out = tmp_path / str(number) / "t.csv"
            written = measure_files(profile, fields, out, workers=workers).written
        found.append(bytes_of(written))
    assert found[0] == found[1] == found[2]
    assert b"black" in found[0][-1]


def test_samples_of_an_image_depend_on_it_alone():
    rng = np.random.default_rng(0)
    planes = [rng.normal(size=(40, 50)) for _ in range(12)]
    whole, part = PixelPool(limit=5_000), PixelPool(limit=5_000)
    for plane in planes:
        whole.add(PixelSample.of(plane))
        part.add(PixelSample.of(plane, part.fraction))
    np.testing.assert_array_equal(whole.levels.values, part.levels.values)
    assert whole.fraction == 2**-3
    sample = PixelSample.of(planes[0], 0.5)
    np.testing.assert_array_equal(sample.thinned(0.1).values, PixelSample.of(planes[0], 0.1).values)
    assert np.isin(sample.values, planes[0]).all()
    assert np.unique(sample.values).size == 1000


def test_no_more_jobs_are_taken_than_are_worked_on():
    class Late:
        """An executor whose jobs are done when they are asked for."""

        waiting = most = 0

        def submit(self, run, job):
            Late.waiting += 1
            Late.most = max(Late.most, Late.waiting)
            return Promise(run, job)

    class Promise:
        def __init__(self, run, job):
            self.run, self.job = run, job

        def result(self, timeout):
            Late.waiting -= 1
            return self.run(self.job)

        def cancel(self):
            pass

    taken = []

    def jobs():
        for number in range(50):
            taken.append(number)
            yield number

    results = in_order(lambda number: number**2, jobs(), Workers(Late(), ahead=6))
    assert next(results) == 0
    assert len(taken) == 6
    assert list(results) == [number**2 for number in range(1, 50)]
    assert Late.most == 6


def test_nothing_is_written_where_a_file_is_damaged(fields, tmp_path):
    damaged = tmp_path / "in" / "broken.tif"
    damaged.parent.mkdir()
    damaged.write_bytes(fields["treated"][0].read_bytes()[:400])
    settings = AreaSettings(segmentation={"threshold": {"scope": "image"}})
    files = {"a": [fields["treated"][0], damaged]}
    with pytest.raises(InputError, match=r"broken\.tif"):
        measure_files("area", files, tmp_path / "out" / "t.csv", settings)
    assert not (tmp_path / "out").exists()


def test_wrong_input_is_told(fields, tmp_path):
    with pytest.raises(InputError, match="no images"):
        measure_files("area", {}, tmp_path / "t.csv")
    with pytest.raises(InputError, match='"actin"'):
        measure_files("area", fields, tmp_path / "t.csv", AreaSettings(channel="actin"))
    with pytest.raises(InputError, match="is no folder"):
        measure_files("area", fields, tmp_path / "t.csv", label_folder=tmp_path / "none")
    with pytest.raises(InputError, match="at least 1"), local_workers(0):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", ["image_table", "cell_table", "write_settings"])
def test_the_files_are_of_one_measurement_whatever_cannot_be_written(
    fails, fields, tmp_path, monkeypatch
):
    files = {"untreated": fields["untreated"][:2]}
    written = measure_files("translocation", files, tmp_path / "t.csv").written
    before = bytes_of(written)

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(batch, fails, full)
    more = {"untreated": fields["untreated"][2:]}
    with pytest.raises(OSError, match="No space") as caught:
        measure_files("translocation", more, tmp_path / "t.csv")
    assert bytes_of(written) == before
    assert sorted(tmp_path.iterdir()) == sorted(written)
    if fails != "write_settings":
        cells = "_cells" if fails == "cell_table" else ""
        assert caught.value.filename == str(tmp_path / f"t{cells}.csv")


@pytest.mark.skipif(sys.platform != "linux", reason="a disk that is always full")
def test_a_full_folder_for_temporary_files_is_told_before_a_table_is_begun(
    fields, tmp_path, monkeypatch
):
    full = Path("/dev/full")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda mode, **how: full.open(mode))
    with pytest.raises(OSError, match="No space") as caught:
        measure_files("area", fields, tmp_path / "t.csv")
    assert caught.value.filename == tempfile.gettempdir()
    assert f"while writing {tempfile.gettempdir()}" in explain(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_columns_that_only_some_images_have(tmp_path):
    from napari_phenldiff.measurement.tables.csv_files import Spool

    frame = functools.partial(pd.DataFrame.from_records)
    with Spool(["image", "n"], ["reason"]) as spool:
        for number in range(70):
            spool.add({"image": str(number), "n": number, "reason": ""})
        spool.add({"image": "last", "n": np.float64(0.1), "more": np.nan, "reason": "odd"})
        spool.write(tmp_path / "t.csv", frame, {"n": "number"})
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table) == ["image", "number", "more", "reason"]
    assert len(table) == 71
    # One column, one kind of number.
    assert (tmp_path / "t.csv").read_text(encoding="utf-8").splitlines()[1] == "0,0.0,,"


def _die(job):
    import os

    os._exit(1)


@pytest.mark.slow
def test_a_worker_that_dies_is_told():
    def use():
        with local_workers(2) as workers:
            assert isinstance(workers.executor, ProcessPoolExecutor)
            list(in_order(_die, range(3), workers))

    with pytest.raises(InputError, match="fewer --workers"):
        use()


def test_a_cluster_needs_distributed(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    needed = pytest.raises(InputError, match=r"napari-phenldiff\[distributed\]")
    with needed, scheduler_workers("tcp://127.0.0.1:1"):
        pass


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two processes, of which none is started a second time for a lost task."""
    distributed = pytest.importorskip("distributed")
    import dask

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
        distributed.LocalCluster(**options, silence_logs=logging.CRITICAL) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["area", "translocation"])
def test_a_cluster_gives_the_same_table(profile, cluster, fields, tmp_path):
    with scheduler_workers(cluster) as workers:
        there = measure_files(profile, fields, tmp_path / "there" / "t.csv", workers=workers)
    here = measure_files(profile, fields, tmp_path / "here" / "t.csv")
    assert bytes_of(there.written) == bytes_of(here.written)


@pytest.mark.slow
def test_a_cluster_tells_what_is_wrong_with_a_file(cluster, tmp_path):
    damaged = tmp_path / "broken.tif"
    damaged.write_bytes(b"II*")
    with scheduler_workers(cluster) as workers, pytest.raises(InputError, match=r"broken\.tif"):
        measure_files("area", {"a": [damaged]}, tmp_path / "out" / "t.csv", workers=workers)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_cluster_that_loses_its_workers_is_told(cluster):
    def use():
        with scheduler_workers(cluster) as workers:
            list(in_order(_die, range(1), workers))

    with pytest.raises(InputError, match="lost the workers"):
        use()


def test_a_cluster_that_is_not_there(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr("napari_phenldiff.runs.cluster._SECONDS_TO_CONNECT", 0.5)
    with (
        pytest.raises(InputError, match="No scheduler answers"),
        scheduler_workers("tcp://127.0.0.1:1"),
    ):
        pass


def test_images_are_called_like_links_to_them(fields, tmp_path):
    # As data managers keep files: the name is a link to what is called after its content.
    link = tmp_path / "B03_field7.tif"
    try:
        link.symlink_to(fields["treated"][0])
    except OSError:
        pytest.skip("no links on this system")
    found = measure_files("area", {"a": [link]}, tmp_path / "t.csv")
    assert list(pd.read_csv(found.written[-1]).image) == ["B03_field7"]


@pytest.mark.parametrize("scope", ["experiment", "image"])
def test_a_hot_pixel_that_decides_the_threshold_is_told(scope, tmp_path):
    rng = np.random.default_rng(0)
    files, images = {"a": [], "b": []}, {"a": [], "b": []}
    for condition in files:
        for number in range(3):
            plane = rng.normal(110, 8, (128, 128))
            plane[32:64, 32:64] += 90
            plane = plane.astype(np.uint16)
            if (condition, number) == ("b", 1):
                plane[3, 3] = 65_535
            path = tmp_path / condition / f"{number}.tif"
            write_tiff(path, Image(plane[None], ("stain",), None, f"{number}"))
            files[condition].append(path)
            images[condition] += read_tiff(path)
    threshold = ThresholdSettings(scope=scope)
    settings = AreaSettings(channel=0, segmentation=SegmentationSettings(threshold=threshold))
    here = measure_files("area", files, tmp_path / "t.csv", settings)
    there = measure("area", images, settings)
    told = [text for text in here.warnings if "decide" in text]
    assert told == [text for text in there.outcome.warnings() if "decide" in text]
    assert len(told) == 1
    words = ("b/1.tif", "brightest one of 98304 pixels", "65535")
    assert all(word in told[0] for word in words if scope == "experiment")
    reasons = list(there.images.reason)
    assert [bool(reason) for reason in reasons] == [scope == "image" and k == 4 for k in range(6)]
    # A threshold that is given is decided by nothing.
    given = measure("area", images, settings, thresholds={"area": 150.0})
    assert not any("decide" in text for text in given.outcome.warnings())
