"""What a benchmark asks of its images, simulated or real."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_why.datasets import Dataset


@dataclass(frozen=True)
class Direction:
    """Images of one class that are to become another.

    Parameters
    ----------
    source, target : str
        Classes.
    images : ndarray, shape (N, C, H, W)
        The sources, raw units, on the networks' pixels.
    real : ndarray, shape (M, C, H, W)
        Other images, of the target class.
    truth : ndarray, float64, shape (N, C, H, W), or None
        True changes in grey levels, without noise, where they are known.
    paired : ndarray, shape (N, C, H, W), or None
        The same scenes as images of the target class, where they are known.
    """

    source: str
    target: str
    images: NDArray[Any]
    real: NDArray[Any]
    truth: NDArray[np.float64] | None = None
    paired: NDArray[Any] | None = None

    @property
    def name(self) -> str:
        """``healthy to treated``, say."""
        return f"{self.source} to {self.target}"


class BenchmarkData(Protocol):
    """The images of one benchmark and seed, and how to train on them."""

    @property
    def name(self) -> str:
        """Of the effect or data set; names a folder."""

    @property
    def seed(self) -> int:
        """Of splits and networks."""

    @property
    def identity(self) -> Mapping[str, Any]:
        """All that must be the same for results to be the same; JSON types."""

    @property
    def fit_settings(self) -> Mapping[str, Any]:
        """Arguments of :func:`napari_why.fit` that follow from the images."""

    @property
    def judge_epochs(self) -> int:
        """Passes over the training images of the second network."""

    @property
    def dataset(self) -> Dataset:
        """With training and validation images."""

    @property
    def affected(self) -> tuple[int, ...]:
        """Channels that the classes differ in; all where that is unknown."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """What is to be changed."""
