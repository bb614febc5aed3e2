"""One contrast for all images of a data set, so that a bright image looks bright."""

import numpy as np

from napari_why.datasets import Dataset
from napari_why.errors import WhyError
from napari_why.images import image_contrast_limits

SAMPLED = 9


def typical_contrast(dataset: Dataset) -> dict[str, tuple[float, float]]:
    """Return the contrast limits of each channel: the median of those of nine images.

    Each image's own limits would make all look alike, the odd ones among them too.

    Parameters
    ----------
    dataset : Dataset

    Returns
    -------
    dict of str to (float, float)
        By channel name, raw units; empty where none of the nine images can be read.
    """
    rows = np.unique(np.linspace(0, len(dataset) - 1, min(SAMPLED, len(dataset))).astype(int))
    limits = []
    for row in rows:
        try:
            limits.append(image_contrast_limits(dataset.image(int(row))))
        except (WhyError, OSError):
            continue
    if not limits:
        return {}
    typical = np.median(np.array(limits, dtype=float), axis=0)
    return {
        name: (float(low), float(high))
        for name, (low, high) in zip(dataset.channels, typical, strict=True)
    }
