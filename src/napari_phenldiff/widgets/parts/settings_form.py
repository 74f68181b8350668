"""A form made from a configuration's fields: one row each, explained by its docstring."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QDoubleSpinBox, QSpinBox, QWidget

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.channel_names import find_channel
from napari_phenldiff.measurement.profiles.profile import AUTO
from napari_phenldiff.measurement.segmentation.thresholds import Settings
from napari_phenldiff.runs.config import in_one_sentence
from napari_phenldiff.widgets.parts.choices import choice_box
from napari_phenldiff.widgets.parts.form import Form, number_box, whole_box

_MANUAL = "a number"
_NO_CHANNEL = "none"
_NOT_CHOSEN = "choose …"


class SettingsForm(QObject):
    """Rows for the fields of a pydantic model and of the models in it.

    Parameters
    ----------
    plain : Form
        Gets the model's own fields.
    nested : Form
        Gets the fields of the models in it, which are for those who want to know.
    parent : QObject
        The widget that the form belongs to.
    """

    changed = Signal()

    def __init__(self, plain: Form, nested: Form, parent: QObject) -> None:
        super().__init__(parent)
        self._plain, self._nested = plain, nested
        self._fields: dict[tuple[str, ...], QWidget] = {}
        self._numbers: dict[tuple[str, ...], QDoubleSpinBox] = {}
        self._tooltips: dict[QWidget, str] = {}
        self._model: type[BaseModel] | None = None
        self._channels: Sequence[str] = ()
        self._several = False
        self._suggested: Callable[[str], str | None] = lambda field: None

    @property
    def has_nested(self) -> bool:
        """Whether there are fields of models in the model."""
        return any(len(path) > 1 for path in self._fields)

    def show_model(
        self,
        model: type[BaseModel],
        channel_names: Sequence[str],
        suggested: Callable[[str], str | None] = lambda field: None,
    ) -> None:
        """Make rows for a model.

        Parameters
        ----------
        model : type
            A pydantic model of which all fields have defaults.
        channel_names : sequence of str
            What a field whose name ends in "channel" is chosen from.
        suggested : callable
            From the name of such a field to the channel that it has at first; None if the user has
            to choose one.
        """
        self._suggested = suggested
        self._plain.clear()
        self._nested.clear()
        self._fields.clear()
        self._numbers.clear()
        self._tooltips.clear()
        self._model = model
        self._channels = tuple(channel_names)
        defaults = model()
        inner = [
            name for name in model.model_fields if isinstance(getattr(defaults, name), BaseModel)
        ]
        self._several = len(inner) > 1
        self._add(defaults, (), channel_names)

    def values(self) -> dict[str, Any]:
        """Return what is filled in, in the form that ``model_validate`` takes."""
        values: dict[str, Any] = {}
        for path, field in self._fields.items():
            inner = values
            for part in path[:-1]:
                inner = inner.setdefault(part, {})
            number = self._numbers.get(path)
            inner[path[-1]] = _value_of(field, number)
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
        before = self.blockSignals(True)
        try:
            for path, field, value in found:
                self._fill(path, field, value)
        finally:
            self.blockSignals(before)
        self.changed.emit()

    def suggest_number(self, path: tuple[str, ...], value: float) -> None:
        """Let a field that can hold a number instead of a word start from this one."""
        number, words = self._numbers.get(path), self._fields.get(path)
        if number is not None and isinstance(words, QComboBox) and words.currentData() is not None:
            before = number.blockSignals(True)
            number.setValue(value)
            number.blockSignals(before)

    def replace_part(self, name: str | None, why: str = "") -> None:
        """Disable the fields of a model in the model that something else takes the place of.

        Parameters
        ----------
        name : str or None
            Name of its field; None to enable all fields again.
        why : str
            Shown as their tooltip.
        """
        for path, field in self._fields.items():
            taken = len(path) > 1 and path[0] == name
            for widget in (field, self._numbers.get(path)):
                if widget is None:
                    continue
                if widget not in self._tooltips:
                    self._tooltips[widget] = widget.toolTip()
                widget.setEnabled(not taken)
                widget.setToolTip(why if taken else self._tooltips[widget])

    def _fill(self, path: tuple[str, ...], field: QWidget, value: Any) -> None:
        number = self._numbers.get(path)
        if isinstance(field, QComboBox):
            if path[-1].endswith("channel"):
                if value is None:
                    field.setCurrentIndex(max(0, field.findData(None)))
                elif value == AUTO and AUTO not in self._channels:
                    self._choose(field, self._suggested(path[-1]))
                elif self._channels:
                    index = find_channel(self._channels, value, where="The open images have")
                    field.setCurrentIndex(field.findData(self._channels[index]))
            elif number is not None and not isinstance(value, str):
                number.setValue(value)
                field.setCurrentIndex(field.count() - 1)
            else:
                field.setCurrentIndex(max(0, field.findData(value)))
        elif isinstance(field, QCheckBox):
            field.setChecked(value)
        else:
            assert isinstance(field, QSpinBox | QDoubleSpinBox)
            field.setValue(value)

    @staticmethod
    def _choose(combo: QComboBox, channel: str | None) -> None:
        """Choose a channel, or leave it to the user where no name tells."""
        if channel is None and combo.findData(AUTO) < 0:
            combo.insertItem(0, _NOT_CHOSEN, AUTO)
        combo.setCurrentIndex(combo.findData(AUTO if channel is None else channel))

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

    def _add(self, defaults: BaseModel, path: tuple[str, ...], channels: Sequence[str]) -> None:
        texts = described_fields(type(defaults))
        for name, info in type(defaults).model_fields.items():
            value = getattr(defaults, name)
            where = (*path, name)
            if isinstance(value, BaseModel):
                self._add(value, where, channels)
                continue
            form = self._nested if path else self._plain
            field = self._field(where, info, value, channels)
            text = name.removesuffix("_channel").replace("_", " ")
            text = f"{path[0]}: {text}" if path and self._several else text
            text = text[0].upper() + text[1:]
            form.row(text, field, texts.get(name, text))
            self._fields[where] = field
            if where in self._numbers:
                form.row("", self._numbers[where], "The threshold itself, in grey values.")
                self._hide_unless_manual(form, field, self._numbers[where])

    @staticmethod
    def _hide_unless_manual(form: Form, words: QWidget, number: QWidget) -> None:
        assert isinstance(words, QComboBox)
        form.show_row(number, False)
        words.currentIndexChanged.connect(
            lambda: form.show_row(number, words.currentData() is None)
        )

    def _field(
        self, where: tuple[str, ...], info: FieldInfo, value: Any, channels: Sequence[str]
    ) -> QWidget:
        name = where[-1]
        if name.endswith("channel"):
            combo = choice_box()
            if type(None) in get_args(info.annotation):
                combo.addItem(_NO_CHANNEL, None)
            for channel in channels:
                combo.addItem(channel, channel)
            if isinstance(value, int) and channels:
                self._choose(combo, channels[min(value, len(channels) - 1)])
            elif value is not None:
                self._choose(combo, self._suggested(name))
            combo.currentIndexChanged.connect(self.changed)
            return combo
        options = _literals(info.annotation)
        if options:
            combo = choice_box()
            for option in options:
                combo.addItem(option.replace("-", " "), option)
            if _takes_number(info.annotation):
                combo.addItem(_MANUAL, None)
                number = _GreyValue()
                self._numbers[where] = number
                number.valueChanged.connect(self.changed)
            combo.setCurrentIndex(max(0, combo.findData(value)))
            combo.currentIndexChanged.connect(self.changed)
            return combo
        if isinstance(value, bool):
            box = QCheckBox()
            box.setChecked(value)
            box.toggled.connect(self.changed)
            return box
        low, high = _bounds(info)
        spin = (
            whole_box(value, int(low), int(high))
            if isinstance(value, int)
            else number_box(value, low, high)
        )
        spin.valueChanged.connect(self.changed)
        return spin


class _GreyValue(QDoubleSpinBox):
    """A field for a threshold in images of 8 bit as well as in those between 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(6)
        self.setRange(-1e9, 1e9)
        self.setStepType(QDoubleSpinBox.StepType.AdaptiveDecimalStepType)
        self.setKeyboardTracking(False)

    def textFromValue(self, v: float) -> str:
        """Show as many digits as the value has."""
        return self.locale().toString(v, "g", 8)


_NOTHING = object()


def _value_at(values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = values
    for name in path:
        if not isinstance(found, Mapping) or name not in found:
            return _NOTHING
        found = found[name]
    return found


def check_channels(values: Mapping[str, Any], names: Sequence[str]) -> None:
    """Raise InputError if settings choose a channel that images with these don't have."""
    for field, value in values.items():
        if field.endswith("channel") and value not in (None, AUTO):
            find_channel(names, value, where="The open images have")


def _value_of(field: QWidget, number: QDoubleSpinBox | None) -> Any:
    if isinstance(field, QComboBox):
        data = field.currentData()
        return number.value() if data is None and number is not None else data
    if isinstance(field, QCheckBox):
        return field.isChecked()
    assert isinstance(field, QSpinBox | QDoubleSpinBox)
    return field.value()


def _literals(annotation: Any) -> tuple[str, ...]:
    """Return the words that a field may hold, also where it may hold a number instead."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return tuple(word for part in get_args(annotation) for word in _literals(part))


def _takes_number(annotation: Any) -> bool:
    return any(
        part is float or _takes_number(part)
        for part in get_args(annotation)
        if not isinstance(part, str)
    )


def _bounds(info: FieldInfo) -> tuple[float, float]:
    low, high = 0.0, 100_000.0
    for limit in info.metadata:
        low = getattr(limit, "ge", None) or low
        above = getattr(limit, "gt", None)
        low = low if above is None else above + 0.01
        high = getattr(limit, "le", None) or high
    return low, high


def described_fields(model: type) -> dict[str, str]:
    """Read what a numpydoc docstring says about each attribute.

    Returns
    -------
    dict of str to str
        By name; several attributes that are described together have the same text.
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for line in (model.__doc__ or "").splitlines():
        head = re.match(r"^    (\w+(?:, \w+)*) : ", line)
        if head:
            names = head[1].split(", ")
        elif line.startswith("        ") and names:
            for name in names:
                found[name] = f"{found.get(name, '')} {line.strip()}".strip()
        elif not line.strip():
            names = []
    return found
