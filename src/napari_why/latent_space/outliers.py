"""Images and wells far from their class, against what chance would list, and that in words."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core.errors import DatasetError, ParameterError
from napari_why.core.options import Help, Options, Range
from napari_why.core.randomness import LARGEST_SEED
from napari_why.latent_space.robust import (
    RobustShape,
    Subspace,
    robust_shape,
    robust_z,
    robust_z_cutoff,
)
from napari_why.latent_space.space import LatentSpace


@dataclass(frozen=True)
class Outliers:
    """What came out of :func:`~napari_why.latent_space.find_outliers`.

    Parameters
    ----------
    images : DataFrame
        The space's table, row by row, with ``distance`` (robust Mahalanobis distance from the
        centre of the image's class; NaN where the class was not judged), ``cutoff`` (for this
        image), ``relative distance`` (their ratio), ``outlier`` (it is above 1) and ``nearest
        class`` (that of the smallest relative distance).
    wells : DataFrame
        One row per class and group: ``class``, the group columns, ``images``, ``median distance``
        (relative), ``z`` (robust, among the groups of the class), ``cutoff`` and ``outlier``.
        Empty without groups.
    classes : DataFrame
        One row per class: ``class``, ``images``, ``reference`` (images that made its shape),
        ``dimensions``, ``estimator`` (empty where there were too few images), and the share of
        outliers among the ``reference images`` and the ``other images`` (NaN without any).
    rate : float
        Share of regular images, and wells, that the cutoffs let through by chance.
    sentences : tuple of str
        All of it in words.
    """

    images: pd.DataFrame
    wells: pd.DataFrame
    classes: pd.DataFrame
    rate: float
    sentences: tuple[str, ...]

    @property
    def listed(self) -> pd.DataFrame:
        """The outliers, the farthest first."""
        found = self.images[self.images["outlier"]]
        return found.sort_values("relative distance", ascending=False)

    @property
    def listed_wells(self) -> pd.DataFrame:
        """The outlying wells, the farthest first."""
        if self.wells.empty:
            return self.wells
        return self.wells[self.wells["outlier"]].sort_values("z", ascending=False)

    def shares(self, column: str) -> pd.DataFrame:
        """Count outliers by the values of a column: plate, cell line, class, ...

        Returns
        -------
        DataFrame
            The column, ``images`` (judged), ``outliers``, ``share`` (0 to 1) and ``by chance``
            (the number to be expected), the largest share first.

        Raises
        ------
        ParameterError
            There is no such column.
        """
        if column not in self.images.columns:
            known = ", ".join(map(str, self.images.columns))
            raise ParameterError(f"column: found {column!r}; expected one of {known}")
        judged = self.images[self.images["distance"].notna()]
        grouped = judged.groupby(column, dropna=False)["outlier"]
        counted = grouped.agg(images="size", outliers="sum", share="mean").reset_index()
        counted["by chance"] = self.rate * counted["images"]
        return counted.sort_values(["share", "images"], ascending=False).reset_index(drop=True)


# Shares of a few images scatter by a factor of two; three times the rate is more than that.
MANY_TIMES = 3


def outlier_sentences(
    images: pd.DataFrame,
    wells: pd.DataFrame,
    classes: pd.DataFrame,
    rate: float,
    cutoff: str,
    group_columns: Sequence[str],
) -> tuple[str, ...]:
    """Say what was found, how often chance alone would, and what it was measured against.

    Parameters are those of :class:`~napari_why.latent_space.Outliers`; ``cutoff`` is that of
    :func:`~napari_why.latent_space.find_outliers`.

    Parameters
    ----------
    images, wells, classes : DataFrame
    rate : float
        0 to 1.
    cutoff : str
        ``normal`` or ``validation``.
    group_columns : sequence of str
        That name a well together.

    Returns
    -------
    tuple of str
    """
    return (
        _count_outliers(images, rate, cutoff),
        *_reference_sentences(classes, rate),
        *_well_sentences(wells, rate, group_columns),
        *_list_unjudged(classes),
    )


def _count_outliers(images: pd.DataFrame, rate: float, cutoff: str) -> str:
    judged = int(images["distance"].notna().sum())
    outliers = int(images["outlier"].sum())
    # what chance would list stands beside what was found: of 200 images two are far by chance
    condition = (
        "were latents normally distributed"
        if cutoff == "normal"
        else "at most, were all drawn like the validation images"
    )
    return (
        f"{outliers} of {judged} images ({_share(outliers, judged)}) lie far from their class; "
        f"about {rate * judged:.1f} would by chance ({_percent(rate)}, {condition})."
    )


def _reference_sentences(classes: pd.DataFrame, rate: float) -> Iterator[str]:
    judged = classes[classes["estimator"] != ""]
    fewest, most = int(judged["reference"].min()), int(judged["reference"].max())
    count = str(fewest) if fewest == most else f"{fewest} to {most}"
    shrunk = judged["estimator"].str.startswith("shrunk").any()
    few = "; for few images the covariance is shrunk, which finds less" if shrunk else ""
    yield (
        f"What is usual was learned from {count} images of each class{few}. A list of outliers "
        "is for looking at, not for throwing away unseen."
    )
    # A network places its training images more tightly than others, so that others look like
    # outliers when only the network's memory differs; both shares let a reader see that.
    others = judged["images"] - judged["reference"]
    if not others.any():
        return
    within = float(np.average(judged["reference images"], weights=judged["reference"]))
    known = judged[others > 0]
    beyond = float(np.average(known["other images"], weights=others[others > 0]))
    yield (
        f"Of the {int(judged['reference'].sum())} images it was learned from {within:.1%} are "
        f"outliers, of the {int(others.sum())} others {beyond:.1%}."
    )
    if beyond > MANY_TIMES * max(within, rate):
        yield (
            "The others lie farther out as a whole: either they differ, or the network knows its "
            "training images by heart. Compare plates, and take all images as the reference."
        )


def _well_sentences(
    wells: pd.DataFrame, rate: float, group_columns: Sequence[str]
) -> Iterator[str]:
    if not group_columns:
        yield "No column tells the wells, so that no well was judged."
        return
    name = group_columns[-1]
    judged = wells[wells["z"].notna()]
    if judged.empty:
        yield f"There are too few {name}s of a class to judge them."
        return
    outliers = int(judged["outlier"].sum())
    yield (
        f"{outliers} of {len(judged)} {name}s lie far from the others of their class; about "
        f"{rate * len(judged):.1f} would by chance."
    )


def _list_unjudged(classes: pd.DataFrame) -> Iterator[str]:
    names = classes["class"][classes["estimator"] == ""]
    if len(names):
        yield f"Too few images to judge by: {', '.join(map(str, names))}."


def _share(part: int, whole: int) -> str:
    return _percent(part / whole) if whole else "0 %"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


Points = NDArray[np.float64]

# Three quarters of eight are six points, with which two dimensions still have a covariance.
LEAST_IMAGES = 8
# From here on the seen images alone say what is usual; below it, a better estimate from all images
# is worth that outliers among the unseen take part in it.
ENOUGH_SEEN = 20
# The median absolute deviation of fewer wells rests on one or two of them.
LEAST_WELLS = 5
# Validation images chose the epoch, so the network has been fitted to them too, if weakly.
SEEN = ("training", "validation")


@dataclass(frozen=True, kw_only=True)
class OutlierOptions(Options):
    """How outliers are looked for.

    Parameters
    ----------
    rate, components, reference, seed
        See the annotations.
    cutoff : {"normal", "validation"}
        ``normal``: of normally distributed latents the share ``rate`` lies beyond, whatever the
        number of images; real latents have heavier tails, so that the sentences tell the shares
        that were found. ``validation``: the reference is the training images, and the cutoff is
        such that a regular image exceeds it with at most the probability ``rate`` if it is drawn
        as the validation images were (split conformal, Vovk, Gammerman & Shafer 2005); needs at
        least 1/rate - 1 of them.
    """

    # one image in a hundred: a list that can be looked through, at the price of mild outliers
    rate: Annotated[
        float, Help("share of regular images that may be listed by chance"), Range(0.0001, 0.2)
    ] = 0.01
    # each dimension needs five images a class for an unshrunk covariance, and wells give some tens
    components: Annotated[
        int, Help("at most this many principal components are looked at"), Range(1, 50)
    ] = 10
    reference: Annotated[
        Literal["auto", "seen", "all"],
        Help(
            "images that say what is usual for a class: those the network was trained or chosen "
            "with, or all; auto: the former where every class has 20"
        ),
    ] = "auto"
    cutoff: Annotated[
        Literal["normal", "validation"],
        Help(
            "where an outlier begins: by simulated normal distributions, or by the validation images"
        ),
    ] = "normal"
    seed: Annotated[int, Help("of the estimator and its simulation"), Range(0, LARGEST_SEED)] = 0


def find_outliers(
    space: LatentSpace, options: OutlierOptions | None = None, **changes: Any
) -> Outliers:
    """Find the images that lie far from the images of their class.

    The latents are reduced to their principal components within classes (95 % of the variance, at
    most ``components``), with one coordinate more for how far an image lies outside of these. The
    centre and covariance of each class (by label) are estimated robustly
    (:func:`~napari_why.latent_space.robust.robust_shape`), so that up to a quarter of outliers
    among the reference does not hide itself. A well is judged by the median of its images'
    distances, against the other wells of its class.

    Parameters
    ----------
    space : LatentSpace
    options : OutlierOptions, optional
        The defaults of the class without any.
    **changes
        Single options by name, in place of those in ``options``.

    Returns
    -------
    Outliers

    Raises
    ------
    ParameterError
        A value out of range; too few validation images for this rate.
    DatasetError
        No class has eight images to judge by.
    """
    settings = OutlierOptions.of(options, changes)
    # validation images that set the cutoff must have no part in the shape (split conformal)
    by_validation = settings.cutoff == "validation"
    chosen = _reference(space, "training" if by_validation else settings.reference)
    labels = space.table["class"].to_numpy(dtype=object)
    counts = pd.Series(labels[chosen]).value_counts()
    judged = [name for name in sorted(set(labels)) if counts.get(name, 0) >= LEAST_IMAGES]
    if not judged:
        raise DatasetError(
            f"outliers: found at most {counts.max() if len(counts) else 0} reference "
            f"images a class; expected {LEAST_IMAGES} or more; take all images as the reference, "
            "or more images"
        )
    chosen = chosen & np.isin(labels, judged)
    subspace = Subspace.fit(space.latents[chosen], labels[chosen], settings.components)
    shapes = {
        name: robust_shape(
            subspace.coordinates(space.latents[chosen & (labels == name)], name),
            rate=settings.rate,
            seed=settings.seed,
        )
        for name in judged
    }
    distances, cutoffs = _distances(space, labels, chosen, subspace, shapes)
    if by_validation:
        cutoffs *= _validation_factor(space, distances / cutoffs, labels, judged, settings.rate)
    images = _images(space, labels, judged, distances, cutoffs)
    wells = _wells(images, space.group_columns, settings.rate, settings.seed)
    classes = _classes(images, chosen, shapes)
    sentences = outlier_sentences(
        images, wells, classes, settings.rate, settings.cutoff, space.group_columns
    )
    return Outliers(images, wells, classes, settings.rate, sentences)


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
        # the images of the reference pulled centre and covariance to themselves and lie closer
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
    needed = int(np.ceil(1 / rate)) - 1  # with fewer, the rank below would be beyond the last
    if len(own) < needed:
        raise ParameterError(
            f"cutoff: found {len(own)} validation images; expected {needed} or more for a rate of "
            f"{rate:g}; raise the rate or take the cutoff of the normal distribution"
        )
    # n + 1: the new image is as likely as any of the n to be the farthest (Vovk et al. 2005)
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
            "outlier": own > 1,  # False for NaN: a class that was not judged has no outlier
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
        # by the median of its images: one artefact in a field must not list the well
        # the cube root of a squared distance is nearly normal (Wilson & Hilferty 1931)
        normal = rows["median distance"].to_numpy() ** (2 / 3)
        wells.loc[rows.index, "z"] = robust_z(normal)
        wells.loc[rows.index, "cutoff"] = robust_z_cutoff(len(rows), rate, seed)
    wells["outlier"] = wells["z"] > wells["cutoff"]
    return wells


def _classes(
    images: pd.DataFrame, chosen: NDArray[np.bool_], shapes: dict[str, RobustShape]
) -> pd.DataFrame:
    rows = []
    for name, of_class in images.groupby("class"):
        shape = shapes.get(str(name))
        within = chosen[of_class.index.to_numpy()]
        outliers = of_class["outlier"].to_numpy()
        rows.append(
            {
                "class": name,
                "images": len(of_class),
                "reference": shape.count if shape else 0,
                "dimensions": len(shape.centre) if shape else 0,
                "estimator": shape.estimator if shape else "",
                "reference images": outliers[within].mean() if within.any() else np.nan,
                "other images": outliers[~within].mean() if (~within).any() else np.nan,
            }
        )
    return pd.DataFrame(rows)
