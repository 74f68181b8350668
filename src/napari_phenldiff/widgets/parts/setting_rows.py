"""Rows of a dock for the settings of a model: what each is called and does is read from there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pydantic import BaseModel
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_phenldiff.settings import settings_in
from napari_phenldiff.widgets.parts.form import Form
from napari_phenldiff.widgets.parts.setting_fields import Field, field_for


class SettingRows(QObject):
    """Rows for the settings of a pydantic model.

    Parameters
    ----------
    model : type
        Whose settings are shown, those that are for docks.
    parent : QObject
        The widget that the rows belong to.
    """

    changed = Signal()

    def __init__(self, model: type[BaseModel], parent: QObject) -> None:
        super().__init__(parent)
        self._settings = {n: s for n, s in settings_in(model).items() if s.shown.in_docks}
        self._fields: dict[str, Field] = {}
        self._own: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        """Return the Qt widget of a setting."""
        return self._fields[name].native

    def __contains__(self, name: str) -> bool:
        """Tell whether a setting has a row that was made here."""
        return name in self._fields

    def add(self, form: Form, *names: str) -> None:
        """Add rows for settings."""
        for name in names:
            self._fields[name] = field = field_for(self._settings[name])
            self.add_own(form, name, field.native)
            field.changed.connect(lambda *_: self.changed.emit())

    def add_rest(self, form: Form, *, without: Collection[str] = ()) -> None:
        """Add rows for all settings that have none yet."""
        rest = [n for n in self._settings if n not in self._own and n not in without]
        self.add(form, *rest)

    def add_own(self, form: Form, name: str, widget: QWidget) -> None:
        """Add a row for a setting that is shown by a widget of the dock's own."""
        setting = self._settings[name]
        self._own.add(name)
        form.row(setting.label, widget, setting.explanation)

    def values(self) -> dict[str, Any]:
        """Return what is filled in, by the names of the settings."""
        return {name: field.value for name, field in self._fields.items()}

    def fill(self, values: Mapping[str, Any]) -> None:
        """Fill in values by the names of the settings; those without a row are passed over."""
        for name, value in values.items():
            if name in self._fields:
                self._fields[name].value = value
