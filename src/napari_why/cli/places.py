"""Where results go: refused before the work begins, not after it."""

from pathlib import Path

from napari_why.core.errors import WhyError

IMAGE_ENDINGS = (".ome.tif", ".ome.tiff", ".tif", ".tiff", ".ome.zarr", ".zarr")


def check_place(path: Path, *, overwrite: bool, endings: tuple[str, ...] = ()) -> None:
    """Check that a result can be written there.

    Raises
    ------
    WhyError
        Something is there already and must not be overwritten, the folder around it is missing,
        or the name has another ending.
    """
    if endings and not path.name.lower().endswith(endings):
        raise WhyError(f"{path}: expected a name that ends in {' or '.join(endings)}")
    if path.exists() and not overwrite:
        raise WhyError(f"{path}: found something there; choose another name or add --overwrite")
    if not path.absolute().parent.is_dir():
        raise WhyError(f"{path.parent}: found no such folder to write into; make it first")
