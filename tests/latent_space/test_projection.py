"""Projections to the plane, and the path of a counterfactual in it."""

import json
import os
import subprocess
import sys
from typing import Annotated

import numpy as np
import pytest

from napari_why.core.errors import MismatchError, ParameterError, WhyError
from napari_why.core.options import Help, Range
from napari_why.counterfactuals import counterfactual
from napari_why.latent_space import (
    PROJECTIONS,
    Projection,
    embed_series,
    path_of,
    project,
    projection_method,
)


def test_pca_keeps_the_widest_directions_and_says_what_they_explain(drawn):
    space = drawn(dimensions=3)
    found = project(space, "pca")
    centred = space.latents - space.latents.mean(axis=0)
    variances = np.linalg.svd(centred, compute_uv=False) ** 2
    np.testing.assert_allclose(
        (found.coordinates**2).sum(axis=0), variances[:2], rtol=1e-4, atol=1e-4
    )
    shares = variances / variances.sum()
    assert found.axis_labels == (
        f"PC 1 ({shares[0]:.0%} of variance)",
        f"PC 2 ({shares[1]:.0%} of variance)",
    )


def test_images_of_the_space_are_projected_to_where_they_are(drawn):
    space = drawn()
    found = project(space)
    np.testing.assert_allclose(
        found.project(space.latents[3:6]), found.coordinates[3:6], rtol=1e-5, atol=1e-5
    )


def test_a_single_coordinate_is_a_plane_too(drawn):
    found = project(drawn(dimensions=1))
    assert found.coordinates.shape == (200, 2)
    assert not found.coordinates[:, 1].any()
    assert found.axis_labels[1] == "PC 2 (0% of variance)"


UMAP_IN_PYTHON = """
import json, sys
from napari_why.latent_space import LatentSpace, project
space = LatentSpace.load(sys.argv[1])
heard = []
found = project(space, "umap", neighbours=5, on_event=heard.append)
epochs = [event.total for event in heard if getattr(event, "total", None)]
done = [event.done for event in heard if hasattr(event, "done")]
count = len(heard)
said = [found.coordinates.tolist(), found.project(space.latents[:3]).tolist(), found.note]
try:
    project(space, "umap", cancelled=lambda: bool(heard.append(1) or len(heard) > count + 3))
except Exception as error:
    print(error, file=sys.stderr)
    cancelled = str(error)
print(json.dumps([*said, epochs, done, len(heard) - count, cancelled]))
"""


def test_umap_keeps_the_classes_together(drawn, tmp_path):
    """Run without numba's compiler, which takes half a minute and more: the numbers are the same."""
    space = drawn(count=16, wells=4)
    healthy = (space.table["class"] == "healthy").to_numpy()
    space.latents[healthy] += 30  # so few images of classes that overlap could fall either way
    path = space.save(tmp_path / "space.parquet")
    done = subprocess.run(
        [sys.executable, "-c", UMAP_IN_PYTHON, str(path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},
    )
    assert done.returncode == 0, done.stderr
    coordinates, projected, note, epochs, steps, asked, told = json.loads(done.stdout)
    assert len(epochs) == 1
    assert steps == sorted(steps)
    assert steps[-1] == epochs[0]
    # points that were added to the plane have epochs too, and nobody hears of those
    assert asked == 4
    assert told == "UMAP was cancelled"
    places = np.array(coordinates)
    centres = [places[mask].mean(axis=0) for mask in (healthy, ~healthy)]
    to_own = np.linalg.norm(places - np.where(healthy[:, None], *centres), axis=1)
    to_other = np.linalg.norm(places - np.where(healthy[:, None], *centres[::-1]), axis=1)
    assert (to_own < to_other).mean() > 0.9
    assert np.array(projected).shape == (3, 2)
    assert "how far groups lie apart" in note


def test_umap_says_how_to_get_it(drawn, monkeypatch):
    monkeypatch.setattr("napari_why.latent_space.projection.find_spec", lambda _name: None)
    with pytest.raises(WhyError, match=r"pip install 'napari-why\[umap\]', or choose PCA"):
        project(drawn(), "umap")


def test_wrong_names_and_shapes_are_refused(drawn):
    space = drawn()
    with pytest.raises(ParameterError, match="expected one of pca, umap"):
        project(space, "tsne")
    with pytest.raises(ParameterError, match="neighbours"):
        project(space, "umap", neighbours=0)
    with pytest.raises(ParameterError, match=r"expected \(m, 4\)"):
        project(space).project(np.zeros((2, 3)))


def test_a_projection_of_another_package_is_one_function(drawn):
    @projection_method(title="Two coordinates", source="")
    def two_coordinates(space, *, first: Annotated[int, Help("coordinate"), Range(0, 9)] = 0):
        """Show two coordinates of the latents as they are."""
        kept = slice(first, first + 2)
        names = (f"latent {first}", f"latent {first + 1}")
        return Projection(
            "two_coordinates", space.latents[:, kept], names, "", lambda new: new[:, kept]
        )

    space = drawn()
    found = project(space, "two_coordinates", first=1)
    np.testing.assert_array_equal(found.coordinates, space.latents[:, 1:3])
    with pytest.raises(ParameterError, match="first: found 10"):
        project(space, "two_coordinates", first=10)
    assert PROJECTIONS.pop("two_coordinates").summary == (
        "Show two coordinates of the latents as they are."
    )


def test_the_path_of_a_counterfactual_starts_at_its_image(classifier, dataset, space):
    result = counterfactual(classifier, dataset.image(0), steps=4)
    path = path_of(result, classifier)
    assert path.shape == (4, space.latents.shape[1])
    scale = np.linalg.norm(path[-1] - path[0])
    assert np.linalg.norm(path[0] - space.latents[0]) < 0.05 * scale
    one = embed_series(result.images[2:3], result.channels, classifier)
    np.testing.assert_allclose(one[0], path[2], rtol=1e-3, atol=1e-4)


def test_a_path_without_the_channels_is_refused(classifier):
    images = np.zeros((2, 1, 32, 32), dtype=np.uint16)
    with pytest.raises(MismatchError, match="TMRM is missing"):
        embed_series(images, ("DAPI",), classifier)
    with pytest.raises(MismatchError, match="found no image"):
        embed_series(images[:0], ("DAPI",), classifier)
