"""What must hold before a table of images is a data set."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from napari_why.datasets.image_store import ImageFacts
from napari_why.datasets.tables import SPLITS
from napari_why.errors import DatasetError, LeakError, ParameterError
from napari_why.images import check_image


def resolve_groups(
    source: str, table: pd.DataFrame, group: str | Sequence[str] | None
) -> tuple[str, ...]:
    """Return the columns that name a group.

    ``auto`` takes plate and well where both are there (a well's name repeats on every plate), well
    where only that is there, else none.

    Raises
    ------
    DatasetError
        A column is not there.
    """
    if group == "auto":
        if "well" not in table.columns:
            return ()
        return ("plate", "well") if "plate" in table.columns else ("well",)
    columns = (group,) if isinstance(group, str) else tuple(group or ())
    missing = [name for name in columns if name not in table.columns]
    if missing:
        raise DatasetError(
            f"{source}: found no column {', '.join(missing)} to group by; expected some of "
            f"{', '.join(map(str, table.columns))}"
        )
    return columns


def group_numbers(table: pd.DataFrame, columns: Sequence[str]) -> NDArray[np.int64]:
    """Return every row's group number, by first appearance; without columns each row is one."""
    if not columns:
        return np.arange(len(table), dtype=np.int64)
    numbers = table.groupby(list(columns), sort=False, dropna=False).ngroup()
    return np.asarray(numbers, dtype=np.int64)


def check_classes(source: str, classes: Sequence[str]) -> None:
    """Raise DatasetError unless there are at least two classes."""
    if len(classes) < 2:
        found = f"one class only ({classes[0]})" if classes else "no image"
        raise DatasetError(
            f"{source}: found {found}; expected images of at least two classes to tell apart"
        )


def check_groups(source: str, table: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raise DatasetError where a group's name is missing: nobody knows where it belongs."""
    for name in columns:
        empty = table["path"][table[name].isna()]
        if len(empty):
            raise DatasetError(
                f"{source}: found no {name} for {len(empty)} images (first: {empty.iloc[0]}); "
                "expected one for every image, since splits keep the images of a group together"
            )


def check_images_agree(source: str, paths: Sequence[str], facts: Sequence[ImageFacts]) -> None:
    """Raise DatasetError where images differ in channels or pixel type.

    Grey levels of 8-bit and 16-bit images cannot be compared, so a mixture would teach a network
    the file format.
    """
    channels = [f"channels {', '.join(fact.channels)}" for fact in facts]
    for kind in (channels, [f"pixel type {fact.dtype}" for fact in facts]):
        counts = Counter(kind).most_common()
        if len(counts) > 1:
            (usual, usual_count), (other, other_count) = counts[0], counts[1]
            raise DatasetError(
                f"{source}: found {usual_count} images with {usual} but {other_count} with "
                f"{other} (first: {paths[kind.index(other)]}); expected the same in all images; "
                "take out the odd ones, or name the channels where only their names differ"
            )


def check_in_memory(images: Sequence[xr.DataArray], columns: Mapping[str, Any]) -> None:
    """Raise DatasetError unless all are planes with channels and every column fits them."""
    for index, image in enumerate(images):
        try:
            dims = check_image(image).dims
        except ParameterError as error:
            raise DatasetError(f"image {index}: {error}; see make_image") from error
        if dims != ("c", "y", "x"):
            raise DatasetError(
                f"image {index}: found the axes {', '.join(map(str, dims))}; expected c, y, x"
            )
    for name, values in columns.items():
        if len(values) != len(images):
            raise DatasetError(
                f"{name}: found {len(values)} values; expected one for each of the "
                f"{len(images)} images"
            )


def check_split_column(
    table: pd.DataFrame, group_columns: Sequence[str], *, allow_leak: bool
) -> None:
    """Check a split that came with the table.

    Raises
    ------
    DatasetError
        A name other than train, validation or test.
    LeakError
        A group is in two splits, unless ``allow_leak``.
    """
    unknown = sorted(set(map(str, table["split"])) - set(SPLITS))
    if unknown:
        raise DatasetError(
            f"column split: found {', '.join(map(repr, unknown))}; expected {', '.join(SPLITS)}"
        )
    if allow_leak or not group_columns:
        return
    splits = table.groupby(list(group_columns), sort=False)["split"].agg(
        lambda names: " and ".join(sorted(set(names)))
    )
    leaking = splits[splits.str.contains(" and ")]
    if len(leaking):
        first = leaking.index[0]
        name = " ".join(map(str, first)) if isinstance(first, tuple) else str(first)
        raise LeakError(
            f"{len(leaking)} of {len(splits)} groups by {' and '.join(group_columns)} are in more "
            f"than one split (first: {name} in {leaking.iloc[0]}); expected each in one, since its "
            "images are not independent; draw a new split, or allow it with allow_leak=True"
        )
