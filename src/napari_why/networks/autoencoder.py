"""Autoencoders that classify from their latent: plain, denoising and variational.

All are residual blocks down to a vector of few numbers and up again, for images of any size.
The variational one draws its latents to a normal distribution, so that they can be drawn from it
(Kingma & Welling 2014, arXiv:1312.6114; the weight beta: Higgins et al. 2017).
"""

import math
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Annotated, Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.core.devices import at_least_float32
from napari_why.core.errors import MismatchError
from napari_why.core.options import Help, Range
from napari_why.networks.modules import (
    ResidualSum,
    Size,
    check_batch,
    check_counts,
    check_smallest,
    height_and_width,
    linear_head,
    read_integers,
)
from napari_why.networks.network import LATENT, GenerativeNetwork
from napari_why.networks.registry import TrainingSchedule, register_network

SMALLEST_MAP = 4  # pixels of the smaller side: below, a 3 x 3 kernel sees mostly padding
Shape = tuple[int, int]


class ResidualBlock(nn.Module):
    """ReLU(skip(u) + branch(u)) with u = scale(x).

    The branch is conv 3x3 - batch norm - ReLU - conv 3x3 - batch norm, the skip connection conv
    1x1 - batch norm (He et al. 2016, arXiv:1512.03385).

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : int
        2 halves the maps, rounding up.
    enlarged : (int, int), optional
        Height and width to enlarge the maps to first, each value repeated.
    """

    def __init__(
        self, inputs: int, outputs: int, *, stride: int = 1, enlarged: Shape | None = None
    ) -> None:
        super().__init__()
        # repeated and convolved: transposed convolutions leave chequerboards (Odena et al. 2016)
        self.enlarge = nn.Upsample(size=enlarged) if enlarged else nn.Identity()
        self.branch = nn.Sequential(
            OrderedDict(
                # without biases: batch norm has its own
                conv1=nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
                norm1=nn.BatchNorm2d(outputs),
                relu=nn.ReLU(),
                conv2=nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
                norm2=nn.BatchNorm2d(outputs),
            )
        )
        self.skip = nn.Sequential(
            OrderedDict(
                conv=nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                norm=nn.BatchNorm2d(outputs),
            )
        )
        self.sum = ResidualSum()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's maps of maps (N, inputs, h, w)."""
        enlarged = self.enlarge(x)
        maps: Tensor = self.relu(self.sum(self.skip(enlarged), self.branch(enlarged)))
        return maps


def map_shapes(size: Shape, blocks: int) -> list[Shape]:
    """Return height and width before each block and after the last.

    A block halves its maps, rounding up, as long as at least 4 pixels of the smaller side stay.

    Parameters
    ----------
    size : (int, int)
        Height and width of the images in pixels.
    blocks : int

    Returns
    -------
    list of (int, int), length blocks + 1

    Examples
    --------
    >>> map_shapes((224, 224), 6)
    [(224, 224), (112, 112), (56, 56), (28, 28), (14, 14), (7, 7), (7, 7)]
    >>> map_shapes((33, 20), 2)
    [(33, 20), (17, 10), (9, 5)]
    """
    shapes = [size]
    for _ in range(blocks):
        height, width = shapes[-1]
        if min(height, width) // 2 >= SMALLEST_MAP:
            height, width = -(-height // 2), -(-width // 2)
        shapes.append((height, width))
    return shapes


def encoder_blocks(
    input_channels: int, widths: Sequence[int], shapes: Sequence[Shape]
) -> nn.Sequential:
    """Return ``block1`` to ``blockN`` from images to the smallest maps.

    Parameters
    ----------
    input_channels : int
        Of the images.
    widths : sequence of int, length B
        Channels after each block.
    shapes : sequence of (int, int), length B + 1
        From :func:`map_shapes`.

    Returns
    -------
    Sequential
        (N, input_channels, H, W) to (N, widths[-1], h, w).
    """
    channels = pairwise((input_channels, *widths))
    steps = zip(channels, pairwise(shapes), strict=True)
    return nn.Sequential(
        OrderedDict(
            (f"block{number}", ResidualBlock(*pair, stride=1 if before == after else 2))
            for number, (pair, (before, after)) in enumerate(steps, start=1)
        )
    )


def decoder_blocks(
    output_channels: int, widths: Sequence[int], shapes: Sequence[Shape]
) -> nn.Sequential:
    """Return as many blocks the other way round, and a convolution 3x3 to the image's channels.

    Parameters
    ----------
    output_channels : int
        Of the images.
    widths, shapes : sequence
        Those of the encoder.

    Returns
    -------
    Sequential
        (N, widths[-1], h, w) to (N, output_channels, H, W).
    """
    # the last block keeps its width, so that one convolution alone makes the image's channels
    upwards = [*reversed(widths), widths[0]]
    sizes = list(reversed(shapes))
    steps = zip(pairwise(upwards), pairwise(sizes), strict=True)
    blocks: OrderedDict[str, nn.Module] = OrderedDict(
        (f"block{number}", ResidualBlock(*pair, enlarged=None if before == after else after))
        for number, (pair, (before, after)) in enumerate(steps, start=1)
    )
    blocks["to_channels"] = nn.Conv2d(widths[0], output_channels, 3, padding=1)
    return nn.Sequential(blocks)


SMALLEST = 16  # pixels a side: two halvings, so that there is something to squeeze
# six blocks down and six up: Otto 2022 gives twelve, but not their widths; these train on a CPU
WIDTHS = "16,32,64,64,64,64"

Widths = Annotated[
    str, Help("channels of the encoder's blocks, first to last; the decoder has as many blocks")
]
LatentDimensions = Annotated[int, Help("numbers that an image is squeezed into"), Range(1, 4096)]
ReconstructionWeight = Annotated[
    float, Help("weight of the reconstruction error beside the cross-entropy"), Range(0, 1e6)
]


class Autoencoder(GenerativeNetwork):
    """Residual blocks down to a latent vector and up again; see :func:`autoencoder`.

    Parameters
    ----------
    configuration : mapping
        ``name``, ``input_channels``, ``classes``, ``size``, ``latent_dimensions``, ``widths`` and
        ``reconstruction_weight``; further entries are kept for :meth:`configuration`.
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__()
        self.name = str(configuration["name"])
        self.input_channels = int(configuration["input_channels"])
        self.classes = int(configuration["classes"])
        self.size = (int(configuration["size"][0]), int(configuration["size"][1]))
        self.latent_dimensions = int(configuration["latent_dimensions"])
        self.reconstruction_weight = float(configuration["reconstruction_weight"])
        self._configuration = dict(configuration)
        widths = read_integers("widths", configuration["widths"], low=1, high=4096)
        shapes = map_shapes(self.size, len(widths))
        smallest = (widths[-1], *shapes[-1])
        self.map_values = math.prod(smallest)
        self.encoder = encoder_blocks(self.input_channels, widths, shapes)
        self.to_latent = self.dense_layer()
        self.classifier = linear_head(self.latent_dimensions, self.classes)
        self.from_latent = nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                linear=nn.Linear(self.latent_dimensions, self.map_values),
                unflatten=nn.Unflatten(1, smallest),
                relu=nn.ReLU(),
            )
        )
        self.decoder = decoder_blocks(self.input_channels, widths, shapes)

    def dense_layer(self) -> nn.Sequential:
        """Return a linear layer from the last block's maps to vectors (N, K, 1, 1)."""
        return nn.Sequential(
            OrderedDict(
                flatten=nn.Flatten(),
                linear=nn.Linear(self.map_values, self.latent_dimensions),
                unflatten=nn.Unflatten(1, (self.latent_dimensions, 1, 1)),
            )
        )

    def encode(self, x: Tensor) -> Tensor:
        """Return the latent (N, K, 1, 1)."""
        self._check_size(x)
        latent: Tensor = self.to_latent(self.encoder(x))
        return latent

    def decode(self, latent: Tensor, stage: str | None = None) -> Tensor:
        """Return the images (N, C, H, W) of latents (N, K, 1, 1).

        Parameters
        ----------
        latent : Tensor, shape (N, K, 1, 1)
        stage : str, optional
            There is one only.

        Returns
        -------
        Tensor, shape (N, C, H, W)
            Standardised, of the size that it was built for.
        """
        self.check_stage(stage)
        images: Tensor = self.decoder(self.from_latent(latent))
        return images

    def head(self, features: Tensor) -> Tensor:
        """Return the logits of latents."""
        logits: Tensor = self.classifier(features)
        return logits

    def feature_maps(self, x: Tensor) -> dict[str, Tensor]:
        """Return the maps of every block of the encoder, and the latent."""
        self._check_size(x)
        maps = {}
        for name, block in self.encoder.named_children():
            maps[name] = x = block(x)
        return maps | {LATENT: self.to_latent(x)}

    @property
    def layer_names(self) -> tuple[str, ...]:
        """``block1``, ``block2``, ..., ``latent``."""
        return (*(name for name, _ in self.encoder.named_children()), LATENT)

    def training_losses(self, x: Tensor, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``reconstruction``: the weighted mean square error in standard deviations."""
        return {"reconstruction": self.reconstruction_loss(x, maps[LATENT])}

    def reconstruction_loss(self, x: Tensor, latent: Tensor) -> Tensor:
        """Return the weighted mean square error of the decoded latents against images.

        Parameters
        ----------
        x : Tensor, shape (N, C, H, W)
            Standardised images.
        latent : Tensor, shape (N, K, 1, 1)

        Returns
        -------
        Tensor, shape ()
        """
        return self.reconstruction_weight * F.mse_loss(at_least_float32(self.decode(latent)), x)

    def configuration(self) -> Mapping[str, Any]:
        """Return the keyword arguments of ``build_network``; ``frozen`` once frozen."""
        return self._configuration | ({"frozen": True} if self.frozen else {})

    def _check_size(self, x: Tensor) -> None:
        check_batch(self.name, x, self.input_channels)
        if tuple(x.shape[2:]) != self.size:
            height, width = self.size
            raise MismatchError(
                f"{self.name}: found images of {x.shape[2]} x {x.shape[3]}; expected {height} x "
                f"{width}, the size it was built for: its latent is of the image as a whole"
            )


class DenoisingAutoencoder(Autoencoder):
    """An autoencoder that learns to take noise away; see :func:`denoising_autoencoder`."""

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__(configuration)
        self.noise = float(configuration["noise"])

    def training_losses(self, x: Tensor, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``reconstruction``: of x from x with noise; without noise in evaluation mode."""
        if not self.training:
            return super().training_losses(x, maps)
        # other noise every time, else it would be learnt by heart
        noisy = x + self.noise * torch.randn_like(x)
        return {"reconstruction": self.reconstruction_loss(x, self.encode(noisy))}


# a decoder takes longer to learn than a class, hence twice the usual epochs
# images are what it has to reproduce, hence no jitter of their brightness
SCHEDULE = TrainingSchedule(
    epochs=60,
    batch_size=20,
    learning_rate=1e-3,
    optimiser="adam",
    step_size=30,
    step_decay=0.3,
    schedule="step",
    label_smoothing=0,
    jitter=0,
    averaging=0,
)


@register_network(
    title="Autoencoder",
    source="Otto 2022",
    training=SCHEDULE,
    purpose="classifies, and gives images back from few numbers, blurred; a baseline for counterfactuals",
)
def autoencoder(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    latent_dimensions: LatentDimensions = 98,
    widths: Widths = WIDTHS,
    reconstruction_weight: ReconstructionWeight = 10.0,
) -> Autoencoder:
    """Build an autoencoder whose latent also classifies (98 numbers, twelve blocks: Otto 2022).

    Trained jointly on cross-entropy + ``reconstruction_weight`` * mean square error.

    Parameters
    ----------
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels, 16 or more; any, but only images of this size fit later.
    frozen : bool
        Build it frozen.
    latent_dimensions : int
        Numbers in the latent.
    widths : str
        Channels of the encoder's blocks, one whole number a block.
    reconstruction_weight : float
        Of the mean square error in units of the channels' standard deviations.

    Returns
    -------
    Autoencoder

    Raises
    ------
    ParameterError
        Too small a size, no channel, fewer than two classes, or widths that are no numbers.
    """
    configuration = common_configuration("autoencoder", input_channels, classes, size) | {
        "latent_dimensions": latent_dimensions,
        "widths": widths,
        "reconstruction_weight": reconstruction_weight,
    }
    network = Autoencoder(configuration)
    if frozen:
        network.freeze()
    return network


@register_network(
    title="Denoising autoencoder",
    purpose="an autoencoder that learns to take noise away; a baseline for counterfactuals",
    source="Vincent et al. 2008; Otto 2022",
    training=SCHEDULE,
)
def denoising_autoencoder(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    latent_dimensions: LatentDimensions = 98,
    widths: Widths = WIDTHS,
    reconstruction_weight: ReconstructionWeight = 10.0,
    noise: Annotated[
        float,
        Help("deviation of the noise added in training, in those of the channel"),
        Range(0, 10),
    ] = 0.5,
) -> DenoisingAutoencoder:
    """Build an autoencoder that is trained to give images back from noisy ones (Vincent 2008).

    Parameters
    ----------
    noise : float
        Standard deviation of the Gaussian noise added in training, the channel's being 1. The
        classification sees the images without it.
    input_channels, classes, size, frozen, latent_dimensions, widths, reconstruction_weight
        As for :func:`autoencoder`.

    Returns
    -------
    DenoisingAutoencoder

    Raises
    ------
    ParameterError
        As for :func:`autoencoder`.
    """
    configuration = common_configuration("denoising_autoencoder", input_channels, classes, size) | {
        "latent_dimensions": latent_dimensions,
        "widths": widths,
        "reconstruction_weight": reconstruction_weight,
        "noise": noise,
    }
    network = DenoisingAutoencoder(configuration)
    if frozen:
        network.freeze()
    return network


def common_configuration(
    name: str, input_channels: int, classes: int, size: Size
) -> dict[str, Any]:
    """Check and return what every network's configuration holds.

    Parameters
    ----------
    name : str
        Of the network.
    input_channels, classes : int
        Channels of the images and number of classes.
    size : int or (int, int)
        Height and width in pixels, 16 or more.

    Returns
    -------
    dict
        JSON types; ``size`` as [height, width].

    Raises
    ------
    ParameterError
        Too small a size, no channel, or fewer than two classes.
    """
    check_counts(input_channels, classes)
    shape = height_and_width(size)
    check_smallest(name, shape, SMALLEST)
    return {
        "name": name,
        "input_channels": input_channels,
        "classes": classes,
        "size": list(shape),
    }


# variances from 5e-5 to 2e4: far outside what training settles at, and exp() stays finite before
LARGEST_LOG_VARIANCE = 10.0


class VariationalAutoencoder(Autoencoder):
    """An autoencoder with a mean and a variance per latent number; see :func:`vae`.

    ``encode`` gives the mean; in training the decoder gets a sample.
    """

    has_prior = True

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__(configuration)
        self.beta = float(configuration["beta"])
        self.to_log_variance = self.dense_layer()

    def training_losses(self, x: Tensor, maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return ``reconstruction`` and ``kl``, the negative evidence lower bound but for constants.

        Both stand per value of the image: mean square error, and beta times the Kullback-Leibler
        divergence in nats divided by C * H * W. In evaluation mode the decoder gets the mean.
        """
        mean = at_least_float32(maps[LATENT])
        log_variance = self.log_variance(maps[self.located_layer])
        # without chance in evaluation mode: it is what the best epoch is chosen by
        latent = draw_sample(mean, log_variance) if self.training else mean
        # per value of the image, as the mean square error is, so that beta does not depend on size
        divergence = kl_divergence(mean, log_variance).mean() / math.prod(x.shape[1:])
        return {
            "reconstruction": self.reconstruction_loss(x, latent),
            "kl": self.reconstruction_weight * self.beta * divergence,
        }

    def log_variance(self, last_maps: Tensor) -> Tensor:
        """Return the log-variances (N, K, 1, 1) of the latents, from the last block's maps."""
        found = at_least_float32(self.to_log_variance(last_maps))
        # the first steps may throw an untrained layer anywhere
        return found.clamp(-LARGEST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of N(mean, variance) from N(0, 1), in nats.

    Summed over the independent latent numbers: ``1/2 sum(mean^2 + variance - log variance - 1)``
    (Kingma & Welling 2014, appendix B).

    Parameters
    ----------
    mean, log_variance : Tensor, shape (N, K, 1, 1)

    Returns
    -------
    Tensor, shape (N,)

    Examples
    --------
    >>> kl_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 0.0]]))
    tensor([0.5000])
    """
    return 0.5 * (mean**2 + log_variance.exp() - log_variance - 1).flatten(1).sum(dim=1)


def draw_sample(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Draw a sample of N(mean, variance) such that its gradient reaches mean and variance.

    Parameters
    ----------
    mean, log_variance : Tensor
        Of one shape; the natural logarithm of the variance. Drawn by torch's own generator.

    Returns
    -------
    Tensor
        Of that shape.
    """
    return mean + (log_variance / 2).exp() * torch.randn_like(mean)


@register_network(
    title="Variational autoencoder (vae)",
    purpose="classifies, gives images back and makes new ones, blurred; a baseline for counterfactuals",
    source="Kingma & Welling 2014; Higgins et al. 2017",
    training=SCHEDULE,
)
def vae(
    *,
    input_channels: int,
    classes: int,
    size: Size,
    frozen: bool = False,
    latent_dimensions: LatentDimensions = 98,
    widths: Widths = WIDTHS,
    reconstruction_weight: ReconstructionWeight = 10.0,
    beta: Annotated[
        float, Help("weight of the divergence from the normal distribution"), Range(0, 1e4)
    ] = 1.0,
) -> VariationalAutoencoder:
    """Build a variational autoencoder whose latent also classifies.

    Trained jointly on cross-entropy + ``reconstruction_weight`` * (mean square error + ``beta`` *
    KL / (C * H * W)). With ``beta`` 1 the bracket is the negative evidence lower bound per value,
    up to a constant, of a decoder with a noise variance of 1/2 of the channel's.

    Parameters
    ----------
    beta : float
        Larger: latents closer to the normal distribution and more independent, images blurrier.
    input_channels, classes, size, frozen, latent_dimensions, widths, reconstruction_weight
        As for :func:`~napari_why.networks.autoencoder.autoencoder`.

    Returns
    -------
    VariationalAutoencoder

    Raises
    ------
    ParameterError
        As for :func:`~napari_why.networks.autoencoder.autoencoder`.
    """
    configuration = common_configuration("vae", input_channels, classes, size) | {
        "latent_dimensions": latent_dimensions,
        "widths": widths,
        "reconstruction_weight": reconstruction_weight,
        "beta": beta,
    }
    network = VariationalAutoencoder(configuration)
    if frozen:
        network.freeze()
    return network
