from __future__ import annotations

import io
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.measurement.figures.effect_sizes import effect_sizes
from napari_phenldiff.measurement.figures.four_groups import four_group_values, four_groups
from napari_phenldiff.measurement.figures.pairs import paired_lines
from napari_phenldiff.measurement.figures.panel import Inset, translation_panel
from napari_phenldiff.measurement.figures.style import THEMES, composite, in_lines
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.statistics.compare import compare, p_text
from napari_phenldiff.measurement.statistics.effects import effects
from napari_phenldiff.measurement.statistics.recovery import Recovery, recovery_text


@pytest.fixture
def measurement(make_cells):
    rng = np.random.default_rng(0)

    def images(ratio, n=5):
        return [make_cells(ratio * rng.uniform(0.9, 1.1), seed=i) for i in range(n)]

    groups = {
        "untreated": images(0.7),
        "treated": images(6),
        "reconstructed": images(0.7, 4),
        "translated": images(3, 4),
    }
    return measure("translocation", groups, fit_on=["untreated", "treated"])


def texts(figure):
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def faint_dots(figure):
    """Count the effects whose interval is dotted."""
    return sum(line.get_linestyle() == ":" for line in figure.axes[0].lines)


def pixels(figure):
    from matplotlib.image import imread

    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=50)
    buffer.seek(0)
    return imread(buffer)


@pytest.mark.parametrize("theme", THEMES)
def test_four_groups(measurement, theme):
    figure = four_groups(
        measurement,
        source="untreated",
        target="treated",
        reconstructed="reconstructed",
        translated="translated",
        theme=theme,
    )
    said = texts(figure)
    for word in ("real\nuntreated\nn = 5", "translated\nto treated\nn = 4", "p = ", "log2"):
        assert word in said
    title = figure.axes[0].get_title(loc="left")
    found = re.match(r"recovery (\d+) % \(", title)
    assert found is not None
    assert int(found.group(1)) == pytest.approx(100 * math.log(3 / 0.7) / math.log(6 / 0.7), abs=5)
    shown = pixels(figure)
    ground = shown[2, 2, :3]
    assert (ground.mean() > 0.9) == (theme == "light")
    assert np.ptp(shown[..., :3]) > 0.7


def test_wells_are_counted_and_not_their_images(measurement):
    groups = {"source": "untreated", "target": "treated"}
    made = {"reconstructed": "reconstructed", "translated": "translated"}
    images = measurement.images
    well = images.groupby("condition").cumcount() // 2
    measurement.images["well"] = images["condition"].str[:1] + well.astype(str)
    said = texts(four_groups(measurement, **groups, **made, wells="well"))
    for word in ("real\nuntreated\nn = 3", "translated\nto treated\nn = 2", "dots: wells"):
        assert word in said
    assert "dots: images" in texts(four_groups(measurement, **groups))


def test_fields_before_and_after_are_tested_as_pairs_in_figure_and_values(measurement):
    images = measurement.images
    column = measurement.main_column
    rng = np.random.default_rng(0)
    rows = {name: images["condition"] == name for name in ("untreated", "treated")}
    own = np.arange(rows["untreated"].sum(), dtype=float)
    for name, rise in (("untreated", 0.0), ("treated", 0.1)):
        images.loc[rows[name], column] = own + rise + rng.normal(0, 1e-3, own.size)
        images.loc[rows[name], "image"] = [f"field {i}" for i in range(own.size)]
    groups = {"source": "untreated", "target": "treated"}
    table = effects(measurement, **groups, paired=True, columns=[column])
    values = four_group_values(measurement, **groups, paired=True)
    (shift,) = values[values["what"] == "shift"].to_dict("records")
    assert shift["p_value"] == table["p_value"].iloc[0]
    assert shift["value"] == pytest.approx(0.1, abs=0.01)
    assert shift["low"] > 0
    assert "shift +0.1" in texts(four_groups(measurement, **groups, paired=True))


@pytest.mark.parametrize("narrow", [False, True])
def test_figures_say_what_their_bars_and_bands_are(measurement, narrow):
    groups = {"source": "untreated", "target": "treated"}
    made = {"reconstructed": "reconstructed", "translated": "translated"}
    said = texts(effect_sizes(effects(measurement, **groups, **made), narrow=narrow))
    assert "95 %" in said
    pairs = paired_lines(
        measurement,
        before="reconstructed",
        after="translated",
        target="treated",
        wells="image",
        narrow=narrow,
    )
    told = " ".join(texts(pairs).split())
    assert "bar: 95 % interval of the shift" in told
    assert "band: quartiles of real treated" in told


def test_a_p_value_of_just_the_limit_is_no_finding(measurement):
    groups = {"source": "untreated", "target": "treated"}
    table = effects(measurement, **groups).assign(p_value=0.05)
    assert faint_dots(effect_sizes(table)) == len(table)
    assert faint_dots(effect_sizes(table.assign(p_value=0.0499))) == 0


def test_images_that_are_counted_although_wells_are_known_are_told(measurement):
    names = [f"B0{i % 2 + 1}_f{i}" for i in range(len(measurement.images))]
    wells = replace(measurement, images=measurement.images.assign(image=names))
    groups = {"source": "untreated", "target": "treated", "wells": "image"}
    for figure in (
        four_groups(wells, **groups),
        effect_sizes(effects(wells, **groups)),
    ):
        assert "though their names tell wells" in " ".join(texts(figure).split())


def test_ticks_that_are_added_later_are_themed(measurement):
    axes = four_groups(measurement, source="untreated", target="treated", theme="dark").axes[0]
    axes.set_yticks(np.linspace(*axes.get_ylim(), 40))
    ticks = axes.yaxis.get_major_ticks()
    assert len(ticks) == 40
    assert {tick.label1.get_color() for tick in ticks} == {THEMES["dark"].text}


def test_the_name_of_the_vertical_axis_has_lines_that_fit(measurement):
    long = "intensity_beside_and_around_the_nuclei_of_cells_um"
    measurement.images[long] = measurement.images[measurement.main_column]
    label = (
        four_groups(measurement, source="untreated", target="treated", column=long)
        .axes[0]
        .get_ylabel()
    )
    assert label.replace("\n", " ") == "intensity beside and around the nuclei of cells (µm)"
    assert max(map(len, label.splitlines())) <= 26


def test_two_and_three_groups_and_another_column(measurement):
    pair = four_groups(measurement, source="untreated", target="treated", column="ratio")
    assert pair.axes[0].get_ylabel() == "ratio"
    assert pair.axes[0].get_title(loc="left") == ""
    three = four_groups(measurement, source="untreated", target="treated", translated="translated")
    assert len(three.axes[0].get_xticks()) == 3
    assert "recovery" in three.axes[0].get_title(loc="left")
    with pytest.raises(InputError, match="reconstructed"):
        four_groups(measurement, source="untreated", target="treated", reconstructed="translated")
    with pytest.raises(InputError, match='"dead"'):
        four_groups(measurement, source="untreated", target="dead")


def test_groups_without_any_measured_image(make_plane):
    blank = [make_plane(np.zeros((16, 16))) for _ in range(3)]
    found = measure("area", {"a": blank, "b": blank})
    figure = four_groups(found, source="a", target="b")
    assert "no p-value" in texts(figure)
    pixels(figure)


def test_limits_show_all_images_but_not_every_stray_cell(measurement):
    column = measurement.cells["log2_ratio"].to_numpy(copy=True)
    column[0] = -400
    stray = replace(measurement, cells=measurement.cells.assign(log2_ratio=column))
    low, high = four_groups(stray, source="untreated", target="treated").axes[0].get_ylim()
    values = np.concatenate([measurement.values(name) for name in ("untreated", "treated")])
    assert -30 < low < values.min() < values.max() < high


def test_words():
    assert recovery_text(Recovery(0.812, 0.741, 0.889, 1, 1)) == "recovery 81 % (74 to 89 %)"
    assert "no effect" in recovery_text(Recovery(*[np.nan] * 5, reason="no effect"))
    assert p_text(compare(range(4), range(10, 14))) == "p = 0.029\n(least possible 0.029)"
    assert p_text(compare(range(30), range(50, 80))) == "p = 3e-11"


def test_panel(make_cells):
    real = [make_cells(0.7, name=f"field {i}", seed=i) for i in range(2)]
    made = [make_cells(3, name=image.name, seed=i) for i, image in enumerate(real)]
    figure = translation_panel(real, made, reconstructed=real, source="untreated", target="treated")
    said = texts(figure)
    for word in ("field 1", "real\nuntreated", "translated\nto treated", "change of\nmarker"):
        assert word in said
    # Three overlays and two changes in each of two rows, and two colour scales.
    assert len(figure.axes) == 2 * 5 + 2
    change = figure.axes[4].images[0]
    np.testing.assert_allclose(change.get_array(), made[0].data[1] - real[0].data[1], atol=1e-4)
    assert change.get_clim()[0] == -change.get_clim()[1]
    assert change.get_clim()[1] > 40
    known = translation_panel(real, made, reconstructed=real, counterparts=made, target="treated")
    assert len(known.axes) == len(figure.axes) + len(real)
    assert "the truth\ntreated" in [axes.get_title() for axes in known.axes]
    without = translation_panel(real, made, theme="dark")
    assert len(without.axes) == 2 * 4 + 2
    pixels(figure)
    pixels(without)


@pytest.mark.parametrize("single_channels", [False, True])
def test_the_change_of_a_reference_channel_is_not_an_empty_picture(make_cells, single_channels):
    real = make_cells(1.0)
    made = replace(real, data=np.stack([real.data[0], 2 * real.data[1]]))
    figure = translation_panel(
        [real], [made], single_channels=single_channels, reference_channels=("DNA",)
    )
    assert texts(figure).count("reference\nchannel") == 1
    assert texts(figure).count("grey values") == 1  # one scale, of what may change


def test_panel_shows_dim_as_dim(make_cells):
    """One brightness for all columns and rows, not one for each image."""
    real = make_cells(1.0)
    dim = replace(real, data=real.data * 0.25)
    axes = translation_panel([real], [dim]).axes
    bright, darker = (np.asarray(axes[i].images[0].get_array()) for i in (0, 1))
    assert darker.max() < 0.4 * bright.max()


def test_small_changes_are_not_blown_up(make_cells):
    real = make_cells(1.0)
    almost = replace(real, data=real.data + 0.01)
    change = translation_panel([real], [almost]).axes[2].images[0]
    assert change.get_clim()[1] > 5


@pytest.mark.parametrize("n_channels", [1, 2, 3, 5])
def test_panel_of_any_number_of_channels(make_plane, n_channels):
    plane = np.random.default_rng(0).integers(0, 255, (24, 40)).astype(np.uint8)
    image = replace(
        make_plane(plane, pixel_size=(0.5, 0.5)),
        data=np.stack([plane] * n_channels),
        channel_names=tuple(f"stain {c}" for c in range(n_channels)),
    )
    figure = translation_panel([image], [image])
    shown = min(n_channels, 3)
    assert len(figure.axes) == 2 + 2 * shown
    assert "5 µm" in texts(figure)
    assert "2 more not shown" in texts(figure.legends[0]) if n_channels == 5 else True
    pixels(figure)


def test_panel_of_an_image_with_holes(make_cells):
    real = make_cells(1.0)
    data = real.data.copy()
    data[:, :9] = np.nan
    figure = translation_panel([replace(real, data=data)], [real])
    assert not np.asarray(figure.axes[0].images[0].get_array())[:9].any()
    pixels(figure)


def test_composite_adds_colours():
    from napari_phenldiff.images.image import Image

    data = np.zeros((2, 1, 4))
    data[0, 0] = 0, 10, 0, 10
    data[1, 0] = 0, 0, 10, 20
    picture = composite(Image(data, ("a", "b"), None, "x"), np.zeros(2), np.full(2, 10.0))[0]
    assert not picture[0].any()
    assert picture[1].argmax() == 1  # green first, as in the viewer
    assert picture[2].argmin() == 1
    np.testing.assert_allclose(picture[3], 1)


def test_composite_of_a_channel_with_one_value():
    from napari_phenldiff.images.image import Image

    data = np.full((1, 1, 2), 7.0)
    data[0, 0, 1] = 200.0
    picture = composite(Image(data, ("a",), None, "x"), np.full(1, 7.0), np.full(1, 7.0))[0]
    np.testing.assert_array_equal(picture, [[0, 0, 0], [1, 1, 1]])


def test_panel_checks_its_images(make_cells, make_plane):
    image, other = make_cells(1.0), make_plane(np.eye(9))
    for arguments, message in [
        (([], []), "no images"),
        (([image], []), "1 real image cannot be shown with 0 translated"),
        (([image], [other]), "shape"),
        (([image, other], [image, other]), "channels"),
    ]:
        with pytest.raises(InputError, match=message):
            translation_panel(*arguments)


def test_pyplot_is_left_alone(measurement):
    import matplotlib as mpl
    from matplotlib import pyplot

    before = dict(mpl.rcParams)
    four_groups(measurement, source="untreated", target="treated", theme="dark")
    assert dict(mpl.rcParams) == before
    assert pyplot.get_fignums() == []


def test_a_row_holds_everything_from_real_to_real(make_cells):
    real = [make_cells(0.7, name=f"field {i}", seed=i) for i in range(2)]
    made = [make_cells(3, name=image.name, seed=i) for i, image in enumerate(real)]
    other = [make_cells(3, name=f"other {i}", seed=9 + i) for i in range(2)]
    figure = translation_panel(
        real,
        made,
        reconstructed=real,
        targets=other,
        source="untreated",
        target="treated",
        single_channels=True,
        insets=[Inset(1, 4, 6, 10, 12), Inset(0, 999, 0, 5, 5)],
    )
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    for column in ("real\nuntreated", "reconstructed\nuntreated", "difference", "real\ntreated"):
        assert titles.count(column) == 1
    assert len(titles) == 5
    # Per image an overlay and two channels, of which the difference has only the latter, and a
    # scale for the difference of each channel.
    assert len(figure.axes) == 2 * (4 + 2 * 5) + 2
    closer = [axes for parent in figure.axes for axes in parent.child_axes]
    # In all pictures of the second image but the real target; the first one's lies outside.
    assert len(closer) == 3 + 2 * 4
    assert {axes.images[0].get_array().shape[:2] for axes in closer} == {(10, 12)}
    bars = [axes for axes in figure.axes if axes.get_ylabel() == "grey values"]
    assert len(bars) == 2
    pixels(figure)
    with pytest.raises(InputError, match="2 rows cannot be shown with 1 real image"):
        translation_panel(real, made, targets=other[:1])


def test_a_long_title_is_wrapped_where_the_figure_is_narrow(measurement, monkeypatch):
    from napari_phenldiff.measurement.figures import four_groups as module

    told = "recovery not defined: the real conditions are not shown to differ"
    monkeypatch.setattr(module, "recovery_text", lambda recovered: told)
    groups = {"source": "untreated", "target": "treated"}
    made = {"reconstructed": "reconstructed", "translated": "translated"}
    figure = four_groups(measurement, **groups, **made, narrow=True)
    title = figure.axes[0].get_title(loc="left")
    assert title.replace("\n", " ") == told
    assert max(map(len, title.splitlines())) <= 40


def test_long_names_are_broken_and_the_strength_is_told(make_cells):
    assert in_lines("treated") == "treated"
    assert in_lines("to treated") == "to treated"
    assert in_lines("to UBC_siRNA").split("\n") == ["to UBC_", "siRNA"]
    assert in_lines("a" * 25).split("\n") == ["a" * 10, "a" * 10, "a" * 5]
    real = [make_cells(0.7, name="field", seed=1)]
    for strength, heading in ((1.8, "to treated × 1.8"), (1.0, "to treated"), (None, "× various")):
        said = texts(translation_panel(real, real, target="treated", strength=strength))
        assert any(line.endswith(heading) for line in said.splitlines())
