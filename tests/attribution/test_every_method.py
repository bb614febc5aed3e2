"""What holds for every method on every network."""

import pytest
import torch

from napari_why.attribution import METHODS

FAST = {
    "occlusion": {"window": 16, "stride": 16},
    "integrated_gradients": {"steps": 4},
    "information_bottleneck": {"steps": 2, "samples": 2, "layer": "last"},
    "rise": {"samples": 16},
}
ADDITIVE = ("input_x_gradient", "integrated_gradients", "lrp", "wavelet")


@pytest.fixture
def explain(given):
    """Return a function that runs a method, with what it requires."""

    def run(network, x, name: str, target: int = 1):
        options = {**FAST.get(name, {}), **given(name, x)}
        return METHODS[name].function(network, x, target, **options)

    return run


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("kind", ["preactivation", "bottleneck", "cam_net"])
def test_any_number_of_channels(case, explain, name: str, channels: int, kind: str) -> None:
    network, x = case(kind, channels).network, case(kind, channels).x
    evidence = explain(network, x, name)
    assert evidence.maps.shape == x.shape[1:]
    assert evidence.joint.shape == x.shape[2:]
    assert torch.isfinite(evidence.maps).all()
    assert evidence.maps.flatten(1).any(dim=1).all()  # every channel has evidence
    if name in ADDITIVE:
        assert torch.equal(evidence.joint, evidence.maps.sum(dim=0))


@pytest.mark.parametrize("name", sorted(METHODS))
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_constant_images_give_finite_maps(shipped, explain, name: str, value: float) -> None:
    evidence = explain(shipped.network, torch.full_like(shipped.x, value), name)
    assert torch.isfinite(evidence.maps).all()
    assert torch.isfinite(evidence.joint).all()
    if name in ("occlusion", "input_x_gradient", "integrated_gradients", "lrp") and value == 0:
        assert not evidence.maps.any()  # nothing differs from the training mean


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_same_again_gives_the_same_map(residual, explain, name: str) -> None:
    state = torch.random.get_rng_state()
    one, other = (explain(residual.network, residual.x, name) for _ in range(2))
    assert torch.equal(one.maps, other.maps)
    assert torch.equal(one.joint, other.joint)
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_other_classes_have_other_evidence(residual, explain, name: str) -> None:
    maps = [explain(residual.network, residual.x, name, target).maps for target in range(3)]
    assert not torch.allclose(maps[0], maps[1])
    assert not torch.allclose(maps[1], maps[2])


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_image_itself_stays_as_it_is(residual, explain, name: str) -> None:
    x = residual.x.clone()
    explain(residual.network, x, name)
    assert torch.equal(x, residual.x)
    assert not x.requires_grad
