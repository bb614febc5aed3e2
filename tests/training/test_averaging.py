"""One-cycle rates, averaged weights, smoothed labels and jitter: right, and right when resumed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from napari_why.core.errors import ModelFileError
from napari_why.core.events import Advanced, Event
from napari_why.networks import build_network, wrap
from napari_why.training import Augmentation, TensorExamples
from napari_why.training.averaging import WeightAverage
from napari_why.training.losses import weighted_cross_entropy

CYCLE: dict[str, Any] = {
    "schedule": "one_cycle",
    "step_decay": 0.0,
    "optimiser": "adamw",
    "learning_rate": 0.02,
    "epochs": 4,
    "batch_size": 5,
    "averaging": 1.5,
    "label_smoothing": 0.1,
    "device": "cpu",
    "augment": True,
    "jitter": 0.2,
}


def same(first: Any, second: Any) -> bool:
    one, two = first.state_dict(), second.state_dict()
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def states_after_each_step(run: Any) -> tuple[list[float], list[dict[str, torch.Tensor]]]:
    """Run a training; return the rate and the weights of every step, by their shapes."""
    rates: list[float] = []
    weights: list[dict[str, torch.Tensor]] = []

    def note(optimiser: torch.optim.Optimizer, *_: Any) -> None:
        (group,) = optimiser.param_groups
        rates.append(group["lr"])
        weights.append({str(i): p.detach().clone() for i, p in enumerate(group["params"])})

    handle = register_optimizer_step_post_hook(note)
    try:
        run()
    finally:
        handle.remove()
    return rates, weights


def test_every_step_has_its_place_in_the_cycle(train_steadily, tiny_network, train, validation):
    rates, _ = states_after_each_step(
        lambda: train_steadily(tiny_network(), train, validation, **CYCLE)
    )
    assert len(rates) == 20  # 4 epochs of 5 batches
    top = 6  # 30 % of 20
    assert rates[0] == pytest.approx(0.02 / 25)
    assert rates[top] == pytest.approx(0.02)
    assert rates == [*sorted(rates[: top + 1]), *sorted(rates[top + 1 :], reverse=True)]
    assert rates[-1] < 0.02 / 50
    half = torch.optim.lr_scheduler.OneCycleLR(
        torch.optim.SGD([nn.Parameter(torch.zeros(1))]), 0.02, total_steps=2001
    )
    for _ in range(1300):  # so fine that its steps and shares of the way are about the same
        half.optimizer.step()
        half.step()
    assert half.get_last_lr()[0] == pytest.approx(rates[13], rel=5e-3)


def test_a_cycle_is_not_stopped_early(train_steadily, tiny_network, train, bright_and_dark):
    """Labels turned round: the better the training fits, the worse the validation loss."""
    watched = bright_and_dark(9, seed=1)
    upside_down = TensorExamples(watched.stack, 1 - watched.labels)
    settings = CYCLE | {"epochs": 14, "patience": -1}
    result = train_steadily(tiny_network(), train, upside_down, **settings)
    assert (result.status, len(result.history)) == ("done", 14)
    assert result.best_epoch < 4


def test_what_is_validated_and_kept_is_the_average(train_steadily, tiny_network, train, validation):
    steps: list[dict[str, torch.Tensor]] = []
    results = []

    def run() -> None:
        # no jitter of what is trained on matters here, only what becomes of the weights
        results.append(train_steadily(tiny_network(), train, None, **(CYCLE | {"epochs": 1})))

    _, steps = states_after_each_step(run)
    # by hand: the first weights are forgotten; the past counts 1/11, 2/12, ... and never above 1 - 1/7.5
    expected = steps[0]
    for done, weights in enumerate(steps[1:], start=1):
        past = min(1 - 1 / 7.5, done / (done + 10))
        expected = {key: past * expected[key] + (1 - past) * weights[key] for key in weights}
    kept = [weight for _, weight in results[0].network.named_parameters()]
    for found, name in zip(kept, expected, strict=True):
        torch.testing.assert_close(found.detach(), expected[name])
    assert not torch.allclose(kept[0], steps[-1]["0"])
    whole = train_steadily(tiny_network(), train, validation, **CYCLE)
    with torch.no_grad():
        logits = whole.network(validation.stack)
    loss = float(nn.functional.cross_entropy(logits, validation.labels))
    assert loss == pytest.approx(whole.history[whole.best_epoch - 1]["validation_loss"], rel=1e-5)


def test_statistics_are_averaged_and_counts_are_not():
    network = wrap(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
        input_channels=2,
        classes=2,
    )
    norm = network.get_submodule("encoder.1")
    average = WeightAverage.begin(network, steps=2)
    average.update(network, step=1)
    before = norm.running_mean.clone()
    norm.running_mean += 4.0
    norm.num_batches_tracked += 7
    average.update(network, step=1000)
    own = {name: value.clone() for name, value in network.state_dict().items()}
    with average.installed(network):
        torch.testing.assert_close(norm.running_mean, before + 2.0)
        assert int(norm.num_batches_tracked) == 7
    assert all(torch.equal(own[name], value) for name, value in network.state_dict().items())
    with pytest.raises(KeyboardInterrupt), average.installed(network):
        raise KeyboardInterrupt
    assert all(torch.equal(own[name], value) for name, value in network.state_dict().items())


def test_averaged_kernels_have_norms_of_their_own():
    """Two kernels of one norm whose directions differ: the average of singular vectors has neither."""
    parts = {"blocks": "1", "widths": "4", "downscaling": "2"}
    network = build_network("iresnet", input_channels=2, classes=2, size=16, **parts)
    other = build_network("iresnet", input_channels=2, classes=2, size=16, seed=1, **parts)
    # kernels large enough that the norm decides
    with torch.no_grad():
        for weight in (*network.stages.parameters(), *other.stages.parameters()):
            weight *= 3.0
    average = WeightAverage.begin(network, steps=2)
    average.update(network, step=1)
    average.update(other, step=1000)
    network.load_state_dict(other.state_dict())
    with average.installed(network):
        for block in network.named_blocks().values():
            for _, convolution in block.convolutions():
                vector = convolution.right_vector
                assert float(vector.norm()) == pytest.approx(1, rel=1e-5)
                found = float(convolution.norm().detach())
                convolution.iterate(1000)
                assert found == pytest.approx(float(convolution.norm().detach()), rel=1e-3)
                assert found > convolution.coefficient


def test_weights_of_two_names_are_averaged_under_both():
    shared = nn.Conv2d(2, 2, 1)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    network = wrap(nn.Sequential(shared, nn.ELU(), shared), head, input_channels=2, classes=2)
    average = WeightAverage.begin(network, steps=2)
    average.update(network, step=1)
    before = shared.weight.detach().clone()
    with torch.no_grad():
        shared.weight += 4.0
    average.update(network, step=1000)
    with average.installed(network):
        torch.testing.assert_close(shared.weight.detach(), before + 2.0)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        (None, {}),
        ("iresnet", {"blocks": "1", "widths": "4", "downscaling": "2"}),
        ("cam_net", {"joint_loss": True}),
    ],
)
def test_a_resumed_cycle_ends_with_the_same_weights(
    train_steadily, tiny_network, bright_and_dark, tmp_path, name, parameters
):
    size = 16
    train, validation = bright_and_dark(12, size=size), bright_and_dark(5, seed=1, size=size)

    def run(**further: Any) -> Any:
        network = (
            build_network(name, input_channels=2, classes=2, size=size, **parameters)
            if name
            else tiny_network()
        )
        settings = CYCLE | {"epochs": 3, "auxiliary_weight": 1.0, "class_weights": "balanced"}
        return train_steadily(network, train, validation, **settings, **further)

    done: list[int] = []

    def note(event: Event) -> None:
        done.extend([event.done] if isinstance(event, Advanced) else [])

    whole = run()
    # 3 batches an epoch: in the middle of the third
    part = run(cancelled=lambda: 7 in done, on_event=note, checkpoint_folder=tmp_path)
    assert (part.status, len(part.history)) == ("cancelled", 2)
    resumed = run(checkpoint_folder=tmp_path, resume=True)
    assert resumed.status == "done"
    assert resumed.history == whole.history
    assert same(resumed.network, whole.network)


def test_a_cycle_is_resumed_to_the_length_it_was_begun_with(
    train_steadily, tiny_network, train, validation, tmp_path
):
    train_steadily(tiny_network(), train, validation, **CYCLE, checkpoint_folder=tmp_path)
    with pytest.raises(ModelFileError, match="epochs was 4 and is now 9"):
        longer = CYCLE | {"epochs": 9}
        train_steadily(
            tiny_network(), train, validation, **longer, checkpoint_folder=tmp_path, resume=True
        )


@pytest.mark.parametrize(("averaging", "files"), [(0.0, 3), (2.0, 4)])
def test_checkpoints_hold_an_average_only_where_there_is_one(
    train_steadily, tiny_network, train, validation, tmp_path, averaging, files
):
    """Without one they are what they always were, for earlier versions to go on from."""
    settings = CYCLE | {"averaging": averaging, "epochs": 1}
    train_steadily(tiny_network(), train, validation, **settings, checkpoint_folder=tmp_path)
    (epoch,) = tmp_path.iterdir()
    assert len(list(epoch.iterdir())) == files
    if averaging:
        average: Path = epoch / "averaged.safetensors"
        average.write_bytes(average.read_bytes()[:-1] + b"\0\0")
        with pytest.raises(ModelFileError, match=r"averaged\.safetensors: found altered content"):
            train_steadily(
                *(tiny_network(), train, validation),
                **settings,
                checkpoint_folder=tmp_path,
                resume=True,
            )


def test_smoothed_labels_keep_the_weights_of_their_own_class():
    logits = torch.tensor([[2.0, 0.0], [0.5, 1.0], [0.0, 3.0]], dtype=torch.float64)
    labels, weights = torch.tensor([0, 0, 1]), torch.tensor([0.75, 1.5], dtype=torch.float64)
    logs = logits.log_softmax(1)
    # by hand: 0.9 + 0.1 / 2 on the own class, 0.1 / 2 on the other
    own = -(0.95 * logs[torch.arange(3), labels] + 0.05 * logs[torch.arange(3), 1 - labels])
    torch.testing.assert_close(weighted_cross_entropy(logits, labels, None, 0.1), own.mean())
    torch.testing.assert_close(
        weighted_cross_entropy(logits, labels, weights, 0.1), (own * weights[labels]).mean()
    )


@pytest.mark.parametrize(("class_weights", "slope"), [("none", 0.25), ("balanced", 0.0)])
def test_class_weights_hold_in_a_cycle(train_steadily, class_weights, slope):
    """15 images of one class and 5 of the other: balanced, they draw the bias to neither side."""
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    for weight in head.parameters():
        nn.init.zeros_(weight)
    network = wrap(nn.Conv2d(2, 2, 1), head, input_channels=2, classes=2)
    images = TensorExamples(torch.ones(20, 2, 8, 8), torch.tensor([0] * 15 + [1] * 5))
    settings = {**CYCLE, "epochs": 1, "batch_size": 20, "optimiser": "sgd", "jitter": 0.0}
    result = train_steadily(network, images, images, class_weights=class_weights, **settings)
    bias = list(result.network.state_dict().values())[-1]
    # by hand: the first rate of the cycle times the mean of weight times (p - y), y being 0.95 and
    # 0.05; with one step the average is what that led to
    step = 0.02 / 25 * 0.9 * slope
    assert bias.tolist() == pytest.approx([step, -step], abs=1e-8)
    # the smoothed loss is what is trained on, and the plain one what the epoch is chosen by
    assert result.history[0]["train_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert result.history[0]["validation_loss"] < 0.6932


def test_jitter_is_a_gain_and_an_offset_of_every_channel():
    still = {"flips": False, "right_angles": False, "rotation": 0}
    flat = torch.zeros(4000, 2, 2, 2)
    flat[:, :, 0] = (
        1.0  # a gain tells itself by the difference of two levels, an offset by the lower
    )
    made = Augmentation(**still, jitter=0.1)(flat, torch.Generator().manual_seed(0))
    assert torch.equal(made[..., 0], made[..., 1]), "positions share it"
    offset, gain = made[:, :, 1, 0], made[:, :, 0, 0] - made[:, :, 1, 0]
    for values, centre in ((offset, 0.0), (gain, 1.0)):
        assert float(values.mean()) == pytest.approx(centre, abs=0.005)
        assert float(values.std()) == pytest.approx(0.1, abs=0.005)
    drawn = torch.stack([offset[:, 0], offset[:, 1], gain[:, 0], gain[:, 1]])
    assert float((torch.corrcoef(drawn) - torch.eye(4)).abs().max()) < 0.06


def test_no_jitter_draws_no_numbers():
    """Trainings without it then are what they were."""
    images, one, two = torch.rand(3, 2, 8, 8), torch.Generator(), torch.Generator()
    one.manual_seed(5), two.manual_seed(5)
    first, again = Augmentation()(images, one), Augmentation(jitter=0.0)(images, two)
    assert torch.equal(first, again)
    assert torch.equal(one.get_state(), two.get_state())
    assert not torch.equal(Augmentation(jitter=0.1)(images, two), first)
