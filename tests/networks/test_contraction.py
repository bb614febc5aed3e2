import pytest
import torch
from torch import Tensor

from napari_why.networks.contraction import MEMORY, BroydenMemory, SolverOptions, solve_contraction

OPTIONS = SolverOptions(tolerance=1e-5, max_evaluations=200)


class LinearMap:
    """g(x) = M x on flattened images, with the singular values given; counts its calls."""

    def __init__(self, singular_values: Tensor) -> None:
        generator = torch.Generator().manual_seed(0)
        size = len(singular_values)
        left = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
        right = torch.linalg.qr(torch.randn(size, size, generator=generator))[0]
        self.matrix = left @ torch.diag(singular_values) @ right.T
        self.images = 0

    def __call__(self, x: Tensor) -> Tensor:
        self.images += len(x)
        return (x.flatten(1) @ self.matrix.T).view_as(x)

    def solution(self, y: Tensor) -> Tensor:
        matrix = torch.eye(len(self.matrix)) + self.matrix
        return torch.linalg.solve(matrix.double(), y.flatten(1).double().T).T.view_as(y)


@pytest.mark.parametrize("largest", [0.1, 0.4, 0.7, 0.9])
def test_error_stays_within_the_tolerance(largest: float) -> None:
    g = LinearMap(torch.linspace(0.01, largest, 48))
    y = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    x, tracks = solve_contraction(g, y, OPTIONS)
    assert all(track.converged for track in tracks)
    assert (x - g.solution(y)).abs().max() < 2 * OPTIONS.tolerance


def test_evaluations_reported_are_those_made() -> None:
    g = LinearMap(torch.linspace(0.01, 0.9, 48))
    _, tracks = solve_contraction(g, torch.randn(4, 3, 4, 4), OPTIONS)
    assert sum(track.evaluations for track in tracks) == g.images


def test_slow_contraction_is_left_to_broyden_which_needs_fewer_evaluations() -> None:
    singular_values = torch.full((48,), 0.02)
    singular_values[:3] = 0.95
    g = LinearMap(singular_values)
    g.matrix = g.matrix @ g.matrix.T / 0.95  # symmetric: plain steps contract by 0.95 only
    y = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(2))
    x, (track,) = solve_contraction(g, y, OPTIONS)
    assert track.converged
    assert (x - g.solution(y)).abs().max() < 2 * OPTIONS.tolerance
    plain, residual = 0, y
    while residual.abs().max() > 1e-6:
        residual, plain = g(residual), plain + 1
    assert track.evaluations < plain / 4


def test_easy_image_stops_before_a_hard_one() -> None:
    def g(x: Tensor) -> Tensor:
        return 0.45 * torch.tanh(x)

    y = torch.stack([torch.full((1, 4, 4), 1e-6), torch.full((1, 4, 4), 1.0)])
    _, (easy, hard) = solve_contraction(g, y, OPTIONS)
    assert easy.evaluations < hard.evaluations


def test_expanding_map_is_reported_as_not_converged() -> None:
    _, tracks = solve_contraction(lambda x: 3 * x**3, torch.full((1, 1, 2, 2), 5.0), OPTIONS)
    assert not tracks[0].converged


def test_nan_is_reported_as_not_converged() -> None:
    _, tracks = solve_contraction(lambda x: 0.1 * x, torch.full((1, 1, 2, 2), torch.nan), OPTIONS)
    assert not tracks[0].converged


def test_evaluations_end_at_the_limit() -> None:
    g = LinearMap(torch.full((48,), 0.95))
    options = SolverOptions(tolerance=1e-12, max_evaluations=6)
    _, tracks = solve_contraction(g, torch.randn(1, 3, 4, 4), options)
    assert tracks[0].evaluations <= 7
    assert not tracks[0].converged


def test_tolerance_below_rounding_ends_at_the_limit_of_the_number_format() -> None:
    g = LinearMap(torch.linspace(0.01, 0.3, 48))
    y = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(3))
    x, (track,) = solve_contraction(g, y, SolverOptions(tolerance=1e-12, max_evaluations=200))
    assert track.converged
    assert track.evaluations < 60
    assert (x - g.solution(y)).abs().max() < 1e-5


def test_zero_stays_zero() -> None:
    x, (track,) = solve_contraction(lambda x: 0.5 * x, torch.zeros(1, 1, 2, 2), OPTIONS)
    assert track.converged
    assert not x.any()


def test_broyden_memory_learns_the_secant_condition() -> None:
    """After learning, the inverse Jacobian maps the last change of F to the last step."""
    memory, generator = BroydenMemory(), torch.Generator().manual_seed(4)
    for _ in range(MEMORY + 3):
        step = torch.randn(1, 2, 3, 3, generator=generator)
        change = step + 0.3 * torch.randn(1, 2, 3, 3, generator=generator)
        memory.learn(step, change)
        torch.testing.assert_close(memory.step(change), -step, atol=1e-4, rtol=1e-4)
