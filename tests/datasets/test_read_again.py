"""What was opened is what is used: files that are read anew and are others by then are refused."""

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import ImageReadError
from napari_why.datasets import Dataset
from napari_why.datasets.image_store import ImageStore
from napari_why.images import make_image, write

CHANNELS = ("DAPI", "TMRM")


def image_of(
    seed: int, channels: tuple[str, ...] = CHANNELS, size: int = 12, dtype: str = "uint16"
):
    pixels = np.random.default_rng(seed).integers(0, 250, (len(channels), size, size))
    return make_image(pixels.astype(dtype), "cyx", channels)


@pytest.fixture(params=["a.ome.tif", "a.ome.zarr"])
def path(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return write(image_of(0), tmp_path / request.param)


@pytest.mark.parametrize(
    "other",
    [
        image_of(1),
        image_of(0, size=16),
        image_of(0, channels=("DAPI", "TMRM", "GFP")),
        image_of(0, channels=("TMRM", "DAPI")),
        image_of(0, dtype="uint8"),
    ],
    ids=["pixels", "size", "three channels", "names", "type"],
)
def test_another_image_under_the_same_name_is_refused(path: Path, other) -> None:
    store = ImageStore([(path,)], kept_bytes=0)
    store.image(0)
    write(other, path, overwrite=True)
    with pytest.raises(ImageReadError, match="changed since it was opened") as refused:
        store.image(0)
    assert path.name in str(refused.value)


def test_it_is_found_where_size_and_time_of_writing_are_as_before(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    pixels = image_of(0).values
    tifffile.imwrite(path, pixels, metadata={"axes": "CYX"})
    store = ImageStore([(path,)], channels=CHANNELS, kept_bytes=0)
    store.image(0)
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[content.index(pixels[0].tobytes()[:16])] += 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    with pytest.raises(ImageReadError, match="changed since it was opened"):
        store.image(0)


def test_the_same_pixels_copied_back_are_the_same_image(path: Path) -> None:
    store = ImageStore([(path,)], kept_bytes=0)
    first = store.image(0)
    write(image_of(0), path, overwrite=True)
    assert np.array_equal(store.image(0), first)


def test_one_of_the_files_of_an_image_counts(tmp_path: Path) -> None:
    paths = tuple(
        write(image_of(seed, (name,)), tmp_path / f"a_{name}.ome.tif")
        for seed, name in enumerate(CHANNELS)
    )
    store = ImageStore([paths], channels=CHANNELS, kept_bytes=0)
    store.image(0)
    write(image_of(7, CHANNELS[1:]), paths[1], overwrite=True)
    with pytest.raises(ImageReadError, match="changed since it was opened"):
        store.image(0)


def test_what_identifies_the_data_set_is_that_of_the_opening(tmp_path: Path, monkeypatch) -> None:
    """Also where the files are gone: no file is read for it again."""
    for label in ("a", "b"):
        for seed in range(2):
            (tmp_path / label).mkdir(exist_ok=True)
            write(image_of(seed + 10 * (label == "b")), tmp_path / label / f"{seed}.ome.tif")
    kept = Dataset.open(tmp_path).fingerprint
    monkeypatch.setattr(ImageStore, "_keep", lambda *_: None)
    dataset = Dataset.open(tmp_path)
    for path in dataset.table["path"]:
        Path(path).unlink()
    assert dataset.fingerprint == kept
