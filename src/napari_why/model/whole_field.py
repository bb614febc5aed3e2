"""A classifier that was trained on crops, made ready for a whole field of one size."""

from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_why.core.errors import CancellationError, MismatchError, UnsupportedNetworkError
from napari_why.core.events import Advanced, Cancelled, Event, OnEvent, Started
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.images import Grid
from napari_why.model.classifier import Classifier
from napari_why.model.image_facts import ImageFacts, check_image
from napari_why.networks.iresnet import IResNet
from napari_why.networks.tiled_iresnet import VALUES_PER_MAP, EachTile, TiledIResNet


@dataclass(frozen=True)
class FieldPreprocessing(Preprocessing):
    """Prepare a whole field without cutting or resizing it.

    The field is mirrored at its lower and right borders up to a multiple of what the network
    scales down by; the inverse takes those pixels away again, so images lie on the source's grid.

    Parameters
    ----------
    shape : (int, int)
        Height and width of the field in pixels.
    multiple : int
        What the prepared height and width are multiples of.

    Examples
    --------
    >>> from napari_why.simulation import simulate
    >>> dataset = simulate(8, size=32)
    >>> field = FieldPreprocessing.of(Preprocessing.from_dataset(dataset, size=16, fit="crop"), (32, 32), 24)
    >>> x = field(dataset.image(0))
    >>> x.shape, bool((field.inverse(x).round() == dataset.image(0).values).all())
    (torch.Size([2, 48, 48]), True)
    """

    shape: tuple[int, int] = (0, 0)
    multiple: int = 1

    @classmethod
    def of(
        cls, preprocessing: Preprocessing, shape: tuple[int, int], multiple: int
    ) -> "FieldPreprocessing":
        """Return the preprocessing of fields with the intensities of that of crops.

        Parameters
        ----------
        preprocessing : Preprocessing
            Of the crops that the network was trained on.
        shape : (int, int)
            Height and width of the fields in pixels.
        multiple : int
            What the prepared height and width are multiples of.

        Returns
        -------
        FieldPreprocessing
        """
        same = {item.name: getattr(preprocessing, item.name) for item in fields(Preprocessing)}
        return cls(**(same | {"size": None, "fit": "none"}), shape=shape, multiple=multiple)

    def of_pixels(self, pixels: NDArray[Any]) -> Tensor:
        """Prepare the raw pixels (C, y, x) of one field for the network.

        Returns
        -------
        Tensor, float32, shape (C, H, W)
            Standardised, mirrored to multiples.
        """
        x = super().of_pixels(pixels).numpy()
        missing = [(0, -size % self.multiple) for size in x.shape[1:]]
        return torch.from_numpy(np.pad(x, [(0, 0), *missing], mode="reflect"))

    def inverse(self, x: Tensor | ArrayLike) -> NDArray[np.float64]:
        """Give raw units back, without what was mirrored; shape (..., C, *shape)."""
        height, width = self.shape
        return super().inverse(x)[..., :height, :width]

    def grid(self, image: xr.DataArray) -> Grid:
        """Return the grid of ``image`` itself."""
        return Grid((image.sizes["y"], image.sizes["x"]))


@dataclass(frozen=True, eq=False)
class WholeFieldClassifier(Classifier):
    """The same classifier for fields of one size, at the pixel size of its training images.

    Images are not cut: probabilities are those of features averaged over the whole field. Network
    and images are worked through in tiles. Weights, statistics and fingerprint are those of
    ``trained``.

    Parameters
    ----------
    trained : Classifier
        The classifier as it was trained on crops.
    """

    _: KW_ONLY
    trained: Classifier

    @property
    def configuration(self) -> dict[str, Any]:
        """That of the trained classifier: weights, fingerprint and files are the same."""
        return self.trained.configuration

    def crops(self, image: xr.DataArray) -> Iterator[Tensor]:
        """Yield rows (n, C, H, W) of crops side by side, each prepared as a training image was.

        Nothing where the field is smaller than a training image, or their size is not known.

        Parameters
        ----------
        image : DataArray, dims (c, y, x)
        """
        side = self.trained.preprocessing.size
        if side is None or image.sizes["x"] < side:
            return
        for top in range(0, image.sizes["y"] - side + 1, side):
            row = image.isel(y=slice(top, top + side))
            lefts = range(0, image.sizes["x"] - side + 1, side)
            yield torch.cat(
                [self.trained.prepare(row.isel(x=slice(left, left + side))) for left in lefts]
            )


def for_whole_field(
    classifier: Classifier,
    image: xr.DataArray,
    *,
    each_tile: EachTile | None = None,
    values_per_map: int = VALUES_PER_MAP,
) -> WholeFieldClassifier:
    """Return the classifier for whole fields of the size of an image.

    Parameters
    ----------
    classifier : Classifier
        With an ``iresnet`` that was trained on crops at the camera's pixel size
        (``fit(sizing="crop")``), or on images that were not resized.
    image : DataArray, dims (c, y, x)
        A field.
    each_tile : callable, optional
        Told how many tiles of a stage are done, and how many there are; what it raises ends the
        work.
    values_per_map : int
        Size of a tile; see :class:`napari_why.networks.tiled_iresnet.TiledIResNet`.

    Returns
    -------
    WholeFieldClassifier
        Sharing the network's weights with ``classifier``.

    Raises
    ------
    UnsupportedNetworkError
        Another network: its features or its inverse depend on the image's size.
    MismatchError
        The training images were resized; or the image does not fit for other reasons.

    Examples
    --------
    >>> from napari_why import fit
    >>> from napari_why.simulation import simulate
    >>> from napari_why.simulation.scenes import SimulatedScene
    >>> classifier = fit(simulate(16, size=32), size=32, sizing="crop", epochs=1, lock="none")
    >>> field = SimulatedScene(0, size=72).image("treated")
    >>> sum(for_whole_field(classifier, field).predict(field).probabilities.values())
    1.0
    """
    network = classifier.network
    if not isinstance(network, IResNet):
        raise UnsupportedNetworkError(
            f"whole field: found the network {network.name}; expected an iresnet, which takes "
            "images of any size and is inverted in tiles"
        )
    resized = _resized_from(classifier)
    if resized:
        raise MismatchError(
            f"whole field: found a classifier whose training images were resized {resized}; "
            "expected one that saw the camera's pixels; train it with sizing='crop'"
        )
    tiled = (
        TiledIResNet(network, values_per_map=values_per_map)
        if each_tile is None
        else TiledIResNet(network, each_tile, values_per_map)
    )
    shape = (image.sizes["y"], image.sizes["x"])
    preprocessing = FieldPreprocessing.of(classifier.preprocessing, shape, tiled.downscaling)
    same: dict[str, Any] = {
        item.name: getattr(classifier, item.name) for item in fields(Classifier)
    }
    made = WholeFieldClassifier(
        **(same | {"network": tiled, "preprocessing": preprocessing}), trained=classifier
    )
    check_image(image, made.channels, preprocessing)
    return made


def _resized_from(classifier: Classifier) -> str:
    """Tell how the training images were resized; empty where they were not."""
    preprocessing = classifier.preprocessing
    if preprocessing.fit != "resize" or preprocessing.size is None:
        return ""
    side = preprocessing.size
    if not classifier.card:
        return f"to {side} x {side} pixels"
    shapes = ImageFacts.from_dict(classifier.card["images"]).shapes
    others = [f"{height} x {width}" for height, width in shapes if (height, width) != (side, side)]
    return f"from {others[0]} to {side} x {side} pixels" if others else ""


class FieldProgress:
    """A listener that also tells which tile is done, and stops the work between tiles.

    Parameters
    ----------
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    """

    def __init__(self, on_event: OnEvent, cancelled: Cancelled) -> None:
        self._on_event, self._cancelled = on_event, cancelled
        self._done = 0

    def __call__(self, event: Event) -> None:
        """Pass an event on, and keep in mind how many steps are done."""
        if isinstance(event, Started):
            self._done = 0
        elif isinstance(event, Advanced):
            self._done = event.done
        self._on_event(event)

    def each_tile(self, done: int, total: int) -> None:
        """Tell that a tile is done.

        Parameters
        ----------
        done : int
            Tiles of the stage that are done.
        total : int
            Tiles of the stage; of a single one nothing is told.

        Raises
        ------
        CancellationError
            The user asked to stop. Whoever has something to keep catches it.
        """
        if total > 1:
            self._on_event(Advanced(self._done, f"tile {done} of {total}"))
        if self._cancelled():
            raise CancellationError(
                "counterfactual: found that it was cancelled before there was an image of the "
                "field to keep; expected at least one; start it anew"
            )
