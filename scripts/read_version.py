"""The version of this checkout: that of its git tag, told to who builds it and to whoever runs this.

At a commit that is tagged v1.2.3 it is 1.2.3; 5 commits later 1.2.3+5.gabc1234, which no index takes. Where git
has nothing to say (no tag yet, no git, a copy without history) it is the release that CITATION.cff tells, and of a
source distribution that which it was made as. Nothing but Python is needed, since builds run without a network.
"""

import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
TAGS = "v[0-9]*.[0-9]*.[0-9]*"
# As git describe --long writes it: the tag, the commits since, the commit.
DESCRIBED = re.compile(r"v(?P<release>.+)-(?P<since>\d+)-(?P<commit>g[0-9a-f]+)")


def read_version(project: Path = PROJECT) -> str:
    """Return the version of a checkout, or of an unpacked source distribution.

    Parameters
    ----------
    project : Path
        Its folder.

    Returns
    -------
    str
        By PEP 440.

    Raises
    ------
    ValueError
        Nothing tells it.
    """
    made_as = find_line(project / "PKG-INFO", "Version")
    if made_as:
        return made_as
    described = DESCRIBED.fullmatch(ask_git(project))
    if described:
        here = described["since"] == "0"
        release = described["release"]
        return release if here else f"{release}+{described['since']}.{described['commit']}"
    released = find_line(project / "CITATION.cff", "version")
    if not released:
        raise ValueError(f"{project}: found no version in git, PKG-INFO or CITATION.cff")
    return released


def ask_git(project: Path) -> str:
    """Return how git describes a checkout; empty where it does not."""
    if not (project / ".git").exists():
        return ""  # another checkout around this folder would answer
    command = ["git", "-C", str(project), "describe", "--tags", "--long", f"--match={TAGS}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - fixed words
    except OSError:  # no git here
        return ""
    return done.stdout.strip()


def find_line(file: Path, name: str) -> str:
    """Return what a file of lines ``name: value`` tells; empty where it does not."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = re.search(rf"^{name}: (\S+)$", text, re.MULTILINE)
    return found[1] if found else ""


if __name__ == "__main__":
    sys.stdout.write(f"{read_version()}\n")
