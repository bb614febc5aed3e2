"""Coarse to fine: known maps are found, locked channels stay, and files give the same map."""

import json
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.transport.coarse_to_fine import (
    CoarseToFineMap,
    fit_coarse_to_fine,
    measure_noise,
    split_scales,
)
from napari_why.transport.pixel_maps import smooth


def draw_fields(count: int, seed: int, channels: int = 1, size: int = 32) -> Tensor:
    """Return smooth Gaussian fields (N, C, s, s) of variance about 1."""
    noise = torch.randn(count, channels, size, size, generator=torch.Generator().manual_seed(seed))
    fields = smooth(noise, 1.2)
    return fields / fields.std() + 0.1 * noise


def draw_source(count: int, seed: int) -> Tensor:
    locked, free = draw_fields(count, seed), draw_fields(count, seed + 1000)
    return torch.cat([locked, 0.8 * locked + free], 1)


def draw_target(count: int, seed: int) -> Tensor:
    """Return images of a class whose free channel follows the locked one the other way round."""
    locked, free = draw_fields(count, seed), draw_fields(count, seed + 1000)
    return torch.cat([locked, 1 - 0.5 * locked + 2 * free], 1)


@pytest.fixture(scope="module")
def fitted() -> CoarseToFineMap:
    return fit_coarse_to_fine(draw_source(60, 0), draw_target(60, 1), (0,))


def test_scales_sum_to_the_image() -> None:
    image = draw_fields(2, 0, channels=2)
    assert torch.allclose(torch.stack(split_scales(image)).sum(0), image, atol=1e-5)


def test_a_known_conditional_map_is_found(fitted: CoarseToFineMap) -> None:
    images = draw_source(10, 50)
    locked, free = images[:, :1], images[:, 1:]
    wanted = 1 - 0.5 * locked + 2 * (free - 0.8 * locked)
    moved = fitted(images)[:, 1:]
    # 0.18 to 0.22 over three seeds; no change at all would leave 1
    assert (moved - wanted).norm() < 0.3 * (wanted - free).norm()


def test_locked_channels_stay_bit_for_bit(fitted: CoarseToFineMap) -> None:
    images = draw_source(2, 7)
    before = images.clone()
    moved = fitted(images)
    assert torch.equal(moved[:, 0], images[:, 0])
    assert torch.equal(images, before)
    assert moved.dtype == images.dtype


@pytest.mark.parametrize("size", [(8, 8), (9, 31), (64, 50)])
def test_images_of_any_size_are_moved_one_by_one_alike(
    fitted: CoarseToFineMap, size: tuple[int, int]
) -> None:
    images = draw_source(3, 3).repeat(1, 1, 2, 2)[..., : size[0], : size[1]]
    moved = fitted(images)
    assert moved.shape == images.shape
    assert bool(moved.isfinite().all())
    alone = torch.cat([fitted(image[None]) for image in images])
    # products of other shapes are rounded otherwise, by up to 2e-4
    assert torch.allclose(moved, alone, atol=2e-3)


def test_what_is_saved_moves_alike(fitted: CoarseToFineMap) -> None:
    tensors, plain = fitted.tensors(), fitted.to_dict()
    assert all(value.dtype == torch.float32 for value in tensors.values())
    assert all(value.is_contiguous() for value in tensors.values())
    again = CoarseToFineMap.from_parts(tensors, plain)
    images = draw_source(2, 9)
    assert torch.equal(again(images), fitted(images))


@pytest.mark.parametrize("damage", ["missing", "shape", "more", "nan", "locked", "channels"])
def test_parts_that_do_not_fit_are_refused(fitted: CoarseToFineMap, damage: str) -> None:
    tensors, plain = fitted.tensors(), fitted.to_dict()
    if damage == "missing":
        del tensors["1.matrices"]
    elif damage == "shape":
        tensors["0.before"] = tensors["0.before"][:, :-1]
    elif damage == "more":
        tensors["7.matrices"] = tensors["0.matrices"]
    elif damage == "nan":
        tensors["2.after"] = tensors["2.after"] * torch.nan
    elif damage == "locked":
        plain["locked"] = [2]
    else:
        plain["channels"] = 3
    with pytest.raises(ModelFileError, match="coarse-to-fine map"):
        CoarseToFineMap.from_parts(tensors, plain)


def test_the_seed_makes_the_same_map() -> None:
    small = draw_source(6, 0), draw_target(6, 1), (0,)
    before = torch.get_rng_state()
    one, again, other = (fit_coarse_to_fine(*small, seed=seed).tensors() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_one_class_becomes_itself() -> None:
    made = fit_coarse_to_fine(draw_source(60, 0), draw_source(60, 1), (0,))
    images = draw_source(10, 50)
    # 0.03 to 0.05 of a standard deviation over three seeds
    assert (made(images) - images)[:, 1].square().mean().sqrt() < 0.1


def test_nothing_locked_and_more_channels_free() -> None:
    source = draw_fields(40, 0, channels=2)
    target = 3 * draw_fields(40, 1, channels=2) - 1
    made = fit_coarse_to_fine(source, target, ())
    images = draw_fields(10, 50, channels=2)
    wanted = 3 * images - 1
    assert (made(images) - wanted).norm() < 0.15 * (wanted - images).norm()


def test_weights_say_which_target_pixels_count() -> None:
    images, target = draw_source(60, 0), draw_target(60, 1)
    mixed = torch.cat([target[:30], draw_source(30, 2)])
    counts = torch.ones(60, 1, 32, 32)
    counts[30:] = 0
    made = fit_coarse_to_fine(images, mixed, (0,), target_weights=counts)
    fresh = draw_source(10, 50)
    wanted = 1 - 0.5 * fresh[:, :1] + 2 * (fresh[:, 1:] - 0.8 * fresh[:, :1])
    assert (made(fresh)[:, 1:] - wanted).norm() < 0.4 * (wanted - fresh[:, 1:]).norm()


@pytest.mark.parametrize(
    ("shape", "locked"), [((2, 2, 7, 9), (0,)), ((2, 3, 8, 8), (0,)), ((2, 2, 8, 8), (0, 1))]
)
def test_images_that_do_not_fit_are_refused(
    shape: tuple[int, ...], locked: tuple[int, ...]
) -> None:
    with pytest.raises(ParameterError, match="expected"):
        fit_coarse_to_fine(torch.zeros(2, 2, 8, 8), torch.zeros(shape), locked)


def test_of_a_change_that_images_share_by_chance_nothing_is_made() -> None:
    """Images of each group are brighter or dimmer, and so are a few of them together."""
    rng = torch.Generator().manual_seed(0)
    source, target = (
        draw_fields(24, seed) + torch.randn(24, 1, 1, 1, generator=rng) for seed in (0, 1)
    )
    found = fit_coarse_to_fine(source, target, ())
    replicates = [
        fit_coarse_to_fine(
            *(images[torch.randint(24, (24,), generator=rng)] for images in (source, target)), ()
        )
        for _ in range(4)
    ]
    noise = measure_noise(found.change_scales(source), replicates, source)
    shrunk = found.shrink(noise, found.change_scales(source))
    assert shrunk.chance > 0.5
    changed, less = ((moved(source) - source).square().mean() for moved in (found, shrunk))
    assert less < changed / 2
    # where nothing differs by chance all of it is made, and nothing else
    exact = found.shrink([[0.0]] * 3, found.change_scales(source))
    assert exact.chance == 0
    assert torch.equal(exact(source), found(source))


def test_how_much_of_each_scale_is_made_is_saved(fitted: CoarseToFineMap) -> None:
    images = draw_source(2, 5)
    half = replace(fitted, shares=((0.5,), (1.0,), (0.0,)), noise=((1.0,), (0.0,), (2.0,)))
    again = CoarseToFineMap.from_parts(half.tensors(), json.loads(json.dumps(half.to_dict())))
    assert torch.equal(again(images), half(images))
    changes = half.change_scales(images)
    assert not changes[2].any()
    torch.testing.assert_close(changes[0], fitted.change_scales(images)[0] / 2)
    torch.testing.assert_close(sum(changes), (half(images) - images)[:, half.free])
    # 1 of 2 at the first scale, and all of 2 at the last
    assert half.chance == pytest.approx(3 / 4)
    with pytest.raises(ModelFileError, match="every scale"):
        CoarseToFineMap.from_parts(half.tensors(), half.to_dict() | {"shares": [[0.5]]})
    # of earlier versions, which made all of every scale
    assert set(fitted.to_dict()) == {"channels", "locked"}
