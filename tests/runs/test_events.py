from __future__ import annotations

import json
import math
import threading
from pathlib import Path

import pytest

from napari_phenldiff.runs.events import (
    Failed,
    Finished,
    Loading,
    Preview,
    Progress,
    Saved,
    Step,
    Warned,
    append_event,
    event_from_json,
    read_events,
)

ALL = [
    Loading("Loading the base model"),
    Warned("ünicode — “quoted”\nand a second line"),
    Step(1, 10, 0.5),
    Step(2, 10, 0.4, 12.5),
    Preview(2, "previews/step_000002.tif"),
    Saved(2, "checkpoints/step_000002"),
    Progress(1, 4, "a.tif", None),
    Failed("why"),
    Finished(10),
    Finished(4, stopped=True),
]


@pytest.mark.parametrize("event", ALL, ids=lambda e: type(e).__name__)
def test_an_event_comes_back_from_its_line_as_it_was(event):
    line = event.to_json()
    assert "\n" not in line
    assert event_from_json(line) == event


def test_events_carry_the_time():
    assert Loading("a", time=12.0).time == 12.0
    assert Loading("a").time > 1e9


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_diverged_is_strict_json(loss):
    line = Step(1, 2, loss).to_json()
    json.loads(line, parse_constant=pytest.fail)
    assert math.isnan(event_from_json(line).loss)


def test_fields_of_a_newer_version_are_passed_over():
    values = {**json.loads(Finished(3).to_json()), "mood": "good"}
    assert event_from_json(json.dumps(values)).step == 3


@pytest.mark.parametrize("line", ["", "{", "[]", "3", '{"event": "party"}', '{"event": "step"}'])
def test_what_is_no_event_is_refused(line):
    with pytest.raises(ValueError, match=r".*"):
        event_from_json(line)


def test_events_are_read_on_from_where_the_last_reading_ended(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    assert read_events(path) == ([], 0)
    append_event(path, ALL[0])
    first, offset = read_events(path)
    assert first == ALL[:1]
    assert read_events(path, offset) == ([], offset)
    for event in ALL[1:]:
        append_event(path, event)
    assert read_events(path, offset)[0] == ALL[1:]


@pytest.mark.parametrize("cut", range(1, 40, 7))
def test_a_line_being_written_is_left_for_the_next_reading(tmp_path: Path, cut):
    path = tmp_path / "events.jsonl"
    append_event(path, ALL[0])
    line = ALL[3].to_json().encode() + b"\n"
    with path.open("ab") as file:
        file.write(line[:cut])
    events, offset = read_events(path)
    assert events == ALL[:1]
    with path.open("ab") as file:
        file.write(line[cut:])
    assert read_events(path, offset)[0] == [ALL[3]]


def test_a_line_that_a_killed_process_left_half_spoils_no_other(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    append_event(path, ALL[0])
    with path.open("ab") as file:
        file.write(ALL[3].to_json().encode()[:-5])
    append_event(path, ALL[4])
    append_event(path, ALL[5])
    assert read_events(path)[0] == [ALL[0], ALL[4], ALL[5]]


def test_a_half_written_character_is_passed_over(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    path.write_bytes('{"event": "loading", "message": "µ'.encode()[:-1])
    append_event(path, ALL[0])
    assert read_events(path)[0] == ALL[:1]


def test_a_reader_beside_a_writer_sees_every_event_once(tmp_path: Path):
    path = tmp_path / "events.jsonl"
    writer = threading.Thread(
        target=lambda: [append_event(path, Step(i, 300, 0.1)) for i in range(300)]
    )
    writer.start()
    seen: list[int] = []
    offset = 0
    while len(seen) < 300:
        alive = writer.is_alive()
        events, offset = read_events(path, offset)
        seen += [event.step for event in events]
        assert events or alive or len(seen) == 300
    writer.join()
    assert seen == list(range(300))
