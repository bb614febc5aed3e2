from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_why import counterfactual
from napari_why.benchmark import EffectData
from napari_why.benchmark.ceilings import change_by_network
from napari_why.benchmark.data import Direction
from napari_why.benchmark.rows import METHODS, NetworkMethod
from napari_why.benchmark.scores import Scorer
from napari_why.core.errors import UnsupportedNetworkError
from napari_why.images import make_image
from napari_why.model import Classifier, load
from napari_why.transport.class_maps import ClassMaps
from napari_why.transport.coarse_to_fine import fit_coarse_to_fine
from napari_why.transport.pixel_maps import GreyLevelCurve
from napari_why.transport.responding_cells import RespondingCells

from .conftest import PROTOCOL, Finished


@pytest.fixture(scope="module")
def classifier(finished: Finished) -> Classifier:
    return load(finished.results.classifier_place("depolarisation", 0, "locked"))


@pytest.fixture(scope="module")
def direction() -> Direction:
    return EffectData(PROTOCOL, "depolarisation", 0).directions[0]


@pytest.mark.parametrize("method", ["transport", "mean_shift"])
def test_images_made_together_are_those_made_one_by_one(
    classifier: Classifier, direction: Direction, method: str
) -> None:
    images = direction.images
    made = change_by_network(classifier, images, direction.source, direction.target, method, {})
    np.testing.assert_array_equal(made.change, made.images.astype(float) - images)
    compared = 0
    for image, together in zip(images, made.images, strict=True):
        named = make_image(image, "cyx", classifier.channels)
        if classifier.predict(named).label != direction.source:
            continue  # which the product refuses to change
        alone = counterfactual(classifier, named, direction.target, method, steps=2)
        np.testing.assert_array_equal(alone.special_images["alpha1"], together)
        compared += 1
    assert compared >= 3  # 5 to 9 of 10 over ten seeds of the network


def test_a_method_for_other_networks_is_refused(
    classifier: Classifier, direction: Direction
) -> None:
    with pytest.raises(UnsupportedNetworkError, match="latent_mean_shift"):
        change_by_network(
            classifier, direction.images, "healthy", "treated", "latent_mean_shift", {}
        )


def test_the_row_that_draws_makes_all_draws_of_each_image(
    classifier: Classifier, direction: Direction
) -> None:
    row = METHODS["transport-draws"]
    assert isinstance(row, NetworkMethod)
    ways = direction.source, direction.target, row.method, row.parameters
    with pytest.raises(UnsupportedNetworkError, match="without maps of pixels"):
        change_by_network(classifier, direction.images[:2], *ways)
    prepared = classifier.prepare_pixels(direction.images[:2])
    dimmed = prepared * torch.tensor([1.0, 0.3])[:, None, None]
    cells = RespondingCells(fit_coarse_to_fine(prepared, dimmed, (0,)), 0, 0.5, 0.02)
    pair = tuple(map(classifier.classes.index, ways[:2]))
    statistics = classifier.latent_statistics
    assert statistics is not None
    maps = ClassMaps(2, {}).with_map(*pair, cells)
    drawing = replace(classifier, latent_statistics=statistics.with_part("pixel_maps", maps))
    made = change_by_network(drawing, direction.images[:2], *ways)
    assert made is not None
    assert made.draws is not None
    assert made.draws.shape == (2, 16, *direction.images.shape[1:])
    assert np.abs(made.draws[:, 0].astype(float) - made.images).max() <= 1
    assert len({draw.tobytes() for draw in made.draws[0]}) > 1
    # all of them are scored, and not the first alone
    assert direction.paired is not None
    few = replace(direction, images=direction.images[:2], paired=direction.paired[:2])
    scorer = Scorer(few, classifier, (1,))
    assert scorer.score_draws(made) < scorer.score_draws(replace(made, draws=None))


def test_cancelled_there_is_nothing(classifier: Classifier, direction: Direction) -> None:
    assert (
        change_by_network(
            classifier,
            direction.images,
            "healthy",
            "treated",
            "transport",
            {},
            cancelled=lambda: True,
        )
        is None
    )


def test_how_sure_changes_are_is_measured_for_the_first_images_and_scored(
    classifier: Classifier, direction: Direction, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_why.benchmark.ceilings.IMAGES_WITH_SPREAD", 3)
    images = [classifier.prepare_pixels(part) for part in (direction.images, direction.real)]
    curves = [
        GreyLevelCurve.fit(images[0][start:], images[1][start:], [0, 1], seed=0)
        for start in range(5)
    ]
    statistics = classifier.latent_statistics
    assert statistics is not None
    maps = ClassMaps(2, {(0, 1, "curve"): curves[0]}, {(0, 1, "curve"): tuple(curves)})
    with_maps = Classifier(
        classifier.network,
        classifier.preprocessing,
        classifier.classes,
        statistics.with_part("pixel_maps", maps),
    )
    ends = direction.source, direction.target
    assert [classifier.classes.index(name) for name in ends] == [0, 1]
    made = change_by_network(with_maps, direction.images, *ends, "transport", {"change": "curve"})
    assert made is not None
    assert len(made.spreads) == 3
    for spread, change in zip(made.spreads, made.change, strict=False):
        np.testing.assert_allclose(spread.change, change)
        assert spread.deviation.any()
    scores = Scorer(direction, classifier, (1,)).scores(made, classifier)
    assert 0 <= scores["coverage"] <= 1
    assert scores["right_signs"] > 0.9  # dye is lost, and every curve says so
    # what has no versions has no such figure
    without = change_by_network(with_maps, direction.images, *ends, "mean_shift", {})
    assert without is not None
    assert without.spreads == ()
    assert np.isnan(Scorer(direction, classifier, (1,)).scores(without, classifier)["coverage"])
