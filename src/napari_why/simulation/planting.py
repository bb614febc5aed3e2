"""Data sets of real images into half of which a known change is planted.

Fields are cut into tiles; half of the groups (wells, positions, images, or bands of a few large fields)
get a change of :mod:`~napari_why.simulation.planted_effects`, and the noise that a camera would have
given an image of that brightness. So the truth is known on real cells: not of their biology, but of what
was done to their images.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage, optimize, stats
from skimage.filters import threshold_otsu

from napari_why.core import events
from napari_why.core.errors import DatasetError, ParameterError, WhyError
from napari_why.core.options import Help, Options, Range, Unit
from napari_why.core.whole_files import csv_text
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.image_folders import TABLE_NAME
from napari_why.images import can_read, channel_names, make_image, read, spatial_scale, write
from napari_why.images.image import how_read
from napari_why.images.image import plane as first_plane
from napari_why.simulation.cells import Plane, blur
from napari_why.simulation.planted_effects import (
    DENOISED,
    STRONGEST,
    change_light,
    find_cells,
    find_planted_effect,
    shade_factor,
)
from napari_why.simulation.scenes import FULL_SCALE

UNTOUCHED, PLANTED = "untouched", "planted"
PLANTED_CLASSES = (UNTOUCHED, PLANTED)
# What 8 bits are multiplied by: they fill 16 bits, and a mean grey level of 2 has room to change.
FROM_8_BIT = 256.0
# A split in three needs three groups of each class; six leave it a choice, as in simulated data sets.
FEWEST_GROUPS = 12
# Columns that name a position where there is no well, the first that is there.
POSITIONS = ("position", "site", "field")
# Of a tile: bands of one field lie half a tile apart, so that no cell of a training tile reaches into a
# test tile.
GAP = 0.5
# What a table of tiles says of them beside their label.
OWN_COLUMNS = ("group", "y", "x", "source", "source_label", "gradient", "split")
# Streams of random numbers, so that one can change without the others.
LABELS_STREAM, EFFECT_STREAM, NOISE_STREAM, TILES_STREAM, GRADIENT_STREAM = 0, 1, 2, 3, 4
# How nuclear stains are called; where no channel is called so, the first is taken for one.
NUCLEAR = re.compile(r"dapi|hoechst|draq|dna|nucle|h2b", re.IGNORECASE)

# Second differences along both axes (Immerkaer 1996): what is left of a smooth image is noise, of 36
# times its variance.
RESIDUAL = np.outer([1, -2, 1], [1, -2, 1])
RESIDUAL_GAIN = 36.0
# Blocks of 9 x 9 pixels; their residuals are correlated and count like 81 / 3.8 free ones. Of blocks as
# bright as each other the quietest fifth tells the noise; the others hold structure.
BLOCK, BLOCK_FREEDOM, QUIET = 9, 21, 0.2
# Levels of brightness that the curve is laid through, each of no fewer blocks than this.
LEVELS, FEWEST_BLOCKS = 12, 8
# Images that the noise is estimated from, spread over the data set.
SAMPLED = 9
# Of the noise of the dark: what both classes get on top. It adds a sixteenth to the variance.
READ_NOISE = 0.25
# Draws of noise that are sent through an effect to see how much of it comes out, and the width in pixels
# over which that is averaged: 100 values, a standard error of 14 %.
DRAWS, AVERAGED = 2, 2.0
# Noise that is a fifth above that of a camera is said: less is within how well it is known.
TOO_NOISY = 1.2


@dataclass(frozen=True)
class CameraNoise:
    """Variance of the noise by brightness, as photon transfer finds it in real images.

    Parameters
    ----------
    gain : float
        Grey levels per photon: by how much the variance rises with the grey level.
    offset : float
        Grey level of no light, where the line meets 0. Read noise shifts it down: without dark images
        the two cannot be told apart.
    floor : float
        Variance in the darkest places, in grey levels squared.
    """

    gain: float
    offset: float
    floor: float

    def variance(self, level: Plane) -> Plane:
        """Return the variance of the noise at grey levels."""
        return np.maximum(self.gain * (level - self.offset), self.floor)


def estimate_noise(planes: Sequence[Plane]) -> CameraNoise:
    """Estimate a camera's noise from real images by photon transfer (Janesick 2007), robustly.

    The variance of the finest scale, against the local mean, in blocks; of blocks as bright as each
    other the quietest fifth counts, as the others show structure; then a parabola through these whose
    terms are not negative: the floor is read noise, the line shot noise, and the square, which is left
    out, structure, whose contrast grows with the light. Where bright places are never smooth the gain
    is overestimated: up to 1.6-fold on simulated networks of mitochondria.

    Parameters
    ----------
    planes : sequence of ndarray, shape (y, x)
        Images of one channel, grey levels.

    Examples
    --------
    >>> light = 200 * (1 + np.linspace(0, 4, 256))[None].repeat(256, 0)
    >>> seen = 100 + 5 * np.random.default_rng(0).poisson(light)
    >>> noise = estimate_noise([seen])
    >>> bool(abs(noise.gain / 5 - 1) < 0.2)
    True
    """
    means: list[Plane] = []
    variances: list[Plane] = []
    for plane in planes:
        level = np.asarray(plane, float)
        residual = ndimage.convolve(level, RESIDUAL) ** 2 / RESIDUAL_GAIN
        for found, values in ((means, level), (variances, residual)):
            # Rims mirror the image and have another residual: they are left out.
            found.append(_block_means(values[1:-1, 1:-1]))
    mean, variance = np.concatenate(means), np.concatenate(variances)
    usable = (variance > 0) & (mean < mean.max(initial=0) + 1)
    mean, variance = mean[usable], variance[usable]
    if len(mean) < FEWEST_BLOCKS:
        # Noiseless, or a few pixels: nothing to estimate from.
        return CameraNoise(0.0, 0.0, float(np.median(variance)) if len(variance) else 0.0)
    order = np.argsort(mean)
    parts = np.array_split(order, max(1, min(LEVELS, len(order) // FEWEST_BLOCKS)))
    # Of noise alone the quietest fifth lies this much below the mean.
    expected = stats.chi2.ppf(QUIET, BLOCK_FREEDOM) / BLOCK_FREEDOM
    levels = np.array([np.median(mean[part]) for part in parts])
    quiet = np.array([np.quantile(variance[part], QUIET) for part in parts]) / expected
    above = levels - levels[0]
    # In relative errors, as a quantile of variances scatters with its size.
    terms = np.stack([np.ones_like(above), above, above**2], axis=1) / quiet[:, None]
    scale = np.maximum(np.abs(terms).max(axis=0), np.finfo(float).tiny)
    floor, gain, _ = optimize.nnls(terms / scale, np.ones_like(above))[0] / scale
    return CameraNoise(float(gain), float(levels[0] - floor / gain) if gain else 0.0, float(floor))


def _block_means(values: Plane) -> Plane:
    height, width = (size // BLOCK * BLOCK for size in values.shape)
    if not height or not width:
        return np.array([values.mean()])
    cut = values[:height, :width].reshape(height // BLOCK, BLOCK, width // BLOCK, BLOCK)
    return np.asarray(cut.mean(axis=(1, 3))).ravel()


@dataclass(frozen=True, kw_only=True)
class PlantOptions(Options):
    """How a change is planted; forms, shell options and validation read these fields."""

    strength: Annotated[
        float, Help("Of the effect: 0 nothing, 1 as described."), Range(0, STRONGEST)
    ] = 1.0
    direction: Annotated[str | None, Help("Which way the effect goes; its first by default.")] = (
        None
    )
    channel: Annotated[
        str | None,
        Help("Name or number, from 0, of the channel that is changed; two with a comma between."),
    ] = None
    nuclei: Annotated[
        str | None, Help("Name or number of the channel of the nuclei; by its name by default.")
    ] = None
    tile: Annotated[
        int | None, Help("Side of the tiles; none: whole images."), Range(16, 4096), Unit("px")
    ] = 64
    overlap: Annotated[
        float, Help("Share of a tile that the next one of its group repeats."), Range(0, 0.9)
    ] = 0.0
    share: Annotated[float, Help("Share of the groups that is planted."), Range(0, 1)] = 0.5
    count: Annotated[
        int | None, Help("Largest number of tiles, drawn at random."), Range(2, 1_000_000)
    ] = None
    content: Annotated[
        float,
        Help("Tiles with less foreground in a changed channel are left out as empty."),
        Range(0, 1),
    ] = 0.02
    gradient: Annotated[
        float, Help("Strength of uneven light, a nuisance beside the effect."), Range(0, STRONGEST)
    ] = 0.0
    gradient_share: Annotated[
        float,
        Help("Share of planted tiles, and of untouched ones without, that have uneven light."),
        Range(0, 1),
    ] = 0.5
    seed: Annotated[int, Help("Of all that is drawn at random."), Range(0, 2**31 - 1)] = 0


@dataclass(frozen=True, eq=False)
class PlantedTile:
    """One tile of a real image that can be rendered untouched or with the planted change.

    Parameters
    ----------
    source : DataArray, float, dims (c, y, x)
        The real grey levels, noise and all; of 8-bit images times 256.
    changed : ndarray, shape (c, y, x)
        The same as the effect leaves it, without new noise.
    rendered : mapping of str to ndarray, uint16, shape (c, y, x)
        By label.
    """

    source: xr.DataArray
    changed: NDArray[np.float32]
    rendered: dict[str, NDArray[np.uint16]]

    def image(self, label: str) -> xr.DataArray:
        """Return the tile as one class, uint16; a channel that does not change is the same in both."""
        return self.source.copy(data=self.rendered[_checked(label)])

    def noise_free(self, label: str) -> xr.DataArray:
        """Return the grey levels of one class without new noise: float64, dims (c, y, x)."""
        pixels = self.source.to_numpy() if _checked(label) == UNTOUCHED else self.changed
        return self.source.copy(data=pixels.astype(np.float64))

    def true_change(self, source: str, target: str) -> xr.DataArray:
        """Return what changes from one class to the other: grey levels, float64, without noise."""
        change = self.noise_free(target).to_numpy() - self.noise_free(source).to_numpy()
        return self.source.copy(data=change)


def _checked(label: str) -> str:
    if label not in PLANTED_CLASSES:
        raise ParameterError(
            f"class: found {label!r}; expected one of {', '.join(PLANTED_CLASSES)}"
        )
    return label


@dataclass(frozen=True, eq=False)
class PlantedImages(Dataset):
    """A data set of tiles of which the truth is known; parts and selections know it too.

    Parameters
    ----------
    tiles : tuple of PlantedTile
        Those of the store; :meth:`tile` finds that of a row.
    affected : tuple of int
        The channels that are changed.
    """

    tiles: tuple[PlantedTile, ...] = ()
    affected: tuple[int, ...] = ()

    def tile(self, row: int) -> PlantedTile:
        """Return the tile of a row, which renders as either class."""
        return self.tiles[self.positions[row]]

    def true_change(self, row: int) -> xr.DataArray:
        """Return what would turn the image of a row into the other class, grey levels, no noise."""
        label = self.table["label"].iloc[row]
        other = UNTOUCHED if label == PLANTED else PLANTED
        return self.tile(row).true_change(label, other)


@dataclass(frozen=True)
class Sources:
    """Real images, a data set or not.

    Parameters
    ----------
    table : DataFrame
        ``path``, ``label`` (empty where there is none) and what else is known of each.
    image : callable
        From row to image (c, y, x).
    channels : tuple of str
    group_columns : tuple of str
        Of the table.
    """

    table: pd.DataFrame
    image: Callable[[int], xr.DataArray]
    channels: tuple[str, ...]
    group_columns: tuple[str, ...] = ()

    @classmethod
    def of(cls, images: "Dataset | Sequence[xr.DataArray]") -> "Sources":
        """Return the images of a data set, or of a list."""
        if isinstance(images, Dataset):
            return cls(images.table, images.image, images.channels, images.group_columns)
        if not len(images):
            raise DatasetError("images: found none; expected some to plant a change into")
        names = [channel_names(image) for image in images]
        if len(set(names)) > 1:
            raise DatasetError(
                f"images: found the channels {', '.join(names[0])} and others; expected the same in all"
            )
        paths = [image.attrs.get("source") or f"image {row}" for row, image in enumerate(images)]
        table = pd.DataFrame({"path": paths, "label": ""})
        return cls(table, images.__getitem__, names[0])

    def find_channels(self, options: PlantOptions) -> tuple[tuple[int, ...], int | None]:
        """Return which channels are changed, and which shows the nuclei.

        Raises
        ------
        ParameterError
            A channel is not there.
        """
        if options.nuclei is not None:
            nuclei: int | None = self._number(options.nuclei)
        else:
            named = [place for place, name in enumerate(self.channels) if NUCLEAR.search(name)]
            nuclei = (named or [0])[0] if named or len(self.channels) > 1 else None
        if options.channel is not None:
            chosen = tuple(self._number(name) for name in options.channel.split(","))
            return tuple(dict.fromkeys(chosen)), nuclei
        free = [place for place in range(len(self.channels)) if place != nuclei]
        return (free[-1] if free else 0,), nuclei

    def _number(self, name: str) -> int:
        name = name.strip()
        if name in self.channels:
            return self.channels.index(name)
        if name.isdigit() and int(name) < len(self.channels):
            return int(name)
        raise ParameterError(
            f"channel: found {name!r}; expected one of {', '.join(self.channels)} or a number below "
            f"{len(self.channels)}"
        )

    def levels(self, row: int, seed: int) -> NDArray[np.float64]:
        """Return an image as grey levels of 16 bits without steps; shape (c, y, x).

        Eight bits are multiplied by 256. Where grey levels come in steps, as of 8 or 12 bits, each gets
        a random part of a step, in both classes: else the steps would tell the untouched images.
        """
        image = self.image(row)
        if image.dtype not in (np.uint8, np.uint16):
            raise DatasetError(
                f"{self.table['path'].iloc[row]}: found pixels of type {image.dtype}; expected 8 or 16 "
                "bits without sign: convert the images"
            )
        pixels = image.to_numpy().astype(np.float64)
        pixels *= FROM_8_BIT if image.dtype == np.uint8 else 1
        rng = np.random.default_rng([seed, row, NOISE_STREAM])
        for plane in pixels:
            step = float(np.gcd.reduce(np.diff(np.unique(plane)).astype(np.int64)))
            if step > 1:
                plane += rng.uniform(-step / 2, step / 2, plane.shape)
        return np.clip(pixels, 0, FULL_SCALE)


def read_images(folder: Path) -> list[xr.DataArray]:
    """Return the images of a folder that has neither classes nor a table; none where it has.

    Parameters
    ----------
    folder : Path
        What holds sub-folders or a table is a data set: :meth:`napari_why.Dataset.open` opens it.
    """
    if not folder.is_dir():
        return []
    inside = sorted(folder.iterdir())
    tables = {".csv", ".tsv", ".xlsx"}
    if any(path.is_dir() or path.suffix.lower() in tables for path in inside):
        return []
    images: list[xr.DataArray] = []
    seen: set[str] = set()
    for path in inside:
        if str(path) not in seen and can_read(path):
            images.append(first_plane(read(path)))
            # Files of one channel each are read together, and once.
            seen |= set(how_read(images[-1]).get("path", ()))
    return images


def lay_out_tiles(sources: Sources, options: PlantOptions) -> pd.DataFrame:
    """Cut images into tiles, leave out those that are nearly empty, and say which belong together.

    A tile stays where at least ``content`` of its pixels are foreground in every channel that is
    changed: above the image's own threshold of Otsu, after a light blur. Nothing but the source is
    looked at, before anybody knows which tiles get the change.

    Groups are those of the data set (wells), else positions, else images. Where these are fewer than
    12, each image is cut into bands along its longer side, half a tile apart.

    Returns
    -------
    DataFrame
        ``image`` (row of the sources), ``y``, ``x``, ``height``, ``width``, ``group``,
        ``source_label``. ``attrs["notes"]`` says what was done.

    Raises
    ------
    DatasetError
        Tiles do not fit, all are empty, or there are too few groups.
    """
    channels, _ = sources.find_channels(options)
    table, grouped_by = _cut_whole(sources, options, channels)
    if table["group"].nunique() < FEWEST_GROUPS:
        bands = -(-FEWEST_GROUPS // len(sources.table))
        table, grouped_by = _cut_bands(sources, options, channels, bands), "bands of an image"
    found = table["group"].nunique()
    # One group of each class in each of three splits.
    fewest = 2 * 3
    if found < fewest:
        raise DatasetError(
            f"images: found {found} groups ({grouped_by}) with content; expected at least {fewest}, of "
            "which some are trained on and others judged: take more images, or a smaller tile"
        )
    if options.count is not None and options.count < len(table):
        rng = np.random.default_rng([options.seed, TILES_STREAM])
        # One of each group in turn, so that no group is lost.
        turn = table.assign(at=rng.permutation(len(table))).sort_values("at")
        turn["turn"] = turn.groupby("group").cumcount()
        chosen = turn.sort_values(["turn", "at"]).index[: options.count]
        table = table.loc[sorted(chosen)].reset_index(drop=True)
    table.attrs["notes"] = [f"groups are {grouped_by}: {found} of them"]
    return table


def _cut_whole(
    sources: Sources, options: PlantOptions, channels: Sequence[int]
) -> tuple[pd.DataFrame, str]:
    known = sources.table
    columns = list(sources.group_columns)
    if not columns:
        place = [name for name in POSITIONS if name in known][:1]
        plates = [name for name in ("plate", "well") if name in known]
        columns = [*plates, *place] if place else []
    # Fewer positions than a split needs: of small images each is a group, which is said.
    if columns and known[columns].drop_duplicates().shape[0] >= FEWEST_GROUPS:
        names = known[columns].astype(str).agg("/".join, axis=1)
        grouped_by = " and ".join(map(str, columns))
    else:
        names, grouped_by = _image_names(known), "images"
    rows = []
    for row in range(len(known)):
        filled = _find_content(sources, row, channels, options)
        for y, x, side in _grid(filled.shape[1:], options, str(known["path"].iloc[row])):
            rows.append((row, y, x, *side, names.iloc[row], known["label"].iloc[row], filled))
    return _with_content(rows, options), grouped_by


def _cut_bands(
    sources: Sources, options: PlantOptions, channels: Sequence[int], bands: int
) -> pd.DataFrame:
    tile = options.tile
    if tile is None:
        raise DatasetError(
            f"images: found {len(sources.table)} and no tile size; expected at least {FEWEST_GROUPS} "
            "images, or a tile size by which they are cut"
        )
    names = _image_names(sources.table)
    rows = []
    for row in range(len(sources.table)):
        filled = _find_content(sources, row, channels, options)
        height, width = filled.shape[1:]
        long, gap = max(height, width), round(GAP * tile)
        # As many as are wanted where so many fit.
        count = max(1, min(bands, (long + gap) // (tile + gap)))
        length = (long + gap) // count - gap
        for band in range(count):
            start = band * (length + gap)
            name = f"{names.iloc[row]} band {band + 1}"
            shape = (length, width) if height >= width else (height, length)
            for y, x, side in _grid(shape, options, str(sources.table["path"].iloc[row])):
                at = (y + start, x) if height >= width else (y, x + start)
                rows.append((row, *at, *side, name, sources.table["label"].iloc[row], filled))
    return _with_content(rows, options)


def _image_names(table: pd.DataFrame) -> "pd.Series[str]":
    stems = table["path"].map(lambda path: Path(str(path)).name.partition(".")[0])
    # Two plates may have images of one name.
    return stems if stems.is_unique else table["path"].astype(str)


def _find_content(
    sources: Sources, row: int, channels: Sequence[int], options: PlantOptions
) -> NDArray[np.bool_]:
    levels = sources.levels(row, options.seed)[list(channels)]
    smooth = [blur(plane, DENOISED) for plane in levels]
    return np.stack([plane > threshold_otsu(plane) for plane in smooth])


def _grid(
    shape: Sequence[int], options: PlantOptions, path: str
) -> Iterator[tuple[int, int, tuple[int, int]]]:
    height, width = shape
    tile = options.tile
    if tile is None:
        yield 0, 0, (height, width)
        return
    if tile > min(height, width):
        raise DatasetError(
            f"tile: found {tile} pixels for {path} of {height} x {width}; expected no more than fit"
        )
    step = max(1, round(tile * (1 - options.overlap)))
    for y in range(0, height - tile + 1, step):
        for x in range(0, width - tile + 1, step):
            yield y, x, (tile, tile)


def _with_content(rows: Sequence[tuple[Any, ...]], options: PlantOptions) -> pd.DataFrame:
    columns = ["image", "y", "x", "height", "width", "group", "source_label"]
    kept = []
    for *place, filled in rows:
        _, y, x, height, width, *_ = place
        inside = filled[:, y : y + height, x : x + width]
        if inside.mean(axis=(1, 2)).min() >= options.content:
            kept.append(place)
    if not kept:
        raise DatasetError(
            f"tiles: found none of {len(rows)} with {options.content:.0%} foreground in the changed "
            "channel; expected some: lower content, or choose another channel"
        )
    return pd.DataFrame(kept, columns=columns)


def choose_planted(table: pd.DataFrame, share: float, seed: int) -> list[str]:
    """Draw which groups are planted, alike in every original class and split.

    Parameters
    ----------
    table : DataFrame
        Of tiles, with ``group``, ``source_label`` and, where there is one, ``split``.
    share : float
        Of the groups.
    seed : int

    Returns
    -------
    list of str
        ``untouched`` or ``planted`` for every tile.
    """
    groups = table.drop_duplicates("group")
    rng = np.random.default_rng([seed, LABELS_STREAM])
    planted: set[str] = set()
    for _, part in groups.groupby("split" if "split" in table else lambda _: 0, sort=True):
        passed = done = 0
        for _, names in part.groupby("source_label", sort=True)["group"]:
            # What one class has too many by rounding the next has fewer.
            passed += len(names)
            count = min(len(names), max(0, round(share * passed) - done))
            planted |= set(rng.permutation(names.to_numpy(dtype=object))[:count])
            done += count
    return [PLANTED if name in planted else UNTOUCHED for name in table["group"]]


def plant(
    images: "Dataset | Sequence[xr.DataArray]",
    effect: str = "brightness",
    *,
    options: PlantOptions | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **changes: Any,
) -> PlantedImages:
    """Plant a known change into a random half of the groups of real images.

    Tiles are cut by :func:`lay_out_tiles`, groups drawn by :func:`choose_planted`: half of each original
    class, so that the original label tells nothing. The changed light gets the noise that is missing for
    an image so bright (a dimmed image has too little: shot noise falls with the root of the light), and
    every image of both classes a little read noise, so that noise tells nothing. Noise that the effect
    has *enlarged* (brightening, sharpening) cannot be taken away; how much there is stands in ``notes``.

    Parameters
    ----------
    images : Dataset or sequence of DataArray
        8 or 16 bits. Several classes, or images without any.
    effect : str
        A key of :data:`~napari_why.simulation.planted_effects.PLANTED_EFFECTS`, or one of their
        directions ("dimming").
    options : PlantOptions, optional
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    **changes
        Single options by name: ``channel``, ``nuclei``, ``strength``, ``direction``, ``tile``,
        ``share``, ``seed``, ...

    Returns
    -------
    PlantedImages
        uint16; classes ``untouched`` and ``planted``; columns ``group``, ``y``, ``x``, ``source``,
        ``source_label``, ``gradient``, and those of the source; grouped by ``group``.
        ``true_change(row)`` is the truth.

    Raises
    ------
    ParameterError, DatasetError
        An effect, option or channel that is not there; too few or too small images.
    WhyError
        Cancelled.

    Examples
    --------
    >>> from napari_why.simulation import simulate
    >>> planted = plant(simulate(16, size=64), "dimming", tile=32, content=0.0)
    >>> planted.classes, planted.image(0).dtype
    (('planted', 'untouched'), dtype('uint16'))
    >>> tile = planted.tile(0)
    >>> truth = tile.true_change("untouched", "planted")
    >>> bool(truth.sel(c="DAPI").any()), bool((truth.sel(c="TMRM") <= 0).all())
    (False, True)
    """
    chosen = PlantOptions.of(options, changes)
    find_planted_effect(effect, chosen.direction)
    sources = Sources.of(images)
    table = lay_out_tiles(sources, chosen)
    table["label"] = choose_planted(table, chosen.share, chosen.seed)
    return render_tiles(sources, table, effect, chosen, on_event=on_event, cancelled=cancelled)


def plant_to_folder(
    folder: str | Path,
    images: "Dataset | Sequence[xr.DataArray]",
    effect: str = "brightness",
    *,
    options: PlantOptions | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **changes: Any,
) -> Path:
    """Plant a change and write the tiles as OME-TIFFs with a ``labels.csv``, the truth beside them.

    Takes what :func:`plant` takes. ``Dataset.open(folder, group="group")`` opens the result.

    Returns
    -------
    Path
        The table, written last. Its column ``truth`` names a float32 OME-TIFF for every tile: the
        change, in grey levels without noise, that would turn its image into the other class.

    Raises
    ------
    WhyError
        As :func:`plant`, or the folder is not empty.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise WhyError(f"{folder}: found a folder that is not empty; expected a new or empty one")
    planted = plant(
        images, effect, options=options, on_event=on_event, cancelled=cancelled, **changes
    )
    paths: list[str] = []
    truths: list[str] = []
    for row, label in enumerate(planted.table["label"]):
        name = f"{label}_{row:05d}.ome.tif"
        change = planted.true_change(row)
        for found, place, image in (
            (paths, Path(label) / name, planted.image(row)),
            (truths, Path("truth") / name, change.astype(np.float32)),
        ):
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            write(image, folder / place)
            found.append(place.as_posix())
    table = folder / TABLE_NAME
    written = planted.table.assign(path=paths, truth=truths)
    table.write_text(csv_text(written), encoding="utf-8", newline="")
    return table


def render_tiles(
    sources: Sources,
    table: pd.DataFrame,
    effect: str,
    options: PlantOptions,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> PlantedImages:
    """Render the tiles of a table as the classes in its column ``label``.

    Parameters
    ----------
    sources, options
        Those that the table was laid out with.
    table : DataFrame
        As :func:`lay_out_tiles` makes it, with ``label``.
    effect : str
        See :func:`plant`.
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    """
    field = _Planter(sources, effect, options)
    shaded = _draw_gradients(table["label"], options)
    tiles: dict[int, PlantedTile] = {}
    used = table["image"].unique()
    on_event(events.Started("planting a known change", len(used)))
    for done, row in enumerate(used, start=1):
        if cancelled():
            raise WhyError(f"planting: cancelled after {done - 1} of {len(used)} images")
        for number, place in table[table["image"] == row].iterrows():
            tiles[int(str(number))] = field.tile(int(row), place, shaded[int(str(number))])
        on_event(events.Advanced(done))
    on_event(events.Finished())
    paths = table["image"].map(lambda row: str(sources.table["path"].iloc[row]))
    whole = Dataset.from_images(
        [tiles[row].image(label) for row, label in enumerate(table["label"])],
        table["label"].tolist(),
        group=None,
    )
    # What is known of the image is known of its tiles, but its own class and split, which are not theirs.
    known = sources.table.drop(columns=["path", "label", "split"], errors="ignore")
    columns = known.iloc[table["image"]].reset_index(drop=True)
    columns = columns.drop(columns=[name for name in OWN_COLUMNS if name in columns])
    own = table[[name for name in OWN_COLUMNS if name in table]]
    frame = pd.concat([whole.table, own, columns], axis=1).assign(source=paths, gradient=shaded)
    whole = replace(whole, table=frame, group_columns=("group",))
    inherited = {item.name: getattr(whole, item.name) for item in fields(Dataset)}
    notes = (*table.attrs.get("notes", ()), *field.notes)
    for note in notes:
        on_event(events.Message(note, finding=True))
    in_order = tuple(tiles[row] for row in range(len(table)))
    return PlantedImages(
        **{**inherited, "notes": notes}, tiles=in_order, affected=tuple(sorted(field.channels))
    )


def _draw_gradients(labels: "pd.Series[str]", options: PlantOptions) -> list[bool]:
    rng = np.random.default_rng([options.seed, GRADIENT_STREAM])
    shares: dict[str, float] = {
        PLANTED: options.gradient_share,
        UNTOUCHED: 1 - options.gradient_share,
    }
    drawn = rng.random(len(labels))
    return [
        options.gradient > 0 and bool(number < shares[label])
        for number, label in zip(drawn, labels, strict=True)
    ]


class _Planter:
    """Changes whole fields, so that cells at the rim of a tile are changed as what they are."""

    def __init__(self, sources: Sources, effect: str, options: PlantOptions) -> None:
        self.effect, self.direction = find_planted_effect(effect, options.direction)
        self.channels, self.nuclei = sources.find_channels(options)
        self._sources, self._options = sources, options
        rows = np.unique(np.linspace(0, len(sources.table) - 1, SAMPLED).astype(int))
        sampled = [sources.levels(int(row), options.seed) for row in rows]
        self.noise = [
            estimate_noise([levels[index] for levels in sampled])
            for index in range(len(sources.channels))
        ]
        self._row = -1
        self._excess: list[float] = []
        self._clipped = 0.0

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be known of the noise."""
        found = []
        excess = float(np.median(self._excess)) if self._excess else 1.0
        if excess > TOO_NOISY:
            found.append(
                f"where the effect changes most, the noise of planted images is {excess:.1f} times that "
                "of a real image so bright: noise that it enlarges cannot be taken away"
            )
        return tuple(found)

    def tile(self, row: int, place: Any, shaded: bool) -> PlantedTile:
        """Render one tile as both classes."""
        if row != self._row:
            self._load(row)
        y, x, height, width = (int(place[name]) for name in ("y", "x", "height", "width"))
        window = (slice(None), slice(y, y + height), slice(x, x + width))
        before, passed = self._before[window], self._passed[window]
        after = self._after[window]
        if self.effect.nuisance:
            after, passed = self._change(before, row)
        plain = np.stack(
            [noise.variance(blur(p, DENOISED)) for noise, p in zip(self.noise, before, strict=True)]
        )
        factor = shade_factor(width, self._options.gradient) if shaded else np.ones(width)
        dark = self._dark[:, None, None]
        light = {
            label: np.clip(dark + factor * (levels - dark), 0, FULL_SCALE)
            for label, levels in ((UNTOUCHED, before), (PLANTED, after))
        }
        passed_by = {UNTOUCHED: factor**2 * plain, PLANTED: factor**2 * passed}
        rng = np.random.default_rng([self._options.seed, row, y, x, NOISE_STREAM])
        # The same numbers in both classes: a channel that does not change is the same in both.
        read = READ_NOISE * rng.standard_normal(before.shape)
        shot = rng.standard_normal(before.shape)
        rendered: dict[str, NDArray[np.uint16]] = {}
        for label, levels in light.items():
            grey = levels.copy()
            for index, noise in enumerate(self.noise):
                missing = noise.variance(blur(levels[index], DENOISED)) - passed_by[label][index]
                grey[index] += np.sqrt(np.maximum(missing, 0)) * shot[index]
                # Half a grey level at least, for images without any noise.
                grey[index] += max(np.sqrt(noise.floor), 2.0) * read[index]
            rendered[label] = np.clip(np.rint(grey), 0, FULL_SCALE).astype(np.uint16)
        image = self._image
        source = make_image(
            light[UNTOUCHED].astype(np.float32),
            "cyx",
            self._sources.channels,
            pixel_size=dict(zip("yx", spatial_scale(image), strict=True)),
            unit=image.attrs.get("unit", "pixel"),
            source=f"{self._name} y{y:04d} x{x:04d}",
        )
        return PlantedTile(source, light[PLANTED].astype(np.float32), rendered)

    def _load(self, row: int) -> None:
        self._row, self._image = row, self._sources.image(row)
        self._name = str(self._sources.table["path"].iloc[row])
        self._before = self._sources.levels(row, self._options.seed)
        self._dark = np.percentile(self._before, 1, axis=(1, 2))
        self._after, self._passed = self._change(self._before, row)

    def _change(
        self, before: NDArray[np.float64], row: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the changed levels, and the variance of the noise that came through the change."""
        options = self._options
        cells = find_cells(None if self.nuclei is None else before[self.nuclei], before.shape[1:])
        seed = int(np.random.default_rng([options.seed, row, EFFECT_STREAM]).integers(2**63))

        def change(levels: NDArray[np.float64]) -> NDArray[np.float64]:
            return change_light(
                levels, self.effect, self.direction, self.channels, cells, options.strength, seed
            )

        after = change(before)
        variance = np.stack(
            [
                noise.variance(blur(plane, DENOISED))
                for noise, plane in zip(self.noise, before, strict=True)
            ]
        )
        rng = np.random.default_rng([options.seed, row, EFFECT_STREAM, 1])
        sent, came = np.zeros(before.shape), np.zeros(before.shape)
        for _ in range(DRAWS):
            noise = np.sqrt(variance) * rng.standard_normal(before.shape)
            through = change(before + noise) - after
            for index in self.channels:
                sent[index] += blur(noise[index] ** 2, AVERAGED)
                came[index] += blur(through[index] ** 2, AVERAGED)
        # Of the same draws, so that what does not change lets through exactly all of it.
        passed = variance * np.divide(came, sent, out=np.ones_like(sent), where=sent > 0)
        self._judge_noise(before, after, passed)
        return np.clip(after, 0, FULL_SCALE), passed

    def _judge_noise(
        self, before: NDArray[np.float64], after: NDArray[np.float64], passed: NDArray[np.float64]
    ) -> None:
        for index in self.channels:
            change = np.abs(after[index] - before[index])
            most = change > np.percentile(change, 90)
            wanted = self.noise[index].variance(blur(after[index], DENOISED))[most]
            if most.any() and wanted.min() > 0:
                self._excess.append(float(np.sqrt(np.median(passed[index][most] / wanted))))
