"""A screen's wells for other programs: AnnData of latents, and tables within an OME-Zarr plate."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pandas.api.types import is_numeric_dtype

from napari_why.core.errors import WhyError
from napari_why.core.optional_packages import require
from napari_why.core.targets import MARK
from napari_why.core.whole_files import atomic_path
from napari_why.images.ome_zarr_plate import read_attributes
from napari_why.images.wells import well_name, well_place
from napari_why.screening.merge import RECORD
from napari_why.screening.tables import (
    PLATE,
    WELL,
    is_feature,
    latent_columns,
    names_of,
    without_latents,
)

if TYPE_CHECKING:
    from anndata import AnnData

WELLS = "wells.parquet"
# The group of tables of an image or a plate, and what stands in its attributes and in those of a table, as the
# specification has it: https://biovisioncenter.github.io/ngio/stable/table_specs/overview/
TABLES = "tables"
CONDITIONS, FEATURES = "conditions", "wells"
KINDS = {CONDITIONS: "condition_table", FEATURES: "generic_table"}
TABLE_VERSION = "1"
INDEX = "well_name"
WRITTEN_BY = "written_by"


def to_anndata(folder: str | Path) -> "AnnData":
    """Return the latents of a screen's wells as AnnData, for scanpy and what else reads it.

    Parameters
    ----------
    folder : path
        Of a screen that is done, or was merged.

    Returns
    -------
    AnnData
        ``X`` the pooled latents (wells x K, float32), ``var_names`` their names, ``obs`` everything else of
        the wells, ``obs_names`` plate and well, ``uns["napari_why"]`` the record as JSON.

    Raises
    ------
    WhyError
        anndata is not installed, there is no such table, or it has no latents.

    Examples
    --------
    >>> to_anndata("results").write_h5ad("latents.h5ad")  # doctest: +SKIP
    """
    package = require("anndata", "anndata", "latents as AnnData", instead="read wells.parquet")
    wells, record = _read(folder)
    latents = latent_columns(wells)
    if not latents:
        raise WhyError(f"{folder}: found wells without latents; expected those of readable fields")
    names = [f"{plate} {well}" for plate, well in zip(wells[PLATE], wells[WELL], strict=True)]
    about = without_latents(wells).set_axis(pd.Index(names, dtype=object))
    # text as plain objects: anndata 0.12 cannot write pandas' own kind of text
    for column in about.columns[[not is_numeric_dtype(one) for one in about.dtypes]]:
        about[column] = pd.Series(
            ["" if pd.isna(value) else str(value) for value in about[column]], about.index, object
        )
    return package.AnnData(
        X=wells[latents].to_numpy("float32"),
        obs=about,
        var=pd.DataFrame(index=pd.Index(latents, dtype=object)),
        uns={"napari_why": record},
    )


def write_plate_tables(
    folder: str | Path, plate: str | Path, *, name: str | None = None, overwrite: bool = False
) -> list[str]:
    """Put what a screen says of a plate's wells beside its images, into the OME-Zarr plate itself.

    Two tables, ``conditions`` (what the plate map says) and ``wells`` (every number but the latents), with
    ``row``, ``column`` and ``well_name``, as Parquet in groups of ``tables``, which napari-ome-zarr-navigator
    and ngio list. Nothing else of the plate is touched.

    Parameters
    ----------
    folder : path
        Of the screen.
    plate : path
        The plate, an OME-Zarr folder with rows and columns.
    name : str, optional
        Of the plate in the screen; that of its folder by default, whose wells have to be there then.
    overwrite : bool
        Replace tables that an earlier call wrote.

    Returns
    -------
    list of str
        The names of the tables.

    Raises
    ------
    WhyError
        It is no plate, the screen has no such plate or one with other wells, or tables of that name are
        there.

    Examples
    --------
    >>> write_plate_tables("results", "P1.zarr")  # doctest: +SKIP
    ['conditions', 'wells']
    """
    import zarr

    place = Path(plate)
    wells, record = _read(folder)
    own = _choose_plate(wells, place, name)
    is_consolidated = zarr.open_group(place, mode="r").metadata.consolidated_metadata is not None
    # as it is on the disk: what was consolidated knows nothing of tables that were made since
    group = zarr.open_group(place, mode="r+", use_consolidated=False).require_group(TABLES)
    for table in KINDS:
        if table in group and not (overwrite and group[table].attrs.get(WRITTEN_BY) == MARK):
            raise WhyError(
                f"{place}: found a table {table} there already; it is replaced only where it was written by "
                "this, and overwrite is asked for"
            )
    about = [column for column in names_of(own) if not is_feature(column)]
    numbers = [column for column in names_of(without_latents(own)) if is_feature(column)]
    for table, columns in ((CONDITIONS, about), (FEATURES, numbers)):
        _write_table(group, place, table, own, columns, record)
    told: Any = group.attrs.get(TABLES)
    listed = list(told or [])
    group.attrs[TABLES] = [*listed, *(one for one in KINDS if one not in listed)]
    if is_consolidated:  # or readers would not see the tables
        _consolidate(place)
    return list(KINDS)


def _read(folder: str | Path) -> tuple[pd.DataFrame, str]:
    place = Path(folder)
    try:
        wells = pd.read_parquet(place / WELLS)
        record = (place / RECORD).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise WhyError(
            f"{place}: found no tables of a screen that is done ({error}); expected the folder of one; go on with "
            "resume, or merge its shards"
        ) from error
    return wells, record


def _choose_plate(wells: pd.DataFrame, place: Path, name: str | None) -> pd.DataFrame:
    """Return the wells of the plate that a folder is, by its name, or by the one that it is said to have."""
    about = read_attributes(place).get("plate")
    if not isinstance(about, Mapping):
        raise WhyError(
            f"{place}: found an OME-Zarr that is no plate; expected one with rows and columns"
        )
    known = list(dict.fromkeys(wells[PLATE].astype(str)))
    folder = place.resolve().name
    stem = folder.partition(".")[0]
    chosen = name or (folder if folder in known else stem)
    if chosen not in known:
        raise WhyError(
            f"{place}: found no plate {chosen!r} in the screen; expected one of {', '.join(known)}; name it"
        )
    own = wells[wells[PLATE].astype(str) == chosen].reset_index(drop=True)
    there = _wells_of(about)
    absent = [well for well in own[WELL] if well not in there]
    if absent and there and name is None:
        raise WhyError(
            f"{place}: found that this plate has no well {absent[0]} ({len(absent)} of {len(own)} wells of "
            f"{chosen} in the screen are not in it); expected that plate; name it where it is the same one"
        )
    return own


def _wells_of(plate: Mapping[str, Any]) -> set[str]:
    """Return the wells that the metadata of a plate name by their folders."""
    told = plate.get("wells")
    paths = [one.get("path") for one in told or [] if isinstance(one, Mapping)]
    names = [well_name(path.replace("/", "")) for path in paths if isinstance(path, str)]
    return {name for name in names if name}


def _consolidate(place: Path) -> None:
    import zarr

    with warnings.catch_warnings():
        # of Zarr 3 no specification has consolidated metadata: the plate had them before
        warnings.filterwarnings("ignore", message="Consolidated metadata is currently not part")
        # the tables themselves
        warnings.filterwarnings("ignore", message="Object at table.parquet is not recognized")
        zarr.consolidate_metadata(place)


def _write_table(
    group: Any, place: Path, table: str, wells: pd.DataFrame, columns: list[str], record: str
) -> None:
    made = group.require_group(table)
    made.attrs.update(
        {
            "type": KINDS[table],
            "table_version": TABLE_VERSION,
            "backend": "parquet",
            "index_key": INDEX,
            "index_type": "str",
            WRITTEN_BY: MARK,
            "record": json.loads(record),
        }
    )
    places = [well_place(well) for well in wells[WELL]]
    front = {
        INDEX: wells[WELL],
        "row": [str(well).rstrip("0123456789") for well in wells[WELL]],
        "column": [column + 1 for _, column in places],
    }
    content = pd.concat([pd.DataFrame(front), wells[columns]], axis=1)
    # what write_table refuses, within an image, is asked for here, and nothing but our own is replaced
    with atomic_path(place / TABLES / table / "table.parquet") as part:
        content.to_parquet(part, index=False)
