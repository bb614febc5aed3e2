"""The answers to the question what the unnamed axes of a file are."""

import math
from collections.abc import Iterator, Sequence
from itertools import permutations

from napari_why.core.errors import AmbiguousAxesError, AxesChoice, ImageReadError
from napari_why.images.image import DIMS, default_names
from napari_why.images.stored_image import SAMPLES, UNNAMED, StoredImage

NAMES = {"z": "z planes", "t": "time points", "c": "channels"}
# More stains than four are rare, and every number would make the list of answers longer.
SPLITS = (2, 3, 4)
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
    return (*_whole(stored, letters, free, left), *_split(stored, letters, free, left))


def answered_within(error: AmbiguousAxesError, axes: str) -> AmbiguousAxesError:
    """Return a question with only the answers that name no other axes.

    Parameters
    ----------
    error : AmbiguousAxesError
        About one of several files that are read as one image.
    axes : str
        The axes that one of these files may have.
    """
    fit = [choice for choice in error.choices if not set(choice.axes) & set(DIMS) - set(axes)]
    if fit:
        return error.advising(error.advice, fit)
    alone = f", for example axes={error.choices[0].axes!r}" if error.choices else ""
    return error.advising(f"read each file on its own and say what its axes are{alone}", [])


def _whole(
    stored: StoredImage, letters: list[str], free: list[int], left: list[str]
) -> Iterator[AxesChoice]:
    for names in permutations(left, len(free)):
        told = list(letters)
        parts = []
        for axis, name in zip(free, names, strict=True):
            told[axis] = name
            parts.append(f"{stored.shape[axis]} {NAMES[name]}")
        words = filter(None, [" of ".join(parts), _colours(stored)])
        yield AxesChoice("".join(told), "; ".join(words))


def _colours(stored: StoredImage) -> str:
    """Say what becomes of the samples of a pixel, or of the numbers of indexed colours."""
    if SAMPLES in stored.axes:
        count = stored.shape[stored.axes.index(SAMPLES)]
        samples = "red, green and blue" if count == COLOURS else f"{count} samples a pixel"
        return f"{samples} are channels"
    return "the stored numbers are intensities" if stored.colour else ""


def _split(
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

    Raises
    ------
    AmbiguousAxesError
        The axes cannot be known, or the image is a colour picture; lists the possible answers.
    ImageReadError
        What the user says does not fit.
    """
    if axes is not None:
        return _as_told(stored, axes.lower(), channels)
    if stored.colour and channels is None:
        raise _ambiguous(
            stored,
            stored.colour,
            "intensities, one channel for each stain",
            "export the channels from the microscope's software in their own bit depth; if the "
            "values really are intensities, say so",
        )
    letters = list(stored.axes)
    _name_samples(stored, letters)
    _name_pages(stored, letters, channels)
    return _checked(stored, "".join(letters), stored.shape)


def _as_told(
    stored: StoredImage, axes: str, channels: Sequence[str] | None
) -> tuple[str, tuple[int, ...]]:
    if len(axes) == len(stored.shape):
        return _checked(stored, axes, stored.shape)
    pages = stored.axes.find(UNNAMED)
    if len(axes) == len(stored.shape) + 1 and pages >= 0 and channels and "c" in axes:
        split = axes[pages : pages + 2]
        count, rest = stored.shape[pages], len(channels)
        if "c" in split and count % rest == 0:
            sizes = tuple(rest if letter == "c" else count // rest for letter in split)
            return _checked(stored, axes, stored.shape[:pages] + sizes + stored.shape[pages + 1 :])
    raise ImageReadError(
        stored.path,
        f"{_words(stored)}, which the axes {axes!r} do not fit",
        f"{len(stored.shape)} letters of {''.join(DIMS)}, slowest axis first",
        "to split pages into channels and another axis, name the channels too",
    )


def _name_samples(stored: StoredImage, letters: list[str]) -> None:
    """Take the samples of a pixel as channels, unless the file has channels besides."""
    if SAMPLES not in letters:
        return
    if "c" in letters and stored.shape[letters.index("c")] > 1:
        raise _unnamed(stored, "both channels and several samples a pixel")
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
    raise _unnamed(stored, f"{count} pages without a word whether they are channels, z or time")


def _unnamed(stored: StoredImage, found: str) -> AmbiguousAxesError:
    expected = "axes that the file names"
    return _ambiguous(stored, found, expected, "say what they are, slowest first")


def _ambiguous(stored: StoredImage, found: str, expected: str, advice: str) -> AmbiguousAxesError:
    choices = axes_choices(stored)
    example = f", for example axes={choices[0].axes!r}" if choices else ""
    return AmbiguousAxesError(
        stored.path,
        f"{found} ({_words(stored)})",
        expected,
        advice + example,
        stored_axes=stored.axes,
        shape=stored.shape,
        choices=choices,
    )


def _checked(stored: StoredImage, axes: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
    known = all(axis in DIMS or size == 1 for axis, size in zip(axes, shape, strict=True))
    named = [axis for axis in axes if axis in DIMS]
    if not known or not {"y", "x"} <= set(axes) or len(set(named)) != len(named):
        raise ImageReadError(
            stored.path,
            f"axes {axes!r} ({_words(stored)})",
            f"letters of {''.join(DIMS)}, each at most once, y and x among them",
        )
    if math.prod(shape) == 0:
        raise ImageReadError(stored.path, f"an image without pixels {shape}", "at least one pixel")
    return axes, shape


def _words(stored: StoredImage) -> str:
    """Return size and type of what is stored: "plain TIFF, 34 x 88 x 89, uint16"."""
    return f"{stored.format}, {' x '.join(map(str, stored.shape))}, {stored.dtype}"
