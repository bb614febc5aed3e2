"""The loop of two players: its turns, its averages, cancelling, checkpoints and failures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from napari_why.adversarial import Game, PlayError, play
from napari_why.adversarial.cycle_gan import CycleGame, CycleGanOptions
from napari_why.adversarial.flow_matching import FlowGame, FlowOptions
from napari_why.adversarial.noise2void import BlindSpotGame, BlindSpotOptions
from napari_why.adversarial.play import Look
from napari_why.core.console import describe_epoch
from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.core.events import Advanced, EpochFinished, Finished, Message
from napari_why.training.checkpoint import CheckpointFolder
from napari_why.training.examples import TensorExamples

from .conftest import SIDE, tiny_game, tiny_options


def cancel_in_epoch(epoch: int, batches: int) -> tuple[Callable, Callable]:
    """Return a listener and a ``cancelled`` that says so in the middle of an epoch."""
    done = [0]

    def on_event(event) -> None:
        if isinstance(event, Advanced):
            done[0] = event.done

    return on_event, lambda: done[0] > (epoch - 1) * batches


def states_agree(one: nn.Module, other: nn.Module) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def test_a_training_that_was_resumed_ends_with_the_same_bits(examples, tmp_path: Path) -> None:
    whole, cut, resumed = tiny_game(), tiny_game(), tiny_game()
    result = play(whole, examples, whole.options)
    on_event, cancelled = cancel_in_epoch(3, batches=4)
    stopped = play(
        cut,
        examples,
        cut.options,
        checkpoints=CheckpointFolder(tmp_path),
        on_event=on_event,
        cancelled=cancelled,
    )
    assert (stopped.status, len(stopped.history)) == ("cancelled", 2)
    assert not states_agree(whole, cut)
    again = CheckpointFolder(tmp_path, resume=True)
    finished = play(resumed, examples, resumed.options, checkpoints=again)
    assert states_agree(whole, resumed)
    assert finished.history == result.history
    codes, labels = torch.randn(4, 5), torch.tensor([0, 1, 0, 1])
    made = [game.plain_generator()(codes, labels) for game in (whole, resumed)]
    assert torch.equal(*made)


def test_the_last_epoch_is_kept_and_no_other(examples, tmp_path: Path) -> None:
    game = tiny_game()
    play(game, examples, game.options, checkpoints=CheckpointFolder(tmp_path))
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["epoch-0004"]


def test_another_game_is_not_gone_on_with(examples, tmp_path: Path) -> None:
    game = tiny_game(epochs=1)
    play(game, examples, game.options, checkpoints=CheckpointFolder(tmp_path))
    other = tiny_game(epochs=2, loss="non_saturating")
    with pytest.raises(ModelFileError, match="loss was hinge and is now non_saturating"):
        play(other, examples, other.options, checkpoints=CheckpointFolder(tmp_path, resume=True))


def test_looking_changes_no_weight(examples) -> None:
    blind, watched = tiny_game(), tiny_game()
    watched.watch(examples)
    play(blind, examples, blind.options)
    result = play(watched, examples, watched.options)
    assert states_agree(blind, watched)
    assert {"spread", "generator_loss", "discriminator_loss"} <= result.history[-1].keys()


def test_the_same_seed_gives_the_same_networks_and_another_one_others(examples) -> None:
    games = [tiny_game(), tiny_game(), tiny_game(seed=1)]
    for game in games:
        play(game, examples, game.options)
    assert states_agree(games[0], games[1])
    assert not states_agree(games[0], games[2])


def test_torchs_own_random_numbers_are_left_alone(examples) -> None:
    before = torch.get_rng_state()
    game = tiny_game(epochs=1)
    play(game, examples, game.options)
    assert torch.equal(torch.get_rng_state(), before)


class Tug(Game):
    """One weight each, pulled to and fro: what a step does can be computed by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.generator, self.discriminator = (
            nn.Linear(1, 1, bias=False),
            nn.Linear(1, 1, bias=False),
        )
        for player in (self.generator, self.discriminator):
            nn.init.zeros_(player.weight)
        self.seen: list[tuple[float, float]] = []

    def discriminator_losses(self, images: Tensor, labels: Tensor, random) -> dict[str, Tensor]:
        self.seen.append((self.generator.weight.item(), self.discriminator.weight.item()))
        # the generator's weight has a part in it, and is not to move by it
        return {"pull": (self.generator.weight - self.discriminator.weight).sum()}

    def generator_losses(self, images: Tensor, labels: Tensor, random) -> dict[str, Tensor]:
        loss = (self.generator.weight + self.discriminator.weight).sum()
        return {"push": loss, "weight": 0 * loss}

    def configuration(self) -> dict[str, str]:
        return {"game": "tug"}


def test_each_player_takes_its_own_steps_alone() -> None:
    images = TensorExamples(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))
    game = Tug()
    options = tiny_options(
        epochs=2, batch_size=4, learning_rate=0.01, discriminator_rate=0.1, averaging=0
    )
    result = play(game, images, options)
    # Adam's first steps go by the rate, whatever the gradient
    assert game.seen == [(0, 0), (pytest.approx(-0.01, abs=1e-6), pytest.approx(0.1, abs=1e-6))]
    assert game.generator.weight.item() == pytest.approx(-0.02, abs=1e-6)
    assert game.discriminator.weight.item() == pytest.approx(0.2, abs=1e-6)
    first, second = result.history
    assert first["discriminator_loss"] == 0
    assert first["generator_loss"] == pytest.approx(0.1, abs=1e-6)  # after the other's step
    assert second["discriminator_loss"] == pytest.approx(-0.11, abs=1e-6)
    assert first["generator_push"] == first["generator_loss"]
    assert first["generator_weight"] == 0
    assert "discriminator_pull" not in first  # its only loss needs no name beside the player's


def test_the_average_of_the_generator_is_kept_and_the_discriminator_as_it_is() -> None:
    images = TensorExamples(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))
    game = Tug()
    play(game, images, tiny_options(epochs=2, batch_size=4, learning_rate=0.01, averaging=100))
    # step 1 forgets the start; step 2 keeps 1/11 of the past (the warm-up of the average)
    assert game.generator.weight.item() == pytest.approx(-0.01 / 11 - 0.02 * 10 / 11, abs=1e-5)
    assert not game.generator.weight.requires_grad


def test_events_tell_the_epochs_and_where_it_runs(examples) -> None:
    game, heard = tiny_game(epochs=2), []
    play(game, examples, game.options, on_event=heard.append)
    epochs = [event for event in heard if isinstance(event, EpochFinished)]
    assert [event.epoch for event in epochs] == [1, 2]
    assert [event.done for event in heard if isinstance(event, Advanced)] == [*range(1, 9)]
    assert "training on cpu" in next(e.text for e in heard if isinstance(e, Message))
    assert heard[-1] == Finished()
    told = describe_epoch(EpochFinished(2, 9, {"generator_loss": 1.0, "discriminator_loss": 0.5}))
    assert told == "epoch 2, generator loss 1.00, discriminator loss 0.50"
    assert describe_epoch(EpochFinished(2, 9, {"generator_loss": 1.0})) == "epoch 2, loss 1.00"


def test_a_training_says_how_many_networks_it_trains() -> None:
    assert tiny_game().title == "training two networks"
    assert BlindSpotGame(BlindSpotOptions(widths="2"), 1).title == "training a network"
    assert FlowGame(FlowOptions(widths="2"), 2, [0], 2).title == "training a network"
    assert CycleGame(CycleGanOptions(widths="2"), 2, [0]).title == (
        "training two translators against two discriminators"
    )


class Watched(Tug):
    """Something is wrong at the second look and the third, and at the last one something else."""

    looks = 0

    def look(self, random) -> Look:
        self.looks += 1
        about = {2: {"spread": "little"}, 3: {"spread": "still little"}, 5: {"coverage": "none"}}
        return Look({"seen": self.looks}, about.get(self.looks, {}))


def test_what_is_seen_is_told_when_it_comes_up_when_it_is_over_and_at_the_end() -> None:
    images = TensorExamples(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))
    heard = []
    result = play(
        Watched(), images, tiny_options(epochs=5, batch_size=4, averaging=0), on_event=heard.append
    )
    told = [(e.text, e.finding) for e in heard if isinstance(e, Message)][1:]
    assert told == [
        ("little", False),
        ("spread: what was said of it is over", False),
        ("none", True),
    ]
    assert [entry["seen"] for entry in result.history] == [1, 2, 3, 4, 5]


class Diverging(Tug):
    """Its loss is no number from the second epoch on."""

    def generator_losses(self, images: Tensor, labels: Tensor, random) -> dict[str, Tensor]:
        scale = torch.nan if len(self.seen) > 1 else 1.0
        return {"push": scale * self.generator.weight.sum()}


def test_a_game_that_breaks_off_keeps_its_last_epoch() -> None:
    images = TensorExamples(torch.zeros(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))
    game = Diverging()
    options = tiny_options(epochs=3, batch_size=4, learning_rate=0.01, averaging=0)
    with pytest.raises(PlayError, match="epoch 2 of 3: the generator's loss became nan") as broken:
        play(game, images, options)
    assert len(broken.value.reached.history) == 1
    assert broken.value.reached.status == "failed"
    assert game.generator.weight.item() == pytest.approx(-0.01, abs=1e-6)


def test_one_image_is_too_few() -> None:
    images = TensorExamples(torch.zeros(1, 2, SIDE, SIDE), torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ParameterError, match="found 1; expected 2 at least"):
        play(tiny_game(), images, tiny_options())


def test_the_history_is_json(examples) -> None:
    game = tiny_game(epochs=1)
    result = play(game, examples, game.options)
    assert json.loads(json.dumps(result.to_dict()))["status"] == "done"
