"""Mean shift: alpha0 of the formula is where the hyperplane between the class means lies."""

import pytest
import torch

from napari_why.core.errors import ParameterError
from napari_why.counterfactuals.alphas import boundary
from napari_why.counterfactuals.mean_shift import mean_shift
from napari_why.counterfactuals.method import ScoresOnPath
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.networks import InvertibleNetwork, build_network


@pytest.mark.parametrize("positions", ["average", "each"])
def test_alpha0_lies_on_the_hyperplane_between_the_means(
    coupling_network, class_images, statistics_of, positions
):
    network = coupling_network()
    images, labels = class_images(40)
    statistics = statistics_of(network, images, labels)
    path = mean_shift(network, statistics, images[:1], 0, 1, positions=positions)

    low, high = statistics.true_means.double()
    if positions == "average":
        low, high = (mean.mean(dim=(1, 2), keepdim=True) for mean in (low, high))
    on_plane = path.start[0].double() + path.rule.alpha0 * path.displacement[0].double()
    distance = ((on_plane - (low + high) / 2) * (high - low)).sum()
    assert distance.abs() < 1e-4 * ((high - low).expand_as(on_plane) ** 2).sum()


def test_with_the_head_on_the_same_hyperplane_alpha0_is_the_boundary(
    coupling_network, class_images, statistics_of
):
    network = coupling_network()
    images, labels = class_images(40)
    statistics = statistics_of(network, images, labels)
    low, high = statistics.true_means.mean(dim=(2, 3))
    network.weights.copy_(torch.stack([torch.zeros_like(low), high - low]))
    network.bias.copy_(torch.stack([low.new_zeros(()), -(high - low) @ (low + high) / 2]))

    statistics = statistics_of(network, images, labels)  # by the labels that this head predicts
    path = mean_shift(network, statistics, images[:1], 0, 1)
    scores = ScoresOnPath(network, path, target=1)
    assert scores.probability(path.rule.alpha0) == pytest.approx(0.5, abs=1e-5)
    assert boundary(scores) == pytest.approx(path.rule.alpha0, abs=1e-5)


def test_the_shift_is_the_difference_of_means_by_predicted_label(
    coupling_network, class_images, statistics_of
):
    network = coupling_network()
    images, labels = class_images(40)
    statistics = statistics_of(network, images, labels)
    predicted = network(images).argmax(1)
    latents = network.encode(images).double()
    expected = latents[predicted == 1].mean(0) - latents[predicted == 0].mean(0)

    path = mean_shift(network, statistics, images[:1], 0, 1, positions="each")
    torch.testing.assert_close(path.displacement[0].double(), expected, rtol=1e-4, atol=1e-5)
    averaged = mean_shift(network, statistics, images[:1], 0, 1).displacement[0]
    assert averaged.std(dim=(1, 2)).max() == 0
    torch.testing.assert_close(
        averaged[:, 0, 0].double(), expected.mean(dim=(1, 2)), rtol=1e-4, atol=1e-5
    )


def test_any_two_of_three_classes(coupling_network, class_images, statistics_of):
    network = coupling_network(classes=3)
    images, labels = class_images(60, classes=3)
    statistics = statistics_of(network, images, labels)
    there = mean_shift(network, statistics, images[:1], 0, 2).displacement
    back = mean_shift(network, statistics, images[:1], 2, 0).displacement
    torch.testing.assert_close(there, -back)


def test_classes_with_equal_means_have_no_alpha0(coupling_network, class_images):
    network = coupling_network()
    images, _ = class_images(4)
    twice = [
        (images, torch.zeros(4, dtype=torch.int64)),
        (images, torch.ones(4, dtype=torch.int64)),
    ]
    statistics = LatentStatistics.collect(network, twice, ("p", "q"), transport=False)
    assert mean_shift(network, statistics, images[:1], 0, 1).rule.alpha0 is None


def test_a_class_that_was_never_predicted_is_named(coupling_network, class_images, statistics_of):
    network = coupling_network()
    images, labels = class_images(10)
    network.bias.copy_(torch.tensor([100.0, 0.0]))
    path = mean_shift(network, statistics_of(network, images, labels), images[:1], 0, 1)
    assert any("no training image was predicted q" in note for note in path.notes)
    assert torch.isfinite(path.displacement).all()


def test_a_class_that_no_image_was_seen_of_has_no_mean(coupling_network, class_images):
    images, labels = class_images(8)
    statistics = LatentStatistics.collect(
        coupling_network(), [(images[labels == 0], labels[labels == 0])], ("p", "q")
    )
    for source, target in ((0, 1), (1, 0)):
        with pytest.raises(ParameterError, match="no training image of q"):
            mean_shift(coupling_network(), statistics, images[:1], source, target)


def default_network(images: torch.Tensor) -> InvertibleNetwork:
    """Return the network with a convolutional head, which takes half of the images for each class."""
    network = build_network("iresnet", input_channels=2, classes=2, size=16, head_widths="6,6")
    assert isinstance(network, InvertibleNetwork)
    network.train()
    network(images)
    network.freeze()
    for parameter in network.classifier.parameters():
        if parameter.ndim == 1:  # the bias
            parameter[0] += (network(images) @ torch.tensor([-1.0, 1.0])).median()
    return network


def test_where_layers_follow_the_last_stage_its_means_are_shifted(class_images, statistics_of):
    images, labels = class_images(40)
    network = default_network(images)
    statistics = statistics_of(network, images, labels)
    assert statistics.true_means.shape == (2, 6, 4, 4)  # of the head's last block
    predicted = network(images).argmax(1)
    assert set(predicted.tolist()) == {0, 1}
    image = images[predicted == 0][:1]
    path = mean_shift(network, statistics, image, 0, 1)
    latents = network.last_latent(images).double().mean(dim=(2, 3))
    expected = latents[predicted == 1].mean(0) - latents[predicted == 0].mean(0)
    assert path.stage == "stage1"
    torch.testing.assert_close(
        path.displacement[0, :, 0, 0].double(), expected, rtol=1e-4, atol=1e-5
    )

    low, high = (latents[labels == label].mean(0) for label in (0, 1))
    there = path.start[0].double() + path.rule.alpha0 * path.displacement[0].double()
    distance = (there.mean(dim=(1, 2)) - (low + high) / 2) @ (high - low)
    assert distance.abs() < 1e-4 * (high - low).square().sum()
    assert any("the boundary is the network's own" in note for note in path.notes)
    found = path.rule.find(ScoresOnPath(network, path, target=1), 0.9)
    assert found.alpha0 == path.rule.alpha0
    assert found.boundary is not None
    decoded = network(path.images(network, [found.boundary])).softmax(1)[0, 1]
    assert float(decoded) == pytest.approx(0.5, abs=1e-3)


def test_where_layers_follow_there_is_no_shift_of_each_position(class_images, statistics_of):
    images, labels = class_images(40)
    network = default_network(images)
    statistics = statistics_of(network, images, labels)
    with pytest.raises(ParameterError, match="positions='average'"):
        mean_shift(network, statistics, images[:1], 0, 1, positions="each")


def test_without_means_of_the_last_stage_a_linear_head_is_asked_for(class_images, statistics_of):
    images, labels = class_images(40)
    network = default_network(images)
    statistics = statistics_of(network, images, labels).with_part("stages", None)
    with pytest.raises(ParameterError, match=r"stage1.*head='linear'"):
        mean_shift(network, statistics, images[:1], 0, 1)
