"""A tape of every operation on an image's way through a network.

Rules that hang on modules miss what modules do inside and between them: a plain ``+`` in a
residual block, a product in an ActNorm, a parametrised weight. The tape is written by torch's
function mode instead, which sees every torch function that touches the image.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from napari_why.attribution.guard import check_same_logits
from napari_why.core import events
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.networks.network import Network

# functions that may hand back the very tensor they were given; any other that does so works in place
UNCHANGED = {"dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout", "contiguous"} | {
    *("to", "float", "double", "type_as", "flatten", "reshape", "squeeze")
}
# ``x += y`` and its like: Python takes their result for x, so what leaves x alone does as well. Where x
# is still used under another name the logits come out different, which every user of a tape checks.
IN_PLACE = {"add_", "sub_", "mul_", "div_"}
# functions that take numbers out of a tensor, beyond which the tape cannot follow
NUMBERS = {"item", "tolist", "numpy", "float", "int", "array", "index", "dlpack"}


@dataclass(frozen=True, eq=False)
class Operation:
    """One torch function that was applied to something that depends on the image.

    Parameters
    ----------
    name : str
        Name of the function without underscores round it: ``conv2d``, ``add``.
    module : str
        Dotted name of the module it ran in, empty for the network itself.
    function : callable
    args, kwargs
        What it was called with.
    sources : tuple of Tensor
        Those of its arguments that depend on the image.
    results : tuple of Tensor
    """

    name: str
    module: str
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    sources: tuple[Tensor, ...]
    results: tuple[Tensor, ...]

    @property
    def place(self) -> str:
        """Where and what, for messages: ``conv2d in stage1.block2``."""
        return f"{self.name} in {self.module or 'the network itself'}"

    def depends(self, value: Any) -> bool:
        """Whether an argument is one of those that depend on the image."""
        return any(value is source for source in self.sources)

    def replay(self, at: Sequence[Tensor] = ()) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """Run again on fresh leaves; return these and the results, for a gradient of this step.

        Parameters
        ----------
        at : sequence of Tensor, optional
            Other values of the sources, in their order.
        """
        # one step alone: a gradient through the whole network would be what rules are to replace
        leaves = [value.detach().requires_grad_() for value in at or self.sources]
        with torch.enable_grad():
            results = self.run_on(leaves)
        return leaves, results

    def gradients(self, given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the gradients of the sources, where those of the results are given.

        The graph that was recorded with the tape is followed where that can be, so that nothing is
        computed forwards again.
        """
        sources: Sequence[Tensor] = self.sources
        results = self.results
        recorded = all(one.requires_grad for one in (*sources, *results))
        # of two sources one may be made of the other, and a recorded graph goes on beyond them
        if len(sources) != 1 or not recorded:
            sources, results = self.replay()
        # kept, since whoever has the tape may run it back once more
        return torch.autograd.grad(results, sources, given, retain_graph=True)

    def run_on(self, values: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return the results for other values of the sources, in their order and their precision."""
        fresh = {id(old): new for old, new in zip(self.sources, values, strict=True)}
        if values[0].dtype != self.sources[0].dtype:
            given = tensors_in((self.args, self.kwargs))
            # indices and masks have no precision to share
            constants = [one for one in given if one.is_floating_point() and id(one) not in fresh]
            # the device first: that of the network may have no float64
            like = values[0]
            fresh |= {id(one): one.to(like.device).to(like.dtype) for one in constants}
        results = self.function(*_replace(self.args, fresh), **_replace(self.kwargs, fresh))
        return tuple(tensors_in(results))


@dataclass
class Tape:
    """The operations in order, the logits (N, classes) they lead to, and silent modules.

    ``silent`` names the modules that handed their input on without any operation (identities,
    dropout in evaluation mode).
    """

    image: Tensor
    logits: Tensor
    operations: list[Operation] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


Substitute = Callable[[Operation], Sequence[Tensor]]
"""``(operation) -> tensors that take the place of its results``, of equal values."""


def record_tape(network: nn.Module, x: Tensor, substitute: Substitute | None = None) -> Tape:
    """Run a network, whose parameters need no gradient, and write down what happens.

    Parameters
    ----------
    network : Module
        In evaluation mode, see :func:`napari_why.attribution.explaining`.
    x : Tensor, shape (N, C, H, W)
    substitute : callable, optional
        Told every operation when it was done; the network goes on with what it returns, which may have
        another gradient.

    Returns
    -------
    Tape

    Raises
    ------
    UnsupportedNetworkError
        An operation works in place in another way than ``+=``, ``-=``, ``*=`` and ``/=`` do, or hides
        from torch's function mode.
    """
    # a gradient is asked for so that what depends on the image unseen can be told, see _Recorder
    image = x.detach().clone().requires_grad_()
    silent: list[str] = []
    modules: list[str] = [""]
    with _module_names(network, modules, silent), torch.enable_grad():
        recorder = _Recorder(image, modules, substitute)
        with recorder:
            logits = network(image)
    if not recorder.knows(logits):  # made where the function mode does not see
        raise UnsupportedNetworkError(
            "the logits do not come from recorded torch functions; expected torch functions all "
            "the way; look for a scripted or compiled module"
        )
    busy = {operation.module for operation in recorder.operations}
    return Tape(image, logits, recorder.operations, [name for name in silent if name not in busy])


BackwardRule = Callable[[Operation, tuple[Tensor, ...]], tuple[Tensor, ...]]
"""``(operation, gradients of its results) -> gradients of its sources``."""


def record_checked_tape(
    network: Network,
    x: Tensor,
    part: nn.Module | None = None,
    substitute: Substitute | None = None,
) -> Tape:
    """Write down an image's way through a network, which must be the one of a plain pass.

    Parameters
    ----------
    network : Network
    x : Tensor, shape (N, C, H, W)
    part : Module, optional
        What of the network is followed; all of it by default.
    substitute : callable, optional
        See :func:`record_tape`.

    Returns
    -------
    Tape

    Raises
    ------
    UnsupportedNetworkError
        The pass that was written down gave other logits, or hides what it does.
    """
    followed = network if part is None else part
    # the tape switches nothing in the network, yet what it saw must be what the network computes
    with network.use.passing():
        tape = record_tape(followed, x, substitute)
    check_same_logits(followed(x), tape.logits, "under the tape")
    return tape


def run_back(
    tape: Tape,
    target: int,
    rule: BackwardRule,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Tensor | None:
    """Hand 1 at a logit back to the image, operation by operation, by a rule.

    With :func:`gradient_of_step` as the rule this is the gradient of the logit.

    Parameters
    ----------
    tape : Tape
    target : int
        Index of the class.
    rule : callable
    on_event, cancelled : callable
        One step per operation.

    Returns
    -------
    Tensor, shape of the image, or None
        None where the work was cancelled: half way back nothing has reached the image.
    """
    start = torch.zeros_like(tape.logits)
    start[:, target] = 1
    # by identity: equal tensors are not the same one; the tape holds them, so no id is used twice
    held: dict[int, Tensor] = {id(tape.logits): start.detach()}
    for done, operation in enumerate(reversed(tape.operations), start=1):
        if cancelled():
            return None
        # what leads to no logit (auxiliary heads, unused branches) has nothing to hand back
        if any(id(result) in held for result in operation.results):
            given = tuple(
                held.pop(id(result)).detach() if id(result) in held else torch.zeros_like(result)
                for result in operation.results
            )
            for source, part in zip(operation.sources, rule(operation, given), strict=True):
                held[id(source)] = held[id(source)] + part if id(source) in held else part
        on_event(events.Advanced(done))
    return held.get(id(tape.image), torch.zeros_like(tape.image)).detach()


def gradient_of_step(
    operation: Operation, given: tuple[Tensor, ...], at: tuple[Tensor, ...] = ()
) -> tuple[Tensor, ...]:
    """Return the gradients of an operation's sources, as autograd has them.

    Parameters
    ----------
    operation : Operation
    given : tuple of Tensor
        Gradients of its results.
    at : tuple of Tensor, optional
        Other values of its sources.

    Returns
    -------
    tuple of Tensor
        One a source, each of its shape; 0 where none passes.
    """
    leaves, made = operation.replay(at)
    # the tape keeps results of numbers only, so indices of maxima are left out here too
    numbers = [result for result in made if result.is_floating_point()]
    pairs = [(one, to) for one, to in zip(numbers, given, strict=True) if one.requires_grad]
    if not pairs:  # detached, so that no gradient passes
        return tuple(torch.zeros_like(leaf) for leaf in leaves)
    results, gradients = zip(*pairs, strict=True)
    return torch.autograd.grad(
        results, leaves, gradients, allow_unused=True, materialize_grads=True
    )


class _Recorder(TorchFunctionMode):
    """Write down every torch function that touches something which depends on the image."""

    def __init__(
        self, image: Tensor, modules: list[str], substitute: Substitute | None = None
    ) -> None:
        super().__init__()
        self.substitute = substitute
        self.operations: list[Operation] = []
        self.modules = modules
        self.known: dict[int, Tensor] = {id(image): image}  # holding them keeps the ids unique

    def knows(self, tensor: Tensor) -> bool:
        return self.known.get(id(tensor)) is tensor

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in IN_PLACE:
            func = getattr(torch.Tensor, func.__name__.rstrip("_"))
        given = list(tensors_in((args, kwargs)))
        sources = tuple({id(t): t for t in given if self.knows(t)}.values())
        result = func(*args, **kwargs)
        results = tuple(tensor for tensor in tensors_in(result) if tensor.is_floating_point())
        # operators come as __add__ or __radd__
        name = getattr(func, "__name__", str(func)).strip("_")
        module = self.modules[-1]
        if not results:
            if sources and name == "setitem":  # x[...] = y, which has no result to follow
                raise UnsupportedNetworkError(
                    f"{name} in {module or 'the network itself'} works in place; expected an "
                    "operation that leaves its input alone (torch.where for x[...] = y)"
                )
            if sources and name in NUMBERS:
                raise UnsupportedNetworkError(
                    f"{name} in {module or 'the network itself'} turns a tensor that depends on "
                    "the image into plain numbers; expected torch functions all the way"
                )
            return result
        # parameters need no gradient here, so whatever needs one depends on the image
        if any(tensor.requires_grad and not self.knows(tensor) for tensor in given):
            raise UnsupportedNetworkError(
                f"{name} in {module or 'the network itself'} takes a tensor that depends on the "
                "image by a way the tape cannot see; look for a scripted or compiled module"
            )
        if not sources:
            return result
        if any(self.knows(tensor) for tensor in results):
            if name not in UNCHANGED:
                raise UnsupportedNetworkError(
                    f"{name} in {module or 'the network itself'} works in place; expected an "
                    "operation that leaves its input alone (inplace=False, a + b for a += b)"
                )
            return result
        operation = Operation(name, module, func, args, kwargs, sources, results)
        if self.substitute is not None:
            others = tuple(self.substitute(operation))
            result = _replace(result, dict(zip(map(id, results), others, strict=True)))
            operation = replace(operation, results=others)
        self.operations.append(operation)
        self.known.update((id(tensor), tensor) for tensor in operation.results)
        return result


@contextmanager
def _module_names(network: nn.Module, stack: list[str], silent: list[str]) -> Iterator[None]:
    """Keep the name of the running module on top of ``stack``; collect childless identities."""
    handles = []
    mine = get_ident()

    def watch(name: str, module: nn.Module) -> None:
        childless = not any(True for _ in module.children())

        # another thread may use the modules meanwhile, and is nobody's business here
        def enter(_module: nn.Module, _inputs: tuple[Any, ...]) -> None:
            if get_ident() == mine:
                stack.append(name)

        def leave(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if get_ident() != mine:
                return
            stack.pop()
            if childless and inputs and output is inputs[0]:
                silent.append(name)

        handles.append(module.register_forward_pre_hook(enter))
        handles.append(module.register_forward_hook(leave))

    for name, module in network.named_modules():
        if not isinstance(module, torch.jit.ScriptModule):  # takes no hooks, hides its functions
            watch(name, module)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tensors_in(value: Any) -> Iterator[Tensor]:
    """All tensors in nested tuples, lists and dictionaries."""
    if isinstance(value, Tensor):
        yield value
        return
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for item in value:
            # most arguments are plain numbers, for which a call each is what a tape takes longest for
            if isinstance(item, Tensor):
                yield item
            elif isinstance(item, tuple | list | dict):
                yield from tensors_in(item)


def _replace(value: Any, fresh: dict[int, Tensor]) -> Any:
    """Return the same nest with some tensors replaced, by id."""
    if isinstance(value, Tensor):
        return fresh.get(id(value), value)
    if isinstance(value, tuple | list):
        return type(value)(_replace(item, fresh) for item in value)
    if isinstance(value, dict):
        return {key: _replace(item, fresh) for key, item in value.items()}
    return value
