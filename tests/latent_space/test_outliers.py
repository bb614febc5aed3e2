"""Outlier images and wells: planted ones are found, and chance is told."""

from dataclasses import replace

import numpy as np
import pytest

from napari_why.core.errors import DatasetError, ParameterError
from napari_why.datasets import Dataset
from napari_why.latent_space import embed, find_outliers
from napari_why.latent_space.robust import robust_shape, robust_z, robust_z_cutoff
from napari_why.simulation import Camera, SimulatedScene


@pytest.mark.parametrize(("count", "dimensions"), [(24, 3), (60, 4), (40, 12)])
def test_chance_lists_as_many_regular_images_as_is_said(count, dimensions):
    """Also for few images, where the chi-squared distribution would list tens of per cent."""
    listed, new = [], []
    for seed in range(12):
        rng = np.random.default_rng(100 + seed)
        mixing = rng.normal(size=(dimensions, dimensions))
        points = rng.normal(size=(count, dimensions)) @ mixing
        shape = robust_shape(points, rate=0.05, seed=0)
        others = rng.normal(size=(500, dimensions)) @ mixing
        listed.append((shape.distances(points) > shape.fitted_cutoff).mean())
        new.append((shape.distances(others) > shape.new_cutoff).mean())
    assert 0.01 <= np.mean(listed) <= 0.11
    assert 0.01 <= np.mean(new) <= 0.11


def test_few_images_a_dimension_are_shrunk():
    points = np.random.default_rng(0).normal(size=(12, 6))
    assert robust_shape(points, rate=0.05, seed=0).estimator == "shrunk covariance"


def test_outlying_points_among_the_reference_do_not_hide_themselves():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(60, 2))
    points[:12] += 8
    shape = robust_shape(points, rate=0.01, seed=0)
    assert (shape.distances(points)[:12] > shape.fitted_cutoff).all()
    assert np.linalg.norm(shape.centre) < 1


def test_the_robust_z_of_normal_values_exceeds_its_cutoff_as_often_as_is_said():
    rng = np.random.default_rng(2)
    z = robust_z(rng.normal(size=(4000, 8)))
    assert (z > robust_z_cutoff(8, 0.02, 0)).mean() == pytest.approx(0.02, abs=0.004)


def test_planted_images_are_listed_and_few_others(drawn):
    space = drawn()
    space.latents[[5, 70, 150]] += np.array([12, -12, 12, 0], dtype=np.float32)
    found = find_outliers(space)
    assert {5, 70, 150} <= set(found.listed["image"])
    assert len(found.listed) <= 3 + 6, "1 % of 200 would be two"
    assert found.sentences[0].startswith(f"{len(found.listed)} of 200 images")
    assert "about 2.0 would by chance" in found.sentences[0]


def test_images_odd_in_a_way_no_other_varies_are_listed():
    rng = np.random.default_rng(3)
    points = np.zeros((80, 6))
    points[:, :2] = rng.normal(size=(80, 2)) * 5
    points += rng.normal(size=points.shape) * 0.05
    points[11, 4] += 2.0  # far less than the spread of the first two
    from napari_why.latent_space.robust import Subspace

    labels = np.full(80, "a", dtype=object)
    subspace = Subspace.fit(np.delete(points, 11, 0).astype(np.float32), labels[1:], 10)
    assert subspace.with_rest
    shape = robust_shape(subspace.coordinates(np.delete(points, 11, 0), "a"), rate=0.01, seed=0)
    distances = shape.distances(subspace.coordinates(points, "a"))
    assert distances.argmax() == 11
    assert distances[11] > shape.new_cutoff


def test_an_odd_well_is_listed_with_its_plate(drawn):
    space = drawn(count=240, wells=24)
    odd = (space.table["well"] == "W03").to_numpy()
    space.latents[odd] += np.array([2.5, 2.5, -2.5, 2.5], dtype=np.float32)
    found = find_outliers(space)
    assert found.listed_wells.iloc[0]["well"] == "W03"
    assert found.listed_wells.iloc[0]["plate"] == "P1"
    shares = found.shares("plate").set_index("plate")
    assert shares.loc["P1", "share"] > shares.loc["P2", "share"]
    assert shares.loc["P1", "by chance"] == pytest.approx(0.01 * shares.loc["P1", "images"])
    assert shares["outliers"].sum() == len(found.listed)


def test_wells_of_regular_images_are_seldom_listed(drawn):
    listed = [
        int(find_outliers(drawn(seed=seed), components=2, rate=0.02).wells["outlier"].sum())
        for seed in range(8)
    ]
    assert sum(listed) <= 12, "2 % of 160 wells would be 3.2"


def test_the_reference_is_what_the_network_has_seen_where_that_is_enough(drawn):
    space = drawn()
    used = np.where(np.arange(200) < 120, "training", "nothing")
    seen = replace(space, table=space.table.assign(used_for=used))
    seen.latents[150:] *= 6
    auto = find_outliers(seen, components=2)
    assert list(auto.classes["reference"]) == [60, 60]
    assert "know" in " ".join(auto.sentences)
    assert list(find_outliers(seen, reference="all").classes["reference"]) == [100, 100]
    few = replace(space, table=space.table.assign(used_for=np.where(used == "x", used, "nothing")))
    assert list(find_outliers(few).classes["reference"]) == [100, 100]


def test_the_validation_images_can_set_the_cutoff(drawn):
    space = drawn(count=400, wells=20)
    used = np.where(np.arange(400) < 200, "training", "validation")
    heavy = replace(space, table=space.table.assign(used_for=used))
    heavy.latents[200:] *= 2
    found = find_outliers(heavy, cutoff="validation", rate=0.05, components=2)
    validation = found.images[found.images["used_for"] == "validation"]
    assert validation["outlier"].mean() <= 0.05
    assert find_outliers(heavy, rate=0.05, components=2).images["outlier"].sum() > 40
    with pytest.raises(ParameterError, match="found 200 validation images; expected 999"):
        find_outliers(heavy, cutoff="validation", rate=0.001, components=2)


def test_a_class_with_few_images_is_not_judged_and_that_is_said(drawn):
    space = drawn()
    rare = space.table["class"].where(space.table["image"] > 2, "rare")
    found = find_outliers(replace(space, table=space.table.assign(**{"class": rare})))
    assert found.images["distance"][:3].isna().all()
    assert not found.images["outlier"][:3].any()
    assert "Too few images to judge by: rare." in found.sentences


def test_the_nearest_class_tells_a_wrong_label_from_an_artefact(drawn):
    space = drawn(dimensions=3)
    space.latents[:] /= 4  # the classes' centres lie 5 / 4 from each other on every axis
    healthy = (space.table["class"] == "healthy").to_numpy()
    space.latents[healthy] += 20
    labels = space.table["class"].copy()
    labels[0] = "diseased"
    found = find_outliers(replace(space, table=space.table.assign(**{"class": labels})))
    assert found.images["outlier"][0]
    assert found.images["nearest class"][0] == "healthy"


def test_without_wells_images_are_judged_alone(drawn):
    found = find_outliers(replace(drawn(), group_columns=()))
    assert found.wells.empty
    assert found.listed_wells.empty
    assert "No column tells the wells, so that no well was judged." in found.sentences


def test_too_few_images_are_refused(drawn):
    with pytest.raises(DatasetError, match="expected 8 or more"):
        find_outliers(drawn(count=10, wells=2))
    with pytest.raises(ParameterError, match="rate"):
        find_outliers(drawn(), rate=0.5)
    with pytest.raises(ParameterError, match="found 'dish'"):
        find_outliers(drawn()).shares("dish")


def test_wells_with_odd_brightness_are_found_in_images(classifier):
    """Simulated fields; two wells were exposed three times as long."""
    images, labels, wells = [], [], []
    for number in range(96):
        label = ("diseased", "treated")[number % 2]
        well = f"{label}-{(number // 2) % 8}"
        odd = well in ("diseased-2", "treated-5")
        camera = Camera(gain=36.0) if odd else Camera()
        images.append(SimulatedScene(number, seed=11, size=32, camera=camera).image(label))
        labels.append(label)
        wells.append(well)
    dataset = Dataset.from_images(images, labels, well=wells)
    found = find_outliers(embed(classifier, dataset), components=3)
    # these two wells alone with each of ten seeds, all of their images and 0 to 1.2 % of the others
    assert {"diseased-2", "treated-5"} <= set(found.listed_wells["well"])
    assert len(found.listed_wells) <= 4
    odd_images = found.images["well"].isin(["diseased-2", "treated-5"])
    assert found.images["outlier"][odd_images].mean() > 0.9
    assert found.images["outlier"][~odd_images].mean() < 0.15
