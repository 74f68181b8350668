"""The table of a benchmark: a row per method, and what to compare them with."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_phenldiff.evaluation.benchmark.config import METHODS, BenchmarkRecord
from napari_phenldiff.evaluation.benchmark.judging import MethodMetrics
from napari_phenldiff.evaluation.distance_table import ALL_CHANNELS, REAL, TRANSLATED
from napari_phenldiff.evaluation.schema import Recovered
from napari_phenldiff.evaluation.wording import NORM_WORDS, RMSE_WORDS
from napari_phenldiff.images.files import write_atomic
from napari_phenldiff.measurement.tables.csv_files import Rows

Cell = str | int | float
Row = dict[str, Cell]
NOT_BEST = ("copy", REAL)
"""Rows that are there to compare with and take no part in who is best."""


def rows(methods: Mapping[str, MethodMetrics]) -> list[Row]:
    """Give the lines of ``table.csv``: per method and channel, real vs real last.

    Parameters
    ----------
    methods : mapping of str to MethodMetrics
        Those that are done.

    Returns
    -------
    list of dict
        All channels first, and only there what is not about one channel.
    """
    found: list[Row] = []
    known = [methods[name] for name in METHODS if name in methods]
    for one in known:
        found += _with_channels(one.method, one, TRANSLATED, _of_method(one))
    if known:
        found += _with_channels(REAL, known[0], REAL, _of_real(known[0]))
    return found


def _with_channels(name: str, one: MethodMetrics, images: str, more: Row) -> list[Row]:
    of = [row for row in one.distances if row.images == images]
    lines: list[Row] = []
    for row in of:
        line: Row = {
            "method": name,
            "preset": one.preset if images == TRANSLATED else "",
            "channel": row.channel,
            "n": row.n,
            "kernel": row.kernel,
            "kernel_low": row.kernel_low,
            "kernel_high": row.kernel_high,
            "frechet": row.frechet,
        }
        if row.channel == ALL_CHANNELS:
            line |= more
        elif images == TRANSLATED:
            line["channel_correlation"] = one.identity.correlation[row.channel].median
            line["channel_correlation_with_real"] = one.identity.correlation_with_real[
                row.channel
            ].median
        lines.append(line)
    if not of:
        lines.append({"method": name, "channel": ALL_CHANNELS, **more})
    return lines


def _of_method(one: MethodMetrics) -> Row:
    cycle = {part.what: part for part in one.cycle}
    kept = (one.identity.kept_channel or "").split(", ")[0]
    line: Row = {
        "fid": (one.fid or {}).get(TRANSLATED, math.nan),
        "cycle_l2": cycle["there and back"].norm.median,
        "cycle_rmse": cycle["there and back"].rmse.median,
        "reconstructed_l2": cycle["reconstructed"].norm.median,
        "reconstructed_rmse": cycle["reconstructed"].rmse.median,
        **_recovery("recovery", one.recovery),
        **_recovery("recovery_from_real", one.recovery_from_real),
        "own_source": one.identity.own_source,
        "seconds_per_image": one.seconds_per_image,
        "minutes": one.minutes,
        "steps": one.steps,
        "parameters": one.parameters,
        "machine": one.machine,
        "n_translated": one.n_translated,
    }
    if kept:
        line["kept_channel"] = kept
        line["kept_correlation"] = one.identity.correlation[kept].median
        line["kept_correlation_with_real"] = one.identity.correlation_with_real[kept].median
    if one.identity.nuclei_kept is not None:
        line["nuclei_kept"] = one.identity.nuclei_kept.median
    if one.classifier is not None:
        rate = one.classifier.judged.translated
        line |= {"classified": rate.value, "classified_low": rate.low, "classified_high": rate.high}
    if one.memorisation is not None:
        line["nearest_training"] = one.memorisation.translated.median
        line["copies_of_training"] = one.memorisation.copies
    return line


def _of_real(one: MethodMetrics) -> Row:
    line: Row = {
        "fid": (one.fid or {}).get(REAL, math.nan),
        **_recovery("recovery_from_real", one.recovery_of_real),
    }
    if one.classifier is not None:
        rate = one.classifier.judged.real
        line |= {"classified": rate.value, "classified_low": rate.low, "classified_high": rate.high}
    if one.memorisation is not None:
        line["nearest_training"] = one.memorisation.held_out.median
    return line


def _recovery(name: str, found: Recovered) -> Row:
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table that is read: its title, its text, and how far a value is from best."""

    key: str
    title: str
    digits: int
    miss: Callable[[float], float] | None = None
    interval: bool = False


def _low(value: float) -> float:
    return value


def _none(value: float) -> float:
    return max(value, 0.0)  # an unbiased estimate below zero is no better than zero


def _high(value: float) -> float:
    return -value


def _one(value: float) -> float:
    return abs(value - 1)


_COLUMNS = (
    _Column("kernel", "kernel distance", 4, _none, interval=True),
    _Column("frechet", "Fréchet distance", 1, _low),
    _Column("fid", "FID", 1, _low),
    _Column("cycle_l2", "cycle, L2", 0, _low),
    _Column("cycle_rmse", "cycle, RMSE", 4, _low),
    _Column("recovery", "recovery, from reconstructed", 2, _one, interval=True),
    _Column("recovery_from_real", "recovery, from real", 2, _one, interval=True),
    _Column("kept_correlation_with_real", "{kept} kept", 3, _high),
    _Column("nuclei_kept", "nuclei kept", 3, _high),
    _Column("own_source", "own source", 2, _high),
    _Column("classified", "taken for {target}", 2, _high),
    _Column("nearest_training", "nearest training image", 3, _low),
    _Column("seconds_per_image", "s per image", 2),
    _Column("parameters", "weights that learn", 0),
    _Column("steps", "steps", 0),
    _Column("minutes", "minutes", 1),
)


def write_tables(
    out: Path, record: BenchmarkRecord, methods: Mapping[str, MethodMetrics]
) -> tuple[Path, ...]:
    """Write ``table.csv`` and ``table.md``.

    Parameters
    ----------
    out : Path
        Folder of the benchmark.
    record : BenchmarkRecord
        What was asked.
    methods : mapping of str to MethodMetrics
        Those that are done; one at least.

    Returns
    -------
    tuple of Path
    """
    lines = rows(methods)
    names = list(dict.fromkeys(name for line in lines for name in line))
    text = io.StringIO()
    writer = csv.DictWriter(Rows(text, "\n"), names, restval="", lineterminator=Rows.end)
    writer.writeheader()
    writer.writerows({k: _plain(v) for k, v in line.items()} for line in lines)
    files = out / "table.csv", out / "table.md"
    for path, content in zip(files, (text.getvalue(), markdown(record, methods)), strict=True):
        with write_atomic(path) as aside:
            aside.write_text(content, encoding="utf-8", newline="")
    return files


def markdown(record: BenchmarkRecord, methods: Mapping[str, MethodMetrics]) -> str:
    """Write the table of all channels together, with what one must know to read it."""
    config = record.config
    lines = [row for row in rows(methods) if row["channel"] == ALL_CHANNELS]
    kept = str(next((row["kept_channel"] for row in lines if "kept_channel" in row), ""))
    columns = [c for c in _COLUMNS if any(_known(row.get(c.key)) for row in lines)]
    titles = [c.title.format(kept=kept, target=config.target) for c in columns]
    table = [["method", *titles], ["---"] * (1 + len(columns))]
    best = {column.key: _best(column, lines) for column in columns}
    for row in lines:
        name = str(row["method"])
        label = f"{name} ({row['preset']})" if row.get("preset") else name
        cells = [_cell(column, row, best[column.key]) for column in columns]
        table.append([label, *cells])
    n = next((row["n"] for row in lines if "n" in row), None)
    about = [
        _in_markdown(f"# {record.data}: {config.source} to {config.target}"),
        "",
        f"`{config.command(record.data)}`",
        "",
        *(_in_markdown(f"- {line}") for line in _told(record, methods, n)),
        "",
    ]
    text = ["| " + " | ".join(map(_in_markdown, cells)) + " |" for cells in table]
    missing = [name for name in METHODS if name not in methods]
    after = ["", f"Not done yet: {', '.join(missing)}."] if missing else []
    notes = [
        _in_markdown(f"- {name}: {note}")
        for name, one in methods.items()
        for note in one.notes
        if not note.startswith("No channel is known")
    ]
    after += ["", *notes] if notes else []
    return "\n".join([*about, *text, *after]) + "\n"


def _in_markdown(text: str) -> str:
    """Write names so that they end no cell of a table and are no HTML."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _told(
    record: BenchmarkRecord, methods: Mapping[str, MethodMetrics], n: Cell | None
) -> Iterator[str]:
    """Say how the numbers of the table were made."""
    config = record.config
    some = next(iter(methods.values()))
    seen, aim = (len(record.training[name]) for name in (config.source, config.target))
    machines = dict.fromkeys(one.machine for one in methods.values() if one.machine)
    yield (
        f"Trained on {seen} and {aim} images, {config.budget} each, on "
        f"{'; '.join(machines) or 'nothing yet'}."
    )
    yield f"Baselines in the preset `{config.preset}`."
    wells = "" if config.wells is None else ", no well of which is on both sides"
    crop = "" if config.crop is None else f" Of each the middle {config.crop} pixels."
    yield (
        f"{some.n_translated} test images of {config.source} translated there and back, none of "
        f"which was trained on{wells}.{crop}"
    )
    yield (
        "No distances."
        if n is None
        else f"Distances over {_features(some)}, at N = {n} tiles on each side, to the same real "
        f"test images of {config.target}; intervals are over tiles, counted as if those of one "
        "image or well were independent, so they are too narrow."
    )
    yield (
        f"Recovery of `{some.measurement}` (profile {config.profile}), 95 % intervals; images are "
        "counted, so those of few wells are too narrow."
    )
    yield (f"Cycle: medians over test images; {NORM_WORDS}; {RMSE_WORDS}, 1 is all of it.")
    for one in methods.values():
        if one.identity.given:
            yield (
                f"{', '.join(one.identity.given)} is given to {one.method} and left as it is: *own "
                "source* and *nearest training image* are over its other channels; in cycle "
                "errors, which are over all channels, it counts with an error of 0."
            )
    yield (
        "Bold is the best of the trained methods: recovery the nearest to 1. *copy* is the source "
        f"image itself, *{REAL}* other real images of {config.target}."
    )


def _features(one: MethodMetrics) -> str:
    return next((row.features for row in one.distances), "")


def _best(column: _Column, lines: Sequence[Row]) -> float | None:
    miss = column.miss
    values = [
        float(row[column.key])
        for row in lines
        if row["method"] not in NOT_BEST and _known(row.get(column.key))
    ]
    return None if miss is None or len(values) < 2 else min(map(miss, values))


def _cell(column: _Column, row: Row, best: float | None) -> str:
    value = row.get(column.key)
    if not _known(value) or (row["method"] in NOT_BEST and column.key in _OF_TRAINING):
        return ""
    assert value is not None
    number = float(value)
    text = f"{number:,.{column.digits}f}".replace("-", "−")
    is_best = best is not None and column.miss is not None and column.miss(number) == best
    if is_best and row["method"] not in NOT_BEST:
        text = f"**{text}**"
    ends = row.get(f"{column.key}_low"), row.get(f"{column.key}_high")
    if column.interval and all(_known(end) for end in ends):
        low, high = (f"{float(end or 0):.{column.digits}f}".replace("-", "−") for end in ends)
        text += f" ({low} to {high})"
    return text


_OF_TRAINING = ("seconds_per_image", "parameters", "steps", "minutes")


def _known(value: Cell | None) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _plain(value: Cell) -> Cell:
    return "" if isinstance(value, float) and math.isnan(value) else value
