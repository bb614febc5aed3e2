"""Metrics of predictions against true classes, per image and group (well), and of reconstructions."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_why.core.devices import to_float64
from napari_why.core.errors import MismatchError
from napari_why.core.events import Advanced, OnEvent, Started, ignore_event
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.networks.network import GenerativeNetwork

# The smallest normal float32: probabilities come from a softmax in float32, which ends there.
SMALLEST_PROBABILITY = 2.0**-126


@dataclass(frozen=True)
class ZPrime:
    """Z' between two classes.

    Parameters
    ----------
    classes : (str, str)
        The classes p and q.
    value : float or None
        At most 1; None where it is not defined.
    reason : str
        Why it is not defined, in words; empty otherwise.
    log_odds : float or None
        The same of the log-odds. A probability cannot pass 0 and 1, where a network that is sure puts
        all images of a class whatever their spread: its Z' flatters.
    """

    classes: tuple[str, str]
    value: float | None
    reason: str = ""
    log_odds: float | None = None


def z_prime(first: NDArray[np.float64], second: NDArray[np.float64]) -> float | None:
    """Return 1 - 3 (sd_p + sd_q) / |mean_p - mean_q| of two samples.

    Zhang, Chung & Oldenburg 1999, J Biomol Screen 4(2), eq. for Z'; standard deviations with
    n - 1.

    Parameters
    ----------
    first, second : ndarray, shape (n,) and (m,)
        A score (here the predicted probability) of the images of either class.

    Returns
    -------
    float or None
        None with fewer than two values of a class or with equal means.

    Examples
    --------
    >>> round(z_prime(np.array([0.0, 0.1]), np.array([0.9, 1.0])), 3)
    0.529
    """
    # of a single value there is no spread, and 0 would make Z' look perfect
    if min(len(first), len(second)) < 2 or first.mean() == second.mean():
        return None
    return float(z_primes(first, second))


def z_primes(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return :func:`z_prime` of many pairs of samples at once.

    Parameters
    ----------
    first, second : ndarray, shape (..., n) and (..., m)
        Two values of each sample at least.

    Returns
    -------
    ndarray, shape (...)
        NaN where the means of a pair are equal.
    """
    distance = np.abs(first.mean(axis=-1) - second.mean(axis=-1))
    spread = first.std(axis=-1, ddof=1) + second.std(axis=-1, ddof=1)
    return np.asarray(1 - 3 * spread / np.where(distance > 0, distance, np.nan))


def pairwise_z_prime(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], classes: Sequence[str]
) -> list[ZPrime]:
    """Return Z' of every pair of classes.

    The score of a pair (p, q) is P(q) / (P(p) + P(q)) over the images that truly are p or q; with
    two classes that is the probability of the second. Its log-odds are log P(q) - log P(p).

    Parameters
    ----------
    labels : ndarray, shape (N,)
        True classes as indices.
    probabilities : ndarray, shape (N, K)
    classes : sequence of K str

    Returns
    -------
    list of ZPrime
        One for each of the K (K - 1) / 2 pairs, in the order of the classes.
    """
    found = []
    for p, q in combinations(range(len(classes)), 2):
        pair = probabilities[:, [p, q]]
        total = pair.sum(axis=1)
        # where neither class is given any probability the pair is undecided
        score = np.divide(pair[:, 1], total, out=np.full(len(pair), 0.5), where=total > 0)
        value = z_prime(score[labels == p], score[labels == q])
        odds = np.log(np.maximum(pair, SMALLEST_PROBABILITY)) @ np.array([-1.0, 1.0])
        names = (classes[p], classes[q])
        reason = "" if value is not None else _reason(labels, (p, q), names)
        found.append(ZPrime(names, value, reason, z_prime(odds[labels == p], odds[labels == q])))
    return found


def _reason(labels: NDArray[np.int64], pair: tuple[int, int], names: tuple[str, str]) -> str:
    for index, name in zip(pair, names, strict=True):
        count = int((labels == index).sum())
        if count < 2:
            return f"Z' is not defined: {name} has {count} of the 2 images needed for a spread"
    return f"Z' is not defined: {names[0]} and {names[1]} have the same mean probability"


def classification_metrics(
    labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]
) -> dict[str, Any]:
    """Return the metrics of predicted probabilities against true classes, as JSON types.

    Parameters
    ----------
    labels : array_like, shape (N,)
        True classes, as indices into ``classes`` or as names.
    probabilities : array_like, shape (N, K)
        Predicted probability (0 to 1) of every class.
    classes : sequence of K str
        Class names.

    Returns
    -------
    dict
        ``images`` (N); ``accuracy``; ``balanced_accuracy``, the mean over the classes that there are
        images of; ``majority_class`` and ``majority_accuracy``, that of always naming the largest
        class; ``f1``, the unweighted mean over the classes that there are
        images of, and ``f1_by_class``; ``z_prime``, that of the worst pair of classes, and
        ``z_prime_pairs``; ``z_prime_log_odds``, the worst of the log-odds; ``roc_auc``, with more than two classes the unweighted mean of one
        class against the rest; ``confusion_matrix``, rows true and columns predicted classes;
        ``notes``, sentences on what could not be computed. What is not defined is None.

    Raises
    ------
    MismatchError
        The shapes do not fit, a label is unknown, or a probability is not finite.

    Examples
    --------
    >>> metrics = classification_metrics([0, 0, 1], [[1, 0], [0.8, 0.2], [0.6, 0.4]], ["a", "b"])
    >>> metrics["confusion_matrix"], metrics["roc_auc"], metrics["notes"]
    ([[2, 0], [1, 0]], 1.0, ["Z' is not defined: b has 1 of the 2 images needed for a spread"])
    """
    from sklearn.metrics import confusion_matrix  # two seconds: most of scipy

    true, scores = _check_predictions(labels, probabilities, classes)
    predicted = scores.argmax(axis=1)
    pairs = pairwise_z_prime(true, scores, classes)
    values, odds = [pair.value for pair in pairs], [pair.log_odds for pair in pairs]
    matrix = confusion_matrix(true, predicted, labels=range(len(classes)))
    notes = [pair.reason for pair in pairs if pair.reason]
    by_class = _f1_by_class(true, predicted, classes)
    present = [by_class[classes[index]] for index in np.unique(true)]
    area, reason = _roc_auc(true, scores, classes)
    return {
        "images": len(true),
        "accuracy": float((predicted == true).mean()),
        "balanced_accuracy": _balanced(matrix),
        "majority_class": classes[int(matrix.sum(axis=1).argmax())],
        "majority_accuracy": float(matrix.sum(axis=1).max() / len(true)),
        "f1": float(np.mean([value for value in present if value is not None])),
        "f1_by_class": by_class,
        # the worst pair: a screen fails by the classes that it cannot tell apart
        "z_prime": _worst(values),
        "z_prime_log_odds": _worst(odds),
        "z_prime_pairs": [
            {
                "classes": list(pair.classes),
                "z_prime": pair.value,
                "z_prime_log_odds": pair.log_odds,
                "reason": pair.reason,
            }
            for pair in pairs
        ],
        "roc_auc": area,
        "confusion_matrix": matrix.tolist(),
        "notes": [*notes, *([reason] if reason else [])],
    }


def _worst(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return min(known) if len(known) == len(values) and known else None


def mean_recall(labels: "pd.Series[str]", predicted: "pd.Series[str]") -> float:
    """Return the balanced accuracy of named classes: it does not reward naming the larger one.

    Parameters
    ----------
    labels : Series of str, length N
        True classes.
    predicted : Series of str, length N
        With the index of ``labels``.

    Returns
    -------
    float
        0 to 1: the mean over the classes that occur in ``labels``.

    Examples
    --------
    >>> mean_recall(pd.Series(["a", "a", "a", "b"]), pd.Series(["a", "a", "a", "a"]))
    0.5
    """
    return float((labels == predicted).groupby(labels).mean().mean())


def _balanced(matrix: NDArray[Any]) -> float:
    there = matrix.sum(axis=1) > 0
    return float((matrix.diagonal()[there] / matrix.sum(axis=1)[there]).mean())


def describe_accuracy(metrics: Mapping[str, Any]) -> str:
    """Return accuracy, balanced accuracy and what the largest class alone would reach, in words.

    Parameters
    ----------
    metrics : mapping
        Of :func:`classification_metrics`, of earlier versions too: what those do not have is taken
        from their confusion matrix.

    Examples
    --------
    >>> describe_accuracy(classification_metrics([0, 0, 0, 1], [[1, 0]] * 4, ["a", "b"]))
    'accuracy 75.0% (balanced 50.0%; always naming a 75.0%)'
    """
    matrix = np.asarray(metrics["confusion_matrix"])
    counts = matrix.sum(axis=1)
    largest = list(metrics["f1_by_class"])[int(counts.argmax())]
    return (
        f"accuracy {metrics['accuracy']:.1%} (balanced {_balanced(matrix):.1%}; always naming "
        f"{largest} {counts.max() / counts.sum():.1%})"
    )


def metrics_by(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    groups: "pd.DataFrame | pd.Series[Any]",
) -> pd.DataFrame:
    """Average the probabilities of each group (well) and compare with the true class.

    Parameters
    ----------
    labels, probabilities, classes
        As for :func:`classification_metrics`.
    groups : Series or DataFrame of N rows
        What names the group of each image, one column or several (plate, well).

    Returns
    -------
    DataFrame
        One row per group and true class: the group's columns, ``label``, ``images``,
        ``probability of NAME`` for every class (mean over the images), ``predicted`` (the class
        with the highest mean), ``correct``, and ``accuracy`` (share of its images that are
        predicted right).

    Raises
    ------
    MismatchError
        ``groups`` has another number of rows than there are labels.

    Examples
    --------
    >>> wells = pd.Series(["A1", "A1", "B1"], name="well")
    >>> table = metrics_by([0, 0, 1], [[0.9, 0.1], [0.4, 0.6], [0.2, 0.8]], ["a", "b"], wells)
    >>> table[["well", "images", "predicted", "accuracy"]].values.tolist()
    [['A1', 2, 'a', 0.5], ['B1', 1, 'b', 1.0]]
    """
    # probabilities are averaged, not votes: a well of undecided images then stays undecided
    true, scores = _check_predictions(labels, probabilities, classes)
    frame = pd.DataFrame(groups).reset_index(drop=True)
    if len(frame) != len(true):
        raise MismatchError(f"groups: found {len(frame)} rows; expected {len(true)}")
    keys = [str(column) for column in frame.columns]
    frame.columns = pd.Index(keys)
    columns = probability_columns(classes)
    frame[columns] = scores
    names = np.asarray(classes, dtype=object)
    frame["label"] = names[true]
    frame["accuracy"] = (scores.argmax(axis=1) == true).astype(float)
    # dropna=False: images whose well is unknown make a group of their own instead of vanishing
    grouped = frame.groupby([*keys, "label"], sort=True, dropna=False)
    means = grouped[[*columns, "accuracy"]].mean().reset_index()
    means.insert(len(keys) + 1, "images", grouped.size().to_numpy())
    means["predicted"] = names[means[columns].to_numpy().argmax(axis=1)]
    means["correct"] = means["predicted"] == means["label"]
    return means


def group_metrics(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, Any]:
    """Return :func:`classification_metrics` of a table made by :func:`metrics_by`.

    Each row counts once, however many images it stands for; ``images`` is called ``groups``.

    Parameters
    ----------
    table : DataFrame
        One row per group and true class: ``label`` and ``probability of NAME`` for every class.
    classes : sequence of str
        In the order of the network's outputs.

    Returns
    -------
    dict
        JSON values by name.
    """
    metrics = classification_metrics(
        table["label"].to_numpy(), table[probability_columns(classes)].to_numpy(), classes
    )
    return {"groups": metrics.pop("images"), **metrics}


def metrics_of_kept(
    labels: ArrayLike,
    probabilities: ArrayLike,
    classes: Sequence[str],
    kept: NDArray[np.bool_],
    groups: "pd.DataFrame | None" = None,
) -> dict[str, Any]:
    """Return the metrics of some of the images, and of the groups with their other images left out.

    Parameters
    ----------
    labels, probabilities, classes
        As for :func:`classification_metrics`.
    kept : ndarray of bool, shape (N,)
    groups : DataFrame of N rows, optional
        See :func:`metrics_by`.

    Returns
    -------
    dict
        ``images`` and ``groups``: as :func:`classification_metrics` and :func:`group_metrics`; None
        where nothing is kept, or without groups. A group of which no image is kept has no figure.
    """
    found: dict[str, Any] = {"images": None, "groups": None}
    if not kept.any():
        return found
    true, scores = np.asarray(labels)[kept], np.asarray(probabilities)[kept]
    found["images"] = classification_metrics(true, scores, classes)
    if groups is not None:
        table = metrics_by(true, scores, classes, groups[kept])
        found["groups"] = group_metrics(table, classes)
    return found


def probability_columns(classes: Sequence[str]) -> list[str]:
    """Return the column names of the classes' probabilities in a table of predictions."""
    return [f"probability of {name}" for name in classes]


def _check_predictions(
    labels: ArrayLike, probabilities: ArrayLike, classes: Sequence[str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    true = np.asarray(labels)
    scores = np.asarray(probabilities, dtype=np.float64)
    if true.ndim != 1 or not len(true) or scores.shape != (len(true), len(classes)):
        raise MismatchError(
            f"found labels of shape {true.shape} and probabilities of shape {scores.shape}; "
            f"expected (N,) and (N, {len(classes)}) with N of 1 or more"
        )
    if not np.isfinite(scores).all():
        raise MismatchError("probabilities: found values that are not finite")
    if not np.issubdtype(true.dtype, np.integer):
        place = {name: index for index, name in enumerate(classes)}
        true = np.array([place.get(str(name), -1) for name in true])
    if true.min() < 0 or true.max() >= len(classes):
        raise MismatchError(f"labels: found a class that is none of {', '.join(classes)}")
    return true.astype(np.int64), scores


def _f1_by_class(
    true: NDArray[np.int64], predicted: NDArray[np.int64], classes: Sequence[str]
) -> dict[str, float | None]:
    from sklearn.metrics import f1_score  # see classification_metrics

    scores = f1_score(true, predicted, labels=range(len(classes)), average=None, zero_division=0.0)
    # a class that is neither there nor predicted has no F1; scikit-learn would say 0
    there = set(true.tolist()) | set(predicted.tolist())
    return {
        name: float(scores[index]) if index in there else None for index, name in enumerate(classes)
    }


def _roc_auc(
    true: NDArray[np.int64], scores: NDArray[np.float64], classes: Sequence[str]
) -> tuple[float | None, str]:
    from sklearn.metrics import roc_auc_score  # see classification_metrics

    counts = np.bincount(true, minlength=len(classes))
    absent = [name for name, count in zip(classes, counts, strict=True) if not count]
    if absent:
        return None, f"the ROC AUC is not defined: there is no image of {', '.join(absent)}"
    if len(classes) == 2:
        return float(roc_auc_score(true, scores[:, 1])), ""
    areas = [roc_auc_score(true == index, scores[:, index]) for index in range(len(classes))]
    return float(np.mean(areas)), ""


def reconstruction_metrics(
    network: GenerativeNetwork,
    batches: Iterable[Tensor],
    preprocessing: Preprocessing,
    *,
    total: int | None = None,
    on_event: OnEvent = ignore_event,
) -> dict[str, Any]:
    """Compare images with what the decoder makes of their latents.

    Parameters
    ----------
    network : GenerativeNetwork
        Frozen.
    batches : iterable of Tensor, shape (N, C, H, W)
        Preprocessed images.
    preprocessing : Preprocessing
        Gives raw intensities back.
    total : int, optional
        Number of batches, where it is known.
    on_event : callable
        See :mod:`napari_why.core.events`.

    Returns
    -------
    dict
        ``images``: how many; ``mean_square_error``: in units of the channels' training variance,
        and ``mean_square_error_by_channel``; ``mean_square_error_of_the_mean``: that of images
        which are the training mean everywhere, the yardstick; ``mean_absolute_error``: by
        channel, in grey levels of the source. JSON types.

    Raises
    ------
    MismatchError
        There is no image.
    """
    device = next(network.parameters()).device
    sums, count = np.zeros((3, len(preprocessing.channels))), 0
    on_event(Started("reconstructing", total))
    with torch.no_grad():
        for done, batch in enumerate(batches, start=1):
            images = batch.to(device)
            with network.use.passing():
                decoded = network.decode(network.encode(images))
            grey = np.abs(preprocessing.inverse(decoded) - preprocessing.inverse(images))
            squares = [((decoded - images) ** 2), images**2]
            means = [to_float64(item).mean(dim=(2, 3)).sum(dim=0).cpu().numpy() for item in squares]
            sums += np.stack([*means, grey.mean(axis=(2, 3)).sum(axis=0)])
            count += len(images)
            on_event(Advanced(done))
    if not count:
        raise MismatchError("reconstruction: found no image; expected at least one")
    square, of_the_mean, absolute = sums / count
    return {
        "images": count,
        "mean_square_error": float(square.mean()),
        "mean_square_error_of_the_mean": float(of_the_mean.mean()),
        "mean_square_error_by_channel": _by_channel(preprocessing, square),
        "mean_absolute_error": _by_channel(preprocessing, absolute),
    }


def reconstruction_sentence(metrics: dict[str, Any]) -> str:
    """Say what :func:`reconstruction_metrics` found.

    Examples
    --------
    >>> reconstruction_sentence({
    ...     "images": 3, "mean_square_error": 0.25, "mean_square_error_of_the_mean": 0.5,
    ...     "mean_absolute_error": {"DAPI": 12.34},
    ... })
    'Reconstruction of 3 images: mean square error 0.250 (the training mean: 0.500); mean absolute error in grey levels: DAPI 12.3.'
    """
    missed = ", ".join(f"{name} {v:.3g}" for name, v in metrics["mean_absolute_error"].items())
    return (
        f"Reconstruction of {metrics['images']} images: mean square error "
        f"{metrics['mean_square_error']:.3f} (the training mean: "
        f"{metrics['mean_square_error_of_the_mean']:.3f}); mean absolute error in grey levels: "
        f"{missed}."
    )


def _by_channel(preprocessing: Preprocessing, values: NDArray[np.float64]) -> dict[str, float]:
    return dict(zip(preprocessing.channels, values.tolist(), strict=True))
