import pandas as pd
import pytest

from napari_why.benchmark import as_text, summary, write_report
from napari_why.benchmark.report import draw_figures, draw_mask_curves

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
    assert as_text(table).splitlines()[2].endswith("2\t0.800 ± 0.141")


def test_a_refusal_says_why() -> None:
    table = pd.DataFrame([row("transport", 0, correlation=None, refused="at chance")])
    assert as_text(table).splitlines()[1].endswith("–\trefused: at chance")


def test_tables_and_figures_are_written(finished: Finished, tmp_path) -> None:
    places = write_report(finished.table, tmp_path)
    assert all(place.stat().st_size > 0 for place in places)
    names = {place.name for place in places}
    assert {"results.parquet", "results.csv", "summary.csv"} < names
    again = pd.read_parquet(tmp_path / "results.parquet")
    assert again["correlation"].equals(finished.table["correlation"].reset_index(drop=True))
    assert len(pd.read_csv(tmp_path / "results.csv")) == len(finished.table)


def test_figures_name_effects_and_methods(finished: Finished) -> None:
    picture = draw_figures(finished.table)
    assert {"depolarisation", "null"} <= {axes.get_ylabel() for axes in picture.axes}
    ticks = [label.get_text() for label in picture.axes[0].get_yticklabels()]
    assert ticks == ["TRUTH", "do-nothing", "mean-shift", "pixel-transport", "transport"]
    curves = draw_mask_curves(finished.table)
    assert len(curves.axes) == 4
    assert [len(axes.lines) for axes in curves.axes] == [5, 5, 1, 1]
