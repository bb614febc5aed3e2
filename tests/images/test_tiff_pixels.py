from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import tifffile

from napari_why.core.errors import ImageReadError
from napari_why.images import read, tiff

STACK = np.random.default_rng(0).integers(0, 60000, (4, 2, 20, 21)).astype("uint16")


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_large_images_are_read_plane_by_plane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, byteorder, compression
) -> None:
    path = tmp_path / "large.ome.tif"
    options = {"byteorder": byteorder, "compression": compression, "bigtiff": True}
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZCYX"}, **options)
    monkeypatch.setattr(tiff, "LAZY_BYTES", 100)
    image = read(path)
    assert isinstance(image.data, da.Array)
    assert image.data.chunksize[-2:] == (20, 21)
    assert image.dtype.isnative
    np.testing.assert_array_equal(image, STACK.transpose(1, 0, 2, 3))


def test_a_file_that_is_damaged_later_says_so_when_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.ome.tif"
    tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZCYX"}, compression="zlib")
    monkeypatch.setattr(tiff, "LAZY_BYTES", 100)
    image = read(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ImageReadError, match="do not decode"):
        image.compute()


def test_float_stacks_are_checked_for_nan_without_loading_them_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "float.ome.tif"
    pixels = STACK.astype("float32")
    pixels[3, 1, 2, 3] = np.nan
    tifffile.imwrite(path, pixels, ome=True, metadata={"axes": "ZCYX"})
    monkeypatch.setattr(tiff, "LAZY_BYTES", 100)
    with pytest.raises(ImageReadError, match=r"first at \(3, 1, 2, 3\)"):
        read(path)
