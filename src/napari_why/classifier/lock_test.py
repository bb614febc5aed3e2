"""Which channels hold class evidence; those that hold none are locked.

A counterfactual is to leave alone what has nothing to do with the class. Asked for the cheapest
way from one class to the other, transport moves nuclei instead of the signal beside them; locked
channels cannot move, and tell the transport where the nuclei are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_why.classifier.channel_evidence import (
    FOLDS,
    chosen_images,
    out_of_fold_predictions,
    reduced,
)
from napari_why.classifier.group_permutation import PermutationTest, permutation_test
from napari_why.datasets.dataset import Dataset
from napari_why.errors import ParameterError
from napari_why.events import (
    Cancelled,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.networks import NETWORKS
from napari_why.networks.shapes import locked_channels
from napari_why.parameters import parameters_of
from napari_why.training.examples import Examples

SIGNIFICANT = 0.05
NEGLIGIBLE, NEAR_CHANCE = 0.12, 0.2
"""Of what lies between chance and 1: what a balanced accuracy must be above chance to count as
evidence, however significant (one data set in twenty is significant by chance), and what it may be
above chance to be locked where it is not significant."""

Verdict = Literal["evidence", "chance", "undecided"]


@dataclass(frozen=True)
class ChannelEvidence:
    """What the test found in one channel.

    Parameters
    ----------
    channel : str
    accuracy : float
        Cross-validated balanced accuracy of a small network that sees this channel alone.
    chance : float
        What that would be without evidence: its mean over permuted labels.
    p_value : float
        Of the permutation test, see :func:`~.group_permutation.permutation_test`.
    verdict : {"evidence", "chance", "undecided"}
        p below 0.05 and not negligible; near chance; or neither, where the images are too few.
    """

    channel: str
    accuracy: float
    chance: float
    p_value: float
    verdict: Verdict


@dataclass(frozen=True)
class LockTest:
    """Which channels are locked, by whom, and why.

    Parameters
    ----------
    locked : tuple of str
    decided_by : {"test", "user"}
    sentence : str
        The outcome in words.
    channels : tuple of ChannelEvidence
        Empty where nothing was tested.
    images, groups, folds : int
        What the cross-validation had.
    """

    locked: tuple[str, ...]
    decided_by: Literal["test", "user"]
    sentence: str
    channels: tuple[ChannelEvidence, ...] = ()
    images: int = 0
    groups: int = 0
    folds: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, for the card."""
        return {
            **asdict(self),
            "locked": list(self.locked),
            "channels": [*map(asdict, self.channels)],
        }


def can_lock(network: str) -> bool:
    """Tell whether a network, by registry name, has a triangular form."""
    entry = NETWORKS.get(network)
    return entry is not None and "locked" in {item.name for item in parameters_of(entry.builder)}


def wish(
    lock: str, network: str, network_parameters: Mapping[str, Any], channels: Sequence[str]
) -> LockTest | None:
    """Return what the user decided; None where the test is to decide, or where nothing can be.

    Parameters
    ----------
    lock : str
        ``auto``, ``none``, or names of channels separated by commas.
    network : str
        Registry name.
    network_parameters : mapping
        The network's own parameter ``locked`` counts as the user's decision too.
    channels : sequence of str
        Names in the network's order.

    Raises
    ------
    ParameterError
        An unknown channel, all channels, or channels for a network that cannot lock any.
    """
    asked = lock.strip()
    own = str(network_parameters.get("locked", "")).strip()
    if own:
        names = tuple(channels[index] for index in locked_channels(own, len(channels)))
        return LockTest(names, "user", f"{_listed(names)} locked, as asked for.")
    if asked == "auto":
        return None
    if asked in ("", "none"):
        return LockTest((), "user", "No channel is locked, as asked for.")
    names = tuple(name.strip() for name in asked.split(","))
    unknown = [name for name in names if name not in channels]
    if unknown or not can_lock(network) or len(set(names)) == len(channels):
        raise ParameterError(
            f"lock: found {lock!r} for {network}; expected auto, none, or some but not all of "
            f"{', '.join(channels)}"
            + ("" if can_lock(network) else "; only an invertible residual network locks channels")
        )
    ordered = tuple(name for name in channels if name in names)
    return LockTest(ordered, "user", f"{_listed(ordered)} locked, as asked for.")


def lock_test(
    dataset: Dataset,
    examples: Examples,
    channels: Sequence[str],
    *,
    seed: int = 0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> LockTest | None:
    """Find the channels that hold no class evidence.

    A small network per channel is cross-validated by groups on at most 600 small images, which
    takes seconds. Its predictions are compared with labels permuted among groups, within plates
    where a column ``plate`` tells them apart. A channel is locked when it is near chance and
    another channel clearly is not; in doubt nothing is locked.

    Parameters
    ----------
    dataset : Dataset
        The training images, for their labels, groups and plates.
    examples : Examples
        The same images, preprocessed.
    channels : sequence of str
        Names, in the order of the examples' channels.
    seed : int
    on_event, cancelled
        One step per channel and fold; a Message tells the outcome.

    Returns
    -------
    LockTest, or None when cancelled
    """
    chosen = chosen_images(dataset.labels, seed)
    labels, groups = dataset.labels[chosen], dataset.groups[chosen]
    folds = min([FOLDS, *(len(set(groups[labels == label])) for label in np.unique(labels))])
    if len(channels) == 1 or folds < 2:
        why = "there is one only" if len(channels) == 1 else "a class has one group of images only"
        return _told(LockTest((), "test", f"No channel is locked: {why}."), on_event)
    on_event(Started("lock test", len(channels) * folds))
    views = reduced(examples, chosen, cancelled)
    if views is None:
        return None
    predicted = out_of_fold_predictions(
        views,
        labels,
        groups,
        len(dataset.classes),
        folds,
        seed=seed,
        on_event=on_event,
        cancelled=cancelled,
    )
    if predicted is None:
        return None
    found = permutation_test(predicted, labels, groups, _plates(dataset, chosen), seed=seed)
    evidence = tuple(_judged(name, found, index) for index, name in enumerate(channels))
    locked = _to_lock(evidence)
    sizes = (len(chosen), len(set(groups.tolist())), folds)
    if found.smallest_p >= SIGNIFICANT:
        sentence = f"No channel is locked: {sizes[1]} groups of images are too few to tell."
    else:
        sentence = _sentence(evidence, locked)
    return _told(LockTest(locked, "test", sentence, evidence, *sizes), on_event)


def _judged(channel: str, found: PermutationTest, index: int) -> ChannelEvidence:
    accuracy, chance, p_value = (
        float(values[index]) for values in (found.accuracies, found.chance, found.p_values)
    )
    verdict: Verdict = "undecided"
    possible = 1 - chance
    if p_value < SIGNIFICANT and accuracy - chance > NEGLIGIBLE * possible:
        verdict = "evidence"
    elif found.smallest_p < SIGNIFICANT and accuracy - chance <= NEAR_CHANCE * possible:
        verdict = "chance"
    return ChannelEvidence(channel, accuracy, chance, p_value, verdict)


def _to_lock(evidence: Sequence[ChannelEvidence]) -> tuple[str, ...]:
    if not any(item.verdict == "evidence" for item in evidence):
        return ()
    return tuple(item.channel for item in evidence if item.verdict == "chance")


def _sentence(evidence: Sequence[ChannelEvidence], locked: Sequence[str]) -> str:
    figures = ", ".join(f"{item.channel} {item.accuracy:.2f}" for item in evidence)
    measured = f"(balanced accuracy of one channel alone: {figures})"
    if locked:
        names = _listed(locked)
        return f"{names} locked: no class evidence there {measured}."
    if any(item.verdict == "evidence" for item in evidence):
        return f"No channel is locked: each may hold class evidence {measured}."
    return f"No channel is locked: none alone clearly tells the classes apart {measured}."


def _listed(names: Sequence[str]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'}"


def _plates(dataset: Dataset, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return plate numbers; all 0 where there are none, or where each plate has one class."""
    nothing = np.zeros(len(chosen), dtype=np.int64)
    if "plate" not in dataset.table.columns:
        return nothing
    rows = dataset.table.iloc[chosen]
    if (rows.groupby("plate")["label"].nunique() == 1).all():
        return nothing
    numbers, _ = rows["plate"].factorize()
    return np.asarray(numbers, dtype=np.int64)


def _told(outcome: LockTest, on_event: OnEvent) -> LockTest:
    on_event(Message(outcome.sentence))
    return outcome
