"""Options are declared once, completed by the network's own, and keep their names on disk."""

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
    assert (options.epochs, options.optimiser, options.learning_rate) == (3, "sgd", 5e-3)


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
    plain = TrainingOptions(epochs=1).for_network("cam_net").identity(network)
    assert set(plain) == {
        *("network", "configuration", "batch_size", "learning_rate", "optimiser", "step_size"),
        *("step_decay", "auxiliary_weight", "seed", "augmentation"),
    }
    assert plain["augmentation"] == {"flips": True, "right_angles": True, "rotation": 10.0}
    still = TrainingOptions(augment=False, loss="class_distance").for_network("cam_net")
    assert still.identity(network)["augmentation"] is None
    assert set(still.identity(network)) - set(plain) == {"loss", "loss_weight"}
