"""Add layers one at a time, so that the window answers in between.

Adding a layer takes napari a twentieth of a second for its controls, and as long to draw it for the
first time. Many at once would block the window for as long as it takes to notice.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from psygnal import Signal

from napari_phenldiff.viewer.collector import collector, nothing_to_look_at

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

_log = logging.getLogger(__name__)

Later = Callable[[Callable[[], None]], None]
"""Calls what it is given a little later, with at least one turn of the event loop before it."""


class Turns:
    """Which viewers layers are being added to; `ended` tells of one that has all of them."""

    ended: ClassVar[Signal] = Signal(object)

    def __init__(self) -> None:
        self.going: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def begin(self, viewer: Any) -> None:
        """Keep the garbage collector from passing over all that napari holds meanwhile.

        A pass takes a tenth of a second, and so many objects come with a layer that one would be
        due in the middle of adding one, which takes as long.
        """
        collector.pause()
        self.going[viewer] = self.going.get(viewer, 0) + 1

    def end(self, viewer: Any) -> None:
        """Count one adding less."""
        self.going[viewer] -= 1
        collector.resume()
        if not self.going[viewer]:
            self.ended.emit(viewer)


turns = Turns()
"""The layers that are being added in this process."""


def in_turns(viewer: ViewerModel, steps: Iterator[None], later: Later | None) -> None:
    """Do each step in a turn of its own, none of them in this one.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose layers are added.
    steps : iterator
        Does a piece of the work each time that it is asked for the next item.
    later : callable, optional
        See `Later`; by default everything is done at once.
    """
    if later is None:
        for _ in steps:
            pass
        return
    wait = later

    def work() -> None:
        try:
            next(steps)
        except StopIteration:
            turns.end(viewer)
        except Exception:
            # Layers or the viewer may be gone by now, and nobody catches what a timer raises.
            turns.end(viewer)
            _log.exception("layers could not be added")
        else:
            wait(work)

    turns.begin(viewer)
    wait(work)


def adding(viewer: ViewerModel) -> bool:
    """Return whether layers are still being added to a viewer."""
    return turns.going.get(viewer, 0) > 0


def add_quietly(viewer: ViewerModel, layer: Layer) -> Iterator[None]:
    """Add a layer in one step, and show it in another."""
    shown, layer.visible = layer.visible, False
    with undisturbed(viewer):
        viewer.add_layer(layer)
    if shown:
        yield
        layer.visible = True


def remove_layers(viewer: ViewerModel, layers: Iterable[Layer], *, collect: bool = True) -> None:
    """Remove layers, with one pass of the garbage collector, or with none, in place of one each.

    napari calls it whenever a layer is removed, and a pass over all that a window holds takes a
    tenth of a second or two.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Whose layers they are.
    layers : iterable of napari layers
        Which; those that the viewer does not have are passed over.
    collect : bool
        False for what is small: its memory may wait for the next pass.
    """
    there = [layer for layer in layers if layer in viewer.layers]
    kept = there[-1:] if collect else []
    with nothing_to_look_at():
        for layer in there[: len(there) - len(kept)]:
            viewer.layers.remove(layer)
    for layer in kept:
        viewer.layers.remove(layer)


@contextmanager
def undisturbed(viewer: ViewerModel) -> Iterator[None]:
    """Add layers without selecting them; the first layer of all is selected and shown."""
    selection = viewer.layers.selection
    before, active = set(selection), selection.active
    if not viewer.layers:
        yield
        return
    # Events are blocked: the selection stays what it was, and showing the controls of another layer
    # for a moment costs as much as adding a layer.
    with selection.events.blocker_all():
        yield
        selection.clear()
        selection.update(before)
        selection.active = active if active in before else None
        selection.update(before)
