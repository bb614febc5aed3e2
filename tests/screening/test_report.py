"""The report: one page with nothing outside it, every well at its place, names as they are."""

from html.parser import HTMLParser

import pytest

from napari_why.core.targets import is_own
from napari_why.screening import screen
from napari_why.screening.report import colour_of


class Page(HTMLParser):
    """Counts what a page holds."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.links, self.ids, self.open = [], [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        told = dict(attributes)
        self.tags.append((tag, told))
        self.links += [value for name, value in attributes if name in ("href", "src", "xlink:href")]
        if "id" in told:
            self.ids.add(told["id"])
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def found(model, plates, plate_map, tmp_path_factory):
    text = plate_map.read_text().replace("C001", "<b>C&1</b>")
    changed = tmp_path_factory.mktemp("map") / "map.csv"
    changed.write_text(text)
    out = tmp_path_factory.mktemp("out") / "out"
    return screen(
        model, plates, out, plate_map=changed, negative="DMSO", positive="healthy", draws=100
    )


def test_the_page_needs_nothing_else(found):
    text = (found.folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == []
    assert page.links
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= page.ids
    assert "http" not in text
    assert "script" not in {tag for tag, _ in page.tags}
    assert is_own(found.folder / "report.html")


def test_every_well_is_in_each_map_and_names_are_no_markup(found):
    text = (found.folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert sum(tag == "svg" for tag, _ in page.tags) == 3 * 2
    assert sum(tag == "rect" for tag, _ in page.tags) == 3 * len(found.analysis.wells)
    assert "<b>C" not in text
    assert "&lt;b&gt;C&amp;1&lt;/b&gt;" in text
    for sentence in found.analysis.warnings:
        assert f'<p class="warning">{sentence}</p>' in text
    assert "Z&#x27;" in text
    assert found.record.classifier[:12] in text


@pytest.mark.parametrize(
    ("value", "colour"), [(-9, "#b2182b"), (0, "#b2182b"), (0.5, "#f7f7f7"), (1, "#2166ac")]
)
def test_colours(value, colour):
    assert colour_of(value, 0, 1) == colour
    assert colour_of(1 - value, 1, 0) == colour
