"""Translations in a folder, for an evaluation that would otherwise make the same ones again."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_phenldiff.errors import InputError
from napari_phenldiff.images.files import read_small
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.naming import count
from napari_phenldiff.images.omezarr import ZarrSource
from napari_phenldiff.images.tiff import read_tiff
from napari_phenldiff.jobs.journal import difference
from napari_phenldiff.jobs.translation_job import SUMMARY_NAME
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.settings import option_of

_MOST_BYTES = 2**28


@dataclass(frozen=True, slots=True, eq=False)
class TranslatedBefore:
    """What was made of one image.

    Attributes
    ----------
    translated, reconstructed : Image
        As they were written: in the dtype of the source.
    residual : float
        Of the inversion; NaN if it is not known.
    """

    translated: Image
    reconstructed: Image
    residual: float


class TranslationsBefore:
    """The translations in a folder of `translate`, found by the pixels of their source.

    Parameters
    ----------
    folder : Path
        Result of a translation, complete or not.
    asked : dict
        What a translation would be made with now, as `TranslationJob.identity`.

    Raises
    ------
    InputError
        If the folder is no translation, or one by another run or with other settings.
    """

    def __init__(self, folder: Path, asked: dict[str, Any]) -> None:
        self._folder = folder
        try:
            summary = json.loads(read_small(folder / SUMMARY_NAME, most_bytes=_MOST_BYTES))
            made = {key: summary[key] for key in asked}
            lines = [(str(line["source_sha256"]), line) for line in summary["images"]]
            files = [str(line["file"]) for _, line in lines]
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            raise InputError(
                f"{folder} has no readable {SUMMARY_NAME} that says how it was translated; name a "
                "folder that `phenldiff translate` of this version has written."
            ) from None
        if made != json.loads(json.dumps(asked)):
            same = _options(made, asked)
            advice = f"give the same here ({same})" if same else "name another folder"
            raise InputError(
                f"{folder} was translated by another run or with other settings "
                f"({difference(made, asked)}): {advice}, or let the evaluation translate."
            )
        seen: Counter[str] = Counter()
        self._where: dict[str, tuple[str, int, float]] = {}
        for (digest, line), file in zip(lines, files, strict=True):
            residual = line.get("residual")
            known = isinstance(residual, int | float)
            self._where[digest] = (file, seen[file], float(residual) if known else math.nan)
            seen[file] += 1

    def of(self, image: Image) -> TranslatedBefore | None:
        """Return what was made of an image, or None if it was not translated.

        Raises
        ------
        InputError
            If a file that the folder tells of cannot be read.
        """
        found = self._where.get(image.sha256)
        if found is None:
            return None
        file, index, residual = found
        translated, reconstructed = (
            self._read(kind, file, index) for kind in ("translated", "reconstructed")
        )
        for one in (translated, reconstructed):
            if one.data.shape != image.data.shape:
                raise InputError(
                    f"{self._folder}: {file} no longer has the shape of its source; translate anew."
                )
        return TranslatedBefore(translated, reconstructed, residual)

    def _read(self, kind: str, file: str, index: int) -> Image:
        path = self._folder / kind / Path(file).name
        plate = next((self._folder / kind).glob("*.zarr"), None)
        if plate is None:
            images = read_tiff(path)
        else:
            path = plate / file
            images = ZarrSource(name=path.name, group=path).read()
        if index >= len(images):
            raise InputError(
                f"{path} has {count(len(images), 'image')}, fewer than were translated."
            )
        return images[index]


def _options(made: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Name the options that ask for what was made; none if more than settings differs."""
    told: list[str] = []
    for key, value in json.loads(json.dumps(asked)).items():
        before = made.get(key)
        if before == value:
            continue
        if not isinstance(value, dict) or not isinstance(before, dict):
            return ""
        for name, now in value.items():
            was = before.get(name)
            if was == now:
                continue
            if name not in TranslationConfig.model_fields or was is None or was == "":
                return ""
            if isinstance(was, bool):
                told.append(option_of(name) if was else option_of(f"no_{name}"))
            else:
                text = f"{was:g}" if isinstance(was, float) else str(was)
                told.append(f"{option_of(name)} {text}")
    return " ".join(told)
