"""The settings that a run actually applies in a translation."""

from __future__ import annotations

from napari_phenldiff.runs.baseline_config import PhenDiffConfig, settings_of
from napari_phenldiff.runs.calibration import calibrated
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.folder import Run


def settings_of_run(run: Run, config: TranslationConfig) -> TranslationConfig:
    """Complete the settings of a translation with the calibration and the method of a run.

    Parameters
    ----------
    run : Run
        The run. Its calibration sets guidance and freedom if they are not requested; its method may
        have fewer settings, see `settings_of`.
    config : TranslationConfig
        Requested settings.

    Raises
    ------
    InputError
        If a setting is requested that the run's method does not have, or if the calibration is
        damaged.
    """
    steps = run.config.inference_steps if isinstance(run.config, PhenDiffConfig) else None
    return settings_of(
        run.config.method, calibrated(config, run.calibration), inference_steps=steps
    )
