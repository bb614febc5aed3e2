"""Objects cut out of the image by the evidence: seeds from the map, borders from the image."""

from dataclasses import replace
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from napari_why.attribution.pooled import contrast_of
from napari_why.attribution.registry import Evidence, RegionValue
from napari_why.attribution.wrapper import Wrapped, attribution_wrapper
from napari_why.core import events
from napari_why.core.devices import to_float64
from napari_why.core.options import Help, Range, Unit

Floats = NDArray[np.float64]
# Of Simonyan et al.: pixels of the map above the one are foreground, below the other background.
FOREGROUND, BACKGROUND = 0.95, 0.30
# Gaussians of a colour model (Rother et al. 2004, GrabCut).
GAUSSIANS = 5
# Pixels that a colour model is fitted to: five Gaussians of two channels have 29 numbers.
FITTED = 5000
# Capacities are whole numbers of hundredths, far finer than any model of colours is right.
PER_UNIT = 100
# nats; a pixel this far from one model is of the other, and a capacity stays a small whole number
CLEAR = 50.0
# Above the sum of all links of a pixel (8 of at most 100 each, and CLEAR): a seed is never cut off.
SEED = 10_000.0


@attribution_wrapper(
    title="Graph cut",
    source="Simonyan, Vedaldi & Zisserman 2014, arXiv:1312.6034, section 3.2; Boykov & Jolly 2001",
    caution=(
        "a graph cut follows the borders of structures in the image and finds regions in any map, in "
        "noise too: they tell which structures hold the strongest evidence, not what of them counts"
    ),
)
def graph_cut(
    wrapped: Wrapped,
    *,
    # a pixel: less than any structure that a microscope resolves, enough for single wild gradients
    blur: Annotated[
        float,
        Help("width of the Gaussian that the map is smoothed with first"),
        Range(0.0, 50.0),
        Unit("px"),
    ] = 1.0,
    # lambda of Boykov & Jolly; 50 in GrabCut's photographs cuts off what is a few pixels wide
    smoothness: Annotated[
        float, Help("cost of a border between equal pixels, against the colours"), Range(0.0, 100.0)
    ] = 5.0,
    # 3 x 3: below that no structure has a shape
    smallest: Annotated[
        int, Help("regions of fewer pixels are left out"), Range(1, 100_000), Unit("px")
    ] = 9,
    seed: Annotated[int, Help("of the fit of the colour models"), Range(0, 2**32 - 1)] = 0,
    on_event: events.OnEvent = events.ignore_event,
    cancelled: events.Cancelled = events.never_cancelled,
) -> Evidence:
    """Cut out the structures in which most evidence for the class lies.

    Pixels of the joint map's positive part above its 95 % quantile are seeds of the foreground, those
    at or below its 30 % quantile seeds of the background. Mixtures of Gaussians of the channels'
    intensities are fitted to both, and the minimal cut divides the image: the cost of a pixel is how
    badly its intensities fit the side it is on, that of a border falls with the contrast across it.
    Connected parts of the foreground that hold a seed are the regions.

    Parameters
    ----------
    wrapped : Wrapped
    on_event, cancelled : callable
        Those of the method.

    Returns
    -------
    Evidence
        Maps as the method's. ``labels``: the regions, numbered from the one with most evidence;
        ``regions``: sums of the joint map over each. Without positive evidence there is none.
    """
    found = wrapped.run(on_event=on_event, cancelled=cancelled)
    joint = np.asarray(to_float64(found.joint.cpu()).numpy())
    image = contrast_of(wrapped.x)
    seeds = find_seeds(joint, blur)
    inside = np.zeros(joint.shape, dtype=bool)
    if (seeds > 0).any() and (seeds < 0).any():
        inside = minimal_cut(image, colour_costs(image, seeds, seed), seeds, smoothness)
    labels = _number(inside, seeds > 0, joint, smallest)
    sums = [float(joint[labels == label].sum()) for label in range(1, labels.max() + 1)]
    area = float((labels > 0).mean())
    return replace(
        found,
        regions=tuple(RegionValue(label, total) for label, total in enumerate(sums, 1)),
        labels=torch.from_numpy(labels),
        details={**found.details, "regions_found": len(sums), "regions_area": area},
    )


def find_seeds(joint: Floats, blur: float) -> NDArray[np.int64]:
    """Return 1 where a map (H, W) is largest, -1 where it is least, or negative, 0 between.

    Parameters
    ----------
    joint : ndarray, shape (H, W)
        Signed evidence.
    blur : float
        Standard deviation, in pixels, of a Gaussian that it is smoothed with first.

    Returns
    -------
    ndarray of int, shape (H, W)
    """
    positive = gaussian_filter(joint, blur, mode="nearest").clip(min=0)
    high, low = np.quantile(positive, (FOREGROUND, BACKGROUND))
    return np.asarray((positive > high).astype(np.int64) - (positive <= low))


def colour_costs(image: Floats, seeds: NDArray[np.int64], seed: int) -> Floats:
    """Return how much worse each pixel fits the foreground than the background, in nats, (H, W).

    Parameters
    ----------
    image : ndarray, shape (H, W, C)
    seeds : ndarray, shape (H, W)
        1 foreground, -1 background, 0 neither.
    seed : int

    Returns
    -------
    ndarray, shape (H, W)
        Cut off where it is clear in any case.
    """
    from sklearn.mixture import GaussianMixture  # a second, since it imports most of scikit-learn

    generator = np.random.default_rng(seed)
    pixels = image.reshape(-1, image.shape[-1])

    def surprise(side: int) -> Floats:
        own = pixels[seeds.ravel() == side]
        own = generator.permutation(own)[:FITTED]
        model = GaussianMixture(
            min(GAUSSIANS, len(np.unique(own, axis=0))),
            # a hundredth of the contrast: pixels of one grey level are no infinitely sharp class
            reg_covar=1e-4,
            random_state=int(seed),
        )
        return np.asarray(-model.fit(own).score_samples(pixels))

    return (surprise(1) - surprise(-1)).reshape(image.shape[:2]).clip(-CLEAR, CLEAR)


# Half of the eight neighbours; a link is of both its ends.
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))


def neighbour_links(
    image: Floats, smoothness: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
    """Return the ends of all links between neighbours (as pixel numbers), and their costs.

    smoothness * exp(-|difference|^2 / (2 mean |difference|^2)) / distance (Boykov & Jolly 2001).

    Parameters
    ----------
    image : ndarray, shape (H, W, C)
        Each channel from 0 to 1.
    smoothness : float
        Cost of a link between two alike neighbours, 1 pixel apart, in nats.

    Returns
    -------
    starts, ends : ndarray of int, shape (links,)
        Pixels, counted row by row.
    costs : ndarray, shape (links,)
    """
    numbers = np.arange(image[..., 0].size).reshape(image.shape[:2])
    starts, ends, squares, distances = [], [], [], []
    height, width = image.shape[:2]
    for down, right in NEIGHBOURS:
        here = (slice(0, height - down), slice(max(0, -right), width - max(0, right)))
        there = (slice(down, height), slice(max(0, right), width - max(0, -right)))
        starts.append(numbers[here].ravel())
        ends.append(numbers[there].ravel())
        squares.append(((image[here] - image[there]) ** 2).sum(axis=-1).ravel())
        distances.append(np.full(squares[-1].shape, np.hypot(down, right)))
    square = np.concatenate(squares)
    # of an image without contrast every link costs the same
    similar = np.exp(-square / (2 * square.mean() or 1.0))
    return (
        np.concatenate(starts),
        np.concatenate(ends),
        smoothness * similar / np.concatenate(distances),
    )


def minimal_cut(
    image: Floats, cost: Floats, seeds: NDArray[np.int64], smoothness: float
) -> NDArray[np.bool_]:
    """Return the foreground (H, W) of least cost: that of its pixels and of its border.

    Parameters
    ----------
    image : ndarray, shape (H, W, C)
    cost : ndarray, shape (H, W)
        Of a pixel in the foreground, less that of it in the background.
    seeds : ndarray, shape (H, W)
        1 and -1: pixels whose side is given.
    smoothness : float
        See :func:`neighbour_links`.

    Returns
    -------
    ndarray of bool, shape (H, W)
    """
    starts, ends, links = neighbour_links(image, smoothness)
    settled = np.where(seeds == 0, cost, -SEED * seeds).ravel()
    pixels = np.arange(settled.size)
    source, sink = settled.size, settled.size + 1
    # the source is the foreground: a pixel cut off from it pays what the background costs it
    tails = np.concatenate([starts, ends, np.full_like(pixels, source), pixels])
    heads = np.concatenate([ends, starts, pixels, np.full_like(pixels, sink)])
    prices = np.concatenate([links, links, (-settled).clip(min=0), settled.clip(min=0)])
    # maximum_flow takes whole numbers of 32 bits
    whole = np.round(prices * PER_UNIT).astype(np.int32)
    graph = csr_array((whole, (tails, heads)), shape=(sink + 1, sink + 1))
    left = graph - maximum_flow(graph, source, sink).flow
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    # what the source still reaches is the side of the cut that it is on
    reached = breadth_first_order(left, source, return_predecessors=False)
    inside = np.zeros(sink + 1, dtype=bool)
    inside[reached] = True
    return inside[: settled.size].reshape(cost.shape)


def _number(
    inside: NDArray[np.bool_], seeds: NDArray[np.bool_], joint: Floats, smallest: int
) -> NDArray[np.int64]:
    """Return labels of the connected parts that hold a seed, from most evidence to least."""
    from skimage.measure import label

    parts = np.asarray(label(inside, connectivity=2))
    count = parts.max() + 1
    area, seeded, evidence = (
        np.bincount(parts.ravel(), weights=values.ravel(), minlength=count)
        for values in (np.ones_like(joint), seeds.astype(float), joint)
    )
    # a part without a seed only has the colours of the evidence
    kept = [part for part in range(1, count) if area[part] >= smallest and seeded[part]]
    numbers = np.zeros(count, dtype=np.int64)
    for number, part in enumerate(sorted(kept, key=lambda part: -evidence[part]), 1):
        numbers[part] = number
    return np.asarray(numbers[parts])
