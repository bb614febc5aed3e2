"""What people do to names, folders and maps: each changes a plan, or says that it does not apply."""

from collections.abc import Callable
from datetime import datetime

from label_fuzzing.plan import Plan, draw_wells

DAYS = ("D3", "D07", "d3", "day3", "D10", "E14", "T24", "H4", "wk2")
PASSAGES = ("P5", "P12", "p5", "P3")
LINES = ("A549", "C2C12", "U2OS", "H9", "C33A", "MCF7", "B16", "A375", "L929", "HEK293", "F11")
DOSES = ("10uM", "5nM", "0.5uM", "1mM", "C10", "100nM")
STAIN_WORDS = (
    "ER-stress",
    "RNAi",
    "DNA-damage",
    "HeLa-GFP",
    "Actin-KO",
    "siRNA",
    "ER-screen",
    "BF2",
)
DATES = ("20240105", "2024-01-05", "240105", "05Jan2024")
UNUSUAL_STAINS = ("WGA", "LysoTracker", "TOM20")
# Plates called like fields, within each other, like wells, or alike but for zeros and case.
FIELD_PLATES = (["1", "2"], ["01", "02"], ["f1", "f2"], ["s1", "s2"], ["3", "1"])
NESTED_PLATES = (["BR1", "BR1_rep2"], ["P1", "P10"], ["plate", "plate2"], ["exp_1", "exp_11"])
WELL_PLATES = (["B02", "B03"], ["A1", "A2"], ["D3", "E3"])
ZERO_PLATES = (["007", "7"], ["1", "01"])
LITTER = (
    "Thumbs.db", ".DS_Store", "desktop.ini", "._{name}", ".{name}", "plate.HTD", "scan.mlf",
    "notes.docx", "README", "readme.md", "~$map.xlsx", "overview.png", "export.log",
    "@eaDir/{name}/SYNOPHOTO_THUMB_M.jpg", "@eaDir/{name}@SynoEAStream", "Index.idx.xml",
    "__MACOSX/._{name}", "settings.xml", "experiment.pdf", "{name}.bak", "MeasurementData.mes",
)  # fmt: skip
BINS = (
    "#recycle/{name}",
    "$RECYCLE.BIN/{name}",
    ".Trash-1000/{name}",
    "@eaDir/{name}",
    "#snapshot/{name}",
)
BINS += (".thumbnails/{name}", ".hidden {name}")
ERRORS = ("#N/A", "#REF!", "#VALUE!", "#NAME?", "#DIV/0!")
# Of labels that a person would call the same.
VARIANTS: tuple[Callable[[str], str], ...] = (
    str.upper, str.title, lambda text: f"{text} ", lambda text: f" {text}",
    lambda text: f"{text}\u00a0", str.swapcase,
)  # fmt: skip
FOREIGN = ("Kontrolle \u00b5", "Gr\u00f6\u00dfe", "na\u00efve", "t\u00e9moin")


def _put_word(plan: Plan, word: str) -> bool:
    """Write a word into the names where there is room, else into a folder's name."""
    if plan.style.words:
        # Behind the well there is room only where people make the names.
        behind = plan.style.behind and plan.random.random() < 0.3
        (plan.behind if behind else plan.words).append(word)
    else:
        (plan.above if plan.random.random() < 0.5 else plan.below).append(f"culture_{word}")
    return True


def _word(words: tuple[str, ...]) -> Callable[[Plan], bool]:
    return lambda plan: _put_word(plan, plan.random.choice(words))


def well_above_a_word(plan: Plan) -> bool:
    """The well is a folder, and the names below hold a day or a cell line."""
    if not plan.with_map:
        return False
    plan.well_folders = True
    plan.well_in_name = not plan.style.plate or plan.style.name == "CellVoyager"
    return _put_word(plan, plan.random.choice(DAYS + PASSAGES + LINES))


def folder_like_a_well(plan: Plan) -> bool:
    """A folder is called after a day or passage."""
    place = plan.above if plan.random.random() < 0.5 else plan.below
    place.append(plan.random.choice(("D3", "P5", "scan_C04", "E14", "day 3", "culture_D3")))
    return True


def _plates(names: tuple[list[str], ...], prefix: str = "") -> Callable[[Plan], bool]:
    def change(plan: Plan) -> bool:
        if plan.map.kind != "long":
            return False
        count = max(4, len(plan.on(plan.plates[0])) // 2)
        plan.plates = list(plan.random.choice(names))
        plan.wells = draw_wells(plan.random, plan.plates, count)
        # Fields are what such plates are mistaken for, so two of them where there are few files.
        plan.fields = min(plan.fields, 2 if len(plan.stains) < 3 else 1)
        plan.map.plates = True
        plan.plate_prefix = prefix and plan.random.choice((prefix, ""))
        plan.plate_folders = not plan.style.plate or plan.random.random() < 0.4
        return True

    return change


def extra_plate(plan: Plan) -> bool:
    """The folder holds a plate that the map does not list."""
    if not plan.with_map or plan.map.kind != "long":
        return False
    plan.map.plates = True
    extra = plan.random.choice(("P9", "plate10", f"{plan.plates[0]}b", f"{plan.plates[0]}_rep2"))
    for well in draw_wells(plan.random, [extra], len(plan.on(plan.plates[0]))):
        well.listed, well.lost = False, "its plate is not in the map"
        plan.wells.append(well)
    plan.plates.append(extra)
    plan.plate_folders = not plan.style.plate or plan.plate_folders
    return True


def map_without_plates(plan: Plan) -> bool:
    """The map is one plate's and names none, and the folder holds two."""
    if not plan.with_map or len(plan.plates) < 2:
        return False
    plan.map.plates = False
    for well in plan.wells:
        if well.plate != plan.plates[0]:
            well.listed, well.lost = False, "the map names no plates"
    return True


def missing_wells(plan: Plan) -> bool:
    """The map has no line for some wells of which there are images."""
    if not plan.with_map:
        return False
    listed = [well for well in plan.wells if well.listed]
    for well in plan.random.sample(listed, max(1, len(listed) // 5)):
        well.listed = False
    return True


def labels_spelled_differently(plan: Plan) -> bool:
    """Case and spaces differ between cells of one label."""
    if plan.layout not in ("table", "plate map"):
        return False
    for well in plan.random.sample(plan.wells, max(1, len(plan.wells) // 3)):
        if well.cell is None:
            well.cell = plan.random.choice(VARIANTS)(well.label)
    return True


def _cells(draw: Callable[[Plan], object], why: str) -> Callable[[Plan], bool]:
    def change(plan: Plan) -> bool:
        if plan.layout not in ("table", "plate map"):
            return False
        for well in plan.random.sample(plan.wells, max(1, len(plan.wells) // 6)):
            well.cell, well.lost = draw(plan), why
        return True

    return change


def dates_for_labels(plan: Plan) -> bool:
    """A workbook has turned SEPT2 into a date."""
    if not plan.with_map:
        return False
    plan.map.suffix, plan.map.decimal_comma = ".xlsx", False
    return _cells(lambda _: datetime(2024, 9, 2), "a date in its cell")(plan)


def merged_cells(plan: Plan) -> bool:
    """Neighbouring cells of one treatment are merged in a workbook."""
    if not plan.with_map:
        return False
    plan.map.suffix, plan.map.merged, plan.map.decimal_comma = ".xlsx", True, False
    labels = list(dict.fromkeys(well.label for well in plan.wells))
    for index, well in enumerate(plan.wells):
        if well.cell is None and not well.lost:
            well.label = labels[index // 3 % len(labels)]
    return True


def _twice(how: str) -> Callable[[Plan], bool]:
    def change(plan: Plan) -> bool:
        if not plan.with_map or plan.map.kind != "long":
            return False
        plan.map.twice = how
        if how == "contradicting":
            first = next((well for well in plan.wells if well.listed), None)
            if first is None:
                return False
            first.lost = "two lines of the map contradict each other"
        return True

    return change


def other_encoding(plan: Plan) -> bool:
    """UTF-16, Windows-1252 or a mark before UTF-8, with letters that need it."""
    if plan.layout not in ("table", "plate map") or plan.map.suffix == ".xlsx":
        return False
    plan.map.encoding = plan.random.choice(("utf-16", "cp1252", "utf-8-sig", "utf-8"))
    foreign, old = plan.random.choice(FOREIGN), plan.wells[0].label
    for well in plan.wells:
        if well.label == old:
            well.label = foreign
            # What was written of the old label; an error or a date stays.
            well.cell = well.cell if well.lost else None
    return True


def lines_above(plan: Plan) -> bool:
    """Blank lines, a title, or Excel's sep= stand above the header."""
    if plan.layout not in ("table", "plate map"):
        return False
    above = ([""], ["", ""], ["Screen of May"], ["Plate map", ""])
    plan.map.above = list(plan.random.choice(above))
    if plan.map.suffix != ".xlsx" and plan.random.random() < 0.4:
        plan.map.above = [f"sep={plan.map.separator}"]
    return True


def decimal_comma(plan: Plan) -> bool:
    """Doses have decimal commas, and something else separates."""
    if plan.layout not in ("table", "plate map") or plan.map.suffix == ".xlsx":
        return False
    plan.map.separator, plan.map.decimal_comma = plan.random.choice(";\t"), True
    return True


def header_spelled(plan: Plan) -> bool:
    """The table's columns are called Path and Label."""
    if plan.layout != "table":
        return False
    plan.map.header = plan.random.choice(("title", "upper"))
    return True


def every_file_listed(plan: Plan) -> bool:
    """The table has a line for each file of an image."""
    if plan.layout != "table":
        return False
    plan.map.every_file = True
    return True


def lower_case(plan: Plan) -> bool:
    """File names are in small letters."""
    plan.lower = True
    return True


def other_joints(plan: Plan) -> bool:
    """Words of names are joined by blanks, hyphens or points."""
    if not plan.style.free:
        return False
    plan.joint = plan.random.choice((" ", "-", "."))
    return True


def mixed_wells(plan: Plan) -> bool:
    """Some names say A1 and others A01."""
    plan.mixed_wells = plan.style.well
    return plan.style.well


def folders_between(plan: Plan) -> bool:
    """There are folders between those that tell something."""
    plan.above.append(plan.random.choice(("raw", "TimePoint_1", "2024-05-02", "Images", "export")))
    if plan.random.random() < 0.4:
        plan.below.append(plan.random.choice(("tif", "16bit", "ZStep_1")))
    return True


def litter(plan: Plan) -> bool:
    """Systems, instruments and people left files beside the images."""
    plan.litter += plan.random.sample(LITTER, 3)
    return True


def recycle_bin(plan: Plan) -> bool:
    """Deleted images and previews lie in folders of the system's."""
    plan.litter.append(plan.random.choice(BINS))
    return True


def missing_channels(plan: Plan) -> bool:
    """A channel's file of one image is gone."""
    if len(plan.stains) < 2 or plan.style.kind == "ome":
        return False
    plan.missing_files = 1
    return True


def linked_folder(plan: Plan) -> bool:
    """A folder of images is a link."""
    plan.linked_folders = True
    return True


def dangling_link(plan: Plan) -> bool:
    """An image is a link to what is gone."""
    plan.dangling = 1
    return True


def unusual_stains(plan: Plan) -> bool:
    """Stains that no list has."""
    if plan.style.stains:
        return False
    plan.stains = list(UNUSUAL_STAINS[: len(plan.stains)])
    return True


DISTORTIONS: dict[str, Callable[[Plan], bool]] = {
    "day": _word(DAYS),
    "passage": _word(PASSAGES),
    "cell line": _word(LINES),
    "dose in the name": _word(DOSES),
    "stain in a word": _word(STAIN_WORDS),
    "date": _word(DATES),
    "well above a word": well_above_a_word,
    "folder like a well": folder_like_a_well,
    "plates like fields": _plates(FIELD_PLATES),
    "plates like fields, with prefix": _plates(FIELD_PLATES[:2], "Plate"),
    "nested plates": _plates(NESTED_PLATES),
    "plates like wells": _plates(WELL_PLATES),
    "plates with zeros": _plates(ZERO_PLATES),
    "extra plate": extra_plate,
    "map without plates": map_without_plates,
    "missing wells": missing_wells,
    "labels spelled": labels_spelled_differently,
    "merged cells": merged_cells,
    "error cells": _cells(lambda plan: plan.random.choice(ERRORS), "an error in its cell"),
    "dates for labels": dates_for_labels,
    "empty cells": _cells(lambda plan: "", "its cell is empty"),
    "well twice, agreeing": _twice("agreeing"),
    "well twice, contradicting": _twice("contradicting"),
    "encoding": other_encoding,
    "lines above": lines_above,
    "decimal comma": decimal_comma,
    "header spelled": header_spelled,
    "every file listed": every_file_listed,
    "lower case": lower_case,
    "other joints": other_joints,
    "mixed wells": mixed_wells,
    "folders between": folders_between,
    "litter": litter,
    "recycle bin": recycle_bin,
    "missing channels": missing_channels,
    "linked folder": linked_folder,
    "dangling link": dangling_link,
    "unusual stains": unusual_stains,
}
LINKS = ("linked folder", "dangling link")
# Those that say where plates and wells are come first, since others change single wells.
ORDER = {name: number for number, name in enumerate(DISTORTIONS)}
