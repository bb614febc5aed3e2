"""The registry offers every method with its title, source, parameters and needs."""

import pytest

from napari_why.attribution import METHODS
from napari_why.core.errors import UnsupportedNetworkError


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
    defaults = {item.name: item.default for item in METHODS["occlusion"].parameters}
    assert (defaults["window"], defaults["stride"]) == (15, 6)


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
