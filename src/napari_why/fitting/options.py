"""What can be chosen about a fit, declared once for form, shell, console and card."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from napari_why.core.options import Help, Options, Range, Unit
from napari_why.training import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Options):
    """How images are made ready for the network.

    Parameters
    ----------
    size : int
        Height and width that the network sees, in pixels.
    sizing, intensity : str
        See :class:`~napari_why.datasets.Preprocessing`.
    """

    size: Annotated[int, Help("height and width the network sees"), Range(16, 4096), Unit("px")] = (
        224
    )
    sizing: Annotated[
        Literal["resize", "crop"], Help("resize whole images, or cut out their centre")
    ] = "resize"
    intensity: Annotated[
        Literal["linear", "log1p", "asinh"],
        Help("how raw intensities are mapped before standardising; the last two tame heavy tails"),
    ] = "linear"


# the images' options stand last among the bases, so that they come first in forms and in help
@dataclass(frozen=True, kw_only=True)
class FitOptions(TrainingOptions, ImageOptions):
    """All options of :func:`napari_why.fit`.

    Parameters
    ----------
    lock : str
        Channels that counterfactuals leave alone: ``auto`` lets the lock test decide, ``none``, or
        names separated by commas.
    second_network : bool
        Whether a small second network is trained, for second opinions.
    network_parameters : mapping
        The network's own parameters, such as ``{"blocks": "1,1"}``; None: as the network has them.
    resume : bool
        Go on from the checkpoints in the fit's folder.
    size, sizing, intensity
        See :class:`ImageOptions`.
    epochs, ..., threads
        See :class:`~napari_why.training.TrainingOptions`.

    Examples
    --------
    >>> FitOptions(size=64, epochs=2).for_network("cam_net").batch_size
    20
    """

    lock: Annotated[
        str,
        Help(
            "channels that counterfactuals leave alone: auto tests which tell nothing; none; names"
        ),
    ] = "auto"
    second_network: Annotated[
        bool, Help("train a small second network, asked whether it agrees with counterfactuals")
    ] = True
    # without a Help: forms and shell take a network's parameters from its builder
    network_parameters: Mapping[str, Any] | None = field(default_factory=dict)
    resume: bool = False

    def to_card(self, channels: Sequence[str]) -> dict[str, Any]:
        """Return the options as the card of a classifier has them, with the channels looked at.

        Where a training was resumed from does not matter to what came of it, and is left out.
        """
        values = self.to_dict()
        del values["resume"]
        return values | {
            "channels": list(channels),
            "network_parameters": dict(self.network_parameters or {}),
        }
