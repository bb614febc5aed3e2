"""One image of a batch: predicted, explained, changed and measured, to one row and its files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from napari_why.attribution import Attribution, Given, ReadyMethod, References
from napari_why.batch.options import BatchOptions
from napari_why.batch.references import ImageReference
from napari_why.core.errors import CancellationError, NetworkBusyError, WhyError, reason_of
from napari_why.core.events import (
    Cancelled,
    Event,
    Message,
    OnEvent,
    ignore_event,
    never_cancelled,
)
from napari_why.counterfactuals import Counterfactual, counterfactual, verdict
from napari_why.datasets.dataset import pixels_digest
from napari_why.images import write
from napari_why.measurement import MeasurementOptions, measure
from napari_why.measurement.change_maps import UNIT
from napari_why.measurement.measure_dataset import (
    MEAN_OF_REGIONS,
    SHARE,
    image_row,
    paired_rows,
)
from napari_why.model.familiarity import notes_seen_images
from napari_why.output.images import record_with_grid, result_image
from napari_why.training.metrics import probability_columns

if TYPE_CHECKING:
    from napari_why.datasets import Dataset
    from napari_why.model import Classifier, Prediction

# Names of columns; of those that end so, the channel follows.
SEEN, ERROR, VERDICT = "trained on", "error", "verdict"
EVIDENCE, SPEAKS_FOR = "share of evidence in ", "of it for the class in "
CHANGED_REGIONS = f"change in the regions ({UNIT}) of "
# Folder of the pictures, and what the name of each ends in.
PICTURES = "pictures"
MAP, SERIES, CHANGE = "attribution", "counterfactual", "change"
# Hexadecimal digits that tell apart images of one name in several folders: of a million images two
# share them once in thousands of such batches, and of those with the same name practically never.
DIGITS = 8
# Letters of a file's name that go into the names of its pictures; some systems allow 255 in all.
LONGEST_STEM = 100


@dataclass(frozen=True)
class ImageOutcome:
    """What a batch has of one image.

    Parameters
    ----------
    row : dict
        Its row of the table; ``error`` is empty where all that was asked for was done.
    regions : DataFrame or None
        One row a region that its change has.
    files : tuple of str
        Pictures that were written, below the folder of the results.
    """

    row: dict[str, Any]
    regions: pd.DataFrame | None = None
    files: tuple[str, ...] = ()


@dataclass
class _Work:
    """One image on its way, and what is known of it by now."""

    classifier: "Classifier"
    options: BatchOptions
    folder: Path
    reference: ImageReference
    references: "Dataset | References | None"
    ready: ReadyMethod | None
    listener: OnEvent
    cancelled: Cancelled
    found: list[str] = field(default_factory=list)
    row: dict[str, Any] = field(default_factory=dict)
    regions: pd.DataFrame | None = None
    files: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def attempt(self, what: str, step: Callable[[], Any]) -> Any:
        """Take a step; one that fails costs what it would have found, and nothing else.

        Raises
        ------
        CancellationError, NetworkBusyError
            Of no image in particular.
        """
        try:
            return step()
        except (CancellationError, NetworkBusyError):
            raise
        except Exception as error:  # noqa: BLE001 - a night's work must not end at one image
            self.errors.append(f"{what}: {reason_of(error)}")
            return None

    def on_event(self, event: Event) -> None:
        """Hear what a step reports: what it found belongs into the row, its steps to nobody."""
        if not isinstance(event, Message):
            return
        if event.finding and event.text not in self.found:
            self.found.append(event.text)
        self.listener(event)

    def save(self, result: Any, image: xr.DataArray, what: str) -> None:
        """Write a result as an image with its record."""
        if not self.options.pictures:
            return
        name = f"{PICTURES}/{picture_name(self.reference.name, what)}"
        record = record_with_grid(result.record, result.grid)
        write(result_image(result, image), self.folder / name, record=record, overwrite=True)
        self.files.append(name)


def explain_one(
    classifier: "Classifier",
    reference: ImageReference,
    options: BatchOptions,
    folder: Path,
    *,
    references: "Dataset | References | None" = None,
    ready: ReadyMethod | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> ImageOutcome:
    """Predict, explain, change and measure one image, and write its pictures.

    It depends on nothing but what it is given, and changes nothing but the files of this image: any
    number of processes may each take other images.

    Parameters
    ----------
    classifier : Classifier
    reference : ImageReference
    options : BatchOptions
    folder : Path
        Of the results; pictures go into ``pictures`` within it, which is there where any are wanted.
    references : Dataset or References, optional
        Training images, for attribution methods that compare with them.
    ready : ReadyMethod, optional
        The attribution method of the options for this classifier, where it was made ready for many
        images; it is made ready here else.
    on_event, cancelled : callable
        See :mod:`napari_why.core.events`. Messages are passed on, those of findings go into the
        notes of the row too; how far a step is is not told.

    Returns
    -------
    ImageOutcome
        With the reason in ``error`` where a step failed.

    Raises
    ------
    CancellationError
        The work was stopped: of half an image nothing is kept.
    NetworkBusyError
        The network is being trained.
    """
    work = _Work(classifier, options, folder, reference, references, ready, on_event, cancelled)
    image = work.attempt("reading", reference.open)
    if image is not None:
        prediction = work.attempt("predicting", lambda: _predict(work, image))
        if prediction is not None:
            if options.attribution is not None:
                work.attempt("explaining", lambda: _explain(work, image))
            if options.counterfactual is not None:
                work.attempt("changing", lambda: _change(work, image, prediction))
    if work.found:
        said = [work.row.get("notes", ""), *work.found]
        work.row["notes"] = "; ".join(filter(None, said))
    row = {**reference.about, **work.row, ERROR: "; ".join(work.errors)}
    return ImageOutcome(row, work.regions, tuple(work.files))


def ready_method(
    classifier: "Classifier", options: BatchOptions, fingerprint: str = ""
) -> ReadyMethod:
    """Return the attribution method that is asked for, checked for a classifier.

    Parameters
    ----------
    classifier : Classifier
    options : BatchOptions
        Names a method, and its parameters.
    fingerprint : str
        The classifier's, where it is known; empty: computed for each image.

    Returns
    -------
    ReadyMethod
    """
    return ReadyMethod.of(
        classifier,
        str(options.attribution),
        parameters=options.attribution_options,
        fingerprint=fingerprint,
    )


def picture_name(image: str, what: str) -> str:
    """Return the name of a picture: the same for the same image, another for each image.

    Parameters
    ----------
    image : str
        Paths of the image, joined by "; ".
    what : str
        What the picture shows: ``attribution``, say.

    Returns
    -------
    str
        A file's name, without folder, that every file system takes.

    Examples
    --------
    >>> picture_name("plate/B02.ome.tif", "attribution")
    'B02-b88a242b-attribution.ome.tif'
    """
    stem = Path(image.split("; ")[0]).name.partition(".")[0][:LONGEST_STEM] or "image"
    # a name may hold what no file's name can on another system: a file is to be copied anywhere
    plain = "".join(letter if letter.isalnum() or letter in "-_ " else "_" for letter in stem)
    digest = sha256(image.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]
    return f"{plain}-{digest}-{what}.ome.tif"


def pictures_of(image: str) -> list[str]:
    """Return the names that the pictures of an image have below the folder, written or not."""
    return [f"{PICTURES}/{picture_name(image, what)}" for what in (MAP, SERIES, CHANGE)]


def evidence_shares(found: Attribution) -> dict[str, float]:
    """Return of each channel its share of the evidence, and how much of that speaks for the class.

    The evidence of a channel is the sum of its map's absolute values. Both are NaN where there is none
    to divide.
    """
    sizes = np.abs(found.maps).sum(axis=(1, 2), dtype=np.float64)
    positive = np.clip(found.maps, 0, None).sum(axis=(1, 2), dtype=np.float64)
    total = sizes.sum()
    shares = sizes / total if total > 0 else np.full(len(sizes), np.nan)
    speaking = [
        float(part / size) if size > 0 else np.nan
        for part, size in zip(positive, sizes, strict=True)
    ]
    return {
        **{
            f"{EVIDENCE}{name}": float(share)
            for name, share in zip(found.channels, shares, strict=True)
        },
        **{
            f"{SPEAKS_FOR}{name}": share
            for name, share in zip(found.channels, speaking, strict=True)
        },
    }


def _predict(work: _Work, image: xr.DataArray) -> "Prediction":
    classifier = work.classifier
    found = classifier.predict(image)
    card = classifier.card
    # None and not False where nobody knows: the good case is never assumed
    seen = pixels_digest(image) in set(card["seen_images"]) if notes_seen_images(card) else None
    names = probability_columns(classifier.classes)
    work.row |= {
        SEEN: seen,
        "predicted": found.label,
        **dict(zip(names, found.probabilities.values(), strict=True)),
        "notes": "; ".join(found.notes),
        "unlike": "; ".join(found.unlike),
        "quality": "; ".join(found.quality),
    }
    return found


def _explain(work: _Work, image: xr.DataArray) -> None:
    options = work.options
    ready = work.ready or ready_method(work.classifier, options)
    given = Given(work.references)
    found = ready.explain(
        image,
        options.attribution_target,
        given,
        on_event=work.on_event,
        cancelled=work.cancelled,
    )
    if not found.complete:
        raise CancellationError("the work was stopped while an image was explained")
    work.row |= {
        "explained": found.target,
        "score": found.score,
        **evidence_shares(found),
        "map adds up": found.completeness,
    }
    work.save(found, image, MAP)


def _change(work: _Work, image: xr.DataArray, prediction: "Prediction") -> None:
    options = work.options
    if options.target is not None and prediction.label == options.target:
        work.row |= {VERDICT: f"not changed: it is predicted as {options.target} already"}
        return
    found = counterfactual(
        work.classifier,
        image,
        options.target,
        str(options.counterfactual),
        on_event=work.on_event,
        cancelled=work.cancelled,
        **options.series,
    )
    if not found.complete:
        raise CancellationError("the work was stopped while an image was changed")
    work.row |= {"direction": f"{found.source_class} to {found.target}"}
    work.save(found, image, SERIES)
    if options.measure:
        _measure(work, image, found)
        return
    said = verdict(found)
    shares = {f"{SHARE}{name}": share for name, share in said.shares.items()}
    work.row |= {"valid": said.valid, **shares, VERDICT: said.line}


def _measure(work: _Work, image: xr.DataArray, changed: Counterfactual) -> None:
    found = measure(changed, image, MeasurementOptions.of(None, work.options.measure_options))
    inside = {
        f"{CHANGED_REGIONS}{pair['channel']}": pair["after"] - pair["before"]
        for pair in paired_rows(changed, found.table)
        if pair["measure"] == MEAN_OF_REGIONS
    }
    row = image_row(found)
    line = row.pop(VERDICT)
    work.row |= {**row, **inside, VERDICT: line}
    front = pd.DataFrame([_plain_about(work.reference.about)] * len(found.table))
    work.regions = pd.concat([front, found.table], axis=1)
    work.save(found, image, CHANGE)


def _plain_about(about: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in about.items() if value is not None}


def failed_outcome(reference: ImageReference, error: BaseException) -> ImageOutcome:
    """Return the row of an image of which nothing is known but why.

    Parameters
    ----------
    reference : ImageReference
    error : BaseException
        What went wrong.

    Returns
    -------
    ImageOutcome
        With ``error`` filled.
    """
    reason = str(error) if isinstance(error, WhyError) else reason_of(error)
    return ImageOutcome({**reference.about, ERROR: reason})
