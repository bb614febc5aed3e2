"""Conditional Gaussians of known moments are carried onto each other."""

import torch
from torch import Tensor

from napari_why.transport.maps import ClassModel, Gates, map_between, with_one

FREE = 2
COUNT = 20_000
# rows: what two conditions and a constant make of three moving features
SOURCE = torch.tensor([[1.0, 0.0, 0.5], [0.0, -1.0, 0.5], [0.3, 0.0, 0.0]])
TARGET = torch.tensor([[-0.5, 0.7, 0.0], [1.0, 0.0, 0.5], [2.0, -1.0, 0.0]])
SOURCE_SPREAD = torch.tensor([[1.0, 0.0, 0.0], [0.5, 0.8, 0.0], [0.2, 0.1, 0.6]])
TARGET_SPREAD = torch.tensor([[0.5, 0.0, 0.0], [-0.6, 1.2, 0.0], [0.0, 0.3, 0.9]])


def drawn(law: Tensor, spread: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    known = torch.randn(COUNT, 2, generator=generator) * torch.tensor([1.0, 3.0])
    noise = torch.randn(COUNT, 3, generator=generator) @ spread.T
    return with_one(known) @ law + noise, known


def map_of(source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor], gates: Gates):
    models = [
        ClassModel.fit(moving, known, gates, torch.ones(len(moving)))
        for moving, known in (source, target)
    ]
    return map_between(*models, FREE)


def test_given_the_conditions_it_arrives_at_the_targets_mean_and_covariance() -> None:
    source, target = drawn(SOURCE, SOURCE_SPREAD, 0), drawn(TARGET, TARGET_SPREAD, 1)
    gates = Gates.fit(torch.cat([source[1], target[1]]), 1, seed=0)
    moving, known = drawn(SOURCE, SOURCE_SPREAD, 2)  # not those it was fitted on
    moved = map_of(source, target, gates)(moving, known, gates)
    law = torch.linalg.lstsq(with_one(known), moved).solution
    torch.testing.assert_close(law, TARGET[:, :FREE], atol=0.05, rtol=0)
    left = moved - with_one(known) @ law
    wanted = (TARGET_SPREAD @ TARGET_SPREAD.T)[:FREE, :FREE]
    torch.testing.assert_close(torch.cov(left.T), wanted, atol=0.08, rtol=0)


def test_between_equal_classes_nothing_moves() -> None:
    one, other = drawn(SOURCE, SOURCE_SPREAD, 0), drawn(SOURCE, SOURCE_SPREAD, 1)
    gates = Gates.fit(one[1], 1, seed=0)
    moved = map_of(one, other, gates)(*one, gates)
    assert (moved - one[0][:, :FREE]).square().mean().sqrt() < 0.05


def test_gates_follow_what_is_not_linear_in_the_conditions() -> None:
    generator = torch.Generator().manual_seed(0)
    place = torch.randint(0, 3, (COUNT,), generator=generator)
    known = 5.0 * place[:, None] + 0.3 * torch.randn(COUNT, 2, generator=generator)
    shift = torch.tensor([0.0, 3.0, 0.0])[place]  # only the middle of three places is moved
    source = torch.randn(COUNT, 3, generator=generator), known
    target = torch.randn(COUNT, 3, generator=generator) + shift[:, None], known

    def error(count: int) -> float:
        gates = Gates.fit(known, count, seed=0)
        moved = map_of(source, target, gates)(*source, gates)
        return float((moved - source[0][:, :FREE] - shift[:, None]).abs().mean())

    assert error(3) < 0.1
    assert error(1) > 0.5


def test_rare_places_count_as_they_are_weighted() -> None:
    generator = torch.Generator().manual_seed(0)
    moving = torch.cat([torch.zeros(900, 1), torch.ones(100, 1)])
    moving = moving + 0.01 * torch.randn(1000, 1, generator=generator)
    nothing = torch.empty(1000, 0)
    gates = Gates.fit(nothing, 8, seed=0)
    weights = torch.cat([torch.full((900,), 1e-4), torch.ones(100)])
    model = ClassModel.fit(moving, nothing, gates, weights)
    assert abs(float(model.coefficients.squeeze()) - 1) < 0.02
