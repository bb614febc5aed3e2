"""What is looked at around a position."""

import pytest
import torch

from napari_why.transport.features import (
    EVIDENCE_HALO,
    HALO,
    LatentLayout,
    conditions,
    evidence_features,
    moving_features,
    positions,
)

LAYOUTS = [
    LatentLayout(8, 4, 4),
    LatentLayout(8, 0, 4),
    LatentLayout(3, 2, 1),
    LatentLayout(32, 16, 16),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [(20, 21), (3, 40), (1, 1)])
def test_the_layout_tells_how_many_there_are(layout: LatentLayout, size: tuple[int, int]) -> None:
    latent = torch.rand(2, layout.channels, *size)
    assert conditions(latent, layout).shape == (2, layout.conditions, *size)
    assert moving_features(latent, layout).shape == (2, layout.moving, *size)
    coarse = tuple(-(-side // 2) for side in size)
    assert evidence_features(latent, layout).shape == (2, layout.evidence, *coarse)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_conditions_know_locked_channels_alone_and_what_moves_free_ones(
    layout: LatentLayout,
) -> None:
    latent = torch.rand(1, layout.channels, 24, 24)
    other_free, other_locked = latent.clone(), latent.clone()
    other_free[:, layout.locked :] += 1
    other_locked[:, : layout.locked] += 1
    assert torch.equal(conditions(latent, layout), conditions(other_free, layout))
    assert torch.equal(moving_features(latent, layout), moving_features(other_locked, layout))


def test_the_positions_own_free_channels_come_first() -> None:
    layout = LatentLayout(6, 2, 2)
    latent = torch.rand(2, 6, 20, 20)
    assert torch.equal(moving_features(latent, layout)[:, :4], latent[:, 2:])


def test_means_are_taken_over_the_phases_of_one_input_channel() -> None:
    layout = LatentLayout(4, 0, 2)
    latent = torch.zeros(1, 4, 24, 24)
    latent[:, 2:] = torch.tensor([1.0, 3.0]).reshape(1, 2, 1, 1)
    means = moving_features(latent, layout)[0, -6:, 12, 12]  # three scales of two channels
    torch.testing.assert_close(means.reshape(3, 2), torch.tensor([[0.0, 2.0]]).expand(3, 2))


def test_nothing_is_seen_beyond_the_halo() -> None:
    layout = LatentLayout(4, 2, 2)
    latent = torch.zeros(1, 4, 81, 81)
    lit = latent.clone()
    lit[:, :, 40, 40] = 1
    for look, halo in ((conditions, HALO), (moving_features, HALO)):
        seen = (look(lit, layout) != look(latent, layout)).any(1)[0].nonzero()
        assert seen.min() == 40 - halo
        assert seen.max() == 40 + halo
    places = evidence_features(lit, layout) != evidence_features(latent, layout)
    reach = (2 * places.any(1)[0].nonzero() + 0.5 - 40).abs().max()
    assert reach + 3 * 2 <= EVIDENCE_HALO  # two convolutions and an interpolation follow


def test_positions_are_rows() -> None:
    maps = torch.arange(24.0).reshape(2, 3, 2, 2)
    rows = positions(maps)
    assert rows.shape == (8, 3)
    assert torch.equal(rows[5], maps[1, :, 0, 1])
