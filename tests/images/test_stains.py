"""What a channel shows, told by its name."""

from __future__ import annotations

import json

import pytest

from napari_phenldiff.errors import InputError
from napari_phenldiff.images import stains
from napari_phenldiff.images.stains import channels_showing, structures_in, teach


@pytest.fixture(autouse=True)
def nothing_taught(monkeypatch, tmp_path):
    monkeypatch.setattr(stains, "_taught", {})
    monkeypatch.setattr(stains, "stains_file", lambda: tmp_path / "stains.json")
    for cached in (stains._from_file, structures_in):
        cached.cache_clear()
    yield
    for cached in (stains._from_file, structures_in):
        cached.cache_clear()


@pytest.mark.parametrize(
    ("name", "structure"),
    [
        ("DAPI", "nuclei"),
        ("Hoechst 33342", "nuclei"),
        ("OrigDNA", "nuclei"),
        ("DRAQ5", "nuclei"),
        ("SiR-DNA", "nuclei"),
        ("To-PRO-3", "nuclei"),
        ("GM130-Alexa488", "golgi"),
        ("anti-Giantin", "golgi"),
        ("TGN46", "golgi"),
        ("MAP2", "neurites"),
        ("TuJ1", "neurites"),
        ("βIII-tubulin", "neurites"),
        ("α-Tubulin (488 nm)", "microtubules"),
        ("Phalloidin-TRITC", "actin"),
        ("AGP", "actin"),
        ("MitoTracker Deep Red", "mitochondria"),
        ("ER", "er"),
        ("ConA", "er"),
        ("RNA", "rna"),
        ("LAMP1", "lysosomes"),
        ("Brightfield", "transmitted light"),
    ],
)
def test_stains_are_known_by_their_names(name, structure):
    assert structure in structures_in(name)


@pytest.mark.parametrize("name", ["GFP", "channel 0", "marker", "cDNA3", "her2", "Lamin", "488"])
def test_what_shows_nothing_known(name):
    assert structures_in(name) == ()


def test_channels_are_found_by_what_they_show():
    names = ("GFP", "Hoechst", "GM130")
    assert channels_showing(names, "nuclei") == ["Hoechst"]
    assert channels_showing(names, "golgi", "nuclei") == ["Hoechst", "GM130"]


def test_stains_can_be_taught():
    assert structures_in("MyDye-2") == ()
    teach("nuclei", "mydye")
    assert structures_in("MyDye-2") == ("nuclei",)
    teach("golgi", "GFP")
    assert structures_in("GFP-DNA") == ("golgi",)
    with pytest.raises(InputError, match='no structure "membranes"'):
        teach("membranes", "x")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="is empty"):
        teach("golgi", " ")


def test_stains_of_ones_own_are_read_from_a_file(tmp_path):
    (tmp_path / "stains.json").write_text(json.dumps({"golgi": ["B4GALT1"]}))
    assert structures_in("b4galt1-RFP") == ("golgi",)


def test_a_damaged_file_of_stains_is_told(tmp_path):
    (tmp_path / "stains.json").write_text("{")
    with pytest.raises(InputError, match=r"stains\.json cannot be read as a list of stains"):
        structures_in("GFP")
