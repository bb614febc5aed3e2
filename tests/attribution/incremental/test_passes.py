"""Logits computed by patches are those of whole passes, whatever the network is made of."""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.attribution import explaining
from napari_why.attribution.incremental import IncrementalPasses, passes
from napari_why.attribution.incremental.plan import Box
from napari_why.attribution.occlusion import scan_windows
from napari_why.core.devices import copy_in_float64
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks import wrap
from napari_why.networks.network import Network

from .conftest import SHIPPED


def boxes_of(x: Tensor, window: int, stride: int) -> list[Box]:
    return [(each.rows, each.columns) for each in scan_windows(x.shape[-2:], window, stride)]


def noise(x: Tensor, boxes: Sequence[Box]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(2)
    return [torch.randn(x.shape[1], *x[0, 0][box].shape, generator=generator) for box in boxes]


def changed(x: Tensor, boxes: Sequence[Box], pixels: Sequence[Tensor]) -> Tensor:
    images = []
    for (rows, columns), new in zip(boxes, pixels, strict=True):
        image = x.clone()
        image[0, :, rows, columns] = new
        images.append(image)
    return torch.cat(images)


def compare(network: Network, x: Tensor, window: int, stride: int) -> IncrementalPasses:
    """Check the logits of every window of a scan, in batches that mix them all."""
    boxes = boxes_of(x, window, stride)
    pixels = noise(x, boxes)
    with explaining(network, x) as plain, torch.no_grad():
        assert plain is not None
        found = IncrementalPasses(network, x, boxes)
        numbers = [*range(0, len(boxes), 3), len(boxes) - 1]  # the last is cut off
        here = [boxes[number] for number in numbers], [pixels[number] for number in numbers]
        expected = network(changed(x, *here))
        logits = found.run(numbers, here[1])
        one = found.run(numbers[1:2], here[1][1:2])
    scale = 1 + float(plain.abs().max())
    torch.testing.assert_close(found.logits, plain, atol=2e-6 * scale, rtol=0)
    torch.testing.assert_close(logits, expected, atol=2e-6 * scale, rtol=0)
    torch.testing.assert_close(one, expected[1:2], atol=2e-6 * scale, rtol=0)
    # what is compared has to move the logits by far more than it may be wrong
    assert float((expected - plain).abs().max()) > 2e-4 * scale
    return found


@pytest.mark.parametrize("kind", SHIPPED)
def test_every_shipped_network(trained, kind: str) -> None:
    network, x = trained(kind)
    found = compare(network, x, window=7, stride=6)
    assert found.share < 0.75


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["cam_net", "iresnet"])
def test_any_number_of_channels(trained, kind: str, channels: int) -> None:
    compare(*trained(kind, channels), window=5, stride=4)


@pytest.mark.parametrize("locked", ["0", "1"])
def test_locked_channels(trained, locked: str) -> None:
    network, x = trained("iresnet, linear head", locked=locked)
    assert compare(network, x, window=5, stride=4).share < 0.5


def test_norms_that_are_computed_in_every_pass(randomise) -> None:
    from napari_why.networks.registry import build_network

    network = build_network("iresnet", input_channels=2, classes=2, size=32)  # not frozen
    randomise(network, bias_free=False)
    network.eval()
    compare(network, torch.randn(1, 2, 32, 32), window=5, stride=4)


def test_rounding_is_no_worse_than_that_of_whole_passes(trained) -> None:
    network, x = trained("cam_net")
    boxes = boxes_of(x, 7, 6)
    pixels = noise(x, boxes)
    with explaining(network, x), torch.no_grad():
        images = changed(x, boxes, pixels)
        found = IncrementalPasses(network, x, boxes).run(range(len(boxes)), pixels)
        whole = network(images)
        exact = copy_in_float64(network)(images.double())
    ours, theirs = (float((one - exact).abs().max()) for one in (found, whole))
    assert ours < 3 * theirs


class Zoo(nn.Module):
    """What third-party networks are made of, as modules and as plain functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 8, (3, 5), stride=(2, 1), padding=(1, 2))
        self.norm = nn.BatchNorm2d(8)
        self.dilated = nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=4)
        self.even = nn.Conv2d(8, 8, 4, padding="same", padding_mode="zeros")
        self.skipping = nn.Conv2d(8, 8, 2, stride=3)
        self.scale = nn.Parameter(torch.rand(8, 1, 1) + 0.5)
        self.prelu = nn.PReLU(8)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.stem(x)))
        x = F.avg_pool2d(x, 3, stride=1, padding=1)
        skip = x
        x = self.dilated(x)
        x += skip
        first, second = x.chunk(2, dim=1)
        x = torch.cat([second, F.hardtanh(first)], dim=1)
        x = self.even(x) * self.scale - 0.25
        x = self.prelu(1 - x / 2)
        x = F.max_pool2d(x, 3, stride=2, padding=1, ceil_mode=True)
        return self.skipping(x * torch.sigmoid(x))


def mean_head(features: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(features, 3))


class PlainHead(nn.Module):
    """A head without modules for pooling, with the number of images written out."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, 3)

    def forward(self, maps: Tensor) -> Tensor:
        return self.linear(maps.mean(dim=[-1, -2], keepdim=True).view(maps.size(0), -1))


# of torch, about the memory that an even kernel takes
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("head", [mean_head, PlainHead])
def test_networks_of_others(head: Callable[[int], nn.Module]) -> None:
    torch.manual_seed(0)
    network = wrap(Zoo(), head(8), input_channels=2, classes=3)
    network.eval()
    found = compare(network, torch.randn(1, 2, 61, 50), window=6, stride=5)
    assert found.share < 0.5


class Gated(nn.Module):
    """A gate of all positions, after which a change anywhere changes everything."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(2, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 8, 3))
        self.last = nn.Conv2d(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.first(x)
        return self.last(maps * torch.sigmoid(maps.mean((2, 3), keepdim=True)))


def test_what_follows_a_gate_is_run_in_full() -> None:
    torch.manual_seed(0)
    network = wrap(Gated(), mean_head(8), input_channels=2, classes=3)
    network.eval()
    found = compare(network, torch.randn(1, 2, 24, 40), window=5, stride=4)
    assert 0.3 < found.share < 0.6  # the last convolution is a quarter of the work


@pytest.mark.parametrize(
    "normalise",
    [nn.InstanceNorm2d(2), nn.GroupNorm(1, 2), nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1)],
    ids=lambda module: type(module).__name__,
)
def test_networks_of_which_nothing_can_be_saved_are_refused(normalise: nn.Module) -> None:
    torch.manual_seed(0)
    encoder = nn.Sequential(normalise, nn.Conv2d(2, 4, 3))
    network = wrap(encoder, mean_head(4), input_channels=2, classes=3)
    network.eval().requires_grad_(False)
    x = torch.randn(1, 2, 24, 24)
    with pytest.raises(UnsupportedNetworkError, match="nothing is saved"):
        IncrementalPasses(network, x, boxes_of(x, 5, 4))


def test_maps_that_memory_has_no_room_for_are_refused(
    trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, x = trained("small_cnn")
    needed = IncrementalPasses(network, x, boxes_of(x, 5, 4)).stored_bytes
    monkeypatch.setattr(passes, "LARGEST_STORE", needed)
    IncrementalPasses(network, x, boxes_of(x, 5, 4))
    monkeypatch.setattr(passes, "LARGEST_STORE", needed - 1)
    with pytest.raises(UnsupportedNetworkError, match="GiB"):
        IncrementalPasses(network, x, boxes_of(x, 5, 4))


class Remembering(nn.Module):
    """Its results hang on how many images it saw at once, which no single image tells."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) * (1.0 if len(x) == 1 else 1.5)


def test_another_result_than_the_networks_is_noticed(small_network) -> None:
    network = small_network(Remembering(), 4)
    x = torch.randn(1, 2, 24, 24)
    with pytest.raises(UnsupportedNetworkError, match="computed by patches differ"):
        IncrementalPasses(network, x, boxes_of(x, 5, 4))


def test_batches_are_of_like_windows_and_lose_none(trained) -> None:
    network, x = trained("cam_net")
    boxes = boxes_of(x, 7, 4)
    found = IncrementalPasses(network, x, boxes)
    batches = list(found.batches(range(len(boxes))))
    assert sorted(place for batch in batches for place in batch) == list(range(len(boxes)))
    assert max(map(len, batches)) <= found.batch
    sizes = [[(boxes[n][0].stop - boxes[n][0].start) for n in batch] for batch in batches]
    assert sum(len(set(heights)) == 1 for heights in sizes) > len(batches) / 2
