"""Restoring networks: what holds of any training, however long it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.events import Advanced, Event, Finished, Started
from napari_why.transport.back_translation import (
    MissingNoise,
    RestoringNetwork,
    RestoringOptions,
    fit_restoring_network,
)

TINY = RestoringOptions(steps=12, widths=(4, 8), renoise=False)


def draw_images(count: int, seed: int, channels: int = 2) -> Tensor:
    return torch.randn(count, channels, 16, 16, generator=torch.Generator().manual_seed(seed))


def damage(images: Tensor) -> Tensor:
    """Return images whose last channel lost a part of itself."""
    damaged = images.clone()
    damaged[:, -1] -= 0.8 * images[:, -1].relu()
    return damaged


def train(
    real: Tensor, options: RestoringOptions = TINY, locked: tuple[int, ...] = (0,), seed: int = 0
) -> RestoringNetwork:
    fakes = damage(real)
    made = fit_restoring_network(
        real, lambda generator: fakes, locked, fakes, options, seed=seed, device="cpu"
    )
    assert made is not None
    return made


@pytest.fixture(scope="module")
def trained() -> RestoringNetwork:
    real = draw_images(20, 0)
    made = train(real, replace(TINY, networks=2))
    return made.corrected(damage(real), real)


def test_training_never_leaves_more_of_held_out_pairs_than_there_was() -> None:
    made = train(draw_images(40, 0), replace(TINY, steps=60))
    assert made.held_out is not None
    before, after = made.held_out
    # to change nothing is among the states that are chosen from
    assert after <= before
    # of 60 steps, a third to a half is left over five seeds
    assert after < 0.9 * before


def test_pairs_without_a_difference_teach_to_change_nothing() -> None:
    real = draw_images(12, 0)
    made = fit_restoring_network(real, lambda generator: real, (0,), real, TINY, device="cpu")
    assert made is not None
    images = draw_images(3, 1)
    assert torch.equal(made(images), images)
    assert made.held_out == (0.0, 0.0)


def test_locked_channels_stay_bit_for_bit(trained: RestoringNetwork) -> None:
    images = draw_images(3, 4)
    moved = trained(images)
    assert torch.equal(moved[:, 0], images[:, 0])
    assert not torch.equal(moved[:, 1], images[:, 1])


def test_all_channels_may_be_free() -> None:
    made = train(draw_images(10, 0, channels=1), locked=())
    images = draw_images(2, 1, channels=1)
    assert made(images).shape == images.shape


@pytest.mark.parametrize("size", [(8, 8), (9, 15), (40, 21)])
def test_images_of_any_size_one_by_one_alike(
    trained: RestoringNetwork, size: tuple[int, int]
) -> None:
    images = torch.randn(3, 2, *size, generator=torch.Generator().manual_seed(0))
    moved = trained(images)
    assert moved.shape == images.shape
    alone = torch.cat([trained(image[None]) for image in images])
    assert torch.allclose(moved, alone, atol=2e-3)


def test_what_is_saved_gives_the_same_images(trained: RestoringNetwork) -> None:
    tensors, plain = trained.tensors(), trained.to_dict()
    assert all(value.dtype == torch.float32 for value in tensors.values())
    again = RestoringNetwork.from_parts(tensors, plain)
    images = draw_images(2, 9)
    assert torch.equal(again(images), trained(images))
    assert again.to_dict() == plain


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("locked", [0, 1]),
        ("widths", [4]),
        ("widths", [4, 8, 16]),
        ("networks", 3),
        ("networks", 1),
        ("channels", 10**9),
        ("correction", None),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    trained: RestoringNetwork, name: str, value: object
) -> None:
    with pytest.raises(ModelFileError):
        RestoringNetwork.from_parts(trained.tensors(), trained.to_dict() | {name: value})


def test_a_version_starts_from_what_the_way_back_leaves(trained: RestoringNetwork) -> None:
    images = draw_images(2, 7)
    moved = images.clone()
    moved[:, 0] += 5  # of the locked channel, which stays
    moved[:, 1] -= 0.5
    same, other = trained.versions(images, [images, moved])
    assert torch.equal(same, trained(images))
    start = images.clone()
    start[:, 1] += 0.5
    torch.testing.assert_close(other, trained(start))
    assert torch.equal(other[:, 0], images[:, 0])


def test_what_it_undoes_is_saved_and_earlier_versions_did_not_note_it(
    trained: RestoringNetwork,
) -> None:
    noted = replace(trained, undoes=("latent", "excess"))
    tensors, plain = noted.tensors(), noted.to_dict()
    assert RestoringNetwork.from_parts(tensors, plain).undoes == ("latent", "excess")
    del plain["undoes"]
    assert RestoringNetwork.from_parts(tensors, plain).undoes is None
    # or else a classifier that was saved before would have another fingerprint
    assert RestoringNetwork.from_parts(tensors, plain).to_dict() == plain
    # its way back could be itself, without an end
    for kind in ("back_translated", "responding_cells"):
        with pytest.raises(ModelFileError, match="undoes"):
            RestoringNetwork.from_parts(tensors, plain | {"undoes": [kind, "full"]})


def test_the_seed_makes_the_same_network() -> None:
    real = draw_images(10, 0)
    before = torch.get_rng_state()
    one, again, other = (train(real, seed=seed).tensors() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_every_epoch_draws_anew() -> None:
    real, drawn = draw_images(20, 0), []

    def draw(generator: torch.Generator) -> Tensor:
        fakes = real + torch.rand(1, generator=generator)
        drawn.append(float((fakes - real).mean()))
        return fakes

    fit_restoring_network(real, draw, (0,), real, TINY, device="cpu")
    # 17 images are one batch: one draw a step, and one for what is held out
    assert len({round(value, 5) for value in drawn}) == TINY.steps + 1


def test_moved_images_get_the_noise_that_they_lack() -> None:
    rng = np.random.default_rng(0)
    light = np.repeat(np.linspace(1, 5, 64)[None], 64, 0)
    noisy = torch.from_numpy(light + 0.1 * np.sqrt(light) * rng.normal(size=(12, 2, 64, 64)))
    quiet = torch.from_numpy(light + 0.02 * np.sqrt(light) * rng.normal(size=(12, 2, 64, 64)))
    noisy, quiet = noisy.float(), quiet.float()
    generator = torch.Generator().manual_seed(0)
    added, none = (
        MissingNoise.estimate(sources, fakes, 1).draw(fakes[:, 1], generator).square().mean(1)
        for sources, fakes in ((noisy, quiet), (quiet, noisy))
    )
    wanted = torch.from_numpy((0.1**2 - 0.02**2) * light[0]).float()
    # by brightness, so that the dark side gets a fifth of the bright one
    for part in (slice(0, 16), slice(48, 64)):
        assert float(added[:, part].mean()) == pytest.approx(float(wanted[part].mean()), rel=0.3)
    # what is too much is never taken away
    assert float(none.max()) < 0.05 * float(wanted.min())


def test_progress_reaches_its_total_and_cancelling_ends_it() -> None:
    real = draw_images(10, 0)
    events: list[Event] = []
    arguments = (real, lambda generator: real, (0,), real, replace(TINY, networks=2))
    fit_restoring_network(*arguments, device="cpu", on_event=events.append)
    assert events[0] == Started("training on moved images", 24)
    assert [event for event in events if isinstance(event, Advanced)][-1] == Advanced(24)
    assert events[-1] == Finished(partial=False)
    events.clear()
    stopped = fit_restoring_network(
        *arguments, device="cpu", on_event=events.append, cancelled=lambda: len(events) > 3
    )
    assert stopped is None
    assert events[-1] == Finished(partial=True)


def test_images_that_do_not_fit_are_refused() -> None:
    real = draw_images(10, 0)
    with pytest.raises(ParameterError, match="free"):
        fit_restoring_network(real, lambda generator: real, (0, 1), real)
    with pytest.raises(ParameterError, match="moved images"):
        fit_restoring_network(real, lambda generator: real[:5], (0,), real)
    with pytest.raises(ParameterError, match="images"):
        fit_restoring_network(real, lambda generator: real, (0,), real[:, :1])
