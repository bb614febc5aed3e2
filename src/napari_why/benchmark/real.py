"""Methods side by side on real images, where the true change is not known.

What can be asked without it: is the image valid, does another network agree, does it look like
real images of the target class, and how little of the change is enough.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.benchmark.data import Direction
from napari_why.benchmark.results import ResultFolder
from napari_why.benchmark.rows import METHODS, methods_named
from napari_why.benchmark.run import run_rows
from napari_why.core.errors import ParameterError
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.datasets import Dataset, Preprocessing
from napari_why.images.image import export_dtype, export_pixels

NEED_TRUTH = ("TRUTH", "true-pairs")
REAL_METHODS = ("do-nothing", "mean-shift", "pixel-transport", "transport", "vae")


@dataclass(frozen=True)
class RealData:
    """A real data set with one split; a :class:`~.data.BenchmarkData`.

    Parameters
    ----------
    name : str
        Names a folder.
    images : Dataset
        Split by group with ``seed`` where it is not split yet.
    seed : int
        Of split and networks, and of the test images that are drawn where there are more.
    size : int
        Height and width the networks see.
    intensity : str
        See :func:`napari_why.fit`.
    epochs : int
        Of the classifiers; 0: the network's own.
    judge_epochs : int
        Of the second network.
    scored : int
        Largest number of test images per class.
    """

    name: str
    images: Dataset
    seed: int = 0
    size: int = 64
    intensity: Literal["linear", "log1p", "asinh"] = "linear"
    epochs: int = 0
    judge_epochs: int = 20
    scored: int = 50

    @property
    def identity(self) -> dict[str, Any]:
        """The images and all parameters."""
        names = ("seed", "size", "intensity", "epochs", "judge_epochs", "scored")
        parameters = {name: getattr(self, name) for name in names}
        return {"data set": self.images.fingerprint, **parameters}

    @property
    def fit_settings(self) -> dict[str, Any]:
        """Size, intensity and length of the training."""
        return {"size": self.size, "intensity": self.intensity, "epochs": self.epochs}

    @cached_property
    def dataset(self) -> Dataset:
        """The images, split."""
        split = "split" in self.images.table.columns
        return self.images if split else self.images.split(seed=self.seed)

    @property
    def affected(self) -> tuple[int, ...]:
        """All channels."""
        return tuple(range(len(self.dataset.channels)))

    @cached_property
    def directions(self) -> tuple[Direction, ...]:
        """Every class to every other, on the test images, which nothing was trained on."""
        test = self.dataset.part("test")
        sized = Preprocessing.from_dataset(self.dataset, size=self.size, intensity=self.intensity)
        by_class = {name: self._test_images(test, sized, name) for name in self.dataset.classes}
        there = {name: images for name, images in by_class.items() if len(images)}
        return tuple(
            Direction(source, target, there[source], there[target])
            for source, target in permutations(there, 2)
        )

    def _test_images(self, test: Dataset, sized: Preprocessing, label: str) -> NDArray[Any]:
        rows = np.flatnonzero(test.table["label"] == label)
        drawn = np.random.default_rng(self.seed).permutation(rows)[: self.scored]
        made = [
            export_pixels(sized.inverse(sized(image)), export_dtype(image.dtype))
            for image in map(test.image, sorted(drawn.tolist()))
        ]
        return np.stack(made) if made else np.empty(0)


def run_real_benchmark(
    folder: str | Path,
    name: str,
    dataset: Dataset,
    *,
    methods: Sequence[str] = REAL_METHODS,
    seeds: Sequence[int] = (0,),
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
    **parameters: Any,
) -> pd.DataFrame:
    """Measure counterfactuals of a real data set's test images.

    Parameters
    ----------
    folder : str or Path
        Where results and classifiers are kept; what is there is not made again.
    name : str
        Of the data set.
    dataset : Dataset
    methods : sequence of str
        Of :data:`~.methods.METHODS`, except those that need the truth.
    seeds : sequence of int
        Each splits (where the data set is not split) and trains anew.
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    **parameters
        See :class:`RealData`.

    Returns
    -------
    DataFrame
        As :func:`~.run.run_truth_benchmark`; correlation, relative error and off-target ratio are
        missing.

    Raises
    ------
    ParameterError
        A row is unknown or needs the truth.
    """
    rows = methods_named(tuple(methods))
    impossible = [method for method in rows if method in NEED_TRUTH]
    if impossible:
        raise ParameterError(
            f"methods: found {', '.join(impossible)}, which need the true change; expected some "
            f"of {', '.join(method for method in METHODS if method not in NEED_TRUTH)}"
        )
    return run_rows(
        [RealData(name, dataset, seed, **parameters) for seed in seeds],
        rows,
        ResultFolder(Path(folder)),
        task="methods on real images",
        on_event=on_event,
        cancelled=cancelled,
    )
