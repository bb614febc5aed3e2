"""A screen as one page that opens anywhere, without a network: plates, controls, hits, warnings, methods."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import Any

import numpy as np
import pandas as pd

from napari_why.core.record import Record
from napari_why.core.targets import MARK
from napari_why.images.wells import spell_well, well_place
from napari_why.screening.analysis import ScreenAnalysis
from napari_why.screening.explained import ShownField
from napari_why.screening.hits import has_texture_tests, is_hit
from napari_why.screening.options import ScreenOptions
from napari_why.screening.tables import (
    B_SCORE,
    COMPOUND,
    DOSE,
    FLAGGED,
    ON_THE_WAY,
    PLATE,
    ROLE,
    SAMPLE,
    WELL,
    log_odds_column,
)

# Pixels of a well in a map: a plate of 24 columns is as wide as half a page.
CELL = 18
# Red to blue through white, the ends of ColorBrewer's RdBu, which the colour-blind tell apart.
LOW, MIDDLE, HIGH = (178, 24, 43), (247, 247, 247), (33, 102, 172)
UNKNOWN = "#bbbbbb"
# B scores beyond three deviations are as rare as one in 400; all of them look alike.
LARGEST_B = 3.0
# Compounds in the table of hits with all columns, and those of the others.
MOST_ROWS = 100
SHORT = ("compound", "dose", "on-target", "off-target", "finding")
NULL_OF_SAMPLES = (
    "Of 100 and more compounds chance was that of the control wells or of the samples, whichever is wider "
    "(empirical null, Efron 2004). "
)
CONTROLS, PICTURES = "controls", "pictures"  # places of the page that are gone to
COLUMNS = (
    *("compound", "dose", "wells", "on-target", "on-target low", "on-target high"),
    *("on-target p corrected", "off-target", "off-target low", "off-target high"),
    *(
        "off-target p corrected",
        "largest change",
        "largest change size",
        "other change",
        "change left",
        "activity",
        "activity p corrected",
        "unlike",
        "finding",
    ),
)
STYLE = """
body{font:15px/1.45 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-size:13px}
td,th{padding:.2rem .5rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}
.warning{background:#fff4d6;border-left:4px solid #d9a400;padding:.4rem .8rem;margin:.3rem 0}
.maps{display:flex;flex-wrap:wrap;gap:1.5rem}figure{margin:0}figcaption{font-size:13px}
rect{stroke:#ddd;stroke-width:1}rect.control{stroke:#222}
.others{max-height:30rem;overflow:auto}img{max-width:100%;display:block}
tr:target{background:#e5f0fb}
"""


def make_report(
    analysis: ScreenAnalysis,
    options: ScreenOptions,
    record: Record,
    sentences: Sequence[str],
    shown: Sequence[ShownField] = (),
) -> str:
    """Return a screen as a page of HTML with everything in it.

    Parameters
    ----------
    analysis : ScreenAnalysis
    options : ScreenOptions
    record : Record
    sentences : sequence of str
        What there is to say of the whole; those of :attr:`ScreenAnalysis.warnings` are marked.
    shown : sequence of ShownField
        Fields of hits, with pictures.

    Returns
    -------
    str
    """
    warnings = set(analysis.warnings)
    parts = [
        f"<h1>Screen for {_text(options.healthy)}</h1>",
        *(
            f'<p class="warning">{_text(one)}</p>' if one in warnings else f"<p>{_text(one)}</p>"
            for one in sentences
        ),
        "<h2>Plates</h2>",
        *_draw_plates(analysis.wells, options, analysis.shape),
        f'<h2 id="{CONTROLS}">Controls</h2>',
        _make_table(analysis.controls, list(analysis.controls.columns)),
        "<h2>What position explains</h2>",
        _make_table(analysis.positions, list(analysis.positions.columns)),
        "<h2>Compounds</h2>",
        _describe_hits(analysis.hits),
        *([f'<h2 id="{PICTURES}">Hits in pictures</h2>', *_show_fields(shown)] if shown else []),
        *(
            ["<h2>Doses</h2>", _make_table(analysis.doses, list(analysis.doses.columns))]
            if len(analysis.doses)
            else []
        ),
        "<h2>Methods</h2>",
        *(
            f"<p>{_text(one)}</p>"
            for one in describe_methods(options, record, has_texture_tests(analysis.hits))
        ),
    ]
    head = (
        f'<meta charset="utf-8"><meta name="generator" content="{MARK}">'
        f"<title>Screen for {_text(options.healthy)}</title><style>{STYLE}</style>"
    )
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def describe_methods(
    options: ScreenOptions, record: Record, textures_alone: bool = True
) -> list[str]:
    """Return how it was done, in sentences to cite.

    Parameters
    ----------
    options : ScreenOptions
    record : Record
        Of the screen.
    textures_alone : bool
        Whether textures were tested one by one.

    Returns
    -------
    list of str
    """
    texture = (
        "and the one texture that lies furthest beyond both controls (t test, Bonferroni)"
        if textures_alone
        else "no texture was tested alone"
    )
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    explained = options.explaining
    said = [
        f"Every field was classified by the classifier {record.classifier[:12]}; the score is the log-odds of "
        f"{options.healthy}. Wells are means of their fields. Negative controls: "
        f"{', '.join(options.negatives) or 'none'}; positive controls: {', '.join(options.positives) or 'none'}.",
        "Controls: Z' (Zhang et al. 1999), SSMD (Zhang 2007) and both by medians and median absolute "
        f"deviations, with 95 % percentile bootstrap intervals over wells ({options.draws} draws, seed "
        f"{options.seed}). B scores after Brideau et al. 2003, with rows and columns from the samples.",
        "On-target: mean place of a compound's wells between the negative (0) and positive (1) controls of "
        "their plates, one-sided t test by the deviation of negative control wells. Off-target: distance of "
        "the mean latents and textures from the line through both controls, in the space in which the "
        "controls' covariance (Ledoit & Wolf 2004) is round, against left-out control wells; "
        f"{texture}. Activity: mean average precision with a permutation p (Kalinin et al. 2025), of choices "
        "with as many wells on a plate as the compound has, centred again on the controls that are left. "
        + (NULL_OF_SAMPLES if options.most_inactive else "Chance was that of the control wells. ")
        + "p values were corrected after Benjamini & Hochberg (1995), on-target ones apart for compounds with "
        f"and without other change; findings hold at {options.false_discovery_rate:.0%}.",
    ]
    if explained.attribution or explained.counterfactual:
        asked = [
            f"{kind} by {name}"
            for kind, name in (
                ("attribution", explained.attribution),
                ("counterfactual", explained.counterfactual),
            )
            if name
        ]
        said.append(f"Every field was explained: {', '.join(asked)}.")
    return [*said, f"Made {record.created} with {versions}; plan {record.details['plan'][:12]}."]


def _draw_plates(
    wells: pd.DataFrame, options: ScreenOptions, shape: tuple[int, int]
) -> Iterable[str]:
    odds = log_odds_column(options.healthy)
    # of all plates one scale each, so that plates can be compared
    maps = (
        (
            ON_THE_WAY,
            f"way to {options.healthy}: red as negative controls (0), blue as positive ones (1)",
            0.0,
            1.0,
        ),
        (
            f"{B_SCORE}{odds}",
            f"B score of the log-odds: red {-LARGEST_B:g} and less, blue {LARGEST_B:g} and more",
            -LARGEST_B,
            LARGEST_B,
        ),
        # white where nothing is wrong
        (
            FLAGGED,
            "share of fields that are empty, out of focus or saturated: white none, red all",
            1.0,
            -1.0,
        ),
    )
    for plate, part in wells.groupby(PLATE, sort=False):
        drawn = [
            f"<figure>{_draw_plate(part, column, low, high, shape)}<figcaption>{_text(words)}</figcaption></figure>"
            for column, words, low, high in maps
            if column in part
        ]
        yield f'<h3>{_text(str(plate))}</h3><div class="maps">{"".join(drawn)}</div>'


def _draw_plate(
    part: pd.DataFrame, column: str, low: float, high: float, shape: tuple[int, int]
) -> str:
    rows, columns = shape
    labels = [
        f'<text x="{CELL / 2}" y="{(row + 1.75) * CELL}" font-size="9" text-anchor="middle">'
        f"{(spell_well(row + 1, 1) or '')[:-2]}</text>"
        for row in range(rows)
    ] + [
        f'<text x="{(place + 1.5) * CELL}" y="{CELL * 0.75}" font-size="9" text-anchor="middle">{place + 1}</text>'
        for place in range(columns)
    ]
    cells = [_draw_well(row, column, low, high) for row in part.to_dict("records")]
    width, height = (columns + 1) * CELL, (rows + 1) * CELL
    return (
        f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">'
        f"{''.join(labels)}{''.join(cells)}</svg>"
    )


def _draw_well(row: dict[Any, Any], column: str, low: float, high: float) -> str:
    across, down = (CELL * (place + 1) for place in reversed(well_place(row[WELL])))
    value = row[column]
    control = "" if row[ROLE] == SAMPLE else ' class="control"'
    title = f"{row[WELL]} {row[COMPOUND]}: {value:.2f}"
    cell = (
        f'<rect{control} x="{across}" y="{down}" width="{CELL}" height="{CELL}" '
        f'fill="{colour_of(value, low, high)}"><title>{_text(title)}</title></rect>'
    )
    place = CONTROLS if control else _anchor(row[COMPOUND], row.get(DOSE))
    return f'<a href="#{place}">{cell}</a>'


def colour_of(value: float, low: float, high: float) -> str:
    """Return the colour of a value: red at ``low``, white in the middle, blue at ``high``, grey of NaN.

    Parameters
    ----------
    value : float
    low, high : float
        Ends of the scale; beyond them the colour stays.

    Returns
    -------
    str
        ``#rrggbb``.

    Examples
    --------
    >>> colour_of(0.5, 0, 1), colour_of(2, 0, 1), colour_of(float("nan"), 0, 1)
    ('#f7f7f7', '#2166ac', '#bbbbbb')
    """
    if np.isnan(value):
        return UNKNOWN
    place = float(np.clip((value - low) / (high - low), 0, 1))
    first, second = (LOW, MIDDLE) if place < 0.5 else (MIDDLE, HIGH)
    share = 2 * place - (place >= 0.5)
    mixed = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return "#" + "".join(f"{one:02x}" for one in mixed)


def _describe_hits(hits: pd.DataFrame) -> str:
    if hits.empty:
        return "<p>There is no compound.</p>"
    # hits first, whatever else there is to say of the others
    ordered = hits.loc[(~is_hit(hits)).sort_values(kind="stable").index]
    table = _make_table(ordered.head(MOST_ROWS), _known(COLUMNS, hits), anchors=True)
    if len(hits) <= MOST_ROWS:
        return table
    # every well leads to its compound: of the others a line each, in a box of its own
    others = _make_table(ordered.iloc[MOST_ROWS:], _known(SHORT, hits), anchors=True)
    more = f"{len(hits) - MOST_ROWS} further compounds and doses; all columns are in hits.csv."
    return f'{table}<p>{more}</p><div class="others">{others}</div>'


def _known(columns: Sequence[str], table: pd.DataFrame) -> list[str]:
    return [name for name in columns if name in table]


def _make_table(table: pd.DataFrame, columns: Sequence[str], *, anchors: bool = False) -> str:
    head = "".join(f"<th>{_text(str(name))}</th>" for name in columns)
    rows = []
    for row in table.to_dict("records"):
        anchor = f' id="{_anchor(row["compound"], row.get("dose"))}"' if anchors else ""
        cells = "".join(f"<td>{_text(_number(row[column]))}</td>" for column in columns)
        rows.append(f"<tr{anchor}>{cells}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _show_fields(shown: Sequence[ShownField]) -> Iterable[str]:
    for place, fields in groupby(shown, key=lambda one: _anchor(one.compound, one.dose)):
        several = list(fields)
        dose = "" if np.isnan(several[0].dose) else f", dose {several[0].dose:g}"
        yield f'<h3><a href="#{place}">{_text(several[0].compound)}{dose}</a></h3>'
        yield f'<div class="maps">{"".join(map(_show_field, several))}</div>'


def _show_field(field: ShownField) -> str:
    pictures = "".join(
        f'<img alt="{_text(field.title)}" src="data:image/png;base64,{b64encode(one).decode()}">'
        for one in field.pictures
    )
    words = "".join(f"<br>{_text(one)}" for one in field.words)
    return f"<figure>{pictures}<figcaption>{_text(field.title)}{words}</figcaption></figure>"


def _number(value: Any) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}"
    return str(value)


def _anchor(name: Any, dose: Any = None) -> str:
    # any name, in letters that an anchor may have; of each dose its own
    step = "" if dose is None or np.isnan(dose) else f"-{float(dose).hex()}"
    return f"c{str(name).encode('utf-8', 'surrogateescape').hex()}{step}"


def _text(value: str) -> str:
    return escape(value, quote=True)
