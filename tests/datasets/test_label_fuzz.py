"""Two thousand folders, names and plate maps: every label right, told, asked or refused."""

import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
from label_fuzzing.campaign import Report, run
from label_fuzzing.case import Case
from label_fuzzing.distortions import DISTORTIONS
from label_fuzzing.generator import make_case
from label_fuzzing.opening import Opened, open_names, open_pixels
from label_fuzzing.oracle import OUTCOMES, RIGHT, WRONG, judge
from label_fuzzing.plate_maps import write_map
from label_fuzzing.styles import STYLES

from napari_why.core.errors import DatasetError

SEED, CASES = 0, 2000
# Of a style's undistorted cases. A name that tells two wells, or none, may be asked about.
MOSTLY = 0.9


@pytest.fixture(scope="module")
def report() -> Report:
    return run(range(CASES), SEED)


def test_no_label_is_silently_wrong(report: Report) -> None:
    assert report.total == CASES
    wrong = [f"{case}: {why}" for case, why in report.wrong]
    assert not wrong, f"{len(wrong)} cases:\n" + "\n".join(wrong[:40])


@pytest.mark.parametrize("style", [style.name for style in STYLES])
def test_what_nobody_distorted_is_right(report: Report, style: str) -> None:
    """A reader that asks about everything would be no help."""
    outcomes = {outcome: report.plain[style, outcome] for outcome in OUTCOMES}
    assert sum(outcomes.values()) >= 15
    assert report.plain_share(style) >= MOSTLY, outcomes


def test_every_distortion_and_style_occurs(report: Report) -> None:
    assert {name for name, _ in report.by_distortion} >= set(DISTORTIONS)
    assert {name for name, _ in report.by_style} == {style.name for style in STYLES}
    for name in DISTORTIONS:
        assert sum(report.by_distortion[name, outcome] for outcome in OUTCOMES) >= 8, name


def test_the_same_number_gives_the_same_case(tmp_path: Path) -> None:
    first, again, other = (
        make_case(number, SEED, tmp_path / "case") for number in (3, 3, 3 + len(STYLES))
    )
    assert str(first) == str(again)
    assert [picture.files for picture in first.pictures] == [p.files for p in again.pictures]
    assert [picture.files for picture in first.pictures] != [p.files for p in other.pictures]


# Openings that go wrong on purpose: each changes what came out of a right one.


def exchange_labels(opened: Opened) -> None:
    labels = [row["label"] for row in opened.rows]
    for row in opened.rows:
        row["label"] = next(label for label in labels if label != row["label"])


def exchange_two_labels(opened: Opened) -> None:
    first = opened.rows[0]
    other = next(row for row in opened.rows if row["label"] != first["label"])
    first["label"], other["label"] = other["label"], first["label"]


def move_by_a_well(opened: Opened) -> None:
    wells = [row.get("well", "") for row in opened.rows]
    for row, well in zip(opened.rows, wells[-1:] + wells[:-1], strict=True):
        row["well"] = well or "H12"


def lose_an_image(opened: Opened) -> None:
    del opened.rows[0]
    if opened.numbers:
        del opened.numbers[0]


def count_an_image_twice(opened: Opened) -> None:
    opened.rows.append(dict(opened.rows[0]))
    if opened.numbers:
        opened.numbers.append(opened.numbers[0])


def take_a_channel_of_another(opened: Opened) -> None:
    assert opened.numbers is not None
    first, last = opened.numbers[0], opened.numbers[-1]
    first[-1], last[-1] = last[-1], first[-1]


def exchange_channels(opened: Opened) -> None:
    assert opened.numbers is not None
    opened.numbers[0].reverse()


def lose_a_channel(opened: Opened) -> None:
    for numbers in opened.numbers or []:
        numbers.pop()


def spell_a_label_otherwise(opened: Opened) -> None:
    labels = [row["label"] for row in opened.rows]
    # Of a class of several images: one image may well have a name of its own.
    row = next(row for row in opened.rows if labels.count(row["label"]) > 1)
    row["label"] = f"{row['label']} "


def break_elsewhere(opened: Opened) -> None:
    opened.error = KeyError("a library failed")


def refuse_without_a_reason(opened: Opened) -> None:
    opened.error = DatasetError("something is wrong")


FAULTS = (
    exchange_labels,
    exchange_two_labels,
    move_by_a_well,
    lose_an_image,
    count_an_image_twice,
    take_a_channel_of_another,
    exchange_channels,
    lose_a_channel,
    spell_a_label_otherwise,
    break_elsewhere,
    refuse_without_a_reason,
)


@pytest.fixture(scope="module")
def right_cases(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Case, Opened]]:
    """Undistorted cases of two or more channels that are opened rightly, in all layouts."""
    place = tmp_path_factory.mktemp("right")
    found = []
    for number in range(40):
        case = make_case(number, SEED + 1, place / str(number), ())
        opened = open_pixels(case)
        labels = [row["label"] for row in opened.rows]
        several = len(case.plan.stains) > 1 and len(set(labels)) < len(labels)
        if several and judge(case, opened).outcome == RIGHT:
            found.append((case, opened))
    assert len({case.plan.layout for case, _ in found}) == 4
    return found


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_reader_with_a_fault_is_caught(
    right_cases: list[tuple[Case, Opened]], fault: Callable[[Opened], None]
) -> None:
    for case, opened in right_cases:
        broken = deepcopy(opened)
        fault(broken)
        assert judge(case, broken).outcome == WRONG, f"{case}: {fault.__name__}"


def test_a_map_that_is_shifted_by_a_row_is_caught(tmp_path: Path) -> None:
    tried = 0
    for number in range(60):
        case = make_case(number, SEED + 1, tmp_path / "case", ())
        if case.map is None or judge(case, open_names(case)).outcome != RIGHT:
            continue
        wells = case.plan.wells
        for well, above in zip(wells, wells[-1:] + wells[:-1], strict=True):
            well.cell = above.label
        write_map(case.plan, case.map)
        tried += 1
        assert judge(case, open_names(case)).outcome == WRONG, str(case)
    assert tried >= 5


def test_a_reader_that_takes_the_first_well_it_sees_is_caught(tmp_path: Path) -> None:
    """As anybody would write it; days, passages and cell lines are why it does not do."""

    def open_first(case: Case) -> Opened:
        at = {well.name: well for well in case.plan.wells if well.listed}
        rows = []
        for picture in case.pictures:
            name = picture.files[0].relative_to(case.folder).as_posix()
            found = re.findall(r"(?<![A-Za-z0-9])([A-P])(\d{1,2})(?![A-Za-z0-9])", name)
            wells = [f"{row}{int(column):02d}" for row, column in found]
            known = next((well for well in wells if well in at), wells[0] if wells else "")
            label = at[known].label if known in at else "other"
            rows.append({"path": str(picture.files[0]), "label": label, "well": known})
        return Opened(rows=rows)

    numbers = [number for number in range(2000) if STYLES[number % len(STYLES)].free]
    outcomes: dict[tuple[str, ...], list[str]] = {(): [], ("folder like a well",): [], ("day",): []}
    for number in numbers[:60]:
        for distortions, found in outcomes.items():
            case = make_case(number, SEED + 1, tmp_path / "case", distortions)
            if case.map is not None and len(case.plan.plates) == 1:
                found.append(judge(case, open_first(case)).outcome)
    plain, *distorted = outcomes.values()
    assert set(plain) == {RIGHT}
    assert any(WRONG in found for found in distorted)
