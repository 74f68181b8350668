"""An evaluation as ``phenldiff evaluate`` writes it, of simulated cells, with made-up numbers."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from napari_phenldiff.evaluation.classifier import Classified, Rate
from napari_phenldiff.evaluation.cycle import Cycle
from napari_phenldiff.evaluation.distance_table import COPY, REAL, DistanceRow
from napari_phenldiff.evaluation.evidence import Effect, Evidence, Rules
from napari_phenldiff.evaluation.identity import Identity
from napari_phenldiff.evaluation.memorisation import Memorisation
from napari_phenldiff.evaluation.numbers import Spread
from napari_phenldiff.evaluation.schema import Controls, Metrics, Recovered
from napari_phenldiff.evaluation.structure import GROUPS, Between, Structure, StructureMeasure
from napari_phenldiff.evaluation.verdict import judge
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.simulate import simulate_pairs
from napari_phenldiff.measurement.measure import measure
from napari_phenldiff.measurement.segmentation.thresholds import Settings


def write_evaluation(
    out: Path,
    *,
    null: float = 0.01,
    profile: str = "area",
    settings: Settings | None = None,
) -> None:
    """Write an evaluation; `null` is what the null translation changes, and speaks against 1."""
    pairs = list(simulate_pairs("translocation", 4, size=64))
    before, after = [pair.source for pair in pairs], [pair.target for pair in pairs]
    groups: dict[str, list[Image]] = {
        "untreated": before,
        "treated": after,
        "reconstructed": before,
        "translated": after,
        "own condition": before,
    }
    measurement = measure(profile, groups, settings)
    real = Effect(1.0, 0.9, 1.1, 0.001, 0.0001, 8, 8)
    none = Effect(null, null - 0.005, null + 0.005, 0.01, 0.0001, 8, 8)
    recovery = (0.8, 0.7, 0.9)
    evidence = Evidence(
        real=real, translated=real, recovery=recovery, null=none, shuffled=(), half_split=(),
        nuclei_kept=0.98, correlation_kept=0.99, own_source=1.0, copies=0.0, trained_on=0,
    )  # fmt: skip
    rate = Rate.of(np.array([True] * 9 + [False]))
    some = Spread.of([0.1, 0.2, 0.3])
    metrics = Metrics(
        source="untreated",
        target="treated",
        profile=profile,
        measurement=measurement.main_column,
        counted="images",
        n_translated=4,
        verdict=judge(evidence),
        rules=Rules(),
        recovery=Recovered(value=0.8, low=0.7, high=0.9, reason=""),
        effects=tuple(
            {
                "measurement": measurement.main_column, "effect": name, "shift": 1.0,
                "shift_low": 0.9, "shift_high": 1.1,
            }
            for name in ("real", "translated")
        ),
        distances=tuple(
            DistanceRow(images, channel, 4, value, 0.0, math.nan, 1.0, True, "a network")
            for channel in ("all channels", "DNA")
            for images, value in (("translated", 0.1), (COPY, 0.5), (REAL, 0.01))
        ),
        fid=None,
        cycle=(Cycle(what="there and back", image_shape=(64, 64), norm=some, rmse=some,
                     rmse_grey={"DNA": some}),),
        latent_cycle=None,
        classifier=Classified(rate, rate, rate, 8),
        identity=Identity(
            kept_channel="DNA", correlation={"DNA": some, "marker": some},
            correlation_with_real={"DNA": some}, nuclei_channel="DNA", nuclei_kept=some,
            nuclei_overlap=some, nuclei_distance_px=some, own_source=1.0,
        ),
        structure=Structure(
            measures=tuple(
                StructureMeasure(
                    "marker", measure, False, dict.fromkeys(GROUPS, (0.3, 0.4)), 0.98, 0.9, 1.0, p,
                    Between(0.9, 0.8, 1.0), Between(0.0, -0.1, 0.1),
                )
                for measure, p in (("coherence", 0.001), ("spot energy", 0.9))
            ),
            layout={"DNA": some, "marker": some},
            layout_reconstructed={"DNA": some, "marker": some},
        ),
        memorisation=Memorisation(
            n_training=4, copies=0.0, translated=some, held_out=some, translated_raw=some,
            held_out_raw=some,
        ),
        controls=Controls(null=none, shuffled=(), half_split=(), truth=None),
        notes=("Numbers <made up>.",),
        provenance={"evaluation": {"wells": None}},
    )  # fmt: skip
    out.mkdir(parents=True)
    measurement.write(out / "measured.csv")
    (out / "report.html").write_text("<p>The page</p>", encoding="utf-8")
    metrics.write(out / "metrics.json")
