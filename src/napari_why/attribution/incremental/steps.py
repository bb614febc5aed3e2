"""The steps of a network, as far as each can be run on a patch of its input instead of the whole.

A step is one operation and what follows it position by position (activations, scales and shifts).
Of each operation is known which inputs an output sees; whatever is not known is run on whole maps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_why.attribution.incremental.intervals import Reach
from napari_why.core.devices import to_float64, to_like

POINT = (Reach(), Reach())


@dataclass(frozen=True)
class Hole:
    """Where a call takes the n-th of its sources."""

    number: int


@dataclass(frozen=True, eq=False)
class Call:
    """A torch function with its arguments, those left open that depend on the image.

    Parameters
    ----------
    function : callable
    args, kwargs
        With a :class:`Hole` for each source.
    pick : int or None
        Which of several results is meant.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    pick: int | None = None

    def __call__(self, *sources: Tensor) -> Tensor:
        """Return the result for these sources."""
        made = self.function(*fill(self.args, sources), **fill(self.kwargs, sources))
        result: Tensor = made if self.pick is None else made[self.pick]
        return result


def fill(value: Any, sources: Sequence[Tensor]) -> Any:
    """Return a nest of tuples, lists and dictionaries with its holes filled.

    Parameters
    ----------
    value : object
        A :class:`Hole`, a nest of such, or anything else, which stays.
    sources : sequence of Tensor
        What the holes are filled with, by their numbers.

    Returns
    -------
    object
    """
    if isinstance(value, Hole):
        return sources[value.number]
    if isinstance(value, tuple | list):
        return type(value)(fill(item, sources) for item in value)
    if isinstance(value, dict):
        return {key: fill(item, sources) for key, item in value.items()}
    return value


@dataclass(frozen=True, eq=False)
class Affine:
    """Scale and shift of each channel: batch normalisation, ActNorm, products with constants.

    Parameters
    ----------
    scale, shift : Tensor, shape (1, C, 1, 1) or (1, 1, 1, 1), float64
    """

    scale: Tensor
    shift: Tensor

    def after(self, first: "Affine") -> "Affine":
        """Return this and the one before it as one."""
        return Affine(self.scale * first.scale, self.scale * first.shift + self.shift)

    def like(self, maps: Tensor) -> "Affine":
        """Return it in the precision, and on the device, of maps."""
        return Affine(to_like(self.scale, maps), to_like(self.shift, maps))

    def __call__(self, maps: Tensor, *, own: bool) -> Tensor:
        """Return ``maps * scale + shift``, in their place where they are nobody else's."""
        if not own:
            return torch.addcmul(self.shift, maps, self.scale)
        return maps.mul_(self.scale).add_(self.shift)


@dataclass(frozen=True, eq=False)
class Activation:
    """A function of each value by itself.

    Parameters
    ----------
    call : Call
    in_place : bool
        Whether the function takes ``inplace``.
    """

    call: Call
    in_place: bool

    def __call__(self, maps: Tensor, *, own: bool) -> Tensor:
        """Return its values, in the place of the maps where they are nobody else's."""
        if own and self.in_place:
            kwargs = {**self.call.kwargs, "inplace": True}
            return replace(self.call, kwargs=kwargs)(maps)
        return self.call(maps)


Pointwise = Affine | Activation


class Operation:
    """What a step does before what follows position by position.

    Attributes
    ----------
    reach : (Reach, Reach) or None
        Along rows and columns; None of what sees whole maps.
    border : float
        What stands in the padding.
    own : bool
        Whether results are new tensors, which may be overwritten.
    """

    reach: tuple[Reach, Reach] | None = None
    border: float = 0.0
    own: bool = True

    def whole(self, sources: Sequence[Tensor]) -> Tensor:
        """Return the result for whole maps."""
        raise NotImplementedError

    def part(self, sources: Sequence[Tensor]) -> Tensor:
        """Return the result for tiles that hold their padding already."""
        return self.whole(sources)


@dataclass(eq=False)
class Whole(Operation):
    """A function that sees whole maps, or of which that is not known.

    Parameters
    ----------
    call : Call
    name : str
        Of the function, for messages.
    """

    call: Call
    name: str

    def __post_init__(self) -> None:
        self.own = False  # a view perhaps

    def whole(self, sources: Sequence[Tensor]) -> Tensor:
        """Call the function."""
        return self.call(*sources)


@dataclass(eq=False)
class Average(Whole):
    """The average over all positions, of which a patch changes little."""

    def moved(self, average: Tensor, before: Tensor, after: Tensor, positions: int) -> Tensor:
        """Return averages (N, C, ...) where patches (N, C, h, w) changed.

        Differences are added up and not values: they are small, and so are their rounding errors.

        Parameters
        ----------
        average : Tensor, shape (1, C, ...) or (N, C, ...)
            Of the unchanged maps.
        before, after : Tensor, shape (N, C, h, w)
            The patches.
        positions : int
            How many are averaged over.

        Returns
        -------
        Tensor, shape (N, C, ...)
        """
        change = (after - before).sum((2, 3)) / positions
        return average + change.view(len(change), *average.shape[1:])


@dataclass(eq=False)
class Each(Operation):
    """A function of each position by itself, or of the same position in several maps.

    Parameters
    ----------
    call : Call
    own : bool
        False where the result may be a view of a source.
    """

    call: Call
    own: bool = True

    def __post_init__(self) -> None:
        self.reach = POINT

    def whole(self, sources: Sequence[Tensor]) -> Tensor:
        """Call the function."""
        return self.call(*sources)


@dataclass(eq=False)
class Convolution(Operation):
    """A convolution with zeros beyond the border.

    Parameters
    ----------
    weight, bias : Tensor
    stride, dilation : (int, int)
    padding : str or (int, int)
        As given; the reach knows what stands before the first input.
    groups : int
    reach : (Reach, Reach)
    """

    weight: Tensor
    bias: Tensor | None
    stride: tuple[int, int]
    padding: str | tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    reach: tuple[Reach, Reach]

    def whole(self, sources: Sequence[Tensor]) -> Tensor:
        """Convolve whole maps."""
        return self._convolve(sources[0], self.padding)

    def part(self, sources: Sequence[Tensor]) -> Tensor:
        """Convolve tiles."""
        return self._convolve(sources[0], 0)

    def _convolve(self, maps: Tensor, padding: Any) -> Tensor:
        return F.conv2d(
            maps, self.weight, self.bias, self.stride, padding, self.dilation, self.groups
        )

    def followed_by(self, affine: Affine) -> "Convolution":
        """Return the convolution whose result is scaled and shifted already."""
        outputs = len(self.weight)
        scale = affine.scale.expand(1, outputs, 1, 1).view(-1, 1, 1, 1)
        shift = affine.shift.expand(1, outputs, 1, 1).flatten()
        # in float64, so that a network of many layers is rounded once and not twice in each
        weight = to_float64(self.weight) * scale
        bias = shift if self.bias is None else to_float64(self.bias) * scale.flatten() + shift
        return replace(self, weight=to_like(weight, self.weight), bias=to_like(bias, self.weight))

    def packed(self) -> "Convolution":
        """Return it with its weights in the layout of the maps."""
        weight = self.weight.detach().contiguous(memory_format=torch.channels_last)
        return replace(self, weight=weight)


@dataclass(eq=False)
class Pooling(Operation):
    """Largest value or average of each window; or pixels of a window as channels.

    Parameters
    ----------
    call : Call
        On whole maps.
    tiled : callable
        On tiles, without padding.
    reach : (Reach, Reach)
    border : float
    """

    call: Call
    tiled: Callable[[Tensor], Tensor]
    reach: tuple[Reach, Reach]
    border: float

    def whole(self, sources: Sequence[Tensor]) -> Tensor:
        """Pool whole maps."""
        return self.call(*sources)

    def part(self, sources: Sequence[Tensor]) -> Tensor:
        """Pool tiles."""
        return self.tiled(sources[0])


@dataclass(eq=False)
class Step:
    """An operation, what follows it position by position, and what it is applied to.

    Parameters
    ----------
    operation : Operation or None
        None of the image itself.
    sources : tuple of int
        Numbers of the steps before.
    shape : tuple of int
        Of the result, of one image.
    tail : tuple
        Applied in this order.
    """

    operation: Operation | None
    sources: tuple[int, ...]
    shape: tuple[int, ...]
    tail: tuple[Pointwise, ...] = ()

    @property
    def spatial(self) -> bool:
        """Whether a change of a patch of its sources changes a patch of its result."""
        return self.operation is None or self.operation.reach is not None

    def packed(self, like: Tensor) -> "Step":
        """Return it with its weights in the precision and layout of the maps."""
        tail = tuple(one.like(like) if isinstance(one, Affine) else one for one in self.tail)
        operation = self.operation
        if isinstance(operation, Convolution):
            operation = operation.packed()
        return replace(self, operation=operation, tail=tail)

    def finish(self, maps: Tensor, *, own: bool) -> Tensor:
        """Apply what follows position by position.

        Parameters
        ----------
        maps : Tensor, shape (N, C, h, w)
            What the operation made.
        own : bool
            Whether they are nobody else's and may be overwritten.

        Returns
        -------
        Tensor, shape (N, C, h, w)
        """
        for one in self.tail:
            maps = one(maps, own=own)
            own = True
        return maps

    @property
    def multiplications(self) -> int:
        """Products of weights and values, for each position of the result (of a convolution)."""
        operation = self.operation
        return operation.weight.numel() if isinstance(operation, Convolution) else 0
