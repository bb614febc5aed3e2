"""Heads: from the last feature maps (N, K, h, w) to logits (N, classes)."""

from collections import OrderedDict
from typing import Literal

from torch import Tensor, nn

from napari_why.networks.modules import ActNorm

HeadName = Literal["linear", "thesis", "elu"]
ELU_HEAD_WIDTH = 64


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


def elu_head(features: int, classes: int) -> nn.Sequential:
    """ActNorm, convolution 1 x 1 to 64 maps, ELU, global average pooling, one linear layer.

    A linear head on pooled maps sees their means alone; here a position is judged by itself before
    it is averaged, so that texture (a fragmented network of mitochondria, say) can be learnt.
    """
    return nn.Sequential(
        OrderedDict(
            actnorm=ActNorm(features),
            convolution=nn.Conv2d(features, ELU_HEAD_WIDTH, 1),
            elu=nn.ELU(),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            linear=nn.Linear(ELU_HEAD_WIDTH, classes),
        )
    )


HEADS = {"linear": linear_head, "thesis": thesis_head, "elu": elu_head}


def make_head(name: HeadName, features: int, classes: int) -> nn.Sequential:
    """Return the head called ``name``."""
    return HEADS[name](features, classes)


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
