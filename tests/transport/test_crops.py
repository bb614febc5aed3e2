"""A bounded, fair and repeatable sample of crops."""

import pytest
import torch
from torch import Tensor

from napari_why.transport.fit import CROPS_PER_CLASS, LARGEST_CROP, LatentCrops

KEPT = 8


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let eight crops a class be kept."""
    monkeypatch.setattr("napari_why.transport.fit.CROPS_PER_CLASS", KEPT)


def numbered(count: int) -> Tensor:
    """Return latents (count, 1, 2, 2) that tell which image they are of."""
    return torch.arange(count).float().reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def kept_of(count: int, seed: int) -> list[int]:
    crops = LatentCrops(1, seed)
    crops.add(numbered(count), torch.zeros(count, dtype=torch.int64))
    return [int(crop[0, 0, 0]) for crop in crops.crops[0]]


@pytest.mark.usefixtures("few")
def test_however_many_images_there_are_few_crops_are_kept() -> None:
    crops = LatentCrops(2)
    for _ in range(5):
        crops.add(numbered(30), torch.arange(30) % 2)
    assert [len(kept) for kept in crops.crops] == [KEPT, KEPT]
    assert crops.seen == [75, 75]
    assert crops.of_class(1).shape == (KEPT, 1, 2, 2)


@pytest.mark.usefixtures("few")
def test_every_image_has_the_same_chance() -> None:
    images, seeds = 40, 300
    times = torch.zeros(images)
    for seed in range(seeds):
        times[kept_of(images, seed)] += 1
    expected = seeds * KEPT / images  # 60, give or take 7
    assert times.sum() == seeds * KEPT
    assert expected - 28 < times.min() <= times.max() < expected + 28
    # and so have early and late ones
    assert abs(float(times[:20].mean() - times[20:].mean())) < 6


@pytest.mark.usefixtures("few")
def test_the_sample_depends_on_seed_and_order_and_not_on_batches() -> None:
    assert kept_of(50, 1) == kept_of(50, 1) != kept_of(50, 2)
    one_by_one = LatentCrops(1, 1)
    for latent in numbered(50):
        one_by_one.add(latent[None], torch.zeros(1, dtype=torch.int64))
    assert [int(crop[0, 0, 0]) for crop in one_by_one.crops[0]] == kept_of(50, 1)


def test_of_a_large_latent_a_random_piece_is_taken() -> None:
    rows, columns = torch.meshgrid(torch.arange(80.0), torch.arange(100.0), indexing="ij")
    latent = torch.stack([rows, columns])
    crops = LatentCrops(1)
    crops.add(latent.expand(12, -1, -1, -1), torch.zeros(12, dtype=torch.int64))
    taken = crops.of_class(0)
    assert taken.shape == (12, 2, LARGEST_CROP, LARGEST_CROP)
    corners = taken[:, :, 0, 0]
    assert len({tuple(corner) for corner in corners.tolist()}) > 6
    torch.testing.assert_close(
        taken - corners[:, :, None, None], latent[None, :, :64, :64].expand_as(taken)
    )


def test_images_of_several_sizes_are_cut_to_the_smallest() -> None:
    crops = LatentCrops(1)
    for size in ((6, 9), (8, 5)):
        crops.add(torch.rand(1, 3, *size), torch.zeros(1, dtype=torch.int64))
    assert crops.of_class(0).shape == (2, 3, 6, 5)


def test_what_is_kept_is_a_copy() -> None:
    latents = torch.ones(1, 1, 4, 4, requires_grad=True)
    crops = LatentCrops(1)
    crops.add(latents, torch.zeros(1, dtype=torch.int64))
    with torch.no_grad():
        latents.zero_()
    assert crops.of_class(0).min() == 1
    assert not crops.of_class(0).requires_grad


def test_enough_are_kept_to_fit_on() -> None:
    assert len(kept_of(100, 0)) == 100 < CROPS_PER_CLASS
