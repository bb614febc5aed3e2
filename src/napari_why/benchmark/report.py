"""Results as tables and figures: mean and spread over seeds."""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from napari_why.benchmark.rows import METHODS
from napari_why.benchmark.scores import BASELINES, FIGURES
from napari_why.core.targets import MARK
from napari_why.core.whole_files import write_table, write_whole
from napari_why.simulation import EFFECTS

KEYS = ["effect", "direction", "method"]
# The figures that are drawn, with their scales: a little beyond what a useful method reaches, so that
# figures of one run can be laid over those of another.
SCALES = {
    "validity": (-0.05, 1.05),
    "agreement": (-0.05, 1.05),
    "correlation": (-0.55, 1.05),
    "relative_error": (-0.05, 1.55),
    "off_target": (-0.05, 1.55),
    "feature_distance": (-0.05, 1.55),
    "energy_score": (-0.05, 2.05),
    "mask_area": (-0.25, 1.05),
    "change_size": (-0.05, 1.05),
}
DRAWN = tuple(SCALES)
# Which figures are compared with those of the baselines, and whether more of them (1) is better or less
# (-1). Not validity: a network is easily flipped by changes that no other network believes.
GAINED = {"agreement": 1, "correlation": 1, "relative_error": -1, "feature_distance": -1}
GAINS = tuple(f"{name} gain" for name in GAINED)
"""The columns of :func:`add_gains`."""
# The columns of the table in Markdown: those by which methods are told apart.
IN_MARKDOWN = ("validity", "agreement", "agreement_of_flipped", *DRAWN[2:-1], "coverage", *GAINS)
SENTENCES = ("refused", "notes")
MARKERS = ("o", "s", "^", "v")


def add_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table of results with what each row gains over the better of the baselines.

    The baselines are one factor per channel and one curve of grey levels. Better is judged for each
    figure, effect, seed and direction by itself, so that a row has to beat both.

    Parameters
    ----------
    table : DataFrame
        As :func:`~.run.run_truth_benchmark` returns it.

    Returns
    -------
    DataFrame
        With a column ``FIGURE gain`` for agreement, correlation, relative error and feature distance:
        above 0 where the row is better than both, whichever way the figure runs; missing where
        not both baselines were measured.
    """
    made = table.copy()
    keys = ["effect", "seed", "direction"]
    baselines = table[table["method"].isin(BASELINES)]
    for name, sign in GAINED.items():
        if name in table:
            compared = (sign * baselines[name].astype(float)).groupby(
                [baselines[key] for key in keys]
            )
            best = compared.max().where(compared.count() == len(BASELINES)).rename("best")
            joined = table[keys].join(best, on=keys)["best"].astype(float)
            made[f"{name} gain"] = sign * table[name].astype(float) - joined
    return made


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return mean and spread over seeds.

    Parameters
    ----------
    table : DataFrame
        As :func:`~.run.run_truth_benchmark` returns it.

    Returns
    -------
    DataFrame
        ``effect``, ``direction``, ``method``, ``seeds`` (how many), then each figure and ``FIGURE
        spread``: the standard deviation over seeds (n - 1), missing for one seed; and what was
        said: ``refused`` and ``notes``. The figures are followed by what they gain: see
        :func:`add_gains`.
    """
    table = add_gains(table)
    figures = [name for name in (*FIGURES, *GAINS) if name in table]
    grouped = table.groupby(KEYS, sort=False)
    parts: dict[str, Any] = {"seeds": grouped["seed"].nunique()}
    for name in figures:
        values = grouped[name]
        parts[name] = values.mean()
        parts[f"{name} spread"] = values.std(ddof=1)
    for name in SENTENCES:
        if name in table:
            parts[name] = grouped[name].agg(_different)
    made = pd.DataFrame(parts).reset_index()
    # one direction after the other, so that the rows to compare stand together
    effects = (*EFFECTS, *dict.fromkeys(table["effect"]))
    names = dict.fromkeys((*effects, *sorted(set(table["direction"])), *METHODS))
    order = {name: place for place, name in enumerate(names)}
    return made.sort_values(
        KEYS, key=lambda column: column.map(lambda name: order.get(name, len(order))), kind="stable"
    ).reset_index(drop=True)


def as_text(table: pd.DataFrame) -> str:
    """Return the summary as tab-separated lines: effect, direction, method, figures, gains."""
    made = summary(table)
    figures = [name for name in (*FIGURES, *GAINS) if name in made]
    lines = ["\t".join((*KEYS, "seeds", *figures))]
    for row in made.to_dict("records"):
        cells = [_cell(row[name], row.get(f"{name} spread", math.nan)) for name in figures]
        cells += [f"{name}: {row[name]}" for name in SENTENCES if row.get(name)]
        lines.append("\t".join([*(str(row[key]) for key in KEYS), str(row["seeds"]), *cells]))
    return "\n".join(lines)


def as_markdown(table: pd.DataFrame) -> str:
    """Return the summary as a table in Markdown: the figures by which methods are told apart, and the gains."""
    made = summary(table)
    figures = [name for name in IN_MARKDOWN if name in made]
    head = [*KEYS, "seeds", *(name.replace("_", " ") for name in figures)]
    lines = [head, ["---"] * len(head)]
    for row in made.to_dict("records"):
        cells = [_cell(row[name], row.get(f"{name} spread", math.nan)) for name in figures]
        lines.append([str(row[key]).replace("_", " ") for key in (*KEYS, "seeds")] + cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_report(table: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Write ``results.parquet``, ``results.csv``, ``summary.csv``, ``summary.md`` and two figures.

    Parameters
    ----------
    table : DataFrame
        One row a result, as :meth:`~napari_why.benchmark.results.ResultFolder.table` returns it.
    folder : str or Path
        Made where there is none.

    Returns
    -------
    list of Path
        What was written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = ("results.parquet", "results.csv", "summary.csv", "summary.md")
    places = [folder / name for name in names]
    for place, content in zip(places, (table, add_gains(table), summary(table)), strict=False):
        write_table(content, place)
    write_whole(places[3], f"{as_markdown(table)}\n".encode())
    for name, figure in (
        ("figures.png", draw_figures(table)),
        ("mask_curves.png", draw_mask_curves(table)),
    ):
        buffer = BytesIO()
        figure.savefig(buffer, format="png", dpi=110, metadata={"Software": MARK})
        write_whole(folder / name, buffer.getvalue())
        places.append(folder / name)
    return places


def draw_figures(table: pd.DataFrame) -> Figure:
    """Draw each figure (column) of each effect (row): a mark per direction, a bar for the spread.

    A column has one scale in all rows; what lies beyond it is drawn at its edge.
    """
    made = summary(table)
    effects = list(dict.fromkeys(made["effect"]))
    methods = list(dict.fromkeys(made["method"]))
    drawn = [name for name in DRAWN if name in made and made[name].notna().any()]
    picture = Figure(
        figsize=(1.6 + 2.0 * len(drawn), 1 + len(effects) * (0.6 + 0.22 * len(methods))),
        layout="constrained",
    )
    grid = picture.subplots(
        len(effects), max(1, len(drawn)), squeeze=False, sharey=True, sharex="col"
    )
    for effect, panels in zip(effects, grid, strict=True):
        of_effect = made[made["effect"] == effect]
        for name, axes in zip(drawn, panels, strict=False):
            _draw_marks(axes, of_effect, name, methods)
            axes.set_title(name.replace("_", " "), fontsize=8)
            axes.grid(axis="x", linewidth=0.4)
            axes.tick_params(labelsize=7)
            axes.set_xlim(*SCALES[name])
        panels[0].set_ylabel(effect.replace("_", " "), fontsize=8)
    grid[0][0].set_yticks(range(len(methods)), methods)
    grid[0][0].invert_yaxis()
    handles, labels = grid[0][0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside upper right", ncols=2, fontsize=7)
    return picture


def _draw_marks(axes: Axes, rows: pd.DataFrame, name: str, methods: Sequence[str]) -> None:
    low, high = SCALES[name]
    for turn, (direction, marked) in enumerate(rows.groupby("direction", sort=True)):
        axes.errorbar(
            marked[name].clip(low, high),
            [methods.index(method) + 0.15 * (turn - 0.5) for method in marked["method"]],
            xerr=marked[f"{name} spread"].fillna(0),
            fmt=MARKERS[turn % len(MARKERS)],
            markersize=4,
            linewidth=1,
            label=direction,
        )


def draw_mask_curves(table: pd.DataFrame) -> Figure:
    """Draw what p(target) gains against how much of the counterfactual is pasted."""
    effects = list(dict.fromkeys(table["effect"]))
    directions = sorted(dict.fromkeys(table["direction"]))
    picture = Figure(
        figsize=(3.4 * len(directions) + 1.5, 0.6 + 2.4 * len(effects)), layout="constrained"
    )
    grid = picture.subplots(len(effects), len(directions), squeeze=False, sharex=True, sharey=True)
    for effect, panels in zip(effects, grid, strict=True):
        for direction, axes in zip(directions, panels, strict=True):
            rows = table[(table["effect"] == effect) & (table["direction"] == direction)]
            for method, seeds in rows.dropna(subset=["mask_area"]).groupby("method", sort=False):
                gains = np.mean(np.array(seeds["mask_gains"].tolist()), axis=0)
                axes.plot(seeds["mask_sizes"].iloc[0], gains, label=method, linewidth=1)
            axes.set_title(f"{effect.replace('_', ' ')}, {direction}", fontsize=8)
            axes.tick_params(labelsize=7)
    grid[-1][0].set_xlabel("share of the pixels pasted", fontsize=8)
    grid[0][0].set_ylabel("gain of p(target)", fontsize=8)
    grid[0][-1].legend(fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return picture


def _different(sentences: pd.Series) -> str:
    """Join what was said, each sentence once."""
    return "; ".join(dict.fromkeys(text for text in sentences if isinstance(text, str) and text))


def _cell(mean: float, spread: float) -> str:
    if math.isnan(mean):
        return "–"
    return f"{mean:.3f}" if math.isnan(spread) else f"{mean:.3f} ± {spread:.3f}"
