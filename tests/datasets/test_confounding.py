"""What else tells the class: found where it is planted, and not where the layout is balanced."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.core.events import Message
from napari_why.datasets import Dataset, find_confounding
from napari_why.datasets.factors import list_factors

from .conftest import image_of

ROWS = "ABCDEFGH"
classes = st.integers(2, 6).map(lambda count: [f"class {index}" for index in range(count)])


def plate(columns: int, *, plates: int = 1, fields: int = 2) -> pd.DataFrame:
    """Eight rows and so many columns of wells, on every plate alike."""
    return pd.DataFrame(
        [
            {"plate": f"P{number}", "well": f"{row}{column + 1:02d}", "field": field}
            for number in range(plates)
            for row in ROWS
            for column in range(columns)
            for field in range(fields)
        ]
    )


def by_number(table: pd.DataFrame, names: list[str], numbers: "pd.Series[int]") -> list[str]:
    del table
    return [names[number % len(names)] for number in numbers]


def columns_of(table: pd.DataFrame) -> "pd.Series[int]":
    return table["well"].str[1:].astype(int) - 1


def rows_of(table: pd.DataFrame) -> "pd.Series[int]":
    return table["well"].str[0].map(ROWS.index)


@given(classes, st.integers(1, 3))
@settings(max_examples=25)
def test_a_latin_square_on_every_plate_gives_no_alarm(names: list[str], plates: int) -> None:
    table = plate(2 * len(names), plates=plates)
    labels = by_number(table, names, columns_of(table) + rows_of(table))
    found = find_confounding(table, labels, ("plate", "well"))
    assert found.warnings == ()
    assert found.confounded == ()


@given(classes, st.integers(0, 2**32 - 1))
@settings(max_examples=25, derandomize=True)
def test_wells_given_out_at_random_give_no_alarm(names: list[str], seed: int) -> None:
    table = plate(12, fields=1)
    numbers = pd.Series(np.random.default_rng(seed).permutation(len(table)))
    found = find_confounding(table, by_number(table, names, numbers), ("plate", "well"))
    assert found.warnings == ()


def test_few_wells_of_many_classes_at_random_on_plates_give_no_alarm() -> None:
    rng = np.random.default_rng(0)
    levels = []
    for _ in range(40):
        table = plate(3, fields=1).assign(plate=rng.choice(["1", "2", "3"], 24))
        labels = [f"class {number % 6}" for number in rng.permutation(24)]
        found = find_confounding(table, labels)
        assert found.confounded == ()
        levels += [item.level for item in found.associations if item.factor == "plate"]
    # Some pairs never meet by chance, which is said without alarm.
    assert "noted" in levels


@given(classes, st.sampled_from(["plate", "day", "Operator", "scanDate"]))
@settings(max_examples=25)
def test_classes_with_plates_or_days_of_their_own_are_an_alarm(
    names: list[str], column: str
) -> None:
    table = plate(4, plates=len(names))
    labels = [names[int(number[1:])] for number in table["plate"]]
    if column != "plate":
        table = table.rename(columns={"plate": column}).assign(plate="one")
        # On a plate of its own each well has one class, as by design.
        table["well"] += table[column].str[1:]
    found = find_confounding(table, labels)
    first = found.associations[0]
    assert (first.factor, first.level, first.guess) == (column, "confounded", 1.0)
    assert first.determined == 1.0
    assert [item.factor for item in found.told_confounded] == [column]
    assert found.warnings[0].startswith("Warning: each class has ")
    assert "cannot be told" in found.warnings[0]


@given(classes, st.booleans())
@settings(max_examples=25)
def test_blocks_of_a_plate_are_told(names: list[str], repeated: bool) -> None:
    table = plate(3 * len(names), plates=3 if repeated else 1)
    labels = [names[number // 3] for number in columns_of(table)]
    found = find_confounding(table, labels)
    assert [item.factor for item in found.told_confounded] == ["column"]
    assert "position on the plate" in found.warnings[0]
    assert not found.warnings[0].startswith("Warning")


def test_diagonal_quadrants_and_edges_are_told() -> None:
    table = plate(12)
    left, upper = columns_of(table) < 6, rows_of(table) < 4
    labels = ["a" if same else "b" for same in left == upper]
    assert [item.factor for item in find_confounding(table, labels).told_confounded] == ["quadrant"]
    edge = columns_of(table).isin([0, 11]) | rows_of(table).isin([0, 7])
    labels = ["a" if outside else "b" for outside in edge]
    assert [item.factor for item in find_confounding(table, labels).told_confounded] == ["edge"]


@pytest.mark.parametrize("across", [True, False])
def test_classes_that_change_sides_from_plate_to_plate_are_told(across: bool) -> None:
    """They share every row, column and plate, and no half of one."""
    table = plate(8, plates=2)
    first = columns_of(table) < 4 if across else rows_of(table) < 4
    labels = ["a" if half else "b" for half in first == (table["plate"] == "P0")]
    found = find_confounding(table, labels)
    name = "left or right" if across else "upper or lower"
    assert [item.factor for item in found.told_confounded] == [f"{name} half of a plate"]
    assert f"Each class has {name} halves of plates of its own" in found.warnings[0]


def test_a_few_wells_at_random_on_several_plates_give_no_alarm() -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        kept = rng.permutation(96)[:12]
        table = plate(6, plates=2, fields=1).iloc[kept].reset_index(drop=True)
        labels = [f"class {number % 2}" for number in rng.permutation(12)]
        told = find_confounding(table, labels).confounded
        assert [item for item in told if item.factor.endswith("half of a plate")] == []


def test_controls_at_the_ends_are_told_and_columns_in_turn_only_noted() -> None:
    table = plate(12)
    ends = ["control" if at in (0, 1, 10, 11) else "drug" for at in columns_of(table)]
    assert find_confounding(table, ends).confounded[0].factor == "column"
    in_turn = ["ab"[at % 2] for at in columns_of(table)]
    found = find_confounding(table, in_turn)
    assert found.confounded == ()
    assert [item.level for item in found.told] == ["noted"]
    assert "take turns" in found.sentences[0]


def test_one_class_of_three_apart_and_pairs_that_never_meet() -> None:
    table = plate(6, plates=3)
    in_turn = ["ab"[at % 2] for at in columns_of(table) + rows_of(table)]
    labels = ["c" if on == "P2" else name for on, name in zip(table["plate"], in_turn, strict=True)]
    (first, *_) = find_confounding(table, labels).confounded
    assert dict(first.own) == {"c": ("P2",)}
    assert set(first.apart) == {("a", "c"), ("b", "c")}
    pairs = plate(6, plates=2)
    labels = [
        ("ab" if on == "P0" else "cd")[at % 2]
        for on, at in zip(pairs["plate"], columns_of(pairs) + rows_of(pairs), strict=True)
    ]
    (first, *_) = find_confounding(pairs, labels).confounded
    assert (first.own, len(first.apart)) == ({}, 4)
    assert "a and c" in first.sentence
    assert "never share a plate" in first.sentence


def test_an_uneven_spread_is_told_by_how_far_a_guess_gets() -> None:
    table = plate(10, plates=2, fields=1)
    here = columns_of(table) + rows_of(table)
    labels = [
        "a" if (number % 5 > 0) == (on == "P0") else "b"
        for number, on in zip(here, table["plate"], strict=True)
    ]
    found = find_confounding(table, labels)
    assert found.confounded == ()
    (uneven,) = found.unbalanced
    assert uneven.factor == "plate"
    assert uneven.guess == pytest.approx(0.8, abs=0.01)
    assert "80%" in uneven.sentence


def test_what_names_or_describes_the_well_is_no_alarm() -> None:
    # Two wells a class, and columns that say what was done or are different in each well.
    table = pd.DataFrame({"well": np.repeat(["A01", "B02", "C03", "D04"], 3)})
    labels = list(np.repeat(["a", "b"], 6))
    table["compound"] = labels
    table["file_id"] = [f"{number}" for number in range(12)]
    table["plate"] = np.repeat(["1", "2", "3", "4"], 3)
    found = find_confounding(table, labels)
    assert found.confounded == ()
    assert found.warnings == ()
    assert {item.level for item in found.associations if not item.single} == {"not judged"}
    # That wells are plates is said, without alarm.
    assert [item.factor for item in found.single] == ["plate"]
    assert found.sentences[0].startswith("Hardly more than one well has the same plate")


def in_turn() -> tuple[pd.DataFrame, list[str]]:
    """96 wells in a balanced layout of two classes, two fields each."""
    table = plate(12)
    return table, ["ab"[number] for number in (columns_of(table) + rows_of(table)) % 2]


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize("name", ["laser power", "temperature", "exposure"])
def test_numbers_of_many_values_are_compared_by_stretches(name: str, as_text: bool) -> None:
    table, labels = in_turn()
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=len(table))
    for shift, levels in ((0, {"none"}), (9, {"confounded"})):
        shifted = numbers + shift * (np.array(labels) == "b")
        table[name] = [str(value) for value in shifted] if as_text else shifted
        found = find_confounding(table, labels)
        named = {item.level for item in found.associations if item.factor == f"stretch of {name}"}
        assert named == levels
    assert f"stretches of {name} of its own" in found.warnings[0]


@pytest.mark.parametrize("name, doubt", [("nuclear ratio", False), ("exposure", True)])
def test_a_column_that_may_measure_the_cells_is_told_to_be_no_doubt_then(
    name: str, doubt: bool
) -> None:
    table, labels = in_turn()
    rng = np.random.default_rng(0)
    table[name] = rng.normal(size=len(table)) + 1.2 * (np.array(labels) == "b")
    (said,) = (one for one in find_confounding(table, labels).sentences if name in one)
    assert said.startswith("Classes are unevenly spread: from the stretch of")
    assert ("measurement of what the classes differ in" in said) != doubt


def test_numbers_that_count_images_are_not_compared() -> None:
    table = plate(12)
    labels = ["a" if number < 96 else "b" for number in range(192)]
    found = find_confounding(table.assign(index=range(192), file=range(100, 292)), labels)
    assert not {item.factor for item in found.associations} & {
        "stretch of index",
        "stretch of file",
    }


@pytest.mark.parametrize("values", [14, 24, 48])
@pytest.mark.parametrize("name", ["coverslip", "tray"])
def test_columns_of_many_values_are_compared(name: str, values: int) -> None:
    table, labels = in_turn()
    wells = np.arange(len(table)) // 2
    table[name] = [
        f"{label}{well % (values // 2)}" for label, well in zip(labels, wells, strict=True)
    ]
    assert find_confounding(table, labels).confounded[0].factor == name
    table[name] = np.random.default_rng(0).permutation(table[name])
    assert find_confounding(table, labels).confounded == ()


@pytest.mark.parametrize("name", ["camera type", "Laser target", "objective role"])
def test_devices_are_no_treatments_whatever_else_their_name_says(name: str) -> None:
    table, labels = in_turn()
    (found,) = find_confounding(table.assign(**{name: labels}), labels).confounded
    assert (found.factor, found.kind) == (name, "batch")


def test_plates_that_are_the_groups_are_an_alarm_and_donors_are_none() -> None:
    labels = ["a"] * 24 + ["b"] * 24
    names = [f"{label}{number % 4}" for number, label in enumerate(labels)]
    for column, told in (("plate", ["plate"]), ("donor", [])):
        found = find_confounding(pd.DataFrame({column: names}), labels, (column,))
        assert [item.factor for item in found.confounded] == told


@pytest.mark.parametrize("wells", [8, 24])
@pytest.mark.parametrize("fields", [1, 3])
def test_a_column_that_names_wells_or_images_is_no_batch(wells: int, fields: int) -> None:
    table = plate(3, fields=fields).iloc[: fields * wells].reset_index(drop=True)
    labels = ["ab"[number] for number in (columns_of(table) + rows_of(table)) % 2]
    table["barcode"] = [f"X{number}" for number in range(len(table))]
    table["acquired"] = [
        f"2026-03-01 10:{number % 60:02d}:{number // 60}0" for number in range(len(table))
    ]
    assert find_confounding(table, labels).single == ()


def test_batches_of_hardly_more_than_one_well_are_an_alarm_where_that_is_no_chance() -> None:
    table = plate(3, fields=2)
    labels = ["ab"[number] for number in (columns_of(table) + rows_of(table)) % 2]
    numbers = (np.arange(len(table)) // 4) % 7
    for name in ("slide", "chip"):
        table[name] = [f"{label}{number}" for label, number in zip(labels, numbers, strict=True)]
    assert {item.factor for item in find_confounding(table, labels).confounded} == {"slide", "chip"}


def test_folders_count_without_the_names_of_classes() -> None:
    labels = ["a"] * 8 + ["b"] * 8
    sorted_by_class = [f"/data/{name}/{number}.tif" for number, name in enumerate(labels)]
    table = pd.DataFrame({"path": sorted_by_class})
    assert find_confounding(table, labels).associations == ()
    by_scan = [f"/data/{name}/scan{number // 4}/{number}.tif" for number, name in enumerate(labels)]
    found = find_confounding(pd.DataFrame({"path": by_scan}), labels)
    assert [item.factor for item in found.confounded] == ["folder"]


def test_times_that_differ_in_every_image_are_compared_by_day_and_stretch() -> None:
    table = plate(4, fields=1)
    # In turn over the wells, but one class before the other in time.
    labels = ["ab"[number] for number in (columns_of(table) + rows_of(table)) % 2]
    day = [f"2026-03-0{1 if name == 'a' else 2}" for name in labels]
    table["acquired"] = [f"{on} 10:{minute:02d}" for minute, on in enumerate(day)]
    found = find_confounding(table, labels)
    assert "day of acquired" in [item.factor for item in found.confounded]


def test_one_well_a_class_is_said() -> None:
    table = pd.DataFrame({"well": ["A01"] * 5 + ["B01"] * 5})
    found = find_confounding(table, ["a"] * 5 + ["b"] * 5)
    assert "come from one well" in found.warnings[0]


def test_a_data_set_tells_it_when_split_and_in_its_summary() -> None:
    images = [image_of(number) for number in range(16)]
    data = Dataset.from_images(
        images,
        ["a"] * 8 + ["b"] * 8,
        plate=["1"] * 8 + ["2"] * 8,
        well=[f"A{n // 2}" for n in range(16)],
    )
    said: list[str] = []
    split = data.split(
        on_event=lambda event: said.append(event.text) if isinstance(event, Message) else None
    )
    assert said == list(data.confounding.warnings)
    assert "plates of its own" in said[0]
    summary = split.summary()
    assert summary.attrs["sentences"][0] == said[0]
    assert set(summary["plates"]) == {1}
    assert set(summary["shared_plates"]) == {0}


@pytest.mark.real_data
def test_real_layouts(real_data) -> None:
    """One field of view each; columns in turn; three classes of which one has a column."""
    fields = Dataset.open(real_data / "mitohcs-wt-ko").confounding
    assert [item.factor for item in fields.confounded] == ["field"]
    in_turn = Dataset.open(real_data / "leigh-ds-tt").confounding
    assert (in_turn.confounded, in_turn.told[0].level) == ((), "noted")


def test_folders_are_told_as_they_are_called() -> None:
    paths = [f"/data/{label}/day{n % 2}/{n}.tif" for label in ("a", "b") for n in range(8)]
    table = pd.DataFrame({"path": paths, "label": ["a"] * 8 + ["b"] * 8})
    (folder,) = (f for f in list_factors(table, table["label"]) if f.kind == "folder")
    assert set(folder.by_image) == {"/data/day0", "/data/day1"}
