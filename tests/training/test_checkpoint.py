"""An optimiser's state survives being parted into tensors and JSON."""

import json

import pytest
import torch

from napari_why.training.checkpoint import join_optimiser, split_optimiser


@pytest.mark.parametrize(
    "make",
    [
        lambda weights: torch.optim.Adam(weights, amsgrad=True),
        lambda weights: torch.optim.Adamax(weights),
        lambda weights: torch.optim.SGD(weights, lr=0.1, momentum=0.9),
    ],
)
def test_an_optimiser_state_goes_through_json(make):
    weights = [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2, 2))]
    optimiser = make(weights)
    (weights[0].sum() + (weights[1] ** 2).sum()).backward()
    optimiser.step()
    state = optimiser.state_dict()
    tensors, plain = split_optimiser(state)
    joined = join_optimiser(tensors, json.loads(json.dumps(plain)))
    assert joined["param_groups"] == state["param_groups"]
    assert joined["state"].keys() == state["state"].keys()
    for index, entries in state["state"].items():
        assert joined["state"][index].keys() == entries.keys()
        for key, value in entries.items():
            assert torch.equal(torch.as_tensor(joined["state"][index][key]), torch.as_tensor(value))
    fresh = make(weights)
    fresh.load_state_dict(joined)
