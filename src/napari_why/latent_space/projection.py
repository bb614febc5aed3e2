"""Two dimensions of many: PCA, UMAP where it is installed, and the path of a counterfactual in them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_why.core.errors import MismatchError, ParameterError, WhyError
from napari_why.core.events import (
    Advanced,
    Cancelled,
    Finished,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import Help, Range, validated
from napari_why.core.randomness import LARGEST_SEED
from napari_why.core.registry import Method, Registry
from napari_why.counterfactuals import Counterfactual
from napari_why.images import make_image
from napari_why.latent_space.space import VALUES_AT_A_TIME, LatentSpace, encode
from napari_why.model import Classifier

Points = NDArray[np.float64]
# Two images make a line and a plane through it; UMAP's graph of neighbours needs some more.
FEWEST_FOR_PCA, FEWEST_FOR_UMAP = 2, 4
# The spectral start takes eigenvectors of the graph, which fail on a graph of a few points.
FEWEST_FOR_SPECTRAL_START = 10
# Of umap-learn's bar of epochs, all that is read.
BAR_FORMAT = "{n_fmt} of {total_fmt}"
CANCELLED = "UMAP was cancelled"


@dataclass(frozen=True, eq=False)
class Projection:
    """A map from latents to the plane, fitted on the images of a latent space.

    Parameters
    ----------
    method : str
        Name in :data:`PROJECTIONS`.
    coordinates : ndarray, float64, shape (n, 2)
        Of the images, in the order of the space's table.
    axis_labels : tuple of str
        What the two axes are; for PCA with the share of variance that each explains.
    note : str
        What to keep in mind when looking at it.
    transform : callable
        Takes latents (m, K) and gives points (m, 2); see :meth:`project`.
    """

    method: str
    coordinates: Points
    axis_labels: tuple[str, str]
    note: str
    transform: Callable[[NDArray[Any]], Points] = field(repr=False)

    def project(self, latents: NDArray[Any]) -> Points:
        """Put further latents, such as those of a counterfactual's path, into the same plane.

        Parameters
        ----------
        latents : ndarray, shape (m, K)

        Returns
        -------
        ndarray, float64, shape (m, 2)

        Raises
        ------
        ParameterError
            They have another number of coordinates.
        """
        return self.transform(latents)


PROJECTIONS: Registry[Method] = Registry("projection", "napari_why.projections")

ProjectionFunction = Callable[..., Projection]


def projection_method(
    *, title: str, source: str
) -> Callable[[ProjectionFunction], ProjectionFunction]:
    """Put the decorated function into :data:`PROJECTIONS` under its own name.

    The function is ``(space, *, ...) -> Projection``. Keywords that carry a
    :class:`~napari_why.core.options.Help` are the user's parameters. Another package joins by an
    entry point of the group ``napari_why.projections``.

    Parameters
    ----------
    title : str
        Name for the user.
    source : str
        The paper the method comes from.

    Returns
    -------
    callable
        A decorator that returns the function itself.
    """

    def register(function: ProjectionFunction) -> ProjectionFunction:
        PROJECTIONS.add(Method(function.__name__, title, source, function))
        return function

    return register


@projection_method(title="PCA", source="Pearson 1901, doi:10.1080/14786440109462720")
def pca(space: LatentSpace) -> Projection:
    """Project on the two directions of largest variance (principal component analysis).

    Linear: distances and straight lines keep their meaning as far as the two axes explain the
    variance, which the axis labels say.

    Raises
    ------
    WhyError
        There are fewer than two images.
    """
    from sklearn.decomposition import PCA

    _check_count(space, FEWEST_FOR_PCA)
    latents = space.latents.astype(np.float64)
    count = min(2, *latents.shape)
    # "full": the randomised solver, which scikit-learn may choose, gives another picture each time
    fitted = PCA(count, svd_solver="full").fit(latents)
    shares = [float(share) for share in np.nan_to_num(fitted.explained_variance_ratio_)]
    shares += [0.0] * (2 - count)  # a latent of one number: the second axis shows nothing

    def transform(new: NDArray[Any]) -> Points:
        values = np.asarray(fitted.transform(_check_latents(new, space)), dtype=np.float64)
        return np.pad(values, ((0, 0), (0, 2 - count)))

    labels = tuple(f"PC {axis} ({share:.0%} of variance)" for axis, share in enumerate(shares, 1))
    note = (
        f"The two axes show {sum(shares):.0%} of the variance; images that lie together here may "
        "lie apart in the rest."
    )
    return Projection("pca", transform(latents), (labels[0], labels[1]), note, transform)


@projection_method(title="UMAP", source="McInnes, Healy & Melville 2018, arXiv:1802.03426")
def umap(
    space: LatentSpace,
    *,
    neighbours: Annotated[
        int, Help("images taken for near: few show detail, many the whole"), Range(2, 200)
    ] = 15,
    minimum_distance: Annotated[
        float, Help("how closely points may be packed"), Range(0, 0.99)
    ] = 0.1,
    seed: Annotated[int, Help("another number gives another picture"), Range(0, LARGEST_SEED)] = 0,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Projection:
    """Project so that neighbours stay neighbours (McInnes, Healy & Melville 2018).

    Needs the extra ``umap``. The number of neighbours is at most that of the images less one. It can be
    cancelled once its epochs have begun.

    Parameters
    ----------
    space : LatentSpace
    neighbours : int
        2 to 200.
    minimum_distance : float
        Between points of the picture, 0 to 0.99.
    seed : int
        Of UMAP's random numbers.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    Projection
        Two dimensions, in units of their own.

    Raises
    ------
    WhyError
        umap-learn is not installed, there are fewer than four images, or it was cancelled.
    """
    if find_spec("umap") is None:
        raise WhyError(
            "UMAP needs the package umap-learn, which is not installed; install it with "
            "pip install 'napari-why[umap]', or choose PCA"
        )
    _check_count(space, FEWEST_FOR_UMAP)
    if cancelled():
        raise WhyError(CANCELLED)
    on_event(Started("UMAP: finding neighbours"))
    import umap as umap_learn  # takes seconds: numba compiles

    bar = EpochBar(on_event, cancelled)
    fitted = umap_learn.UMAP(
        n_neighbors=min(neighbours, len(space) - 1),
        min_dist=minimum_distance,
        random_state=seed,
        n_jobs=1,  # with a seed UMAP works on one core anyway, and warns otherwise
        init="spectral" if len(space) > FEWEST_FOR_SPECTRAL_START else "random",
        # how umap-learn tells of its epochs: written, as by a bar in a terminal, to what takes them
        tqdm_kwds={"disable": False, "file": bar, "bar_format": BAR_FORMAT},
    )
    coordinates = np.asarray(fitted.fit_transform(space.latents), dtype=np.float64)
    bar.close()

    def transform(new: NDArray[Any]) -> Points:
        return np.asarray(fitted.transform(_check_latents(new, space)), dtype=np.float64)

    note = (
        "UMAP keeps neighbourhoods: which images lie together tells something, how far groups lie "
        "apart and how wide they are does not. A path is placed by its nearest images."
    )
    return Projection("umap", coordinates, ("UMAP 1", "UMAP 2"), note, transform)


class EpochBar:
    """What umap-learn writes its bar of epochs to: they become events, and it can be stopped.

    Parameters
    ----------
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Examples
    --------
    >>> heard = []
    >>> bar = EpochBar(heard.append, never_cancelled)
    >>> for said in ("0 of 500", "120 of 500", ""):
    ...     bar.write(said)
    >>> [type(event).__name__ for event in heard], heard[-1].done
    (['Started', 'Advanced', 'Advanced'], 120)
    """

    def __init__(self, on_event: OnEvent, cancelled: Cancelled) -> None:
        self._on_event, self._cancelled = on_event, cancelled
        self._begun = self._closed = False

    def write(self, text: str) -> None:
        """Take a line of the bar.

        Raises
        ------
        WhyError
            The work was cancelled: nothing else stops umap-learn between two epochs.
        """
        found = re.search(r"(\d+) of (\d+)", text)
        if self._closed or found is None:
            return
        if self._cancelled():
            self._closed = True
            raise WhyError(CANCELLED)
        if not self._begun:
            self._begun = True
            self._on_event(Started("UMAP", int(found[2])))
        self._on_event(Advanced(int(found[1]), f"UMAP: epoch {found[1]} of {found[2]}"))

    def flush(self) -> None:
        """Do nothing: every line was taken as it came."""

    def close(self) -> None:
        """Take no more: points that are added later have epochs of their own, and nobody listens."""
        self._closed = True
        self._on_event(Finished())


def project(
    space: LatentSpace,
    method: str = "pca",
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **parameters: Any,
) -> Projection:
    """Project a latent space by the name of the method.

    Parameters
    ----------
    space : LatentSpace
    method : str
    on_event, cancelled
        See :mod:`napari_why.core.events`; for methods that take them.
    **parameters
        Those of the method.

    Returns
    -------
    Projection

    Raises
    ------
    ParameterError
        Unknown method or parameter.
    WhyError
        The method cannot be had, or it was cancelled.
    """
    known = PROJECTIONS.named(method)
    listeners = {"on_event": on_event, "cancelled": cancelled}
    heard = {name: listener for name, listener in listeners.items() if known.takes(name)}
    projection: Projection = known.function(space, **validated(known.function, parameters), **heard)
    return projection


def _check_count(space: LatentSpace, least: int) -> None:
    if len(space) < least:
        raise WhyError(
            f"projection: found {len(space)} images; expected at least {least} to have a plane"
        )


def _check_latents(latents: NDArray[Any], space: LatentSpace) -> NDArray[np.float64]:
    expected = space.latents.shape[1]
    if latents.ndim != 2 or latents.shape[1] != expected:
        raise ParameterError(
            f"latents: found shape {latents.shape}; expected (m, {expected}), from the classifier "
            "that made this latent space"
        )
    return np.asarray(latents, dtype=np.float64)


def path_of(counterfactual: Counterfactual, classifier: Classifier) -> NDArray[np.float32]:
    """Return the pooled latent of every step of a counterfactual.

    The exported images are encoded again, as a saved and reopened file would be: the path is
    that of what is seen, not of what was asked for.

    Parameters
    ----------
    counterfactual : Counterfactual
    classifier : Classifier
        The one that made it, or any other with its channels.

    Returns
    -------
    ndarray, float32, shape (A, K)
        One row per alpha; see :func:`napari_why.embed`.
    """
    return embed_series(counterfactual.images, counterfactual.channels, classifier)


def embed_series(
    images: NDArray[Any], channels: Sequence[str], classifier: Classifier
) -> NDArray[np.float32]:
    """Return the pooled latents of a series of images.

    Parameters
    ----------
    images : ndarray, shape (A, C, H, W)
        Raw intensity units.
    channels : sequence of str
        Names along C; the classifier's are found among them.
    classifier : Classifier

    Returns
    -------
    ndarray, float32, shape (A, K)

    Raises
    ------
    MismatchError
        There is no image, or a channel is missing.
    """
    if not len(images):
        raise MismatchError("path: found no image; expected one or more for each channel")
    # images of a series have one size, so that batches need no sorting by size as data sets do
    size = max(1, VALUES_AT_A_TIME // images[0].size)
    latents = []
    for start in range(0, len(images), size):
        prepared = [
            classifier.prepare(make_image(image, ("c", "y", "x"), tuple(channels)))
            for image in images[start : start + size]
        ]
        latents.append(encode(classifier, torch.cat(prepared))[0])
    return np.concatenate(latents)
