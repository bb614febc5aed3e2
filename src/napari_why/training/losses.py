"""Losses on the latent that training can add to the cross-entropy of the logits.

Cross-entropy asks for a boundary between the classes and for nothing else: within a class the
latents may lie anywhere, and a path from one class mean to another may lead through the void.
``class_distance`` draws the images of a class together. ``gaussian_likelihood`` makes the latents
of a class normally distributed, by maximum likelihood; the log-determinant of the network pays for
volume, so that the latent cannot shrink to a point.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_why.core.devices import at_least_float32
from napari_why.core.errors import ParameterError
from napari_why.networks.network import InvertibleNetwork, Network, TrainingPass

LossName = Literal["cross_entropy", "class_distance", "gaussian_likelihood"]
ClassWeights = Literal["none", "balanced"]
# of a channel within a class: a thousandth of an image's deviation; log(0) would be minus infinity
SMALLEST_VARIANCE = 1e-6


def balanced_weights(labels: Tensor, classes: int) -> Tensor:
    """Return the weight n / (K n_k) of each class, float32, shape (classes,).

    n images, n_k of class k, K classes that there are images of (King & Zeng 2001). The mean weight of an
    image is 1, and all classes weigh the same in all; a class without images has weight 0.

    Parameters
    ----------
    labels : Tensor, int64, shape (n,)
        Class indices of the training images.
    classes : int
        Number of classes, those without images too.

    Returns
    -------
    Tensor, float32, shape (classes,)

    Examples
    --------
    >>> balanced_weights(torch.tensor([0, 0, 0, 1]), 2).tolist()
    [0.6666666865348816, 2.0]
    """
    counts = torch.bincount(labels, minlength=classes).float()
    present = counts > 0
    weights = len(labels) / (int(present.sum()) * counts.clamp(min=1))
    return torch.where(present, weights, 0.0)


def weighted_cross_entropy(
    logits: Tensor, labels: Tensor, weights: Tensor | None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean over the images of weight times cross-entropy; a plain mean without weights.

    Divided by the number of images and not by the sum of their weights: the mean of an epoch's batches
    is then the mean over the classes of each class's mean, whatever the batches hold. An image's
    weight is that of its own class, whatever share of its label is spread over the others.

    Parameters
    ----------
    logits : Tensor, shape (N, K)
    labels : Tensor, int64, shape (N,)
    weights : Tensor, shape (K,), or None
        Of the classes, from :func:`balanced_weights`.
    label_smoothing : float
        Share of every label, 0 to 1, that is spread evenly over all classes.

    Returns
    -------
    Tensor, shape ()
        In nats.
    """
    if weights is None:
        return F.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    return (weights[labels] * losses).mean()


def check_loss(loss: LossName, network: Network) -> None:
    """Raise ParameterError for a loss that the network cannot have.

    Parameters
    ----------
    loss : {"cross_entropy", "class_distance", "gaussian_likelihood"}
    network : Network

    Raises
    ------
    ParameterError
        ``gaussian_likelihood``, and the network is not invertible.
    """
    if loss == "gaussian_likelihood" and not isinstance(network, InvertibleNetwork):
        raise ParameterError(
            f"loss: found gaussian_likelihood for {network.name}; it needs the log-determinant of "
            "an invertible network; expected cross_entropy or class_distance"
        )


def latent_loss(
    loss: LossName,
    network: Network,
    training_pass: TrainingPass,
    labels: Tensor,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Return what a loss adds to the cross-entropy, by name, not yet weighted.

    Parameters
    ----------
    loss : str
    network : Network
    training_pass : TrainingPass
        The network's pass over the batch.
    labels : Tensor, int64, shape (N,)
    generator : torch.Generator
        On the CPU; the log-determinant is estimated at random.

    Returns
    -------
    dict of str to Tensor of shape ()
        Means over the batch; empty with ``cross_entropy``.

    Raises
    ------
    ParameterError
        ``gaussian_likelihood``, and the training pass tells no log-determinant.
    """
    if loss == "cross_entropy":
        return {}
    # the invertible latent, which is where a density has a meaning: behind it a head may follow,
    # whose features are what the classes are told apart by, as those of any other network
    last, stage = network.layer_names[-1], None
    if isinstance(network, InvertibleNetwork):
        stage = network.stage_names[-1]
    name = last if loss == "class_distance" or stage is None else stage
    latent = at_least_float32(training_pass.maps[name])
    if isinstance(network, InvertibleNetwork) and name == stage:
        latent = latent[:, network.locked_latent_channels() :]
    if loss == "class_distance":
        return {loss: class_distance(latent, labels)}
    if training_pass.log_determinant is None:
        raise ParameterError(
            f"loss: found gaussian_likelihood for {network.name}, whose training pass tells no "
            "log-determinant; expected cross_entropy or class_distance"
        )
    # per element, so that its weight does not depend on the size of the images
    volume = training_pass.log_determinant(generator) / latent[0].numel()
    return {loss: gaussian_negative_log_likelihood(latent, labels) - volume.mean()}


def class_distance(latent: Tensor, labels: Tensor) -> Tensor:
    """Return the share of the pooled latents' scatter that lies within the classes, 0 to 1.

    The squared distance of every image to the mean of its class in the batch, relative to that to
    the mean of all: relative, since absolute distances fall by merely shrinking the latent. Means
    of the batch need no state that a resumed training would have to restore.

    Parameters
    ----------
    latent : Tensor, shape (N, K, h, w)
    labels : Tensor, int64, shape (N,)

    Returns
    -------
    Tensor, shape ()

    Examples
    --------
    >>> latent = torch.tensor([0.0, 0.0, 4.0, 4.0]).view(4, 1, 1, 1)
    >>> class_distance(latent, torch.tensor([0, 0, 1, 1])).item()
    0.0
    >>> class_distance(latent, torch.tensor([0, 1, 0, 1])).item()
    1.0
    """
    # pooled, as a linear head sees it: cells lie elsewhere in every image
    pooled = latent.mean(dim=(2, 3))
    within = torch.stack(
        [_scatter(pooled[labels == label]) for label in sorted(set(labels.tolist()))]
    ).sum()
    return within / _scatter(pooled).clamp(min=torch.finfo(pooled.dtype).tiny)


def gaussian_negative_log_likelihood(latent: Tensor, labels: Tensor) -> Tensor:
    """Return the mean negative log-likelihood of a latent's elements, in nats per element.

    Under a normal distribution with a mean and a variance for each class and channel, the same at
    all positions, both at their maximum-likelihood values in the batch; then the quadratic term
    is 1/2 throughout.

    Parameters
    ----------
    latent : Tensor, shape (N, K, h, w)
    labels : Tensor, int64, shape (N,)

    Returns
    -------
    Tensor, shape ()
    """
    terms = []
    for label in sorted(set(labels.tolist())):
        own = latent[labels == label]
        # correction 0: the maximum-likelihood variance, also of a class with a single image
        variance = own.var(dim=(0, 2, 3), correction=0).clamp(min=SMALLEST_VARIANCE)
        terms.append(variance.log().mean() * (len(own) / len(latent)))
    return 0.5 * (torch.stack(terms).sum() + math.log(2 * math.pi) + 1)


def _scatter(vectors: Tensor) -> Tensor:
    return (vectors - vectors.mean(dim=0)).square().sum()
