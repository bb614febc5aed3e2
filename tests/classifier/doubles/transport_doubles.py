"""Networks, transports and images for the choice of a transport, whose answers are known."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from napari_why.datasets import Preprocessing
from napari_why.model import Classifier
from napari_why.networks.network import InvertibleNetwork
from napari_why.transport import Choice, Mass

SIDE = 16
PREPROCESSING = Preprocessing(
    ("DAPI", "TMRM"), SIDE, "resize", "linear", (1000.0,) * 2, (100.0,) * 2, (1.0, 1.0)
)


class Levels(InvertibleNetwork):
    """Its latent is the image; class 1 is where weighted mean levels and a bias are positive."""

    def __init__(self, *weights: float, bias: float = 0.0, locked: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.bias = bias
        self.name, self.input_channels, self.classes, self.locked = "levels", 2, 2, locked
        self.weights = nn.Parameter(torch.tensor(weights))
        self.freeze()

    def encode(self, x: Tensor) -> Tensor:
        return x

    def encode_to(self, x: Tensor, stage: str) -> Tensor:
        return x

    def encode_from(self, latent: Tensor, stage: str) -> Tensor:
        return latent

    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        return latent

    def head(self, features: Tensor) -> Tensor:
        score = features.mean((2, 3)) @ self.weights + self.bias
        return torch.stack([-score, score], 1)

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return {"stage1": x}

    def configuration(self) -> Mapping[str, Any]:
        return {}

    @property
    def layer_names(self) -> tuple[str, ...]:
        return ("stage1",)

    @property
    def stage_names(self) -> tuple[str, ...]:
        return ("stage1",)


@dataclass(frozen=True)
class Shifts:
    """A transport from class 0 to class 1, and back if asked for, that adds or takes the same."""

    displacements: Mapping[Mass, Tensor]
    choices: Mapping[tuple[int, int], Choice] = field(default_factory=dict)
    stage: str = "stage1"
    directions: tuple[tuple[int, int], ...] = ((0, 1),)

    @property
    def maps(self) -> dict[tuple[int, int, Mass], None]:
        return {(*pair, mass): None for pair in self.directions for mass in self.displacements}

    def displacement(self, latent: Tensor, source: int, target: int, mass: Mass) -> Tensor:
        assert (source, target) in self.directions
        return (target - source) * self.displacements[mass].expand_as(latent)

    def choice(self, source: int, target: int) -> Choice:
        return self.choices.get((source, target), Choice())

    def with_choices(self, choices: Mapping[tuple[int, int], Choice]) -> "Shifts":
        return Shifts(self.displacements, choices)


def classifier_of(
    network: InvertibleNetwork,
    second: InvertibleNetwork | None,
    preprocessing: Preprocessing,
    transport: Shifts,
) -> Classifier:
    """Return a classifier in the making, for which no transport is chosen yet."""
    statistics = SimpleNamespace(transport=transport, pixel_maps=None, classes=("p", "q"))
    return Classifier(
        network, preprocessing, ("p", "q"), statistics, second_network=second, threads=1
    )


def shift(*levels: float, grain: float = 0.0) -> Tensor:
    """Return a displacement (2, S, S) by a level in either channel, with a chequered grain."""
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    chequered = 1.0 - 2.0 * ((rows + columns) % 2)
    return torch.tensor(levels).reshape(2, 1, 1) + grain * chequered


def held_out(count: int = 8, levels: tuple[float, float] = (-1.0, -1.0)) -> list[Any]:
    """Return batches of images of class 0, around ``levels``, and of class 1, around 1."""
    generator = torch.Generator().manual_seed(0)
    noise = 0.3 * torch.randn(2 * count, 2, SIDE, SIDE, generator=generator)
    labels = torch.arange(2 * count) % 2
    at = torch.where(labels[:, None] == 1, torch.ones(2), torch.tensor(levels))
    at = at + 0.1 * torch.randn(2 * count, 2, generator=generator)
    return list(zip((noise + at[:, :, None, None]).split(5), labels.split(5), strict=True))
