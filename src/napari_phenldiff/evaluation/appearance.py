"""How translated images look to networks: distances between sets, and a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_phenldiff.errors import InputError
from napari_phenldiff.evaluation.choice import Chosen, cut_tiles, tile_side
from napari_phenldiff.evaluation.classifier import Classified, classify
from napari_phenldiff.evaluation.distance_table import (
    COPY,
    REAL,
    RECONSTRUCTED,
    TRANSLATED,
    DistanceRow,
    distance_table,
    inception_distance,
    split_target,
)
from napari_phenldiff.evaluation.features import extract_features
from napari_phenldiff.evaluation.wording import ONE_WELL
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.intensity import IntensityScaling
from napari_phenldiff.images.wells import Wells, well_of_image


@dataclass(frozen=True, slots=True, eq=False)
class Appearance:
    """Distances and a classification by networks; empty where features cannot be computed."""

    distances: list[DistanceRow]
    fid: dict[str, float] | None
    classified: Classified | None


def compare_appearance(
    chosen: Chosen,
    reconstructed: Sequence[Image],
    translated: Sequence[Image],
    scaling: IntensityScaling,
    wells: Wells | None,
    fid: bool,
    seed: int,
    notes: list[str],
    counted: str = "images",
) -> Appearance:
    """Measure distances to real target images, and ask a classifier.

    `counted` is what `wells` name.
    """
    side = tile_side((*chosen.real_source, *chosen.real_target))
    sets = {
        "source": chosen.real_source,
        "target": chosen.real_target,
        RECONSTRUCTED: reconstructed,
        TRANSLATED: translated,
    }
    tiles: dict[str, np.ndarray] = {}
    groups: dict[str, list[str]] = {}
    for name, images in sets.items():
        cut, names = cut_tiles(images, side)
        tiles[name] = np.stack([scaling.apply(tile) for tile in cut])
        of = {image.name: well_of_image(image, wells) for image in images}
        groups[name] = [of[image] for image in names]
    if any(len(set(groups[name])) < 2 for name in ("source", "target")):
        notes.append(
            f"{ONE_WELL}: the classifier and the floor of the distances share their images out "
            "one by one, and say too much of them."
        )
        for name, images in sets.items():
            groups[name] = cut_tiles(images, side)[1]
        counted = "images"
    n_made = len(tiles[TRANSLATED])
    tiles[COPY] = tiles["source"][:n_made]
    rows: list[DistanceRow] = []
    classified = found_fid = None
    try:
        # Networks see the range that was trained on; what lies outside is clipped there, too.
        features = {name: extract_features(np.clip(x, -1, 1)) for name, x in tiles.items()}
    except InputError as error:
        notes.append(f"Neither distances nor a classifier: {error}")
        return Appearance(rows, None, None)
    try:
        split = split_target(groups["target"], n_made, seed=seed)
        made = {name: features[name] for name in (TRANSLATED, RECONSTRUCTED, COPY)}
        channels = chosen.sources[0].channel_names
        rows = distance_table(made, features["target"], split, channels, seed=seed)
        if fid:
            reference = tiles["target"][split.reference]
            compared = {name: tiles[name][: split.n] for name in made}
            compared[REAL] = tiles["target"][split.other]
            found_fid = {
                name: inception_distance(images, reference) for name, images in compared.items()
            }
    except InputError as error:
        notes.append(str(error))
    try:
        classified = classify(
            features["source"].composite,
            features["target"].composite,
            groups["source"],
            groups["target"],
            features[TRANSLATED].composite,
            features[RECONSTRUCTED].composite,
            groups[TRANSLATED],
            counted=counted,
            seed=seed,
        )
    except InputError as error:
        notes.append(str(error))
    return Appearance(rows, found_fid, classified)
