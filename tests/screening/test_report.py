"""The report: one page with nothing outside it, every well at its place, names as they are."""

import re
from html.parser import HTMLParser
from importlib import import_module

import numpy as np
import pandas as pd
import pytest

from napari_why.batch import BatchOptions
from napari_why.core.errors import CancellationError
from napari_why.core.targets import is_own
from napari_why.screening import ScreenOptions, analyse_screen, merge, screen
from napari_why.screening.explained import show_hits
from napari_why.screening.merge import options_of
from napari_why.screening.parts import read_plan
from napari_why.screening.report import MOST_ROWS, colour_of, make_report
from napari_why.simulation.wells import WellsDesign, simulate_wells

# the package has a function of the same name
merging = import_module("napari_why.screening.merge")


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
        if tag not in ("meta", "img", "br"):  # these have no end
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


def test_what_is_not_flagged_is_white_and_captions_say_what_colours_mean(found):
    text = (found.folder / "report.html").read_text(encoding="utf-8")
    assert (found.analysis.wells["flagged"] == 0).all()
    figures = [part for part in text.split("<figure>") if "share of fields" in part]
    assert len(figures) == 2
    for figure in figures:
        drawn = figure.partition("</figure>")[0]
        assert set(re.findall(r'fill="(#\w+)"', drawn)) == {"#f7f7f7"}
        assert "white none, red all" in drawn


def test_every_well_leads_to_its_compound_and_dose_however_many_there_are(found):
    wells = simulate_wells(WellsDesign(compounds=MOST_ROWS + 30, controls=4, plates=1))
    dosed = wells["Metadata_Role"] == "sample"
    wells["Metadata_Dose"] = np.where(dosed, np.resize([0.1, 1e-9, 3.0], len(wells)), np.nan)
    wells.loc[dosed, "Metadata_Compound"] = [f"C{number // 3}" for number in range(MOST_ROWS + 30)]
    options = ScreenOptions(negative="DMSO", positive="healthy", draws=100)
    analysis = analyse_screen(wells, options)
    assert len(analysis.hits) == MOST_ROWS + 30
    page = Page(make_report(analysis, options, found.record, analysis.sentences))
    assert page.open == []
    assert {link[1:] for link in page.links} <= page.ids
    # one place a compound and dose, and one for all controls
    assert len(set(page.links)) == MOST_ROWS + 30 + 1
    assert len(page.links) % len(wells) == 0


def test_methods_name_the_test_of_textures_only_where_it_was_made(found):
    wells = simulate_wells(WellsDesign(compounds=20, controls=4, plates=4))
    alone = wells["Metadata_Role"].str.endswith("control") & wells.duplicated(
        ["Metadata_Plate", "Metadata_Role"]
    )
    options = ScreenOptions(negative="DMSO", positive="healthy", draws=100)
    for table, made in ((wells, True), (wells[~alone].reset_index(drop=True), False)):
        analysis = analyse_screen(table, options)
        page = make_report(analysis, options, found.record, analysis.sentences)
        assert ("the one texture that lies furthest" in page) == made
        assert page.count("no texture was tested alone") == 2 * (not made)  # warning and methods


@pytest.fixture(scope="module")
def explained(model, plates, plate_map, tmp_path_factory):
    """A screen that explains and changes every field, and two of its compounds taken for hits."""
    out = tmp_path_factory.mktemp("explained") / "out"
    asked = {"attribution": "saliency", "counterfactual": "mean_shift", "measure": True}
    found = screen(
        *(model, plates, out),
        plate_map=plate_map,
        negative="DMSO",
        positive="healthy",
        draws=100,
        **asked,
    )
    hits = pd.DataFrame({"compound": ["C001", "C002"], "finding": "towards healthy"})
    return found, read_plan(out), hits


def test_hits_are_shown_by_the_fields_that_speak_most_for_and_against_them(explained):
    found, plan, hits = explained
    shown = show_hits(plan, options_of(plan), found.fields, hits)
    assert [field.compound for field in shown] == ["C001", "C001", "C002", "C002"]
    own = found.fields[found.fields["Metadata_Compound"] == "C001"]
    odds = own["log-odds of healthy"]
    for field, row, words in (
        (shown[0], own.loc[odds.idxmax()], "speaks most for it"),
        (shown[1], own.loc[odds.idxmin()], "speaks most against it"),
    ):
        place = f"{row['Metadata_Plate']} {row['Metadata_Well']}, field {row['Metadata_Site']}"
        assert field.title == f"{place}: {words}, log-odds {row['log-odds of healthy']:.2f}"
        assert row["Metadata_verdict"] in field.words
        # a map always, a change where the field is not healthy already
        changed = row["Metadata_predicted"] != "healthy"
        assert len(field.pictures) == 1 + changed
        assert all(one.startswith(b"\x89PNG") for one in field.pictures)
    page = Page(make_report(found.analysis, options_of(plan), found.record, found.sentences, shown))
    assert page.open == []
    pictures = [link for link in page.links if link.startswith("data:image/png;base64,")]
    assert len(pictures) == sum(len(field.pictures) for field in shown)
    assert {link[1:] for link in page.links if link not in pictures} <= page.ids


def test_where_the_model_is_gone_hits_are_told_without_pictures(explained, tmp_path):
    found, plan, hits = explained
    options = options_of(plan)
    lost = show_hits({**plan, "model": str(tmp_path)}, options, found.fields, hits)
    assert [field.pictures for field in lost] == [()] * 4
    assert all(field.words[-1].startswith("no pictures: ") for field in lost)
    older = {name: value for name, value in plan.items() if name != "model"}
    assert len(show_hits(older, options, found.fields, hits)) == 4
    nothing = hits.assign(finding="no change shown")
    assert show_hits(plan, options, found.fields, nothing) == []
    assert show_hits(plan, ScreenOptions(), found.fields, hits) == []


def test_work_on_pictures_can_be_stopped_and_the_rest_is_kept(explained, monkeypatch, tmp_path):
    found, plan, hits = explained
    with pytest.raises(CancellationError):
        show_hits(plan, options_of(plan), found.fields, hits, cancelled=lambda: True)

    def stop(*_, **__):
        raise CancellationError("stopped")

    monkeypatch.setattr(merging, "show_hits", stop)
    assert merge([found.folder], tmp_path / "merged").complete
    assert "Hits in pictures" not in (tmp_path / "merged" / "report.html").read_text("utf-8")


@pytest.mark.parametrize(
    ("value", "colour"), [(-9, "#b2182b"), (0, "#b2182b"), (0.5, "#f7f7f7"), (1, "#2166ac")]
)
def test_colours(value, colour):
    assert colour_of(value, 0, 1) == colour
    assert colour_of(1 - value, 1, 0) == colour


def shown_titles(fields, dose):
    """The titles of what is shown of the one hit of a compound, without images: plans tell where they were."""
    hits = pd.DataFrame({"compound": ["C1"], "dose": [dose], "finding": ["towards healthy"]})
    options = ScreenOptions(healthy="healthy", explaining=BatchOptions(attribution="saliency"))
    shown = show_hits({"model": "gone", "classifier": ""}, options, fields, hits)
    return [one.title for one in shown]


def test_fields_of_a_hit_are_of_its_dose_and_rather_not_flagged():
    fields = pd.DataFrame(
        {
            "Metadata_Plate": "P1",
            "Metadata_Well": ["A01", "A01", "A01", "A02", "A02", "A02"],
            "Metadata_Site": ["1", "2", "3", "1", "2", "3"],
            "Metadata_Compound": "C1",
            "Metadata_Dose": [np.nan] * 3 + [1.0] * 3,
            "Metadata_error": "",
            "Metadata_explanation error": ["", "", "", "", "no room", ""],
            "flagged": [1.0, 0.0, 0.0, 1.0, 0.0, 1.0],
            "log-odds of healthy": [9.0, 2.0, 1.0, 8.0, 7.0, -9.0],
        }
    )
    # a hit without a dose is not shown by fields of the doses; the flagged field is the most extreme one
    first, last = shown_titles(fields, np.nan)
    assert first.startswith("P1 A01, field 2: speaks most for it")
    assert last.startswith("P1 A01, field 3: speaks most against it")
    # of this dose there are no others than flagged ones, and one that could not be explained
    first, last = shown_titles(fields, 1.0)
    assert first.startswith("P1 A02, field 1: speaks most for it")
    assert last.startswith("P1 A02, field 3: speaks most against it")
