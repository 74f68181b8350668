"""What a run does of what a translation is asked for."""

from __future__ import annotations

from napari_phenldiff.runs.baseline_config import PhenDiffConfig, settings_of
from napari_phenldiff.runs.calibration import calibrated
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run


def settings_of_run(run: Run, config: TranslationConfig) -> TranslationConfig:
    """Complete the settings of a translation by what suits a run.

    Parameters
    ----------
    run : Run
        Its method may have fewer settings, see `settings_of`; its calibration gives those that are
        not asked for.
    config : TranslationConfig
        What is asked for.

    Raises
    ------
    InputError
        If something is asked for that the run's method does not have, or if its calibration is
        damaged.
    """
    steps = run.config.inference_steps if isinstance(run.config, PhenDiffConfig) else None
    return settings_of(
        run.config.method, calibrated(config, run.calibration), inference_steps=steps
    )
