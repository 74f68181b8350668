"""Detail that the autoencoder loses is restored, less of it where a field is dimmer."""

import numpy as np

from napari_phenldiff.diffusion.detail import Detail


def make(brightness, part=1.0):
    seen = np.full((1, 32, 32), brightness, np.float32)
    noise = np.random.default_rng(0).normal(0, 0.05, seen.shape).astype(np.float32)
    return Detail(noise, seen, part), noise


def test_a_field_as_bright_as_it_was_gets_all_of_it():
    detail, noise = make(0.2)
    np.testing.assert_allclose(detail.put_back(detail.seen), detail.seen + noise, atol=1e-6)
    half, _ = make(0.2, part=0.5)
    np.testing.assert_allclose(half.put_back(detail.seen), detail.seen + noise / 2, atol=1e-6)


def test_where_light_is_gone_noise_falls_with_its_root():
    detail, noise = make(0.6)  # 0.8 of the way from black to white
    black = np.full_like(detail.seen, -1.0)
    left = (detail.put_back(black) - black).std() / noise.std()
    np.testing.assert_allclose(left, np.sqrt(0.01 / 0.81), rtol=1e-3)
    quarter = np.full_like(detail.seen, 2 * 0.2 - 1)
    left = (detail.put_back(quarter) - quarter).std() / noise.std()
    np.testing.assert_allclose(left, np.sqrt(0.21 / 0.81), rtol=1e-3)


def test_no_more_is_made_than_there_was():
    detail, noise = make(-0.8)
    white = np.ones_like(detail.seen)
    np.testing.assert_allclose(detail.put_back(white) - white, noise, atol=1e-6)
    # What comes from the model may lie below black.
    below = np.full_like(detail.seen, -1.2)
    assert np.isfinite(detail.put_back(below)).all()
