"""Invert an i-ResNet with our solver and with the published algorithm, at equal weights.

    python benchmarks/inversion.py [--size 224] [--seed 0] [--steps 30] [--repeats 5]
        [--locked none 0]

Once for the plain network and once with channel 0 locked, which then conditions the other. Both run in one process on one thread. The published algorithm (Behrmann et al. 2019, algorithm 1)
is written here for the comparison as its authors' program runs it: 50 fixed-point iterations per
block without a stopping test, and the spectral norm applied to every kernel anew at each call.

The network is trained for a few steps on simulated two-channel scenes first, which drives its
norms to the coefficient. The images are 16-bit, in raw grey levels; errors are counted in them.
Times are processor seconds, which other work on the machine hardly changes, and the least of
several repeats; a forward pass is that of the frozen network.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.networks import build_network, invert
from napari_why.networks.inverse import Inversion
from napari_why.networks.iresnet import IResNet

PUBLISHED_ITERATIONS = 50
TOLERANCES = (1e-5, 3e-6, 1e-6)
BATCH = 8


@dataclass(frozen=True)
class Images:
    """16-bit images and the same standardised."""

    raw: Tensor
    mean: Tensor
    deviation: Tensor

    @property
    def standardised(self) -> Tensor:
        """Channels of mean 0 and deviation 1, as the network takes them."""
        return (self.raw - self.mean) / self.deviation

    def grey_levels(self, x: Tensor) -> Tensor:
        """Return standardised values in raw grey levels, not rounded."""
        return x * self.deviation + self.mean


def scenes(count: int, size: int, generator: torch.Generator) -> tuple[Images, Tensor]:
    """Blobs in two channels over the whole 16-bit range; class 1 has a brighter second channel."""
    labels = torch.randint(2, (count,), generator=generator)
    seeds = torch.rand(count, 2, size // 8, size // 8, generator=generator) ** 8
    smooth = F.interpolate(seeds, size=(size, size), mode="bicubic").clamp(0, 1)
    smooth[:, 1] *= (0.6 + 0.4 * labels).view(-1, 1, 1)
    noise = 0.01 * torch.randn(smooth.shape, generator=generator)
    raw = (65535 * (0.02 + smooth + noise).clamp(0, 1)).round()
    mean, deviation = raw.mean((0, 2, 3), keepdim=True), raw.std((0, 2, 3), keepdim=True)
    return Images(raw, mean, deviation), labels


def trained(size: int, steps: int, seed: int, parameters: dict[str, str]) -> IResNet:
    """Return a network after a few training steps, in evaluation mode."""
    network = build_network(
        "iresnet", input_channels=2, classes=2, size=size, seed=seed, **parameters
    )
    assert isinstance(network, IResNet)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adamax(network.parameters(), lr=5e-3)
    network.train()
    for _ in range(steps):
        images, labels = scenes(BATCH, size, generator)
        optimiser.zero_grad()
        loss = F.cross_entropy(network(images.standardised), labels)
        loss.backward()
        optimiser.step()
    print(f"trained for {steps} steps, loss {loss.item():.3f}")
    return network.eval()


@torch.no_grad()
def published_inverse(network: IResNet, latent: Tensor) -> Tensor:
    """Invert as the published program does; the network is not frozen.

    What locked channels contribute is computed once a block: the published network has none.
    """
    for _, stage in reversed(network.stages_to(None)):
        locked, free = stage.split(latent)
        for _, block in reversed(stage.named_blocks()):
            conditioning = block.conditioning(locked)
            x = free
            for _ in range(PUBLISHED_ITERATIONS):
                x = free - block.residual(x, conditioning)
            free = block.actnorm.inverse(x)
        latent = stage.upscale(stage.join(locked, free))
    return latent


def least_time(function: Callable[[], object], repeats: int) -> float:
    """Return the least processor time of several calls, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        times.append(time.process_time() - start)
    return min(times)


def line(name: str, seconds: float, forward: float, images: Images, decoded: Tensor) -> None:
    """Print one row of the table."""
    error = (images.grey_levels(decoded) - images.raw).abs()
    equal = (images.grey_levels(decoded).round() == images.raw).double().mean()
    print(
        f"{name:<34}{seconds:>9.3f}{seconds / forward:>16.1f}{float(error.max()):>18.4f}"
        f"{float(equal):>20.4%}"
    )


def compare(network: IResNet, images: Images, repeats: int) -> None:
    """Print both inverses side by side."""
    x = images.standardised
    with torch.no_grad():
        for block in network.named_blocks().values():
            for _, convolution in block.convolutions():
                convolution.converge()  # the weights that freezing bakes
        latent = network.last_latent(x)
        published = published_inverse(network, latent)
        published_time = least_time(lambda: published_inverse(network, latent), 1)
        unfrozen_time = least_time(lambda: network.last_latent(x), repeats)
        network.freeze()
        latent = network.last_latent(x)
        forward = least_time(lambda: network.last_latent(x), 3 * repeats)
    print(
        f"{'':<34}{'seconds':>9}{'forward passes':>16}{'max error (LSB)':>18}{'equal uint16':>20}"
    )
    print(f"{'forward pass, frozen':<34}{forward:>9.3f}{1:>16.1f}")
    print(
        f"{'forward pass, norms applied anew':<34}{unfrozen_time:>9.3f}{unfrozen_time / forward:>16.1f}"
    )
    line(
        f"published, {PUBLISHED_ITERATIONS} iterations", published_time, forward, images, published
    )
    for tolerance in TOLERANCES:
        inverse = partial(invert, network, latent, tolerance=tolerance)
        inversion: Inversion = inverse()
        our_time = least_time(inverse, repeats)
        line(f"ours, tolerance {tolerance:.0e}", our_time, forward, images, inversion.x)
        print(
            f"    {published_time / our_time:.1f} times as fast; {inversion.evaluations:.1f} "
            f"evaluations per block (most {max(b.evaluations for b in inversion.blocks)}), largest "
            f"contraction seen {max(b.ratio for b in inversion.blocks):.2f}, largest certified "
            f"bound {max(network.certified_bounds.values()):.3f}, converged: {inversion.converged}",
            flush=True,
        )


def training_step_time(size: int, parameters: dict[str, str], repeats: int) -> float:
    """Return the seconds per image of a forward and backward pass with a batch of 8."""
    network = build_network("iresnet", input_channels=2, classes=2, size=size, **parameters)
    x, labels = torch.randn(BATCH, 2, size, size), torch.zeros(BATCH, dtype=torch.long)
    loss = nn.CrossEntropyLoss()
    network.train()
    return least_time(lambda: loss(network(x), labels).backward(), repeats) / BATCH


def main() -> None:
    """Read the options, train, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=30, help="training steps before")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1, help="images that are inverted")
    parser.add_argument("--blocks", default="2,2,2,2")
    parser.add_argument("--widths", default="16,32,64,64")
    parser.add_argument("--downscaling", default="2,2,2,2")
    parser.add_argument(
        "--locked", nargs="+", default=["none", "0"], help="channels, one run after the other"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    for locked in options.locked:
        parameters = {name: getattr(options, name) for name in ("blocks", "widths", "downscaling")}
        parameters["locked"] = "" if locked == "none" else locked
        print(
            f"2 x {options.size} x {options.size}, {parameters}, torch {torch.__version__}, 1 thread"
        )
        step = training_step_time(options.size, parameters, options.repeats)
        print(f"training step {step:.3f} s per image")
        network = trained(options.size, options.steps, options.seed, parameters)
        generator = torch.Generator().manual_seed(options.seed + 1)
        images, _ = scenes(options.batch, options.size, generator)
        compare(network, images, options.repeats)
        print()


if __name__ == "__main__":
    main()
