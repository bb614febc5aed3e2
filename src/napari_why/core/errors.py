"""The errors a user can meet. Each says what was found, what was expected and what to do."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from napari_why.core.folders import show


class WhyError(Exception):
    """Base of every error this package raises on purpose.

    Parameters
    ----------
    *words
        The message; of names in it, bytes that are no UTF-8 are replaced, so that it can be written.
    """

    def __init__(self, *words: object) -> None:
        super().__init__(*(show(word) if isinstance(word, str) else word for word in words))


class OutOfMemoryError(WhyError):
    """The memory of the processor or of a GPU did not suffice, also for less at a time."""


class ImageReadError(WhyError):
    """A file that cannot be read as an image, or not without guessing.

    Parameters
    ----------
    path : str or Path
        The file or folder.
    found : str
        What is there.
    expected : str
        What would have been understood.
    advice : str, optional
        What the user can do.

    Examples
    --------
    >>> raise ImageReadError("a.tif", "a text file", "a TIFF file", "export it as TIFF")
    Traceback (most recent call last):
    ...
    napari_why.core.errors.ImageReadError: a.tif: found a text file; expected a TIFF file; export it as TIFF
    """

    def __init__(self, path: str | Path, found: str, expected: str, advice: str = "") -> None:
        self.path = Path(path)
        self.found, self.expected, self.advice = found, expected, advice
        super().__init__(
            "; ".join(filter(None, [f"{path}: found {found}", f"expected {expected}", advice]))
        )


@dataclass(frozen=True)
class AxesChoice:
    """One answer to the question what the axes of a file are.

    Parameters
    ----------
    axes : str
        A letter of ``tczyx`` for each axis, slowest first.
    words : str
        What that means ("17 z planes of 2 channels").
    channels : tuple of str
        Names of the channels into which the pages are split; empty where nothing is split.
    """

    axes: str
    words: str
    channels: tuple[str, ...] = ()

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What to give to :func:`napari_why.images.read` beside the path."""
        return {"axes": self.axes} | ({"channels": self.channels} if self.channels else {})


class AmbiguousAxesError(ImageReadError):
    """A file that can be read once somebody says what its axes are.

    Parameters
    ----------
    path, found, expected, advice
        As those of :class:`ImageReadError`.
    stored_axes : str
        Axes as stored, slowest first: ``tczyx``, "s" for the samples of a pixel, "?" where the
        file names none.
    shape : tuple of int
        Their sizes.
    choices : sequence of AxesChoice
        The answers that are possible, the usual ones first.
    """

    def __init__(
        self,
        path: str | Path,
        found: str,
        expected: str,
        advice: str,
        *,
        stored_axes: str,
        shape: Sequence[int],
        choices: Sequence[AxesChoice],
    ) -> None:
        super().__init__(path, found, expected, advice)
        self.stored_axes, self.shape = stored_axes, tuple(shape)
        self.choices = tuple(choices)

    def advising(self, advice: str, choices: Sequence[AxesChoice] | None = None) -> Self:
        """Return the same error with other advice, for where it has to be told in another way.

        Parameters
        ----------
        advice : str
            What to do, as the error's last words.
        choices : sequence of AxesChoice, optional
            The answers that are possible there; by default the same.

        Returns
        -------
        AmbiguousAxesError
        """
        return type(self)(
            self.path,
            self.found,
            self.expected,
            advice,
            stored_axes=self.stored_axes,
            shape=self.shape,
            choices=self.choices if choices is None else choices,
        )


class ImageWriteError(WhyError):
    """An image that cannot be written: the disk is full, the file exists, the type does not fit."""


class DatasetError(WhyError):
    """A folder, table or split that cannot serve as a labelled data set."""


class LeakError(DatasetError):
    """The same group (well) or the same pixels stand in two splits."""


class MismatchError(WhyError):
    """An image or data set that does not fit the classifier (channels, classes, size)."""


class ParameterError(WhyError, ValueError):
    """A parameter outside its range, of another type, or with an unknown name."""


class UnsupportedNetworkError(WhyError):
    """A method that is not defined, or not right, for this network; says why."""


class NetworkBusyError(WhyError):
    """A network that is being trained, and so can be neither asked nor explained just now."""


class InversionError(WhyError):
    """A latent whose image was not found to the wanted accuracy; says in which block."""


class CancellationError(WhyError):
    """Work that was asked to stop before there was anything to keep."""


class ModelFileError(WhyError):
    """A saved classifier that is incomplete, altered or of another version."""


class OfflineError(WhyError):
    """Weights that have to be downloaded while there is no way to do so; says the way on."""


def reason_of(error: BaseException) -> str:
    """Say in one line what went wrong, also of errors that are not this package's own.

    Examples
    --------
    >>> reason_of(MemoryError()), reason_of(KeyError("a"))
    ('the memory did not suffice', "KeyError: 'a'")
    """
    text = " ".join(str(error).split())
    # by its name, for the core does not know torch
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "the memory did not suffice"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'a file'}: {error.strerror}"
    if isinstance(error, WhyError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
