"""Heads: from the last feature maps (N, K, h, w) to logits (N, classes)."""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

HeadName = Literal["linear", "thesis"]


def linear_head(features: int, classes: int) -> nn.Sequential:
    """Global average pooling and one linear layer: class activation maps exist for it."""
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear=nn.Linear(features, classes),
        )
    )


def thesis_head(features: int, classes: int) -> nn.Sequential:
    """Global average pooling, then 256 - dropout 0.4 - 100 - ReLU - classes (Otto 2022)."""
    return nn.Sequential(
        OrderedDict(
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear1=nn.Linear(features, 256),
            dropout=nn.Dropout(0.4),
            linear2=nn.Linear(256, 100),
            relu=nn.ReLU(),
            linear3=nn.Linear(100, classes),
        )
    )


def make_head(name: HeadName, features: int, classes: int) -> nn.Sequential:
    """Return the head called ``name``."""
    return (linear_head if name == "linear" else thesis_head)(features, classes)


def linear_weights(head: nn.Module) -> Tensor | None:
    """Return the weights (classes, K) of a head that is pooling and one linear layer, else None.

    Recognised is an ``nn.Sequential`` of global average pooling, flattening and a linear layer;
    dropout and identity may stand in between.
    """
    if not isinstance(head, nn.Sequential):
        return None
    core = [item for item in head if not isinstance(item, nn.Dropout | nn.Identity)]
    match core:
        case [nn.AdaptiveAvgPool2d() as pool, nn.Flatten(), nn.Linear() as linear]:
            return linear.weight if pool.output_size in (1, (1, 1)) else None
    return None
