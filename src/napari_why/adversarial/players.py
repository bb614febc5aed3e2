"""The networks of the two players: what makes images, and what tells them from real ones."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import spectral_norm

from napari_why.core.errors import ParameterError
from napari_why.networks.autoencoder import map_shapes
from napari_why.networks.modules import check_smallest, read_integers

# Of leaky rectifiers in discriminators (Radford, Metz & Chintala 2016).
LEAK = 0.2
# Of the DCGAN: 0 mean and this deviation for every weight.
FIRST_WEIGHTS = 0.02
# Power iterations after weights were exchanged: their largest singular value is then known to less than
# what an average of weights moves in a step.
SETTLING_STEPS = 30
SMALLEST = 16  # pixels a side, as for the autoencoders: two doublings from the smallest map


class ClassNorm(nn.Module):
    """Batch normalisation whose gain and offset are those of a class (de Vries et al. 2017).

    Parameters
    ----------
    channels : int
    classes : int
        0 for one gain and offset whatever the class.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain = nn.Embedding(max(1, classes), channels)
        self.offset = nn.Embedding(max(1, classes), channels)
        nn.init.ones_(self.gain.weight)
        nn.init.zeros_(self.offset.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        """Normalise maps (N, K, h, w) of images of classes (N,).

        Parameters
        ----------
        x : Tensor, shape (N, K, h, w)
        labels : Tensor, int64, shape (N,)

        Returns
        -------
        Tensor, shape (N, K, h, w)
        """
        gain, offset = (part(labels)[:, :, None, None] for part in (self.gain, self.offset))
        maps: Tensor = self.norm(x) * gain + offset
        return maps


class CodeToImage(nn.Module):
    """A generator: codes to images, by maps that double in size (Radford, Metz & Chintala 2016).

    Maps are enlarged by repetition and convolved; transposed convolutions leave chequerboards
    (Odena et al. 2016). The images are standardised ones, so that nothing bounds their last layer.

    Parameters
    ----------
    configuration : mapping
        ``channels``, ``classes`` (0: it knows none), ``size`` (height, width), ``code_dimensions`` and
        ``widths``, the channels of the maps from the smallest on, as text.

    Examples
    --------
    >>> network = CodeToImage(
    ...     {"channels": 2, "classes": 0, "size": [32, 32], "code_dimensions": 8, "widths": "16,8"}
    ... )
    >>> network(torch.zeros(3, 8)).shape
    torch.Size([3, 2, 32, 32])
    """

    def __init__(self, configuration: Mapping[str, Any]) -> None:
        super().__init__()
        self.channels, self.classes = int(configuration["channels"]), int(configuration["classes"])
        self.size = (int(configuration["size"][0]), int(configuration["size"][1]))
        self.code_dimensions = int(configuration["code_dimensions"])
        check_smallest("dcgan", self.size, SMALLEST)
        widths = read_integers("widths", configuration["widths"], low=1, high=4096)
        self._configuration = dict(configuration)
        self.shapes = map_shapes(self.size, len(widths))[::-1]
        self._first = (widths[0], *self.shapes[0])
        self.from_code = nn.Linear(self.code_dimensions, math.prod(self._first))
        self.first_norm = ClassNorm(widths[0], self.classes)
        steps = list(pairwise([*widths, widths[-1]]))
        self.convolutions = nn.ModuleList(nn.Conv2d(*pair, 3, padding=1) for pair in steps)
        self.norms = nn.ModuleList(ClassNorm(after, self.classes) for _, after in steps)
        self.to_channels = nn.Conv2d(widths[-1], self.channels, 3, padding=1)
        _draw_first_weights(self)

    def forward(self, codes: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return standardised images (N, C, H, W) of codes (N, K) and classes (N,).

        Parameters
        ----------
        codes : Tensor, shape (N, K)
        labels : Tensor, int64, shape (N,), optional
            Classes; left out for a generator that knows none.

        Returns
        -------
        Tensor, shape (N, C, H, W)

        Raises
        ------
        ParameterError
            No labels, and a generator that knows classes.
        """
        if labels is None:
            if self.classes:
                raise ParameterError(
                    "label: found none; expected a class, of which this generator makes images"
                )
            labels = torch.zeros(len(codes), dtype=torch.int64, device=codes.device)
        maps = self.from_code(codes).reshape(-1, *self._first)
        maps = F.relu(self.first_norm(maps, labels))
        for shape, convolution, norm in zip(
            self.shapes[1:], self.convolutions, self.norms, strict=True
        ):
            maps = F.relu(norm(convolution(F.interpolate(maps, size=shape)), labels))
        images: Tensor = self.to_channels(maps)
        return images

    def configuration(self) -> dict[str, Any]:
        """Return the configuration that builds it again."""
        return dict(self._configuration)


class Discriminator(nn.Module):
    """Tells images from made ones, given their class, by one logit each.

    Strided convolutions, added up over positions; the class comes in as the inner product of the
    features with a vector of its own (Miyato & Koyama 2018, arXiv:1802.05637). Every layer has its
    spectral norm divided out (Miyato et al. 2018, arXiv:1802.05957).

    Parameters
    ----------
    channels, classes : int
        Of the images; 0 classes for one that knows none.
    size : (int, int)
        Height and width.
    widths : sequence of int
        Channels of the maps, the largest first.
    """

    def __init__(
        self, channels: int, classes: int, size: tuple[int, int], widths: Sequence[int]
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        shapes = pairwise(map_shapes(size, len(widths)))
        for (before, after), pair in zip(shapes, pairwise([channels, *widths]), strict=True):
            halves = before != after
            layers += [
                nn.Conv2d(*pair, 4, 2, padding=1) if halves else nn.Conv2d(*pair, 3, padding=1),
                nn.LeakyReLU(LEAK),
            ]
        self.features = nn.Sequential(*layers)
        self.to_logit = nn.Linear(widths[-1], 1)
        self.of_class = nn.Embedding(classes, widths[-1]) if classes else None
        _draw_first_weights(self)
        add_spectral_norms(self)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the logits (N,) of images (N, C, H, W) of classes (N,).

        Parameters
        ----------
        images : Tensor, shape (N, C, H, W)
        labels : Tensor, int64, shape (N,)
            Not looked at where it knows no class.

        Returns
        -------
        Tensor, shape (N,)
        """
        features = self.features(images).sum(dim=(2, 3))
        logits: Tensor = self.to_logit(features)[:, 0]
        if self.of_class is not None:
            logits = logits + (self.of_class(labels) * features).sum(dim=1)
        return logits


class PatchDiscriminator(nn.Module):
    """Tells patches of images from made ones: a logit for each place (Isola et al. 2017, arXiv:1611.07004).

    With spectral norms in place of the published normalisation of images, whose mean and deviation
    would tell it, or hide from it, how bright a field is.

    Parameters
    ----------
    channels : int
    widths : sequence of int
        Channels of the maps, each half as large as the one before.
    """

    def __init__(self, channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for pair in pairwise([channels, *widths]):
            layers += [nn.Conv2d(*pair, 4, 2, padding=1), nn.LeakyReLU(LEAK)]
        layers.append(nn.Conv2d(widths[-1], 1, 3, padding=1))
        self.layers = nn.Sequential(*layers)
        _draw_first_weights(self)
        add_spectral_norms(self)

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits (N, 1, h, w) of images (N, C, H, W)."""
        logits: Tensor = self.layers(images)
        return logits


def _draw_first_weights(module: nn.Module) -> None:
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            nn.init.normal_(part.weight, 0.0, FIRST_WEIGHTS)
            if part.bias is not None:
                nn.init.zeros_(part.bias)


def add_spectral_norms(module: nn.Module) -> None:
    """Divide every layer's weight by its largest singular value, which each training pass follows.

    That of the reshaped kernel, as published for discriminators; networks that have to be invertible
    need the norm of the operator (:mod:`napari_why.networks.spectral`).
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            spectral_norm(part)


@torch.no_grad()
def settle_spectral_norms(module: nn.Module) -> None:
    """Bring the singular values up to date after weights were exchanged."""
    was_training = module.training
    module.train()  # in which every look at a weight is a power iteration
    for part in _normalised(module):
        for _ in range(SETTLING_STEPS):
            part.weight  # noqa: B018 - the look is the work
    module.train(was_training)


@torch.no_grad()
def plain_state(module: nn.Module) -> dict[str, Tensor]:
    """Return the state of the same module without spectral norms that makes the same, on the CPU."""
    was_training = module.training
    module.eval()  # in which a look at a weight leaves the singular values alone
    weights = {
        f"{name}.weight": part.weight
        for name, part in module.named_modules()
        if parametrize.is_parametrized(part, "weight")
    }
    kept = {
        name: value
        for name, value in module.state_dict().items()
        if ".parametrizations." not in name
    }
    found = {name: value.detach().cpu().clone() for name, value in (kept | weights).items()}
    module.train(was_training)
    return found


def _normalised(module: nn.Module) -> Iterator[nn.Module]:
    return (part for part in module.modules() if parametrize.is_parametrized(part, "weight"))
