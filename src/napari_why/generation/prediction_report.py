"""How good predicted channels are, on wells that nobody trained on, beside what costs nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.datasets.dataset import Dataset
from napari_why.generation.channel_predictor import INVENTED, ChannelPredictor
from napari_why.training.examples import Examples

# Pixels: detail is what is finer than a Gaussian of this deviation leaves.
DETAIL = 1.0
# Values at a time from which the linear function is fitted: it has a handful of numbers.
TINY = 1e-12
FIGURES = ("absolute_error", "correlation", "ssim", "detail", "detail_correlation")
GAN, PLAIN, LINEAR, MEAN = "conditional GAN", "plain U-Net", "linear function", "mean image"

Predict = Callable[[Tensor], Tensor]
"""Standardised channels (N, given, H, W) to standardised channels (N, made, H, W)."""


@dataclass(frozen=True, eq=False)
class PredictionReport:
    """What predictions of held-out images are worth.

    Parameters
    ----------
    table : DataFrame
        One row for each held-out well (image, where no wells are known), channel and method:
        ``well``, ``images``, ``channel``, ``method``, and means over the images of

        - ``absolute_error``: in grey levels;
        - ``correlation``: of all pixels with those of the real channel;
        - ``ssim``: Wang et al. 2004, with the range of the real image;
        - ``detail``: deviation of what is finer than a Gaussian of 1 px, relative to the real one;
        - ``detail_correlation``: of that with the real one: what of it is true.
    split : str
        Of the images: ``test``, or ``validation`` where there is no other.
    """

    table: pd.DataFrame
    split: str

    def summary(self) -> pd.DataFrame:
        """Return means over the wells, by channel and method, with the number of wells."""
        grouped = self.table.groupby(["channel", "method"], sort=False)
        means = grouped[list(FIGURES)].mean()
        return means.assign(wells=grouped["well"].nunique()).reset_index()

    @property
    def sentences(self) -> tuple[str, ...]:
        """A line for each channel and method, and what none of them shows."""
        rows = self.summary().to_dict("records")
        return (*(describe_row(row, self.split) for row in rows), INVENTED)

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON types; a number that is not defined is null."""
        rows = [
            {str(name): None if pd.isna(value) else value for name, value in row.items()}
            for row in self.summary().to_dict("records")
        ]
        return {"split": self.split, "rows": rows}


def describe_row(row: Mapping[Any, Any], split: str) -> str:
    """Say what predictions by one method are worth, by a row of the summary.

    Parameters
    ----------
    row : mapping
        ``channel``, ``method``, ``wells`` (a count) and the figures; None for one that is not
        defined.
    split : str
        What the wells are called: ``held-out``, say.

    Returns
    -------
    str
    """
    figures = {name: np.nan if row[name] is None else row[name] for name in FIGURES}
    return (
        f"{row['channel']} by {row['method']}: error {figures['absolute_error']:.4g} grey levels, "
        f"correlation {figures['correlation']:.2f}, SSIM {figures['ssim']:.2f}; detail "
        f"{figures['detail']:.2f} of the real one's, correlation "
        f"{figures['detail_correlation']:.2f} ({row['wells']} {split} wells)"
    )


def report_predictions(
    predictor: ChannelPredictor,
    others: Mapping[str, Predict],
    dataset: Dataset,
    held_out: Examples,
    split: str,
) -> PredictionReport:
    """Measure predictions of held-out images.

    Parameters
    ----------
    predictor : ChannelPredictor
        Gives the channels and the way back to raw units.
    others : mapping of str to callable
        What is measured, by name.
    dataset : Dataset
        Of the held-out images.
    held_out : Examples
        The same, preprocessed, given channels first.
    split : str
        How it is called.

    Returns
    -------
    PredictionReport
        Figures in grey levels, as means over the images of a well.
    """
    wells = _names_of_wells(dataset)
    rows: list[dict[str, Any]] = []
    back = predictor.preprocessing.of_channels(predictor.made)
    count = len(predictor.given)
    for index, well in enumerate(wells):
        image = held_out.images([index])
        real = back.inverse(image[:, count:])[0]
        for method, predict in others.items():
            made = back.inverse(predict(image[:, :count]))[0]
            for place, channel in enumerate(predictor.made):
                figures = compare_planes(made[place], real[place])
                rows.append({"well": well, "channel": channel, "method": method, **figures})
    by_image = pd.DataFrame(rows)
    grouped = by_image.groupby(["well", "channel", "method"], sort=False)
    table = grouped[list(FIGURES)].mean().assign(images=grouped.size()).reset_index()
    return PredictionReport(table, split)


def compare_planes(made: NDArray[np.float64], real: NDArray[np.float64]) -> dict[str, float]:
    """Compare a predicted plane (H, W) with the real one, both in raw units.

    A figure that a constant plane does not have is NaN.

    Parameters
    ----------
    made, real : ndarray, float64, shape (H, W)
        Grey levels.

    Returns
    -------
    dict of str to float
        ``absolute_error`` (mean, grey levels), ``correlation`` (-1 to 1), ``ssim`` (1: the same),
        ``detail`` (standard deviation of what is finer than a blur, over that of the real plane),
        ``detail_correlation`` (-1 to 1).

    Examples
    --------
    >>> plane = np.random.default_rng(0).normal(size=(16, 16))
    >>> found = compare_planes(plane, plane)
    >>> found["absolute_error"], round(found["ssim"], 6), round(found["detail"], 6)
    (0.0, 1.0, 1.0)
    """
    fine = [plane - gaussian_filter(plane, DETAIL) for plane in (made, real)]
    extent = float(np.ptp(real))
    deviation = float(fine[1].std())
    similar = (
        float(structural_similarity(made, real, data_range=extent)) if extent > TINY else np.nan
    )
    return {
        "absolute_error": float(np.abs(made - real).mean()),
        "correlation": _correlate(made, real),
        "ssim": similar,
        "detail": float(fine[0].std()) / deviation if deviation > TINY else np.nan,
        "detail_correlation": _correlate(*fine),
    }


def _correlate(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    if one.std() <= TINY or other.std() <= TINY:
        return np.nan
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def fit_trivial_predictors(train: Examples, given: int) -> dict[str, Predict]:
    """Return what predicts without a network: one linear function of each pixel, and the mean image.

    Parameters
    ----------
    train : Examples
        Preprocessed training images, given channels first.
    given : int
        How many those are.

    Returns
    -------
    dict of str to callable
        By name; each takes preprocessed images (N, G, H, W) of the given channels to (N, M, H, W) of
        those to make.
    """
    total: Tensor | None = None
    moments = torch.zeros(0)
    count = len(train.labels)
    for index in range(count):
        image = to_float64(train.images([index]))[0]
        total = image if total is None else total + image
        pixels = torch.cat([torch.ones_like(image[:1]), image]).flatten(1)
        squares = pixels @ pixels.T
        moments = squares if index == 0 else moments + squares
    assert total is not None  # noqa: S101 - a training has images
    mean_image = (total / count)[given:].float()
    known, wanted = moments[: given + 1, : given + 1], moments[: given + 1, given + 1 :]
    weights = torch.linalg.lstsq(known, wanted, driver="gelsd").solution.float()

    def linear(images: Tensor) -> Tensor:
        with_one = torch.cat([torch.ones_like(images[:, :1]), images], dim=1)
        return torch.einsum("ncyx,cm->nmyx", with_one, weights)

    def mean(images: Tensor) -> Tensor:
        return mean_image.expand(len(images), *mean_image.shape)

    return {LINEAR: linear, MEAN: mean}


def _names_of_wells(dataset: Dataset) -> Sequence[str]:
    columns = list(dataset.group_columns)
    if not columns:
        return [str(path) for path in dataset.table["path"]]
    return [" ".join(map(str, row)) for row in dataset.table[columns].itertuples(index=False)]
