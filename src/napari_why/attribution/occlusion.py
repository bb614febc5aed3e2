"""Occlusion: what the logit loses when a window of the image is covered."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated, Literal

import torch
from torch import Tensor

from napari_why.attribution.incremental import open_scores
from napari_why.attribution.registry import Evidence, attribution_method, baseline_image
from napari_why.core import events
from napari_why.core.devices import at_a_time
from napari_why.core.errors import ParameterError
from napari_why.core.options import DETAILS, Help, Label, Presets, Range, Unit
from napari_why.networks.network import Network

# The local background is that of a window; a whole image has none.
WindowBaseline = Literal["zero", "mean", "blur", "local_background"]


def local_background(x: Tensor, rows: slice, columns: slice, margin: int) -> Tensor:
    """Return the median of the frame of pixels round a window, channel by channel.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)
    rows, columns : slice
        The window.
    margin : int
        Width of the frame in pixels; it is cut off at the image border.

    Returns
    -------
    Tensor, shape (1, C, 1, 1)
        The median; the median of the window itself where it covers the whole image.
    """
    top, left = max(rows.start - margin, 0), max(columns.start - margin, 0)
    area = x[0, :, top : rows.stop + margin, left : columns.stop + margin]
    frame = torch.ones(area.shape[-2:], dtype=torch.bool, device=x.device)
    frame[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] = False
    # the median and not the mean: structures that reach into the frame must not lift the background
    pixels = area[:, frame] if bool(frame.any()) else area.flatten(1)
    return pixels.median(dim=1).values[None, :, None, None]


Batch = Annotated[
    int | None,
    Help("images at once; none: chosen by size and device"),
    Range(1, 4096),
    Label("images at once"),
    DETAILS,
]
# On a CPU single small images waste time on overhead, and large batches on mapping and unmapping
# every big activation anew; benchmarks/occlusion.py measures it.
CPU_BATCH_PIXELS = 8 * 128 * 128
# window 15 and stride 6 on 224 px are the settings of Otto 2022; on another input they are the same
# share of it, so that the same structures are covered
WINDOW_SHARE = 15 / 224
# pixels: what is smaller than the kernel of a convolution tells of pixels, and not of structures
SMALLEST_WINDOW = 3
# of neighbouring windows, as a share of their side: 15 px every 6
USUAL_OVERLAP = 0.6
# 64 images of 224 pixels, a batch as GPUs are commonly fed, in the memory of a small one.
GPU_BATCH_PIXELS = 64 * 224 * 224


@attribution_method(
    title="Occlusion",
    source="Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2",
    black_box=True,
)
def occlusion(
    network: Network,
    x: Tensor,
    target: int,
    *,
    window: Annotated[
        int | None,
        Help("side of the square that is covered; none: usual, 15 of 224 px"),
        Range(1, 1024),
        Unit("px"),
    ] = None,
    # half the stride, four times the windows
    overlap: Annotated[
        float,
        Help("of neighbouring windows, as a share of their side; more gives a finer map"),
        Range(0, 0.95),
        Presets(0.2, 0.8, cost=lambda overlap: 1 / (1 - overlap) ** 2),
    ] = USUAL_OVERLAP,
    stride: Annotated[
        int | None,
        Help("step from window to window, in place of the overlap; none: by the overlap"),
        Range(1, 1024),
        Unit("px"),
        Label("step"),
        DETAILS,
    ] = None,
    baseline: Annotated[
        WindowBaseline,
        Help(
            "what a window is covered with: no light, the training mean, the blurred image, or the "
            "median of the pixels round the window"
        ),
    ] = "mean",
    each_channel: Annotated[
        bool,
        Help("a map for each channel too; off: of all channels together alone, in less time"),
        Label("a map of each channel"),
    ] = True,
    batch: Batch = None,
    by_patches: bool = True,
    raw_zero: Tensor | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Cover one square after the other and see what the logit loses.

    By default the windows are as large a share of the image as 15 pixels are of 224, and lie as close
    as one every 6 pixels: 15 and 6 on 224 px, 4 and 2 on 64 px.

    Each channel is covered alone, and all channels together, or these alone. A window's loss
    s_c(x) - s_c(x covered) is given to all its pixels and averaged over the windows that cover a
    pixel. Windows start at every multiple of the stride until the last one reaches the border,
    where it is cut off: every pixel is covered. A window that already looks like the baseline
    has a loss of exactly 0 and costs nothing. Of a covered image only what the window touches is
    computed, step by step, where the network can be followed
    (:class:`~napari_why.attribution.incremental.IncrementalPasses`); the details tell in ``computed``.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.
    by_patches : bool
        False computes every covered image in full: the reference.
    raw_zero : Tensor, shape (1, C, H, W), optional
        The preprocessed image without light, for the baseline ``zero``.
    on_event, cancelled : callable
        One step per window and variant (each channel, all channels). events.Cancelled work gives the
        average over the windows done so far, 0 where none was.

    Returns
    -------
    Evidence
        Maps: one channel covered (none without ``each_channel``); joint: all channels covered, in logits
        per window. They do not add up, because the network combines channels and windows; no gap is
        given.

    Raises
    ------
    ParameterError
        The stride is larger than the window, which would leave pixels uncovered.
    """
    window, stride = choose_grid((x.shape[-2], x.shape[-1]), window, overlap, stride)
    if stride > window:
        raise ParameterError(
            f"stride: found {stride} px; expected at most the window's {window} px, "
            "so that every pixel is covered"
        )
    cover = _Cover(x, baseline, window, raw_zero)
    size = (x.shape[-2], x.shape[-1])
    windows = list(scan_windows(size, window, stride))
    count = x.shape[1]
    # of one channel, "alone" and "all" are the same; "all" is the last
    variants = [*range(count), count] if each_channel and count > 1 else [count]
    total = len(windows) * len(variants)
    scores = open_scores(
        network,
        x,
        target,
        [(each.rows, each.columns) for each in windows],
        count=total,
        whole_batch=batch_size(x),
        batch=at_a_time(batch) if batch else None,
        by_patches=by_patches,
    )
    if warning := scores.warning("occlusion"):
        on_event(events.Message(warning))
    on_event(events.Started("occlusion", total))
    average = _WindowAverage(len(variants), size, x)
    # window by window and not channel by channel: a cancelled scan then has all maps up to one window
    jobs = ((number, row) for number in range(len(windows)) for row in range(len(variants)))
    done, stopped = 0, cancelled()
    while done < total and not stopped:
        taken = list(islice(jobs, scores.ordered))
        shown = [(job, cover.pixels(windows[job[0]], variants[job[1]])) for job in taken]
        average.add([(windows[number], row) for (number, row), new in shown if new is None], None)
        changed = [(job, new) for job, new in shown if new is not None]
        done += len(taken) - len(changed)
        for part in scores.batches([number for (number, _), _ in changed]):
            if stopped := cancelled():
                break
            found = [changed[place] for place in part]
            losses = scores.losses([job[0] for job, _ in found], [new for _, new in found])
            average.add([(windows[number], row) for (number, row), _ in found], losses)
            done += len(found)
            on_event(events.Advanced(done))
        if not changed:
            on_event(events.Advanced(done))
        stopped = stopped or cancelled()
    maps = average.value()
    return Evidence(
        maps=maps[:count] if each_channel else maps[:0],
        joint=maps[-1],
        unit="logit per window",
        details={
            "windows": len(windows),
            "window": window,
            "stride": stride,
            "steps_done": done,
            "steps": total,
            "computed": scores.how,
        },
        partial=done < total,
    )


def choose_grid(
    size: tuple[int, int],
    window: int | None = None,
    overlap: float = USUAL_OVERLAP,
    stride: int | None = None,
) -> tuple[int, int]:
    """Return side and step of the windows in pixels: what is not given is a share of the image.

    Parameters
    ----------
    size : (int, int)
        Height and width of the image in pixels; the shorter one counts.
    window : int, optional
        Side in pixels; by default 15 of 224, 3 at least.
    overlap : float
        Share of a window's side, 0 to 0.95, that neighbouring ones have in common.
    stride : int, optional
        Step in pixels, in place of the overlap.

    Returns
    -------
    side, step : int
        In pixels.

    Examples
    --------
    >>> [choose_grid((side, side)) for side in (64, 112, 224, 448)]
    [(4, 2), (8, 3), (15, 6), (30, 12)]
    """
    side = min(size)
    if window is None:
        window = min(side, max(SMALLEST_WINDOW, round(WINDOW_SHARE * side)))
        window = max(window, stride or 0)  # whoever asks for large steps wants every pixel covered
    return window, stride or max(1, round(window * (1 - overlap)))


def batch_size(x: Tensor) -> int:
    """Return how many images of this size to run at once on its device."""
    pixels = CPU_BATCH_PIXELS if x.device.type == "cpu" else GPU_BATCH_PIXELS
    return at_a_time(pixels // (x.shape[-2] * x.shape[-1]))


def channel_variants(x: Tensor) -> Tensor:
    """Return which channels are changed: all of them, then each alone.

    Of an image with one channel that is the same, and returned once.

    Parameters
    ----------
    x : Tensor, shape (1, C, H, W)

    Returns
    -------
    Tensor, shape (1 + C, C) or (1, 1), bool

    Examples
    --------
    >>> channel_variants(torch.zeros(1, 2, 8, 8)).tolist()
    [[True, True], [True, False], [False, True]]
    """
    channels = x.shape[1]
    every = torch.ones(1, channels, dtype=torch.bool)
    alone = torch.eye(channels, dtype=torch.bool)
    return (every if channels == 1 else torch.cat([every, alone])).to(x.device)


@dataclass(frozen=True)
class Window:
    """Rows and columns of a window."""

    rows: slice
    columns: slice


def scan_windows(size: tuple[int, int], window: int, stride: int) -> Iterator[Window]:
    """Return the windows of a scan, row by row; those at the far borders may be cut off.

    Parameters
    ----------
    size : (int, int)
        Height and width of the image in pixels.
    window, stride : int
        Side and step in pixels.

    Yields
    ------
    Window

    Examples
    --------
    >>> len(list(scan_windows((224, 224), 15, 6)))
    1296
    """
    for rows in _spans(size[0], window, stride):
        for columns in _spans(size[1], window, stride):
            yield Window(rows, columns)


def _spans(length: int, window: int, stride: int) -> list[slice]:
    steps = -(-max(length - window, 0) // stride)  # rounded up, so that the border is reached
    return [slice(i * stride, min(i * stride + window, length)) for i in range(steps + 1)]


class _Cover:
    """The image with one window covered, in one channel or in all."""

    def __init__(self, x: Tensor, baseline: str, window: int, raw_zero: Tensor | None) -> None:
        self.x = x
        self.margin = max(1, window // 2)  # half a window: near enough to be its surroundings
        # the same for every window, so made once; blurred by half a window, the texture is gone
        self.whole = (
            None
            if baseline == "local_background"
            else baseline_image(x, baseline, raw_zero, blur_sigma=window / 2)
        )

    def pixels(self, window: Window, variant: int) -> Tensor | None:
        """Return what a covered window shows (C, h, w), None where it equals the image itself."""
        channels = slice(variant, variant + 1) if variant < self.x.shape[1] else slice(None)
        if self.whole is None:
            filling = local_background(self.x, window.rows, window.columns, self.margin)[
                0, channels
            ]
        else:
            filling = self.whole[0, channels, window.rows, window.columns]
        before = self.x[0, :, window.rows, window.columns]
        if torch.equal(before[channels], filling.expand_as(before[channels])):
            return None
        shown = before.clone()
        shown[channels] = filling
        return shown


class _WindowAverage:
    """Mean over the windows that cover a pixel, for each variant."""

    def __init__(self, variants: int, size: tuple[int, int], like: Tensor) -> None:
        # float64: up to (window / stride)^2 losses of either sign are added up on a pixel
        self.total = torch.zeros(variants, *size, dtype=torch.float64)
        self.count = torch.zeros(variants, *size, dtype=torch.float64)
        self.like = like

    def add(self, jobs: list[tuple[Window, int]], losses: list[float] | None) -> None:
        """Count windows in, with their losses, or with none at all."""
        for number, (window, variant) in enumerate(jobs):
            self.count[variant, window.rows, window.columns] += 1
            if losses is not None:
                self.total[variant, window.rows, window.columns] += losses[number]

    def value(self) -> Tensor:
        return (self.total / self.count.clamp(min=1)).to(self.like.dtype)
