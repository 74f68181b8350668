"""Previews of a fine-tuning as layers that change in place, beside whatever else is open."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.experimental import link_layers

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.tiff import read_image
from napari_phenldiff.jobs.job import Job
from napari_phenldiff.runs.events import Preview
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.viewer.collector import collector
from napari_phenldiff.viewer.colors import channel_colormaps
from napari_phenldiff.viewer.layer_data import spatial_arguments
from napari_phenldiff.viewer.layer_groups import LayerInfo, is_plain_image
from napari_phenldiff.viewer.results import LINKED_ATTRIBUTES
from napari_phenldiff.viewer.turns import Later, remove_layers, undisturbed

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image as ImageLayer
    from napari.layers import Layer

_log = logging.getLogger(__name__)

_GAP = 0.05
"""Between two previews, and between them and the other layers, in sides of a preview."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Which of the previews a layer shows: `kind` is ``"real"`` or ``"translated"``."""

    source: str
    kind: str
    channel: str


class PreviewLayers:
    """The preview layers of one job.

    They are added to the right of the other layers when the first preview arrives, and changed in
    place by those that follow. Neither the camera nor the selection is touched, and resetting the
    view fits the other layers alone to the canvas, as if there were no previews. A layer that the
    user deletes stays away, unless previews are asked for again.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Where the layers go; it is not kept alive.
    run : Path
        The run folder.
    later : callable, optional
        Calls what it is given a little later. Adding a layer takes napari a tenth of a second, so
        in a window they are added one at a time. By default all is done at once.
    """

    def __init__(self, viewer: ViewerModel, run: Path, later: Later | None = None) -> None:
        self._viewer = ref(viewer)
        self._run = run
        self._later = later
        self._waiting: deque[Callable[[], None]] = deque()
        self._latest: dict[str, Preview] = {}
        self._layers: dict[_Place, ImageLayer] = {}
        self._wanted = True
        self._paused = False
        viewer.events.reset_view.connect(self._on_reset_view)
        viewer.layers.events.inserted.connect(self._on_inserted, position="last")

    @property
    def wanted(self) -> bool:
        """Whether previews are to be shown."""
        return self._wanted

    @property
    def step(self) -> int:
        """Step of the latest preview, 0 without one."""
        return max((event.step for event in self._latest.values()), default=0)

    @property
    def layers(self) -> list[ImageLayer]:
        """The layers that are there."""
        viewer = self._viewer()
        return [x for x in self._layers.values() if viewer is not None and x in viewer.layers]

    def show(self, event: Preview) -> None:
        """Show a preview that was just written."""
        self._latest[event.source] = event
        if self._wanted:
            self._show(event)

    def set_wanted(self, wanted: bool) -> None:
        """Take the layers away, or bring them back, those that the user has deleted too."""
        if wanted == self._wanted:
            return
        self._wanted = wanted
        viewer = self._viewer()
        if viewer is not None and not wanted:
            remove_layers(viewer, self.layers)
        self._layers.clear()
        self._waiting.clear()
        if wanted:
            for event in self._latest.values():
                self._show(event)

    def look_at(self) -> None:
        """Move the camera to the previews."""
        viewer, layers = self._viewer(), self.layers
        if viewer is None or not layers:
            return
        # napari can't fit the view to layers with fewer axes than others have
        with viewer.events.reset_view.blocker(self._on_reset_view):
            viewer.fit_to_view()
        everything = _extent([layer for layer in viewer.layers if layer.visible] or layers)
        low, high = _extent(layers)
        zoom = float(np.min((everything[1] - everything[0]) / (high - low)))
        camera = viewer.scene.camera
        camera.zoom *= zoom
        camera.center = (*camera.center[:-2], *(float(x) for x in (low + high) / 2))

    def _on_reset_view(self, event: Any) -> None:
        """Fit the other layers to the canvas, where napari has fitted all of them."""
        viewer = self._viewer()
        if viewer is None:
            return
        shown = {layer for layer in viewer.layers if _is_preview(layer)}
        others = [layer for layer in viewer.layers if layer not in shown]
        if not shown or not others or viewer.dims.ndisplay != 2:
            return
        # Whoever fits some layers of their own choice means these. The borders of pixels of
        # different sizes, which napari takes in, move the centre by less than a pixel.
        axes = list(viewer.dims.displayed)
        middle = viewer.layers.extent.world[:, axes].mean(axis=0)
        pixel = max(float(np.max(layer.extent.step[-2:])) for layer in viewer.layers)
        if np.allclose(tuple(event.center)[-2:], middle, rtol=0, atol=pixel):
            # fitting is told as well, and looks the same where both lie in one place
            with viewer.events.reset_view.blocker(self._on_reset_view):
                viewer.fit_to_view(layers=others)

    def _on_inserted(self, event: Any) -> None:
        """Make room for images that are opened where the previews are."""
        viewer, own = self._viewer(), self.layers
        if viewer is None or not own or _is_preview(event.value) or event.value.ndim < 2:
            return
        (low, high), (new_low, new_high) = _extent(own), _extent([event.value])
        if np.all(new_low < high) and np.all(low < new_high):
            corner = np.asarray(_free_corner(viewer, own))
            for layer in own:
                layer.translate = np.asarray(layer.translate) + corner - low

    def _show(self, event: Preview) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        try:
            run = Run.open(self._run)
            image = read_image(self._run / event.path)
        except InputError as error:
            _log.warning("A preview can't be shown: %s", error)
            return
        names = run.channel_names
        if image.n_channels != 2 * len(names):
            return
        looks = _looks(viewer, run)
        row = list(self._latest).index(event.source)
        origin = _free_corner(viewer, self.layers)
        several = len(run.conditions) > 2
        idle = not self._waiting
        if self._later is not None and not self._paused:
            # So many objects come with a layer that a pass would be due while one is added.
            self._paused = True
            collector.pause()
        for index, plane in enumerate(image.data):
            kind = ("real", "translated")[index // len(names)]
            channel = names[index % len(names)]
            place = _Place(event.source, kind, channel)
            info = LayerInfo(
                event.target if kind == "translated" else event.source,
                channel,
                index % len(names),
                (image.name,),
                (None,),
                role="preview",
                provenance={
                    "run": str(self._run),
                    "step": event.step,
                    "source": event.source,
                    "target": event.target,
                    "kind": kind,
                },
            )
            what = f"→ {event.target}" if kind == "translated" else "real"
            pixel = image.pixel_size or (1.0, 1.0)
            height, width = np.multiply(plane.shape, pixel) * (1 + _GAP)
            arguments: dict[str, Any] = {
                "name": f"preview: {what} {channel}" + (f" ({event.source})" if several else ""),
                "metadata": info.to_metadata(),
                "axis_labels": ("y", "x"),
                # the first channel covers the canvas: nothing can be added to a white one
                "blending": "additive" if index % len(names) else "opaque",
                "translate": (origin[0] + row * height, origin[1] + (kind == "translated") * width),
                **spatial_arguments(image.pixel_size),
                **looks[channel],
            }
            self._waiting.append(partial(self._put, place, plane, arguments))
        if idle:
            self._work()

    def _work(self) -> None:
        """Change or add the next layer, and come back for those after it."""
        while self._waiting:
            self._waiting.popleft()()
            if self._later is not None and self._waiting:
                self._later(self._work)
                return
        if self._paused:
            self._paused = False
            collector.resume()

    def _put(self, place: _Place, plane: np.ndarray, arguments: dict[str, Any]) -> None:
        viewer = self._viewer()
        if viewer is None or not self._wanted:
            return
        layer = self._layers.get(place)
        if layer is None:
            layer = _left_over(viewer, place, plane.shape)
            if layer is not None:
                self._layers[place] = layer
        if layer is not None:
            if layer in viewer.layers:  # otherwise the user has deleted it
                layer.data = plane
                layer.metadata = arguments["metadata"]
            return
        # Drawn for the first time in a step of its own: that takes as long as adding it.
        with undisturbed(viewer):
            layer = viewer.add_image(plane, visible=False, **arguments)
        self._layers[place] = layer
        _link(layer, [x for p, x in self._layers.items() if p.channel == place.channel], viewer)
        self._waiting.appendleft(partial(_reveal, layer))


def _is_preview(layer: Layer) -> bool:
    return is_plain_image(layer) and LayerInfo.of(layer).role == "preview"


def _reveal(layer: ImageLayer) -> None:
    layer.visible = True


def _link(layer: ImageLayer, others: list[ImageLayer], viewer: ViewerModel) -> None:
    together = [x for x in others if x in viewer.layers]
    if layer in together and len(together) > 1:
        link_layers(together, LINKED_ATTRIBUTES)


def _left_over(viewer: ViewerModel, place: _Place, shape: tuple[int, ...]) -> ImageLayer | None:
    """Return the layer that an earlier training has left at this place."""
    for layer in viewer.layers:
        if is_plain_image(layer) and layer.data.shape == shape:
            info = LayerInfo.of(layer)
            origin = info.provenance
            if info.role == "preview" and place == _Place(
                str(origin.get("source")), str(origin.get("kind")), info.channel
            ):
                return layer
    return None


def _looks(viewer: ViewerModel, run: Run) -> dict[str, dict[str, Any]]:
    """Return colour and contrast of each channel: as it is shown already, or as it is trained."""
    names = run.channel_names
    looks = {
        name: {"colormap": colour, "contrast_limits": (low, high)}
        for name, colour, low, high in zip(
            names, channel_colormaps(names), run.scaling.low, run.scaling.high, strict=True
        )
    }
    for layer in reversed(viewer.layers):  # so that the first one of a channel decides
        if is_plain_image(layer):
            info = LayerInfo.of(layer)
            if info.role == "real" and info.channel in looks and info.condition in run.conditions:
                looks[info.channel] = {
                    "colormap": layer.colormap,
                    "contrast_limits": tuple(layer.contrast_limits),
                    "gamma": layer.gamma,
                }
    return looks


def _extent(layers: Sequence[Layer]) -> tuple[np.ndarray, np.ndarray]:
    """Return the lowest and the highest (y, x) that any of the layers reaches."""
    extents = [layer.extent.world[:, -2:] for layer in layers]
    return np.nanmin([e[0] for e in extents], axis=0), np.nanmax([e[1] for e in extents], axis=0)


def _free_corner(viewer: ViewerModel, own: list[ImageLayer]) -> tuple[float, float]:
    """Return (y, x) of the upper right corner of what is open, where the previews begin."""
    others = [layer for layer in viewer.layers if layer not in own]
    if not others:
        return 0.0, 0.0
    low, high = _extent(others)
    return float(low[0]), float(high[1] + _GAP * (high[1] - low[1]))


_PREVIEWS: WeakKeyDictionary[Job, PreviewLayers] = WeakKeyDictionary()


def previews_of(job: Job) -> PreviewLayers | None:
    """Return the previews of a job, None if nobody asked to show them."""
    return _PREVIEWS.get(job)


def show_previews(
    job: Job, viewer: ViewerModel, *, wanted: bool = True, later: Later | None = None
) -> PreviewLayers:
    """Show the previews of a training in a viewer as they come; see `PreviewLayers`."""
    assert job.path is not None
    previews = PreviewLayers(viewer, job.path, later)
    previews.set_wanted(wanted)
    job.previewed.connect(previews.show)
    _PREVIEWS[job] = previews
    return previews
