"""The parts of a screen put together: refused with a gap or of two plans, then tables and statistics."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from napari_why.batch import BatchOptions
from napari_why.core import events
from napari_why.core.errors import CancellationError, WhyError
from napari_why.core.record import Record
from napari_why.core.targets import check_own_folder, try_target
from napari_why.core.whole_files import write_table, write_whole
from napari_why.latent_space.space import plain_columns
from napari_why.screening.analysis import ScreenAnalysis, analyse_screen
from napari_why.screening.explained import show_hits
from napari_why.screening.options import ScreenOptions
from napari_why.screening.parts import PLAN, part_path, read_facts, read_part, read_plan, write_plan
from napari_why.screening.report import make_report
from napari_why.screening.tables import (
    ERROR,
    PLATE,
    SEEN,
    UNEXPLAINED,
    WELL,
    gather_wells,
    order_columns,
    without_latents,
)

KIND = "screen"  # of the record
RECORD, SUMMARY, REPORT = "record.json", "summary.txt", "report.html"
# What is written once all wells are done, beside the record.
FURTHER = ("regions", "controls", "positions", "hits", "doses")
TABLES = (
    *("fields.parquet", "fields.csv", "wells.parquet", "wells.csv", SUMMARY, REPORT),
    *(f"{name}.csv" for name in FURTHER),
)


@dataclass(frozen=True, eq=False)
class ScreenResult:
    """What a screen found.

    Parameters
    ----------
    fields : DataFrame
        One row a field: ``Metadata_Plate``, ``Metadata_Well``, ``Metadata_Site``, what the plate map says,
        ``Metadata_error`` (empty where it was read and predicted), ``Metadata_explanation error``, then features: the probability of every class, the
        log-odds of the healthy one, distances from the training images, flags, latents, and what was
        asked for beside. Without the wells that are not done.
    analysis : ScreenAnalysis or None
        Wells and statistics; None of a shard, or where the work was stopped.
    folder : Path
        Where the tables are.
    sentences : tuple of str
        What there is to say.
    record : Record
    complete : bool
        False when the work was stopped, or of a shard; ``resume`` goes on, :func:`merge` ends it.
    """

    fields: pd.DataFrame
    analysis: ScreenAnalysis | None
    folder: Path
    sentences: tuple[str, ...]
    record: Record
    complete: bool = True


def merge(folders: Sequence[str | Path], out: str | Path | None = None) -> ScreenResult:
    """Put the parts of a screen together, and write tables, statistics and record.

    Parameters
    ----------
    folders : sequence of path
        Of the shards, each with parts of the same plan; or the one that all of them wrote to.
    out : path, optional
        Where the tables go; the only folder itself by default.

    Returns
    -------
    ScreenResult

    Raises
    ------
    WhyError
        A well is missing, or was made with something else; the folders are of different plans; or
        nothing can be written.
    """
    several = [Path(folder) for folder in folders]
    if not several or (out is None and len(several) > 1):
        raise WhyError(
            f"merge: found {len(several)} folders; expected one, or several and where the tables go"
        )
    plans = [read_plan(folder) for folder in several]
    for folder, plan in zip(several[1:], plans[1:], strict=True):
        if plan["fingerprint"] != plans[0]["fingerprint"]:
            raise WhyError(
                f"{folder}: found the plan {plan['fingerprint'][:12]}, but {plans[0]['fingerprint'][:12]} "
                f"in {several[0]}; expected shards of one screen: the same classifier, plates, map and options"
            )
    target = several[0] if out is None else Path(out)
    if target not in several:
        check_own_folder(target, RECORD)
    try_target(target)
    fields, regions = collect(several, plans[0])
    return write_results(target, plans[0], fields, regions)


def collect(
    folders: Sequence[Path], plan: Mapping[str, Any]
) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the fields of all wells in the order of the plan, each once, and all regions.

    Of a well that several folders have the first is taken that a worker could do.

    Parameters
    ----------
    folders : sequence of Path
        Of the shards.
    plan : mapping
        As :func:`~napari_why.screening.parts.read_plan` returns it.

    Returns
    -------
    (DataFrame, DataFrame or None)
        Fields and regions, one row each; None where no change was measured.

    Raises
    ------
    WhyError
        A well is missing, was made with something else, or lacks a field.
    """
    fields: list[pd.DataFrame] = []
    regions: list[pd.DataFrame] = []
    missing: list[str] = []
    mixed: list[str] = []
    for plate, well, count, key in plan["wells"]:
        paths = [part_path(folder, plate, well) for folder in folders]
        told = {path: facts for path in paths if (facts := read_facts(path)) is not None}
        fitting = [path for path, facts in told.items() if facts["key"] == key]
        # a well that no worker could do here may have been done there
        fine = min(fitting, key=lambda path: bool(told[path]["lost"]), default=None)
        if fine is None:
            (mixed if told else missing).append(f"{plate} {well}")
            continue
        table, further = read_part(fine)
        if len(table) != count:
            raise WhyError(
                f"{fine}: found {len(table)} fields; expected {count}; delete it and go on with resume"
            )
        fields.append(table)
        if further is not None:
            regions.append(further)
    _refuse_gaps(missing, mixed, len(plan["wells"]))
    together = pd.concat(regions, ignore_index=True) if regions else None
    return order_columns(_join(fields)), together


def _join(tables: list[pd.DataFrame]) -> pd.DataFrame:
    # a well without any readable field lacks the columns of numbers: they are missing values of others
    return pd.concat(tables, ignore_index=True)


def _refuse_gaps(missing: Sequence[str], mixed: Sequence[str], total: int) -> None:
    if mixed:
        raise WhyError(
            f"found {len(mixed)} of {total} wells that were made with another classifier, other options or "
            f"other fields (the first: {mixed[0]}); expected all of one plan; go on with resume"
        )
    if missing:
        raise WhyError(
            f"found no results of {len(missing)} of {total} wells (the first: {missing[0]}); expected all; "
            "run what is missing with resume, or its shard"
        )


def write_results(
    folder: Path,
    plan: Mapping[str, Any],
    fields: pd.DataFrame,
    regions: pd.DataFrame | None,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> ScreenResult:
    """Gather wells, analyse them and write everything; when cancelled meanwhile, without pictures of hits.

    Parameters
    ----------
    folder : Path
        Made where there is none.
    plan : mapping
        As :func:`~napari_why.screening.parts.read_plan` returns it.
    fields : DataFrame
        One row a field.
    regions : DataFrame or None
        One row a region of a change.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    ScreenResult

    Raises
    ------
    WhyError
        Nothing can be written there.
    """
    options = options_of(plan)
    shape = plan.get("shape")  # plans of older versions have none
    analysis = analyse_screen(gather_wells(fields), options, tuple(shape) if shape else None)
    record = make_record(plan, done=len(plan["wells"]), complete=True)
    sentences = (*_describe_fields(fields), *analysis.sentences, *plan["notes"])
    folder.mkdir(parents=True, exist_ok=True)
    # the first, for by it the others are known as ours; complete it is once they are there
    write_record(folder, make_record(plan, done=len(plan["wells"]), complete=False))
    write_plan(folder, plan)  # by which a merged screen is opened as any other
    for name, table in (("fields", fields), ("wells", analysis.wells)):
        write_table(plain_columns(table), folder / f"{name}.parquet", record=record)
        write_table(without_latents(table), folder / f"{name}.csv")
    tables = (regions, analysis.controls, analysis.positions, analysis.hits, analysis.doses)
    for name, further in zip(FURTHER, tables, strict=True):
        path = folder / f"{name}.csv"
        if further is None or further.empty:
            path.unlink(missing_ok=True)  # of an earlier merge: it would pass for one of this
        else:
            write_table(further, path)
    write_whole(folder / SUMMARY, ("\n".join(sentences) + "\n").encode())
    try:
        shown = show_hits(
            plan, options, fields, analysis.hits, on_event=on_event, cancelled=cancelled
        )
    except CancellationError:  # all else is done
        shown = []
    write_whole(folder / REPORT, make_report(analysis, options, record, sentences, shown).encode())
    write_record(folder, record)
    return ScreenResult(fields, analysis, folder, sentences, record)


def make_record(plan: Mapping[str, Any], *, done: int, complete: bool) -> Record:
    """Return the record of a screen.

    Parameters
    ----------
    plan : mapping
        As :func:`~napari_why.screening.parts.read_plan` returns it.
    done : int
        Number of wells that are.
    complete : bool
        Whether all is written.

    Returns
    -------
    Record
    """
    return Record(
        kind=KIND,
        method="screen",
        parameters=plan["options"],
        seed=plan["options"]["seed"],
        classifier=plan["classifier"],
        details={
            "plan": plan["fingerprint"],
            "wells": len(plan["wells"]),
            "fields": sum(count for _, _, count, _ in plan["wells"]),
            "done": done,
            "complete": complete,
            "notes": list(plan["notes"]),
            "plan file": PLAN,
        },
    )


def write_record(folder: Path, record: Record) -> None:
    """Write the record of a screen's folder.

    Parameters
    ----------
    folder : Path
    record : Record
        Takes the place of an older one.
    """
    write_whole(folder / RECORD, (record.to_json() + "\n").encode())


def options_of(plan: Mapping[str, Any]) -> ScreenOptions:
    """Return the options that a plan was made with."""
    told = dict(plan["options"])
    return ScreenOptions.of(None, {**told, "explaining": BatchOptions.of(None, told["explaining"])})


def _describe_fields(fields: pd.DataFrame) -> list[str]:
    failed = fields[fields[ERROR] != ""]
    wells = len(fields[[PLATE, WELL]].drop_duplicates())
    said = [
        f"{len(fields) - len(failed)} of {len(fields)} fields of {wells} wells on "
        f"{fields[PLATE].nunique()} plates were done"
    ]
    if len(failed):
        reasons = Counter(failed[ERROR])
        reason, count = reasons.most_common(1)[0]
        said.append(f"{len(failed)} failed; most often ({count}): {reason}")
    if UNEXPLAINED in fields:
        reasons = Counter(fields[UNEXPLAINED].replace("", pd.NA).dropna())
        for reason, count in reasons.most_common(1):
            said.append(
                f"{reasons.total()} were predicted and not explained; most often ({count}): {reason}"
            )
    seen = fields[SEEN].dropna()
    if len(seen) and seen.astype(bool).any():
        said.append(
            f"{int(seen.astype(bool).sum())} of these fields were trained on: of them the classifier says "
            "more than of new ones"
        )
    return said
