"""Small images and folders of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from napari_why.images import make_image, write

ImageMaker = Callable[..., xr.DataArray]
FolderMaker = Callable[..., Path]


def image_of(
    seed: int, channels: Sequence[str] = ("DAPI", "TMRM"), dtype: str = "uint16", size: int = 12
) -> xr.DataArray:
    pixels = np.random.default_rng(seed).integers(0, 250, (len(channels), size, size))
    return make_image(pixels.astype(dtype), "cyx", channels)


@pytest.fixture
def class_folder(tmp_path: Path) -> FolderMaker:
    """Make a folder with one sub-folder per class."""

    def make(name: str = "data", **counts: int) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number, (label, count) in enumerate(counts.items()):
            (folder / label).mkdir()
            for index in range(count):
                image = image_of(100 * number + index)
                write(image, folder / label / f"{label}_{index:02d}.ome.tif")
        return folder

    return make
