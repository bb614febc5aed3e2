"""Preprocessing of whole fields of one size for a network that was trained on crops."""

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from napari_why.datasets.preprocessing import Preprocessing
from napari_why.images import Grid

if TYPE_CHECKING:
    import torch


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
    >>> from napari_why.datasets import simulate
    >>> dataset = simulate(8, size=32)
    >>> field = FieldPreprocessing.of(Preprocessing.fitted(dataset, size=16, fit="crop"), (32, 32), 24)
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
        """Return the preprocessing of fields with the intensities of that of crops."""
        same = {item.name: getattr(preprocessing, item.name) for item in fields(Preprocessing)}
        return cls(**(same | {"size": None, "fit": "none"}), shape=shape, multiple=multiple)

    def __call__(self, image: xr.DataArray) -> "torch.Tensor":
        """Prepare one field for the network.

        Returns
        -------
        Tensor, float32, shape (C, H, W)
            Standardised, mirrored to multiples.
        """
        import torch

        x = super().__call__(image).numpy()
        missing = [(0, -size % self.multiple) for size in x.shape[1:]]
        return torch.from_numpy(np.pad(x, [(0, 0), *missing], mode="reflect"))

    def inverse(self, x: "torch.Tensor | ArrayLike") -> NDArray[np.float64]:
        """Give raw units back, without what was mirrored; shape (..., C, *shape)."""
        height, width = self.shape
        return super().inverse(x)[..., :height, :width]

    def grid(self, image: xr.DataArray) -> Grid:
        """Return the grid of ``image`` itself."""
        return Grid((image.sizes["y"], image.sizes["x"]))
