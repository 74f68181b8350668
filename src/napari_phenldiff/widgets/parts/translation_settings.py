"""How images are translated: the fields that most people leave alone."""

from __future__ import annotations

from typing import Any

from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run
from napari_phenldiff.widgets.parts.folder_field import FolderField
from napari_phenldiff.widgets.parts.form import Form, number_box, whole_box


class TranslationSettings:
    """Rows for the settings of a translation apart from its conditions and strength.

    Parameters
    ----------
    form : Form
        Gets the rows.
    """

    def __init__(self, form: Form) -> None:
        fields = TranslationConfig.model_fields
        self.guidance = number_box(fields["guidance"].default, 0.0, 30.0, step=0.25)
        self.anchor = number_box(fields["anchor"].default, 0.0, 1.0, step=0.1)
        self.depth = number_box(fields["depth"].default, 0.01, 1.0, step=0.05)
        self.freedom = number_box(fields["freedom"].default, 0.0, 1.0, step=0.1)
        self.detail = number_box(fields["detail"].default, 0.0, 1.0, step=0.1)
        self.inference_steps = whole_box(fields["inference_steps"].default, 1, 1000)
        self.seed = whole_box(0, 0, 2**31 - 1)
        self.base_at = FolderField("where the run has it")
        form.row(
            "Guidance",
            self.guidance,
            "How hard the model is pushed towards the target. More changes the phenotype more, "
            "and in the end also what should stay.",
        )
        form.row(
            "Anchor",
            self.anchor,
            "How firmly the cells are held to what they were: 0 not at all, 1 holds all that the "
            "target does not change. Too much leaves ghosts of what would be gone.",
        )
        form.row(
            "Depth",
            self.depth,
            "Part of the noise schedule that the image is taken back through. Less keeps more of "
            "the image; 1 is all of it.",
        )
        form.row(
            "Freedom",
            self.freedom,
            "How much is drawn anew, so that structures can become others: 0 keeps what the image "
            "holds, more frees coarser structures, 1 keeps nothing but the reference channels.",
        )
        form.row(
            "Detail",
            self.detail,
            "How much of the finest texture is put back, which the model does not see: 1 leaves "
            "the noise of the camera in place, 0 shows what the model makes.",
        )
        form.row(
            "Steps", self.inference_steps, "Steps of the schedule. Fewer are faster and coarser."
        )
        form.row("Seed", self.seed, "Seed of whatever is random.")
        form.row(
            "Base model",
            self.base_at,
            "Folder of the base model, if it is not where it was when the run was trained. It must "
            "be the same one, and is remembered.",
        )

    def suit(self, run: Run | None) -> None:
        """Fill in guidance and freedom that suit a run."""
        calibration = None if run is None else run.calibration
        fields = TranslationConfig.model_fields
        for name in ("guidance", "freedom"):
            chosen = fields[name].default
            if calibration is not None:
                chosen = getattr(calibration.chosen, name)
            getattr(self, name).setValue(chosen)

    def values(self) -> dict[str, Any]:
        """Return what is filled in, by the names of `TranslationRequest`."""
        numbers = (
            "guidance",
            "anchor",
            "depth",
            "freedom",
            "detail",
            "inference_steps",
            "seed",
        )
        filled = {name: getattr(self, name).value() for name in numbers}
        return {**filled, "base_at": self.base_at.path()}
