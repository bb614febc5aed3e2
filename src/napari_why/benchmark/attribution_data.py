"""Scenes whose class changes known pixels, for maps to be judged by.

An *effect* is one of :data:`napari_why.simulation.EFFECTS`, or one of the two of a pair: then the
other is there at random, in half of the images of either class, and a network has to tell which of
the two it is asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor

from napari_why.benchmark.data import FIRST_SEEDS, SEEDS_PER_SET, SERIES_PER_SEED
from napari_why.core.errors import ParameterError
from napari_why.datasets import Dataset
from napari_why.evaluation.explanations import find_edges
from napari_why.simulation import EFFECT_CLASSES, EFFECT_PAIRS, EFFECTS, EffectScene, PairScene
from napari_why.simulation.cells import CELLS_PER_CROP
from napari_why.simulation.simulated_sets import lay_out

ABSENT, PRESENT = "absent", "present"
"""The classes: whether the effect is there. Maps are of images where it is, and explain that."""
# Of a seed's series those that the benchmark of counterfactuals does not use.
TRAINING_PART, SCORED_PART = 2, 3


@dataclass(frozen=True)
class MapEffect:
    """What tells the two classes.

    Parameters
    ----------
    name, title : str
        In files and for readers.
    scene : callable
        ``(number, *, seed, size, density) -> Scene``.
    versions : tuple of (str, str)
        Appearances of a scene without and with the effect; of a pair without the other effect, then
        with it.
    rival : str
        The other effect of a pair, whose scenes are the same; empty where there is none.
    """

    name: str
    title: str
    scene: Callable[..., EffectScene | PairScene]
    versions: tuple[tuple[str, str], ...]
    rival: str = ""


def _single(name: str) -> MapEffect:
    return MapEffect(
        name, EFFECTS[name].title, partial(EffectScene, effect=name), (EFFECT_CLASSES,)
    )


def _of_pair(name: str) -> tuple[MapEffect, MapEffect]:
    first, second = (title.strip() for title in EFFECT_PAIRS[name].title.split(";"))
    second = second[0].upper() + second[1:]
    scene, names = partial(PairScene, pair=name), (f"{name}.first", f"{name}.second")
    return (
        MapEffect(
            names[0], first, scene, (("neither", "first"), ("second", "both")), rival=names[1]
        ),
        MapEffect(
            names[1], second, scene, (("neither", "second"), ("first", "both")), rival=names[0]
        ),
    )


# Without those that change nothing, or that a plate's brightness tells as well: there no pixel is right.
_KNOWN = (
    *(
        _single(name)
        for name, effect in EFFECTS.items()
        if effect.channels and not effect.plate_brightness
    ),
    *(effect for name in EFFECT_PAIRS for effect in _of_pair(name)),
)
MAP_EFFECTS: Mapping[str, MapEffect] = MappingProxyType({effect.name: effect for effect in _KNOWN})
"""Every effect by name: those of EFFECTS, and ``PAIR.first`` and ``PAIR.second``."""
DEFAULT_MAP_EFFECTS = ("tag.second", "tag.first")
"""A tag on one pixel of 160, and the effect that is there beside it, on one of four."""


@dataclass(frozen=True)
class MapProtocol:
    """Everything that must be the same for maps to be compared.

    Parameters
    ----------
    scenes : {"validation", "test"}
        Other training scenes, scored scenes and networks; see :class:`~.data.Protocol`.
    size : int
        Height and width in pixels.
    density : (float, float)
        Fewest and most cells per 64 x 64 pixels.
    training, held_out : int
        Images to train on, and to pick the best epoch by.
    epochs : int
        Of every network; 0: its own.
    scored : int
        Scenes whose maps are judged.
    judged : int
        Scenes that the accuracy is counted on, in both classes: the scored ones and further ones.
    passes : int
        Forward passes that a method may take in all for the maps of one network: one that needs more for a
        map explains fewer images, but two at least.
    samples : int
        Most random draws of a method (masks, orders, noisy copies) where its default is more.
    """

    scenes: Literal["validation", "test"] = "test"
    size: int = 64
    density: tuple[float, float] = CELLS_PER_CROP
    # fewest, of those tried, with which all three networks tell the tag in 97 % of held-out images or more
    training: int = 160
    held_out: int = 53
    epochs: int = 6
    # three seeds are 18 pairs to compare; two maps of a costly method still are the fewest that tell something
    scored: int = 6
    # of both classes: 80 images, whose share is known to a twentieth
    judged: int = 40
    # a map of occlusion takes 300 of this size: whatever costs more stands on two images of a seed
    passes: int = 400
    samples: int = 200

    @property
    def of_training(self) -> dict[str, Any]:
        """What the networks hang on; JSON types."""
        names = ("scenes", "size", "density", "training", "held_out", "epochs")
        return {name: value for name, value in self._plain.items() if name in names}

    @property
    def of_scoring(self) -> dict[str, Any]:
        """The rest."""
        trained = self.of_training
        return {name: value for name, value in self._plain.items() if name not in trained}

    @property
    def _plain(self) -> dict[str, Any]:
        return {**asdict(self), "density": list(self.density)}


@dataclass(frozen=True)
class ScoredScene:
    """One image with the effect, and what is known of it.

    Parameters
    ----------
    image : DataArray, dims (c, y, x)
        Raw, with the effect.
    truth : ndarray of bool, shape (C, H, W)
        Where the effect changes it by more than the noise.
    cells : ndarray of int, shape (H, W)
        Number of the cell that a pixel belongs to, 0 outside.
    rival_truth : ndarray of bool, shape (C, H, W), or None
        Where the other effect of the pair changes it, which is there too.
    """

    image: xr.DataArray
    truth: NDArray[np.bool_]
    cells: NDArray[np.int32]
    rival_truth: NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class MapData:
    """The images of one effect and seed; a :class:`~.data.TrainingData`.

    Parameters
    ----------
    protocol : MapProtocol
    effect : str
        Of :data:`MAP_EFFECTS`.
    seed : int
        Of scenes, split and networks; 0 to 999.

    Raises
    ------
    ParameterError
        An unknown effect, or a seed outside the set.
    """

    protocol: MapProtocol
    effect: str
    seed: int = 0

    def __post_init__(self) -> None:
        if self.effect not in MAP_EFFECTS:
            raise ParameterError(
                f"effects: found {self.effect}; expected some of {', '.join(MAP_EFFECTS)}"
            )
        if not 0 <= self.seed < SEEDS_PER_SET:
            raise ParameterError(
                f"seed: found {self.seed}; expected 0 to {SEEDS_PER_SET - 1}, as others belong to "
                "another set of scenes"
            )

    @property
    def name(self) -> str:
        """Name of the effect."""
        return self.effect

    @property
    def identity(self) -> dict[str, Any]:
        """What a network that was trained on these images hangs on, but for its seed."""
        return {
            "maps_of": self.protocol.of_training,
            "first_seed": FIRST_SEEDS[self.protocol.scenes],
        }

    @property
    def fit_settings(self) -> dict[str, Any]:
        """Size of the images and length of the training."""
        return {"size": self.protocol.size, "epochs": self.protocol.epochs}

    @cached_property
    def dataset(self) -> Dataset:
        """Images to train on and to pick the best epoch by, split by well; no test split."""
        count = self.protocol.training + self.protocol.held_out
        table = lay_out(count, (ABSENT, PRESENT), None, 1, self._series(TRAINING_PART))
        versions = MAP_EFFECTS[self.effect].versions
        images = []
        for number, label in zip(table["scene"], table["label"], strict=True):
            # classes take turns, so the other effect comes and goes after every two
            shown = versions[number // 2 % len(versions)][label == PRESENT]
            images.append(self._scene(number, TRAINING_PART).image(shown))
        columns: dict[str, Any] = {
            name: table[name].tolist() for name in ("plate", "well", "field")
        }
        whole = Dataset.from_images(images, table["label"].tolist(), **columns)
        share = self.protocol.training / count
        return whole.split(fractions=(share, 1 - share, 0.0), seed=self.seed)

    @cached_property
    def scored(self) -> tuple[ScoredScene, ...]:
        """The scenes whose maps are judged, with the effect and, of a pair, with the other one too."""
        effect = MAP_EFFECTS[self.effect]
        without, shown = effect.versions[-1]
        rival = MAP_EFFECTS[effect.rival].versions[-1] if effect.rival else None
        found = []
        for number in range(self.protocol.scored):
            scene = self._scene(number, SCORED_PART)
            found.append(
                ScoredScene(
                    scene.image(shown),
                    scene.change_mask(without, shown).values,
                    scene.cells,
                    scene.change_mask(*rival).values if rival else None,
                )
            )
        return tuple(found)

    def images_to_classify(self) -> dict[str, NDArray[Any]]:
        """Return images of both classes that no training saw, each (N, C, H, W), raw."""
        versions = MAP_EFFECTS[self.effect].versions
        scenes = [self._scene(number, SCORED_PART) for number in range(self.protocol.judged)]
        return {
            label: np.stack(
                [
                    scene.image(versions[number % len(versions)][place]).values
                    for number, scene in enumerate(scenes)
                ]
            )
            for place, label in enumerate((ABSENT, PRESENT))
        }

    def _series(self, part: int) -> int:
        return SERIES_PER_SEED * (FIRST_SEEDS[self.protocol.scenes] + self.seed) + part

    def _scene(self, number: int, part: int) -> EffectScene | PairScene:
        return MAP_EFFECTS[self.effect].scene(
            int(number),
            seed=self._series(part),
            size=self.protocol.size,
            density=self.protocol.density,
        )


@dataclass(frozen=True)
class Subject:
    """One image that is explained, and what a method may ask for.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
        Standardised.
    black : Tensor, shape (1, C, H, W)
        The standardised image without light.
    scene : ScoredScene
    number : int
        Of the scene; the seed of what is random of it.
    """

    x: Tensor
    black: Tensor
    scene: ScoredScene
    number: int


DoNothing = Callable[[Subject], Tensor]
"""From an image to a map (C, H, W) that asks no network."""


def show_noise(subject: Subject) -> Tensor:
    """Return numbers between 0 and 1 at random: what chance reaches."""
    generator = torch.Generator().manual_seed(subject.number)
    return torch.rand(subject.x.shape[1:], generator=generator).to(subject.x)


def show_intensity(subject: Subject) -> Tensor:
    """Return the light itself, in standard deviations of the channel."""
    return (subject.x - subject.black)[0]


def show_edges(subject: Subject) -> Tensor:
    """Return the magnitude of the gradient of each channel, by Sobel's filter."""
    return torch.from_numpy(find_edges(subject.x[0].cpu().numpy())).to(subject.x)


def show_channel(subject: Subject, channel: int) -> Tensor:
    """Return the light of one channel, and nothing in the others.

    Parameters
    ----------
    subject : Subject
    channel : int

    Returns
    -------
    Tensor, shape (C, H, W)
    """
    shown = torch.zeros_like(subject.x[0])
    shown[channel] = show_intensity(subject)[channel]
    return shown


RANDOM, INTENSITY, EDGES, CHANNEL = "random map", "image intensity", "image edges", "channel "
DO_NOTHING: Mapping[str, DoNothing] = MappingProxyType(
    {RANDOM: show_noise, INTENSITY: show_intensity, EDGES: show_edges}
)
"""Rows that ask no network; one for each channel alone joins them."""


def do_nothing_rows(channels: Sequence[str]) -> dict[str, DoNothing]:
    """Return the rows that ask no network, those of the channels among them."""

    def alone(index: int) -> DoNothing:
        return lambda subject: show_channel(subject, index)

    return {
        **DO_NOTHING,
        **{f"{CHANNEL}{name}": alone(index) for index, name in enumerate(channels)},
    }


def is_do_nothing(name: str) -> bool:
    """Tell whether a row asks no network."""
    return name in DO_NOTHING or name.startswith(CHANNEL)
