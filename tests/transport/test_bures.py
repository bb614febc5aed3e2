"""The optimal transport between two Gaussians arrives at the target's covariance."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.transport.maps import transport_matrix


def covariance(width: int, rank: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(width, rank, generator=generator, dtype=torch.float64)
    return factor @ factor.T


@settings(max_examples=20, deadline=None)
@given(width=st.integers(1, 6), seed=st.integers(0, 10**6))
def test_it_arrives_and_it_is_a_transport_of_least_cost(width: int, seed: int) -> None:
    source = covariance(width, width + 2, seed) + 0.01 * torch.eye(width, dtype=torch.float64)
    target = covariance(width, width + 2, seed + 1)
    matrix = transport_matrix(source, target)
    torch.testing.assert_close(matrix @ source @ matrix, target, rtol=1e-6, atol=1e-7)
    # of all linear maps that arrive, the one with a symmetric, positive matrix moves least
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix).min() > -1e-9


def test_equal_gaussians_are_left_alone() -> None:
    same = covariance(4, 6, seed=3)
    torch.testing.assert_close(
        transport_matrix(same, same), torch.eye(4, dtype=torch.float64), rtol=1e-6, atol=1e-7
    )


def test_directions_in_which_the_source_does_not_vary_are_left_alone() -> None:
    source = torch.diag(torch.tensor([4.0, 0.0], dtype=torch.float64))
    target = torch.diag(torch.tensor([1.0, 9.0], dtype=torch.float64))
    matrix = transport_matrix(source, target)
    torch.testing.assert_close(matrix, torch.diag(torch.tensor([0.5, 1.0], dtype=torch.float64)))
