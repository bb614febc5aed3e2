"""What laying out weights channels last, and folding normalisations, make of passes and gradients.

    python benchmarks/frozen_networks.py [--networks cam_net,iresnet] [--sizes 64,224] [--repeats 9]

Of each network as many copies as there are ways take turns in one process: as torch lays weights out, with
the channels of a position side by side (what ``freeze`` does where ``channels_last`` says so), and folded
(what ``napari_why.attribution.incremental.fold`` makes for many passes). Printed are the medians of the
processor time in torch's layout, and what the others take as a share of them: below 1 is quicker.
"""

import argparse
import copy
import statistics
import time
from collections.abc import Callable
from typing import Any

import occlusion
import torch

from napari_why.attribution import explaining
from napari_why.attribution.incremental import FoldedNetwork
from napari_why.attribution.input_gradients import input_gradient

# beside those of the occlusion benchmark: the size of the thesis (Otto 2022)
THESIS = {
    "name": "iresnet",
    "frozen": True,
    "blocks": "3,4,6,3",
    "widths": "64,128,256,512",
    "downscaling": "4,2,2,2",
    "head": "thesis",
}
NETWORKS = "small_cnn,cam_net,iresnet,linear,resnext50"
HEADER = (
    "| network, px | images at once | pass, ms | channels last | folded | gradient, ms | "
    "channels last | folded |\n" + "|---" * 8 + "|"
)


def measure(name: str, size: int, batch: int, repeats: int) -> str:
    """Return a row of the table."""
    network, x = occlusion.make_case(name, size, 2)
    plain = copy.deepcopy(network).to(memory_format=torch.contiguous_format)
    last = copy.deepcopy(network).to(memory_format=torch.channels_last)
    images = torch.randn(batch, *x.shape[1:], generator=torch.Generator().manual_seed(0))
    with explaining(plain), explaining(last):
        ways: dict[str, Callable[..., Any]] = {
            "plain": plain,
            "last": last,
            "folded": FoldedNetwork(last, x),
        }
        passes: dict[str, list[float]] = {way: [] for way in ways}
        gradients: dict[str, list[float]] = {way: [] for way in ways}
        for turn in range(repeats + 1):
            for way, forward in ways.items():
                with torch.no_grad():
                    taken = timed(lambda forward=forward: forward(images))
                back = timed(lambda forward=forward: input_gradient(forward, images, 1))
                if turn:  # the first one is to warm up
                    passes[way].append(taken)
                    gradients[way].append(back)
    numbers = []
    for times in (passes, gradients):
        medians = {way: statistics.median(each) for way, each in times.items()}
        numbers += [f"{1e3 * medians['plain']:.1f}"]
        numbers += [f"{medians[way] / medians['plain']:.2f}" for way in ("last", "folded")]
    return f"| {name} {size} | {batch} | {' | '.join(numbers)} |"


def timed(work: Callable[[], Any]) -> float:
    """Return the processor seconds of one run."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def main() -> None:
    """Print one row for each network, size and number of images."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=NETWORKS, help="thesis too, which takes minutes")
    parser.add_argument("--sizes", default="64,224")
    parser.add_argument("--batches", default="1")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    occlusion.PARAMETERS["thesis"] = THESIS
    print(HEADER)
    for name in options.networks.split(","):
        for size in map(int, options.sizes.split(",")):
            for batch in map(int, options.batches.split(",")):
                print(measure(name, size, batch, options.repeats), flush=True)


if __name__ == "__main__":
    main()
