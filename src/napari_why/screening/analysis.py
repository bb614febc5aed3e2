"""What a screen found: how good its controls and plates are, which compounds do what, at which dose."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.measurement.statistics import correct_p
from napari_why.screening.options import ScreenOptions
from napari_why.screening.statistics import (
    DoseResponse,
    OffTarget,
    OnTarget,
    Score,
    explain_by_position,
    fit_dose_response,
    lie_at_edge,
    measure_activity,
    normalise_plates,
    place_between_controls,
    plate_centres,
    plate_shape,
    score_residuals,
    separate,
)
from napari_why.screening.tables import (
    AREA,
    COMPOUND,
    DISTANCE,
    DOSE,
    EDGE,
    FAILED,
    FIELDS,
    FLAGGED,
    LOG_ODDS,
    NEGATIVE,
    PLATE,
    POSITIVE,
    QUALITY,
    ROLE,
    SAMPLE,
    STRANGE,
    WELL,
    appearance_of,
    latents_of,
    log_odds_column,
    names_of,
    order_columns,
)
from napari_why.training.metrics import probability_columns

Numbers = NDArray[np.int64]

# Columns that are added to the table of wells.
ROBUST_Z, B_SCORE, ON_THE_WAY = "robust z of ", "B score of ", "way to healthy"
# Of the fields of a compound: from half on it is not judged, as most of what it is judged by is not there.
MOST_FLAGGED = 0.5
# Below this many control wells on a plate its centre is uncertain by half a deviation and more.
FEW_CONTROLS = 4
# From half on, the place on the plate explains more than all else does.
MOSTLY_PLACE = 0.5
# What is said of a compound.
TOWARDS, MIXED, OTHER = "towards healthy", "towards healthy, with other change", "other change"
NOTHING, NOT_JUDGED = "no change shown", "not judged"
BACKWARD = "positive controls have lower log-odds of the healthy class than negative ones"
# All plates together, in tables of plates.
ALL = "all"


@dataclass(frozen=True, eq=False)
class ScreenAnalysis:
    """Statistics of a screen.

    Parameters
    ----------
    wells : DataFrame
        The wells, with ``way to healthy`` (0 as the negative, 1 as the positive controls), robust z and B
        score of the log-odds, and whether they lie at the edge.
    controls : DataFrame
        Z', SSMD and their robust forms of probability and log-odds, by plate and of all, with intervals.
    positions : DataFrame
        For each plate, how much of the samples' log-odds rows and columns explain, and how much of it by
        chance; and how far wells at the edge differ.
    hits : DataFrame
        One row a compound and dose: scores with intervals, p and p corrected (false-discovery rate by
        Benjamini & Hochberg), and ``finding`` in words.
    doses : DataFrame
        A curve for each compound with enough doses.
    sentences : tuple of str
        What there is to say, the warnings first.
    warnings : tuple of str
        Those that tell what to keep in mind.
    """

    wells: pd.DataFrame
    controls: pd.DataFrame
    positions: pd.DataFrame
    hits: pd.DataFrame
    doses: pd.DataFrame
    sentences: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def analyse_screen(wells: pd.DataFrame, options: ScreenOptions) -> ScreenAnalysis:
    """Compare compounds with the controls of their plates.

    Parameters
    ----------
    wells : DataFrame
        As :func:`~napari_why.screening.tables.gather_wells` makes it.
    options : ScreenOptions

    Returns
    -------
    ScreenAnalysis
    """
    score = log_odds_column(options.healthy)
    if score not in wells:  # not one field could be read
        wells = wells.assign(**{score: np.nan, FLAGGED: np.nan})
    wells = _place_wells(wells, score)
    positions = _describe_positions(wells, score, options)
    controls = _separate_controls(wells, options, score)
    backward = _leads_backward(wells, score)
    hits = _judge_compounds(wells, options, backward=backward)
    # a way that leads from healthy cells has no dose of half the effect
    doses = _fit_doses(wells, hits.iloc[:0] if backward else hits)
    warnings = (
        *_warn_of_way(controls, score, options, backward=backward),
        *_warn(wells, positions),
    )
    said = [
        *warnings,
        *_describe_controls(controls, score),
        *_describe_hits(hits, options),
        *_describe_doses(doses),
    ]
    return ScreenAnalysis(wells, controls, positions, hits, doses, tuple(said), warnings)


def _masks(wells: pd.DataFrame) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    role = wells[ROLE]
    return (role == NEGATIVE).to_numpy(bool), (role == POSITIVE).to_numpy(bool)


def _place_wells(wells: pd.DataFrame, score: str) -> pd.DataFrame:
    values = wells[score].to_numpy(float)
    plates, names = list(wells[PLATE]), list(wells[WELL])
    negative, positive = _masks(wells)
    shapes = {plate: plate_shape(list(part)) for plate, part in wells.groupby(PLATE)[WELL]}
    edge = [bool(lie_at_edge([n], shapes[p])[0]) for p, n in zip(plates, names, strict=True)]
    # controls often fill rows or columns of their own, which their effect would be taken out with
    fitted = ~(negative | positive)
    added: dict[str, Any] = {
        EDGE: edge,
        ON_THE_WAY: place_between_controls(values, plates, negative, positive),
        f"{ROBUST_Z}{score}": normalise_plates(values, plates, negative),
        f"{B_SCORE}{score}": score_residuals(
            values, plates, names, fitted if fitted.any() else None
        ),
    }
    return order_columns(wells.assign(**added))


def _describe_positions(wells: pd.DataFrame, score: str, options: ScreenOptions) -> pd.DataFrame:
    rows = []
    for plate, part in wells[wells[ROLE] == SAMPLE].groupby(PLATE, sort=False):
        values = part[score].to_numpy(float)
        found = explain_by_position(
            values, list(part[WELL]), draws=options.draws, seed=options.seed
        )
        edge = part[EDGE].to_numpy(bool)
        apart = np.nan
        known = ~np.isnan(values)
        if (edge & known).any() and (~edge & known).any():
            apart = float(np.nanmedian(values[edge]) - np.nanmedian(values[~edge]))
        rows.append(
            {
                "plate": plate,
                "samples": found.wells,
                "explained by row and column": found.share,
                "explained by chance": found.expected,
                "p": found.p,
                "edge minus inside": apart,
                "edge wells": int(edge.sum()),
            }
        )
    table = pd.DataFrame(rows, columns=_POSITION_COLUMNS)
    table["p corrected"] = correct_p(table["p"].to_numpy(float))
    return table


_POSITION_COLUMNS = (
    *("plate", "samples", "explained by row and column", "explained by chance", "p"),
    *("edge minus inside", "edge wells"),
)


def _separate_controls(wells: pd.DataFrame, options: ScreenOptions, score: str) -> pd.DataFrame:
    (probability,) = probability_columns([options.healthy])
    rows: list[dict[str, Any]] = []
    parts = [(str(plate), part) for plate, part in wells.groupby(PLATE, sort=False)]
    # of all plates together each is moved such that its negative controls have the mean of all
    parts += [(ALL, wells)] if len(parts) > 1 else []
    for plate, part in parts:
        for column in (probability, score):
            if column not in part:
                continue
            values = part[column].to_numpy(float)
            if plate == ALL:
                centres = plate_centres(values[:, None], list(part[PLATE]), _masks(part)[0])[:, 0]
                values = values - centres + np.nanmean(centres)
            groups = [values[mask & ~np.isnan(values)] for mask in _masks(part)]
            if not all(len(group) for group in groups):
                continue
            found = separate(*groups, draws=options.draws, seed=options.seed)
            rows += [
                {
                    "plate": plate,
                    "score": column,
                    "measure": item.measure,
                    "value": item.value,
                    "low": item.low,
                    "high": item.high,
                    "negative wells": len(groups[0]),
                    "positive wells": len(groups[1]),
                    "note": item.note,
                }
                for item in found
            ]
    return pd.DataFrame(rows, columns=_CONTROL_COLUMNS)


_CONTROL_COLUMNS = (
    *("plate", "score", "measure", "value", "low", "high"),
    *("negative wells", "positive wells", "note"),
)


def _leads_backward(wells: pd.DataFrame, score: str) -> bool:
    """Tell whether positive controls have lower log-odds than the negative ones of their plates."""
    values = wells[score].to_numpy(float)
    negative, positive = _masks(wells)
    centred = values - plate_centres(values[:, None], list(wells[PLATE]), negative)[:, 0]
    shown = centred[positive & ~np.isnan(centred)]
    return bool(len(shown) and shown.mean() < 0)


def _judge_compounds(
    wells: pd.DataFrame, options: ScreenOptions, *, backward: bool
) -> pd.DataFrame:
    negative, positive = _masks(wells)
    plates = list(wells[PLATE])
    on = OnTarget(wells[ON_THE_WAY].to_numpy(float), plates, negative)
    by_network = OffTarget(latents_of(wells), plates, negative, positive)
    # also by what the network was not taught to see, where that was measured
    off = OffTarget(appearance_of(wells), plates, negative, positive)
    left = _change_left(wells, plates, negative, positive)
    keys = [COMPOUND, DOSE] if DOSE in wells else [COMPOUND]
    samples = wells[wells[ROLE] == SAMPLE].reset_index(names="position")
    rows = []
    for key, part in samples.groupby(keys, sort=False, dropna=False):
        own = part["position"].to_numpy(np.int64)
        rows.append(
            {
                **dict(zip(("compound", "dose"), key, strict=False)),
                "wells": len(own),
                "plates": part[PLATE].nunique(),
                **_columns("on-target", on.score(own)),
                "on-target in latents": by_network.along(own),
                **_columns("off-target", off.score(own)),
                **({} if left is None else _columns("change left", left.score(own), with_p=False)),
                **_activity(by_network, own, negative, options),
                f"{B_SCORE}log-odds": float(
                    part[f"{B_SCORE}{log_odds_column(options.healthy)}"].mean()
                ),
                "distance": float(part[DISTANCE].mean()) if DISTANCE in part else np.nan,
                "flagged": float(part[FLAGGED].mean()),
                "unlike": float(part[STRANGE].mean()) if STRANGE in part else np.nan,
                "at the edge": float(part[EDGE].mean()),
                "quality": "; ".join(filter(None, part[QUALITY])),
                "fields": int(part[FIELDS].sum()),
                "failed": int(part[FAILED].sum()),
            }
        )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    for kind in ("on-target", "off-target", "activity"):
        place = list(table.columns).index(f"{kind} p") + 1
        table.insert(place, f"{kind} p corrected", correct_p(table[f"{kind} p"].to_numpy(float)))
    table["finding"] = [
        f"{NOT_JUDGED}: {BACKWARD}" if backward else _name_finding(row, options)
        for row in table.to_dict("records")
    ]
    order = ["on-target p corrected", "on-target"]
    return table.sort_values(order, ascending=[True, False], kind="stable").reset_index(drop=True)


def _columns(kind: str, score: Score, *, with_p: bool = True) -> dict[str, float]:
    told = {kind: score.value, f"{kind} low": score.low, f"{kind} high": score.high}
    return {**told, f"{kind} p": score.p} if with_p else told


def _change_left(
    wells: pd.DataFrame,
    plates: Sequence[str],
    negative: NDArray[np.bool_],
    positive: NDArray[np.bool_],
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
    space: OffTarget, own: Numbers, negative: NDArray[np.bool_], options: ScreenOptions
) -> dict[str, float]:
    if not space.fine:
        return {"activity": np.nan, "activity by chance": np.nan, "activity p": np.nan}
    profiles, known = space.profiles, space.known
    found = measure_activity(
        profiles[own[known[own]]],
        profiles[negative & known],
        draws=options.draws,
        seed=options.seed,
    )
    return {
        "activity": found.precision,
        "activity by chance": found.expected,
        "activity p": found.p,
    }


def _name_finding(row: dict[Any, Any], options: ScreenOptions) -> str:
    if np.isnan(row["flagged"]):
        return f"{NOT_JUDGED}: no field could be read"
    if row["flagged"] > MOST_FLAGGED:
        return f"{NOT_JUDGED}: {row['quality'] or 'most fields are flagged'}"
    towards = row["on-target p corrected"] <= options.false_discovery_rate
    other = row["off-target p corrected"] <= options.false_discovery_rate
    if np.isnan(row["on-target"]) and not other:
        return f"{NOT_JUDGED}: too few controls"
    if towards:
        return MIXED if other else TOWARDS
    return OTHER if other else NOTHING


def is_hit(hits: pd.DataFrame) -> "pd.Series[bool]":
    """Tell which compounds bring cells towards healthy, whatever else they change."""
    return hits["finding"].isin([TOWARDS, MIXED])


def _fit_doses(wells: pd.DataFrame, hits: pd.DataFrame) -> pd.DataFrame:
    """Fit a curve of the way to healthy for each compound; negative controls are its dose of 0."""
    rows = []
    if DOSE in wells and not hits.empty:
        samples = wells[wells[ROLE] == SAMPLE]
        for compound, part in samples.groupby(COMPOUND, sort=False):
            if part[DOSE].nunique() < 2:
                continue
            none = wells[(wells[ROLE] == NEGATIVE) & wells[PLATE].isin(set(part[PLATE]))]
            doses = np.concatenate([part[DOSE].to_numpy(float), np.zeros(len(none))])
            way = np.concatenate([one[ON_THE_WAY].to_numpy(float) for one in (part, none)])
            rows.append({"compound": compound, **_fit_curve(doses, way)})
    named = {"determination": "R2", "ec50": "EC50", "low": "EC50 low", "high": "EC50 high"}
    return pd.DataFrame(rows).rename(columns=named)


def _fit_curve(doses: NDArray[np.float64], way: NDArray[np.float64]) -> dict[str, Any]:
    try:
        return vars(fit_dose_response(doses, way))
    except ParameterError as error:  # of one compound: the others keep their curves
        none = {item.name: np.nan for item in fields(DoseResponse)}
        return {**none, "wells": len(doses), "note": str(error)}


def _warn_of_way(
    controls: pd.DataFrame, score: str, options: ScreenOptions, *, backward: bool
) -> Iterator[str]:
    if backward:
        yield (
            f"{BACKWARD}: no compound is judged; check healthy ({options.healthy}), negative "
            f"({options.negative}) and positive ({options.positive})"
        )
        return
    chosen = controls[(controls["score"] == score) & (controls["measure"] == "SSMD")]
    for row in chosen.tail(1).to_dict("records"):  # of all plates, or the only one
        if row["low"] <= 0 <= row["high"]:
            yield (
                f"the way to healthy is not known: the SSMD of the controls' log-odds is {row['value']:.2f} "
                f"({row['low']:.2f} to {row['high']:.2f}), and may be 0"
            )


def _warn(wells: pd.DataFrame, positions: pd.DataFrame) -> Iterator[str]:
    negative, positive = _masks(wells)
    failed = int(wells[FAILED].sum())
    if failed:
        yield f"{failed} fields could not be read or judged; the reasons stand in their rows"
    for name, mask in (("negative", negative), ("positive", positive)):
        counts = wells[mask].groupby(PLATE).size().reindex(wells[PLATE].unique(), fill_value=0)
        if not mask.any():
            yield f"there is no {name} control: nothing can be said of the way to healthy"
        elif (counts < FEW_CONTROLS).any():
            plate = counts.idxmin()
            yield f"few controls: {counts.min()} {name} wells on plate {plate}; what they tell is rough"
    yield from _warn_of_layout(wells, negative, positive)
    for row in positions.to_dict("records"):
        share = row["explained by row and column"]
        if row["p corrected"] <= 0.05 and share > MOSTLY_PLACE:
            yield (
                f"plate {row['plate']}: rows and columns explain {share:.0%} of the samples' log-odds "
                f"({row['explained by chance']:.0%} by chance); trust B scores more"
            )
    yield from _warn_of_drift(wells, negative)


def _warn_of_layout(
    wells: pd.DataFrame, negative: NDArray[np.bool_], positive: NDArray[np.bool_]
) -> Iterator[str]:
    columns = wells[WELL].str.slice(-2)
    sides = [
        set(zip(wells[PLATE][mask], columns[mask], strict=True)) for mask in (negative, positive)
    ]
    if all(sides) and not sides[0] & sides[1]:
        yield (
            "negative and positive controls share no column of any plate: what tells them apart may be "
            "the place"
        )


def _warn_of_drift(wells: pd.DataFrame, negative: NDArray[np.bool_]) -> Iterator[str]:
    score = next(name for name in names_of(wells) if name.startswith(LOG_ODDS))
    part = wells[negative].dropna(subset=[score])
    groups = [values.to_numpy(float) for _, values in part.groupby(PLATE)[score] if len(values) > 1]
    if len(groups) < 2 or not any(values.std() for values in groups):
        return
    from scipy import stats

    p = float(stats.kruskal(*groups).pvalue)
    if p <= 0.05:
        middles = [float(np.median(values)) for values in groups]
        yield (
            f"negative controls drift over the plates: medians of the log-odds from {min(middles):.2f} to "
            f"{max(middles):.2f} (Kruskal-Wallis p = {p:.2g}); each plate is judged by its own"
        )


def _describe_controls(controls: pd.DataFrame, score: str) -> Iterator[str]:
    chosen = controls[(controls["score"] == score) & controls["value"].notna()]
    for row in chosen.to_dict("records"):
        if row["measure"] in ("Z'", "SSMD"):
            between = "" if np.isnan(row["low"]) else f" ({row['low']:.2f} to {row['high']:.2f})"
            place = "all plates" if row["plate"] == ALL else f"plate {row['plate']}"
            note = f"; {row['note']}" if row["note"] else ""
            yield f"{place}: {row['measure']} of the log-odds {row['value']:.2f}{between}{note}"


def _describe_hits(hits: pd.DataFrame, options: ScreenOptions) -> Iterator[str]:
    if hits.empty:
        return
    kinds = hits["finding"].str.partition(":")[0].value_counts()
    said = [
        f"{kinds[name]} {name}"
        for name in (TOWARDS, MIXED, OTHER, NOTHING, NOT_JUDGED)
        if name in kinds
    ]
    yield (
        f"of {len(hits)} compounds and doses, at a false-discovery rate of "
        f"{options.false_discovery_rate:.0%}: {'; '.join(said)}"
    )
    if hits["activity"].isna().all():
        yield "phenotypic activity: not known, for it takes two wells of a compound and latents of controls"


def _describe_doses(doses: pd.DataFrame) -> Iterator[str]:
    for row in doses.to_dict("records"):
        if np.isnan(row["EC50"]):
            yield f"{row['compound']}: no curve ({row['note']})"
            continue
        note = f"; {row['note']}" if row["note"] else ""
        yield (
            f"{row['compound']}: EC50 {row['EC50']:.3g} ({row['EC50 low']:.3g} to {row['EC50 high']:.3g}), "
            f"top {row['top']:.2f} of the way to healthy{note}"
        )
