"""Fréchet distances of drawn images: closed forms, what few images do to them, and the report of a fit."""

import json

import numpy as np
import pytest

import napari_why as why
from napari_why.core.errors import MismatchError
from napari_why.core.events import Message
from napari_why.datasets.features import frechet_distance, image_features
from napari_why.generation.sample_report import (
    CLASSES,
    HELD_OUT,
    NETWORK,
    SAMPLES,
    TEXTURE,
    TRAINING,
    draw_like,
)

QUICK = {"size": 16, "widths": "8,4", "code_dimensions": 6, "threads": 1, "device": "cpu"}


def draws(count: int, dimensions: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimensions))


def exact(count: int, mean: np.ndarray, covariance: np.ndarray, seed: int) -> np.ndarray:
    """Return draws whose own mean and covariance are exactly these."""
    centred = draws(count, len(mean), seed)
    centred -= centred.mean(axis=0)
    white = centred @ np.linalg.inv(np.linalg.cholesky(np.cov(centred, rowvar=False))).T
    return white @ np.linalg.cholesky(covariance).T + mean


@pytest.mark.parametrize("count", [3, 6, 50])
def test_a_set_is_at_no_distance_from_itself_in_whatever_order(count) -> None:
    one = draws(count, 6)
    mixed = np.random.default_rng(1).permutation(one)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(one, mixed) == pytest.approx(0, abs=1e-9)
    other = draws(count + 4, 6, seed=2) + 1
    found = frechet_distance(one, other)
    assert found > 1
    assert frechet_distance(mixed, other) == pytest.approx(found)
    assert frechet_distance(other, one) == pytest.approx(found), "it is symmetric"


@pytest.mark.parametrize("counts", [(40, 60), (7, 90)])
def test_it_is_the_closed_form_for_gaussians(counts) -> None:
    """Of commuting covariances: means apart, and roots of the eigenvalues apart."""
    turn = np.linalg.qr(draws(5, 5, seed=3))[0]
    variances = np.array([[4.0, 1.0, 0.25, 9.0, 1.0], [1.0, 1.0, 4.0, 0.01, 2.25]])
    means = draws(2, 5, seed=4)
    sets = [
        exact(count, mean, turn @ np.diag(of_each) @ turn.T, seed)
        for seed, (count, mean, of_each) in enumerate(zip(counts, means, variances, strict=True))
    ]
    apart = ((means[0] - means[1]) ** 2).sum()
    expected = apart + ((np.sqrt(variances[0]) - np.sqrt(variances[1])) ** 2).sum()
    assert frechet_distance(*sets) == pytest.approx(expected)
    # in whatever axes
    assert frechet_distance(*(one @ turn for one in sets)) == pytest.approx(expected)


def test_of_covariances_that_do_not_commute_it_is_the_trace_of_the_root() -> None:
    from scipy.linalg import sqrtm

    one, other = draws(30, 4), draws(50, 4, seed=1) @ draws(4, 4, seed=2) + 0.5
    first, second = (np.cov(found, rowvar=False) for found in (one, other))
    root = sqrtm(first)
    expected = ((one.mean(axis=0) - other.mean(axis=0)) ** 2).sum() + np.trace(
        first + second - 2 * sqrtm(root @ second @ root)
    )
    assert frechet_distance(one, other) == pytest.approx(np.real(expected))


def test_halves_of_one_distribution_are_the_further_apart_the_fewer_they_are() -> None:
    whole = draws(4000, 20)
    floors = [
        np.mean(
            [
                frechet_distance(whole[start : start + count], whole[-start - count :][:count])
                for start in range(0, 10 * count, count)
            ]
        )
        for count in (10, 30, 100)
    ]
    assert floors[0] > 2 * floors[1] > 4 * floors[2] > 0


def test_a_single_image_has_no_covariance() -> None:
    with pytest.raises(ValueError, match="found 1 and 5 images"):
        frechet_distance(draws(1, 3), draws(5, 3))


@pytest.fixture(scope="module")
def fitted(scenes):
    """A generator of one epoch, and what was said at its end."""
    heard = []
    found = why.fit_generator(scenes, epochs=1, on_event=heard.append, **QUICK)
    return found, [event.text for event in heard if isinstance(event, Message) and event.finding]


def test_a_fit_tells_the_distance_of_its_samples_beside_that_of_real_images(fitted, scenes) -> None:
    generator, said = fitted
    rows = {row["compared"]: row for row in generator.card["samples"]["rows"]}
    assert list(rows) == [SAMPLES, HELD_OUT, TRAINING, CLASSES]
    count = len(scenes.part("test"))
    assert {row["images"] for row in rows.values()} == {count}
    (line,) = [text for text in said if text.startswith("Fréchet distance")]
    assert line.startswith(
        f"Fréchet distance of texture features to {count} training images: samples "
    )
    dimensions = rows[SAMPLES]["dimensions"]
    assert count < dimensions <= 44
    assert line.endswith(f"; fewer images than features ({dimensions}): most of it is chance")
    # of one epoch they are noise
    assert rows[SAMPLES]["distance"] > 5 * rows[TRAINING]["distance"]


def test_it_is_measured_again_the_same_and_by_a_network(fitted, scenes, vae_classifier) -> None:
    generator, _ = fitted
    again = why.evaluate_generator(generator, scenes, on_event=why.quiet)
    assert json.loads(json.dumps(again.to_dict())) == generator.card["samples"]
    report = why.evaluate_generator(
        generator, scenes, classifier=vae_classifier, counts=(4, 12), on_event=why.quiet
    )
    table = report.table.set_index(["features", "images", "compared"])["distance"]
    assert len(table) == 2 * 2 * 4
    for features in (TEXTURE, NETWORK):
        for compared in (HELD_OUT, TRAINING):
            assert table[features, 12, compared] < table[features, 4, compared]
    # more than there are have no distance
    none = why.evaluate_generator(generator, scenes, counts=(50,), on_event=why.quiet)
    assert set(none.table["compared"]) == {SAMPLES}


def test_a_generator_that_gave_back_training_images_would_lie_at_the_floor(
    fitted, scenes, monkeypatch
) -> None:
    from napari_why.generation import sample_report

    generator, _ = fitted
    prepare = generator.preprocessing
    train = scenes.part("train")
    real = np.stack([prepare.inverse(prepare(train.image(i))) for i in range(len(train))])
    monkeypatch.setattr(sample_report, "draw_like", lambda *_: real.astype(np.float64))
    report = why.evaluate_generator(generator, scenes, on_event=why.quiet)
    found = report.table.set_index("compared")["distance"]
    assert found[SAMPLES] < 1.05 * found[TRAINING]


def test_samples_are_of_the_classes_that_the_images_are(fitted) -> None:
    generator, _ = fitted
    labels = ["treated", "diseased", "treated"]
    made = draw_like(generator, labels, seed=4)
    first = generator.sample(count=2, seed=4, label="treated").images
    np.testing.assert_array_equal(made[[0, 2]], first)
    second = generator.sample(count=1, seed=5, label="diseased").images
    np.testing.assert_array_equal(made[[1]], second)
    assert image_features(made, [0, 1]).shape == (3, 44)


def test_a_classifier_of_other_channels_is_refused(fitted, scenes, vae_classifier) -> None:
    only = why.fit_generator(scenes, epochs=1, channels=["DAPI"], on_event=why.quiet, **QUICK)
    with pytest.raises(MismatchError, match="found one that needs TMRM"):
        why.evaluate_generator(only, scenes, classifier=vae_classifier, on_event=why.quiet)


def test_other_training_images_are_told(fitted, scenes) -> None:
    heard = []
    why.evaluate_generator(fitted[0], scenes.split(seed=5, redraw=True), on_event=heard.append)
    assert any("another split" in getattr(event, "text", "") for event in heard)
