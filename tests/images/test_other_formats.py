"""A format of another package: the example of docs/extending.md, as it stands there."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_why as why
from napari_why.core.errors import AmbiguousAxesError, ImageReadError
from napari_why.images import FORMATS, can_read, make_image, scan_plate, understand, write
from napari_why.images.formats import file_patterns
from napari_why.napari_reader import get_reader

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
PIXELS = np.random.default_rng(0).integers(0, 60000, (2, 24, 32)).astype("uint16")


def example() -> str:
    section = DOCS.read_text(encoding="utf-8").partition("## A new file format")[2]
    found = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def npy(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the one file that adds the format, while it is loaded."""
    place = tmp_path / "code" / "napari_why_npy.py"
    place.parent.mkdir()
    place.write_text(example(), encoding="utf-8")
    before = set(FORMATS)
    spec = importlib.util.spec_from_file_location("napari_why_npy", place)
    assert spec is not None
    assert spec.loader is not None
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
    images = tmp_path / "images"
    images.mkdir()
    yield images
    for name in set(FORMATS) - before:
        del FORMATS[name]


def test_the_example_is_one_short_file() -> None:
    assert len(example().splitlines()) <= 30


def test_without_it_an_array_is_refused_by_name(tmp_path: Path) -> None:
    np.save(tmp_path / "field.npy", PIXELS)
    assert not can_read(tmp_path / "field.npy")
    with pytest.raises(ImageReadError, match="found a NumPy array"):
        why.read(tmp_path / "field.npy")


def test_it_is_read_and_said_of_what_format_it_is(npy: Path) -> None:
    np.save(npy / "field.npy", PIXELS)
    image = why.read(npy / "field.npy")
    assert image.dims == ("c", "y", "x")
    np.testing.assert_array_equal(image, PIXELS)
    assert understand(npy / "field.npy").format == "NumPy array"
    np.save(npy / "pages.npy", np.concatenate([PIXELS, PIXELS]))
    with pytest.raises(AmbiguousAxesError, match="4 pages without a word"):
        why.read(npy / "pages.npy")
    assert why.read(npy / "pages.npy", axes="zyx").sizes["z"] == 4


def test_the_bytes_tell_what_it_is_and_not_the_name(npy: Path) -> None:
    np.save(npy / "field.npy", PIXELS)
    renamed = (npy / "field.npy").rename(npy / "field.tif")
    np.testing.assert_array_equal(why.read(renamed), PIXELS)
    tifffile.imwrite(npy / "tiff.npy", PIXELS[0], metadata=None)
    assert understand(npy / "tiff.npy").format == "plain TIFF"
    (npy / "text.npy").write_text("no array")
    assert not can_read(npy / "text.npy")
    # napari would only say that the file was refused: the reader says why
    reader = get_reader(str(npy / "text.npy"))
    assert reader is not None
    with pytest.raises(ImageReadError, match="text file"):
        reader(str(npy / "text.npy"))
    with pytest.raises(
        ImageReadError, match=r"text file.*expected an image \(NumPy array, OME-Zarr"
    ):
        why.read(npy / "text.npy")


def test_napari_reads_it(npy: Path) -> None:
    np.save(npy / "field.npy", PIXELS)
    reader = get_reader(str(npy / "field.npy"))
    assert reader is not None
    layers = reader(str(npy / "field.npy"))
    np.testing.assert_array_equal([data for data, _, _ in layers], PIXELS)
    assert "*.npy" in file_patterns()


def test_a_data_set_of_them_opens(npy: Path) -> None:
    for label in ("healthy", "diseased"):
        (npy / label).mkdir()
        for number in range(3):
            np.save(npy / label / f"field {number}.npy", PIXELS + number)
    data = why.Dataset.open(npy)
    assert (data.classes, len(data)) == (("diseased", "healthy"), 6)
    np.testing.assert_array_equal(data.image(2), PIXELS + 2)


def test_a_plate_of_them_is_sorted_and_its_channels_joined(npy: Path) -> None:
    for channel in (1, 2):
        np.save(npy / f"plate_B02_s1_w{channel}.npy", PIXELS[channel - 1])
    (field,) = scan_plate(npy).fields
    assert (field.well, field.channels) == ("B02", ("w1", "w2"))
    for place in (npy, npy / "plate_B02_s1_w1.npy"):
        np.testing.assert_array_equal(why.read(place), PIXELS)
    assert get_reader(str(npy)) is not None


def test_an_installed_package_is_found_by_its_entry_point(tmp_path: Path) -> None:
    (tmp_path / "napari_why_npy.py").write_text(example(), encoding="utf-8")
    facts = tmp_path / "napari_why_npy-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: napari-why-npy\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text("[napari_why.formats]\nnpy = napari_why_npy\n")
    np.save(tmp_path / "field.npy", PIXELS)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import napari_why; "
        f"print(napari_why.read({str(tmp_path / 'field.npy')!r}).shape)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("(2, 24, 32)\n", "")


def test_a_data_set_of_folders_that_are_images_opens(tmp_path: Path) -> None:
    image = make_image(PIXELS, "cyx", ["DAPI", "TMRM"])
    for label in ("healthy", "diseased"):
        (tmp_path / label).mkdir()
        for number in range(2):
            write(image + number, tmp_path / label / f"field {number}.ome.zarr")
    data = why.Dataset.open(tmp_path)
    assert len(data) == 4
    np.testing.assert_array_equal(data.image(1), PIXELS + 1)
