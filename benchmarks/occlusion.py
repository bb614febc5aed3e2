"""Our occlusion beside captum's, over the same windows: seconds and the largest difference.

``python benchmarks/occlusion.py --network resnext50 --size 224 --threads 1``

Ours gives a map for each channel and the joint map in one scan; captum needs one scan for the
channels and one for all of them together. The maps that are compared are the joint ones.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from captum.attr import Occlusion
from torch import Tensor

from napari_why.attribution import METHODS, explaining
from napari_why.networks.network import Network
from napari_why.networks.registry import NETWORKS, build_network

# the processor's seconds do not count what other programs take on a busy machine
CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def main() -> None:
    """Print one row per implementation."""
    options = arguments()
    torch.set_num_threads(options.threads)
    parameters: dict[str, Any] = {"weights": "random"} if options.network == "resnext50" else {}
    network = build_network(
        options.network,
        input_channels=options.channels,
        classes=2,
        size=options.size,
        **parameters,
    )
    network.freeze()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, options.channels, options.size, options.size, generator=generator)
    x[..., : int(options.dark * options.size)] = 0  # columns that equal the baseline
    with explaining(network, x):
        rows = compared(network, x, options)
    print_table(options, rows)


def compared(
    network: Network, x: Tensor, options: argparse.Namespace
) -> list[tuple[str, float, int, Tensor]]:
    """Return name, seconds, windows evaluated and joint map of each implementation."""
    window, stride = options.window, options.stride
    channels = x.shape[1]

    def ours(image: Tensor) -> Tensor:
        method = METHODS["occlusion"].function
        maps: Tensor = method(network, image, 1, window=window, stride=stride).joint
        return maps

    def captum_joint(perturbations: int) -> Callable[[Tensor], Tensor]:
        def run(image: Tensor) -> Tensor:
            maps: Tensor = Occlusion(network).attribute(
                image,
                (channels, window, window),
                strides=(channels, stride, stride),
                target=1,
                perturbations_per_eval=perturbations,
            )
            return maps[0, 0]

        return run

    def captum_all(image: Tensor) -> Tensor:
        with torch.no_grad():
            Occlusion(network).attribute(
                image, (1, window, window), strides=(1, stride, stride), target=1
            )
            return captum_joint(1)(image)

    runs = {
        "napari-why, joint and per channel": (ours, channels + 1),
        "captum, joint and per channel": (captum_all, channels + 1),
        "captum, joint only": (captum_joint(1), 1),
        "captum, joint only, 16 at once": (captum_joint(16), 1),
    }
    places = len(range(0, max(x.shape[-1] - window, 0) + stride, stride)) ** 2
    rows = []
    for name, (run, variants) in runs.items():
        seconds, maps = timed(run, x, options.repeats, CLOCKS[options.clock])
        rows.append((name, seconds, places * variants, maps))
    return rows


def timed(
    run: Callable[[Tensor], Tensor], x: Tensor, repeats: int, clock: Callable[[], float]
) -> tuple[float, Tensor]:
    """Return the median of the seconds by ``clock``, and the map."""
    seconds = []
    with torch.no_grad():
        for _ in range(repeats):
            start = clock()
            maps = run(x)
            seconds.append(clock() - start)
    return statistics.median(seconds), maps


def print_table(options: argparse.Namespace, rows: list[tuple[str, float, int, Tensor]]) -> None:
    """Print seconds, ratio to ours, milliseconds a window and the difference of the joint maps."""
    print(
        f"{options.network}, {options.channels} x {options.size} x {options.size}, window "
        f"{options.window}, stride {options.stride}, {options.dark:.0%} of the columns at the "
        f"baseline, {options.threads} thread(s), {options.clock} seconds, "
        f"median of {options.repeats}"
    )
    reference = rows[0]
    scale = reference[3].abs().max().item()
    print(f"{'':36}{'s':>9}{'x ours':>9}{'windows':>9}{'ms/window':>11}{'max diff / max':>16}")
    for name, seconds, windows, maps in rows:
        difference = (maps - reference[3]).abs().max().item() / scale
        print(
            f"{name:36}{seconds:9.2f}{seconds / reference[1]:9.2f}{windows:9d}"
            f"{1000 * seconds / windows:11.2f}{difference:16.1e}"
        )


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", choices=tuple(NETWORKS), default="iresnet")
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--window", type=int, default=15)
    parser.add_argument("--stride", type=int, default=6)
    parser.add_argument("--dark", type=float, default=0.0, help="share of columns at the baseline")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="wall")
    parser.add_argument("--repeats", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
