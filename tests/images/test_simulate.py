from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_phenldiff.errors import InputError
from napari_phenldiff.images import phenotypes
from napari_phenldiff.images.simulate import (
    PHENOTYPES,
    get_phenotype,
    simulate_fields,
    simulate_images,
    simulate_pairs,
)
from napari_phenldiff.measurement.structure import coherence, layout_correlation

KEY = {"translocation": "ratio", "golgi": "area", "neurons": "area", "beading": "area"}


@pytest.mark.parametrize("phenotype", PHENOTYPES)
def test_same_seed_same_fields_and_series_share_their_beginning(phenotype):
    three = list(simulate_pairs(phenotype, 3, seed=4))
    again = list(simulate_pairs(phenotype, 2, seed=4))
    later = list(simulate_pairs(phenotype, 1, seed=4, first=2))
    for a, b in zip([*three[:2], three[2]], [*again, *later], strict=True):
        assert a.source.name == b.source.name == a.target.name
        assert np.array_equal(a.source.data, b.source.data)
        assert np.array_equal(a.target.data, b.target.data)
    other = next(iter(simulate_pairs(phenotype, 1, seed=5)))
    assert not np.array_equal(other.source.data, three[0].source.data)


@pytest.mark.parametrize("phenotype", PHENOTYPES)
def test_one_side_of_pairs_has_the_same_images(phenotype):
    pairs = list(simulate_pairs(phenotype, 2, seed=3, size=64, first=1))
    for condition in ("source", "target"):
        images = simulate_images(phenotype, condition, 2, seed=3, size=64, first=1)
        wanted = [getattr(pair, condition) for pair in pairs]
        assert [image.name for image in images] == [image.name for image in wanted]
        for image, other in zip(images, wanted, strict=True):
            assert np.array_equal(image.data, other.data)


@pytest.mark.parametrize("phenotype", PHENOTYPES)
def test_fields_tell_what_is_there(phenotype):
    pairs = list(simulate_pairs(phenotype, 2, seed=3, first=1))
    for condition in ("source", "target"):
        fields = list(simulate_fields(phenotype, condition, 2, seed=3, first=1))
        for field, pair in zip(fields, pairs, strict=True):
            image = getattr(pair, condition)
            assert np.array_equal(field.image.data, image.data)
            assert field.drawing.truth == pair.truth[condition]
            if KEY[phenotype] == "area":
                assert field.drawing.masks[phenotype].sum() == field.drawing.truth["area"]
            # Only noise and rounding are between the two.
            error = image.data - np.clip(field.expected, 0, 255)
            assert abs(error.mean()) < 0.1
            assert 0.5 < error.std() < 5


@pytest.mark.parametrize("phenotype", PHENOTYPES)
def test_nuclei_are_where_the_stain_is(phenotype):
    (field,) = simulate_fields(phenotype, "target", 1, seed=6, size=160)
    nuclei = field.drawing.masks["nuclei"]
    dna = field.drawing.planes[field.image.channel_names.index("DNA")]
    assert nuclei.dtype == np.int32
    # Half of the dimmest stain is brighter than what reaches beyond the soft edge of others.
    rim = ndi.binary_dilation(nuclei > 0, iterations=2)
    assert dna[~rim].max() < 0.5 * np.percentile(dna[nuclei > 0], 1)
    for box, number in zip(ndi.find_objects(nuclei), range(1, nuclei.max() + 1), strict=True):
        if box is not None:
            assert ndi.label(nuclei[box] == number)[1] == 1


@pytest.mark.parametrize("phenotype", PHENOTYPES)
def test_pairs_show_the_same_cells(phenotype):
    """What the phenotype does not touch is the same to the last pixel, noise included."""
    kind = get_phenotype(phenotype)
    dna = kind.channel_names.index("DNA")
    for pair in simulate_pairs(phenotype, 4, seed=1):
        assert pair.source.data.dtype == np.uint8
        assert pair.source.data.shape == (len(kind.channel_names), 128, 128)
        assert np.array_equal(pair.source.data[dna], pair.target.data[dna])
        changed = [c for c in range(len(kind.channel_names)) if c != dna]
        assert any(not np.array_equal(pair.source.data[c], pair.target.data[c]) for c in changed)


@pytest.mark.parametrize("phenotype", PHENOTYPES)
def test_fields_vary_more_than_the_conditions_do(phenotype):
    key = KEY[phenotype]
    truths = [pair.truth for pair in simulate_pairs(phenotype, 40, seed=2)]
    source = np.log([truth["source"][key] for truth in truths])
    target = np.log([truth["target"][key] for truth in truths])
    effect = (target - source).mean()
    assert np.sign(effect) == (-1 if phenotype in ("neurons", "beading") else 1)
    # two fields of one condition differ by more than one field under the two conditions
    spread = np.abs(np.subtract.outer(source, source))[np.triu_indices(40, 1)]
    assert np.quantile(spread, 0.75) > 0.6 * abs(effect)
    assert (target - source).std() > 0.05


def test_marker_is_moved_not_made():
    """Translocation keeps each field's amount of marker (away from saturation)."""
    for pair in simulate_pairs("translocation", 5, seed=3):
        source, target = pair.source.data[1].astype(float), pair.target.data[1].astype(float)
        assert target.sum() == pytest.approx(source.sum(), rel=0.12)


def test_wrong_wishes_are_told():
    with pytest.raises(InputError, match="translocation, golgi, neurons, beading"):
        simulate_pairs("mitosis", 3)
    with pytest.raises(InputError, match="at least 1"):
        simulate_pairs("golgi", 0)
    with pytest.raises(InputError, match="32"):
        simulate_pairs("golgi", 1, size=16)


def test_neurites_break_into_beads_where_they_were():
    """The structure is another one, in the same places."""
    for pair in simulate_pairs("beading", 6, seed=7):
        whole, beaded = (image.data[0].astype(float) for image in (pair.source, pair.target))
        assert coherence(whole)[()] > coherence(beaded)[()] + 0.03
        assert layout_correlation(beaded[None], whole[None])[0] > 0.6


@pytest.mark.parametrize("name", phenotypes.PHENOTYPES)
def test_cells_are_drawn_in_the_part_of_a_field_that_they_are_in(name, monkeypatch):
    """So a field of a camera takes seconds; what is left out is too dark to be seen."""
    draw = phenotypes.PHENOTYPES[name].draw
    in_parts = draw(np.random.default_rng(3), 300, 0.5)
    monkeypatch.setattr(phenotypes, "_REACH", 1000.0)
    whole = draw(np.random.default_rng(3), 300, 0.5)
    np.testing.assert_allclose(in_parts.planes, whole.planes, atol=1e-9)
    for kind, mask in whole.masks.items():
        np.testing.assert_array_equal(in_parts.masks[kind], mask)
