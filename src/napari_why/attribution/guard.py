"""Explaining leaves a network as it was, bit by bit, whatever happens meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from napari_why.core import events
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.network import Network

HOOKED_TOLERANCE = 1e-5  # relative; the order of float32 sums may differ between kernels
# values from which on numpy compares bytes sooner than torch values: five times as soon for a million
LARGE = 4096
WHOLE_NUMBERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}  # by bytes a value


@contextmanager
def explaining(
    network: Network,
    x: Tensor | None = None,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Iterator[Tensor | None]:
    """Make a network ready to be explained, and put everything back afterwards.

    Inside, the network is in evaluation mode and its parameters need no gradient. Afterwards
    state, hooks, training flags, ``requires_grad``, ``grad`` and the identity of every module
    and parameter are as they were; this is checked, also when the block raised. One thread at a
    time explains a network; another one waits.

    Parameters
    ----------
    network : Network
    x : Tensor, shape (N, C, H, W), optional
        An input whose plain logits are wanted.
    on_event, cancelled : callable
        Asked while waiting for another thread's explanation.

    Yields
    ------
    Tensor, shape (N, classes), or None
        The plain forward of ``x``, with no hook in place.

    Raises
    ------
    UnsupportedNetworkError
        The network came out changed.
    NetworkBusyError
        It is being trained.
    CancellationError
        Cancelled while waiting.
    """
    with network.use.explained(on_event, cancelled), _unchanged(network):
        with torch.no_grad():
            plain = None if x is None else network(x)
        yield plain


@contextmanager
def _unchanged(network: Network) -> Iterator[None]:
    before = _Snapshot.of(network)
    # evaluation mode: dropout and batch statistics would explain another function each time. Asked for
    # where it is missing alone: walks over all modules take as long as a small network's gradient
    if any(before.training.values()):
        network.eval()
    if any(before.trainable.values()):
        network.requires_grad_(False)
    try:
        yield
    finally:
        # what is there now is looked at and not kept: a copy would be as large as the network
        now = _Snapshot.of(network, keep=lambda value: value)
        # flags were changed here, on purpose; everything else must have stayed by itself
        if (now.training, now.trainable) != (before.training, before.trainable):
            before.restore_flags(network)
            now = _Snapshot.of(network, keep=lambda value: value)
        changed = before.differences(now)
        if changed:  # the first five say where to look; there may be hundreds
            raise UnsupportedNetworkError(
                f"explaining changed the network {network.name}: {', '.join(changed[:5])}; "
                "a network must not change in its forward pass in evaluation mode"
            )


def check_same_logits(plain: Tensor, observed: Tensor, how: str) -> None:
    """Refuse a network whose observed forward differs from the plain one.

    In-place operations do that: hooks see other tensors than the forward pass used.

    Parameters
    ----------
    plain : Tensor, shape (N, K)
        As the network gives them when nobody looks.
    observed : Tensor, shape (N, K)
    how : str
        How they were got, in words for the message.

    Raises
    ------
    UnsupportedNetworkError
        The logits differ by more than rounding.
    """
    tolerance = HOOKED_TOLERANCE * (1 + plain.abs().max().item())
    difference = (plain - observed.detach()).abs().max().item()
    if not difference <= tolerance:  # "not <=", so that NaN is refused too
        raise UnsupportedNetworkError(
            f"the logits {how} differ by {difference:.3g} from the plain forward pass; expected "
            "equal ones; look for in-place operations and for randomness in evaluation mode"
        )


@dataclass(frozen=True)
class _Snapshot:
    """What must not change: bits, flags, gradients and the identity of all that modules hold."""

    state: dict[str, Tensor]
    training: dict[str, bool]
    trainable: dict[str, bool]
    gradients: dict[str, Tensor | None]
    holdings: dict[str, dict[str, Any]]

    @classmethod
    @torch.no_grad()
    def of(cls, network: nn.Module, keep: Callable[[Tensor], Tensor] = torch.clone) -> "_Snapshot":
        # one walk for modules, one for parameters, one for buffers (those of no state dictionary too)
        modules, parameters = dict(network.named_modules()), dict(network.named_parameters())
        tensors = {**parameters, **dict(network.named_buffers())}
        return cls(
            {name: keep(value) for name, value in tensors.items()},
            {name: module.training for name, module in modules.items()},
            {name: item.requires_grad for name, item in parameters.items()},
            {
                name: None if item.grad is None else keep(item.grad)
                for name, item in parameters.items()
            },
            {name: _holdings(module) for name, module in modules.items()},
        )

    def restore_flags(self, network: nn.Module) -> None:
        for name, module in network.named_modules():
            module.training = self.training.get(name, module.training)
        for name, item in network.named_parameters():
            item.requires_grad_(self.trainable.get(name, item.requires_grad))

    def differences(self, now: "_Snapshot") -> list[str]:
        """Return names of what is not as it was."""
        changed = [
            f"the values of {name}"
            for name in {*self.state, *now.state}
            if not _same_bits(self.state.get(name), now.state.get(name))
        ]
        changed += [
            f"the gradient of {name}"
            for name in {*self.gradients, *now.gradients}
            if not _same_bits(self.gradients.get(name), now.gradients.get(name))
        ]
        for attribute in ("training", "trainable"):
            if getattr(self, attribute) != getattr(now, attribute):
                changed.append(f"the {attribute} flags")
        for name in {*self.holdings, *now.holdings}:
            mine, theirs = self.holdings.get(name, {}), now.holdings.get(name, {})
            keys = [
                key
                for key in (mine if mine.keys() == theirs.keys() else {**mine, **theirs})
                # nearly all are the same object, which is told here and not by a call
                if (one := mine.get(key)) is not (other := theirs.get(key))
                and not _same(one, other)
            ]
            changed += [f"{key} of {name or 'the network'}" for key in keys]
        return sorted(changed)


def _holdings(module: nn.Module) -> dict[str, Any]:
    """Every attribute of a module; dictionaries (hooks, children, parameters) as their items."""
    # dictionaries as tuples: hooks are added to and removed from the same dictionary object
    return {
        key: (tuple(value.items()) if value else ()) if isinstance(value, dict) else value
        for key, value in vars(module).items()
    }


def _same(one: Any, other: Any) -> bool:
    """Whether two attributes are the same object, equal plain values or items of the same objects."""
    if one is other:
        return True
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    plain = (bool, int, float, str, bytes)
    return isinstance(one, plain) and isinstance(other, plain) and one == other


def _same_bits(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if _same_bytes(one, other) or torch.equal(one, other):
        return True
    nan = one.isnan() & other.isnan()  # NaN in a buffer equals nothing, not even itself
    return bool(nan.any()) and torch.equal(one.masked_fill(nan, 0), other.masked_fill(nan, 0))


def _same_bytes(one: Tensor, other: Tensor) -> bool:
    """Whether two large tensors lie in memory alike, byte by byte; False where this is not looked at."""
    # of the processor alone: elsewhere torch.equal is quick, and this would be a copy
    looked_at = one.is_cpu and other.is_cpu and one.is_floating_point() and not one.is_sparse
    if not looked_at or one.numel() < LARGE or one.stride() != other.stride():
        return False
    whole = WHOLE_NUMBERS[one.element_size()]
    # as they lie in memory, so that nothing is copied
    mine, theirs = (each.detach().view(whole).numpy().ravel(order="K") for each in (one, other))
    return np.array_equal(mine, theirs)
