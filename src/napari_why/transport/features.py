"""What is looked at around a position of a latent, and the small classifier that judges it.

A latent (N, K, h, w) holds its locked channels first; pixel-unshuffle puts the phases of an input
channel next to each other, so that each *group* of channels belongs to one input channel.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.core.events import Cancelled

# A position and its eight neighbours: texture has no meaning at a single position.
NEIGHBOURHOOD = 3
# Widths in positions over which channels are averaged: context of about a cell.
SCALES = (5, 9, 17)
# Evidence is smoothed afterwards anyway: the widest context would only blur it more.
EVIDENCE_SCALES = (5, 9)
# Positions around a position that its features depend on.
HALO = max(SCALES) // 2
# Half the resolution is enough to say where the evidence lies, at a quarter of the work.
EVIDENCE_STRIDE = 2
# Positions around a position that its evidence depends on.
EVIDENCE_HALO = 2 * (max(EVIDENCE_SCALES) // 2) + 4 * EVIDENCE_STRIDE
"""Positions around a position that its evidence, smoothed, depends on."""


@dataclass(frozen=True)
class LatentLayout:
    """Which channels of a latent are locked, and which belong together.

    Parameters
    ----------
    channels : int
        All channels of the latent.
    locked : int
        How many of them, the first ones, are locked.
    phases : int
        Channels per input channel.
    """

    channels: int
    locked: int
    phases: int

    @property
    def free(self) -> int:
        """Number of channels that may change."""
        return self.channels - self.locked

    @property
    def conditions(self) -> int:
        """Length of a position's vector of conditions."""
        return NEIGHBOURHOOD**2 * self.locked + len(SCALES) * (self.locked // self.phases)

    @property
    def moving(self) -> int:
        """Length of a position's vector of free channels and their surroundings."""
        return NEIGHBOURHOOD**2 * self.free + len(SCALES) * (self.free // self.phases)

    @property
    def evidence(self) -> int:
        """Number of maps that a local classifier sees."""
        means, deviations = self.channels // self.phases, self.free // self.phases
        return self.channels + len(EVIDENCE_SCALES) * (means + deviations)


def conditions(latent: Tensor, layout: LatentLayout) -> Tensor:
    """Return what is known and stays: the locked channels nearby and their means further around.

    Parameters
    ----------
    latent : Tensor, shape (N, K, h, w)
    layout : LatentLayout

    Returns
    -------
    Tensor, shape (N, layout.conditions, h, w)
        Without channels where nothing is locked.
    """
    locked = latent[:, : layout.locked]
    if not layout.locked:
        return locked
    return torch.cat([_neighbourhood(locked), *_local_means(locked, layout.phases, SCALES)], 1)


def moving_features(latent: Tensor, layout: LatentLayout) -> Tensor:
    """Return what is transported: the free channels, first, and what surrounds them.

    Parameters
    ----------
    latent : Tensor, shape (N, K, h, w)
    layout : LatentLayout

    Returns
    -------
    Tensor, shape (N, layout.moving, h, w)
        The first ``layout.free`` channels are those of the position itself.
    """
    free = latent[:, layout.locked :]
    centre = NEIGHBOURHOOD**2 // 2
    around = _neighbourhood(free)
    is_centre = torch.arange(around.shape[1], device=free.device) % NEIGHBOURHOOD**2 == centre
    means = _local_means(free, layout.phases, SCALES)
    return torch.cat([free, around[:, ~is_centre], *means], 1)


def evidence_features(latent: Tensor, layout: LatentLayout) -> Tensor:
    """Return what a local classifier sees: channels, local means and local deviations.

    Its field of view is about a cell. A wider one, or deep latents, would learn from a cell's
    neighbours what class the image has, and call cells affected that are not.

    Parameters
    ----------
    latent : Tensor, shape (N, K, h, w)
    layout : LatentLayout

    Returns
    -------
    Tensor, shape (N, E, h / 2, w / 2), rounded up
    """
    free, locked = latent[:, layout.locked :], latent[:, : layout.locked]
    parts = [free, locked]
    for channels in (free, locked):
        if not channels.shape[1]:
            continue
        grouped = _group(channels, layout.phases)
        for scale in EVIDENCE_SCALES:
            mean = _local_mean(grouped, scale)
            parts.append(mean)
            if channels is free:
                parts.append(_local_mean((grouped - mean).abs(), scale))
    return F.avg_pool2d(torch.cat(parts, 1), EVIDENCE_STRIDE, ceil_mode=True)


def positions(maps: Tensor) -> Tensor:
    """Return maps (N, K, h, w) as one row a position, shape (N h w, K)."""
    return maps.permute(0, 2, 3, 1).flatten(0, 2)


def _group(channels: Tensor, phases: int) -> Tensor:
    count, size = channels.shape[0], channels.shape[-2:]
    return channels.reshape(count, -1, phases, *size).mean(2)


def _neighbourhood(channels: Tensor) -> Tensor:
    count, width, *size = channels.shape
    half = NEIGHBOURHOOD // 2
    padded = _pad(channels, half)
    unfolded = F.unfold(padded, NEIGHBOURHOOD)
    return unfolded.reshape(count, width * NEIGHBOURHOOD**2, *size)


def _local_means(channels: Tensor, phases: int, scales: Sequence[int]) -> list[Tensor]:
    grouped = _group(channels, phases)
    return [_local_mean(grouped, scale) for scale in scales]


def _local_mean(maps: Tensor, scale: int) -> Tensor:
    return F.avg_pool2d(_pad(maps, scale // 2), scale, stride=1)


def _pad(maps: Tensor, margin: int) -> Tensor:
    # an image smaller than the margin cannot be mirrored that far
    mode = "reflect" if margin < min(maps.shape[-2:]) else "replicate"
    return F.pad(maps, (margin,) * 4, mode=mode)


# Maps of each layer: a plain choice, small enough for the processor.
WIDTH = 48
# Few, since there are no validation images to stop it by.
EPOCHS = 15
BATCH = 20  # as the networks' own
LEARNING_RATE = 3e-3  # AdamW's usual 1e-3, raised for so few epochs
WEIGHT_DECAY = 1e-3  # weak: the network is small
# Positions over which evidence is averaged: noise of single positions is no cell.
SMOOTHING = 3
# A logit whose probability is zero in float32.
NEVER = -1e4


@dataclass(frozen=True)
class LocalEvidence:
    """Probabilities of the classes at every place of a latent, from its surroundings alone.

    Parameters
    ----------
    network : nn.Sequential
        3 x 3 and 1 x 1 convolutions on standardised evidence features.
    mean, deviation : Tensor, shape (1, E, 1, 1)
        Of the evidence features.
    """

    network: nn.Sequential
    mean: Tensor
    deviation: Tensor

    @classmethod
    def fit(
        cls,
        crops: Sequence[Tensor],
        layout: LatentLayout,
        *,
        seed: int,
        cancelled: Cancelled,
        each_epoch: Callable[[], None] = lambda: None,
    ) -> "LocalEvidence":
        """Train on crops of latents by class, each place labelled with the class of its image.

        Classes without crops get no probability. Classes count alike, however many crops they
        have.

        Parameters
        ----------
        crops : sequence of Tensor, shape (n, K, h, w)
            One a class; without crops of shape (0, K, h, w). At least one class has some.
        layout : LatentLayout
            Of the latents.
        seed : int
            Of first weights and order.
        cancelled : callable
            Asked while it trains; the network is then as far as it got.
        each_epoch : callable
            Called after every epoch, for a bar.

        Returns
        -------
        LocalEvidence
            In evaluation mode, without gradients.
        """
        features = [evidence_features(maps, layout) if len(maps) else None for maps in crops]
        present = [maps for maps in features if maps is not None]
        mean = torch.stack([maps.mean((0, 2, 3)) for maps in present]).mean(0)
        spread = [(maps - mean[:, None, None]).square().mean((0, 2, 3)) for maps in present]
        deviation = torch.stack(spread).mean(0).sqrt().clamp(min=1e-6)
        generator = torch.Generator().manual_seed(seed)
        network = build(len(mean), len(crops), generator)
        made = cls(network, mean[None, :, None, None], deviation[None, :, None, None])
        made._train(features, generator, cancelled, each_epoch)
        network.requires_grad_(False).eval()
        *_, last_bias = network.parameters()
        last_bias[[maps is None for maps in features]] = NEVER
        return made

    @property
    def classes(self) -> int:
        """Number of classes that places are told apart by."""
        *_, last_bias = self.network.parameters()
        return len(last_bias)

    @torch.no_grad()
    def probabilities(self, latent: Tensor, layout: LatentLayout) -> Tensor:
        """Return class probabilities (N, classes, h / 2, w / 2) of every place of latents.

        Parameters
        ----------
        latent : Tensor, shape (N, K, h, w)
        layout : LatentLayout
            The one that it was fitted with.

        Returns
        -------
        Tensor, shape (N, classes, h / 2, w / 2), rounded up
            0 to 1; they add up to 1 at every place.
        """
        features = (evidence_features(latent, layout) - self.mean) / self.deviation
        return torch.softmax(self.network(features), 1)

    def _train(
        self,
        features: Sequence[Tensor | None],
        generator: torch.Generator,
        cancelled: Cancelled,
        each_epoch: Callable[[], None],
    ) -> None:
        examples = [
            (maps[index : index + 1], label)
            for label, maps in enumerate(features)
            if maps is not None
            for index in range(len(maps))
        ]
        counts = torch.tensor([0 if maps is None else len(maps) for maps in features])
        weights = torch.where(counts > 0, counts.sum() / counts.clamp(min=1), 0.0)
        weights = weights / weights.sum()
        optimiser = torch.optim.AdamW(
            self.network.parameters(), LEARNING_RATE, weight_decay=WEIGHT_DECAY
        )
        for _ in range(EPOCHS):
            order = torch.randperm(len(examples), generator=generator)
            for start in range(0, len(order), BATCH):
                chosen = order[start : start + BATCH]
                if cancelled():
                    return
                loss = torch.zeros(())
                for size, batch, labels in _by_size([examples[index] for index in chosen.tolist()]):
                    logits = self.network((batch - self.mean) / self.deviation)
                    places = labels[:, None, None].expand(-1, *size)
                    loss = loss + F.cross_entropy(logits, places, weights, reduction="sum") / (
                        size[0] * size[1] * len(chosen)
                    )
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
            each_epoch()


def excess_mass(
    places: Tensor, source: int, target: int, size: tuple[int, int] | torch.Size
) -> Tensor:
    """Return the excess mass of ``source`` over ``target`` at every position.

    Parameters
    ----------
    places : Tensor, shape (N, classes, h / 2, w / 2)
        Class probabilities; see :meth:`LocalEvidence.probabilities`.
    source, target : int
        Classes.
    size : (int, int)
        Height and width of the latent.

    Returns
    -------
    Tensor, shape (N, 1, h, w)
        0 where the target explains all, 1 where it explains nothing; averaged over 3 x 3 places.
    """
    ratio = places[:, target] / places[:, source].clamp(min=1e-6)
    excess = (1 - ratio).clamp(min=0)[:, None]
    padded = F.pad(excess, (SMOOTHING // 2,) * 4, mode="replicate")
    smooth = F.avg_pool2d(padded, SMOOTHING, stride=1)
    # by the stride, not to the size: of an odd height every place would come to lie a bit off
    grown = F.interpolate(
        smooth, scale_factor=float(EVIDENCE_STRIDE), mode="bilinear", align_corners=False
    )
    return grown[..., : size[0], : size[1]]


def build(inputs: int, classes: int, generator: torch.Generator | None = None) -> nn.Sequential:
    """Return the untrained network of places; torch's own random numbers stay as they are.

    Parameters
    ----------
    inputs : int
        Evidence features of a place.
    classes : int
        Outputs.
    generator : torch.Generator, optional
        Of the first weights; without it they are any, to be loaded over.

    Returns
    -------
    Sequential
    """
    with torch.random.fork_rng(devices=[]):
        network = nn.Sequential(
            nn.Conv2d(inputs, WIDTH, 3, padding=1),
            nn.ELU(),
            nn.Conv2d(WIDTH, WIDTH, 1),
            nn.ELU(),
            nn.Conv2d(WIDTH, classes, 1),
        )
    if generator is not None:
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim == 1:
                    parameter.zero_()
                else:
                    bound = parameter[0].numel() ** -0.5
                    parameter.uniform_(-bound, bound, generator=generator)
    return network


def _by_size(
    examples: Sequence[tuple[Tensor, int]],
) -> list[tuple[tuple[int, int], Tensor, Tensor]]:
    """Put crops of one size together: latents of different classes may differ in size."""
    sizes: dict[tuple[int, int], list[tuple[Tensor, int]]] = {}
    for maps, label in examples:
        sizes.setdefault((maps.shape[-2], maps.shape[-1]), []).append((maps, label))
    return [
        (size, torch.cat([maps for maps, _ in group]), torch.tensor([label for _, label in group]))
        for size, group in sizes.items()
    ]
