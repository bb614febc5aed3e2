"""Images and wells that lie far from their class."""

from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.errors import DatasetError, ParameterError
from napari_why.latent_space.irregular_result import Irregular
from napari_why.latent_space.robust import RobustShape, robust_shape, robust_z, robust_z_cutoff
from napari_why.latent_space.sentences import irregular_sentences
from napari_why.latent_space.space import LatentSpace
from napari_why.latent_space.subspace import Subspace
from napari_why.parameters import Help, Range, validated

Points = NDArray[np.float64]

LEAST_IMAGES = 8
ENOUGH_SEEN = 20
LEAST_WELLS = 5
SEEN = ("training", "validation")


def find_irregular(
    space: LatentSpace,
    *,
    rate: Annotated[
        float, Help("share of regular images that may be listed by chance"), Range(0.0001, 0.2)
    ] = 0.01,
    components: Annotated[
        int, Help("at most this many principal components are looked at"), Range(1, 50)
    ] = 10,
    reference: Annotated[
        Literal["auto", "seen", "all"],
        Help(
            "images that say what is usual for a class: those the network was trained or chosen "
            "with, or all; auto: the former where every class has 20"
        ),
    ] = "auto",
    cutoff: Annotated[
        Literal["normal", "validation"],
        Help(
            "where irregular begins: by simulated normal distributions, or by the validation images"
        ),
    ] = "normal",
    seed: Annotated[int, Help("of the estimator and its simulation"), Range(0, 2**31 - 1)] = 0,
) -> Irregular:
    """Find the images that lie far from the images of their class.

    The latents are reduced to their principal components within classes (95 % of the variance, at
    most ``components``), with one coordinate more for how far an image lies outside of these. The
    centre and covariance of each class (by label) are estimated robustly
    (:func:`~napari_why.latent_space.robust.robust_shape`), so that up to a quarter of irregular
    images among the reference does not hide itself. A well is judged by the median of its images'
    distances, against the other wells of its class.

    Parameters
    ----------
    space : LatentSpace
    rate, components, reference, seed
        See the annotations.
    cutoff : {"normal", "validation"}
        ``normal``: of normally distributed latents the share ``rate`` lies beyond, whatever the
        number of images; real latents have heavier tails, so that the sentences tell the shares
        that were found. ``validation``: the reference is the training images, and the cutoff is
        such that a regular image exceeds it with at most the probability ``rate`` if it is drawn
        as the validation images were (split conformal, Vovk, Gammerman & Shafer 2005); needs at
        least 1/rate - 1 of them.

    Returns
    -------
    Irregular

    Raises
    ------
    ParameterError
        A value out of range; too few validation images for this rate.
    DatasetError
        No class has eight images to judge by.
    """
    given = {
        "rate": rate,
        "components": components,
        "reference": reference,
        "cutoff": cutoff,
        "seed": seed,
    }
    validated(find_irregular, given)
    chosen = _reference(space, "training" if cutoff == "validation" else reference)
    labels = space.table["class"].to_numpy(dtype=object)
    counts = pd.Series(labels[chosen]).value_counts()
    judged = [name for name in sorted(set(labels)) if counts.get(name, 0) >= LEAST_IMAGES]
    if not judged:
        raise DatasetError(
            f"irregular images: found at most {counts.max() if len(counts) else 0} reference "
            f"images a class; expected {LEAST_IMAGES} or more; take all images as the reference, "
            "or more images"
        )
    chosen = chosen & np.isin(labels, judged)
    subspace = Subspace.fitted(space.latents[chosen], labels[chosen], components)
    shapes = {
        name: robust_shape(
            subspace.coordinates(space.latents[chosen & (labels == name)], name),
            rate=rate,
            seed=seed,
        )
        for name in judged
    }
    distances, cutoffs = _distances(space, labels, chosen, subspace, shapes)
    if cutoff == "validation":
        cutoffs *= _validation_factor(space, distances / cutoffs, labels, judged, rate)
    images = _images(space, labels, judged, distances, cutoffs)
    wells = _wells(images, space.group_columns, rate, seed)
    classes = _classes(images, chosen, shapes)
    sentences = irregular_sentences(images, wells, classes, rate, cutoff, space.group_columns)
    return Irregular(images, wells, classes, rate, sentences)


def _reference(space: LatentSpace, which: str) -> NDArray[np.bool_]:
    used = space.table["used_for"]
    if which == "training":
        return np.asarray(used == "training")
    seen = np.asarray(used.isin(SEEN))
    counts = space.table["class"][seen].value_counts()
    enough = counts.reindex(space.table["class"].unique(), fill_value=0).min() >= ENOUGH_SEEN
    if which == "seen" or (which == "auto" and enough):
        return seen
    return np.ones(len(space), dtype=bool)


def _distances(
    space: LatentSpace,
    labels: NDArray[np.object_],
    chosen: NDArray[np.bool_],
    subspace: Subspace,
    shapes: dict[str, RobustShape],
) -> tuple[Points, Points]:
    """Return distances and cutoffs of images (rows) for every judged class (columns)."""
    distances, cutoffs = [], []
    for name, shape in shapes.items():
        own = chosen & (labels == name)
        distances.append(shape.distances(subspace.coordinates(space.latents, name)))
        cutoffs.append(np.where(own, shape.fitted_cutoff, shape.new_cutoff))
    return np.stack(distances, axis=1), np.stack(cutoffs, axis=1)


def _validation_factor(
    space: LatentSpace,
    relative: Points,
    labels: NDArray[np.object_],
    judged: list[str],
    rate: float,
) -> float:
    mask = np.asarray(space.table["used_for"] == "validation") & np.isin(labels, judged)
    own = _own(relative, labels, judged)[mask]
    needed = int(np.ceil(1 / rate)) - 1
    if len(own) < needed:
        raise ParameterError(
            f"cutoff: found {len(own)} validation images; expected {needed} or more for a rate of "
            f"{rate:g}; raise the rate or take the cutoff of the normal distribution"
        )
    rank = min(int(np.ceil((len(own) + 1) * (1 - rate))), len(own))
    return float(np.sort(own)[rank - 1])


def _own(values: Points, labels: NDArray[np.object_], judged: list[str]) -> Points:
    """Return each image's value for its own class, NaN where that was not judged."""
    found = np.full(len(labels), np.nan)
    for column, name in enumerate(judged):
        found[labels == name] = values[labels == name, column]
    return found


def _images(
    space: LatentSpace,
    labels: NDArray[np.object_],
    judged: list[str],
    distances: Points,
    cutoffs: Points,
) -> pd.DataFrame:
    relative = distances / cutoffs
    own = _own(relative, labels, judged)
    columns = pd.DataFrame(
        {
            "distance": _own(distances, labels, judged),
            "cutoff": _own(cutoffs, labels, judged),
            "relative distance": own,
            "irregular": own > 1,
            "nearest class": [judged[column] for column in relative.argmin(axis=1)],
        }
    )
    return pd.concat([space.table, columns], axis=1)


def _wells(
    images: pd.DataFrame, group_columns: tuple[str, ...], rate: float, seed: int
) -> pd.DataFrame:
    if not group_columns:
        return pd.DataFrame()
    columns = ["class", *group_columns]
    judged = images[images["distance"].notna()]
    grouped = judged.groupby(columns, sort=True)["relative distance"]
    wells = grouped.agg(["size", "median"]).reset_index()
    wells = wells.rename(columns={"size": "images", "median": "median distance"})
    wells["z"], wells["cutoff"] = np.nan, np.nan
    for _, rows in wells.groupby("class"):
        if len(rows) < LEAST_WELLS:
            continue
        # the cube root of a squared distance is nearly normal (Wilson & Hilferty 1931)
        normal = rows["median distance"].to_numpy() ** (2 / 3)
        wells.loc[rows.index, "z"] = robust_z(normal)
        wells.loc[rows.index, "cutoff"] = robust_z_cutoff(len(rows), rate, seed)
    wells["irregular"] = wells["z"] > wells["cutoff"]
    return wells


def _classes(
    images: pd.DataFrame, chosen: NDArray[np.bool_], shapes: dict[str, RobustShape]
) -> pd.DataFrame:
    rows = []
    for name, of_class in images.groupby("class"):
        shape = shapes.get(str(name))
        within = chosen[of_class.index.to_numpy()]
        irregular = of_class["irregular"].to_numpy()
        rows.append(
            {
                "class": name,
                "images": len(of_class),
                "reference": shape.count if shape else 0,
                "dimensions": len(shape.centre) if shape else 0,
                "estimator": shape.estimator if shape else "",
                "reference images": irregular[within].mean() if within.any() else np.nan,
                "other images": irregular[~within].mean() if (~within).any() else np.nan,
            }
        )
    return pd.DataFrame(rows)
