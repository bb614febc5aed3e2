"""Run an invertible network backwards, and refine the result from float32 to float64.

One round of refinement by mixed defect correction: run the stages forward in float64 from the present image, take the defect of the
latent, carry it back through the linearised stages in float32, add it to the image. The error
falls by several orders of magnitude a round, while the costly part stays in float32 (iterative
refinement as for linear systems: Wilkinson 1963). Locked channels are copied from the latent.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.core.devices import copy_in_float64, to_float64, to_like
from napari_why.core.errors import (
    InversionError,
    MismatchError,
    ParameterError,
    UnsupportedNetworkError,
)
from napari_why.networks.contraction import SolverOptions, Track, solve_contraction
from napari_why.networks.invertible_stage import ContractiveBlock, InvertibleStage
from napari_why.networks.network import InvertibleNetwork
from napari_why.networks.spectral import kernel_of

# of the linearised solve in a round: each round gains about three digits, and the next one starts
# from a better point
LINEAR_ACCURACY = 1e-3
# enough for contractions up to 0.93; the default coefficient of 0.8 gives 0.51 at most
LINEAR_STEPS = 100

_Point = tuple[Tensor, Tensor | None]  # u and H x0 of a block


@torch.no_grad()
def encode_float64(network: InvertibleNetwork, x: Tensor, stage: str | None = None) -> Tensor:
    """Return the latent after ``stage`` (None: the last), computed in float64.

    The network itself stays as it is: a copy computes, on the processor where the network's device
    has no float64.

    Parameters
    ----------
    network : InvertibleNetwork
    x : Tensor, shape (N, C, H, W)
        Preprocessed.
    stage : str, optional
        One of the network's stages.

    Returns
    -------
    Tensor, float64, shape (N, K, h, w)
    """
    twin = copy_in_float64(network)
    device = next(network.parameters()).device
    return twin.encode_to(to_float64(x, device), stage or network.stage_names[-1])


@torch.no_grad()
def refine(
    stages: Sequence[InvertibleStage],
    latent: Tensor,
    x: Tensor,
    *,
    tolerance: float,
    rounds: int = 8,
) -> tuple[Tensor, float]:
    """Return the image of ``latent`` in float64, starting at ``x``, and the last correction.

    The stages run forward where float64 is, and backward on their own device.

    Parameters
    ----------
    stages : sequence of InvertibleStage
        In float32, evaluation mode.
    latent : Tensor, shape (N, K, h, w), float64
        Where :func:`~napari_why.core.devices.to_float64` takes tensors of the stages' device.
    x : Tensor, shape (N, C, H, W)
        The inverse in float32.
    tolerance : float
        Rounds end with the first correction below it.
    rounds : int
        At most.

    Returns
    -------
    x : Tensor, float64, shape (N, C, H, W)
    correction : float
        Largest change of a pixel in the last round, of all images; in units of the channels' standard
        deviations.
    """
    precise = [copy_in_float64(stage) for stage in stages]
    images, corrections = [], []
    # image by image: no result depends on the batch, and float64 maps of one image are held at a time
    for index, target in enumerate(latent):
        image = _copy_locked(precise, target[None], to_float64(x[index : index + 1]))
        for _ in range(rounds):
            reached, points = _forward(precise, image)
            step = _back(stages, points, to_like(target[None] - reached, x))
            image = image + to_float64(step)
            correction = float(step.abs().amax())
            if correction <= tolerance:
                break
        images.append(image)
        corrections.append(correction)
    return torch.cat(images), max(corrections)


def _copy_locked(stages: Sequence[InvertibleStage], latent: Tensor, image: Tensor) -> Tensor:
    """Return the image with its locked channels as the latent has them."""
    locked = list(stages[0].locked_inputs)
    if not locked:
        return image
    for stage in reversed(stages):
        latent = stage.upscale(latent)  # right for the locked channels, which nothing else changes
    # copied, not solved for: locked channels have to come back bit for bit
    exact = image.clone()
    exact[:, locked] = latent[:, locked]
    return exact


def _forward(stages: Sequence[InvertibleStage], x: Tensor) -> tuple[Tensor, list[list[_Point]]]:
    """Return the latent and, by stage and block, the points at which each branch is taken."""
    points: list[list[_Point]] = []
    for stage in stages:
        locked, free = stage.split(stage.enter(x))
        points.append([])
        for _, block in stage.named_blocks():
            points[-1].append((block.actnorm(free), block.conditioning(locked)))
            free = block(free, locked)
        x = stage.join(locked, free)
    return x, points


def _back(stages: Sequence[InvertibleStage], points: list[list[_Point]], change: Tensor) -> Tensor:
    """Carry a small change of the latent's free channels back to the image."""
    for stage, stage_points in zip(reversed(stages), reversed(points), strict=True):
        locked, free = stage.split(change)
        blocks = [block for _, block in stage.named_blocks()]
        for block, point in zip(reversed(blocks), reversed(stage_points), strict=True):
            free = _solve_linearised(block, point, free)
            free = free / block.actnorm.scale
        change = stage.upscale(stage.join(locked, free))
    return change


def _solve_linearised(block: ContractiveBlock, point: _Point, change: Tensor) -> Tensor:
    """Solve d + g'(point) d = change by fixed-point steps, to a thousandth."""
    normalised, conditioning = point
    # as the change is, in float32: of a correction only the first digits matter
    slope = _linearise(
        block,
        to_like(normalised, change),
        None if conditioning is None else to_like(conditioning, change),
    )
    d = change
    goal = LINEAR_ACCURACY * float(change.abs().amax())
    for _ in range(LINEAR_STEPS):
        following = change - slope(d)
        moved = float((following - d).abs().amax())
        d = following
        if moved <= goal:
            break
    return d


def _linearise(
    block: ContractiveBlock, point: Tensor, conditioning: Tensor | None
) -> Callable[[Tensor], Tensor]:
    """Return the derivative of a branch of convolutions and ELUs at a point, as a function."""
    factors: list[tuple[nn.Module, Tensor]] = []
    for name, module in block.branch.named_children():
        if isinstance(module, nn.Conv2d):
            factors.append((module, kernel_of(module)))
        else:
            factors.append((module, point.clamp(max=0).exp()))  # ELU': 1 above 0, exp(x) below
        point = module(point)
        if conditioning is not None and name == "conv1":
            point = point + conditioning

    def slope(d: Tensor) -> Tensor:
        for module, factor in factors:
            if isinstance(module, nn.Conv2d):
                d = F.conv2d(d, factor, padding=module.padding)
            else:
                d = d * factor
        return d

    return slope


# stands in for bounds of 1 and more, and for the infinite ones of networks that are not frozen:
# the error bound r L / (1 - L) has to stay finite
LARGEST_LIPSCHITZ = 0.99
# per block, in standardised units: float32 gets to about 5e-6, and a 16-bit grey level is 3e-5 or
# more, so that pixels keep their grey level (docs/networks.md)
TOLERANCE = 1e-5
# plain steps took 42 at most on the least contractive network tried: more than this means that a
# block does not contract, which has to be told rather than waited for
MAX_EVALUATIONS = 200


class StagedNetwork(Protocol):
    """What the inverse needs of a network: its stages, by name, up to a stage."""

    training: bool

    def stages_to(self, stage: str | None) -> list[tuple[str, InvertibleStage]]:
        """Return the stages by name up to and including ``stage`` (None: all)."""


@dataclass(frozen=True)
class BlockInversion:
    """How the inverse of one residual block went, over all images of the batch.

    Parameters
    ----------
    name : str
        ``stage1.block1``, ...
    evaluations : int
        Evaluations of the block's branch; the most that an image needed.
    residual : float
        Largest ``|u + g(u) - y|`` of the last but one iterate, in units of the block's latent.
    ratio : float
        Largest observed contraction of the last steps.
    converged : bool
        Every image met the tolerance, or the limit of the number format.
    """

    name: str
    evaluations: int
    residual: float
    ratio: float
    converged: bool


@dataclass(frozen=True)
class Inversion:
    """The image of a latent.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
        In standardised units, as the network takes it.
    blocks : tuple of BlockInversion
        In the order in which they were inverted: the last block of the network first.
    correction : float or None
        Size of the last correction of a float64 refinement, standardised units; else None.
    """

    x: Tensor
    blocks: tuple[BlockInversion, ...]
    correction: float | None = None

    @property
    def converged(self) -> bool:
        """Tell whether every block converged."""
        return all(block.converged for block in self.blocks)

    @property
    def evaluations(self) -> float:
        """Mean number of evaluations per block: about the cost in forward passes."""
        return sum(block.evaluations for block in self.blocks) / max(1, len(self.blocks))


@torch.no_grad()
def invert(
    network: StagedNetwork,
    latent: Tensor,
    stage: str | None = None,
    *,
    tolerance: float = TOLERANCE,
    max_evaluations: int = MAX_EVALUATIONS,
    dtype: torch.dtype | None = None,
) -> Inversion:
    """Find the batch whose latent after ``stage`` is ``latent``, and report on every block.

    Residual blocks are inverted by fixed-point iteration (Behrmann et al. 2019, algorithm 1) that
    stops at an error bound instead of after a fixed number of steps, and by Broyden's method where
    the observed contraction exceeds 0.5. Everything else has a closed inverse; locked channels are
    copied, bit for bit.

    Parameters
    ----------
    network : InvertibleNetwork
        In evaluation mode; best frozen, where the contraction is certified.
    latent : Tensor, shape (N, K, h, w)
        float64 where ``dtype`` is and the accuracy of float64 is wanted
        (:func:`napari_why.networks.inverse.encode_float64`).
    stage : str, optional
        The stage after which the latent was taken; None: the last.
    tolerance : float
        Largest allowed error per block, in standardised units. In float32 about 5e-6 can be
        reached.
    max_evaluations : int
        Per block and image.
    dtype : torch.dtype, optional
        ``torch.float64`` refines the result by defect correction: forward passes in float64,
        corrections by the linearised inverse in float32. The result lies on the processor where
        the network's device has no float64. None: as the network.

    Returns
    -------
    Inversion
        Non-convergence is reported, not raised.

    Raises
    ------
    UnsupportedNetworkError
        The network is in training mode.
    MismatchError
        The latent has other channels than that stage's.
    ParameterError
        Unknown stage, a tolerance that is not positive, or another dtype.
    """
    if network.training:
        raise UnsupportedNetworkError(
            "inverse: found a network in training mode, whose norms still change; call freeze()"
        )
    if not tolerance > 0 or max_evaluations < 2:
        raise ParameterError(
            f"inverse: found tolerance {tolerance}, max_evaluations {max_evaluations}; "
            "expected a positive tolerance and 2 evaluations or more"
        )
    stages = network.stages_to(stage)
    check_channels(stages, latent)
    # in the network's dtype and on its device; a float64 latent keeps its digits for refine below
    weight = next(stages[0][1].parameters())
    precise = dtype is torch.float64 and weight.dtype is not torch.float64
    if not precise and dtype not in (None, weight.dtype):
        raise ParameterError(f"inverse: found dtype {dtype}; expected torch.float64 or none")
    working = to_like(latent.detach(), weight)
    x, reports = invert_stages(stages, working, tolerance, max_evaluations)
    if not precise:
        return Inversion(x, reports)
    target = to_float64(latent.detach(), weight.device)
    x, correction = refine([module for _, module in stages], target, x, tolerance=tolerance)
    return Inversion(x, reports, correction)


def decode(network: StagedNetwork, latent: Tensor, stage: str | None = None) -> Tensor:
    """Return the batch whose latent after ``stage`` this is.

    Parameters
    ----------
    network : InvertibleNetwork
        Frozen.
    latent : Tensor, shape (N, K, h, w)
    stage : str, optional
        The last one by default.

    Returns
    -------
    Tensor, shape (N, C, H, W)

    Raises
    ------
    InversionError
        A block did not converge.
    """
    inversion = invert(network, latent, stage)
    check_converged(inversion.blocks)
    return inversion.x


def check_channels(stages: Sequence[tuple[str, InvertibleStage]], latent: Tensor) -> None:
    """Raise MismatchError unless ``latent`` has the channels of the last of the stages.

    Parameters
    ----------
    stages : sequence of (str, InvertibleStage)
        By name, first to last.
    latent : Tensor
        To be of shape (N, K, h, w).

    Raises
    ------
    MismatchError
        It has other axes, or another number of channels.
    """
    name, stage = stages[-1]
    free = [block.actnorm.shift.shape[1] for _, block in stage.named_blocks()]
    if free and (latent.ndim != 4 or latent.shape[1] != stage.locked + free[0]):
        raise MismatchError(
            f"inverse: found a latent of shape {tuple(latent.shape)}; expected (N, "
            f"{stage.locked + free[0]}, h, w), as encode_to(x, {name!r}) returns it; encode returns "
            "what the head has made of that"
        )


def check_converged(blocks: Sequence[BlockInversion]) -> None:
    """Raise InversionError where a block did not converge."""
    failed = [block for block in blocks if not block.converged]
    if failed:
        worst = failed[0]
        raise InversionError(
            f"inverse: found {worst.name} not converged after {worst.evaluations} evaluations "
            f"(residual {worst.residual:.2g}, contraction {worst.ratio:.2g}); expected a "
            "contraction below 1; freeze() the network, or train it with a smaller coefficient"
        )


def invert_stages(
    stages: Sequence[tuple[str, InvertibleStage]],
    latent: Tensor,
    tolerance: float = TOLERANCE,
    max_evaluations: int = MAX_EVALUATIONS,
    bounds: Mapping[str, float] | None = None,
) -> tuple[Tensor, tuple[BlockInversion, ...]]:
    """Run some stages backwards; see :func:`invert`.

    Parameters
    ----------
    stages : sequence of (str, InvertibleStage)
        By name, first to last.
    latent : Tensor, shape (N, K, h, w)
        After the last of them.
    tolerance, max_evaluations
        See :func:`invert`.
    bounds : mapping of str to float, optional
        Lipschitz bound of each block, by its full name; by default those that were certified for
        the size that the network was built for.

    Returns
    -------
    x : Tensor, shape (N, C, H, W)
        What went into the first of them.
    blocks : tuple of BlockInversion
        How each went, in the order in which they were undone.
    """
    reports = []
    # everything undone in the opposite order; the condition of a stage's blocks is the same for all
    for stage_name, stage in reversed(stages):
        locked, free = stage.split(latent)
        for block_name, block in reversed(stage.named_blocks()):
            full_name = f"{stage_name}.{block_name}"
            bound = block.lipschitz_bound if bounds is None else bounds[full_name]
            options = SolverOptions(tolerance, max_evaluations, min(bound, LARGEST_LIPSCHITZ))
            conditioning = block.conditioning(locked)
            solution, tracks = solve_contraction(block.residual, free, options, conditioning)
            free = block.actnorm.inverse(solution)
            reports.append(_report(full_name, tracks))
        latent = stage.upscale(stage.join(locked, free))
    return latent, tuple(reports)


def _report(name: str, tracks: list[Track]) -> BlockInversion:
    return BlockInversion(
        name,
        evaluations=max((track.evaluations for track in tracks), default=0),
        residual=max((track.residuals[-1] for track in tracks), default=0.0),
        ratio=max((track.ratio for track in tracks), default=0.0),
        converged=all(track.converged for track in tracks),
    )
