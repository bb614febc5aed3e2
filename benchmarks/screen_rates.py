"""Do hits of a screen hold the false-discovery rate that is asked for? Simulated tables against the truth.

    python benchmarks/screen_rates.py [--screens 200] [--judged 24] [--compounds 200] [--designs NAME ...]

Wells are numbers (napari_why.simulation.wells) with effects of plates, and in some rows of the table of
columns, rows and edges, of heavy tails, or of samples that vary more than the controls. Printed for each
design, with the standard error over screens in brackets where it says so: of ``--screens`` screens the share
of on-target hits that do nothing (FDR) and the share of actives found, by p of the controls alone and as the
screen takes them, with the samples; of ``--judged`` screens as a whole the same of the hits, the share of
``other change`` that is none, and how many of it are found. 5 % are asked for.
"""

import argparse
from collections.abc import Iterable

import numpy as np
import pandas as pd

from napari_why.measurement.statistics import correct_p
from napari_why.screening import ScreenOptions, analyse_screen, is_hit
from napari_why.screening.statistics import OnTarget, heed_samples, place_between_controls
from napari_why.screening.tables import COMPOUND, NEGATIVE, PLATE, POSITIVE, ROLE
from napari_why.simulation.wells import SCORE, WellsDesign, simulate_wells

RATE = 0.05
TRUTH = ["Metadata_active", "Metadata_other"]
DESIGNS: dict[str, dict[str, object]] = {
    "as it is": {},
    "nothing acts": {"active": 0.0, "other": 0.0},
    "one in three acts": {"active": 0.3},
    "2 controls a plate": {"controls": 2},
    "4 controls a plate": {"controls": 4},
    "32 controls a plate": {"controls": 32},
    "one plate": {"plates": 1},
    "three plates": {"plates": 3},
    "places, the same on each plate": {"place": 1.0},
    "places, others on each plate": {"place": 1.0, "same_places": False},
    "heavy tails": {"heavy": True},
    "samples vary by 30 % more": {"wider": 0.3},
}


def main() -> None:
    """Simulate, judge and print."""
    options = arguments()
    rows = []
    for name, changes in DESIGNS.items():
        if options.designs and name not in options.designs:
            continue
        row = {"design": name}
        row |= _mean(
            _judge_on_target(_design(changes, seed, options)) for seed in range(options.screens)
        )
        row |= _mean(_judge(_design(changes, seed, options)) for seed in range(options.judged))
        rows.append(row)
        print(pd.DataFrame([row]).to_string(index=False, header=len(rows) == 1), flush=True)


def _design(changes: dict[str, object], seed: int, options: argparse.Namespace) -> WellsDesign:
    return WellsDesign(**{"compounds": options.compounds, "seed": seed, **changes})


def _mean(found: Iterable[dict[str, float]]) -> dict[str, str]:
    table = pd.DataFrame(list(found))
    means, errors = table.mean(), table.std() / len(table) ** 0.5
    return {
        str(name): f"{means[name]:.3f} ({errors[name]:.3f})"
        if "FDR" in str(name)
        else f"{means[name]:.2f}"
        for name in table
    }


def _judge_on_target(design: WellsDesign) -> dict[str, float]:
    table = simulate_wells(design)
    plates, role = list(table[PLATE]), table[ROLE].to_numpy()
    negative, positive = role == NEGATIVE, role == POSITIVE
    way = place_between_controls(table[SCORE].to_numpy(), plates, negative, positive)
    on = OnTarget(way, plates, negative)
    # each compound has as many wells, one a plate
    own = pd.Series(np.arange(len(table))).groupby(table[COMPOUND]).apply(np.array)
    own = own.drop(["DMSO", "healthy"])
    p = np.array([on.score(wells).p for wells in own])
    active = table["Metadata_active"].to_numpy()[[wells[0] for wells in own]]
    found = {}
    for name, values in (("controls", p), ("samples too", heed_samples(p).p)):
        chosen = correct_p(values) <= RATE
        found[f"FDR by {name}"] = float((chosen & ~active).sum() / max(chosen.sum(), 1))
        found[f"found by {name}"] = float(chosen[active].mean()) if active.any() else np.nan
    return found


def _judge(design: WellsDesign) -> dict[str, float]:
    table = simulate_wells(design)
    options = ScreenOptions(
        negative="DMSO", positive="healthy", draws=100, false_discovery_rate=RATE
    )
    hits = analyse_screen(table, options).hits
    truth = table.groupby(COMPOUND)[TRUTH].first().loc[hits["compound"]]
    chosen, shown = is_hit(hits).to_numpy(), (hits["other change"] == "shown").to_numpy()
    active, other = truth["Metadata_active"].to_numpy(), truth["Metadata_other"].to_numpy()
    return {
        "FDR of hits": float((chosen & ~active).sum() / max(chosen.sum(), 1)),
        "hits found": float(chosen[active].mean()) if active.any() else np.nan,
        "FDR of other change": float((shown & ~other).sum() / max(shown.sum(), 1)),
        "other change found": float(shown[other].mean()) if other.any() else np.nan,
    }


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--screens", type=int, default=200)
    parser.add_argument("--judged", type=int, default=24)
    parser.add_argument("--compounds", type=int, default=200)
    parser.add_argument("--designs", nargs="+", choices=list(DESIGNS), help="all by default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
