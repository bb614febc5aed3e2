"""What a classifier says about one image."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """The predicted class of one image.

    Parameters
    ----------
    label : str
        The class with the highest probability.
    probabilities : dict of str to float
        Probability (0 to 1, summing to 1) of every class: the softmax of the logits.
    logits : ndarray, float32, shape (K,)
        The network's outputs, in the order of the classes.
    source : str
        File or layer the image is from.
    notes : tuple of str
        What to keep in mind: the image is much brighter than those trained on, and the like.
    """

    label: str
    probabilities: dict[str, float]
    logits: NDArray[np.float32]
    source: str
    notes: tuple[str, ...] = ()


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the probabilities of logits along the last axis, computed in float64.

    Examples
    --------
    >>> softmax(np.array([0.0, 0.0], dtype=np.float32)).tolist()
    [0.5, 0.5]
    """
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    exponentials = np.exp(shifted)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))
