"""What was found about irregular images and wells."""

from dataclasses import dataclass

import pandas as pd

from napari_why.errors import ParameterError


@dataclass(frozen=True)
class Irregular:
    """What came out of :func:`~napari_why.latent_space.find_irregular`.

    Parameters
    ----------
    images : DataFrame
        The space's table, row by row, with ``distance`` (robust Mahalanobis distance from the
        centre of the image's class; NaN where the class was not judged), ``cutoff`` (for this
        image), ``relative distance`` (their ratio), ``irregular`` (it is above 1) and ``nearest
        class`` (that of the smallest relative distance).
    wells : DataFrame
        One row per class and group: ``class``, the group columns, ``images``, ``median distance``
        (relative), ``z`` (robust, among the groups of the class), ``cutoff`` and ``irregular``.
        Empty without groups.
    classes : DataFrame
        One row per class: ``class``, ``images``, ``reference`` (images that made its shape),
        ``dimensions``, ``estimator`` (empty where there were too few images), and the share of
        irregular images among the ``reference images`` and the ``other images`` (NaN without any).
    rate : float
        Share of regular images, and wells, that the cutoffs let through by chance.
    sentences : tuple of str
        All of it in words.
    """

    images: pd.DataFrame
    wells: pd.DataFrame
    classes: pd.DataFrame
    rate: float
    sentences: tuple[str, ...]

    @property
    def listed(self) -> pd.DataFrame:
        """The irregular images, the farthest first."""
        found = self.images[self.images["irregular"]]
        return found.sort_values("relative distance", ascending=False)

    @property
    def listed_wells(self) -> pd.DataFrame:
        """The irregular wells, the farthest first."""
        if self.wells.empty:
            return self.wells
        return self.wells[self.wells["irregular"]].sort_values("z", ascending=False)

    def shares(self, column: str) -> pd.DataFrame:
        """Count irregular images by the values of a column: plate, cell line, class, ...

        Returns
        -------
        DataFrame
            The column, ``images`` (judged), ``irregular``, ``share`` (0 to 1) and ``by chance``
            (the number to be expected), the largest share first.

        Raises
        ------
        ParameterError
            There is no such column.
        """
        if column not in self.images.columns:
            known = ", ".join(map(str, self.images.columns))
            raise ParameterError(f"column: found {column!r}; expected one of {known}")
        judged = self.images[self.images["distance"].notna()]
        grouped = judged.groupby(column, dropna=False)["irregular"]
        counted = grouped.agg(images="size", irregular="sum", share="mean").reset_index()
        counted["by chance"] = self.rate * counted["images"]
        return counted.sort_values(["share", "images"], ascending=False).reset_index(drop=True)
