"""What is judged, and what came out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_phenldiff.evaluation.choice import Chosen
from napari_phenldiff.evaluation.cycle import Translating
from napari_phenldiff.evaluation.schema import Metrics
from napari_phenldiff.images.experiment import Experiment
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.measurement.statistics.units import Units
from napari_phenldiff.measurement.tables.measurement import Measurement

if TYPE_CHECKING:
    import pandas as pd

    from napari_phenldiff.runs.folder import Run


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """What is judged.

    Attributes
    ----------
    translator : Translating
    scaling : IntensityScaling
        That the run was trained with.
    trained : frozenset of str
        Hashes of the images it was trained on.
    reference_channels : tuple of str
    training : callable
        Gives the images that were trained on.
    provenance : dict
        Where it comes from.
    """

    translator: Translating
    scaling: IntensityScaling
    trained: frozenset[str] = frozenset()
    reference_channels: tuple[str, ...] = ()
    training: Callable[[], Experiment] | None = None
    provenance: dict[str, Any] | None = None

    @classmethod
    def of_run(cls, run: Run, translator: Translating) -> Model:
        """Take from a run folder what an evaluation needs to know."""
        return cls(
            translator,
            run.scaling,
            run.trained_images,
            tuple(run.reference_channels),
            run.load_experiment,
            {
                "run": str(run.path),
                "run_digest": run.digest,
                "training": run.config.model_dump(mode="json"),
                "trained_with": run.versions,
            },
        )


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What came out, and what is needed to show it.

    Attributes
    ----------
    metrics : Metrics
    measurement : Measurement
        Of all groups.
    table : pandas.DataFrame
        Of all effects.
    chosen : Chosen
    reconstructed, translated : tuple of Image
    groups : dict of str to str
        Names of the groups in the measurement, by what they are: ``source``, ``target``,
        ``reconstructed``, ``translated`` and ``null``.
    units : Units
        What was counted.
    """

    metrics: Metrics
    measurement: Measurement
    table: pd.DataFrame
    chosen: Chosen
    reconstructed: tuple[Image, ...]
    translated: tuple[Image, ...]
    groups: dict[str, str]
    units: Units
