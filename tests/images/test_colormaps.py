import pytest

from napari_why.images import default_colormaps
from napari_why.images.display import HEX_COLOURS


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
