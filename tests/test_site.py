"""The site without building it: every page can be reached, every link and picture is there.

``make docs`` builds it, runs its examples and looks closer; that takes minutes and has a leg of its own.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_why.attribution import METHODS as ATTRIBUTIONS
from napari_why.counterfactuals import METHODS as COUNTERFACTUALS

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
# What the build writes, and where Sphinx puts its own.
BUILT = ("_build", "generated", "gallery")
# A link or picture of Markdown; the address ends before a title.
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)[^)]*\)", re.DOTALL)


def pages() -> list[Path]:
    return [path for path in DOCS.rglob("*.md") if path.relative_to(DOCS).parts[0] not in BUILT]


PAGES = {path.relative_to(DOCS).as_posix(): path for path in pages()}


def without_code(text: str) -> str:
    return re.sub(r"```.*?```|`[^`\n]+`", "", text, flags=re.DOTALL)


def toctree_entries(path: Path) -> Iterator[str]:
    """Yield the pages that a page's toctrees name, from the folder of the documentation."""
    text = path.read_text(encoding="utf-8")
    for block in re.findall(r"```\{toctree\}\n(.*?)```", text, re.DOTALL):
        for line in block.splitlines():
            if line.strip() and not line.startswith(":"):
                entry = line.strip().rpartition("<")[2].removesuffix(">")  # Title <page>
                target = (path.parent / entry).resolve()
                yield target.relative_to(DOCS.resolve()).as_posix()


def slugs(path: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and myst make them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found: set[str] = set()
    for heading in re.findall(r"^#{1,6} (.+)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def local_links(path: Path) -> Iterator[str]:
    for target in LINK.findall(without_code(path.read_text(encoding="utf-8"))):
        if not target.startswith(("http://", "https://", "mailto:")):
            yield target


def test_every_page_is_in_a_toctree() -> None:
    named = {entry for path in PAGES.values() for entry in toctree_entries(path)}
    left_out = {name.removesuffix(".md") for name in PAGES} - named
    assert left_out == {"index"}


def test_every_entry_of_a_toctree_is_there() -> None:
    named = {entry for path in PAGES.values() for entry in toctree_entries(path)}
    written = {entry for entry in named if entry.split("/")[0] in BUILT}
    assert {f"{entry}.md" for entry in named - written} <= set(PAGES)
    # of these the build warns where they are not written
    assert {entry.split("/")[0] for entry in written} == {"generated", "gallery"}


@pytest.mark.parametrize("name", [*PAGES, "../README.md", "../CHANGELOG.md"])
def test_every_link_and_picture_is_there(name: str) -> None:
    path = DOCS / name
    for target in local_links(path):
        file, _, anchor = target.partition("#")
        found = (path.parent / file).resolve() if file else path.resolve()
        if (
            found.is_relative_to(DOCS.resolve())
            and found.relative_to(DOCS.resolve()).parts[0] in BUILT
        ):
            if found.parent.name == "gallery":
                assert (DOCS / "examples" / found.with_suffix(".py").name).exists(), target
            continue
        assert found.exists(), f"{name}: {target}"
        if anchor:
            assert anchor in slugs(found), f"{name}: {target}"


def test_a_missing_link_would_be_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b` (c)\n\n[one](other.md) ![two](no.png)\n`[three](x)` [four](#a-b-c)\n")
    assert list(local_links(page)) == ["other.md", "no.png", "#a-b-c"]
    assert slugs(page) == {"a-b-c"}


def test_every_picture_of_the_documentation_is_shown() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*PAGES.values(), PROJECT / "README.md")]
    shown = {Path(target).name for text in texts for target in LINK.findall(text)}
    kept = {path.name for path in (DOCS / "images").glob("*.png")}
    # the pictures of the light theme are taken with the others, to be looked at
    assert {name for name in kept - shown if "-light" not in name} == set()


def test_the_list_for_language_models_names_pages_that_are_there() -> None:
    text = (DOCS / "llms.txt").read_text(encoding="utf-8")
    assert text.startswith("# napari-why\n\n> ")
    named = LINK.findall(text)
    assert len(named) > 20
    for target in named:
        page = target.removesuffix(".html")
        written = page.split("/")[0] in BUILT
        assert written or f"{page}.md" in PAGES, target


def test_every_method_has_a_formula_and_a_section() -> None:
    formulas = tomllib.loads((DOCS / "site_builder" / "formulas.toml").read_text(encoding="utf-8"))
    for kind, registry in {"attribution": ATTRIBUTIONS, "counterfactual": COUNTERFACTUALS}.items():
        own = {
            name for name, method in registry.items() if "napari_why" in method.function.__module__
        }
        assert set(formulas[kind]) == own
        for name, known in formulas[kind].items():
            page, _, anchor = known["section"].partition("#")
            assert known["formula"], name
            assert anchor in slugs(DOCS / page), known["section"]


def test_no_page_names_a_place_on_a_machine() -> None:
    for path in PAGES.values():
        assert not re.search(
            r"(?<![\w.])/(?:work|home|Users|root)/", path.read_text(encoding="utf-8")
        ), path
