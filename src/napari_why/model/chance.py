"""Whether held-out images show that a classifier tells classes apart: all of them, or a pair."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

State = Literal["told apart", "chance", "below chance", "too few", "not known"]
# Of these, what a classifier says of one class against another says nothing about the classes.
VOID: tuple[State, ...] = ("chance", "below chance")

# Test images have chosen nothing, validation images the epoch: the former are asked first.
SPLITS = ("test", "validation")
# Of the intervals; the usual one, so that readers know what to make of it.
CONFIDENCE = 0.95
# A classifier whose interval covers chance is called at chance only where it ends before half of the
# way from chance to always right; else a good classifier may as well have given these answers.
HALF_WAY = 0.5
# Of fewer units "at chance" would say more than they can.
FEWEST = 20


@dataclass(frozen=True)
class ChanceTest:
    """How often classes were told apart on held-out images, compared with chance.

    Parameters
    ----------
    classes : tuple of str
        The classes in question.
    state : {"told apart", "chance", "below chance", "too few", "not known"}
        The interval lies above chance, also with validation images; it covers chance, ends before half
        of the way to always right, and 20 units or more were counted; it lies below chance, as where
        labels were exchanged; else; there is no interval.
    split : str
        "test"; "validation" where test images are not of both classes; "test and validation" where
        either alone are too few, or the latter contradict the former.
    unit : str
        What was counted: "wells" ("groups") where groups are known, since their images are not
        independent, else "images".
    right, counted : int
        Units that were predicted right, and all.
    accuracy : float or None
        Balanced: the mean over the classes of the share that is right.
    interval : (float, float) or None
        Of ``accuracy``, 95 %: exact intervals of each class (Clopper & Pearson 1934), put together
        after Newcombe 1998 (Zou & Donner 2008), so that no class counts more than another.
    chance : float or None
        What predictions that know nothing reach at most.
    apart : int
        Images of a pair that were predicted as a third class and left out.
    reason : str
        Why it is not known.
    """

    classes: tuple[str, ...]
    state: State
    split: str = ""
    unit: str = ""
    right: int = 0
    counted: int = 0
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    chance: float | None = None
    apart: int = 0
    reason: str = ""

    @property
    def says_nothing(self) -> bool:
        """Whether the classifier says nothing about these classes: at chance, or below it."""
        return self.state in VOID

    @property
    def figures(self) -> str:
        """The numbers in words."""
        if self.interval is None or self.chance is None:
            return self.reason
        low, high = self.interval
        # where one class has more units than another, the two accuracies differ
        plain, balanced = _percent(self.right / self.counted), _percent(self.accuracy or 0.0)
        between = "" if plain == balanced else f"balanced accuracy {balanced} %, "
        text = (
            f"{self.right} of {self.counted} {self.split} {self.unit} right, {between}"
            f"95 % interval {_percent(low)} to {_percent(high)} %, chance {_percent(self.chance)} %"
        )
        return f"{text}, {self.apart} predicted as a third class left out" if self.apart else text

    @property
    def short(self) -> str:
        """What to hold against a result between these classes; empty where nothing is."""
        names = " and ".join(self.classes) if len(self.classes) <= MANY else "the classes"
        return {
            "told apart": "",
            "chance": f"{names} are at chance ({self.figures})",
            "below chance": f"{names} are below chance: are labels exchanged? ({self.figures})",
            "too few": f"too few to tell {names} from chance ({self.figures})",
            "not known": f"not known whether {names} can be told apart",
        }[self.state]

    @property
    def sentence(self) -> str:
        """The same as a sentence."""
        names = " and ".join(self.classes) if len(self.classes) <= MANY else "the classes"
        return {
            "told apart": f"held-out images show that {names} are told apart: {self.figures}",
            "chance": f"the classifier is at chance between {names}: {self.figures}",
            "below chance": (
                f"the classifier is below chance between {names}: are labels exchanged? {self.figures}"
            ),
            "too few": f"too few to tell {names} from chance: {self.figures}",
            "not known": f"it is not known whether {names} can be told apart: {self.reason}",
        }[self.state]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return asdict(self) | {
            "classes": list(self.classes),
            "interval": None if self.interval is None else list(self.interval),
        }


# More names than a pair has make no sentence.
MANY = 2


def judge_pair(
    metrics: Mapping[str, Any], classes: Sequence[str], first: str, second: str
) -> ChanceTest:
    """Tell whether held-out images show that two classes are told apart from each other.

    Only images that truly are one of the two count. Where groups are known, each group counts once,
    as the class of the two to which its images give the higher mean probability; a third class then
    has no say. Else it is the 2 x 2 part of the confusion matrix: images that were predicted as a
    third class are left out, which is told.

    Parameters
    ----------
    metrics : mapping
        :attr:`napari_why.model.Classifier.metrics`.
    classes : sequence of str
        All classes, in the order of the confusion matrix.
    first, second : str
        The pair.

    Returns
    -------
    ChanceTest
        Its ``state`` is ``not known`` without held-out images of two classes.

    Examples
    --------
    >>> matrix = [[30, 0, 0], [0, 15, 15], [0, 15, 15]]
    >>> metrics = {"test": {"images": {"confusion_matrix": matrix}}}
    >>> judge_pair(metrics, "abc", "a", "b").state
    'told apart'
    >>> judge_pair(metrics, "abc", "b", "c").short
    'b and c are at chance (30 of 60 test images right, 95 % interval 37 to 63 %, chance 50 %)'
    """
    pair = (first, second)
    return _first_judged(pair, list(_pair_tables(metrics, classes, pair)))


def note_of_rival(
    metrics: Mapping[str, Any], classes: Sequence[str], scores: ArrayLike, chosen: int
) -> tuple[str, ...]:
    """Say where a class and its strongest rival on an image are at chance, or below; else nothing.

    Parameters
    ----------
    metrics, classes
        As for :func:`judge_pair`.
    scores : array_like, shape (K,)
        Of the image: logits or probabilities.
    chosen : int
        The class that is predicted or explained. Its rival is the class with the highest score of
        the others, so of a class that is not predicted the predicted one.

    Returns
    -------
    tuple of str
        One sentence or none.
    """
    others = np.array(scores, dtype=np.float64)
    if len(others) < MANY:
        return ()
    others[chosen] = -np.inf
    pair = judge_pair(metrics, classes, classes[chosen], classes[int(others.argmax())])
    return (pair.short,) if pair.says_nothing else ()


def judge_classes(metrics: Mapping[str, Any], classes: Sequence[str] = ()) -> ChanceTest:
    """Tell whether held-out images show that a classifier is better than chance.

    Classes of which there is no held-out image do not count.

    Parameters
    ----------
    metrics : mapping
        :attr:`napari_why.model.Classifier.metrics`.
    classes : sequence of str, optional
        Their names, for sentences.

    Returns
    -------
    ChanceTest
        Its ``state`` is ``not known`` without held-out images of two classes.
    """
    return _first_judged(tuple(classes), list(_whole_tables(metrics)))


def at_chance(metrics: Mapping[str, Any]) -> str | None:
    """Return a sentence unless held-out images show that a classifier is better than chance.

    Examples
    --------
    >>> at_chance({"test": {"images": {"confusion_matrix": [[29, 1], [2, 28]]}}}) is None
    True
    >>> at_chance({"test": {"images": {"confusion_matrix": [[5, 3], [4, 4]]}}})
    'too few to tell the classes from chance: 9 of 16 test images right, 95 % interval 31 to 79 %, chance 50 %'
    """
    found = judge_classes(metrics)
    return None if found.state == "told apart" else found.sentence


@dataclass(frozen=True)
class _Table:
    """A confusion matrix (rows true, columns predicted) of one split, and what it counts."""

    split: str
    unit: str
    matrix: NDArray[np.int64]
    apart: int = 0


def _first_judged(classes: tuple[str, ...], tables: list[_Table]) -> ChanceTest:
    """Judge the tables one after the other, then together, until one of them settles it."""
    reason = "the classifier holds no metrics of held-out images"
    found: ChanceTest | None = None
    for table in (*tables, *_together(tables)):
        there = table.matrix.sum(axis=1) > 0
        # of a pair both have to be there, of all classes any two
        if there.sum() >= 2:
            if found is None or table.split not in SPLITS:
                found = _judge(classes, table, there)
            if found.state == "told apart":
                return _unless_contradicted(found, classes, tables)
            if found.state != "too few":
                return found
        elif found is None:
            reason = "held-out images are not of both classes"
            if table.apart:
                reason = f"{table.apart} {table.split} images were predicted as a third class"
    return found or ChanceTest(classes or ("the classes",), "not known", reason=reason)


def _unless_contradicted(
    found: ChanceTest, classes: tuple[str, ...], tables: list[_Table]
) -> ChanceTest:
    """Return what test and validation images show together where the latter turn the answer.

    One pair in forty that differs in nothing lies above chance on test images by luck. Validation
    images chose the epoch and flatter: where even with them it is not above chance, it is not shown.
    """
    for table in _together(tables):
        there = table.matrix.sum(axis=1) > 0
        both = _judge(classes, table, there)
        if both.state != "told apart":
            return both
    return found


def _together(tables: list[_Table]) -> Iterator[_Table]:
    """Yield test and validation images as one table, for where those of the test are too few."""
    if len(tables) == len(SPLITS) and len({table.unit for table in tables}) == 1:
        matrix = np.sum([table.matrix for table in tables], axis=0)
        apart = sum(table.apart for table in tables)
        yield _Table(" and ".join(SPLITS), tables[0].unit, matrix, apart)


def _judge(classes: tuple[str, ...], table: _Table, there: NDArray[np.bool_]) -> ChanceTest:
    right, counted = table.matrix.diagonal()[there], table.matrix.sum(axis=1)[there]
    accuracy, interval = balanced_accuracy(right, counted)
    # answers that know nothing share one row among the classes: the recalls then sum to 1 at most
    chance = 1 / int(there.sum())
    state: State = "too few"
    if interval[0] > chance:
        state = "told apart"
    elif interval[1] < chance:
        # reliably wrong is not the same as knowing nothing
        state = "below chance"
    elif counted.sum() >= FEWEST and interval[1] < chance + HALF_WAY * (1 - chance):
        state = "chance"
    return ChanceTest(
        classes or ("the classes",),
        state,
        table.split,
        table.unit,
        int(right.sum()),
        int(counted.sum()),
        accuracy,
        interval,
        chance,
        table.apart,
    )


def balanced_accuracy(right: ArrayLike, counted: ArrayLike) -> tuple[float, tuple[float, float]]:
    """Return the mean recall of classes and its 95 % interval.

    Parameters
    ----------
    right, counted : array_like, shape (K,)
        Of each class; at least one counted.

    Returns
    -------
    accuracy : float
        0 to 1.
    interval : (float, float)
        Its lower and its upper limit, 0 to 1.

    Examples
    --------
    >>> accuracy, (low, high) = balanced_accuracy([95, 0], [95, 5])
    >>> accuracy, round(low, 2), round(high, 2)
    (0.5, 0.48, 0.76)
    """
    shares, lows, highs = [], [], []
    for k, n in zip(np.asarray(right).tolist(), np.asarray(counted).tolist(), strict=True):
        low, high = _exact_interval(k, n)
        shares.append(k / n)
        lows.append(low)
        highs.append(high)
    recalls = np.array(shares)
    mean = float(recalls.mean())
    down = np.sqrt(((recalls - lows) ** 2).sum()) / len(recalls)
    up = np.sqrt(((highs - recalls) ** 2).sum()) / len(recalls)
    return mean, (max(0.0, mean - float(down)), min(1.0, mean + float(up)))


# Clopper & Pearson 1934, by quantiles of beta distributions; scipy.stats has it too, and takes one and a
# half seconds to import, of every prediction in the shell.
def _exact_interval(right: int, counted: int) -> tuple[float, float]:
    outside = (1 - CONFIDENCE) / 2
    low = betaincinv(right, counted - right + 1, outside) if right else 0.0
    high = betaincinv(right + 1, counted - right, 1 - outside) if right < counted else 1.0
    return float(low), float(high)


def _whole_tables(metrics: Mapping[str, Any]) -> Iterator[_Table]:
    for split, found in _splits(metrics):
        for unit, part in ((_unit(found), "groups"), ("images", "images")):
            matrix = (found.get(part) or {}).get("confusion_matrix")
            if matrix is not None:
                yield _Table(split, unit, np.asarray(matrix))
                break  # images of a well are not independent: they do not count beside wells


def _pair_tables(
    metrics: Mapping[str, Any], classes: Sequence[str], pair: tuple[str, str]
) -> Iterator[_Table]:
    for split, found in _splits(metrics):
        groups = found.get("by_group")
        if groups:
            yield _Table(split, _unit(found), _count_groups(groups, pair))
            continue
        for unit, part in ((_unit(found), "groups"), ("images", "images")):
            matrix = (found.get(part) or {}).get("confusion_matrix")
            if matrix is not None:
                rows = [list(classes).index(name) for name in pair]
                whole = np.asarray(matrix)[rows]
                inner = whole[:, rows]
                yield _Table(split, unit, inner, int(whole.sum() - inner.sum()))
                break


def _splits(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for split in SPLITS:
        found = metrics.get(split)
        if found:
            yield split, found


def _unit(found: Mapping[str, Any]) -> str:
    groups = found.get("by_group") or [{}]
    return "wells" if "well" in groups[0] else "groups"


def _count_groups(groups: Sequence[Mapping[str, Any]], pair: tuple[str, str]) -> NDArray[np.int64]:
    """Return the 2 x 2 table of groups; one that is undecided between the two is not right."""
    matrix = np.zeros((2, 2), dtype=np.int64)
    for row in groups:
        if row["label"] in pair:
            own = pair.index(row["label"])
            mine, other = (row[f"probability of {pair[index]}"] for index in (own, 1 - own))
            matrix[own, own if mine > other else 1 - own] += 1
    return matrix


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"
