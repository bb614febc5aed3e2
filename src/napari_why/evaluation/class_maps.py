"""What a classifier looks at in a class: means of maps and images over wells, and how alike maps are."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.attribution import METHODS, Attribution, attribute
from napari_why.attribution.context import find_references
from napari_why.core import events
from napari_why.core.console import shows_progress
from napari_why.core.errors import (
    NetworkBusyError,
    ParameterError,
    UnsupportedNetworkError,
    WhyError,
    reason_of,
)
from napari_why.core.options import Help, Options, Range, Unit
from napari_why.core.pictures import Picture, PictureKind
from napari_why.core.record import Record
from napari_why.datasets import Dataset
from napari_why.evaluation.map_alignment import (
    REGIONS,
    ROUND,
    Alignment,
    Frame,
    Registration,
    choose_alignment,
    coarse_image,
    label_regions,
    measure_registration,
)
from napari_why.evaluation.map_statistics import (
    FEWEST,
    ClassDifference,
    ClassMean,
    MapSimilarity,
    WellMeans,
    correlate_maps,
    describe_separation,
    map_vector,
)
from napari_why.images import NO_LENGTH, Grid, PixelSize
from napari_why.model import Classifier
from napari_why.model.classifier import find_class, softmax
from napari_why.model.familiarity import describe_familiarity
from napari_why.simulation.planted_effects import CellMap

# What the map of all channels together is called in tables.
JOINT = "all channels"
# Images that are compared with each other: the best order of the leaves of a tree takes 7 s of 1260, and
# eight times that of twice as many.
MOST_COMPARED = 1000
OWN, WRONG, ALL = "own", "wrong", "all"


@dataclass(frozen=True, kw_only=True)
class ClassMapOptions(Options):
    """How maps of a class are made comparable and averaged.

    Parameters
    ----------
    alignment, nuclei, reach, explained, only_correct
        See the annotations; checked when the options are made.
    """

    alignment: Annotated[
        Alignment,
        Help(
            "what is averaged: crops around nuclei, these turned along the nucleus, shares of nucleus, "
            "cytoplasm and background, or pixels as they lie (none, for registered images alone); auto: "
            "nuclei where a channel of them is known, regions where these touch"
        ),
    ] = "auto"
    nuclei: Annotated[str, Help("name of the channel of the nuclei; auto: by its name")] = "auto"
    # three radii from the middle hold the cytoplasm of most cells, and hardly more of their neighbours
    reach: Annotated[
        float,
        Help("how far a crop goes from the middle of a nucleus"),
        Range(1.0, 20.0),
        Unit("radii"),
    ] = 3.0
    explained: Annotated[
        str,
        Help(
            "class whose evidence is mapped: own (that of the label), wrong (every other class), all, or "
            "the name of one class for all images"
        ),
    ] = OWN
    only_correct: Annotated[
        bool, Help("leave out images whose predicted class is not their label")
    ] = False


@dataclass(frozen=True, eq=False)
class ClassMaps:
    """What :func:`class_maps` found.

    Parameters
    ----------
    maps : tuple of ClassMean
        Mean maps by class of the images and class explained; empty with alignment ``regions``.
    composites : tuple of ClassMean
        Mean images of each class in the same frame, grey levels.
    classes, channels : tuple of str
    alignment : str
        ``none``, ``nuclei``, ``nuclei_and_axis`` or ``regions``.
    unit : str
        Of the maps.
    regions : DataFrame
        By class, class explained, channel and region: ``evidence per pixel`` with its standard error over
        wells, ``share of evidence`` (of absolute values) with its error, ``share of pixels``, what
        evidence spread evenly would have, ``groups`` and ``images``. Empty without known nuclei.
    images : DataFrame
        One row an image: the data set's columns, ``group``, ``seen`` (trained on), ``predicted``,
        ``probability of the label``, ``cells`` and ``error``, empty where it counts.
    similarity, class_similarity : MapSimilarity or None
        Between the maps of images, and between mean maps; None of fewer than two.
    registration : Registration or None
        Measured where pixels are averaged as they lie.
    grid : Grid
        Pixels of the frame.
    record : Record
    notes : tuple of str
    complete : bool
    pixel_size : PixelSize
        Of the pixels that the grid counts in: those of the first image that counts.
    """

    maps: tuple[ClassMean, ...]
    composites: tuple[ClassMean, ...]
    classes: tuple[str, ...]
    channels: tuple[str, ...]
    alignment: str
    unit: str
    regions: pd.DataFrame
    images: pd.DataFrame
    similarity: MapSimilarity | None
    class_similarity: MapSimilarity | None
    registration: Registration | None
    grid: Grid
    record: Record
    notes: tuple[str, ...] = ()
    complete: bool = True
    pixel_size: PixelSize = NO_LENGTH

    def mean(self, label: str, target: str | None = None) -> ClassMean:
        """Return the mean map of a class, for a class explained (by default its own).

        Parameters
        ----------
        label : str
            Class of the images.
        target : str, optional
            Class whose evidence is mapped; by default ``label``.

        Returns
        -------
        ClassMean

        Raises
        ------
        ParameterError
            It was not made.
        """
        wanted = (label, target or label)
        for item in self.maps:
            if (item.label, item.target) == wanted:
                return item
        made = ", ".join(map(_name, self.maps)) or "none"
        raise ParameterError(f"mean map: found {label} for {wanted[1]}; expected one of {made}")

    def difference(self, first: str, second: str, target: str | None = None) -> ClassDifference:
        """Return the mean map of a class minus that of another one.

        With a ``target`` both are evidence for that class; without, each is for its own class.

        Parameters
        ----------
        first, second : str
            Classes of the images.
        target : str, optional
            Class whose evidence is mapped in both; by default each one's own.

        Returns
        -------
        ClassDifference
            First minus second.

        Raises
        ------
        ParameterError
            A mean map that was not made.
        """
        return ClassDifference.of(self.mean(first, target), self.mean(second, target))

    @property
    def differences(self) -> tuple[ClassDifference, ...]:
        """Of every two classes for the same class explained; for their own classes where none is."""
        pairs = [
            (one, other)
            for place, one in enumerate(self.maps)
            for other in self.maps[place + 1 :]
            if one.label != other.label
        ]
        same = [pair for pair in pairs if pair[0].target == pair[1].target]
        return tuple(ClassDifference.of(*pair) for pair in same or pairs)

    @property
    def facts(self) -> dict[str, Any]:
        """What its layers carry beside the record."""
        return {"unit": self.unit, "complete": self.complete, "notes": list(self.notes)}

    def pictures(self) -> dict[str, Picture]:
        """Return mean images, errors, differences, maps of channels, and on top the joint maps.

        What is first of its kind is shown, all else hidden: means of several classes would cover each
        other.
        """
        shown: dict[str, Picture] = {}
        for place, item in enumerate(self.composites):
            shown[f"image of {item.label}"] = _picture(
                item.mean,
                self.channels,
                item.title,
                "class image",
                "intensity",
                "grey levels",
                place == 0,
            )
        channels = (*self.channels, None)
        for item in self.maps:
            shown[f"standard error of {_name(item)}"] = _picture(
                item.standard_error,
                channels,
                f"standard error, {item.title}",
                "standard error",
                "signed",
                self.unit,
            )
        for found in self.differences:
            shown[f"{_name(found.first)} minus {found.second.label}"] = _picture(
                found.difference,
                channels,
                f"{found.first.title} minus {found.second.title}",
                "class difference",
                "signed",
                self.unit,
            )
        for item in self.maps:
            shown[_name(item)] = _picture(
                item.mean[:-1], self.channels, item.title, "class map", "signed", self.unit
            )
        for place, item in enumerate(self.maps):
            shown[f"{_name(item)}, {JOINT}"] = _picture(
                item.mean[-1:], (None,), item.title, "class map", "signed", self.unit, place == 0
            )
        return shown


def _name(item: ClassMean) -> str:
    return f"{item.label} for {item.target}"


def _picture(
    pixels: NDArray[np.float64],
    channels: tuple[str | None, ...],
    title: str,
    role: str,
    kind: PictureKind,
    unit: str,
    visible: bool = False,
) -> Picture:
    return Picture(
        # pixels that no cell covers have no value, which neither layers nor files can hold
        compute=lambda: np.nan_to_num(pixels).astype(np.float32),
        channels=channels,
        titles=tuple(title if name is None else f"{name}: {title}" for name in channels),
        role=role,
        kind=kind,
        unit=unit,
        visible=visible,
        over_raw=kind == "signed",
    )


@shows_progress
def class_maps(
    classifier: Classifier,
    dataset: Dataset,
    method: str = "integrated_gradients",
    *,
    options: ClassMapOptions | Mapping[str, Any] | None = None,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
    **parameters: Any,
) -> ClassMaps:
    """Average the maps of every class, over wells, in a frame in which they are comparable.

    Images are read and explained one after the other, wells of the classes in turn, so that cancelled
    work has some of every class; of each image only a coarse map is kept, to be compared with others.

    Parameters
    ----------
    classifier : Classifier
    dataset : Dataset
        With the classifier's channels; its group columns (wells) are the units of means and errors,
        without any every image is one, and a note says so.
    method : str
        Name in :data:`napari_why.attribution.METHODS`.
    options : ClassMapOptions or mapping, optional
        As options or by name.
    on_event, cancelled
        See :mod:`napari_why.core.events`; when cancelled, with the images done by then.
    **parameters
        The method's own.

    Returns
    -------
    ClassMaps

    Raises
    ------
    ParameterError
        An unknown method, option or class; or no channel of nuclei is known and no alignment chosen.
    UnsupportedNetworkError
        The method is not defined for this network.

    Examples
    --------
    >>> found = why.class_maps(classifier, plate, "lrp", options={"explained": "all"})  # doctest: +SKIP
    >>> found.mean("diseased").groups, found.difference("diseased", "treated", "diseased").beyond
    ... # doctest: +SKIP
    (12, 0.31)
    """
    chosen = ClassMapOptions.of(options, {})
    explaining = METHODS.named(method)
    explaining.check(classifier.network)
    given: dict[str, Any] = {}
    if explaining.takes("references"):  # read once, and not for every image
        given["references"] = find_references(explaining, classifier, dataset, cancelled=cancelled)
    alignment, nuclei = choose_alignment(chosen.alignment, chosen.nuclei, dataset.channels)
    targets = _targets(classifier.classes, chosen.explained)
    frame = Frame(alignment, nuclei, classifier.preprocessing).sized(dataset, chosen.reach)
    if chosen.alignment == "auto" and frame.warning:
        frame = replace(frame, alignment="regions", half=0)
    sums = _Sums(frame, classifier, dataset, chosen)
    seen = describe_familiarity(classifier.card, dataset)["seen"].to_numpy()
    on_event(events.Started("class maps", len(dataset)))
    for done, row in enumerate(_in_turn(dataset), start=1):
        if cancelled():
            break
        about = {str(name): value for name, value in dataset.table.iloc[row].items()}
        about |= {"group": int(dataset.groups[row]), "seen": bool(seen[row])}
        try:
            image = dataset.image(row)
            found = [
                attribute(
                    classifier, image, method, target, cancelled=cancelled, **given, **parameters
                )
                for target in targets(str(about["label"]))
            ]
            if not all(item.complete for item in found):
                break  # half of an occlusion would stand in the mean as little evidence
            sums.add(about, image, found)
        except (UnsupportedNetworkError, NetworkBusyError, ParameterError):
            raise  # it is the same for every image
        except (WhyError, OSError, MemoryError) as problem:
            sums.add_failure(about, reason_of(problem))
        on_event(events.Advanced(done))
    complete = len(sums.rows) == len(dataset)
    on_event(events.Finished(partial=not complete))
    return sums.finish(method, parameters, complete=complete)


def _targets(classes: Sequence[str], explained: str) -> Callable[[str], list[str]]:
    """Return a function from the label of an image to the classes to explain in it."""
    if explained not in (OWN, WRONG, ALL) or explained in classes:
        target = find_class(classes, explained, "explained").name
        return lambda _: [target]

    def chosen(label: str) -> list[str]:
        if label not in classes and explained != ALL:
            raise WhyError(
                f"found the label {label!r}; expected a class of the classifier: {', '.join(classes)}"
            )
        own = [label]
        others = [name for name in classes if name != label]
        return {OWN: own, WRONG: others, ALL: list(classes)}[explained]

    return chosen


def _in_turn(dataset: Dataset) -> Iterator[int]:
    """Yield rows well by well, wells of the classes taking turns."""
    table = pd.DataFrame({"group": dataset.groups, "label": dataset.labels})
    order: list[tuple[int, int, int]] = []
    for label, part in table.groupby("label", sort=True):
        order += [
            (place, int(str(label)), group) for place, group in enumerate(part["group"].unique())
        ]
    for _, label, group in sorted(order):
        yield from np.flatnonzero((table["group"] == group) & (table["label"] == label)).tolist()


@dataclass(frozen=True, eq=False)
class _Compared:
    """One image's map, as :func:`~napari_why.evaluation.map_statistics.correlate_maps` compares them."""

    name: str
    label: str
    group: int
    vector: NDArray[np.float64]


@dataclass
class _Sums:
    """All that grows while images go by."""

    frame: Frame
    classifier: Classifier
    dataset: Dataset
    options: ClassMapOptions
    rows: list[dict[str, Any]] = field(default_factory=list)
    maps: dict[tuple[str, str], WellMeans] = field(default_factory=dict)
    composites: dict[str, WellMeans] = field(default_factory=dict)
    shares: list[dict[str, Any]] = field(default_factory=list)
    compared: list[_Compared] = field(default_factory=list)
    looks: list[tuple[int, NDArray[np.float64]]] = field(default_factory=list)
    elongations: list[float] = field(default_factory=list)
    grid: Grid = field(default_factory=lambda: Grid((1, 1)))
    unit: str = ""
    pixel_size: PixelSize | None = None

    def add_failure(self, about: dict[str, Any], reason: str) -> None:
        """Note an image that does not count."""
        self.rows.append({**about, "error": reason})

    def add(self, about: dict[str, Any], image: Any, found: Sequence[Attribution]) -> None:
        """Take the maps of an image."""
        name, label, group = str(about["path"]), str(about["label"]), int(about["group"])
        about |= _prediction(self.classifier.classes, label, found[0])
        if self.options.only_correct and about["predicted"] != label:
            self.add_failure(about, "left out: the predicted class is not the label")
            return
        if not found[0].channels:
            raise ParameterError(
                "each_channel: found a map of all channels alone; expected one of each channel too, which "
                "class maps compare"
            )
        cells = self.frame.cells(image)
        raw = self.frame.pixels(image, self.classifier.channels)
        planes = [
            np.concatenate([item.maps, item.joint[None]]).astype(np.float64) for item in found
        ]
        total, count, elongations = self.frame.bring(np.concatenate([raw, *planes]), raw, cells)
        self._check_size(count.shape)
        self.grid, self.unit = found[0].grid, found[0].unit
        self.pixel_size = self.pixel_size or PixelSize.of(image)
        self.elongations += elongations
        self.rows.append({**about, "cells": len(elongations), "error": ""})
        shares = _region_rows(cells, planes, found)
        self.shares += [{"label": label, "group": group, **row} for row in shares]
        if self.frame.alignment == "regions":
            # the maps do not lie on each other; their regions can be compared
            vector = np.array([row[PER_PIXEL] for row in shares[: len(raw) * len(REGIONS)]])
            if len(vector):
                self.compared.append(_Compared(name, label, group, np.nan_to_num(vector)))
            return
        if self.frame.alignment == "none":
            self.looks.append((group, coarse_image(raw)))
        if count.any():
            parts = np.split(total, np.cumsum([len(raw), *map(len, planes)])[:-1])
            means = self.composites.setdefault(label, WellMeans())
            means.add(group, parts[0], count, len(elongations))
            for item, part in zip(found, parts[1:], strict=True):
                means = self.maps.setdefault((label, item.target), WellMeans())
                means.add(group, part, count, len(elongations))
            vector = map_vector(parts[1][:-1], count)
            self.compared.append(_Compared(name, label, group, vector))

    def _check_size(self, shape: tuple[int, ...]) -> None:
        before = next((means.shape for means in self.composites.values()), shape)
        if before != shape:
            raise WhyError(
                f"found a map of {shape} pixels; expected {before} as before, to average pixels"
            )

    def finish(self, method: str, parameters: Mapping[str, Any], *, complete: bool) -> ClassMaps:
        """Put the means together and say what they are worth."""
        maps = [means.finish(*key) for key, means in sorted(self.maps.items())]
        composites = [means.finish(label, "") for label, means in sorted(self.composites.items())]
        found_maps = tuple(item for item in maps if item is not None)
        # in the order of wells, so that every n-th is of all of them
        compared = self.compared[:: -(-len(self.compared) // MOST_COMPARED) or 1]
        side = 2 * self.frame.half + 1
        found = ClassMaps(
            maps=found_maps,
            composites=tuple(item for item in composites if item is not None),
            classes=self.classifier.classes,
            channels=tuple(self.classifier.channels),
            alignment=self.frame.alignment,
            unit=self.unit,
            regions=_region_table(self.shares),
            images=pd.DataFrame(self.rows),
            similarity=correlate_maps(
                [item.vector for item in compared],
                [item.name for item in compared],
                [item.label for item in compared],
                [item.group for item in compared],
            ),
            class_similarity=correlate_maps(
                [map_vector(item.mean[:-1]) for item in found_maps],
                [_name(item) for item in found_maps],
                [item.label for item in found_maps],
            ),
            registration=measure_registration(
                [look for _, look in self.looks], [group for group, _ in self.looks]
            ),
            grid=Grid((side, side), self.grid.step) if self.frame.half else self.grid,
            record=Record(kind="class maps", method=method),
            complete=complete,
            pixel_size=self.pixel_size or NO_LENGTH,
        )
        notes = (*self._notes_of_images(found), *self._notes_of_means(found))
        return replace(found, record=self._record(found, parameters, notes), notes=notes)

    def _record(
        self, found: ClassMaps, parameters: Mapping[str, Any], notes: tuple[str, ...]
    ) -> Record:
        counts = [
            {name: getattr(item, name) for name in ("label", "target", "groups", "images", "cells")}
            for item in found.maps
        ]
        return replace(
            found.record,
            parameters={**parameters, **self.options.to_dict()},
            seed=parameters.get("seed"),
            classifier=self.classifier.fingerprint,
            details={
                "alignment": found.alignment,
                "nuclei": self.frame.nuclei,
                "half_crop": self.frame.half,
                "counts": counts,
                "registered_share": found.registration and found.registration.share,
                "images": len(self.dataset),
                "complete": found.complete,
                "unit": found.unit,
                "notes": list(notes),
                "data_notes": list(self.dataset.notes),
            },
        )

    def _notes_of_images(self, found: ClassMaps) -> Iterator[str]:
        done = len(self.rows)
        if not found.complete:
            yield events.describe_partial(done, len(self.dataset), "images")
        failed = [row["error"] for row in self.rows if row["error"]]
        if failed:
            yield f"{len(failed)} of {done} images do not count; first: {failed[0]}"
        trained = sum(bool(row["seen"]) for row in self.rows if not row["error"])
        if trained:
            yield (
                f"{trained} of {done - len(failed)} images were trained on: their maps may show what was "
                "learnt by heart"
            )
        if not self.dataset.group_columns:
            yield (
                "no wells are known: images count as independent, and errors are too small where they are "
                "not"
            )
        if found.registration is not None:
            yield found.registration.sentence
        elif found.alignment == "none":
            yield "not known whether the images are registered: that takes images of three wells"

    def _notes_of_means(self, found: ClassMaps) -> Iterator[str]:
        if self.frame.warning:
            instead = self.options.alignment == "auto"
            yield self.frame.warning + (
                "; so regions are compared" if instead else "; take 'regions'"
            )
        middle = float(np.median(self.elongations)) if self.elongations else ROUND
        if found.alignment == "nuclei_and_axis" and middle < ROUND:
            yield (
                f"the median nucleus is {middle:.2f} times as long as wide: round ones have no axis, and "
                "turning them mixes directions"
            )
        if self.frame.half and not found.maps:
            yield "no nucleus stands out clearly in any image, so that no cell could be cut out"
        for item in found.maps:
            if item.groups < FEWEST:
                yield f"{item.title}: one group alone, so that no error is known"
        for difference in found.differences:
            yield difference.sentence
        one_logit = self.options.explained not in (OWN, WRONG)
        if found.similarity is not None and len(found.similarity.names) < len(self.compared):
            yield (
                f"of {len(self.compared)} images {len(found.similarity.names)}, evenly spread, are compared "
                "with each other"
            )
        separation = describe_separation(found.similarity, one_logit=one_logit)
        if separation:
            yield separation


def _prediction(classes: Sequence[str], label: str, found: Attribution) -> dict[str, Any]:
    # the logits of the attribution: the image is not classified a second time
    scores = [found.record.details["logits"][name] for name in classes]
    probabilities = softmax(np.asarray(scores, dtype=np.float32))
    of_label = float(probabilities[classes.index(label)]) if label in classes else np.nan
    return {
        "predicted": classes[int(probabilities.argmax())],
        "probability of the label": of_label,
    }


PER_PIXEL, OF_EVIDENCE, OF_PIXELS = "evidence per pixel", "share of evidence", "share of pixels"


def _region_rows(
    cells: CellMap | None,
    planes: Sequence[NDArray[np.float64]],
    found: Sequence[Attribution],
) -> list[dict[str, Any]]:
    """Return what each region of an image holds of every map, nothing of an image without nuclei."""
    if cells is None or not cells.nuclei.any():
        return []
    places = label_regions(cells).ravel()
    areas = np.bincount(places, minlength=len(REGIONS))
    rows = []
    for item, maps in zip(found, planes, strict=True):
        for channel, plane in zip((*item.channels, JOINT), maps, strict=True):
            sums, sizes = (
                np.bincount(places, values.ravel(), minlength=len(REGIONS))
                for values in (plane, np.abs(plane))
            )
            whole = float(sizes.sum()) or np.nan
            rows += [
                {
                    "explained": item.target,
                    "channel": channel,
                    "region": region,
                    PER_PIXEL: sums[index] / (areas[index] or np.nan),
                    OF_EVIDENCE: sizes[index] / whole,
                    OF_PIXELS: areas[index] / areas.sum(),
                }
                for index, region in enumerate(REGIONS)
            ]
    return rows


def _region_table(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Average shares over the images of a well, then over wells."""
    if not rows:
        return pd.DataFrame()
    table = pd.DataFrame(rows)
    keys = ["label", "explained", "channel", "region"]
    values = [PER_PIXEL, OF_EVIDENCE, OF_PIXELS]
    by_group = table.groupby([*keys, "group"], sort=False)[values].mean().reset_index()
    grouped = by_group.groupby(keys, sort=False)
    found = grouped[values].mean()
    for name in values[:2]:
        found.insert(list(found).index(name) + 1, f"standard error of {name}", grouped[name].sem())
    found["groups"] = grouped.size()
    found["images"] = table.groupby(keys, sort=False).size()
    return found.reset_index()
