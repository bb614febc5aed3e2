"""Whether a compressed page ends where its size says.

Decoders of deflate, Zstandard and PackBits refuse to decode more than there is room for. Those of
LZW and LZMA stop without a word when the room is full, and so do all for pixels of other than whole
bytes, for which there is room enough: a page that is longer or wider than its tags say would be
cut, or its rows shifted.
"""

from pathlib import Path
from typing import Any

import tifffile

from napari_why.errors import ImageReadError
from napari_why.images.tiff_directory import COPY_AGAIN

ENDLESS = (5, 34925)
LOSSLESS = (*ENDLESS, 8, 32946, 32773, 50000)
WHOLE_BYTES = (8, 16, 32, 64)


def check_end_of_page(page: Any, path: Path) -> None:
    """Decode the last strip or tile of a page once more, with room for one more byte.

    A wrong width, type or number of rows shows in every strip; the last one is enough.

    Parameters
    ----------
    page : TiffPage or TiffFrame
        A page of an open file.
    path : Path
        The file the user named.

    Raises
    ------
    ImageReadError
        It decodes to more or fewer bytes than the page's tags say.
    """
    keyframe = page.keyframe
    checked = ENDLESS if keyframe.bitspersample in WHOLE_BYTES else LOSSLESS
    if keyframe.compression not in checked or keyframe.fillorder != 1:
        return
    wanted = _bytes_of_last(keyframe)
    with Path(page.parent.filehandle.path).open("rb") as file:
        file.seek(page.dataoffsets[-1])
        data = file.read(page.databytecounts[-1])
    found = len(tifffile.TIFF.DECOMPRESSORS[keyframe.compression](data, out=wanted + 1))
    if found != wanted:
        more = "more" if found > wanted else "fewer"
        words = f"{more} bytes in the last strip or tile of page {page.index + 1}"
        raise ImageReadError(path, words, f"{wanted}, as the image's size asks for", COPY_AGAIN)


def _bytes_of_last(keyframe: Any) -> int:
    """Return how many bytes the last strip or tile has once decoded."""
    samples = keyframe.samplesperpixel if keyframe.planarconfig == 1 else 1
    if keyframe.is_tiled:
        rows, width = keyframe.tilelength, keyframe.tilewidth
    else:
        rows = keyframe.imagelength % keyframe.rowsperstrip or keyframe.rowsperstrip
        width = keyframe.imagewidth
    return int(rows * -(-width * samples * keyframe.bitspersample // 8))
