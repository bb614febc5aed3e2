"""What the tables of a measured data set say, in words."""

import numpy as np
import pandas as pd

from napari_why.measurement.verdict import FAR, percent

CONSISTENCY = (
    "p tells whether the counterfactuals of this classifier change the images of the wells "
    "consistently; it says nothing about the wells' biology beyond what the classifier learnt"
)


def measurement_sentences(images: pd.DataFrame, statistics: pd.DataFrame) -> tuple[str, ...]:
    """Return the sentences that belong beside the tables.

    Parameters
    ----------
    images, statistics : DataFrame
        As in :class:`~napari_why.measurement.measure_dataset.DatasetMeasurement`.
    """
    if images.empty:
        return ("cancelled before any image was measured",)
    measured = images[images["error"] == ""]
    found = [_left_out(images)]
    if not measured.empty:
        found += [
            _flips(measured),
            _second(measured),
            _share(measured),
            _far(measured),
            *_units(statistics),
            CONSISTENCY if statistics["p"].notna().any() else "",
        ]
    return tuple(sentence for sentence in found if sentence)


def _left_out(images: pd.DataFrame) -> str:
    failed = images[images["error"] != ""]
    if failed.empty:
        return ""
    first = failed["error"].iloc[0]
    return f"{len(failed)} of {len(images)} images could not be measured; first: {first}"


def _flips(measured: pd.DataFrame) -> str:
    count = int(measured["valid"].sum())
    also = "" if count == len(measured) else "; those that do not are in the tables too"
    return f"{count} of {len(measured)} images flip{also}"


def _second(measured: pd.DataFrame) -> str:
    flipped = measured[measured["valid"].astype(bool)]
    asked = flipped["second agrees"].dropna()
    if asked.empty:
        return "there is no second network to ask, and a flip alone is no explanation"
    return f"a second network agrees on {int(asked.sum())} of {len(asked)} that flip"


def _share(measured: pd.DataFrame) -> str:
    prefix = "share of change in "
    names = [name for name in measured if str(name).startswith(prefix)]
    medians = measured[names].median()
    leader = str(medians.idxmax())
    share = percent(float(medians.max()))
    return f"in the median image {share} of the change is in {leader.removeprefix(prefix)}"


def _far(measured: pd.DataFrame) -> str:
    known = measured["distance"].dropna()
    far = int(np.sum(known >= FAR))
    if not far:
        return ""
    return (
        f"{far} of {len(known)} images end further from the data than {percent(FAR)} of the "
        "training images"
    )


def _units(statistics: pd.DataFrame) -> list[str]:
    said = []
    for direction, part in statistics.groupby("direction", sort=False):
        unit, n = part["unit"].iloc[0], int(part["units tested"].max())
        names = f"{n} {unit}s" if unit == "image" else f"{n} wells ({unit})"
        tested = "tested" if part["p"].notna().any() else "not tested"
        notes = "; ".join(dict.fromkeys(note for note in part["note"] if note))
        said.append(f"{direction}: {names}, {tested}" + (f"; {notes}" if notes else ""))
    return said
