"""Refine an inverse from float32 to float64 by mixed defect correction.

One round: run the stages forward in float64 from the present image, take the defect of the
latent, carry it back through the linearised stages in float32, add it to the image. The error
falls by several orders of magnitude a round, while the costly part stays in float32 (iterative
refinement as for linear systems: Wilkinson 1963). Locked channels are copied from the latent.
"""

import copy
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_why.networks.invertible_stage import ContractiveBlock, InvertibleStage
from napari_why.networks.network import InvertibleNetwork
from napari_why.networks.spectral import kernel_of

LINEAR_ACCURACY = 1e-3
LINEAR_STEPS = 100

_Point = tuple[Tensor, Tensor | None]  # u and H x0 of a block


@torch.no_grad()
def encode_float64(network: InvertibleNetwork, x: Tensor, stage: str | None = None) -> Tensor:
    """Return the latent after ``stage`` (None: the last), computed in float64.

    The network itself stays as it is: a copy computes.
    """
    twin = copy.deepcopy(network).double()
    return twin.encode_to(x.double(), stage or network.stage_names[-1])


@torch.no_grad()
def refine(
    stages: Sequence[InvertibleStage],
    latent: Tensor,
    x: Tensor,
    *,
    tolerance: float,
    rounds: int = 8,
) -> tuple[Tensor, float]:
    """Return the image of ``latent`` in its dtype, starting at ``x``, and the last correction.

    Parameters
    ----------
    stages : sequence of InvertibleStage
        In float32, evaluation mode.
    latent : Tensor, shape (N, K, h, w), float64
    x : Tensor, shape (N, C, H, W)
        The inverse in float32.
    tolerance : float
        Rounds end with the first correction below it.
    rounds : int
        At most.
    """
    precise = [copy.deepcopy(stage).to(latent.dtype) for stage in stages]
    images, corrections = [], []
    for index, target in enumerate(latent):
        image = _with_locked(precise, target[None], x[index : index + 1].to(latent.dtype))
        for _ in range(rounds):
            reached, points = _forward(precise, image)
            step = _back(stages, points, (target[None] - reached).to(x.dtype))
            image = image + step
            correction = float(step.abs().amax())
            if correction <= tolerance:
                break
        images.append(image)
        corrections.append(correction)
    return torch.cat(images), max(corrections)


def _with_locked(stages: Sequence[InvertibleStage], latent: Tensor, image: Tensor) -> Tensor:
    """Return the image with its locked channels as the latent has them."""
    locked = list(stages[0].locked_inputs)
    if not locked:
        return image
    for stage in reversed(stages):
        latent = stage.upscale(latent)  # right for the locked channels, which nothing else changes
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
    slope = _linearised(
        block,
        normalised.to(change.dtype),
        None if conditioning is None else conditioning.to(change.dtype),
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


def _linearised(
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
