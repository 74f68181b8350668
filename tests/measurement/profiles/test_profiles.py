from __future__ import annotations

import json
import math
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.measure import labels, measure, measure_image
from napari_phenldiff.measurement.profiles import PROFILES, find_profile
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.profiles.fitting import fit_thresholds
from napari_phenldiff.measurement.profiles.profile import channel_index
from napari_phenldiff.measurement.profiles.translocation import TranslocationSettings
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings
from napari_phenldiff.measurement.tables.measurement import read_settings


def spots(low, high, seed=0):
    """Make a plane of which a quarter is high."""
    plane = np.random.default_rng(seed).normal(low, 1, (40, 40))
    plane[:20, :20] += high - low
    return plane


def per_image():
    return AreaSettings(segmentation={"threshold": {"scope": "image"}})


def scoped(settings, scope):
    """Find all thresholds of some settings in each image, or once for the experiment."""
    parts = {
        name: value.model_copy(
            update={"threshold": value.threshold.model_copy(update={"scope": scope})}
        )
        for name, value in settings
        if isinstance(value, SegmentationSettings)
    }
    return settings.model_copy(update=parts)


# What the main column of a profile needs that is optional.
CHANNELS = {"golgi": {"channel": "marker", "nuclei_channel": "DNA"}}

# Every way in which an image can be useless, with a word of the reason that must be given.
USELESS = {
    "constant": (np.full((32, 32), 9, np.uint16), "constant"),
    "black": (np.zeros((32, 32), np.uint8), "constant"),
    "not a number": (np.where(np.eye(32) > 0, np.nan, 1.0), "not finite"),
    "infinite": (np.where(np.eye(32) > 0, np.inf, 1.0), "not finite"),
    "negative": (-np.random.default_rng(0).random((32, 32)) - 1, "negative"),
    "two pixels": (np.array([[1, 2]], np.uint8), "smaller"),
    "saturated": (np.minimum(np.arange(1024).reshape(32, 32), 255).astype(np.uint8), "saturated"),
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("kind", USELESS)
@pytest.mark.parametrize("scope", ["experiment", "image"])
def test_useless_images_give_a_row_with_a_reason(profile, kind, scope, make_cells):
    plane, word = USELESS[kind]
    bad = Image(np.stack([plane, plane]), ("DNA", "marker"), None, kind)
    settings = scoped(find_profile(profile).settings_type(**CHANNELS.get(profile, {})), scope)
    found = measure(profile, {"a": [make_cells(2.0), bad, make_cells(3.0)]}, settings)
    table = found.images
    assert list(table.reason == "") == [True, False, True]
    assert word in table.reason[1]
    assert math.isnan(found.values("a")[1])
    assert np.isfinite(found.values("a")[[0, 2]]).all()
    alone = measure(profile, {"a": [bad]}, settings)
    assert math.isnan(alone.values("a")[0])
    assert word in alone.images.reason[0]


def test_useless_images_do_not_move_the_threshold(make_plane):
    good = [make_plane(spots(10, 50))]
    bad = [make_plane(plane) for plane, _ in USELESS.values()]
    alone = measure("area", {"a": good}).thresholds
    assert measure("area", {"a": good, "b": bad}).thresholds == alone


def test_one_threshold_for_all_by_default(make_plane):
    dim, bright = make_plane(spots(10, 30), name="dim"), make_plane(spots(10, 90), name="bright")
    together = measure("area", {"a": [dim], "b": [bright]})
    assert together.images.threshold.nunique() == 1
    assert together.thresholds["area"] == together.images.threshold[0]
    # The one threshold keeps dimmer dimmer; one each makes them equal.
    assert together.values("a")[0] < 0.01
    assert together.values("b")[0] == pytest.approx(0.25, abs=0.01)
    apart = measure("area", {"a": [dim], "b": [bright]}, per_image())
    assert apart.images.threshold.nunique() == 2
    assert apart.thresholds == {}
    np.testing.assert_allclose(apart.images.area_fraction, 0.25, atol=0.01)


def test_threshold_comes_from_the_named_groups_only(make_plane):
    real = [make_plane(spots(10, 50))]
    translated = [make_plane(spots(10, 500))]
    alone = measure("area", {"real": real})
    both = measure("area", {"real": real, "translated": translated}, fit_on=["real"])
    assert both.thresholds == alone.thresholds
    assert measure("area", {"real": real, "translated": translated}).thresholds != alone.thresholds
    again = measure("area", {"translated": translated}, thresholds=alone.thresholds)
    assert again.images.threshold[0] == alone.thresholds["area"]


def test_threshold_of_an_experiment_is_that_of_its_pooled_pixels(make_plane):
    from skimage.filters import threshold_otsu

    planes = [spots(10, 50, seed) for seed in range(3)]
    found = measure("area", {"a": [make_plane(plane) for plane in planes]})
    assert found.thresholds["area"] == pytest.approx(threshold_otsu(np.stack(planes)), rel=1e-12)


def test_table_has_a_row_per_image_in_order(make_plane):
    groups = {
        name: [make_plane(spots(10, 50, i), name=f"{name}{i}") for i in range(3)] for name in "ba"
    }
    found = measure("area", groups)
    assert list(found.images.columns[:2]) == ["image", "condition"]
    assert list(found.images.columns[-1:]) == ["reason"]
    assert list(found.images.image) == ["b0", "b1", "b2", "a0", "a1", "a2"]
    assert found.conditions == ("b", "a")
    assert found.cells is None
    assert found.values("a", "area_px").dtype == np.float64


def test_what_can_be_read_once_is_enough(make_plane):
    images = [make_plane(spots(10, 50, i)) for i in range(3)]
    once = measure("area", {"a": (image for image in images)})
    pd.testing.assert_frame_equal(once.images, measure("area", {"a": images}).images)


def test_reading_again_keeps_one_image_at_a_time(make_plane):
    class Files:
        """Images that are read when they are asked for."""

        alive = most = 0

        def __iter__(self):
            for number in range(20):
                Files.alive += 1
                Files.most = max(Files.most, Files.alive)
                try:
                    yield make_plane(spots(10, 50, number))
                finally:  # also where only the first is looked at
                    Files.alive -= 1

    assert len(measure("area", {"a": Files()}).images) == 20
    assert Files.most == 1


def test_tells_how_far_it_is_and_can_be_ended(make_plane):
    images = [make_plane(spots(10, 50, i)) for i in range(3)]
    seen = []
    measure("area", {"a": images[:2], "b": images[2:]}, on_image=seen.append)
    assert seen == [1, 2, 3]

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        measure("area", {"a": images}, on_image=stop)


def test_channels_by_name_and_number(make_cells):
    image = make_cells(1.0)
    assert channel_index(image, 1) == channel_index(image, "marker") == 1
    assert channel_index(image, "Marker") == 1
    for wrong in ("actin", 2, -1):
        with pytest.raises(InputError, match='"DNA", "marker"'):
            channel_index(image, wrong)


def test_one_image_without_the_channel_gets_a_reason_all_an_error(make_cells, make_plane):
    settings = AreaSettings(channel="marker")
    found = measure("area", {"a": [make_cells(2.0), make_plane(spots(1, 9))]}, settings)
    assert found.images.reason[0] == ""
    assert 'no channel "marker"' in found.images.reason[1]
    with pytest.raises(InputError, match='no channel "marker"'):
        measure("area", {"a": [make_plane(spots(1, 9))]}, settings)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("shape", {"a": []}), "translocation"),
        (("area", {"a": []}), "no images"),
        (("area", {"a": []}, TranslocationSettings()), "AreaSettings"),
    ],
)
def test_wrong_input_is_told(arguments, message):
    with pytest.raises(InputError, match=message):
        measure(*arguments)


def test_unknown_groups_and_columns_are_told(make_plane):
    groups = {"a": [make_plane(spots(10, 50))]}
    with pytest.raises(InputError, match='"b"'):
        measure("area", groups, fit_on=["b"])
    found = measure("area", groups)
    with pytest.raises(InputError, match='choose one of "a"'):
        found.values("b")
    with pytest.raises(InputError, match="area_px"):
        found.values("a", "length")


def test_labels_agree_with_the_table(make_plane):
    image = make_plane(spots(10, 50))
    found = measure("area", {"a": [image]})
    shown = labels("area", image, thresholds=found.thresholds)
    assert (shown > 0).sum() == found.images.area_px[0]
    assert (labels("area", image) > 0).sum() == found.images.area_px[0]


def test_one_image_alone(make_plane):
    profile, settings = PROFILES["area"], AreaSettings()
    image = make_plane(spots(10, 50))
    thresholds = fit_thresholds(profile, [image], settings)
    values = measure_image(profile, image, settings, thresholds).values
    assert values["area_px"] == measure("area", {"a": [image]}).images.area_px[0]
    assert values["area_px"] == pytest.approx(400, rel=0.02)


def test_files_and_back(make_cells, tmp_path):
    settings = TranslocationSettings(
        nuclei_channel="DNA",
        marker_channel="marker",
        nuclei=SegmentationSettings(threshold=ThresholdSettings(method="otsu", smoothing=2)),
    )
    empty = replace(make_cells(1.0), data=np.zeros((2, 32, 32)), name="empty")
    found = measure("translocation", {"a": [make_cells(2.0), empty]}, settings)
    written = found.write(tmp_path / "new" / "T.csv")
    names = ["T_settings.json", "T_cells.csv", "T.csv"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(names)

    table = pd.read_csv(written[2], keep_default_na=False, na_values=[""])
    assert table.ratio[0] == found.images.ratio[0]
    assert math.isnan(table.ratio[1])
    assert "constant" in table.reason[1]
    assert len(pd.read_csv(written[1])) == 4
    profile, read, thresholds = read_settings(written[0])
    assert (profile, read, thresholds) == ("translocation", settings, found.thresholds)


def test_threshold_that_could_not_be_found_survives_the_file(make_plane, tmp_path):
    found = measure("area", {"a": [make_plane(np.zeros((9, 9)))]})
    path = found.write(tmp_path / "T.csv")[0]
    assert "NaN" not in path.read_text(encoding="utf-8")
    assert math.isnan(read_settings(path)[2]["area"])


def test_a_failing_write_leaves_the_old_table(make_plane, tmp_path, monkeypatch):
    found = measure("area", {"a": [make_plane(spots(10, 50))]})
    (tmp_path / "T.csv").write_text("old", encoding="utf-8")

    def full(*args, **kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="no space"):
        found.write(tmp_path / "T.csv")
    assert (tmp_path / "T.csv").read_text(encoding="utf-8") == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["T.csv"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json", "holds no measurement settings"),
        ("[]", "holds no measurement settings"),
        (json.dumps({"profile": "shape", "settings": {}, "thresholds": {}}), "no measurement prof"),
        (
            json.dumps({"profile": "area", "settings": {"canal": 1}, "thresholds": {}}),
            '"canal"',
        ),
    ],
)
def test_wrong_settings_files_are_told(content, message, tmp_path):
    path = tmp_path / "T_settings.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=message):
        read_settings(path)
    with pytest.raises(InputError, match="holds no"):
        read_settings(tmp_path / "absent.json")


def test_profiles_are_known_without_heavy_imports():
    """A widget lists the profiles when it opens."""
    import subprocess

    code = (
        "import sys, napari_phenldiff.measurement.measure;"
        "print(*{'skimage', 'scipy', 'pandas', 'matplotlib', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
