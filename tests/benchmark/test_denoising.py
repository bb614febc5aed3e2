"""Denoisers side by side: what is added, what is measured, and against what."""

import numpy as np
import pytest
import torch

from napari_why.benchmark.denoising import (
    AUTOENCODER,
    BLIND,
    MEANS,
    NOISY,
    DenoisingOptions,
    add_noise,
    compare_denoisers,
    estimate_deviation,
    signal_to_noise,
    take_non_local_means,
)
from napari_why.core.errors import WhyError
from napari_why.simulation import simulate


def test_all_denoisers_are_measured_on_the_same_noisy_test_images() -> None:
    options = DenoisingOptions(size=32, epochs=1, autoencoder_epochs=1)
    dataset = simulate(32, size=32)
    table = compare_denoisers(
        dataset,
        options,
        network_parameters={"widths": "4,8", "latent_dimensions": 6},
        widths="4,6",
    )
    assert set(table["method"]) == {NOISY, MEANS, AUTOENCODER, BLIND}
    assert set(table["channel"]) == set(dataset.channels)
    assert (table["images"] == len(dataset.split(seed=0).part("test"))).all()
    assert table.notna().all(axis=None)
    noisy = table[table["method"] == NOISY]
    # noise of half a channel's deviation, and nothing else, is the error of doing nothing
    deviations = [
        np.mean([image.values[place].std() for image in map(dataset.image, range(8))])
        for place in range(2)
    ]
    expected = np.array(deviations) * 0.5 * np.sqrt(2 / np.pi)
    np.testing.assert_allclose(noisy["absolute_error"], expected, rtol=0.5)
    assert (noisy["detail"] > 1).all()


def test_noise_is_independent_and_of_the_deviation_that_was_asked_for() -> None:
    added = add_noise(torch.zeros(4, 2, 64, 64), 0.5, seed=1)
    assert added.std().item() == pytest.approx(0.5, rel=0.02)
    neighbours = np.corrcoef(added[..., :-1].flatten(), added[..., 1:].flatten())[0, 1]
    assert abs(neighbours) < 0.02
    assert torch.equal(added, add_noise(torch.zeros(4, 2, 64, 64), 0.5, seed=1))


def test_the_deviation_of_noise_is_estimated_beside_structure() -> None:
    edges = np.zeros((128, 128))
    edges[:, 40:] = 50
    noise = np.random.default_rng(0).normal(scale=2.5, size=edges.shape)
    assert estimate_deviation(edges + noise) == pytest.approx(2.5, rel=0.1)
    assert estimate_deviation(edges) == 0


def test_non_local_means_take_noise_away_and_leave_levels() -> None:
    clean = torch.zeros(1, 1, 48, 48)
    clean[..., 24:] = 4
    noisy = add_noise(clean, 0.3, seed=0)
    denoised = take_non_local_means(noisy)
    assert denoised.shape == clean.shape
    assert (denoised - clean).square().mean() < 0.3 * (noisy - clean).square().mean()


def test_the_signal_to_noise_ratio_is_in_decibels_of_the_range() -> None:
    plane = np.linspace(0, 50, 100).reshape(10, 10)
    assert signal_to_noise(plane + 0.5, plane) == pytest.approx(40)
    assert np.isnan(signal_to_noise(plane, plane))
    assert np.isnan(signal_to_noise(plane, np.ones((10, 10))))


def test_cancelled_nothing_is_kept() -> None:
    with pytest.raises(WhyError):
        compare_denoisers(simulate(16, size=32), DenoisingOptions(size=32), cancelled=lambda: True)
