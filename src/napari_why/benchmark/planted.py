"""Known truth on real images: which tiles are trained on, which are scored, and what was planted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import xarray as xr

from napari_why.benchmark.data import (
    FIRST_SEEDS,
    SEEDS_PER_SET,
    SERIES_PER_SEED,
    Direction,
    Protocol,
    TrainingPairs,
)
from napari_why.benchmark.results import ResultFolder
from napari_why.benchmark.rows import methods_named
from napari_why.benchmark.run import run_rows
from napari_why.core.errors import DatasetError, ParameterError
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.datasets import Dataset
from napari_why.datasets.dataset import pixels_digest
from napari_why.simulation import PLANTED_EFFECTS, PlantedImages, PlantedTile, PlantOptions
from napari_why.simulation.planted_effects import PARTIAL, find_planted_effect
from napari_why.simulation.planted_rendering import PLANTED, UNTOUCHED
from napari_why.simulation.planting import (
    Sources,
    choose_planted,
    lay_out_tiles,
    render_tiles,
)

Images = Dataset | Sequence[xr.DataArray]
# Those that all cells undergo, and one of which only some cells do.
DEFAULT_EFFECTS = (
    *(name for name in PLANTED_EFFECTS if not name.startswith(PARTIAL)),
    f"{PARTIAL}brightness",
)
# A third of the groups is scored for the report and never seen by whoever tunes. Drawn with a seed that is
# the same for all, so that no seed of the validation set reaches a group of the test set.
REPORTED, PARTS_SEED = 1 / 3, 0
# Of the other groups: for the weights, and to choose the epoch; of the validation set a part is scored.
SHARES: Mapping[str, Mapping[str, float]] = {
    "test": {"train": 0.8, "validation": 0.2},
    "validation": {"train": 0.6, "validation": 0.15, "test": 0.25},
}
# Of the median size of a planted change: tiles with less are not scored (but may be trained on). A relative
# error is no figure where there is next to nothing to be relative to.
LEAST_TRUTH = 0.1
# One of each class.
FEWEST_OF_A_PART = 2


@dataclass(frozen=True)
class PlantedProtocol:
    """Everything that must be the same for results to be compared, beside the images.

    Parameters
    ----------
    scenes : {"validation", "test"}
        Hyper-parameters are chosen on ``validation`` and reported on ``test``: other groups are
        scored, and other random numbers plant the effect. Training groups are shared.
    options : PlantOptions
        How the change is planted; its seed follows from the benchmark's.
    training, held_out : int
        Largest numbers of tiles to train on, and to pick the best epoch by.
    scored : int
        Largest number of tiles per direction.
    intensity : {"linear", "log1p", "asinh"}
        See :func:`napari_why.fit`.
    epochs, reference_epochs, paired_epochs : int
        See :class:`~.data.Protocol`.
    """

    scenes: Literal["validation", "test"] = "test"
    options: PlantOptions = field(default_factory=PlantOptions)
    training: int = 400
    held_out: int = 80
    scored: int = 50
    intensity: Literal["linear", "log1p", "asinh"] = "linear"
    epochs: int = Protocol.epochs
    # Real tiles vary more than scenes do: as for real data sets.
    reference_epochs: int = 20
    paired_epochs: int = 20


@dataclass(frozen=True)
class PlantedData:
    """Tiles of real images with one planted effect and seed; a :class:`~.data.BenchmarkData`.

    Parameters
    ----------
    images : Dataset or sequence of DataArray
        Real ones.
    direction : str
        Of an effect of :data:`napari_why.simulation.PLANTED_EFFECTS`: "dimming".
    seed : int
        Within the set; 0 to 999.
    protocol : PlantedProtocol

    Raises
    ------
    ParameterError
        No such effect, or a seed outside the set.
    """

    images: Images
    direction: str = "dimming"
    seed: int = 0
    protocol: PlantedProtocol = field(default_factory=PlantedProtocol)

    def __post_init__(self) -> None:
        find_planted_effect(self.direction)
        if self.protocol.options.tile is None:
            raise ParameterError("tile: found none; expected a size, as networks need one")
        if not 0 <= self.seed < SEEDS_PER_SET:
            raise ParameterError(
                f"seed: found {self.seed}; expected 0 to {SEEDS_PER_SET - 1}, as others belong to "
                "another set"
            )

    @property
    def name(self) -> str:
        """Direction of the effect."""
        return self.direction

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The images, and how the change is planted and learnt."""
        protocol = self.protocol
        numbers = ("training", "held_out", "scored", "intensity", "epochs")
        return {
            "images": _fingerprint(self.images),
            "scenes": protocol.scenes,
            "first_seed": FIRST_SEEDS[protocol.scenes],
            "planted": {**protocol.options.to_dict(), "direction": self.direction, "seed": None},
            **{name: getattr(protocol, name) for name in numbers},
            "judge_epochs": protocol.reference_epochs,
            "paired_epochs": protocol.paired_epochs,
        }

    @property
    def fit_settings(self) -> dict[str, Any]:
        """Size, intensity and length of the training."""
        protocol = self.protocol
        size = protocol.options.tile
        return {"size": size, "intensity": protocol.intensity, "epochs": protocol.epochs}

    @property
    def reference_epochs(self) -> int:
        """As the protocol says."""
        return self.protocol.reference_epochs

    @property
    def affected(self) -> tuple[int, ...]:
        """The channels that are changed."""
        return self.planted.affected

    @cached_property
    def planted(self) -> PlantedImages:
        """All tiles that are used; the scored ones are the split ``test``."""
        options = self._options
        sources = Sources.of(self.images)
        table = lay_out_tiles(sources, options)
        notes = table.attrs["notes"]
        table["split"] = draw_parts(table, self.protocol.scenes, self.seed)
        most = {
            "train": self.protocol.training,
            "validation": self.protocol.held_out,
            "test": 2 * self.protocol.scored,
        }
        table = _take(table, most, options.seed)
        table["label"] = choose_planted(table, options.share, options.seed)
        table.attrs["notes"] = notes
        return render_tiles(sources, table, self.direction, options)

    @cached_property
    def dataset(self) -> Dataset:
        """Tiles to train on and to pick the best epoch by."""
        return self.planted.select(np.asarray(self.planted.table["split"] != "test"))

    @cached_property
    def directions(self) -> tuple[Direction, Direction]:
        """Untouched to planted and back, on tiles of different groups, all of them never trained on."""
        return self._between(UNTOUCHED, PLANTED), self._between(PLANTED, UNTOUCHED)

    def training_pairs(self, source: str, target: str) -> TrainingPairs:
        """Return every training tile as one class, and what would make it the other.

        Parameters
        ----------
        source, target : str
            Class of the images, and that which the change leads to.

        Returns
        -------
        TrainingPairs
            Grey levels.
        """
        part = self.planted.part("train")
        tiles = [self.planted.tiles[position] for position in part.positions]
        return TrainingPairs(
            np.stack([tile.image(source).to_numpy() for tile in tiles]),
            np.stack([tile.true_change(source, target).to_numpy() for tile in tiles]),
            self.protocol.paired_epochs,
        )

    @property
    def _options(self) -> PlantOptions:
        seed = SERIES_PER_SEED * (FIRST_SEEDS[self.protocol.scenes] + self.seed)
        return replace(self.protocol.options, seed=seed, direction=None)

    def _between(self, source: str, target: str) -> Direction:
        table = self.planted.table
        scored = np.asarray(table["split"] == "test")
        rows, others = (
            np.flatnonzero(scored & np.asarray(table["label"] == name)).tolist()
            for name in (source, target)
        )
        tiles = [self.planted.tile(row) for row in rows]
        if not rows or not others:
            raise DatasetError(
                f"scored tiles: found {len(rows)} {source} and {len(others)} {target}; expected some of "
                "each: take more images, or a share nearer to one half"
            )
        tiles = _with_a_change(tiles)[: self.protocol.scored]
        real = [self.planted.tile(row) for row in others[: self.protocol.scored]]
        return Direction(
            source,
            target,
            images=np.stack([tile.image(source).to_numpy() for tile in tiles]),
            real=np.stack([tile.image(target).to_numpy() for tile in real]),
            truth=np.stack([tile.true_change(source, target).to_numpy() for tile in tiles]),
            paired=np.stack([tile.image(target).to_numpy() for tile in tiles]),
        )


def _with_a_change(tiles: list[PlantedTile]) -> list[PlantedTile]:
    """Leave out tiles in which next to nothing changes; all are kept where nothing does anywhere."""
    sizes = np.array([np.linalg.norm(tile.true_change(UNTOUCHED, PLANTED)) for tile in tiles])
    there = sizes[sizes > 0]
    least = LEAST_TRUTH * float(np.median(there)) if len(there) else 0.0
    return [tile for tile, size in zip(tiles, sizes, strict=True) if size >= least]


def draw_parts(table: pd.DataFrame, scenes: Literal["validation", "test"], seed: int) -> list[str]:
    """Draw which groups are trained on and which are scored.

    Parameters
    ----------
    table : DataFrame
        Of tiles, with ``group`` and ``source_label``.
    scenes : {"validation", "test"}
        The groups that are scored for ``test`` are the same for every seed, and not there at all for
        ``validation``.
    seed : int

    Returns
    -------
    list of str
        ``train``, ``validation``, ``test`` (scored), or "" (left out), for every tile.

    Raises
    ------
    DatasetError
        There are too few groups.
    """
    groups = table.drop_duplicates("group")
    rest, reported = _deal(groups, (1 - REPORTED, REPORTED), PARTS_SEED)
    shares = SHARES[scenes]
    dealt = dict(zip(shares, _deal(rest, tuple(shares.values()), seed), strict=True))
    if scenes == "test":
        dealt["test"] = reported
    part_of = {name: part for part, found in dealt.items() for name in found["group"]}
    return [part_of.get(name, "") for name in table["group"]]


def _deal(groups: pd.DataFrame, shares: Sequence[float], seed: int) -> list[pd.DataFrame]:
    """Deal groups out, original classes in turn: two at least for every part, the first gets the rest."""
    rng = np.random.default_rng([PARTS_SEED, seed])
    shuffled = groups.assign(at=rng.permutation(len(groups))).sort_values("at")
    shuffled["turn"] = shuffled.groupby("source_label").cumcount()
    shuffled = shuffled.sort_values(["turn", "at"])
    sizes = [max(FEWEST_OF_A_PART, round(share * len(groups))) for share in shares[1:]]
    first = len(groups) - sum(sizes)
    if first < FEWEST_OF_A_PART:
        raise DatasetError(
            f"images: found {len(groups)} groups for {len(shares)} parts; expected at least "
            f"{FEWEST_OF_A_PART} for each: take more images, or smaller tiles"
        )
    ends = np.cumsum([first, *sizes])
    return [shuffled.iloc[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def _take(table: pd.DataFrame, most: Mapping[str, int], seed: int) -> pd.DataFrame:
    """Take some tiles of each part, of its groups in turn."""
    rng = np.random.default_rng(seed)
    turn = table.assign(at=rng.permutation(len(table))).sort_values("at")
    turn["turn"] = turn.groupby("group").cumcount()
    turn = turn.sort_values(["turn", "at"])
    chosen = [
        index for part, count in most.items() for index in turn.index[turn["split"] == part][:count]
    ]
    return table.loc[sorted(chosen)].reset_index(drop=True)


def _fingerprint(images: Images) -> str:
    if isinstance(images, Dataset):
        return images.fingerprint
    return sha256("".join(map(pixels_digest, images)).encode()).hexdigest()


def run_planted_benchmark(
    folder: str | Path,
    images: Images,
    *,
    effects: Sequence[str] = (),
    methods: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    protocol: PlantedProtocol | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> pd.DataFrame:
    """Measure counterfactuals against changes that were planted into real images.

    What is in the folder already is not made again.

    Parameters
    ----------
    folder : str or Path
        Where results and classifiers are kept.
    images : Dataset or sequence of DataArray
        Real ones; their own classes do not matter.
    effects : sequence of str
        Of :data:`napari_why.simulation.PLANTED_EFFECTS`, each of which stands for all of its directions,
        or single directions ("dimming"); by default every effect that all cells undergo, and
        brightness in half of the cells.
    methods : sequence of str
        Of :data:`~.rows.METHODS`; all by default.
    seeds : sequence of int
        Each plants, trains and scores anew.
    protocol : PlantedProtocol, optional
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    DataFrame
        As :func:`~.run.run_truth_benchmark`; ``effect`` is the direction of the effect.

    Raises
    ------
    ParameterError, DatasetError
        An unknown effect or method, or images that cannot be split.
    """
    ways = list(dict.fromkeys(way for name in effects or DEFAULT_EFFECTS for way in _ways(name)))
    return run_rows(
        [
            PlantedData(images, way, seed, protocol or PlantedProtocol())
            for way in ways
            for seed in seeds
        ],
        methods_named(tuple(methods)),
        ResultFolder(Path(folder)),
        task="benchmark of planted changes",
        on_event=on_event,
        cancelled=cancelled,
    )


def _ways(name: str) -> tuple[str, ...]:
    effect, way = find_planted_effect(name)
    return effect.directions if name == effect.name else (way,)
