"""Many counterfactuals measured: one row an image and a region, and statistics by well."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.errors import (
    NetworkBusyError,
    UnsupportedNetworkError,
    WhyError,
    reason_of,
)
from napari_why.core.options import parameters_of, validated
from napari_why.core.record import Record
from napari_why.counterfactuals import METHODS, Counterfactual, CounterfactualOptions
from napari_why.counterfactuals import counterfactual as make_counterfactual
from napari_why.counterfactuals.change import (
    measured_change,
    noise_limits,
    unchanged_image,
)
from napari_why.counterfactuals.remarks import FAR, join_names, percent
from napari_why.counterfactuals.through import Roles
from napari_why.datasets import Dataset
from napari_why.datasets.dataset import pixels_digest
from napari_why.images import Source
from napari_why.measurement.change_maps import UNIT
from napari_why.measurement.measure import Measurement, MeasurementOptions, measure
from napari_why.measurement.regions import AREA_PIXELS, INTEGRATED_UNIT, column
from napari_why.measurement.statistics import PairedTest, describe_statistics, paired_statistics
from napari_why.model import Classifier
from napari_why.model.classifier import describe_images, find_class, join_sources
from napari_why.model.familiarity import (
    KNOWN,
    NOT_KNOWN,
    UNKNOWN,
    describe_familiarity,
    notes_seen_images,
    select_counted,
)
from napari_why.model.image_facts import single_plane

# What is compared by well. The mean of the image shows a global change, which has no region.
MEAN_OF_IMAGE = f"mean of the image ({UNIT})"
MEAN_OF_REGIONS = f"mean of the regions ({UNIT})"
SUM_OF_REGIONS = f"integrated over the regions ({INTEGRATED_UNIT})"
# Of kinds of reservations in a sentence: more make a list, and that is the table.
MOST_NAMED = 3
# Columns of images: what the network has seen of them, see describe_familiarity; whether the change
# starts from another class than the label; whether figures and tests count the image.
SEEN, KNOWN_GROUP = "seen", "known_group"
DIFFERS, COUNTED = "source differs from label", "counted"
# Begins the name of a column; the channel follows.
SHARE = "share of change in "
# Which image a row belongs to; in no table that is handed out.
ROW = "row of the image"


def image_row(found: Measurement) -> dict[str, Any]:
    """Return what the table of images says of one image."""
    said = found.verdict
    shares = {f"{SHARE}{name}": share for name, share in said.shares.items()}
    offsets = {
        f"{name} global change ({UNIT})": float(offset)
        for name, offset in zip(found.map.channels, found.map.offset, strict=True)
    }
    return {
        "valid": said.valid,
        "second agrees": said.second_agrees,
        "second called it before": said.second_called_source,
        "second had a say": said.second_had_a_say,
        "trustworthy": said.trustworthy,
        "p of the target": np.nan if said.probability is None else said.probability,
        **shares,
        **offsets,
        # NaN and not None: the column stays one of numbers
        "distance": np.nan if said.distance is None else said.distance,
        "regions": len(found.table),
        "area of regions (px)": float(found.table[AREA_PIXELS].sum()),
        "reservations": "; ".join(said.reservations),
        "kinds of reservations": "; ".join(said.kinds),
        "verdict": said.line,
    }


def paired_rows(result: Counterfactual, table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return one pair of values, before and after, per measure and channel of one image.

    Regions of one image are pooled, increase and decrease together: were only those taken that
    increase, an increase would be found in noise as well. Without a region their values are NaN.
    What is no more than rounding or the error of the inverse is no change: before and after are equal.

    Parameters
    ----------
    result : Counterfactual
    table : DataFrame
        Its regions, one a row, as :attr:`~napari_why.measurement.Measurement.table`.

    Returns
    -------
    list of dict
        Three a channel: mean grey level of the image and of the regions, and their sum.
    """
    before = unchanged_image(result).astype(np.float64)
    change, noise = measured_change(result), noise_limits(result)
    area = float(table[AREA_PIXELS].sum())
    rows = []
    # increase and decrease together, see above; a mean weighted by area, not a mean of means
    for index, channel in enumerate(result.channels):
        mean = float(before[index].mean())
        moved = float(change[index].mean()) if noise.has_change(change[index]) else 0.0
        rows.append(_pair(MEAN_OF_IMAGE, channel, mean, mean + moved))
        if area > 0:
            sums = [
                float(table[column("integrated", when, channel)].sum())
                for when in ("before", "after")
            ]
        else:
            sums = [np.nan, np.nan]
        rows.append(_pair(MEAN_OF_REGIONS, channel, *(value / (area or 1) for value in sums)))
        rows.append(_pair(SUM_OF_REGIONS, channel, *sums))
    return rows


def _pair(measure: str, channel: str, before: float, after: float) -> dict[str, Any]:
    return {"measure": measure, "channel": channel, "before": before, "after": after}


# Of a classifier whose card does not tell: the good case is never assumed.
TRAINING_NOT_KNOWN = (
    "the classifier does not say which images it was trained on: they may be among those that count"
)
# Goes with every p: the counterfactuals come from the classifier whose effect they are to show.
CONSISTENCY = (
    "p tells whether the counterfactuals of this classifier change the images of the wells "
    "consistently; it says nothing about the wells' biology beyond what the classifier learnt"
)


# What the network has seen of the images that count, where it has not seen all.
KINDS = {
    UNKNOWN: "of wells that the network was not trained on",
    NOT_KNOWN: "that the network was not trained on; whether it was on others of their wells is not "
    "known",
    KNOWN: "that the network was not trained on, but on others of their wells",
}


def measurement_sentences(
    images: pd.DataFrame, statistics: pd.DataFrame, *, training_known: bool = True
) -> tuple[str, ...]:
    """Return the sentences that belong beside the tables.

    Parameters
    ----------
    images, statistics : DataFrame
        As in :class:`~napari_why.measurement.measure_dataset.DatasetMeasurement`.
    training_known : bool
        Whether the classifier says which images it was trained on.

    Returns
    -------
    tuple of str
        Without those that the tables give no ground for.
    """
    if images.empty:
        return ("cancelled before any image was measured",)
    measured = images[images["error"] == ""]
    found = []
    if not measured.empty:
        counted = measured[measured[COUNTED]]
        found = [
            _known(images, training_known=training_known),
            _other_sources(measured),
        ]
        if not counted.empty:
            found += [
                _flips(counted),
                _reservations(counted),
                _second(counted),
                _share(counted),
                _far(counted),
                *describe_statistics(statistics),
                CONSISTENCY if statistics["p"].notna().any() else "",
            ]
    found.insert(0 if measured.empty else 1, _left_out(images))
    return tuple(sentence for sentence in found if sentence)


def _left_out(images: pd.DataFrame) -> str:
    failed = images[images["error"] != ""]
    if failed.empty:
        return ""
    first = failed["error"].iloc[0]
    return f"{len(failed)} of {len(images)} images could not be measured; first: {first}"


def _flips(measured: pd.DataFrame) -> str:
    count, firm = int(measured["valid"].sum()), int(measured["trustworthy"].sum())
    also = "" if count == len(measured) else "; those that do not are in the tables too"
    return f"{count} of {len(measured)} images flip, {firm} of them without reservation{also}"


def _reservations(measured: pd.DataFrame) -> str:
    """Name what is held against most images."""
    said = measured["kinds of reservations"].str.split("; ").explode()
    counts = said[said != ""].value_counts(sort=False).sort_values(ascending=False, kind="stable")
    if counts.empty:
        return ""
    most = [f"{text} ({count})" for text, count in counts.head(MOST_NAMED).items()]
    more = f"; and {len(counts) - MOST_NAMED} more" if len(counts) > MOST_NAMED else ""
    return f"reservations (images): {'; '.join(most)}{more}; each image's stand in the table"


def _second(measured: pd.DataFrame) -> str:
    # of those that flip alone: a second network that also sees no flip agrees with nothing
    flipped = measured[measured["valid"].astype(bool)]
    answers = flipped["second agrees"].dropna()
    if answers.empty:
        return "there is no second network to ask, and a flip alone is no explanation"
    sentence = f"a second network agrees on {int(answers.sum())} of {len(answers)} that flip"
    before = int(flipped["second called it before"].sum())
    called = f", {before} of which it called the target before anything was changed"
    sentence += called if before else ""
    say = set(flipped["second had a say"])
    if True in say:
        return f"{sentence}; it had a say in how these images are changed, so this flatters"
    if None in say:
        return f"{sentence}; not known whether it had a say in how these images are changed"
    return sentence


def _share(measured: pd.DataFrame) -> str:
    names = [name for name in measured if str(name).startswith(SHARE)]
    medians = measured[names].median()
    leader = str(medians.idxmax())
    share = percent(float(medians.max()))
    return f"in the median image {share} of the change is in {leader.removeprefix(SHARE)}"


def _far(measured: pd.DataFrame) -> str:
    known = measured["distance"].dropna()
    far = int(np.sum(known >= FAR))
    if not far:
        return ""
    return (
        f"{far} of {len(known)} images end further from the data than {percent(FAR)} of the "
        "training images"
    )


def _known(images: pd.DataFrame, *, training_known: bool = True) -> str:
    """Say which images count by what the network has seen of them, and which are left out.

    Those that count are the column's; with what is left out they add up to all images.
    """
    measured = images[images["error"] == ""]
    chosen = measured.index.isin(select_counted(measured).index)
    others, kind = measured[~chosen], str(measured.loc[chosen, KNOWN_GROUP].iloc[0])
    seen = others[SEEN].astype(bool)
    out = {
        "that it was trained on": seen.sum(),
        "of wells that may be known": (~seen & (others[KNOWN_GROUP] == NOT_KNOWN)).sum(),
        "of wells that it was trained on": (~seen & (others[KNOWN_GROUP] == KNOWN)).sum(),
        "whose prediction is not the label": (chosen & ~measured[COUNTED]).sum(),
        "that could not be measured": len(images) - len(measured),
    }
    parts = [f"{count} {words}" for words, count in out.items() if count]
    left_out = f"; left out: {join_names(parts)}" if parts else ""
    count = f"{measured[COUNTED].sum()} of {len(images)} images count"
    if not training_known:
        return f"{TRAINING_NOT_KNOWN}; {count}{left_out}"
    if measured[SEEN].all():
        return (
            f"the network was trained on all {len(measured)} images measured (or they chose its epoch), "
            f"so nothing here is about images that it has not seen; {count}{left_out}"
        )
    return f"{count}, {KINDS[kind]}{left_out}"


def _other_sources(measured: pd.DataFrame) -> str:
    """Say how many changes start from another class than the label says."""
    if DIFFERS not in measured:
        return ""
    differ = int(measured[DIFFERS].astype(bool).sum())
    if not differ:
        return ""
    none = "" if measured[COUNTED].any() else "; so none is left"
    return (
        f"of {differ} of {len(measured)} images the prediction is not the label: what is shown starts "
        f"from the predicted class, so they are left out of the figures and tests{none}"
    )


Images = Dataset | Sequence[Source]
# The influence needs the series: 11 images are alphas in steps of a tenth. Anything else needs only
# where the series begins and where it ends, and each image costs an inversion.
STEPS_OF_INFLUENCE, FEWEST_STEPS = 11, 2


@dataclass(frozen=True)
class MeasuredImage:
    """One image of many, with all that is not kept: what ``on_measured`` is called with.

    Parameters
    ----------
    row : int
        Which image, from 0.
    image : DataArray, dims (c, y, x)
    counterfactual : Counterfactual
    measurement : Measurement
    """

    row: int
    image: xr.DataArray
    counterfactual: Counterfactual
    measurement: Measurement


@dataclass(frozen=True)
class DatasetMeasurement:
    """What :func:`measure_dataset` found.

    Parameters
    ----------
    images : DataFrame
        One row per image, in their order: the columns of the data set's table (or ``source``);
        ``seen`` and ``known_group``
        (:func:`~napari_why.model.familiarity.describe_familiarity`); of a data set ``source differs
        from label``: the change starts from the predicted class, which is another; ``counted``: the
        figures and tests are of these images; ``direction``; ``valid``;
        ``second agrees`` (None without a second network); ``second called it before`` anything was
        changed; ``second had a say`` in the change (None where that is not known); ``trustworthy``:
        valid and without any of the ``reservations``; ``p of the target``; for every channel ``share
        of change`` and ``global change``; ``distance``; ``regions``, ``area of
        regions (px)``; ``verdict``, the line; and ``error``, empty where the image was measured.
    regions : DataFrame
        One row per region: the columns of the data set's table, those named above up to
        ``direction``, and those of
        :func:`~napari_why.measurement.regions.region_table`.
    statistics : DataFrame
        See :func:`~napari_why.measurement.statistics.paired_statistics`.
    sentences : tuple of str
        All of it in words.
    record : Record
    complete : bool
        False when the work was cancelled.
    """

    images: pd.DataFrame
    regions: pd.DataFrame
    statistics: pd.DataFrame
    sentences: tuple[str, ...]
    record: Record
    complete: bool = True


@shows_progress
def measure_dataset(
    classifier: Classifier,
    images: Images,
    target: str | int | None = None,
    method: str = "transport",
    *,
    options: MeasurementOptions | Mapping[str, Any] | None = None,
    test: PairedTest = "wilcoxon",
    steps: int | None = None,
    through: Classifier | None = None,
    on_measured: Callable[[MeasuredImage], None] | None = None,
    on_rows: Callable[[dict[str, Any], pd.DataFrame | None], None] | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **parameters: Any,
) -> DatasetMeasurement:
    """Make the counterfactual of every image, measure it, and compare before with after by well.

    Images are read, changed and measured one after the other, so memory does not grow with their
    number. The tables have them all; the sentences and the statistics are of those of wells that the
    network was not trained on, as far as there are any
    (:func:`~napari_why.model.familiarity.select_counted`), and of those whose predicted class, where
    the change starts, is their label. One that cannot be changed (it is predicted as the target
    already, it does not fit, it is a stack of which no plane was chosen) is listed with the reason.

    Parameters
    ----------
    classifier : Classifier
        With an invertible network, or with a generator.
    images : Dataset, or sequence of DataArray, str or Path
        Of a data set, the group columns (wells) are the units of the statistics; without any,
        every image counts as independent, and a sentence says so.
    target : str or int, optional
        The class to reach, by name or index as in :func:`~napari_why.model.classifier.find_class`;
        by default the other one, or the runner-up, for each image.
    method : str
        Name in :data:`napari_why.counterfactuals.METHODS`.
    options : MeasurementOptions or mapping, optional
        What is measured, as options or by name.
    test : {"wilcoxon", "paired_t"}
        See :func:`~napari_why.measurement.statistics.compare_paired`.
    steps : int, optional
        Images of each series; as few as the view needs by default.
    through : Classifier, optional
        The generator; see :func:`napari_why.counterfactual`. An image that either of the two was
        trained on has been seen.
    on_measured : callable, optional
        Called with a :class:`MeasuredImage` for every image that was measured, before the next
        one is read: to write figures, say.
    on_rows : callable, optional
        Called for every image, also one that could not be measured, with its row of ``images`` and
        its rows of ``regions`` (None without any): to write them down as they come.
    on_event, cancelled
        See :mod:`napari_why.core.events`; when cancelled, with the images done by then.
    **parameters
        Of the series and of the method.

    Returns
    -------
    DatasetMeasurement

    Raises
    ------
    ParameterError
        An option, parameter or class is unknown or out of range.
    UnsupportedNetworkError
        The network has no inverse.

    Examples
    --------
    >>> found = why.measure_dataset(classifier, why.Dataset.open("plate/"))  # doctest: +SKIP
    >>> found.sentences[0]  # doctest: +SKIP
    '40 of 206 images count, of wells that the network was not trained on; left out: 166 that it was
    trained on'
    >>> found.regions.to_csv("regions.csv", index=False)  # doctest: +SKIP
    """
    chosen = (
        options
        if isinstance(options, MeasurementOptions)
        else MeasurementOptions.of(None, options or {})
    )
    count = steps or (STEPS_OF_INFLUENCE if chosen.view == "influence" else FEWEST_STEPS)
    images, _ = join_sources(images, on_event)
    unit = images.group_columns if isinstance(images, Dataset) else ()
    maker = Roles.of(classifier, through).generator
    cards = [item.card for item in dict.fromkeys((classifier, maker))]
    seen_images = {name for card in cards for name in card.get("seen_images", ())}
    _check(method, {**parameters, "steps": count})
    aim, notes = _settle(classifier.classes, target, on_event)
    tables = _Tables(unit, classifier.classes, notes)
    familiar = (
        _describe_familiarity(cards, images)
        if isinstance(images, Dataset)
        else [{SEEN: False, KNOWN_GROUP: NOT_KNOWN}] * len(images)
    )
    on_event(events.Started("measuring", len(images)))
    for row, (about, open_image) in enumerate(describe_images(images)):
        if cancelled():
            break
        about |= {str(name): value for name, value in familiar[row].items()}
        try:
            # no plane is chosen of a stack: the classifier refuses it, as for every other verb
            image = single_plane(open_image())
            result = make_counterfactual(
                classifier,
                image,
                aim,
                method,
                steps=count,
                through=through,
                cancelled=cancelled,
                **parameters,
            )
            if not isinstance(images, Dataset) and pixels_digest(image) in seen_images:
                about |= {SEEN: True, KNOWN_GROUP: KNOWN}
            if not result.complete:
                break  # half a series would stand in the tables as a small change
            found = measure(result, image, chosen)
        except (UnsupportedNetworkError, NetworkBusyError):
            raise  # it is the same for every image
        except (WhyError, OSError, MemoryError) as problem:
            tables.add_failure(about, reason_of(problem))
        else:
            tables.add(about, result, found)
            if on_measured is not None:
                on_measured(MeasuredImage(row, image, result, found))
        if on_rows is not None:
            on_rows(*tables.last())
        on_event(events.Advanced(row + 1))
    complete = len(tables.images) == len(images)
    on_event(events.Finished(partial=not complete))
    return tables.finish(
        test,
        Record(
            kind="measurement",
            method=method,
            parameters={
                **parameters,
                "target": aim,
                "steps": count,
                "test": test,
                **chosen.to_dict(),
            },
            classifier=classifier.fingerprint,
            details={
                "images": len(images),
                "complete": complete,
                "through": None if maker is classifier else maker.fingerprint,
                "data_notes": list(images.notes) if isinstance(images, Dataset) else [],
                **tables.count(),
            },
        ),
        complete=complete,
        training_known=all(notes_seen_images(card) for card in cards),
    )


def _describe_familiarity(
    cards: Sequence[Mapping[str, Any]], images: Dataset
) -> list[dict[str, Any]]:
    """Return what is known of each image; of two classifiers whichever knows it better."""
    rows = zip(
        *(describe_familiarity(card, images).to_dict("records") for card in cards), strict=True
    )
    better = (KNOWN, NOT_KNOWN, UNKNOWN)  # what cannot be told is no stranger
    return [
        {
            **row[0],
            SEEN: any(item[SEEN] for item in row),
            KNOWN_GROUP: min((item[KNOWN_GROUP] for item in row), key=better.index),
        }
        for row in rows
    ]


class _Tables:
    """The rows that grow while images go by."""

    def __init__(
        self, unit: tuple[str, ...], classes: Sequence[str], notes: tuple[str, ...]
    ) -> None:
        self.images: list[dict[str, Any]] = []
        self._notes = notes
        self._unit, self._classes = unit, classes
        self._regions: list[pd.DataFrame] = []
        self._pairs: list[dict[str, Any]] = []

    def add(self, about: dict[str, Any], result: Counterfactual, found: Measurement) -> None:
        """Add one measured image."""
        row = len(self.images)
        # a label that the classifier does not know cannot be what it predicts, and is no mistake
        if about.get("label") in self._classes:
            about = {**about, DIFFERS: about["label"] != result.source_class}
        elif "label" in about:
            about = {**about, DIFFERS: False}
        known = {**about, "direction": f"{result.source_class} to {result.target}"}
        self.images.append({**known, **image_row(found), "error": ""})
        self._regions.append(_with_front(found.table, {**known, ROW: row}))
        self._pairs += [{**known, ROW: row, **pair} for pair in paired_rows(result, found.table)]

    def add_failure(self, about: dict[str, Any], reason: str) -> None:
        """Add an image that could not be measured."""
        self.images.append({**about, "error": reason})

    def last(self) -> tuple[dict[str, Any], pd.DataFrame | None]:
        """Return the rows of the image that was added last."""
        failed = bool(self.images[-1]["error"])
        return self.images[-1], None if failed else self._regions[-1]

    def select(self) -> list[int]:
        """Return the rows of the images that count."""
        if not self.images:
            return []
        counted = select_counted(pd.DataFrame(self.images))
        if DIFFERS in counted:
            counted = counted[~counted[DIFFERS].astype(bool)]
        return list(counted.index)

    def count(self) -> dict[str, int]:
        """Return how many images were measured, count, were trained on, and start from another class."""
        measured = [row for row in self.images if not row["error"]]
        return {
            "measured": len(measured),
            "counted": len(self.select()),
            "trained_on": sum(bool(row[SEEN]) for row in measured),
            "source_differs_from_label": sum(bool(row.get(DIFFERS)) for row in measured),
        }

    def finish(
        self, test: PairedTest, record: Record, *, complete: bool, training_known: bool
    ) -> DatasetMeasurement:
        """Put the rows together."""
        images, counted = pd.DataFrame(self.images), self.select()
        if len(images):
            place = list(images).index(KNOWN_GROUP) + 1
            images.insert(place, COUNTED, images.index.isin(counted))
        # pandas warns of joining empty tables, whose columns have no type; one keeps the columns
        filled = [table for table in self._regions if len(table)]
        regions = pd.concat(filled or self._regions[:1] or [pd.DataFrame()], ignore_index=True)
        if self._regions:
            rows = regions.pop(ROW)
            regions.insert(list(regions).index(KNOWN_GROUP) + 1, COUNTED, rows.isin(counted))
            regions.attrs["units"] = self._regions[0].attrs["units"]
        # without any pair there are no columns to group by, so they are given
        columns = ["direction", "measure", "channel", "before", "after", *self._unit]
        pairs = [pair for pair in self._pairs if pair[ROW] in set(counted)]
        statistics = paired_statistics(
            pd.DataFrame(pairs, columns=None if pairs else columns),
            self._unit,
            test=test,
        )
        partial = []
        if not complete and len(images):
            total = int(record.details["images"])
            partial = [events.describe_partial(len(images), total, "images")]
            # beside each p, which would be read as that of all images
            if "note" in statistics:
                notes = statistics["note"]
                statistics["note"] = ["; ".join(filter(None, (*partial, note))) for note in notes]
        told = measurement_sentences(images, statistics, training_known=training_known)
        sentences = (*self._notes, *partial, *told)
        return DatasetMeasurement(images, regions, statistics, sentences, record, complete)


def _with_front(table: pd.DataFrame, known: Mapping[str, Any]) -> pd.DataFrame:
    front = pd.DataFrame({name: [value] * len(table) for name, value in known.items()})
    joined = pd.concat([front, table], axis=1)
    joined.attrs["units"] = table.attrs["units"]  # concat drops attrs that differ
    return joined


def _check(method: str, parameters: Mapping[str, Any]) -> None:
    """Raise now, and once, what every single image would be listed with."""
    shared = {item.name for item in parameters_of(CounterfactualOptions)}
    series = {name: value for name, value in parameters.items() if name in shared}
    CounterfactualOptions.of(None, series)
    # neither has a form: a range of alphas and an image to go towards are given in code alone
    others = shared | {"alpha_range", "goal"}
    own = {name: value for name, value in parameters.items() if name not in others}
    validated(METHODS.named(method).function, own)


def _settle(
    classes: Sequence[str], target: str | int | None, on_event: events.OnEvent
) -> tuple[str | None, tuple[str, ...]]:
    """Return the name of the class to reach, None for another of each image, and what is told."""
    if target is None:
        return None, ()
    found = find_class(classes, target)
    for note in found.notes:
        on_event(events.Message(note, finding=True))
    return found.name, found.notes
