import numpy as np
import pytest
from skimage.color import rgb2lab

from napari_why.images import default_colormaps
from napari_why.images.display import (
    FALLBACK,
    HEX_COLOURS,
    NEGATIVE,
    ONE_CHANNEL,
    POSITIVE,
    STAINS,
)


@pytest.mark.parametrize(
    ("names", "colours"),
    [
        (["DAPI", "TMRM"], ["blue", "bop orange"]),
        (["nuclei", "mitochondria"], ["blue", "bop orange"]),
        (["FKHR-EGFP", "DNA"], ["green", "blue"]),
        (["Hoechst 33342", "MitoTracker Deep Red"], ["blue", "bop orange"]),
        (["w1", "w2"], ["green", "magenta"]),
        (["channel 1"], ["gray"]),
        (["DAPI"], ["blue"]),
    ],
)
def test_stains_have_their_colours(names, colours) -> None:
    assert default_colormaps(names) == colours


def test_no_colour_twice_while_they_last() -> None:
    assert len(set(default_colormaps(["DAPI", "DNA", "Hoechst", "a", "b", "c"]))) == 6
    assert len(default_colormaps([f"c{i}" for i in range(20)])) == 20


def test_napari_knows_every_colour() -> None:
    from napari.utils.colormaps import ensure_colormap

    for name in {*default_colormaps([f"c{i}" for i in range(8)]), *default_colormaps(["x"])}:
        assert ensure_colormap(name).name == name


def test_hexadecimal_colours_are_the_brightest_of_napari_s_colormaps() -> None:
    from napari.utils.colormaps import ensure_colormap

    for name, digits in HEX_COLOURS.items():
        brightest = ensure_colormap(name).colors[-1][:3]
        assert digits == "".join(f"{round(float(value) * 255):02X}" for value in brightest)
    many = default_colormaps([f"c{i}" for i in range(30)])
    assert {*many, *default_colormaps(["DAPI", "RFP", "phase"])} <= HEX_COLOURS.keys()


# What eyes without one kind of cones see, in linear light (Machado, Oliveira & Fernandes 2009).
EYES = {
    "all cones": np.eye(3),
    "no red cones": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "no green cones": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "no blue cones": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


def lab(colours, eyes="all cones"):
    """CIELAB of colours (n, 3), red, green and blue from 0 to 1."""
    colours = np.atleast_2d(colours)
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.transpose(EYES[eyes]), 0, 1)
    seen = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb2lab(seen)


def channel_colours():
    """Every brightness of every colour that the reader gives a channel."""
    names = {name for _, name in STAINS} | set(FALLBACK) | {ONE_CHANNEL}
    ends = [[int(HEX_COLOURS[name][i : i + 2], 16) / 255 for i in (0, 2, 4)] for name in names]
    return np.concatenate([brightness * np.array(ends) for brightness in np.linspace(0.2, 1, 9)])


@pytest.mark.parametrize("colour", [NEGATIVE, POSITIVE])
def test_evidence_and_change_have_colours_that_no_channel_has(colour):
    distances = np.linalg.norm(lab(channel_colours()) - lab(colour), axis=1)
    assert distances.min() > 30


@pytest.mark.parametrize("eyes", EYES)
def test_more_and_less_are_told_apart_by_every_eye(eyes):
    first, second = lab(NEGATIVE, eyes)[0], lab(POSITIVE, eyes)[0]
    assert np.linalg.norm(first - second) > 60
    for colour in (first, second):
        assert np.linalg.norm(colour[1:]) > 20, "neither is grey"
