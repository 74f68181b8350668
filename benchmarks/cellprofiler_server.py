"""CellProfiler's library as a process: run with the Python of an environment that has it.

Reads jobs from the standard input, one JSON object a line: ``planes`` (an ``.npy`` of shape
(N, Y, X), float64, 0 to 1), ``out`` (the ``.npz`` to write) and the settings ``method``,
``log_transform``, ``smoothing`` and ``window`` (0: one threshold per plane). Writes ``thresholds``,
of shape (N,), or (N, Y, X) in windows, NaN where the library raised an error, and ``masks`` of
shape (N, Y, X); answers a line with the errors. `benchmarks/cellprofiler_parity.py` starts it.
"""

from __future__ import annotations

import json
import sys

import numpy as np
from cellprofiler_library.modules._threshold import threshold
from cellprofiler_library.opts.threshold import Assignment, Method, Scope

METHODS = {
    "otsu": Method.OTSU,
    "otsu3": Method.MULTI_OTSU,
    "minimum-cross-entropy": Method.MINIMUM_CROSS_ENTROPY,
    "robust-background": Method.ROBUST_BACKGROUND,
}


def main() -> None:
    for line in sys.stdin:
        job = json.loads(line)
        planes = np.load(job["planes"])
        masks = np.zeros(planes.shape, bool)
        thresholds = np.full(planes.shape if job["window"] else planes.shape[:1], np.nan)
        errors: dict[str, str] = {}
        for number, plane in enumerate(planes):
            try:
                thresholds[number], _, _, masks[number], _ = threshold(
                    plane,
                    threshold_scope=Scope.ADAPTIVE if job["window"] else Scope.GLOBAL,
                    threshold_method=METHODS[job["method"]],
                    assign_middle_to_foreground=Assignment.FOREGROUND,
                    log_transform=job["log_transform"],
                    threshold_correction_factor=1.0,
                    threshold_min=0.0,
                    threshold_max=1.0,
                    window_size=job["window"] or 50,
                    smoothing=job["smoothing"],
                    lower_outlier_fraction=0.05,
                    upper_outlier_fraction=0.05,
                    averaging_method="Mean",
                    variance_method="Standard deviation",
                    number_of_deviations=2.0,
                    volumetric=False,
                    automatic=False,
                    predefined_threshold=None,
                )
            except (ValueError, TypeError, IndexError) as error:
                errors[str(number)] = f"{type(error).__name__}: {error}".splitlines()[0]
        np.savez(job["out"], thresholds=thresholds, masks=masks)
        print(json.dumps(errors), flush=True)


if __name__ == "__main__":
    main()
