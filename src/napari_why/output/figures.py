"""A counterfactual as a figure for a page and as an animation for a talk; maps of classes as a figure.

Unlike layers and images to write these are made for one kind of result each: what they show beside the
pixels, the probability over alpha and the way to the other class, only a counterfactual has, and a tree
of similar maps only maps of classes.
"""

from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import fill
from typing import TYPE_CHECKING, Any

import imageio.v3 as imageio
import numpy as np
from matplotlib import colormaps, image, rc_context, ticker
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar
from numpy.typing import NDArray
from scipy.cluster import hierarchy

from napari_why.core.errors import ImageWriteError, WhyError
from napari_why.core.pictures import ANIMATIONS, FIGURES
from napari_why.core.record import Record
from napari_why.core.targets import MARK, sources_of
from napari_why.core.whole_files import write_whole
from napari_why.counterfactuals import Counterfactual, changed_image, verdict
from napari_why.counterfactuals.change import measured_change
from napari_why.images import Grid, contrast_limits, spatial_scale

if TYPE_CHECKING:
    from xarray import DataArray

    from napari_why.evaluation import ClassMaps, MapSimilarity

# Where each of them names the program that wrote it.
MARKED = {"png": "Software", "svg": "Title"}
# Of an MP4: enough that a step lasts to a tenth of a second, and few equal frames to encode.
FRAMES_PER_SECOND = 10
# Of an MP4, 0 to 10 (imageio's own is 5): films of a few still images stay small, so that sharp
# text is worth the bytes.
MP4_QUALITY = 8
# Dots per inch of a figure: 1920 pixels across, sharp in print at a page's width.
FIGURE_DPI = 200
# The same of a frame: some 700 pixels for two channels, what slides and web pages show unscaled.
FRAME_DPI = 90
# Red for more and blue for less over white, as the layers have it, printable on white paper.
CHANGE_COLORMAP = "RdBu_r"
# Close enough for a region of a few pixels, thin enough to see the change below it; in points.
HATCH, HATCH_LINE = "//////", 0.5
# First digits of the lengths of a scale bar, as rulers have them.
ROUND_LENGTHS = (1, 2, 5)
# Lengths that are equal but for rounding count as not longer.
LENGTH_TOLERANCE = 1e-9
# That fit at the size of titles; a wide letter takes more, so this is on the safe side.
LETTERS_PER_INCH = 11
# Standard errors from which on a mean is shown as clear: chance passes them at one pixel in twenty.
CLEAR_ERRORS = 2.0
# Of a hundred values of a change, so many lie within the colours of an animation.
WITHIN_SCALE = 99.5
# Letters in a line above one panel, which is two to three inches wide with its margins.
PANEL_TITLE = 24


def animate_counterfactual(
    result: Counterfactual, path: str | Path, *, seconds_per_step: float = 0.4
) -> Path:
    """Write the series as an animation that runs forth and back.

    Every frame shows each channel in the contrast of the source, below it the change in raw
    intensity units (blue: less, red: more, one scale for all frames), the probability of the
    target over alpha, and alpha and probability in words.

    Parameters
    ----------
    result : Counterfactual
    path : str or Path
        Ends in .gif or .mp4 (H.264); an existing file is replaced. A GIF runs for ever.
    seconds_per_step : float
        How long each alpha is shown; in an MP4 to a tenth of a second.

    Returns
    -------
    Path

    Raises
    ------
    ImageWriteError
        Another ending, or it cannot be written (the disk is full, the folder is not there);
        nothing half-written is left.
    """
    target = Path(path)
    _check_ending(target, ANIMATIONS)
    changes = result.differences
    frames = [
        _render(animation_frame(result, changes, index)) for index in range(len(result.alphas))
    ]
    # Neither end twice: a film that runs for ever would rest there for two steps.
    there_and_back = frames + frames[-2:0:-1]
    if target.suffix.lower() == ".mp4":
        return _write(target, _encode_mp4(target, there_and_back, seconds_per_step), result.record)
    animation = imageio.imwrite(
        "<bytes>",
        there_and_back,
        extension=".gif",
        duration=1000 * seconds_per_step,  # in milliseconds
        loop=0,  # for ever
        comment=MARK.encode(),
    )
    return _write(target, animation, result.record)


def draw_counterfactual(
    result: Counterfactual, path: str | Path, source: "DataArray | None" = None
) -> Path:
    """Write one figure: before, after and change of every channel, and the probability.

    Before is the reconstruction f^-1(f(x)), after the convincing image; a channel has the same
    black and white in both, and the figure tells them. All changes share one colour scale,
    symmetric about zero, in grey levels. Changes of uncertain sign are hatched
    (:mod:`napari_why.counterfactuals.spread`).

    Parameters
    ----------
    result : Counterfactual
    path : str or Path
        Ends in .png or .svg; an existing file is replaced.
    source : DataArray, optional
        The image that the result is about; gives a scale bar where its pixel size is known.

    Returns
    -------
    Path

    Raises
    ------
    ImageWriteError
        Another ending, or it cannot be written.
    """
    target = Path(path)
    _check_ending(target, FIGURES)
    return save_figure(counterfactual_figure(result, source), target, result.record)


def counterfactual_figure(result: Counterfactual, source: "DataArray | None" = None) -> Figure:
    """Return the figure that :func:`draw_counterfactual` writes, for matplotlib.

    Parameters
    ----------
    result : Counterfactual
    source : DataArray, optional
        The image that was changed; gives the scale bar its pixel size.

    Returns
    -------
    Figure
        A row a channel: before, after, change; and the probability over alpha.
    """
    count = len(result.channels)
    # inches: panels about 2.4 wide and high, and above them room for the title
    figure = Figure(figsize=(9.6, 0.9 + 2.4 * count), layout="constrained")
    grid = figure.add_gridspec(count, 4, width_ratios=(1, 1, 1, 1.1))
    after = changed_image(result)
    change = measured_change(result)
    limit = float(np.abs(change).max()) or 1.0  # 1 where nothing changes: no scale has no width
    drawn, panels = [], []
    for channel, name in enumerate(result.channels):
        before = result.reconstruction[channel]
        axes = [figure.add_subplot(grid[channel, column]) for column in range(3)]
        titles = ("before", "after", "change") if channel == 0 else ("", "", "")
        low, high = draw_image(axes[0], before, before, titles[0])
        draw_image(axes[1], after[channel], before, titles[1])
        drawn.append(draw_change(axes[2], change[channel], limit, titles[2]))
        if result.spread is not None:
            hatch(axes[2], result.spread.uncertain[channel])
        panels.append(axes[2])
        label_beside(axes[0], f"{name}\nblack {low:.0f}, white {high:.0f}")
        if channel == 0 and source is not None:
            draw_scale_bar(axes[0], result.grid, source)
    bar = figure.colorbar(drawn[0], ax=panels, shrink=0.7, aspect=30)
    bar.set_label("change, grey levels", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    alpha = result.special_alphas.get("alpha1") or float(result.alphas[-1])
    draw_probability(figure.add_subplot(grid[:2, 3]), result, alpha)
    worth = verdict(result).line
    write_title(figure, f"{result.source_class} → {result.target}: {worth}", 10)
    return figure


def animation_frame(result: Counterfactual, changes: NDArray[np.float32], index: int) -> Figure:
    """Return one frame of :func:`animate_counterfactual`, for matplotlib.

    Parameters
    ----------
    result : Counterfactual
    changes : ndarray, shape (A, C, H, W)
        Of the whole series, which settles the colours.
    index : int
        Which alpha.

    Returns
    -------
    Figure
    """
    count = len(result.channels)
    # inches: a column a channel and one for the curve; image and change, with their titles and bar
    figure = Figure(figsize=(2.6 * (count + 1), 5.4), dpi=FRAME_DPI, layout="constrained")
    grid = figure.add_gridspec(2, count + 1)
    limit = change_limit(changes)
    for channel, name in enumerate(result.channels):
        axes = figure.add_subplot(grid[0, channel])
        draw_image(axes, result.images[index, channel], result.reconstruction[channel], name)
        below = figure.add_subplot(grid[1, channel])
        drawn = draw_change(below, changes[index, channel], limit, "change, grey levels")
        bar = figure.colorbar(
            drawn, ax=below, orientation="horizontal", shrink=0.8, pad=0.02, extend="both"
        )
        bar.ax.tick_params(labelsize=7)
        bar.locator = ticker.MaxNLocator(3)  # more numbers than these run into one another
    draw_probability(figure.add_subplot(grid[:, count]), result, result.alphas[index])
    probability = result.probabilities[index, result.classes.index(result.target)]
    write_title(
        figure,
        f"{result.source_class} → {result.target}, alpha = {result.alphas[index]:.2f}, "
        f"p({result.target}) = {probability:.2f}{'' if result.complete else ', incomplete'}",
        11,
    )
    return figure


def change_limit(changes: NDArray[np.float32]) -> float:
    """Return the end of a colour scale that all but the strongest half per cent of changes lie within.

    A single bright pixel would make all others pale. Where so few pixels change that nothing is left, the
    strongest counts; where none does, 1: no scale has no width.
    """
    strength = np.abs(changes)
    return float(np.percentile(strength, WITHIN_SCALE)) or float(strength.max()) or 1.0


# Of the distance between two regions, what their bars take.
BARS = 0.8


def draw_class_maps(result: "ClassMaps", path: str | Path) -> Path:
    """Write one figure: mean images and mean maps of every class, and how alike maps are.

    All maps share one colour scale, symmetric about zero. Where a mean is less than two standard
    errors from zero it is hatched. Below, the correlations of the mean maps, and those of the images'
    maps in the order of their tree, with the class of each as a colour on the left.

    Parameters
    ----------
    result : ClassMaps
    path : str or Path
        Ends in .png or .svg; an existing file is replaced.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ImageWriteError
        Another ending, or it cannot be written.
    """
    target = Path(path)
    _check_ending(target, FIGURES)
    return save_figure(class_maps_figure(result), target, result.record)


def class_maps_figure(result: "ClassMaps") -> Figure:
    """Return the figure that :func:`draw_class_maps` writes, for matplotlib."""
    shown = [*result.composites, *result.maps]
    columns = len(result.channels) + 1
    # inches: as the panels of counterfactual_figure, a row a mean, two for the matrices
    figure = Figure(figsize=(2.6 * columns + 1, 2.4 * (len(shown) + 2)), layout="constrained")
    grid = figure.add_gridspec(len(shown) + 2, columns)
    values = [np.abs(item.mean[np.isfinite(item.mean)]).max(initial=0) for item in result.maps]
    limit = max(map(float, values), default=0.0) or 1.0
    names = (*result.channels, "all channels")
    for row, item in enumerate(shown):
        for column, plane in enumerate(item.mean):
            axes = figure.add_subplot(grid[row, column])
            title = names[column] if row == 0 or item is result.maps[0] else ""
            if item.target:
                drawn = draw_change(axes, plane, limit, title)
                hatch(axes, np.abs(plane) < CLEAR_ERRORS * item.standard_error[column])
            else:
                draw_image(axes, plane, plane, title)
            if column == 0:
                label_beside(axes, fill(item.title, PANEL_TITLE))
        if item.target:
            figure.colorbar(drawn, ax=axes, shrink=0.8).set_label(result.unit, fontsize=7)
    below = grid[len(shown) :, :].subgridspec(1, 2)
    for column, found in enumerate((result.class_similarity, result.similarity)):
        if found is not None:
            _draw_similarity(figure, below[column], found, named=column == 0)
        elif column == 0 and not result.regions.empty:
            _draw_regions(below[column], result)
    partial = "" if result.complete else ", incomplete"
    write_title(figure, f"{result.record.method}, alignment {result.alignment}{partial}", 10)
    return figure


def _draw_regions(place: Any, result: "ClassMaps") -> None:
    """Draw the share of each class's own evidence that lies in each region, with two standard errors."""
    own = result.regions[result.regions["label"] == result.regions["explained"]]
    channels = list(dict.fromkeys(own["channel"]))
    panels = place.subgridspec(len(channels), 1).subplots(sharex=True, sharey=True, squeeze=False)
    kinds = sorted(dict.fromkeys(own["label"]))
    for axes, channel in zip(panels[:, 0], channels, strict=True):
        of_channel = own[own["channel"] == channel]
        regions = list(dict.fromkeys(of_channel["region"]))
        for number, (label, part) in enumerate(of_channel.groupby("label", sort=True)):
            rows = part.set_index("region").loc[regions]
            axes.bar(
                np.arange(len(regions)) + (number + 0.5) / len(kinds) * BARS - BARS / 2,
                rows["share of evidence"],
                BARS / len(kinds),
                yerr=CLEAR_ERRORS * rows["standard error of share of evidence"],
                color=_class_colour(kinds.index(label)),
                label=str(label),
            )
        axes.set_xticks(range(len(regions)), regions, fontsize=8)
        axes.tick_params(axis="y", labelsize=7)
        axes.set_ylabel(f"{channel}:\nshare of evidence", fontsize=8)
        axes.axhline(0, color="0.4", linewidth=0.8)
    panels[0, 0].legend(fontsize=7, frameon=False)


def _class_colour(number: int) -> Any:
    """Return the colour of a class, by its place among their sorted names."""
    return colormaps["tab10"](number % 10)


def _draw_similarity(figure: Figure, place: Any, found: "MapSimilarity", *, named: bool) -> None:
    parts = place.subgridspec(2, 2, height_ratios=(1, 4), width_ratios=(1, 20))
    tree, strip, matrix = (figure.add_subplot(parts[spot]) for spot in ((0, 1), (1, 0), (1, 1)))
    # one colour for all links: scipy's own would colour clusters at a threshold nobody chose
    hierarchy.dendrogram(
        found.linkage, ax=tree, no_labels=True, color_threshold=0, above_threshold_color="0.4"
    )
    tree.set_axis_off()
    order = list(found.order)
    kinds = sorted(set(found.labels))
    colours = [[kinds.index(found.labels[row])] for row in order]
    strip.imshow(colours, cmap="tab10", vmin=0, vmax=9, aspect="auto", interpolation="nearest")
    if not named:  # whose colours are these?
        patches = [
            Patch(color=_class_colour(place), label=kind) for place, kind in enumerate(kinds)
        ]
        matrix.legend(
            handles=patches,
            fontsize=7,
            frameon=False,
            ncols=len(kinds),
            loc="upper center",
            bbox_to_anchor=(0.5, 0),
        )
    strip.set_xticks([])
    strip.set_yticks([])
    drawn = matrix.imshow(
        found.matrix[np.ix_(order, order)],
        cmap=CHANGE_COLORMAP,
        vmin=-1,
        vmax=1,
        aspect="auto",
        interpolation="nearest",
    )
    matrix.set_xticks([])
    matrix.set_yticks([])
    if named:
        strip.set_yticks(range(len(order)), [found.names[row] for row in order], fontsize=7)
    tree.set_title("mean maps" if named else f"maps of images ({', '.join(kinds)})", fontsize=9)
    figure.colorbar(drawn, ax=matrix, shrink=0.8).set_label("correlation", fontsize=8)


def draw_image(
    axes: Axes, pixels: NDArray[Any], contrast_of: NDArray[Any], title: str
) -> tuple[float, float]:
    """Draw one channel in grey.

    Parameters
    ----------
    axes : Axes
    pixels : ndarray, shape (H, W)
    contrast_of : ndarray, shape (H, W)
        The pixels that settle black and white: those of the source, for before and after alike.
    title : str
        Above the panel.

    Returns
    -------
    low, high : float
        Black and white, in grey levels.
    """
    low, high = contrast_limits(contrast_of)
    axes.imshow(pixels, cmap="gray", vmin=low, vmax=high, interpolation="nearest")
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return low, high


def draw_change(axes: Axes, change: NDArray[Any], limit: float, title: str) -> image.AxesImage:
    """Draw a change (H, W) from -limit (blue) over zero (white) to limit (red).

    Parameters
    ----------
    axes : Axes
    change : ndarray, shape (H, W)
        Grey levels.
    limit : float
        Grey levels; above 0.
    title : str
        Above the panel.

    Returns
    -------
    AxesImage
        For a colour bar.
    """
    drawn = axes.imshow(
        change, cmap=CHANGE_COLORMAP, vmin=-limit, vmax=limit, interpolation="nearest"
    )
    axes.set_title(title, fontsize=10)
    axes.set_axis_off()
    return drawn


def hatch(axes: Axes, mask: NDArray[np.bool_]) -> None:
    """Hatch where a mask (H, W) is true.

    Parameters
    ----------
    axes : Axes
    mask : ndarray of bool, shape (H, W)
    """
    if mask.any():
        with rc_context({"hatch.color": "0.35", "hatch.linewidth": HATCH_LINE}):
            axes.contourf(mask, levels=(0.5, 1.5), colors="none", hatches=(HATCH,))


def draw_probability(axes: Axes, result: Counterfactual, alpha: float) -> None:
    """Draw the target's probability over alpha, with one alpha marked on it.

    Parameters
    ----------
    axes : Axes
    result : Counterfactual
    alpha : float
        The one that is marked.
    """
    target = result.classes.index(result.target)
    probability = result.probabilities[:, target]
    axes.plot(result.alphas, probability, color="0.4", marker=".")
    axes.plot(alpha, _probability_at(result, alpha), "o", color="crimson")
    axes.axhline(0.5, color="0.7", linewidth=0.8)  # where two classes are even
    boundary = result.special_alphas.get("boundary")
    # one beyond the complete change would squeeze the curve; the notes tell of it
    if boundary is not None and result.alphas[0] <= boundary <= result.alphas[-1]:
        axes.axvline(boundary, color="0.7", linewidth=0.8, linestyle="--")
    axes.set(ylim=(-0.03, 1.03), xlabel="alpha")  # beyond 0 and 1, so that dots there are whole
    axes.set_title(fill(f"probability of {result.target}", PANEL_TITLE))
    axes.title.set_fontsize(10)


def _probability_at(result: Counterfactual, alpha: float) -> float:
    target = result.classes.index(result.target)
    # A special alpha lies between the steps of the series; the image made at it is exact, the
    # nearest step is not.
    for name, special in result.special_alphas.items():
        if special == alpha and name in result.special_probabilities:
            return float(result.special_probabilities[name][target])
    nearest = int(np.abs(result.alphas - alpha).argmin())
    return float(result.probabilities[nearest, target])


def draw_scale_bar(axes: Axes, grid: Grid, source: "DataArray") -> None:
    """Draw a bar of a round length, about a quarter of the width, where the unit is known.

    Parameters
    ----------
    axes : Axes
    grid : Grid
        Of the pixels that are drawn, on those of the source.
    source : DataArray
        Tells pixel size and unit; there is no bar unless that is µm.
    """
    if source.attrs.get("unit") != "um":
        return
    pixel = spatial_scale(source)[1] * grid.step[1]
    length = round_length(grid.shape[1] * pixel / 4)  # up to a quarter covers few cells
    bar = AnchoredSizeBar(
        axes.transData,
        length / pixel,
        f"{length:g} µm",
        "lower right",
        pad=0.3,
        color="white",
        frameon=False,
        # in pixels of the image: as thick in a small image as in a large one, and seen in both
        size_vertical=max(1.0, grid.shape[0] / 80),
    )
    axes.add_artist(bar)


def round_length(length: float) -> float:
    """Return the largest 1, 2 or 5 times a power of ten that is not longer.

    Examples
    --------
    >>> round_length(7.3), round_length(48.0), round_length(0.3)
    (5.0, 20.0, 0.2)
    """
    power = 10.0 ** np.floor(np.log10(length))
    return float(
        max(
            step * power
            for step in ROUND_LENGTHS
            if step * power <= length * (1 + LENGTH_TOLERANCE)
        )
    )


def write_title(figure: Figure, text: str, size: float) -> None:
    """Write above the whole figure, in as many lines as its width asks for.

    Parameters
    ----------
    figure : Figure
    text : str
    size : float
        Of the letters, in points.
    """
    letters = int(LETTERS_PER_INCH * figure.get_figwidth())
    figure.suptitle(fill(text, letters), fontsize=size)


def label_beside(axes: Axes, text: str) -> None:
    """Write on the left of an image, upwards.

    Parameters
    ----------
    axes : Axes
    text : str
    """
    axes.text(
        -0.04,  # just outside: axes coordinates run from 0 to 1
        0.5,
        text,
        transform=axes.transAxes,
        rotation=90,
        ha="right",
        va="center",
        fontsize=9,
    )


def _check_ending(path: Path, endings: tuple[str, ...]) -> None:
    if path.suffix.lower() not in endings:
        raise ImageWriteError(
            f"{path}: found the ending {path.suffix or 'none'!r}; expected {' or '.join(endings)}"
        )


def _render(figure: Figure) -> NDArray[np.uint8]:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    # without alpha, which H.264 does not keep
    pixels: NDArray[np.uint8] = imageio.imread(buffer.getvalue(), extension=".png")[..., :3]
    return pixels


def _encode_mp4(target: Path, frames: list[NDArray[np.uint8]], seconds: float) -> bytes:
    repeats = max(1, round(seconds * FRAMES_PER_SECOND))
    even = [_pad_to_even(frame) for frame in frames for _ in range(repeats)]
    try:
        # ffmpeg writes into a file only, and not under the final name, where half a film could stay
        with TemporaryDirectory() as folder:
            film = Path(folder) / "film.mp4"
            imageio.imwrite(
                film,
                np.stack(even),
                plugin="FFMPEG",
                fps=FRAMES_PER_SECOND,
                codec="libx264",  # H.264, which browsers and slides play
                quality=MP4_QUALITY,
                macro_block_size=2,  # the frames are even; imageio's own 16 would scale them
                ffmpeg_log_level="error",
                output_params=["-metadata", f"comment={MARK}"],
            )
            return film.read_bytes()
    except (OSError, RuntimeError) as error:  # imageio raises the latter where ffmpeg is missing
        raise ImageWriteError(
            f"{target}: no film can be written ({error}); write a .gif"
        ) from error


def _pad_to_even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a frame of even height and width, which H.264 asks for."""
    missing = [(0, frame.shape[axis] % 2) for axis in (0, 1)]
    return np.pad(frame, [*missing, (0, 0)], mode="edge")


def save_figure(figure: Figure, target: Path, record: Record) -> Path:
    """Write a figure as PNG or SVG, marked as ours; none of the record's sources is written over.

    Parameters
    ----------
    figure : Figure
    target : Path
        Ends in .png or .svg.
    record : Record
        Names the sources.

    Returns
    -------
    Path
        ``target``.

    Raises
    ------
    ImageWriteError
        Another ending, or it cannot be written.
    """
    _check_ending(target, FIGURES)
    buffer = BytesIO()
    # text stays text in an SVG, so that a paper's fonts and words can still be set
    with rc_context({"svg.fonttype": "none"}):
        ending = target.suffix.lower().removeprefix(".")
        figure.savefig(buffer, format=ending, dpi=FIGURE_DPI, metadata={MARKED[ending]: MARK})
    return _write(target, buffer.getvalue(), record)


def _write(target: Path, content: bytes, record: Record) -> Path:
    try:
        return write_whole(target, content, sources=sources_of(record))
    except WhyError as error:
        raise ImageWriteError(str(error)) from error
