"""The benchmark of attribution as tables: means, ranks with their disagreement, and what beats the image."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from napari_why.benchmark.attribution import FIGURES, RANKED_BY, RIVAL_MASS
from napari_why.benchmark.attribution_data import INTENSITY, MAP_EFFECTS, is_do_nothing
from napari_why.core.whole_files import write_table, write_whole
from napari_why.evaluation import METRICS

KEYS = ["effect", "network", "method"]
# What maps are compared with the image's intensity by: the mass asks that nothing be shown elsewhere, the rank
# only that more be shown in the right place, which bright structures often have of themselves.
MAIN, SECOND = "relevance_mass", "relevance_rank"
BY_MASS, BY_RANK = "against intensity", "against intensity by rank"
# Below this a network does not know the effect from nothing in one image of five, and where it looks
# is no measure of a method.
KNOWS = 0.8
# With five pairs or fewer even all on one side come by chance more than once in twenty (2 / 2**5).
FEWEST_PAIRS = 6
# Enough that the limits move by less than what is printed.
RESAMPLES = 2000
PERCENTILES = (2.5, 97.5)


def kendall_w(values: NDArray[np.float64]) -> float:
    """Return how far raters agree on the order of items: 1 all the same order, about 1 / raters by chance.

    Kendall's coefficient of concordance with the correction for ties (Kendall & Babington Smith
    1939): W = 12 S / (m^2 (n^3 - n) - m T), S the squared deviations of the rank sums from their
    mean, T the sum of t^3 - t over each rater's groups of t ties.

    Parameters
    ----------
    values : ndarray, shape (raters, items)

    Returns
    -------
    float
        NaN with fewer than two raters or items, or where no rater tells any two items apart.

    Examples
    --------
    >>> kendall_w(np.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]]))
    1.0
    >>> kendall_w(np.array([[1.0, 2.0, 3.0], [3.0, 2.0, 1.0]]))
    0.0
    """
    raters, items = values.shape
    if raters < 2 or items < 2:
        return math.nan
    ranks = rankdata(values, axis=1)
    sums = ranks.sum(axis=0)
    spread = float(((sums - sums.mean()) ** 2).sum())
    ties = sum(
        int((counts**3 - counts).sum())
        for counts in (np.unique(row, return_counts=True)[1].astype(np.int64) for row in ranks)
    )
    most = raters**2 * (items**3 - items) - raters * ties
    return 12 * spread / most if most else math.nan


def compare_paired(
    ours: Sequence[Sequence[float | None]], others: Sequence[Sequence[float | None]]
) -> dict[str, Any]:
    """Compare two rows on the same images, seed by seed.

    Parameters
    ----------
    ours, others : sequence over seeds of values by image
        In the same order; the longer of two is cut to the shorter, pairs with a missing value go.

    Returns
    -------
    dict
        ``difference``: mean; ``low``, ``high``: 95 % limits, images resampled within each seed (NaN
        with fewer than six pairs); ``better``: how many pairs are above 0, of ``pairs``; ``seeds`` whose mean
        is above 0, of ``of_seeds``; ``beats``: True where the lower limit and every seed's mean are above
        0, None with fewer than six pairs.
    """
    by_seed = []
    for mine, theirs in zip(ours, others, strict=True):
        pairs = np.array(list(zip(mine, theirs, strict=False)), dtype=float).reshape(-1, 2)
        differences = pairs[:, 0] - pairs[:, 1]
        by_seed.append(differences[np.isfinite(differences)])
    by_seed = [values for values in by_seed if len(values)]
    pooled = np.concatenate(by_seed) if by_seed else np.empty(0)
    made: dict[str, Any] = {
        "difference": float(pooled.mean()) if len(pooled) else math.nan,
        "low": math.nan,
        "high": math.nan,
        "better": int((pooled > 0).sum()),
        "pairs": len(pooled),
        "seeds": sum(bool(values.mean() > 0) for values in by_seed),
        "of_seeds": len(by_seed),
        "beats": None,
    }
    if len(pooled) >= FEWEST_PAIRS:
        rng = np.random.default_rng(0)
        drawn = [
            values[rng.integers(len(values), size=(RESAMPLES, len(values)))] for values in by_seed
        ]
        means = np.concatenate(drawn, axis=1).mean(axis=1)
        made["low"], made["high"] = (float(limit) for limit in np.percentile(means, PERCENTILES))
        made["beats"] = made["low"] > 0 and made["seeds"] == made["of_seeds"]
    return made


def say_compared(found: Mapping[str, Any]) -> str:
    """Return a comparison with the image's intensity in words."""
    if not found["pairs"]:
        return "not compared: no map of the same images"
    shown = f"{found['difference']:+.2f}"
    if found["beats"] is None:
        return f"too few images to tell ({shown} on {found['pairs']})"
    verdict = "beats the image's intensity" if found["beats"] else "does not beat it"
    return (
        f"{verdict}: {shown} ({found['low']:+.2f} to {found['high']:+.2f}), on {found['better']} of "
        f"{found['pairs']} images, in {found['seeds']} of {found['of_seeds']} seeds"
    )


def add_model_contrast(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with what a map owes to the network: the BAM check.

    ``model_contrast`` is the relevance mass on an effect of the network that was trained on it, less the
    mass there of the network that was trained on the other effect of the pair: the same method, scenes,
    seed and kind of network. 0 for a map that does not care which of the two it explains. Missing where
    only one of them was measured.
    """
    by_name = {effect: MAP_EFFECTS[effect].rival for effect in set(table["effect"])}
    keys = ["seed", "network", "method"]
    other = table.get(RIVAL_MASS)
    if other is None:
        return table.assign(model_contrast=math.nan)
    # the map of the other network, on what that one calls its rival: this effect
    known = table.assign(mass_there=other, effect=table["effect"].map(by_name))
    joined = table[["effect", *keys]].merge(
        known[["effect", *keys, "mass_there"]], on=["effect", *keys], how="left"
    )
    contrast = table[MAIN].astype(float).to_numpy() - joined["mass_there"].astype(float).to_numpy()
    return table.assign(model_contrast=contrast)


def summarise(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each effect, network and method.

    Parameters
    ----------
    table : DataFrame
        As :func:`~.attribution.run_attribution_benchmark` returns it.

    Returns
    -------
    DataFrame
        Means over seeds, ``METRIC spread`` (standard deviation over seeds, n - 1), ``chance`` of the relevance
        mass, ``accuracy``, ``images`` in all, ``passes`` a map, ``time ratio`` (seconds of a map over those of
        one image through the network), ``intensity`` (what :func:`compare_paired` found against the
        image's intensity, relevance mass), ``against intensity`` in words, and ``refused``.
    """
    table = add_model_contrast(table)
    rows = []
    for keys, group in table.groupby(KEYS, sort=False):
        effect, network, method = map(str, keys)
        made: dict[str, Any] = {"effect": effect, "network": network, "method": method}
        made["seeds"] = len(group)
        for name in FIGURES:
            if name in group:
                values = group[name].astype(float)
                made[name], made[f"{name} spread"] = values.mean(), values.std(ddof=1)
        made["accuracy"] = group["accuracy"].mean()
        for name in ("images", "passes"):
            if name in group:
                values = group[name].astype(float)
                made[name] = values.sum() if name == "images" else values.mean()
        if "seconds" in group:
            made["time ratio"] = (group["seconds"] / group["pass_seconds"]).astype(float).mean()
        made["chance"] = _mean_chance(group)
        made["refused"] = _different(group, "refused")
        made["notes"] = _different(group, "notes")
        if not is_do_nothing(method):
            plain = table[
                (table["effect"] == effect)
                & (table["network"] == network)
                & (table["method"] == INTENSITY)
            ]
            for name, column in ((MAIN, BY_MASS), (SECOND, BY_RANK)):
                found = compare_paired(*_values_of_seeds(group, plain, name))
                made[column.replace("against", "beats")] = found["beats"]
                made[column] = "" if made["refused"] else say_compared(found)
        rows.append(made)
    return pd.DataFrame(rows)


def _mean_chance(group: pd.DataFrame) -> float:
    found = [each.get(MAIN) for each in group.get("chance", ()) if isinstance(each, Mapping)]
    known = [value for value in found if value is not None]
    return float(np.mean(known)) if known else math.nan


def _different(group: pd.DataFrame, column: str) -> str:
    said = [text for text in group.get(column, ()) if isinstance(text, str) and text]
    return "; ".join(dict.fromkeys(said))


def _values_of_seeds(
    ours: pd.DataFrame, others: pd.DataFrame, metric: str
) -> tuple[list[list[float | None]], list[list[float | None]]]:
    """Return a metric's values by image of two rows, for the seeds that both have."""

    def by_seed(part: pd.DataFrame) -> dict[int, list[float | None]]:
        return {
            int(row["seed"]): list(row["each"][metric])
            for row in part.to_dict("records")
            if isinstance(row.get("each"), Mapping)
        }

    mine, theirs = by_seed(ours), by_seed(others)
    common = sorted(set(mine) & set(theirs))
    return [mine[seed] for seed in common], [theirs[seed] for seed in common]


def rank_methods(table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank the methods by every metric, and say how far metrics agree.

    Within each effect and network the methods that every one of these metrics is known of are ranked, 1
    the best, ties shared. Metrics of which not all are known (the sign, the contrast of networks) have
    no say.

    Parameters
    ----------
    table : DataFrame
        As :func:`~.attribution.run_attribution_benchmark` returns it.

    Returns
    -------
    ranks : DataFrame
        By ``method``: ``mean rank`` over effects, networks and metrics; ``best`` and ``worst``: the
        metric by which its mean rank is lowest and highest, as ``best rank``, ``best metric`` and so on;
        ``ranked in``: of how many effects and networks, as a method need not be defined for all.
    agreement : DataFrame
        By ``effect`` and ``network``: ``methods``, ``metrics`` and Kendall's W of the metrics.
    """
    made = summarise(table)
    methods = made[~made["method"].map(is_do_nothing)]
    by_metric: dict[str, list[pd.Series]] = {name: [] for name in RANKED_BY}
    agreement = []
    for (effect, network), group in methods.groupby(["effect", "network"], sort=False):
        known = [name for name in RANKED_BY if name in group and group[name].notna().any()]
        values = group.set_index("method")[known].dropna().astype(float)
        if len(values) < 2 or not known:
            continue
        signs = np.array([1 if METRICS[name].better == "higher" else -1 for name in known])
        for name, sign in zip(known, signs, strict=True):
            ranks = rankdata(-sign * values[name].to_numpy())
            by_metric[name].append(pd.Series(ranks, index=values.index))
        agreement.append(
            {
                "effect": effect,
                "network": network,
                "methods": len(values),
                "metrics": len(known),
                "W": kendall_w((values.to_numpy() * signs).T),
            }
        )
    means = pd.DataFrame(
        {
            name: pd.concat(found).groupby(level=0).mean()
            for name, found in by_metric.items()
            if found
        }
    )
    ranks = pd.DataFrame(
        {
            "ranked in": pd.concat(by_metric[MAIN]).groupby(level=0).size() if len(means) else None,
            "mean rank": means.mean(axis=1),
            "best rank": means.min(axis=1),
            "best metric": means.idxmin(axis=1) if len(means) else None,
            "worst rank": means.max(axis=1),
            "worst metric": means.idxmax(axis=1) if len(means) else None,
        }
    )
    ranks = ranks.sort_values("mean rank").rename_axis("method").reset_index()
    return ranks, pd.DataFrame(agreement, columns=["effect", "network", "methods", "metrics", "W"])


def as_markdown(table: pd.DataFrame) -> str:
    """Return networks, one table for each effect and network, and the ranks, in Markdown."""
    made = summarise(table)
    parts = [_networks(made)]
    for keys, group in made.groupby(["effect", "network"], sort=False):
        effect, network = map(str, keys)
        parts += [f"## {MAP_EFFECTS[effect].title} (`{effect}`), {network}", _remark(group)]
        parts.append(_rows(group))
    ranks, agreement = rank_methods(table)
    if len(ranks):
        parts += ["## Ranks", _ranks(ranks), _agreement(agreement)]
    return "\n\n".join(part for part in parts if part)


def as_text(table: pd.DataFrame) -> str:
    """Return the summary as tab-separated lines: effect, network, method, figures, words."""
    made = summarise(table)
    figures = [name for name in (*FIGURES, "passes", "time ratio") if name in made]
    lines = ["\t".join((*KEYS, "seeds", *figures))]
    for row in made.to_dict("records"):
        cells = [_cell(row[name], row.get(f"{name} spread", math.nan)) for name in figures]
        said = row["refused"] or _text(row.get(BY_MASS))
        lines.append("\t".join((*(str(row[key]) for key in (*KEYS, "seeds")), *cells, said)))
    return "\n".join(lines)


def write_attribution_report(table: pd.DataFrame, folder: str | Path) -> list[Path]:
    """Write ``attribution.csv`` (each seed), ``attribution-summary.csv`` and ``attribution.md``.

    Parameters
    ----------
    table : DataFrame
        One row a method, network, effect and seed.
    folder : str or Path
        Made where there is none.

    Returns
    -------
    list of Path
        What was written. The values of every image stand in the results, beside the maps.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    places = [folder / name for name in ("attribution.csv", "attribution-summary.csv")]
    nested = ["each", "chance"]
    write_table(add_model_contrast(table).drop(columns=nested, errors="ignore"), places[0])
    write_table(summarise(table), places[1])
    places.append(folder / "attribution.md")
    write_whole(places[2], f"{as_markdown(table)}\n".encode())
    return places


def _networks(made: pd.DataFrame) -> str:
    lines = []
    for keys, group in made.groupby(["effect", "network"], sort=False):
        effect, network = map(str, keys)
        lines.append([f"`{effect}`", network, _share(group["accuracy"].mean())])
    return _table(["effect", "network", "accuracy on held-out scenes"], lines)


def _share(value: float) -> str:
    return f"{value:.0%}" if value >= KNOWS else f"**{value:.0%}: no judge of maps**"


def _remark(group: pd.DataFrame) -> str:
    accuracy, chance = group["accuracy"].mean(), group["chance"].mean()
    said = [f"Relevance mass by chance, the share of the pixels that change: {chance:.3f}."]
    if accuracy < KNOWS:
        said.append(
            f"The network tells the effect in {accuracy:.0%} of held-out images only: a map that "
            "misses it may be true of this network."
        )
    return " ".join(said)


def _rows(group: pd.DataFrame) -> str:
    figures = [name for name in FIGURES if name in group and group[name].notna().any()]
    head = ["method", *(name.replace("_", " ") for name in figures), "images", "passes a map"]
    head += ["time, in passes", "against the image's intensity", "the same by rank"]
    plain = group[group["method"].map(is_do_nothing)].set_index("method")[MAIN]
    lines = []
    for row in group.sort_values(MAIN, ascending=False, na_position="last").to_dict("records"):
        cells = [_cell(row[name], row.get(f"{name} spread", math.nan)) for name in figures]
        costs = [_number(row.get(name), ".0f") for name in ("images", "passes", "time ratio")]
        said = row["refused"] or _text(row.get(BY_MASS))
        if is_do_nothing(row["method"]):
            said, costs[1:] = "asks no network", ["0", "–"]
        elif said and not row["refused"]:
            above = [str(name) for name, value in plain.items() if value >= row[MAIN]]
            said += f"; no more than: {', '.join(above)}" if above else ""
        shown = row["method"] if is_do_nothing(row["method"]) else f"`{row['method']}`"
        lines.append([shown, *cells, *costs, said, _text(row.get(BY_RANK))])
    return _table(head, lines)


def _ranks(ranks: pd.DataFrame) -> str:
    head = ["method", "mean rank", "best by", "worst by", "ranked in"]
    most = ranks["ranked in"].max()
    lines = [
        [
            f"`{row['method']}`",
            f"{row['mean rank']:.1f}",
            f"{row['best rank']:.1f} ({row['best metric'].replace('_', ' ')})",
            f"{row['worst rank']:.1f} ({row['worst metric'].replace('_', ' ')})",
            f"{row['ranked in']} of {most}",
        ]
        for row in ranks.to_dict("records")
    ]
    return _table(head, lines)


def _agreement(agreement: pd.DataFrame) -> str:
    head = ["agreement of the metrics", "network", "methods", "metrics", "Kendall's W"]
    lines = [
        [
            f"`{row['effect']}`",
            str(row["network"]),
            str(row["methods"]),
            str(row["metrics"]),
            f"{row['W']:.2f}",
        ]
        for row in agreement.to_dict("records")
    ]
    return _table(head, lines)


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    # a bar within a sentence would be read as the next column
    rows = [[cell.replace("|", "/").replace("\n", " ") for cell in line] for line in lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


def _cell(mean: float, spread: float) -> str:
    if math.isnan(mean):
        return "–"
    mean = round(mean, 2) + 0.0  # without the sign of -0.00
    return f"{mean:.2f}" if math.isnan(spread) else f"{mean:.2f} ± {spread:.2f}"


def _number(value: Any, form: str) -> str:
    return "–" if value is None or math.isnan(value) else format(value, form)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
