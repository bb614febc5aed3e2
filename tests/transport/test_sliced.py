"""Quantile corrections give the moved positions the target's laws."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from napari_why.transport.maps import QUANTILES, SlicedCorrection, quantile_mapped, quantiles_of

COUNT = 8000
STEPS = torch.linspace(0.02, 0.98, 25)


def laws(seed: int) -> tuple[Tensor, Tensor]:
    """Return a Gaussian cloud and one of the same moments, of which one axis has two humps."""
    generator = torch.Generator().manual_seed(seed)
    source = torch.randn(COUNT, 2, generator=generator)
    humps = 0.95 * torch.sign(torch.randn(COUNT, 1, generator=generator))
    first = humps + 0.3 * torch.randn(COUNT, 1, generator=generator)
    skewed = torch.empty(COUNT, 1).exponential_(generator=generator) - 1
    return source, torch.cat([first, skewed], 1)


def gap(one: Tensor, other: Tensor) -> float:
    found, wanted = (torch.quantile(item, STEPS, dim=0) for item in (one, other))
    return float((found - wanted).abs().mean())


def fitted(source: Tensor, target: Tensor, rounds: int) -> SlicedCorrection:
    return SlicedCorrection.fit(source, target, rounds, torch.Generator().manual_seed(0))


def test_the_quantiles_match_those_of_the_target_on_positions_of_its_own() -> None:
    source, target = laws(0)
    fresh_source, fresh_target = laws(1)
    before = gap(fresh_source, fresh_target)
    assert before > 0.15
    moved = fitted(source, target, 10)(fresh_source)
    assert gap(moved, fresh_target) < 0.3 * before
    # along directions that were never asked for, too
    turned = torch.tensor([[0.6, -0.8], [0.8, 0.6]])
    assert gap(moved @ turned, fresh_target @ turned) < 0.1


def test_without_rounds_nothing_changes() -> None:
    source, target = laws(0)
    correction = fitted(source, target, 0)
    torch.testing.assert_close(correction(source), source)
    assert correction.rotations.shape == (0, 2, 2)


def test_equal_laws_are_left_alone() -> None:
    source, _ = laws(0)
    again, _ = laws(1)
    moved = fitted(source, again, 10)(source)
    assert (moved - source).square().mean().sqrt() < 0.1


def test_the_same_generator_gives_the_same_correction() -> None:
    one, again = (fitted(*laws(0), 2) for _ in range(2))
    assert torch.equal(one.rotations, again.rotations)
    assert one.source.shape == one.target.shape == (2, QUANTILES, 2)


def test_a_channel_that_is_constant_stays_finite() -> None:
    source, target = laws(0)
    source[:, 1] = 0.5
    target[:, 1] = 0.5
    moved = fitted(source, target, 4)(source)
    assert torch.isfinite(moved).all()
    assert (moved[:, 1] - 0.5).abs().max() < 1e-3


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), ties=st.booleans())
def test_the_map_never_changes_the_order_of_values(seed: int, ties: bool) -> None:
    generator = torch.Generator().manual_seed(seed)
    source, target = (torch.randn(9, 1, generator=generator).sort(dim=0).values for _ in range(2))
    if ties:
        source[2:5] = source[2]
        source = source.sort(dim=0).values
    values = (3 * torch.randn(200, 1, generator=generator)).sort(dim=0).values
    mapped = quantile_mapped(values, source, target)
    assert mapped.diff(dim=0).min() > -1e-5
    outside = values < source[0]
    torch.testing.assert_close(
        (mapped - values)[outside], (target[0] - source[0]).expand(int(outside.sum()))
    )


@settings(max_examples=60)
@given(
    count=st.integers(1, 3000),
    width=st.integers(1, 9),
    scale=st.sampled_from([1e-3, 1.0, 1e4]),
    rounded=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_quantiles_are_those_of_torch(
    count: int, width: int, scale: float, rounded: bool, seed: int
) -> None:
    values = scale * torch.randn(count, width, generator=torch.Generator().manual_seed(seed))
    values = values.round() if rounded else values
    for shares in (torch.linspace(0, 1, QUANTILES), torch.linspace(0, 1, 201)):
        # bit for bit here; another processor may fuse a product and a sum in one of the two
        wanted = torch.quantile(values, shares, dim=0)
        torch.testing.assert_close(
            quantiles_of(values, shares), wanted, rtol=1e-6, atol=1e-6 * scale
        )


def test_of_a_column_with_what_is_no_number_there_are_no_quantiles() -> None:
    values = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    values[7, 1] = torch.nan
    shares = torch.linspace(0, 1, 5)
    wanted = torch.quantile(values, shares, dim=0)
    assert wanted[:, 1].isnan().all()
    torch.testing.assert_close(quantiles_of(values, shares), wanted, equal_nan=True)
