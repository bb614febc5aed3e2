"""How well does a screen find what compounds do? Hits of a simulated screen against the truth.

    python benchmarks/screen.py [--seeds 0 1 2] [--compounds 320] [--plates 3] [--epochs 12]
        [--images 240] [--workers 0] [--keep FOLDER]

Every seed simulates 320 compounds on three plates of 384 wells (napari_why.simulation.compounds): eight
each that bring diseased cells all the way or half the way to healthy, all the way with another change
(condensed chromatin), that make this other change alone, that kill cells, and that shine themselves; the
others do nothing. A cam_net learns healthy from diseased on images of another simulation, and
napari_why.screen asks it.

Printed for each seed, and their means: the area under the ROC curve of the on-target score (who brings
cells towards healthy), beside that of the distance of latents from the negative controls alone, which
knows no direction; of the off-target p (who changes something else, among the compounds that are judged;
and, of those that bring cells all the way, who changes the chromatin too); how many of each kind have which
finding; of all hits, and of the clean ones (no other change shown), the share that brings no cell towards
healthy, beside the 5 % that were asked for; and the share of clean hits that have another change. A
compound that kills cells or shines may look healthy to the network: then its log-odds do rise, and only
another change can tell.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

import napari_why as why
from napari_why.screening import Engine, ScreenResult, is_hit, screen
from napari_why.screening.hits import TOWARDS
from napari_why.simulation import simulate
from napari_why.simulation.compounds import KINDS, ScreenDesign, simulate_screen

SIZE = 64
# Seeds of the images that are learnt from: none is that of a screen.
LEARNING = 1000


def main() -> None:
    """Simulate, screen and print."""
    options = arguments()
    rows = []
    for seed in options.seeds:
        started = time.perf_counter()
        folder = Path(options.keep or tempfile.mkdtemp()) / f"seed {seed}"
        try:
            rows.append({"seed": seed, **judge(*run(folder, seed, options))})
        finally:
            if not options.keep:
                shutil.rmtree(folder.parent)
        print(f"seed {seed}: {time.perf_counter() - started:.0f} s", flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print(table.drop(columns="seed").mean().to_string(float_format="{:.3f}".format))


def run(folder: Path, seed: int, options: argparse.Namespace) -> tuple[ScreenResult, pd.DataFrame]:
    """Return what a screen found of simulated plates, and the truth."""
    design = ScreenDesign(
        compounds=options.compounds,
        actives=options.actives,
        plates=options.plates,
        fields=options.fields,
        size=SIZE,
        seed=seed,
    )
    plate_map = simulate_screen(folder / "data", design)
    learnt = simulate(
        options.images, classes=("diseased", "healthy"), size=SIZE, seed=LEARNING + seed, plates=4
    )
    classifier = why.fit(
        learnt.split(seed=seed),
        "cam_net",
        size=SIZE,
        epochs=options.epochs,
        seed=seed,
        threads=1,
        lock="none",
        second_network=False,
        on_event=why.quiet,
    )
    model = classifier.save(folder / "model")
    found = screen(
        model,
        plate_map.parent / "plates",
        folder / "results",
        plate_map=plate_map,
        negative="DMSO",
        positive="healthy",
        seed=seed,
        engine=Engine(workers=options.workers),
        on_event=why.quiet,
    )
    print("\n".join(found.sentences))
    return found, design.truth()


def judge(found: ScreenResult, truth: pd.DataFrame) -> dict[str, float]:
    """Compare hits with the truth."""
    assert found.analysis is not None
    hits = found.analysis.hits.merge(truth, on="compound")
    kinds = pd.Categorical(hits["kind"], list(KINDS))
    findings = hits["finding"].str.partition(":")[0]
    print(pd.crosstab(kinds, findings).to_string())
    rescues, chosen = hits["rescue"] > 0, is_hit(hits)
    clean = hits["finding"] == TOWARDS
    judged = hits[~findings.eq("not judged")]
    # cells that are not there and light that is none of theirs are changes too
    aside = judged["other"] | judged["kind"].isin(["artefact", "toxic"])
    whole = hits[hits["kind"].isin(["full", "off-target"])]
    return {
        "ROC on-target": area(rescues, -hits["on-target p"]),
        "ROC latents alone": area(rescues, distances(found, hits["compound"])),
        "ROC off-target": area(aside, -judged["off-target p"]),
        "ROC off-target of the wholly rescued": area(whole["other"], -whole["off-target p"]),
        "hits": int(chosen.sum()),
        "found": share(chosen[rescues]),
        "full found": share(chosen[hits["kind"] == "full"]),
        "partial found": share(chosen[hits["kind"] == "partial"]),
        "false hits": share(~rescues[chosen]),
        "clean hits": int(clean.sum()),
        "false clean hits": share(~rescues[clean]),
        "clean hits with other change": share(hits["other"][clean]),
        "off-target told": share(~clean[hits["kind"] == "off-target"]),
        "full called clean": share(clean[hits["kind"] == "full"]),
    }


def distances(found: ScreenResult, compounds: "pd.Series[str]") -> np.ndarray:
    """Return how far the mean latent of each compound lies from that of the negative controls."""
    assert found.analysis is not None
    wells = found.analysis.wells
    latents = [name for name in wells if str(name).startswith("latent ")]
    control = wells[wells["Metadata_Role"] == "negative control"][latents]
    means = wells.groupby("Metadata_Compound")[latents].mean().loc[list(compounds)]
    spread = control.std()
    varied = spread > 0  # what never differs among controls has no unit
    away = (means - control.mean()).loc[:, varied] / spread[varied]
    return np.linalg.norm(away, axis=1)


def area(truth: "pd.Series[bool]", score: "pd.Series[float] | np.ndarray") -> float:
    """Return the area under the ROC curve; what has no score comes last."""
    return float(roc_auc_score(truth, np.nan_to_num(score, nan=-np.inf, neginf=-1e9)))


def share(chosen: "pd.Series[bool]") -> float:
    """Return the share that is true, NaN of none."""
    return float(chosen.mean()) if len(chosen) else float("nan")


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--compounds", type=int, default=320)
    parser.add_argument("--actives", type=int, default=8)
    parser.add_argument("--plates", type=int, default=3)
    parser.add_argument("--fields", type=int, default=2)
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--keep", help="folder for everything that is made; removed by default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
