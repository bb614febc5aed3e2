"""What lies where on the plates: doses and compounds that go with rows or columns, and what that hides."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.images.wells import well_place
from napari_why.screening.options import ScreenOptions
from napari_why.screening.statistics import rank_with_place, share_places
from napari_why.screening.tables import COMPOUND, DOSE, PLATE, ROLE, SAMPLE, WELL

# Share of a row's (column's) wells of one dose or compound from which the row's median is that one's own: below
# a half the others outvote it. Replicates side by side share a row too, but with many others.
MOSTLY_ONE = 0.5
# Mean rank correlation of dose and place from which the doses are in the order of the rows (columns).
MOSTLY_IN_ORDER = 0.8
# Share of compounds and doses in the same well of each plate from which that is how the screen is laid out.
MOSTLY_FIXED = 0.5
# p of that by shuffling: a plate has four such tests, and a screen dozens of plates.
ALPHA = 0.001
AXES = ("rows", "columns")


@dataclass(frozen=True)
class Alignment:
    """What goes with the rows and the columns of a plate: ``doses``, ``compounds``, or nothing.

    Parameters
    ----------
    rows, columns : str
    """

    rows: str = ""
    columns: str = ""

    @property
    def free(self) -> tuple[bool, bool]:
        """Whether rows, and whether columns, tell place and nothing else."""
        return not self.rows, not self.columns


def find_alignment(wells: pd.DataFrame, options: ScreenOptions) -> dict[str, Alignment]:
    """Tell for each plate whether doses or compounds of its samples go with rows or columns.

    Then an effect of the place cannot be told from one of the dose: what rows or columns have in common
    must not be taken out, for the effect that is looked for would go with it.

    Parameters
    ----------
    wells : DataFrame
        One row a well.
    options : ScreenOptions
        Draws and seed of the permutations.

    Returns
    -------
    dict of str to Alignment
        By plate.
    """
    found = {}
    for plate, part in wells[wells[ROLE] == SAMPLE].groupby(PLATE, sort=False):
        places = np.array([well_place(name) for name in part[WELL]])
        told = dict.fromkeys(AXES, "")
        for name, axis in zip(AXES, places.T, strict=True):
            if _goes_by_dose(part, axis, options):
                told[name] = "doses"
            elif _goes_together(part[COMPOUND].to_list(), axis, options):
                told[name] = "compounds"
        found[str(plate)] = Alignment(**told)
    return found


def _goes_together(
    labels: Sequence[object], axis: NDArray[np.int64], options: ScreenOptions
) -> bool:
    """Tell whether rows (columns) hold mostly wells of one label each, and more so than by chance."""
    if not labels or _share_of_commonest(labels, axis) < MOSTLY_ONE:
        return False
    _, p = share_places(labels, axis, draws=options.draws, seed=options.seed)
    return bool(p <= max(ALPHA, 1 / (1 + options.draws)))


def _share_of_commonest(labels: Sequence[object], axis: NDArray[np.int64]) -> float:
    """Return the share of the wells that have the commonest label of their row (column), 0 to 1."""
    names, places = (
        np.unique(each, return_inverse=True)[1] for each in ([str(one) for one in labels], axis)
    )
    counts = np.zeros((names.max() + 1, places.max() + 1), np.int64)
    np.add.at(counts, (names, places), 1)
    return float(counts.max(axis=0).sum() / len(labels))


def _goes_by_dose(part: pd.DataFrame, axis: NDArray[np.int64], options: ScreenOptions) -> bool:
    if DOSE not in part:
        return False
    dosed = part[DOSE].notna().to_numpy(bool)
    own = part[dosed]
    # steps of each compound's own series: units and highest doses differ between compounds
    steps = own.groupby(COMPOUND)[DOSE].rank(method="dense").to_list()
    if len(set(steps)) < 2:
        return False
    return _goes_together(steps, axis[dosed], options) or bool(
        rank_with_place(own[DOSE].to_numpy(float), own[COMPOUND].to_list(), axis[dosed])
        > MOSTLY_IN_ORDER
    )


def warn_of_layout(wells: pd.DataFrame, aligned: Mapping[str, Alignment]) -> Iterator[str]:
    """Say what of the place cannot be told from what is in the wells.

    Parameters
    ----------
    wells : DataFrame
        One row a well.
    aligned : mapping of str to Alignment
        As :func:`find_alignment` returns it.

    Returns
    -------
    iterator of str
        A sentence each; none where the layout hides nothing.
    """
    kinds: dict[tuple[str, str], list[str]] = {}
    for plate, found in aligned.items():
        for axis in AXES:
            what = getattr(found, axis)
            if what:
                kinds.setdefault((axis, what), []).append(plate)
    for (axis, what), plates in kinds.items():
        yield (
            f"{what} go with {axis} on {_name(plates, len(aligned))}: an effect of the place there cannot be told "
            f"from theirs, and B scores take out no {axis}"
        )
    samples = wells[wells[ROLE] == SAMPLE]
    keys = [COMPOUND, DOSE] if DOSE in samples else [COMPOUND]
    grouped = samples.groupby(keys, dropna=False)
    counts = grouped[[PLATE, WELL]].nunique()
    fixed = counts.loc[counts[PLATE] > 1, WELL] == 1
    if len(fixed) and fixed.mean() > MOSTLY_FIXED:
        yield (
            f"{int(fixed.sum())} of {len(fixed)} compounds and doses on several plates lie in the same well of each: "
            "their mean keeps the whole effect of that place"
        )


def _name(plates: Sequence[str], total: int) -> str:
    if len(plates) == total:
        return "all plates" if total > 1 else f"plate {plates[0]}"
    more = f" and {len(plates) - 1} more" if len(plates) > 1 else ""
    return f"plate {plates[0]}{more}"
