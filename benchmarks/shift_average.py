"""How much of the grid of pixel-unshuffling is left in saliency maps when they are averaged over shifts.

``python benchmarks/shift_average.py --train 48``

Printed is the power at the frequencies of the unshuffling (k / factor of the first stage) in the sizes of
the gradients, relative to the squared mean size, over all images: of the plain maps, of their mean over
shifts, and of white noise of as many pixels, below which nothing can be told. Networks are untrained, or
trained for a few epochs on simulated images (--train).
"""

import argparse

import numpy as np
import torch
from torch import Tensor

import napari_why as why
from napari_why.attribution import METHODS, WRAPPERS, Wrapped, explaining
from napari_why.attribution.shift_averaged import grid_power
from napari_why.networks.network import Network
from napari_why.networks.registry import build_network

STAGES = {
    "2": ("2", "16", "2"),
    "4": ("2", "16", "4"),
    "4,2,2,2": ("1,1,1,1", "16,16,16,16", "4,2,2,2"),
}


def main() -> None:
    """Print one row per network and method."""
    options = arguments()
    torch.set_num_threads(options.threads)
    images = [scene(seed, options.size) for seed in range(options.images)]
    print(
        f"power at the frequencies of the grid relative to the mean, {options.images} images of "
        f"{options.size} x {options.size}, {'trained' if options.train else 'untrained'}"
    )
    print(f"{'downscaling':12}{'map':18}{'plain':>11}{'mean':>11}{'ratio':>9}{'noise':>11}")
    for downscaling in options.downscaling:
        network = make_network(downscaling, options)
        period = int(downscaling.split(",")[0])
        for name in ("saliency", "input_x_gradient"):
            report(network, name, period, images, downscaling)


def report(network: Network, name: str, period: int, images: list[Tensor], title: str) -> None:
    """Measure one method on all images and print its row."""
    plain, averaged = [], []
    with explaining(network):
        for x in images:
            wrapped = Wrapped(
                METHODS[name],
                network,
                x,
                0,
                lambda pixels, **_more: METHODS[name].function(network, pixels, 0),
            )
            plain.append(wrapped.run().maps)
            wrapper = WRAPPERS["shift_averaged"].function
            averaged.append(wrapper(wrapped, reach=period - 1).maps)
    before, after = (grid_power(torch.stack(maps), period) for maps in (plain, averaged))
    noise = torch.randn(torch.stack(plain).shape, generator=torch.Generator().manual_seed(0))
    print(
        f"{title:12}{name:18}{before:11.2e}{after:11.2e}{before / after:9.0f}"
        f"{grid_power(noise, period):11.2e}"
    )


def make_network(downscaling: str, options: argparse.Namespace) -> Network:
    """Return an untrained network, or one trained on simulated images."""
    blocks, widths, factors = STAGES[downscaling]
    parameters = {"blocks": blocks, "widths": widths, "downscaling": factors}
    if options.train:
        dataset = why.simulate(options.train, size=options.size)
        return why.fit(
            dataset,
            network="iresnet",
            size=options.size,
            epochs=options.epochs,
            lock="none",
            second_network=False,
            network_parameters=parameters,
        ).network
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(
            "iresnet", input_channels=2, classes=2, size=options.size, **parameters
        )
    network.freeze()
    return network


def scene(seed: int, size: int) -> Tensor:
    """Return one simulated image (1, C, H, W), standardised by itself."""
    from napari_why.simulation.scenes import SimulatedScene

    pixels = np.asarray(SimulatedScene(seed, size=size).image("treated"), dtype=np.float64)
    centred = pixels - pixels.mean(axis=(1, 2), keepdims=True)
    return torch.from_numpy(centred / centred.std(axis=(1, 2), keepdims=True)).float()[None]


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--downscaling", nargs="+", choices=tuple(STAGES), default=["2", "4"])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument(
        "--train", type=int, default=0, help="simulated images to train on; 0: none"
    )
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
