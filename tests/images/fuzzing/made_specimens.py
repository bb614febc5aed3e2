"""Small specimens made here, so that the test means something without the real files."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr
from numcodecs import LZ4, Blosc, GZip, Zlib, Zstd
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from fuzzing.specimen import Specimen, load
from napari_why.images import make_image, read, write

_Y, _X = np.mgrid[:44, :38]
# Smooth with some noise: it compresses, no two planes are alike, and no row or column repeats.
PIXELS = np.stack(
    [
        900 + 17 * _Y + 5 * _X * (plane + 1) + np.random.default_rng(plane).integers(0, 9, _Y.shape)
        for plane in range(6)
    ]
).astype("uint16")
TWO = PIXELS[:2]
STACK = PIXELS.reshape(3, 2, 44, 38)
PLAIN: dict[str, Any] = {"metadata": None, "photometric": "minisblack"}
STRIPS: dict[str, Any] = PLAIN | {"rowsperstrip": 10}

TIFFS: dict[str, tuple[Any, dict[str, Any]]] = {
    "strips.tif": (TWO, STRIPS),
    "one_strip_big_endian.tif": (TWO[0], PLAIN | {"byteorder": ">"}),
    "big_tiles.tif": (TWO, PLAIN | {"bigtiff": True, "tile": (16, 16), "compression": "zlib"}),
    "tiles.tif": (TWO, PLAIN | {"tile": (16, 32)}),
    "lzw_predictor.tif": (TWO, STRIPS | {"compression": "lzw", "predictor": True}),
    "lzw_one_strip.tif": (TWO[0], PLAIN | {"compression": "lzw"}),
    "zstd.tif": (TWO, STRIPS | {"compression": "zstd"}),
    "packbits.tif": (TWO // 100, STRIPS | {"compression": "packbits", "byteorder": ">"}),
    "deflate_8bit.tif": ((TWO[0] // 9).astype("uint8"), STRIPS | {"compression": "zlib"}),
    "float.tif": (TWO.astype("float32") / 7, STRIPS | {"compression": "zlib", "predictor": True}),
    "interleaved.tif": (TWO.transpose(1, 2, 0), STRIPS | {"planarconfig": "contig"}),
    "planar.tif": (TWO, STRIPS | {"planarconfig": "separate"}),
    "shaped.tif": (TWO, {"photometric": "minisblack", "metadata": {"axes": "CYX"}}),
    "shaped_lzw.tif": (STACK, {"compression": "lzw", "metadata": {"axes": "ZCYX"}}),
    "hyperstack.tif": (STACK, {"imagej": True, "metadata": {"axes": "ZCYX"}}),
    "two_channels.tif": (TWO, {"imagej": True, "metadata": {"axes": "CYX"}, "byteorder": "<"}),
    "stack.ome.tif": (STACK, {"ome": True, "metadata": {"axes": "ZCYX"}, "compression": "zlib"}),
    "big.ome.tif": (TWO, {"ome": True, "metadata": {"axes": "CYX"}, "bigtiff": True}),
}  # fmt: skip

ZARRS: dict[str, dict[str, Any]] = {
    "blosc_v2": {"zarr_format": 2, "compressors": Blosc(cname="lz4", shuffle=1)},
    "blosc_zstd_v2": {"zarr_format": 2, "compressors": Blosc(cname="zstd", shuffle=2)},
    "zlib_v2": {"zarr_format": 2, "compressors": Zlib()},
    "gzip_v2": {"zarr_format": 2, "compressors": GZip()},
    "zstd_v2": {"zarr_format": 2, "compressors": Zstd(), "dtype": ">u2"},
    "lz4_v2": {"zarr_format": 2, "compressors": LZ4()},
    "bytes_v2": {"zarr_format": 2, "compressors": None},
    "blosc_v3": {"zarr_format": 3, "compressors": BloscCodec(cname="lz4")},
    "zstd_v3": {"zarr_format": 3, "compressors": ZstdCodec()},
    "checked_zstd_v3": {"zarr_format": 3, "compressors": ZstdCodec(checksum=True)},
    "gzip_v3": {"zarr_format": 3, "compressors": GzipCodec()},
    "bytes_v3": {"zarr_format": 3, "compressors": None},
    "shards_v3": {"zarr_format": 3, "compressors": ZstdCodec(), "shards": (1, 32, 32)},
    "blosc_shards_v3": {"zarr_format": 3, "compressors": BloscCodec(), "shards": (2, 32, 32)},
}


@cache
def made_specimens() -> tuple[Specimen, ...]:
    """Make them all; each is read back and compared with the pixels it was made of."""
    with tempfile.TemporaryDirectory() as place:
        return (*_tiffs(Path(place)), *_zarrs(Path(place)), *_of_this_package(Path(place)))


def _tiffs(folder: Path) -> Iterator[Specimen]:
    for name, (pixels, options) in TIFFS.items():
        tifffile.imwrite(folder / name, pixels, **options)
        image = read([folder / name])
        samples = name == "interleaved.tif"
        expected = pixels.transpose(2, 0, 1) if samples else pixels
        expected = expected.swapaxes(0, 1) if expected.ndim == 4 else expected
        np.testing.assert_array_equal(image.values.reshape(expected.shape), expected)
        yield load(folder / name, name, "made TIFF")


def _zarrs(folder: Path) -> Iterator[Specimen]:
    for name, options in ZARRS.items():
        path = folder / f"{name}.ome.zarr"
        _write_zarr(path, **options)
        np.testing.assert_array_equal(read(path), TWO)
        yield load(path, path.name, "made OME-Zarr")


def _write_zarr(path: Path, zarr_format: int, **options: Any) -> None:
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    datasets = []
    for level, step in enumerate((1, 2)):
        pixels = TWO[:, ::step, ::step]
        arguments = {"chunks": (1, 16, 16), "dtype": "uint16", "shape": pixels.shape} | options
        group.create_array(str(level), **arguments)[...] = pixels
        scale = [{"type": "scale", "scale": [1.0, 0.5 * step, 0.5 * step]}]
        datasets.append({"path": str(level), "coordinateTransformations": scale})
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    version = "0.4" if zarr_format == 2 else "0.5"
    image = {"version": version, "axes": axes, "datasets": datasets}
    labels = {"channels": [{"label": "DAPI"}, {"label": "TMRM"}]}
    metadata = {"multiscales": [image], "omero": labels}
    group.attrs.update(metadata if zarr_format == 2 else {"ome": metadata | {"version": version}})


def _of_this_package(folder: Path) -> Iterator[Specimen]:
    image = make_image(STACK, "zcyx", ["DAPI", "TMRM"])
    for name, family in (("ours.ome.tif", "made TIFF"), ("ours.ome.zarr", "made OME-Zarr")):
        write(image, folder / name)
        np.testing.assert_array_equal(read(folder / name), image)
        yield load(folder / name, name, family)
