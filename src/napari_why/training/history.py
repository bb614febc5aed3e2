"""What the metrics of the epochs so far say: which was best, and whether to go on."""

import math
from collections.abc import Sequence

History = Sequence[dict[str, float]]


def best_epoch(history: History) -> int:
    """Return the epoch, counted from 1, with the lowest loss on the validation images.

    The training loss stands in where there are no validation images; 0 for an empty history.
    Of equal ones the first.

    Examples
    --------
    >>> best_epoch([{"validation_loss": 0.7}, {"validation_loss": 0.4}, {"validation_loss": 0.5}])
    2
    """
    if not history:
        return 0
    losses = [_loss(metrics) for metrics in history]
    return min(range(len(losses)), key=losses.__getitem__) + 1


def out_of_patience(history: History, patience: int) -> bool:
    """Tell whether the last ``patience`` epochs brought nothing better; never with 0."""
    return bool(patience) and len(history) - best_epoch(history) >= patience


def _loss(metrics: dict[str, float]) -> float:
    loss = metrics.get("validation_loss", metrics.get("train_loss", math.inf))
    return loss if math.isfinite(loss) else math.inf
