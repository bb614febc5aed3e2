"""What is looked at before a network is trained: leaks between splits, and what tells the class."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from napari_why.core.errors import LeakError
from napari_why.core.events import Advanced, Cancelled, Message, OnEvent, Started
from napari_why.datasets.dataset import Dataset, image_digest
from napari_why.datasets.factors import natural_groups
from napari_why.datasets.spellings import SPLITS

Duplicates = Literal["refuse", "leave_out", "keep"]


@dataclass(frozen=True)
class IdenticalImages:
    """Images that share pixels.

    Parameters
    ----------
    rows : tuple of int
        Rows of the data set's table, at least two.
    channels : tuple of str
        The channels whose pixels are the same in all of them.
    paths : tuple of str
        The images' files, in the order of ``rows``.
    splits : tuple of str
        The splits they are in, each once, in table order; empty when the data set is not split.
    """

    rows: tuple[int, ...]
    channels: tuple[str, ...]
    paths: tuple[str, ...]
    splits: tuple[str, ...] = ()

    @property
    def leaks(self) -> bool:
        """Whether they stand in more than one split."""
        return len(self.splits) > 1

    def __str__(self) -> str:
        where = f" (splits {' and '.join(self.splits)})" if self.splits else ""
        return f"identical {' and '.join(self.channels)} in {' and '.join(self.paths)}{where}"


def identical_images(dataset: Dataset) -> tuple[IdenticalImages, ...]:
    """Find images that have the pixels of one or more channels in common.

    One shared plane is enough: a network that recognises the nuclei knows the image. Constant
    planes (an empty channel) do not count.

    Parameters
    ----------
    dataset : Dataset
        All pixels are hashed once; later calls are quick.

    Returns
    -------
    tuple of IdenticalImages
        One for every set of images with the same shared channels, by first row.
    """
    # By channel and digest: the same pixels under another channel's name are no copy of it.
    rows_of_plane: dict[tuple[str, str], list[int]] = defaultdict(list)
    for row, position in enumerate(dataset.positions):
        for channel, plane in dataset.store.digests(position).items():
            if not plane.constant:
                rows_of_plane[channel, plane.text].append(row)
    # One finding for each set of images, not one for each channel that they share.
    channels_of_rows: dict[tuple[int, ...], list[str]] = defaultdict(list)
    for (channel, _), rows in rows_of_plane.items():
        if len(rows) > 1:
            channels_of_rows[tuple(rows)].append(channel)
    return tuple(
        _describe(dataset, rows, tuple(channels_of_rows[rows])) for rows in sorted(channels_of_rows)
    )


def require_no_identical_images(dataset: Dataset) -> None:
    """Raise LeakError when identical pixels stand in two splits, naming the files."""
    leaks = [found for found in identical_images(dataset) if found.leaks]
    if leaks:
        raise LeakError(
            f"{len(leaks)} sets of images with identical pixels are in more than one split; "
            f"expected none; first: {leaks[0]}; remove all but one of each"
        )


def _describe(
    dataset: Dataset, rows: tuple[int, ...], channels: tuple[str, ...]
) -> IdenticalImages:
    chosen = dataset.table.iloc[list(rows)]
    splits = tuple(dict.fromkeys(chosen["split"])) if "split" in chosen.columns else ()
    return IdenticalImages(rows, channels, tuple(chosen["path"]), splits)


@dataclass(frozen=True)
class CheckedData:
    """A data set to train on, and what was found about it.

    Parameters
    ----------
    dataset : Dataset
        Without the images that were left out.
    notes : tuple of str
        What the user of the classifier should know.
    left_out : tuple of str
        Paths of validation and test images that were left out since a split before has their pixels.
    """

    dataset: Dataset
    notes: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def to_card(self) -> dict[str, Any]:
        """Return what the card says of it, as JSON types."""
        return {
            "confounding": self.dataset.confounding.to_dict(),
            "duplicates_left_out": list(self.left_out),
            "data_notes": list(self.dataset.notes),
        }


def check_data(
    dataset: Dataset, duplicates: Duplicates, *, on_event: OnEvent, cancelled: Cancelled
) -> CheckedData:
    """Look for leaks between the splits, and for what else tells the class.

    Parameters
    ----------
    dataset : Dataset
        Split.
    duplicates : {"refuse", "leave_out", "keep"}
        What becomes of pixels that stand in two splits, under whatever names: an error; out of
        validation and test; nothing but a note.
    on_event, cancelled
        See :mod:`napari_why.core.events`; when cancelled, pixels are not compared.

    Returns
    -------
    CheckedData
        With every finding as a sentence.

    Raises
    ------
    LeakError
        The same pixels stand in two splits, and ``duplicates`` is ``refuse``.
    """
    notes = [*dataset.confounding.sentences, *_split_wells(dataset)]
    trained = dataset.part("train")
    if trained.imbalance:
        notes.append(trained.imbalance)
    leaks = _find_leaks(dataset, on_event, cancelled)
    left_out: tuple[str, ...] = ()
    if leaks and duplicates == "refuse":
        raise LeakError(
            f"{len(leaks)} sets of images with identical pixels are in more than one split; expected "
            f"none, since a network is not tested by what it was trained on; first: {leaks[0]}; remove "
            "all but one of each, or leave the copies out of validation and test with "
            "duplicates='leave_out' (--duplicates leave_out)"
        )
    if leaks and duplicates == "leave_out":
        copies = _find_copies(dataset, leaks)
        left_out = tuple(str(path) for path in dataset.table["path"].iloc[copies])
        dataset = dataset.select(np.setdiff1d(np.arange(len(dataset)), copies))
        notes.append(
            f"{len(copies)} validation and test images are left out, since their pixels, of one channel "
            f"at least, stand in a split before (first: {left_out[0]})."
        )
    elif leaks:
        notes.append(
            f"Warning: {len(leaks)} sets of images with identical pixels are in more than one split "
            f"and were kept (first: {leaks[0]}): figures on validation and test images are too good."
        )
    for note in notes:
        on_event(Message(note, finding=True))
    return CheckedData(dataset, tuple(notes), left_out)


def _find_leaks(dataset: Dataset, on_event: OnEvent, cancelled: Cancelled) -> list[IdenticalImages]:
    on_event(Started("comparing the pixels of all images", len(dataset)))
    for row in range(len(dataset)):
        if cancelled():
            return []
        image_digest(dataset, row)  # kept by the store, so that it is not computed again
        on_event(Advanced(row + 1))
    return [found for found in identical_images(dataset) if found.leaks]


def _find_copies(dataset: Dataset, leaks: Sequence[IdenticalImages]) -> list[int]:
    """Return the rows to leave out, so that no pixels stand in two splits."""
    order = [SPLITS.index(name) for name in dataset.table["split"]]
    out: set[int] = set()
    # What leaks from training first: an image that is left out of validation leaks no further.
    for found in sorted(leaks, key=lambda item: min(order[row] for row in item.rows)):
        kept = [row for row in found.rows if row not in out]
        first = min((order[row] for row in kept), default=0)
        out.update(row for row in kept if order[row] > first)
    return sorted(out)


def _split_wells(dataset: Dataset) -> list[str]:
    """Tell of wells in two splits: allowed when the data set was opened, or opened without groups."""
    columns = natural_groups(dataset.table, dataset.group_columns)
    if not columns:
        return []
    splits = dataset.table.groupby(list(columns), dropna=False)["split"].nunique()
    apart = int((splits > 1).sum())
    if not apart:
        return []
    return [
        f"Warning: {apart} of {len(splits)} groups by {' and '.join(columns)} are in more than one "
        "split: figures on validation and test images are of wells that the network was trained on."
    ]
