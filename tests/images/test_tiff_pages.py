"""Pages of a TIFF that are not the image: previews, masks, transparency; and what lies behind them."""

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import AmbiguousAxesError, ImageReadError
from napari_why.images import can_read, read
from napari_why.images.decoded_image import intensity_notes

RANDOM = np.random.default_rng(0)
TWO = RANDOM.integers(300, 60000, (2, 40, 60)).astype("uint16")
SMALL = TWO[0, ::4, ::4]
# Of the whole slide, in more pixels than the image has.
OVERVIEW = RANDOM.integers(0, 255, (90, 120)).astype("uint8")
COLOURS = RANDOM.integers(0, 255, (10, 15, 3)).astype("uint8")
GREY: dict[str, Any] = {"metadata": None, "photometric": "minisblack"}
PREVIEW, MASK = {"subfiletype": 1}, {"subfiletype": 4}
RGB = {"photometric": "rgb"}


def save(path: Path, *pages: tuple[Any, dict[str, Any]], **how: Any) -> Path:
    with tifffile.TiffWriter(path, **how) as file:
        for pixels, options in pages:
            file.write(pixels, **GREY | options)
    return path


IMAGE = [(TWO[0], {}), (TWO[1], {})]


@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize(
    "pages",
    [
        [(SMALL, PREVIEW), *IMAGE],
        [(SMALL, {}), *IMAGE],
        [(SMALL.astype("uint8"), {}), *IMAGE],
        [(COLOURS, RGB), *IMAGE],
        [(COLOURS, RGB | PREVIEW), *IMAGE],
        [((TWO[0] >> 8).astype("uint8"), PREVIEW), *IMAGE],
        [*IMAGE, (SMALL, PREVIEW)],
        [*IMAGE, (SMALL, {})],
        [*IMAGE, (COLOURS, RGB)],
        [*IMAGE, (TWO[0] > 3000, MASK)],
        [(TWO[0] > 3000, MASK), *IMAGE],
        [IMAGE[0], (SMALL, PREVIEW), IMAGE[1], (SMALL, PREVIEW)],
        [(TWO[0], {"subifds": 1}), (SMALL, PREVIEW), (TWO[1], {"subifds": 1}), (SMALL, PREVIEW)],
        [(SMALL, {}), IMAGE[0], (SMALL, {}), IMAGE[1]],
        [(SMALL, {}), (SMALL, {}), *IMAGE],
        [(SMALL.astype("uint8"), {}), (SMALL.astype("uint8"), {}), *IMAGE],
        [(OVERVIEW, {}), *IMAGE],
        [*IMAGE, (OVERVIEW, {})],
        [*IMAGE, (OVERVIEW.astype("uint16"), {})],
    ],
)
def test_the_image_is_read_and_the_rest_is_told(tmp_path: Path, pages, bigtiff) -> None:
    path = save(tmp_path / "a.tif", *pages, bigtiff=bigtiff)
    assert can_read(path)
    image = read(path)
    np.testing.assert_array_equal(image, TWO)
    assert any("left out" in note or "not read" in note for note in image.attrs["notes"])


OME = (
    '<OME><Image ID="I"><Pixels ID="P" DimensionOrder="XYCZT" Type="uint16" SizeX="60" SizeY="40" '
    'SizeC="2" SizeZ="1" SizeT="1"><Channel ID="C0" Name="DAPI"/><Channel ID="C1" Name="TMRM"/>{}'
    "</Pixels></Image></OME>"
)


@pytest.mark.parametrize("aside", [(SMALL, PREVIEW), (SMALL, {}), (COLOURS, RGB)])
@pytest.mark.parametrize("first", [False, True])
def test_pages_that_ome_xml_does_not_name(tmp_path: Path, aside, first) -> None:
    block = f'<TiffData IFD="{int(first)}" PlaneCount="2"/>'
    pages = [aside, *IMAGE] if first else [*IMAGE, aside]
    pages[0] = (pages[0][0], pages[0][1] | {"description": OME.format(block).encode()})
    image = read(save(tmp_path / "a.ome.tif", *pages))
    np.testing.assert_array_equal(image, TWO)
    assert "1 pages of another size or kind" in " ".join(image.attrs["notes"])


def test_a_plane_that_ome_xml_does_not_name_is_a_contradiction(tmp_path: Path) -> None:
    described = {"description": OME.format("<TiffData/>").encode()}
    path = save(tmp_path / "a.ome.tif", (TWO[0], described), IMAGE[1], IMAGE[0])
    with pytest.raises(ImageReadError, match="3 pages for the 2 planes"):
        read(path)


def test_transparency_of_an_ome_tiff(tmp_path: Path) -> None:
    text = OME.format("<TiffData/>").replace('<Channel ID="C1" Name="TMRM"/>', "")
    how = {"planarconfig": "contig", "extrasamples": ["unassalpha"]}
    how["description"] = text.replace('Name="DAPI"', 'Name="DAPI" SamplesPerPixel="2"').encode()
    pixels = np.stack([TWO[0], np.full_like(TWO[0], 65535)], -1)
    image = read(save(tmp_path / "a.ome.tif", (pixels, how)))
    np.testing.assert_array_equal(image, TWO[:1])
    assert "transparency (alpha)" in " ".join(image.attrs["notes"])


def test_eight_bits_beside_the_same_picture_in_sixteen(tmp_path: Path) -> None:
    pages = [((TWO[0] >> 8).astype("uint8"), {}), (TWO[0], {})]
    for name, order in (("a.tif", pages), ("b.tif", pages[::-1])):
        np.testing.assert_array_equal(read(save(tmp_path / name, *order))[0], TWO[0])


def test_a_preview_that_tifffile_describes(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, SMALL, photometric="minisblack")
    tifffile.imwrite(path, TWO, photometric="minisblack", append=True)
    np.testing.assert_array_equal(read(path), TWO)


def test_a_preview_alone_is_read_and_told(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.tif", (SMALL, PREVIEW)))
    np.testing.assert_array_equal(image[0], SMALL)
    assert "smaller copy of an image, which the file lacks" in " ".join(image.attrs["notes"])


def test_a_preview_with_the_image_below_it_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", (SMALL, PREVIEW | {"subifds": 1}), (TWO[0], {}))
    with pytest.raises(ImageReadError, match="a preview, whose full image lies"):
        read(path)


def test_colours_alone_are_left_to_others(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", (COLOURS, RGB), (COLOURS[:5], RGB))
    assert not can_read(path)
    with pytest.raises(AmbiguousAxesError, match="RGB colour picture"):
        read(path)


@pytest.mark.parametrize("kind", ["unassalpha", "assocalpha"])
@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_transparency_is_no_channel(tmp_path: Path, kind, apart, dtype) -> None:
    grey = TWO[0].astype(dtype)
    alpha = np.full_like(grey, np.iinfo(dtype).max)
    alpha[:5] = 0
    pixels = np.stack([grey, alpha], 0 if apart else -1)
    how = {"planarconfig": "separate" if apart else "contig", "extrasamples": [kind]}
    image = read(save(tmp_path / "a.tif", (pixels, how)))
    np.testing.assert_array_equal(image, grey[None])
    assert "transparency (alpha)" in image.attrs["notes"][0]


def test_transparency_of_two_pages(tmp_path: Path) -> None:
    alpha = np.full_like(TWO[0], 65535)
    how = {"planarconfig": "contig", "extrasamples": ["unassalpha"]}
    pages = [(np.stack([plane, alpha], -1), how) for plane in TWO]
    np.testing.assert_array_equal(read(save(tmp_path / "a.tif", *pages)), TWO)


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_colours_with_transparency_are_asked_about(tmp_path: Path, dtype) -> None:
    pixels = np.stack([*TWO, TWO[0], np.full_like(TWO[0], 65535)], -1).astype(dtype)
    path = save(tmp_path / "a.tif", (pixels, RGB | {"extrasamples": ["unassalpha"]}))
    assert not can_read(path)
    with pytest.raises(AmbiguousAxesError, match="RGB colour picture"):
        read(path)
    np.testing.assert_array_equal(read(path, axes="yxc"), np.moveaxis(pixels[..., :3], -1, 0))


def test_two_samples_that_are_not_called_transparency_are_channels(tmp_path: Path) -> None:
    how = {"planarconfig": "contig", "extrasamples": ["unspecified"]}
    np.testing.assert_array_equal(
        read(save(tmp_path / "a.tif", (np.moveaxis(TWO, 0, -1), how))), TWO
    )
    notes = intensity_notes(["a", "b"], np.stack([TWO[0], np.full_like(TWO[0], 65535)]))
    assert notes == (
        "b: all values are 65535, the largest there is: transparency, or overexposed.",
    )


@pytest.mark.parametrize("turned", [(1, 3), (6, 8), (None, 2), (3, None)])
def test_orientations_that_differ_by_page_are_told(tmp_path: Path, turned) -> None:
    pages = [
        (plane, {"extratags": [(274, "H", 1, tag, True)] if tag else []})
        for plane, tag in zip(TWO, turned, strict=True)
    ]
    image = read(save(tmp_path / "a.tif", *pages))
    np.testing.assert_array_equal(image, TWO)
    told = ", ".join(str(tag) for tag in sorted(tag or 1 for tag in turned))
    assert f"in different orientations ({told})" in " ".join(image.attrs["notes"])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_orientation_is_told_and_the_pixels_are_kept(tmp_path: Path, orientation) -> None:
    how = {"extratags": [(274, 3, 1, orientation, True)]}
    image = read(save(tmp_path / "a.tif", (TWO[0], how)))
    np.testing.assert_array_equal(image[0], TWO[0])
    told = f"(orientation {orientation}); the pixels are kept as they are stored"
    assert (told in " ".join(image.attrs["notes"])) == (orientation > 1)


@pytest.mark.parametrize("tail", [b'{"json": 1}' * 3000, bytes(30000), b"text\n" * 5000])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_what_lies_behind_the_last_page_is_told(tmp_path: Path, tail, compression) -> None:
    path = save(tmp_path / "a.tif", (TWO[0], {"compression": compression}))
    with path.open("ab") as file:
        file.write(tail)
    image = read(path)
    np.testing.assert_array_equal(image[0], TWO[0])
    assert f"{len(tail)} bytes behind the last page" in image.attrs["notes"][0]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bigtiff", [False, True])
def test_a_page_behind_the_last_one_is_a_lost_one(tmp_path: Path, order, bigtiff) -> None:
    path = save(tmp_path / "a.tif", (TWO[0], {}))
    other = save(tmp_path / "b.tif", (TWO[1], {}), byteorder=order, bigtiff=bigtiff)
    with path.open("ab") as file:
        file.write(other.read_bytes())
    with pytest.raises(ImageReadError, match="bytes that belong to none of its 1 pages"):
        read(path)


def metamorph_stack(planes: Any, step: int, unit: bytes) -> bytes:
    """Build a stack as MetaMorph writes it: one page, whose UIC tags tell how many planes follow."""
    count, length, width = planes.shape
    pixels = planes.astype("<u2").tobytes()
    extra, at = b"", {}
    for name, data in (
        ("size", struct.pack("<2I", 325, 1000)),
        ("unit", struct.pack("<I", len(unit)) + unit),
        ("planes", struct.pack("<6I", step, 1, 2450000, 0, 2450000, 0) * count),
    ):
        at[name] = 8 + len(pixels) + len(extra)
        extra += data
    at["calibration"] = 8 + len(pixels) + len(extra)
    facts = ((3, 1), (4, at["size"]), (5, at["size"]), (6, at["unit"]))
    extra += b"".join(struct.pack("<2I", *fact) for fact in facts)
    tags = (
        (256, 3, 1, width), (257, 3, 1, length), (258, 3, 1, 16), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, 8), (277, 3, 1, 1), (278, 3, 1, length), (279, 4, 1, 2 * length * width),
        (33628, 4, len(facts), at["calibration"]), (33629, 5, count, at["planes"]),
    )  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", *tag) for tag in tags)
    first = 8 + len(pixels) + len(extra)
    return struct.pack("<2sHI", b"II", 42, first) + pixels + extra + directory + bytes(4)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_stacks_of_metamorph(tmp_path: Path, count) -> None:
    planes = RANDOM.integers(300, 60000, (count, 20, 30)).astype("uint16")
    path = tmp_path / "a.stk"
    path.write_bytes(metamorph_stack(planes, 2, b"um\0"))
    assert can_read(path)
    image = read(path)
    np.testing.assert_array_equal(image.squeeze("c").values.reshape(planes.shape), planes)
    size = {"y": 0.325, "x": 0.325}
    assert image.attrs["pixel_size"] == (size | {"z": 2.0} if count > 1 else size)


def test_a_calibration_in_no_unit_of_length_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.stk"
    path.write_bytes(metamorph_stack(TWO[:1], 0, b"pixels\0"))
    image = read(path)
    assert image.attrs["unit"] == "pixel"
    assert "the calibration of x as '0.325' pixels, which is no length" in " ".join(
        image.attrs["notes"]
    )
