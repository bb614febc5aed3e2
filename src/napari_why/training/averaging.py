"""The average of a network's weights over its last steps, which is what is validated and kept."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from napari_why.networks.network import Network

# of batch normalisation, and of any layer that names its statistics so: they belong to the weights
# whose maps they were taken of, so that they are averaged with them
STATISTICS = ("running_mean", "running_var")
# steps until the average trusts the past by 9 to 1: the first weights are random and to be forgotten
WARM_UP = 10


class WeightAverage:
    """An exponential moving average of weights (Polyak & Juditsky 1992; Tarvainen & Valpola 2017).

    Single steps scatter about what all of them are on the way to; their average does not, so that
    one odd batch before the epoch ends decides less about the network that is kept.

    Averaged are parameters and the statistics of batch normalisation. All other state is that of
    the last step, and what follows from the weights is brought up to date by
    :meth:`~napari_why.networks.Network.settle`: an average of singular vectors would be none.

    Parameters
    ----------
    weights : dict of str to Tensor
        The average so far, by the names of the network's state.
    decay : float
        Weight of the past in each step, below 1; less in the first steps.

    Examples
    --------
    >>> average = WeightAverage({"weight": torch.zeros(1)}, decay=0.5)
    >>> layer = nn.PReLU(init=4.0)
    >>> average.update(layer, step=100)
    >>> average.weights["weight"].item()
    2.0
    """

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        self.weights, self.decay = weights, decay

    @classmethod
    def begin(
        cls, network: nn.Module, steps: float, earlier: Mapping[str, Tensor] | None = None
    ) -> Self:
        """Return the average of a network that is about to be trained.

        Parameters
        ----------
        network : Module
            On the device that it is trained on.
        steps : float
            Steps over which to average: the past loses a share of 1/steps in each.
        earlier : mapping of str to Tensor, optional
            State with the average of a training that goes on; else there is only the network's.

        Returns
        -------
        WeightAverage
            Starting at ``earlier``, or at the network's own weights; it shares no memory with either.
        """
        state = network.state_dict()
        # by all of its names, if it has several: each of them is loaded
        names = [name for name, _ in network.named_parameters(remove_duplicate=False)]
        names += [name for name in state if name.rpartition(".")[2] in STATISTICS]
        source = state if earlier is None else earlier
        # clones: the state shares memory with the network
        weights = {name: source[name].to(state[name].device, copy=True) for name in names}
        return cls(weights, decay=1 - 1 / max(steps, 1.0))

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the weights after a step, counted from 1.

        Parameters
        ----------
        network : Module
            After the step; its state has the names of ``weights``, and is not changed.
        step : int
            Number of the step, from 1; in the first ones the past weighs less than ``decay``.
        """
        decay = min(self.decay, (step - 1) / (step - 1 + WARM_UP))
        state = network.state_dict()
        for name, average in self.weights.items():
            # a step towards the value and not a sum of two: what never changes stays bit for bit
            average.lerp_(state[name], 1 - decay)

    @contextmanager
    def installed(self, network: nn.Module) -> Iterator[None]:
        """Put the average into the network inside the block, and its own weights back after it."""
        own = {name: value.clone() for name, value in network.state_dict().items()}
        network.load_state_dict({**own, **self.weights})
        try:
            if isinstance(network, Network):
                network.settle()
            yield
        finally:
            network.load_state_dict(own)
