"""Write docs/settings.md: every setting, as the models of the settings describe it.

Usage::

    python docs/settings.py
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import BaseModel

from napari_phenldiff.diffusion.pretraining_config import PretrainingConfig
from napari_phenldiff.evaluation.benchmark.config import BenchmarkConfig
from napari_phenldiff.evaluation.config import EvaluationConfig
from napari_phenldiff.images.arrangement import Arrangement
from napari_phenldiff.measurement.profiles import PROFILES
from napari_phenldiff.measurement.segmentation.segment import SegmentationSettings
from napari_phenldiff.measurement.segmentation.thresholds import ThresholdSettings
from napari_phenldiff.runs.baseline_config import CycleGANConfig, PhenDiffConfig
from napari_phenldiff.runs.config import TrainingConfig, TranslationConfig
from napari_phenldiff.settings import Setting, settings_in

PAGE = Path(__file__).with_name("settings.md")

_INTRODUCTION = """\
# Settings

Every setting of every command, with the values it may have and its default. The docks show most of
them, under the same names and with the same texts. A script passes them by the names in the tables;
`config.json` of a run and the settings files of measurements use these names too. On the command
line, the option for `batch_size` is `--batch-size`, and so on; an option with another name is given
beside its setting.

<!-- made by docs/settings.py from the models of the settings: change the text there -->
"""

_BESIDE = "beside those of a training. Where no default is given, it is that of the preset."

_COMMANDS: tuple[tuple[str, str, type[BaseModel], Collection[str]], ...] = (
    (
        "Which images",
        (
            "All commands that read images, the fold of this name in the docks Fine-tune and "
            "Evaluate, and `Arrangement`. Which channels are read, docks ask under *Channels*."
        ),
        Arrangement,
        (),
    ),
    (
        "Training",
        "`phenldiff train`, the dock Fine-tune, and `TrainingConfig` in a script.",
        TrainingConfig,
        ("method",),
    ),
    (
        "Translation",
        "`phenldiff translate`, the docks Translate and Evaluate, and `TranslationConfig`.",
        TranslationConfig,
        (),
    ),
    (
        "Evaluation",
        "`phenldiff evaluate` and the dock Evaluate, beside those of the translation.",
        EvaluationConfig,
        (),
    ),
    ("Pre-training", "`phenldiff pretrain`.", PretrainingConfig, ()),
    ("Benchmark", "`phenldiff benchmark`.", BenchmarkConfig, ("translation", "settings")),
    (
        "PhenDiff",
        f"`phenldiff train --method phendiff`, {_BESIDE}",
        PhenDiffConfig,
        ("method", *TrainingConfig.model_fields),
    ),
    (
        "CycleGAN",
        f"`phenldiff train --method cyclegan`, {_BESIDE}",
        CycleGANConfig,
        ("method", *TrainingConfig.model_fields),
    ),
)


def page() -> str:
    """Return the text of the page."""
    return "\n".join([_INTRODUCTION, *_commands(), *_measurements()]) + "\n"


def _commands() -> Iterator[str]:
    for title, where, model, without in _COMMANDS:
        yield f"## {title}\n\n{where}\n"
        yield from _table(model, without=without)


def _measurements() -> Iterator[str]:
    yield (
        "## Measurement\n\nSettings of the profiles, in the dock Measure and in the files that it "
        "writes (`phenldiff measure --settings FILE`). What cuts something out has the settings "
        "of a segmentation, with defaults of its own.\n"
    )
    for name, profile in PROFILES.items():
        yield f"### Profile {name}\n"
        yield from _table(profile.settings_type)
    for title, model in (("Segmentation", SegmentationSettings), ("Threshold", ThresholdSettings)):
        yield f"### {title}\n"
        yield from _table(model)


def _table(model: type[BaseModel], *, without: Collection[str] = ()) -> Iterator[str]:
    yield "| Setting | Value | Default | What it does |"
    yield "|---|---|---|---|"
    for name, setting in settings_in(model).items():
        if name not in without:
            cells = (_name(setting), _value(setting), _default(setting), _what(setting))
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _name(setting: Setting) -> str:
    named = f"`{setting.name}`"
    return f"{named} (`{setting.option}`)" if setting.shown.option else named


def _what(setting: Setting) -> str:
    choices = (f"`{word}` {choice.text}." for word, choice in setting.shown.choices.items())
    text = re.sub(r"([\[\]<>*_])", r"\\\1", setting.text)  # no links, tags or emphasis are meant
    return " ".join([text, *choices])


def _value(setting: Setting) -> str:
    """Return what a setting may be."""
    kinds = [_KINDS.get(kind, "settings") for kind in setting.kinds]
    if setting.several:
        kinds = [f"list of {kind}s" for kind in kinds]
    if kinds:
        kinds[-1] += _bounds(setting)
    none = ["none"] if setting.optional else []
    return " or ".join([*(f"`{word}`" for word in setting.choices), *kinds, *none])


def _bounds(setting: Setting) -> str:
    above = "above" if setting.low_excluded else "at least"
    below = "below" if setting.high_excluded else "at most"
    low = "" if setting.low is None else f"{above} {setting.low:.10g}"
    high = "" if setting.high is None else f"{below} {setting.high:.10g}"
    return "".join(f", {bound}" for bound in (low, high) if bound)


_KINDS = {bool: "yes or no", float: "number", int: "whole number", str: "text", Path: "path"}


def _default(setting: Setting) -> str:
    if setting.shown.default is not None:
        return setting.shown.default
    value = setting.default
    if setting.required or setting.model is not None:
        return ""
    if value is None or value == () or isinstance(value, bool):
        return {None: "none", (): "none", True: "yes", False: "no"}[value]
    text = ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value}"
    before = setting.shown.before_default
    text = f"{before}, else {text}" if before else text
    return text if setting.shown.unit is None else f"{text} {setting.shown.unit}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit(print(f"wrote {PAGE}"))
