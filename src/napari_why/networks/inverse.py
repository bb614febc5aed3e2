"""The inverse of an invertible network, with a report on every block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from napari_why.errors import InversionError, ParameterError, UnsupportedNetworkError
from napari_why.networks.contraction import SolverOptions, Track, solve_contraction
from napari_why.networks.invertible_stage import InvertibleStage
from napari_why.networks.refinement import refine

LARGEST_LIPSCHITZ = 0.99
TOLERANCE = 1e-5
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
        Largest |u + g(u) - y| of the last but one iterate, in units of the block's latent.
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
        (:func:`napari_why.networks.refinement.encode_float64`).
    stage : str, optional
        The stage after which the latent was taken; None: the last.
    tolerance : float
        Largest allowed error per block, in standardised units. In float32 about 5e-6 can be
        reached.
    max_evaluations : int
        Per block and image.
    dtype : torch.dtype, optional
        ``torch.float64`` refines the result by defect correction: forward passes in float64,
        corrections by the linearised inverse in float32. None: as the network.

    Returns
    -------
    Inversion
        Non-convergence is reported, not raised.

    Raises
    ------
    UnsupportedNetworkError
        The network is in training mode.
    ParameterError
        Unknown stage, or a tolerance that is not positive.
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
    weight = next(stages[0][1].parameters())
    working = latent.detach().to(weight)
    x, reports = invert_stages(stages, working, tolerance, max_evaluations)
    if dtype in (None, working.dtype):
        return Inversion(x, reports)
    target = latent.detach().to(weight.device, dtype)
    x, correction = refine([module for _, module in stages], target, x, tolerance=tolerance)
    return Inversion(x, reports, correction)


def decode(network: StagedNetwork, latent: Tensor, stage: str | None = None) -> Tensor:
    """Return the batch whose latent after ``stage`` this is.

    Raises
    ------
    InversionError
        A block did not converge.
    """
    inversion = invert(network, latent, stage)
    check_converged(inversion.blocks)
    return inversion.x


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
    """
    reports = []
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
