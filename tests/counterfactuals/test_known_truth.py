"""A real network on simulated scenes, whose true change is known: depolarised mitochondria."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter
from torch.nn import functional as F

from napari_why.counterfactuals import Counterfactual, counterfactual, remarks, verdict
from napari_why.datasets import Preprocessing
from napari_why.images import read, write
from napari_why.images.image import make_image
from napari_why.model import Classifier
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks import build_network
from napari_why.simulation import SimulatedScene, simulate

SIZE = 32
CLASSES = ("diseased", "treated")
UNSEEN = range(5)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """Return a small invertible network trained for seconds."""
    dataset = simulate(96, classes=CLASSES, size=SIZE, seed=0)
    preprocessing = Preprocessing.from_dataset(dataset, size=SIZE)
    images = torch.stack([preprocessing(dataset.image(index)) for index in range(len(dataset))])
    labels = torch.tensor(np.asarray(dataset.labels)).long()
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build_network(
            "iresnet",
            input_channels=2,
            classes=2,
            size=SIZE,
            blocks="2,2,2",
            widths="16,16,16",
            downscaling="2,2,2",
            head="linear",  # which the formulas of mean_shift are made for
        )
    network.train()
    optimiser = torch.optim.Adamax(network.parameters(), lr=5e-3)
    for _ in range(6):
        for batch in torch.randperm(len(images), generator=generator).split(16):
            optimiser.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()
            optimiser.step()
    network.freeze()
    batches = list(zip(images.split(16), labels.split(16), strict=True))
    statistics = LatentStatistics.collect(
        network, batches, tuple(dataset.classes), left_out=("pixel_maps",)
    )
    return Classifier(network, preprocessing, tuple(dataset.classes), statistics)


@dataclass(frozen=True)
class Case:
    """An unseen scene, its counterfactual and what really would have changed."""

    result: Counterfactual
    true_change: np.ndarray

    @property
    def correlation(self) -> float:
        """Of the change of the mitochondria's channel with the true one, smoothed 3 x 3."""
        change = self.result.special_images["alpha1"].astype(float) - self.result.reconstruction
        found, true = (uniform_filter(item[1], 3).ravel() for item in (change, self.true_change))
        return float(np.corrcoef(found, true)[0, 1])


def cases(classifier: Classifier, method: str, **parameters: object) -> list[Case]:
    made = []
    for number in UNSEEN:
        scene = SimulatedScene(number, seed=99, size=SIZE)
        for source in CLASSES:
            image = scene.image(source)
            if classifier.predict(image).label != source:
                continue
            target = CLASSES[1 - CLASSES.index(source)]
            result = counterfactual(classifier, image, target, method, steps=2, **parameters)
            made.append(Case(result, scene.true_change(source, target).values))
    return made


@pytest.fixture(scope="module")
def transported(classifier: Classifier) -> list[Case]:
    return cases(classifier, "transport")


def test_there_is_something_to_judge(transported: list[Case]) -> None:
    assert len(transported) >= len(UNSEEN)  # 8 or 9 of 10 over ten seeds
    assert {case.result.target for case in transported} == set(CLASSES)


def test_every_change_is_the_complete_one_and_flips_or_says_why_not(
    transported: list[Case],
) -> None:
    for case in transported:
        assert case.result.special_alphas["alpha1"] == 1.0
        assert case.result.images.dtype == np.uint16
        said = {remarks.UNSEEN, remarks.UNDONE} & set(verdict(case.result).kinds)
        assert bool(said) is not case.result.valid


def test_a_written_and_reopened_file_flips_where_it_is_called_valid(
    classifier, transported, tmp_path
) -> None:
    for number, case in enumerate(transported):
        path = tmp_path / f"{number}.ome.tif"
        image = case.result.special_images["alpha1"]
        write(make_image(image, "cyx", case.result.channels), path)
        assert (classifier.predict(read(path)).label == case.result.target) is case.result.valid


def test_the_boundary_is_undecided_as_exported(transported: list[Case]) -> None:
    for case in transported:
        assert case.result.special_probabilities["boundary"] == pytest.approx([0.5, 0.5], abs=0.01)


def test_transport_follows_the_true_change_and_mean_shift_does_not(
    classifier: Classifier, transported: list[Case]
) -> None:
    """A correlation alone is no merit where all cells lose dye: one factor reaches 0.98 here.

    What is beyond one factor and one curve is asked for in test_beyond_baselines.py.
    """
    shifted = cases(classifier, "mean_shift")
    # over ten seeds, 0.986 to 0.989 and -0.27 to -0.15
    followed, missed = (
        np.mean([case.correlation for case in one]) for one in (transported, shifted)
    )
    assert missed < 0.3
    assert followed - missed > 0.5


def test_the_round_trip_is_far_below_one_grey_level(transported: list[Case]) -> None:
    # 0.005 to 0.014 over ten seeds
    assert max(case.result.round_trip_error for case in transported) < 0.25


def test_a_float_source_is_undecided_at_the_boundary(classifier: Classifier) -> None:
    image = SimulatedScene(3, seed=99, size=SIZE).image("diseased").astype("float32")
    for method in ("transport", "mean_shift"):
        result = counterfactual(classifier, image, method=method, steps=2)
        assert result.images.dtype == np.float32
        assert result.special_probabilities["boundary"] == pytest.approx([0.5, 0.5], abs=0.01)
        assert np.array_equal(result.images[0], result.reconstruction)


@pytest.mark.parametrize("level", [0, 1000])
def test_constant_images_invert_too(classifier: Classifier, level: int) -> None:
    image = SimulatedScene(0, seed=99, size=SIZE).image("diseased")
    result = counterfactual(classifier, image.copy(data=np.full_like(image.values, level)))
    assert (result.images[0] == level).all()
    assert np.isfinite(result.probabilities).all()


def test_latents_of_every_stage_are_the_feature_maps_the_statistics_took(
    classifier: Classifier,
) -> None:
    network = classifier.network
    prepared = classifier.prepare(SimulatedScene(0, seed=99, size=SIZE).image("treated"))
    maps = network.feature_maps(prepared)
    for stage in network.stage_names:
        torch.testing.assert_close(maps[stage], network.encode_to(prepared, stage))
