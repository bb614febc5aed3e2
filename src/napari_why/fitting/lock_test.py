"""The lock test: which channels tell so little of the class that counterfactuals leave them alone.

A small network that sees one channel alone is cross-validated by groups. A channel is locked only
where the interval of its accuracy ends below a margin; too few images lock nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_why.core import events
from napari_why.core.errors import ParameterError
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.core.options import parameters_of
from napari_why.datasets.dataset import Dataset
from napari_why.networks import NETWORKS
from napari_why.networks.modules import read_locked_channels
from napari_why.training.class_evidence import (
    FOLDS,
    MOST_IMAGES,
    Intervals,
    PermutationTest,
    choose_images,
    confidence_intervals,
    out_of_fold_predictions,
    permutation_test,
    reduce_images,
)
from napari_why.training.examples import Examples, derived_seed

SIGNIFICANT = 0.05  # the usual level: one data set in twenty falls below it by chance
# Of what lies between chance and 1. What an accuracy must be above chance for a channel to be
# evidence that others may be locked beside: less is found by chance in one of many channels.
NEGLIGIBLE = 0.12
# What the interval of an accuracy may reach above chance for the channel to be locked: of two
# classes 60 %. Half of it would ask for more than 1,500 images, twice of it would lock a channel
# that tells 69 % right.
MARGIN = 0.2
# Where a lock is in question, small sets are cross-validated several times over, which takes the
# chance of one training out of the accuracies and costs no more than once with many images; more
# than five times adds little.
MOST_REPETITIONS = 5

ChannelVerdict = Literal["evidence", "weak", "chance", "undecided"]


@dataclass(frozen=True)
class ClassEvidence:
    """How well one channel alone tells one class from the rest.

    Parameters
    ----------
    label : str
    accuracy, low, high : float
        Balanced accuracy of this class against the rest, chance 0.5, and its 95 % interval.
    p_value : float
        Of the permutation test, corrected for the number of classes.
    """

    label: str
    accuracy: float
    low: float
    high: float
    p_value: float


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
        Of the permutation test: the chance that labels without meaning give as striking a figure,
        of all classes or of one against the rest (``family_p`` of :func:`permutation_test`).
    verdict : {"evidence", "weak", "chance", "undecided"}
        p below 0.05, an interval above chance, and more than little; the same, but little; no p
        below 0.05 and the intervals of all figures end below the margin; or none of these, where
        it is not known.
    low, high : float or None
        95 % confidence interval of the accuracy; None in what was saved before there was one.
    margin : float or None
        The accuracy below which the interval must end for the channel to be locked.
    classes : tuple of ClassEvidence
        Each class against the rest; empty of two classes, where that is the accuracy itself.
    """

    channel: str
    accuracy: float
    chance: float
    p_value: float
    verdict: ChannelVerdict
    low: float | None = None
    high: float | None = None
    margin: float | None = None
    classes: tuple[ClassEvidence, ...] = ()


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
    repetitions : int
        How many times over it was made.
    """

    locked: tuple[str, ...]
    decided_by: Literal["test", "user"]
    sentence: str
    channels: tuple[ChannelEvidence, ...] = ()
    images: int = 0
    groups: int = 0
    folds: int = 0
    repetitions: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, for the card."""
        return {
            **asdict(self),
            "locked": list(self.locked),
            "channels": [
                {**asdict(item), "classes": [*map(asdict, item.classes)]} for item in self.channels
            ],
        }


def can_lock(network: str) -> bool:
    """Tell whether a network, by registry name, has a triangular form."""
    entry = NETWORKS.get(network)
    return entry is not None and "locked" in {item.name for item in parameters_of(entry.builder)}


def read_wanted_lock(
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

    Returns
    -------
    LockTest or None

    Raises
    ------
    ParameterError
        An unknown channel, all channels, or channels for a network that cannot lock any.
    """
    wanted = lock.strip()
    # the network's own parameter first: it is the more particular of the two
    own = str(network_parameters.get("locked", "")).strip()
    if own:
        names = tuple(channels[index] for index in read_locked_channels(own, len(channels)))
        return LockTest(names, "user", f"{_join_names(names)} locked, as asked for.")
    if wanted == "auto":
        return None
    if wanted in ("", "none"):
        return LockTest((), "user", "No channel is locked, as asked for.")
    names = tuple(name.strip() for name in wanted.split(","))
    unknown = [name for name in names if name not in channels]
    if unknown or not can_lock(network) or len(set(names)) == len(channels):
        raise ParameterError(
            f"lock: found {lock!r} for {network}; expected auto, none, or some but not all of "
            f"{', '.join(channels)}"
            + ("" if can_lock(network) else "; only an invertible residual network locks channels")
        )
    ordered = tuple(name for name in channels if name in names)
    return LockTest(ordered, "user", f"{_join_names(ordered)} locked, as asked for.")


def lock_test(
    dataset: Dataset,
    examples: Examples,
    channels: Sequence[str],
    *,
    seed: int = 0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> LockTest | None:
    """Find the channels that tell next to nothing of the class.

    A small network per channel is cross-validated by groups on at most 600 small images, which
    takes seconds. Its predictions are compared with labels permuted among groups, within plates
    where a column ``plate`` tells them apart, for all classes together and for each against the
    rest. A channel is locked when none of these figures is significant, the 95 % intervals of all
    end below the margin, and another channel clearly holds evidence. Where the images are too few
    for that, it is not known what the channel tells, and it is not locked.

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
    chosen = choose_images(dataset.labels, seed)
    labels, groups = dataset.labels[chosen], dataset.groups[chosen]
    # every fold needs a group of every class
    folds = min([FOLDS, *(len(set(groups[labels == label])) for label in np.unique(labels))])
    if len(channels) == 1 or folds < 2:
        why = "there is one only" if len(channels) == 1 else "a class has one group of images only"
        return _report_outcome(LockTest((), "test", f"No channel is locked: {why}."), on_event)
    on_event(events.Started("lock test", len(channels) * folds))
    views = reduce_images(examples, chosen, cancelled)
    if views is None:
        return None
    predicted: list[NDArray[np.int64]] = []
    asked = (labels, groups, _plates(dataset, chosen))
    comparable = _are_comparable(labels, asked[2])
    repetitions = 1
    evidence: tuple[ChannelEvidence, ...] = ()
    while len(predicted) < repetitions:
        once = out_of_fold_predictions(
            views,
            labels,
            groups,
            len(dataset.classes),
            folds,
            # the first as it was when there was but one
            seed=derived_seed(seed, len(predicted)) if predicted else seed,
            on_event=on_event,
            cancelled=cancelled,
            steps_before=max(0, len(predicted) - 1) * len(channels) * folds,
        )
        if once is None:
            return None
        predicted.append(once)
        if 1 < len(predicted) < repetitions:
            continue
        found = permutation_test(np.stack(predicted), *asked, seed=seed)
        intervals = confidence_intervals(np.stack(predicted), *asked)
        evidence = tuple(
            _reach_verdict(name, found, intervals, dataset.classes, index, comparable)
            for index, name in enumerate(channels)
        )
        if len(predicted) == 1 and _may_lock(evidence):
            repetitions = max(1, min(MOST_REPETITIONS, MOST_IMAGES // len(chosen)))
            if repetitions > 1:
                steps = (repetitions - 1) * len(channels) * folds
                on_event(events.Started("lock test, repeated", steps))
    locked = _to_lock(evidence)
    sizes = (len(chosen), len(set(groups.tolist())), folds, repetitions)
    sentence = _sentence(evidence, locked)
    if not comparable and not locked:
        sentence = (
            "Some classes share no plate with the others, not even by way of a third, so what tells "
            f"them apart may be the plate. {sentence}"
        )
    if found.smallest_p >= SIGNIFICANT:
        sentence = f"No channel is locked: {sizes[1]} groups of images are too few to tell."
    return _report_outcome(LockTest(locked, "test", sentence, evidence, *sizes), on_event)


def _reach_verdict(
    channel: str,
    found: PermutationTest,
    intervals: Intervals,
    classes: Sequence[str],
    index: int,
    comparable: bool,
) -> ChannelEvidence:
    accuracy, chance, p_value = (
        float(values[index]) for values in (found.accuracies, found.chance, found.family_p)
    )
    low, high = intervals.low[index], intervals.high[index]
    each = tuple(
        ClassEvidence(
            label,
            float(found.class_accuracies[index, k]),
            float(low[1 + k]),
            float(high[1 + k]),
            float(found.class_p_values[index, k]),
        )
        for k, label in enumerate(classes)
        # of two classes, one against the rest is the accuracy again; nan is known of no plate
        if len(classes) > 2 and np.isfinite(found.class_accuracies[index, k])
    )
    margin = chance + MARGIN * (1 - chance)
    significant = p_value < SIGNIFICANT
    # the interval knows the spread between wells, which permuted labels take for granted: what is
    # to be evidence has to pass both
    above = low[0] > chance
    # a class is found alone where its own corrected p says so
    alone = [one for one in each if one.p_value < SIGNIFICANT and one.low > 0.5]
    striking = (above and accuracy - chance > NEGLIGIBLE * (1 - chance)) or any(
        one.accuracy - 0.5 > NEGLIGIBLE / 2 for one in alone
    )
    bounded = high[0] < margin and all(one.high < 0.5 + MARGIN / 2 for one in each)
    verdict: ChannelVerdict = "undecided"
    if significant:
        if above or alone:
            verdict = "evidence" if striking else "weak"
    elif found.smallest_p < SIGNIFICANT and bounded and comparable:
        verdict = "chance"
    return ChannelEvidence(
        channel, accuracy, chance, p_value, verdict, float(low[0]), float(high[0]), margin, each
    )


def _may_lock(evidence: Sequence[ChannelEvidence]) -> bool:
    """Whether a closer look may decide about a lock: evidence in one channel, none in another."""
    verdicts = {item.verdict for item in evidence}
    return "evidence" in verdicts and bool(verdicts & {"chance", "undecided"})


def _to_lock(evidence: Sequence[ChannelEvidence]) -> tuple[str, ...]:
    # where nothing tells the classes apart, locking would leave the network nothing to learn from
    if not any(item.verdict == "evidence" for item in evidence):
        return ()
    return tuple(item.channel for item in evidence if item.verdict == "chance")


def _sentence(evidence: Sequence[ChannelEvidence], locked: Sequence[str]) -> str:
    measured = " ".join(_describe_channel(item) for item in evidence)
    verdicts = {item.verdict for item in evidence}
    if locked:
        margin = next(item.margin for item in evidence if item.channel in locked)
        return (
            f"{_join_names(locked)} locked: the interval of what this tells ends below {margin:.0%}, "
            f"what counts as next to nothing here. {measured}"
        )
    if "evidence" not in verdicts:
        return f"No channel is locked: none alone clearly tells the classes apart. {measured}"
    unknown = [item.channel for item in evidence if item.verdict == "undecided"]
    if unknown:
        return (
            f"No channel is locked: what {_join_plainly(unknown)} alone tells is not known well "
            f"enough from these images; lock by name if you know better. {measured}"
        )
    # the level of SIGNIFICANT, in words
    return (
        "No channel is locked: each seems to tell something of the class, as up to one channel in 20 "
        f"does that tells nothing. {measured}"
    )


def _describe_channel(item: ChannelEvidence) -> str:
    said = (
        f"{item.channel} alone tells the classes apart in {item.accuracy:.0%} "
        f"(95% interval {item.low:.0%} to {item.high:.0%}, chance {item.chance:.0%})"
    )
    # what stands out in one class alone hardly shows in the accuracy of many
    found = [one for one in item.classes if one.p_value < SIGNIFICANT]
    if found and item.verdict != "chance":
        best = max(found, key=lambda one: one.accuracy)
        said += (
            f", and {best.label} from the rest in {best.accuracy:.0%} ({best.low:.0%} to "
            f"{best.high:.0%}, chance 50%)"
        )
    if item.verdict == "weak":
        said += (
            f", which is little, but hardly by chance: about one channel in {1 / item.p_value:.0f} "
            "that tells nothing seems as striking"
        )
    return said + "."


def _join_names(names: Sequence[str]) -> str:
    return f"{_join_plainly(names)} {'is' if len(names) == 1 else 'are'}"


def _join_plainly(names: Sequence[str]) -> str:
    return " and ".join(names)


def _plates(dataset: Dataset, chosen: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return plate numbers; all 0 where there are none, or where each plate has one class."""
    nothing = np.zeros(len(chosen), dtype=np.int64)
    if "plate" not in dataset.table.columns:
        return nothing
    rows = dataset.table.iloc[chosen]
    # then labels dealt out within plates stay as they are, and nothing could be tested
    if (rows.groupby("plate")["label"].nunique() == 1).all():
        return nothing
    numbers, _ = rows["plate"].factorize()
    return np.asarray(numbers, dtype=np.int64)


def _are_comparable(labels: NDArray[np.int64], plates: NDArray[np.int64]) -> bool:
    """Tell whether plates that they share lead from every class to every other."""
    together = [set(labels[plates == plate].tolist()) for plate in np.unique(plates)]
    reached = together.pop()
    while more := next((classes for classes in together if classes & reached), None):
        together.remove(more)
        reached |= more
    return not together


def _report_outcome(outcome: LockTest, on_event: OnEvent) -> LockTest:
    on_event(events.Message(outcome.sentence))
    return outcome
