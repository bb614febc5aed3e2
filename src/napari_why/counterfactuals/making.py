"""Make the images of a path that are asked for, and stop when told to."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_why.core.errors import CancellationError
from napari_why.core.events import Advanced, Cancelled, Finished, OnEvent, Started
from napari_why.counterfactuals.convincing import SpecialAlphas
from napari_why.counterfactuals.sequence import Frame, ImagesOnPath


@dataclass(frozen=True)
class Made:
    """The images of one path.

    Parameters
    ----------
    alphas : list of float
    frames : list of Frame
        One per alpha.
    special : SpecialAlphas
        As settled on exported images.
    special_frames : dict of str to Frame
        By the names of the special alphas; those that a cancelled run did not reach are missing.
    reconstruction : ndarray, float32, shape (C, H, W)
        Raw units.
    complete : bool
        False when the work was cancelled.
    """

    alphas: list[float]
    frames: list[Frame]
    special: SpecialAlphas
    special_frames: dict[str, Frame]
    reconstruction: NDArray[np.float32]
    complete: bool


class Maker:
    """Makes the images that are asked for, counts them and stops when told to."""

    def __init__(self, images: ImagesOnPath, on_event: OnEvent, cancelled: Cancelled) -> None:
        self._images, self._on_event, self._cancelled = images, on_event, cancelled
        self._done = 0

    def make(
        self,
        found: SpecialAlphas,
        check: Callable[[SpecialAlphas], SpecialAlphas],
        ends: tuple[float, float] | None,
        steps: int,
    ) -> Made:
        """Settle the special alphas, since the range depends on them, then make the images.

        Parameters
        ----------
        found : SpecialAlphas
            As found on the head.
        check : callable
            Corrects them on exported images; left out when cancelled.
        ends : (float, float) or None
            First and last alpha.
        steps : int
            Number of alphas.
        """
        special = found
        with suppress(CancellationError):
            special = found if self._cancelled() else check(found)
        named = {name: alpha for name, alpha in special.named().items() if alpha is not None}
        self._on_event(Started("counterfactual", steps + len(named)))
        alphas: list[float] = np.linspace(*(ends or (0.0, special.end)), steps).tolist()
        series = self._images.frames(alphas, advanced=self._advance, cancelled=self._cancelled)
        special_frames = {}
        for name, alpha in named.items():
            with suppress(CancellationError):
                if not self._cancelled():
                    special_frames[name] = self._images.frame(alpha)
                    self._advance()
        complete = len(series) == steps and len(special_frames) == len(named)
        self._on_event(Finished(partial=not complete))
        return Made(
            alphas[: len(series)],
            series,
            special,
            special_frames,
            self._images.reconstruction,
            complete,
        )

    def _advance(self) -> None:
        self._done += 1
        self._on_event(Advanced(self._done))
