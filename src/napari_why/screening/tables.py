"""The tables of a screen: names of their columns, and fields gathered to wells.

As pycytominer, copairs and others expect them: what identifies a row or is no number begins with
``Metadata_`` and stands first, everything else is a feature.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from napari_why.latent_space.space import LATENT

METADATA = "Metadata_"
PLATE, WELL, SITE = f"{METADATA}Plate", f"{METADATA}Well", f"{METADATA}Site"
COMPOUND, DOSE = f"{METADATA}Compound", f"{METADATA}Dose"
# What a well is: one of the controls, or a sample.
ROLE = f"{METADATA}Role"
NEGATIVE, POSITIVE, SAMPLE = "negative control", "positive control", "sample"
IMAGE, ERROR = f"{METADATA}image", f"{METADATA}error"
# Why a field that was read and predicted was not explained or changed, in whole or in part.
UNEXPLAINED = f"{METADATA}explanation error"
PREDICTED, NOTES = f"{METADATA}predicted", f"{METADATA}notes"
UNLIKE, QUALITY, SEEN = f"{METADATA}unlike", f"{METADATA}quality", f"{METADATA}trained on"
FIELDS, FAILED = f"{METADATA}fields", f"{METADATA}fields failed"
SPREAD = f"{METADATA}spread of "
EDGE = f"{METADATA}at the edge"
# What has to change in a field for it to be healthy, by a counterfactual: 0 where it is already, NaN where
# that is not known.
AREA = "area of regions (px)"
# Least distance from any class of the training images, as a share of them (0 to 1).
DISTANCE = "distance from the training images"
# 1 where a field shows hardly any cells, is out of focus or saturated; of a well their share.
FLAGGED = "flagged"
# 1 where the field is unlike the training images in anything; of a well their share.
STRANGE = "unlike the training images"
# Begins the name of the columns of the single classes.
DISTANCE_FROM = "distance from "
# Begins the columns of what is measured without the network; the channel and the measure follow.
TEXTURE = "texture of "
BETWEEN = "; "
LOG_ODDS = "log-odds of "
# Columns that the analysis adds to the table of wells.
ROBUST_Z, B_SCORE, ON_THE_WAY = "robust z of ", "B score of ", "way to healthy"


def log_odds_column(healthy: str) -> str:
    """Return the name of the column that holds log(p / (1 - p)) of the healthy class."""
    return f"{LOG_ODDS}{healthy}"


def is_feature(name: str) -> bool:
    """Tell whether a column is a number to compare by, and not what identifies or describes a row."""
    return not name.startswith(METADATA)


def names_of(table: pd.DataFrame) -> list[str]:
    """Return the names of the columns as text."""
    return [str(name) for name in table.columns]


def latent_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of the pooled latents in their order."""
    found: list[str] = []
    while LATENT.format(len(found)) in table:
        found.append(LATENT.format(len(found)))
    return found


def texture_columns(table: pd.DataFrame) -> list[str]:
    """Return the columns of what is measured without the network."""
    return [name for name in names_of(table) if name.startswith(TEXTURE)]


def without_latents(table: pd.DataFrame) -> pd.DataFrame:
    """Return what a person reads of a table: CSV beside the Parquet file leaves latents out."""
    return table.drop(columns=latent_columns(table))


def latents_of(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return the pooled latents, shape (rows, K)."""
    return table[latent_columns(table)].to_numpy(np.float64)


def appearance_of(table: pd.DataFrame) -> NDArray[np.float64]:
    """Return the pooled latents and textures, shape (rows, K): all that tells how cells look."""
    return table[[*latent_columns(table), *texture_columns(table)]].to_numpy(np.float64)


def order_columns(table: pd.DataFrame) -> pd.DataFrame:
    """Put ``Metadata_`` columns first, plate, well and site before all, and latents last."""
    latents = latent_columns(table)
    first = [name for name in (PLATE, WELL, SITE, COMPOUND, DOSE, ROLE) if name in table]
    names = names_of(table)
    about = [name for name in names if not is_feature(name) and name not in first]
    features = [name for name in names if is_feature(name) and name not in latents]
    return table[[*first, *about, *features, *latents]]


def gather_wells(fields: pd.DataFrame) -> pd.DataFrame:
    """Average the fields of every well.

    Parameters
    ----------
    fields : DataFrame
        One row a field, as a screen makes it. Fields with an error (``Metadata_error``) have no numbers, and no
        part in any mean; those that only were not explained lack numbers of the explanation alone, and do
        not count as failed.

    Returns
    -------
    DataFrame
        One row a well, in the order of the fields: what the plate map says, ``Metadata_fields`` and
        ``Metadata_fields failed``, ``Metadata_quality`` with the number of fields of each kind, the mean
        of every feature and, but for latents and textures, its spread over the fields (standard deviation
        with n - 1; ``Metadata_spread of NAME``).
    """
    keys = [PLATE, WELL]
    grouped = fields.groupby(keys, sort=False)
    features = [name for name in names_of(fields) if is_feature(name)]
    many = {*latent_columns(fields), *texture_columns(fields)}
    spread = [name for name in features if name not in many]
    # what differs between the fields of a well is said of fields alone
    of_fields = {SITE, IMAGE, ERROR, UNEXPLAINED, PREDICTED, NOTES, UNLIKE, QUALITY, SEEN}
    about = [
        name
        for name in names_of(fields)
        if not is_feature(name)
        and name not in (*keys, *of_fields)
        and grouped[name].nunique(dropna=False).max() == 1
    ]
    known = fields[ERROR] == ""
    counted = pd.DataFrame(
        {
            FIELDS: known.groupby([fields[PLATE], fields[WELL]], sort=False).sum(),
            FAILED: (~known).groupby([fields[PLATE], fields[WELL]], sort=False).sum(),
            QUALITY: grouped[QUALITY].agg(count_kinds),
        }
    )
    parts = [
        grouped[about].first(),
        counted,
        grouped[features].mean(),
        grouped[spread].std(ddof=1).rename(columns=lambda name: f"{SPREAD}{name}"),
    ]
    return order_columns(pd.concat(parts, axis=1).reset_index())


def count_kinds(values: Sequence[Any]) -> str:
    """Say how often each kind occurs in cells that may hold several.

    Examples
    --------
    >>> count_kinds(["", "saturated", "saturated; out of focus"])
    'saturated (2); out of focus (1)'
    """
    kinds = [kind for value in values if value for kind in str(value).split(BETWEEN)]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    return BETWEEN.join(f"{kind} ({count})" for kind, count in counts.items())
