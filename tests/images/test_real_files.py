"""Files of real microscopes, with the pixels that should come out of them."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_why.errors import ImageReadError
from napari_why.images import channel_names, group_channel_files, image_contrast_limits, read

pytestmark = pytest.mark.real_data

# A specimen whose values stand for colours is read when it is said to be channels.
TOLD = {"plain/tiff_tiled_planar_lzw.tiff": "cyx", "plain/multipage.tiff": "cyx"}


def test_every_tiff_specimen_gives_its_pixels(real_data: Path) -> None:
    folder = real_data / "format-specimens"
    with (folder / "expected.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["flavour"] != "ome-zarr"]
    wrong = [row["path"] for row in rows if not _matches(folder, row)]
    assert not wrong
    assert len(rows) > 40


def test_colours_are_not_taken_for_intensities(real_data: Path) -> None:
    for name in TOLD:
        with pytest.raises(ImageReadError, match="colour"):
            read([real_data / "format-specimens" / name])


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("opera-phenix/BR00143976/r03c03f03p01-ch5sk1fk1fl1.tiff", ("ch4", "ch5")),
        ("per-stain-names/B7_01_2_3_GFP_001.tif", ("DAPI", "GFP", "RFP")),
        ("channel-prefix-names/Channel2-12-A-12.tif", ("Channel1", "Channel2")),
        (
            "imagexpress-exported/9987_Plate_3434/TimePoint_1/ZStep_0/9987_B02_s1_w1.TIF",
            ("w1", "w2"),
        ),
    ],
)
def test_per_channel_files_become_one_image(real_data: Path, name, channels) -> None:
    image = read(real_data / "format-specimens" / name)
    assert channel_names(image) == channels


def test_native_imagexpress_files_pair_up_without_their_thumbnails(real_data: Path) -> None:
    folder = real_data / "format-specimens" / "imagexpress-native"
    groups = group_channel_files(sorted(folder.rglob("*.tif")))
    fields = [group for group in groups if "_thumb" not in group[0].name]
    assert fields
    for group in fields:
        image = read(group[0])
        assert image.sizes == {"c": 2, "y": 512, "x": 512}
        assert channel_names(image) == ("w1", "w2")


def test_imagej_pixel_sizes_are_micrometres(real_data: Path) -> None:
    image = read(real_data / "format-specimens/imagej/xyzc_16bit__spots.tif")
    assert image.attrs["unit"] == "um"
    assert image.attrs["pixel_size"] == pytest.approx({"z": 0.4, "y": 0.0941345, "x": 0.0941345})


@pytest.mark.parametrize("name", ["leigh-ds-tt", "leigh-ds-wt", "bbbc013-translocation"])
def test_data_sets_read(real_data: Path, name) -> None:
    table = pd.read_csv(real_data / name / "labels.csv")
    for path in table["path"].iloc[:: max(1, len(table) // 12)]:
        image = read(real_data / name / path)
        assert image.dims == ("c", "y", "x")
        assert image.sizes["c"] == 2
        assert image.dtype == np.uint8
        for channel, (low, high) in zip(image, image_contrast_limits(image), strict=True):
            assert int(channel.min()) <= low < high <= max(1, int(channel.max()))


def test_mitohcs_reads_with_its_names(real_data: Path) -> None:
    folder = real_data / "mitohcs-wt-ko"
    for path in folder.glob("fields/*.ome.tif"):
        assert channel_names(read(path)) == ("nuclei", "cell mask", "mitochondria")
    tiles = list(folder.glob("tiles/*.tif"))
    assert tiles
    for path in tiles:
        image = read(path)
        assert channel_names(image) == ("nuclei", "mitochondria")
        assert image.dtype == np.uint16


def _matches(folder: Path, row: dict[str, str]) -> bool:
    image = read([folder / row["path"]], axes=TOLD.get(row["path"]))
    stored = ["c" if axis in "IS" else axis.lower() for axis in row["axes"]]
    pixels = image.squeeze("c") if "c" not in stored else image
    values = np.ascontiguousarray(pixels.transpose(*stored))
    little = values.astype(values.dtype.newbyteorder("<"))
    return (
        str(values.dtype) == row["dtype"]
        and hashlib.sha256(little.tobytes()).hexdigest() == row["sha256_le"]
    )
