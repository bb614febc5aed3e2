"""A ceiling: a network that is trained on true pairs, which no experiment can provide."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_why.devices import choose_device
from napari_why.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.training.seeds import seeded_torch

WIDTHS = (12, 24, 48)
BATCH = 20
LEARNING_RATE = 3e-3


class UNet(nn.Module):
    """Three scales with skip connections (Ronneberger et al. 2015); (N, C, H, W) to the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.down = nn.ModuleList()
        before = channels
        for width in WIDTHS:
            self.down.append(_two_layers(before, width))
            before = width
        self.up = nn.ModuleList(
            _two_layers(deep + shallow, shallow)
            for deep, shallow in zip(WIDTHS[:0:-1], WIDTHS[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(WIDTHS[0], channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Predict the change of a standardised image."""
        skipped: list[Tensor] = []
        for index, layers in enumerate(self.down):
            x = layers(F.avg_pool2d(x, 2) if index else x)
            skipped.append(x)
        for layers, skip in zip(self.up, skipped[-2::-1], strict=True):
            grown = F.interpolate(x, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            x = layers(torch.cat([grown, skip], dim=1))
        change: Tensor = self.last(x)
        return change


def train_on_pairs(
    images: Tensor,
    changes: Tensor,
    *,
    epochs: int,
    seed: int = 0,
    device: str = "auto",
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> UNet:
    """Train a U-Net to predict the true change of an image by least squares.

    Parameters
    ----------
    images, changes : Tensor, shape (N, C, H, W)
        Standardised images of one class, and their true changes in the same units.
    epochs : int
        Passes over the images, flipped and transposed at random.
    seed : int
        Of weights, order and flips.
    device : str
        See :func:`napari_why.devices.choose_device`.
    on_event, cancelled
        See :mod:`napari_why.events`. Cancelled, the network is as far as it got.
    """
    place = choose_device(device).name
    order = torch.Generator().manual_seed(seed)
    on_event(Started("training on true pairs", epochs))
    with seeded_torch(seed, place):
        network = UNet(images.shape[1]).to(place)
        optimiser = torch.optim.AdamW(network.parameters(), LEARNING_RATE)
        batches = -(-len(images) // BATCH)
        rate = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, LEARNING_RATE, total_steps=max(2, epochs * batches)
        )
        done = 0
        while done < epochs and not cancelled():
            for chosen in torch.randperm(len(images), generator=order).tensor_split(batches):
                x, change = _turned(images[chosen], changes[chosen], order)
                optimiser.zero_grad()
                loss: Tensor = F.mse_loss(network(x.to(place)), change.to(place))
                torch.autograd.backward(loss)
                optimiser.step()
                rate.step()
            done += 1
            on_event(Advanced(done))
    on_event(Finished(partial=done < epochs))
    return network.eval().to("cpu")


def _two_layers(before: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for first in (before, width):
        layers += [nn.Conv2d(first, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*layers)


def _turned(x: Tensor, change: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flip and transpose images and changes of a batch alike."""
    vertical, horizontal, diagonal = (torch.rand(3, generator=generator) < 0.5).tolist()
    axes = [axis for axis, wanted in ((2, vertical), (3, horizontal)) if wanted]
    both = torch.stack([x, change]).flip([axis + 1 for axis in axes])
    if diagonal and both.shape[-1] == both.shape[-2]:
        both = both.transpose(-1, -2)
    return both[0], both[1]
