"""What is done of a screen, on the disk: a file for each well, which is there whole or not at all."""

import json
from collections.abc import Mapping, Sequence
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from napari_why.core.errors import WhyError
from napari_why.core.targets import PARQUET_KEY, is_own_json
from napari_why.core.whole_files import write_whole
from napari_why.screening.plan import WellTask

# Names within the folder of a screen.
PARTS, PLAN = "parts", "plan.json"
REGIONS = "-regions"  # ends the name of a well's table of regions
FORMAT, VERSION = "napari-why screen", 1
# Hexadecimal digits that tell apart plates whose names are the same as names of folders.
DIGITS = 8


def part_path(folder: Path, plate: str, well: str) -> Path:
    """Return where the results of a well are.

    Parameters
    ----------
    folder : Path
        Of the screen.
    plate : str
        May hold what no file's name can.
    well : str
        Such as "B03".

    Returns
    -------
    Path
        A Parquet file.

    Examples
    --------
    >>> part_path(Path("out"), "plate/1", "B03").as_posix()
    'out/parts/plate_1-99d5a1af/B03.parquet'
    """
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in plate)
    digest = sha256(plate.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]
    return folder / PARTS / f"{plain}-{digest}" / f"{well}.parquet"


def regions_path(part: Path) -> Path:
    """Return where the regions of a well are, whose part is given."""
    return part.with_name(f"{part.stem}{REGIONS}.parquet")


def states_of(task: WellTask) -> list[str]:
    """Tell one state of the files of a well from another; of files that are gone that they are."""
    return [item.reference.state() for item in task.fields]


def write_part(
    folder: Path,
    key: str,
    task: WellTask,
    states: Sequence[str],
    fields: pd.DataFrame,
    regions: pd.DataFrame | None,
    *,
    lost: bool = False,
) -> None:
    """Write what was found of a well; the fields last, for with them the well counts as done.

    Of one that no worker could do (``lost``) that stands in its rows.

    Parameters
    ----------
    folder : Path
        Of the screen.
    key : str
        What the results are known by; see :func:`~napari_why.screening.plan.work_key`.
    task : WellTask
    states : sequence of str
        Of the files, when they were read.
    fields : DataFrame
        One row a field.
    regions : DataFrame or None
        One row a region of a change.
    lost : bool
        No worker could do the well.

    Raises
    ------
    WhyError
        It cannot be written.
    """
    path = part_path(folder, task.plate, task.well)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WhyError(
            f"{path.parent}: cannot be made ({error.strerror or error}); make room and go on with resume"
        ) from error
    facts = {"key": key, "states": list(states), "regions": regions is not None, "lost": lost}
    if regions is not None:
        _write(regions_path(path), regions, facts)
    _write(path, fields, facts)


def is_done(folder: Path, key: str, task: WellTask) -> bool:
    """Whether the results of a well are there, made with the same and from the files as they are now.

    One that no worker could do is tried again.

    Parameters
    ----------
    folder : Path
        Of the screen.
    key : str
        See :func:`~napari_why.screening.plan.work_key`.
    task : WellTask

    Returns
    -------
    bool
    """
    facts = read_facts(part_path(folder, task.plate, task.well))
    if facts is None or facts["key"] != key or facts["lost"]:
        return False
    try:
        return bool(facts["states"] == states_of(task))
    except OSError:
        return False


def read_facts(path: Path) -> Mapping[str, Any] | None:
    """Return what a part says of itself; None where there is none, or none that is whole."""
    try:
        metadata = pq.read_schema(path).metadata or {}
        facts: Mapping[str, Any] = json.loads(metadata.get(PARQUET_KEY, b"{}"))
    except (OSError, ValueError):  # pyarrow's own are ValueErrors
        return None
    return facts if (facts.get("format"), facts.get("version")) == (FORMAT, VERSION) else None


def read_part(path: Path) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the fields of a well, and its regions where there are any.

    Raises
    ------
    WhyError
        It cannot be read.
    """
    facts = read_facts(path)
    try:
        fields = pq.read_table(path).to_pandas()
        regions = None
        if facts is not None and facts["regions"]:
            regions = pq.read_table(regions_path(path)).to_pandas()
    except (OSError, ValueError) as error:
        raise WhyError(
            f"{path}: found a part that cannot be read ({error}); delete it and go on with resume"
        ) from error
    return fields, regions


def write_plan(folder: Path, plan: Mapping[str, Any]) -> None:
    """Write what a merge has to know, and where the images are to be looked for.

    Parameters
    ----------
    folder : Path
        Of the screen.
    plan : mapping
        JSON types.
    """
    content = {**plan, "format": f"{FORMAT} plan", "version": VERSION}
    text = json.dumps(content, indent=1, sort_keys=True) + "\n"
    write_whole(folder / PLAN, text.encode(), own=is_own_json)


def read_plan(folder: Path) -> dict[str, Any]:
    """Return the plan of a screen's folder, as :meth:`ScreenPlan.to_dict` tells it.

    Raises
    ------
    WhyError
        There is none, or it is of another version.
    """
    try:
        plain: dict[str, Any] = json.loads((folder / PLAN).read_text(encoding="utf-8"))
        fine = plain["format"] == f"{FORMAT} plan" and plain["version"] == VERSION
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WhyError(
            f"{folder}: found no plan of a screen; expected the folder of one"
        ) from error
    if not fine:
        raise WhyError(
            f"{folder}: found a plan of version {plain['version']}; expected {VERSION}; use the version "
            "of napari-why that made it"
        )
    return plain


def _write(path: Path, table: pd.DataFrame, facts: Mapping[str, Any]) -> None:
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    told = json.dumps({"format": FORMAT, "version": VERSION, **facts}).encode()
    buffer = BytesIO()
    pq.write_table(
        arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), PARQUET_KEY: told}), buffer
    )
    write_whole(path, buffer.getvalue())
