"""The rows of the benchmark: each is defined, and its method suits its network."""

import pytest

from napari_why import counterfactuals
from napari_why.benchmark.rows import (
    METHODS,
    ON_REQUEST,
    RECIPES,
    NetworkMethod,
    methods_named,
)
from napari_why.benchmark.scores import BASELINES
from napari_why.networks import build_network


def test_without_a_name_all_rows_but_those_on_request_are_made() -> None:
    assert set(METHODS) - set(methods_named(())) == set(ON_REQUEST)
    assert set(methods_named(ON_REQUEST)) == {*ON_REQUEST, *BASELINES}


@pytest.mark.parametrize(
    ("row", "made_by"),
    [(name, row) for name, row in METHODS.items() if isinstance(row, NetworkMethod)],
)
def test_the_method_of_a_row_suits_its_network(row: str, made_by: NetworkMethod) -> None:
    recipe = RECIPES[made_by.recipe]
    network = build_network(
        recipe.network, input_channels=2, classes=2, size=64, **recipe.network_parameters
    )
    counterfactuals.METHODS[made_by.method].check(network)


@pytest.mark.parametrize("network", ["iresnet", "vae", "autoencoder", "denoising_autoencoder"])
def test_every_network_that_makes_images_has_a_row(network: str) -> None:
    rows = [row for row in METHODS.values() if isinstance(row, NetworkMethod)]
    assert network in {RECIPES[row.recipe].network for row in rows}
