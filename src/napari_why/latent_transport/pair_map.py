"""The transport from one class to another, and how a direction is best transported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from napari_why.latent_transport.gates import Gates
from napari_why.latent_transport.gaussian_map import GaussianMap
from napari_why.latent_transport.sliced import SlicedCorrection

Mass = Literal["full", "excess"]


@dataclass(frozen=True)
class PairMap:
    """The transport from one class to another.

    Parameters
    ----------
    gaussian : GaussianMap
    correction : SlicedCorrection
    """

    gaussian: GaussianMap
    correction: SlicedCorrection

    def __call__(self, moving: Tensor, known: Tensor, gates: Gates) -> Tensor:
        """Return the free channels (n, d) that positions would have in the other class."""
        return self.correction(self.gaussian(moving, known, gates))


@dataclass(frozen=True)
class Choice:
    """How a direction is best transported, judged on held-out images.

    Parameters
    ----------
    mass : {"full", "excess"}
        Whether everything moves or only the excess mass.
    overshoot : float
        Which multiple of the displacement convinces, 1 or more.
    reset_channels : tuple of int
        Input channels that are put back to the source's.
    scores : mapping
        What was measured for the choice; JSON types. Empty where nothing was held out.
    """

    mass: Mass = "full"
    overshoot: float = 1.0
    reset_channels: tuple[int, ...] = ()
    scores: Mapping[str, Any] | None = None
