"""Tiles are the pixels that slicing gives, wherever they lie, in the layout of convolutions."""

import pytest
import torch
import torch.nn.functional as F

from napari_why.attribution.incremental.tiles import Place, StoredMaps, paste


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("size", [(1, 1), (3, 4), (6, 9), (7, 4), (7, 9)])
def test_tiles_are_the_slices_of_the_maps(channels: int, size: tuple[int, int]) -> None:
    """From corner to corner, in rows and columns of all the maps' length too, as views of other maps."""
    large = torch.randn(1, channels, 9, 11, generator=torch.Generator().manual_seed(0))
    maps = large[:, :, 1:8, 1:10]
    height, width = size
    tops, lefts = [0, 7 - height, 0, (7 - height) // 2], [0, 9 - width, 9 - width, 0]
    tiles = StoredMaps(maps, {}).cut(Place(tops, lefts, height, width))
    expected = [maps[0, :, y : y + height, x : x + width] for y, x in zip(tops, lefts, strict=True)]
    assert torch.equal(tiles, torch.stack(expected))
    assert tiles.is_contiguous(memory_format=torch.channels_last)
    before = large.clone()
    tiles += 1  # nobody else's, and no two of them share pixels
    assert torch.equal(large, before)
    assert torch.equal(tiles, torch.stack(expected) + 1)


def test_tiles_reach_beyond_the_maps_into_their_padding() -> None:
    maps = torch.randn(1, 3, 5, 6, generator=torch.Generator().manual_seed(0))
    stored = StoredMaps(maps, {0.0: (1, 2, 1, 3), -1.0: (2, 2, 2, 2)})
    for border, (left, right, above, below) in ((0.0, (1, 2, 1, 3)), (-1.0, (2, 2, 2, 2))):
        padded = F.pad(maps, (left, right, above, below), value=border)[0]
        place = Place([-above, 5 + below - 4], [-left, 6 + right - 4], 4, 4)
        tiles = stored.cut(place, border)
        assert torch.equal(tiles[0], padded[:, :4, :4])
        assert torch.equal(tiles[1], padded[:, -4:, -4:])


def test_a_patch_is_written_as_far_as_it_lies_inside() -> None:
    place = Place([0, 0, 3], [0, 0, 2], 4, 4)
    tiles, patch = torch.zeros(3, 1, 4, 4), torch.ones(3, 1, 2, 3)
    paste(tiles, place, patch, Place([1, -1, 3], [1, 3, 2], 2, 3))
    expected = torch.zeros(3, 4, 4)
    expected[0, 1:3, 1:4] = expected[1, 0:1, 3:4] = expected[2, 0:2, 0:3] = 1
    assert torch.equal(tiles[:, 0], expected)
    assert place.of(slice(1, 3)) == Place([0, 3], [0, 2], 4, 4)
