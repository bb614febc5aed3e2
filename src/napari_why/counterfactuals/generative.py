"""Counterfactuals by an approximate decoder: paths through a generative network's latent space."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

from torch import Tensor

from napari_why.core.devices import to_float64, to_like
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help
from napari_why.counterfactuals.method import (
    AlphaRule,
    Complete,
    Convincing,
    LatentPath,
    counterfactual_method,
    needs_decoder,
)
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks.network import DecodingNetwork, GenerativeNetwork

KeepDetails = Annotated[
    bool,
    Help("add what the decoder leaves out of the image to every step: sharp, but not decoded"),
]


def class_mean(statistics: LatentStatistics, index: int) -> Tensor:
    """Return the mean latent (K, 1, 1), float64 on the CPU, of the images that belong to a class.

    Parameters
    ----------
    statistics : LatentStatistics
        Of the training images.
    index : int
        Of the class.

    Returns
    -------
    Tensor, float64, shape (K, 1, 1)

    Raises
    ------
    ParameterError
        No training image does.
    """
    if not statistics.true_counts[index]:
        raise ParameterError(
            f"found no training image of {statistics.classes[index]}; "
            "expected at least one of the source and of the target class"
        )
    return to_float64(statistics.true_means[index].cpu()).mean(dim=(1, 2), keepdim=True)


@dataclass(frozen=True)
class DetailedPath(LatentPath):
    """A path whose images keep what the decoder leaves out of the source.

    Parameters
    ----------
    details : Tensor, shape (1, C, H, W)
        ``x - decode(z)`` of the preprocessed source, added to every image.
    """

    details: Tensor = field(kw_only=True)

    keeps_details = True

    def images(self, network: DecodingNetwork, alphas: Sequence[float]) -> Tensor:
        """Return the preprocessed images (A, C, H, W) at ``alphas``, details included.

        Parameters
        ----------
        network : DecodingNetwork
            That made the path.
        alphas : sequence of float
            Positions on the path.

        Returns
        -------
        Tensor, shape (A, C, H, W)
        """
        return super().images(network, alphas) + self.details


def generative_path(
    network: DecodingNetwork,
    image: Tensor,
    start: Tensor,
    displacement: Tensor,
    rule: AlphaRule,
    *,
    keep_details: bool,
) -> LatentPath:
    """Return the path from an image's latent along a displacement.

    Parameters
    ----------
    network : DecodingNetwork
        Decodes the last latent.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    start, displacement : Tensor, shape (1, K, 1, 1)
        The image's latent, and what alpha = 1 adds to it.
    rule : AlphaRule
        How alpha1 is found.
    keep_details : bool
        Images are ``x + decode(z + alpha d) - decode(z)`` instead of ``decode(z + alpha d)``.

    Returns
    -------
    LatentPath
        At the last stage; a :class:`DetailedPath` where details are kept.
    """
    stage, moved = network.stage_names[-1], to_like(displacement, start).expand_as(start)
    if not keep_details:
        return LatentPath(stage, start, moved, rule)
    return DetailedPath(stage, start, moved, rule, details=image - network.decode(start))


@counterfactual_method(
    title="Interpolation (generative)",
    source="Otto 2022: interpolation between latents of images and towards class means",
    needs=needs_decoder,
    caution="Interpolation trades everything in the image for what is at its goal, also what the "
    "class has nothing to do with: at alpha = 1 nothing of the source is left.",
)
def latent_interpolation(
    network: GenerativeNetwork,
    statistics: LatentStatistics,
    image: Tensor,
    source: int,
    target: int,
    *,
    goal: Tensor | None = None,
    keep_details: KeepDetails = False,
) -> LatentPath:
    """Interpolate between the latent of the image and the target class's mean, or a given image.

    The path is ``z + alpha (g - z)`` with g the mean latent of the target class's training images
    or the latent of the goal; its images are decoded. It ends at the goal: alpha1 lies where the
    network is convinced on the way, at 1 where it is not, never beyond.

    Parameters
    ----------
    network : GenerativeNetwork
        Frozen.
    statistics : LatentStatistics
        Of the training images.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    source, target : int
        Class indices.
    goal : Tensor, shape (1, C, H, W), optional
        A preprocessed image to go towards.
    keep_details : bool
        Images are ``x + decode(z') - decode(z)`` instead of ``decode(z')``.

    Returns
    -------
    LatentPath
        alpha = 1 is the goal.

    Raises
    ------
    ParameterError
        A class without training images.
    """
    del source
    start = network.encode(image)
    mean = to_like(class_mean(statistics, target)[None], start)
    end = mean if goal is None else network.encode(goal)
    return generative_path(
        network, image, start, end - start, Convincing(), keep_details=keep_details
    )


@counterfactual_method(
    title="Shift between class means (generative)",
    source="latent vector arithmetic: Radford, Metz & Chintala 2016; VAEs: Larsen et al. 2016",
    needs=needs_decoder,
)
def latent_mean_shift(
    network: GenerativeNetwork,
    statistics: LatentStatistics,
    image: Tensor,
    source: int,
    target: int,
    *,
    keep_details: KeepDetails = False,
) -> LatentPath:
    """Shift the latent of an autoencoder or VAE from one class mean to the other.

    The path is ``z + alpha (mu_q - mu_p)`` with the means by true label of the source class p and
    the target class q; its images are decoded. At alpha1 = 1 the image is changed by as much as the
    means differ.

    Parameters
    ----------
    network : GenerativeNetwork
        Frozen.
    statistics : LatentStatistics
        Of the training images.
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    source, target : int
        Class indices p and q.
    keep_details : bool
        Images are ``x + decode(z') - decode(z)`` instead of ``decode(z')``.

    Returns
    -------
    LatentPath
        Complete at alpha = 1.

    Raises
    ------
    ParameterError
        A class without training images.
    """
    shift = class_mean(statistics, target) - class_mean(statistics, source)
    return generative_path(
        network, image, network.encode(image), shift[None], Complete(), keep_details=keep_details
    )
