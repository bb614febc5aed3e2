"""Where a classifier's network puts the images of a data set, and which images lie apart."""

from napari_why.latent_space.files import (
    Colouring,
    colouring_of,
    columns_to_colour,
    columns_to_share,
    draw_path,
    draw_points,
    save_figure,
    write_latent_space,
)
from napari_why.latent_space.outliers import Irregular, find_irregular
from napari_why.latent_space.picking import nearest_point, points_within
from napari_why.latent_space.projection import (
    PROJECTIONS,
    Projection,
    path_of,
    pooled_latents,
    project,
)
from napari_why.latent_space.space import LatentSpace, embed

__all__ = [
    "PROJECTIONS",
    "Colouring",
    "Irregular",
    "LatentSpace",
    "Projection",
    "colouring_of",
    "columns_to_colour",
    "columns_to_share",
    "draw_path",
    "draw_points",
    "embed",
    "find_irregular",
    "nearest_point",
    "path_of",
    "points_within",
    "pooled_latents",
    "project",
    "save_figure",
    "write_latent_space",
]
