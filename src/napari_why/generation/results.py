"""What comes out of a decoder: a series of images, or an image beside its reconstruction."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.pictures import Axis, Picture
from napari_why.core.record import Record
from napari_why.images import NO_LENGTH, Grid, PixelSize


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
        What the network predicts for each decoded image; no classes of a generator that classifies
        nothing.
    classes, channels : tuple of str
    grid : Grid
        Where the pixels lie on the source image; the images' own pixels where there is no source.
    record : Record
    unlike : tuple of str
        In what the images that it was made of are unlike the training images.
    drawn_as : tuple of str
        Class that each image was asked for as; empty where none was.
    pixel_size : PixelSize
        Of the pixels that the grid counts in, where it is known.
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
    unlike: tuple[str, ...] = ()
    drawn_as: tuple[str, ...] = ()
    pixel_size: PixelSize = NO_LENGTH

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences to read beside the images."""
        return self.unlike

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record."""
        # nobody is to take for data what a network made up
        return {"generated": True, "notes": list(self.notes)}

    def pictures(self) -> dict[str, Picture]:
        """Return the series."""
        return {
            "images": Picture(
                compute=lambda: self.images,
                channels=self.channels,
                titles=tuple(f"{channel}: generated, {self.axis}" for channel in self.channels),
                role=self.axis,
                kind="intensity",
                unit="grey levels",
                axis=Axis(self.axis, self.values),
            )
        }


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
        What the network predicts for the image and for its reconstruction.
    classes, channels : tuple of str
    grid : Grid
        Where the pixels lie on the source image.
    record : Record
    unlike : tuple of str
        In what the image is unlike the training images.
    pixel_size : PixelSize
        Of the pixels that the grid counts in, where it is known.
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
    unlike: tuple[str, ...] = ()
    pixel_size: PixelSize = NO_LENGTH

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
        # a small error in grey levels may still cost the image its class, so both are said
        predicted = (
            f"Both are predicted as {before}."
            if before == after
            else f"The image is predicted as {before}, its reconstruction as {after}."
        )
        return f"Mean absolute error of the reconstruction: {errors}. {predicted}"

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences to read beside the images."""
        return (self.sentence, *self.unlike)

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record, in which the errors stand."""
        return {"generated": True, "notes": list(self.notes)}

    def pictures(self) -> dict[str, Picture]:
        """Return the reconstruction and, hidden, its error."""
        channels = self.channels
        return {
            "reconstruction": Picture(
                compute=lambda: self.reconstruction,
                channels=channels,
                titles=tuple(f"{channel}: generated, reconstruction" for channel in channels),
                role="reconstruction",
                kind="intensity",
                unit="grey levels",
            ),
            "error": Picture(
                compute=lambda: self.error,
                channels=channels,
                titles=tuple(
                    f"{channel}: error of the generated reconstruction" for channel in channels
                ),
                role="reconstruction error",
                kind="signed",
                unit="grey levels",
                visible=False,
            ),
        }
