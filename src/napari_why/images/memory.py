"""How much memory there is, asked before pixels are decoded."""

from pathlib import Path

import psutil

from napari_why.errors import ImageReadError

GIBIBYTE = 2**30
# What every machine has; asking for the free memory takes as long as reading a small image.
ALWAYS_FREE = 32 * 2**20
LAZY_BYTES = 256 * 2**20
"""Images of more bytes once decoded are read plane by plane, when they are needed."""


def check_fits_memory(path: Path, what: str, needed: int) -> None:
    """Refuse to decode what the memory that is free now cannot hold.

    Parameters
    ----------
    path : Path
        The file.
    what : str
        What is to be decoded ("an image of 2 x 100000 x 100000 pixels").
    needed : int
        Bytes once decoded.

    Raises
    ------
    ImageReadError
        Tells both numbers.
    """
    if needed <= ALWAYS_FREE:
        return
    free = psutil.virtual_memory().available
    if needed > free:
        raise ImageReadError(
            path,
            f"{what} that takes {needed / GIBIBYTE:.3g} GiB once decoded",
            f"at most the {free / GIBIBYTE:.3g} GiB of memory that are free",
            "if the size is right, crop or downscale the image; if not, the file is damaged",
        )
