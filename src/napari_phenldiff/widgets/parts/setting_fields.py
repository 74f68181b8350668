"""The control for a setting, made from what the setting says about itself.

Switches, choices, texts and numbers with a fraction are made by magicgui. Whole numbers are Qt's
own spin boxes: the one that magicgui takes shows neither a unit nor a word in place of a number.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

from magicgui.widgets import create_widget
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QDoubleSpinBox, QSpinBox

from napari_phenldiff.settings import Setting
from napari_phenldiff.widgets.parts.choices import keep_narrow

_HIGHEST = 1_000_000
"""Of a number without an upper bound."""

_DIGITS = 6
"""Digits after the point that a number has at most."""

_A_NUMBER = "a number"
_AUTOMATIC = "automatic"


class Field(Protocol):
    """A control: magicgui's value widgets are such, and so are the classes below.

    Attributes
    ----------
    native : QWidget
        What stands in the dock.
    value : Any
        What is filled in.
    changed : signal of Qt or of psygnal
        Emitted when something else is filled in.
    """

    native: Any
    value: Any
    changed: Any


def field_for(setting: Setting) -> Field:
    """Return a control that holds the default of a setting.

    Raises
    ------
    TypeError
        If there is none for such a setting: it needs a row of its own.
    """
    if setting.kinds in ((int,), (float,)):
        return WordOrNumber(setting) if len(setting.choices) > 1 else NumberField(setting)
    field: Any
    if setting.choices and not setting.kinds:
        titles = {word: choice.title for word, choice in setting.shown.choices.items()}
        shown: list[tuple[str, str | None]] = [
            (titles.get(word, word.replace("-", " ")), word) for word in setting.choices
        ]
        if setting.optional:
            shown.append((setting.shown.unset or "none", None))
        field = create_widget(widget_type="ComboBox", options={"choices": shown})
        keep_narrow(field.native)
        for index, word in enumerate(setting.choices):
            if word in setting.shown.choices:
                told = "{} {}.".format(*setting.shown.choices[word])
                field.native.setItemData(index, told, Qt.ItemDataRole.ToolTipRole)
    elif setting.kinds == (bool,):
        field = create_widget(annotation=bool, options={"text": setting.shown.switch or ""})
    elif setting.kinds == (str,) and not setting.several:
        field = TextField(setting)
    else:
        raise TypeError(f"{setting.name} needs a row of its own")
    field.value = setting.default
    return field


class TextField:
    """A text; None where it is empty, if the setting allows it."""

    def __init__(self, setting: Setting) -> None:
        made: Any = create_widget(annotation=str)
        self._made = made
        self._empty = None if setting.optional else ""
        self.native = made.native
        self.native.setPlaceholderText(setting.shown.unset or "")
        self.changed = made.changed

    @property
    def value(self) -> str | None:
        """Return the text, without blanks around it."""
        return self._made.value.strip() or self._empty

    @value.setter
    def value(self, value: str | None) -> None:
        self._made.value = value or ""


class NumberField:
    """A number; its lowest position may stand for a word, or for no number at all."""

    def __init__(self, setting: Setting) -> None:
        shown = setting.shown
        whole = float not in setting.kinds
        step = shown.step or (1 if whole else 0.1)
        low = setting.low if setting.low is not None else 0.0 if whole else -_HIGHEST
        high = _HIGHEST if setting.high is None else setting.high
        # what the setting is while no number is given, if it may be that
        self._absent: Any = setting.choices[0] if setting.choices else None
        self._may_be_absent = bool(setting.choices or setting.optional or shown.default)
        self.native: QSpinBox | QDoubleSpinBox
        if whole:
            self.native = QSpinBox()
            # a spin box holds 32 bit
            high = min(high, 2**31 - 1)
            self.native.setRange(int(low) - self._may_be_absent, int(high))
            self.native.setSingleStep(int(step))
            self.native.setGroupSeparatorShown(True)
        else:
            decimals = 2 if step >= 0.01 else math.ceil(-math.log10(step)) + 2
            least = 10.0**-decimals
            if setting.low_excluded != self._may_be_absent:
                low += least if setting.low_excluded else -least
            high -= least * setting.high_excluded
            options = {"min": low, "max": high, "step": step}
            made: Any = create_widget(annotation=float, options=options)
            made.native.setDecimals(decimals)
            self.native = made.native
        if self._may_be_absent or shown.unset:
            word = shown.unset or (setting.choices[0] if setting.choices else _AUTOMATIC)
            self.native.setSpecialValueText(word)
        if shown.unit:
            self.native.setSuffix(f" {shown.unit}")
        self.changed = self.native.valueChanged
        self.value = None if self._may_be_absent and shown.default else setting.default

    @property
    def value(self) -> Any:
        """Return the number, or what stands for none."""
        box = self.native
        absent = self._may_be_absent and box.value() == box.minimum()
        return self._absent if absent else box.value()

    @value.setter
    def value(self, value: Any) -> None:
        if value is None or isinstance(value, str):
            value = self.native.minimum()
        elif isinstance(self.native, QDoubleSpinBox):
            # a number of a file may have more digits than one that is typed
            self.native.setDecimals(max(self.native.decimals(), _digits(value)))
        self.native.setValue(value)


class WordOrNumber:
    """One of several words, or a number; `number` needs a row of its own below the words."""

    def __init__(self, setting: Setting) -> None:
        self.number = GreyValue()
        choices = [(word.replace("-", " "), word) for word in setting.choices]
        options = {"choices": [*choices, (_A_NUMBER, None)]}
        made: Any = create_widget(widget_type="ComboBox", options=options)
        self._made = made
        self.native: QComboBox = keep_narrow(made.native)
        self.changed = made.changed
        self.value = setting.default

    @property
    def is_number(self) -> bool:
        """Whether a number is chosen in place of a word."""
        return self.native.currentData() is None

    @property
    def value(self) -> str | float:
        """Return the word or the number."""
        return self.number.value() if self.is_number else self.native.currentData()

    @value.setter
    def value(self, value: str | float) -> None:
        if not isinstance(value, str):
            self.number.setValue(value)
        self._made.value = value if isinstance(value, str) else None


class GreyValue(QDoubleSpinBox):
    """A field for a threshold in images of 8 bit as well as in those between 0 and 1."""

    def __init__(self) -> None:
        super().__init__()
        self.setDecimals(_DIGITS)
        self.setRange(-1e9, 1e9)
        self.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
        self.setKeyboardTracking(False)

    def textFromValue(self, v: float) -> str:
        """Show as many digits as the value has."""
        return self.locale().toString(v, "g", 8)


def _digits(value: float) -> int:
    """Return how many digits a number has after the point."""
    return len(f"{value:.{_DIGITS}f}".rstrip("0").partition(".")[2])
