"""What the paths through a generative network's latent space share."""

from typing import Annotated

import torch
from torch import Tensor

from napari_why.classifier.latent_statistics import LatentStatistics
from napari_why.counterfactuals.path import LatentPath
from napari_why.errors import ParameterError
from napari_why.networks.network import DecodingNetwork
from napari_why.parameters import Help

KeepDetails = Annotated[
    bool,
    Help("add what the decoder leaves out of the image to every step: sharp, but not decoded"),
]


def class_mean(statistics: LatentStatistics, index: int) -> Tensor:
    """Return the mean latent (K, 1, 1), float64 on the CPU, of the images that belong to a class.

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
    return statistics.true_means[index].to("cpu", torch.float64).mean(dim=(1, 2), keepdim=True)


def generative_path(
    network: DecodingNetwork,
    image: Tensor,
    start: Tensor,
    displacement: Tensor,
    *,
    keep_details: bool,
) -> LatentPath:
    """Return the path from an image's latent along a displacement.

    Parameters
    ----------
    image : Tensor, shape (1, C, H, W)
        Preprocessed.
    start, displacement : Tensor, shape (1, K, 1, 1)
        The image's latent, and what alpha = 1 adds to it.
    keep_details : bool
        Images are ``x + decode(z + alpha d) - decode(z)`` instead of ``decode(z + alpha d)``.
    """
    details = image - network.decode(start) if keep_details else None
    moved = displacement.to(start).expand_as(start)
    return LatentPath(network.stage_names[-1], start, moved, details=details)
