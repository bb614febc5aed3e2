"""Graph cut: the least cost, checked against all possible cuts, and planted structures."""

from itertools import product

import numpy as np
import pytest
import torch

from napari_why.attribution import WRAPPERS, Evidence
from napari_why.attribution.graph_cut import minimal_cut, neighbour_links

graph_cut = WRAPPERS["graph_cut"].function


def energy(inside, image, cost, smoothness: float) -> float:
    """Return the cost of a division, summed over pixels and over pairs of neighbours."""
    height, width = cost.shape
    pairs, squares = [], []
    for row, column in product(range(height), range(width)):
        for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
            other = row + down, column + right
            if 0 <= other[0] < height and 0 <= other[1] < width:
                pairs.append(((row, column), other, np.hypot(down, right)))
                squares.append(((image[row, column] - image[other]) ** 2).sum())
    total = cost[inside].sum()
    for (here, there, distance), square in zip(pairs, squares, strict=True):
        if inside[here] != inside[there]:
            total += smoothness * np.exp(-square / (2 * np.mean(squares))) / distance
    return total


@pytest.mark.parametrize("seed", range(4))
def test_no_division_costs_less_than_the_minimal_cut(seed: int) -> None:
    generator = np.random.default_rng(seed)
    image, cost = generator.normal(size=(3, 4, 2)), 2 * generator.normal(size=(3, 4))
    seeds = np.zeros((3, 4), dtype=np.int64)
    seeds[0, 0], seeds[2, 3] = 1, -1
    found = minimal_cut(image, cost, seeds, smoothness=1.5)
    assert found[0, 0]
    assert not found[2, 3]
    best = min(
        energy(inside, image, cost, 1.5)
        for bits in product([False, True], repeat=12)
        if (inside := np.array(bits).reshape(3, 4))[0, 0] and not inside[2, 3]
    )
    # capacities are rounded to hundredths, of at most 41 links and pixels
    assert energy(found, image, cost, 1.5) <= best + 41 * 0.01


def test_links_are_counted_once_each() -> None:
    starts, ends, links = neighbour_links(np.zeros((3, 4, 1)), 2.0)
    assert len({frozenset(pair) for pair in zip(starts, ends, strict=True)}) == len(starts) == 29
    assert sorted(set(links.round(6))) == [pytest.approx(2 / np.sqrt(2), abs=1e-5), 2.0]


def planted_image():
    """Three bright cells on a dark background, in two channels, with noise."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    cells = [
        ((rows - row) ** 2 + (columns - column) ** 2 < 7**2)
        for row, column in ((16, 16), (18, 46), (46, 30))
    ]
    bright = torch.stack(cells).any(dim=0).float()
    noise = 0.15 * torch.randn(1, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    return noise + torch.stack([bright, 0.6 * bright])[None], cells


def test_the_cells_with_evidence_are_cut_out_and_no_others(wrap_function) -> None:
    x, cells = planted_image()

    def explain(_pixels: torch.Tensor) -> Evidence:
        # in the middle of two cells, more in the second, noise of either sign elsewhere
        generator = torch.Generator().manual_seed(1)
        joint = 0.05 * torch.randn(64, 64, generator=generator)
        joint[12:21, 12:21] += 1.0
        joint[14:23, 42:51] += 2.0
        return Evidence(joint[None], joint, "logit per pixel")

    found = graph_cut(wrap_function(x, explain))
    labels, joint = found.labels, explain(x).joint
    assert torch.equal(found.joint, joint)  # the map itself stays
    assert labels.max() == 2
    for label, cell in ((1, cells[1]), (2, cells[0])):  # the one with most evidence first
        region = labels == label
        overlap = (region & cell).sum() / (region | cell).sum()
        assert overlap > 0.9
        value = next(item.value for item in found.regions if item.label == label)
        assert value == pytest.approx(joint[region].sum().item(), rel=1e-5)
    assert not (labels[cells[2]] > 0).any()  # it looks alike, and nothing speaks for it
    # the seeds alone are 9 x 9 squares: the borders come from the image
    seeds = joint > np.quantile(joint.clamp(min=0), 0.95)
    alone = (seeds & cells[1]).sum() / (seeds & (joint > 1.5) | cells[1]).sum()
    assert alone < 0.6


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_without_evidence_for_the_class_there_is_no_region(wrap_function, value: float) -> None:
    joint = torch.full((16, 16), value)
    found = graph_cut(
        wrap_function(torch.zeros(1, 1, 16, 16), lambda _x: Evidence(joint[None], joint, "unit"))
    )
    assert not found.labels.any()
    assert found.regions == ()


def test_the_same_seed_gives_the_same_regions(wrap_function) -> None:
    x, cells = planted_image()
    joint = cells[0].float() + 0.1 * torch.randn(64, 64, generator=torch.Generator().manual_seed(2))
    wrapped = wrap_function(x, lambda _x: Evidence(joint[None], joint, "unit"))
    one, other = graph_cut(wrapped, seed=4), graph_cut(wrapped, seed=4)
    assert torch.equal(one.labels, other.labels)
    assert one.labels.any()
