"""An image is read again from what its attributes keep, whatever it was read from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import xarray as xr

from napari_why.images import how_read, plane, read, read_again

PLANES = np.random.default_rng(0).integers(0, 60000, (6, 20, 30)).astype("uint16")


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")
    return path


def channels(folder: Path, *, count: int = 2) -> list[Path]:
    names = [f"plate_A01_s1_w{number}.TIF" for number in range(1, count + 1)]
    return [write(folder / name, PLANES[index]) for index, name in enumerate(names)]


def z_stack(folder: Path) -> Path:
    for step in (1, 2, 3):
        write(folder / f"ZStep_{step}" / "plate_A01_s1_w1.TIF", PLANES[step])
    return folder


WAYS: dict[str, Callable[[Path], xr.DataArray]] = {
    "one file": lambda folder: read(write(folder / "field.tif", PLANES[0])),
    "a file with its siblings": lambda folder: read(channels(folder)[0]),
    "one file without its siblings": lambda folder: read(channels(folder)[:1]),
    "files in another order": lambda folder: read(channels(folder)[::-1]),
    "files from a generator": lambda folder: read(path for path in channels(folder)),
    "a folder": lambda folder: read(channels(folder / "field")[0].parent),
    "a folder with names": lambda folder: read(
        channels(folder / "field")[0].parent, channels=["DAPI", "TMRM"]
    ),
    "a folder of z planes": lambda folder: read(z_stack(folder / "stack")),
    "a pattern": lambda folder: read(
        write(folder / "own" / "A1-red.tif", PLANES[0]).parent,
        pattern=r"(?P<well>\w\d+)-(?P<channel>red|green)",
    ),
    "pages that were named": lambda folder: read(
        write(folder / "pages.tif", PLANES), axes="zcyx", channels=["DAPI", "TMRM"]
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_same_image(tmp_path: Path, way: str) -> None:
    image = WAYS[way](tmp_path)
    again = read_again(image.attrs["source"], image.attrs.get("read_as"))
    assert again.identical(image)


def test_a_plane_is_remembered_where_there_were_several(tmp_path: Path) -> None:
    stack = read(write(tmp_path / "pages.tif", PLANES), axes="zyx")
    chosen = plane(stack, z=4)
    assert how_read(chosen) == {"read_as": {"axes": "zyx"}, "plane": {"z": 4}}
    assert how_read(plane(read(write(tmp_path / "field.tif", PLANES[0])))) == {
        "read_as": None,
        "plane": None,
    }
