"""Where images of conditions come from: the open layers, or a folder with one per sub-folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QListWidget
from superqt.utils import QSignalDebouncer, signals_blocked

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.images.axes import Projection
from napari_phenldiff.images.channel_match import ChannelMatch, match_channels
from napari_phenldiff.images.dataset import Dataset
from napari_phenldiff.images.layer_axes import AxisKind
from napari_phenldiff.viewer.conditions import (
    ConditionChoice,
    conditions_of_dataset,
    conditions_of_layers,
    describe,
    find_dataset,
)
from napari_phenldiff.viewer.layer_groups import is_plain_image
from napari_phenldiff.viewer.unclear_axes import (
    axis_kind,
    plane_of_slider,
    settle_axis,
    unclear_layers,
)
from napari_phenldiff.widgets.parts.arrangement_form import ArrangementForm
from napari_phenldiff.widgets.parts.channel_table import ChannelTable
from napari_phenldiff.widgets.parts.choices import (
    CHECK_HEIGHT,
    choice_box,
    fill_checks,
    fill_pair,
    ticked_choices,
)
from napari_phenldiff.widgets.parts.folder_field import TABLES, FolderField
from napari_phenldiff.widgets.parts.form import Panel, note
from napari_phenldiff.widgets.parts.listening import listen
from napari_phenldiff.widgets.parts.open_found import OpenFound

if TYPE_CHECKING:
    from napari.viewer import Viewer

LAYERS, FOLDER = "Open layers", "Folder or table"

_SLIDER = "slider"

_MOST_ROWS = 4
"""Further conditions that are seen at once; more of them scroll."""


class LayerWatch(QObject):
    """Tell when the layers of a viewer have changed, once for many changes at a time.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    parent : QObject
        The widget that wants to know; the watch ends with it.
    """

    changed = Signal()

    seen = Signal()
    """Emitted when layers were shown or hidden, or hold other pixels, and nothing else."""

    def __init__(self, viewer: Viewer, parent: QObject) -> None:
        super().__init__(parent)
        # 400 files opened at once are 400 events: the docks are filled once, after the last one.
        self._debouncer = QSignalDebouncer(QSignalDebouncer.EmissionPolicy.Trailing, self)
        self._debouncer.setTimeout(0)
        self._debouncer.triggered.connect(self.changed)
        self._sight = QSignalDebouncer(QSignalDebouncer.EmissionPolicy.Trailing, self)
        self._sight.setTimeout(0)
        self._sight.triggered.connect(self.seen)
        for event in (
            viewer.layers.events.inserted,
            viewer.layers.events.removed,
            viewer.layers.events.reordered,
            viewer.layers.events.renamed,
        ):
            listen(self, event, self._on_event)
        self._viewer, self._shapes = viewer, _shapes(viewer)
        # The user may name an axis later; events of a layer reach the list of layers too.
        listen(self, viewer.layers.events, self._on_any_event)

    def _on_any_event(self, event: Any) -> None:
        if event.type == "data":
            before, self._shapes = self._shapes, _shapes(self._viewer)
            if before != self._shapes:
                self._on_event()  # a layer holds more images than before, or fewer
        if event.type == "axis_labels":
            self._on_event()
        elif event.type in ("visible", "data") and isalive(self):
            self._sight.throttle()

    def _on_event(self, event: object = None) -> None:
        if isalive(self):
            self._debouncer.throttle()


def _shapes(viewer: Viewer) -> dict[int, tuple[int, ...]]:
    """Return the shapes of the images that are open."""
    return {id(x): tuple(x.data.shape) for x in viewer.layers if is_plain_image(x)}


class DataSource(QObject):
    """The fields that say where the images are and which condition is which.

    What is only asked for in some cases is only shown in these: further conditions, what an axis
    without a label is, what to do with z planes, and which channel is which.

    Parameters
    ----------
    panel : Panel
        Gets a section with the fields.
    viewer : napari.viewer.Viewer
        Whose layers can be chosen.
    two_only : bool
        Whether there is nothing to do with conditions beyond source and target.
    """

    changed = Signal()

    def __init__(self, panel: Panel, viewer: Viewer, *, two_only: bool = False) -> None:
        super().__init__(panel)
        self._viewer = viewer
        self._two_only = two_only
        self._conditions: tuple[ConditionChoice, ...] = ()
        self._found: Dataset | None = None
        self._problem = ""
        self._edited: dict[tuple[object, ...], ChannelMatch] = {}
        self._wanted: tuple[str, ...] = ()
        self.kind = QComboBox()
        self.kind.addItems([LAYERS, FOLDER])
        self.folder = FolderField("one sub-folder per condition, or a table", files=TABLES)
        self.source = choice_box()
        self.target = choice_box()
        self.others = QListWidget()
        self.stacks = QComboBox()
        for text, kind in (("images", "field"), ("channels", "channel"), ("z planes", "z")):
            self.stacks.addItem(text, kind)
        self.depth = QComboBox()
        self.summary = note()
        self._form = form = panel.section("Images")
        form.row("Images from", self.kind, "Layers that are open in the viewer, or files.")
        form.row(
            "Folder",
            self.folder,
            "A folder with one sub-folder of images per condition, or a table that lists images. "
            "It can be dropped here.",
        )
        form.row("Source", self.source, "The condition to translate from, for example untreated.")
        form.row("Target", self.target, "The condition to see the cells in, for example treated.")
        form.row(
            "Further conditions",
            self.others,
            "Conditions that the model learns too, so that images can be translated to and from "
            "them with the same run.",
        )
        form.row(
            "Stacks hold",
            self.stacks,
            "What the slider of these layers goes through: their axes have no labels that tell "
            "it. The choice is written into the labels of the axes.",
        )
        form.row(
            "z planes",
            self.depth,
            "What is made of the z planes: the model sees images of one plane.",
        )
        form.wide(self.summary)
        self.open_found = OpenFound(viewer)
        form.wide(self.open_found)
        self.table = ChannelTable(form)
        panel.add(self.table)
        self.files = ArrangementForm(panel)
        self.open_found.opened.connect(lambda: self.kind.setCurrentText(LAYERS))
        self.open_found.failed.connect(self.summary.setText)
        self._watch = LayerWatch(viewer, self)
        self._watch.changed.connect(self._on_layers)
        self.kind.currentIndexChanged.connect(self.refresh)
        self.folder.changed.connect(self.refresh)
        self.files.changed.connect(self.refresh)
        self.source.currentIndexChanged.connect(self._on_choice)
        self.target.currentIndexChanged.connect(self._on_choice)
        self.others.itemChanged.connect(self._on_further)
        self.stacks.activated.connect(self._on_stacks)
        self.depth.currentIndexChanged.connect(self.changed)
        self.table.edited.connect(self._on_table)
        self.refresh()

    # ---- what is filled in -------------------------------------------------------------------

    def path(self) -> Path | None:
        """Return the folder, None if the images are open layers."""
        return self.folder.path() if self._from_folder else None

    def arrangement(self) -> Arrangement:
        """Return what is filled in about the files of a folder or table."""
        return self.files.arrangement() if self._from_folder else Arrangement()

    def prefer_channels(self, names: Sequence[str]) -> None:
        """Leave out other channels than these, until somebody changes it."""
        self._wanted = tuple(names)
        self._show_table()
        self._describe()

    def choices(self) -> tuple[ConditionChoice | None, ConditionChoice | None]:
        """Return source and target, as far as they are chosen."""
        return self.source.currentData(), self.target.currentData()

    def further(self) -> tuple[ConditionChoice, ...]:
        """Return the further conditions that are ticked."""
        return tuple(ticked_choices(self.others))

    def match(self) -> ChannelMatch | None:
        """Return which channel is which, None where the channels are not known."""
        return self.table.match

    def z(self) -> int | Projection | None:
        """Return what to do with z planes, None if there are none."""
        if not self._has_planes():
            return None
        chosen = self.depth.currentData()
        if chosen == _SLIDER:
            group = self._chosen()[0].group
            return 0 if group is None else plane_of_slider(self._viewer, group)
        return cast("Projection", chosen)

    @property
    def _from_folder(self) -> bool:
        return self.kind.currentText() == FOLDER

    def _chosen(self) -> list[ConditionChoice]:
        return [c for c in (*self.choices(), *self.further()) if c is not None]

    def _has_planes(self) -> bool:
        return any(choice.n_planes > 1 for choice in self._chosen())

    # ---- what there is to choose from --------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        """Return the names of the conditions that can be chosen."""
        return tuple(choice.name for choice in self._conditions)

    def choose(self, source: str, target: str) -> None:
        """Choose two conditions by name, if both are there."""
        names = self.names()
        if source in names and target in names:
            self.source.setCurrentIndex(names.index(source))
            self.target.setCurrentIndex(names.index(target))

    def refresh(self) -> None:
        """List the conditions there are now."""
        self._form.show_row(self.folder, self._from_folder)
        if self._from_folder:
            path = self.folder.path()
            self.files.offer(path)
            self._found, self._problem = self._look_into(path)
            self._conditions = conditions_of_dataset(self._found)
        else:
            self.files.offer(None)
            self._found = None
            self._conditions = conditions_of_layers(self._viewer.layers)
        plain = self.arrangement() == Arrangement()
        self.open_found.offer(self._found, self.folder.path() if plain else None)
        self.open_found.setVisible(self._found is not None)
        with signals_blocked(self.source), signals_blocked(self.target):
            fill_pair(self.source, self.target, [(c.label(), c) for c in self._conditions])
        self._on_choice()

    def _look_into(self, path: Path | None) -> tuple[Dataset | None, str]:
        """Find the images of a path, or say why there are none, where it is clear what is meant."""
        if path is None:
            return None, ""
        how = self.arrangement()
        try:
            return find_dataset(path, how), ""
        except InputError as error:
            meant = how != Arrangement() or path.is_file()
            return None, str(error) if meant else ""

    def _on_layers(self) -> None:
        if not self._from_folder:
            self.refresh()

    def _on_choice(self) -> None:
        """List what is left to choose as further conditions."""
        self._list_others()
        self._on_further()

    def _on_further(self) -> None:
        """Ask for what the chosen conditions make necessary, and say what they are."""
        self._ask_for_stacks()
        self._ask_for_depth()
        self._show_table()
        self._describe()
        self.changed.emit()

    def _list_others(self) -> None:
        pair = {choice.name for choice in self.choices() if choice is not None}
        others = [] if self._two_only else [c for c in self._conditions if c.name not in pair]
        fill_checks(self.others, [(c.label(), c) for c in others])
        rows = min(max(len(others), 1), _MOST_ROWS)
        self.others.setFixedHeight(rows * CHECK_HEIGHT + 6)
        self._form.show_row(self.others, bool(others) and len(pair) == 2)

    def _ask_for_stacks(self) -> None:
        unclear = unclear_layers(choice.group for choice in self._chosen())
        self._form.show_row(self.stacks, bool(unclear))
        if unclear:
            kind = axis_kind(*unclear[0])
            self.stacks.setCurrentIndex(self.stacks.findData(kind))

    def _on_stacks(self) -> None:
        kind: AxisKind = self.stacks.currentData()
        for layer, axis in unclear_layers(choice.group for choice in self._chosen()):
            settle_axis(layer, axis, kind)
        self.refresh()

    def _ask_for_depth(self) -> None:
        wanted = [("maximum projection", "max"), ("mean projection", "mean")]
        if not self._from_folder:
            wanted.append(("plane of the slider", _SLIDER))
        if self.depth.count() != len(wanted):
            before = self.depth.currentData()
            with signals_blocked(self.depth):
                self.depth.clear()
                for text, data in wanted:
                    self.depth.addItem(text, data)
                self.depth.setCurrentIndex(max(self.depth.findData(before), 0))
        self._form.show_row(self.depth, self._has_planes())

    def _show_table(self) -> None:
        chosen = self._chosen()
        channels = {choice.name: choice.channel_names for choice in chosen}
        if len(chosen) < 2 or len(channels) < len(chosen) or not all(channels.values()):
            self.table.show_match(None)
            return
        known = self._edited.get(tuple(channels.items()))
        match = known or match_channels(channels)
        if known is None and self._wanted:
            match = match.keeping(self._wanted)
        self.table.show_match(match)

    def _on_table(self) -> None:
        match = self.table.match
        if match is not None:
            # Corrections by the user are kept when other conditions are shown in between.
            self._edited[tuple(match.channels.items())] = match
        self._describe()
        self.changed.emit()

    def _describe(self) -> None:
        chosen = self._chosen()
        if chosen:
            found = self._found if self._from_folder else None
            told = () if found is None else (*found.remarks, *found.left_out)
            text = _unbroken(describe(chosen, self.table.match))
            self.summary.setText("\n".join(filter(None, [text, " ".join(told)])))
        elif self._from_folder and self.folder.path() is not None:
            self.summary.setText(
                self._problem
                or "There are no sub-folders with TIFFs here: choose a folder with one per "
                "condition."
            )
        else:
            self.summary.setText(
                "Drop TIFFs, or a folder with one sub-folder per condition, on the viewer, or "
                "choose a folder above."
            )


def _unbroken(text: str) -> str:
    """Keep a number and its unit on one line."""
    for words in (" × ", " px", " bit", " z planes"):
        text = text.replace(words, words.replace(" ", "\N{NO-BREAK SPACE}"))
    return text
