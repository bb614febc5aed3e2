"""Transport between Gaussians: moments arrive, equal classes stay."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.core.errors import ParameterError
from napari_why.counterfactuals.gaussian_transport import class_map, gaussian_transport, shrunk
from napari_why.model.class_moments import StageStatistics
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.transport.maps import transport_matrix


def random_covariance(channels: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(channels, channels + 2, generator=generator, dtype=torch.float64)
    return root @ root.T / channels


@settings(max_examples=25, deadline=None)
@given(channels=st.integers(1, 8), seed=st.integers(0, 10_000))
def test_the_map_turns_one_covariance_into_the_other(channels: int, seed: int) -> None:
    source, target = random_covariance(channels, seed), random_covariance(channels, seed + 1)
    matrix = transport_matrix(source, target)
    torch.testing.assert_close(matrix @ source @ matrix, target, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(matrix, matrix.T, rtol=1e-9, atol=1e-9)
    assert torch.linalg.eigvalsh(matrix).min() > 0  # the gradient of a convex function: optimal


def test_samples_of_one_gaussian_arrive_as_samples_of_the_other() -> None:
    covariances = torch.stack([random_covariance(4, 1), random_covariance(4, 2)])
    means = torch.tensor([[1.0, -2.0, 0.5, 3.0], [0.0, 4.0, -1.0, 2.0]], dtype=torch.float64)
    stage = StageStatistics(means, covariances, (10, 10))
    matrix, offset = class_map(stage, ("p", "q"), 0, 1, shrinkage=0.0)

    generator = torch.Generator().manual_seed(3)
    count = 200_000
    white = torch.randn(count, 4, generator=generator, dtype=torch.float64)
    moved = (means[0] + white @ torch.linalg.cholesky(covariances[0]).T) @ matrix.T + offset
    spread = covariances[1].diagonal().sqrt()
    standard_error = spread / count**0.5
    assert ((moved.mean(0) - means[1]).abs() < 5 * standard_error).all()
    allowed = 5 * 2**0.5 * torch.outer(spread, spread) / count**0.5
    assert ((torch.cov(moved.T) - covariances[1]).abs() < allowed).all()


def test_between_equal_classes_nothing_moves() -> None:
    covariance = random_covariance(6, 4)
    stage = StageStatistics(torch.ones(2, 6).double(), torch.stack([covariance] * 2), (5, 5))
    matrix, offset = class_map(stage, ("p", "q"), 0, 1, shrinkage=0.01)
    torch.testing.assert_close(matrix, torch.eye(6).double(), rtol=0, atol=1e-8)
    torch.testing.assert_close(offset, torch.zeros(6).double(), rtol=0, atol=1e-8)


def test_a_direction_without_variance_is_left_alone() -> None:
    source = torch.diag(torch.tensor([2.0, 0.0], dtype=torch.float64))
    target = torch.diag(torch.tensor([8.0, 1.0], dtype=torch.float64))
    matrix = transport_matrix(source, target)
    expected = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    torch.testing.assert_close(matrix, expected)
    nothing = torch.zeros(2, 2).double()
    torch.testing.assert_close(transport_matrix(nothing, target), torch.eye(2).double())


def test_shrinkage_leads_to_the_sphere_of_the_same_mean_variance() -> None:
    covariance = random_covariance(3, 5)
    sphere = torch.eye(3).double() * covariance.trace() / 3
    torch.testing.assert_close(shrunk(covariance, 1.0), sphere)
    torch.testing.assert_close(shrunk(covariance, 0.0), covariance)


def test_a_path_at_alpha_one_has_the_moments_of_the_target(
    coupling_network, class_images, statistics_of
):
    network = coupling_network()
    images, labels = class_images(40)
    statistics = statistics_of(network, images, labels)
    arrived = torch.cat(
        [
            gaussian_transport(network, statistics, image[None], 0, 1, shrinkage=0.0).at([1.0])
            for image in images[labels == 0]
        ]
    )
    vectors = arrived.double().permute(0, 2, 3, 1).reshape(-1, arrived.shape[1])
    stage = statistics.stages["stage1"]
    torch.testing.assert_close(vectors.mean(0), stage.means[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        torch.cov(vectors.T, correction=0), stage.covariances[1], rtol=1e-4, atol=1e-4
    )


def test_any_stage_by_name(coupling_network, class_images, statistics_of):
    network = coupling_network()
    images, labels = class_images(20)
    statistics = statistics_of(network, images, labels)
    assert gaussian_transport(network, statistics, images[:1], 0, 1).stage == "stage1"
    assert gaussian_transport(network, statistics, images[:1], 0, 1, stage="last").stage == "stage2"
    with pytest.raises(ParameterError, match="first, last, stage1, stage2"):
        gaussian_transport(network, statistics, images[:1], 0, 1, stage="stage9")


def test_a_stage_without_covariances_is_refused(coupling_network, class_images, statistics_of):
    network = coupling_network()
    images, labels = class_images(20)
    tensors, plain = (fitted := statistics_of(network, images, labels)).tensors(), fitted.to_dict()
    plain["positions"].pop("stage2")
    statistics = LatentStatistics.from_parts(tensors, plain)
    with pytest.raises(ParameterError, match="too many channels"):
        gaussian_transport(network, statistics, images[:1], 0, 1, stage="stage2")


def test_a_class_without_training_images_is_refused(coupling_network, class_images):
    network = coupling_network()
    images, _ = class_images(4)
    only_p = [(images, torch.zeros(4, dtype=torch.int64))]
    statistics = LatentStatistics.collect(network, only_p, ("p", "q"), transport=False)
    with pytest.raises(ParameterError, match="no training image of q"):
        gaussian_transport(network, statistics, images[:1], 0, 1)
