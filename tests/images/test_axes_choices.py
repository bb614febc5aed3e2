"""A file that does not tell its axes: the question as data, and every answer to it."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import AmbiguousAxesError
from napari_why.images import channel_names, read

PIXELS = np.random.default_rng(0).integers(1, 4000, (12, 5, 6)).astype("uint16")


def pages(path: Path, pixels: np.ndarray = PIXELS) -> Path:
    tifffile.imwrite(path, pixels, metadata=None, photometric="minisblack")
    return path


def question(path: Path | list[Path]) -> AmbiguousAxesError:
    with pytest.raises(AmbiguousAxesError) as caught:
        read(path)
    return caught.value


def test_pages_are_one_axis_or_channels_and_another(tmp_path: Path) -> None:
    asked = question(pages(tmp_path / "pages.tif"))
    assert (asked.stored_axes, asked.shape) == ("?yx", (12, 5, 6))
    assert [(choice.axes, choice.words) for choice in asked.choices[:5]] == [
        ("zyx", "12 z planes"),
        ("tyx", "12 time points"),
        ("cyx", "12 channels"),
        ("zcyx", "6 z planes of 2 channels"),
        ("czyx", "2 channels of 6 z planes"),
    ]
    assert {len(choice.channels) for choice in asked.choices} == {0, 2, 3, 4}
    odd = question(pages(tmp_path / "odd.tif", PIXELS[:5]))
    assert [choice.axes for choice in odd.choices] == ["zyx", "tyx", "cyx"]


def test_every_answer_reads_the_file_and_loses_no_pixel(tmp_path: Path) -> None:
    path = pages(tmp_path / "pages.tif")
    for choice in question(path).choices:
        image = read(path, **choice.arguments)
        assert image.size == PIXELS.size
        assert sorted(np.asarray(image).ravel()) == sorted(PIXELS.ravel())
        assert image.attrs["read_as"]["axes"] == choice.axes
        assert read(image.attrs["source"], **image.attrs["read_as"]).identical(image)
        if choice.channels:
            assert channel_names(image) == choice.channels
    alternating = read(path, axes="zcyx", channels=["a", "b"])
    np.testing.assert_array_equal(alternating[1], PIXELS[1::2])


def test_two_unnamed_axes_are_asked_for_together(tmp_path: Path) -> None:
    path = tmp_path / "shaped.tif"
    pixels = PIXELS.reshape(4, 3, 5, 6)
    tifffile.imwrite(path, pixels, photometric="minisblack")
    asked = question(path)
    assert asked.shape == (4, 3, 5, 6)
    assert {choice.axes for choice in asked.choices} == {
        f"{pair}yx" for pair in ("zt", "zc", "tz", "tc", "cz", "ct")
    }
    assert asked.choices[0].words == "4 z planes of 3 time points"
    np.testing.assert_array_equal(read(path, axes="zcyx"), pixels.transpose(1, 0, 2, 3))


def test_colours_may_be_said_to_be_channels(tmp_path: Path) -> None:
    path = tmp_path / "rgb.tif"
    picture = PIXELS.reshape(4, 3, 5, 6)[0].transpose(1, 2, 0).astype("uint8")
    tifffile.imwrite(path, picture, photometric="rgb")
    (choice,) = question(path).choices
    assert (choice.axes, choice.words) == ("yxc", "red, green and blue are channels")
    np.testing.assert_array_equal(read(path, axes=choice.axes), picture.transpose(2, 0, 1))


def test_indexed_colours_may_be_said_to_be_intensities(tmp_path: Path) -> None:
    path = tmp_path / "indexed.tif"
    mixed = np.random.default_rng(0).integers(0, 65535, (3, 256)).astype("uint16")
    values = PIXELS[0].astype("uint8")
    tifffile.imwrite(path, values, photometric="palette", colormap=mixed)
    (choice,) = question(path).choices
    assert (choice.axes, choice.words) == ("yx", "the stored numbers are intensities")
    np.testing.assert_array_equal(read(path, **choice.arguments)[0], values)


def test_other_advice_keeps_the_rest(tmp_path: Path) -> None:
    asked = question(pages(tmp_path / "pages.tif"))
    other = asked.advising("ask somebody")
    assert other.choices == asked.choices
    assert str(other).endswith("expected axes that the file names; ask somebody")


def test_what_was_told_beside_the_path_is_kept(tmp_path: Path) -> None:
    path = pages(tmp_path / "plain.tif", PIXELS[:2])
    assert "read_as" not in read(path).attrs
    assert read(path, channels=["DAPI", "TMRM"]).attrs["read_as"] == {"channels": ["DAPI", "TMRM"]}


def channel_files(folder: Path, pixels: np.ndarray = PIXELS[:6]) -> list[Path]:
    return [pages(folder / f"p_B02_s1_w{number}.tif", pixels) for number in (1, 2)]


def as_siblings(paths: list[Path]) -> Path:
    return paths[1]


def as_list(paths: list[Path]) -> list[Path]:
    return paths


def as_folder(paths: list[Path]) -> Path:
    return paths[0].parent


@pytest.mark.parametrize("place_of", [as_siblings, as_list, as_folder])
def test_files_of_one_channel_each_are_read_with_every_answer(tmp_path: Path, place_of) -> None:
    place = place_of(channel_files(tmp_path))
    asked = question(place)
    assert [choice.axes for choice in asked.choices] == ["zyx", "tyx"]
    assert "axes='zyx'" in asked.advice
    for choice in asked.choices:
        image = read(place, **choice.arguments)
        assert channel_names(image) == ("w1", "w2")
        for channel in image.coords["c"].values:
            np.testing.assert_array_equal(image.sel(c=channel), PIXELS[:6])


@pytest.mark.parametrize("place_of", [as_siblings, as_list, as_folder])
def test_colours_in_each_of_several_files_have_no_answer_together(tmp_path, place_of) -> None:
    picture = PIXELS.reshape(4, 3, 5, 6)[0].transpose(1, 2, 0).astype("uint8")
    paths = channel_files(tmp_path)
    for path in paths:
        tifffile.imwrite(path, picture, photometric="rgb")
    asked = question(place_of(paths))
    assert asked.choices == ()
    assert asked.advice.endswith("axes='yxc'")
    np.testing.assert_array_equal(read([asked.path], axes="yxc"), picture.transpose(2, 0, 1))


def test_files_of_one_z_plane_each_cannot_hold_pages(tmp_path: Path) -> None:
    for plane in (1, 2):
        pages(tmp_path / f"r02c03f01p{plane:02}-ch1sk1fk1fl1.tiff")
    asked = question(tmp_path)
    assert asked.choices == ()
    assert "read each file on its own" in asked.advice
    assert read([asked.path], axes="zyx").sizes["z"] == 12
