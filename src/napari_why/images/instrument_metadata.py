"""Pixel sizes in the metadata of MetaMorph, MetaXpress and Harmony.

MetaMorph's tags: tifffile's reading of the UIC tags and of the MetaSeries XML. Harmony writes an
Index.idx.xml (or Index.xml) beside the images of a measurement.
"""

import re
from pathlib import Path
from typing import Any

from tifffile import TiffFile

from napari_why.images.units import to_micrometres

HARMONY_INDEX = ("Index.idx.xml", "Index.xml", "index.xml")
# The pixel size stands with the first channel or image; an index of a plate has hundreds of MB.
HARMONY_BYTES = 2**20
_RESOLUTION = re.compile(
    rb"<ImageResolution([XY])(?:\s+Unit=\"([^\"]*)\")?\s*>\s*([0-9.eE+-]+)\s*</ImageResolution"
)


def instrument_pixel_size(path: Path, tiff: TiffFile) -> dict[str, float]:
    """Return micrometres along y and x as the instrument's software notes them; empty if not.

    Raises
    ------
    ValueError, KeyError, TypeError
        The metadata are damaged.
    """
    if tiff.is_metaseries:
        return _metaseries(dict((tiff.metaseries_metadata or {}).get("PlaneInfo") or {}))
    if tiff.is_stk:
        return _stk(dict(tiff.stk_metadata or {}))
    return harmony_pixel_size(path.parent)


def harmony_pixel_size(folder: Path) -> dict[str, float]:
    """Return the pixel size of a Harmony measurement, from the index beside its images.

    Examples
    --------
    >>> harmony_pixel_size(Path("no measurement"))
    {}
    """
    for name in HARMONY_INDEX:
        index = folder / name
        if index.is_file():
            with index.open("rb") as file:
                text = file.read(HARMONY_BYTES)
            sizes = {
                axis.decode().lower(): _positive(value, (unit or b"m").decode())
                for axis, unit, value in _RESOLUTION.findall(text)
            }
            return _both(sizes.get("y"), sizes.get("x"))
    return {}


def _metaseries(plane: dict[str, Any]) -> dict[str, float]:
    if not plane.get("spatial-calibration-state"):
        return {}
    unit = str(plane.get("spatial-calibration-units", ""))
    sizes = [to_micrometres(float(plane[f"spatial-calibration-{axis}"]), unit) for axis in "yx"]
    return _both(*sizes)


def _stk(tags: dict[str, Any]) -> dict[str, float]:
    if not tags.get("SpatialCalibration"):
        return {}
    unit = str(tags.get("CalibrationUnits", ""))
    return _both(*[to_micrometres(float(tags[f"{axis}Calibration"]), unit) for axis in "YX"])


def _positive(value: bytes, unit: str) -> float | None:
    return to_micrometres(float(value), unit)


def _both(y: float | None, x: float | None) -> dict[str, float]:
    return {"y": y, "x": x} if y is not None and x is not None else {}
