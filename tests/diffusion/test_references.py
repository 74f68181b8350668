import numpy as np
import pytest
import torch

from napari_phenldiff.diffusion.base import BaseModel
from napari_phenldiff.diffusion.noising import add_noise, noise_loss
from napari_phenldiff.diffusion.references import (
    choose_normalised,
    choose_references,
    given_latents,
    in_words,
)
from napari_phenldiff.diffusion.separation import (
    Separation,
    _mixed_wells,
    highest_without_phenotype,
    separation,
)
from napari_phenldiff.errors import InputError

C = 16


@pytest.fixture(scope="module")
def base():
    return BaseModel.load("bundled")


def latents(n, *, gains=(1.0, 1.0), seed=0):
    """Two channels of noise whose spread differs from image to image, times a gain each."""
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(n, 2, C, 8, 8, generator=generator)
    z = z * torch.exp(0.1 * torch.randn(n, 2, 1, 1, 1, generator=generator))
    return (z * torch.tensor(gains).view(1, 2, 1, 1, 1)).flatten(1, 2)


def separate(first, second, images=None):
    images = images or [np.arange(len(first)), np.arange(len(second))]
    return separation([first, second], images, coefficients=C, channels=2).channels


def test_only_the_channel_that_differs_separates_the_conditions():
    same, different = separate(latents(60), latents(60, gains=(1.0, 1.5), seed=1))
    assert abs(same - 0.5) < 0.15
    assert different > 0.95


def test_separation_is_the_same_each_time():
    a, b = latents(20), latents(20, seed=1)
    assert separate(a, b) == separate(a, b)


def test_tiles_of_one_image_are_not_evidence():
    """Ten images per condition, each with a texture of its own, are ten images and no more."""
    generator = torch.Generator().manual_seed(3)
    texture = torch.exp(0.3 * torch.randn(20, 2 * C, 1, 1, generator=generator))
    z = latents(200) * texture.repeat_interleave(10, 0)
    index = np.repeat(np.arange(10), 10)
    as_if_all_were_images = separate(z[:100], z[100:])
    grouped = separate(z[:100], z[100:], [index, index])
    assert min(as_if_all_were_images) > 0.8  # what would have been believed
    assert max(grouped) < highest_without_phenotype([10, 10])


def test_too_few_images_make_no_reference(base):
    assert separate(latents(7), latents(40, seed=1)) == (1.0, 1.0)
    for n in (2, 3, 4, 7):
        few = [latents(n), latents(n, seed=1)]
        found = separation(few, [np.arange(n)] * 2, coefficients=C, channels=2)
        assert found.found
        assert choose_references("auto", ("DNA", "GFP"), found, base) == ()


def test_of_many_conditions_the_pair_that_differs_most_counts():
    three = [latents(30), latents(30, seed=1), latents(30, gains=(1.0, 1.6), seed=2)]
    same, different = separation(three, [np.arange(30)] * 3, coefficients=C, channels=2).channels
    assert same < 0.8 < different


def test_with_few_images_more_separation_is_asked_for():
    assert highest_without_phenotype([100, 100]) == 0.7
    assert highest_without_phenotype([10, 10]) == pytest.approx(0.83, abs=0.01)
    assert highest_without_phenotype([200, 10, 12]) == highest_without_phenotype([12, 10])


def test_auto_takes_channels_that_do_not_separate(base):
    assert choose_references("auto", ("DNA", "GFP"), Separation((0.55, 0.95), 0.95), base) == (
        "DNA",
    )
    assert choose_references("auto", ("DNA", "GFP"), Separation((0.8, 0.95), 0.95), base) == ()


@pytest.mark.parametrize(
    ("dna", "gfp", "is_reference"),
    [
        (0.69, 0.72, True),
        (0.71, 0.72, False),
        (0.75, 0.96, True),  # wells, not a phenotype
        (0.80, 0.96, False),
        (0.80, 1.00, False),
        (0.73, 0.90, True),
        (0.76, 0.90, False),
    ],
)
def test_a_channel_far_behind_the_best_is_a_reference(dna, gfp, is_reference):
    assert Separation((dna, gfp), 1.0).references == (is_reference, False)


def test_where_only_all_together_separate_one_channel_is_left_to_translate(base):
    found = Separation((0.52, 0.5), together=0.9)
    assert choose_references("auto", ("DNA", "GFP"), found, base) == ("GFP",)


def test_where_nothing_separates_nothing_is_translated(base):
    found = Separation((0.52, 0.5), together=0.6)
    assert not found.found
    assert choose_references("auto", ("DNA", "GFP"), found, base) == ("DNA", "GFP")
    assert choose_references((), ("DNA", "GFP"), found, base) == ()


def test_how_channels_lie_together_separates():
    """The same channels in both conditions, but in one of them they coincide."""
    apart, together = latents(40), latents(40, seed=1)
    together = torch.cat([together[:, :C], together[:, :C]], 1)
    found = separation([apart, together], [np.arange(40)] * 2, coefficients=C, channels=2)
    assert max(found.channels) < 0.75
    assert found.together > 0.95
    assert found.found


def test_the_users_choice_is_kept(base):
    assert choose_references(("GFP",), ("DNA", "GFP"), Separation((0.55, 0.95), 0.95), base) == (
        "GFP",
    )
    assert choose_references((), ("DNA", "GFP"), Separation((0.55, 0.95), 0.95), base) == ()


def test_channels_that_do_not_exist_are_refused(base):
    with pytest.raises(InputError, match=r"no channel \"RFP\".*\"DNA\", \"GFP\""):
        choose_references(("RFP",), ("DNA", "GFP"), Separation((0.5, 0.9), 0.95), base)


def test_all_channels_as_references_are_refused(base):
    with pytest.raises(InputError, match="none is left to translate"):
        choose_references(("DNA", "GFP"), ("DNA", "GFP"), Separation((0.5, 0.9), 0.95), base)


def bright(channels, structure):
    return Separation(channels, 1.0, structure=structure)


@pytest.mark.parametrize(
    ("channels", "structure", "alone"),
    [
        ((0.95, 0.95), (0.55, 0.99), (True, False)),  # DNA of another day
        ((1.00, 0.90), (0.60, 0.85), (True, False)),  # by far the brightest difference, still
        ((0.75, 0.95), (0.55, 0.99), (False, False)),  # wells: a reference anyway
        ((0.95, 0.95), (0.90, 0.99), (False, False)),  # brightness and structure differ
        ((0.55, 1.00), (0.55, 0.60), (False, False)),  # nothing but brightness: the phenotype
        ((0.55, 1.00), (0.75, 0.60), (False, False)),  # structure as wells have it is none
        ((1.0, 1.0), (1.0, 1.0), (False, False)),  # too few images to tell
    ],
)
def test_brightness_alone_needs_a_phenotype_of_structure(channels, structure, alone):
    assert bright(channels, structure).brightness_alone == alone


def test_where_channels_lie_together_otherwise_brightness_alone_is_told(base):
    names = ("DNA", "GFP")
    found = Separation((1.0, 0.75), 1.0, structure=(0.55, 0.7), arrangement=0.9)
    assert found.brightness_alone == (True, False)
    counted = found.normalised(found.brightness_alone)
    assert choose_references("auto", names, counted, base) == ("DNA",)
    # what lies otherwise may be the one that is brighter
    marker = Separation((0.55, 1.0), 1.0, structure=(0.55, 0.6), arrangement=0.9)
    assert marker.brightness_alone == (False, False)
    assert not marker.only_brightness


def test_a_normalised_channel_counts_by_its_structure(base):
    names = ("DNA", "GFP")
    found = bright((1.0, 0.95), (0.55, 0.99))
    assert choose_references("auto", names, found, base) == ()
    normalised = choose_normalised("auto", names, found)
    assert normalised == ("DNA",)
    counted = found.normalised([name in normalised for name in names])
    assert counted.channels == (0.55, 0.95)
    assert choose_references("auto", names, counted, base) == ("DNA",)
    assert found.normalised((False, False)) == found


def test_only_brightness_is_told():
    assert bright((0.55, 1.0), (0.55, 0.60)).only_brightness
    assert not bright((0.55, 1.0), (0.55, 0.80)).only_brightness
    assert not bright((0.55, 0.6), (0.55, 0.60)).only_brightness
    assert not Separation().only_brightness


def test_the_users_choice_of_normalised_channels_is_kept():
    found = bright((1.0, 0.95), (0.55, 0.99))
    assert choose_normalised((), ("DNA", "GFP"), found) == ()
    assert choose_normalised(("GFP",), ("DNA", "GFP"), found) == ("GFP",)
    assert choose_normalised("auto", ("DNA", "GFP"), Separation()) == ()
    with pytest.raises(InputError, match='no channel "RFP": choose one of "DNA", "GFP"'):
        choose_normalised(("RFP",), ("DNA", "GFP"), found)


def test_words_say_what_a_normalised_channel_is_without_its_brightness():
    found = bright((0.94, 0.95), (0.57, 0.99))
    text = in_words(("DNA", "GFP"), found, ("DNA",), ("DNA",))
    assert "DNA 0.94, without its brightness 0.57 (reference), GFP 0.95" in text


def test_words_say_which_channels_are_references():
    text = in_words(("DNA", "GFP"), Separation((0.55, 0.95), 0.97), ("DNA",))
    assert text.endswith("DNA 0.55 (reference), GFP 0.95, all together 0.97")
    assert "mixes channels" in in_words(("DNA",), Separation(), ())


def test_given_latents_are_references_and_missing_channels(base):
    given = given_latents(base, ("DNA", "GFP"), ("DNA",)).flatten().tolist()
    assert given == [True] * 16 + [False] * 16 + [True] * 16 * (base.image_channels - 2)


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
def test_given_latents_are_not_noised_and_not_asked_for(kind):
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(2, 4, 3, 3, generator=generator)
    noise = torch.randn(2, 4, 3, 3, generator=generator)
    given = torch.tensor([True, False, False, False]).view(1, 4, 1, 1)
    alphas = torch.tensor([0.3, 0.8])
    noisy, target = add_noise(clean, noise, alphas, given, prediction_type=kind)
    assert torch.equal(noisy[:, :1], clean[:, :1])
    a, s = alphas.sqrt().view(-1, 1, 1, 1), (1 - alphas).sqrt().view(-1, 1, 1, 1)
    torch.testing.assert_close(noisy[:, 1:], (a * clean + s * noise)[:, 1:])
    wrong_where_given = torch.where(given, target + 5, target)
    assert noise_loss(wrong_where_given, target, given) == 0
    assert noise_loss(target + 1, target, given) == pytest.approx(1)


def wells_that_differ(
    rng: np.random.Generator, shift: float, first: float = 0.0
) -> tuple[list, list, list]:
    """Latents of 2 channels, images and wells: each well has its own grain in channel 0."""
    latents, images, wells = [], [], []
    for condition in range(2):
        tiles, own = [], []
        for well in range(3):
            z = rng.normal(0, 1, (24, 2 * C, 16, 16))
            spread = rng.normal(0, 0.13, (1, C - 1, 1, 1)) + rng.normal(0, 0.2, (24, C - 1, 1, 1))
            z[:, 1:C] *= np.exp(spread + first * condition)
            z[:, C + 1 :] *= np.exp(shift * condition)
            z[:, ::C] = np.abs(z[:, ::C]) * 3
            tiles.append(z)
            own += [well] * len(z)
        latents.append(torch.from_numpy(np.concatenate(tiles).astype(np.float32)))
        images.append(np.arange(72))
        wells.append(np.array(own))
    return latents, images, wells


@pytest.mark.parametrize("seed", range(8))
def test_a_channel_in_which_wells_differ_as_much_as_conditions_is_a_reference(seed):
    latents, images, wells = wells_that_differ(np.random.default_rng(seed), shift=0.5)
    found = separation(latents, images, coefficients=C, channels=2, wells=wells)
    assert found.channels[1] > 0.95
    assert found.references == (True, False)
    blind = separation(latents, images, coefficients=C, channels=2)
    assert (blind.wells, blind.wells_structure) == ((), ())


def test_a_channel_in_which_conditions_differ_more_than_wells_is_none():
    latents, images, wells = wells_that_differ(np.random.default_rng(1), shift=0.5, first=0.5)
    found = separation(latents, images, coefficients=C, channels=2, wells=wells)
    assert found.wells[0] > 0.7
    assert found.references == (False, False)


def test_wells_of_whole_plates_are_mixed_in_some_ways_only():
    described = (np.zeros((192, 3)), np.ones((192, 3)))
    wells = (np.repeat(np.arange(48), 4),) * 2
    found = list(_mixed_wells(described, wells))
    assert len(found) == 19
    assert all(first.mean() == second.mean() == 0.5 for first, second in found)


def test_one_well_of_a_condition_tells_nothing_of_wells():
    latents, images, wells = wells_that_differ(np.random.default_rng(0), shift=0.5)
    wells[0][:] = 0
    found = separation(latents, images, coefficients=C, channels=2, wells=wells)
    assert found.wells == ()
