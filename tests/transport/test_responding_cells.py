"""Responding cells: how many is found, each responds as a whole, and another draw is another image."""

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.transport.responding_cells import (
    RespondingCells,
    estimate_share,
    find_all_cells,
    fit_responding_cells,
)

SHARE = 0.4


def draw_cells(count: int, seed: int, share: float) -> Tensor:
    """Return images (n, 2, 48, 48) of four cells each: nuclei, and dye that responding ones lose."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :48]
    images = np.zeros((count, 2, 48, 48))
    for image in images:
        for row in (12, 36):
            for column in (12, 36):
                distance = np.hypot(
                    *(grid - place - rng.uniform(-2, 2) for grid, place in ((y, row), (x, column)))
                )
                dye = 0.5 if rng.uniform() < share else 2.0
                image[0] += 3 / (1 + np.exp(distance - 5))
                image[1] += dye * np.exp(-((distance - 7) ** 2) / 12)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))
    return torch.from_numpy(images).float() + 0.1 * noise


@pytest.fixture(scope="module")
def fitted() -> RespondingCells:
    return fit_responding_cells(draw_cells(30, 0, 0.0), draw_cells(30, 1, SHARE), (0,))


def test_the_share_of_responding_cells_is_found(fitted: RespondingCells) -> None:
    # 0.43 of the cells drawn here respond; six standard errors around
    assert abs(fitted.share - 0.43) < 0.23
    assert 0 < fitted.error < 0.1


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_share_of_a_mixture_is_estimated(share: float) -> None:
    rng = np.random.default_rng(3)
    responds = rng.uniform(size=2000) < share
    untouched = rng.beta(1, 8, 2000)
    partly = np.where(responds, rng.beta(8, 1, 2000), rng.beta(1, 8, 2000))
    found, error = estimate_share(untouched, partly)
    # the largest of three differences is a little too large, and few that respond lie below 0.3
    assert abs(found - responds.mean()) < 4 * error + 0.01
    assert error < 0.03


def test_the_change_is_that_of_cells_that_surely_responded(
    fitted: RespondingCells, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weighed by how likely each responded, cells that did not would make the change smaller."""
    untouched, partly = draw_cells(30, 0, 0.0), draw_cells(30, 1, SHARE)
    monkeypatch.setattr("napari_why.transport.responding_cells.find_surest", lambda *_: 0.0)
    of_all = fit_responding_cells(untouched, partly, (0,))
    images = draw_cells(8, 7, 0.0)
    wanted = draw_cells(8, 7, 1.0)[:, 1] - images[:, 1]
    strong = wanted.abs() > 0.5 * wanted.abs().max()
    changes = [(found.forward(images) - images)[:, 1] for found in (fitted, of_all)]
    slopes = [
        float((change * wanted)[strong].sum() / wanted[strong].square().sum()) for change in changes
    ]
    assert abs(slopes[0] - 1) < abs(slopes[1] - 1)
    assert slopes[1] < 0.8


def test_responding_cells_lose_their_dye_and_no_other_does(fitted: RespondingCells) -> None:
    images = draw_cells(8, 7, 0.0)
    drawn = fitted.prepare(images)(torch.Generator().manual_seed(0))
    cells = find_all_cells(images, 0)
    kept = []
    for before, after, cell in zip(images[:, 1], drawn[:, 1], cells, strict=True):
        numbers = torch.from_numpy(cell.number).flatten().long()
        sums = [torch.bincount(numbers, plane.flatten())[1:] for plane in (before, after)]
        kept.append(sums[1] / sums[0])
    kept = torch.cat(kept)
    assert len(kept) == 32
    untouched = kept > 0.9
    assert 2 < int(untouched.sum()) < 30
    # a quarter of the dye stays, where the map is right; soft rims share a little
    assert bool((kept[~untouched] < 0.6).all())


def test_locked_channels_stay_and_draws_follow_their_generator(fitted: RespondingCells) -> None:
    images = draw_cells(2, 9, 0.0)
    draw = fitted.prepare(images)
    one, again, other = (draw(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(one[:, 0], images[:, 0])
    assert torch.equal(one, fitted.prepare(images)(torch.Generator().manual_seed(0)))


def test_the_map_is_the_mean_of_all_draws(fitted: RespondingCells) -> None:
    images = draw_cells(1, 9, 0.0)
    draw, generator = fitted.prepare(images), torch.Generator().manual_seed(0)
    mean = torch.stack([draw(generator) for _ in range(400)]).mean(0)
    full = (fitted.forward(images) - images).abs().max()
    # a standard error of 0.025 of the full change, at every pixel of four cells
    assert (mean - fitted(images)).abs().max() < 0.1 * full


def test_what_is_saved_draws_alike(fitted: RespondingCells) -> None:
    again = RespondingCells.from_parts(fitted.tensors(), fitted.to_dict())
    images = draw_cells(2, 9, 0.0)
    assert torch.equal(again(images), fitted(images))
    draws = [made.prepare(images)(torch.Generator().manual_seed(5)) for made in (again, fitted)]
    assert torch.equal(*draws)


@pytest.mark.parametrize(("name", "value"), [("nuclei", 1), ("share", 1.5), ("forward", {})])
def test_parts_that_do_not_fit_are_refused(
    fitted: RespondingCells, name: str, value: object
) -> None:
    with pytest.raises(ModelFileError):
        RespondingCells.from_parts(fitted.tensors(), fitted.to_dict() | {name: value})


def test_an_image_without_nuclei_is_one_cell(fitted: RespondingCells) -> None:
    images = torch.zeros(1, 2, 16, 16)
    assert int(find_all_cells(images, 0)[0].number.max()) == 1
    drawn = fitted.prepare(images)(torch.Generator().manual_seed(0))
    assert bool(drawn.isfinite().all())


def test_without_a_locked_channel_there_are_no_cells() -> None:
    images = draw_cells(2, 0, 0.0)
    with pytest.raises(ParameterError, match="locked"):
        fit_responding_cells(images, images, ())
    with pytest.raises(ParameterError, match="at least 2 images"):
        fit_responding_cells(images[:1], images, (0,))
