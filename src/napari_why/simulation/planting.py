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
from typing import Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from napari_why.core import events
from napari_why.core.errors import DatasetError, ParameterError, WhyError
from napari_why.core.options import Help, Options, Range, Unit
from napari_why.core.randomness import LARGEST_SEED
from napari_why.core.whole_files import csv_text
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.image_folders import TABLE_NAME
from napari_why.images import can_read, channel_names, make_image, read, spatial_scale, write
from napari_why.images.image import how_read
from napari_why.images.image import plane as first_plane
from napari_why.simulation.cells import blur
from napari_why.simulation.planted_effects import (
    DARK_SHARE,
    DENOISED,
    STRONGEST,
    find_planted_effect,
)
from napari_why.simulation.planted_rendering import (
    PLANTED,
    UNTOUCHED,
    ChangedField,
    PlantedTile,
    Planter,
    estimate_noise,
)
from napari_why.simulation.scenes import FULL_SCALE

# What 8 bits are multiplied by: they fill 16 bits, and a mean grey level of 2 has room to change.
FROM_8_BIT = 256.0
# A split in three needs three groups of each class; six leave it a choice, as in simulated data sets.
FEWEST_GROUPS = 12
# Bands of a few large fields, as far as so many fit: places of one field differ, and where few are planted
# the change is mistaken for such a difference.
BANDS = 24
BAND = " band "
# Columns that name a position where there is no well, the first that is there.
POSITIONS = ("position", "site", "field")
# Of a tile: bands of one field lie half a tile apart, so that no cell of a training tile reaches into a
# test tile.
GAP = 0.5
# What a table of tiles says of them beside their label.
OWN_COLUMNS = ("group", "y", "x", "source", "source_label", "gradient", "split")
# Streams of random numbers, so that one can change without the others.
LABELS_STREAM, EFFECT_STREAM, NOISE_STREAM, TILES_STREAM, GRADIENT_STREAM = 0, 1, 2, 3, 4
# Images that the noise is estimated from, spread over the data set.
SAMPLED = 9
# Noise that is a fifth above that of a camera is said: less is within how well it is known.
TOO_NOISY = 1.2
# How nuclear stains are called; where no channel is called so, the first is taken for one.
NUCLEAR = re.compile(r"dapi|hoechst|draq|dna|nucle|h2b", re.IGNORECASE)


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
    seed: Annotated[int, Help("Of all that is drawn at random."), Range(0, LARGEST_SEED)] = 0


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

        Parameters
        ----------
        row : int
            Of the table.
        seed : int
            Of the parts of a step.

        Returns
        -------
        ndarray, float64, shape (c, y, x)
            0 to 65535.

        Raises
        ------
        DatasetError
            Pixels of another type than 8 or 16 bits without sign.
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
            seen |= set((how_read(images[-1])["read_as"] or {}).get("path", ()))
    return images


def lay_out_tiles(sources: Sources, options: PlantOptions) -> pd.DataFrame:
    """Cut images into tiles, leave out those that are nearly empty, and say which belong together.

    A tile stays where at least ``content`` of its pixels are foreground in every channel that is
    changed: above the image's own threshold of Otsu, after a light blur. Nothing but the source is
    looked at, before anybody knows which tiles get the change.

    Groups are those of the data set (wells), else positions, else images. Where these are fewer than
    12, each image is cut into bands along its longer side, half a tile apart: 24, or as many as fit.

    Parameters
    ----------
    sources : Sources
    options : PlantOptions
        Tile, content, channels, count and seed.

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
        bands = -(-BANDS // len(sources.table))
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
            name = f"{names.iloc[row]}{BAND}{band + 1}"
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
    from skimage.filters import threshold_otsu  # slow to import, and every verb imports this room

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
    """Draw which groups (of bands: which tiles) are planted, alike in every original class and split.

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
    # Bands are few, and brighter or darker by themselves than an effect makes them: there both classes are
    # in every band, and what is held apart are the parts that are trained on and judged.
    banded = table["group"].str.contains(BAND, regex=False)
    units = table["group"].where(~banded, table["group"] + table.index.map(lambda row: f" {row}"))
    groups = table.assign(group=units).drop_duplicates("group")
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
    return [PLANTED if name in planted else UNTOUCHED for name in units]


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

    Parameters
    ----------
    folder : str or Path
        New or empty.
    images, effect, options
        See :func:`plant`.
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    **changes
        Single options by name; see :func:`plant`.

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

    Returns
    -------
    PlantedImages
        uint16, in the order of the table.

    Raises
    ------
    WhyError
        Cancelled.
    """
    planter = _make_planter(sources, effect, options)
    shaded = _draw_gradients(table["label"], options)
    tiles: dict[int, PlantedTile] = {}
    excess = []
    used = table["image"].unique().tolist()
    on_event(events.Started("planting a known change", len(used)))
    for done, row in enumerate(used, start=1):
        if cancelled():
            raise WhyError(f"planting: cancelled after {done - 1} of {len(used)} images")
        before = sources.levels(row, options.seed)
        field = planter.change(before, [options.seed, row, EFFECT_STREAM])
        excess.append(planter.excess_noise(field))
        # Uneven light is measured above the darkest hundredth.
        dark = np.percentile(before, DARK_SHARE, axis=(1, 2))
        for number in np.flatnonzero(table["image"] == row).tolist():
            place = _Place(*(int(table[name].iloc[number]) for name in PLACE))
            gradient = options.gradient if shaded[number] else 0.0
            tiles[number] = _cut_tile(sources, planter, field, place, dark, gradient, options.seed)
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
    notes = [*table.attrs.get("notes", ())]
    if np.median(excess) > TOO_NOISY:
        notes.append(
            "where the effect changes most, the noise of planted images is "
            f"{np.median(excess):.1f} times that of a real image so bright: noise that it enlarges "
            "cannot be taken away"
        )
    for note in notes:
        on_event(events.Message(note, finding=True))
    in_order = tuple(tiles[row] for row in range(len(table)))
    return PlantedImages(
        **{**inherited, "notes": tuple(notes)},
        tiles=in_order,
        affected=tuple(sorted(planter.channels)),
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


def _make_planter(sources: Sources, effect: str, options: PlantOptions) -> Planter:
    kind, direction = find_planted_effect(effect, options.direction)
    channels, nuclei = sources.find_channels(options)
    rows = np.unique(np.linspace(0, len(sources.table) - 1, SAMPLED).astype(int)).tolist()
    sampled = [sources.levels(row, options.seed) for row in rows]
    noise = [
        estimate_noise([levels[index] for levels in sampled])
        for index in range(len(sources.channels))
    ]
    return Planter(kind, direction, options.strength, channels, nuclei, tuple(noise))


class _Place(NamedTuple):
    """Where a tile lies in which image."""

    image: int
    y: int
    x: int
    height: int
    width: int


PLACE = _Place._fields


def _cut_tile(
    sources: Sources,
    planter: Planter,
    field: ChangedField,
    place: _Place,
    dark: NDArray[np.float64],
    gradient: float,
    seed: int,
) -> PlantedTile:
    row, y, x, height, width = place
    inside = field.cut((slice(None), slice(y, y + height), slice(x, x + width)))
    if planter.effect.nuisance:  # of how an image is lit, and the tile is the image
        inside = planter.change(inside.levels[UNTOUCHED], [seed, row, EFFECT_STREAM])
    light, seen = planter.expose(inside, dark, gradient, [seed, row, y, x, NOISE_STREAM])
    image = sources.image(row)
    source = make_image(
        light[UNTOUCHED].astype(np.float32),
        "cyx",
        sources.channels,
        pixel_size=dict(zip("yx", spatial_scale(image), strict=True)),
        unit=image.attrs.get("unit", "pixel"),
        source=f"{sources.table['path'].iloc[row]} y{y:04d} x{x:04d}",
    )
    return PlantedTile(source, light[PLANTED].astype(np.float32), seen)
