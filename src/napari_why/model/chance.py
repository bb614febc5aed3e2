"""Whether a classifier knows anything: told from how it did on held-out images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.stats import binomtest

# Of fewer images the test would say little either way.
FEWEST_IMAGES = 20
# Strict, since fields of one well are counted as if they were independent.
LEVEL = 0.01


def at_chance(metrics: Mapping[str, Any]) -> str | None:
    """Return a sentence where a classifier is no better than chance, None where it is.

    The share of right answers on validation images (else on test images) is compared with what
    chance gives when the same classes are named as often, by a one-sided binomial test at 0.01.
    Fields of one well are not independent, so this errs towards believing the classifier.

    Parameters
    ----------
    metrics : mapping
        :attr:`napari_why.model.Classifier.metrics`.

    Examples
    --------
    >>> at_chance({"validation": {"images": {"confusion_matrix": [[16, 14], [15, 15]]}}})
    'the classifier is at chance: 31 of 60 validation images right, 30 expected by chance'
    >>> at_chance({"validation": {"images": {"confusion_matrix": [[29, 1], [2, 28]]}}}) is None
    True
    """
    for split in ("validation", "test"):
        found = (metrics.get(split) or {}).get("images")
        if found is None:
            continue
        matrix = np.asarray(found["confusion_matrix"])
        images, right = int(matrix.sum()), int(matrix.trace())
        if images < FEWEST_IMAGES:
            continue
        expected = float(matrix.sum(0) @ matrix.sum(1)) / images
        test = binomtest(right, images, expected / images, alternative="greater")
        if test.pvalue < LEVEL:
            return None
        return (
            f"the classifier is at chance: {right} of {images} {split} images right, "
            f"{expected:.0f} expected by chance"
        )
    return None
