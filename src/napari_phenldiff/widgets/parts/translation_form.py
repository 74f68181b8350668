"""How images are translated: the fields that most people leave alone."""

from __future__ import annotations

from typing import Any

from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.settings import settings_in
from napari_phenldiff.widgets.parts.folder_field import CHECKPOINTS, FolderField
from napari_phenldiff.widgets.parts.form import Form
from napari_phenldiff.widgets.parts.setting_rows import SettingRows

_ELSEWHERE = ("source", "target", "strength")
"""Settings of a translation that a dock asks for in other places."""


class TranslationSettings:
    """Rows for the settings of a translation apart from its conditions and strength.

    Parameters
    ----------
    form : Form
        Gets the rows.
    """

    def __init__(self, form: Form) -> None:
        self._suited: object = None
        self.rows = SettingRows(TranslationConfig, form)
        self.rows.add_rest(form, without=_ELSEWHERE)
        self.base_at = FolderField("where the run has it", files=CHECKPOINTS)
        form.row(
            "Base model",
            self.base_at,
            "Folder of the base model, if it is not where it was when the run was trained. It must "
            "be the same one, and is remembered.",
        )

    def suit(self, run: Run | None) -> None:
        """Fill in guidance and freedom that suit a run, once: what is changed then stays."""
        calibration = None if run is None else run.calibration
        suited = (None if run is None else run.path, calibration)
        if suited == self._suited:
            return
        self._suited = suited
        settings = settings_in(TranslationConfig)
        for name in ("guidance", "freedom"):
            default = settings[name].default
            chosen = default if calibration is None else getattr(calibration.chosen, name)
            self.rows.fill({name: chosen})

    def values(self) -> dict[str, Any]:
        """Return what is filled in, by the names of `TranslationConfig`."""
        return self.rows.values()
