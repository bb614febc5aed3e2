"""Hits shown: of each the fields that speak most for and most against it, with maps, changes and words."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.attribution import Attribution, Given
from napari_why.batch import ImageReference
from napari_why.batch.explain_one import CHANGED_REGIONS, ready_method
from napari_why.core import events
from napari_why.core.errors import CancellationError, reason_of
from napari_why.core.targets import MARK
from napari_why.counterfactuals import counterfactual
from napari_why.screening.hits import is_hit
from napari_why.screening.options import ScreenOptions
from napari_why.screening.plan import plan_screen
from napari_why.screening.tables import (
    AREA,
    COMPOUND,
    DOSE,
    ERROR,
    FLAGGED,
    METADATA,
    PLATE,
    SITE,
    UNEXPLAINED,
    WELL,
    log_odds_column,
)
from napari_why.screening.work import load_once

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from xarray import DataArray

    from napari_why.model import Classifier

# Hits that are shown, the first of the table: with two fields each some 20 pictures, 1 or 2 MB.
MOST_SHOWN = 10
# Of a picture in the page: panels of 2.4 inches are 180 pixels wide, twice a thumbnail's usual width.
PICTURE_DPI = 75
FOR, AGAINST = "speaks most for it", "speaks most against it"
ONLY = "the only one"
VERDICT = f"{METADATA}verdict"


@dataclass(frozen=True)
class ShownField:
    """One field of a hit.

    Parameters
    ----------
    compound : str
    dose : float
        NaN where there are none.
    title : str
        Which field it is, what it stands for, and its log-odds.
    words : tuple of str
        What is left to change towards healthy, in words and numbers, or why a picture is missing.
    pictures : tuple of bytes
        PNG.
    """

    compound: str
    dose: float
    title: str
    words: tuple[str, ...]
    pictures: tuple[bytes, ...]


def show_hits(
    plan: Mapping[str, Any],
    options: ScreenOptions,
    fields: pd.DataFrame,
    hits: pd.DataFrame,
    *,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> list[ShownField]:
    """Explain and change the fields that speak most for and against the first hits, once more, as pictures.

    Parameters
    ----------
    plan : mapping
        With ``sources``, ``model``, ``device`` and ``classifier``, as the screen's folder has it.
    options : ScreenOptions
        Nothing is shown where it explains nothing.
    fields, hits : DataFrame
        Of the screen.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    list of ShownField
        Without pictures, and with the reason, where model or images are not there any more: a merge may
        run elsewhere.

    Raises
    ------
    CancellationError
        Somebody asked to stop.
    """
    if not options.explains or hits.empty or not is_hit(hits).any():
        return []
    chosen = list(_choose_fields(fields, hits[is_hit(hits)].head(MOST_SHOWN), options))
    on_event(events.Started("showing hits", len(chosen)))
    try:
        classifier: Classifier | None = load_once(
            str(plan["model"]), plan["classifier"], plan.get("device", "cpu")
        )
        tasks = plan_screen(options=options, **plan["sources"]).wells
        reason = ""
    except Exception as error:  # noqa: BLE001 - whatever it is, the tables are there all the same
        classifier, tasks, reason = None, (), f"no pictures: {reason_of(error)}"
    places = {
        (task.plate, task.well, item.site): item.reference for task in tasks for item in task.fields
    }
    shown = []
    for number, (row, title) in enumerate(chosen):
        if cancelled():
            raise CancellationError("the work was stopped while hits were shown")
        reference = places.get((row[PLATE], row[WELL], row[SITE]))
        words, pictures = [*_say_change(row)], []
        if classifier is None or reference is None:
            words.append(reason or "no pictures: its image is not where it was")
        else:
            found, failed = _draw_field(classifier, reference, options, cancelled)
            pictures, words = found, words + failed
        dose = float(row.get(DOSE, np.nan))
        shown.append(ShownField(str(row[COMPOUND]), dose, title, tuple(words), tuple(pictures)))
        on_event(events.Advanced(number + 1))
    on_event(events.Finished())
    return shown


def _choose_fields(
    fields: pd.DataFrame, hits: pd.DataFrame, options: ScreenOptions
) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield rows of the fields with the highest and the lowest log-odds of each hit, with a title.

    Of fields of poor quality, or that could not be explained, only where a hit has no others: they are the
    most extreme, and say least of the compound.
    """
    score = log_odds_column(options.healthy)
    fine = fields[FLAGGED].fillna(0) == 0
    if UNEXPLAINED in fields:
        fine &= fields[UNEXPLAINED].fillna("") == ""
    known = fields[(fields[ERROR] == "") & fields[score].notna()]
    for hit in hits.to_dict("records"):
        own = known[known[COMPOUND].astype(str) == str(hit["compound"])]
        if "dose" in hit:  # without one, wells of the compound without one
            own = own[np.isclose(own[DOSE], hit["dose"], rtol=1e-9, atol=0, equal_nan=True)]
        good = own[fine[own.index]]
        own = own if good.empty else good
        ordered = own.sort_values(score, ascending=False, kind="stable").to_dict("records")
        for row, said in zip(ordered[:1] + ordered[1:][-1:], (FOR, AGAINST), strict=False):
            stands = said if len(ordered) > 1 else ONLY
            yield (
                {str(name): value for name, value in row.items()},
                f"{row[PLATE]} {row[WELL]}, field {row[SITE]}: {stands}, log-odds {row[score]:.2f}",
            )


def _say_change(row: Mapping[str, Any]) -> Iterator[str]:
    """Say what is left to change of a field, from what the screen measured of it."""
    if isinstance(row.get(VERDICT), str) and row[VERDICT]:
        yield row[VERDICT]
    if AREA in row and not np.isnan(row[AREA]):
        yield (
            f"left to change towards healthy: {row[AREA]:.0f} px"
            if row[AREA]
            else "nothing is left to change"
        )
    for name, value in row.items():
        if name.startswith(CHANGED_REGIONS) and not np.isnan(value):
            yield f"{name.removeprefix(CHANGED_REGIONS)}: {value:+.3g} grey levels in the regions that change"


def _draw_field(
    classifier: "Classifier",
    reference: ImageReference,
    options: ScreenOptions,
    cancelled: events.Cancelled,
) -> tuple[list[bytes], list[str]]:
    """Return pictures of a field's map and change as PNG, and what could not be made."""
    pictures: list[bytes] = []
    failed: list[str] = []
    try:
        image = reference.open()
        for figure in _explain(classifier, image, options, cancelled):
            buffer = BytesIO()
            figure.savefig(buffer, format="png", dpi=PICTURE_DPI, metadata={"Software": MARK})
            pictures.append(buffer.getvalue())
    except CancellationError:
        raise
    except Exception as error:  # noqa: BLE001 - of one field: the report shows the others
        failed.append(f"not shown: {reason_of(error)}")
    return pictures, failed


def _explain(
    classifier: "Classifier",
    image: "DataArray",
    options: ScreenOptions,
    cancelled: events.Cancelled,
) -> Iterator["Figure"]:
    # matplotlib is half a second that no worker needs
    from napari_why.output.figures import counterfactual_figure

    asked = options.explaining
    if asked.attribution is not None:
        # of the healthy class, whatever is predicted: what speaks for it is what a hit is shown for
        found: Attribution = ready_method(classifier, asked).explain(
            image, asked.attribution_target or options.healthy, Given(None), cancelled=cancelled
        )
        _check_whole(complete=found.complete)
        # as the network sees the image: the map has its resolution
        pixels = classifier.preprocessing.inverse(classifier.prepare(image))[0]
        yield _draw_map(found, dict(zip(classifier.channels, pixels, strict=True)))
    if asked.counterfactual is None or classifier.predict(image).label == asked.target:
        return
    series = counterfactual(
        classifier,
        image,
        asked.target,
        str(asked.counterfactual),
        cancelled=cancelled,
        **asked.series,
    )
    _check_whole(complete=series.complete)
    yield counterfactual_figure(series, image)


def _check_whole(*, complete: bool) -> None:
    if not complete:
        raise CancellationError("the work was stopped while hits were shown")


def _draw_map(found: Attribution, pixels: Mapping[str, NDArray[Any]]) -> "Figure":
    """Draw each channel beside its map; the map of all channels where there is none of each."""
    from matplotlib.figure import Figure

    from napari_why.output.figures import change_limit, draw_change, draw_image, write_title

    maps = dict(zip(found.channels, found.maps, strict=True))
    limit = change_limit(np.array(list(maps.values())) if maps else found.joint)
    # inches: panels about 2.4 wide and high, and above them room for the title
    figure = Figure(figsize=(5.4, 0.6 + 2.4 * len(pixels)), layout="constrained")
    axes = figure.subplots(len(pixels), 2, squeeze=False)
    drawn = []
    for (name, plane), (left, right) in zip(pixels.items(), axes, strict=True):
        draw_image(left, plane, plane, name)
        title = "evidence" if maps else "evidence of all channels"
        drawn.append(draw_change(right, maps.get(name, found.joint), limit, title))
    figure.colorbar(drawn[0], ax=axes[:, 1], shrink=0.7, extend="both").set_label(
        found.unit, fontsize=9
    )
    write_title(figure, f"for (red) and against (blue) {found.target}", 10)
    return figure
