"""Gradients equal finite differences; products with them equal their definition."""

import torch

from napari_why.attribution import METHODS


def test_maps_are_the_signed_gradient_and_joint_its_largest_magnitude(residual) -> None:
    network, x = residual.network.double(), residual.x.double()
    evidence = METHODS["saliency"].function(network, x, 2)
    for channel, row, column in ((0, 3, 4), (1, 15, 0)):
        step = torch.zeros_like(x)
        step[0, channel, row, column] = 1e-5
        slope = (network(x + step) - network(x - step))[0, 2] / 2e-5
        torch.testing.assert_close(evidence.maps[channel, row, column], slope, rtol=1e-4, atol=1e-9)
    assert torch.equal(evidence.joint, evidence.maps.abs().amax(0))
    network.float()


def test_input_x_gradient_is_the_product_and_adds_up_over_channels(shipped) -> None:
    network, x = shipped.network, shipped.x
    gradient = METHODS["saliency"].function(network, x, 0).maps
    evidence = METHODS["input_x_gradient"].function(network, x, 0)
    torch.testing.assert_close(evidence.maps, x[0] * gradient)
    torch.testing.assert_close(evidence.joint, evidence.maps.sum(0))


def test_gradients_of_a_batch_are_those_of_its_images(shipped) -> None:
    from napari_why.attribution.input_gradients import input_gradient

    batch = torch.cat([shipped.x, -shipped.x, 0.5 * shipped.x])
    scores, gradients = input_gradient(shipped.network, batch, 1)
    for index in range(3):
        score, gradient = input_gradient(shipped.network, batch[index : index + 1], 1)
        torch.testing.assert_close(scores[index], score[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(gradients[index], gradient[0], atol=1e-5, rtol=1e-3)


def test_sensitivity_sums_to_the_squared_length_of_the_gradient(residual) -> None:
    network, x = residual.network, residual.x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[0, 2], x)
    evidence = METHODS["sensitivity"].function(network, residual.x, 2)
    torch.testing.assert_close(evidence.maps, gradient[0] ** 2)
    torch.testing.assert_close(evidence.joint.sum(), gradient.norm() ** 2)
    assert evidence.gap < 1e-5
    assert evidence.explained is None  # no logit is divided up
