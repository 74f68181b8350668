"""What one method made, in a folder: images that are there are not made again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from napari_phenldiff.evaluation.cycle import Translating
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.images.image import Image
from napari_phenldiff.images.tiff import read_image, write_tiff
from napari_phenldiff.runs.config import TranslationConfig
from napari_phenldiff.runs.events import Event, Finished, Loading, Noted, Started, Step
from napari_phenldiff.runs.folder import Run

OnImage = Callable[[str, int, int], None]
_ACCOUNT = "translated.jsonl"


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """Images that a method made of the test images, in their order.

    Attributes
    ----------
    reconstructed, translated, back : tuple of Image
        In the source, in the target, and translated back to the source.
    seconds : float
        Mean per image, for the translation there with its reconstruction.
    residual : float
        The largest of the inversions; NaN if there is none.
    """

    reconstructed: tuple[Image, ...]
    translated: tuple[Image, ...]
    back: tuple[Image, ...]
    seconds: float
    residual: float


def translate_into(
    folder: Path,
    translator: Translating,
    sources: Sequence[Image],
    config: TranslationConfig,
    on_image: OnImage = lambda what, done, total: None,
) -> None:
    """Translate images there and back, those that are not there yet.

    Parameters
    ----------
    folder : Path
        Gets ``translated``, ``reconstructed``, ``back`` with a TIFF per image, and
        ``translated.jsonl`` with time and residual of each.
    translator : Translating
    sources : sequence of Image
    config : TranslationConfig
        Of the way there.
    on_image : callable
        Told after each image.
    """
    done = _account(folder)
    missing = [image for image in sources if image.name not in done]
    there = translator.translate(missing, config)
    for number, (image, result) in enumerate(zip(missing, there, strict=True), len(done) + 1):
        write_tiff(_file(folder, "reconstructed", image), result.reconstructed)
        write_tiff(_file(folder, "translated", image), result.translated)
        done[image.name] = {
            "image": image.name,
            "seconds": getattr(result, "seconds", None),
            "residual": _known(getattr(result, "residual", None)),
        }
        with write_atomic(folder / _ACCOUNT) as aside:
            text = "".join(json.dumps(line) + "\n" for line in done.values())
            aside.write_text(text, encoding="utf-8")
        on_image("translating", number, len(sources))
    missing = [image for image in sources if not _file(folder, "back", image).is_file()]
    update = {"source": config.target, "target": config.source}
    translated = (_read(folder, "translated", image) for image in missing)
    returning = translator.translate(translated, config.model_copy(update=update))
    first = len(sources) - len(missing) + 1
    for number, (image, result) in enumerate(zip(missing, returning, strict=True), first):
        write_tiff(_file(folder, "back", image), result.translated)
        on_image("translating back", number, len(sources))


def read_made(folder: Path, sources: Sequence[Image]) -> Made:
    """Read what `translate_into` made of these images."""
    account = _account(folder)
    lines = [account[image.name] for image in sources]
    residuals = [x for line in lines if (x := line["residual"]) is not None]
    images = {
        kind: tuple(_read(folder, kind, image) for image in sources)
        for kind in ("reconstructed", "translated", "back")
    }
    return Made(
        **images,
        seconds=sum(line["seconds"] or 0.0 for line in lines) / len(lines),
        residual=max(residuals, default=float("nan")),
    )


@dataclass(frozen=True, slots=True)
class Trained:
    """How a method was trained.

    Attributes
    ----------
    minutes : float
        Wall-clock time over all sessions, from loading to the end.
    steps : int
    parameters : int
        Weights that learned; of a CycleGAN those of the discriminators too.
    machine : str
        Device in words, and precision.
    """

    minutes: float
    steps: int
    parameters: int
    machine: str


def how_trained(run: Run) -> Trained:
    """Tell from its events how a run was trained."""
    events, _ = run.events()
    settings = json.loads((run.adapter_path / "adapter.json").read_text(encoding="utf-8"))
    numbers = ("trained_parameters", "token_parameters", "parameters")
    started = [event for event in events if isinstance(event, Started)]
    return Trained(
        sum(_working(events)) / 60,
        max((event.step for event in events if isinstance(event, (Step, Finished))), default=0),
        sum(int(settings.get(name, 0)) for name in numbers),
        f"{started[-1].device}, {started[-1].precision}" if started else "unknown",
    )


def _working(events: Sequence[Event]) -> Iterator[float]:
    """Seconds between events, but for those between the sessions of a training."""
    for before, after in pairwise(events):
        begins = isinstance(after, Loading) and not isinstance(before, (Loading, Noted, Started))
        if not begins:
            yield after.time - before.time


def _account(folder: Path) -> dict[str, dict[str, Any]]:
    """Read what was translated, by name."""
    try:
        lines = (folder / _ACCOUNT).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return {}
    return {(line := json.loads(text))["image"]: line for text in lines}


def _file(folder: Path, kind: str, image: Image) -> Path:
    path = folder / kind / f"{image.name}.tif"
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def _read(folder: Path, kind: str, image: Image) -> Image:
    """Read what was made of an image, under that image's name and channels."""
    made = read_image(_file(folder, kind, image))
    return replace(
        made,
        name=image.name,
        channel_names=image.channel_names,
        pixel_size=image.pixel_size,
        path=None,
    )


def _known(value: float | None) -> float | None:
    return None if value is None or value != value else float(value)
