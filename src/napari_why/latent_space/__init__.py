"""Where a classifier's network puts the images of a data set, and which images lie apart."""

from napari_why.latent_space.colouring import Colouring, colouring_of, columns_to_colour
from napari_why.latent_space.figure import draw_path, draw_points, save_figure
from napari_why.latent_space.files import write_latent_space
from napari_why.latent_space.irregular import find_irregular
from napari_why.latent_space.irregular_result import Irregular
from napari_why.latent_space.path import path_of, pooled_latents
from napari_why.latent_space.pooled import embed
from napari_why.latent_space.projection import PROJECTIONS, Projection, project
from napari_why.latent_space.space import LatentSpace

__all__ = [
    "PROJECTIONS",
    "Colouring",
    "Irregular",
    "LatentSpace",
    "Projection",
    "colouring_of",
    "columns_to_colour",
    "draw_path",
    "draw_points",
    "embed",
    "find_irregular",
    "path_of",
    "pooled_latents",
    "project",
    "save_figure",
    "write_latent_space",
]
