"""A small network that inverts exactly, and class statistics of scenes for it."""

from collections.abc import Callable, Mapping
from functools import cache
from itertools import permutations
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_why.adversarial import ClassFlow, ClassTranslators
from napari_why.adversarial.cycle_gan import Translator
from napari_why.adversarial.flow_matching import Velocity
from napari_why.datasets import Preprocessing
from napari_why.images import make_image
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.translation import FLOW_OF_CLASSES, TRANSLATION
from napari_why.networks.network import InvertibleNetwork

CHANNELS = ("nuclei", "mitochondria")


class CouplingNetwork(InvertibleNetwork):
    """Stage 1 scales 2 x 2 blocks; stage 2 mixes them by an additive coupling; linear head."""

    def __init__(self, classes: int = 2, channels: int = 2, seed: int = 0) -> None:
        super().__init__()
        self.name, self.input_channels, self.classes = "coupling", channels, classes
        generator = torch.Generator().manual_seed(seed)
        half = 8 * channels
        self.scale = nn.Parameter(torch.rand(4 * channels, generator=generator) + 0.5)
        self.coupling = nn.Parameter(torch.randn(half, half, generator=generator) / half**0.5)
        self.weights = nn.Parameter(torch.randn(classes, 2 * half, generator=generator))
        self.bias = nn.Parameter(torch.zeros(classes))
        self.freeze()

    def encode_to(self, x: Tensor, stage: str) -> Tensor:
        first = F.pixel_unshuffle(x, 2) * self.scale.reshape(-1, 1, 1)
        return first if stage == "stage1" else self.encode_from(first, "stage1")

    def encode_from(self, latent: Tensor, stage: str) -> Tensor:
        if stage == "stage2":
            return latent
        kept, moved = F.pixel_unshuffle(latent, 2).chunk(2, dim=1)
        return torch.cat([kept, moved + self._push(kept)], dim=1)

    def encode(self, x: Tensor) -> Tensor:
        return self.encode_to(x, "stage2")

    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        if stage != "stage1":
            kept, moved = latent.chunk(2, dim=1)
            latent = F.pixel_shuffle(torch.cat([kept, moved - self._push(kept)], dim=1), 2)
        return F.pixel_shuffle(latent / self.scale.reshape(-1, 1, 1), 2)

    def head(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3)) @ self.weights.T + self.bias

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        return {stage: self.encode_to(x, stage) for stage in self.stage_names}

    def configuration(self) -> Mapping[str, Any]:
        return {}

    @property
    def layer_names(self) -> tuple[str, ...]:
        return self.stage_names

    @property
    def stage_names(self) -> tuple[str, ...]:
        return ("stage1", "stage2")

    def _push(self, kept: Tensor) -> Tensor:
        return torch.einsum("kl,nlyx->nkyx", self.coupling, torch.tanh(kept))


@pytest.fixture(scope="session")
def coupling_network() -> Callable[..., CouplingNetwork]:
    """Return the maker of small invertible networks."""
    return CouplingNetwork


@pytest.fixture(scope="session")
def class_images() -> Callable[..., tuple[Tensor, Tensor]]:
    """Return a maker of preprocessed images whose classes differ in brightness and texture."""

    def make(count: int, classes: int = 2, size: int = 16, seed: int = 0) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        labels = torch.arange(count) % classes
        images = torch.randn(count, 2, size, size, generator=generator)
        level = labels.reshape(-1, 1, 1, 1)
        return images * (1 + 0.5 * level) + 0.7 * level, labels

    return make


@pytest.fixture(scope="session")
def statistics_of() -> Callable[..., LatentStatistics]:
    """Return a function that fits class statistics, the slower transport on request."""

    def fit(
        network: InvertibleNetwork, images: Tensor, labels: Tensor, transport: bool = False
    ) -> LatentStatistics:
        names = tuple("pqrst"[: network.classes])
        return LatentStatistics.collect(
            network, [(images, labels)], names, transport=transport, left_out=("pixel_maps",)
        )

    return fit


class SmallClassifier(SimpleNamespace):
    """The door of a classifier around a small network that nobody has measured."""

    metrics: ClassVar[dict[str, None]] = {}
    card: ClassVar[dict[str, None]] = {}
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    generator = None

    def prepare(self, image):
        return self.preprocessing(image)[None]

    def logits(self, batch):
        with torch.no_grad():
            return self.network(batch)

    def unlike(self, image):
        return ()

    def second_opinion(self, image):
        with torch.no_grad():
            logits = self.second_network(self.prepare(image))
        return logits.double().softmax(1)[0].numpy()


@pytest.fixture(scope="session")
def fitted_network(coupling_network, class_images, statistics_of):
    """Return a function that gives a frozen network with its statistics, fitted once."""

    @cache
    def fit(classes: int) -> tuple[CouplingNetwork, LatentStatistics]:
        network = coupling_network(classes=classes)
        images, labels = class_images(30 * classes, classes=classes)
        centres = torch.stack(
            [
                network.encode(images[labels == index]).mean(dim=(0, 2, 3))
                for index in range(classes)
            ]
        )
        network.weights.copy_(8 * centres)
        network.bias.copy_(-4 * (centres**2).sum(1))
        return network, statistics_of(network, images, labels, transport=True)

    return fit


@pytest.fixture
def small_classifier(fitted_network):
    """Return a maker of classifiers whose head looks at class means; mean 1000, 200 per sd."""

    def make(classes: int = 2, std: float = 200.0, mean: float = 1000.0) -> SmallClassifier:
        network, statistics = fitted_network(classes)
        preprocessing = Preprocessing(
            CHANNELS, 16, "resize", "linear", (mean,) * 2, (std,) * 2, (1.0, 1.0)
        )
        return SmallClassifier(
            network=network,
            preprocessing=preprocessing,
            classes=statistics.classes,
            channels=CHANNELS,
            latent_statistics=statistics,
            second_network=None,
            fingerprint="small",
        )

    return make


@pytest.fixture
def raw_image(class_images):
    """Return a maker of raw images of a class."""

    def make(
        label: int, dtype: str = "uint16", seed: int = 1, std: float = 200.0, mean: float = 1000.0
    ):
        images, _ = class_images(4, classes=4, seed=seed)
        raw = images[label].numpy() * std + mean
        if np.dtype(dtype).kind in "iu":
            raw = np.clip(np.rint(raw), np.iinfo(dtype).min, np.iinfo(dtype).max)
        return make_image(raw.astype(dtype), "cyx", CHANNELS, source="field.tif")

    return make


@pytest.fixture(scope="session")
def trained_apart() -> Callable[..., LatentStatistics]:
    """Return a function that adds translators and a flow of random weights to class statistics."""

    def add(statistics: LatentStatistics, locked: tuple[int, ...] = ()) -> LatentStatistics:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = Translator(2, locked, (4, 6)).eval().requires_grad_(False)
            torch.nn.init.normal_(made.change.last.weight)  # else it would change nothing
            directions = dict.fromkeys(permutations(range(len(statistics.classes)), 2), made)
            velocity = Velocity(2, locked, len(statistics.classes), (4, 6))
        flow = ClassFlow(velocity.eval().requires_grad_(False), 2, 1)
        translators = ClassTranslators(2, locked, (4, 6), directions, 1)
        both = statistics.with_part(TRANSLATION, translators)
        return both.with_part(FLOW_OF_CLASSES, flow)

    return add
