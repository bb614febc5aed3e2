"""Where a classifier's network puts the images of a data set, and which images lie apart."""

from napari_why.latent_space.colouring import Colouring, colouring_of, columns_to_colour
from napari_why.latent_space.figure import draw_path, draw_points, save_figure
from napari_why.latent_space.files import columns_to_share, write_latent_space
from napari_why.latent_space.irregular import find_irregular
from napari_why.latent_space.irregular_result import Irregular
from napari_why.latent_space.path import path_of, pooled_latents
from napari_why.latent_space.picking import nearest_point, points_within
from napari_why.latent_space.pooled import embed
from napari_why.latent_space.projection import PROJECTIONS, Projection, project
from napari_why.latent_space.space import LatentSpace
from napari_why.latent_space.typical_contrast import typical_contrast

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
    "typical_contrast",
    "write_latent_space",
]
