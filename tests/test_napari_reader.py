from pathlib import Path

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image

from napari_why.core.errors import AmbiguousAxesError, ImageReadError
from napari_why.images import make_image, read, write
from napari_why.napari_reader import get_reader, image_layers

STACK = np.random.default_rng(0).integers(0, 900, (3, 2, 5, 20, 30)).astype("uint16")


def opened(path) -> ViewerModel:
    viewer = ViewerModel()
    reader = get_reader(path)
    assert reader is not None
    for data, keywords, kind in reader(path):
        assert kind == "image"
        viewer.add_layer(Image(data, **keywords))
    return viewer


@pytest.fixture
def field(tmp_path: Path) -> str:
    size = {"y": 0.5, "x": 0.25}
    image = make_image(STACK[0, :, 0], "cyx", ["DAPI", "TMRM"], pixel_size=size, unit="um")
    return str(write(image, tmp_path / "field.ome.tif"))


def test_one_layer_a_channel_named_coloured_and_in_micrometres(field: str) -> None:
    viewer = opened(field)
    nuclei, mitochondria = viewer.layers
    assert (nuclei.name, mitochondria.name) == ("field DAPI", "field TMRM")
    assert (nuclei.colormap.name, mitochondria.colormap.name) == ("blue", "bop orange")
    for layer, pixels in zip(viewer.layers, STACK[0, :, 0], strict=True):
        np.testing.assert_array_equal(layer.data, pixels)
        assert layer.blending == "additive"
        np.testing.assert_allclose(layer.scale, (0.5, 0.25))
        assert [str(unit) for unit in layer.units] == ["micrometer", "micrometer"]
        assert layer.axis_labels == ("y", "x")
        assert layer.contrast_limits[1] <= 900
    assert mitochondria.metadata["napari_why"]["channel"] == "TMRM"
    assert mitochondria.metadata["napari_why"]["source"] == field
    assert viewer.dims.axis_labels == ("y", "x")
    assert viewer.layers.units is not None


def test_time_and_depth_keep_their_names_and_scale(tmp_path: Path) -> None:
    size = {"z": 2.0, "y": 0.5, "x": 0.5}
    image = make_image(STACK, "tczyx", None, pixel_size=size, unit="um")
    viewer = opened(str(write(image, tmp_path / "series.ome.tif")))
    layer = viewer.layers[1]
    np.testing.assert_array_equal(layer.data, STACK[:, 1])
    np.testing.assert_allclose(layer.scale, (1, 2, 0.5, 0.5))
    assert layer.axis_labels == ("t", "z", "y", "x")
    assert str(layer.units[1]) == "micrometer"
    assert viewer.dims.axis_labels == ("t", "z", "y", "x")
    assert viewer.layers.units is not None


def test_an_image_without_pixel_size_is_in_pixels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "plain.tif", STACK[0, 0, 0])
    (layer,) = opened(str(tmp_path / "plain.tif")).layers
    assert str(layer.units[0]) == "pixel"
    assert layer.colormap.name == "gray"


def test_per_channel_files_open_from_one_of_them_or_as_a_stack(tmp_path: Path) -> None:
    paths = [str(tmp_path / f"f_w{n}.tif") for n in (1, 2)]
    for path, plane in zip(paths, STACK[0, :, 0], strict=True):
        tifffile.imwrite(path, plane)
    for given in (paths, paths[0], paths[:1]):
        assert [layer.name for layer in opened(given).layers] == ["f w1", "f w2"]


def test_a_nearly_black_eight_bit_image_is_seen(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).poisson(1.5, (64, 64)).astype("uint8")
    tifffile.imwrite(tmp_path / "crushed.tif", pixels)
    (layer,) = opened(str(tmp_path / "crushed.tif")).layers
    assert layer.contrast_limits[1] <= pixels.max() < 20


def test_files_with_our_ending_say_what_is_wrong_and_are_not_refused(tmp_path: Path) -> None:
    """A refusal would hide the reason behind napari's own sentence."""
    (tmp_path / "text.tif").write_text("no image")
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((8, 8, 3), "uint8"), photometric="rgb")
    for name, words in (("text.tif", "text.tif"), ("rgb.tif", "RGB colour picture.*page Data")):
        path = str(tmp_path / name)
        reader = get_reader(path)
        assert reader is not None
        with pytest.raises(ImageReadError, match=words):
            reader(path)


def test_foreign_files_are_left_to_other_plugins(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no image")
    (tmp_path / "photo.png").write_text("no image")
    tifffile.imwrite(tmp_path / "good.tif", STACK[0, 0, 0])
    good = str(tmp_path / "good.tif")
    for name in ("text.txt", "photo.png", "missing.tif", "."):
        assert get_reader(str(tmp_path / name)) is None
        assert get_reader([good, str(tmp_path / name)]) is None
    assert get_reader([]) is None


def test_a_damaged_file_says_what_is_wrong(field: str) -> None:
    whole = Path(field).read_bytes()
    Path(field).write_bytes(whole[:-9])
    reader = get_reader(field)
    assert reader is not None
    with pytest.raises(ImageReadError, match=r"field\.ome\.tif"):
        reader(field)


def test_a_folder_of_channel_files_opens_and_others_are_left_alone(tmp_path: Path) -> None:
    for channel in (1, 2):
        place = tmp_path / "field" / f"p_B02_s1_w{channel}.tif"
        place.parent.mkdir(exist_ok=True)
        tifffile.imwrite(place, STACK[0, channel - 1, 0], metadata=None)
    viewer = opened(str(tmp_path / "field"))
    assert [layer.name for layer in viewer.layers] == ["p_B02_s1 w1", "p_B02_s1 w2"]
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("no image")
    assert get_reader(str(foreign)) is None
    assert get_reader(str(foreign / "notes.txt")) is None


def test_axes_that_have_to_be_asked_for_are_said_with_the_way_on(tmp_path: Path) -> None:
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, STACK[0, 0], metadata=None, photometric="minisblack")
    reader = get_reader(str(path))
    assert reader is not None
    with pytest.raises(AmbiguousAxesError, match=r"5 pages .*Plugins > napari-why, page Data"):
        reader(str(path))
    layers = image_layers(read(path, axes="zyx"))
    assert layers[0][1]["metadata"]["napari_why"]["read_as"] == {"axes": "zyx"}


def test_a_channel_that_other_fields_have_is_named(tmp_path: Path) -> None:
    for name in ("p_B02_s1_w1.tif", "p_B02_s1_w2.tif", "p_B02_s2_w1.tif"):
        tifffile.imwrite(tmp_path / name, STACK[0, 0, 0], metadata=None)
    (layer,) = opened(str(tmp_path / "p_B02_s2_w1.tif")).layers
    assert "missing: w2" in " ".join(layer.metadata["napari_why"]["notes"])
