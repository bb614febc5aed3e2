"""Make the pictures of docs/measurement.md: simulated depolarisation, changed and measured.

Trains a small network for a minute, without a display::

    python docs/make_measurement_figure.py docs/images
"""

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

import napari_why as why
from napari_why.counterfactuals import Counterfactual
from napari_why.measurement import Measurement, change_map, find_regions
from napari_why.output.figures import draw_counterfactual
from napari_why.simulation import SimulatedScene

SIZE = 64
UNSEEN = 905
LEVEL = 400.0
NETWORK = {"blocks": "2,2,2", "widths": "16,16,16", "downscaling": "2,2,2"}


def main(folder: Path) -> None:
    """Train, change an unseen scene, draw it and its regions beside those of the true change."""
    dataset = why.simulate(160, size=SIZE, seed=0, wells=20).split(seed=0)
    classifier = why.fit(
        dataset, "iresnet", size=SIZE, epochs=12, batch_size=16, network_parameters=NETWORK
    )
    scene = SimulatedScene(UNSEEN, seed=1, size=SIZE)
    image = scene.image("diseased")
    result = why.counterfactual(classifier, image, "treated", steps=11)
    draw_counterfactual(result, folder / "measurement-figure.png", image)
    found = why.measure(
        result, image, channel="TMRM", view="offset_free", threshold="fixed", level=LEVEL
    )
    truth = scene.true_change("diseased", "treated").sel(c="TMRM").values
    picture = regions_beside_truth(result, found, truth)
    picture.savefig(folder / "measurement-regions.png", dpi=110)
    inside = found.regions.labels > 0
    total = found.table["TMRM integrated change (grey levels x px)"].sum()
    unseen = why.simulate(32, size=SIZE, seed=1, wells=8)
    measured = why.measure_dataset(classifier, unseen, options={"channel": "TMRM"})
    columns = ["direction", "measure", "channel", "units tested", "change", "p", "p corrected"]
    lines = [
        found.verdict.line,
        f"TMRM in {len(found.table)} regions: integrated change {total:.0f}, "
        f"true change there {truth[inside].sum():.0f} grey levels x px",
        *measured.sentences,
        measured.statistics[columns].to_string(index=False, float_format="%.3g"),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def regions_beside_truth(
    result: Counterfactual, found: Measurement, truth: NDArray[np.float64]
) -> Figure:
    """Draw change, influence and regions of TMRM, and the true change with its own regions."""
    figure = Figure(figsize=(10, 3.7), layout="constrained")
    axes = figure.subplots(1, 4)
    change = found.map.plane("TMRM")
    influence = change_map(result, "influence").plane("TMRM")
    limit = float(max(np.abs(truth).max(), np.abs(change).max()))
    strongest = float(np.abs(influence).max())
    true_regions = find_regions(truth - truth.mean(), rule="fixed", level=LEVEL, minimum_size=20)
    for place, values, high, labels, title in (
        (axes[0], change, limit, None, "change of TMRM,\nwithout its global offset"),
        (axes[1], influence, strongest, None, "influence\non p(treated)"),
        (
            axes[2],
            change,
            limit,
            found.regions.labels,
            f"its regions,\nfrom {LEVEL:.0f} grey levels on",
        ),
        (
            axes[3],
            truth - truth.mean(),
            limit,
            true_regions.labels,
            "true change, without its\noffset, and its regions",
        ),
    ):
        unit = "grey levels x probability" if values is influence else "grey levels"
        drawn = place.imshow(values, cmap="RdBu_r", vmin=-high, vmax=high, interpolation="nearest")
        if labels is not None:
            place.contour(labels > 0, [0.5], colors="black", linewidths=0.8)
        place.set_title(title, fontsize=9)
        place.set_axis_off()
        bar = figure.colorbar(drawn, ax=place, orientation="horizontal", shrink=0.8)
        bar.ax.tick_params(labelsize=7)
        bar.set_label(unit, fontsize=8)
    return figure


if __name__ == "__main__":
    main(Path(sys.argv[1]))
