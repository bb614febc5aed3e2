"""A screen to draw on where there is none."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from napari_why.errors import WhyError

SCREEN = "1800x1100x24"


def has_display() -> bool:
    """Tell whether windows can be shown."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


@contextmanager
def virtual_display() -> Iterator[None]:
    """Draw on a virtual screen (Xvfb) inside the block; nothing to do elsewhere than on Linux.

    Raises
    ------
    WhyError
        Xvfb is not installed or did not start.
    """
    if not sys.platform.startswith("linux"):
        yield
        return
    server = shutil.which("Xvfb")
    if server is None:
        raise WhyError(
            "found no Xvfb to draw a window without a display; expected it on the PATH; "
            "install it (Debian: apt install xvfb) or run with a display"
        )
    read_end, write_end = os.pipe()
    command = [server, "-displayfd", str(write_end), "-screen", "0", SCREEN, "-nolisten", "tcp"]
    before = {name: os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")}
    process = subprocess.Popen(  # noqa: S603 (a fixed command)
        command, pass_fds=[write_end], stderr=subprocess.DEVNULL
    )
    os.close(write_end)
    try:
        with os.fdopen(read_end) as answer:
            number = answer.readline().strip()
        if not number:
            raise WhyError("Xvfb was found but did not start; run with a display")
        os.environ["DISPLAY"] = f":{number}"
        os.environ.pop("WAYLAND_DISPLAY", None)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        process.terminate()
        process.wait(timeout=10)
