"""Seeds for the parts of a training, each with its own random numbers."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derived_seed(seed: int, *parts: int) -> int:
    """Return a seed for one part (an epoch, a purpose) of the work that ``seed`` stands for.

    Numbers depend on the epoch alone, not on what was drawn before it, so that a training
    resumed at an epoch draws what the uninterrupted one draws.

    Examples
    --------
    >>> derived_seed(0, 1) == derived_seed(0, 1), derived_seed(0, 1) == derived_seed(0, 2)
    (True, False)
    """
    return int(np.random.SeedSequence([seed, *parts]).generate_state(1, np.uint64)[0] >> 1)


@contextmanager
def seeded_torch(seed: int, device: str = "cpu") -> Iterator[None]:
    """Seed torch's own generator inside the block and give its state back after it.

    Dropout and weight initialisation draw from that generator and take no other.
    """
    kind, _, index = device.partition(":")
    with torch.random.fork_rng([int(index or 0)] if kind == "cuda" else []):
        torch.manual_seed(seed)
        yield
