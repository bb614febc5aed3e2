"""Names for the axes and channels of a file, and the question where it does not tell them."""

import math
from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np

from napari_why.core.errors import AmbiguousAxesError, AxesChoice, ImageReadError
from napari_why.images.decoded_image import NAME_DOUBT, DecodedImage, check_finite
from napari_why.images.file_names import parse_name
from napari_why.images.formats import SAMPLES, UNNAMED, StoredImage
from napari_why.images.image import DIMS, SPATIAL_DIMS, default_names

# What unnamed pages can be, the likeliest first; the answers are offered in this order.
NAMES = {"z": "z planes", "t": "time points", "c": "channels"}
# More stains than four are rare, and every number would make the list of answers longer.
SPLITS = (2, 3, 4)
# Samples of a pixel that are red, green and blue.
COLOURS = 3


def axes_choices(stored: StoredImage) -> tuple[AxesChoice, ...]:
    """Return what the axes of a file can be, the usual answers first.

    Unnamed axes are z planes, time points or channels, each at most once; one unnamed axis may
    also be two, where its length is a multiple of 2, 3 or 4 channels. Samples of a pixel are
    channels. Empty where no answer would do.
    """
    letters = list(stored.axes)
    if SAMPLES in letters:
        if "c" in letters:
            letters[letters.index("c")] = UNNAMED
        letters[letters.index(SAMPLES)] = "c"
    free = [i for i, name in enumerate(letters) if name == UNNAMED and stored.shape[i] > 1]
    left = [name for name in NAMES if name not in letters]
    return (
        *_answers(stored, letters, free, left),
        *_answers_by_splitting(stored, letters, free, left),
    )


def restrict_answers(error: AmbiguousAxesError, axes: str) -> AmbiguousAxesError:
    """Return a question with only the answers that name no other axes.

    Parameters
    ----------
    error : AmbiguousAxesError
        About one of several files that are read as one image.
    axes : str
        The axes that one of these files may have.

    Returns
    -------
    AmbiguousAxesError
        Where no answer fits, without any: it advises to read each file on its own.
    """
    fit = [choice for choice in error.choices if not set(choice.axes) & set(DIMS) - set(axes)]
    if fit:
        return error.advising(error.advice, fit)
    alone = f", for example axes={error.choices[0].axes!r}" if error.choices else ""
    return error.advising(f"read each file on its own and say what its axes are{alone}", [])


def _answers(
    stored: StoredImage, letters: list[str], free: list[int], left: list[str]
) -> Iterator[AxesChoice]:
    for names in permutations(left, len(free)):
        told = list(letters)
        parts = []
        for axis, name in zip(free, names, strict=True):
            told[axis] = name
            parts.append(f"{stored.shape[axis]} {NAMES[name]}")
        words = filter(None, [" of ".join(parts), _words_for_colours(stored)])
        yield AxesChoice("".join(told), "; ".join(words))


def _words_for_colours(stored: StoredImage) -> str:
    """Say what becomes of the samples of a pixel, or of the numbers of indexed colours."""
    if SAMPLES in stored.axes:
        count = stored.shape[stored.axes.index(SAMPLES)]
        samples = "red, green and blue" if count == COLOURS else f"{count} samples a pixel"
        return f"{samples} are channels"
    return "the stored numbers are intensities" if stored.colour else ""


def _answers_by_splitting(
    stored: StoredImage, letters: list[str], free: list[int], left: list[str]
) -> Iterator[AxesChoice]:
    """Yield the answers by which one axis of pages is two: channels, and z planes or time points."""
    if len(free) != 1 or "c" not in left:
        return
    (axis,) = free
    pages = stored.shape[axis]
    for channels in SPLITS:
        others = pages // channels
        if pages % channels or others < 2:
            continue
        for name in left:
            if name == "c":
                continue
            for pair, words in (
                (f"{name}c", f"{others} {NAMES[name]} of {channels} channels"),
                (f"c{name}", f"{channels} channels of {others} {NAMES[name]}"),
            ):
                told = "".join([*letters[:axis], pair, *letters[axis + 1 :]])
                yield AxesChoice(told, words, default_names(channels))


def name_axes(
    stored: StoredImage, axes: str | None = None, channels: Sequence[str] | None = None
) -> tuple[str, tuple[int, ...]]:
    """Return a letter of ``tczyx`` for every axis, and the sizes.

    Parameters
    ----------
    stored : StoredImage
        What the file holds.
    axes : str, optional
        What the user says the axes are, slowest first ("zyx", "yxc"). One letter more than the
        file has axes splits its unnamed pages, by the number of ``channels``.
    channels : sequence of str, optional
        Channel names given by the user; as many as there are unnamed pages names that axis.

    Returns
    -------
    letters : str
        Slowest first, each letter once.
    shape : tuple of int
        One size a letter.

    Raises
    ------
    AmbiguousAxesError
        The axes cannot be known, or the image is a colour picture; lists the possible answers.
    ImageReadError
        What the user says does not fit.
    """
    if axes is not None:
        return _fit_axes(stored, axes.lower(), channels)
    if stored.colour and channels is None:
        raise _question(
            stored,
            stored.colour,
            "intensities, one channel for each stain",
            "export the channels from the microscope's software in their own bit depth; if the "
            "values really are intensities, say so",
        )
    letters = list(stored.axes)
    _name_samples(stored, letters)
    _name_pages(stored, letters, channels)
    return _check_letters(stored, "".join(letters), stored.shape)


def _fit_axes(
    stored: StoredImage, axes: str, channels: Sequence[str] | None
) -> tuple[str, tuple[int, ...]]:
    if len(axes) == len(stored.shape):
        return _check_letters(stored, axes, stored.shape)
    pages = stored.axes.find(UNNAMED)
    if len(axes) == len(stored.shape) + 1 and pages >= 0 and channels and "c" in axes:
        split = axes[pages : pages + 2]
        count, rest = stored.shape[pages], len(channels)
        if "c" in split and count % rest == 0:
            sizes = tuple(rest if letter == "c" else count // rest for letter in split)
            return _check_letters(
                stored, axes, stored.shape[:pages] + sizes + stored.shape[pages + 1 :]
            )
    raise ImageReadError(
        stored.path,
        f"{_describe(stored)}, which the axes {axes!r} do not fit",
        f"{len(stored.shape)} letters of {''.join(DIMS)}, slowest axis first",
        "to split pages into channels and another axis, name the channels too",
    )


def _name_samples(stored: StoredImage, letters: list[str]) -> None:
    """Take the samples of a pixel as channels, unless the file has channels besides."""
    if SAMPLES not in letters:
        return
    if "c" in letters and stored.shape[letters.index("c")] > 1:
        raise _ask_for_pages(stored, "both channels and several samples a pixel")
    if "c" in letters:
        letters[letters.index("c")] = UNNAMED
    letters[letters.index(SAMPLES)] = "c"


def _name_pages(stored: StoredImage, letters: list[str], channels: Sequence[str] | None) -> None:
    """Take two unnamed pages, or as many as there are given names, as channels; else ask."""
    unnamed = [i for i, letter in enumerate(letters) if letter == UNNAMED and stored.shape[i] > 1]
    if not unnamed:
        return
    sizes = [stored.shape[i] for i in unnamed]
    wanted = 2 if channels is None else len(channels)
    if len(unnamed) == 1 and "c" not in letters and sizes[0] == wanted:
        letters[unnamed[0]] = "c"
        return
    count = " x ".join(map(str, sizes))
    raise _ask_for_pages(
        stored, f"{count} pages without a word whether they are channels, z or time"
    )


def _ask_for_pages(stored: StoredImage, found: str) -> AmbiguousAxesError:
    expected = "axes that the file names"
    return _question(stored, found, expected, "say what they are, slowest first")


def _question(stored: StoredImage, found: str, expected: str, advice: str) -> AmbiguousAxesError:
    choices = axes_choices(stored)
    example = f", for example axes={choices[0].axes!r}" if choices else ""
    return AmbiguousAxesError(
        stored.path,
        f"{found} ({_describe(stored)})",
        expected,
        advice + example,
        stored_axes=stored.axes,
        shape=stored.shape,
        choices=choices,
    )


def _check_letters(
    stored: StoredImage, axes: str, shape: tuple[int, ...]
) -> tuple[str, tuple[int, ...]]:
    known = all(axis in DIMS or size == 1 for axis, size in zip(axes, shape, strict=True))
    named = [axis for axis in axes if axis in DIMS]
    if not known or not {"y", "x"} <= set(axes) or len(set(named)) != len(named):
        raise ImageReadError(
            stored.path,
            f"axes {axes!r} ({_describe(stored)})",
            f"letters of {''.join(DIMS)}, each at most once, y and x among them",
        )
    if math.prod(shape) == 0:
        raise ImageReadError(stored.path, f"an image without pixels {shape}", "at least one pixel")
    return axes, shape


def _describe(stored: StoredImage) -> str:
    """Return size and type of what is stored: "plain TIFF, 34 x 88 x 89, uint16"."""
    return f"{stored.format}, {' x '.join(map(str, stored.shape))}, {stored.dtype}"


def name_image(
    stored: StoredImage, letters: str, pixels: Any, channels: Sequence[str] | None
) -> DecodedImage:
    """Name the axes and channels of decoded pixels.

    Parameters
    ----------
    stored : StoredImage
        What the file holds.
    letters : str
        Axes of ``pixels``, out of t, c, z, y, x in any order.
    pixels : array
        Decoded.
    channels : sequence of str or None
        Names instead of the file's.

    Returns
    -------
    DecodedImage
        Axes in the order t, c, z, y, x, as far as there are any; always with c.

    Raises
    ------
    ImageReadError
        The names are not as many as the channels, or values are no numbers.
    """
    check_finite(stored.path, pixels)
    # Axes of one element say nothing, but for those that every image has.
    kept = [i for i, letter in enumerate(letters) if letter in "cyx" or pixels.shape[i] > 1]
    pixels = pixels.reshape([pixels.shape[i] for i in kept])
    axes = "".join(letters[i] for i in kept)
    if "c" not in axes:
        pixels, axes = pixels[None], "c" + axes
    ordered = "".join(letter for letter in DIMS if letter in axes)
    if ordered != axes:
        pixels = pixels.transpose([axes.index(letter) for letter in ordered])
    names, notes = _channel_names(stored, pixels.shape[ordered.index("c")], channels)
    pixel_size, unit, said = _pixel_size(stored, ordered)
    if isinstance(pixels, np.ndarray):
        # Reordered axes are a view; what follows runs through planes again and again.
        pixels = np.ascontiguousarray(pixels)
    return DecodedImage(
        path=stored.path,
        pixels=pixels,
        axes=ordered,
        channels=names,
        pixel_size=pixel_size,
        unit=unit,
        source="; ".join(map(str, stored.files or [stored.path])),
        notes=stored.notes + notes + said,
        record=stored.record,
        origin={dim: at for dim, at in stored.origin.items() if dim in ordered},
    )


def _pixel_size(stored: StoredImage, axes: str) -> tuple[dict[str, float], str, tuple[str, ...]]:
    """Return the pixel size along the axes, its unit, and what there is to say about it.

    An image has one unit, so that a size that is told along x alone cannot be used: what y would
    be in micrometres, nobody knows.
    """
    dims = [dim for dim in SPATIAL_DIMS if dim in axes]
    told = {dim: stored.pixel_size[dim] for dim in dims if dim in stored.pixel_size}
    if {"y", "x"} <= set(told):
        lost = ("The file does not tell the distance of z planes; it counts as unknown.",)
        return told, "um", () if len(told) == len(dims) else lost
    # z may be told of a single plane, too.
    lengths = [f"{dim} ({size:.6g} um)" for dim, size in stored.pixel_size.items()]
    words = (
        f"The file tells the pixel size along {' and '.join(lengths)} only; it counts as unknown."
    )
    return dict.fromkeys(dims, 1.0), "pixel", (words,) if lengths else ()


def _channel_names(
    stored: StoredImage, count: int, channels: Sequence[str] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names to use, and what there is to say about them."""
    if channels is not None:
        if len(channels) != count:
            raise ImageReadError(
                stored.path,
                f"{count} channels",
                f"{len(channels)}, the number of the names given ({', '.join(channels)})",
                "give one name for each channel of the file",
            )
        return tuple(str(name).strip() for name in channels), ()
    given = stored.channels
    parsed = parse_name(stored.path.name)
    if not given and count == 1 and parsed:
        note = f"{NAME_DOUBT}{' or '.join((parsed.channel, *parsed.others))}."
        return (parsed.channel,), ((f"{note} {parsed.channel} is taken.",) if parsed.others else ())
    if not given and UNNAMED in stored.axes and count == 2:
        return default_names(count), ("Two unnamed pages are taken as channels.",)
    if not given:
        return default_names(count), ()
    if len(given) != count:
        note = f"The file names {len(given)} channels but holds {count}; they are numbered."
        return default_names(count), (note,)
    # Names become layers and columns of tables, so that each has to be printable and unique.
    names = []
    for index, name in enumerate(given):
        plain = "".join(letter for letter in name if letter.isprintable()).strip()
        plain = plain or f"channel {index + 1}"
        names.append(plain if plain not in names else f"{plain} ({index + 1})")
    changed = tuple(names) != tuple(given)
    note = f"Channel names of the file ({', '.join(map(repr, given))}) were completed."
    return tuple(names), (note,) if changed else ()
