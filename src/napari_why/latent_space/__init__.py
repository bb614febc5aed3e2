"""Where a classifier's network puts the images of a data set, and which images lie apart."""

from napari_why.latent_space.files import (
    Colouring,
    check_target,
    colouring_of,
    columns_to_colour,
    columns_to_share,
    draw_path,
    draw_points,
    save_figure,
    write_latent_space,
)
from napari_why.latent_space.outliers import OutlierOptions, Outliers, find_outliers
from napari_why.latent_space.projection import (
    PROJECTIONS,
    Projection,
    embed_series,
    path_of,
    project,
    projection_method,
)
from napari_why.latent_space.space import LatentSpace, embed

__all__ = [
    "PROJECTIONS",
    "Colouring",
    "LatentSpace",
    "OutlierOptions",
    "Outliers",
    "Projection",
    "check_target",
    "colouring_of",
    "columns_to_colour",
    "columns_to_share",
    "draw_path",
    "draw_points",
    "embed",
    "embed_series",
    "find_outliers",
    "path_of",
    "project",
    "projection_method",
    "save_figure",
    "write_latent_space",
]
