"""Samples of what could be where only some cells respond: which ones is drawn, how is learnt.

Of two classes one may hold cells as in the other beside cells that responded. Then no map from the
first to the second can be right, as nothing in an image tells which cells would respond. What can be
estimated is how many do, and how those look that did.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.events import Cancelled, never_cancelled
from napari_why.core.schema import Fields, Number, Open, Schema, Whole
from napari_why.simulation.planted_effects import CellMap, find_cells
from napari_why.transport.coarse_to_fine import (
    CoarseToFineMap,
    fit_coarse_to_fine,
)
from napari_why.transport.features import LatentLayout, LocalEvidence, excess_mass
from napari_why.transport.pixel_maps import smooth

# Pixels: how softly a cell that responds ends; the resolution is about this.
SOFT_BORDER = 0.7
# Phases of two by two pixels make images what evidence is found in: latents of a first stage.
PHASES = 2

DRAWN: Schema = Fields(
    {
        "nuclei": Whole(),
        "share": Number(0, 1),
        "error": Number(0),
        "forward": Open(),
    }
)

Draw = Callable[[torch.Generator], Tensor]
"""Returns images (N, C, H, W), others at every call."""


@dataclass(frozen=True)
class RespondingCells:
    """Draws what images could be if a share of their cells responded.

    Called as a map it returns the mean of all draws, which is one of no draw.

    Parameters
    ----------
    forward : CoarseToFineMap
        What becomes of a cell that responds.
    nuclei : int
        The locked channel that cells are found by.
    share, error : float
        Of the cells that respond, estimated, and its standard error.
    """

    kind: ClassVar[str] = "responding_cells"

    forward: CoarseToFineMap
    nuclei: int
    share: float
    error: float

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the mean of all draws of images (N, C, H, W)."""
        return self._mix(images, self.forward(images), torch.tensor(self.share))

    @torch.no_grad()
    def prepare(self, images: Tensor) -> Draw:
        """Return a function that draws again and again from the same images, fast."""
        moved, cells = self.forward(images), find_all_cells(images, self.nuclei)

        def draw(generator: torch.Generator) -> Tensor:
            masks = [self._respond(found.number, generator) for found in cells]
            return self.mix(images, moved, torch.stack(masks)[:, None])

        return draw

    @torch.no_grad()
    def sample(self, image: Tensor, seed: int = 0) -> "CellSamples":
        """Return draws of one image (1, C, H, W), by number; each is made when it is asked for.

        Parameters
        ----------
        image : Tensor, shape (1, C, H, W)
            Standardised.
        seed : int
            Which series of draws.

        Returns
        -------
        CellSamples
        """
        (found,) = find_all_cells(image, self.nuclei)
        return CellSamples(self, image, self.forward(image), found.number, seed)

    def _respond(self, numbers: NDArray[np.int32], generator: torch.Generator) -> Tensor:
        drawn = torch.rand(int(numbers.max()), generator=generator) < self.share
        return drawn.float()[torch.from_numpy(numbers).long() - 1]

    def mix(self, images: Tensor, moved: Tensor, responding: Tensor) -> Tensor:
        """Mix images as they are with those whose cells all responded, by masks (N, 1, H, W) of 0 or 1.

        Parameters
        ----------
        images, moved : Tensor, shape (N, C, H, W)
            Standardised.
        responding : Tensor, shape (N, 1, H, W)
            1 where the cell of a pixel responds; its borders are made soft.

        Returns
        -------
        Tensor, shape (N, C, H, W)
        """
        return self._mix(images, moved, smooth(responding, SOFT_BORDER))

    def _mix(self, images: Tensor, moved: Tensor, weight: Tensor) -> Tensor:
        result = images.clone()
        free = self.forward.free
        result[:, free] = torch.lerp(images[:, free], moved[:, free], weight.to(images))
        return result

    def tensors(self) -> dict[str, Tensor]:
        """Return everything numeric by name, ready for safetensors."""
        return self.forward.tensors()

    def to_dict(self) -> dict[str, Any]:
        """Return the part that is not tensors, as JSON types."""
        return {
            "nuclei": self.nuclei,
            "share": self.share,
            "error": self.error,
            "forward": self.forward.to_dict(),
        }

    @classmethod
    def from_parts(cls, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Self:
        """Put together what :meth:`tensors` and :meth:`to_dict` took apart.

        Parameters
        ----------
        tensors : mapping of str to Tensor
        plain : mapping
            As read from JSON, or as :meth:`to_dict` made it.

        Returns
        -------
        RespondingCells

        Raises
        ------
        ModelFileError
            A part is missing or does not fit the others.
        """
        DRAWN.check(plain, "responding cells:")
        forward = CoarseToFineMap.from_parts(tensors, plain["forward"])
        if plain["nuclei"] not in forward.locked:
            raise ModelFileError(
                f"responding cells: found nuclei in channel {plain['nuclei']}; expected one of the "
                f"locked channels {forward.locked}; train anew"
            )
        return cls(forward, plain["nuclei"], float(plain["share"]), float(plain["error"]))


@dataclass(frozen=True, eq=False)
class CellSamples:
    """Draws of one image by number: the same number is the same draw, however many are looked at.

    Parameters
    ----------
    cells : RespondingCells
    image, moved : Tensor, shape (1, C, H, W)
        As it is, and as it would be if all of its cells responded.
    number : ndarray, int32, shape (H, W)
        To which cell every pixel belongs, from 1.
    seed : int
        Which series of draws.
    """

    cells: RespondingCells
    image: Tensor
    moved: Tensor
    number: NDArray[np.int32]
    seed: int = 0

    def responding(self, index: int) -> NDArray[np.bool_]:
        """Return which cells respond in a draw, shape (cells,), in the order of their numbers."""
        # of this image: else the first cell of every image would respond in the same draws
        own = crc32(np.ascontiguousarray(self.number).tobytes())
        drawn = np.random.default_rng([self.seed, index, own]).random(int(self.number.max()))
        return np.asarray(drawn < self.cells.share)

    def draw(self, index: int) -> Tensor:
        """Return a draw, shape (1, C, H, W)."""
        mask = torch.from_numpy(self.responding(index)[self.number - 1]).float()
        return self.cells.mix(self.image, self.moved, mask[None, None].to(self.image.device))


def find_all_cells(images: Tensor, nuclei: int) -> list[CellMap]:
    """Return the cells of images (N, C, H, W) by the nuclei in this channel.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
    nuclei : int
        The channel.

    Returns
    -------
    list of CellMap
        One an image.
    """
    return [find_cells(plane, plane.shape) for plane in images[:, nuclei].float().cpu().numpy()]


def fit_responding_cells(
    untouched: Tensor,
    partly: Tensor,
    locked: Sequence[int],
    *,
    nuclei: int | None = None,
    seed: int = 0,
    cancelled: Cancelled = never_cancelled,
) -> RespondingCells:
    """Learn how cells respond, and how many do, from a class of which only some did.

    Parameters
    ----------
    untouched, partly : Tensor, shape (N, C, H, W), (M, C, H, W)
        Standardised training images: of the class without responding cells, and of the other one.
        At least 2 of each, since what one half says is asked of the other half.
    locked : sequence of int
        Channels that stay; at least one.
    nuclei : int, optional
        The locked channel that cells are found by, by default the first.
    seed : int
    cancelled
        See :mod:`napari_why.core.events`. Cancelled, the evidence is as far as it got.

    Returns
    -------
    RespondingCells

    Raises
    ------
    ParameterError
        No locked channel to find cells by, or too few images.
    """
    locked = tuple(sorted(locked))
    nuclei = locked[0] if nuclei is None and locked else nuclei
    if nuclei not in locked or min(len(untouched), len(partly)) < HALVES:
        raise ParameterError(
            f"responding cells: found locked channels {locked}, nuclei in {nuclei}, "
            f"{len(untouched)} and {len(partly)} images; expected nuclei in a locked channel and "
            f"at least {HALVES} images of each class"
        )
    cells, partly_cells = (find_all_cells(images, nuclei) for images in (untouched, partly))
    untouched_evidence, partly_evidence = judge_places(
        untouched, partly, locked, seed=seed, cancelled=cancelled
    )
    scores, partly_scores = (
        score_cells(evidence, found)
        for evidence, found in ((untouched_evidence, cells), (partly_evidence, partly_cells))
    )
    share, error = estimate_share(np.concatenate(scores), np.concatenate(partly_scores))
    surely = find_surest(np.concatenate(partly_scores), share)
    # a cell counts as a whole: its rim, where there is little to see, responded as its middle did
    weights = [
        torch.from_numpy((score >= surely)[found.number - 1]).float()
        for score, found in zip(partly_scores, partly_cells, strict=True)
    ]
    forward = fit_coarse_to_fine(
        untouched,
        partly,
        locked,
        target_weights=torch.stack(weights)[:, None] + SMALLEST_WEIGHT,
        seed=seed,
    )
    return RespondingCells(forward, nuclei, share, error)


# Evidence comes from images that it was not learnt from.
HALVES = 2
# Keeps every place usable where nothing responds.
SMALLEST_WEIGHT = 1e-4
# Of as many cells as responded, those with the most evidence. Among the others are some that did not respond, or of
# which a neighbour did: with all of them what is learnt is a smaller change; with a quarter little is known of what
# it looks like.
SUREST = 0.5


def judge_places(
    untouched: Tensor,
    partly: Tensor,
    locked: Sequence[int],
    *,
    seed: int = 0,
    cancelled: Cancelled = never_cancelled,
) -> tuple[Tensor, Tensor]:
    """Return the excess mass of the second class over the first at every pixel of both.

    Each half of the images is judged by a local classifier that was trained on the other half.

    Parameters
    ----------
    untouched, partly : Tensor, shape (N, C, H, W), (M, C, H, W)
        Standardised, of the first and of the second class; at least 2 of each.
    locked : sequence of int
        Channels that the classes do not differ in.
    seed : int
        Of the classifiers' first weights and order.
    cancelled : callable
        Asked while they train; they are then as far as they got.

    Returns
    -------
    Tensor, Tensor, shape (N, 1, H, W), (M, 1, H, W)
        0 where the first class explains all, 1 where it explains nothing.
    """
    latents = [_as_latents(images, locked) for images in (untouched, partly)]
    width = PHASES**2
    layout = LatentLayout(latents[0].shape[1], width * len(locked), width)
    size = untouched.shape[-2:]
    found = [torch.empty(len(images), 1, *size) for images in (untouched, partly)]
    for half in range(HALVES):
        chosen = [torch.arange(len(maps)) % HALVES == half for maps in latents]
        learnt = [maps[~held] for maps, held in zip(latents, chosen, strict=True)]
        evidence = LocalEvidence.fit(learnt, layout, seed=seed, cancelled=cancelled)
        for maps, held, result in zip(latents, chosen, found, strict=True):
            places = evidence.probabilities(maps[held], layout)
            mass = excess_mass(places, 1, 0, maps.shape[-2:])
            grown = F.interpolate(mass, scale_factor=float(PHASES), mode="bilinear")
            result[held] = grown[..., : size[0], : size[1]]
    return found[0], found[1]


def find_surest(scores: NDArray[np.float64], share: float) -> float:
    """Return the evidence above which the surest half of the cells that responded lie.

    Parameters
    ----------
    scores : ndarray, shape (n,)
        Excess masses of the cells of the class of which some responded, 0 to 1.
    share : float
        Of them that responded, 0 to 1.

    Returns
    -------
    float
        At least one cell lies there.

    Examples
    --------
    >>> scores = np.array([0.0, 0.1, 0.0, 0.2, 0.5, 0.7, 0.8, 0.9])
    >>> [float(score) for score in scores if score >= find_surest(scores, share=0.5)]
    [0.8, 0.9]
    """
    return float(np.quantile(scores, 1 - SUREST * share, method="higher"))


def _as_latents(images: Tensor, locked: Sequence[int]) -> Tensor:
    """Return images as latents: the locked channels first, sides halved, rounded up."""
    free = [index for index in range(images.shape[1]) if index not in locked]
    height, width = images.shape[-2:]
    even = F.pad(images.float(), (0, width % PHASES, 0, height % PHASES), mode="replicate")
    return F.pixel_unshuffle(even[:, [*locked, *free]], PHASES)


def score_cells(maps: Tensor, cells: Sequence[CellMap]) -> list[NDArray[np.float64]]:
    """Return the mean of maps (N, 1, H, W) over each nucleus; over all of an image without one.

    A place in the nucleus sees the cell around it; one at the cell's rim sees its neighbours too.

    Parameters
    ----------
    maps : Tensor, shape (N, 1, H, W)
        On the CPU.
    cells : sequence of CellMap
        N of the same size.

    Returns
    -------
    list of ndarray, shape (cells of the image,)
    """
    found = []
    for plane, cell in zip(maps[:, 0].numpy(), cells, strict=True):
        numbers = np.where(cell.nuclei, cell.number, 0) if cell.nuclei.any() else cell.number
        sums = np.bincount(numbers.ravel(), plane.ravel())[1:]
        found.append(sums / np.bincount(numbers.ravel())[1:])
    return found


# Excess masses above which a cell may count as one that responded. Below, neighbours of responding cells
# lie too, which gain a little of their evidence; above, many that responded would be missed.
TRIED = (0.3, 0.4, 0.5)


def estimate_share(
    untouched: NDArray[np.float64], partly: NDArray[np.float64]
) -> tuple[float, float]:
    """Estimate which share of cells responded, from the excess mass of every cell.

    By how much more of the second class lies above a threshold than of the first, at that of three
    thresholds where this is most. It is the share itself where all responding cells lie above it, and
    below the share where some cannot be told from untouched ones.

    Parameters
    ----------
    untouched, partly : ndarray, shape (n,), (m,)
        Excess masses of cells, 0 to 1; see :func:`judge_places`.

    Returns
    -------
    float, float
        Share from 0 to 1 and its standard error.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> plain, responding = rng.uniform(0, 0.3, 1700), rng.uniform(0.5, 1, 300)
    >>> share, error = estimate_share(plain[:1000], np.concatenate([plain[1000:], responding]))
    >>> bool(abs(share - 0.3) < 3 * error)
    True
    """
    found = []
    for threshold in TRIED:
        above, above_partly = (float(np.mean(side > threshold)) for side in (untouched, partly))
        variance = above * (1 - above) / len(untouched)
        variance += above_partly * (1 - above_partly) / len(partly)
        found.append((above_partly - above, variance**0.5))
    share, error = max(found)
    # where all cells are alike their number alone says how well that is known
    return max(share, 0.0), max(error, 1 / min(len(untouched), len(partly)))
