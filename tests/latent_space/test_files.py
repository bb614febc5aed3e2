"""A latent space as tables, figures and a report."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from napari_why.core.errors import ParameterError, WhyError
from napari_why.latent_space import (
    LatentSpace,
    colouring_of,
    draw_path,
    draw_points,
    find_outliers,
    project,
    save_figure,
    write_latent_space,
)


@pytest.fixture
def found(drawn):
    space = drawn(count=120, wells=12, dimensions=3)
    space.latents[:12] += 15
    return space, project(space), find_outliers(space)


def test_the_folder_holds_tables_figures_and_words(found, tmp_path):
    space, projection, outliers = found
    folder = write_latent_space(tmp_path / "out", space, projection, outliers)
    assert len(LatentSpace.load(folder / "latent_space.parquet")) == 120
    images = pd.read_csv(folder / "images.csv")
    np.testing.assert_allclose(images[["x", "y"]], projection.coordinates)
    listed = pd.read_csv(folder / "outlier_images.csv")
    assert set(range(12)) <= set(listed["image"])
    assert listed["relative distance"].is_monotonic_decreasing
    assert len(pd.read_csv(folder / "wells.csv")) == 12
    shares = pd.read_csv(folder / "shares.csv")
    assert set(shares["column"]) >= {"class", "plate", "well"}
    assert (folder / "latent_space.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (folder / "latent_space.svg").read_text()
    report = json.loads((folder / "report.json").read_text())
    assert report["sentences"] == list(outliers.sentences)
    assert report["record"]["kind"] == "latent space"


def test_only_what_was_written_here_is_replaced(found, tmp_path):
    space, projection, _ = found
    folder = write_latent_space(tmp_path / "out", space, projection)
    with pytest.raises(WhyError, match="nothing was written"):
        write_latent_space(folder, space, projection)
    write_latent_space(folder, space, projection, overwrite=True)
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(WhyError, match="something else"):
        write_latent_space(other, space, projection, overwrite=True)


def test_unknown_columns_and_endings_are_refused(found, tmp_path):
    space, projection, outliers = found
    with pytest.raises(ParameterError, match="found 'dose'"):
        write_latent_space(tmp_path / "out", space, projection, outliers, color_by="dose")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ParameterError, match=r"\.png or \.svg"):
        save_figure(space, projection, tmp_path / "a.pdf")


def test_every_class_has_its_colour_and_name(found):
    space, projection, outliers = found
    axes = Figure().subplots()
    colouring = colouring_of(space.table, "class")
    ringed = outliers.images["outlier"].to_numpy()
    assert draw_points(axes, projection.coordinates, colouring, ringed=ringed) is None
    labels = [item.get_label() for item in axes.collections]
    assert labels == ["diseased", "healthy", "outlier"]
    healthy = axes.collections[1]
    assert to_hex(healthy.get_facecolors()[0]).upper() == colouring.colour(1)
    expected = projection.coordinates[(space.table["class"] == "healthy").to_numpy()]
    np.testing.assert_allclose(healthy.get_offsets(), expected)
    assert len(axes.collections[2].get_offsets()) == ringed.sum()


def test_a_scale_gets_a_colour_bar_and_many_names_are_cut_short(found):
    _, projection, outliers = found
    axes = Figure().subplots()
    scale = colouring_of(outliers.images, "distance")
    assert draw_points(axes, projection.coordinates, scale) is axes.collections[0]
    many = colouring_of(pd.DataFrame({"n": [f"v{row:03d}" for row in range(120)]}), "n")
    axes = Figure().subplots()
    draw_points(axes, projection.coordinates, many)
    named = axes.get_legend_handles_labels()[1]
    assert len(named) == 14
    assert named[-1] == "and 107 more"


def test_the_mark_of_a_path_starts_at_its_beginning():
    axes = Figure().subplots()
    points = np.array([[0.0, 1.0], [2.0, 3.0]])
    mark = draw_path(axes, points, "black")
    assert np.ravel(mark.get_data()).tolist() == [0.0, 1.0]
    np.testing.assert_allclose(np.transpose(axes.lines[0].get_data()), points)
