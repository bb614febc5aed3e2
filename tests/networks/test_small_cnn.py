"""The small network that gives second opinions."""

import pytest
import torch

from napari_why.core.errors import ParameterError
from napari_why.networks import build_network


def test_each_layer_halves_the_resolution() -> None:
    network = build_network("small_cnn", input_channels=3, classes=4, size=(32, 48), widths="4,8")
    network.freeze()
    maps = network.feature_maps(torch.rand(2, 3, 32, 48))
    assert [tuple(value.shape) for value in maps.values()] == [(2, 4, 16, 24), (2, 8, 8, 12)]
    assert tuple(maps) == network.layer_names == ("layer1", "layer2")
    assert network.linear_head_weights.shape == (4, 8)


def test_it_takes_fields_larger_than_it_was_trained_on() -> None:
    network = build_network("small_cnn", input_channels=1, classes=2, size=32)
    network.freeze()
    assert network(torch.rand(1, 1, 71, 90)).shape == (1, 2)


@pytest.mark.parametrize(
    ("given", "words"),
    [({"size": 8}, "size"), ({"classes": 1}, "classes"), ({"widths": "8,x"}, "widths")],
)
def test_what_cannot_be_is_refused(given, words) -> None:
    with pytest.raises(ParameterError, match=words):
        build_network("small_cnn", **({"input_channels": 1, "classes": 2, "size": 32} | given))
