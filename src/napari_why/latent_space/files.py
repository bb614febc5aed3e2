"""Everything about a latent space as files: tables, figures, and a report in words."""

import json
from pathlib import Path

import pandas as pd

from napari_why.core.errors import WhyError
from napari_why.core.whole_files import atomic_folder
from napari_why.latent_space.figure import colouring_of, columns_to_colour, save_figure
from napari_why.latent_space.outliers import Irregular
from napari_why.latent_space.projection import Projection
from napari_why.latent_space.space import LatentSpace

SPACE_FILE, REPORT_FILE = "latent_space.parquet", "report.json"
MOST_VALUES = 100


def write_latent_space(
    folder: str | Path,
    space: LatentSpace,
    projection: Projection,
    irregular: Irregular | None = None,
    *,
    color_by: str = "class",
    overwrite: bool = False,
) -> Path:
    """Write a folder: it is there as a whole or not at all.

    Parameters
    ----------
    folder : str or Path
    space : LatentSpace
    projection, irregular : Projection, Irregular or None
        Of that space.
    color_by : str
        Column that colours the figure.
    overwrite : bool
        Take the place of a folder that was written here before; no other is ever replaced.

    Returns
    -------
    Path
        The folder, with ``latent_space.parquet`` (:meth:`LatentSpace.load`), ``images.csv`` (one
        row an image with its two coordinates and distances), ``irregular_images.csv``,
        ``wells.csv``, ``shares.csv`` (irregular images by the values of every column),
        ``latent_space.png`` and ``.svg``, and ``report.json``.

    Raises
    ------
    WhyError
        There is something else at ``folder``, or it cannot be written.
    ParameterError
        Unknown column.
    """
    target = Path(folder)
    images = (space.table if irregular is None else irregular.images).assign(
        x=projection.coordinates[:, 0], y=projection.coordinates[:, 1]
    )
    colouring_of(images, color_by)
    if overwrite and target.is_dir() and not (target / REPORT_FILE).is_file():
        raise WhyError(
            f"{target}: found a folder with something else; it is not overwritten; choose another"
        )
    try:
        with atomic_folder(target, replace=overwrite) as part:
            space.save(part / SPACE_FILE)
            images.to_csv(part / "images.csv", index=False)
            for ending in ("png", "svg"):
                save_figure(
                    space,
                    projection,
                    part / f"latent_space.{ending}",
                    color_by=color_by,
                    irregular=irregular,
                )
            if irregular is not None:
                irregular.listed.to_csv(part / "irregular_images.csv", index=False)
                irregular.wells.to_csv(part / "wells.csv", index=False)
                all_shares(irregular).to_csv(part / "shares.csv", index=False)
            report = _report(space, projection, irregular)
            (part / REPORT_FILE).write_text(report + "\n", encoding="utf-8")
    except OSError as error:
        raise WhyError(
            f"{target}: cannot be written ({error.strerror or error}); nothing was written; "
            "choose another name or make room"
        ) from error
    return target


def all_shares(irregular: Irregular) -> pd.DataFrame:
    """Return the shares of irregular images by the values of every categorical column.

    Returns
    -------
    DataFrame
        ``column``, ``value`` and the columns of :meth:`Irregular.shares`.
    """
    parts = [
        irregular.shares(column).rename(columns={column: "value"}).assign(column=column)
        for column in columns_to_share(irregular)
    ]
    together = pd.concat(parts, ignore_index=True)
    return together[["column", "value", "images", "irregular", "share", "by chance"]]


def columns_to_share(irregular: Irregular) -> list[str]:
    """Return the categorical columns that hold groups of images: class, plate, cell line, ..."""
    own = ("irregular", "nearest class")
    names = [name for name in columns_to_colour(irregular.images) if name not in own]
    counts = {name: irregular.images[name].nunique(dropna=False) for name in names}
    most = min(MOST_VALUES, len(irregular.images) - 1)
    return [
        name
        for name in names
        if not colouring_of(irregular.images, name).continuous
        and (counts[name] <= most or name == "class")
    ]


def _report(space: LatentSpace, projection: Projection, irregular: Irregular | None) -> str:
    plain = {
        "sentences": list(irregular.sentences) if irregular else [],
        "projection": {
            "method": projection.method,
            "axes": list(projection.axis_labels),
            "note": projection.note,
        },
        "rate": irregular.rate if irregular else None,
        "classes": json.loads(irregular.classes.to_json(orient="records")) if irregular else None,
        "unreadable": [{"path": item.path, "reason": item.reason} for item in space.unreadable],
        "complete": space.complete,
        "record": space.record.to_dict(),
    }
    return json.dumps(plain, indent=2, allow_nan=False)
