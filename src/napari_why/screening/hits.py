"""Which compounds of a screen do what: scores, p by two nulls, and what is said of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.measurement.statistics import correct_p
from napari_why.screening.options import ScreenOptions
from napari_why.screening.statistics import (
    FEWEST_TESTS,
    EmpiricalNull,
    LargestChange,
    OffTarget,
    OnTarget,
    Score,
    heed_samples,
    measure_activity,
    place_between_controls,
)
from napari_why.screening.tables import (
    AREA,
    B_SCORE,
    COMPOUND,
    DISTANCE,
    DOSE,
    EDGE,
    FAILED,
    FIELDS,
    FLAGGED,
    NEGATIVE,
    ON_THE_WAY,
    PLATE,
    POSITIVE,
    QUALITY,
    ROLE,
    SAMPLE,
    STRANGE,
    appearance_of,
    latents_of,
    log_odds_column,
    texture_columns,
)

Numbers = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Of the fields of a compound: from half on it is not judged, as most of what it is judged by is not there.
MOST_FLAGGED = 0.5
# What is said of a compound.
TOWARDS, MIXED, OTHER = "towards healthy", "towards healthy, with other change", "other change"
BEYOND = "unlike both controls"
NOTHING, NOT_JUDGED = "no change shown", "not judged"
FINDINGS = (TOWARDS, MIXED, BEYOND, OTHER, NOTHING, NOT_JUDGED)
BACKWARD = "positive controls have lower log-odds of the healthy class than negative ones"
# What is said of its other change, where it is judged.
SHOWN, SMALL, OPEN, UNKNOWN = "shown", "less than the controls lie apart", "cannot be told", ""
# What p are corrected for, and their nulls are asked of the samples for.
TOWARDS_P, OTHER_P, ACTIVITY_P = "on-target p", "off-target p", "activity p"
# Of the two tests of other change, until they are one.
TOGETHER, ALONE = "off-target p in all directions", "off-target p of one number"
# Spread of samples, in that of the controls, from which it is said: less is chance of some hundred samples.
MUCH_WIDER = 1.2


@dataclass(frozen=True, eq=False)
class Judged:
    """Compounds with what is said of them.

    Parameters
    ----------
    hits : DataFrame
        One row a compound and dose.
    nulls : dict of str to EmpiricalNull
        By the column of p, where the samples were asked what chance does.
    """

    hits: pd.DataFrame
    nulls: dict[str, EmpiricalNull]


def find_controls(wells: pd.DataFrame) -> tuple[Mask, Mask]:
    """Tell which wells are negative and which are positive controls, shape (W,) each."""
    role = wells[ROLE]
    return (role == NEGATIVE).to_numpy(bool), (role == POSITIVE).to_numpy(bool)


def is_hit(hits: pd.DataFrame) -> "pd.Series[bool]":
    """Tell which compounds bring cells towards healthy, whatever else they change.

    Not those that lie further off the way than both controls lie apart: what a network says of cells that
    are unlike all that it was shown, is no word on health.
    """
    return hits["finding"].isin([TOWARDS, MIXED])


def has_texture_tests(hits: pd.DataFrame) -> bool:
    """Tell whether textures could be tested one by one.

    Parameters
    ----------
    hits : DataFrame
        Of :func:`judge_compounds`.

    Returns
    -------
    bool
        False without textures or compounds, and where controls tell of no deviation.
    """
    return not hits.empty and bool((hits["largest change"] != "").any())


def judge_compounds(wells: pd.DataFrame, options: ScreenOptions, *, backward: bool) -> Judged:
    """Score every compound and dose, correct p, and say what it does.

    p are those of the controls, widened by the samples where the options take most of these to do nothing
    (:func:`~napari_why.screening.statistics.heed_samples`). They are corrected for what is judged alone:
    compounds that are flagged, and those that lie off the way when it comes to clean hits, have small p
    that would pass for hits found and let more false ones in. So off-target p are corrected over all that
    are judged, and on-target p within each kind of other change (Efron 2008, Ann. Appl. Stat. 2, 197).

    Parameters
    ----------
    wells : DataFrame
        With the columns that :func:`~napari_why.screening.analyse_screen` adds.
    options : ScreenOptions
    backward : bool
        Whether the positive controls have lower log-odds than the negative ones: then nothing is judged.

    Returns
    -------
    Judged
        A row a compound and dose, the surest first, and the chance that was taken of each score.
    """
    table, apart, nulls = _score_compounds(wells, options)
    if table.empty:
        return Judged(table, {})
    judged = _find_judged(table["flagged"])
    for kind in (OTHER_P, ACTIVITY_P):
        _correct(table, kind, [judged])
    rate = options.false_discovery_rate
    other = (table[f"{OTHER_P} corrected"] <= rate).to_numpy(bool)
    beyond = other & (table["off-target low"] > apart).to_numpy(bool)
    families = [judged & ~other, judged & other & ~beyond, judged & beyond]
    _correct(table, TOWARDS_P, families)
    towards = (table[f"{TOWARDS_P} corrected"] <= rate).to_numpy(bool)
    table["other change"] = _tell_other(table, other, apart)
    table["finding"] = [
        f"{NOT_JUDGED}: {BACKWARD}" if backward else _name_finding(row, *told)
        for row, *told in zip(table.to_dict("records"), towards, other, beyond, strict=True)
    ]
    order = [f"{TOWARDS_P} corrected", "on-target"]
    table = table.sort_values(order, ascending=[True, False], kind="stable").reset_index(drop=True)
    return Judged(table, nulls)


def _correct(table: pd.DataFrame, kind: str, families: Sequence[Mask]) -> None:
    """Add corrected p of some families, each corrected by itself; NaN elsewhere."""
    corrected = np.full(len(table), np.nan)
    for family in families:
        corrected[family] = correct_p(table[kind].to_numpy(float)[family])
    table.insert(list(table.columns).index(kind) + 1, f"{kind} corrected", corrected)


def _tell_other(table: pd.DataFrame, other: Mask, apart: float) -> list[str]:
    told = []
    for high, shown, wells in zip(table["off-target high"], other, table["wells"], strict=True):
        if shown:
            told.append(SHOWN)
        elif np.isnan(high) or np.isnan(apart):
            told.append(UNKNOWN)
        elif high < apart:
            told.append(SMALL)
        else:
            told.append(f"{OPEN} with {wells} well{'s' if wells != 1 else ''}")
    return told


def _find_judged(flagged: "pd.Series[float]") -> Mask:
    return (flagged <= MOST_FLAGGED).to_numpy(bool)  # NaN: no field could be read


@dataclass
class _Other:
    """What else compounds change: in all directions, and in the number that tells most."""

    together: OffTarget
    single: LargestChange
    named: Sequence[str]

    def score(self, own: Numbers) -> dict[str, Any]:
        """Return both, and p of each."""
        together, alone = self.together.score(own), self.single.score(own)
        return {
            **_columns("off-target", together, with_p=False),
            "largest change": self.named[alone.place] if alone.place >= 0 else "",
            "largest change size": alone.size,
            TOGETHER: together.p,
            ALONE: alone.p,
        }


def _score_compounds(
    wells: pd.DataFrame, options: ScreenOptions
) -> tuple[pd.DataFrame, float, dict[str, EmpiricalNull]]:
    """Return a row of scores for each compound and dose, how far controls lie apart, and nulls of samples."""
    negative, positive = find_controls(wells)
    plates = list(wells[PLATE])
    on = OnTarget(wells[ON_THE_WAY].to_numpy(float), plates, negative)
    by_network = OffTarget(latents_of(wells), plates, negative, positive)
    named = texture_columns(wells)
    other = _Other(
        # also by what the network was not taught to see, where that was measured
        OffTarget(appearance_of(wells), plates, negative, positive),
        LargestChange(wells[named].to_numpy(float), plates, negative, positive),
        named,
    )
    left = _change_left(wells, plates, negative, positive)
    keys = [COMPOUND, DOSE] if DOSE in wells else [COMPOUND]
    samples = wells[wells[ROLE] == SAMPLE].reset_index(names="position")
    groups = [
        (key, part, part["position"].to_numpy(np.int64))
        for key, part in samples.groupby(keys, sort=False, dropna=False)
    ]
    if not groups:
        return pd.DataFrame(), other.together.apart, {}
    judged = _find_judged(pd.Series([part[FLAGGED].mean() for _, part, _ in groups]))
    asked = options.most_inactive and (
        len({key[0] for (key, *_), there in zip(groups, judged, strict=True) if there})
        >= FEWEST_TESTS
    )
    if asked:
        other.single.heed_samples(
            [group[2] for group, there in zip(groups, judged, strict=True) if there]
        )
    rows = [
        {
            **dict(zip(("compound", "dose"), key, strict=False)),
            "wells": len(own),
            "plates": part[PLATE].nunique(),
            **_columns("on-target", on.score(own)),
            "on-target in latents": by_network.along(own),
            **other.score(own),
            **({} if left is None else _columns("change left", left.score(own), with_p=False)),
            **_activity(by_network, own, negative, wells[PLATE].to_numpy(str), options),
            **_describe_wells(part, options),
        }
        for key, part, own in groups
    ]
    table = pd.DataFrame(rows)
    nulls = _heed_samples(table, judged) if asked else {}
    # two tests, one in all directions and one of the single numbers: the lesser p, times two
    tests = table[[TOGETHER, ALONE]]
    combined = (tests.min(axis=1) * tests.notna().sum(axis=1)).clip(upper=1)
    table.insert(list(table.columns).index(TOGETHER), OTHER_P, combined)
    return table.drop(columns=[TOGETHER, ALONE]), other.together.apart, nulls


def _heed_samples(table: pd.DataFrame, judged: Mask) -> dict[str, EmpiricalNull]:
    """Widen p of the controls by what samples that are judged show, in place; return by which nulls."""
    nulls = {}
    for kind in (TOWARDS_P, TOGETHER):
        found = heed_samples(table[kind].where(judged).to_numpy(float))
        table[kind] = np.where(judged, found.p, table[kind])
        nulls[kind] = found
    return nulls


def _describe_wells(part: pd.DataFrame, options: ScreenOptions) -> dict[str, Any]:
    return {
        f"{B_SCORE}log-odds": float(part[f"{B_SCORE}{log_odds_column(options.healthy)}"].mean()),
        "distance": float(part[DISTANCE].mean()) if DISTANCE in part else np.nan,
        "flagged": float(part[FLAGGED].mean()),
        "unlike": float(part[STRANGE].mean()) if STRANGE in part else np.nan,
        "at the edge": float(part[EDGE].mean()),
        "quality": "; ".join(filter(None, part[QUALITY])),
        "fields": int(part[FIELDS].sum()),
        "failed": int(part[FAILED].sum()),
    }


def _columns(kind: str, score: Score, *, with_p: bool = True) -> dict[str, float]:
    told = {kind: score.value, f"{kind} low": score.low, f"{kind} high": score.high}
    return {**told, f"{kind} p": score.p} if with_p else told


def _change_left(
    wells: pd.DataFrame, plates: Sequence[str], negative: Mask, positive: Mask
) -> OnTarget | None:
    """Return the way that is left by the area that a counterfactual changes: 1 as the negative controls.

    None where no counterfactual was measured.
    """
    if AREA not in wells:
        return None
    area = wells[AREA].to_numpy(float)
    way = place_between_controls(area, plates, negative, positive)
    return OnTarget(1 - way, plates, negative, centre=1.0)


def _activity(
    space: OffTarget,
    own: Numbers,
    negative: Mask,
    plates: NDArray[np.str_],
    options: ScreenOptions,
) -> dict[str, float]:
    if not space.fine:
        return {"activity": np.nan, "activity by chance": np.nan, ACTIVITY_P: np.nan}
    profiles, known = space.profiles, space.known
    kept, controls = own[known[own]], negative & known
    found = measure_activity(
        profiles[kept],
        profiles[controls],
        (plates[kept].tolist(), plates[controls].tolist()),
        draws=options.draws,
        seed=options.seed,
    )
    return {
        "activity": found.precision,
        "activity by chance": found.expected,
        ACTIVITY_P: found.p,
    }


def _name_finding(row: dict[Any, Any], towards: bool, other: bool, beyond: bool) -> str:
    if np.isnan(row["flagged"]):
        return f"{NOT_JUDGED}: no field could be read"
    if row["flagged"] > MOST_FLAGGED:
        return f"{NOT_JUDGED}: {row['quality'] or 'most fields are flagged'}"
    if np.isnan(row["on-target"]) and not other:
        return f"{NOT_JUDGED}: too few controls"
    if towards:
        return BEYOND if beyond else MIXED if other else TOWARDS
    return OTHER if other else NOTHING


def describe_hits(judged: Judged, options: ScreenOptions) -> list[str]:
    """Return in sentences how many compounds have which finding, and what that rests on.

    Parameters
    ----------
    judged : Judged
    options : ScreenOptions
        The rate that was asked for.

    Returns
    -------
    list of str
        None where there is no compound.
    """
    hits = judged.hits
    if hits.empty:
        return []
    kinds = hits["finding"].str.partition(":")[0].value_counts()
    counted = "; ".join(f"{kinds[name]} {name}" for name in FINDINGS if name in kinds)
    said = [
        f"of {len(hits)} compounds and doses, at a false-discovery rate of "
        f"{options.false_discovery_rate:.0%}: {counted}"
    ]
    said += [
        f"samples vary {null.spread:.2g} times as much as the controls say by the "
        f"{kind.partition(' ')[0]} score: its p are those of the samples"
        for kind, null in judged.nulls.items()
        if null.spread > MUCH_WIDER
    ]
    clean = hits[hits["finding"] == TOWARDS]
    unsure = int(clean["other change"].str.startswith(OPEN).sum())
    if unsure:
        said.append(
            f"of {unsure} of the {len(clean)} that show no other change it cannot be told that they have none: "
            "their wells are too few to exclude one as large as the controls lie apart"
        )
    if hits["activity"].isna().all():
        said.append(
            "phenotypic activity: not known, for it takes two wells of a compound and latents of controls"
        )
    return said
