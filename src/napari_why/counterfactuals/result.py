"""What a counterfactual method returns: images on a path from one class to another."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_why.core.record import Record
from napari_why.images.image import Grid


@dataclass(frozen=True)
class Counterfactual:
    """A sequence of images that leads from the source's class to the target class.

    Parameters
    ----------
    images : ndarray, shape (A, C, H, W)
        The exported images in raw intensity units, one per alpha: dtype of the source where it
        is 16-bit, float32 where rounding would wipe the change out.
    alphas : ndarray, float64, shape (A,)
        Position on the path: 0 is the source, 1 the full displacement; evenly spaced. At least
        one, fewer than asked for when the work was cancelled.
    probabilities : ndarray, float32, shape (A, K)
        Probability of every class, computed on exactly the exported images.
    reconstruction : ndarray, float32, shape (C, H, W)
        f^-1(f(x)) in raw units: what differences are taken against. Of an approximate decoder
        decode(encode(x)), plus the details that it leaves out where these are kept.
    special_alphas : dict of str to float or None
        ``boundary`` (the target overtakes its strongest competitor: p = 0.5 with two classes),
        ``alpha0`` (the method's own guess of it, else the boundary) and ``alpha1`` (the
        convincing image); None where there is none on the path. ``transport`` adds ``wanted``, where
        p(target) of the exported image reaches the wanted probability, if it does.
    special_images : dict of str to ndarray, shape (C, H, W)
        The exported images at the special alphas, same dtype as ``images``; those that a
        cancelled run did not reach are missing.
    special_probabilities : dict of str to ndarray, shape (K,)
        Class probabilities of exactly those exported images.
    classes, channels : tuple of str
        Names along K and C.
    source_class, target : str
        Predicted class of the source, and the class that was asked for.
    valid : bool
        The exported image at ``alpha1`` is predicted as the target; False when a cancelled run
        did not get that far.
    round_trip_error : float
        Largest |reconstruction - x| in grey levels of the source's unit.
    out_of_range : float
        Share of values of the image at ``alpha1`` outside the source dtype's range before
        export; 0 for float sources, which have no range.
    grid : Grid
        Where the pixels lie on the source image.
    record : Record
        How it was made.
    complete : bool
        False when the work was cancelled.
    notes : tuple of str
        Sentences that the user should read beside the images.
    second_probabilities : dict of str to ndarray, shape (K,), or None
        What an independently trained second network says about the exported images at the
        special alphas, by their names; None where there is no second network.
    distance : float or None
        How far the exported image at ``alpha1`` lies from the data: the share (0 to 1) of the
        target class's training images that lie closer to their class than it does. 0.5 is an
        ordinary image, 1 one that is further off than every training image; None where it is
        not known.
    """

    images: NDArray[Any]
    alphas: NDArray[np.float64]
    probabilities: NDArray[np.float32]
    reconstruction: NDArray[np.float32]
    special_alphas: dict[str, float | None]
    special_images: dict[str, NDArray[Any]]
    special_probabilities: dict[str, NDArray[np.float32]]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    source_class: str
    target: str
    valid: bool
    round_trip_error: float
    out_of_range: float
    grid: Grid
    record: Record
    complete: bool = True
    notes: tuple[str, ...] = ()
    second_probabilities: dict[str, NDArray[np.float32]] | None = None
    distance: float | None = None

    @property
    def differences(self) -> NDArray[np.float32]:
        """Images minus the reconstruction f^-1(f(x)), raw units, shape (A, C, H, W)."""
        return self.images.astype(np.float32) - self.reconstruction
