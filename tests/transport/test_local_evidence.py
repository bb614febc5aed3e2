"""Places that only one class has are told from those that both have."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from napari_why.core.events import never_cancelled
from napari_why.transport.features import LatentLayout, LocalEvidence, excess_mass

LAYOUT = LatentLayout(2, 1, 1)


def planted(count: int, patches: bool, seed: int, size: int = 48) -> tuple[Tensor, Tensor]:
    """Return latents and where they have patches, which lie on the same ground in both classes."""
    generator = torch.Generator().manual_seed(seed)
    seeds = torch.rand(count, 1, size, size, generator=generator) < 0.001
    there = F.max_pool2d(seeds.float(), 7, stride=1, padding=3) * float(patches)
    latent = 0.3 * torch.randn(count, 2, size, size, generator=generator)
    latent[:, 1:] += 2 * there
    return latent, there


def excess(latent: Tensor, evidence: LocalEvidence, source: int, target: int) -> Tensor:
    places = evidence.probabilities(latent, LAYOUT)
    return excess_mass(places, source, target, latent.shape[-2:])


def fitted(*crops: Tensor, seed: int = 0) -> LocalEvidence:
    return LocalEvidence.fit(crops, LAYOUT, seed=seed, cancelled=never_cancelled)


@pytest.fixture(scope="module")
def of_patches() -> LocalEvidence:
    return fitted(planted(24, False, 0)[0], planted(24, True, 1)[0])


def test_excess_mass_lies_on_the_places_only_one_class_has(of_patches: LocalEvidence) -> None:
    latent, there = planted(8, True, 2)
    found = excess(latent, of_patches, 1, 0)
    assert found.shape == there.shape
    inside = F.max_pool2d(1 - there, 3, stride=1, padding=1) == 0
    outside = F.max_pool2d(there, 21, stride=1, padding=10) == 0
    # over ten seeds, above 0.999 inside and 0.01 to 0.05 outside
    assert found[inside].mean() > 0.9
    assert found[outside].mean() < 0.25


def test_the_class_without_patches_has_little_excess(of_patches: LocalEvidence) -> None:
    # its ground is what the other class has too, only a bit more of it: 0.14 to 0.38 over ten seeds
    assert excess(planted(8, False, 3)[0], of_patches, 0, 1).mean() < 0.6


def test_where_classes_agree_there_is_no_excess() -> None:
    evidence = fitted(planted(24, True, 0)[0], planted(24, True, 1)[0])
    # 0.04 to 0.10 over ten seeds
    assert excess(planted(8, True, 2)[0], evidence, 1, 0).mean() < 0.2


def test_classes_count_alike_however_many_crops_they_have() -> None:
    few = fitted(planted(6, True, 0)[0], planted(40, True, 1)[0])
    places = few.probabilities(planted(8, True, 2)[0], LAYOUT)
    assert abs(float(places[:, 0].mean()) - 0.5) < 0.1  # at most 0.027 over ten seeds


def test_a_class_without_crops_gets_no_probability() -> None:
    evidence = fitted(planted(20, False, 0)[0], torch.empty(0), planted(20, True, 1)[0])
    places = evidence.probabilities(planted(4, True, 2)[0], LAYOUT)
    assert places.shape[1] == evidence.classes == 3
    assert places[:, 1].max() == 0


def test_crops_of_the_classes_may_differ_in_size() -> None:
    evidence = fitted(planted(20, False, 0, size=40)[0], planted(20, True, 1, size=48)[0])
    latent, there = planted(4, True, 2)
    assert excess(latent, evidence, 1, 0)[there > 0].mean() > 0.7  # above 0.998 over ten seeds


def test_the_seed_decides_and_no_other_random_number() -> None:
    crops = planted(6, False, 0)[0], planted(6, True, 1)[0]
    before = torch.get_rng_state()
    one, again, other = fitted(*crops), fitted(*crops), fitted(*crops, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    weights = [made.network.state_dict() for made in (one, again, other)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert any(not torch.equal(value, weights[2][name]) for name, value in weights[0].items())
    assert not any(weight.requires_grad for weight in one.network.parameters())


def test_what_the_target_explains_has_no_excess_and_what_it_does_not_is_all_excess() -> None:
    places = torch.zeros(1, 3, 6, 6)
    places[:, 0] = 1.0
    assert (excess_mass(places, 0, 1, (12, 12)) == 1).all()
    assert (excess_mass(places, 1, 0, (12, 12)) == 0).all()
    half = torch.full((1, 2, 6, 6), 0.5)
    assert (excess_mass(half, 0, 1, (12, 12)) == 0).all()
    half[:, 1] = 0.25
    torch.testing.assert_close(excess_mass(half, 0, 1, (12, 12)), torch.full((1, 1, 12, 12), 0.5))


@pytest.mark.parametrize("size", [(23, 24), (24, 23), (23, 23), (24, 24)])
def test_excess_mass_lies_where_its_places_lie_whatever_the_size(size: tuple[int, int]) -> None:
    places = torch.full((1, 2, 12, 12), 0.5)
    places[:, 1, 9, 9] = 0.0
    found = excess_mass(places, 0, 1, size)[0, 0]
    assert found.shape == size
    rows = torch.arange(size[0]).float()
    centre = (found.sum(1) * rows).sum() / found.sum()
    assert centre == pytest.approx(18.5, abs=1e-4)  # the middle of positions 18 and 19
