"""A case on the disk: the folder of a plan, and for each of its images what is true of it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from label_fuzzing.plan import Plan, Well
from label_fuzzing.plate_maps import spell_header, spell_well, write_map, write_text
from label_fuzzing.styles import Shot
from label_fuzzing.tiny_images import image_file


@dataclass
class Picture:
    """One image of the truth: its well, its field, and the file and number of each of its channels.

    ``lost`` says why its label cannot be known; empty where it can.
    """

    well: Well
    field: int
    files: list[Path] = field(default_factory=list)
    numbers: dict[int, str] = field(default_factory=dict)
    lost: str = ""
    incomplete: bool = False


@dataclass
class Case:
    """A folder, the plate map or table beside it, and the truth about every image."""

    name: str
    plan: Plan
    distortions: tuple[str, ...]
    folder: Path
    map: Path | None = None
    pictures: list[Picture] = field(default_factory=list)
    litter: list[Path] = field(default_factory=list)

    def __str__(self) -> str:
        words = ", ".join(self.distortions) or "undistorted"
        return f"{self.name} [{self.plan.style.name}; {self.plan.layout}; {words}]"


def write_case(plan: Plan, place: Path, name: str, distortions: tuple[str, ...]) -> Case:
    """Write the folder of a plan below ``place``, and what belongs to it."""
    images = place / "images"
    case = Case(name, plan, distortions, images)
    counter = iter(range(1, 60_000))
    taken: dict[Path, int] = {}
    for well in plan.wells:
        for number in range(1, plan.fields + 1):
            picture = Picture(well, number, lost=_why_lost(plan, well))
            _write_picture(case, picture, counter, taken)
            case.pictures.append(picture)
    _take_files_away(case)
    _link(case, place)
    _write_litter(case)
    if plan.with_map:
        beside = images if plan.map.inside else place
        case.map = beside / f"map{plan.map.suffix}"
        write_map(plan, case.map)
    elif plan.layout == "table":
        _write_table(case)
    return case


def _why_lost(plan: Plan, well: Well) -> str:
    if plan.with_map and not well.listed:
        return well.lost or "not in the map"
    return well.lost


def _write_picture(
    case: Case, picture: Picture, counter: Iterator[int], taken: dict[Path, int]
) -> None:
    plan, well = case.plan, picture.well
    folder = case.folder.joinpath(*_folders(plan, well))
    number = picture.field
    if not plan.style.well:
        # Programs that know no wells number the images of a folder.
        number = taken[folder] = taken.get(folder, 0) + 1
    paths: dict[Path, list[tuple[int, str]]] = {}
    for channel, stain in enumerate(plan.stains):
        shot = Shot(
            plate=plan.plate_prefix + well.plate if plan.style.plate else "",
            well=_spelled_well(plan, well) if plan.well_in_name else "",
            row=well.row,
            column=well.column,
            field=picture.field,
            number=number,
            channel=channel,
            stain=stain,
            words=plan.words if plan.style.words else (),
            behind=plan.behind if plan.style.words else (),
            variant=plan.variant,
        )
        path = folder / _file_name(plan, shot)
        paths.setdefault(path, []).append((next(counter), stain))
    for path, held in paths.items():
        if path.exists():
            raise AssertionError(f"{case}: two images have one name: {path}")
        path.parent.mkdir(parents=True, exist_ok=True)
        numbers = tuple(number for number, _ in held)
        path.write_bytes(image_file(numbers, tuple(plan.stains), plan.style.kind))
        picture.files.append(path)
        picture.numbers |= dict(held)


def _file_name(plan: Plan, shot: Shot) -> str:
    spelled = plan.style.spell(shot)
    stem, dot, suffix = spelled.partition(".ome." if ".ome." in spelled else ".tif")
    spelled = stem.replace("_", plan.joint) + dot + suffix
    return spelled.lower() if plan.lower else spelled


def _spelled_well(plan: Plan, well: Well) -> str:
    other = plan.mixed_wells and (well.row + well.column) % 2 == 1
    return spell_well(well, plan.short_wells != other)


def _folders(plan: Plan, well: Well) -> list[str]:
    top = {"class folders": [well.label], "split folders": [well.split, well.label]}
    folders = [*top.get(plan.layout, []), *plan.above]
    if plan.plate_folders:
        folders.append(plan.plate_prefix + well.plate)
    if plan.well_folders:
        folders.append(spell_well(well, plan.short_wells))
    return [*folders, *plan.below]


def _take_files_away(case: Case) -> None:
    """Delete the last channel of some images, and put links without a target in place of others."""
    plan, random = case.plan, case.plan.random
    for _ in range(plan.missing_files):
        picture = random.choice(case.pictures)
        if len(picture.files) > 1 and not picture.incomplete:
            picture.files.pop().unlink()
            picture.numbers.popitem()
            picture.incomplete = True
    for _ in range(plan.dangling):
        picture = random.choice(case.pictures)
        if not picture.lost and not picture.incomplete:
            for path in picture.files:
                path.unlink()
                path.symlink_to(path.with_name("gone") / path.name)
            picture.lost = "a link without a target"


def _link(case: Case, place: Path) -> None:
    """Put a link in place of a folder of images, which then lies elsewhere."""
    if not case.plan.linked_folders:
        return
    folders = sorted({path.parent for picture in case.pictures for path in picture.files})
    folder = case.plan.random.choice(folders)
    if folder == case.folder:
        return
    elsewhere = place / "elsewhere"
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere, target_is_directory=True)


def _write_litter(case: Case) -> None:
    """Write files that are no images of the data set beside the first image."""
    beside = case.pictures[0].files[0]
    spare = image_file((60_000,), ("",), "plain")
    for name in case.plan.litter:
        path = beside.parent / name.format(name=beside.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(spare if path.suffix in (".tif", ".TIF", ".tiff") else b"litter")
        case.litter.append(path)


def _write_table(case: Case) -> None:
    plan = case.plan
    names = ["path", "label", *["plate"] * plan.map.plates, "well", "dose"]
    lines: list[list[object]] = [list(spell_header(plan.map, names))]
    for picture in case.pictures:
        well = picture.well
        value = well.label if well.cell is None else well.cell
        files = picture.files if plan.map.every_file else picture.files[:1]
        for path in files:
            relative = path.relative_to(case.folder).as_posix()
            plate = [well.plate] * plan.map.plates
            lines.append([relative, value, *plate, spell_well(well, plan.short_wells), well.dose])
    write_text(plan.map, lines, case.folder / "labels.csv")


def can_link(folder: Path) -> bool:
    """Whether links may be made here; on Windows only administrators may."""
    try:
        (folder / "link").symlink_to(folder / "nothing")
    except OSError:
        return False
    os.unlink(folder / "link")  # noqa: PTH108
    return True
