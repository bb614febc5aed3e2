"""Soft clusters of what is known about a position."""

import warnings

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.transport.maps import COMPONENTS, Gates


def clustered(count: int, seed: int = 0, width: int = 12) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = 10 * torch.randn(4, width, generator=generator)
    return centres[torch.arange(count) % 4] + torch.randn(count, width, generator=generator)


@settings(max_examples=15, deadline=None)
@given(gates=st.integers(1, 6), width=st.integers(0, 12), seed=st.integers(0, 99))
def test_shares_sum_to_one(gates: int, width: int, seed: int) -> None:
    vectors = clustered(60, seed, width=12)[:, :width]
    fitted = Gates.fit(vectors, gates, seed)
    elsewhere = 100 * torch.randn(20, width, generator=torch.Generator().manual_seed(seed))
    for asked in (vectors, elsewhere):
        shares = fitted.shares(asked)
        assert shares.shape == (len(asked), gates if width else 1)
        torch.testing.assert_close(shares.sum(1), torch.ones(len(asked)))
        assert shares.min() >= 0


def test_each_cluster_has_its_gate() -> None:
    gates = Gates.fit(clustered(400), 4, seed=0)
    assert gates.components(clustered(8)).shape == (8, COMPONENTS)
    nearest = gates.shares(clustered(400)).argmax(1).reshape(-1, 4)
    assert (nearest == nearest[0]).all()  # the same gate for all of a cluster
    assert len(set(nearest[0].tolist())) == 4


def test_the_same_seed_gives_the_same_gates() -> None:
    one, again = (Gates.fit(clustered(400), 4, seed=3) for _ in range(2))
    assert all(torch.equal(value, vars(again)[name]) for name, value in vars(one).items())


def test_where_nothing_is_known_there_is_one_gate() -> None:
    gates = Gates.fit(torch.empty(50, 0), 8, seed=0)
    assert torch.equal(gates.shares(torch.empty(5, 0)), torch.ones(5, 1))


def test_constant_conditions_make_one_gate_and_have_no_say_elsewhere() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gates = Gates.fit(torch.full((50, 9), 0.7), 8, seed=0)
    assert len(gates.centres) == 1
    # a value that training never had must not be taken for a million deviations
    assert gates.standardise(torch.full((1, 9), 1.7)).abs().max() < 1.01
