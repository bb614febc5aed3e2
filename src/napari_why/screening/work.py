"""One well of a screen: its fields predicted, explained and changed, to one file; in any process."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from napari_why.batch import ImageReference, explain_one
from napari_why.batch.references import ORIGINAL
from napari_why.core.devices import limited_threads
from napari_why.core.errors import (
    CancellationError,
    ModelFileError,
    NetworkBusyError,
    reason_of,
)
from napari_why.datasets.dataset import pixels_digest
from napari_why.datasets.features import TEXTURES, texture_features
from napari_why.latent_space.space import LATENT
from napari_why.model import Classifier, load
from napari_why.model.classifier import pooled_latents, softmax
from napari_why.model.familiarity import notes_seen_images
from napari_why.screening.options import ScreenOptions
from napari_why.screening.parts import states_of, write_part
from napari_why.screening.plan import FieldTask, WellTask, read_dose, work_key
from napari_why.screening.tables import (
    AREA,
    BETWEEN,
    COMPOUND,
    DISTANCE,
    DISTANCE_FROM,
    DOSE,
    EDGE,
    ERROR,
    FAILED,
    FIELDS,
    FLAGGED,
    IMAGE,
    METADATA,
    NEGATIVE,
    NOTES,
    PLATE,
    POSITIVE,
    PREDICTED,
    QUALITY,
    ROLE,
    SAMPLE,
    SEEN,
    SITE,
    SPREAD,
    STRANGE,
    TEXTURE,
    UNEXPLAINED,
    UNLIKE,
    WELL,
    log_odds_column,
    order_columns,
)
from napari_why.training.metrics import probability_columns

if TYPE_CHECKING:
    from torch import Tensor

# What a batch says of an image in words; everything else that it says is a number.
WORDS = frozenset(
    (
        *("image", "trained on", "predicted", "notes", "unlike", "quality", "explained"),
        *("map adds up", "direction", "reservations", "kinds of reservations", "verdict", "error"),
    )
)
# Columns that a screen fills itself, with which those of a plate map must not be mixed up.
RESERVED = frozenset(
    (
        *(PLATE, WELL, SITE, COMPOUND, DOSE, ROLE, IMAGE, ERROR, PREDICTED, NOTES, UNLIKE, QUALITY),
        *(UNEXPLAINED, SEEN, FIELDS, FAILED, EDGE),  # those of wells too
    )
) | frozenset(f"{METADATA}{name}" for name in WORDS)
# Of those, what the prediction here has said already.
SAID = frozenset(("image", "trained on", "predicted", "notes", "unlike", "quality", "error"))


@dataclass(frozen=True)
class WorkSetting:
    """What a worker has to know beside the well; small, since it goes with every task.

    Parameters
    ----------
    model : str
        Where the classifier is saved.
    classifier : str
        Its fingerprint.
    device : str
        Where to compute.
    options : ScreenOptions
    folder : str
        Of the results.
    stop : str
        A file: once it is there, work is stopped.
    """

    model: str
    classifier: str
    device: str
    options: ScreenOptions
    folder: str
    stop: str

    def key(self, task: WellTask) -> str:
        """Return what the results of a well are known by."""
        return work_key(self.classifier, self.options, task)


@dataclass(frozen=True)
class WellDone:
    """What is told of a well that was done.

    Parameters
    ----------
    fields, failed : int
        How many there are, and how many could not be read or predicted.
    error : str
        Of the first of those.
    unexplained : int
        How many others were not explained or changed, in whole or in part.
    reason : str
        Of the first of those.
    """

    fields: int
    failed: int = 0
    error: str = ""
    unexplained: int = 0
    reason: str = ""


def screen_well(setting: WorkSetting, task: WellTask) -> WellDone:
    """Look at every field of a well, and write what was found as one file.

    It depends on nothing but what it is given, and writes nothing but the files of this well: any
    number of processes may each take other wells, and one that is taken twice is the same twice.

    Parameters
    ----------
    setting : WorkSetting
    task : WellTask

    Returns
    -------
    WellDone

    Raises
    ------
    CancellationError
        Somebody asked to stop: of half a well nothing is kept.
    ModelFileError
        Another classifier is saved there than the plan was made with.
    WhyError
        The file cannot be written.
    """
    with limited_threads(1):  # workers are what runs side by side
        classifier = load_once(setting.model, setting.classifier, setting.device)
        states = states_of(task)
        rows, regions = [], []
        for field in task.fields:
            if Path(setting.stop).exists():
                raise CancellationError(f"{task.name}: the work was stopped")
            row, found = screen_field(classifier, setting, task, field)
            rows.append(row)
            if found is not None:
                regions.append(found)
    table = order_columns(pd.DataFrame(rows))
    together = pd.concat(regions, ignore_index=True) if regions else None
    write_part(Path(setting.folder), setting.key(task), task, states, table, together)
    errors = [row[ERROR] for row in rows if row[ERROR]]
    reasons = [row[UNEXPLAINED] for row in rows if row.get(UNEXPLAINED)]
    return WellDone(
        len(rows), len(errors), next(iter(errors), ""), len(reasons), next(iter(reasons), "")
    )


@lru_cache(maxsize=1)  # a worker serves one screen
def load_once(model: str, fingerprint: str, device: str) -> Classifier:
    """Load a classifier the first time that a process is asked for it.

    Parameters
    ----------
    model : str
        Where it is saved.
    fingerprint : str
        That is expected.
    device : str
        ``auto``, ``cpu``, ``cuda:N`` or ``mps``.

    Returns
    -------
    Classifier

    Raises
    ------
    ModelFileError
        Another one is saved there.
    """
    classifier = load(model, device=device)
    if classifier.fingerprint != fingerprint:
        raise ModelFileError(
            f"{model}: found the classifier {classifier.fingerprint[:12]}; expected {fingerprint[:12]}, "
            "with which the screen was begun; put that one there, or begin anew"
        )
    return classifier


def write_lost(setting: WorkSetting, task: WellTask, reason: str) -> WellDone:
    """Write a well that no worker could do: each of its fields with the reason.

    Parameters
    ----------
    setting : WorkSetting
    task : WellTask
    reason : str
        For its rows.

    Returns
    -------
    WellDone
        All fields failed.
    """
    rows = [{**_about(setting.options, task, field), ERROR: reason} for field in task.fields]
    told = _nothing_said(setting.options)
    table = order_columns(pd.DataFrame([{**told, **row} for row in rows]))
    key = setting.key(task)
    write_part(Path(setting.folder), key, task, states_of(task), table, None, lost=True)
    return WellDone(len(rows), len(rows), reason)


def screen_field(
    classifier: Classifier, setting: WorkSetting, task: WellTask, field: FieldTask
) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """Return the row of a field, and its regions where its change was measured.

    A field that cannot be read or predicted has the reason in ``Metadata_error``, and costs no other one. What
    is known of it otherwise stays where only its explanation or change fails, for which the reason stands
    in ``Metadata_explanation error``.

    Parameters
    ----------
    classifier : Classifier
    setting : WorkSetting
    task : WellTask
        The well of the field.
    field : FieldTask

    Returns
    -------
    (dict, DataFrame or None)
        The row by columns; one row a region.
    """
    options = setting.options
    row: dict[str, Any] = {
        **_about(options, task, field),
        **_nothing_said(options),
        ERROR: "",
    }
    try:
        image = field.reference.open()
        row |= describe_field(classifier, image, options.healthy, texture=options.texture)
    except (CancellationError, NetworkBusyError):
        raise
    except Exception as error:  # noqa: BLE001 - a night's work must not end at one field
        row[ERROR] = reason_of(error)
        return row, None
    if not options.explains:
        return row, None
    named = ImageReference(image, {"image": field.reference.name})
    return _explain(classifier, named, setting, row)


def _explain(
    classifier: Classifier, named: ImageReference, setting: WorkSetting, row: dict[str, Any]
) -> tuple[dict[str, Any], pd.DataFrame | None]:
    """Add to the row of a field what its explanation and change say, or why there is none."""
    options = setting.options
    try:
        told = explain_one(classifier, named, options.explaining, Path(setting.folder))
        found = {**row, **_further(told.row), UNEXPLAINED: str(told.row.get("error", ""))}
        if _needs_no_change(options, told.row):
            found[AREA] = 0.0
        if told.regions is None or told.regions.empty:
            return found, None
        return found, _regions(told.regions, found)
    except (CancellationError, NetworkBusyError):
        raise
    except Exception as error:  # noqa: BLE001 - a night's work must not end at one field
        return {**row, UNEXPLAINED: reason_of(error)}, None


def _needs_no_change(options: ScreenOptions, told: Mapping[str, Any]) -> bool:
    """Tell whether nothing of a field is left to change, other than where its change failed."""
    wanted = options.explaining
    measured = bool(wanted.counterfactual and wanted.measure and wanted.target is not None)
    return measured and "verdict" in told and told.get("predicted") == wanted.target


def describe_field(
    classifier: Classifier, image: xr.DataArray, healthy: str, *, texture: bool = True
) -> dict[str, Any]:
    """Return what the network says of an image, and how far that is to be believed.

    Parameters
    ----------
    classifier : Classifier
    image : DataArray, dims (c, y, x)
    healthy : str
        Class that compounds are to bring the cells to.
    texture : bool
        Measure each channel without the network too, at the size and in the channels that it looks at.

    Returns
    -------
    dict
        By column: the predicted class; the probability of every class and the log-odds of the healthy
        one, log(p / (1 - p)), from the logits, so that it has no ceiling; the share of each class's
        training images that lie closer to it (NaN where not known); flags of quality and likeness; the
        textures and the pooled latents.

    Raises
    ------
    MismatchError
        The image does not fit the classifier.
    """
    unlike = classifier.unlike(image)
    prepared = classifier.prepare(image)
    latents, logits = pooled_latents(classifier.network, prepared)
    numbers = logits[0].float().cpu().numpy().astype(np.float64)
    probabilities = softmax(numbers)
    flags = classifier.flag_quality(unlike)
    index = classifier.classes.index(healthy)
    notes = (*image.attrs.get("notes", ()), *(item.sentence for item in unlike))
    pooled = latents[0].float().cpu()
    return {
        PREDICTED: classifier.classes[int(probabilities.argmax())],
        NOTES: BETWEEN.join(notes),
        UNLIKE: BETWEEN.join(item.kind for item in unlike),
        QUALITY: BETWEEN.join(flags),
        SEEN: _is_seen(classifier, image),
        **dict(zip(probability_columns(classifier.classes), probabilities.tolist(), strict=True)),
        log_odds_column(healthy): log_odds(numbers, index),
        **_distances(classifier, pooled),
        FLAGGED: float(bool(flags)),
        STRANGE: float(bool(unlike)),
        **(_measure_textures(classifier, prepared) if texture else {}),
        **{LATENT.format(place): value for place, value in enumerate(pooled.tolist())},
    }


def _measure_textures(classifier: Classifier, prepared: "Tensor") -> dict[str, float]:
    grey = classifier.preprocessing.inverse(prepared)[0]
    return {
        f"{TEXTURE}{channel}: {name}": float(value)
        for channel, plane in zip(classifier.channels, grey, strict=True)
        for name, value in zip(TEXTURES, texture_features(plane), strict=True)
    }


def log_odds(logits: "np.ndarray[Any, np.dtype[np.float64]]", index: int) -> float:
    """Return log(p / (1 - p)) of a class from the logits, exact where p itself is rounded to 0 or 1.

    Parameters
    ----------
    logits : ndarray, float64, shape (K,)
    index : int
        Of the class.

    Returns
    -------
    float

    Examples
    --------
    >>> log_odds(np.array([0.0, 2.0]), 1), log_odds(np.array([-500.0, 500.0]), 1)
    (2.0, 1000.0)
    """
    others = np.delete(logits, index)
    return float(logits[index] - np.logaddexp.reduce(others))


def _about(options: ScreenOptions, task: WellTask, field: FieldTask) -> dict[str, Any]:
    """Return what is known of a field before it is opened."""
    compound = str(task.about[options.compound])
    dose = options.dose_column(list(task.about))
    role = SAMPLE
    if compound in options.negatives:
        role = NEGATIVE
    elif compound in options.positives:
        role = POSITIVE
    known = {} if dose is None else {DOSE: read_dose(task.about[dose])}
    return {
        PLATE: task.plate,
        WELL: task.well,
        SITE: field.site,
        COMPOUND: compound,
        **known,
        ROLE: role,
        IMAGE: field.reference.name,
        **{_map_column(name): value for name, value in task.about.items()},
    }


def _nothing_said(options: ScreenOptions) -> dict[str, Any]:
    """Return the columns of words of a field before anything is known of it."""
    words = (PREDICTED, NOTES, UNLIKE, QUALITY, *((UNEXPLAINED,) if options.explains else ()))
    return {**dict.fromkeys(words, ""), SEEN: None}


def _map_column(name: str) -> str:
    """Return the column for one of the plate map, another one where a screen fills that itself."""
    own = f"{METADATA}{name}"
    taken = own in RESERVED or own.startswith(SPREAD)
    return f"{METADATA}{ORIGINAL}{name}" if taken else own


def _is_seen(classifier: Classifier, image: xr.DataArray) -> bool | None:
    # None and not False where nobody knows: the good case is never assumed
    if not notes_seen_images(classifier.card):
        return None
    return pixels_digest(image) in _seen_images(tuple(classifier.card["seen_images"]))


@lru_cache(maxsize=1)
def _seen_images(digests: tuple[str, ...]) -> frozenset[str]:
    return frozenset(digests)


def _distances(classifier: Classifier, pooled: "Tensor") -> dict[str, float]:
    statistics = classifier.latent_statistics
    known = None if statistics is None else statistics.distances
    shares = {
        name: None if known is None else known.share_closer(pooled, index)
        for index, name in enumerate(classifier.classes)
    }
    numbers = {name: np.nan if share is None else share for name, share in shares.items()}
    there = [share for share in numbers.values() if not np.isnan(share)]
    return {
        **{f"{DISTANCE_FROM}{name}": share for name, share in numbers.items()},
        DISTANCE: min(there) if there else np.nan,
    }


def _further(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an explanation adds to a row: words as metadata, numbers as features."""
    found: dict[str, Any] = {}
    for name, value in row.items():
        if name in SAID or name.startswith("probability of "):
            continue
        if name in WORDS:
            found[f"{METADATA}{name}"] = value
        else:
            found[name] = np.nan if value is None else float(value)
    return found


def _regions(regions: pd.DataFrame, row: Mapping[str, Any]) -> pd.DataFrame:
    table = regions.drop(columns="image", errors="ignore")
    front = {name: [row[name]] * len(table) for name in (PLATE, WELL, SITE)}
    return pd.concat([pd.DataFrame(front), table.reset_index(drop=True)], axis=1)
