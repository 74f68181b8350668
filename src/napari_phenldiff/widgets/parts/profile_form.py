"""Rows for the settings of a profile of measurements, and of the models in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget
from superqt.utils import signals_blocked

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import find_channel
from napari_phenldiff.measurement.profiles.profile import AUTO
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.runs.config import in_one_sentence
from napari_phenldiff.settings import Setting, settings_in
from napari_phenldiff.widgets.parts.choices import choice_box
from napari_phenldiff.widgets.parts.form import Form
from napari_phenldiff.widgets.parts.setting_fields import Field, WordOrNumber, field_for

_NO_CHANNEL = "none"
_NOT_CHOSEN = "choose …"

Path = tuple[str, ...]
"""Names of the fields that lead to a setting, such as ``("nuclei", "min_size")``."""

Suggestion = Callable[[str], str | None]
"""From the name of a setting to the channel that it has at first; None to let the user choose."""


class SettingsForm(QObject):
    """Rows for the settings of a pydantic model and of the models in it.

    Parameters
    ----------
    plain : Form
        Gets the model's own settings.
    nested : Form
        Gets the settings of the models in it, which are for those who want to know.
    parent : QObject
        The widget that the form belongs to.
    """

    changed = Signal()

    def __init__(self, plain: Form, nested: Form, parent: QObject) -> None:
        super().__init__(parent)
        self._plain, self._nested = plain, nested
        self._fields: dict[Path, Field] = {}
        self._tooltips: dict[QWidget, str] = {}
        self._model: type[BaseModel] | None = None
        self._channels: Sequence[str] = ()
        self._several = False
        self._suggested: Suggestion = lambda name: None

    def field(self, *path: str) -> Any:
        """Return the control of a setting, for example of ``"nuclei", "min_size"``."""
        return self._fields[path]

    def show_model(
        self,
        model: type[BaseModel],
        channel_names: Sequence[str],
        suggested: Suggestion = lambda name: None,
    ) -> None:
        """Make rows for a model.

        Parameters
        ----------
        model : type
            A pydantic model of which all fields have defaults.
        channel_names : sequence of str
            What a setting whose name ends in "channel" is chosen from.
        suggested : callable
            From the name of such a setting to the channel that it has at first; None if the user
            has to choose one.
        """
        self._suggested = suggested
        self._plain.clear()
        self._nested.clear()
        self._fields.clear()
        self._tooltips.clear()
        self._model = model
        self._channels = tuple(channel_names)
        self._several = (
            sum(setting.model is not None for setting in settings_in(model).values()) > 1
        )
        self._add(model(), ())

    def values(self) -> dict[str, Any]:
        """Return what is filled in, in the form that ``model_validate`` takes."""
        values: dict[str, Any] = {}
        for path, field in self._fields.items():
            inner = values
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            inner[path[-1]] = field.value
        return values

    def set_values(self, values: Mapping[str, Any]) -> None:
        """Fill in what `values` returned, or what a model was dumped to.

        What is not in it stays. `changed` is emitted once.

        Raises
        ------
        InputError
            If a channel is chosen that isn't there; nothing is changed then.
        """
        found = [
            (path, field, value)
            for path, field in self._fields.items()
            if (value := _value_at(values, path)) is not _NOTHING
        ]
        if self._channels:
            check_channels({path[-1]: value for path, _, value in found}, self._channels)
        with signals_blocked(self):
            for _, field, value in found:
                field.value = value
        self.changed.emit()

    def suggest_number(self, path: Path, value: float) -> None:
        """Let a setting that can be a number instead of a word start from this one."""
        field = self._fields.get(path)
        if isinstance(field, WordOrNumber) and not field.is_number:
            with signals_blocked(field.number):
                field.number.setValue(value)

    def replace_part(self, name: str | None, why: str = "") -> None:
        """Disable the settings of a model in the model that something else takes the place of.

        Parameters
        ----------
        name : str or None
            Name of its field; None to enable all settings again.
        why : str
            Shown as their tooltip.
        """
        for path, field in self._fields.items():
            taken = len(path) > 1 and path[0] == name
            for widget in _widgets(field):
                self._tooltips.setdefault(widget, widget.toolTip())
                widget.setEnabled(not taken)
                widget.setToolTip(why if taken else self._tooltips[widget])

    def model(self) -> BaseModel:
        """Return what is filled in, validated."""
        assert self._model is not None, "show_model was not called"
        return self._model.model_validate(self.values())

    def checked(self) -> Settings:
        """Return what is filled in, settings of a measurement.

        Raises
        ------
        InputError
            If it is not valid.
        """
        try:
            settings = self.model()
        except ValidationError as error:
            raise InputError(f"Change the settings: {in_one_sentence(error)}.") from error
        assert isinstance(settings, Settings)
        return settings

    def _add(self, defaults: BaseModel, path: Path) -> None:
        """Add rows for the settings of a model, which start from the values of `defaults`."""
        form = self._nested if path else self._plain
        for name, setting in settings_in(type(defaults)).items():
            value = getattr(defaults, name)
            if isinstance(value, BaseModel):
                self._add(value, (*path, name))
                continue
            field: Field
            if name.endswith("channel"):
                field = ChannelField(setting, self._channels, self._suggested)
            else:
                field = field_for(setting)
                field.value = value
            label = setting.label.removesuffix(" channel")
            if path and self._several:
                label = f"{path[0][:1].upper()}{path[0][1:]}: {label[:1].lower()}{label[1:]}"
            form.row(label, field.native, setting.explanation)
            if isinstance(field, WordOrNumber):
                form.row("", field.number, "The threshold itself, in grey values.")
                self._hide_unless_number(form, field)
                field.number.valueChanged.connect(self.changed)
            field.changed.connect(lambda *_: self.changed.emit())
            self._fields[(*path, name)] = field

    @staticmethod
    def _hide_unless_number(form: Form, field: WordOrNumber) -> None:
        form.show_row(field.number, field.is_number)
        field.changed.connect(lambda *_: form.show_row(field.number, field.is_number))


class ChannelField:
    """A channel, by its name: one that is there, none where a setting allows it, or not chosen."""

    def __init__(self, setting: Setting, channels: Sequence[str], suggested: Suggestion) -> None:
        self._channels = channels
        self._suggested = lambda: suggested(setting.name)
        self.native = choice_box()
        if setting.optional:
            self.native.addItem(_NO_CHANNEL, None)
        for channel in channels:
            self.native.addItem(channel, channel)
        default = setting.default
        if isinstance(default, int) and channels:
            self._choose(channels[min(default, len(channels) - 1)])
        elif default is not None:
            self._choose(self._suggested())
        self.changed = self.native.currentIndexChanged

    @property
    def value(self) -> str | None:
        """Return the name of the channel; ``"auto"`` where the user has to choose one."""
        name: str | None = self.native.currentData()
        return name

    @value.setter
    def value(self, value: str | int | None) -> None:
        if value is None:
            self.native.setCurrentIndex(max(0, self.native.findData(None)))
        elif value == AUTO and AUTO not in self._channels:
            self._choose(self._suggested())
        elif self._channels:
            index = find_channel(self._channels, value, where="The open images have")
            self.native.setCurrentIndex(self.native.findData(self._channels[index]))

    def _choose(self, channel: str | None) -> None:
        """Choose a channel, or leave it to the user where no name tells."""
        if channel is None and self.native.findData(AUTO) < 0:
            self.native.insertItem(0, _NOT_CHOSEN, AUTO)
        self.native.setCurrentIndex(self.native.findData(AUTO if channel is None else channel))


_NOTHING = object()


def _value_at(values: Mapping[str, Any], path: Path) -> Any:
    found: Any = values
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return _NOTHING
        found = found[name]
    return found


def _widgets(field: Field) -> tuple[QWidget, ...]:
    return (field.native, field.number) if isinstance(field, WordOrNumber) else (field.native,)


def check_channels(values: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise InputError if settings choose a channel that images with these don't have."""
    for name, value in values.items():
        if name.endswith("channel") and value not in (None, AUTO):
            find_channel(names, value, where="The open images have")
