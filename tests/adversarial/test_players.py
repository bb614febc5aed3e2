"""The players, their losses, and how few images are made more."""

import pytest
import torch

from napari_why.adversarial import CodeToImage
from napari_why.adversarial.losses import (
    augment_differentiably,
    discriminator_loss,
    generator_loss,
)
from napari_why.adversarial.players import Discriminator, PatchDiscriminator, plain_state
from napari_why.core.errors import ParameterError

from .conftest import tiny_game


def configuration(**changes):
    return {
        "channels": 2,
        "classes": 3,
        "size": [33, 20],
        "code_dimensions": 4,
        "widths": "8,6",
    } | changes


def test_images_have_the_size_that_was_asked_for_also_where_it_is_odd() -> None:
    network = CodeToImage(configuration())
    codes, labels = torch.randn(5, 4), torch.tensor([0, 1, 2, 0, 1])
    assert network(codes, labels).shape == (5, 2, 33, 20)
    assert CodeToImage(network.configuration()).state_dict().keys() == network.state_dict().keys()


def test_a_class_changes_the_image_of_the_same_code() -> None:
    network = CodeToImage(configuration()).eval()
    torch.nn.init.normal_(network.norms[0].gain.weight)
    codes = torch.randn(1, 4).repeat(2, 1)
    made = network(codes, torch.tensor([0, 2]))
    assert not torch.equal(made[0], made[1])
    with pytest.raises(ParameterError, match="label: found none"):
        network(codes)


def test_without_classes_no_label_is_needed() -> None:
    assert CodeToImage(configuration(classes=0))(torch.randn(2, 4)).shape == (2, 2, 33, 20)


def test_weights_are_divided_by_their_largest_singular_value() -> None:
    game = tiny_game()
    game.train()
    for _ in range(60):  # power iterations, one a pass
        game.generator(torch.randn(4, 5), torch.tensor([0, 1, 0, 1]))
    weights = plain_state(game.generator)
    for name in ("from_code.weight", "convolutions.0.weight", "to_channels.weight"):
        norm = torch.linalg.matrix_norm(weights[name].flatten(1), 2)
        assert norm.item() == pytest.approx(1, rel=0.02)


def test_the_plain_generator_makes_the_same_images() -> None:
    game = tiny_game().eval()
    codes, labels = torch.randn(3, 5), torch.tensor([1, 0, 1])
    plain = game.plain_generator()
    assert torch.equal(plain(codes, labels), game.generator(codes, labels))
    assert not any(".parametrizations." in name for name in plain.state_dict())


def test_a_discriminator_looks_at_the_class() -> None:
    judge = Discriminator(2, 2, (16, 16), (4, 8)).eval()
    image = torch.randn(1, 2, 16, 16).repeat(2, 1, 1, 1)
    logits = judge(image, torch.tensor([0, 1]))
    assert logits.shape == (2,)
    assert logits[0] != logits[1]


def test_a_patch_discriminator_judges_places_by_what_is_near_them() -> None:
    judge = PatchDiscriminator(1, (4, 8)).eval()
    image = torch.randn(1, 1, 64, 64)
    changed = image.clone()
    changed[..., :8, :8] += 1
    difference = (judge(changed) - judge(image)).abs()[0, 0]
    assert difference.shape == (16, 16)
    assert difference[0, 0] > 0
    assert (difference[8:, 8:] == 0).all()


@pytest.mark.parametrize("kind", ["hinge", "non_saturating", "least_squares"])
def test_losses_reward_what_each_player_wants(kind) -> None:
    low, high = torch.tensor([-1.0]), torch.tensor([1.0])
    assert discriminator_loss(kind, high, low) < discriminator_loss(kind, low, high)
    assert generator_loss(kind, high) < generator_loss(kind, low)


def test_losses_are_the_published_ones() -> None:
    real, made = torch.tensor([0.5, 2.0]), torch.tensor([-0.5, 3.0])
    assert discriminator_loss("hinge", real, made).item() == pytest.approx(0.25 + 2.25)
    cross = torch.nn.functional.binary_cross_entropy_with_logits
    expected = cross(real, torch.ones(2)) + cross(made, torch.zeros(2))
    assert discriminator_loss("non_saturating", real, made).item() == pytest.approx(expected.item())
    assert generator_loss("least_squares", made).item() == pytest.approx((1.5**2 + 2**2) / 2)


def test_augmented_images_keep_a_gradient_and_are_holed_brightened_and_moved() -> None:
    image = torch.full((40, 1, 32, 32), 3.0)
    leaf = image.clone().requires_grad_()
    random = torch.Generator().manual_seed(0)
    changed = augment_differentiably(leaf, random)
    changed.sum().backward()
    assert changed.shape == image.shape
    assert torch.isfinite(leaf.grad).all()
    assert leaf.grad.max() == 1
    assert leaf.grad.min() == 0  # what is under the hole, or moved out
    kept = changed.detach()
    bright = kept.flatten(1).max(dim=1).values
    assert bright.min() >= 2.5
    assert bright.max() <= 3.5
    assert bright.std() > 0.1
    empty = (kept == 0).float().mean(dim=(1, 2, 3))
    # a hole of a quarter at most, and an eighth of each side moved out
    assert empty.max() <= 0.25 + 2 / 8
    assert empty.mean() > 0.05
    again = augment_differentiably(image, torch.Generator().manual_seed(0))
    assert torch.equal(again, kept)
