"""An image that is read correctly, in memory, as the origin of mutants."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from napari_why.images import read


@dataclass(frozen=True)
class Specimen:
    """One file or OME-Zarr folder.

    Parameters
    ----------
    name : str
        What to call it; also the name of the file or folder that is read.
    family : str
        Instrument or format it stands for.
    files : mapping of str to bytes
        Content by path below the folder; a single file has the path "".
    axes : str, optional
        What the user has to say to read it.
    """

    name: str
    family: str
    files: Mapping[str, bytes]
    axes: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))

    @property
    def is_tiff(self) -> bool:
        """Whether it is one file."""
        return set(self.files) == {""}

    def write(self, folder: Path) -> Path:
        """Write it into a folder; return the path to read."""
        place = folder / Path(self.name).name
        for name, content in self.files.items():
            file = place / name if name else place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return place

    def pixels(self, folder: Path) -> xr.DataArray:
        """Read the unchanged specimen."""
        return read([self.write(folder)], axes=self.axes)


def load(path: Path, name: str, family: str, axes: str | None = None) -> Specimen:
    """Take a file or folder as a specimen."""
    if path.is_file():
        return Specimen(name, family, {"": path.read_bytes()}, axes)
    files = {
        file.relative_to(path).as_posix(): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file()
    }
    return Specimen(name, family, files, axes)
