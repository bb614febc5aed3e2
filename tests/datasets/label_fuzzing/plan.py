"""The truth of a case before anything is written: what is on the plates, and how it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from label_fuzzing.styles import STYLES, Style

LAYOUTS = ("class folders", "split folders", "table", "plate map")
SPLITS = ("train", "validation", "test")
LABELS = ("DMSO", "FCCP", "oligomycin", "rotenone", "untreated", "healthy", "diseased", "1", "2")
STAINS = (("DAPI", "TMRM", "GFP"), ("Hoechst", "FITC", "Cy5"), ("DAPI", "TRITC", "Phalloidin"))
PLATES = (("P1", "P2", "P3"), ("plate7", "plate8", "plate9"), ("exp1-a", "exp1-b", "exp1-c"))
WELL_COLUMNS = (("well",), ("well",), ("Well",), ("Well ID",), ("Position",), ("row", "column"))
# A file takes 0.5 ms to write, list and delete; a case shall take about 15 ms. Few wells are the harder
# ones too: less tells them from days and channels.
MOST_FILES = 12
FEWEST_WELLS = 4


@dataclass
class Well:
    """A well of the truth.

    ``cell`` is what the map or table says instead of the label, None where that is the label itself.
    ``lost`` says why its label cannot be known from what is written; such images are to be left out.
    ``listed`` tells whether the map has a line for it.
    """

    plate: str
    row: int
    column: int
    label: str
    dose: float
    split: str
    cell: Any = None
    lost: str = ""
    listed: bool = True

    @property
    def name(self) -> str:
        """Row letter and a column of two digits."""
        return f"{chr(ord('A') + self.row)}{self.column + 1:02d}"


@dataclass
class MapPlan:
    """How the plate map or table is written.

    ``kind`` is ``long``, ``grid``, ``grids`` (one below the other) or ``sheets`` (a grid on each);
    ``above`` are lines before the header; ``well_columns`` what says the well in a long map;
    ``merged`` that neighbours of one value are one cell of the workbook; ``inside`` that the map lies
    among the images.
    """

    kind: str = "long"
    suffix: str = ".csv"
    separator: str = ","
    encoding: str = "utf-8"
    above: list[str] = field(default_factory=list)
    decimal_comma: bool = False
    plates: bool = True
    short_wells: bool = False
    header: str = "lower"
    merged: bool = False
    twice: str = ""
    every_file: bool = False
    well_columns: tuple[str, ...] = ("well",)
    inside: bool = False


@dataclass
class Plan:
    """Everything that is drawn for a case; distortions change it before it is written."""

    random: Random
    style: Style
    layout: str
    plates: list[str]
    wells: list[Well]
    fields: int
    stains: list[str]
    variant: int
    map: MapPlan = field(default_factory=MapPlan)
    plate_prefix: str = ""
    plate_folders: bool = False
    well_folders: bool = False
    well_in_name: bool = True
    words: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    lower: bool = False
    short_wells: bool = False
    mixed_wells: bool = False
    joint: str = "_"
    missing_files: int = 0
    litter: list[str] = field(default_factory=list)
    linked_folders: bool = False
    dangling: int = 0

    @property
    def with_map(self) -> bool:
        """Whether labels come from a plate map."""
        return self.layout == "plate map"

    def on(self, plate: str) -> list[Well]:
        """Return the wells of a plate."""
        return [well for well in self.wells if well.plate == plate]


def draw_plan(seed: str, style: Style | None = None, layout: str | None = None) -> Plan:
    """Draw a plan without distortions; the same for the same seed."""
    random = Random(seed)
    style = style or random.choice(STYLES)
    # Plate maps more often than the others, since they can be wrong in most ways.
    layout = layout or random.choice((*LAYOUTS, LAYOUTS[-1]))
    names = random.choice(PLATES)[: random.choice((1, 1, 1, 2, 2, 3))]
    channels = random.choice((1, 2, 2, 3))
    stains = list(style.stains or random.choice(STAINS))[:channels]
    fields = random.choice((1, 1, 1, 2, 2, 3, 4))
    # One field and fewer channels, rather than many files of the few wells that there have to be.
    if len(names) * fields * channels * FEWEST_WELLS > 2 * MOST_FILES:
        fields, channels = 1, min(channels, 2)
        stains = stains[:channels]
    most = MOST_FILES // (len(names) * fields * channels)
    count = random.randint(FEWEST_WELLS, max(FEWEST_WELLS, min(24, most)))
    plan = Plan(
        random=random,
        style=style,
        layout=layout,
        plates=list(names),
        wells=[],
        fields=fields,
        stains=stains,
        variant=random.randrange(4),
    )
    plan.wells = draw_wells(random, plan.plates, count)
    plan.short_wells = random.random() < 0.2 and not plan.style.name.startswith("IN Cell")
    plan.plate_folders = len(names) > 1 and (not style.plate or random.random() < 0.3)
    plan.well_folders = not style.well and layout in ("table", "plate map")
    plan.map = draw_map(random, layout, len(names))
    return plan


def draw_wells(random: Random, plates: Sequence[str], count: int) -> list[Well]:
    """Draw labels for wells: neighbours mostly differ, and plates differ in every well."""
    columns = random.choice((2, 3, 4, 6))
    top, left = random.randrange(3), random.randrange(4)
    labels = random.sample(LABELS, random.choice((2, 2, 3)))
    wells = []
    for shift, plate in enumerate(plates):
        for place in range(count):
            row, column = divmod(place, columns)
            label = labels[(place + row + shift) % len(labels)]
            wells.append(
                Well(
                    plate,
                    top + row,
                    left + column,
                    label,
                    random.choice((0.0, 0.5, 1.5, 10.0)),
                    # By place, so that a well's name is in one split on all plates.
                    SPLITS[(0, 1, 0, 2)[place % 4]],
                )
            )
    return wells


def draw_map(random: Random, layout: str, plates: int) -> MapPlan:
    """Draw how a plate map or a table is written."""
    kinds = ("long",) if plates > 1 or layout != "plate map" else ("long", "grid", "grids")
    drawn = MapPlan(kind=random.choice(kinds))
    drawn.separator = random.choice(",,;\t")
    drawn.decimal_comma = layout == "plate map" and drawn.separator != ","
    drawn.short_wells = random.random() < 0.5
    drawn.plates = plates > 1 or random.random() < 0.3
    if layout == "plate map" and random.random() < 0.25:
        drawn.suffix = ".xlsx"
        drawn.decimal_comma = False
        drawn.kind = "sheets" if drawn.kind == "grids" and random.random() < 0.5 else drawn.kind
    drawn.well_columns = random.choice(WELL_COLUMNS)
    drawn.inside = random.random() < 0.3
    return drawn
