"""Before and after over many images: paired by well, with effect sizes, corrected for many tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from napari_why.core.errors import ParameterError

PairedTest = Literal["wilcoxon", "paired_t"]
# The smallest two-sided p of the signed-rank test of n pairs is 2^(1-n): above 0.05 below six.
FEWEST_FOR_WILCOXON = 6
# Two pairs leave one degree of freedom, whose 97.5 % quantile of t is 12.7; three have 4.3.
FEWEST_FOR_T = 3
# Two-sided 95 %, the convention of the field; together with it FEWEST_FOR_WILCOXON.
UPPER_TAIL = 0.975
# In the order of the table, which users have in files.
COLUMNS = (
    *("direction", "measure", "channel", "unit", "images", "units tested"),
    *("before", "after", "change", "change low", "change high"),
    *("cohen_d", "rank_biserial", "test", "p", "p corrected", "note"),
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
        Mean change over its standard deviation (paired Cohen's d, d_z); NaN where the change does
        not vary, or there is a single pair.
    rank_biserial : float
        Share of the rank sum in favour of an increase minus that of a decrease, -1 to 1 (Kerby
        2014, matched pairs); 0 where nothing changes.
    test : str
        ``wilcoxon``, ``paired_t``, or empty where there is none.
    p : float
        Two-sided; NaN where there is no test.
    note : str
        Why there is no test.
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


def compare_paired(
    before: Sequence[float] | NDArray[np.float64],
    after: Sequence[float] | NDArray[np.float64],
    test: PairedTest = "wilcoxon",
) -> PairedResult:
    """Compare paired values.

    The test is chosen beforehand, never by a look at the data. ``wilcoxon``, the default, is the
    signed-rank test (exact where scipy can, without ties among up to 50 pairs); it takes the
    differences to be symmetric about their median and no more, and needs six pairs, since with
    fewer p cannot fall below 0.05. ``paired_t`` takes the differences to be normal, which fewer
    pairs cannot show, and runs from three.

    Parameters
    ----------
    before, after : sequence of float, length n
        One value a unit (a well), in the same order.
    test : {"wilcoxon", "paired_t"}

    Returns
    -------
    PairedResult
        Without p where there are too few pairs; the note says so.

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
    change = new - old
    low, high = _interval(change)
    name, p, note = _run_test(change, test)
    return PairedResult(
        n=len(change),
        before=float(old.mean()),
        after=float(new.mean()),
        change=float(change.mean()),
        low=low,
        high=high,
        cohen_d=_cohen_d(change),
        rank_biserial=rank_biserial(change),
        test=name,
        p=p,
        note=note,
    )


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
    ranks = stats.rankdata(np.abs(moved))
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
        high``, ``cohen_d``, ``rank_biserial``, ``test``, ``p``, ``p corrected`` and ``note``.
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
            }
        )
    # all p of the table at once: a reader looks at every row, so every row is one of the tests
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name != "p corrected"])
    table.insert(COLUMNS.index("p corrected"), "p corrected", correct_p(table["p"].to_numpy(float)))
    return table


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
        adjusted[known] = stats.false_discovery_control(p[known], method="bh")
    return adjusted


def _run_test(change: NDArray[np.float64], test: PairedTest) -> tuple[str, float, str]:
    n = len(change)
    # scipy warns, or gives NaN, in each of the cases below; a sentence says why there is no p
    if not change.any():
        return "", float("nan"), "nothing changes"
    if test == "wilcoxon":
        if n < FEWEST_FOR_WILCOXON:
            note = (
                f"n = {n}: too few for a Wilcoxon test, which needs {FEWEST_FOR_WILCOXON} to "
                "reach p < 0.05"
            )
            return "", float("nan"), note
        return test, float(stats.wilcoxon(change).pvalue), ""
    if n < FEWEST_FOR_T:
        return "", float("nan"), f"n = {n}: too few for a t test, which needs {FEWEST_FOR_T}"
    if change.std() == 0:
        return "", float("nan"), "the change does not vary, so there is nothing to test it against"
    return test, float(stats.ttest_1samp(change, 0.0).pvalue), ""


def _interval(change: NDArray[np.float64]) -> tuple[float, float]:
    if len(change) < 2:
        return float("nan"), float("nan")
    # by Student's t also where the test is Wilcoxon's, whose own interval is that of a median
    half = stats.t.ppf(UPPER_TAIL, len(change) - 1) * stats.sem(change)
    return float(change.mean() - half), float(change.mean() + half)


def _cohen_d(change: NDArray[np.float64]) -> float:
    deviation = float(change.std(ddof=1)) if len(change) > 1 else 0.0
    return float(change.mean() / deviation) if deviation > 0 else float("nan")


def _note(note: str, with_wells: bool) -> str:
    unknown = "" if with_wells else "no wells are known: images count as independent"
    return "; ".join(part for part in (note, unknown) if part)
