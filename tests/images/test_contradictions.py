"""Files whose parts contradict each other: what the fuzz test found, one case for each."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from fuzzing.made_specimens import PIXELS, made_specimens

from napari_why.core.errors import ImageReadError
from napari_why.images import can_read, read

PLAIN: dict[str, Any] = {"metadata": None, "photometric": "minisblack", "rowsperstrip": 44}


def made(name: str, folder: Path) -> Path:
    return next(item for item in made_specimens() if item.name == name).write(folder)


@pytest.mark.parametrize(
    ("tag", "value", "options", "found"),
    [
        ("ImageLength", 40, {}, "a strip or tile of 3344 bytes"),
        ("BitsPerSample", 8, {}, "a strip or tile of 3344 bytes"),
        ("RowsPerStrip", 9, {}, "in 5 strips or tiles"),
        ("PlanarConfiguration", 7, {"planarconfig": "contig"}, "planar configuration 7"),
        ("Compression", 3, {}, "fax compression 3 of 16 bits"),
        ("ImageLength", 40, {"compression": "lzw"}, "more bytes in the last strip"),
        ("ImageLength", 50, {"compression": "lzw"}, "in 2 strips|fewer bytes|do not decode"),
        ("Predictor", 3, {"compression": "lzw", "predictor": True}, "predictor 3 with"),
    ],
)
def test_tags_that_contradict_the_pixels(tmp_path: Path, tag, value, options, found) -> None:
    path = tmp_path / "wrong.tif"
    pixels = np.stack([PIXELS[0]] * 2, -1) if "planarconfig" in options else PIXELS[0]
    tifffile.imwrite(path, pixels, **PLAIN | options)
    read([path])
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags[tag].overwrite(value)
    with pytest.raises(ImageReadError, match=found):
        read([path])


def test_pixels_of_half_a_byte_that_do_not_fill_the_page(tmp_path: Path) -> None:
    path = made("deflate_8bit.tif", tmp_path)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["BitsPerSample"].overwrite(4)
    with pytest.raises(ImageReadError, match=r"do not decode|more bytes"):
        read([path])


def test_strips_that_overlap(tmp_path: Path) -> None:
    path = made("strips.tif", tmp_path)
    with tifffile.TiffFile(path, mode="r+") as file:
        offsets = list(file.pages[0].dataoffsets)
        offsets[1] -= 2
        file.pages[0].tags["StripOffsets"].overwrite(offsets)
    with pytest.raises(ImageReadError, match="two structures that both take byte"):
        read([path])


def test_a_page_that_the_chain_has_lost(tmp_path: Path) -> None:
    path = made("strips.tif", tmp_path)
    data = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        end = file.pages[0].offset + 2 + 12 * len(file.pages[0].tags)
    data[end : end + 4] = bytes(4)
    path.write_bytes(data)
    with pytest.raises(ImageReadError, match="bytes that belong to none of its 1 pages"):
        read([path])


@pytest.mark.parametrize(
    ("name", "old", "new", "found"),
    [
        ("hyperstack.tif", b"images=6", b"images=4", "of 4 planes, but .* = 6"),
        ("hyperstack.tif", b"slices=3", b"slices=2", "of 6 planes, but .* = 4"),
        ("stack.ome.tif", b'Type="uint16"', b'Type="int16" ', "OME-XML of int16 pixels"),
        ("stack.ome.tif", b'SizeZ="3"', b'SizeZ="2"', "6 pages for the 4 planes"),
        ("shaped_lzw.tif", b'"shape": [3', b'"shape": [2', "where the description tells"),
    ],
)
def test_descriptions_that_contradict_the_pages(tmp_path: Path, name, old, new, found) -> None:
    path = made(name, tmp_path)
    assert old in path.read_bytes()
    path.write_bytes(path.read_bytes().replace(old, new))
    with pytest.raises(ImageReadError, match=found):
        read([path])


def exchange(datasets: list[Any]) -> None:
    datasets.reverse()


def lose(datasets: list[Any]) -> None:
    del datasets[0]


def repeat(datasets: list[Any]) -> None:
    datasets.append(datasets[0])


@pytest.mark.parametrize(
    ("change", "found"),
    [(exchange, "is larger"), (lose, "larger array '0'"), (repeat, "same array twice")],
)
def test_resolutions_that_are_not_those_of_the_folder(
    tmp_path: Path, change: Callable[[list[Any]], None], found
) -> None:
    folder = made("gzip_v2.ome.zarr", tmp_path)
    metadata = json.loads((folder / ".zattrs").read_text(encoding="utf-8"))
    change(metadata["multiscales"][0]["datasets"])
    (folder / ".zattrs").write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(ImageReadError, match=found):
        read(folder)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (0, 2)])
def test_axes_out_of_order(tmp_path: Path, first, second) -> None:
    folder = made("gzip_v2.ome.zarr", tmp_path)
    metadata = json.loads((folder / ".zattrs").read_text(encoding="utf-8"))
    axes = metadata["multiscales"][0]["axes"]
    axes[first], axes[second] = axes[second], axes[first]
    (folder / ".zattrs").write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(ImageReadError, match="time comes first"):
        read(folder)


@pytest.mark.parametrize(
    ("name", "chunk", "at"),
    [
        ("lz4_v2", "0/0.0.0", 3),
        ("zstd_v2", "0/0.0.0", 5),
        ("zstd_v3", "0/c/0/0/0", 5),
        ("blosc_v2", "0/0.0.0", 5),
        ("blosc_v3", "0/c/0/0/0", 13),
    ],
)
def test_a_header_of_a_chunk_that_tells_another_size(tmp_path: Path, name, chunk, at) -> None:
    folder = made(f"{name}.ome.zarr", tmp_path)
    data = bytearray((folder / chunk).read_bytes())
    data[at] ^= 0x40
    (folder / chunk).write_bytes(data)
    with pytest.raises(ImageReadError, match="bytes where the chunk"):
        read(folder)


def test_a_shard_whose_index_points_outside(tmp_path: Path) -> None:
    folder = made("shards_v3.ome.zarr", tmp_path)
    shard = folder / "0/c/0/0/0"
    shard.write_bytes(shard.read_bytes()[40:])
    with pytest.raises(ImageReadError, match="where its index needs"):
        read(folder)


def test_whether_a_file_can_be_read_is_answered_for_tags_of_infinity(tmp_path: Path) -> None:
    path = tmp_path / "infinite.tif"
    tifffile.imwrite(path, PIXELS[0], metadata=None)
    with tifffile.TiffFile(path, mode="r+") as file:
        file.pages[0].tags["BitsPerSample"].overwrite(float("inf"), dtype="f")
    assert can_read(path) in (True, False)
    with pytest.raises(ImageReadError):
        read([path])
