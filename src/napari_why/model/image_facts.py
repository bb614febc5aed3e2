"""What a classifier should be doubted for: an image unlike its training images."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from napari_why.core.errors import MismatchError
from napari_why.core.events import Advanced, OnEvent, Started, ignore_event
from napari_why.core.schema import Fields, ListOf, MapOf, Maybe, Number, Open, Text, Whole
from napari_why.datasets.dataset import Dataset
from napari_why.datasets.preprocessing import (
    Preprocessing,
    bring_to_size,
    find_grid,
    select_pixels,
)
from napari_why.images import NO_LENGTH, PixelSize, channel_names, spatial_scale
from napari_why.model.appearance import Appearance, cut_tiles
from napari_why.model.likeness import FEWEST_IMAGES as FEWEST_COMPARED
from napari_why.model.likeness import LIKENESS, Likeness, Unlikeness
from napari_why.model.quality import CLIPPED, KINDS, QUALITY, Quality, QualityFit

# Mean levels of a training set are known well enough from this many images.
MEASURED_IMAGES = 200
# Objectives differ by factors; calibrations of one by a few per cent.
PIXEL_SIZE_TOLERANCE = 0.1
# As they are saved; further facts may be there.
FACTS = Fields(
    {
        "dtypes": ListOf(Text()),
        "shapes": ListOf(ListOf(Whole(1), fewest=2, most=2)),
        "pixel_size": Maybe(ListOf(Number(0, above=True), fewest=2, most=2)),
        "unit": Text(),
        "means": MapOf(ListOf(Number(), fewest=2, most=2)),
    },
    # not there in what earlier versions saved
    {"likeness": Maybe(LIKENESS), "measured": Maybe(Whole()), "quality": Maybe(QUALITY)},
    others=Open(),
)


@dataclass(frozen=True)
class ImageFacts:
    """Type, size and intensities of training images.

    Parameters
    ----------
    dtypes : tuple of str
        Pixel types that occur.
    shapes : tuple of (int, int)
        Heights and widths that occur, in pixels.
    pixel_size : (float, float) or None
        y and x of the first image; None where the files tell none.
    unit : str
        Of ``pixel_size``.
    means : dict of str to (float, float)
        Per channel the lowest and the highest mean intensity of an image, raw units.
    likeness : Likeness or None
        What else is usual: brightness, texture, relations of channels. None where too few images
        were measured, and in what was saved before it was measured at all.
    measured : int or None
        Images that were measured; None in what was saved before.
    quality : Quality or None
        What is usual of content, focus and saturation; None of too few images, and in what was saved
        before: then nothing is said of them.
    """

    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int, int], ...]
    pixel_size: tuple[float, float] | None
    unit: str
    means: dict[str, tuple[float, float]]
    likeness: Likeness | None = None
    measured: int | None = None
    quality: Quality | None = None

    @classmethod
    def measure(
        cls, dataset: Dataset, preprocessing: Preprocessing, *, on_event: OnEvent = ignore_event
    ) -> "ImageFacts":
        """Measure a data set, at most 200 images of it, evenly spread.

        Parameters
        ----------
        dataset : Dataset
            The training images.
        preprocessing : Preprocessing
            How the network sees them: its channels are measured, at its size.
        on_event : callable
            See :mod:`napari_why.core.events`.

        Returns
        -------
        ImageFacts
        """
        channels = preprocessing.channels
        count = min(len(dataset), MEASURED_IMAGES)
        dtypes, shapes = set(), set()
        means: dict[str, list[float]] = {name: [] for name in channels}
        looks: list[Appearance] = []
        quality = QualityFit(channels)
        tile: tuple[int, int] | None = None
        # one image at a time: together they might not fit in memory
        on_event(Started("measuring training images", count))
        rows = np.linspace(0, len(dataset) - 1, count).astype(int)
        for done, row in enumerate(rows, start=1):
            image = dataset.image(int(row))
            dtypes.add(str(image.dtype))
            shapes.add((image.sizes["y"], image.sizes["x"]))
            for name in channels:
                means[name].append(float(_channel(image, name).mean()))
            pixels = _as_seen(image, preprocessing)
            tile = tile or (pixels.shape[1], pixels.shape[2])
            tiles = list(cut_tiles(pixels, tile))
            looks.append(Appearance.of(tiles[len(tiles) // 2]))  # the central one
            quality.add(pixels, str(dataset.table["label"].iloc[int(row)]))
            on_event(Advanced(done))
        size, unit = _pixel_size(dataset.image(0))
        return cls(
            tuple(sorted(dtypes)),
            tuple(sorted(shapes)),
            size,
            unit,
            {name: (min(values), max(values)) for name, values in means.items()},
            None if tile is None else Likeness.fit(looks, dataset.groups[rows], channels, tile),
            count,
            quality.finish(),
        )

    def unlike(self, image: xr.DataArray, preprocessing: Preprocessing) -> tuple[Unlikeness, ...]:
        """Say in what an image (c, y, x) is unlike the training images.

        Parameters
        ----------
        image : DataArray, dims (c, y, x)
            With the channels of the classifier, without NaN.
        preprocessing : Preprocessing
            Of the classifier.

        Returns
        -------
        tuple of Unlikeness
            What speaks against its content, focus and saturation first; empty where nothing is unlike.
        """
        seen = _as_seen(image, preprocessing)
        # first: of an image that holds hardly any cells all else is of little weight
        found = [] if self.quality is None else list(self.quality.judge(seen))
        clipped = {name for item in found if item.kind == CLIPPED for name in item.channels}
        if str(image.dtype) not in self.dtypes:
            sentence = f"pixels are {image.dtype}; trained on {', '.join(self.dtypes)}"
            found.append(Unlikeness("pixel type", sentence))
        shape = (image.sizes["y"], image.sizes["x"])
        if shape not in self.shapes:
            trained = ", ".join(f"{height} x {width}" for height, width in self.shapes[:3])
            sentence = f"the image has {shape[0]} x {shape[1]} pixels; trained on {trained}"
            found.append(Unlikeness("size", sentence))
        found += [Unlikeness("pixel size", sentence) for sentence in self._scale_notes(image)]
        for name, (low, high) in self.means.items():
            found += _intensities_unlike(name, _channel(image, name), low, high)
        if self.likeness is not None:
            top = float(np.iinfo(image.dtype).max) if image.dtype.kind in "ui" else None
            likeness = self.likeness.judge(seen, top)
            # said once of a channel
            found += [
                item
                for item in likeness
                if item.kind != CLIPPED or not clipped.issuperset(item.channels)
            ]
        else:
            found.append(Unlikeness("unknown", self._nothing_to_compare()))
        return tuple(found)

    def pixel_size_of_prepared(self, preprocessing: Preprocessing) -> PixelSize:
        """Return how large the pixels are that the network sees, and makes; no length if that varies."""
        if self.pixel_size is None:
            return NO_LENGTH
        grids = [find_grid(shape, preprocessing.size, preprocessing.fit) for shape in self.shapes]
        if len({grid.step for grid in grids}) != 1:
            return NO_LENGTH
        return PixelSize(*self.pixel_size, self.unit).on(grids[0])

    def quality_flags(self, unlike: Sequence[Unlikeness]) -> tuple[str, ...]:
        """Return what :meth:`unlike` flags an image for: content, focus, saturation.

        Nothing of a classifier that was saved before content and focus were measured: its figures
        stay what they were.
        """
        if self.quality is None:
            return ()
        return tuple(dict.fromkeys(item.kind for item in unlike if item.kind in KINDS))

    def _nothing_to_compare(self) -> str:
        reason = (
            "the classifier was saved before that was measured"
            if self.measured is None
            else f"of {self.measured} images {FEWEST_COMPARED} with structure are needed"
        )
        return (
            "not known whether brightness, texture and channels are like those of the training "
            f"images: {reason}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the facts as JSON types."""
        return asdict(replace(self, likeness=None, quality=None)) | {
            "likeness": None if self.likeness is None else self.likeness.to_dict(),
            "quality": None if self.quality is None else self.quality.to_dict(),
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "ImageFacts":
        """Make facts of what :meth:`to_dict` returned, also after a detour over JSON."""
        size = plain["pixel_size"]
        return cls(
            tuple(plain["dtypes"]),
            tuple((height, width) for height, width in plain["shapes"]),
            None if size is None else (size[0], size[1]),
            plain["unit"],
            {name: (low, high) for name, (low, high) in plain["means"].items()},
            None if plain.get("likeness") is None else Likeness.from_dict(plain["likeness"]),
            plain.get("measured"),
            None if plain.get("quality") is None else Quality.from_dict(plain["quality"]),
        )

    def _scale_notes(self, image: xr.DataArray) -> list[str]:
        if self.pixel_size is None:
            return []
        now, then = PixelSize.of(image), PixelSize(*self.pixel_size, self.unit)
        if not differ_in_size(now, then):
            return []
        return [f"a pixel is {_side(now)}; trained on {_side(then)}"]


def differ_in_size(now: PixelSize, then: PixelSize) -> bool:
    """Tell whether two sizes of pixels are those of two objectives; not where one is no length.

    Parameters
    ----------
    now, then : PixelSize

    Returns
    -------
    bool

    Examples
    --------
    >>> differ_in_size(PixelSize(0.65, 0.65, "um"), PixelSize(0.325, 0.325, "um"))
    True
    >>> differ_in_size(PixelSize(0.65, 0.65, "um"), PixelSize())
    False
    """
    if now.unit != then.unit or now.unit == NO_LENGTH.unit:
        return False
    ratios = (now.y / then.y, now.x / then.x)
    return any(abs(ratio - 1) > PIXEL_SIZE_TOLERANCE for ratio in ratios)


def compare_with_made_for(
    image: xr.DataArray, preprocessing: Preprocessing
) -> tuple[Unlikeness, ...]:
    """Say whether the pixels that a network gets of an image are of another size than it was made for.

    For a classifier of another program, of whose images no more than that is known.

    Parameters
    ----------
    image : DataArray, dims (c, y, x)
    preprocessing : Preprocessing
        Its ``pixel_size`` is what the network was made for.

    Returns
    -------
    tuple of Unlikeness
        Empty where they are alike, or one of both is not known.
    """
    now, then = PixelSize.of(image).on(preprocessing.grid(image)), preprocessing.pixel_size
    if not differ_in_size(now, then):
        return ()
    sentence = (
        f"a pixel is {_side(now)} as the network gets it; it was made for {_side(then)}: bring the image "
        "to that scale first"
    )
    return (Unlikeness("pixel size", sentence),)


def _side(size: PixelSize) -> str:
    sides = dict.fromkeys((f"{size.y:.3g}", f"{size.x:.3g}"))  # one of square pixels
    return f"{' x '.join(sides)} {size.unit}"


def _intensities_unlike(
    name: str, plane: xr.DataArray, low: float, high: float
) -> list[Unlikeness]:
    if float(plane.min()) == float(plane.max()):
        sentence = f"channel {name} is {float(plane.min()):g} everywhere"
        return [Unlikeness("constant", sentence, (name,))]
    mean = float(plane.mean())
    # far outside: by half the spread of the training images' means, or a tenth of their level
    slack = max(0.5 * (high - low), 0.1 * max(abs(low), abs(high)))
    if low - slack <= mean <= high + slack:
        return []
    sentence = (
        f"channel {name} has a mean of {mean:.4g}; those trained on have {low:.4g} to {high:.4g}"
    )
    return [Unlikeness("mean", sentence, (name,))]


def _as_seen(image: xr.DataArray, preprocessing: Preprocessing) -> NDArray[np.float64]:
    pixels = select_pixels(image, preprocessing.channels)
    return bring_to_size(pixels, preprocessing.size, preprocessing.fit)


def _channel(image: xr.DataArray, name: str) -> xr.DataArray:
    return image.isel(c=channel_names(image).index(name))


def _pixel_size(image: xr.DataArray) -> tuple[tuple[float, float] | None, str]:
    unit = str(image.attrs.get("unit", "pixel"))
    return (None if unit == "pixel" else spatial_scale(image)), unit


def single_plane(image: xr.DataArray) -> xr.DataArray:
    """Return the image (c, y, x) without time and depth axes of length 1."""
    alone = [dim for dim in ("t", "z") if image.sizes.get(dim) == 1]
    return image.isel(dict.fromkeys(alone, 0), drop=True)


def check_image(
    image: xr.DataArray, channels: Sequence[str], preprocessing: Preprocessing
) -> xr.DataArray:
    """Return the image as one plane per channel (c, y, x).

    Parameters
    ----------
    image : DataArray
        With dims c, y, x, and t or z of one plane.
    channels : sequence of str
        Those that there have to be, in the network's order.
    preprocessing : Preprocessing
        Says which sizes can be prepared.

    Returns
    -------
    DataArray, dims (c, y, x)

    Raises
    ------
    MismatchError
        Lists all that does not fit: axes, channels, pixel type, values that are not finite, size.
    """
    plane = single_plane(image)
    problems = _axis_problems(plane) or [
        *_channel_problems(plane, channels),
        *_pixel_problems(plane, channels),
        *_size_problems(plane, preprocessing),
    ]
    if problems:
        source = image.attrs.get("source") or "image"
        raise MismatchError(f"{source} does not fit the classifier: {'; '.join(problems)}")
    return plane


def _axis_problems(image: xr.DataArray) -> list[str]:
    if image.dims == ("c", "y", "x"):
        return []
    more = [str(dim) for dim in image.dims if dim not in ("c", "y", "x")]
    advice = (
        "take one plane, such as image.isel(" + ", ".join(f"{dim}=0" for dim in more) + ")"
        if more
        else "give it a channel axis"
    )
    return [f"found axes {', '.join(map(str, image.dims))}, expected c, y, x ({advice})"]


def _channel_problems(image: xr.DataArray, channels: Sequence[str]) -> list[str]:
    there = channel_names(image)
    missing = [name for name in channels if name not in there]
    if not missing:
        return []
    return [
        f"found {len(there)} channel{'s' if len(there) != 1 else ''} named {', '.join(there)}, "
        f"expected {len(channels)} named {', '.join(channels)}; {', '.join(missing)} "
        f"{'is' if len(missing) == 1 else 'are'} missing (name the channels when opening the image)"
    ]


def _pixel_problems(image: xr.DataArray, channels: Sequence[str]) -> list[str]:
    if image.dtype.kind not in "uif":
        return [f"found pixels of type {image.dtype}, expected integers or floating point numbers"]
    if image.dtype.kind != "f":
        return []
    pixels = np.asarray(image)
    problems = []
    for index, name in enumerate(channel_names(image)):
        bad = int((~np.isfinite(pixels[index])).sum())
        if bad and name in channels:
            problems.append(f"found {bad} NaN or infinite values in channel {name}, expected none")
    return problems


def _size_problems(image: xr.DataArray, preprocessing: Preprocessing) -> list[str]:
    height, width = image.sizes["y"], image.sizes["x"]
    if min(height, width) == 0:
        return [f"found {height} x {width} pixels, expected some"]
    size = preprocessing.size
    if preprocessing.fit == "crop" and size is not None and min(height, width) < size:
        return [f"found {height} x {width} pixels, expected {size} x {size} or more to cut from"]
    return []
