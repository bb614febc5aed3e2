"""How well tiles put together agree with one pass over a field, by method and overlap.

``python benchmarks/field_tiles.py``

Networks are untrained, the field is simulated. Printed are the correlation of the joint maps, the seams as
the record tells them, and the gap of methods that promise a sum.
"""

import argparse

import numpy as np
import torch
from torch import Tensor

from napari_why.attribution import METHODS, WRAPPERS, Evidence, Wrapped, explaining
from napari_why.networks.registry import build_network
from napari_why.simulation.scenes import SimulatedScene

OVERLAPS = (0.0, 0.25, 0.5)
SEAMS = ("seam_ratio", "largest_seam", "disagreement")


def main() -> None:
    """Print one row per network, method and overlap."""
    options = arguments()
    torch.set_num_threads(1)
    field = simulated_field(options.field)
    print(f"field of {options.field}, windows of {options.window} pixels")
    heads = "".join(f"{name:>14}" for name in ("correlation", *SEAMS, "gap"))
    print(f"{'network':10}{'method':18}{'overlap':>8}{heads}")
    for name in options.network:
        torch.manual_seed(0)
        network = build_network(name, input_channels=2, classes=2, size=options.window)
        network.freeze()
        for method in options.method:
            function = METHODS[method].function
            wrapped = Wrapped(
                METHODS[method],
                network,
                field,
                0,
                lambda pixels, network=network, function=function, **_more: function(
                    network, pixels, 0
                ),
            )
            with explaining(network):
                whole = slide(wrapped, options.window, mode="whole")
                for overlap in OVERLAPS:
                    tiles = slide(wrapped, options.window, mode="tiles", overlap=overlap)
                    report(name, method, overlap, whole, tiles)


def slide(wrapped: Wrapped, side: int, **options: object) -> Evidence:
    """Return the evidence in the field."""
    found: Evidence = WRAPPERS["sliding_window"].function(wrapped, window=(side, side), **options)
    return found


def report(name: str, method: str, overlap: float, whole: Evidence, tiles: Evidence) -> None:
    """Print one row."""
    maps = (whole.joint.numpy().ravel(), tiles.joint.numpy().ravel())
    values = (np.corrcoef(*maps)[0, 1], *(tiles.details[key] for key in SEAMS))
    gap = "-" if tiles.gap is None else f"{tiles.gap:.3f}"
    print(f"{name:10}{method:18}{overlap:8.2f}{''.join(f'{v:14.3f}' for v in values)}{gap:>14}")


def simulated_field(size: int) -> Tensor:
    """Return a simulated field (1, C, H, W), standardised by itself."""
    pixels = np.asarray(SimulatedScene(0, size=size).image("treated"), dtype=np.float64)
    centred = pixels - pixels.mean(axis=(1, 2), keepdims=True)
    return torch.from_numpy(centred / centred.std(axis=(1, 2), keepdims=True)).float()[None]


def arguments() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--network", nargs="+", default=["iresnet", "cam_net"])
    parser.add_argument("--method", nargs="+", default=["saliency", "lrp", "hires_cam"])
    parser.add_argument("--field", type=int, default=192)
    parser.add_argument("--window", type=int, default=64)
    return parser.parse_args()


if __name__ == "__main__":
    main()
