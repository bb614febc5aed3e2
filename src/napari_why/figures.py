"""Results as pictures for papers and slides, drawn without a display."""

from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import imageio.v3 as imageio
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from napari_why.counterfactuals import Counterfactual
from napari_why.errors import ImageWriteError
from napari_why.images import contrast_limits


def animate_counterfactual(
    result: Counterfactual, path: str | Path, *, seconds_per_step: float = 0.4
) -> Path:
    """Write the series as an animated GIF that runs forth and back.

    Every frame shows each channel in the contrast of the source, below it the change in raw
    intensity units (blue: less, red: more, one scale for all frames), and the probability of the
    target over alpha.

    Parameters
    ----------
    result : Counterfactual
    path : str or Path
        The GIF to write; an existing one is replaced.
    seconds_per_step : float
        How long each alpha is shown.

    Returns
    -------
    Path

    Raises
    ------
    ImageWriteError
        It cannot be written (the disk is full, the folder is not there); nothing half-written is
        left.
    """
    frames = [_frame(result, index) for index in range(len(result.alphas))]
    there_and_back = frames + frames[-2:0:-1]
    animation = imageio.imwrite(
        "<bytes>", there_and_back, extension=".gif", duration=1000 * seconds_per_step, loop=0
    )
    return _write_whole(Path(path), animation)


def _write_whole(target: Path, content: bytes) -> Path:
    part = target.with_name(f".{target.name}.{uuid4().hex[:8]}.part")
    try:
        part.write_bytes(content)
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise ImageWriteError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was written; make "
            "room or choose another place"
        ) from error
    return target


def _frame(result: Counterfactual, index: int) -> NDArray[np.uint8]:
    count = len(result.channels)
    figure = Figure(figsize=(2.6 * (count + 1), 5.4), dpi=90, layout="constrained")
    grid = figure.add_gridspec(2, count + 1)
    for channel in range(count):
        _draw_image(figure.add_subplot(grid[0, channel]), result, index, channel)
        _draw_change(figure, figure.add_subplot(grid[1, channel]), result, index, channel)
    _draw_curve(figure.add_subplot(grid[:, count]), result, index)
    figure.suptitle(
        f"{result.source_class} → {result.target}, alpha = {result.alphas[index]:.2f}", fontsize=11
    )
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    pixels: NDArray[np.uint8] = imageio.imread(buffer.getvalue(), extension=".png")[..., :3]
    return pixels


def _draw_image(axes: Axes, result: Counterfactual, index: int, channel: int) -> None:
    low, high = contrast_limits(result.reconstruction[channel])
    axes.imshow(result.images[index, channel], cmap="gray", vmin=low, vmax=high)
    axes.set_title(result.channels[channel], fontsize=10)
    axes.set_axis_off()


def _draw_change(
    figure: Figure, axes: Axes, result: Counterfactual, index: int, channel: int
) -> None:
    changes = result.differences[:, channel]
    limit = float(np.abs(result.differences).max()) or 1.0
    drawn = axes.imshow(changes[index], cmap="RdBu_r", vmin=-limit, vmax=limit)
    axes.set_title("change, grey levels", fontsize=9)
    axes.set_axis_off()
    bar = figure.colorbar(drawn, ax=axes, orientation="horizontal", shrink=0.8, pad=0.02)
    bar.ax.tick_params(labelsize=7)


def _draw_curve(axes: Axes, result: Counterfactual, index: int) -> None:
    probability = result.probabilities[:, result.classes.index(result.target)]
    axes.plot(result.alphas, probability, color="0.4", marker=".")
    axes.plot(result.alphas[index], probability[index], "o", color="crimson")
    axes.axhline(0.5, color="0.7", linewidth=0.8)
    _mark(axes, result.special_alphas.get("boundary"))
    axes.set(ylim=(-0.03, 1.03), xlabel="alpha", title=f"probability of {result.target}")
    axes.title.set_fontsize(10)


def _mark(axes: Axes, alpha: Any) -> None:
    if alpha is not None:
        axes.axvline(alpha, color="0.7", linewidth=0.8, linestyle="--")
