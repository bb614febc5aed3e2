"""Whole passes of a network in fewer steps: normalisations folded into the convolutions before them.

A network that is asked for thousands of logits need not be asked through its modules. What is made of
it here computes the same function with weights of its own, in the layout that convolutions on a
processor are quickest with; the network is left alone, and so is every method that puts hooks on its
modules.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from napari_why.attribution.guard import check_same_logits
from napari_why.attribution.incremental.graph import read_steps
from napari_why.attribution.incremental.steps import Step
from napari_why.attribution.relevance_tape import record_checked_tape
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.network import Network

Forward = Callable[[Tensor], Tensor]
"""``(images (N, C, H, W)) -> logits (N, classes)``."""

# To fold takes some four passes. Below so many passes, or so many pixels of all images (a tenth of a
# second of a small network), there is nothing to be gained.
FEWEST_PASSES = 16
FEWEST_PIXELS = 2**20
# Pixels of an image: the network is followed with all its maps in memory, some 100 times the image for a
# deep one, and a whole field has a hundred times as many pixels as most networks look at.
MOST_PIXELS = 1024 * 1024


def fold(network: Network, x: Tensor, passes: int) -> Forward:
    """Return what computes a network's logits the quickest, for that many images of the size of x.

    The network itself where folding is not worth its time, or where its passes cannot be followed.

    Parameters
    ----------
    network : Network
        In evaluation mode, its parameters without a gradient.
    x : Tensor, shape (1, C, H, W)
    passes : int
        How many images will be asked for.

    Returns
    -------
    callable
        (N, C, H, W) to logits (N, K).
    """
    pixels = x[0, 0].numel()
    worth = passes >= FEWEST_PASSES and passes * pixels >= FEWEST_PIXELS
    # on a processor alone: elsewhere nothing of this has been measured
    if not worth or pixels > MOST_PIXELS or x.device.type != "cpu":
        return network
    try:
        return FoldedNetwork(network, x)
    except UnsupportedNetworkError:
        return network


class FoldedNetwork:
    """The logits of a network, computed with normalisations folded into its convolutions.

    Gradients with respect to the images are those of the network too.

    Parameters
    ----------
    network : Network
        In evaluation mode, its parameters without a gradient.
    x : Tensor, shape (1, C, H, W)
        An image of the size that will be asked for.

    Raises
    ------
    UnsupportedNetworkError
        The passes of the network cannot be followed, or come out different.
    """

    def __init__(self, network: Network, x: Tensor) -> None:
        steps = read_steps(record_checked_tape(network, x))
        self._steps = [step.packed(x) for step in steps]
        self._last_use = last_uses(self._steps)
        # two images, so that whatever was written down for one alone is found out
        both = torch.cat([x, x.flip(-1)])
        with torch.no_grad():
            expected = network(both)
            try:
                found = self(both)
            except (RuntimeError, TypeError, ValueError, IndexError) as error:
                raise UnsupportedNetworkError(
                    f"what the network did with one image cannot be done with several ({error})"
                ) from error
        check_same_logits(expected, found, "with normalisations folded in")

    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes) of images (N, C, H, W)."""
        values = {0: images}
        for number, step in enumerate(self._steps):
            if step.operation is not None:
                made = step.operation.whole([values[source] for source in step.sources])
                # what a gradient goes through stays: some activations need what they were given
                own = step.operation.own and not made.requires_grad
                values[number] = step.finish(made, own=own)
            forget(values, step, number, self._last_use)
        return values[len(self._steps) - 1]


def last_uses(steps: Sequence[Step]) -> Mapping[int, int]:
    """Return, by the number of a step, that of the last one which takes its result."""
    return {source: number for number, step in enumerate(steps) for source in step.sources}


def forget(values: dict[int, Tensor], step: Step, number: int, last_use: Mapping[int, int]) -> None:
    """Let go of what no step after this one takes.

    Parameters
    ----------
    values : dict of int to Tensor
        Results by number of step; changed in place.
    step : Step
        The one that was just run.
    number : int
        Its number.
    last_use : mapping of int to int
        The last step that takes the result of each.
    """
    for source in set(step.sources):
        if last_use[source] == number:
            del values[source]
