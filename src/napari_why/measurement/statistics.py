"""Before and after over many images: paired by well, with effect sizes, corrected for many tests."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
import scipy
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError

PairedTest = Literal["wilcoxon", "paired_t"]
# The smallest two-sided p of the signed-rank test of n pairs is 2^(1-n): above 0.05 below six.
FEWEST_FOR_WILCOXON = 6
# Pairs up to which all 2^n signs are counted; beyond, the normal distribution is as good.
EXACT_UP_TO = 50
# Of a value: a step of float32. Pixels are stored in no more, so a smaller difference is rounding.
RELATIVE_ROUNDING = 2.0**-23
# Two pairs leave one degree of freedom, whose 97.5 % quantile of t is 12.7; three have 4.3.
FEWEST_FOR_T = 3
# Two-sided 95 %, the convention of the field; together with it FEWEST_FOR_WILCOXON.
UPPER_TAIL = 0.975
# Between notes on one row; no note has it within.
SEPARATOR = "; "
# In the order of the table, which users have in files.
COLUMNS = (
    *("direction", "measure", "channel", "unit", "images", "units tested"),
    *("before", "after", "change", "change low", "change high"),
    *("cohen_d", "rank_biserial", "test", "p", "p corrected", "note"),
    # after those that files of earlier versions have
    *("hedges_g", "units changed"),
)


@dataclass(frozen=True)
class PairedResult:
    """A paired comparison of n units.

    Parameters
    ----------
    n : int
        Number of pairs.
    before, after, change : float
        Means over the pairs.
    low, high : float
        95 % confidence interval of the mean change, by Student's t; NaN for a single pair.
    cohen_d : float
        Mean change over its standard deviation with n - 1 (paired Cohen's d, d_z; Lakens
        2013); NaN where the change does not vary, or there is a single pair.
    rank_biserial : float
        Share of the rank sum in favour of an increase minus that of a decrease, -1 to 1 (Kerby
        2014, matched pairs); units without change are left out, 0 where nothing changes.
    test : str
        ``wilcoxon``, ``paired_t``, or empty where there is none.
    p : float
        Two-sided; NaN where there is no test.
    note : str
        Why there is no test.
    hedges_g : float
        ``cohen_d`` without its bias in small samples: times the J of n - 1 degrees of freedom
        (Hedges 1981).
    changed : int
        Units that change at all: those that the signed-rank test ranks.
    """

    n: int
    before: float
    after: float
    change: float
    low: float
    high: float
    cohen_d: float
    rank_biserial: float
    test: str
    p: float
    note: str
    hedges_g: float = float("nan")
    changed: int = 0


def compare_paired(
    before: Sequence[float] | NDArray[np.float64],
    after: Sequence[float] | NDArray[np.float64],
    test: PairedTest = "wilcoxon",
    smallest: float = 0.0,
) -> PairedResult:
    """Compare paired values.

    The test is chosen beforehand, never by a look at the data. ``wilcoxon``, the default, is the
    signed-rank test; it takes the differences to be symmetric about their median and no more. Units
    without change are left out of it (Wilcoxon 1945; scipy's ``zero_method="wilcox"``), and it needs
    six that change, since with fewer p cannot fall below 0.05. Up to 50, ties or not, p is exact: all
    2^n signs of the ranks are counted. ``paired_t`` takes the differences to be normal, which fewer
    pairs cannot show, and runs from three, those without change counted.

    A difference up to ``smallest``, or up to 1.2e-7 of the values (a step of float32, which pixels are
    stored in), is none.

    Parameters
    ----------
    before, after : sequence of float, length n
        One value a unit (a well), in the same order.
    test : {"wilcoxon", "paired_t"}
    smallest : float
        In the unit of the values.

    Returns
    -------
    PairedResult
        Without p where there are too few pairs; the note says so.

    Raises
    ------
    ParameterError
        An unknown test, no pair, or not as many values before as after.

    Examples
    --------
    >>> compare_paired([1, 2, 3], [2, 3, 5]).note
    'n = 3: too few for a Wilcoxon test, which needs 6 to reach p < 0.05'
    """
    if test not in get_args(PairedTest):
        raise ParameterError(f"test: found {test!r}; expected {', '.join(get_args(PairedTest))}")
    old, new = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    if old.shape != new.shape or old.ndim != 1 or not len(old):
        raise ParameterError(f"pairs: found {old.shape} and {new.shape} values; expected as many")
    scale = np.maximum(np.abs(old), np.abs(new))
    change = new - old
    change[np.abs(change) <= np.maximum(smallest, RELATIVE_ROUNDING * scale)] = 0
    # a spread of the change below this is rounding of the values that it was taken from
    noise = RELATIVE_ROUNDING * float(scale.max())
    effect = _cohen_d(change, noise)
    low, high = _interval(change)
    name, p, note = _run_test(change, test, noise)
    return PairedResult(
        n=len(change),
        before=float(old.mean()),
        after=float(new.mean()),
        change=float(change.mean()),
        low=low,
        high=high,
        cohen_d=effect,
        rank_biserial=rank_biserial(change),
        test=name,
        p=p,
        note=note,
        hedges_g=effect * hedges_correction(len(change) - 1) if len(change) > 1 else effect,
        changed=int(np.count_nonzero(change)),
    )


def hedges_correction(freedom: int) -> float:
    """Return J, by which a standardised mean difference is too large on the average (Hedges 1981).

    ``gamma(m / 2) / (sqrt(m / 2) gamma((m - 1) / 2))`` for m degrees of freedom; NaN for one, of which
    it is not defined.

    Examples
    --------
    >>> [round(hedges_correction(m), 4) for m in (2, 5, 20)]
    [0.5642, 0.8407, 0.9619]
    """
    if freedom < 2:
        return float("nan")
    half = freedom / 2
    # by logarithms: the gamma function itself overflows from 343 degrees of freedom on
    return math.exp(math.lgamma(half) - math.lgamma(half - 0.5)) / math.sqrt(half)


def signed_rank_p(moved: NDArray[np.float64]) -> float:
    """Return the two-sided p of the signed-rank test of differences without zeros.

    Examples
    --------
    >>> signed_rank_p(np.ones(6)), 2 / 2**6  # with ties too, none is smaller
    (0.03125, 0.03125)
    """
    if len(moved) > EXACT_UP_TO:
        return float(scipy.stats.wilcoxon(moved, zero_method="wilcox").pvalue)
    # twice the ranks: those of ties are halves
    ranks = np.rint(2 * scipy.stats.rankdata(np.abs(moved))).astype(int)
    # how many of the 2^n signs give each sum of the positive ranks
    ways = np.zeros(ranks.sum() + 1)
    ways[0] = 1
    for rank in ranks:
        ways[rank:] = ways[rank:] + ways[: len(ways) - rank]
    found = int(ranks[moved > 0].sum())
    fewer = min(ways[: found + 1].sum(), ways[found:].sum())
    return float(min(1.0, 2 * fewer / 2.0 ** len(moved)))


def rank_biserial(change: NDArray[np.float64]) -> float:
    """Return the matched-pairs rank-biserial correlation of differences, zeros left out.

    Examples
    --------
    >>> rank_biserial(np.array([1.0, 2.0, -3.0]))
    0.0
    """
    # as the signed-rank test does it: units without any change speak for neither side
    moved = change[change != 0]
    if not len(moved):
        return 0.0
    ranks = scipy.stats.rankdata(np.abs(moved))
    return float((ranks * np.sign(moved)).sum() / ranks.sum())


def paired_statistics(
    values: pd.DataFrame, unit: Sequence[str], *, test: PairedTest = "wilcoxon"
) -> pd.DataFrame:
    """Compare before and after per direction, measure and channel, one value a well.

    Images of one well are no independent observations, so their values are averaged first, and
    the wells are what is counted. p values of the whole table are corrected together by the
    procedure of Benjamini and Hochberg (1995).

    Parameters
    ----------
    values : DataFrame
        One row per image, measure and channel: ``direction`` ("diseased to treated"),
        ``measure``, ``channel``, ``before``, ``after`` and the columns in ``unit``. Rows without
        a value (NaN) are left out.
    unit : sequence of str
        Columns that together name the unit (plate and well); empty where there are no wells, so
        that every row of a measure counts as independent, which the note says.
    test : {"wilcoxon", "paired_t"}
        See :func:`compare_paired`.

    Returns
    -------
    DataFrame
        One row per direction, measure and channel, with the columns :data:`COLUMNS`:
        ``unit`` (what was counted), ``images``, ``units tested`` (n), the means ``before``,
        ``after`` and ``change`` over the units, the 95 % interval ``change low`` to ``change
        high``, ``cohen_d``, ``rank_biserial``, ``test``, ``p``, ``p corrected``, ``note``,
        ``hedges_g`` and ``units changed``. Rows without a test have no p, are not corrected for, and
        say why in the note.
    """
    rows = []
    keys = ["direction", "measure", "channel"]
    known = values.dropna(subset=["before", "after"])
    for (direction, measure, channel), part in known.groupby(keys, sort=False):
        # means by well first: images of a well are repeats, and counted singly they would make n
        # larger, and p smaller, than the experiment has
        pairs = part.groupby(list(unit), sort=False)[["before", "after"]].mean() if unit else part
        found = compare_paired(pairs["before"].to_numpy(), pairs["after"].to_numpy(), test)
        rows.append(
            {
                "direction": direction,
                "measure": measure,
                "channel": channel,
                "unit": " and ".join(unit) or "image",
                "images": len(part),
                "units tested": found.n,
                "before": found.before,
                "after": found.after,
                "change": found.change,
                "change low": found.low,
                "change high": found.high,
                "cohen_d": found.cohen_d,
                "rank_biserial": found.rank_biserial,
                "test": found.test,
                "p": found.p,
                "note": _note(found.note, bool(unit)),
                "hedges_g": found.hedges_g,
                "units changed": found.changed,
            }
        )
    # all p of the table at once: a reader looks at every row, so every row is one of the tests
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p corrected"])
    table.insert(COLUMNS.index("p corrected"), "p corrected", correct_p(table["p"].to_numpy(float)))
    return table


def describe_statistics(statistics: pd.DataFrame) -> list[str]:
    """Return a sentence a direction: how many units, whether tested, and the notes of which rows.

    A note that not all rows of a direction have is said of those that do, by name: in one channel
    nothing may change, and everything in another.

    Parameters
    ----------
    statistics : DataFrame
        As :func:`paired_statistics` returns it.
    """
    said = []
    for direction, part in statistics.groupby("direction", sort=False):
        unit, counts = part["unit"].iloc[0], part["units tested"]
        # of the regions there may be fewer than of the images: not every image has one
        n = f"{'up to ' if counts.min() < counts.max() else ''}{counts.max()}"
        names = f"{n} {unit}s" if unit == "image" else f"{n} wells ({unit})"
        tested = "tested" if part["p"].notna().any() else "not tested"
        notes = part["note"].str.split(SEPARATOR)
        texts = dict.fromkeys(text for row in notes for text in row if text)
        with_rows = [
            f"{_name_rows(part, np.array([text in row for row in notes]))}{text}" for text in texts
        ]
        said.append(SEPARATOR.join([f"{direction}: {names}, {tested}", *with_rows]))
    return said


def _name_rows(part: pd.DataFrame, held: NDArray[np.bool_]) -> str:
    """Name the rows of one direction that are held, before what is said of them; "" for all."""
    if held.all():
        return ""
    whole, single = [], []
    for channel in part["channel"].unique():
        own = (part["channel"] == channel).to_numpy()
        if held[own].all():
            whole.append(str(channel))
        else:
            # without the unit, which the table has
            measures = part["measure"][own & held]
            single += [f"{channel}, {measure.partition(' (')[0]}" for measure in measures]
    return f"{' and '.join([*whole, *single])}: "


def correct_p(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p values corrected after Benjamini and Hochberg; NaN stays and does not count.

    Examples
    --------
    >>> correct_p(np.array([0.01, np.nan, 0.04])).tolist()
    [0.02, nan, 0.04]
    """
    adjusted = np.full(len(p), np.nan)
    known = ~np.isnan(p)
    if known.any():
        adjusted[known] = scipy.stats.false_discovery_control(p[known], method="bh")
    return adjusted


def _run_test(
    change: NDArray[np.float64], test: PairedTest, noise: float
) -> tuple[str, float, str]:
    n, moved = len(change), change[change != 0]
    # scipy warns, or gives NaN, in each of the cases below; a sentence says why there is no p
    if not len(moved):
        return "", float("nan"), "nothing changes beyond rounding"
    if test == "wilcoxon":
        if len(moved) < FEWEST_FOR_WILCOXON:
            some = f", of which {len(moved)} change" if len(moved) < n else ""
            note = (
                f"n = {n}{some}: too few for a Wilcoxon test, which needs {FEWEST_FOR_WILCOXON} to "
                "reach p < 0.05"
            )
            return "", float("nan"), note
        return test, signed_rank_p(moved), ""
    if n < FEWEST_FOR_T:
        return "", float("nan"), f"n = {n}: too few for a t test, which needs {FEWEST_FOR_T}"
    if change.std() <= noise:
        return "", float("nan"), "the change does not vary, so there is nothing to test it against"
    return test, float(scipy.stats.ttest_1samp(change, 0.0).pvalue), ""


def _interval(change: NDArray[np.float64]) -> tuple[float, float]:
    if len(change) < 2:
        return float("nan"), float("nan")
    # by Student's t also where the test is Wilcoxon's, whose own interval is that of a median
    half = scipy.stats.t.ppf(UPPER_TAIL, len(change) - 1) * scipy.stats.sem(change)
    return float(change.mean() - half), float(change.mean() + half)


def _cohen_d(change: NDArray[np.float64], noise: float) -> float:
    deviation = float(change.std(ddof=1)) if len(change) > 1 else 0.0
    return float(change.mean() / deviation) if deviation > noise else float("nan")


def _note(note: str, with_wells: bool) -> str:
    unknown = "" if with_wells else "no wells are known: images count as independent"
    return SEPARATOR.join(part for part in (note, unknown) if part)
