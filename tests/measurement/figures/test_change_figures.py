"""Figures of pairs, of all effects, and of the images that changed most."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.measurement.figures.effect_sizes import effect_sizes
from napari_phenldiff.measurement.figures.gallery import (
    change_gallery,
    changed_images,
    crop_changes,
    draw_gallery,
    most_changed,
)
from napari_phenldiff.measurement.figures.pairs import paired_lines
from napari_phenldiff.measurement.figures.style import THEMES
from napari_phenldiff.measurement.profiles.area import Area, AreaSettings
from napari_phenldiff.measurement.profiles.cells import Cells
from napari_phenldiff.measurement.statistics.effects import effects
from napari_phenldiff.measurement.tables.measurement import Measurement, column_text, image_table

GROUPS = {"source": "a", "target": "b", "reconstructed": "ra", "translated": "tb"}


@pytest.fixture
def measurement() -> Measurement:
    rng = np.random.default_rng(0)
    rows = [
        {
            "image": f"field{i}",
            "condition": name,
            "area_fraction": rng.normal(mean, 0.02),
            "perimeter_px": rng.normal(50, 5),
        }
        for name, mean in (("a", 0.2), ("b", 0.6), ("ra", 0.22), ("tb", 0.5))
        for i in range(6)
    ]
    return Measurement(Area(), image_table(Area(), rows), None, AreaSettings())


def texts(figure):
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def drawn(figure):
    from matplotlib.image import imread

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=40)
    buffer.seek(0)
    return imread(buffer)[..., :3]


def blobs(*, shift=0.0, name="field", at=(20, 70)):
    rng = np.random.default_rng(3)
    data = rng.uniform(0, 5, (2, 90, 100))
    data[0, at[0] : at[0] + 8, at[1] : at[1] + 8] += 50 + shift
    return Image(data.astype(np.float32), ("DNA", "marker"), (0.5, 0.5), name)


@pytest.mark.parametrize("theme", THEMES)
def test_pairs(measurement, theme):
    figure = paired_lines(measurement, before="ra", after="tb", target="b", theme=theme)
    said = texts(figure)
    assert "n = 6" in said
    assert "shift +0.29" in said
    assert "least possible 0.031" in said
    lines = [line for line in figure.axes[0].lines if list(line.get_xdata()) == [0, 1]]
    assert len(lines) == 6 + 2 + 1  # pairs, the median on its ground, the target across
    assert (drawn(figure)[2, 2].mean() > 0.9) == (theme == "light")


def test_pairs_of_nothing(measurement):
    images = measurement.images.assign(area_fraction=np.nan)
    figure = paired_lines(replace(measurement, images=images), before="ra", after="tb", target="b")
    assert "no p-value" in texts(figure)
    drawn(figure)


@pytest.mark.parametrize("theme", THEMES)
def test_effect_sizes(measurement, theme):
    figure = effect_sizes(effects(measurement, **GROUPS), theme=theme)
    left, right = figure.axes
    said = [tick.get_text() for tick in left.get_yticklabels()]
    assert said == ["area fraction", "perimeter px"]
    assert "the real conditions are not shown to differ" in " ".join(texts(figure).split())
    assert right.get_xlim()[1] >= 1
    shown = drawn(figure)
    assert (shown[2, 2].mean() > 0.9) == (theme == "light")
    assert np.ptp(shown) > 0.5


@pytest.mark.parametrize("theme", THEMES)
def test_effect_sizes_for_a_narrow_place(measurement, theme):
    figure = effect_sizes(effects(measurement, **GROUPS), theme=theme, narrow=True)
    assert figure.get_figwidth() < 4
    left, _ = figure.axes
    names = [text for text in left.texts if text.get_text() in ("area fraction", "perimeter px")]
    figure.draw_without_rendering()
    for text in names:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
    assert len(names) == 2
    assert "the real conditions are not shown to differ" in " ".join(texts(figure).split())


def test_a_long_reason_stays_within_its_place_and_marks_are_whole(measurement):
    few = replace(measurement, images=measurement.images.copy())
    images = few.images
    images.loc[images.index[images["condition"] == "ra"][1:], "area_fraction"] = np.nan
    figure = effect_sizes(effects(few, **GROUPS))
    figure.draw_without_rendering()
    left, right = figure.axes
    assert "Only 1 of 6 images of ra could be" in texts(figure)
    for words in right.texts:
        assert words.get_window_extent().x1 <= figure.bbox.width
    labels = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert labels[0].x1 <= labels[1].x0
    marks = [line for line in left.lines if line.get_marker() in ("D", "o")]
    assert marks
    assert not any(line.get_clip_on() for line in marks)


def test_what_is_not_significant_is_dotted(measurement):
    axes = effect_sizes(effects(measurement, source="a", target="b")).axes[0]
    styles = {line.get_ydata()[0]: line.get_linestyle() for line in axes.lines if len(line._x) == 2}
    assert (styles[0], styles[1]) == ("-", ":")


def test_few_images_are_told(measurement):
    few = replace(measurement, images=measurement.images.groupby("condition").head(3))
    assert "p can't be below 0.2" in texts(effect_sizes(effects(few, source="a", target="b")))
    with pytest.raises(InputError, match="no effects"):
        effect_sizes(effects(few, source="a", target="b").iloc[:0])


def test_most_changed():
    assert most_changed([0, 1, np.nan, 2], [0.5, -3, 9, 2.1], 2) == [1, 0]
    assert most_changed([np.nan], [1], 3) == []


@pytest.mark.parametrize("theme", THEMES)
def test_gallery_is_cut_where_most_has_changed(theme):
    real = [blobs(name=f"f{i}") for i in range(3)]
    translated = [blobs(shift=80, name=f"f{i}") for i in range(3)]
    figure = change_gallery(
        real, translated, reconstructed=real, captions=["0 to 1"] * 3, crop=24, theme=theme
    )
    pictures = [
        axes.images[0].get_array()
        for axes in figure.findobj()
        if hasattr(axes, "images") and axes.images
    ]
    assert len(pictures) == 9
    assert {picture.shape for picture in pictures} == {(24, 24, 3)}
    for picture in pictures:
        assert (picture[..., 2] > 0.9).sum() == 64  # all of the blob, in the blue of DNA
    said = texts(figure)
    for word in ("real source", "reconstructed", "as target", "f2   0 to 1", "DNA", "µm"):
        assert word in said
    assert (drawn(figure)[-1, -1].mean() > 0.9) == (theme == "light")


def test_a_gallery_is_drawn_without_the_images():
    real = [blobs(name=f"f{i}") for i in range(3)]
    translated = [blobs(shift=80, name=f"f{i}") for i in range(3)]
    crops = crop_changes(real, translated, captions=["0 to 1"] * 3, crop=24)
    assert {image.data.shape for row in crops.rows for image in row} == {(2, 24, 24)}
    high = draw_gallery(crops, columns=1, width=1.0)
    assert "f2   0 to 1" in texts(high)
    assert high.get_figwidth() < draw_gallery(crops).get_figwidth()


def test_the_images_that_changed_most_are_named(measurement):
    shown = changed_images(measurement, source="a", translated="tb", reconstructed="ra", n=2)
    change = measurement.values("tb") - measurement.values("ra")
    assert list(shown) == [f"field{i}" for i in np.argsort(-np.abs(change))[:2]]
    assert all("→" in caption for caption in shown.values())
    images = measurement.images
    renamed = images.assign(
        image=images["image"].where(images["condition"] != "a", "other " + images["image"])
    )
    with pytest.raises(InputError, match="None of the images that changed most is in a"):
        changed_images(
            replace(measurement, images=renamed), source="a", translated="tb", reconstructed="ra"
        )


def test_gallery_of_images_that_do_not_belong_together():
    with pytest.raises(InputError, match="no images"):
        change_gallery([], [])
    with pytest.raises(InputError, match="do not belong"):
        change_gallery([blobs()], [blobs(), blobs()])
    small = replace(blobs(), data=blobs().data[:, :40])
    with pytest.raises(InputError, match="do not belong"):
        change_gallery([blobs()], [small])
    small_too = change_gallery([small], [small], crop=512)
    assert small_too.axes or small_too.subfigs


def test_columns_in_words(measurement):
    assert column_text(measurement, "perimeter_px") == "perimeter (px)"
    assert column_text(measurement, "area_um2") == "area (µm²)"
    assert column_text(measurement, "area_fraction") == Area.axis_label
    cells = replace(measurement, profile=Cells())
    assert column_text(cells, "n_cells") == "number of nuclei"
    assert column_text(cells, "n_measured") == "number of nuclei that are measured"
    assert column_text(cells, "intensity_mean_f_actin") == "mean intensity of f actin in the nuclei"
    assert column_text(cells, "n_branch_points") == "number of branch points"
