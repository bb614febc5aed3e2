"""Pictures of the dock, made anew by each build that has a display."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from sphinx.util import logging

from site_builder.api import replace_text

TOUR = Path(__file__).parents[1] / "make_start_screenshots.py"
# Pictures of a tour; its first ones take seconds, the later ones a training.
STEPS = int(os.environ.get("NAPARI_WHY_TOUR", "5"))
# Seconds: far more than the tour takes, so that a window that hangs does not hang the build.
LONGEST = 240
SCREEN = "-screen 0 1366x768x24"

logger = logging.getLogger(__name__)


def write_windows(generated: Path, *, taken: bool) -> None:
    """Write ``windows.md`` with the pictures that this build takes, or with the reason for none."""
    folder = generated / "windows"
    shutil.rmtree(folder, ignore_errors=True)
    reason = take_pictures(folder) if taken else "this is a quick build"
    if reason:
        logger.info("no pictures of the dock: %s", reason)
    lines = [
        "# Pictures of this build",
        "",
        "The first steps of [start in ten minutes](../start.md), in a window that was opened while this site "
        "was built: what the dock looks like in this very version.",
        "",
    ]
    lines += [f"*There are none: {reason}.*", ""] if reason else []
    for picture in sorted(folder.glob("*.png")):
        words = picture.stem.split("-", 2)[-1].replace("-", " ")
        lines += [f"![{words}](windows/{picture.name})", ""]
    replace_text(generated / "windows.md", "\n".join(lines))


def take_pictures(folder: Path) -> str:
    """Run the tour into a folder; return why it could not be, empty where it could."""
    command = [sys.executable, str(TOUR), str(folder), f"--steps={STEPS}"]
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        if shutil.which("xvfb-run") is None:
            return "there is neither a display nor xvfb-run"
        command = ["xvfb-run", "-a", "-s", SCREEN, *command]
    try:
        with TemporaryDirectory() as settings:  # what the tour sets is none of its user's settings
            subprocess.run(  # noqa: S603 - our own script
                command,
                check=True,
                timeout=LONGEST,
                capture_output=True,
                text=True,
                env={**os.environ, "XDG_CONFIG_HOME": settings},
            )
    except subprocess.TimeoutExpired:
        logger.warning("the tour of the window took more than %s seconds", LONGEST)
        return f"the window did not answer within {LONGEST} seconds"
    except subprocess.CalledProcessError as error:
        logger.warning("the tour of the window failed: %s", error.stderr)  # there was a display
        return "the window could not be opened"
    return ""
