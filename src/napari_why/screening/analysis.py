"""What a screen found: how good its controls and plates are, which compounds do what, at which dose."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.measurement.statistics import correct_p
from napari_why.screening.hits import (
    BACKWARD,
    describe_hits,
    find_controls,
    has_texture_tests,
    judge_compounds,
)
from napari_why.screening.layout import Alignment, find_alignment, warn_of_layout
from napari_why.screening.options import ScreenOptions
from napari_why.screening.statistics import (
    DoseResponse,
    explain_by_position,
    fit_dose_response,
    lie_at_edge,
    normalise_plates,
    place_between_controls,
    plate_centres,
    plate_shape,
    score_residuals,
    separate,
    separate_plates,
)
from napari_why.screening.tables import (
    B_SCORE,
    COMPOUND,
    DOSE,
    EDGE,
    FAILED,
    FLAGGED,
    LOG_ODDS,
    NEGATIVE,
    ON_THE_WAY,
    PLATE,
    ROBUST_Z,
    ROLE,
    SAMPLE,
    WELL,
    log_odds_column,
    names_of,
    order_columns,
    texture_columns,
)
from napari_why.training.metrics import probability_columns

Numbers = NDArray[np.int64]

# Below this many control wells on a plate its centre is uncertain by half a deviation and more.
FEW_CONTROLS = 4
# With as many on each of two plates nearly all was found of what the half of it missed most of, in simulated
# screens (benchmarks/screen_rates.py).
ENOUGH_CONTROLS = 16
# From half on, the place on the plate explains more than all else does.
MOSTLY_PLACE = 0.5
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
    shape : (int, int)
        Rows and columns of the plates.
    warnings : tuple of str
        Those that tell what to keep in mind.
    """

    wells: pd.DataFrame
    controls: pd.DataFrame
    positions: pd.DataFrame
    hits: pd.DataFrame
    doses: pd.DataFrame
    sentences: tuple[str, ...]
    shape: tuple[int, int]
    warnings: tuple[str, ...] = ()


def analyse_screen(
    wells: pd.DataFrame, options: ScreenOptions, shape: tuple[int, int] | None = None
) -> ScreenAnalysis:
    """Compare compounds with the controls of their plates.

    Parameters
    ----------
    wells : DataFrame
        As :func:`~napari_why.screening.tables.gather_wells` makes it.
    options : ScreenOptions
    shape : (int, int), optional
        Rows and columns of the plates; by default of the smallest that has all wells.

    Returns
    -------
    ScreenAnalysis
    """
    score = log_odds_column(options.healthy)
    if score not in wells:  # not one field could be read
        wells = wells.assign(**{score: np.nan, FLAGGED: np.nan})
    aligned = find_alignment(wells, options)
    shape = shape or plate_shape(list(wells[WELL]))
    wells = _place_wells(wells, score, shape, aligned)
    positions = _describe_positions(wells, score, options)
    controls = _separate_controls(wells, options, score)
    backward = _leads_backward(wells, score)
    judged = judge_compounds(wells, options, backward=backward)
    hits = judged.hits
    # a way that leads from healthy cells has no dose of half the effect
    doses = _fit_doses(wells, hits.iloc[:0] if backward else hits)
    warnings = (
        *_warn_of_way(controls, score, options, backward=backward),
        *_warn(wells, positions, aligned),
        *_warn_of_textures(wells, hits),
    )
    said = [
        *warnings,
        *_describe_controls(controls, score),
        *describe_hits(judged, options),
        *_describe_doses(doses),
    ]
    return ScreenAnalysis(wells, controls, positions, hits, doses, tuple(said), shape, warnings)


def _place_wells(
    wells: pd.DataFrame, score: str, shape: tuple[int, int], aligned: Mapping[str, Alignment]
) -> pd.DataFrame:
    values = wells[score].to_numpy(float)
    plates, names = list(wells[PLATE]), list(wells[WELL])
    negative, positive = find_controls(wells)
    # controls often fill rows or columns of their own, which their effect would be taken out with
    fitted = ~(negative | positive)
    added: dict[str, Any] = {
        EDGE: lie_at_edge(names, shape),
        ON_THE_WAY: place_between_controls(values, plates, negative, positive),
        f"{ROBUST_Z}{score}": normalise_plates(values, plates, negative),
        f"{B_SCORE}{score}": score_residuals(
            values,
            plates,
            names,
            fitted if fitted.any() else None,
            {plate: found.free for plate, found in aligned.items()},
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
    parts += [(ALL, wells)] if len(parts) > 1 else []
    for plate, part in parts:
        for column in (probability, score):
            if column not in part:
                continue
            values = part[column].to_numpy(float)
            known = [mask & ~np.isnan(values) for mask in find_controls(part)]
            negative, positive = (values[mask] for mask in known)
            if not (len(negative) and len(positive)):
                continue
            chance = {"draws": options.draws, "seed": options.seed}
            if plate == ALL:
                first, second = (list(part[PLATE][mask]) for mask in known)
                found = separate_plates(negative, positive, (first, second), **chance)
            else:
                found = separate(negative, positive, **chance)
            rows += [
                {
                    "plate": plate,
                    "score": column,
                    "measure": item.measure,
                    "value": item.value,
                    "low": item.low,
                    "high": item.high,
                    "negative wells": len(negative),
                    "positive wells": len(positive),
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
    negative, positive = find_controls(wells)
    centred = values - plate_centres(values[:, None], list(wells[PLATE]), negative)[:, 0]
    shown = centred[positive & ~np.isnan(centred)]
    return bool(len(shown) and shown.mean() < 0)


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


def _warn(
    wells: pd.DataFrame, positions: pd.DataFrame, aligned: Mapping[str, Alignment]
) -> Iterator[str]:
    negative, positive = find_controls(wells)
    failed = int(wells[FAILED].sum())
    if failed:
        yield f"{failed} fields could not be read or judged; the reasons stand in their rows"
    for name, mask in (("negative", negative), ("positive", positive)):
        counts = wells[mask].groupby(PLATE).size().reindex(wells[PLATE].unique(), fill_value=0)
        if not mask.any():
            yield f"there is no {name} control: nothing can be said of the way to healthy"
        elif (counts < FEW_CONTROLS).any():
            plate = counts.idxmin()
            yield (
                f"few controls: {counts.min()} {name} wells on plate {plate}; what they tell is rough; "
                f"expected {FEW_CONTROLS} and more of either kind, better {ENOUGH_CONTROLS}"
            )
    yield from _warn_of_columns(wells, negative, positive)
    yield from warn_of_layout(wells, aligned)
    for row in positions.to_dict("records"):
        share = row["explained by row and column"]
        confounded = not all(
            aligned[row["plate"]].free
        )  # then it may be the dose that explains so much
        if row["p corrected"] <= 0.05 and share > MOSTLY_PLACE and not confounded:
            yield (
                f"plate {row['plate']}: rows and columns explain {share:.0%} of the samples' log-odds "
                f"({row['explained by chance']:.0%} by chance); trust B scores more"
            )
    yield from _warn_of_drift(wells, negative)


def _warn_of_textures(wells: pd.DataFrame, hits: pd.DataFrame) -> Iterator[str]:
    if len(hits) and texture_columns(wells) and not has_texture_tests(hits):
        yield (
            "no texture was tested alone: expected 4 and more negative controls, and 3 and more wells of either "
            "kind of controls beyond one a plate; other change of one texture may go unseen"
        )


def _warn_of_columns(
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
