"""Images that came out of a decoder."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_why.images import Grid
from napari_why.record import Record


@dataclass(frozen=True)
class GeneratedImages:
    """A series of decoded images.

    Parameters
    ----------
    images : ndarray, float32, shape (A, C, H, W)
        In raw intensity units, neither rounded nor clipped: a decoder may undershoot black.
    axis : str
        What ``values`` are: ``sample``, ``interpolation`` or ``latent N``.
    values : ndarray, float64, shape (A,)
        Position of each image along the axis, evenly spaced.
    latents : ndarray, float32, shape (A, K)
        What was decoded.
    probabilities : ndarray, float32, shape (A, classes)
        What the network calls each decoded image.
    classes, channels : tuple of str
    grid : Grid
        Where the pixels lie on the source image; the images' own pixels where there is no source.
    record : Record
    """

    images: NDArray[np.float32]
    axis: str
    values: NDArray[np.float64]
    latents: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    grid: Grid
    record: Record


@dataclass(frozen=True)
class Reconstruction:
    """An image beside what the network's decoder makes of its latent.

    Parameters
    ----------
    image : ndarray, float32, shape (C, H, W)
        Raw intensities on the network's pixel grid.
    reconstruction : ndarray, float32, shape (C, H, W)
        decode(encode(x)) in the same units, neither rounded nor clipped.
    mean_square_error : dict of str to float
        By channel, in units of the channel's variance over the training images.
    mean_absolute_error : dict of str to float
        By channel, in grey levels of the source.
    probabilities, reconstructed_probabilities : ndarray, float32, shape (classes,)
        What the network calls the image and its reconstruction.
    classes, channels : tuple of str
    grid : Grid
        Where the pixels lie on the source image.
    record : Record
    """

    image: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    mean_square_error: dict[str, float]
    mean_absolute_error: dict[str, float]
    probabilities: NDArray[np.float32]
    reconstructed_probabilities: NDArray[np.float32]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    grid: Grid
    record: Record

    @property
    def error(self) -> NDArray[np.float32]:
        """Reconstruction minus image, raw units, shape (C, H, W)."""
        return self.reconstruction - self.image

    @property
    def sentence(self) -> str:
        """The errors, and whether the reconstruction still counts as the image's class."""
        errors = ", ".join(
            f"{name} {grey:.3g} grey levels (mean square error {self.mean_square_error[name]:.3g})"
            for name, grey in self.mean_absolute_error.items()
        )
        before, after = (
            self.classes[int(found.argmax())]
            for found in (self.probabilities, self.reconstructed_probabilities)
        )
        called = (
            f"Both are called {before}."
            if before == after
            else (f"The image is called {before}, its reconstruction {after}.")
        )
        return f"Mean absolute error of the reconstruction: {errors}. {called}"
