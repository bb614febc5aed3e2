"""Counterfactuals whose change is known, without a network."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from napari_why.core.record import Record
from napari_why.counterfactuals import Counterfactual
from napari_why.images import Grid

MakeCounterfactual = Callable[..., Counterfactual]


def counterfactual_of(
    before: ArrayLike,
    after: ArrayLike,
    *,
    channels: Sequence[str] = ("DAPI", "TMRM"),
    probabilities: Sequence[float] = (0.1, 0.9),
    grid: Grid | None = None,
    **facts: Any,
) -> Counterfactual:
    """Return the straight series from ``before`` to ``after`` (C, H, W)."""
    first, last = np.asarray(before, np.float32), np.asarray(after, np.float32)
    alphas = np.linspace(0, 1, len(probabilities))
    treated = np.array(probabilities, np.float32)
    plain = {
        "images": np.stack([first + (last - first) * alpha for alpha in alphas]),
        "alphas": alphas,
        "probabilities": np.stack([1 - treated, treated], axis=1),
        "reconstruction": first,
        "special_alphas": {"boundary": 0.5, "alpha0": 0.5, "alpha1": 1.0},
        "special_images": {"alpha1": last},
        "special_probabilities": {"alpha1": np.array([1 - treated[-1], treated[-1]])},
        "classes": ("diseased", "treated"),
        "channels": tuple(channels),
        "source_class": "diseased",
        "target": "treated",
        "valid": True,
        "round_trip_error": 0.0,
        "out_of_range": 0.0,
        "grid": grid or Grid((first.shape[1], first.shape[2])),
        "record": Record("counterfactual", "transport", source="field.tif"),
    }
    return Counterfactual(**{**plain, **facts})


@pytest.fixture
def make_counterfactual() -> MakeCounterfactual:
    """Return the maker of counterfactuals."""
    return counterfactual_of


@pytest.fixture
def squares() -> Counterfactual:
    """Return two squares in TMRM: 4 x 4 pixels brighter by 200, 2 x 3 darker by 100; DAPI alike."""
    before = np.full((2, 16, 20), 500.0)
    after = before.copy()
    after[1, 2:6, 3:7] += 200
    after[1, 10:12, 12:15] -= 100
    return counterfactual_of(before, after)
