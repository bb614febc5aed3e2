"""All figures of one row in one direction."""

import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_why.classifier import Classifier
from napari_why.datasets.texture_features import feature_distance, image_features
from napari_why.truth_benchmark.classify import share_called
from napari_why.truth_benchmark.data import Direction
from napari_why.truth_benchmark.made import Made
from napari_why.truth_benchmark.mask_curve import mask_curve
from napari_why.truth_benchmark.scores import change_scores, standardised

FIGURES = (
    "validity",
    "agreement",
    "correlation",
    "relative_error",
    "off_target",
    "feature_distance",
    "mask_area",
    "change_size",
    "accuracy",
    "training_seconds",
    "seconds",
)
"""The columns of a table of results, see :class:`Scorer`."""


@dataclass(frozen=True)
class Scorer:
    """Scores whatever is made of the images of one direction.

    Parameters
    ----------
    direction : Direction
        The images.
    judge : Classifier
        The second network.
    affected : tuple of int
        Channels that the classes differ in.
    """

    direction: Direction
    judge: Classifier
    affected: tuple[int, ...]

    def scores(self, made: Made, classifier: Classifier) -> dict[str, Any]:
        """Return the figures.

        Parameters
        ----------
        made : Made
            What a row made.
        classifier : Classifier
            The network that is explained.

        Returns
        -------
        dict
            ``validity`` and ``agreement``: share of the exported images that the classifier and
            the second network call the target; ``correlation``, ``relative_error``,
            ``off_target``, ``change_size``: see :class:`~.scores.ChangeScores`;
            ``feature_distance`` to other real images of the target, in the affected channels;
            ``mask_area``, ``mask_sizes``, ``mask_gains``: see :class:`~.mask_curve.MaskCurve`;
            ``accuracy``: share of the sources that the classifier calls by their class;
            ``training_seconds`` and ``seconds``.
        """
        direction, std = self.direction, classifier.preprocessing.std
        truth = None if direction.truth is None else standardised(direction.truth, std)
        change = change_scores(standardised(made.change, std), truth, self.affected)
        curve = mask_curve(classifier, direction.images, made.images, direction.target)
        found = asdict(change)
        return {
            "validity": share_called(classifier, made.images, direction.target),
            "agreement": share_called(self.judge, made.images, direction.target),
            "change_size": found.pop("size"),
            **found,
            "feature_distance": self._feature_distance(made.images),
            "mask_area": curve.area,
            "accuracy": share_called(classifier, direction.images, direction.source),
            "training_seconds": made.training_seconds,
            "seconds": made.seconds,
            "mask_sizes": list(curve.sizes),
            "mask_gains": list(curve.gains),
        }

    def _feature_distance(self, images: NDArray[Any]) -> float:
        if not self.affected:
            return math.nan
        found = image_features(images, self.affected)
        return feature_distance(found, self._target_features, self._source_features)

    @cached_property
    def _target_features(self) -> NDArray[np.float64]:
        return image_features(self.direction.real, self.affected)

    @cached_property
    def _source_features(self) -> NDArray[np.float64]:
        return image_features(self.direction.images, self.affected)
