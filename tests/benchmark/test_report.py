import pandas as pd
import pytest

from napari_why.benchmark import as_text, summary, write_report
from napari_why.benchmark.report import add_gains, as_markdown, draw_figures, draw_mask_curves
from napari_why.benchmark.scores import BASELINES

from .conftest import Finished


def row(method: str, seed: int, **figures: object) -> dict[str, object]:
    return {
        "effect": "translocation",
        "seed": seed,
        "direction": "healthy to treated",
        "method": method,
        **figures,
    }


def test_mean_and_spread_over_seeds_in_the_order_of_the_methods() -> None:
    table = pd.DataFrame(
        [
            row("transport", 0, correlation=0.9),
            row("transport", 1, correlation=0.7),
            row("TRUTH", 0, correlation=1.0),
        ]
    )
    made = summary(table)
    assert made["method"].tolist() == ["TRUTH", "transport"]
    assert made["seeds"].tolist() == [1, 2]
    assert made["correlation"].tolist() == pytest.approx([1.0, 0.8])
    assert made["correlation spread"][1] == pytest.approx(0.1414, abs=1e-3)
    # without the baselines nothing is known to be gained
    assert as_text(table).splitlines()[2].endswith("2\t0.800 ± 0.141\t–")


def test_a_row_gains_over_the_better_baseline_of_each_figure_and_seed() -> None:
    table = pd.DataFrame(
        [
            row("one-factor", 0, correlation=0.9, relative_error=0.7),
            row("grey-level-curve", 0, correlation=0.8, relative_error=0.2),
            row("transport", 0, correlation=0.95, relative_error=0.3),
            row("one-factor", 1, correlation=0.1, relative_error=0.9),
            row("grey-level-curve", 1, correlation=0.3, relative_error=1.1),
            row("transport", 1, correlation=0.75, relative_error=0.4),
        ]
    )
    gained = add_gains(table).set_index(["method", "seed"])
    # more correlation is better, and less error is
    assert gained.loc[("transport", 0), "correlation gain"] == pytest.approx(0.05)
    assert gained.loc[("transport", 0), "relative_error gain"] == pytest.approx(-0.1)
    assert gained.loc[("transport", 1), "correlation gain"] == pytest.approx(0.45)
    assert gained.loc[("transport", 1), "relative_error gain"] == pytest.approx(0.5)
    assert gained.loc[("one-factor", 0), "correlation gain"] == 0
    assert gained.loc[("grey-level-curve", 0), "correlation gain"] == pytest.approx(-0.1)
    assert "agreement gain" not in gained
    lines = as_text(table).splitlines()
    assert lines[0].endswith("\tcorrelation gain\trelative_error gain")
    assert lines[-1].endswith("\t0.250 ± 0.283\t0.200 ± 0.424")
    assert as_markdown(table).splitlines()[-1].endswith("| 0.250 ± 0.283 | 0.200 ± 0.424 |")


def test_without_both_baselines_nothing_is_gained() -> None:
    table = pd.DataFrame(
        [row("one-factor", 0, correlation=0.9), row("transport", 0, correlation=1)]
    )
    assert add_gains(table)["correlation gain"].isna().all()


def test_coverage_stands_in_the_table_and_is_empty_where_it_was_not_measured() -> None:
    table = pd.DataFrame(
        [row("transport", 0, coverage=0.9), row("TRUTH", 0, coverage=float("nan"))]
    )
    head, _, truth, measured = as_markdown(table).splitlines()
    assert head.endswith("| coverage |")
    assert truth.endswith("| – |")
    assert measured.endswith("| 0.900 |")
    # results of earlier versions say nothing of it
    assert "coverage" not in as_markdown(pd.DataFrame([row("transport", 0, correlation=0.9)]))


def test_a_refusal_says_why() -> None:
    table = pd.DataFrame([row("transport", 0, correlation=None, refused="at chance")])
    assert as_text(table).splitlines()[1].endswith("–\t–\trefused: at chance")


def test_tables_and_figures_are_written(finished: Finished, tmp_path) -> None:
    places = write_report(finished.table, tmp_path)
    assert all(place.stat().st_size > 0 for place in places)
    names = {place.name for place in places}
    assert {"results.parquet", "results.csv", "summary.csv", "summary.md"} < names
    again = pd.read_parquet(tmp_path / "results.parquet")
    assert again["correlation"].equals(finished.table["correlation"].reset_index(drop=True))
    assert len(pd.read_csv(tmp_path / "results.csv")) == len(finished.table)


def test_figures_name_effects_and_methods(finished: Finished) -> None:
    picture = draw_figures(finished.table)
    assert {"depolarisation", "null"} <= {axes.get_ylabel() for axes in picture.axes}
    ticks = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    rows = ("TRUTH", "do-nothing", *BASELINES, "mean-shift", "pixel-transport", "transport")
    assert ticks == list(rows)
    curves = draw_mask_curves(finished.table)
    assert len(curves.axes) == 4
    assert [len(axes.lines) for axes in curves.axes] == [7, 7, 3, 3]
