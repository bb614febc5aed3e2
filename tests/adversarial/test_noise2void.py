"""Hidden pixels, and that a denoiser is trained on these alone."""

import pytest
import torch
from torch import nn

from napari_why.adversarial.noise2void import (
    REACH,
    BlindSpotGame,
    BlindSpotOptions,
    fit_denoiser,
    hide_pixels,
)
from napari_why.training.examples import TensorExamples


def test_hidden_pixels_are_replaced_by_neighbours_and_never_by_themselves() -> None:
    # every pixel its own number, so that it is known where a stand-in is from
    height, width = 20, 30
    image = torch.arange(height * width, dtype=torch.float32).reshape(1, 1, height, width)
    images = image.expand(50, 2, height, width)
    shown, hidden = hide_pixels(images, 0.1, torch.Generator().manual_seed(0))
    assert hidden.mean().item() == pytest.approx(0.1, abs=0.01)
    kept = hidden == 0
    assert torch.equal(shown[kept], images[kept])
    numbers, own = shown[~kept].long(), images[~kept].long()
    assert (numbers != own).all()
    rows = (numbers // width - own // width).abs()
    columns = (numbers % width - own % width).abs()
    assert rows.max() == columns.max() == REACH
    inside = (own // width >= REACH) & (own // width < height - REACH)
    inside &= (own % width >= REACH) & (own % width < width - REACH)
    offsets = (numbers - own)[inside].unique()
    assert len(offsets) == (2 * REACH + 1) ** 2 - 1  # all of the square but its middle


def test_the_loss_counts_hidden_pixels_alone() -> None:
    game = BlindSpotGame(BlindSpotOptions(hidden=0.25, widths="4,6"), 1)
    images = torch.randn(3, 1, 16, 16)
    seen = {}

    class Zero(nn.Module):
        def forward(self, shown):
            seen["shown"] = shown
            return torch.zeros_like(shown)

    game.generator = Zero()
    (loss,) = game.generator_losses(
        images, torch.zeros(3), torch.Generator().manual_seed(1)
    ).values()
    shown, hidden = hide_pixels(images, 0.25, torch.Generator().manual_seed(1))
    assert torch.equal(seen["shown"], shown)
    torch.testing.assert_close(loss, images[hidden > 0].square().mean())


def test_a_denoiser_has_the_same_bits_for_the_same_seed() -> None:
    images = torch.randn(6, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    examples = TensorExamples(images, torch.zeros(6, dtype=torch.int64))
    options = BlindSpotOptions(epochs=2, batch_size=3, widths="4,6", threads=1, device="cpu")
    one, other = (fit_denoiser(examples, options) for _ in range(2))
    assert torch.equal(one(images), other(images))
    assert one(images).shape == images.shape
