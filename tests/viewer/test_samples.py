from __future__ import annotations

import pytest

from napari_phenldiff.viewer import samples


@pytest.mark.parametrize(
    ("open_sample", "names"),
    [
        (samples.translocation, ["untreated: DNA", "untreated: marker"]),
        (samples.golgi_scatter, ["control: Golgi", "control: tubulin", "control: DNA"]),
        (samples.neuron_loss, ["wild_type: neurons", "wild_type: DNA"]),
    ],
)
def test_a_sample_has_two_conditions_of_different_cells(monkeypatch, open_sample, names):
    monkeypatch.setattr(samples, "N_IMAGES", 2)

    layers = open_sample()

    assert [arguments["name"] for _, arguments, _ in layers][: len(names)] == names
    assert len(layers) == 2 * len(names)
    assert [arguments["visible"] for _, arguments, _ in layers] == (
        [True] * len(names) + [False] * len(names)
    )
    source, target = layers[0][0], layers[len(names)][0]
    assert source.shape == target.shape == (2, 128, 128)
    assert (source != target).mean() > 0.5
