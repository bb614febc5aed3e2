"""OME-TIFF of which several files make one set, or whose OME-XML is that of another file."""

import builtins
import io
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from napari_why.core.errors import DatasetError, ImageReadError
from napari_why.datasets import Dataset
from napari_why.images import channel_names, read, read_again

URN = "urn:uuid:00000000-0000-0000-0000-00000000000"
PIXELS = np.random.default_rng(0).integers(0, 60000, (4, 20, 30)).astype("uint16")
# An image: name, channels, and for each plane the number of its file, its name, and its page.
Image = tuple[str, list[str], list[tuple[int, str, int]]]


def document(images: list[Image], uuid: str | None, declared: str = "UTF-8") -> str:
    text = f'<?xml version="1.0" encoding="{declared}"?><OME xmlns="http://www.openmicroscopy.org/'
    text += 'Schemas/OME/2016-06"' + (f' UUID="{uuid}">' if uuid else ">")
    for number, (name, channels, planes) in enumerate(images):
        text += (
            f'<Image ID="Image:{number}" Name="{name}"><Pixels ID="Pixels:{number}" Type="uint16" '
            f'DimensionOrder="XYCZT" SizeX="30" SizeY="20" SizeC="{len(planes)}" SizeZ="1" SizeT="1" '
            f'PhysicalSizeX="0.{number + 3}" PhysicalSizeY="0.{number + 3}">'
        )
        text += "".join(f'<Channel ID="{number}:{c}" Name="{c}"/>' for c in channels)
        for c, (file, place, page) in enumerate(planes):
            text += f'<TiffData FirstC="{c}" IFD="{page}" PlaneCount="1">'
            text += (
                f'<UUID FileName="{place}">{URN}{file}</UUID>' if place else ""
            ) + "</TiffData>"
        text += "</Pixels></Image>"
    return text + "</OME>"


def save(path: Path, planes: Any, text: str | bytes) -> Path:
    data = text.encode() if isinstance(text, str) else text
    with tifffile.TiffWriter(path) as file:
        for index, plane in enumerate(planes):
            description = data if index == 0 else None
            file.write(plane, photometric="minisblack", description=description, metadata=None)
    return path


def positions(folder: Path, *, verbatim: bool = False, names: bool = True) -> list[Path]:
    """Two positions of two channels, a file each, with the document of both."""
    files = [f"run_MMStack_Pos{i}.ome.tif" for i in (0, 1)]
    planes = [[(i, name if names else "", c) for c in (0, 1)] for i, name in enumerate(files)]
    images: list[Image] = [(f"Pos{i}", ["DAPI", "TMRM"], planes[i]) for i in (0, 1)]
    return [
        save(
            folder / name,
            PIXELS[2 * i : 2 * i + 2],
            document(images, f"{URN}{0 if verbatim else i}"),
        )
        for i, name in enumerate(files)
    ]


def channels(folder: Path, names: tuple[str, str] = ("f_C0.ome.tif", "f_C1.ome.tif")) -> list[Path]:
    """Two channels of one image, a file each, with the document of both."""
    image: Image = ("field", ["DAPI", "TMRM"], [(i, name, 0) for i, name in enumerate(names)])
    return [
        save(folder / Path(name).name, PIXELS[i : i + 1], document([image], f"{URN}{i}"))
        for i, name in enumerate(names)
    ]


@pytest.mark.parametrize("verbatim", [False, True])
def test_a_position_gives_its_own_pixels(tmp_path: Path, verbatim) -> None:
    for number, path in enumerate(positions(tmp_path, verbatim=verbatim)):
        image = read(path)
        np.testing.assert_array_equal(image, PIXELS[2 * number : 2 * number + 2])
        assert image.attrs["pixel_size"]["x"] == pytest.approx(0.3 + 0.1 * number)
        told = "describes 2 images; the one that lies in this file is read"
        assert told in " ".join(image.attrs["notes"])


def test_a_position_needs_no_other_file(tmp_path: Path) -> None:
    first, second = positions(tmp_path)
    first.unlink()
    np.testing.assert_array_equal(read(second), PIXELS[2:])


@pytest.mark.parametrize("upper", [False, True])
def test_a_set_of_one_file_a_channel_is_whole_by_each(tmp_path: Path, upper) -> None:
    for path in channels(tmp_path):
        named = path.rename(path.with_name(path.name.upper())) if upper else path
        image = read(named)
        np.testing.assert_array_equal(image, PIXELS[:2])
        assert channel_names(image) == ("DAPI", "TMRM")
        assert "made of 2 files" in " ".join(image.attrs["notes"])
        named.rename(path)


@pytest.mark.parametrize("change", [str.upper, str.lower, str.capitalize])
def test_capitals_make_no_other_file(tmp_path: Path, change) -> None:
    """Sets are copied by way of systems that tell capitals from small letters, or do not."""
    for path in [p.rename(p.with_name(change(p.name))) for p in channels(tmp_path)]:
        np.testing.assert_array_equal(read(path), PIXELS[:2])


def test_two_files_that_differ_by_capitals_are_none_of_them(tmp_path: Path) -> None:
    first, second = channels(tmp_path)
    shutil.copy(second, tmp_path / "F_C1.ome.tif")
    second.rename(tmp_path / "F_c1.ome.tif")
    with pytest.raises(ImageReadError, match=r"f_C1\.ome\.tif is missing"):
        read(first)


@pytest.mark.parametrize("prefix", ["", "OME:"])
def test_planes_without_a_word_where_they_lie_are_all_pages(tmp_path: Path, prefix) -> None:
    text = document([("field", ["DAPI", "TMRM"], [(0, "", 0), (0, "", 1)])], None)
    text = re.sub("<TiffData[^>]*></TiffData>", "", text)
    if prefix:
        text = re.sub(r"<(/?)(?=[A-Z])", r"<\1OME:", text).replace("xmlns=", "xmlns:OME=")
    image = read(save(tmp_path / "a.ome.tif", PIXELS[:2], text))
    np.testing.assert_array_equal(image, PIXELS[:2])
    assert channel_names(image) == ("DAPI", "TMRM")
    with pytest.raises(ImageReadError):
        read(save(tmp_path / "b.ome.tif", PIXELS[:3], text))


@pytest.mark.parametrize("lost", [0, 1])
def test_a_set_that_lacks_a_file_is_refused_by_its_name(tmp_path: Path, lost) -> None:
    files = channels(tmp_path)
    files[lost].unlink()
    with pytest.raises(ImageReadError, match=rf"f_C{lost}\.ome\.tif is missing"):
        read(files[1 - lost])


def test_a_renamed_file_of_a_set_is_known_by_its_uuid(tmp_path: Path) -> None:
    first, second = channels(tmp_path)
    image = read(first.rename(tmp_path / "renamed.ome.tif"))
    np.testing.assert_array_equal(image, PIXELS[:2])
    assert "a file called f_C0.ome.tif: a renamed file or a copy" in " ".join(image.attrs["notes"])
    with pytest.raises(ImageReadError, match="f_C0"):
        read(second)


def test_names_that_were_exchanged_are_refused(tmp_path: Path) -> None:
    first, second = channels(tmp_path)
    first.rename(tmp_path / "aside")
    second.rename(first)
    (tmp_path / "aside").rename(second)
    for path in (first, second):
        with pytest.raises(ImageReadError, match="whose UUID in the OME-XML is that of"):
            read(path)


@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("original", [True, False])
def test_a_processed_copy_gives_its_own_pixels(tmp_path: Path, kept, original) -> None:
    """Whose OME-XML was taken over, with or without a UUID of its own."""
    image: Image = ("field", ["DAPI", "TMRM"], [(0, "raw.ome.tif", c) for c in (0, 1)])
    raw = save(tmp_path / "raw.ome.tif", PIXELS[:2], document([image], f"{URN}0"))
    text = document([image], f"{URN}{0 if kept else 7}")
    copy = save(tmp_path / "raw_background.ome.tif", PIXELS[:2] // 2, text)
    if not original:
        raw.unlink()
    found = read(copy)
    np.testing.assert_array_equal(found, PIXELS[:2] // 2)
    assert channel_names(found) == ("DAPI", "TMRM")
    assert "a file called raw.ome.tif" in " ".join(found.attrs["notes"])


def test_a_copy_of_a_position_without_its_uuid(tmp_path: Path) -> None:
    """Which of the images of the document it was does not matter where they are described alike."""
    files = [f"Pos{i}.ome.tif" for i in (0, 1)]
    images: list[Image] = [
        ("same", ["DAPI", "TMRM"], [(i, name, c) for c in (0, 1)]) for i, name in enumerate(files)
    ]
    text = document(images, None).replace('"0.4"', '"0.3"')
    found = read(save(tmp_path / "copy.ome.tif", PIXELS[2:], text))
    np.testing.assert_array_equal(found, PIXELS[2:])
    different = document(images, None)
    with pytest.raises(ImageReadError, match=r"OME-XML of other files \(Pos0.*which does not name"):
        read(save(tmp_path / "copy.ome.tif", PIXELS[2:], different))


def test_one_uuid_for_all_files_of_a_set(tmp_path: Path) -> None:
    for folder, make in ((tmp_path / "a", channels), (tmp_path / "b", positions)):
        folder.mkdir()
        for number, path in enumerate(make(folder)):
            with tifffile.TiffFile(path, mode="r+b") as file:
                text = file.pages[0].description
                text = text.replace(f"{URN}1", f"{URN}0")
                file.pages[0].tags["ImageDescription"].overwrite(text)
            expected = PIXELS[:2] if make is channels else PIXELS[2 * number : 2 * number + 2]
            np.testing.assert_array_equal(read(path), expected)


def test_a_uuid_that_leads_outside(tmp_path: Path) -> None:
    """The file's own planes under a name elsewhere, and under its name those of another UUID."""
    (tmp_path / "home").mkdir()
    secret = save(tmp_path / "secret.ome.tif", PIXELS[3:], document([], f"{URN}0"))
    planes = [(0, f"../{secret.name}", 0), (1, "f_C0.ome.tif", 0)]
    text = document([("a", [], planes)], f"{URN}0")
    with pytest.raises(ImageReadError, match="names a file outside its folder"):
        read(save(tmp_path / "home" / "f_C0.ome.tif", PIXELS[:1], text))


def test_two_images_in_one_file(tmp_path: Path) -> None:
    images: list[Image] = [("a", ["x", "y"], [(0, "", 0), (0, "", 1)]), ("b", [], [(0, "", 2)])]
    image = read(save(tmp_path / "two.ome.tif", PIXELS[:3], document(images, None)))
    np.testing.assert_array_equal(image, PIXELS[:2])
    assert "The file holds 2 images; this is the first." in image.attrs["notes"]


def companion(
    folder: Path, name: str = "set.companion.ome", *, as_tiff: bool = False
) -> list[Path]:
    """Two files without a description, and the file that has it."""
    files = ["f_C0.ome.tif", "f_C1.ome.tif"]
    image: Image = ("field", ["DAPI", "TMRM"], [(i, place, 0) for i, place in enumerate(files)])
    text = document([image], f"{URN}9")
    if as_tiff:
        save(folder / name, PIXELS[:1], text)
    else:
        (folder / name).write_text(text, encoding="utf-8")
    empty = f'<OME UUID="{{}}"><BinaryOnly MetadataFile="{name}" UUID="{URN}9"/></OME>'
    return [
        save(folder / place, PIXELS[i : i + 1], empty.format(f"{URN}{i}"))
        for i, place in enumerate(files)
    ]


@pytest.mark.parametrize("as_tiff", [False, True])
def test_a_companion_file_is_read(tmp_path: Path, as_tiff) -> None:
    for path in companion(
        tmp_path, "master.ome.tif" if as_tiff else "a.companion.ome", as_tiff=as_tiff
    ):
        image = read(path)
        np.testing.assert_array_equal(image, PIXELS[:2])
        assert channel_names(image) == ("DAPI", "TMRM")
        assert image.attrs["pixel_size"] == {"y": 0.3, "x": 0.3}


def test_a_missing_companion_is_named_and_one_alone_has_no_pixels(tmp_path: Path) -> None:
    path, _ = companion(tmp_path)
    with pytest.raises(ImageReadError, match="name one of the TIFF files"):
        read(tmp_path / "set.companion.ome")
    (tmp_path / "set.companion.ome").unlink()
    with pytest.raises(ImageReadError, match=r"'set\.companion\.ome', .* is missing"):
        read(path)


def test_a_companion_that_does_not_name_the_file(tmp_path: Path) -> None:
    companion(tmp_path)
    text = f'<OME UUID="{URN}5"><BinaryOnly MetadataFile="set.companion.ome" UUID="{URN}9"/></OME>'
    with pytest.raises(ImageReadError, match="does not name this one"):
        read(save(tmp_path / "stranger.ome.tif", PIXELS[:1], text))


OUTSIDE = [
    "../other/f_C1.ome.tif",
    "../../../etc/passwd",
    "/etc/passwd",
    "..\\other\\f_C1.ome.tif",
    "C:\\data\\f_C1.ome.tif",
    "C:f_C1.ome.tif",
    "\\\\server\\share\\f_C1.ome.tif",
    "below/../../f_C1.ome.tif",
]


@pytest.mark.parametrize("name", OUTSIDE)
@pytest.mark.parametrize("of", ["set", "copy", "companion"])
def test_files_outside_the_folder_are_refused_before_any_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name, of
) -> None:
    (tmp_path / "other").mkdir()
    home = tmp_path / "home"
    home.mkdir()
    channels(tmp_path / "other")
    if of == "companion":
        text = f'<OME UUID="{URN}0"><BinaryOnly MetadataFile="{name}" UUID="{URN}9"/></OME>'
    else:
        places = ["f_C0.ome.tif", name] if of == "set" else [name, name]
        image: Image = ("a", [], [(i, place, 0) for i, place in enumerate(places)])
        text = document([image], f"{URN}0" if of == "set" else None)
    path = save(home / "f_C0.ome.tif", PIXELS[:1], text)
    opened: list[str] = []

    def note(file: Any, *args: Any, **options: Any) -> Any:
        opened.append(str(file))
        return plain(file, *args, **options)

    plain = io.open  # of which the built-in is another name
    monkeypatch.setattr(io, "open", note)
    monkeypatch.setattr(builtins, "open", note)
    with pytest.raises(ImageReadError, match="names a file outside its folder"):
        read(path)
    assert {file for file in opened if str(tmp_path) in file} == {str(path)}


def test_links_that_leave_the_folder_are_refused(tmp_path: Path) -> None:
    away, home = tmp_path / "away", tmp_path / "home"
    away.mkdir()
    home.mkdir()
    files = channels(away)
    shutil.copy(files[0], home)
    try:
        (home / files[1].name).symlink_to(files[1])
    except OSError:
        pytest.skip("no links here")
    with pytest.raises(ImageReadError, match="a link that leaves its folder"):
        read(home / files[0].name)
    # A link that the user named is what the user wants; its set lies where it is itself.
    (home / files[0].name).unlink()
    (home / files[1].name).unlink()
    (home / "inside").mkdir()
    inner = channels(home / "inside")
    (home / "inside" / "real").mkdir()
    kept = inner[1].rename(home / "inside" / "real" / "f_C1.ome.tif")
    inner[1].symlink_to(kept)
    np.testing.assert_array_equal(read(inner[0]), PIXELS[:2])


def test_a_file_of_the_set_that_was_replaced_is_told(tmp_path: Path) -> None:
    first, second = channels(tmp_path)
    image: Image = ("other", [], [(5, "f_C1.ome.tif", 0)])
    save(second, PIXELS[3:], document([image], f"{URN}5"))
    assert "f_C1.ome.tif has another UUID" in " ".join(read(first).attrs["notes"])


MICRO = "\u00b5m"


@pytest.mark.parametrize(
    ("declared", "encoding", "told"),
    [
        ("utf-16", "utf-8", False),
        ("UTF-16LE", "utf-8", False),
        ("ISO-8859-1", "latin-1", False),
        ("ISO-8859-1", "utf-8", False),
        ("windows-1252", "cp1252", False),
        ("UTF-8", "latin-1", True),
        ("UTF-8", "utf-8-sig", False),
        ("nonsense", "utf-8", False),
        ("nonsense", "latin-1", True),
        ("utf-16", "latin-1", True),
        ("Shift_JIS", "utf-8", False),
        ("UTF-16", "utf-16", False),
        ("UTF-16", "utf-16-le", False),
        ("UTF-16", "utf-16-be", False),
    ],
)
def test_the_text_is_read_by_what_its_bytes_are(tmp_path: Path, declared, encoding, told) -> None:
    image: Image = ("field", ["DAPI", "Hoechst \u00b5"], [(0, "", 0), (0, "", 1)])
    text = document([image], None, declared).replace(
        'PhysicalSizeX="0.3"', f'PhysicalSizeX="0.3" PhysicalSizeXUnit="{MICRO}"'
    )
    found = read(save(tmp_path / "a.ome.tif", PIXELS[:2], text.encode(encoding)))
    assert found.attrs["pixel_size"] == {"y": 0.3, "x": 0.3}
    assert channel_names(found) == ("DAPI", "Hoechst \u00b5")
    assert any("encoding" in note for note in found.attrs["notes"]) == told
    np.testing.assert_array_equal(found, PIXELS[:2])


def test_text_that_is_no_xml_is_refused_with_its_cause(tmp_path: Path) -> None:
    text = document([("a", ["DA\x01PI"], [(0, "", 0)])], None)
    with pytest.raises(ImageReadError, match="not well-formed"):
        read(save(tmp_path / "a.ome.tif", PIXELS[:1], text))


@pytest.mark.parametrize(
    "names", [("f_C0.ome.tif", "f_C1.ome.tif"), ("f_w1.ome.tif", "f_w2.ome.tif")]
)
def test_files_of_a_set_that_are_named_together_are_the_set(tmp_path: Path, names) -> None:
    files = channels(tmp_path, names)
    image = read(files)
    np.testing.assert_array_equal(image, PIXELS[:2])
    assert image.attrs["source"] == "; ".join(map(str, files))
    assert channel_names(read(files, channels=["a", "b"])) == ("a", "b")
    np.testing.assert_array_equal(read_again(**read_arguments(read(files[1]))), PIXELS[:2])


def read_arguments(image: Any) -> dict[str, Any]:
    return {"source": image.attrs["source"], "read_as": image.attrs["read_as"]}


@pytest.mark.parametrize("kind", ["set", "companion"])
def test_a_set_counts_once_in_a_data_set(tmp_path: Path, kind) -> None:
    for label in ("healthy", "treated"):
        for number in range(2):
            folder = tmp_path / label / f"run {number}"
            folder.mkdir(parents=True)
            channels(folder) if kind == "set" else companion(folder)
    data = Dataset.open(tmp_path)
    assert (len(data), data.channels) == (4, ("DAPI", "TMRM"))
    assert "4 of 8 files belong to images that other files have given already" in " ".join(
        data.notes
    )


def test_files_of_one_image_have_one_class(tmp_path: Path) -> None:
    rows = [f"{path.name},{label}" for path, label in zip(channels(tmp_path), "ab", strict=True)]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label", *rows]))
    with pytest.raises(DatasetError, match="two files of one image; expected one class"):
        Dataset.open(tmp_path)
