"""What the place on the plate does: normalisation, B scores, edges, and what position alone explains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from napari_why.core.errors import ParameterError
from napari_why.images.wells import well_place
from napari_why.screening.statistics.assay import spread_of

Values = NDArray[np.float64]
Mask = NDArray[np.bool_]

# Rows and columns of the plates that are made (ANSI/SLAS 4): 6 to 1536 wells.
SHAPES = ((2, 3), (3, 4), (4, 6), (6, 8), (8, 12), (16, 24), (32, 48))
# The median polish ends when a round changes no residual by more than this part of their size ...
POLISHED = 1e-6
# ... or here: residuals of real plates stand still after five, and Tukey's own limit is ten.
MOST_ROUNDS = 50
# Wells and doses of a series that has an order: of fewer, one order in three is that of the places.
FEWEST_OF_SERIES = (4, 3)
# Wells whose median and deviation stand for a plate; of fewer controls all its wells are taken.
FEWEST_CONTROLS = 4


@dataclass(frozen=True)
class MedianPolish:
    """A grid as overall + row + column + residual.

    Parameters
    ----------
    overall : float
    rows, columns : ndarray, shape (R,) and (C,)
        Effects; 0 where a row or column has no value.
    residuals : ndarray, shape (R, C)
        NaN where the grid has no value.
    """

    overall: float
    rows: Values
    columns: Values
    residuals: Values


def median_polish(grid: Values, *, by_rows: bool = True, by_columns: bool = True) -> MedianPolish:
    """Take medians out of rows and columns in turn until nothing moves (Tukey 1977, chapter 11).

    Parameters
    ----------
    grid : ndarray, shape (R, C)
        NaN where there is no value.
    by_rows, by_columns : bool
        Whether rows, and columns, may have effects; without any the median alone is taken out.

    Returns
    -------
    MedianPolish
        Overall, row and column effects, and what is left.

    Examples
    --------
    >>> grid = np.add.outer([0.0, 5.0, 1.0], [1.0, 2.0, 4.0])
    >>> polished = median_polish(grid)
    >>> bool(np.allclose(polished.residuals, 0)), polished.overall, polished.rows.tolist()
    (True, 3.0, [-1.0, 4.0, 0.0])
    """
    residuals = grid.astype(np.float64)
    overall = 0.0
    rows, columns = np.zeros(grid.shape[0]), np.zeros(grid.shape[1])
    size = np.nanmax(np.abs(residuals), initial=0.0)
    if not (by_rows or by_columns) and not np.isnan(residuals).all():
        overall = float(np.nanmedian(residuals))
        residuals = residuals - overall
    for _ in range(MOST_ROUNDS):
        by_row = _medians(residuals, axis=1) if by_rows else np.zeros(len(rows))
        residuals = residuals - by_row[:, None]
        rows += by_row
        middle = float(np.median(columns))
        columns -= middle
        overall += middle
        by_column = _medians(residuals, axis=0) if by_columns else np.zeros(len(columns))
        residuals = residuals - by_column
        columns += by_column
        middle = float(np.median(rows))
        rows -= middle
        overall += middle
        if max(np.abs(by_row).max(), np.abs(by_column).max()) <= POLISHED * size:
            break
    middle = float(np.median(columns))
    return MedianPolish(overall + middle, rows, columns - middle, residuals)


def _medians(grid: Values, axis: int) -> Values:
    """Return medians along an axis, 0 where there is no value at all."""
    known: Mask = np.asarray(~np.isnan(grid).all(axis=axis))
    found = np.zeros(len(known))
    kept = np.compress(known, grid, axis=1 - axis)
    if kept.size:
        found[known] = np.nanmedian(kept, axis=axis)
    return found


def plate_shape(wells: Sequence[str]) -> tuple[int, int]:
    """Return rows and columns of the smallest plate that has all of these wells.

    Examples
    --------
    >>> plate_shape(["A01", "H12"]), plate_shape(["B13"]), plate_shape(["A01"])
    ((8, 12), (16, 24), (2, 3))
    """
    places = [well_place(well) for well in wells]
    most = [max(numbers) + 1 for numbers in zip(*places, strict=True)]
    return next(shape for shape in SHAPES if shape[0] >= most[0] and shape[1] >= most[1])


def shape_of(count: int) -> tuple[int, int]:
    """Return rows and columns of a plate of some wells.

    Raises
    ------
    ParameterError
        No plate has as many.

    Examples
    --------
    >>> shape_of(384)
    (16, 24)
    """
    known = {rows * columns: (rows, columns) for rows, columns in SHAPES}
    if count not in known:
        raise ParameterError(
            f"plate_wells: found {count}; expected one of {', '.join(map(str, known))}"
        )
    return known[count]


def lie_at_edge(wells: Sequence[str], shape: tuple[int, int]) -> Mask:
    """Tell which wells lie in the outermost rows and columns, where they dry out first.

    Parameters
    ----------
    wells : sequence of W str
        Such as "B03".
    shape : (int, int)
        Rows and columns of the plate.

    Returns
    -------
    ndarray of bool, shape (W,)

    Examples
    --------
    >>> lie_at_edge(["A01", "B02", "H05", "D12"], (8, 12)).tolist()
    [True, False, True, True]
    """
    rows, columns = np.array([well_place(well) for well in wells]).T
    outer = np.isin(rows, (0, shape[0] - 1)) | np.isin(columns, (0, shape[1] - 1))
    return np.asarray(outer)


def normalise_plates(values: Values, plates: Sequence[str], controls: Mask) -> Values:
    """Return robust z scores: (x - median) / scaled median absolute deviation of a plate's controls.

    Parameters
    ----------
    values : ndarray, shape (W,)
        One a well; NaN where there is none.
    plates : sequence of W str
    controls : ndarray of bool, shape (W,)
        Negative controls. A plate with fewer than four is normalised by all its wells, most of which do
        nothing in a screen.

    Returns
    -------
    ndarray, shape (W,)
        NaN on plates without any spread.

    Examples
    --------
    >>> values = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 9.0])
    >>> normalise_plates(values, ["a"] * 6, np.array([True] * 5 + [False])).round(3).tolist()
    [-1.349, -0.674, 0.0, 0.674, 1.349, 4.721]
    """
    names = np.asarray(plates)
    found = np.full(len(values), np.nan)
    for plate in dict.fromkeys(plates):
        here = names == plate
        known = here & ~np.isnan(values)
        chosen = known & controls
        if chosen.sum() < FEWEST_CONTROLS:
            chosen = known
        spread = spread_of(values[chosen]) if chosen.any() else 0.0
        if spread > 0:
            found[here] = (values[here] - np.median(values[chosen])) / spread
    return found


def score_residuals(
    values: Values,
    plates: Sequence[str],
    wells: Sequence[str],
    fitted: Mask | None = None,
    free: Mapping[str, tuple[bool, bool]] | None = None,
) -> Values:
    """Return B scores: what rows and columns of a plate do not explain, over its own spread.

    The residual of a two-way median polish over the scaled median absolute deviation of the plate's
    residuals (Brideau et al. 2003, J Biomol Screen 8, 634). It takes most wells to do nothing: where a
    row or a column holds one control, leave controls out of ``fitted``.

    Parameters
    ----------
    values : ndarray, shape (W,)
        One a well; NaN where there is none.
    plates, wells : sequence of W str
    fitted : ndarray of bool, shape (W,), optional
        Wells that rows and columns are taken from; all by default.
    free : mapping of str to (bool, bool), optional
        By plate, whether rows and whether columns may be taken out; both by default. Where doses go with
        columns, say, their effect would be taken out with the place's.

    Returns
    -------
    ndarray, shape (W,)
        NaN on plates without any spread.
    """
    names, used = np.asarray(plates), np.ones(len(values), bool) if fitted is None else fitted
    found = np.full(len(values), np.nan)
    for plate in dict.fromkeys(plates):
        here = np.flatnonzero(names == plate)
        own = [wells[int(index)] for index in here]
        places = tuple(np.array([well_place(well) for well in own]).T)
        grid = np.full(plate_shape(own), np.nan)
        grid[places] = np.where(used[here], values[here], np.nan)
        if np.isnan(grid).all():
            continue
        by_rows, by_columns = (free or {}).get(plate, (True, True))
        polished = median_polish(grid, by_rows=by_rows, by_columns=by_columns)
        residuals = values[here] - (
            polished.overall + polished.rows[places[0]] + polished.columns[places[1]]
        )
        kept = residuals[used[here] & ~np.isnan(residuals)]
        spread = spread_of(kept)
        if spread > 0:
            found[here] = (residuals - np.median(kept)) / spread
    return found


@dataclass(frozen=True)
class PositionalShare:
    """How much of the differences between wells their place alone explains.

    Parameters
    ----------
    share : float
        R^2 of row and column effects, 0 to 1; NaN where there are too few wells.
    expected : float
        Mean of the same with the values shuffled over the wells: what chance explains.
    p : float
        Share of the shuffled ones that explain as much.
    wells : int
    """

    share: float
    expected: float
    p: float
    wells: int


def explain_by_position(
    values: Values, wells: Sequence[str], *, draws: int = 2000, seed: int = 0
) -> PositionalShare:
    """Compare what rows and columns explain with what they explain once the values are shuffled.

    Parameters
    ----------
    values : ndarray, shape (W,)
        One a well of one plate, of wells that should not differ by row and column: samples that were put
        at random, or negative controls.
    wells : sequence of W str
    draws, seed : int
        Of the permutations.

    Returns
    -------
    PositionalShare
        NaN where all values are one, or there are as many rows and columns as wells.

    Raises
    ------
    ParameterError
        There are not as many values as wells.
    """
    if len(values) != len(wells):
        raise ParameterError(
            f"values: found {len(values)} for {len(wells)} wells; expected as many"
        )
    known = ~np.isnan(values)
    centred = values[known] - values[known].mean() if known.any() else values[known]
    total = float(centred @ centred)
    nothing = PositionalShare(float("nan"), float("nan"), float("nan"), int(known.sum()))
    if total == 0:
        return nothing
    places = np.array([well_place(well) for well, there in zip(wells, known, strict=True) if there])
    design = np.hstack([_indicators(places[:, 0]), _indicators(places[:, 1])])
    design = design - design.mean(axis=0)
    left, sizes, _ = np.linalg.svd(design, full_matrices=False)
    basis = left[:, sizes > 1e-9 * max(sizes[0], 1.0)]
    # with as many effects as wells anything is explained
    if basis.shape[1] >= len(centred) - 1 or basis.shape[1] == 0:
        return nothing
    share = float(((basis.T @ centred) ** 2).sum()) / total
    rng = np.random.default_rng(seed)
    shuffled = rng.permuted(np.tile(centred, (draws, 1)), axis=1)
    by_chance = ((shuffled @ basis) ** 2).sum(axis=1) / total
    p = (1 + int((by_chance >= share).sum())) / (1 + draws)
    return PositionalShare(share, float(by_chance.mean()), p, len(centred))


def _indicators(numbers: NDArray[np.int64]) -> Values:
    return np.asarray(numbers[:, None] == np.unique(numbers), np.float64)


def share_places(
    labels: Sequence[object], axis: NDArray[np.int64], *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Return how many pairs of wells of one label lie in one row (or column), and p by shuffling labels.

    Parameters
    ----------
    labels : sequence of W objects
        Compound or dose of each well.
    axis : ndarray, shape (W,)
        Its row, or column.
    draws, seed : int
        Of the permutations.

    Returns
    -------
    share, p : float
        NaN and 1 without a pair of one label, and where all wells lie in one row.

    Examples
    --------
    >>> share_places(["a", "a", "b", "b"], np.array([0, 0, 1, 1]), draws=99)[0]
    1.0
    """
    codes = np.unique([str(one) for one in labels], return_inverse=True)[1]
    first, second = np.triu_indices(len(codes), 1)
    pairs = codes[first] == codes[second]
    together = axis[first] == axis[second]
    if not pairs.any() or len(np.unique(axis)) < 2:
        return float("nan"), 1.0
    rng = np.random.default_rng(seed)
    counts = [_count_pairs(rng.permutation(codes), axis) for _ in range(draws)]
    count = int((pairs & together).sum())
    p = (1 + int((np.array(counts) >= count).sum())) / (1 + draws)
    return count / int(pairs.sum()), p


def _count_pairs(codes: NDArray[np.int64], axis: NDArray[np.int64]) -> int:
    """Count pairs of wells of the same label in the same row (or column)."""
    _, cells = np.unique(codes * (int(axis.max()) + 1) + axis, return_counts=True)
    return int((cells * (cells - 1) // 2).sum())


def rank_with_place(doses: Values, compounds: Sequence[object], axis: NDArray[np.int64]) -> float:
    """Return how far doses of a compound are in the order of their rows (or columns), 0 to 1.

    The mean over compounds of the size of Spearman's rank correlation; 0 without a compound of four
    wells and three doses.

    Parameters
    ----------
    doses : ndarray, float64, shape (W,)
        Of each well, in any unit.
    compounds : sequence, length W
    axis : ndarray, int64, shape (W,)
        The well's row or column.

    Returns
    -------
    float
        1: in every compound the doses stand in their order, or the reverse.

    Examples
    --------
    >>> rank_with_place(np.array([1.0, 3.0, 9.0, 27.0]), ["a"] * 4, np.array([5, 4, 3, 2]))
    1.0
    """
    named = np.array([str(one) for one in compounds])
    found = []
    for name in np.unique(named):
        own = named == name
        if own.sum() < FEWEST_OF_SERIES[0] or len(np.unique(doses[own])) < FEWEST_OF_SERIES[1]:
            continue
        order = stats.rankdata(doses[own]), stats.rankdata(axis[own])
        varied = np.ptp(order[1]) > 0
        found.append(abs(float(np.corrcoef(*order)[0, 1])) if varied else 0.0)
    return float(np.round(np.mean(found), 12)) if found else 0.0
