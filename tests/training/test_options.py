"""Options are declared once, completed by the network's own, and keep their names on disk."""

from dataclasses import replace

import pytest

from napari_why.core.errors import ParameterError
from napari_why.networks import NETWORKS, NetworkEntry, TrainingSchedule, build_network
from napari_why.training import TrainingOptions


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_every_network_brings_a_whole_schedule(name):
    own = NETWORKS[name].training
    assert own.left_open == ()
    completed = TrainingOptions().for_network(name)
    assert completed.left_open == ()
    assert (completed.optimiser, completed.batch_size) == (own.optimiser, own.batch_size)


def test_what_is_given_stands_above_the_networks_own():
    options = TrainingOptions(epochs=3, optimiser="sgd").for_network("iresnet")
    own = NETWORKS["iresnet"].training.learning_rate
    assert (options.epochs, options.optimiser, options.learning_rate) == (3, "sgd", own)


def test_a_network_of_ones_own_need_not_say_everything(monkeypatch):
    entry = NetworkEntry("Mine", "me", lambda: None, TrainingSchedule(epochs=7))
    monkeypatch.setitem(NETWORKS, "mine", entry)
    options = TrainingOptions().for_network("mine")
    assert (options.epochs, options.batch_size) == (7, NETWORKS["cam_net"].training.batch_size)


def test_a_network_that_is_not_registered_has_no_values_of_its_own():
    with pytest.raises(ParameterError, match="epochs: found 0; expected a value"):
        TrainingOptions().for_network("wrapped")
    with pytest.raises(ParameterError, match="optimiser: found auto"):
        TrainingOptions(epochs=1, batch_size=2, learning_rate=0.1).for_network("wrapped")


def test_the_learning_rate_is_never_cut_without_a_step_size():
    schedule = {"epochs": 9, "batch_size": 2, "learning_rate": 0.1, "optimiser": "adam"}
    options = TrainingOptions(**schedule, step_decay=0.5).for_network("wrapped")
    assert options.learning_rate_at(100) == 0.1


def test_checkpoints_name_their_settings_as_they_always_did():
    """A training that was begun by an earlier version can be resumed."""
    network = build_network("cam_net", input_channels=2, classes=2, size=16)
    former = {
        "batch_size": 20,
        "learning_rate": 1e-3,
        "optimiser": "adam",
        "step_size": 15,
        "step_decay": 0.2,
        "auxiliary_weight": 1.0,
        "seed": 0,
        "augmentation": {"flips": True, "right_angles": True, "rotation": 10.0},
        "network": "cam_net",
        "configuration": network.configuration(),
    }
    plainly = {"label_smoothing": 0, "jitter": 0, "averaging": 0}
    told = {"batch_size": 20, "learning_rate": 1e-3, "optimiser": "adam", "step_size": 15}
    begun = TrainingOptions(step_decay=0.2, **told, **plainly).for_network("cam_net")
    plain = begun.identity(network)
    assert plain == former
    still = replace(begun, augment=False, loss="class_distance")
    assert still.identity(network)["augmentation"] is None
    assert set(still.identity(network)) - set(plain) == {"loss", "loss_weight"}


def test_who_says_how_the_rate_is_cut_gets_it_cut():
    assert TrainingOptions().for_network("cam_net").schedule == "one_cycle"
    cut = TrainingOptions(step_size=3).for_network("cam_net")
    assert (cut.schedule, cut.step_size, cut.step_decay) == ("step", 3, 0.2)
    asked = TrainingOptions(schedule="step").for_network("cam_net")
    assert (asked.step_size, asked.step_decay) == (15, 0.2)


def test_a_cycle_has_no_steps():
    own = TrainingOptions(schedule="one_cycle").for_network("cam_net")
    assert (own.step_size, own.step_decay, own.left_open) == (0, 0, ())
    assert own.for_network("cam_net") == own, (
        "a fit completes its options, and so does its training"
    )
    with pytest.raises(ParameterError, match=r"step_size: found 3 with the schedule one_cycle"):
        TrainingOptions(schedule="one_cycle", step_size=3).for_network("cam_net")


def test_only_what_is_cut_in_steps_is_stopped_early():
    assert TrainingOptions(schedule="step").for_network("cam_net").patience == 10
    assert TrainingOptions(schedule="one_cycle").for_network("cam_net").patience == 0
    assert TrainingOptions(schedule="one_cycle", patience=4).for_network("cam_net").patience == 4


def test_a_decay_belongs_to_its_optimiser():
    decays = {
        name: TrainingOptions(optimiser=name).for_network("cam_net").weight_decay
        for name in ("auto", "adamw", "adam", "sgd")
    }
    assert decays == {"auto": 0.01, "adamw": 0.01, "adam": 0, "sgd": 0}
    asked = TrainingOptions(optimiser="sgd", weight_decay=0.1).for_network("cam_net")
    assert asked.weight_decay == 0.1
    network = build_network("small_cnn", input_channels=2, classes=2, size=16)
    assert asked.make_optimiser(network).param_groups[0]["weight_decay"] == 0.1


def test_images_as_they_are_are_not_jittered_unless_asked():
    assert TrainingOptions().for_network("cam_net").augmentation.jitter > 0
    assert TrainingOptions(augment=False).for_network("cam_net").augmentation is None
    asked = TrainingOptions(augment=False, jitter=0.3).for_network("cam_net").augmentation
    assert (asked.flips, asked.right_angles, asked.rotation, asked.jitter) == (False, False, 0, 0.3)
    assert TrainingOptions(jitter=0).for_network("cam_net").augmentation.jitter == 0


def test_what_no_network_says_is_not_done():
    own = {"epochs": 9, "batch_size": 2, "learning_rate": 0.1, "optimiser": "adam"}
    options = TrainingOptions(**own, step_decay=0.5).for_network("wrapped")
    assert options.schedule == "step"
    assert (options.weight_decay, options.label_smoothing, options.averaging) == (0, 0, 0)
    assert options.augmentation.jitter == 0
    cycle = TrainingOptions(**own, schedule="one_cycle").for_network("wrapped")
    assert cycle.learning_rate_at(1) == pytest.approx(0.1 / 25)


@pytest.mark.parametrize(
    ("name", "epochs", "batch_size", "step_size", "step_decay"),
    [("small_cnn", 30, 20, 15, 0.2), ("resnext50", 10, 15, 5, 0.1)],
)
def test_networks_without_better_figures_train_as_they_did(
    name, epochs, batch_size, step_size, step_decay
):
    own = TrainingOptions().for_network(name)
    assert (own.epochs, own.batch_size, own.learning_rate) == (epochs, batch_size, 1e-3)
    assert (own.optimiser, own.schedule) == ("adam", "step")
    assert (own.step_size, own.step_decay, own.patience) == (step_size, step_decay, 10)
    assert (own.weight_decay, own.label_smoothing, own.jitter, own.averaging) == (0, 0, 0, 0)


def test_networks_that_reproduce_images_train_as_they_did():
    for name in ("autoencoder", "denoising_autoencoder", "vae"):
        own = NETWORKS[name].training
        assert (own.epochs, own.batch_size, own.learning_rate) == (60, 20, 1e-3)
        assert (own.optimiser, own.schedule, own.step_size, own.step_decay) == (
            "adam",
            "step",
            30,
            0.3,
        )
        assert (own.weight_decay, own.label_smoothing, own.jitter, own.averaging) == (0, 0, 0, 0)
