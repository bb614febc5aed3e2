"""OME-Zarr as converters, exporters and half-finished copies leave it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_why.core.errors import ImageReadError
from napari_why.images import channel_names, first_centre, plates_of, read, understand, write
from napari_why.images.formats import image_places
from napari_why.images.ome_zarr_plate import plate_images
from napari_why.napari_reader import read_layers

PIXELS = np.random.default_rng(0).integers(1, 60000, (2, 24, 32)).astype("uint16")
VERSIONS = pytest.mark.parametrize("kind", [2, 3])


def axes(letters="cyx", **units: str | None) -> list[dict]:
    """The axes of an image; units are micrometres unless they are told (None: none)."""
    types = {"t": "time", "c": "channel"}
    made = []
    for letter in letters:
        axis = {"name": letter, "type": types.get(letter, "space")}
        unit = units.get(letter, "micrometer") if letter in "zyx" else None
        made.append({**axis, "unit": unit} if unit else axis)
    return made


def put(group: zarr.Group, **metadata) -> None:
    old = group.metadata.zarr_format == 2
    group.attrs.update(metadata if old else {"ome": {"version": "0.5"} | metadata})


def save(folder: Path, kind=2, pixels=PIXELS, *, named=None, steps=None, **more) -> Path:
    """Write an image of one resolution with zarr alone."""
    group = zarr.open_group(folder, mode="w", zarr_format=kind)
    size = {"chunks": (*[1] * (pixels.ndim - 2), 16, 16)}
    group.create_array(
        "0", data=pixels, **size | {k: more.pop(k) for k in ("shards",) if k in more}
    )
    scale = [{"type": "scale", "scale": [*[1.0] * (pixels.ndim - 2), 0.5, 0.25]}]
    datasets = [{"path": "0", "coordinateTransformations": steps or scale}]
    multiscale = {"axes": named or axes(), "datasets": datasets}
    multiscale |= {k: more.pop(k) for k in ("coordinateTransformations",) if k in more}
    put(
        group,
        multiscales=[multiscale],
        **{"omero": {"channels": [{"label": "DAPI"}, {"label": "TMRM"}]}} | more,
    )
    return folder


def save_plate(
    folder: Path, wells: dict[str, list[str]], kind=2, *, lost=(), rows=False, **about
) -> Path:
    """Write a plate; ``wells`` names the fields of each, ``lost`` what is not there."""
    group = zarr.open_group(folder, mode="w", zarr_format=kind)
    put(group, plate={"wells": [{"path": well} for well in wells], **about})
    for number, (well, fields) in enumerate(wells.items()):
        if rows:  # ome-zarr-py makes a group of each row
            zarr.open_group(folder / well.split("/")[0], mode="a", zarr_format=kind)
        if well in lost:
            continue
        held = zarr.open_group(folder / well, mode="w", zarr_format=kind)
        # "0:1" is field 0 of acquisition 1
        split = [field.partition(":") for field in fields]
        images = [{"path": n} | ({"acquisition": int(a)} if a else {}) for n, _, a in split]
        put(held, well={"images": images})
        for name, _, _ in split:
            if f"{well}/{name}" not in lost:
                save(folder / well / name, kind, PIXELS + number)
    return folder


@VERSIONS
@pytest.mark.parametrize("rows", [False, True])
def test_the_other_wells_of_a_plate_are_there(tmp_path: Path, kind, rows) -> None:
    wells = {"A/1": ["0"], "A/2": ["0", "1"], "B/1": ["0"], "C/12": ["0"]}
    plate = save_plate(tmp_path / "P.zarr", wells, kind, lost=("B/1", "A/2/1"), rows=rows)
    assert [(image.well, image.field) for image in plate_images(plate)] == [
        ("A01", "0"),
        ("A02", "0"),
        ("C12", "0"),
    ]
    notes = understand(plate).notes
    assert "Of the 4 wells that the plate P.zarr names, 1 are missing and left out: B01" in notes[0]
    assert "4 fields" in notes[1]
    assert "A02 field 1" in notes[1]
    assert [str(path.relative_to(plate)) for path in image_places(tmp_path)] == [
        "A/1/0",
        "A/2/0",
        "C/12/0",
    ]


def test_a_well_whose_metadata_are_damaged_is_left_out(tmp_path: Path) -> None:
    plate = save_plate(tmp_path / "P.zarr", {"A/1": ["0"], "A/2": ["0"], "A/3": ["0"]})
    (plate / "A/1/.zattrs").write_text("{")
    (plate / "A/2/.zattrs").write_text("{}")
    assert [image.well for image in plate_images(plate)] == ["A03"]
    assert "2 are missing and left out: A01" in understand(plate).notes[0]


def test_a_plate_without_any_well_is_refused(tmp_path: Path) -> None:
    plate = save_plate(tmp_path / "P.zarr", {"A/1": ["0"], "B/1": ["0"]}, lost=("A/1", "B/1"))
    with pytest.raises(ImageReadError, match=r"without fields in its 2 wells, the first: A01"):
        plate_images(plate)
    assert list(image_places(tmp_path)) == [plate]  # so that whoever reads it is told


def test_several_acquisitions_are_told(tmp_path: Path) -> None:
    wells = {"A/1": ["0:7", "1:9"], "A/2": ["0:7", "1:9"], "A/3": ["0:7"]}
    named = [{"id": 7, "name": "day 1"}, {"id": 9}]
    plate = save_plate(tmp_path / "P.zarr", wells, acquisitions=named)
    (note,) = understand(plate).notes
    assert "has 2 acquisitions (day 1: 3 images, 9: 2 images)" in note
    one = save_plate(tmp_path / "Q.zarr", {"A/1": ["0:7"], "A/2": ["0:7"]}, acquisitions=named)
    assert understand(one).notes == ()


def save_series(folder: Path, names: list[str], kind=2, *, order=None, key=True) -> Path:
    group = zarr.open_group(folder, mode="w", zarr_format=kind)
    if key:
        put(group, **{"bioformats2raw.layout": 3})
    about = zarr.open_group(folder / "OME", mode="w", zarr_format=kind)
    (folder / "OME/METADATA.ome.xml").write_text("<OME/>")
    if order:
        put(about, series=order)
    for number, name in enumerate(names):
        save(folder / name, kind, PIXELS + number)
    return folder


@VERSIONS
@pytest.mark.parametrize("order", [None, ["0"]])
@pytest.mark.parametrize("key", [True, False])
def test_the_only_image_of_a_series_is_read(tmp_path: Path, kind, order, key) -> None:
    folder = save_series(tmp_path / "slide.zarr", ["0"], kind, order=order, key=key)
    image = read(folder)
    np.testing.assert_array_equal(image, PIXELS)
    assert image.attrs["notes"] == ()
    assert list(image_places(tmp_path)) == [folder]


@VERSIONS
@pytest.mark.parametrize(("names", "lost"), [(["1"], "0, 2"), (["0", "2"], "1")])
def test_images_that_a_series_names_and_lacks_are_told(tmp_path: Path, kind, names, lost) -> None:
    folder = save_series(tmp_path / "slide.zarr", names, kind, order=["0", "1", "2"])
    said = f"Of the 3 images that slide.zarr names, {lost.count(',') + 1} are missing and left out: {lost}."
    image = read(folder)
    np.testing.assert_array_equal(image, PIXELS)
    assert said in image.attrs["notes"]
    if len(names) > 1:
        assert said in understand(folder).notes


@VERSIONS
def test_the_first_image_of_a_series_is_read_and_the_others_named(tmp_path: Path, kind) -> None:
    folder = save_series(tmp_path / "slide.zarr", [str(n) for n in range(11)], kind)
    image = read(folder)
    np.testing.assert_array_equal(image, PIXELS)
    (note,) = image.attrs["notes"]
    assert "The first of 11 images in slide.zarr" in note
    assert str(folder / "1") in note  # by number, not by text, where 10 comes before 2
    assert len(list(image_places(tmp_path))) == 11
    assert understand(folder).fields == 11
    other = save_series(tmp_path / "other.zarr", ["a", "b"], kind, order=["b", "a"])
    np.testing.assert_array_equal(read(other), PIXELS + 1)


@pytest.mark.parametrize(
    ("omero", "names"),
    [
        (None, ("channel 1", "channel 2")),
        ({}, ("channel 1", "channel 2")),
        ([], ("channel 1", "channel 2")),
        ({"channels": None}, ("channel 1", "channel 2")),
        ({"channels": [None, None]}, ("channel 1", "channel 2")),
        ({"channels": [{"label": None}, {"color": "FF0000"}]}, ("channel 1", "channel 2")),
        ({"channels": [{"label": "DAPI"}, {"label": None}]}, ("DAPI", "channel 2")),
        ({"channels": [{"label": 405}, {"label": 561}]}, ("405", "561")),
        ({"channels": [{"label": "DAPI"}, {"label": "DAPI"}]}, ("DAPI", "DAPI (2)")),
    ],
)
@VERSIONS
def test_channels_that_are_null(tmp_path: Path, kind, omero, names) -> None:
    image = read(save(tmp_path / "a.zarr", kind, omero=omero))
    assert channel_names(image) == names
    np.testing.assert_array_equal(image, PIXELS)


def scaled(*factors: float, shift=None) -> list[dict]:
    steps: list[dict] = [{"type": "scale", "scale": list(factors)}]
    return [*steps, {"type": "translation", "translation": shift}] if shift else steps


@pytest.mark.parametrize(
    ("units", "factors", "size", "said"),
    [
        ({"y": "nanometer", "x": "micrometer"}, (1, 650, 0.65), (0.65, 0.65), ""),
        ({"y": "millimeter", "x": "angstrom"}, (1, 0.001, 5000), (1.0, 0.5), ""),
        ({"y": "\u00b5m", "x": "micron"}, (1, 0.5, 0.25), (0.5, 0.25), ""),
        ({"y": None, "x": None}, (1, 0.65, 0.65), None, "0.65 along y without a unit"),
        ({"y": None, "x": "micrometer"}, (1, 0.65, 0.65), None, "0.65 along y without a unit"),
        ({"y": "pixel", "x": "pixel"}, (1, 0.65, 0.65), None, "0.65 along y in 'pixel'"),
        ({"y": "parsnip", "x": "parsnip"}, (1, 2, 2), None, "2 along x in 'parsnip'"),
        ({"y": "micrometer", "x": "micrometer"}, (1, 0, 0.5), None, "0 along y in 'micrometer'"),
        ({"y": "micrometer", "x": "micrometer"}, (1, -2, 0.5), None, "-2 along y"),
        ({"y": "micrometer", "x": "micrometer"}, (1, float("nan"), 1), None, "nan along y"),
        ({"y": None, "x": None}, (1, 1, 1), None, ""),
    ],
)
def test_each_axis_has_its_own_unit_and_none_is_made_up(
    tmp_path: Path, units, factors, size, said
) -> None:
    image = read(save(tmp_path / "a.zarr", named=axes(**units), steps=scaled(*factors)))
    assert image.attrs["unit"] == ("um" if size else "pixel")
    assert tuple(image.attrs["pixel_size"].values()) == (size or (1.0, 1.0))
    assert (said in " ".join(image.attrs["notes"])) and bool(image.attrs["notes"]) == bool(said)


def test_the_distance_of_planes_counts_only_where_there_are_several(tmp_path: Path) -> None:
    steps = scaled(1, 2, 0.5, 0.5)
    named = axes("czyx", z=None)
    flat = read(save(tmp_path / "a.zarr", pixels=PIXELS[:, None], named=named, steps=steps))
    assert flat.attrs["notes"] == ()
    deep = np.stack([PIXELS, PIXELS], 1)
    stack = read(save(tmp_path / "b.zarr", pixels=deep, named=named, steps=steps))
    assert "2 along z without a unit" in stack.attrs["notes"][0]
    assert stack.attrs["unit"] == "um"


@pytest.mark.parametrize(
    ("steps", "whole", "units", "place"),
    [
        (scaled(1, 0.5, 0.25, shift=[0, 1000.0, -500.0]), [], {}, (1000.0, -500.0)),
        (
            scaled(1, 500, 250, shift=[0, 3e6, 0]),
            [],
            {"y": "nanometer", "x": "nanometer"},
            (3000, 0),
        ),
        (
            scaled(1, 500, 0.25, shift=[0, 1000, 7]),
            [],
            {"y": "nanometer", "x": "micrometer"},
            (1.0, 7.0),
        ),
        # those of the whole come after those of the resolution
        (
            scaled(1, 1, 1, shift=[0, 10, 20]),
            scaled(1, 0.5, 0.25, shift=[0, 1, 1]),
            {},
            (6.0, 6.0),
        ),
        # without a length, in pixels
        (scaled(1, 0.5, 0.25, shift=[0, 10, -5]), [], {"y": None, "x": None}, (20.0, -20.0)),
    ],
)
def test_the_place_of_an_image_is_kept(tmp_path: Path, steps, whole, units, place) -> None:
    folder = save(
        tmp_path / "a.zarr", named=axes(**units), steps=steps, coordinateTransformations=whole
    )
    image = read(folder)
    assert (first_centre(image, "y"), first_centre(image, "x")) == place
    (_, first, _), (_, second, _) = read_layers(folder)
    assert first["translate"] == second["translate"] == place
    again = read(write(image, tmp_path / "b.ome.zarr"))
    assert (first_centre(again, "y"), first_centre(again, "x")) == place


def test_transformations_that_are_not_followed_are_told(tmp_path: Path) -> None:
    steps = [*scaled(1, 0.5, 0.5), {"type": "rotation", "rotation": [1, 0, 0, 1]}]
    notes = read(save(tmp_path / "a.zarr", steps=steps)).attrs["notes"]
    assert "'rotation', which is not followed" in notes[0]
    plain = [{"type": "identity"}, *scaled(1, 0.5, 0.5)]
    assert read(save(tmp_path / "b.zarr", steps=plain)).attrs["notes"] == ()
    lost = scaled(1, 0.5, 0.5, shift=[0, float("nan"), 3])
    assert "no number" in read(save(tmp_path / "c.zarr", steps=lost)).attrs["notes"][0]


@pytest.mark.parametrize(("name", "kind"), [("Channel", "channel"), ("C", "channel")])
def test_axes_named_by_words_whose_type_tells(tmp_path: Path, name, kind) -> None:
    named = [{"name": name, "type": kind}, *axes()[1:]]
    np.testing.assert_array_equal(read(save(tmp_path / "a.zarr", named=named)), PIXELS)


def test_a_group_that_only_sorts_images_is_looked_into(tmp_path: Path) -> None:
    for kind in (2, 3):
        root = tmp_path / f"store{kind}"
        zarr.open_group(root, mode="w", zarr_format=kind)
        zarr.open_group(root / "healthy", mode="w", zarr_format=kind)
        save(root / "healthy/f0", kind)
        folders = [path for path in image_places(root) if path.is_dir()]
        assert folders == [root / "healthy/f0"]


def test_files_that_systems_leave_behind_are_no_chunks(tmp_path: Path) -> None:
    folder = save(tmp_path / "a.zarr")
    for name in (".DS_Store", "0/.DS_Store", "0/._0.0.0", "0/Thumbs.db", "0/@eaDir/0.0.0@SynoEA"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    image = read(folder)
    np.testing.assert_array_equal(image, PIXELS)
    assert image.attrs["notes"] == ()


def test_a_copy_without_hidden_files_is_one_unreadable_image(tmp_path: Path) -> None:
    folder = save(tmp_path / "class/a.zarr")
    for hidden in folder.rglob(".z*"):
        hidden.unlink()
    assert list(image_places(tmp_path)) == [folder]
    with pytest.raises(ImageReadError, match="copy it again, with hidden files"):
        read(folder)
    shutil.rmtree(folder)
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/image.tif").write_bytes(b"II*\0")
    assert list(image_places(tmp_path)) == [folder / "sub/image.tif"]


@VERSIONS
def test_an_array_alone_is_refused_as_one(tmp_path: Path, kind) -> None:
    array = save(tmp_path / "a.zarr", kind) / "0"
    with pytest.raises(ImageReadError, match=r"an array of Zarr.*name the folder of the image"):
        read(array)


def test_metadata_of_the_wrong_kind_end_in_one_error(tmp_path: Path) -> None:
    plate = save_plate(tmp_path / "P.zarr", {"A/1": ["0"]})
    for wells in (None, 3, [3], [{"path": None}], [{"path": "../A/1"}]):
        (plate / ".zattrs").write_text(json.dumps({"plate": {"wells": wells}}))
        with pytest.raises(ImageReadError):
            read(plate)
        assert list(image_places(tmp_path)) == [plate]


def test_a_unit_without_a_scale_is_no_size(tmp_path: Path) -> None:
    image = read(save(tmp_path / "a.zarr", steps=[{"type": "identity"}]))
    assert image.attrs["unit"] == "pixel"
    assert "unit 'micrometer' and no scale" in image.attrs["notes"][0]
    plain = read(
        save(tmp_path / "b.zarr", named=axes(y=None, x=None), steps=[{"type": "identity"}])
    )
    assert (plain.attrs["unit"], plain.attrs["notes"]) == ("pixel", ())
    whole = scaled(1, 0.5, 0.5)
    other = save(tmp_path / "c.zarr", steps=[{"type": "identity"}], coordinateTransformations=whole)
    assert read(other).attrs["pixel_size"] == {"y": 0.5, "x": 0.5}


@pytest.mark.parametrize(
    ("folder", "index", "name", "notes"),
    [
        ("B/3", (1, 1), "B03", 0),
        ("B3", (1, 1), "B03", 0),
        ("row 2/column 3", (1, 1), "B03", 0),
        ("B/3", (0, 0), "B03", 1),
        ("B/3", (7, 9), "B03", 0),
    ],
)
def test_wells_are_named_by_folders_and_else_by_rows_and_columns(
    tmp_path: Path, folder, index, name, notes
) -> None:
    columns, rows = [{"name": "2"}, {"name": "3"}], [{"name": "A"}, {"name": "B"}]
    plate = save_plate(tmp_path / "P.zarr", {folder: ["0"]})
    well = {"path": folder, "rowIndex": index[0], "columnIndex": index[1]}
    about = {"wells": [well], "rows": rows, "columns": columns}
    (plate / ".zattrs").write_text(json.dumps({"plate": about}))
    (image,) = plate_images(plate)
    assert image.well == name
    assert len(understand(plate).notes) == notes
    assert plates_of([image.path]) == {image.path: (plate, image)}


def test_masks_and_further_images_are_told(tmp_path: Path) -> None:
    folder = save(tmp_path / "a.zarr", **{"image-label": {"version": "0.4"}})
    assert "no intensities" in read(folder).attrs["notes"][0]
    stored = json.loads((folder / ".zattrs").read_text())
    stored["multiscales"] *= 2
    (folder / ".zattrs").write_text(json.dumps(stored))
    assert "describes 2 images" in read(folder).attrs["notes"][0]
