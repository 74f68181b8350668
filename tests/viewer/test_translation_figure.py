from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.sources import choose_channels
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import find_group, group_layers
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.shown_strength import show_at
from napari_phenldiff.viewer.translation_figure import TranslationFigure


@pytest.fixture
def translated(experiment_folder: Path, open_in, viewer: ViewerModel) -> str:
    """Layers of two conditions, and of a translation in which all images are brighter."""
    open_in(experiment_folder)
    group = find_group(group_layers(viewer.layers), "untreated")
    images = list(FieldImages(group))
    made = [replace(image, data=image.data // 2) for image in images]
    new = NewTranslation(made, images, source="untreated", target="treated")
    return add_translation(viewer, group.layers, new)


def test_what_the_model_was_given_is_no_empty_picture_of_a_change(
    viewer: ViewerModel, experiment_folder: Path, open_in
):
    open_in(experiment_folder)
    group = find_group(group_layers(viewer.layers), "untreated")
    images = list(FieldImages(group))
    provenance = {"reference_channels": ["DNA"]}
    new = NewTranslation(images, images, "untreated", "treated", provenance=provenance)
    translation = add_translation(viewer, group.layers, new)
    figure = TranslationFigure.of(viewer, translation, images=1, single_channels=True).draw()
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts.count("reference\nchannel") == 1


def names_of(viewer: ViewerModel) -> tuple[str, ...]:
    return find_group(group_layers(viewer.layers), "untreated").infos[0][0].images


def titles(figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_the_figure_shows_what_is_open_from_the_image_that_is_seen(
    viewer: ViewerModel, translated: str, tmp_path: Path
):
    viewer.dims.set_current_step(0, 1)
    names = names_of(viewer)

    what = TranslationFigure.of(viewer, translated, images=2, single_channels=True)

    assert what.names[0] == names[1]
    figure = what.draw()
    assert titles(figure) == [
        "real\nuntreated",
        "reconstructed\nuntreated",
        "translated\nto treated",
        "real\ntreated",
        "difference",
    ]
    path = what.save(tmp_path / "figure.svg")
    assert names[1] in path.read_text()
    with pytest.raises(InputError, match="svg"):
        what.save(tmp_path / "figure.doc")

    viewer.layers.remove("treated: DNA")
    viewer.layers.remove("treated: marker")
    assert "real\ntreated" not in titles(TranslationFigure.of(viewer, translated).draw())
    viewer.layers.remove("untreated: DNA")
    viewer.layers.remove("untreated: marker")
    with pytest.raises(InputError, match="real images of untreated are gone"):
        TranslationFigure.of(viewer, translated)


def test_drawn_rectangles_are_shown_larger_in_the_image_they_lie_in(
    viewer: ViewerModel, translated: str
):
    scale = viewer.layers["untreated: DNA"].scale
    square = np.array([[2, 4], [2, 10], [9, 10], [9, 4]])
    in_second = np.column_stack([np.ones(4), square])
    viewer.add_shapes([in_second], shape_type="rectangle", scale=scale)
    viewer.add_shapes([[[0, 0], [3, 3]]], shape_type="line", name="a line is none")

    what = TranslationFigure.of(viewer, translated, images=2)
    (inset,) = what.insets
    assert what.names[inset.row] == names_of(viewer)[1]
    assert (inset.top, inset.left, inset.height, inset.width) == (2, 4, 7, 6)
    closer = [axes for parent in what.draw().axes for axes in parent.child_axes]
    assert closer
    assert closer[0].images[0].get_array().shape[:2] == (7, 6)


def test_the_strength_that_is_shown_stands_in_the_heading(viewer: ViewerModel, translated: str):
    group = find_group(group_layers(viewer.layers), "untreated")
    first, *_ = list(FieldImages(group))
    viewer.dims.set_current_step(0, 0)
    show_at(viewer.layers, translated, 0, first, 1.8)
    one = TranslationFigure.of(viewer, translated, images=1)
    assert "translated\nto treated × 1.8" in titles(one.draw())
    two = TranslationFigure.of(viewer, translated, images=2)
    assert "translated\nto treated × various" in titles(two.draw())


def names_at_the_right(figure) -> list[str]:
    return [
        axes.get_ylabel()
        for axes in figure.axes
        if axes.yaxis.get_label_position() == "right" and axes.get_ylabel().startswith("treated")
    ]


def test_the_real_target_is_the_one_beside_it_in_a_comparison_and_named(
    viewer: ViewerModel, translated: str
):
    viewer.dims.set_current_step(0, 1)
    what = TranslationFigure.of(viewer, translated, images=3)
    targets = find_group(group_layers(viewer.layers), "treated").infos[0][0].images
    assert [targets[place] for place in what.targets] == ["treated_1", "treated_2", "treated_0"]
    assert names_at_the_right(what.draw()) == ["treated_1", "treated_2", "treated_0"]
    single = TranslationFigure.of(viewer, translated, images=1, single_channels=True)
    assert names_at_the_right(single.draw()) == ["treated_1"]


@pytest.mark.parametrize("name", ["→ treated: marker", "reconstructed: DNA", "untreated: DNA"])
def test_a_layer_that_was_removed_is_named(viewer: ViewerModel, translated: str, name: str):
    viewer.layers.remove(name)
    with pytest.raises(InputError, match=f'The layer "{name}" was removed: translate again'):
        TranslationFigure.of(viewer, translated)


def test_differences_may_be_removed(viewer: ViewerModel, translated: str):
    viewer.layers.remove("difference: DNA")
    assert TranslationFigure.of(viewer, translated, images=1).draw()


def test_real_images_may_have_more_channels_than_were_translated(
    viewer: ViewerModel, experiment_folder: Path, open_in
):
    open_in(experiment_folder)
    group = find_group(group_layers(viewer.layers), "untreated")
    images = [choose_channels(image, ["marker"]) for image in FieldImages(group)]
    new = NewTranslation(images, images, "untreated", "treated")
    translation = add_translation(viewer, [group.layers[1]], new)
    figure = TranslationFigure.of(viewer, translation, images=1).draw()
    assert "real\ntreated" in titles(figure)
