"""One short text that stands for a classifier's weights and configuration."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor


def fingerprint_of(weights: Mapping[str, Tensor], configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256, in hexadecimal, of all weights and of the configuration.

    Parameters
    ----------
    weights : mapping of str to Tensor
        Their order does not matter; names, types, shapes and every bit do.
    configuration : mapping
        JSON types.

    Examples
    --------
    >>> one = fingerprint_of({"w": torch.zeros(2)}, {"classes": ["a", "b"]})
    >>> one == fingerprint_of({"w": torch.zeros(2)}, {"classes": ["a", "c"]})
    False
    """
    digest = sha256(json.dumps(configuration, sort_keys=True, allow_nan=False).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
