from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import read_image, read_provenance, read_tiff
from napari_phenldiff.measurement.profiles.area import AreaSettings
from napari_phenldiff.measurement.tables.measurement import read_settings
from napari_phenldiff.viewer.layer_data import stack_layers
from napari_phenldiff.viewer.layer_groups import LayerInfo
from napari_phenldiff.viewer.reader import read_layers
from napari_phenldiff.viewer.writers import write_images, write_measurements


def translated(condition: str = "treated", **changes) -> list:
    image = Image(
        np.arange(60, dtype=np.uint16).reshape(2, 5, 6), ("DNA", "marker"), (0.5, 0.25), "a"
    )
    infos = [
        LayerInfo(
            condition,
            name,
            index,
            ("a",),
            (None,),
            role="translated",
            translation="t1",
            provenance={"run": "r", "strength": 1.0},
            **changes,
        )
        for index, name in enumerate(image.channel_names)
    ]
    names = [f"{condition}: {name}" for name in image.channel_names]
    return stack_layers(names, infos, [image], [(0, 60)] * 2)


def test_channels_of_an_image_are_one_file(tmp_path: Path):
    written = write_images(str(tmp_path / "one.tif"), translated())
    assert written == [str(tmp_path / "one.tif")]
    image = read_image(tmp_path / "one.tif")
    assert image.channel_names == ("DNA", "marker")
    assert image.pixel_size == (0.5, 0.25)
    assert image.data.dtype == np.uint16
    np.testing.assert_array_equal(image.data.ravel(), np.arange(60))


def test_how_it_was_made_goes_along(tmp_path: Path):
    write_images(str(tmp_path / "one.tif"), translated())
    provenance = read_provenance(tmp_path / "one.tif")
    assert provenance["kind"] == "translated"
    assert provenance["condition"] == "treated"
    assert provenance["run"] == "r"
    assert provenance["images"] == ["a"]
    assert provenance["saved_by"].startswith("napari-phenldiff ")


def test_order_of_the_layers_does_not_matter(tmp_path: Path):
    write_images(str(tmp_path / "one.tif"), translated()[::-1])
    assert read_image(tmp_path / "one.tif").channel_names == ("DNA", "marker")


def test_several_images_get_files_of_their_own(tmp_path: Path, experiment_folder: Path):
    layers = read_layers(experiment_folder) + translated()
    written = write_images(str(tmp_path / "all.tif"), layers)
    assert [Path(file).name for file in written] == [
        "all_treated.tif",
        "all_untreated.tif",
        "all_treated_translated.tif",
    ]
    stack = read_tiff(tmp_path / "all_untreated.tif")
    real = [read_image(p) for p in sorted((experiment_folder / "untreated").glob("*.tif"))]
    assert len(stack) == len(real) == 3
    for again, image in zip(stack, real, strict=True):
        np.testing.assert_array_equal(again.data, image.data)
        assert again.pixel_size == image.pixel_size


def test_the_same_twice_does_not_overwrite(tmp_path: Path):
    first, second = translated(), translated(part=1)
    written = write_images(str(tmp_path / "x.tif"), first + second)
    assert len(set(written)) == 2


def test_layers_of_others_and_colours(tmp_path: Path):
    grey = (np.ones((4, 5), np.uint8), {"name": "grey"}, "image")
    colour = (np.ones((4, 5, 3), np.uint8), {"name": "colour", "rgb": True}, "image")
    written = write_images(str(tmp_path / "x"), [grey, colour])
    assert [Path(file).name for file in written] == ["x_grey.tif", "x_colour.tif"]
    assert read_image(tmp_path / "x_colour.tif").n_channels == 3


def test_what_is_no_image_leaves_nothing_behind(tmp_path: Path):
    bad = (np.ones((2, 2, 2, 4, 5), np.uint8), {"name": "deep"}, "image")
    good = (np.ones((4, 5), np.uint8), {"name": "grey"}, "image")
    with pytest.raises(InputError, match="deep"):
        write_images(str(tmp_path / "x.tif"), [good, bad])
    assert not list(tmp_path.iterdir())


def measured(condition: str = "treated", **changes) -> tuple:
    features = pd.DataFrame(
        {"label": [0, 1, 2], "image": ["", "a", "b"], "ratio": [np.nan, 0.5, 2.0]}
    )
    entry = {
        "identity": "m1",
        "condition": condition,
        "profile": "area",
        "settings": AreaSettings(channel=1).model_dump(mode="json"),
        "thresholds": {"area": 12.5},
        **changes,
    }
    metadata = {"napari-phenldiff-measurement": entry}
    name = f"{condition}: objects"
    return np.zeros((2, 4, 5), int), {"name": name, "features": features, "metadata": metadata}, ""


def test_measurements_are_a_table_with_its_settings_beside_it(tmp_path: Path):
    written = write_measurements(str(tmp_path / "t.csv"), [measured("untreated"), measured()])
    assert [Path(file).name for file in written] == ["t.csv", "t_settings.json"]
    table = pd.read_csv(tmp_path / "t.csv")
    assert list(table["condition"]) == ["untreated"] * 2 + ["treated"] * 2
    assert list(table["label"]) == [1, 2, 1, 2]
    assert list(table["ratio"]) == [0.5, 2.0, 0.5, 2.0]
    assert read_settings(tmp_path / "t_settings.json") == (
        "area",
        AreaSettings(channel=1),
        {"area": 12.5},
    )


def test_settings_are_not_replaced_where_the_table_cannot_be(tmp_path: Path, monkeypatch):
    write_measurements(str(tmp_path / "t.csv"), [measured()])
    before = (tmp_path / "t_settings.json").read_bytes()

    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_csv", full)
    with pytest.raises(OSError, match="No space"):
        write_measurements(str(tmp_path / "t.csv"), [measured(thresholds={"area": 1})])
    assert (tmp_path / "t_settings.json").read_bytes() == before


def test_measurements_of_others_are_written_without_settings(tmp_path: Path):
    features = pd.DataFrame({"size": [0, 7]})
    layer = (np.zeros((4, 5), int), {"name": "cells", "features": features}, "labels")
    assert write_measurements(str(tmp_path / "t"), [layer]) == [str(tmp_path / "t.csv")]
    assert (tmp_path / "t.csv").read_text().split() == ["condition,size", "cells,7"]


def test_measurements_that_do_not_fit_together_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match="one at a time"):
        write_measurements(str(tmp_path / "t.csv"), [measured(), measured(thresholds={"area": 1})])
    nothing = (np.zeros((4, 5), int), {"name": "cells", "features": pd.DataFrame()}, "labels")
    with pytest.raises(InputError, match="measure first"):
        write_measurements(str(tmp_path / "t.csv"), [nothing])
    assert not list(tmp_path.iterdir())
