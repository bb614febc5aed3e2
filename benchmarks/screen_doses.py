"""EC50 of two compounds on a real plate, by a classifier and by a measured number, side by side.

    python benchmarks/screen_doses.py [--data FOLDER] [--tile 160] [--size 40] [--epochs 15] [--seeds 3]
        [--workers 0] [--keep FOLDER]

Data: BBBC013 (Ljosa et al. 2012), rows A, B, E and F, 48 wells: 8 negative and 4 positive controls, and
two rows each of nine doses of Wortmannin and LY294002, which move a protein from the cytoplasm into the
nuclei. The measured number came with the data: the ratio of the protein inside the nuclei to around them.

No well is judged by a network that has seen it: a cam_net learns inactive from active wells on tiles of
one compound's two rows and judges all twelve columns of the other compound's rows, and the other way
round. The plate is cut into tiles, which are the fields of its wells, and napari_why.screen fits the
curves of both compounds, in the way from the negative to the positive controls of the same rows.

The training's labels come from the doses themselves (three lowest doses inactive, six highest active), of
the other compound; so the place of the step on the other's own dose axis is not known to it.

Printed for each seed and compound: EC50 with its 95 % interval by the log-odds, and by the measured ratio,
fitted alike; and Z' and SSMD of the controls.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import napari_why as why
from napari_why.core.events import ignore_event
from napari_why.datasets import Dataset
from napari_why.images import make_image, write
from napari_why.screening import Engine, screen
from napari_why.screening.statistics import DoseResponse, fit_dose_response, place_between_controls

CLASSES = ("active", "inactive")
# Rows of each compound in the half of the plate that is here.
ROWS = {"Wortmannin": "AB", "LY294002": "EF"}
NEGATIVE, POSITIVE = "none", "positive"
VALIDATION = 0.2


def main() -> None:
    """Cut, train, screen and print."""
    options = arguments()
    root = Path(options.keep or tempfile.mkdtemp())
    try:
        table = pd.read_csv(options.data / "labels.csv")
        plate_map = prepare(table, options, root)
        measured = {name: fit_ratio(table, name) for name in ROWS}
        for name, found in measured.items():
            print(f"measured ratio    {name}: {words(found)}")
        for seed in range(options.seeds):
            for name in ROWS:
                judge(name, seed, plate_map, options, root)
    finally:
        if not options.keep:
            shutil.rmtree(root)


def prepare(table: pd.DataFrame, options: argparse.Namespace, root: Path) -> Path:
    """Write the tiles of every well as fields, each compound's rows as a plate, and the plate map."""
    for name, rows in ROWS.items():
        for entry in table[table["row"].isin(list(rows))].to_dict("records"):
            image = why.read(options.data / entry["path"])
            tiles = cut(np.asarray(image), options.tile)
            for number, tile in enumerate(tiles, start=1):
                path = root / "plates" / name / f"{name}_{entry['well']}_s{number}.ome.tif"
                path.parent.mkdir(parents=True, exist_ok=True)
                write(make_image(tile, "cyx", list(image.coords["c"].values)), path, overwrite=True)
    known = table[["well", "dose"]].assign(
        plate=table["row"].map({row: name for name, rows in ROWS.items() for row in rows}),
        treatment=[treatment(entry) for entry in table.to_dict("records")],
        dose=table["dose"].where(table["label"] == "dose", 0.0),
    )
    known[["plate", "well", "treatment", "dose"]].to_csv(root / "map.csv", index=False)
    return root / "map.csv"


def treatment(entry: dict) -> str:
    """Return what is in a well: a compound, or which control."""
    controls = {"negative_control": NEGATIVE, "positive_control": POSITIVE}
    return controls.get(entry["label"], entry["block"])


def cut(pixels: np.ndarray, tile: int) -> list[np.ndarray]:
    """Cut a field (c, y, x) into squares."""
    places = range(0, pixels.shape[1] - tile + 1, tile)
    return [pixels[:, y : y + tile, x : x + tile] for y in places for x in places]


def judge(name: str, seed: int, plate_map: Path, options: argparse.Namespace, root: Path) -> None:
    """Train on the other compound's rows, screen this one's, and print."""
    (other,) = (one for one in ROWS if one != name)
    learnt = learn_from(other, options)
    fractions = (1 - VALIDATION, VALIDATION, 0.0)
    classifier = why.fit(
        learnt.split(fractions=fractions, seed=seed),
        "cam_net",
        size=options.size,
        epochs=options.epochs,
        seed=seed,
        threads=1,
        lock="none",
        second_network=False,
        on_event=why.quiet,
    )
    model = classifier.save(root / f"model {other} {seed}", overwrite=True)
    found = screen(
        model,
        root / "plates" / name,
        root / f"results {name} {seed}",
        plate_map=plate_map,
        healthy="active",
        negative=NEGATIVE,
        positive=POSITIVE,
        seed=seed,
        engine=Engine(workers=options.workers),
        overwrite=True,
        on_event=why.quiet,
    )
    assert found.analysis is not None
    assert not found.fields["Metadata_trained on"].astype(bool).any()
    (curve,) = found.analysis.doses.to_dict("records")
    print(
        f"log-odds, seed {seed}  {name}: EC50 {curve['EC50']:.3g} ({curve['EC50 low']:.3g} to "
        f"{curve['EC50 high']:.3g}), slope {curve['slope']:.2f}, R2 {curve['R2']:.3f}  {curve['note']}"
    )
    controls = found.analysis.controls
    chosen = controls[controls["score"].str.startswith("log-odds")].set_index("measure")
    told = [f"{measure} {chosen.loc[measure, 'value']:.2f}" for measure in ("Z'", "SSMD")]
    print(f"                  {name}: {', '.join(told)}", flush=True)


def learn_from(name: str, options: argparse.Namespace) -> Dataset:
    """Return tiles of the wells with doses of a compound, inactive and active, no control among them."""
    plate = Dataset.from_plate(
        options.data / "images",
        options.data / "labels.csv",
        label="class3",
        classes=CLASSES,
        on_event=ignore_event,
    )
    images, labels, wells = [], [], []
    for row, entry in enumerate(plate.table.to_dict("records")):
        if entry["row"] not in ROWS[name] or entry["original_label"] != "dose":
            continue
        for tile in cut(np.asarray(plate.image(row)), options.tile):
            images.append(make_image(tile, "cyx", plate.channels))
            labels.append(entry["label"])
            wells.append(entry["well"])
    return Dataset.from_images(images, labels, well=wells)


def fit_ratio(table: pd.DataFrame, name: str) -> DoseResponse:
    """Fit the measured ratio of a compound's rows as a screen fits the log-odds."""
    own = table[table["row"].isin(list(ROWS[name]))]
    negative, positive = (
        (own["label"] == kind).to_numpy() for kind in ("negative_control", "positive_control")
    )
    way = place_between_controls(
        own["nuc_ring_ratio"].to_numpy(float), ["p"] * len(own), negative, positive
    )
    dosed = ~positive
    return fit_dose_response(np.where(negative, 0.0, own["dose"])[dosed].astype(float), way[dosed])


def words(found: DoseResponse) -> str:
    """Return a curve in a line."""
    return (
        f"EC50 {found.ec50:.3g} ({found.low:.3g} to {found.high:.3g}), slope {found.slope:.2f}, "
        f"R2 {found.determination:.3f}  {found.note}"
    )


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    root = Path(__file__).parents[2] / "shared" / "data" / "bbbc013-translocation"
    parser.add_argument("--data", type=Path, default=root)
    parser.add_argument("--tile", type=int, default=160)
    parser.add_argument("--size", type=int, default=40)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--keep", help="folder for everything that is made; removed by default")
    return parser.parse_args()


if __name__ == "__main__":
    main()
