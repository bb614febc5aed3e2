"""A whole field explained at the scale of training: in one pass where that is exact, else by windows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import torch
from torch import Tensor

from napari_why.attribution.field import FieldWindow, Shape, place_windows
from napari_why.attribution.registry import SMALLEST, Evidence
from napari_why.attribution.wrapper import (
    Part,
    PartsProgress,
    Wrapped,
    attribution_wrapper,
    give_back,
    mirrored_places,
    sum_parts,
    take_places,
)
from napari_why.core import events
from napari_why.core.devices import to_float64, to_like
from napari_why.core.errors import UnsupportedNetworkError, WhyError
from napari_why.core.options import Help, Range
from napari_why.core.registry import Method
from napari_why.networks.network import Network

Mode = Literal["auto", "whole", "tiles"]
# 2048 x 2048, a camera's field: a gradient of a default iresnet holds 380 bytes a pixel, 1.6 GB then.
WHOLE_PIXELS = 2048 * 2048


@dataclass(frozen=True, eq=False)
class FieldPlan:
    """How a field is explained.

    Parameters
    ----------
    windows : tuple of FieldWindow
        Empty where the network takes the field whole.
    size : (int, int)
        Height and width of the field.
    step : int
        Pixels of the image for one position of the network's last maps.
    why_not_whole : str
        Why the field is cut; empty where it is not.
    """

    windows: tuple[FieldWindow, ...]
    size: Shape
    step: int
    why_not_whole: str = ""

    @classmethod
    def of(
        cls, network: Network, method: Method, x: Tensor, window: Shape, values: Mapping[str, Any]
    ) -> "FieldPlan":
        """Plan a field (1, C, H, W) for windows of the network's own input size.

        Parameters
        ----------
        network : Network
            In evaluation mode.
        method : Method
        x : Tensor, shape (1, C, H, W)
            The field, standardised.
        window : (int, int)
            Height and width of the network's input in pixels.
        values : mapping
            The options ``mode`` and ``overlap`` of :func:`sliding_window`.

        Returns
        -------
        FieldPlan

        Raises
        ------
        UnsupportedNetworkError
            The field cannot be explained so by this method or network.
        """
        size, step = (x.shape[-2], x.shape[-1]), find_step(network, x, window)
        mode: Mode = values["mode"]
        # tried on another size, of unlike sides: networks made for one size or for squares refuse it
        reason = _not_whole(network, method, x, (window[0] + step, window[1] + 2 * step))
        if mode == "auto" and not reason and size[0] * size[1] > WHOLE_PIXELS:
            reason = f"the field has more than {WHOLE_PIXELS} pixels, which takes much memory"
        if mode == "auto" and not reason and method.takes("stride"):
            reason = f"{method.name} scans, and each look at the whole field would cost as much as all windows"
        if mode == "whole" and reason:
            raise UnsupportedNetworkError(
                f"sliding_window: found mode 'whole', but {reason}; take mode 'tiles'"
            )
        if mode != "tiles" and not reason:
            return cls((), size, step)
        for name in ("regions", "alpha_path"):
            if method.takes(name):
                raise UnsupportedNetworkError(
                    f"sliding_window: found {method.name}, which cannot be put together of windows: "
                    "regions and counterfactuals do not end where a window does; take another method"
                )
        windows = place_windows(size, window, values["overlap"], step)
        return cls(tuple(windows), size, step, reason or "tiles were asked for")

    def padded(self, pixels: Tensor) -> Tensor:
        """Return pixels (..., H, W) mirrored at the lower and right edge up to multiples of the step."""
        rows, columns = self._padding(pixels.device)
        return take_places(pixels, rows, columns)

    def unpadded(self, values: Tensor) -> Tensor:
        """Return the values of padded pixels on (..., H, W); those of mirrored ones go to the original."""
        rows, columns = self._padding(values.device)
        return give_back(values, rows, columns, self.size)

    def _padding(self, device: torch.device) -> tuple[Tensor, Tensor]:
        rows, columns = (
            mirrored_places(length, 0, length + -length % self.step, device) for length in self.size
        )
        return rows, columns

    @torch.no_grad()
    def logits(self, network: Network, x: Tensor) -> Tensor:
        """Return the field's logits (1, K): of all of it, or the mean over windows.

        A window counts by the area it stands for: by its pixels' shares in the blended map.

        Parameters
        ----------
        network : Network
            In evaluation mode.
        x : Tensor, shape (1, C, H, W)
            The field, standardised.

        Returns
        -------
        Tensor, shape (1, K)
        """
        if not self.windows:
            logits: Tensor = network(self.padded(x))
            return logits
        total = [
            window.shares.mean().item() * to_float64(network(window.cut(x)))
            for window in self.windows
        ]
        return to_like(torch.stack(total).sum(dim=0) / self.windows_per_field, x)

    @property
    def windows_per_field(self) -> float:
        """How many windows the field's area is."""
        return sum(window.shares.mean().item() for window in self.windows) or 1.0


def find_step(network: Network, x: Tensor, window: Shape) -> int:
    """Return how many pixels of the input one position of the last maps stands for, at the least 1.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (N, C, H, W)
        For its channels, device and dtype.
    window : (int, int)
        Height and width of the network's input in pixels.

    Returns
    -------
    int
        In pixels.
    """
    with torch.no_grad():
        maps = network.encode(x.new_zeros(1, x.shape[1], *window))
    # rounded: a last map of an odd size stands for about so many pixels
    return max(1, round(window[0] / maps.shape[-2]))


def _not_whole(network: Network, method: Method, x: Tensor, larger: Shape) -> str:
    """Say why a field cannot be explained in one pass; empty where it can."""
    if network.linear_head_weights is None:
        return (
            f"the head of {network.name} is not linear in its averaged maps, so that the score of a "
            "field is not the mean of its parts"
        )
    if method.takes("references"):
        return f"{method.name} compares with training images, which have the size of a window"
    if method.takes("alpha_path"):
        return f"{method.name} needs a counterfactual, which has the size of a window"
    try:
        with torch.no_grad():
            network(x.new_zeros(1, x.shape[1], *larger))
    except (WhyError, RuntimeError):  # RuntimeError is what torch says of shapes that do not fit
        return f"{network.name} takes images of one size only"
    return ""


@attribution_wrapper(
    title="Whole field",
    source="Sermanet et al. 2014, arXiv:1312.6229, section 3.5: one pass gives what windows would",
    takes_fields=True,
)
def sliding_window(
    wrapped: Wrapped,
    *,
    mode: Annotated[
        Mode,
        Help(
            "the field in one pass, tiles put together, or the first where it is exact and not dear"
        ),
    ] = "auto",
    # half: then every pixel lies in the middle half of some window, in both directions
    overlap: Annotated[
        float,
        Help("of neighbouring tiles, as a share of their side; 0.5 costs four times as much as 0"),
        Range(0.0, 0.5),
    ] = 0.5,
    window: Shape,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Explain a field larger than the training images: the mean score of its windows.

    The score of a field is the mean over windows of the size of the network's input. A convolutional
    network with a head that is linear in averaged maps gives that mean in one pass over the whole
    field (but for what its windows would see at their edges), and the method explains this pass: mode
    ``whole``. Else the method explains window by window; the maps are blended, R(p) = sum over w of
    c_w(p) R_w(p) / n, where the shares c fade as cosines, sum to 1 on each pixel, and n is the number
    of windows that the field's area makes.

    Parameters
    ----------
    wrapped : Wrapped
        Its image is the field.
    window : (int, int)
        Height and width of the network's input.
    on_event, cancelled : callable
        Steps of all windows. Cancelled work gives the windows done so far, 0 elsewhere.

    Returns
    -------
    Evidence
        On the field. Of tiles the details tell ``largest_seam``, the largest step of the joint map
        across a tile's edge in standard deviations of the map; ``seam_ratio``, the root mean square
        of steps across edges relative to that of all other steps (1: edges cannot be told); and
        ``disagreement``, the root mean square difference of tiles from their blend where they overlap,
        in standard deviations of the map.

    Raises
    ------
    UnsupportedNetworkError
        The method needs regions or a counterfactual, or ``whole`` is not to be had.
    """
    options = {"mode": mode, "overlap": overlap}
    plan = FieldPlan.of(wrapped.network, wrapped.method, wrapped.x, window, options)
    if not plan.windows:
        return _whole(wrapped.run(plan.padded, on_event=on_event, cancelled=cancelled), plan)
    progress = PartsProgress(f"{wrapped.method.name} of windows", len(plan.windows), on_event)
    parts: list[Part] = []
    stopped = False
    for run, tile in enumerate(plan.windows):
        found = wrapped.run(tile.cut, on_event=progress.of(run), cancelled=cancelled)
        stopped = found.partial or (cancelled() and run + 1 < len(plan.windows))
        # part of a window has another meaning than a whole one; better than nothing at all, though
        if not found.partial or not parts:
            parts.append(_part(found, tile, plan))
        if stopped:
            break
    return _blend(parts, plan, stopped)


def _whole(found: Evidence, plan: FieldPlan) -> Evidence:
    error = found.standard_error
    return replace(
        found,
        maps=plan.unpadded(found.maps),
        joint=plan.unpadded(found.joint),
        standard_error=None if error is None else plan.unpadded(error),
        layers={name: plan.unpadded(values) for name, values in found.layers.items()},
        details={**found.details, "field": "whole"},
    )


def _part(found: Evidence, tile: FieldWindow, plan: FieldPlan) -> Part:
    def add(total: Tensor, values: Tensor) -> None:
        part = tile.cut(total)  # a view
        part += values * to_like(tile.shares, values) / plan.windows_per_field

    return Part(found, tile.shares.mean().item() / plan.windows_per_field, add)


def _blend(parts: list[Part], plan: FieldPlan, stopped: bool) -> Evidence:
    blended = sum_parts(parts, plan.size, "windows")
    details: dict[str, Any] = {
        **blended.details,
        "field": "tiles",
        "why_not_whole": plan.why_not_whole,
        "field_windows": len(plan.windows),
        "field_windows_done": len(parts),
        **(
            {} if stopped else measure_seams(blended.joint, [p.evidence.joint for p in parts], plan)
        ),
    }
    return replace(blended, details=details, partial=stopped)


def measure_seams(joint: Tensor, tiles: Sequence[Tensor], plan: FieldPlan) -> dict[str, float]:
    """Return how far the edges of tiles show in their blend; see :func:`sliding_window`.

    Parameters
    ----------
    joint : Tensor, shape (H, W)
        The blend.
    tiles : sequence of Tensor, shape (h, w)
        What was blended, in the order of the plan's windows.
    plan : FieldPlan

    Returns
    -------
    dict of str to float
        ``largest_seam``, ``seam_ratio`` and ``disagreement``.
    """
    blend = to_float64(joint.cpu())
    spread = blend.std().item()
    across, elsewhere = [], []
    for axis, length in enumerate(plan.size):
        edges = set()
        for window in plan.windows:
            start, side = (window.top, window.left)[axis], window.shares.shape[axis]
            edges |= {start, start + side} - {0, length}
        steps = blend.diff(dim=axis).movedim(axis, 0)
        at_edge = torch.zeros(length - 1, dtype=torch.bool)
        at_edge[[edge - 1 for edge in edges]] = True  # the step between pixels edge - 1 and edge
        across.append(steps[at_edge].flatten())
        elsewhere.append(steps[~at_edge].flatten())
    at_edges, others = torch.cat(across), torch.cat(elsewhere)
    if not at_edges.numel() or not spread:  # one window, or a map that is the same everywhere
        return {"largest_seam": 0.0, "seam_ratio": 1.0, "disagreement": 0.0}
    squares = torch.zeros_like(blend)
    for tile, window in zip(tiles, plan.windows, strict=True):
        values = to_float64(tile.cpu()) / plan.windows_per_field
        part = window.cut(squares)  # a view
        part += to_like(window.shares, values) * (values - window.cut(blend)) ** 2
    return {
        "largest_seam": at_edges.abs().max().item() / spread,
        "seam_ratio": at_edges.square().mean().sqrt().item()
        / max(others.square().mean().sqrt().item(), SMALLEST),
        "disagreement": squares.mean().sqrt().item() / spread,
    }


def field_logits(
    network: Network, method: Method, x: Tensor, window: Shape, values: Mapping[str, Any]
) -> Tensor:
    """Return the logits (1, K) of a field (1, C, H, W), as :func:`sliding_window` explains them.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    method : Method
    x : Tensor, shape (1, C, H, W)
        The field, standardised.
    window : (int, int)
        Height and width of the network's input in pixels.
    values : mapping
        The options ``mode`` and ``overlap`` of :func:`sliding_window`.

    Returns
    -------
    Tensor, shape (1, K)
    """
    return FieldPlan.of(network, method, x, window, values).logits(network, x)
