"""Mutants that are whole files of another image: what they say is allowed, and nobody can know.

The class is kept small. Each rule compares the pixels, and names the structures that it holds for
where pixels cannot tell, so that no other wrong picture passes.
"""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import imagecodecs
import numpy as np
import xarray as xr
from numpy.typing import NDArray

from fuzzing.mutant import Mutant
from fuzzing.tiff_layout import tiff_layout

Rule = Callable[[Mutant, xr.DataArray, xr.DataArray, tuple[str, ...]], bool]
OFFSETS = ("StripOffsets", "TileOffsets")
TILE_WIDTH = 322
ORDERS = ("description", "axes", "order")


def another_valid_file(
    mutant: Mutant, image: xr.DataArray, found: xr.DataArray, notes: tuple[str, ...]
) -> str:
    """Return the reason why other pixels are right for a mutant; empty where there is none.

    Parameters
    ----------
    mutant : Mutant
        What was changed.
    image : DataArray
        The pixels of its origin.
    found : DataArray
        The pixels that were read, without names.
    notes : tuple of str
        What the reader says about them.
    """
    for reason, rule in RULES.items():
        if rule(mutant, image, found, notes):
            return reason
    return ""


def _other_type(mutant: Mutant, image: xr.DataArray, found: xr.DataArray, notes: Any) -> bool:
    """The same bytes taken as numbers of another kind or byte order."""
    if image.shape != found.shape or image.dtype.itemsize != found.dtype.itemsize:
        return False
    bytes_of = found.values.tobytes()
    return bytes_of in (image.values.tobytes(), image.values.byteswap().tobytes())


def _other_predictor(mutant: Mutant, image: xr.DataArray, found: xr.DataArray, notes: Any) -> bool:
    """Planes with differences along x summed up, or not, where only a tag tells which."""
    if "Predictor" not in mutant.target or image.shape != found.shape:
        return False
    pairs = zip(_planes(image), _planes(found), strict=True)
    return all(any(np.array_equal(b, like) for like in _predicted(a)) for a, b in pairs)


def _predicted(plane: NDArray[Any]) -> list[NDArray[Any]]:
    plane = np.ascontiguousarray(plane)
    like = [
        plane,
        imagecodecs.delta_encode(plane, axis=-1),
        imagecodecs.delta_decode(plane, axis=-1),
    ]
    if plane.dtype.kind == "f":
        coded = imagecodecs.floatpred_encode(plane, axis=-1)
        like += [coded.view(plane.dtype).reshape(plane.shape)]
    return like


def _same_grid(mutant: Mutant, image: xr.DataArray, found: xr.DataArray, notes: Any) -> bool:
    """A few rows or columns more or fewer, in the padding of the same tiles or chunks."""
    if not _has_padding(mutant) or image.dims != found.dims:
        return False
    if found.sizes["c"] < image.sizes["c"]:
        if not _says(notes, "left out"):
            return False
        image = image[: found.sizes["c"]]
    common = tuple(slice(0, min(pair)) for pair in zip(image.shape, found.shape, strict=True))
    return np.array_equal(image.values[common], found.values[common])


def _has_padding(mutant: Mutant) -> bool:
    """Whether the specimen has tiles, or the shape of a Zarr array was changed."""
    if mutant.specimen.is_tiff:
        layout = tiff_layout(mutant.specimen.files[""])
        return any(field.tag == TILE_WIDTH for field in layout.fields)
    return "shape" in mutant.target


def _left_out(mutant: Mutant, image: xr.DataArray, found: xr.DataArray, notes: Any) -> bool:
    """Pages that say they are of another size or type; the notes tell that they are left out."""
    if not _says(notes, "left out") or image.shape[-2:] != found.shape[-2:]:
        return False
    planes = {plane.tobytes() for plane in _planes(image)}
    return all(plane.tobytes() in planes for plane in _planes(found))


def _absent_chunks(mutant: Mutant, image: xr.DataArray, found: xr.DataArray, notes: Any) -> bool:
    """Chunks that are not there, which Zarr allows; the notes tell with what they are filled."""
    filled = re.search(r"chunks are absent; their pixels are read as (\d+)", " ".join(notes))
    if not filled or image.shape != found.shape:
        return False
    return bool(((found.values == image.values) | (found.values == int(filled[1]))).all())


def _moved(mutant: Mutant, image: xr.DataArray, found: xr.DataArray, notes: Any) -> bool:
    """A strip or tile at bytes of the file that belong to nothing else."""
    if not any(name in mutant.target for name in OFFSETS):
        return False
    layout = tiff_layout(mutant.files[""] or b"")
    spans = sorted([*layout.segments, *((a, b) for a, b in layout.structures)])
    return all(a[1] <= b[0] for a, b in pairwise(spans))


def _other_order(mutant: Mutant, image: xr.DataArray, found: xr.DataArray, notes: Any) -> bool:
    """The same planes along other axes, or in another order, or with y and x exchanged."""
    if not any(name in mutant.target for name in ORDERS):
        return False
    if image.ndim == found.ndim and np.array_equal(image.values.swapaxes(-1, -2), found.values):
        return True
    return sorted(p.tobytes() for p in _planes(image)) == sorted(
        p.tobytes() for p in _planes(found)
    )


def _planes(image: xr.DataArray) -> NDArray[Any]:
    return image.values.reshape(-1, *image.shape[-2:])


def _says(notes: tuple[str, ...], words: str) -> bool:
    return words in " ".join(notes)


RULES: dict[str, Rule] = {
    "numbers of another kind or byte order": _other_type,
    "with or without a predictor": _other_predictor,
    "another size in the padding of the same tiles or chunks": _same_grid,
    "pages left out, which the notes tell": _left_out,
    "chunks absent, which the notes tell": _absent_chunks,
    "strips moved to bytes that belong to nothing": _moved,
    "planes in another order": _other_order,
}
