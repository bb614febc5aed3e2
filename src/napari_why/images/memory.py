"""How much memory there is, asked before pixels are decoded."""

from pathlib import Path

import psutil

from napari_why.errors import ImageReadError

GIBIBYTE = 2**30


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
    free = psutil.virtual_memory().available
    if needed > free:
        raise ImageReadError(
            path,
            f"{what} that takes {needed / GIBIBYTE:.3g} GiB once decoded",
            f"at most the {free / GIBIBYTE:.3g} GiB of memory that are free",
            "if the size is right, crop or downscale the image; if not, the file is damaged",
        )
