"""Layers that are taken for the channels of one image: found by name, on one place, of one image."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_why.core.errors import MismatchError
from napari_why.images import make_image, read, write
from napari_why.napari_reader import image_layers
from napari_why.output.raw_layers import (
    LayerChoice,
    image_from_layers,
    is_one_field,
    layer_of_channel,
    match_layers,
)
from napari_why.sessions import find_raw_layers

CHANNELS = ("DAPI", "TMRM")
SHAPE = (12, 16)
QUARTER = [[0, -1], [1, 0]]
REGISTERED = np.array([[0.9, -0.3, 5], [0.3, 0.9, -2], [0, 0, 1]])
BESIDE = np.array([[1.0, 0, 0], [0, 1, 3], [0, 0, 1]])


def raw(name: str, channel: str | None = None, source: str = "", **place) -> Image:
    shape = place.pop("shape", SHAPE)
    facts = {"channel": channel, "source": source} if channel else {}
    pixels = np.full(shape, len(name + source), place.pop("dtype", np.uint16))
    return Image(pixels, name=name, metadata={"napari_why": facts} if facts else {}, **place)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"translate": (5, 0)}, "up to 5 pixels away .*translate"),
        ({"translate": (0, 0.3)}, "up to 0.3 pixels away .*translate"),
        ({"scale": (1, 1.02)}, "up to 0.3 pixels away .*scale"),
        ({"scale": (-1, 1)}, "pixels away .*scale"),
        ({"rotate": 2.0}, "pixels away .*rotate"),
        ({"rotate": QUARTER}, "pixels away .*rotate"),
        ({"shear": [0.1]}, "pixels away .*shear"),
        ({"affine": REGISTERED}, "pixels away .*affine"),
        ({"affine": BESIDE}, "up to 3 pixels away .*affine"),
        ({"units": ("um", "um")}, "found units micrometer, micrometer; expected .* pixel, pixel"),
    ],
)
def test_channels_that_lie_differently_are_refused(place, said: str) -> None:
    with pytest.raises(MismatchError, match=f"(?s){said}"):
        image_from_layers([raw("DAPI"), raw("TMRM", **place)], CHANNELS)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"scale": (0.65, 0.65), "units": ("um", "um")}, {"scale": (650, 650), "units": ("nm", "nm")}),
        ({"translate": (5, 0)}, {"affine": [[1, 0, 5], [0, 1, 0], [0, 0, 1]]}),
        ({"rotate": 90.0}, {"rotate": QUARTER}),
        ({"scale": (0.325, 0.325)}, {"scale": (0.3250001, 0.325)}),
        ({"translate": (0, 0)}, {"translate": (0.01, 0.01)}),
        ({"scale": (2, 2)}, {"affine": np.diag([2.0, 2.0, 1.0])}),
        ({"affine": REGISTERED}, {"affine": REGISTERED}),
    ],
)  # fmt: skip
def test_one_place_that_is_told_in_two_ways_is_one_place(one, other) -> None:
    image = image_from_layers([raw("DAPI", **one), raw("TMRM", **other)], CHANNELS)
    assert image.sizes["c"] == 2


def test_the_offset_of_a_stack_counts_along_z_too() -> None:
    stacks = [raw(name, shape=(3, *SHAPE)) for name in CHANNELS]
    stacks[1].translate = (1, 0, 0)
    with pytest.raises(MismatchError, match="up to 1 pixels away"):
        image_from_layers(stacks, CHANNELS, (1,))


def test_layers_of_two_types_are_refused() -> None:
    with pytest.raises(MismatchError, match="found uint8; expected uint16"):
        image_from_layers([raw("DAPI"), raw("TMRM", dtype=np.uint8)], CHANNELS)


@pytest.mark.parametrize(
    ("sources", "fits"),
    [
        (("a.tif", "a.tif"), True),
        (("a_w1.tif; a_w2.tif", "a_w1.tif; a_w2.tif"), True),
        (("a_w1.tif", "a_w2.tif"), True),
        (("a_w1.tif", "b_w2.tif"), False),
        (("A.ome.tif", "B.ome.tif"), False),
        (("one/A.ome.tif", "two/A.ome.tif"), False),
        (("plate.ome.zarr/B/3/0", "plate.ome.zarr/B/3/1"), False),
        (("simulated scene 1, healthy", "simulated scene 1, treated"), False),
        (("A.ome.tif", ""), True),
    ],
)
def test_layers_of_different_images_have_to_be_confirmed(sources, fits: bool) -> None:
    layers = [raw(name, name, source) for name, source in zip(CHANNELS, sources, strict=True)]
    assert is_one_field(layers) == fits
    if fits:
        assert image_from_layers(layers, CHANNELS).sizes["c"] == 2
        return
    with pytest.raises(MismatchError, match=r"of different images: 'DAPI' from .*several_files"):
        image_from_layers(layers, CHANNELS)
    image = image_from_layers(layers, CHANNELS, several_files=True)
    assert image.attrs["source"] == "; ".join(sources)
    assert "put together as one field" in image.attrs["notes"][0]
    assert match_layers(layers, CHANNELS) == [None, None]


def test_one_file_that_was_read_in_two_ways_is_two_images() -> None:
    layers = [raw(name, name, "a.tif") for name in CHANNELS]
    layers[1].metadata["napari_why"]["read_as"] = {"axes": "zcyx"}
    with pytest.raises(MismatchError, match="different images"):
        image_from_layers(layers, CHANNELS)


def test_what_is_odd_about_layers_is_told() -> None:
    layers = [raw("a", "TMRM", "a.tif"), raw("b", "DAPI", "a.tif")]
    layers[0].metadata["napari_why"]["notes"] = ["The file tells no pixel size."]
    notes = image_from_layers(layers, CHANNELS).attrs["notes"]
    assert notes[0] == "The file tells no pixel size."
    assert notes[1] == "Layer 'a' was chosen for DAPI, and its file calls it TMRM"
    blurred = image_from_layers([raw("DAPI", "DAPI", "a.tif"), raw("TMRM")], CHANNELS)
    assert "'TMRM' tells no file" in blurred.attrs["notes"][0]


def test_a_copy_of_a_layer_is_told() -> None:
    pixels = np.arange(12 * 16, dtype="uint16").reshape(12, 16)
    nuclei, copy = Image(pixels, name="DAPI"), Image(pixels.copy(), name="DAPI copy")
    said = image_from_layers([nuclei, copy], CHANNELS).attrs["notes"]
    assert said == ("Layers 'DAPI' and 'DAPI copy' hold the same pixels",)
    other = Image(pixels + 1, name="TMRM")
    assert image_from_layers([nuclei, other], CHANNELS).attrs["notes"] == ()


def test_one_layer_is_no_two_channels() -> None:
    layer = raw("DAPI")
    with pytest.raises(MismatchError, match="found it chosen for two channels"):
        image_from_layers([layer, layer], CHANNELS)


@pytest.mark.parametrize(
    ("channels", "names", "expected"),
    [
        (CHANNELS, ("TMRM", "DAPI"), (1, 0)),
        (CHANNELS, ("tmrm", "dapi"), (1, 0)),
        (CHANNELS, ("TMRM (561)", "DAPI (405)"), (1, 0)),
        (CHANNELS, ("TMRM [1]", "DAPI [1]"), (1, 0)),
        (CHANNELS, ("A.ome: TMRM", "A.ome: DAPI"), (1, 0)),
        (CHANNELS, ("TMRM-1", "DAPI-1"), (1, 0)),
        (CHANNELS, ("w2TMRM", "w1DAPI"), (1, 0)),
        (CHANNELS, ("C2-TMRM.tif", "C1-DAPI.tif"), (1, 0)),
        (CHANNELS, ("Brightfield", "DAPI", "TMRM"), (1, 2)),
        (CHANNELS, ("Brightfield", "Hoechst", "TMRE"), (None, None)),
        (CHANNELS, ("Image", "Image [1]"), (None, None)),
        (CHANNELS, ("channel 1", "channel 2"), (None, None)),
        (CHANNELS, ("DAPI", "DAPI [1]", "TMRM"), (None, 2)),
        (CHANNELS, ("DAPI", "dapi", "TMRM"), (None, 2)),
        (CHANNELS, ("TMRM", "DAPI mask", "DAPI"), (2, 0)),
        (CHANNELS, ("DAPI-TMRM", "TMRM"), (None, 1)),
        (CHANNELS, ("TMRM",), (None, 0)),
        (CHANNELS, ("405 nm", "561 nm"), (None, None)),
        (("DAPI", "ER"), ("ER", "DAPI_ER-stress"), (None, 0)),
        (("DAPI (405)", "TMRM (561)"), ("TMRM", "DAPI"), (1, 0)),
        (("Ch1 DAPI", "Ch2 TMRM"), ("Ch2", "Ch1"), (None, None)),
        (("channel 1", "channel 10"), ("channel 10", "channel 1"), (1, 0)),
        (("Cy3", "Cy5"), ("Cy5.5", "Cy3"), (1, None)),
        (("Kerne", "Mitochondrien (grün)"), ("MITOCHONDRIEN (GRÜN)", "kerne"), (1, 0)),
        (("Kerne", "grün"), ("gru\u0308n", "\uff2b\uff25\uff32\uff2e\uff25"), (1, 0)),
        (CHANNELS, ("0: TMRM ", " DAPI.tif [12]"), (1, 0)),
        (CHANNELS, ("DAPI,TMRM", "Merge"), (None, None)),
        (("H2B", "C1"), ("C1 [1]", "h2b"), (1, 0)),
        (("H2B", "C1"), ("C1-GFP", "H2B-GFP"), (None, None)),
        (("细胞核", "线粒体"), ("线粒体 [2]", "细胞核 [2]"), (1, 0)),
        (("TMRM", "TMRM 2"), ("x TMRM 2", "x TMRM"), (1, 0)),
    ],
)
def test_layers_are_matched_by_name_and_never_by_order(channels, names, expected) -> None:
    layers = [raw(name) for name in names]
    wanted = [None if index is None else layers[index] for index in expected]
    assert match_layers(layers, channels) == wanted
    # what the reader wrote counts, whatever the user calls the layer
    for index, (layer, name) in enumerate(zip(layers, names, strict=True)):
        layer.metadata = {"napari_why": {"channel": name, "source": "one.tif"}}
        layer.name = f"layer {index}"
    assert match_layers(layers, channels) == wanted


def test_a_users_name_counts_where_the_file_has_none() -> None:
    layers = [raw("TMRM", "channel 1", "a.tif"), raw("nuclei (DAPI)", "channel 2", "a.tif")]
    assert match_layers(layers, CHANNELS) == layers[::-1]


def test_of_two_images_the_topmost_is_taken_and_never_a_mix() -> None:
    below = [raw(name, name, "A.ome.tif") for name in CHANNELS]
    above = [raw(name, name, "B.ome.tif") for name in CHANNELS]
    assert match_layers([*below, *above], CHANNELS) == above
    assert match_layers([*below, above[1]], CHANNELS) == below
    assert match_layers([below[0], above[1]], CHANNELS) == [None, None]


def test_arrays_that_napari_placed_by_itself_know_their_channels(tmp_path) -> None:
    pixels = np.arange(2 * 12 * 16, dtype="uint16").reshape(2, *SHAPE)
    image = make_image(pixels, "cyx", CHANNELS[::-1], pixel_size={"y": 0.5, "x": 0.5}, unit="um")
    path = write(image, tmp_path / "a.ome.tif")
    viewer = ViewerModel()
    viewer.add_image(read(path), channel_axis=0)
    layers = match_layers(find_raw_layers(viewer), CHANNELS)
    found = image_from_layers(layers, CHANNELS)
    np.testing.assert_array_equal(found.values, pixels[::-1])
    assert found.attrs["source"] == str(path)
    assert found.attrs["pixel_size"] == {"y": 0.5, "x": 0.5}


@pytest.mark.parametrize(
    ("place", "size"),
    [
        ({"scale": (-0.5, 0.5)}, (0.5, 0.5)),
        ({"scale": (0.5, 0.25), "rotate": 30.0}, (0.5, 0.25)),
        ({"scale": (0.5, 0.25), "affine": np.diag([2.0, 2.0, 1.0])}, (1.0, 0.5)),
        ({"affine": REGISTERED}, (0.9487, 0.9487)),
        ({"scale": (0.5, 0.5), "shear": [0.5]}, (0.5, 0.5)),
    ],
)
def test_a_pixel_is_as_large_as_it_is_in_the_world(place, size) -> None:
    image = image_from_layers([raw(name, units=("um", "um"), **place) for name in CHANNELS])
    assert tuple(image.attrs["pixel_size"].values()) == pytest.approx(size, rel=1e-3)
    assert bool(image.attrs["notes"]) == ("shear" in place)


def test_other_pixels_meanwhile_are_noticed() -> None:
    layers = [raw(name) for name in CHANNELS]
    choice = LayerChoice.of(layers, CHANNELS)
    assert choice.read().shape == (2, *SHAPE)
    layers[1].data = layers[1].data + 1
    with pytest.raises(MismatchError, match="Layer 'TMRM' was given other pixels"):
        choice.read()


def test_a_result_looks_like_the_layer_that_is_called_so() -> None:
    layers = [raw("tmrm"), raw("DAPI [1]")]
    assert layer_of_channel(layers, "DAPI", 0) is layers[1]
    assert layer_of_channel(layers, "TMRM", 1) is layers[0]
    assert layer_of_channel([raw("one")], "DAPI", 0).name == "one"


def test_a_result_of_an_image_lies_on_its_layers() -> None:
    """The reader's layers of a crop lie where it was cut out, and so does what is made of it."""
    whole = make_image(np.zeros((2, *SHAPE), "uint16"), "cyx", CHANNELS)
    cut = [Image(data, **words) for data, words, _ in image_layers(whole.isel(y=slice(4, None)))]
    assert tuple(cut[0].translate) == (4, 0)
    assert image_from_layers(cut, CHANNELS).shape == (2, 8, 16)
