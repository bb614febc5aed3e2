"""Train networks that can know one thing only, and ask what differs and what they use.

    python benchmarks/planted_knowledge.py --out FOLDER [--pairs two_channels,tag,haze]
        [--seeds 3] [--scored 4] [--training 240] [--size 48] [--epochs 12]
    python benchmarks/planted_knowledge.py --out FOLDER --tables FOLDER...

Writes planted.csv, the table of each seed and direction, and planted.png, one image of each network
that can know one effect; prints the means. ``--tables`` prints those that several runs wrote. About a minute a
network on one core: ``--pairs`` lets several runs share the work.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from napari_why.benchmark.planted_knowledge import (
    ROWS,
    Planted,
    PlantedProtocol,
    run_planted_benchmark,
)
from napari_why.core.events import Event, Message
from napari_why.simulation import EFFECT_PAIRS

EFFECTS = ["first_in", "second_in"]
LEARNT = ["accuracy", "treated_if_neither", "treated_if_first", "treated_if_second"]
# What is drawn: the true change, since transport cannot put a tag into a corner.
SCENES = ("healthy to treated", "truth")


def main() -> None:
    """Train, ask, print and draw."""
    options = arguments()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.tables:
        table = pd.concat([pd.read_csv(place / "planted.csv") for place in options.tables])
    else:
        report = run_planted_benchmark(
            pairs=[name for name in options.pairs.split(",") if name],
            seeds=range(options.seeds),
            protocol=PlantedProtocol(
                size=options.size,
                training=options.training,
                scored=options.scored,
                epochs=options.epochs,
            ),
            on_event=tell,
        )
        table = report.table
        draw(report.examples, options.out / "planted.png")
    table.to_csv(options.out / "planted.csv", index=False)
    for lines in (learnt(table), scores(table)):
        print("\n".join(lines), flush=True)


def learnt(table: pd.DataFrame) -> list[str]:
    """Return what the networks learnt: predictions as treated by what is shown."""
    networks = table.drop_duplicates(["pair", "knows", "seed"])
    means = networks.groupby(["pair", "knows"], sort=False)[LEARNT].mean()
    return ["| pair | knows | " + " | ".join(LEARNT) + " |", "|---" * (2 + len(LEARNT)) + "|"] + [
        f"| {pair} | {knows} | " + " | ".join(f"{value:.2f}" for value in row) + " |"
        for (pair, knows), row in zip(means.index, means.to_numpy(), strict=True)
    ]


def scores(table: pd.DataFrame) -> list[str]:
    """Return how much of either effect lies inside each part: means over seeds and directions.

    Each cell has first and second effect; ``flips`` the share of images that the whole change flips,
    ``size`` that of the used part, ``range`` the extremes over seeds and directions of what the
    used part holds.
    """
    columns = ["pair", "knows", "change", "flips", *ROWS, "size", "range, used part"]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for case, rows in table.groupby(["pair", "knows", "change"], sort=False):
        means = rows.groupby("row")[EFFECTS].mean()
        used = rows[rows["row"] == "used part"]
        cells = [f"{rows[rows['row'] == 'whole change']['flips'].mean():.2f}"]
        for name in ROWS:
            first, second = means.loc[name]
            cells.append(f"{first:.2f}, {second:.2f}")
        cells.append(f"{used['size'].mean():.2f}")
        spread = [f"{used[name].min():.2f}–{used[name].max():.2f}" for name in EFFECTS]
        lines.append("| " + " | ".join([*map(str, case), *cells, ", ".join(spread)]) + " |")
    return lines


def draw(examples: dict[tuple[str, str], list[Planted]], path: Path) -> None:
    """Draw what differs and what each network uses, a row a network, in both channels."""
    chosen = {
        case: next(item for item in found if (item.direction, item.change) == SCENES)
        for case, found in examples.items()
        if case[1] != "both"  # what either network is to find is on the rows of the others
        and any((item.direction, item.change) == SCENES for item in found)
    }
    columns = ("source", "first effect", "second effect", "what differs", "what is used")
    figure = Figure(figsize=(15, 1.6 * len(chosen) + 0.4), layout="constrained")
    axes = figure.subplots(len(chosen), 2 * len(columns), squeeze=False)
    for places, ((pair, knows), item) in zip(axes, chosen.items(), strict=True):
        used = item.used
        whole = used.after.astype(float) - used.before
        panels = (used.before, *item.truth.values(), whole, whole * used.mask)
        for channel, name in enumerate(used.channels):
            limit = max(float(np.abs(panel[channel]).max()) for panel in panels[1:]) or 1.0
            own = places[channel * len(columns) : (channel + 1) * len(columns)]
            for place, title, pixels in zip(own, columns, panels, strict=True):
                raw = title == "source"
                place.imshow(
                    pixels[channel],
                    cmap="gray" if raw else "RdBu_r",
                    vmin=None if raw else -limit,
                    vmax=None if raw else limit,
                )
                place.set_title(f"{name}: {title}", fontsize=7)
                place.set_xticks([])
                place.set_yticks([])
        title = EFFECT_PAIRS[pair].title.split("; ")
        known = title[("first", "second").index(knows)]
        places[0].set_ylabel(f"{pair}\nknows {knows}:\n{known}", fontsize=6)
    figure.savefig(path, dpi=90)


def tell(event: Event) -> None:
    """Print sentences as they come."""
    if isinstance(event, Message):
        print(event.text, flush=True)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    protocol = PlantedProtocol()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--pairs", default="")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scored", type=int, default=protocol.scored)
    parser.add_argument("--training", type=int, default=protocol.training)
    parser.add_argument("--size", type=int, default=protocol.size)
    parser.add_argument("--epochs", type=int, default=protocol.epochs)
    parser.add_argument("--tables", type=Path, nargs="*", help="folders of finished runs")
    return parser.parse_args()


if __name__ == "__main__":
    main()
