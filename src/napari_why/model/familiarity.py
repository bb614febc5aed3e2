"""What a classifier has seen of a data set: the images themselves, other images of their wells."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from napari_why.datasets.dataset import Dataset, image_digest
from napari_why.datasets.factors import natural_groups
from napari_why.images.wells import well_name

# Values of the column ``known_group``: whether other images of the well were trained on.
KNOWN, UNKNOWN, NOT_KNOWN = "yes", "no", "not known"


def list_seen_groups(dataset: Dataset) -> dict[str, Any]:
    """Return the groups of the training and validation images, for a classifier's card.

    Returns
    -------
    dict
        ``columns`` that name a group (plate and well, say), empty where nothing does, and
        ``names``, a list of values for each group; JSON types.
    """
    columns = natural_groups(dataset.table, dataset.group_columns)
    seen = dataset.table[dataset.table["split"].isin(["train", "validation"])]
    names = sorted(set(_name_groups(seen, columns))) if columns else []
    return {"columns": list(columns), "names": [list(name) for name in names]}


def notes_seen_images(card: Mapping[str, Any]) -> bool:
    """Tell whether a card says which images were trained on.

    One without the list is of a fit that failed at it; without any card, as of a user's own module,
    nobody knows.
    """
    return "seen_images" in card


def describe_familiarity(card: Mapping[str, Any], dataset: Dataset) -> pd.DataFrame:
    """Tell of every image whether it, or another one of its group, was trained on.

    Images are recognised by their pixels, wherever the files lie; groups by their names, which
    is less: a well's name stands on every plate. So a well that the training knew without a
    plate is known for sure only if one of its images here was trained on.

    Parameters
    ----------
    card : mapping
        Of the classifier; older ones do not say which groups they were trained on.
    dataset : Dataset

    Returns
    -------
    DataFrame, length N
        ``seen``: the image was trained on, or chose the epoch; False too where a card does not say
        (:func:`notes_seen_images`). ``known_group``: ``yes``, other
        images of its group were (or it was itself); ``no``; ``not known``.
    """
    known = set(card.get("seen_images", ()))
    seen = np.array([image_digest(dataset, row) in known for row in range(len(dataset))], bool)
    group = _compare_names(card.get("seen_groups"), dataset.table)
    own = natural_groups(dataset.table, dataset.group_columns)
    if own:
        # A neighbour here that was trained on proves what names leave open.
        names = pd.Series(_name_groups(dataset.table, own))
        group[names.isin(set(names[seen])).to_numpy()] = KNOWN
    group[seen] = KNOWN
    return pd.DataFrame({"seen": seen, "known_group": group}, index=dataset.table.index)


# Which images make the figures: the first of these kinds of which there is one.
HEADLINES = (UNKNOWN, NOT_KNOWN, KNOWN)


def select_counted(images: pd.DataFrame) -> pd.DataFrame:
    """Return the images that figures are made of: those that say most about new wells.

    Images of wells that the network was not trained on; where there are none, those of which it is
    not known; then those it has not seen of wells that it was trained on; and where it has seen all,
    all. Images of the validation split count as seen: they chose the epoch.

    Parameters
    ----------
    images : DataFrame
        With ``error`` (empty for the images to choose from) and the columns of
        :func:`describe_familiarity`.
    """
    if images.empty:
        return images
    readable = images[images["error"] == ""]
    unseen = readable[~readable["seen"].astype(bool)]
    for kind in HEADLINES:
        found = unseen[unseen["known_group"] == kind]
        if not found.empty:
            return found
    return readable


def describe_well_names(card: Mapping[str, Any]) -> str:
    """Say by what names the groups of the training are recognised; empty where they are not."""
    columns = (card.get("seen_groups") or {}).get("columns") or []
    return " and ".join(columns)


def _compare_names(known: Mapping[str, Any] | None, table: pd.DataFrame) -> "np.ndarray[Any, Any]":
    unclear = np.full(len(table), NOT_KNOWN, dtype=object)
    columns = list((known or {}).get("columns") or [])
    shared = [name for name in columns if name in table.columns]
    if not known or not shared:
        return unclear
    places = [columns.index(name) for name in shared]
    names = {tuple(str(name[place]) for place in places) for name in known["names"]}
    met = np.array([name in names for name in _name_groups(table, shared)], dtype=bool)
    # Without its plate a well's name may be that of any other; of a missing column nobody knows.
    sure = shared == columns and columns != ["well"]
    return np.where(met, KNOWN if sure else NOT_KNOWN, UNKNOWN).astype(object)


def _name_groups(table: pd.DataFrame, columns: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the group of every row; wells in one spelling (B2 is B02)."""
    spelt = [
        [well_name(str(value)) or str(value) if name == "well" else str(value) for value in values]
        for name, values in ((name, table[name]) for name in columns)
    ]
    return list(zip(*spelt, strict=True))


def describe_confounding(card: Mapping[str, Any]) -> list[str]:
    """Return what else told the class in the images that a classifier was trained on, in words.

    Of an older classifier, of which that is not known, nothing.
    """
    return [str(sentence) for sentence in (card.get("confounding") or {}).get("sentences", ())]


def what_tells_apart(card: Mapping[str, Any], first: str, second: str) -> tuple[str, ...] | None:
    """Return what two classes never shared in the training images: plates, columns of the plate, ...

    Parameters
    ----------
    card : mapping
        Of a classifier.
    first, second : str
        Classes.

    Returns
    -------
    tuple of str or None
        In the plural; None of an older classifier, or one without a card, of which it is not known.
    """
    found = card.get("confounding")
    if found is None or "apart" not in found:
        return None
    return tuple(
        str(item["things"])
        for item in found["apart"]
        if any({first, second} == set(pair) for pair in item["pairs"])
    )


def what_nearly_tells_apart(
    card: Mapping[str, Any], first: str, second: str
) -> tuple[tuple[str, float], ...] | None:
    """Return what two classes shared unevenly in the training images, and how far a guess from it gets.

    Parameters
    ----------
    card : mapping
        Of a classifier.
    first, second : str
        Classes.

    Returns
    -------
    tuple of (str, float) or None
        In the plural, with the mean over both classes of the share of wells that are guessed right from
        it; None of an older classifier, or one without a card, of which it is not known.
    """
    found = card.get("confounding")
    if found is None:
        return None
    if "near" not in found:
        # Earlier versions kept what is uneven for all classes together, not for a pair.
        uneven = {"confounded", "unbalanced"}
        rows = found.get("factors")
        known = rows is not None and not any(row.get("level") in uneven for row in rows)
        return () if known else None
    return tuple(
        (str(item["things"]), float(guess))
        for item in found["near"]
        for *pair, guess in item["pairs"]
        if {first, second} == set(pair)
    )
