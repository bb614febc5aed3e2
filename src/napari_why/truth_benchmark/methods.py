"""The rows of the benchmark: which network, trained how, and which counterfactual method.

A new row is one line in :data:`METHODS`; a new way of training is one entry of :data:`RECIPES`.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from napari_why.errors import ParameterError


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained: the arguments of :func:`napari_why.fit`."""

    network: str = "iresnet"
    settings: Mapping[str, Any] = field(default_factory=dict)
    network_parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkMethod:
    """A counterfactual method of a classifier."""

    recipe: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, the recipe spelled out: what makes results the same."""
        return {**asdict(self), "trained": asdict(RECIPES[self.recipe])}


@dataclass(frozen=True)
class WithoutNetwork:
    """A row that needs no network: a ceiling or a floor; see :mod:`.ceilings`."""

    kind: Literal["truth", "do_nothing", "pixel_transport", "true_pairs"]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return asdict(self)


Method = NetworkMethod | WithoutNetwork

_SHAPE = {"blocks": "3,3,3", "widths": "32,32,32", "downscaling": "2,2,2", "head": "elu"}
_TRAINING = {"batch_size": 20, "learning_rate": 5e-3, "patience": 0}

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "locked": Recipe(
            settings={**_TRAINING, "lock": "auto", "second_network": True},
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
        ),
        "class-distance": Recipe(
            settings={**_TRAINING, "loss": "class_distance"},
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
        ),
        "likelihood": Recipe(
            settings={**_TRAINING, "loss": "gaussian_likelihood"},
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
        ),
        "unlocked": Recipe(
            settings={**_TRAINING, "lock": "none", "second_network": True},
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
        ),
        "plain": Recipe(
            settings={**_TRAINING, "lock": "none"},
            network_parameters={**_SHAPE, "head": "linear"},
        ),
        "vae": Recipe("vae", {"epochs": 60}),
        "autoencoder": Recipe("autoencoder", {"epochs": 60}),
        "denoising-autoencoder": Recipe("denoising_autoencoder", {"epochs": 60}),
    }
)
REFERENCE = "locked"
"""The classifier that says whether the images of the rows without a network are valid."""

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "TRUTH": WithoutNetwork("truth"),
        "do-nothing": WithoutNetwork("do_nothing"),
        "mean-shift": NetworkMethod("plain", "mean_shift"),
        "pixel-transport": WithoutNetwork("pixel_transport"),
        "transport": NetworkMethod("locked", "transport"),
        "transport-unlocked": NetworkMethod("unlocked", "transport"),
        "vae": NetworkMethod("vae", "latent_mean_shift"),
        "autoencoder": NetworkMethod("autoencoder", "latent_interpolation"),
        "true-pairs": WithoutNetwork("true_pairs"),
        "denoising-autoencoder": NetworkMethod("denoising-autoencoder", "latent_interpolation"),
        "transport-class-distance": NetworkMethod("class-distance", "transport"),
        "transport-likelihood": NetworkMethod("likelihood", "transport"),
    }
)
"""Every row by name, in the order of the table."""
ON_REQUEST = ("denoising-autoencoder", "transport-class-distance", "transport-likelihood")
"""Rows that are made only where they are asked for by name: each trains a network of its own."""


def methods_named(names: tuple[str, ...]) -> dict[str, Method]:
    """Return rows by name; where no name is given all but those on request.

    Raises
    ------
    ParameterError
        There is no row of that name.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ParameterError(
            f"methods: found {', '.join(unknown)}; expected some of {', '.join(METHODS)}"
        )
    chosen = names or tuple(name for name in METHODS if name not in ON_REQUEST)
    return {name: row for name, row in METHODS.items() if name in chosen}
