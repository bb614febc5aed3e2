import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_why.images.image import Grid


@given(st.integers(1, 64), st.integers(1, 9))
def test_a_reduced_grid_covers_the_source_exactly(pixels: int, factor: int) -> None:
    grid = Grid.reduce((pixels * factor, pixels * factor), (pixels, pixels))
    first_edge = grid.offset[0] - grid.step[0] / 2
    last_edge = grid.offset[0] + (pixels - 1) * grid.step[0] + grid.step[0] / 2
    assert first_edge == pytest.approx(-0.5)
    assert last_edge == pytest.approx(pixels * factor - 0.5)


def test_a_cropped_grid_starts_at_its_corner() -> None:
    grid = Grid.crop((10, 12), (3, 5))
    assert grid == Grid((10, 12), step=(1.0, 1.0), offset=(3.0, 5.0))
