"""The images on a path: each is decoded, exported and classified as exported, once."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.errors import CancellationError
from napari_why.counterfactuals.path import LatentPath
from napari_why.images import make_image
from napari_why.images.image import export_dtype, export_pixels, share_out_of_range
from napari_why.networks.network import DecodingNetwork

if TYPE_CHECKING:
    from napari_why.model import Classifier

# Values (images x channels x pixels) decoded at a time: small images go together, which is
# quicker, and large ones one by one, which bounds memory and lets Cancel act.
VALUES_AT_A_TIME = 2**18


@dataclass(frozen=True)
class Frame:
    """One exported image on the path.

    Parameters
    ----------
    alpha : float
        Position on the path.
    image : ndarray, shape (C, H, W)
        As exported.
    probabilities : ndarray, float32, shape (classes,)
        Of exactly ``image``.
    out_of_range : float
        Share of values outside the source dtype's range before export.
    """

    alpha: float
    image: NDArray[Any]
    probabilities: NDArray[np.float32]
    out_of_range: float

    def margin(self, target: int) -> float:
        """Return log p(target) minus that of its strongest competitor."""
        p, others = self._target_and_others(target)
        return float(np.log(p) - np.log(others.max()))

    def log_odds(self, target: int) -> float:
        """Return log(p / (1 - p)) of the target."""
        p, others = self._target_and_others(target)
        return float(np.log(p) - np.log(others.sum()))

    def _target_and_others(self, target: int) -> tuple[float, NDArray[np.float64]]:
        above_zero = np.maximum(self.probabilities.astype(float), np.finfo(float).tiny)
        return float(above_zero[target]), np.delete(above_zero, target)


class ImagesOnPath:
    """Make the images at any alphas of one path.

    Parameters
    ----------
    classifier : Classifier
        With the network that made the path.
    network : DecodingNetwork
        That network.
    path : LatentPath
        The path.
    source_dtype : dtype
        Of the source image's pixels.
    """

    def __init__(
        self,
        classifier: "Classifier",
        network: DecodingNetwork,
        path: LatentPath,
        source_dtype: np.dtype[Any],
    ) -> None:
        self._classifier, self._network, self._path = classifier, network, path
        self._source_dtype = source_dtype
        self._dtype = export_dtype(source_dtype)
        self._frames: dict[float, Frame] = {}
        self.reconstruction: NDArray[np.float32] = self._raw([0.0])[0]

    def frame(self, alpha: float) -> Frame:
        """Return the image at one alpha."""
        if alpha not in self._frames:
            self._make([alpha])
        return self._frames[alpha]

    def frames(
        self,
        alphas: Sequence[float],
        *,
        advanced: Callable[[], None],
        cancelled: Callable[[], bool],
    ) -> list[Frame]:
        """Return the images at ``alphas``: all, or those from the first on that were made in time.

        Parameters
        ----------
        alphas : sequence of float
            Positions on the path.
        advanced : callable
            Called for every image that is there.
        cancelled : callable
            Asked before every batch but the first.

        Raises
        ------
        CancellationError
            A whole field was cancelled while the first images were made.
        """
        made: list[Frame] = []
        size = max(1, VALUES_AT_A_TIME // self.reconstruction.size)
        for start in range(0, len(alphas), size):
            if made and cancelled():
                break
            batch = alphas[start : start + size]
            try:
                self._make([alpha for alpha in batch if alpha not in self._frames])
            except CancellationError:
                if made:
                    break
                raise
            for alpha in batch:
                made.append(self._frames[alpha])
                advanced()
        return made

    def _make(self, alphas: Sequence[float]) -> None:
        # alpha = 0 is the reconstruction itself: inverting it again in another batch would give
        # other last digits, and a difference that is not zero where nothing has changed.
        moving = [alpha for alpha in alphas if alpha != 0]
        raw = {0.0: self.reconstruction}
        if moving:
            raw.update(zip(moving, self._raw(moving), strict=True))
        for alpha in alphas:
            image = export_pixels(raw[alpha], self._dtype)
            self._frames[alpha] = Frame(
                alpha,
                image,
                self._probabilities(image),
                share_out_of_range(raw[alpha], self._source_dtype),
            )

    @torch.no_grad()
    def _raw(self, alphas: Sequence[float]) -> NDArray[np.float32]:
        images = self._path.images(self._network, alphas)
        raw: NDArray[Any] = self._classifier.preprocessing.inverse(images)
        raw = raw.astype(np.float32)
        if any(alphas):
            reset = list(self._path.reset_channels)
            raw[:, reset] = self.reconstruction[reset]
        return raw

    def _probabilities(self, image: NDArray[Any]) -> NDArray[np.float32]:
        return exported_probabilities(self._classifier, image)


@torch.no_grad()
def exported_probabilities(classifier: "Classifier", image: NDArray[Any]) -> NDArray[np.float32]:
    """Classify exported pixels the way a saved and reopened file would be.

    Parameters
    ----------
    classifier : Classifier
        The classifier.
    image : ndarray, shape (C, H, W)
        On the network's grid, raw units.

    Returns
    -------
    ndarray, float32, shape (classes,)
    """
    as_image: xr.DataArray = make_image(image, ("c", "y", "x"), classifier.channels)
    logits = classifier.logits(classifier.prepare(as_image))[0]
    probabilities: NDArray[np.float32] = logits.double().softmax(0).float().cpu().numpy()
    return probabilities
