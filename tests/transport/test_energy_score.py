"""The energy score of cells: best in expectation for draws with the true share of responding cells."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from napari_why.core.errors import CancellationError
from napari_why.transport import energy_score as module
from napari_why.transport.energy_score import (
    CellDistance,
    describe_cells,
    energy_score,
    score_cells,
)

# Centres of four cells of 16 x 16 pixels each.
CENTRES = [(8, 8), (8, 24), (24, 8), (24, 24)]


def draw_responses(
    rng: np.random.Generator, share: float, draws: int, count: int = 4000
) -> np.ndarray:
    """Return draws (S, N, 2) of a state that lies at 0 or at 2 in both features."""
    return 2.0 * (rng.random((draws, count, 1)) < share).repeat(2, axis=2)


def draw_weights(count: int, draws: int = 200) -> np.ndarray:
    """Return how much each of so many images counts in draws with replacement, (draws, count)."""
    return np.random.default_rng(7).multinomial(count, np.full(count, 1 / count), draws) / count


def draw_scene(responding: np.ndarray, noise: np.random.Generator) -> np.ndarray:
    """Return an image (2, 32, 32) of four cells: nuclei, and dye that responding ones lose."""
    y, x = np.mgrid[:32, :32]
    image = np.full((2, 32, 32), 100.0)
    for (row, column), responds in zip(CENTRES, responding, strict=True):
        distance = np.hypot(y - row, x - column)
        image[0] += 2000 * (distance < 4)
        image[1] += (200 if responds else 1000) * (distance < 7)
    return (image + noise.normal(0, 10, image.shape)).astype(np.uint16)


def test_the_right_sampler_beats_its_mean_and_every_wrong_share() -> None:
    rng = np.random.default_rng(0)
    truth = draw_responses(rng, 0.4, 1)[0]
    right = energy_score(draw_responses(rng, 0.4, 8), truth).mean()
    for share in (0.0, 0.1, 0.8, 1.0):
        assert right < energy_score(draw_responses(rng, share, 8), truth).mean() - 0.05
    mean = np.full((1, len(truth), 2), 0.8)
    assert right < energy_score(mean, truth).mean() - 0.05


def test_more_draws_do_not_make_it_better() -> None:
    """Of 0 and 1 with equal shares it is 1/2 - 1/4, however many draws there are."""
    rng = np.random.default_rng(1)
    truth = draw_responses(rng, 0.5, 1, 20_000)[0][:, :1] / 2
    for count in (2, 12):
        draws = draw_responses(rng, 0.5, count, 20_000)[:, :, :1] / 2
        # five standard errors of the coarser
        assert energy_score(draws, truth).mean() == pytest.approx(0.25, abs=0.02)


def test_a_single_draw_gets_its_distance_and_the_truth_nothing() -> None:
    truth = np.random.default_rng(2).normal(size=(5, 3))
    assert not energy_score(truth[None], truth).any()
    np.testing.assert_allclose(
        energy_score(np.zeros((1, 5, 3)), truth), np.linalg.norm(truth, axis=1)
    )


def test_cells_are_described_by_brightness_and_structure() -> None:
    number = np.repeat([1, 2], 16)[None].repeat(32, 0).astype(np.int32)
    image = np.full((1, 32, 32), 50.0)
    image[0, ::4, :16] += 40  # lines of 40 grey levels in the first cell, their mean in the second
    image[0, :, 16:] += 10
    found = describe_cells(image, number, [0])
    assert found.shape == (2, 2)
    np.testing.assert_allclose(found[:, 0], 60, rtol=0.02)
    assert found[0, 1] > 5 * found[1, 1] > 0


@pytest.mark.parametrize("figure", ["mean", "all", "none"])
def test_images_drawn_rightly_beat_one_image(figure: str) -> None:
    rng = np.random.default_rng(3)
    responses = rng.random((24, 4)) < 0.5
    sources = np.stack([draw_scene(np.zeros(4, bool), rng) for _ in responses])
    truth = np.stack([draw_scene(one, rng) for one in responses])
    real = np.stack([draw_scene(rng.random(4) < 0.5, rng) for _ in range(24)])
    draws = np.stack([[draw_scene(rng.random(4) < 0.5, rng) for _ in range(6)] for _ in responses])
    full = np.stack([draw_scene(np.ones(4, bool), rng) for _ in responses])
    mean = ((sources.astype(float) + full) / 2).astype(np.uint16)
    one = {"mean": mean, "all": full, "none": sources}[figure]
    right = score_cells(draws, sources, truth, real, [1])
    assert right < 0.8 * score_cells(one[:, None], sources, truth, real, [1])
    assert score_cells(truth[:, None], sources, truth, real, [1]) == 0


def test_cells_of_which_half_responded_are_not_like_cells_that_all_responded_by_half() -> None:
    rng = np.random.default_rng(4)
    none, full = np.zeros(4, bool), np.ones(4, bool)
    real = np.stack([draw_scene(rng.random(4) < 0.5, rng) for _ in range(24)])
    drawn = np.stack([draw_scene(rng.random(4) < 0.5, rng) for _ in range(16)])
    unchanged, all_full = (
        np.stack([draw_scene(one, rng) for _ in range(16)]) for one in (none, full)
    )
    halfway = ((unchanged.astype(float) + all_full) / 2).astype(np.uint16)
    crowd = CellDistance(real, draw_weights(24), draw_weights(16), 0, [1])
    right, *others = (crowd.measure(one) for one in (drawn, unchanged, all_full, halfway))
    assert all(np.mean(right < other) > 0.95 for other in others)
    assert np.abs(crowd.measure(drawn) - right).max() == 0


def test_where_all_cells_differ_by_half_draws_of_a_half_are_farther() -> None:
    rng = np.random.default_rng(5)
    none, full = np.zeros(4, bool), np.ones(4, bool)

    def halfway(count: int) -> np.ndarray:
        pairs = [[draw_scene(one, rng).astype(float) for one in (none, full)] for _ in range(count)]
        return np.mean(pairs, axis=1).astype(np.uint16)

    drawn = np.stack([draw_scene(rng.random(4) < 0.5, rng) for _ in range(16)])
    crowd = CellDistance(halfway(24), draw_weights(24), draw_weights(16), 0, [1])
    assert np.mean(crowd.measure(halfway(16)) < crowd.measure(drawn)) > 0.95


def test_the_distance_is_summed_image_by_image_and_can_be_cancelled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cells of 96 images of 300 each would make one table of 6.6 GB."""
    rng = np.random.default_rng(6)
    real, found = (
        np.stack([draw_scene(rng.random(4) < share, rng) for _ in range(6)]) for share in (0.5, 0)
    )
    tables = []

    def remember(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        tables.append(cdist(first, second))
        return tables[-1]

    monkeypatch.setattr(module, "cdist", remember)
    asked = []
    even = np.full((1, 6), 1 / 6)
    crowd = CellDistance(real, even, even, 0, [1], cancelled=lambda: len(asked) > 20)
    measured = crowd.measure(found)
    assert max(table.size for table in tables) == 4 * 4
    # as of one table
    cells = [
        np.concatenate([describe_cells(i, module._number_cells(i, 0), [1]) for i in images])
        for images in (real, found)
    ]
    one, other = (each / cells[0].std(0) for each in cells)
    expected = 2 * cdist(other, one).mean() - cdist(one, one).mean() - cdist(other, other).mean()
    assert measured == pytest.approx([expected])
    asked += range(21)
    with pytest.raises(CancellationError):
        crowd.measure(found)


def test_without_a_channel_of_nuclei_an_image_is_one_cell() -> None:
    rng = np.random.default_rng(1)
    images = rng.integers(0, 900, (4, 1, 16, 16)).astype(np.uint16)
    score = score_cells(images[:, None], images[::-1], images[::-1], images, [0])
    assert 0 < score < 10
    flat = np.full((3, 1, 16, 16), 7, np.uint16)
    assert np.isnan(score_cells(flat[:, None], flat, flat, flat, [0]))
