"""Bring maps of many images to one frame: the frame of the image, of each cell, or regions of cells."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import regionprops

from napari_why.core.errors import ParameterError, WhyError
from napari_why.datasets import Dataset, Preprocessing
from napari_why.datasets.preprocessing import bring_to_size, select_pixels
from napari_why.simulation.planted_effects import CellMap, find_cells

Alignment = Literal["auto", "none", "nuclei", "nuclei_and_axis", "regions"]

# Stains of DNA, and what channels of nuclei are called.
NUCLEI = re.compile(r"dapi|hoechst|draq|dna|nucle|h2b|to-?pro|sytox", re.IGNORECASE)
# Regions of a cell, from its middle outwards.
REGIONS = ("nucleus", "cytoplasm", "background")
# Radii of a nucleus beyond its rim up to which a pixel counts as cytoplasm: cells next to no other have
# little dye farther out.
CYTOPLASM = 2.0
# Length over width below which nobody would call a nucleus long: its axis is then one of the noise.
ROUND = 1.2
# Area over that of the convex hull: nuclei that stand apart have more. Of their area, below this lie 0 % in
# simulated fields, 12 % in bbbc013, 21 % in single cells at 63x, and 90 % in colonies of touching nuclei
# (leigh) or where the channel shows mitochondria ...
CONVEX = 0.9
# ... so that from this share on crops are not of cells.
CLUMPED = 0.5
# Half a crop holds one position at least on either side of the middle.
SMALLEST_HALF = 2
# Samples a side at which images are compared: cells are still apart, noise is averaged out.
COARSE = 32
# Of the coarse samples: illumination is smoother than this and would make unlike places alike.
SMOOTH = 4.0
# An image counts as in place where it is more like the others than at this share of all shifts ...
IN_PLACE = 0.95
# ... and images as registered where this share of them is; of images that are not, one in twenty is.
REGISTERED = 0.5
# Leaving out the own well needs others, and of two the mean is only one image.
FEWEST_GROUPS = 3


def find_nuclear_channel(channels: Sequence[str]) -> str | None:
    """Return the first channel whose name tells a stain of nuclei, None where none does.

    Examples
    --------
    >>> find_nuclear_channel(["TMRM", "Hoechst 33342"]), find_nuclear_channel(["a", "b"])
    ('Hoechst 33342', None)
    """
    return next((name for name in channels if NUCLEI.search(name)), None)


def choose_alignment(
    wanted: Alignment, nuclei: str, channels: Sequence[str]
) -> tuple[Alignment, str | None]:
    """Settle how maps are aligned and which channel shows nuclei.

    Parameters
    ----------
    wanted : str
        ``auto``: to nuclei where a channel of them is known.
    nuclei : str
        Name of a channel, or ``auto``: by its name.
    channels : sequence of str
        Of the images.

    Returns
    -------
    alignment : str
        Any but ``auto``.
    nuclei : str or None

    Raises
    ------
    ParameterError
        There is no such channel; or none is known, and the alignment needs one or was not chosen.
    """
    if nuclei != "auto" and nuclei not in channels:
        raise ParameterError(
            f"nuclei: found {nuclei!r}; expected auto or one of {', '.join(channels)}"
        )
    found = find_nuclear_channel(channels) if nuclei == "auto" else nuclei
    if found is None and wanted != "none":
        raise ParameterError(
            f"alignment: found {wanted!r} and no channel whose name tells nuclei among "
            f"{', '.join(channels)}; expected the name of one as nuclei, or alignment 'none' where all "
            "images show the same places at the same pixels"
        )
    return ("nuclei" if wanted == "auto" else wanted), found


@dataclass(frozen=True)
class CellPlace:
    """Where a cell lies and how it is turned.

    Parameters
    ----------
    centre : (float, float)
        Of its nucleus, y and x in pixels.
    along : (float, float)
        Unit vector y, x that becomes the direction of x; (0, 1) where nothing is turned.
    elongation : float
        Length over width of the nucleus, at least 1.
    """

    centre: tuple[float, float]
    along: tuple[float, float] = (0.0, 1.0)
    elongation: float = 1.0


def place_cells(
    cells: CellMap, planes: NDArray[np.float64], *, half: int, turned: bool
) -> list[CellPlace]:
    """Return the cells whose nucleus lies whole within the image.

    Parameters
    ----------
    cells : CellMap
    planes : ndarray, shape (C, H, W)
        The image: of the two ends of a nucleus that one points along which has more light of the cell.
    half : int
        Pixels from the nucleus within which light counts.
    turned : bool
        Whether to find the long axis of every nucleus.

    Returns
    -------
    list of CellPlace
        Centres on the pixels of ``cells``; with axis and elongation where ``turned``.
    """
    own = np.where(cells.nuclei, cells.number, 0)
    cut = set(np.concatenate([own[0], own[-1], own[:, 0], own[:, -1]]).tolist())
    light = _light(planes) if turned else None
    found = []
    for index, centre in enumerate(cells.centres, start=1):
        if index in cut:
            continue  # its middle is not the middle of what is seen of it
        middle = (float(centre[0]), float(centre[1]))
        if light is None:
            found.append(CellPlace(middle))
            continue
        along, elongation = _long_axis(own == index, centre)
        rows, columns = np.nonzero(cells.number == index)
        offsets = np.stack([rows, columns], axis=1) - centre
        near = (offsets**2).sum(axis=1) <= half**2
        # an axis has two ends: without this a cell and its copy turned by half a circle stay apart
        leaning = (light[rows, columns] * (offsets @ along))[near].sum()
        along = -along if leaning < 0 else along
        found.append(CellPlace(middle, (float(along[0]), float(along[1])), elongation))
    return found


def _light(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the light of all channels above their median, in standard deviations; shape (H, W)."""
    middle = np.median(planes, axis=(1, 2), keepdims=True)
    spread = planes.std(axis=(1, 2), keepdims=True)
    scaled = (planes - middle) / np.where(spread > 0, spread, 1)
    return np.asarray(np.clip(scaled, 0, None).sum(axis=0))


def _long_axis(
    mask: NDArray[np.bool_], centre: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    offsets = np.argwhere(mask) - centre
    # a pixel is an area: without its own moment of 1/12 a row of pixels would have no width
    moments = offsets.T @ offsets / len(offsets) + np.eye(2) / 12
    values, vectors = np.linalg.eigh(moments)
    return vectors[:, 1], float(np.sqrt(values[1] / values[0]))


def crop_cell(
    planes: NDArray[np.floating[Any]], place: CellPlace, half: int
) -> NDArray[np.float64]:
    """Return the surroundings of a cell, bilinear, its nucleus in the middle and turned upright.

    Parameters
    ----------
    planes : ndarray, shape (P, H, W)
    place : CellPlace
    half : int

    Returns
    -------
    ndarray, shape (P, 2 half + 1, 2 half + 1)
        NaN outside the image. The long axis of a turned nucleus lies along x.
    """
    steps = np.arange(-half, half + 1)
    down, right = np.meshgrid(steps, steps, indexing="ij")
    y, x = place.along
    # a rotation, so that nothing is mirrored: (x, -y) is (y, x) turned by a quarter of a circle
    rows = place.centre[0] + right * y + down * x
    columns = place.centre[1] + right * x - down * y
    return np.stack(
        [
            ndimage.map_coordinates(plane.astype(np.float64), [rows, columns], order=1, cval=np.nan)
            for plane in planes
        ]
    )


def label_regions(cells: CellMap) -> NDArray[np.int8]:
    """Return for every pixel the number of its region in :data:`REGIONS`; shape (H, W)."""
    near = cells.distance <= CYTOPLASM * cells.radius
    return np.where(cells.nuclei, 0, np.where(near, 1, 2)).astype(np.int8)


# Images from which the usual radius of a nucleus is taken; a median of nine withstands a few odd ones.
SAMPLED = 9


@dataclass(frozen=True)
class Frame:
    """Where values of many images are averaged: pixels as they lie, or crops around nuclei.

    Parameters
    ----------
    alignment : str
        Any but ``auto``.
    nuclei : str or None
        Channel of the nuclei.
    preprocessing : Preprocessing
        Values lie on its pixels.
    half : int
        Pixels on either side of a nucleus; 0 where nothing is cut out.
    clumped : float
        Share of the nuclei's area in regions that no single nucleus is shaped as.
    """

    alignment: Alignment
    nuclei: str | None
    preprocessing: Preprocessing
    half: int = 0
    clumped: float = 0.0

    def sized(self, dataset: Dataset, reach: float) -> "Frame":
        """Return the frame with crops of ``reach`` usual radii of the data set's nuclei.

        Parameters
        ----------
        dataset : Dataset
            Nine of its images are looked at.
        reach : float
            From the middle of a nucleus to the edge of a crop, in median radii of nuclei.

        Returns
        -------
        Frame
            This one where nothing is cut out.
        """
        if self.alignment not in ("nuclei", "nuclei_and_axis"):
            return self
        radii, solid, all_area = [], 0.0, 0.0
        for row in np.unique(np.linspace(0, len(dataset) - 1, SAMPLED).astype(int)):
            try:
                cells = self.cells(dataset.image(int(row)))
            except (WhyError, OSError):
                continue  # named when its turn comes
            if cells is not None and len(cells.centres):
                radii.append(cells.radius)
                found = regionprops(np.where(cells.nuclei, cells.number, 0))
                solid += sum(float(item.area) for item in found if item.solidity >= CONVEX)
                all_area += sum(float(item.area) for item in found)
        # one size for all images: crops of each image's own would not lie on each other
        usual = float(np.median(radii)) if radii else 0.0
        half = max(SMALLEST_HALF, round(reach * usual))
        return replace(self, half=half, clumped=1 - solid / all_area if all_area else 0.0)

    @property
    def warning(self) -> str:
        """What is to be said where the regions that were found are no single nuclei; else empty."""
        if self.clumped < CLUMPED:
            return ""
        return (
            f"{self.clumped:.0%} of the area that stands out in {self.nuclei} is in shapes that no single "
            "nucleus has: nuclei touch, or the channel shows something else, and a crop around the middle "
            "of such a shape is not one of a cell"
        )

    def pixels(self, image: xr.DataArray, channels: Sequence[str]) -> NDArray[np.float64]:
        """Return raw pixels (C, H, W) on the grid of the network.

        Parameters
        ----------
        image : DataArray
            In the file's grey levels.
        channels : sequence of str
            Which of its channels, in this order.

        Returns
        -------
        ndarray, float64, shape (C, H, W)
        """
        made = self.preprocessing
        return bring_to_size(select_pixels(image, channels), made.size, made.fit)

    def cells(self, image: xr.DataArray) -> CellMap | None:
        """Return the cells of an image, None where no channel of nuclei is known."""
        if self.nuclei is None:
            return None
        (plane,) = self.pixels(image, [self.nuclei])
        return find_cells(plane, plane.shape)

    def bring(
        self, planes: NDArray[np.float64], raw: NDArray[np.float64], cells: CellMap | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], list[float]]:
        """Bring planes of an image into the frame.

        Parameters
        ----------
        planes : ndarray, shape (P, H, W)
        raw : ndarray, shape (C, H, W)
            The image, by whose light cells are turned.
        cells : CellMap or None

        Returns
        -------
        total : ndarray, shape (P, h, w)
            Sums over cells, or the planes as they are.
        count : ndarray, shape (h, w)
            How many values are in each sum: crops are cut off at the edge of the image.
        elongations : list of float
            Of the nuclei that were cut out.
        """
        if cells is None or not self.half:
            return planes, np.ones(planes.shape[1:]), []
        side = 2 * self.half + 1
        total, count = np.zeros((len(planes), side, side)), np.zeros((side, side))
        turned = self.alignment == "nuclei_and_axis"
        places = place_cells(cells, raw, half=self.half, turned=turned)
        for place in places:
            crop = crop_cell(planes, place, self.half)
            there = np.isfinite(crop).all(axis=0)
            total += np.where(there, crop, 0)
            count += there
        return total, count, [place.elongation for place in places]


@dataclass(frozen=True)
class Registration:
    """Whether images show the same places at the same pixels, as measured.

    Parameters
    ----------
    share : float
        Of the images that are more like the mean of the images of other wells as they lie than at 95 %
        of all shifts; of images that show different places each, 5 % are.
    images : int
    """

    share: float
    images: int

    @property
    def registered(self) -> bool:
        """Whether a mean over pixels averages like with like."""
        return self.share >= REGISTERED

    @property
    def sentence(self) -> str:
        """What was measured, and what follows."""
        measured = (
            f"{self.share:.0%} of {self.images} images are more like the mean of the other wells' images "
            f"as they lie than at {IN_PLACE:.0%} of all shifts ({1 - IN_PLACE:.0%} would be by chance)"
        )
        if self.registered:
            return f"the images are registered: {measured}"
        return (
            f"the images are not registered: {measured}; a mean over pixels averages unlike places and "
            "is meaningless; take alignment 'nuclei', 'nuclei_and_axis' or 'regions'"
        )


def measure_registration(
    images: Sequence[NDArray[np.float64]], groups: Sequence[Any]
) -> Registration | None:
    """Compare every image with the mean of those of other groups, as it lies and shifted.

    Parameters
    ----------
    images : sequence of ndarray, shape (C, k, k)
        As :func:`coarse_image` makes them.
    groups : sequence
        The well, or other group, of each image: images of one well may show the same place.

    Returns
    -------
    Registration or None
        None with images of fewer than three groups.
    """
    names = list(map(str, groups))
    if len(set(names)) < FEWEST_GROUPS:
        return None
    stack = np.stack(images)
    total = stack.sum(axis=0)
    of_group = {name: stack[[other == name for other in names]].sum(axis=0) for name in set(names)}
    # the middle alone is compared, so that at no shift the edge of an image lies on that of another
    edge = COARSE // 4
    in_place = []
    for image, name in zip(stack, names, strict=True):
        middle = image[:, edge:-edge, edge:-edge]
        others = total - of_group[name]
        places = np.lib.stride_tricks.sliding_window_view(others, middle.shape)[0]
        found = np.einsum("yxcij,cij->yx", places, middle)
        in_place.append(np.mean(found < found[edge, edge]) >= IN_PLACE)
    return Registration(float(np.mean(in_place)), len(names))


def coarse_image(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an image (C, H, W) at 32 x 32 samples without what is smooth, of even contrast."""
    small = pool_planes(planes, COARSE)
    sharp = small - _smoothed(small)
    # divided by what is usual around: lamps make the middle of all images richer in contrast
    around = np.sqrt(_smoothed(sharp**2))
    return np.asarray(sharp / np.where(around > 0, around, 1))


def _smoothed(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(ndimage.gaussian_filter(planes, (0, SMOOTH, SMOOTH), mode="nearest"))


def pool_planes(planes: NDArray[np.floating[Any]], side: int) -> NDArray[np.float64]:
    """Return means of planes (P, H, W) over side x side blocks that cover all pixels; 0 for NaN.

    Parameters
    ----------
    planes : ndarray, shape (P, H, W)
    side : int
        Blocks along height and along width.

    Returns
    -------
    ndarray, float64, shape (P, side, side)
    """
    import torch  # takes seconds, which aligning alone does not need

    whole = torch.from_numpy(np.nan_to_num(np.asarray(planes, dtype=np.float64)))
    pooled = torch.nn.functional.adaptive_avg_pool2d(whole, (side, side))
    return np.asarray(pooled.numpy())
