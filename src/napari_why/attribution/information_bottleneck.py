"""Information bottleneck: how many bits of each place a network needs for its answer."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import get_ident
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from napari_why.attribution.class_activation_maps import (
    layer_name,
    spread_to_pixels,
    with_channels_at_mean,
)
from napari_why.attribution.guard import check_same_logits
from napari_why.attribution.occlusion import batch_size
from napari_why.attribution.registry import Evidence, References, attribution_method
from napari_why.core import events
from napari_why.core.devices import to_float64, to_like
from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.core.options import DETAILS, Help, Label, Range
from napari_why.networks.network import Network

Layer = Annotated[
    str,
    Help("name of the layer whose maps pass the bottleneck; first: the finest, last: the coarsest"),
]
Beta = Annotated[
    float, Help("price of information; a larger one lets fewer bits pass"), Range(0, 1e6)
]
Steps = Annotated[int, Help("steps of the search for what may be stopped"), Range(1, 10000)]
Rate = Annotated[float, Help("step size of Adam"), Range(1e-4, 10), DETAILS]
Samples = Annotated[int, Help("draws of noise that a step averages over"), Range(1, 256)]
Smoothing = Annotated[
    float, Help("blur of the mask, in positions of the layer; 0: none"), Range(0, 20)
]
Initial = Annotated[
    float, Help("where every mask starts, before the sigmoid: 5 lets all but 0.7 % pass"),
    Range(-10, 10), Label("where masks start"), DETAILS,
]  # fmt: skip
Statistics = Annotated[
    Literal["feature_map", "neuron"],
    Help(
        "what the noise is like: one mean and spread for each feature map, or for each feature map "
        "at each position, which wants registered images and many of them"
    ),
]
Seed = Annotated[
    int, Help("seed of the noise"), Range(0, 2**32 - 1), Label("seed of the noise"), DETAILS
]

# Relative to the spread of the whole layer. What hardly varies among the references would else be
# counted as endless information; the paper's code has 0.01 too, for maps of about unit spread.
LEAST_SPREAD = 0.01


@attribution_method(
    title="Information bottleneck",
    source="Schulz, Sixt, Tombari & Landgraf 2020, arXiv:2001.00396, per-sample bottleneck",
    caution="bits have no sign: they tell what the network needs, not for which class it speaks",
)
def information_bottleneck(
    network: Network,
    x: Tensor,
    target: int,
    *,
    references: References,
    # not the last: averaged over its positions, noise does no harm, and no place is needed
    layer: Layer = "first",
    # from here to initial_alpha the settings of the paper
    beta: Beta = 10.0,
    steps: Steps = 10,
    learning_rate: Rate = 1.0,
    samples: Samples = 10,
    smoothing: Smoothing = 1.0,
    initial_alpha: Initial = 5.0,
    statistics: Statistics = "feature_map",
    seed: Seed = 0,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Replace feature maps by noise wherever the class bears it, and count the bits that are left.

    The maps A of a layer become Z = l A + (1 - l) N. N is noise with the mean m and the spread s
    that the layer has on the references; the mask l is the sigmoid of alpha, blurred. Adam looks
    for the alpha of smallest loss + beta * mean over neurons of KL(P(Z|A) || N), where

        KL = ((l (A - m) / s)^2 + (1 - l)^2 - 1) / 2 - log(1 - l)     in nats.

    The loss is the cross-entropy of the class. Of a target with one column (a contrast, a
    similarity, a coordinate) it is log(1 + exp(-score)), which for the contrast of two classes is
    the cross-entropy between these two. The network's parameters need no gradient and get none.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    references : References
        Images whose maps tell what is usual; the training images, or some dozens of them.
    on_event, cancelled : callable
        One step per step of the search. Cancelled work gives the bits of the mask so far, too many.

    Returns
    -------
    Evidence
        Joint: KL in bits, summed over the feature maps of a position, interpolated to pixels such
        that the sum stays: bits per pixel, 0 or more. Maps: change of the joint map when a channel
        is set to its training mean, the search being made anew with the same noise. ``bits`` in the
        details is the sum of the joint map. It is the result of a search and not a mean of
        samples, so no standard error is given.

    Raises
    ------
    ParameterError
        Unknown layer, or fewer than two reference images.
    UnsupportedNetworkError
        The network cannot be continued from this layer.
    MismatchError
        Maps or loss are not finite.
    """
    name = network.layer_names[0] if layer == "first" else layer_name(network, layer)
    images = with_channels_at_mean(x)
    bottleneck = Bottleneck.of(network, images, name, references, statistics, smoothing)
    search = Search(bottleneck, target, beta, samples, seed)
    with continued_from(network, name, images) as outputs:
        alpha, done = search.run(outputs, initial_alpha, steps, learning_rate, on_event, cancelled)
    evidence = bottleneck.evidence(alpha, (x.shape[-2], x.shape[-1]))
    facts = {"layer": name, "steps_done": done, "references": len(references.images)}
    details = {**facts, **search.losses, **evidence.details}
    return replace(evidence, details=details, partial=done < steps)


@torch.no_grad()
def maps_of(network: Network, images: Tensor, layer: str) -> Tensor:
    """Return the maps (N, K, h, w) of a layer.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    images : Tensor, shape (N, C, H, W)
        Standardised.
    layer : str
        One of the network's layers.

    Returns
    -------
    Tensor, shape (N, K, h, w)
        Without a gradient.

    Raises
    ------
    MismatchError
        They are not finite.
    """
    with network.use.passing():  # a user's own modules are watched by hooks
        maps = network.feature_maps(images)[layer]
    if not bool(torch.isfinite(maps).all()):
        raise MismatchError(
            f"layer {layer}: found maps that are not finite; expected finite ones; look for NaN or "
            "infinite values in the image and in the reference images"
        )
    return maps.detach()


def noise_like(
    network: Network, references: References, layer: str, like: Tensor, statistics: str
) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of a layer's maps over the references.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    references : References
    layer : str
        One of the network's layers.
    like : Tensor
        Images, of the device and dtype that the results are to have; their size decides how many are
        run at once.
    statistics : {"feature_map", "neuron"}
        What shares a mean and a spread.

    Returns
    -------
    mean, spread : Tensor, shape (1, K, 1, 1), or (1, K, h, w) with statistics by neuron
        The spread at least ``LEAST_SPREAD`` of that of the whole layer.

    Raises
    ------
    ParameterError
        Fewer than two images.
    """
    images = references.images
    if len(images) < 2:  # one image has no spread
        raise ParameterError(
            f"references: found {len(images)} images; expected at least 2, better some dozens, to "
            "tell what is usual in the layer"
        )
    total = square = torch.zeros(())
    count = 0
    for part in torch.split(to_like(images, like), batch_size(like)):
        # float64: the variance is a difference of two sums over up to a million values
        maps = to_float64(maps_of(network, part, layer)).cpu()
        over = (0, 2, 3) if statistics == "feature_map" else (0,)
        total = total + maps.sum(dim=over, keepdim=True)
        square = square + maps.square().sum(dim=over, keepdim=True)
        count += maps.numel() // total.numel()
    mean = total / count
    variance = (square / count - mean.square()).clamp(min=0)
    whole = (square.mean() / count - mean.mean().square()).clamp(min=0).sqrt()
    # a layer that is the same everywhere and always has no scale; any floor but 0 will do then
    floor = LEAST_SPREAD * whole if whole > 0 else torch.ones_like(whole)
    return to_like(mean, like), to_like(variance.sqrt().clamp(min=floor), like)


@dataclass(frozen=True)
class Bottleneck:
    """Maps (V, K, h, w) of which a mask lets a part pass, and the noise that fills the rest."""

    maps: Tensor
    mean: Tensor
    spread: Tensor
    smoothing: float

    @classmethod
    def of(
        cls,
        network: Network,
        images: Tensor,
        layer: str,
        references: References,
        statistics: str,
        smoothing: float,
    ) -> "Bottleneck":
        """Put a bottleneck on the maps of images, with noise like the maps of the references.

        Parameters
        ----------
        network : Network
            In evaluation mode.
        images : Tensor, shape (V, C, H, W)
            Standardised.
        layer : str
            One of the network's layers.
        references : References
            Two at least.
        statistics : {"feature_map", "neuron"}
            What shares a mean and a spread of the noise.
        smoothing : float
            Standard deviation, in positions, of the Gaussian that the mask is blurred with.

        Returns
        -------
        Bottleneck
        """
        maps = maps_of(network, images, layer)
        return cls(maps, *noise_like(network, references, layer, images, statistics), smoothing)

    def mask(self, alpha: Tensor) -> Tensor:
        """Return the share, 0 to 1, that passes: the sigmoid of alpha, blurred map by map."""
        passed = alpha.sigmoid()
        if self.smoothing:
            radius = max(1, round(2 * self.smoothing))  # two standard deviations, as in the paper
            places = torch.arange(-radius, radius + 1, device=alpha.device, dtype=alpha.dtype)
            weights = (-0.5 * (places / self.smoothing).square()).exp()
            row = (weights / weights.sum()).repeat(alpha.shape[1], 1, 1, 1)
            # the border is repeated: reflected, it would have to be wider than the radius
            for kernel, pad in ((row, (radius, radius, 0, 0)), (row.mT, (0, 0, radius, radius))):
                padded = F.pad(passed, pad, mode="replicate")
                passed = F.conv2d(padded, kernel, groups=alpha.shape[1])
        # at 1 the bits are endless; the next number below it stands for "everything passes"
        return passed.clamp(max=1 - torch.finfo(alpha.dtype).eps)

    def nats(self, mask: Tensor) -> Tensor:
        """Return KL(P(Z|A) || noise) of every neuron."""
        signal = mask * (self.maps - self.mean) / self.spread
        return (signal.square() + (1 - mask).square() - 1) / 2 - torch.log1p(-mask)

    def evidence(self, alpha: Tensor, size: tuple[int, int]) -> Evidence:
        """Return the bits that pass, on pixels: of the image, and less those of its variants.

        Parameters
        ----------
        alpha : Tensor, shape (V, K, h, w)
            Mask before the sigmoid: of the image, then of it with one channel less each.
        size : (int, int)
            Height and width of the image in pixels.

        Returns
        -------
        Evidence
            In bits per pixel; the joint map is never negative.
        """
        # rounding can leave a hair below 0, which information cannot be
        bits = (self.nats(self.mask(alpha)) / math.log(2)).clamp(min=0)
        on_grid = bits.sum(dim=1)
        joint, *others = spread_to_pixels(on_grid, size)
        return Evidence(
            maps=joint - torch.stack(others),
            joint=joint,
            unit="bit per pixel",
            details={
                "joint_has_sign": False,
                # what its dock says before the name of the target
                "joint_meaning": "How much of each place the network needs to see for",
                "bits": on_grid[0].sum().item(),
                "layer_grid": list(on_grid.shape[-2:]),
            },
        )

    def noised(self, mask: Tensor, noise: Tensor) -> Tensor:
        """Return Z of shape (V, S, K, h, w) for standard normal noise (S, K, h, w).

        Parameters
        ----------
        mask : Tensor, shape (V, K, h, w)
            0 (noise alone) to 1 (the maps as they are).
        noise : Tensor, shape (S, K, h, w)

        Returns
        -------
        Tensor, shape (V, S, K, h, w)
        """
        fill = self.mean + self.spread * noise
        return mask[:, None] * self.maps[:, None] + (1 - mask)[:, None] * fill


class Search:
    """The search for the mask: what it minimises, and the losses it came by."""

    def __init__(
        self,
        bottleneck: Bottleneck,
        target: int,
        beta: float,
        samples: int,
        seed: int,
    ) -> None:
        self.bottleneck, self.target = bottleneck, target
        self.beta, self.samples = beta, samples
        self.generator = torch.Generator().manual_seed(seed)
        self.losses: dict[str, float] = {}

    def run(
        self,
        outputs: Callable[[Tensor], Tensor],
        initial: float,
        steps: int,
        rate: float,
        on_event: events.OnEvent,
        cancelled: events.Cancelled,
    ) -> tuple[Tensor, int]:
        """Return alpha (V, K, h, w) and the number of steps that were done.

        Parameters
        ----------
        outputs : callable
            From :func:`continued_from`: maps (n, K, h, w) to outputs (n, classes).
        initial : float
            Of alpha, everywhere.
        steps : int
            Of Adam.
        rate : float
            Learning rate.
        on_event, cancelled : callable
            One step per step. Cancelled work gives alpha as far as it got.

        Returns
        -------
        alpha : Tensor, shape (V, K, h, w)
        done : int
        """
        alpha = torch.full_like(self.bottleneck.maps, initial).requires_grad_()
        optimiser = torch.optim.Adam([alpha], lr=rate)
        with torch.no_grad():
            plain = self._loss_of_class(outputs(self.bottleneck.maps[:1]))
        self.losses["loss_without_noise"] = plain.item()
        on_event(events.Started("information bottleneck", steps))
        for step in range(steps):
            if cancelled():
                return alpha.detach(), step
            with torch.enable_grad():
                # not backward(): the network's parameters may be trainable and are to get nothing
                (alpha.grad,) = torch.autograd.grad(self._objective(alpha, outputs), alpha)
            optimiser.step()
            on_event(events.Advanced(step + 1))
        return alpha.detach(), steps

    def _objective(self, alpha: Tensor, outputs: Callable[[Tensor], Tensor]) -> Tensor:
        maps = self.bottleneck.maps
        # drawn on the processor in float32: the same noise on every device and in every precision
        drawn = torch.randn(self.samples, *maps.shape[1:], generator=self.generator)
        mask = self.bottleneck.mask(alpha)
        # the same noise for the image and its variants, so that it cancels in their differences
        noised = self.bottleneck.noised(mask, to_like(drawn, maps))
        loss = self._loss_of_class(outputs(noised.flatten(0, 1)))
        loss = loss.view(len(maps), self.samples).mean(dim=1)
        if not bool(torch.isfinite(loss).all()):
            raise MismatchError(
                "information bottleneck: found a loss that is not finite; expected a finite one; "
                "try a smaller learning_rate, or another layer"
            )
        self.losses["loss_with_noise"] = loss[0].item()
        # summed over the variants: each has an alpha of its own, so their searches do not mix
        return (loss + self.beta * self.bottleneck.nats(mask).flatten(1).mean(dim=1)).sum()

    def _loss_of_class(self, outputs: Tensor) -> Tensor:
        if outputs.shape[1] == 1:
            return F.softplus(-outputs[:, self.target])
        return -F.log_softmax(outputs, dim=1)[:, self.target]


@contextmanager
def continued_from(
    network: Network, layer: str, images: Tensor
) -> Iterator[Callable[[Tensor], Tensor]]:
    """Give a function from maps (n, K, h, w) of a layer to outputs (n, classes).

    From the last layer the head goes on. From another one the network runs as a whole on the
    image, and a hook on the module that the layer's maps come from hands out the given ones.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    layer : str
        One of its layers.
    images : Tensor, shape (V, C, H, W)
        The maps given later are of these, in equal parts: n is a multiple of V.

    Yields
    ------
    callable
        For as long as the context lasts.

    Raises
    ------
    UnsupportedNetworkError
        The maps are no module's output, or that module runs more than once.
    """
    if layer == network.layer_names[-1]:
        yield network.head
        return
    module, mine = _module_behind(network, layer, images[:1]), get_ident()
    given: list[Tensor] = []

    def hand_out(_module: nn.Module, _inputs: Any, _output: Any) -> Tensor | None:
        # another thread may predict meanwhile, and is to get what the module found
        return given.pop() if get_ident() == mine and given else None

    def outputs(maps: Tensor) -> Tensor:
        given[:] = [maps]
        parts = images[: len(maps)] if len(maps) < len(images) else images
        run = parts.repeat_interleave(len(maps) // len(parts), dim=0)
        with network.use.passing():
            handle = module.register_forward_hook(hand_out)
            try:
                found: Tensor = network(run)
            finally:
                handle.remove()
        return found

    with torch.no_grad():
        plain = network(images)
        check_same_logits(plain, outputs(maps_of(network, images, layer)), "by way of the layer")
    yield outputs


def _module_behind(network: Network, layer: str, image: Tensor) -> nn.Module:
    """Return the module whose output are the layer's maps."""
    seen: list[tuple[nn.Module, Any]] = []
    mine = get_ident()

    def keep(module: nn.Module, _inputs: Any, output: Any) -> None:
        if get_ident() == mine:
            seen.append((module, output))

    with network.use.passing(), torch.no_grad():
        handles = [
            module.register_forward_hook(keep) for module in network.modules() if module != network
        ]
        try:
            maps = network.feature_maps(image)[layer]
            behind = [module for module, output in seen if output is maps]
            seen.clear()
            network(image)
        finally:
            for handle in handles:
                handle.remove()
    # the last of those that hand the same tensor on is the outermost
    if not behind or [module for module, _ in seen].count(behind[-1]) != 1:
        raise UnsupportedNetworkError(
            f"information_bottleneck: the maps of layer {layer!r} of {network.name} are not the "
            "output of a module that runs once in a forward pass, so that nothing can be put in "
            "their place; expected one; take layer='last', or grad_cam, which takes any layer"
        )
    return behind[-1]
