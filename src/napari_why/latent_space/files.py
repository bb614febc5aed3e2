"""A latent space as figures and files: colours of a column, points drawn, everything written."""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.core.errors import ParameterError
from napari_why.core.pictures import PALETTE
from napari_why.core.whole_files import write_whole
from napari_why.latent_space.outliers import Outliers
from napari_why.latent_space.projection import Projection
from napari_why.latent_space.space import LatentSpace

if TYPE_CHECKING:
    from matplotlib.axes import Axes

import json

from napari_why.core.errors import WhyError
from napari_why.core.targets import MARK, is_own_json
from napari_why.core.whole_files import csv_text, own_folder, saved_file

# Filled marks, since the fill shows the colour.
MARKERS = ("o", "^", "s", "D", "v", "P", "X", "<", ">")
MISSING, MISSING_COLOUR = "missing", "#888888"  # grey, in no palette: no value rather than a class
COLOUR_MAP = "cividis"  # even, and the same to colour-blind eyes (Nuñez et al. 2018)
# Whole numbers of at most so many values are names, such as plates 1 to 4 or the columns of a plate
# of 96 wells; more than that are a scale.
MOST_WHOLE_VALUES = 12
NO_PROPERTY = ("image", "path")  # every image has its own
# Columns by the names that earlier versions gave them: whoever still asks for one gets what it is now.
RENAMED = {"irregular": "outlier"}


@dataclass(frozen=True, eq=False)
class Colouring:
    """A column of a latent space's table, ready to be drawn.

    Parameters
    ----------
    column : str
    names : tuple of str
        The values of a categorical column, sorted, missing ones last; empty for a continuous one.
    codes : ndarray of int, shape (n,)
        Place in ``names`` of each image; zeros for a continuous column.
    values : ndarray, float64, shape (n,)
        Of a continuous column, NaN where missing; the codes for a categorical one.
    """

    column: str
    names: tuple[str, ...]
    codes: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def continuous(self) -> bool:
        """Whether a colour bar is needed and not a legend."""
        return not self.names

    def colour(self, code: int) -> str:
        """Return the colour of a category."""
        missing = self.names[code] == MISSING
        return MISSING_COLOUR if missing else PALETTE[code % len(PALETTE)]

    def marker(self, code: int) -> str:
        """Return the mark of a category: another one each time the colours begin anew."""
        return MARKERS[(code // len(PALETTE)) % len(MARKERS)]


def colouring_of(table: pd.DataFrame, column: str) -> Colouring:
    """Tell how a column is to be drawn.

    Numbers are continuous, unless they are whole and few (plates 1, 2, 3); all else is
    categorical.

    Parameters
    ----------
    table : DataFrame
        One row an image.
    column : str
        A name; that of an earlier version counts too.

    Returns
    -------
    Colouring

    Raises
    ------
    ParameterError
        There is no such column.

    Examples
    --------
    >>> table = pd.DataFrame({"plate": [1, 2, 1], "distance": [0.5, 1.5, 2.5]})
    >>> colouring_of(table, "plate").names, colouring_of(table, "distance").continuous
    (('1', '2'), True)
    """
    column = column if column in table.columns else RENAMED.get(column, column)
    if column not in table.columns:
        known = ", ".join(columns_to_colour(table))
        raise ParameterError(f"colour by: found {column!r}; expected one of {known}")
    values = table[column]
    if _is_continuous(values):
        numbers = values.to_numpy(dtype=float, na_value=np.nan)
        return Colouring(column, (), np.zeros(len(values), dtype=np.int64), numbers)
    # sorted, so that a class has its colour whichever image comes first
    there = sorted({value for value in values if not pd.isna(value)}, key=_order)
    names = tuple(dict.fromkeys(map(_as_text, there)))
    if values.isna().any():
        names += (MISSING,)
    code_of = {name: code for code, name in enumerate(names)}
    texts = [MISSING if pd.isna(value) else _as_text(value) for value in values]
    codes = np.array([code_of[text] for text in texts], dtype=np.int64)
    return Colouring(column, names, codes, codes.astype(np.float64))


def columns_to_colour(table: pd.DataFrame) -> list[str]:
    """Return the columns that say something about images: all but number and path."""
    return [str(name) for name in table.columns if name not in NO_PROPERTY]


def _is_continuous(values: "pd.Series[float]") -> bool:
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return False
    there = values.dropna()
    whole = bool((there == there.round()).all())
    return not (whole and there.nunique() <= MOST_WHOLE_VALUES)


def _order(value: object) -> tuple[bool, float, str]:
    number = isinstance(value, int | float | np.number)
    return (
        not number,
        float(value) if isinstance(value, int | float | np.number) else 0,
        str(value),
    )


def _as_text(value: object) -> str:
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | float | np.number):
        return f"{value:g}"
    return str(value)


MOST_NAMED = 14  # twice the palette: with more the legend is longer than the plot is high
# Areas in square points: a mark 4.7 points across, and a ring that leaves a gap around it.
POINT, RING = 22.0, 70.0
EDGE, EDGE_COLOUR = 0.5, "#888888"  # dark points on dark ground, and light ones on light
ENDINGS = (".png", ".svg")
# Where each format names the program that wrote it.
MARKED = {"png": "Software", "svg": "Title"}


def draw_points(
    axes: "Axes",
    coordinates: NDArray[np.float64],
    colouring: Colouring,
    *,
    ringed: NDArray[np.bool_] | None = None,
    ring_colour: str = "black",
) -> Any:
    """Draw one point an image.

    Parameters
    ----------
    axes : Axes
    coordinates : ndarray, shape (n, 2)
    colouring : Colouring
        Categories are named for a legend, the first 14 of them.
    ringed : ndarray of bool, shape (n,), optional
        Points with a ring around them: outliers.
    ring_colour : str

    Returns
    -------
    ScalarMappable or None
        For a colour bar, where the column is continuous.
    """
    mappable = None
    if colouring.continuous:
        mappable = axes.scatter(
            coordinates[:, 0],
            coordinates[:, 1],
            c=colouring.values,
            cmap=COLOUR_MAP,
            s=POINT,
            linewidths=EDGE,
            edgecolors=EDGE_COLOUR,
            plotnonfinite=True,  # an image without a value still is an image
        )
    for code, name in enumerate(colouring.names):
        mask = colouring.codes == code
        axes.scatter(
            coordinates[mask, 0],
            coordinates[mask, 1],
            facecolors=colouring.colour(code),
            marker=colouring.marker(code),
            s=POINT,
            linewidths=EDGE,
            edgecolors=EDGE_COLOUR,
            label=_label(colouring, code, name),
        )
    if ringed is not None and ringed.any():
        axes.scatter(
            coordinates[ringed, 0],
            coordinates[ringed, 1],
            s=RING,
            facecolors="none",
            edgecolors=ring_colour,
            linewidths=1.0,
            label="outlier",
        )
    return mappable


def draw_path(axes: "Axes", points: NDArray[np.float64], colour: str) -> Any:
    """Draw the path of a counterfactual, from its first alpha to an arrow head at its last.

    Parameters
    ----------
    axes : Axes
    points : ndarray, float64, shape (A, 2)
        One an alpha, in the units of the projection.
    colour : str
        As matplotlib takes it.

    Returns
    -------
    Line2D
        A mark at the first point, to be moved along.
    """
    # above the points (zorder 4 and 5), which are hundreds and would hide the path
    axes.plot(*points.T, color=colour, lw=1.5, marker=".", ms=5, label="_path", zorder=4)
    if len(points) > 1:
        axes.annotate(
            "",
            xy=tuple(points[-1]),
            xytext=tuple(points[-2]),
            arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 1.5},
            zorder=4,
        )
    (mark,) = axes.plot(
        *points[:1].T,
        marker="o",
        ms=11,
        mfc="none",
        mec="#ff3030",  # a red that is in no palette: the mark must be found among the points
        mew=2.2,
        ls="none",
        label="_alpha",
        zorder=5,
    )
    return mark


def save_figure(
    space: LatentSpace,
    projection: Projection,
    path: str | Path,
    *,
    color_by: str = "class",
    outliers: Outliers | None = None,
) -> Path:
    """Write the points of a latent space as PNG or SVG; an older figure of ours is replaced.

    Parameters
    ----------
    space : LatentSpace
    projection : Projection
        Of that space.
    path : str or Path
        Ends in .png or .svg.
    color_by : str
        A column of the space's table, or of the outliers' (``distance``).
    outliers : Outliers, optional
        Get a ring each.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ParameterError
        Unknown column or ending.
    WhyError
        The file cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() not in ENDINGS:
        raise ParameterError(f"{target}: expected a name that ends in {' or '.join(ENDINGS)}")
    # a figure without pyplot needs no display and leaves no global state behind
    from matplotlib.figure import Figure

    table = space.table if outliers is None else outliers.images
    colouring = colouring_of(table, color_by)
    figure = Figure(figsize=(7.5, 5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    ringed = None if outliers is None else outliers.images["outlier"].to_numpy(dtype=bool)
    mappable = draw_points(axes, projection.coordinates, colouring, ringed=ringed)
    axes.set(xlabel=projection.axis_labels[0], ylabel=projection.axis_labels[1])
    if mappable is not None:
        figure.colorbar(mappable, ax=axes, label=color_by)
    elif axes.get_legend_handles_labels()[1]:
        axes.legend(
            title=color_by, loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=8, frameon=False
        )
    axes.set_title("; ".join((*space.notes, projection.note)), fontsize=7, wrap=True)
    buffer = BytesIO()
    ending = target.suffix.lower().removeprefix(".")
    figure.savefig(buffer, format=ending, metadata={MARKED[ending]: MARK})
    return write_whole(target, buffer.getvalue())


def _label(colouring: Colouring, code: int, name: str) -> str:
    # a name that begins with an underscore is none to matplotlib's legend
    count = len(colouring.names)
    if count <= MOST_NAMED or code < MOST_NAMED - 1:
        return name
    return f"and {count - code} more" if code == MOST_NAMED - 1 else "_unnamed"


SPACE_FILE, REPORT_FILE = "latent_space.parquet", "report.json"
# A column with more values than this hardly groups images; its shares would be of one image each.
MOST_VALUES = 100


def write_latent_space(
    folder: str | Path,
    space: LatentSpace,
    projection: Projection,
    outliers: Outliers | None = None,
    *,
    color_by: str = "class",
    overwrite: bool = False,
) -> Path:
    """Write a folder: it is there as a whole or not at all.

    Parameters
    ----------
    folder : str or Path
    space : LatentSpace
    projection, outliers : Projection, Outliers or None
        Of that space.
    color_by : str
        Column that colours the figure.
    overwrite : bool
        Take the place of what was written here before; other files in the folder stay, and no other
        folder is ever replaced.

    Returns
    -------
    Path
        The folder, with ``latent_space.parquet`` (:meth:`LatentSpace.load`), ``images.csv`` (one
        row an image with its two coordinates and distances), ``outlier_images.csv``,
        ``wells.csv``, ``shares.csv`` (outliers by the values of every column),
        ``latent_space.png`` and ``.svg``, and ``report.json``.

    Raises
    ------
    WhyError
        There is something else at ``folder``, or it cannot be written.
    ParameterError
        Unknown column.
    """
    target = Path(folder)
    images = (space.table if outliers is None else outliers.images).assign(
        x=projection.coordinates[:, 0], y=projection.coordinates[:, 1]
    )
    colouring_of(images, color_by)  # raises before anything is written
    check_target(target, overwrite=overwrite)
    try:
        with own_folder(target, replace=overwrite) as part:
            space.save(part / SPACE_FILE)
            _write_csv(images, part / "images.csv")
            for ending in ("png", "svg"):
                save_figure(
                    space,
                    projection,
                    part / f"latent_space.{ending}",
                    color_by=color_by,
                    outliers=outliers,
                )
            if outliers is not None:
                _write_csv(outliers.listed, part / "outlier_images.csv")
                _write_csv(outliers.wells, part / "wells.csv")
                _write_csv(all_shares(outliers), part / "shares.csv")
            report = _report(space, projection, outliers)
            (part / REPORT_FILE).write_text(report + "\n", encoding="utf-8")
    except OSError as error:
        raise WhyError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was written; "
            "choose another name or make room"
        ) from error
    return target


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    path.write_text(csv_text(table), encoding="utf-8", newline="")


def check_target(target: Path, *, overwrite: bool) -> None:
    """Raise WhyError for a folder of something else: before the work, and when it is written.

    Parameters
    ----------
    target : Path
        Where a report is to be written.
    overwrite : bool
        Whether an older report may be replaced; False finds nothing wrong here.

    Raises
    ------
    WhyError
        ``overwrite``, and a folder that holds no report.
    """
    # "overwrite" must not cost a user a folder of images named by mistake
    if overwrite and target.is_dir() and not _is_report(target):
        raise WhyError(
            f"{target}: found a folder with something else; it is not overwritten; choose another"
        )


def _is_report(folder: Path) -> bool:
    return is_own_json(saved_file(folder, REPORT_FILE))


def all_shares(outliers: Outliers) -> pd.DataFrame:
    """Return the shares of outliers by the values of every categorical column.

    Returns
    -------
    DataFrame
        ``column``, ``value`` and the columns of :meth:`Outliers.shares`.
    """
    parts = [
        outliers.shares(column).rename(columns={column: "value"}).assign(column=column)
        for column in columns_to_share(outliers)
    ]
    together = pd.concat(parts, ignore_index=True)
    return together[["column", "value", "images", "outliers", "share", "by chance"]]


def columns_to_share(outliers: Outliers) -> list[str]:
    """Return the categorical columns that hold groups of images: class, plate, cell line, ..."""
    own = ("outlier", "nearest class")
    names = [name for name in columns_to_colour(outliers.images) if name not in own]
    counts = {name: outliers.images[name].nunique(dropna=False) for name in names}
    most = min(MOST_VALUES, len(outliers.images) - 1)
    return [
        name
        for name in names
        if not colouring_of(outliers.images, name).continuous
        and (counts[name] <= most or name == "class")
    ]


def _report(space: LatentSpace, projection: Projection, outliers: Outliers | None) -> str:
    # Spaces that were saved before do not say what was noticed when their images were opened.
    of_data = space.record.details.get("data_notes", ())
    plain = {
        "sentences": [*space.notes, *of_data, *(outliers.sentences if outliers else ())],
        "projection": {
            "method": projection.method,
            "axes": list(projection.axis_labels),
            "note": projection.note,
        },
        "rate": outliers.rate if outliers else None,
        "classes": json.loads(outliers.classes.to_json(orient="records")) if outliers else None,
        "unreadable": [{"path": item.path, "reason": item.reason} for item in space.unreadable],
        "complete": space.complete,
        "record": space.record.to_dict(),
    }
    return json.dumps(plain, indent=2, allow_nan=False)
