"""A screen: every field of every well of some plates, over any executor, and what compounds do."""

from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas as pd

from napari_why.batch.explain_one import PICTURES
from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.errors import WhyError
from napari_why.core.executors import Engine, check_executor, compute_each
from napari_why.core.targets import (
    check_own_folder,
    is_own,
    is_own_json,
    refuse_sources,
    reserve,
    try_target,
)
from napari_why.model import Classifier, load
from napari_why.screening.merge import (
    RECORD,
    TABLES,
    ScreenResult,
    collect,
    make_record,
    write_record,
    write_results,
)
from napari_why.screening.options import ScreenOptions
from napari_why.screening.parts import (
    PARTS,
    PLAN,
    is_done,
    part_path,
    read_facts,
    read_part,
    read_plan,
    regions_path,
    write_plan,
)
from napari_why.screening.plan import ScreenPlan, Shard, WellTask, plan_screen
from napari_why.screening.work import WellDone, WorkSetting, screen_well, write_lost

DIGITS = 8  # of the name of a file that asks workers to stop: two runs never share one


@shows_progress
def screen(
    classifier: str | Path | Classifier,
    plates: str | Path | Sequence[str | Path],
    out: str | Path,
    options: ScreenOptions | None = None,
    *,
    plate_map: str | Path,
    engine: Engine | None = None,
    executor: Executor | None = None,
    shard: Shard | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
    channels: Sequence[str] | None = None,
    pattern: str | None = None,
    well_pattern: str | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **changes: Any,
) -> ScreenResult:
    """Predict every field of a screen, explain and change it where asked for, and judge compounds.

    The unit of work is a well, whose file gets its name when it is whole: a run that is killed, with all
    its processes, loses the wells in work, and ``resume`` does those. A field that cannot be read has the
    reason in its row.

    Parameters
    ----------
    classifier : path or Classifier
        Saved, since workers load it by its path; one that was saved or loaded knows where.
    plates : path or sequence of path
        Folders of plates; see :func:`~napari_why.screening.plan_screen`.
    out : path
        Folder for the results; new or empty, but for ``resume`` and ``overwrite``.
    options : ScreenOptions, optional
        What is asked; single options also by keyword (``negative="DMSO"``), those of
        :class:`~napari_why.BatchOptions` too (``counterfactual="transport"``).
    plate_map : path
        What is in which well.
    engine : Engine, optional
        Processes or a cluster; by default one well after the other.
    executor : Executor, optional
        One of your own; ``engine.workers`` then says how many wells it works on at a time. Not dask's:
        name its scheduler in ``engine``.
    shard : Shard or str, optional
        Only a part of the wells ("2/8"); :func:`~napari_why.screening.merge` puts all together.
    resume, overwrite : bool
        Keep the wells that are done there, or begin anew.
    device : str
        Where workers compute; several on one GPU share it.
    channels, pattern, well_pattern
        See :func:`~napari_why.batch.find_references`.
    on_event, cancelled
        See :mod:`napari_why.core.events`; when cancelled, with the wells done by then.
    **changes
        Single options.

    Returns
    -------
    ScreenResult

    Raises
    ------
    ParameterError
        An option, class, control or method is unknown or out of range, or the executor is dask's.
    DatasetError
        There is no image, map or column.
    WhyError
        The classifier is not saved, something else is in the folder, or nothing can be written there.

    Examples
    --------
    >>> found = why.screen(  # doctest: +SKIP
    ...     "model", ["plates/P1", "plates/P2"], "results", plate_map="map.csv", negative="DMSO",
    ...     positive="healthy", engine=Engine(workers=4),
    ... )
    >>> found.analysis.hits[["compound", "on-target", "off-target", "finding"]]  # doctest: +SKIP
    """
    check_executor(executor)
    model, loaded = _find_model(classifier, device)
    chosen = _merge_options(options, changes)
    chosen.check(loaded)
    folders = [plates] if isinstance(plates, str | Path) else list(plates)
    plan = plan_screen(
        folders,
        plate_map,
        chosen,
        loaded.fingerprint,
        channels=channels,
        pattern=pattern,
        well_pattern=well_pattern,
    )
    part = Shard() if shard is None else shard if isinstance(shard, Shard) else Shard.of(shard)
    folder = Path(out)
    refuse_sources(folder, [*folders, plate_map, model])
    _check_folder(folder, plan, part, resume=resume, overwrite=overwrite)
    run = _Run(model, device, plan, part, folder, engine or Engine(), executor)
    for note in plan.notes:
        on_event(events.Message(note, finding=True))
    # shards may share a folder: each keeps its own place there
    with reserve(folder / (PARTS if part.is_all else f"{PARTS}-{part.index}-of-{part.count}")):
        run.begin(anew=overwrite)
        run.work(on_event, cancelled)
        return run.finish(on_event, cancelled)


@dataclass
class _Run:
    """The wells of one run, and how many are done by now."""

    model: Path
    device: str
    plan: ScreenPlan
    shard: Shard
    folder: Path
    engine: Engine
    executor: Executor | None
    kept: int = 0
    done: int = 0
    failed: int = 0
    unexplained: int = 0

    @property
    def tasks(self) -> tuple[WellTask, ...]:
        """The wells of the shard."""
        return self.plan.part(self.shard)

    @property
    def complete(self) -> bool:
        """Whether each of them is done."""
        return self.kept + self.done == len(self.tasks)

    def begin(self, *, anew: bool) -> None:
        """Write plan and record, and remove an earlier screen where that was asked for."""
        (self.folder / PICTURES if self.plan.options.explaining.pictures else self.folder).mkdir(
            parents=True, exist_ok=True
        )
        write_record(self.folder, self._record(complete=False))
        if anew:
            _clear(self.folder, self._paths() if self._shares_plan() else None)
        write_plan(self.folder, self._told())

    def _told(self) -> dict[str, Any]:
        """Return the plan, and where the classifier is: by both hits are shown once all is done."""
        return {**self.plan.to_dict(), "model": str(self.model.absolute()), "device": self.device}

    def work(self, on_event: events.OnEvent, cancelled: events.Cancelled) -> None:
        """Do the wells that are not done."""
        stop = self.folder / f".stop-{uuid4().hex[:DIGITS]}"
        setting = WorkSetting(
            str(self.model.absolute()),
            self.plan.classifier,
            self.device,
            self.plan.options,
            str(self.folder.absolute()),
            str(stop.absolute()),
        )
        waiting = [task for task in self.tasks if not is_done(self.folder, setting.key(task), task)]
        self.kept = len(self.tasks) - len(waiting)
        on_event(events.Started("screening wells", len(self.tasks)))
        on_event(events.Advanced(self.kept))
        try:
            for outcome in compute_each(
                partial(screen_well, setting),
                waiting,
                self.engine,
                executor=self.executor,
                cancelled=cancelled,
                on_cancel=stop.touch,  # a file reaches the workers of any executor
            ):
                found = outcome.result or write_lost(setting, outcome.task, outcome.lost)
                self._take(outcome.task, found, on_event)
        finally:
            with suppress(OSError):
                stop.unlink(missing_ok=True)
        on_event(events.Finished(partial=not self.complete))

    def _take(self, task: WellTask, found: WellDone, on_event: events.OnEvent) -> None:
        self.done += 1
        if found.failed and not self.failed:
            # the first alone: a plate without its second channel would say so thousands of times
            told = f"{task.name}: {found.failed} of {found.fields} fields failed: {found.error}"
            on_event(events.Message(told, finding=True))
        if found.unexplained and not self.unexplained:
            told = f"{task.name}: {found.unexplained} of {found.fields} fields were not explained: {found.reason}"
            on_event(events.Message(told, finding=True))
        self.failed += found.failed
        self.unexplained += found.unexplained
        on_event(events.Advanced(self.kept + self.done, task.name))

    def finish(self, on_event: events.OnEvent, cancelled: events.Cancelled) -> ScreenResult:
        """Put tables and statistics together where all wells of the plan are there."""
        plan = self._told()
        if self.complete and self.shard.is_all:
            found = collect([self.folder], plan)
            return write_results(self.folder, plan, *found, on_event=on_event, cancelled=cancelled)
        record = self._record(complete=False)
        write_record(self.folder, record)
        fields = [read_part(path)[0] for path in self._paths() if read_facts(path) is not None]
        table = pd.concat(fields, ignore_index=True) if fields else pd.DataFrame()
        return ScreenResult(
            table, None, self.folder, tuple(self._describe()), record, complete=False
        )

    def _shares_plan(self) -> bool:
        """Whether other shards of this plan may have parts in the folder, which are theirs."""
        if self.shard.is_all:
            return False
        try:
            return bool(read_plan(self.folder)["fingerprint"] == self.plan.fingerprint)
        except WhyError:
            return False

    def _paths(self) -> Iterable[Path]:
        return (part_path(self.folder, task.plate, task.well) for task in self.tasks)

    def _describe(self) -> Iterable[str]:
        done = self.kept + self.done
        if not self.complete:
            yield events.describe_partial(done, len(self.tasks), "wells")
            yield "go on with resume; there are no tables before all is done"
            return
        yield f"shard {self.shard.index}/{self.shard.count}: {done} wells were done; merge when all shards are"
        if self.failed:
            yield f"{self.failed} fields failed; the reasons stand in their rows"
        if self.unexplained:
            yield f"{self.unexplained} fields were not explained; the reasons stand in their rows"

    def _record(self, *, complete: bool) -> Any:
        return make_record(self.plan.to_dict(), done=self.kept + self.done, complete=complete)


def _find_model(classifier: str | Path | Classifier, device: str) -> tuple[Path, Classifier]:
    if isinstance(classifier, Classifier):
        if classifier.folder is None:
            raise WhyError(
                "classifier: found one that is not saved; expected one on the disk, where every worker "
                "loads it from; save it first"
            )
        return classifier.folder, classifier
    return Path(classifier), load(classifier, device=device)


def _merge_options(options: ScreenOptions | None, changes: dict[str, Any]) -> ScreenOptions:
    if options is None:
        return ScreenOptions.of_flat(changes)
    return ScreenOptions.of_flat({**options.to_flat(), **changes})


def _check_folder(
    folder: Path, plan: ScreenPlan, shard: Shard, *, resume: bool, overwrite: bool
) -> None:
    check_own_folder(folder, RECORD, PLAN)
    try_target(folder)
    if not (folder / PLAN).exists():
        if is_own_json(folder / RECORD):
            raise WhyError(
                f"{folder}: found results of another kind; they are not overwritten; choose another folder"
            )
        return
    if resume or overwrite:
        return
    # other shards of the same screen may have begun there
    if shard.is_all or read_plan(folder)["fingerprint"] != plan.fingerprint:
        raise WhyError(
            f"{folder}: found an earlier screen there; choose another folder, or ask to resume it or to "
            "overwrite it"
        )


def _clear(folder: Path, parts: Iterable[Path] | None = None) -> None:
    """Remove parts (all by default) and tables of an earlier screen, which would pass for those of this one."""
    if parts is None:
        several = list((folder / PARTS).rglob("*.parquet"))
    else:
        several = [one for path in parts for one in (path, regions_path(path))]
    for path in several:
        if read_facts(path) is not None:
            path.unlink(missing_ok=True)
    for path in filter(is_own, [folder / name for name in TABLES]):
        path.unlink(missing_ok=True)
