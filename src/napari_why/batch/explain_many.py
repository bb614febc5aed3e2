"""A batch: every image of a folder, data set or list, to one table and a folder of pictures."""

import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pandas as pd

from napari_why.attribution import METHODS as ATTRIBUTIONS
from napari_why.attribution import ReadyMethod, References
from napari_why.attribution.context import find_references as read_references
from napari_why.batch.explain_one import (
    CHANGE,
    ERROR,
    MAP,
    PICTURES,
    SEEN,
    SERIES,
    ImageOutcome,
    explain_one,
    failed_outcome,
    pictures_of,
    ready_method,
)
from napari_why.batch.journal import JOURNAL, Journal, join_outcomes, outcome_key
from napari_why.batch.options import BatchOptions
from napari_why.batch.references import ImageReference, find_references, list_references
from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.errors import CancellationError, ImageReadError, MismatchError, WhyError
from napari_why.core.folders import show
from napari_why.core.record import Record
from napari_why.core.targets import check_own_folder, is_own, refuse_sources, reserve, try_target
from napari_why.core.whole_files import write_table, write_whole
from napari_why.datasets import Dataset
from napari_why.images import Source, describe_grouping, record_path
from napari_why.output.layer_metadata import plain_json

if TYPE_CHECKING:
    from napari_why.model import Classifier

KIND = "batch"  # of the record
# What a batch leaves in its folder beside the pictures and the journal.
IMAGES, REGIONS, SUMMARY, RECORD = "images.csv", "regions.csv", "summary.txt", "record.json"
# The tables are written anew when they have grown by a tenth: writing them after each of 10,000
# images would take longer than the images. The journal has every image.
GROWTH = 1.1

Images: TypeAlias = "Dataset | Iterable[Source | ImageReference] | str | Path"


@dataclass(frozen=True)
class BatchResult:
    """What a batch found.

    Parameters
    ----------
    images : DataFrame
        One row an image, in their order: ``image``, its files; columns of the data set (``label``,
        ``well``, ...); ``trained on`` (None where the classifier does not say which images it was
        trained on); ``predicted`` and ``probability of NAME``; ``notes``, ``unlike`` and ``quality``
        as :meth:`~napari_why.Classifier.predict_many` has them. Of an attribution ``explained``,
        ``score`` and for each channel its share of the evidence and how much of that speaks for the
        class. Of a counterfactual what :func:`~napari_why.measure_dataset` tells, the change in the
        regions for each channel, and ``verdict`` in words. ``error``: empty where all was done.
    regions : DataFrame
        One row a region that changes; see :func:`~napari_why.measurement.region_table`.
    folder : Path
        Where tables, pictures and record are.
    sentences : tuple of str
        What there is to say of the whole.
    record : Record
    complete : bool
        False when the work was cancelled; it goes on with ``resume=True``.
    """

    images: pd.DataFrame
    regions: pd.DataFrame
    folder: Path
    sentences: tuple[str, ...]
    record: Record
    complete: bool = True


@shows_progress
def explain_many(
    classifier: "Classifier",
    images: Images,
    out: str | Path,
    options: BatchOptions | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    references: Dataset | None = None,
    on_row: Callable[[int, dict[str, Any]], None] | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **changes: Any,
) -> BatchResult:
    """Predict many images, and explain, change and measure each of them where that is asked for.

    One image is in memory at a time. After each its row and pictures are on the disk: a run that is
    killed loses at most the image in work, and ``resume`` goes on there. An image that fails has the
    reason in its row, and costs no other one.

    Parameters
    ----------
    classifier : Classifier
    images : Dataset, path, or sequence of path, tuple of paths, DataArray or ImageReference
        A path is what :func:`~napari_why.batch.find_references` takes: a folder, say.
    out : path
        Folder for ``images.csv``, ``regions.csv``, ``pictures``, ``summary.txt``, ``record.json`` and
        the journal; new or empty, but for ``resume`` and ``overwrite``.
    options : BatchOptions, optional
        What is done; single options also by keyword (``attribution="occlusion"``).
    resume : bool
        Go on with a batch there: images that were done with the same classifier, options and file are
        kept, and those that failed are tried again.
    overwrite : bool
        Begin a batch there anew.
    references : Dataset, optional
        Training images, for attribution methods that compare with them.
    on_row : callable, optional
        Called with the number of an image, from 0, and its row as soon as it is there.
    on_event, cancelled
        See :mod:`napari_why.core.events`; when cancelled, with the images done by then. Without
        ``on_event`` progress is shown in the console (``on_event=napari_why.quiet``: nothing is).
    **changes
        Single options, those of methods with ``attribution_``, ``change_`` and ``measure_`` in front.

    Returns
    -------
    BatchResult

    Raises
    ------
    ParameterError
        An option, method or class is unknown or out of range.
    UnsupportedNetworkError
        A method is not defined for the network.
    WhyError
        There is no image, something else is in the folder, or nothing can be written there.

    Examples
    --------
    >>> found = why.explain_many(  # doctest: +SKIP
    ...     classifier, "plate/", "results", attribution="occlusion", counterfactual="transport"
    ... )
    >>> found.images[["image", "predicted", "verdict"]]  # doctest: +SKIP
    """
    chosen = _merge(options, changes)
    chosen.check(classifier)
    folder = Path(out)
    several, notes = _list(images, classifier, folder)
    _check_folder(folder, several, resume=resume, overwrite=overwrite)
    for note in notes:
        on_event(events.Message(note, finding=True))
    with reserve(folder):
        batch = _Batch(classifier, chosen, folder, several, notes, references)
        batch.begin(keep=resume and not overwrite)
        batch.run(on_row, on_event, cancelled)
        return batch.finish()


class _Batch:
    """The images of a batch, and the outcomes there are by now."""

    def __init__(
        self,
        classifier: "Classifier",
        options: BatchOptions,
        folder: Path,
        images: list[ImageReference],
        notes: list[str],
        references: Dataset | None,
    ) -> None:
        self.classifier, self.options, self.folder = classifier, options, folder
        self.images, self.notes = images, notes
        self.outcomes: list[ImageOutcome] = []
        self.kept = 0
        needed = options.attribution and ATTRIBUTIONS.named(options.attribution).takes("references")
        self.references = references if needed else None
        # made ready with the first image that is explained: of a batch that is resumed there may be none
        self._ready: ReadyMethod | None = None
        self._compared: Dataset | References | None = None
        maker = classifier.generator
        self._generator = None if maker is None else maker.fingerprint
        self.made_with = {
            "classifier": classifier.fingerprint,
            # it makes the images, and decides about no prediction: the fingerprint leaves it out
            "generator": self._generator,
            "options": asdict(options),
            "references": None if self.references is None else self.references.fingerprint,
        }

    def begin(self, *, keep: bool) -> None:
        """Make the folder, and read what an earlier run left there."""
        place = self.folder / PICTURES if self.options.pictures else self.folder
        place.mkdir(parents=True, exist_ok=True)
        # the first, for by it tables and folder are known as ours
        self._write_record(self._record(complete=False))
        if not keep:
            _clear(self.folder)
        self._journal = Journal(self.folder, keep=keep)

    def run(
        self,
        on_row: Callable[[int, dict[str, Any]], None] | None,
        on_event: events.OnEvent,
        cancelled: events.Cancelled,
    ) -> None:
        """Take one image after the other."""
        on_event(events.Started("explaining many images", len(self.images)))
        written = 0
        for number, reference in enumerate(self.images):
            if cancelled():
                break
            try:
                self.outcomes.append(self._take(reference, on_event, cancelled))
            except CancellationError:
                break  # half an image would stand in the table as a whole one
            if on_row is not None:
                on_row(number, self.outcomes[-1].row)
            if len(self.outcomes) >= written * GROWTH:
                self._write_tables()
                written = len(self.outcomes)
            on_event(events.Advanced(number + 1, reference.name))
        on_event(events.Finished(partial=not self.complete))

    @property
    def complete(self) -> bool:
        """Whether every image was taken."""
        return len(self.outcomes) == len(self.images)

    def finish(self) -> BatchResult:
        """Write tables, summary and record."""
        images, regions = self._write_tables()
        sentences = tuple(self._describe(images))
        record = self._record(complete=self.complete)
        write_whole(self.folder / SUMMARY, ("\n".join(sentences) + "\n").encode())
        self._write_record(record)
        return BatchResult(images, regions, self.folder, sentences, record, self.complete)

    def _take(
        self, reference: ImageReference, on_event: events.OnEvent, cancelled: events.Cancelled
    ) -> ImageOutcome:
        outcome = self._make(reference, on_event, cancelled)
        # of an earlier run, with other options or of a step that fails now
        stale = set(pictures_of(reference.name)) - set(outcome.files)
        _remove_pictures(self.folder / name for name in stale)
        return outcome

    def _make(
        self, reference: ImageReference, on_event: events.OnEvent, cancelled: events.Cancelled
    ) -> ImageOutcome:
        try:
            state = reference.state()
        except Exception as error:  # noqa: BLE001 - what cannot be looked at is an image that failed
            return failed_outcome(reference, error)
        key = outcome_key({**self.made_with, "image": reference.name}, state)
        found = self._journal.find(key)
        if found is not None:
            self.kept += 1
            # another table may tell other wells or classes of the same files
            known = set(reference.about)
            row = {name: item for name, item in found.row.items() if name not in known}
            return ImageOutcome({**reference.about, **row}, found.regions, found.files)
        self._journal.begin(pictures_of(reference.name))
        if self.options.attribution and self._ready is None:
            self._make_ready(cancelled)
        outcome = explain_one(
            self.classifier,
            reference,
            self.options,
            self.folder,
            references=self._compared,
            ready=self._ready,
            on_event=on_event,
            cancelled=cancelled,
        )
        self._journal.add(key, outcome)
        return outcome

    def _make_ready(self, cancelled: events.Cancelled) -> None:
        """Do once what the attribution of every image needs."""
        fingerprint = str(self.made_with["classifier"])
        ready = ready_method(self.classifier, self.options, fingerprint)
        self._compared = self.references
        if self.references is not None:
            # what cannot be read is tried again by every image, whose row then says why
            with suppress(MismatchError, ImageReadError):
                self._compared = read_references(
                    ready.method, self.classifier, self.references, cancelled=cancelled
                )
        self._ready = ready

    def _write_tables(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        images, regions = join_outcomes(self.outcomes)
        for table, path in ((images, self.folder / IMAGES), (regions, self.folder / REGIONS)):
            if len(table):
                write_table(table, path)
            elif is_own(path):  # of an earlier run: beside the new one it would pass for this one's
                path.unlink()
        return images, regions

    def _record(self, *, complete: bool) -> Record:
        return Record(
            kind=KIND,
            method="explain_many",
            parameters=plain_json(asdict(self.options)),
            classifier=self.classifier.fingerprint,
            details={
                "images": len(self.images),
                "done": len(self.outcomes),
                "complete": complete,
                "generator": self._generator,
                "classes": list(self.classifier.classes),
                "notes": list(self.notes),
                "journal": JOURNAL,
            },
        )

    def _write_record(self, record: Record) -> None:
        write_whole(self.folder / RECORD, (record.to_json() + "\n").encode())

    def _describe(self, images: pd.DataFrame) -> Iterable[str]:
        if not self.complete:
            yield events.describe_partial(len(images), len(self.images), "images")
        if images.empty:
            return
        failed = images[images[ERROR] != ""]
        kept = f", {self.kept} of them by an earlier run" if self.kept else ""
        yield f"{len(images) - len(failed)} of {len(self.images)} images were done{kept}"
        if len(failed):
            yield f"{len(failed)} failed, in whole or in part; first: {failed[ERROR].iloc[0]}"
        yield from self._describe_predictions(images)
        yield from self.notes

    def _describe_predictions(self, images: pd.DataFrame) -> Iterable[str]:
        if "predicted" not in images:
            return
        counts = images["predicted"].value_counts()
        said = [f"{counts[name]} as {name}" for name in self.classifier.classes if name in counts]
        yield f"predicted: {', '.join(said)}"
        known = images[SEEN].dropna()
        seen = int(known.astype(bool).sum())
        if known.empty:
            yield "the classifier does not say which images it was trained on: these may be among them"
        elif seen:
            yield f"{seen} of these images were trained on: of them the table says more than of new ones"


def _merge(options: BatchOptions | None, changes: Mapping[str, Any]) -> BatchOptions:
    before = {} if options is None else options.to_flat()
    return BatchOptions.of_flat({**before, **changes})


def _list(
    images: Images, classifier: "Classifier", out: Path
) -> tuple[list[ImageReference], list[str]]:
    if isinstance(images, str | Path):
        found, notes = find_references(images, classifier.classes)
    elif isinstance(images, Dataset):
        found, notes = list_references(images), list(images.notes)
    else:
        several = list(images)
        found = list_references(several)
        # who gives references was told how they were put together when they were listed
        listed = any(isinstance(item, ImageReference) for item in several)
        joined = [item.files() for item in found if isinstance(item.source, tuple)]
        notes = [] if listed else describe_grouping(joined)
    return _leave_out_results(found, notes, out)


def _leave_out_results(
    found: list[ImageReference], notes: list[str], out: Path
) -> tuple[list[ImageReference], list[str]]:
    """Leave out pictures of batches, which may lie in the folder of the images."""
    known: dict[Path, bool] = {}

    def is_results(folder: Path) -> bool:
        if folder not in known:
            known[folder] = _is_batch(folder / RECORD)
        return known[folder]

    own = out.resolve()
    images, others = [], set()
    for item in found:
        above = {folder for path in item.files() for folder in path.resolve().parents}
        results = {folder for folder in above if is_results(folder)}
        if not results:
            images.append(item)
        others |= results - {own}
    if others:
        names = ", ".join(sorted(map(show, others)))
        notes = [*notes, f"images below {names} are results of a batch and were left out"]
    if found and not images:
        raise WhyError("images: found only results of a batch; expected images to explain")
    return images, notes


def _check_folder(
    folder: Path, images: list[ImageReference], *, resume: bool, overwrite: bool
) -> None:
    if not images:
        raise WhyError("images: found none; expected at least one")
    refuse_sources(folder, [path for image in images for path in image.files()])
    check_own_folder(folder, RECORD)
    if (folder / RECORD).exists() and not _is_batch(folder / RECORD):
        raise WhyError(
            f"{folder}: found results of another kind; they are not overwritten; choose another folder"
        )
    if (folder / RECORD).exists() and not (resume or overwrite):
        raise WhyError(
            f"{folder}: found an earlier batch there; choose another folder, or ask to resume it or "
            "to overwrite it"
        )
    try_target(folder)


def _is_batch(record: Path) -> bool:
    try:
        return Record.from_dict(json.loads(record.read_text(encoding="utf-8"))).kind == KIND
    except (OSError, ValueError, TypeError):
        return False


def _clear(folder: Path) -> None:
    """Remove an earlier batch, whose files would pass for part of this one."""
    _remove_pictures(
        path
        for what in (MAP, SERIES, CHANGE)
        for path in (folder / PICTURES).glob(f"*-{what}.ome.tif")
    )
    for path in filter(is_own, [folder / name for name in (IMAGES, REGIONS, SUMMARY)]):
        path.unlink(missing_ok=True)


def _remove_pictures(paths: Iterable[Path]) -> None:
    """Remove pictures that are ours, with their records."""
    for path in filter(is_own, list(paths)):
        record = record_path(path)
        path.unlink(missing_ok=True)
        if is_own(record):
            record.unlink(missing_ok=True)
