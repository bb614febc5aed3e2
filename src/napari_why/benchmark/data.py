"""What a benchmark asks of its images, simulated or real."""

import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.datasets import Dataset
from napari_why.simulation import (
    EFFECT_CLASSES,
    EFFECTS,
    Camera,
    EffectScene,
    effect_scenes,
    simulate_effect,
)
from napari_why.simulation.cells import CELLS_PER_CROP


@dataclass(frozen=True)
class Direction:
    """Images of one class that are to become another.

    Parameters
    ----------
    source, target : str
        Classes.
    images : ndarray, shape (N, C, H, W)
        The sources, raw units, on the networks' pixels.
    real : ndarray, shape (M, C, H, W)
        Other images, of the target class.
    truth : ndarray, float64, shape (N, C, H, W), or None
        True changes in grey levels, without noise, where they are known.
    paired : ndarray, shape (N, C, H, W), or None
        The same scenes as images of the target class, where they are known.
    """

    source: str
    target: str
    images: NDArray[Any]
    real: NDArray[Any]
    truth: NDArray[np.float64] | None = None
    paired: NDArray[Any] | None = None

    @property
    def name(self) -> str:
        """``healthy to treated``, say."""
        return f"{self.source} to {self.target}"


@dataclass(frozen=True)
class TrainingPairs:
    """What no experiment has: the same training images as two classes.

    Parameters
    ----------
    images : ndarray, shape (N, C, H, W)
        Of the source class, raw units.
    changes : ndarray, float64, shape (N, C, H, W)
        What would make them the target class, grey levels, without noise.
    epochs : int
        Passes over them.
    """

    images: NDArray[Any]
    changes: NDArray[np.float64]
    epochs: int


class TrainingData(typing.Protocol):
    """The images that networks are trained on, and how."""

    @property
    def name(self) -> str:
        """Of the effect or data set; names a folder."""

    @property
    def seed(self) -> int:
        """Of splits and networks."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that must be the same for results to be the same; JSON types."""

    @property
    def fit_settings(self) -> Mapping[str, Any]:
        """Arguments of :func:`napari_why.fit` that follow from the images."""

    @property
    def dataset(self) -> Dataset:
        """With training and validation images."""


class BenchmarkData(TrainingData, typing.Protocol):
    """The images of one benchmark and seed, and how to train on them."""

    @property
    def reference_epochs(self) -> int:
        """Passes over the training images of the reference classifier."""

    @property
    def affected(self) -> tuple[int, ...]:
        """Channels that the classes differ in; all where that is unknown."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """What is to be changed."""

    def training_pairs(self, source: str, target: str) -> TrainingPairs | None:
        """Return the training images with their true changes; None where these are not known.

        Parameters
        ----------
        source, target : str
            Class of the images, and that which the change leads to.

        Returns
        -------
        TrainingPairs or None
            Raw units.
        """


Scenes = Literal["validation", "test", "final"]
# Far apart, so that no scene of one set is in another. From 1000 on lay the test scenes of version 0.1.0:
# seeds 0 to 2 of them were reported twice, with changes made in between, and are spent; from 2000 on
# those that were reported before the transport chose among maps of pixels.
FIRST_SEEDS: Mapping[Scenes, int] = MappingProxyType({"validation": 0, "test": 3000, "final": 4000})
# Fewer than lie between two sets, so that no seed of one, however large, is one of another.
SEEDS_PER_SET = 1000
# Of a seed: training scenes, scored scenes, and room for more kinds.
SERIES_PER_SEED = 10


@dataclass(frozen=True)
class Protocol:
    """Everything that must be the same for results to be compared.

    Parameters
    ----------
    scenes : {"validation", "test", "final"}
        Hyper-parameters are chosen on ``validation`` and reported on ``test``: other seeds of
        training images, scored images, networks and reference classifiers. ``final`` scenes are
        kept for the day when nothing is changed any more: see :class:`EffectData`.
    size : int
        Height and width in pixels.
    training, held_out : int
        Images to train on, and to pick the best epoch by.
    scored : int
        Images per direction.
    strength : float
        Of the effect; see :class:`napari_why.simulation.EffectScene`.
    density : (float, float)
        Fewest and most cells per 64 x 64 pixels.
    camera : Camera
        Gain and noise.
    epochs, reference_epochs, paired_epochs : int
        Passes over the training images: of the classifiers, of the reference classifier, of the
        network that is trained on true pairs.
    """

    scenes: Scenes = "test"
    size: int = 64
    training: int = 400
    held_out: int = 80
    scored: int = 50
    strength: float = 1.0
    density: tuple[float, float] = CELLS_PER_CROP
    camera: Camera = field(default_factory=Camera)
    epochs: int = 12
    reference_epochs: int = 10
    paired_epochs: int = 12

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types; results on disk know ``reference_epochs`` as ``judge_epochs``."""
        named = {"reference_epochs": "judge_epochs"}
        return {named.get(key, key): _plain(value) for key, value in asdict(self).items()}


@dataclass(frozen=True)
class EffectData:
    """The images of one effect and seed; a :class:`~.data.BenchmarkData`.

    Parameters
    ----------
    protocol : Protocol
        Says of which set the scenes are.
    effect : str
        Of :data:`napari_why.simulation.EFFECTS`.
    seed : int
        Of the scenes within their set, of splits and of networks; 0 to 999.
    final : bool
        Without it the final scenes are refused: whoever looks at them says so, and only a run of
        ``napari-why benchmark truth --final`` does.

    Raises
    ------
    ParameterError
        Final scenes that were not asked for, or a seed outside the set.
    """

    protocol: Protocol
    effect: str
    seed: int
    final: bool = False

    def __post_init__(self) -> None:
        scenes = self.protocol.scenes
        if scenes == "final" and not self.final:
            raise ParameterError(
                "scenes: found the final ones, which are looked at once, when nothing is changed any "
                "more; expected validation or test scenes, or --final (final=True)"
            )
        if not 0 <= self.seed < SEEDS_PER_SET:
            raise ParameterError(
                f"seed: found {self.seed}, which would be a seed of other than {scenes} scenes; "
                f"expected 0 to {SEEDS_PER_SET - 1}"
            )

    @property
    def name(self) -> str:
        """Name of the effect."""
        return self.effect

    @property
    def identity(self) -> dict[str, Any]:
        """The protocol, and where its scenes begin: a set that is spent has another beginning."""
        first = FIRST_SEEDS[self.protocol.scenes]
        return {"protocol": self.protocol.to_dict(), "first_seed": first}

    @property
    def fit_settings(self) -> dict[str, Any]:
        """Size of the images and length of the training."""
        return {"size": self.protocol.size, "epochs": self.protocol.epochs}

    @property
    def reference_epochs(self) -> int:
        """As the protocol says."""
        return self.protocol.reference_epochs

    @property
    def affected(self) -> tuple[int, ...]:
        """Indices of the channels that the effect changes."""
        channels = self.dataset.channels
        return tuple(channels.index(name) for name in EFFECTS[self.effect].channels)

    @cached_property
    def dataset(self) -> Dataset:
        """Images to train on and to pick the best epoch by, split by well; no test split."""
        count = self.protocol.training + self.protocol.held_out
        share = self.protocol.training / count
        whole = simulate_effect(count, self.effect, seed=self._series(0), **self._scene_settings)
        return whole.split(fractions=(share, 1 - share, 0.0), seed=self.seed)

    def training_pairs(self, source: str, target: str) -> TrainingPairs:
        """Return the scenes of the training images as one class, and what would make them the other.

        Parameters
        ----------
        source, target : str
            Class of the images, and that which the change leads to.

        Returns
        -------
        TrainingPairs
            Raw units.
        """
        scenes = self.training_scenes
        return TrainingPairs(
            np.stack([scene.image(source).values for scene in scenes]),
            np.stack([scene.true_change(source, target).values for scene in scenes]),
            self.protocol.paired_epochs,
        )

    @property
    def training_scenes(self) -> list[EffectScene]:
        """The scenes of the training images, which know the truth that no experiment has."""
        table = self.dataset.part("train").table
        return [
            EffectScene(
                int(row["scene"]),
                self.effect,
                seed=self._series(0),
                brightness=float(row["brightness"]),
                **self._scene_settings,
            )
            for row in table.to_dict("records")
        ]

    @cached_property
    def directions(self) -> tuple[Direction, Direction]:
        """Healthy to treated and back, on different scenes, so that the real images are others."""
        scenes = effect_scenes(
            2 * self.protocol.scored, self.effect, seed=self._series(1), **self._scene_settings
        )
        first, second = scenes[: self.protocol.scored], scenes[self.protocol.scored :]
        return (
            _direction(first, second, *EFFECT_CLASSES),
            _direction(second, first, *EFFECT_CLASSES[::-1]),
        )

    @property
    def _scene_settings(self) -> dict[str, Any]:
        names = ("size", "strength", "density", "camera")
        return {name: getattr(self.protocol, name) for name in names}

    def _series(self, part: int) -> int:
        return SERIES_PER_SEED * (FIRST_SEEDS[self.protocol.scenes] + self.seed) + part


def _direction(
    scenes: list[EffectScene], others: list[EffectScene], source: str, target: str
) -> Direction:
    return Direction(
        source,
        target,
        images=np.stack([scene.image(source).values for scene in scenes]),
        real=np.stack([scene.image(target).values for scene in others]),
        truth=np.stack([scene.true_change(source, target).values for scene in scenes]),
        paired=np.stack([scene.image(target).values for scene in scenes]),
    )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value
