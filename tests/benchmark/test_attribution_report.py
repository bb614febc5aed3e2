"""What the benchmark of attribution says of its numbers."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import friedmanchisquare

from napari_why.benchmark import ResultFolder, write_attribution_report
from napari_why.benchmark.attribution import RANKED_BY
from napari_why.benchmark.attribution_data import INTENSITY, RANDOM
from napari_why.benchmark.attribution_report import (
    add_model_contrast,
    as_markdown,
    as_text,
    compare_paired,
    kendall_w,
    rank_methods,
    say_compared,
    summarise,
)

IMAGES = 4


def row(method: str, seed: int, mass: float, /, **figures: Any) -> dict[str, Any]:
    """Return a row as a run leaves it, with four images of which the second is a little better."""
    values = dict.fromkeys(RANKED_BY, mass) | {
        name: figures.pop(name) for name in RANKED_BY if name in figures
    }
    each = {name: [value, value + 0.02, value, value - 0.02] for name, value in values.items()}
    return {
        "effect": "tag.second",
        "network": "cam_net",
        "method": method,
        "seed": seed,
        "accuracy": 0.95,
        "pass_seconds": 0.01,
        "seconds": 0.02,
        "passes": 3.0,
        "images": IMAGES,
        "each": each,
        "chance": {"relevance_mass": 0.006},
        "notes": "",
        "refused": math.nan,
        **values,
        **figures,
    }


def table_of(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows)


TABLE = table_of(
    row(INTENSITY, 0, 0.10),
    row(INTENSITY, 1, 0.20),
    row(RANDOM, 0, 0.01),
    row(RANDOM, 1, 0.01),
    row("good", 0, 0.80, pixel_flipping=1.0, single_deletion=0.3),
    row("good", 1, 0.90, pixel_flipping=1.0, single_deletion=0.3),
    row("better in one seed", 0, 0.50, pixel_flipping=3.0, single_deletion=0.2),
    row("better in one seed", 1, 0.15, pixel_flipping=3.0, single_deletion=0.2),
    row("poor", 0, 0.05, pixel_flipping=2.0, single_deletion=0.1),
    row("poor", 1, 0.05, pixel_flipping=2.0, single_deletion=0.1),
)


def test_agreement_of_ranks_is_that_of_friedmans_test() -> None:
    values = np.random.default_rng(0).integers(0, 5, (6, 9)).astype(float)  # with many ties
    statistic = friedmanchisquare(*values.T).statistic
    assert kendall_w(values) == pytest.approx(statistic / (6 * 8))
    assert math.isnan(kendall_w(values[:1]))
    assert math.isnan(kendall_w(np.ones((3, 4))))


def test_pairs_of_one_size_have_limits_of_that_size() -> None:
    found = compare_paired([[0.5, 0.6, 0.7], [0.4, 0.4, 0.4]], [[0.4, 0.5, 0.6], [0.3, 0.3, 0.3]])
    for name in ("difference", "low", "high"):
        assert found[name] == pytest.approx(0.1)
    assert (found["better"], found["pairs"], found["seeds"], found["of_seeds"]) == (6, 6, 2, 2)
    assert found["beats"] is True


def test_images_are_drawn_again_within_their_seed() -> None:
    # between seeds lies all of the spread: within them there is none, so that the limits are the mean
    found = compare_paired([[0.9] * 5, [0.1] * 5], [[0.0] * 5, [0.0] * 5])
    assert found["low"] == found["high"] == pytest.approx(0.5)
    rng = np.random.default_rng(1)
    ours = rng.normal(0.1, 0.3, 400)
    wide = compare_paired([list(ours)], [[0.0] * 400])
    error = ours.std(ddof=1) / 20
    assert wide["high"] - wide["low"] == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_what_is_better_in_one_seed_alone_beats_nothing() -> None:
    found = compare_paired([[0.9] * 6, [0.2] * 6], [[0.1] * 6, [0.3] * 6])
    assert found["low"] > 0
    assert found["beats"] is False
    assert say_compared(found).startswith("does not beat it: +0.35 (+0.35 to +0.35), on 6 of 12")


def test_few_images_tell_nothing() -> None:
    # a missing value takes its pair away, and a longer row is cut to what both have
    found = compare_paired([[0.9, None, 0.9, 0.9], [0.9, 0.9]], [[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]])
    assert found["pairs"] == 4
    assert found["beats"] is None
    assert say_compared(found) == "too few images to tell (+0.80 on 4)"
    assert say_compared(compare_paired([], [])).startswith("not compared")


def test_a_method_that_does_not_beat_the_images_intensity_is_said_not_to() -> None:
    made = summarise(TABLE).set_index("method")
    assert made.loc["good", "against intensity"].startswith("beats the image's intensity: +0.70 (")
    assert made.loc["good", "against intensity"].endswith("on 8 of 8 images, in 2 of 2 seeds")
    for name in ("poor", "better in one seed"):
        assert made.loc[name, "against intensity"].startswith("does not beat it")
        assert made.loc[name, "beats intensity"] is False
    assert "in 1 of 2 seeds" in made.loc["better in one seed", "against intensity"]
    judged = as_markdown(TABLE).partition("## Ranks")[0].splitlines()
    lines = {line.split(" | ")[0].strip("| `"): line for line in judged}
    assert lines["poor"].count("does not beat it") == 2  # by mass, and by rank
    assert "no more than: image intensity" in lines["poor"]
    assert "asks no network" in lines[INTENSITY]


def test_means_spreads_costs_and_chance() -> None:
    made = summarise(TABLE).set_index("method")
    assert made.loc["good", "relevance_mass"] == pytest.approx(0.85)
    assert made.loc["good", "relevance_mass spread"] == pytest.approx(np.std([0.8, 0.9], ddof=1))
    assert made.loc["good", "images"] == 2 * IMAGES
    assert made.loc["good", "passes"] == 3
    assert made.loc["good", "time ratio"] == pytest.approx(2)
    assert made.loc["good", "chance"] == pytest.approx(0.006)


def test_ranks_over_metrics_with_their_disagreement() -> None:
    ranks, agreement = rank_methods(TABLE)
    # by five metrics of place good, one seed, poor; by flipping 3, 1, 2; by deletion 1, 2, 3
    found = ranks.set_index("method")
    assert len(RANKED_BY) == 7
    assert found.loc["good", "mean rank"] == pytest.approx((6 * 1 + 3) / 7)
    assert found.loc["good", "worst metric"] == "pixel_flipping"
    assert (found.loc["good", "best rank"], found.loc["good", "worst rank"]) == (1, 3)
    assert found.loc["poor", "mean rank"] == pytest.approx((6 * 3 + 2) / 7)
    assert RANDOM not in found.index
    assert found["ranked in"].tolist() == [1, 1, 1]
    orders = np.array([[1, 2, 3]] * 6 + [[3, 1, 2]])
    assert agreement["W"].tolist() == pytest.approx([kendall_w(orders)])
    assert agreement["methods"].tolist() == [3]


def test_methods_without_a_metric_are_not_ranked() -> None:
    table = TABLE.copy()
    table.loc[table["method"] == "poor", "single_deletion"] = math.nan
    assert set(rank_methods(table)[0]["method"]) == {"good", "better in one seed"}


def test_the_contrast_is_with_the_network_of_the_other_effect() -> None:
    table = table_of(
        row("lrp", 0, 0.7, rival_mass=0.2),
        row("lrp", 0, 0.6, rival_mass=0.1) | {"effect": "tag.first"},
        row("lrp", 1, 0.5, rival_mass=0.3),
    )
    made = add_model_contrast(table)["model_contrast"].tolist()
    # on the tag: 0.7 by its own network, 0.1 by that of the other effect
    assert made[:2] == pytest.approx([0.7 - 0.1, 0.6 - 0.2])
    assert math.isnan(made[2])  # the other network of this seed was not measured


def test_a_network_that_does_not_know_is_no_judge() -> None:
    table = TABLE.assign(accuracy=0.55)
    text = as_markdown(table)
    assert "**55%: no judge of maps**" in text
    assert "tells the effect in 55% of held-out images only" in text
    assert "no judge" not in as_markdown(TABLE)


def test_a_refusal_stands_in_the_place_of_a_verdict(tmp_path: Path) -> None:
    refused = row("cam", 0, math.nan, refused="cam: the head | is not linear") | {"each": math.nan}
    table = pd.concat([TABLE, table_of(refused)], ignore_index=True)
    (line,) = [line for line in as_markdown(table).splitlines() if line.startswith("| `cam`")]
    assert "cam: the head / is not linear" in line
    assert as_text(table).splitlines()[-1].endswith("cam: the head | is not linear")
    ResultFolder(tmp_path).claim()
    places = write_attribution_report(table, tmp_path)
    assert [place.name for place in places] == [
        "attribution.csv",
        "attribution-summary.csv",
        "attribution.md",
    ]
    again = pd.read_csv(places[0])
    assert again["relevance_mass"].tolist()[:-1] == TABLE["relevance_mass"].tolist()
    write_attribution_report(table, tmp_path)  # over what it wrote itself
