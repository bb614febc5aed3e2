"""The channels of one image are decoded into one array, whatever the files are like."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import ImageReadError
from napari_why.images import read
from napari_why.images.decoded_image import ChannelStack

PLANES = np.random.default_rng(0).integers(0, 60000, (3, 24, 36)).astype("uint16")


def write_channels(folder: Path, **options) -> list[Path]:
    paths = [folder / f"plate_A01_s1_w{number}.TIF" for number in (1, 2, 3)]
    for path, plane in zip(paths, PLANES, strict=True):
        tifffile.imwrite(path, plane, metadata=None, photometric="minisblack", **options)
    return paths


@pytest.mark.parametrize(
    ("byteorder", "compression", "tile"), list(product("<>", (None, "zlib"), (None, (16, 16))))
)
def test_every_kind_of_file_lands_in_its_channel(tmp_path, byteorder, compression, tile) -> None:
    paths = write_channels(tmp_path, byteorder=byteorder, compression=compression, tile=tile)
    for path in paths:  # whichever file was named, it is the same image
        image = read(path)
        np.testing.assert_array_equal(image, PLANES)
        assert image.dtype.isnative
        assert image.data.flags.c_contiguous
    np.testing.assert_array_equal(read(paths[::-1]), PLANES[::-1])


def test_channels_lie_in_one_array_and_are_not_copied(tmp_path) -> None:
    stack = ChannelStack(2)
    first, second = (stack.place(index)((4, 5), np.dtype("uint16")) for index in (0, 1))
    first[:], second[:] = 1, 2
    joined = stack.join([first[None], second[None]], axis=0)
    assert np.shares_memory(joined, first)
    np.testing.assert_array_equal(joined, [np.full((4, 5), 1), np.full((4, 5), 2)])
    turned = stack.join([second[None], first[None]], axis=0)
    np.testing.assert_array_equal(turned, [np.full((4, 5), 2), np.full((4, 5), 1)])


def test_there_is_no_room_for_another_size_or_type_or_a_large_image() -> None:
    stack = ChannelStack(2)
    assert stack.place(0)((4, 5), np.dtype("uint16")) is not None
    assert stack.place(1)((4, 6), np.dtype("uint16")) is None
    assert stack.place(1)((4, 5), np.dtype("uint8")) is None
    assert ChannelStack(2).place(0)((50_000, 50_000), np.dtype("uint16")) is None


def test_files_of_another_size_or_type_are_refused(tmp_path) -> None:
    paths = write_channels(tmp_path)
    for wrong in (PLANES[0, :-1], PLANES[0].astype("uint8")):
        tifffile.imwrite(paths[1], wrong, metadata=None, photometric="minisblack")
        with pytest.raises(ImageReadError, match=paths[1].name):
            read(paths[0])
