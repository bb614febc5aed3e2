"""Which rule a layer gets by where it lies: at the image, or at some depth."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from napari_why.attribution import relevance_shares as shares
from napari_why.attribution.relevance_rules import FLAT, W_SQUARE, Rule, RuleSet, weights_of
from napari_why.attribution.relevance_tape import Operation

# Names of torch functions, as a tape writes them down.
WEIGHTED = {"conv1d", "conv2d", "conv3d", "linear"}
Bounds = tuple[Tensor, Tensor]


def rules_by_place(
    operations: Iterable[Operation], image: Tensor, rules: RuleSet
) -> dict[int, RuleSet]:
    """Return the rules of layers with weights that get others than the rest, by ``id``.

    Parameters
    ----------
    operations : iterable of Operation
        Those that lead to the logits, in forward order.
    image : Tensor, shape (N, C, H, W)
        As the operations took it.
    rules : RuleSet

    Returns
    -------
    dict of int to RuleSet
    """
    operations = list(operations)
    layers = [item for item in operations if item.name in WEIGHTED and len(item.sources) == 1]
    found: dict[int, RuleSet] = {}
    for number, layer in enumerate(layers if rules.from_below else ()):
        # equally many a rule; the middle of a layer's place decides
        part = int((number + 0.5) / len(layers) * len(rules.from_below))
        found[id(layer)] = _with(rules, rules.from_below[part])
    if rules.at_input == "same":
        return found
    # flat and w-square ask for the layers alone, and work without bounds
    low, high = rules.bounds or (image.detach(), image.detach())
    for key, bounds in bounds_at_input(operations, image, (low, high)).items():
        found[key] = _with(rules, _rule_at_input(rules, bounds))
    return found


def _with(rules: RuleSet, rule: Rule) -> RuleSet:
    return replace(rules, linear=rule, convolution=rule)


def _rule_at_input(rules: RuleSet, bounds: Bounds) -> Rule:
    if rules.at_input == "flat":
        return FLAT
    if rules.at_input == "w_square":
        return W_SQUARE
    return Rule("z-box", by_place=partial(shares.z_box, low=bounds[0], high=bounds[1]))


def image_bounds(x: Tensor, raw_zero: Tensor | None) -> Bounds:
    """Return the smallest and the largest image that z-box reckons with.

    No pixel is darker than no light, and none brighter than its channel's brightest one.

    Parameters
    ----------
    x : Tensor, shape (N, C, H, W)
    raw_zero : Tensor, shape (1, C, H, W), or None
        The preprocessed image of raw intensity 0; where it is not known each channel's darkest pixel
        stands in for it.

    Returns
    -------
    (Tensor, Tensor), shapes of x
    """
    # the smaller one: images with the background taken off go below raw 0
    darkest = x.amin((2, 3), keepdim=True).expand_as(x)
    low = darkest if raw_zero is None else torch.minimum(raw_zero.expand_as(x), darkest)
    return low, x.amax((2, 3), keepdim=True).expand_as(x)


def bounds_at_input(
    operations: Iterable[Operation], image: Tensor, bounds: Bounds
) -> dict[int, Bounds]:
    """Return the layers with weights that meet the image, by ``id``, with bounds of their input.

    Rearranging, scaling, shifting, pooling and activations may lie between: each is monotone in
    every pixel, so the bounds go through it, and change places where it turns signs round.

    Parameters
    ----------
    operations : iterable of Operation
        Those that lead to the logits, in forward order.
    image : Tensor, shape (N, C, H, W)
        As the operations took it.
    bounds : (Tensor, Tensor), shape (1, C, H, W) or (N, C, H, W) each
        Smallest and largest possible image.

    Returns
    -------
    dict of int to (Tensor, Tensor)
    """
    known = {id(image): bounds}
    found: dict[int, Bounds] = {}
    for operation in operations:
        if not all(id(source) in known for source in operation.sources):
            continue
        if operation.name in WEIGHTED:
            found[id(operation)] = known[id(operation.sources[0])]
            continue
        if operation.name in {"sub", "rsub"} and len(operation.sources) > 1:
            continue  # a difference of two parts falls with one of them
        ends = [
            operation.run_on([known[id(source)][end].detach() for source in operation.sources])
            for end in (0, 1)
        ]
        for result, one, other in zip(operation.results, *ends, strict=False):
            known[id(result)] = (torch.minimum(one, other), torch.maximum(one, other))
    return found


def merge_composites(
    operations: list[Operation], image: Tensor
) -> tuple[list[Operation], dict[int, str]]:
    """Return the operations with composites of channels merged into the layer behind them.

    An RGB composite is a convolution 1 x 1 without a bias: as the first layer it would keep flat and
    z-box from the layer that looks for structure. Both together are one layer,
    sum_k v_jk (sum_c w_kc x_c) = sum_c (sum_k v_jk w_kc) x_c, padding included. The composite stays in
    the list, and leads nowhere; returned too is into which module each was merged, by ``id``.

    Parameters
    ----------
    operations : list of Operation
        Those that lead to the logits, in forward order.
    image : Tensor, shape (N, C, H, W)
        As the operations took it.

    Returns
    -------
    operations : list of Operation
    into : dict of int to str
        Module names.
    """
    first = bounds_at_input(operations, image, (image.detach(), image.detach()))
    merged, into = list(operations), {}
    for before in operations:
        after = [item for item in operations if item.depends(before.results[0])]
        if id(before) not in first or len(after) != 1 or after[0].name != before.name:
            continue
        _, outer, outer_bias, _ = weights_of(before)
        _, inner, bias, _ = weights_of(after[0])
        pointwise = outer[0, 0].numel() == 1 and before.results[0].shape[2:] == image.shape[2:]
        # what is left as it is: grouped layers, and a bias, which padding would cut
        whole = outer.shape[1] == before.sources[0].shape[1] and inner.shape[1] == outer.shape[0]
        if not (pointwise and whole and outer_bias is None and before.name.startswith("conv")):
            continue
        weight = torch.einsum("jk...,kc->jc...", inner, outer.flatten(1))
        options = {
            name: value
            for name, value in after[0].kwargs.items()
            if name not in {"input", "weight", "bias"}
        }
        arguments = (before.sources[0], weight, bias, *after[0].args[3:])
        merged[operations.index(after[0])] = replace(
            after[0], args=arguments, kwargs=options, sources=before.sources
        )
        into[id(before)] = after[0].module
    return merged, into
