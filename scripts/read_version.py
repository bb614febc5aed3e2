"""The version of this checkout: that of its git tag, told to who builds it and to whoever runs this.

At a commit that is tagged v1.2.3 it is 1.2.3; 5 commits later 1.2.3+5.gabc1234. Where there is no tag yet, or no
history (an archive), it is the release that CITATION.cff tells, and of a source distribution that which it was made
as. What is no release has a local part, which no index takes: files that differ from the commit (``dirty``), a commit
whose tags a shallow clone leaves out (``gabc1234``), a checkout of which git tells nothing (``unknown``). Nothing but
Python is needed, since builds run without a network.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parents[1]
# A release or what comes before it, as PEP 440 writes them: v1.2.3, v1.2.3rc1.
NUMBER = r"(0|[1-9]\d*)"
TAG = re.compile(rf"v{NUMBER}\.{NUMBER}\.{NUMBER}(?:(a|b|rc){NUMBER})?")
# Tags that want to be versions.
LIKE_A_VERSION = re.compile(r"v?\d.*")
# Of variables, those that tell git which settings apply (who may read a checkout) are kept.
SETTINGS = "GIT_CONFIG"


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
    released = find_line(project / "CITATION.cff", "version")
    version = released
    if (project / ".git").exists():  # else another checkout around this folder would answer
        try:
            version = read_commit(project, released)
        except (OSError, ValueError) as error:
            sys.stderr.write(f"{project}: the commit is not known; git: {error}\n")
            version = f"{released}+unknown" if released else ""
    if not version:
        raise ValueError(f"{project}: found no version in git, PKG-INFO or CITATION.cff")
    return version


def read_commit(project: Path, released: str) -> str:
    """Return the version of what is checked out by its tags; that of CITATION.cff where there are none."""
    tag, since = find_tag(project)
    commit = f"g{ask_git(project, 'rev-parse', '--short', 'HEAD')}"
    local = [str(since), commit] if since else []
    if not tag and ask_git(project, "rev-parse", "--is-shallow-repository") == "true":
        local.append(commit)
    if ask_git(project, "status", "--porcelain", "--untracked-files=no"):
        local.append("dirty")
    version = tag.removeprefix("v") or released
    return f"{version}+{'.'.join(local)}" if version and local else version


def find_tag(project: Path) -> tuple[str, int]:
    """Return the nearest tag of a version, the highest of its commit, and the commits since; "" without one."""
    for name in ask_git(project, "tag", "--points-at", "HEAD").split():
        if LIKE_A_VERSION.fullmatch(name) and not TAG.fullmatch(name):
            sys.stderr.write(
                f"the tag {name} is no version like v1.2.3 or v1.2.3rc1, and is left out\n"
            )
    tags = [
        name for name in ask_git(project, "tag", "--merged", "HEAD").split() if TAG.fullmatch(name)
    ]
    if not tags:
        return "", 0
    wanted = [f"--match={name}" for name in tags]
    nearest = ask_git(project, "describe", "--tags", "--abbrev=0", *wanted)
    there = ask_git(project, "tag", "--points-at", f"refs/tags/{nearest}^{{commit}}").split()
    highest = max((name for name in there if TAG.fullmatch(name)), key=order_of)
    return highest, int(ask_git(project, "rev-list", "--count", f"refs/tags/{highest}..HEAD"))


def order_of(tag: str) -> tuple[int, int, int, str, int]:
    """Return what tags of versions are sorted by: a release after what comes before it."""
    found = TAG.fullmatch(tag)
    if found is None:
        raise ValueError(f"{tag} is no version like v1.2.3 or v1.2.3rc1")
    major, minor, patch, stage, number = found.groups()
    # "release" stands behind "a", "b" and "rc" in the alphabet, too
    return int(major), int(minor), int(patch), stage or "release", int(number or 0)


def ask_git(project: Path, *words: str) -> str:
    """Return what git answers of a checkout; raise what it says where it refuses."""
    told = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("GIT_") or name.startswith(SETTINGS)
    }
    # a .git that is none must not send it to a checkout around
    told["GIT_CEILING_DIRECTORIES"] = str(project.resolve().parent)
    command = ["git", "-C", str(project), *words]
    done = subprocess.run(  # noqa: S603 - fixed words
        command, capture_output=True, text=True, check=False, env=told
    )
    if done.returncode:
        raise ValueError(done.stderr.strip())
    return done.stdout.strip()


def find_line(file: Path, name: str) -> str:
    """Return what a file of lines ``name: value`` tells; empty where it does not."""
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    found = re.search(rf"^{name}: (\S+)$", text, re.MULTILINE)
    return found[1] if found else ""


if __name__ == "__main__":
    sys.stdout.write(f"{read_version()}\n")
