"""A worker whose reader breaks in the way that the file's name says, to test that it is noticed."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from fuzzing import worker


def fail() -> None:
    """Raise what no reader should."""
    raise KeyError("a library failed")


BREAKS: dict[str, Any] = {
    "hangs": lambda: time.sleep(600),
    "crashed": os.abort,
    "raised": fail,
    "no memory": lambda: np.ones(2**28),
    "much": lambda: np.ones(2**23),
}


def read(paths: list[str], axes: str | None) -> None:
    """Break instead of reading."""
    BREAKS[Path(paths[0]).name]()
    raise worker.ImageReadError(paths[0], "a test", "none")


if __name__ == "__main__":
    worker.read = read
    worker.main()
