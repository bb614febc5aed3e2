"""Python's garbage collector, kept still for a while."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock


@dataclass
class _Stillness:
    """How many blocks of this process want no collection now, and whether to go on after the last."""

    # entered anew by its own thread where a collection that begins within calls what opens such a block
    lock: RLock = field(default_factory=RLock)
    blocks: int = 0
    collecting: bool = False


# Of this process, as the collector is: blocks of several threads may overlap.
_STILLNESS = _Stillness()


@contextmanager
def no_collection() -> Iterator[None]:
    """Let Python look for no garbage within the block, nor in other threads meanwhile.

    Of blocks that overlap, the last one that ends leaves the collector as the first one found it.

    Examples
    --------
    >>> before = gc.isenabled()
    >>> with no_collection():
    ...     gc.isenabled()
    False
    >>> gc.isenabled() == before
    True
    """
    with _STILLNESS.lock:
        if not _STILLNESS.blocks:
            _STILLNESS.collecting = gc.isenabled()
            gc.disable()
        _STILLNESS.blocks += 1
    try:
        yield
    finally:
        with _STILLNESS.lock:
            _STILLNESS.blocks -= 1
            if not _STILLNESS.blocks and _STILLNESS.collecting:
                gc.enable()
