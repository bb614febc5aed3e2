"""The answers to the question what the unnamed axes of a file are."""

from collections.abc import Iterator
from itertools import permutations

from napari_why.errors import AmbiguousAxesError, AxesChoice
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
