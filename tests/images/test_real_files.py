"""Files of real microscopes, with the pixels that should come out of them."""

import csv
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_why.core.errors import ImageReadError
from napari_why.images import (
    PlateFolder,
    channel_names,
    group_channel_files,
    image_contrast_limits,
    read,
    scan_plate,
)

pytestmark = pytest.mark.real_data

# A specimen whose values stand for colours is read when it is said to be channels.
TOLD = {"plain/tiff_tiled_planar_lzw.tiff": "cyx", "plain/multipage.tiff": "cyx"}


def test_every_specimen_gives_its_pixels(real_data: Path) -> None:
    folder = real_data / "format-specimens"
    with (folder / "expected.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
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


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("metamorph/MetamorphImage.tif", 0.645),
        ("imagexpress-exported/9987_Plate_3434/TimePoint_1/ZStep_0/9987_B02_s1_w1.TIF", 1.3672),
    ],
)
def test_metamorph_pixel_sizes_are_micrometres(real_data: Path, name, size) -> None:
    image = read([real_data / "format-specimens" / name])
    assert image.attrs["unit"] == "um"
    assert image.attrs["pixel_size"] == {"y": size, "x": size}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("per-stain-names/B7_01_2_3_GFP_001.tif", "8-bit data stretched"),
        ("imagej/xy_16bit__scanR_datatype_issue.tif", "signed data stored with an offset"),
        ("imagej/xyc_16bit__membranes_nuclei_hot_pixel.tif", "hot pixel reaches 60028"),
        ("metamorph/MetamorphImage.tif", "12 bits stored in 16"),
    ],
)
def test_how_values_were_made_is_said(real_data: Path, name, said) -> None:
    assert said in " ".join(read([real_data / "format-specimens" / name]).attrs["notes"])


def test_plates_of_imagexpress_are_sorted(real_data: Path) -> None:
    specimens = real_data / "format-specimens"
    native = scan_plate(specimens / "imagexpress-native")
    assert [(field.well, field.field) for field in native.fields] == [
        (well, field) for well in ("E07", "E08") for field in "12"
    ]
    assert (native.thumbnails, native.projections) == (14, 2)
    assert read_field_sizes(specimens / "imagexpress-native/1334", native) == {"c": 2, "z": 3}
    exported = scan_plate(specimens / "imagexpress-exported")
    assert [field.well for field in exported.fields] == ["B02", "B02", "B03", "B03"]
    assert exported.projections == 8


def read_field_sizes(folder: Path, plate: PlateFolder) -> dict[str, int]:
    field = plate.fields[0]
    assert all(path.is_relative_to(folder) for path in field.files.values())
    return {"c": len(field.channels), "z": len({z for _, z, _ in field.files})}


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
