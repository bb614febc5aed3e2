"""Multi-layer CAM: where the layers of a network find a class, one map a layer, to compare depths."""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from torch import Tensor

from napari_why.attribution.class_activation_maps import (
    LAYER_UNIT,
    LayerGradients,
    by_mean_gradient,
    gradients_of_layers,
    spread_to_pixels,
    with_channels_at_mean,
)
from napari_why.attribution.registry import Evidence, attribution_method, relative_gap
from napari_why.core.errors import ParameterError
from napari_why.core.options import Help
from napari_why.networks.network import Network

Weighting = Annotated[
    Literal["auto", "classifiers", "gradients", "channel_mean"],
    Help(
        "what weighs a layer's feature maps: its own linear classifier, where every layer has one "
        "(cam_net with joint_loss); mean gradients, as in Grad-CAM; nothing, which tells of no class; "
        "auto: the first of these that there is"
    ),
]


@attribution_method(
    title="Multi-layer CAM",
    source="Mäder 2024; weights of Zhou et al. 2016 or Selvaraju et al. 2017",
)
def multilayer_cam(
    network: Network, x: Tensor, target: int, *, weighting: Weighting = "auto"
) -> Evidence:
    """Mean over the layers of each layer's own map; ``layers`` holds them one by one.

    Parameters
    ----------
    network : Network
        In evaluation mode.
    x : Tensor, shape (1, C, H, W)
        One standardised image.
    target : int
        Index of the class.

    Returns
    -------
    Evidence
        Joint: mean over the layers of their maps, each interpolated to pixels such that its sum stays.
        Of ``classifiers`` a layer's map and its classifier's bias add up to that classifier's logit,
        and the joint map with the mean bias to the mean of these logits. Of ``gradients`` no sum is
        promised; ``channel_mean`` is the mean feature map, the same for every class.
        Maps: the change of the joint map when a channel is set to its training mean.

    Raises
    ------
    ParameterError
        ``classifiers`` of a network that has not one on every layer.
    """
    names = _located(network)
    chosen = _choose(network, names, weighting)
    found = gradients_of_layers(network, with_channels_at_mean(x), target, names)
    size = (x.shape[-2], x.shape[-1])
    on_pixels = {
        name: spread_to_pixels(_layer_map(network, name, target, item, chosen), size)
        for name, item in found.items()
    }
    whole = torch.stack(list(on_pixels.values())).mean(dim=0)
    grids = {name: list(item.maps.shape[-2:]) for name, item in found.items()}
    evidence = Evidence(
        maps=whole[0] - whole[1:],
        joint=whole[0],
        unit="activation per pixel" if chosen == "channel_mean" else LAYER_UNIT,
        details={"weighting": chosen, "layer_grids": grids},
        layers={name: values[0] for name, values in on_pixels.items()},
    )
    return _with_sum(network, target, found, evidence) if chosen == "classifiers" else evidence


def _located(network: Network) -> tuple[str, ...]:
    """Return the layers up to the last that tells positions apart."""
    names = network.layer_names
    return names[: names.index(network.located_layer) + 1]


def _choose(network: Network, names: tuple[str, ...], weighting: str) -> str:
    missing = [name for name in names if name not in network.layer_weights()]
    if weighting == "classifiers" and missing:
        raise ParameterError(
            f"weighting: found 'classifiers', and no linear classifier on {', '.join(missing)} of "
            f"{network.name}; expected one on every layer, as of cam_net trained with "
            "joint_loss=True; take 'gradients'"
        )
    if weighting != "auto":
        return weighting
    return "gradients" if missing else "classifiers"


def _layer_map(
    network: Network, name: str, target: int, found: LayerGradients, weighting: str
) -> Tensor:
    """Return a layer's map (N, h, w)."""
    if weighting == "gradients":
        return by_mean_gradient(found)
    positions = found.maps.shape[-2] * found.maps.shape[-1]
    if weighting == "channel_mean":
        # a mean over positions too, as of the others: one number shared out over the map
        return found.maps.mean(dim=1) / positions
    row = network.layer_weights()[name][target].detach()
    return torch.einsum("k,nkhw->nhw", row, found.maps) / positions


def _with_sum(
    network: Network, target: int, found: dict[str, LayerGradients], evidence: Evidence
) -> Evidence:
    """Add what the joint map promises: the mean of the classifiers' logits, less their biases."""
    maps = {name: item.maps[:1] for name, item in found.items()}
    logit, bias = (
        _mean_logit(network, target, given)
        for given in (maps, {name: torch.zeros_like(item) for name, item in maps.items()})
    )
    return replace(
        evidence,
        gap=relative_gap(evidence.joint.sum().item(), logit - bias),
        gap_meaning="sum of the joint map against the mean logit of the layers' classifiers without "
        "their biases",
        explained=logit,
        constants=bias,
        constants_meaning="the mean bias of the layers' classifiers",
        details={**evidence.details, "explained_by": "the layers' classifiers together"},
    )


def _mean_logit(network: Network, target: int, maps: dict[str, Tensor]) -> float:
    last = network.layer_names[-1]
    with torch.no_grad():
        logits = {**network.auxiliary_logits(maps), last: network.head(maps[last])}
    return sum(logits[name][0, target].item() for name in maps) / len(maps)
