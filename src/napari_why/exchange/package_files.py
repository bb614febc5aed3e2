"""Files of a package of somebody else, in a folder or a zip file: none outside of it, no links, no more than asked for."""

import zlib
from dataclasses import dataclass
from lzma import LZMAError
from pathlib import Path, PurePosixPath
from typing import Protocol
from zipfile import BadZipFile, ZipFile

from napari_why.core.errors import ModelFileError
from napari_why.core.foreign_files import read_regular


class MissingFileError(ModelFileError):
    """A package has no file of a name."""


class Files(Protocol):
    """Files of a package by their names in it."""

    @property
    def where(self) -> str:
        """The package, for messages."""

    def read(self, name: str, largest: int) -> bytes:
        """Return a file's content.

        Parameters
        ----------
        name : str
            Path within the package, with slashes.
        largest : int
            Bytes that it may have.

        Returns
        -------
        bytes

        Raises
        ------
        MissingFileError
            It is not in the package.
        ModelFileError
            It lies outside of the package, is larger, or cannot be read.
        """


@dataclass(frozen=True)
class FolderFiles:
    """Of a folder."""

    folder: Path

    @property
    def where(self) -> str:
        """The folder, for messages."""
        return str(self.folder)

    def read(self, name: str, largest: int) -> bytes:
        """Return a file's content; links are not followed.

        Parameters
        ----------
        name, largest
            As of :meth:`Files.read`.

        Returns
        -------
        bytes

        Raises
        ------
        MissingFileError
            It is not in the folder.
        ModelFileError
            It lies outside of the folder, it or a folder on the way to it is a link, it is larger, or
            cannot be read.
        """
        place = self.folder
        for part in inner_path(name, self.where).parts:
            place /= part
            if place.is_symlink():
                raise ModelFileError(
                    f"{place}: found a link; expected a file in the package; copy the folder with its "
                    "files"
                )
        if not place.resolve().is_relative_to(self.folder.resolve()):  # junctions are no links
            raise ModelFileError(
                f"{place}: found a place outside of the package; expected one in it"
            )
        try:
            return read_regular(place, largest)
        except FileNotFoundError as error:
            raise MissingFileError(f"{self.where}: found no file {name}; expected it") from error
        except OSError as error:
            raise ModelFileError(
                f"{place}: found no readable file ({error.strerror}); expected one"
            ) from error


@dataclass(frozen=True)
class ZippedFiles:
    """Of a zip file, which is read and not unpacked."""

    path: Path

    @property
    def where(self) -> str:
        """The zip file, for messages."""
        return str(self.path)

    def read(self, name: str, largest: int) -> bytes:
        """Return a member's content; no more is unpacked than ``largest``.

        Parameters
        ----------
        name, largest
            As of :meth:`Files.read`.

        Returns
        -------
        bytes

        Raises
        ------
        MissingFileError
            It is not in the zip file.
        ModelFileError
            It leads out of the zip file or is larger, or is damaged.
        """
        inner_path(name, self.where)
        try:
            with ZipFile(self.path) as archive, archive.open(name) as member:
                content = member.read(largest + 1)
        except KeyError as error:
            raise MissingFileError(
                f"{self.where}: found no file {name} in it; expected it"
            ) from error
        except (
            BadZipFile,
            OSError,
            EOFError,
            RuntimeError,
            NotImplementedError,
            zlib.error,
            LZMAError,
        ) as error:
            raise ModelFileError(
                f"{self.where}: found no readable zip file ({name}: {error}); get it anew"
            ) from error
        if len(content) > largest:
            raise ModelFileError(
                f"{self.where}: found more than {largest} bytes in {name}; expected at most that"
            )
        return content


def inner_path(name: str, where: str) -> PurePosixPath:
    """Return the path of a file within a package.

    Parameters
    ----------
    name : str
        As the package's description has it.
    where : str
        Names the package in messages.

    Returns
    -------
    PurePosixPath
        Relative, without steps upwards.

    Raises
    ------
    ModelFileError
        It is an address, or leads out of the package.

    Examples
    --------
    >>> inner_path("weights/model.onnx", "package.zip").name
    'model.onnx'
    >>> inner_path("../../etc/passwd", "package.zip")
    Traceback (most recent call last):
    ...
    napari_why.core.errors.ModelFileError: package.zip: found the file ../../etc/passwd; expected one within the package
    """
    if "://" in name:
        raise ModelFileError(
            f"{where}: found the address {name}; expected a file in the package, since nothing is "
            "downloaded: get the whole package first (bioimageio package)"
        )
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or not path.parts:
        raise ModelFileError(f"{where}: found the file {name}; expected one within the package")
    return path
