"""The registry offers every method with its title, source, parameters and needs."""

import pytest

from napari_why.attribution import METHODS
from napari_why.attribution.occlusion import choose_grid
from napari_why.core.errors import ParameterError, UnsupportedNetworkError
from napari_why.core.options import PRESETS, preset_values, relative_cost, validated


def test_methods_of_the_issue_are_there() -> None:
    assert set(METHODS) >= {
        "occlusion",
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "cam",
        "grad_cam",
        "hires_cam",
        "lrp",
    }


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_tells_what_a_form_needs(name: str) -> None:
    method = METHODS[name]
    assert method.name == method.function.__name__ == name
    assert method.title
    assert any(character.isdigit() for character in method.source)  # a year, a number
    assert method.summary.endswith(".")
    for parameter in method.parameters:
        assert parameter.help
        assert parameter.validate(parameter.default) == parameter.default


def test_occlusion_defaults_are_those_of_the_thesis() -> None:
    assert choose_grid((224, 224)) == (15, 6)


def test_windows_of_occlusion_grow_with_the_input(case) -> None:
    assert choose_grid((112, 112)) == (8, 3)
    assert choose_grid((448, 300)) == (20, 8)  # of the smaller side
    small = case("bottleneck")
    details = METHODS["occlusion"].function(small.network, small.x, 0).details
    assert (details["window"], details["stride"]) == choose_grid(small.x.shape[-2:])


def test_presets_make_occlusion_coarser_and_finer() -> None:
    function = METHODS["occlusion"].function
    steps = {
        name: choose_grid((224, 224), overlap=preset_values(function, name)["overlap"])[1]
        for name in PRESETS
    }
    assert steps == {"quick_look": 12, "standard": 6, "thorough": 3}
    costs = [relative_cost(function, preset_values(function, name)) for name in PRESETS]
    assert [cost / costs[0] for cost in costs] == pytest.approx([1, 4, 16])


def test_a_preset_gives_what_is_not_given() -> None:
    rise = METHODS["rise"].function
    assert validated(rise, {"preset": "thorough"})["samples"] == 4000
    assert validated(rise, {"preset": "thorough", "samples": 7})["samples"] == 7
    with pytest.raises(ParameterError, match="preset: found 'best'; expected one of quick_look"):
        validated(rise, {"preset": "best"})
    with pytest.raises(ParameterError, match="found parameter preset"):
        validated(METHODS["cam"].function, {"preset": "thorough"})


def test_cam_says_why_it_cannot_explain_another_head(case) -> None:
    from napari_why.networks.registry import build_network

    network = build_network(
        "iresnet", input_channels=2, classes=2, size=16, blocks="1", widths="4",
        downscaling="2", head="thesis",
    )  # fmt: skip
    assert "linear head" in METHODS["cam"].unsuitable(network)
    with pytest.raises(UnsupportedNetworkError, match=r"CAM cannot explain iresnet: .*linear head"):
        METHODS["cam"].check(network)
    assert METHODS["cam"].unsuitable(case("cam_net").network) is None
