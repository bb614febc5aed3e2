"""Check a release before it is published: one version everywhere, and files with all they should hold.

``--tag v1.2.3`` compares a tag, which the version is made of, with what is checked out, CITATION.cff and
CHANGELOG.md tell; ``--dist FOLDER`` looks into the wheel and the source distribution.
"""

import argparse
import re
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from read_version import read_version

PROJECT = Path(__file__).parents[1]
# What a user of the wheel needs beside the modules: manifest, icon and the mark that it is typed.
IN_WHEEL = ("napari_why/napari.yaml", "napari_why/icon.svg", "napari_why/py.typed")
# What who builds or cites it needs.
IN_SOURCE = (
    "scripts/read_version.py",
    "napari.yaml",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CITATION.cff",
    "CHANGELOG.md",
)
# Of nobody's concern: caches, environments, results, links of an editable install.
NEVER = re.compile(r"(^|/)(\.venv|\.git|__pycache__|demo-output|\.[a-z_]*cache)(/|$)|\.pyc$|\.log$")


def read_metadata() -> dict[str, Any]:
    """Return what pyproject.toml tells of the project."""
    plain = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    project: dict[str, Any] = plain["project"]
    return project


def check_tag(tag: str) -> Iterator[str]:
    """Yield what speaks against releasing this tag."""
    version = tag.removeprefix("v")
    built_as = read_version(PROJECT)
    if tag != f"v{built_as}":
        yield f"the tag is {tag}, and what is checked out would be built as version {built_as}"
    citation = (PROJECT / "CITATION.cff").read_text(encoding="utf-8")
    if not re.search(rf"^version: {re.escape(version)}$", citation, re.MULTILINE):
        yield f"CITATION.cff tells another version than {version}"
    if not re.search(r"^date-released: ", citation, re.MULTILINE):
        yield "CITATION.cff tells no date-released, by which an archive dates it"
    if not read_metadata().get("urls"):
        yield (
            "pyproject.toml has no [project.urls]: PyPI and the napari hub show Homepage, Documentation, "
            "Source Code and Bug Tracker"
        )
    readme = (PROJECT / "README.md").read_text(encoding="utf-8")
    if re.search(r"!\[[^]]*\]\((?!https://)", readme):
        yield "README.md has images by relative paths, which PyPI and the napari hub do not show"
    changes = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")
    if f"## [{version}] - " not in changes:
        yield f"CHANGELOG.md has no section [{version}] with a date"


def check_files(folder: Path) -> Iterator[str]:
    """Yield what is wrong with the wheel and the source distribution of a folder."""
    version = read_version(PROJECT)
    stem = f"napari_why-{version}"
    wheels, sources = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if [path.name for path in wheels] != [f"{stem}-py3-none-any.whl"]:
        yield f"found the wheels {[path.name for path in wheels]}; expected one of version {version}"
    if [path.name for path in sources] != [f"{stem}.tar.gz"]:
        yield f"found the sources {[path.name for path in sources]}; expected one of version {version}"
    for path in wheels:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        yield from _compare(path.name, names, IN_WHEEL)
        outside = {name.partition("/")[0] for name in names} - {"napari_why", f"{stem}.dist-info"}
        if outside:
            yield f"{path.name}: found {', '.join(sorted(outside))} beside the package"
    for path in sources:
        with tarfile.open(path) as archive:
            names = [name.partition("/")[2] for name in archive.getnames()]
        yield from _compare(path.name, names, IN_SOURCE)


def _compare(where: str, names: list[str], wanted: tuple[str, ...]) -> Iterator[str]:
    missing = [name for name in wanted if name not in names]
    if missing:
        yield f"{where}: found no {', '.join(missing)}"
    unwanted = [name for name in names if NEVER.search(name)]
    if unwanted:
        yield f"{where}: found {', '.join(unwanted[:5])}, which are not for publishing"


def main() -> int:
    """Check what was asked for; 1 where something is wrong, said in lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tag", help="of the release: v1.2.3")
    parser.add_argument("--dist", type=Path, help="folder with wheel and source distribution")
    given = parser.parse_args()
    problems = [*(check_tag(given.tag) if given.tag else ())]
    problems += [*(check_files(given.dist) if given.dist else ())]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
