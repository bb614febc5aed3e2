import pytest
import torch

from napari_why.networks import ActNorm, RGBComposite


def test_first_training_batch_gives_every_channel_mean_0_and_deviation_1() -> None:
    norm = ActNorm(3).train()
    y = norm(5 + 3 * torch.randn(8, 3, 16, 16))
    torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)


def test_second_batch_changes_nothing() -> None:
    norm = ActNorm(3).train()
    norm(torch.randn(8, 3, 4, 4))
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    norm(100 + torch.randn(8, 3, 4, 4))
    assert all(torch.equal(before[name], value) for name, value in norm.state_dict().items())


def test_evaluation_never_initialises() -> None:
    norm = ActNorm(3).eval()
    x = 7 + torch.randn(2, 3, 4, 4)
    assert torch.equal(norm(x), x)
    assert not norm.initialised


def test_loaded_norm_is_not_initialised_again() -> None:
    """The published code keeps the flag out of the state, and loading wipes the learnt scales."""
    trained = ActNorm(3).train()
    trained(5 + 3 * torch.randn(8, 3, 4, 4))
    trained.log_scale.data.add_(0.5)
    loaded = ActNorm(3)
    loaded.load_state_dict(trained.state_dict())
    x = torch.randn(8, 3, 4, 4)
    assert torch.equal(loaded.train()(x), trained(x))


def test_constant_channel_is_not_blown_up() -> None:
    norm = ActNorm(1).train()
    assert norm(torch.full((4, 1, 8, 8), 3.0)).abs().max() < 1e-4
    assert norm.scale.item() == pytest.approx(20, rel=1e-3)


def test_inverse_undoes_the_norm() -> None:
    norm = ActNorm(3).train()
    x = 5 + 3 * torch.randn(8, 3, 4, 4)
    torch.testing.assert_close(norm.inverse(norm(x)), x)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (1, [[1], [1], [1]]),
        (2, [[1, 0], [0, 1], [0.5, 0.5]]),
        (3, [[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        (4, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0.5]]),
    ],
)
def test_composite_of_any_number_of_channels(channels: int, expected: list[list[float]]) -> None:
    composite = RGBComposite(channels)
    torch.testing.assert_close(composite.weight[:, :, 0, 0], torch.tensor(expected).float())
    assert not composite.weight.requires_grad
