"""How far an image lies from a class, among the training images of that class."""

import pytest
import torch
from torch import Tensor

from napari_why.model.class_distances import (
    FEWEST,
    LATENTS_PER_CLASS,
    ClassDistances,
    PooledLatents,
)

WIDTH = 24
MEANS = (0.0, 5.0, -5.0)


def latents(count: int, label: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    spread = torch.linspace(0.2, 3.0, WIDTH)
    return MEANS[label] + spread * torch.randn(count, WIDTH, generator=generator)


@pytest.fixture(scope="module")
def distances() -> ClassDistances:
    """Return distances to two classes of 200 images, and one of too few."""
    pooled = PooledLatents(3)
    for label, count in ((0, 200), (1, 200), (2, FEWEST - 1)):
        pooled.add(latents(count, label, seed=label), torch.full((count,), label))
    made = pooled.distances()
    assert made is not None
    return made


def test_nothing_is_closer_than_the_mean_and_everything_than_an_image_far_away(distances) -> None:
    centre = latents(200, 0, seed=0).mean(0)
    assert distances.share_closer(centre, 0) == 0
    assert distances.share_closer(centre + 100, 0) == 1
    assert distances.share_closer(centre, 1) == 1


def test_images_that_were_not_fitted_on_lie_like_those_that_were(distances) -> None:
    shares = [distances.share_closer(latent, 1) for latent in latents(200, 1, seed=77)]
    assert sum(shares) / len(shares) == pytest.approx(0.5, abs=0.1)
    assert sum(share > 0.9 for share in shares) / len(shares) == pytest.approx(0.1, abs=0.07)


def test_a_class_of_few_images_has_no_distance(distances) -> None:
    assert distances.share_closer(torch.zeros(WIDTH), 2) is None


def test_where_no_class_has_enough_images_there_are_no_distances() -> None:
    pooled = PooledLatents(2)
    assert pooled.distances() is None
    pooled.add(latents(FEWEST - 1, 0, seed=0), torch.zeros(FEWEST - 1, dtype=torch.int64))
    assert pooled.distances() is None


def test_taken_apart_and_put_together_they_are_the_same(distances) -> None:
    again = ClassDistances.from_tensors(distances.tensors())
    for latent in latents(5, 0, seed=9):
        assert again.share_closer(latent, 0) == distances.share_closer(latent, 0)
    assert again.fits(3, WIDTH)
    assert not again.fits(2, WIDTH)
    assert not again.fits(3, WIDTH + 1)
    with pytest.raises(KeyError, match="quantiles"):
        ClassDistances.from_tensors({"mean": distances.mean} | _without(distances, "quantiles"))


def _without(distances: ClassDistances, name: str) -> dict[str, Tensor]:
    return {key: value for key, value in distances.tensors().items() if key != name}


def test_the_sample_is_bounded_and_repeatable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_why.model.class_distances.LATENTS_PER_CLASS", 20)
    made = []
    for seed in (0, 0, 1):
        pooled = PooledLatents(2, seed)
        for part in latents(300, 0, seed=0).split(7):
            pooled.add(part, torch.zeros(len(part), dtype=torch.int64))
        assert len(pooled.kept[0]) == 20 < LATENTS_PER_CLASS
        made.append(torch.stack(pooled.kept[0]))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    late = {tuple(row) for row in latents(300, 0, seed=0)[150:].double().tolist()}
    assert 4 <= sum(tuple(row) in late for row in made[0].tolist()) <= 16


def test_latents_that_do_not_vary_have_no_distance() -> None:
    pooled = PooledLatents(2)
    pooled.add(torch.ones(20, WIDTH), torch.zeros(20, dtype=torch.int64))
    made = pooled.distances()
    assert made is not None
    assert made.share_closer(torch.zeros(WIDTH), 0) is None
