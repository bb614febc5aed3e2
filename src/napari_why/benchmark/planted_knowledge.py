"""Planted knowledge: networks that can use one thing only, asked what differs and what they use.

In the images of a pair of effects the classes differ in both. A network that is trained where one of
the effects is there at random, whatever the class, can use the other alone. Its latent statistics,
and so its transport, are then taken from images whose classes differ in *both*: the whole change
shows both effects (what differs), and the used part has to hold one of them (what the network uses).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from xarray import DataArray

from napari_why.benchmark.rows import THESIS_TRAINING
from napari_why.core.errors import DatasetError, ParameterError, WhyError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.counterfactuals import Counterfactual, counterfactual
from napari_why.counterfactuals.engine import exported_probabilities
from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.images.image import export_pixels
from napari_why.measurement import UsedChange, find_used_change
from napari_why.measurement.change_units import mix_images, split_change
from napari_why.model import Classifier
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.simulation import EFFECT_CLASSES, EFFECT_PAIRS, PairScene
from napari_why.training import examples_of
from napari_why.training.examples import Batches

Knowledge = Literal["first", "second", "both"]
KNOWLEDGE: tuple[Knowledge, ...] = ("first", "second", "both")
Change = Literal["transport", "truth"]
CHANGES: tuple[Change, ...] = ("transport", "truth")
# What is shown and its class, before and after.
DIRECTIONS = MappingProxyType(
    {
        "healthy to treated": (("neither", "healthy"), ("both", "treated")),
        "treated to healthy": (("both", "treated"), ("neither", "healthy")),
    }
)
# Far from the seeds of every other benchmark; of a seed, series of scenes: to train on, to collect
# statistics from, to score.
FIRST_SEED, SERIES_PER_SEED = 70_000, 10
# Two blocks at two stages: trained in half a minute, and right on nearly all images.
NETWORK = {"blocks": "2,2", "widths": "24,24", "downscaling": "2,2", "head": "elu"}
BATCH = 20
# In the order of the table.
ROWS = ("whole change", "used part", "smallest flip", "largest change", "random units")


@dataclass(frozen=True)
class PlantedProtocol:
    """Sizes and numbers; all that must be the same for results to be compared.

    Parameters
    ----------
    size : int
        Height and width in pixels.
    training, scored : int
        Images to train on (a fifth of them to pick the epoch by), and as many to collect the latent
        statistics from; images per network whose change is looked at.
    epochs : int
    tiles : int
        Into which a change is cut, along either axis; see
        :class:`napari_why.measurement.UsedChangeOptions`.
    """

    size: int = 48
    training: int = 240
    scored: int = 4
    epochs: int = 12
    tiles: int = 4


def plant_dataset(
    count: int, pair: str, knowledge: Knowledge, *, seed: int, size: int = 48
) -> Dataset:
    """Simulate images whose classes come with the effects that are to be known, and no other.

    Parameters
    ----------
    count : int
        Number of images, healthy and treated in turn.
    pair : str
        A key of :data:`napari_why.simulation.EFFECT_PAIRS`.
    knowledge : {"first", "second", "both"}
        Which effect the treated images have and the healthy ones have not. The other one is in a
        random half of the images of either class.
    seed : int
        Which series of scenes.
    size : int
        Height and width in pixels.

    Returns
    -------
    Dataset
        Columns ``scene`` and ``shown`` (neither, first, second or both).

    Raises
    ------
    ParameterError
        Another knowledge.
    """
    if knowledge not in KNOWLEDGE:
        raise ParameterError(f"knowledge: found {knowledge!r}; expected {', '.join(KNOWLEDGE)}")
    treated = np.arange(count) % 2 == 1
    # a stream of its own behind those of the scenes, which have numbers from 0 on
    by_chance = np.random.default_rng([seed, count, 1]).random(count) < 0.5
    first = treated if knowledge != "second" else by_chance
    second = treated if knowledge != "first" else by_chance
    shown = [
        ("neither", "first", "second", "both")[int(one) + 2 * int(other)]
        for one, other in zip(first, second, strict=True)
    ]
    images = [
        PairScene(number, pair, seed=seed, size=size).image(what)
        for number, what in enumerate(shown)
    ]
    labels = [EFFECT_CLASSES[int(known)] for known in treated]
    return Dataset.from_images(images, labels, scene=list(range(count)), shown=shown)


def plant_knowledge(
    pair: str,
    knowledge: Knowledge,
    seed: int,
    protocol: PlantedProtocol,
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Classifier:
    """Train a network that can know one effect, and take its transport from images with both.

    Nothing is locked and no channel is put back: a lock would answer the question before it is asked.

    Parameters
    ----------
    pair : str
        A key of :data:`napari_why.simulation.EFFECT_PAIRS`.
    knowledge : {"first", "second", "both"}
        Which effect tells the classes apart in training; see :func:`plant_dataset`.
    seed : int
        Of scenes, split and network.
    protocol : PlantedProtocol
        Number and size of images, epochs.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    Classifier

    Raises
    ------
    TrainingError
        Cancelled before there was a network.
    WhyError
        Cancelled afterwards.
    DatasetError
        There was no image to take the transport from.
    """
    series = SERIES_PER_SEED * (FIRST_SEED + seed)
    known = plant_dataset(protocol.training, pair, knowledge, seed=series, size=protocol.size)
    classifier = fit(
        known.split(fractions=(0.8, 0.2, 0.0), seed=seed),
        "iresnet",
        size=protocol.size,
        epochs=protocol.epochs,
        lock="none",
        second_network=False,
        seed=seed,
        network_parameters=NETWORK,
        on_event=on_event,
        cancelled=cancelled,
        **THESIS_TRAINING,
    )
    differing = plant_dataset(protocol.training, pair, "both", seed=series + 1, size=protocol.size)
    examples = examples_of(differing, classifier.preprocessing, classifier.classes)
    if examples is None:
        raise DatasetError("planted knowledge: found no image; expected those that were simulated")
    statistics = LatentStatistics.collect(
        classifier.network,
        Batches(examples, BATCH),
        classifier.classes,
        seed=seed,
        on_event=on_event,
        cancelled=cancelled,
    )
    if cancelled():
        raise WhyError("the benchmark was stopped; finished networks are in the table")
    return replace(classifier, latent_statistics=statistics)


@dataclass(frozen=True)
class Planted:
    """One scored image: its scene, a change of it, and the parts of that change.

    Parameters
    ----------
    scene : PairScene
    direction : str
        See :data:`DIRECTIONS`.
    change : {"transport", "truth"}
        Whether the change is the classifier's counterfactual, or the true one.
    used, smallest : UsedChange
        By nine tenths of the log-odds, and by the flip alone.
    """

    scene: PairScene
    direction: str
    change: Change
    used: UsedChange
    smallest: UsedChange

    def shares(self, mask: NDArray[np.floating[Any]]) -> dict[str, float]:
        """Return how much of either effect's true change lies inside a mask (C, H, W), 0 to 1.

        Where both effects change a pixel it counts for the one that changes it more, since a mask
        cannot hold one of them without the other there.
        """
        first, second = (np.abs(truth) for truth in self.truth.values())
        own = {"first_in": first * (first >= second), "second_in": second * (second > first)}
        return {name: float((mask * mass).sum() / mass.sum()) for name, mass in own.items()}

    @property
    def truth(self) -> dict[str, NDArray[np.float64]]:
        """The true change (C, H, W) of either effect, grey levels; of its coming or going."""
        return {
            effect: np.asarray(self.scene.true_change("neither", effect).values)
            for effect in ("first", "second")
        }

    def masks(self, std: Sequence[float], seed: int) -> dict[str, NDArray[np.float32]]:
        """Return the mask of every row; those of the baselines are as large as the used part.

        Parameters
        ----------
        std : sequence of float
            Standard deviation of each channel, grey levels.
        seed : int
            Of the units that are drawn.

        Returns
        -------
        dict of str to ndarray, float32, shape (C, H, W)
            By row; 1 where the mask takes the change, 0 where not.
        """
        change = self.used.after.astype(np.float64) - self.used.before
        strength = np.abs(change) / np.asarray(std)[:, None, None]
        wanted = int(self.used.mask.sum())
        largest = np.zeros(change.size, dtype=np.float32)
        largest[np.argsort(-strength, axis=None, kind="stable")[:wanted]] = 1
        units = split_change(change, int(self.used.record.parameters["tiles"]))
        order = np.random.default_rng([seed, self.scene.number]).permutation(units.count)
        # the number of units whose size comes nearest
        sizes = np.concatenate([[0], np.cumsum(units.sizes[order])])
        count = int(np.abs(sizes - wanted).argmin())
        drawn = units.mask(frozenset(order[:count].tolist())) * (change != 0)
        return {
            "whole change": (change != 0).astype(np.float32),
            "used part": self.used.mask,
            "smallest flip": self.smallest.mask,
            "largest change": largest.reshape(change.shape),
            "random units": drawn.astype(np.float32),
        }


def find_planted(
    classifier: Classifier,
    scenes: Sequence[PairScene],
    tiles: int,
    cancelled: Cancelled = never_cancelled,
) -> list[Planted]:
    """Ask both questions of scenes in both directions; misclassified images are left out.

    Parameters
    ----------
    classifier : Classifier
    scenes : sequence of PairScene
    tiles : int
        Into how many parts a change is split along each side; see
        :func:`napari_why.measurement.find_used_change`.
    cancelled : callable
        Asked before every question; what was found is returned.

    Returns
    -------
    list of Planted
    """
    found = []
    for scene, direction, kind in product(scenes, DIRECTIONS, CHANGES):
        if cancelled():
            break
        (shown, label), (wanted, target) = DIRECTIONS[direction]
        image = scene.image(shown)
        if classifier.predict(image).label != label:
            continue
        result = counterfactual(classifier, image, target, steps=2)
        if kind == "truth":
            result = take_true_change(result, image, scene.true_change(shown, wanted))
        used = find_used_change(classifier, result, image, tiles=tiles)
        smallest = find_used_change(classifier, result, image, tiles=tiles, share=0.0)
        found.append(Planted(scene, direction, kind, used, smallest))
    return found


def take_true_change(result: Counterfactual, image: DataArray, change: DataArray) -> Counterfactual:
    """Return a counterfactual whose image at alpha1 is the source with its true change added.

    Parameters
    ----------
    result : Counterfactual
        Of the image.
    image : DataArray, dims (c, y, x)
        Raw grey levels, on the network's grid.
    change : DataArray, dims (c, y, x)
        Grey levels.

    Returns
    -------
    Counterfactual
    """
    before = image.to_numpy()
    after = export_pixels(before + change.to_numpy(), before.dtype)
    return replace(
        result,
        reconstruction=before.astype(np.float32),
        special_images={"alpha1": after},
        record=replace(result.record, method="true change", details={}),
    )


def follow_effects(classifier: Classifier, scenes: Sequence[PairScene]) -> dict[str, float]:
    """Return the share of scenes predicted as treated by what is shown: what was really learnt.

    Parameters
    ----------
    classifier : Classifier
    scenes : sequence of PairScene

    Returns
    -------
    dict of str to float
        ``treated_if_neither``, ``..._first``, ``..._second``, ``..._both``; 0 to 1.
    """
    return {
        f"treated_if_{what}": float(
            np.mean([classifier.predict(scene.image(what)).label == "treated" for scene in scenes])
        )
        for what in ("neither", "first", "second", "both")
    }


def score_planted(
    classifier: Classifier, planted: Sequence[Planted], seed: int
) -> list[dict[str, Any]]:
    """Return one record for each direction, change and row: means over the images.

    ``first_in`` and ``second_in``: share of the true change of either effect inside the mask, by
    mass; ``flips``: share of the images that the mask's part of the change alone takes to the
    target; ``size``: share of the changed values that the mask takes. Where the whole change does
    not flip, no part is looked for in earnest: those images count in ``whole change`` alone.

    Parameters
    ----------
    classifier : Classifier
        Judges parts of changes.
    planted : sequence of Planted
    seed : int
        Of the units that are drawn.

    Returns
    -------
    list of dict
    """
    rows: dict[tuple[str, str, str], list[dict[str, float]]] = {}
    for item in planted:
        before, after = item.used.before, item.used.after
        changed = max(1, int(np.count_nonzero(after != before)))
        for name, mask in item.masks(classifier.preprocessing.std, seed).items():
            if name != "whole change" and not item.used.flips:
                continue
            image = mix_images(before, after, mask)
            label = classifier.classes[int(exported_probabilities(classifier, image).argmax())]
            rows.setdefault((item.direction, item.change, name), []).append(
                {
                    **item.shares(mask),
                    "flips": float(label == item.used.target),
                    "size": float(mask.sum()) / changed,
                }
            )
    return [
        {
            "direction": direction,
            "change": kind,
            "row": name,
            "images": len(found),
            **{key: float(np.mean([one[key] for one in found])) for key in found[0]},
        }
        for (direction, kind, name), found in rows.items()
    ]


@dataclass(frozen=True)
class PlantedReport:
    """What a run gave.

    Parameters
    ----------
    table : DataFrame
        One row for each pair, knowledge, seed, direction, change and part; the columns of
        :func:`score_planted` and :func:`follow_effects`, and ``accuracy`` on validation images.
    examples : dict of (str, str) to list of Planted
        The images of the first seed, by pair and knowledge.
    complete : bool
        False where it was cancelled; the networks done by then are in the table.
    """

    table: pd.DataFrame
    examples: dict[tuple[str, str], list[Planted]]
    complete: bool


def run_planted_benchmark(
    *,
    pairs: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    protocol: PlantedProtocol | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> PlantedReport:
    """Train networks with planted knowledge and score what is said of them.

    Parameters
    ----------
    pairs : sequence of str
        Of :data:`napari_why.simulation.EFFECT_PAIRS`; all by default.
    seeds : sequence of int
        Each trains and scores on scenes of its own.
    protocol : PlantedProtocol, optional
    on_event, cancelled
        See :mod:`napari_why.core.events`. Cancelled, the table holds the networks done by then.

    Returns
    -------
    PlantedReport

    Raises
    ------
    ParameterError
        An unknown pair.
    """
    unknown = [name for name in pairs if name not in EFFECT_PAIRS]
    if unknown:
        raise ParameterError(
            f"pairs: found {', '.join(unknown)}; expected some of {', '.join(EFFECT_PAIRS)}"
        )
    chosen = protocol or PlantedProtocol()
    cases = [
        (pair, knowledge, seed)
        for pair in pairs or tuple(EFFECT_PAIRS)
        for knowledge in KNOWLEDGE
        for seed in seeds
    ]
    on_event(Started("planted knowledge", len(cases)))
    table: list[dict[str, Any]] = []
    examples: dict[tuple[str, str], list[Planted]] = {}
    done = 0
    for pair, knowledge, seed in cases:
        on_event(Message(f"{pair}: a network that knows {knowledge}, seed {seed}"))
        try:
            classifier = plant_knowledge(pair, knowledge, seed, chosen, cancelled=cancelled)
        except WhyError:
            if not cancelled():
                raise
            break
        series = SERIES_PER_SEED * (FIRST_SEED + seed) + 2
        scenes = [
            PairScene(number, pair, seed=series, size=chosen.size)
            for number in range(chosen.scored)
        ]
        planted = find_planted(classifier, scenes, chosen.tiles, cancelled)
        if cancelled():
            break
        examples.setdefault((pair, knowledge), planted)
        case = {"pair": pair, "knows": knowledge, "seed": seed}
        learnt = follow_effects(classifier, scenes)
        accuracy = classifier.metrics["validation"]["images"]["accuracy"]
        table += [
            {**case, "accuracy": accuracy, **learnt, **row}
            for row in score_planted(classifier, planted, seed)
        ]
        done += 1
        on_event(Advanced(done))
    on_event(Finished(partial=done < len(cases)))
    return PlantedReport(pd.DataFrame(table), examples, done == len(cases))
