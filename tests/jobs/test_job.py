from __future__ import annotations

import gc
import math
import threading
import weakref
from collections.abc import Callable

import pytest
from napari.components import ViewerModel

from napari_phenldiff.jobs.job import Job, Jobs, JobState, duration
from napari_phenldiff.runs.events import (
    Failed,
    Finished,
    Loading,
    Preview,
    Progress,
    Saved,
    Step,
    Warned,
)


def test_a_training_is_told_by_its_events():
    job = Job("train", "Fine-tuning")
    ended: list[bool] = []
    job.ended.connect(lambda: ended.append(True))

    job.apply(Loading("reading"))
    assert (job.state, job.message) == (JobState.STARTING, "reading")
    job.apply(Warned("few images"))
    job.apply(Step(1, 10, 0.5, 9.0))
    job.apply(Step(2, 10, math.nan))
    job.apply(Preview(2, "previews/2.tif"))
    job.apply(Saved(2, "checkpoints/step_000002"))

    assert job.state is JobState.RUNNING
    assert (job.done, job.total, job.seconds_left) == (2, 10, None)
    assert job.losses == [(1, 0.5)]
    assert job.warnings == ["few images"]
    assert "step 2" in job.message
    assert not ended
    job.apply(Finished(10))
    assert job.state is JobState.FINISHED
    assert ended == [True]


def test_what_comes_after_the_end_is_ignored():
    job = Job("train", "Fine-tuning")
    ended: list[bool] = []
    job.ended.connect(lambda: ended.append(True))

    for event in (Finished(3), Failed("late"), Step(4, 5, 0.1)):
        job.apply(event)

    assert job.state is JobState.FINISHED
    assert job.losses == []
    assert ended == [True]


def test_a_failure_is_told_in_its_own_words():
    job = Job("translate", "Translating")
    job.apply(Progress(1, 4, "a.tif", 3.0))
    job.apply(Failed("the disk is full"))

    assert (job.state, job.message) == (JobState.FAILED, "the disk is full")
    assert job.seconds_left is None


@pytest.mark.parametrize("last", [Failed("killed\nstep 0/34"), Finished(2, stopped=True)])
def test_who_asked_for_the_end_is_not_told_of_a_failure(last):
    asked: list[bool] = []
    job = Job("train", "Fine-tuning", on_stop=lambda: asked.append(True))

    job.stop()
    assert job.state is JobState.STOPPING
    job.stop()
    job.apply(Step(2, 5, 0.1))
    assert job.state is JobState.STOPPING
    job.apply(last)

    assert job.state is JobState.STOPPED
    assert not job.message
    assert len(asked) == 2
    job.stop()
    assert len(asked) == 2


def test_jobs_are_found_by_kind_and_viewer():
    registry, one, two = Jobs(), ViewerModel(), ViewerModel()
    train, translate, other = Job("train", ""), Job("translate", ""), Job("train", "")
    registry.add(train, one)
    registry.add(translate, one)
    registry.add(other, two)

    assert registry.latest("train", one) is train
    assert registry.latest("train", two) is other
    assert registry.latest("translate", two) is None
    newer = Job("train", "")
    registry.add(newer, one)
    assert registry.latest("train", one) is newer
    assert set(registry.live()) == {newer, translate, other}
    newer.apply(Finished(1))
    assert newer not in set(registry.live())


def test_a_closed_viewer_does_not_stay_in_memory():
    registry, viewer = Jobs(), ViewerModel()
    registry.add(Job("train", ""), viewer)
    del viewer
    registry.add(Job("train", ""), other := ViewerModel())

    assert len(list(registry.live())) == 1
    assert registry.latest("train", other) is not None


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (math.nan, ""),
        (-3, "0 s"),
        (59.4, "59 s"),
        (134, "2 min 10 s"),
        (1234, "20 min"),
        (7260, "2 h 1 min"),
    ],
)
def test_times_are_told_roughly(seconds, text):
    assert duration(seconds) == text


def test_what_is_prepared_is_not_said_any_longer_once_steps_are_done():
    job = Job("train", "Fine-tuning")
    job.apply(Step(1, 10, 0.5))
    job.apply(Loading("Encoding the images"))
    assert job.message == "Encoding the images"
    job.apply(Step(2, 10, 0.5))
    assert job.message == ""
    job.apply(Saved(2, "adapter"))
    job.apply(Step(3, 10, 0.5))
    assert job.message == "saved at step 2"


class _Listener:
    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.heard: list[Job] = []
        self.then = then
        self.itself = self  # so that only the garbage collector takes it

    def hear(self, job: Job) -> None:
        self.heard.append(job)
        self.then()


def test_a_listener_that_is_collected_in_another_thread_keeps_none_from_hearing():
    begun, heard = threading.Event(), threading.Event()

    def hold_up(_: object) -> None:
        begun.set()
        heard.wait(10)

    def collect() -> None:
        going.clear()
        collecting.start()
        assert begun.wait(10)

    registry = Jobs()
    first, last = _Listener(collect), _Listener()
    # Their references die together; what is called for the first holds up the other's.
    going = [_Listener(), _Listener()]
    watched = weakref.ref(going[0], hold_up)
    for listener in (first, going[1], last):
        registry.listen(listener.hear)
    del listener
    collecting = threading.Thread(target=gc.collect)
    gc.disable()
    try:
        job = Job("train", "Fine-tuning")
        registry.add(job, ViewerModel())
    finally:
        gc.enable()
        heard.set()
    collecting.join(10)
    assert watched() is None
    assert first.heard == last.heard == [job]
