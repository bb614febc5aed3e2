"""Whether something other than the class (a plate, a day, a place on it) tells the class as well.

A classifier of classes that never share a plate may tell plates apart. No labelling without meaning
can show that, and no figure on the images: only the table can.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.datasets.factors import (
    HALF,
    STRETCH,
    Factor,
    FactorKind,
    is_made_once,
    is_name_of_wells,
    list_factors,
    natural_groups,
)

Level = Literal["confounded", "unbalanced", "noted", "none", "not judged"]
# Layouts drawn at random, to compare with: the smallest p then is 1 / 2000.
DRAWS = 1999
# Counts in all those layouts together: 400 MB, and as much again to compare them.
MOST_CELLS = 50_000_000
# Of an imbalance that is told. Of plates and days, which are few, 1 %; of places on the plate and
# columns of unknown meaning, of which many are looked at, 0.1 %.
CHANCE_OF_BATCH, CHANCE_OF_OTHERS = 0.01, 0.001
# Fewer wells of a class lie in some row or column of their own whatever the layout.
FEWEST_WELLS = 3
# Of rows or columns that classes take in turn: at least A B A B, and not far fewer changes than
# an arrangement at random has.
FEWEST_RUNS, SHARE_OF_RUNS = 4, 2 / 3
# A guess that gets four of five wells right leaves a fifth of them to tell class and factor apart by: what
# tells classes so well is a doubt, whatever the images say.
TELLING = 0.8
# Of values named in a sentence; a plate has up to 48 columns.
NAMED_VALUES = 6


@dataclass(frozen=True)
class Association:
    """How far one factor tells the class.

    Parameters
    ----------
    factor : str
        What is compared with the class: ``plate``, ``column``, ``operator``, ...
    kind : {"batch", "position", "folder", "other", "treatment"}
        See :class:`~napari_why.datasets.factors.Factor`.
    level : {"confounded", "unbalanced", "noted", "none", "not judged"}
        Some classes never share a value; they share values, but unevenly; what is worth saying but
        no reason for doubt; nothing; too few wells a value, or a column that describes the class.
    values : int
        Values of the factor.
    determined : float
        Share of wells (images, where there are no wells) that stand where no other class is.
    guess : float
        Mean over the classes of the share of wells whose class is guessed right from the value.
    chance : float
        The same, on average, when classes are shuffled over the wells.
    p : float
        Share of shuffled layouts that are guessed as well, from 1 / 2000.
    own : mapping of str to tuple of str
        The classes that share no value with another, and their values.
    apart : tuple of (str, str)
        The pairs of classes that never share a value.
    near : tuple of (str, str, float)
        The pairs that share values but unevenly, beyond chance within the pair, and the mean over both of
        the share of wells whose class is guessed right from the value; of factors that tell the class.
    single : bool
        A batch that is hardly ever of more than one well.
    whole : bool
        Every class has values of its own, of which some are of several wells.
    """

    factor: str
    kind: FactorKind
    level: Level
    values: int
    determined: float
    guess: float
    chance: float
    p: float
    own: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    apart: tuple[tuple[str, str], ...] = ()
    near: tuple[tuple[str, str, float], ...] = ()
    single: bool = False
    whole: bool = False

    @property
    def sentence(self) -> str:
        """What it means, in words; empty where it means nothing."""
        if self.level == "unbalanced":
            place = " on the plate" if self.kind == "position" else ""
            # nothing tells a column of what the compound did to the cells from one of how they were seeded
            of_cells = self.kind == "other" and self.factor.startswith(STRETCH)
            unless = "; no doubt follows if that is a measurement of what the classes differ in"
            return (
                f"Classes are unevenly spread: from the {self.factor}{place} alone the class of a "
                f"well is guessed right in {self.guess:.0%} ({self.chance:.0%} in layouts at random)"
                f"{unless if of_cells else ''}."
            )
        if self.level not in ("confounded", "noted"):
            return ""
        if self.single:
            return (
                f"Hardly more than one well has the same {self.factor}: {_plural(self.factor)} and wells "
                f"cannot be told apart, so that a difference between {_plural(self.factor)} may be what "
                "is seen."
            )
        return f"{self._which()}: {self._meaning()}"

    def _which(self) -> str:
        if self.factor == SINGLE:
            return f"All images of {' and all of '.join(self.own)} come from one well"
        things = _plural(self.factor)
        if self.own:
            named = "; ".join(f"{name}: {_shorten(own)}" for name, own in self.own.items())
            every = {name for pair in self.apart for name in pair} == set(self.own)
            if every:
                return f"Each class has {things} of its own ({named})"
            return f"There are {things} where no other class is ({named})"
        pairs = _join([f"{first} and {second}" for first, second in self.apart])
        return f"{pairs} never share a {self.factor}"

    def _meaning(self) -> str:
        if self.level == "noted" and self.kind == "folder":
            return (
                "if folders are more than names of classes, they cannot be told from the classes."
            )
        if self.level == "noted" and self.kind != "position":
            return (
                "these classes are compared by way of others only, as may be by chance with so few "
                "wells."
            )
        if self.level == "noted":
            return (
                f"the classes take turns, so that a gradient across the plate is shared; the effect "
                f"of a single {self.factor} is not."
            )
        if self.kind == "position":
            return (
                "position on the plate (edges, gradients, order of filling) cannot be told from "
                "class, and no figure on these images can show which of the two is seen."
            )
        if self.kind == "other":
            cut = self.factor.startswith(STRETCH)
            name = self.factor.removeprefix(STRETCH)
            return (
                f"unless {name} {'follows from the class' if cut else 'is the class in other words'}, the two cannot be told apart, "
                "and no figure on these images can show which of them is seen."
            )
        return (
            f"a difference between {_plural(self.factor)} cannot be told "
            "from one between classes, and no figure on these images can show which of the two "
            f"is seen. It takes images of each class from the same {self.factor}."
        )


SINGLE = "well"


@dataclass(frozen=True)
class Confounding:
    """What the table of a data set says about what else may tell the class.

    Parameters
    ----------
    associations : tuple of Association
        One for each factor: what is confounded first, then by how far the guess gets.
    """

    associations: tuple[Association, ...] = ()

    @property
    def confounded(self) -> tuple[Association, ...]:
        """Factors that cannot be told from the class: no figure may clear the classifier."""
        return tuple(item for item in self.associations if item.level == "confounded")

    @property
    def single(self) -> tuple[Association, ...]:
        """Batches of hardly more than one well each, which no figure can tell from wells."""
        return tuple(item for item in self.told if item.single)

    @property
    def taken_for_granted(self) -> tuple[Association, ...]:
        """Columns that were not judged but go with the class in every well, as what was done to it does."""
        # Of places there are too few wells to be judged, and each value of a name stands once.
        return tuple(
            item
            for item in self.associations
            if item.level == "not judged" and item.whole and item.kind != "position"
        )

    @property
    def unbalanced(self) -> tuple[Association, ...]:
        """Factors that tell the class better than in a layout at random."""
        return tuple(item for item in self.associations if item.level == "unbalanced")

    @property
    def told_confounded(self) -> tuple[Association, ...]:
        """Of what is told, what cannot be told from the class."""
        return tuple(item for item in self.told if item.level == "confounded")

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences of what is confounded, for the first place wherever figures are shown."""
        # Where the place on the plate goes with the class, as that of controls often does, it is said
        # without alarm.
        return tuple(
            item.sentence if item.kind == "position" else f"Warning: {_lower(item.sentence)}"
            for item in self.told_confounded
        )

    @property
    def sentences(self) -> tuple[str, ...]:
        """All in words: what is confounded, what is uneven, what is worth knowing."""
        rest = (item.sentence for item in self.told if item.level != "confounded")
        return (*self.warnings, *rest)

    @property
    def told(self) -> tuple[Association, ...]:
        """What is worth saying, the gravest first."""
        told: list[Association] = []
        for item in self.associations:
            before = {other.kind for other in told}
            # Rows, quadrants and edges are one layout, looked at in several ways, and folders are
            # often plates: the gravest says it.
            again = item.kind == "position" and "position" in before
            again = again or (item.kind == "folder" and "batch" in before)
            plates = any(other.factor == "plate" and other.apart for other in told)
            again = again or (plates and item.factor.endswith(HALF))
            if item.level in ("confounded", "unbalanced", "noted") and not again:
                told.append(item)
        return tuple(told)

    @property
    def table(self) -> pd.DataFrame:
        """One row for each factor, its figures and what they mean."""
        return pd.DataFrame([_row_of(item) for item in self.associations], columns=COLUMNS)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        rows = [_row_of(item) for item in self.associations]
        apart = [
            {"things": _plural(item.factor), "pairs": [list(pair) for pair in item.apart]}
            for item in self.told_confounded
        ]
        near = [
            {"things": _plural(item.factor), "pairs": [list(pair) for pair in item.near]}
            for item in self.told
            if item.near
        ]
        return {"sentences": list(self.sentences), "factors": rows, "apart": apart, "near": near}


COLUMNS = ["factor", "kind", "level", "values", "determined", "guess", "chance", "p", "sentence"]


def find_confounding(
    table: pd.DataFrame,
    labels: Sequence[str],
    group_columns: Sequence[str] = (),
    *,
    seed: int = 0,
) -> Confounding:
    """Compare the class with everything else that the table tells of the images.

    What is compared: every column of few values (plate, day, operator, ...), the folder without
    the class's own name, and where wells have positions row, column, quadrant and edge, and the halves of each plate. What is
    counted are wells, and positions on the plate for rows, columns, quadrants and edge: a plate map
    that is repeated on many plates is one layout.

    Parameters
    ----------
    table : DataFrame, length N
        The data set's table.
    labels : sequence of str, length N
        The classes.
    group_columns : sequence of str
        Columns that name a well; by default plate and well as far as they are there.
    seed : int
        Of the layouts at random.

    Returns
    -------
    Confounding

    Examples
    --------
    >>> table = pd.DataFrame({"plate": ["P1"] * 8 + ["P2"] * 8, "well": [f"{x}0{y}" for x in "ABCD"
    ...     for y in (1, 2)] * 2})
    >>> found = find_confounding(table, ["control"] * 8 + ["drug"] * 8)
    >>> found.confounded[0].factor, found.confounded[0].guess
    ('plate', 1.0)
    """
    classes = pd.Series([str(label) for label in labels], index=table.index, dtype=object)
    if classes.nunique() < 2:
        return Confounding()
    columns = natural_groups(table, group_columns)
    wells = _number(table, columns)
    places = _number(table, ("well",)) if "well" in table.columns else wells
    rng = np.random.default_rng(seed)
    found = []
    for factor in list_factors(table, classes):
        names_wells = (factor.name,) == columns
        # A donor has one class by nature where donors are the groups; a plate that is one may hold all.
        if (names_wells and not is_made_once(factor)) or factor.by_image.nunique() < 2:
            continue
        one_layout = factor.kind == "position" and not factor.on_each_plate
        counted = places if one_layout else wells
        if names_wells:
            counted = np.arange(len(table))
        units = pd.DataFrame({"unit": counted, "class": classes, "value": factor.by_image})
        found.append(_associate(units.drop_duplicates(), factor, len(np.unique(wells)), rng))
    single = _single_wells(wells, classes) if columns else {}
    if single:
        found.append(Association(SINGLE, "batch", "confounded", 1, 1.0, 1.0, 1.0, 1.0, single))
    return Confounding(tuple(sorted(found, key=_rank)))


def _number(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    if not columns:
        return np.arange(len(table))
    grouped = table.groupby(list(columns), sort=False, dropna=False)
    return np.asarray(grouped.ngroup(), dtype=np.int64)


def _single_wells(
    wells: NDArray[np.int64], classes: "pd.Series[str]"
) -> dict[str, tuple[str, ...]]:
    counts = pd.Series(wells).groupby(classes.to_numpy()).nunique()
    return {str(name): () for name in counts.index[counts == 1]}


def _associate(
    units: pd.DataFrame, factor: Factor, wells: int, rng: np.random.Generator
) -> Association:
    names, values, numbers = _count_together(units["class"], units["value"])
    guess = float(_guess(numbers[None])[0])
    apart = [(p, q) for p, q in combinations(range(len(names)), 2) if _never_meet(numbers, p, q)]
    # Where every value stands once, all layouts are alike: many names need no draws.
    # And tables too large to be drawn so often are of names, or nearly so.
    once = len(values) == numbers.sum()
    large = numbers.size * DRAWS > MOST_CELLS
    # Here, for scipy.stats takes seconds to import, which listing images should not wait for.
    from scipy.stats import random_table

    layouts = random_table(numbers.sum(axis=1), numbers.sum(axis=0))
    drawn = layouts.rvs(1 if once or large else DRAWS, random_state=rng)
    guesses = _guess(drawn)
    chance_apart = _share_at_least(_count_apart(drawn), len(apart))
    p = _share_at_least(guesses, guess)
    alone = (numbers > 0).sum(axis=0) == 1
    own = {
        names[index]: _in_order([values[place] for place in np.flatnonzero(row)], factor.ordered)
        for index, row in enumerate(numbers)
        if alone[row > 0].all()
    }
    level = _judge(factor, numbers, (names, values), apart, chance_apart, p)
    # A value for every image is a name of images, and stretches of time are cut as the wells allow.
    names_images = factor.by_image.nunique() == len(factor.by_image) > wells
    batch = factor.kind == "batch" and not factor.is_cut and not is_name_of_wells(factor)
    single = level == "not judged" and batch and bool(apart) and not names_images
    if single:
        level = "noted"
    if large and level == "none":
        level = "not judged"  # one layout at random is none to compare with
    near = _find_near(numbers, drawn, factor) if level in ("confounded", "unbalanced") else []
    return Association(
        factor.name,
        factor.kind,
        level,
        len(values),
        float(numbers[:, alone].sum() / numbers.sum()),
        guess,
        float(guesses.mean()),
        p,
        own,
        tuple((names[first], names[second]) for first, second in apart),
        tuple((names[first], names[second], found) for first, second, found in near),
        single,
        len(apart) == len(names) * (len(names) - 1) // 2 and not once,
    )


def _count_together(
    classes: "pd.Series[str]", values: "pd.Series[Any]"
) -> tuple[list[str], list[str], NDArray[np.int64]]:
    """Return the sorted names of both and how often they meet, (names, values)."""
    # pandas' own crosstab takes twenty times as long, and a data set has a dozen factors
    known = (classes.notna() & values.notna()).to_numpy()
    rows, names = pd.factorize(classes[known], sort=True)
    columns, found = pd.factorize(values[known], sort=True)
    counts = np.zeros((len(names), len(found)), dtype=np.int64)
    np.add.at(counts, (rows, columns), 1)
    return list(map(str, names)), list(map(str, found)), counts


def _find_near(
    counts: NDArray[np.int64], drawn: NDArray[np.int64], factor: Factor
) -> list[tuple[int, int, float]]:
    """Return the pairs of classes that share values but unevenly, with the guess within the pair."""
    found = []
    for first, second in combinations(range(len(counts)), 2):
        pair = [first, second]
        guess = float(_guess(counts[None, pair])[0])
        shared = not _never_meet(counts, first, second)
        if shared and _share_at_least(_guess(drawn[:, pair]), guess) <= _worth_saying(factor):
            found.append((first, second, guess))
    return found


def _guess(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Mean over the classes of the share that the best guess from the value gets right, (D,)."""
    shares = counts / counts.sum(axis=2, keepdims=True)
    guessed: NDArray[np.float64] = shares.max(axis=1).sum(axis=1) / counts.shape[1]
    return guessed


def _never_meet(counts: NDArray[np.int64], first: int, second: int) -> bool:
    return not ((counts[first] > 0) & (counts[second] > 0)).any()


def _count_apart(drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    there = (drawn > 0).astype(np.float64)
    shared = there @ there.transpose(0, 2, 1)  # (D, K, K): values where both classes are
    first, second = np.triu_indices(drawn.shape[1], k=1)
    found: NDArray[np.float64] = (shared[:, first, second] == 0).sum(axis=1).astype(np.float64)
    return found


def _share_at_least(drawn: NDArray[np.float64], found: float) -> float:
    # Rounding must not make a layout differ from itself.
    return float((1 + (drawn >= found - 1e-9).sum()) / (1 + len(drawn)))


def _judge(
    factor: Factor,
    counts: NDArray[np.int64],
    names: tuple[list[str], list[str]],
    apart: list[tuple[int, int]],
    chance_apart: float,
    p: float,
) -> Level:
    classes, values = counts.shape
    # Of a batch (other column) with many values that are hardly shared by chance p says enough.
    beyond_chance = max(p, chance_apart) <= _worth_saying(factor)
    # With hardly more wells than values, a value is else a well by another name.
    if factor.kind == "treatment" or (values > counts.sum() / 2 and not beyond_chance):
        return "not judged"
    if factor.kind == "position" and counts.sum(axis=1).min() < FEWEST_WELLS:
        return "not judged"
    # Whole plates that classes do not share with the rest are a fact of the layout, however likely by
    # chance. Of rows and of columns of unknown meaning there are many: a class apart from one of several
    # others must be more than chance there.
    every = len(apart) == classes * (classes - 1) // 2
    whole = every or (factor.kind in ("batch", "folder") and not _is_connected(counts))
    if factor.on_each_plate and chance_apart > CHANCE_OF_BATCH:
        return "none"  # halves of plates with a few wells are pure by chance
    if apart and not whole and chance_apart > CHANCE_OF_OTHERS and factor.kind == "batch":
        return "noted"
    if apart and (whole or chance_apart <= CHANCE_OF_OTHERS):
        if factor.kind == "folder" and every and values == classes:
            return "noted"
        in_turn = all(_take_turns(counts, pair, names[1], factor.ordered) for pair in apart)
        return "noted" if in_turn else "confounded"
    return "unbalanced" if p <= _worth_saying(factor) else "none"


def _worth_saying(factor: Factor) -> float:
    return CHANCE_OF_BATCH if factor.kind == "batch" else CHANCE_OF_OTHERS


def _is_connected(counts: NDArray[np.int64]) -> bool:
    """Whether all classes hang together by values that they share."""
    there = counts > 0
    reached = np.zeros(len(counts), dtype=bool)
    reached[0] = True
    for _ in range(len(counts)):  # each round comes one class further
        shared = there[reached].any(axis=0)
        reached = np.asarray((there & shared).any(axis=1))
    return bool(reached.all())


def _take_turns(
    counts: NDArray[np.int64], pair: tuple[int, int], values: list[str], order: tuple[str, ...]
) -> bool:
    """Whether two classes that share no row (column) change often along the plate."""
    if not order:
        return False
    places = [values.index(value) for value in order if value in values]
    sequence = [index for place in places for index in pair if counts[index, place]]
    runs = 1 + sum(one != other for one, other in pairwise(sequence))
    first, second = (sequence.count(index) for index in pair)
    # Wald and Wolfowitz: the expected number of runs of two kinds in random order.
    expected = 1 + 2 * first * second / (first + second)
    return runs >= max(FEWEST_RUNS, SHARE_OF_RUNS * expected)


def _in_order(values: list[str], order: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(values, key=order.index) if order else sorted(values))


def _rank(item: Association) -> tuple[int, int, float, bool]:
    levels = ("confounded", "unbalanced", "noted", "none", "not judged")
    kinds = ("batch", "other", "folder", "position", "treatment")
    # Halves are told as rows or columns, not as the quadrants that they are made of.
    coarse = item.factor in ("quadrant", "edge") or item.factor.endswith(HALF)
    # Rounded, or the last digit of a sum would decide.
    return levels.index(item.level), kinds.index(item.kind), -round(item.guess, 6), coarse


def _row_of(item: Association) -> dict[str, Any]:
    row = {name: getattr(item, name) for name in COLUMNS}
    return {**row, "sentence": item.sentence}


def _plural(factor: str) -> str:
    """Return the plural of a factor's name, as it is read in a sentence."""
    if factor == "edge":
        return "places (edge or inside)"
    if factor.startswith(("day of ", "stretch of ")):
        first, _, of = factor.partition(" of ")
        return f"{_plural(first)} of {of}"
    if factor.endswith(HALF):
        return f"{factor.removesuffix(HALF)} halves of plates"
    return f"{factor}es" if factor.endswith(("s", "x", "ch", "sh")) else f"{factor}s"


def _join(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _shorten(values: tuple[str, ...]) -> str:
    more = f" and {len(values) - NAMED_VALUES} more" if len(values) > NAMED_VALUES else ""
    return ", ".join(values[:NAMED_VALUES]) + more


def _lower(sentence: str) -> str:
    # Only these begin with a capital that is no part of a name.
    return (
        sentence[0].lower() + sentence[1:]
        if sentence.startswith(("Each ", "All ", "There "))
        else sentence
    )
