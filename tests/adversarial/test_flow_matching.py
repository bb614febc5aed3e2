"""Flows from noise to free channels: what is learnt, followed and kept."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from napari_why.adversarial.flow_matching import (
    ClassFlow,
    FlowGame,
    FlowOptions,
    Velocity,
    fit_class_flow,
)
from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.training.examples import TensorExamples

SIDE = 12


def options(**changes) -> FlowOptions:
    settings = {"epochs": 2, "batch_size": 4, "widths": "4,6", "threads": 1, "device": "cpu"}
    return FlowOptions(**(settings | changes))


@pytest.fixture
def two_classes() -> TensorExamples:
    labels = torch.arange(8) % 2
    images = torch.randn(8, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return TensorExamples(images, labels)


class Known(nn.Module):
    """The velocity of a flow from noise to one image of each class: (x_1 - x_t) / (1 - t)."""

    free, locked, classes = [1], [0], 2

    def __init__(self, levels: tuple[float, float]) -> None:
        super().__init__()
        self.levels = nn.Parameter(torch.tensor(levels))

    def forward(self, moving, images, labels, times):
        # constant in time along every path, as those of two normal distributions of one width
        return self.levels[labels].reshape(-1, 1, 1, 1).expand_as(moving)


def test_the_loss_is_the_error_of_the_velocity_from_noise_to_image(two_classes) -> None:
    game = FlowGame(options(), 2, (0,), 2)
    seen = {}

    class Still(nn.Module):
        free: ClassVar[list[int]] = [1]

        def forward(self, moving, images, labels, times):
            seen.update(moving=moving, times=times)
            return torch.zeros_like(moving)

    game.generator = Still()
    images, random = two_classes.images(range(8)), torch.Generator().manual_seed(3)
    (loss,) = game.generator_losses(images, two_classes.labels, random).values()
    again = torch.Generator().manual_seed(3)
    noise, times = torch.randn(8, 1, SIDE, SIDE, generator=again), torch.rand(8, generator=again)
    real = images[:, 1:]
    torch.testing.assert_close(loss, (real - noise).square().mean())
    share = times[:, None, None, None]
    torch.testing.assert_close(seen["moving"], (1 - share) * noise + share * real)
    torch.testing.assert_close(seen["times"], times)
    assert game.discriminator_losses(images, two_classes.labels, random) == {}


def test_a_translation_is_the_difference_of_the_two_flows_of_the_same_noise() -> None:
    flow = ClassFlow(Known((0.5, 2.0)), 2, 1)
    images = torch.randn(3, 2, SIDE, SIDE)
    moved = flow.translate(images, 0, 1, steps=4)
    assert torch.equal(moved[:, 0], images[:, 0])
    torch.testing.assert_close(moved[:, 1], images[:, 1] + 1.5)
    torch.testing.assert_close(flow.translate(images, 1, 1, steps=4), images)


def test_a_flow_is_followed_to_second_order() -> None:
    class Growing(Known):
        def forward(self, moving, images, labels, times):
            return moving  # x' = x grows by e

    flow = ClassFlow(Growing((0.0, 0.0)), 2, 1)
    start = torch.ones(1, 1, SIDE, SIDE)
    errors = []
    for steps in (10, 20):
        end = flow._follow(start, torch.zeros(1, 2, SIDE, SIDE), 0, steps)
        errors.append(abs(end[0, 0, 0, 0].item() - torch.e))
    assert errors[1] < 0.01
    assert errors[0] / errors[1] == pytest.approx(
        4, rel=0.15
    )  # of half the step a quarter of the error
    back = flow._follow(
        torch.full_like(start, torch.e), torch.zeros(1, 2, SIDE, SIDE), 0, 50, backwards=True
    )
    torch.testing.assert_close(back, start, atol=1e-3, rtol=0)


def test_draws_keep_the_locked_channels_and_hang_on_the_seed_alone(two_classes) -> None:
    flow, _ = fit_class_flow(two_classes, ("p", "q"), (0,), options())
    images = two_classes.images([0, 1])
    drawn = [
        flow.draw(images, 1, torch.Generator().manual_seed(seed), steps=3) for seed in (0, 0, 1)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert torch.equal(drawn[0][:, 0], images[:, 0])


def test_a_velocity_sees_locked_channels_class_and_time_and_no_free_channel_of_the_image() -> None:
    velocity = Velocity(3, (1,), 2, (4, 6)).eval()
    moving, images = torch.randn(1, 2, SIDE, SIDE), torch.randn(1, 3, SIDE, SIDE)
    usual = (torch.tensor([0]), torch.tensor([0.3]))
    before = velocity(moving, images, *usual)
    assert before.shape == (1, 2, SIDE, SIDE)
    free = images.clone()
    free[:, [0, 2]] += 1
    assert torch.equal(velocity(moving, free, *usual), before)
    locked = images.clone()
    locked[:, 1] += 1
    for other in (
        velocity(moving, locked, *usual),
        velocity(moving, images, torch.tensor([1]), usual[1]),
        velocity(moving, images, usual[0], torch.tensor([0.6])),
    ):
        assert not torch.equal(other, before)


def test_what_is_taken_apart_is_put_together_again(two_classes) -> None:
    flow, results = fit_class_flow(two_classes, ("p", "q"), (0,), options())
    again = ClassFlow.from_parts(flow.tensors(), flow.to_dict())
    images = two_classes.images([0])
    assert torch.equal(again.translate(images, 0, 1, 3), flow.translate(images, 0, 1, 3))
    assert (again.locked, again.epochs, again.complete) == ((0,), 2, True)
    assert again.fits(2, 5)
    assert not again.fits(3, 5)
    assert results["all classes"].history[-1].keys() == {"generator_loss"}
    plain = flow.to_dict()
    for changes in ({"widths": [4, 8]}, {"locked": [0, 1]}, {"classes": 3}, {"channels": 3}):
        with pytest.raises(ModelFileError, match="fit the flow again"):
            ClassFlow.from_parts(flow.tensors(), plain | changes)


def test_something_has_to_be_free() -> None:
    with pytest.raises(ParameterError, match="found all 2 channels"):
        FlowGame(options(), 2, (0, 1), 2)
