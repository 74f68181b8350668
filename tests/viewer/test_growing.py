from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from pathlib import Path

import dask.array
import numpy as np
import pytest
from napari.components import ViewerModel

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import write_tiff
from napari_phenldiff.viewer import lazy_layers
from napari_phenldiff.viewer.growing import GrowingTranslation
from napari_phenldiff.viewer.image_places import FieldImages
from napari_phenldiff.viewer.layer_groups import LayerGroup, LayerInfo, group_layers
from napari_phenldiff.viewer.measuring import translations
from napari_phenldiff.viewer.results import NewTranslation, add_translation
from napari_phenldiff.viewer.shown_strength import show_at
from napari_phenldiff.viewer.side_by_side import translation_panes
from napari_phenldiff.viewer.translated_stack import TranslatedStack

N = 3
PROVENANCE = {
    "run": "somewhere",
    "source_images": [f"untreated_{i}" for i in range(N)],
    "source_files": [f"untreated_{i}.tif" for i in range(N)],
}


@pytest.fixture
def untreated(experiment_folder: Path, open_in, viewer: ViewerModel) -> LayerGroup:
    open_in(experiment_folder)
    return next(g for g in group_layers(viewer.layers) if g.name == "untreated")


@pytest.fixture(params=["in memory", "in files"])
def lazy(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param == "in files":
        monkeypatch.setattr(lazy_layers, "MOST_FILES", N - 1)
    return request.param == "in files"


class Session:
    """Writes what a session would write, one image at a time."""

    def __init__(self, folder: Path, images: list[Image], *, originals: bool = False) -> None:
        self.folder, self.images = folder, images
        self.files = [f"{i:05d}_{image.name}.tif" for i, image in enumerate(images)]
        roles = ["reconstructed", "translated"] + ["original"] * originals
        folders = {role: folder / role for role in roles}
        self.stack = TranslatedStack([image.name for image in images], folders, self.files)
        if originals:
            for file, image in zip(self.files, images, strict=True):
                write_tiff(folder / "original" / file, image)

    def made(self, place: int) -> Image:
        image = self.images[place]
        data = 255 - image.data
        return Image(data, image.channel_names, image.pixel_size, image.name)

    def write(self, place: int) -> None:
        write_tiff(self.folder / "reconstructed" / self.files[place], self.images[place])
        write_tiff(self.folder / "translated" / self.files[place], self.made(place))

    def new(self, **more) -> NewTranslation:
        return NewTranslation(
            (),
            (),
            "untreated",
            "treated",
            provenance=PROVENANCE,
            stack=self.stack,
            count=len(self.images),
            **more,
        )


@pytest.fixture
def session(untreated: LayerGroup, tmp_path: Path) -> Session:
    return Session(tmp_path / "session", list(FieldImages(untreated)))


@pytest.fixture
def growing(viewer: ViewerModel, untreated: LayerGroup, session: Session) -> GrowingTranslation:
    return GrowingTranslation(viewer, untreated.layers, session.new())


def group_of(viewer: ViewerModel) -> LayerGroup:
    (kinds,) = translations(viewer.layers).values()
    return kinds["translated"]


def test_layers_hold_what_has_come(
    viewer: ViewerModel, session: Session, growing: GrowingTranslation, lazy: bool
):
    session.write(0)
    growing.show(session.stack.take())

    assert len(viewer.layers) == 4 + 6
    assert group_of(viewer).n_images == 1
    (only,) = FieldImages(group_of(viewer))
    assert only.name == "untreated_0"
    np.testing.assert_array_equal(only.data, session.made(0).data)

    # One that comes out of turn waits for those before it.
    session.write(2)
    assert session.stack.take() == 1
    session.write(1)
    growing.show(session.stack.take())
    session.stack.complete()
    identity = growing.finish({"record": {"images": [1]}})

    assert identity == growing.identity
    assert len(viewer.layers) == 4 + 6
    found = list(FieldImages(group_of(viewer)))
    assert [image.name for image in found] == [image.name for image in session.images]
    for place, image in enumerate(found):
        np.testing.assert_array_equal(image.data, session.made(place).data)
    layer = viewer.layers["difference: marker"]
    expected = 255.0 - 2 * session.images[1].data[1].astype(float)
    np.testing.assert_array_equal(np.asarray(layer.data[1]), expected)
    assert isinstance(layer.data, dask.array.Array if lazy else np.ndarray)


def test_all_that_has_come_is_what_is_added_at_once(
    viewer: ViewerModel,
    session: Session,
    growing: GrowingTranslation,
    untreated: LayerGroup,
    lazy: bool,
):
    for place in range(N):
        session.write(place)
        growing.show(session.stack.take())
    identity = growing.finish({})
    grown = {layer.name: layer for layer in list(viewer.layers)[4:]}
    made = [session.made(place) for place in range(N)]
    for layer in grown.values():
        viewer.layers.remove(layer)

    other = NewTranslation(made, session.images, "untreated", "treated", provenance=PROVENANCE)
    add_translation(viewer, untreated.layers, other)

    assert [layer.name for layer in viewer.layers][4:] == list(grown)
    for layer in list(viewer.layers)[4:]:
        mine = grown[layer.name]
        np.testing.assert_array_equal(np.asarray(mine.data), layer.data)
        np.testing.assert_allclose(mine.scale, layer.scale)
        assert (mine.axis_labels, mine.visible) == (layer.axis_labels, layer.visible)
        assert mine.contrast_limits == layer.contrast_limits
        ours, theirs = LayerInfo.of(mine), LayerInfo.of(layer)
        assert ours.images == theirs.images
        assert ours.provenance == theirs.provenance
        assert ours.translation == identity


def test_what_has_come_stays_if_no_more_comes(
    viewer: ViewerModel, session: Session, growing: GrowingTranslation
):
    session.write(0)
    session.write(1)
    growing.show(session.stack.take())

    info = LayerInfo.of(viewer.layers["→ treated: DNA"])
    assert info.images == ("untreated_0", "untreated_1")
    assert info.provenance["strengths"] == [1.0, 1.0]
    assert info.provenance["source_files"] == ["untreated_0.tif", "untreated_1.tif"]
    assert len(translation_panes(viewer.layers, growing.identity)) == 4


def test_the_strength_of_an_image_stays_while_others_come(
    viewer: ViewerModel, session: Session, growing: GrowingTranslation, lazy: bool
):
    for place in (0, 1):
        session.write(place)
        growing.show(session.stack.take())
    session.write(2)
    growing.show(session.stack.take())
    image = session.images[0]
    show_at(viewer.layers, growing.identity, 0, image, 0.5)
    growing.finish({})

    layer = viewer.layers["→ treated × various: DNA"]
    np.testing.assert_array_equal(np.asarray(layer.data[0]), image.data[0])
    np.testing.assert_array_equal(np.asarray(layer.data[2]), session.made(2).data[0])
    assert LayerInfo.of(layer).provenance["strengths"] == [0.5, 1.0, 1.0]


def test_originals_follow_each_other_beside_what_is_made_of_them(
    viewer: ViewerModel, untreated: LayerGroup, tmp_path: Path, lazy: bool
):
    images = list(FieldImages(untreated))[1:]
    session = Session(tmp_path / "session", images, originals=True)
    growing = GrowingTranslation(viewer, untreated.layers, session.new())
    session.write(0)
    growing.show(session.stack.take())
    session.write(1)
    session.stack.complete()
    growing.finish({})

    layer = viewer.layers["original: DNA"]
    np.testing.assert_array_equal(np.asarray(layer.data), [image.data[0] for image in images])


def test_an_equal_translation_goes_when_the_new_one_is_complete(
    viewer: ViewerModel, session: Session, untreated: LayerGroup, tmp_path: Path
):
    made = [session.made(place) for place in range(N)]
    before = add_translation(
        viewer,
        untreated.layers,
        NewTranslation(made, session.images, "untreated", "treated", provenance=PROVENANCE),
    )
    growing = GrowingTranslation(viewer, untreated.layers, session.new())
    session.write(0)
    growing.show(session.stack.take())
    assert translation_panes(viewer.layers, before)
    assert len(viewer.layers) == 10
    session.write(1)
    session.write(2)
    session.stack.complete()
    growing.finish({})
    assert not translation_panes(viewer.layers, before)
    assert len(viewer.layers) == 10


def test_images_along_several_axes_are_shown_when_all_are_there(
    viewer: ViewerModel, make_image: Callable[..., Image], tmp_path: Path
):
    images = [make_image(f"image_{i}", seed=i, channels=("a",)) for i in range(4)]
    data = np.stack([image.data[0] for image in images]).reshape(2, 2, 24, 32)
    viewer.add_image(data, name="cells: a", axis_labels=("plate", "field", "y", "x"))
    (group,) = group_layers(viewer.layers)
    session = Session(tmp_path / "session", images)
    growing = GrowingTranslation(viewer, group.layers, session.new())
    session.write(0)
    growing.show(session.stack.take())
    assert len(viewer.layers) == 1
    for place in (1, 2, 3):
        session.write(place)
    session.stack.complete()
    growing.finish({})
    assert viewer.layers["→ treated: a"].data.shape == data.shape
    np.testing.assert_array_equal(viewer.layers["→ treated: a"].data, 255 - data)


def test_layers_that_the_user_has_removed_stay_away(
    viewer: ViewerModel, session: Session, growing: GrowingTranslation
):
    session.write(0)
    growing.show(session.stack.take())
    viewer.layers.remove("→ treated: DNA")
    session.write(1)
    session.write(2)
    session.stack.complete()
    growing.finish({})
    assert "→ treated: DNA" not in viewer.layers
    assert viewer.layers["→ treated: marker"].data.shape[0] == N


def test_files_are_kept_as_long_as_layers_read_them(
    viewer: ViewerModel, session: Session, growing: GrowingTranslation, monkeypatch
):
    monkeypatch.setattr(lazy_layers, "MOST_FILES", N - 1)
    for place in range(N):
        session.write(place)
    session.stack.complete()
    growing.finish({})
    kept = session.stack._kept
    assert kept is not None
    for folder in ("translated", "reconstructed"):
        for file in session.files:
            (session.folder / folder / file).unlink()
    lazy_layers.KEPT._images.clear()
    layer = viewer.layers["→ treated: DNA"]
    np.testing.assert_array_equal(np.asarray(layer.data[1]), session.made(1).data[0])

    gone = weakref.ref(session.stack)
    viewer.layers.clear()
    del layer, session.stack, growing._stack, growing._new
    gc.collect()
    if gone() is None:  # napari may still hold the last layer
        assert not kept.exists()


def test_a_file_that_is_missing_is_told(session: Session):
    session.write(0)
    with pytest.raises(InputError, match="00001_untreated_1"):
        session.stack.complete()


def test_an_image_of_another_size_is_refused(session: Session, make_image):
    session.write(0)
    session.stack.take()
    session.images[1] = make_image("untreated_1", shape=(8, 8))
    session.write(1)
    with pytest.raises(InputError, match="another size"):
        session.stack.take()
