"""Explaining leaves a network as it was, bit by bit, whatever happens meanwhile."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from napari_why.core import events
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.network import Network

HOOKED_TOLERANCE = 1e-5  # relative; the order of float32 sums may differ between kernels


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
    # evaluation mode: dropout and batch statistics would explain another function each time
    before = _Snapshot.of(network)
    network.eval().requires_grad_(False)
    try:
        yield
    finally:
        # flags were changed here, on purpose; everything else must have stayed by itself
        before.restore_flags(network)
        changed = before.differences(network)
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
    def of(cls, network: nn.Module, keep: Callable[[Tensor], Tensor] = torch.clone) -> "_Snapshot":
        return cls(
            {name: keep(value.detach()) for name, value in _tensors(network).items()},
            {name: module.training for name, module in network.named_modules()},
            {name: item.requires_grad for name, item in network.named_parameters()},
            {
                name: None if item.grad is None else keep(item.grad)
                for name, item in network.named_parameters()
            },
            _holdings(network),
        )

    def restore_flags(self, network: nn.Module) -> None:
        for name, module in network.named_modules():
            module.training = self.training.get(name, module.training)
        for name, item in network.named_parameters():
            item.requires_grad_(self.trainable.get(name, item.requires_grad))

    def differences(self, network: nn.Module) -> list[str]:
        """Return names of what is not as it was."""
        # what is there now is looked at and not kept: a copy would be as large as the network
        now = _Snapshot.of(network, keep=lambda value: value)
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
            keys = {key for key in {*mine, *theirs} if not _same(mine.get(key), theirs.get(key))}
            changed += [f"{key} of {name or 'the network'}" for key in sorted(keys)]
        return sorted(changed)


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers, those left out of the state dictionary included."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def _holdings(network: nn.Module) -> dict[str, dict[str, Any]]:
    """Every attribute of every module; dictionaries (hooks, children, parameters) as their items."""
    # dictionaries as tuples: hooks are added to and removed from the same dictionary object
    return {
        name: {
            key: tuple(value.items()) if isinstance(value, dict) else value
            for key, value in vars(module).items()
        }
        for name, module in network.named_modules()
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
    if torch.equal(one, other):
        return True
    nan = one.isnan() & other.isnan()  # NaN in a buffer equals nothing, not even itself
    return bool(nan.any()) and torch.equal(one.masked_fill(nan, 0), other.masked_fill(nan, 0))
