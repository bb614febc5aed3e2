"""Our occlusion beside captum's, over the same grid of windows: milliseconds a window and ratios.

``python benchmarks/occlusion.py --cases cam_net:224,cam_net:512``

A scan of windows of 15 px every 6 px takes hours where every window is a pass of a large image, so
both sides are sampled. captum makes a pass of the whole image for every window, whatever its size: it
is timed on few large windows, its pass of the image itself taken off. Ours is timed on rows of windows
at the top, in the middle and at the bottom, the cut-off ones included. From both follows what the
whole scan takes, preparation included. The map is that of all channels alone on both sides; with
each channel alone both take C + 1 times as many images. The time is the processor's, since what other
programs take on a busy machine does not count then; what they do to caches and memory does.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from captum.attr import Occlusion
from torch import Tensor, nn

from napari_why.attribution import explaining
from napari_why.attribution.incremental import ChangedScores, open_scores
from napari_why.attribution.occlusion import batch_size, scan_windows
from napari_why.networks.modules import ActNorm
from napari_why.networks.network import Network
from napari_why.networks.registry import build_network

CASES = "cam_net:224,cam_net:512,cam_net:1080,iresnet:224,iresnet:512,linear:224,linear:512,resnext50:224,resnext50:512"
# what is built by another name than its own, and with what
PARAMETERS: dict[str, dict[str, Any]] = {
    "resnext50": {"weights": "random", "frozen": True},
    # without converging norms, which takes minutes on large images and changes no time of a pass
    "iresnet": {"frozen": True},
    "linear": {
        "name": "iresnet",
        "frozen": True,
        "blocks": "2,2,2,2",
        "widths": "16,32,64,64",
        "downscaling": "2,2,2,2",
        "head": "linear",
    },
}
WINDOW, STRIDE = 15, 6
# windows that captum is timed on: 4 x 4, as many as its largest batch
SIDE = 4
AT_ONCE = (1, 4, 16)
# pixels of a batch of captum's: above, a large network takes more memory than computers have
LARGEST_BATCH = 16 * 512 * 512


@dataclass(frozen=True)
class Row:
    """What was measured of a network at a size; times in seconds of the processor."""

    title: str
    windows: int
    sampled: int
    bound: float
    preparation: float
    ours: float
    whole: float
    captum: float
    perturbations: int
    image: float
    deviation: float
    stored: int

    @property
    def ratio(self) -> float:
        """How many times as long captum takes for a window."""
        return self.captum / self.ours

    @property
    def scan(self) -> float:
        """How many times as long captum takes for the whole map."""
        ours = self.preparation + self.windows * self.ours
        return (self.image + self.windows * self.captum) / ours


HEADER = (
    "| network, px | windows (sampled) | captum, ms a window (at once) | whole passes here | by patches | "
    "x captum, a window | x captum, the whole map | bound | share of the bound | largest deviation | "
    "preparation, s | kept, MB |\n" + "|---" * 12 + "|"
)


def main() -> None:
    """Print one row per network and size."""
    options = arguments()
    torch.set_num_threads(options.threads)
    print(f"{options.channels} channels, {options.threads} thread(s), {options.clock} time\n")
    print(HEADER)
    clock = CLOCKS[options.clock]
    for case in options.cases.split(","):
        name, _, size = case.partition(":")
        row = measure(name, int(size), options.channels, options.windows, clock)
        print(line_of(row), flush=True)


def line_of(row: Row) -> str:
    """Return a row of the table."""
    return (
        f"| {row.title} | {row.windows} ({row.sampled}) | {1e3 * row.captum:.1f} "
        f"({row.perturbations}) | {1e3 * row.whole:.1f} | {1e3 * row.ours:.2f} | {row.ratio:.1f} | "
        f"{row.scan:.1f} | {row.bound:.1f} | {row.ratio / row.bound:.2f} | {row.deviation:.0e} | "
        f"{row.preparation:.1f} | {row.stored / 1e6:.0f} |"
    )


def measure(name: str, size: int, channels: int, windows: int, clock: Callable[[], float]) -> Row:
    """Time both sides on one network."""
    network, x = make_case(name, size, channels)
    boxes = [(each.rows, each.columns) for each in scan_windows((size, size), WINDOW, STRIDE)]
    with explaining(network, x), torch.no_grad():
        network(x)  # the first pass takes memory that later ones find
        image = timed(lambda: network(x), clock)
        begun = clock()
        scores = open_scores(network, x, 1, boxes, count=len(boxes), whole_batch=batch_size(x))
        preparation = clock() - begun
        whole = open_scores(
            network, x, 1, boxes, count=len(boxes), whole_batch=batch_size(x), by_patches=False
        )
        sample = choose_windows(len(boxes), windows, scores.ordered)
        pixels = [torch.zeros(channels, *x[0, 0][boxes[number]].shape) for number in sample]
        ours = [time_scan(scores, sample, pixels, clock)]
        few = sample[:: -(-len(sample) // whole.passes.batch)]
        filled = [torch.zeros(channels, *x[0, 0][boxes[number]].shape) for number in few]
        plain = time_scan(whole, few, filled, clock)
        theirs = {
            count: time_captum(network, x, count, image, clock)
            for count in AT_ONCE
            if count == 1 or count * size * size <= LARGEST_BATCH
        }
        ours.append(time_scan(scores, sample, pixels, clock))
        # on both sides of captum, so that a machine that slows down meanwhile favours nobody
        found = torch.tensor([scores.losses([n], [p])[0] for n, p in zip(few, filled, strict=True)])
        expected = torch.tensor(
            [whole.losses([n], [p])[0] for n, p in zip(few, filled, strict=True)]
        )
    best = min(theirs, key=lambda count: theirs[count])
    return Row(
        title=f"{name} {size}",
        windows=len(boxes),
        sampled=len(sample),
        bound=1 / scores.passes.share,
        preparation=preparation,
        ours=statistics.mean(ours),
        whole=plain,
        captum=theirs[best],
        perturbations=best,
        image=image,
        deviation=float((found - expected).abs().max() / (1 + scores.passes.logits.abs().max())),
        stored=getattr(scores.passes, "stored_bytes", 0),
    )


def make_case(name: str, size: int, channels: int) -> tuple[Network, Tensor]:
    """Return a network with random weights and statistics of normalisations, and a random image."""
    torch.manual_seed(0)
    parameters = {"name": name, **PARAMETERS.get(name, {})}
    network = build_network(input_channels=channels, classes=2, size=size, **parameters)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.normal_(module.bias, std=0.1)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.running_mean, std=0.3)
        if isinstance(module, ActNorm):
            nn.init.normal_(module.shift, std=0.1)
    if not network.frozen:
        network.freeze()
    return network.eval(), torch.randn(1, channels, size, size)


def choose_windows(count: int, wanted: int, together: int) -> list[int]:
    """Return rows of windows from the top, the middle and the bottom of a scan, in its order."""
    length = max(together, wanted // 3)
    starts = (0, count // 2 - length // 2, count - length)
    return sorted(
        {number for start in starts for number in range(start, start + length)} & set(range(count))
    )


def time_scan(
    scores: ChangedScores,
    numbers: Sequence[int],
    pixels: Sequence[Tensor],
    clock: Callable[[], float],
) -> float:
    """Return the seconds of a window, batched and ordered as in a scan."""
    begun = clock()
    for start in range(0, len(numbers), scores.ordered):
        here = slice(start, start + scores.ordered)
        boxes, new = numbers[here], pixels[here]
        for part in scores.batches(boxes):
            scores.losses([boxes[place] for place in part], [new[place] for place in part])
    return (clock() - begun) / len(numbers)


def time_captum(
    network: Network, x: Tensor, perturbations: int, image: float, clock: Callable[[], float]
) -> float:
    """Return captum's seconds of a window."""
    channels, side = x.shape[1], x.shape[-1] // SIDE
    method = Occlusion(network)

    def run() -> None:
        method.attribute(
            x,
            (channels, side, side),
            strides=(channels, side, side),
            target=1,
            perturbations_per_eval=perturbations,
        )

    # as many as fit, and one more where the side is no multiple
    count = len(range(0, x.shape[-1] - side + 1, side)) ** 2
    if (x.shape[-1] - side) % side:
        count = (len(range(0, x.shape[-1] - side + 1, side)) + 1) ** 2
    return (timed(run, clock) - image) / count


def timed(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    """Return the seconds of one run."""
    begun = clock()
    run()
    return clock() - begun


CLOCKS = {"wall": time.perf_counter, "processor": time.process_time}


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", default=CASES, help="network:size, separated by commas")
    parser.add_argument("--channels", type=int, default=2)
    parser.add_argument("--windows", type=int, default=150, help="windows that ours is timed on")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=tuple(CLOCKS), default="processor")
    return parser.parse_args()


if __name__ == "__main__":
    main()
