from __future__ import annotations

import gc

import pytest

from napari_phenldiff.viewer.collector import Collector
from napari_phenldiff.viewer.drawing import load_matplotlib


def test_the_last_one_that_pauses_it_lets_it_go_on():
    collector = Collector()
    collector.pause()
    with collector.paused():
        assert not gc.isenabled()
    assert not gc.isenabled()
    collector.resume()
    assert gc.isenabled()


def test_what_fails_lets_it_go_on():
    with pytest.raises(ImportError), Collector().paused():
        raise ImportError
    assert gc.isenabled()


def test_one_that_is_off_stays_off():
    gc.disable()
    try:
        with Collector().paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_no_pass_is_made_while_matplotlib_is_imported(monkeypatch: pytest.MonkeyPatch):
    import builtins

    passes: list[bool] = []
    real = builtins.__import__

    def watched(name: str, *rest, **more):
        if name.startswith("matplotlib"):
            passes.append(gc.isenabled())
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", watched)
    load_matplotlib()
    assert passes
    assert not any(passes)
    assert gc.isenabled()
