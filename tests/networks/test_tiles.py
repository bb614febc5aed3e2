"""Tiles cover a map once, each with its halo."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_why.networks.tiled_iresnet import scale_window, tiles_of


@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    side=st.integers(1, 45),
    halo=st.integers(0, 12),
)
def test_tiles_cover_a_map_once_and_see_their_halo(
    shape: tuple[int, int], side: int, halo: int
) -> None:
    covered = np.zeros(shape, int)
    places = np.arange(shape[0] * shape[1]).reshape(shape)
    for tile in tiles_of(shape, side, halo):
        covered[tile.inner] += 1
        np.testing.assert_array_equal(places[tile.outer][tile.core], places[tile.inner])
        for inner, outer, size in zip(tile.inner, tile.outer, shape, strict=True):
            assert inner.stop - inner.start <= side
            assert outer.start == max(0, inner.start - halo)
            assert outer.stop == min(size, inner.stop + halo)
    assert (covered == 1).all()


def test_a_window_on_a_finer_map_shows_the_same_place() -> None:
    coarse = np.arange(12).reshape(3, 4)
    fine = coarse.repeat(2, 0).repeat(2, 1)
    window = (slice(1, 3), slice(2, 4))
    np.testing.assert_array_equal(fine[scale_window(window, 2)][::2, ::2], coarse[window])
