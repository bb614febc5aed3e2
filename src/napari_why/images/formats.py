"""The registry of image formats: a line for each, asked in this order."""

from collections.abc import Callable
from dataclasses import dataclass

from napari_why.images import imagej_tiff, ome_tiff, plain_tiff
from napari_why.images.source_file import SourceFile
from napari_why.images.stored_image import StoredImage


@dataclass(frozen=True)
class Format:
    """One image format.

    Parameters
    ----------
    name : str
        As the user calls it.
    recognises : callable
        Whether a file is of this format, judged by its first bytes or its structure.
    describe : callable
        What the file holds; decodes no pixel.
    """

    name: str
    recognises: Callable[[SourceFile], bool]
    describe: Callable[[SourceFile], StoredImage]


FORMATS = (
    Format(ome_tiff.NAME, ome_tiff.recognises, ome_tiff.describe),
    Format(imagej_tiff.NAME, imagej_tiff.recognises, imagej_tiff.describe),
    Format(plain_tiff.NAME, plain_tiff.recognises, plain_tiff.describe),
)


def describe(source: SourceFile) -> StoredImage:
    """Describe what a file holds, by the first format that recognises it.

    Raises
    ------
    ImageReadError
        No format does, or the file is damaged.
    """
    with source.understanding():
        for form in FORMATS:
            if form.recognises(source):
                return form.describe(source)
    raise source.error(source.kind(), "export it from the microscope's software as OME-TIFF")
