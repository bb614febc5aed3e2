"""Find images, or single channels of images, with the very same pixels."""

from collections import defaultdict
from dataclasses import dataclass

from napari_why.core.errors import LeakError
from napari_why.datasets.dataset import Dataset


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
