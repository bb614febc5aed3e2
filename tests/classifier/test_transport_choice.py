"""The rule by which a direction's transport is chosen, on networks whose answers are known."""

import json
from typing import Any

import pytest
import torch
from torch import Tensor
from transport_doubles import (
    PREPROCESSING,
    SIDE,
    Levels,
    Shifts,
    classifier_of,
    held_out,
    shift,
)

from napari_why.datasets import Preprocessing
from napari_why.fitting.transport_choice import FEWEST, OVERSHOOTS, TransportChooser
from napari_why.networks.network import InvertibleNetwork
from napari_why.transport import Choice


def choose(
    full: Tensor,
    excess: Tensor,
    *,
    network: InvertibleNetwork | None = None,
    second: InvertibleNetwork | None = None,
    batches: list[Any] | None = None,
) -> Choice | None:
    shifts = Shifts({"full": full, "excess": excess})
    classifier = classifier_of(network or Levels(0.0, 6.0), second, PREPROCESSING, shifts)
    chooser = TransportChooser(classifier, "uint16")
    made = chooser.choose(held_out() if batches is None else batches)
    return made.choices.get((0, 1))


def test_where_both_do_alike_everything_is_changed() -> None:
    choice = choose(shift(2, 2), shift(2, 2))
    assert choice is not None
    assert (choice.mass, choice.overshoot) == ("full", 1.0)
    assert choice.scores is not None
    assert choice.scores["images"] == 8
    assert choice.scores["all places"] == choice.scores["excess mass"] == choice.scores["chosen"]
    assert choice.scores["chosen"]["validity"] == 1
    assert choice.scores["chosen"]["second network agrees"] is None
    assert choice.scores["chosen"]["feature distance"] < 0.3
    json.dumps(choice.scores, allow_nan=False)


def test_the_excess_mass_is_taken_where_it_is_clearly_more_valid() -> None:
    choice = choose(shift(2, 0.5), shift(2, 2))
    assert choice is not None
    assert choice.mass == "excess"
    assert choice.scores is not None
    assert choice.scores["all places"]["validity"] == 0
    other = choose(shift(2, 2), shift(2, 0.5))
    assert other is not None
    assert other.mass == "full"


def test_else_where_the_second_network_agrees_more() -> None:
    second = Levels(6.0, 0.0)  # which looks at DAPI
    choice = choose(shift(0.5, 2), shift(2, 2), second=second)
    assert choice is not None
    assert choice.mass == "excess"
    assert choice.scores is not None
    assert choice.scores["all places"]["validity"] == choice.scores["excess mass"]["validity"] == 1
    assert choice.scores["all places"]["second network agrees"] == 0
    # validity comes first, whatever the second network says
    first = choose(shift(0.5, 2), shift(2, 0.5), second=second)
    assert first is not None
    assert first.mass == "full"


def test_else_where_it_comes_nearer_to_real_images() -> None:
    grainy = choose(shift(2, 2, grain=1.5), shift(2, 2), second=Levels(6.0, 0.0))
    assert grainy is not None
    assert grainy.mass == "excess"
    smooth = choose(shift(2, 2), shift(2, 2, grain=1.5), second=Levels(6.0, 0.0))
    assert smooth is not None
    assert smooth.mass == "full"


@pytest.mark.parametrize(
    ("level", "overshoot"),
    [(2.0, 1.0), (0.95, 1.15), (0.82, 1.3), (0.73, 1.5), (0.3, 1.0)],
)
def test_the_change_is_enlarged_no_further_than_the_second_network_asks(level, overshoot) -> None:
    exact = held_out(levels=(-1.0, -1.0))
    for images, labels in exact:  # all of class 0 at the very same level
        mine = labels == 0
        images[mine] += -1.0 - images[mine].mean((2, 3), keepdim=True)
    moved = shift(level, 2.0)
    choice = choose(moved, moved, second=Levels(6.0, 0.0), batches=exact)
    assert choice is not None
    assert choice.overshoot == overshoot
    assert choice.overshoot in OVERSHOOTS
    assert choice.scores is not None
    reached = choice.scores["chosen"]["second network agrees"]
    assert reached == (0 if level == 0.3 else 1)  # out of reach, it is left as it is


def test_a_channel_without_a_say_is_put_back() -> None:
    choice = choose(shift(1.5, 2), shift(1.5, 2), network=Levels(0.0, 6.0))
    assert choice is not None
    assert choice.reset_channels == (0,)


def test_a_channel_that_convinces_is_not_put_back() -> None:
    choice = choose(shift(2, 2), shift(2, 2), network=Levels(3.0, 3.0))
    assert choice is not None
    assert choice.reset_channels == ()


def test_a_locked_channel_need_not_be_put_back_and_the_last_free_one_never_is() -> None:
    choice = choose(shift(0, 2), shift(0, 2), network=Levels(0.0, 6.0, locked=(0,)))
    assert choice is not None
    assert choice.reset_channels == ()


def test_nothing_is_put_back_where_nothing_convinces() -> None:
    choice = choose(shift(1.5, 1.01), shift(1.5, 1.01), network=Levels(0.0, 1.0))
    assert choice is not None
    assert choice.reset_channels == ()


def test_too_few_images_choose_nothing() -> None:
    assert choose(shift(2, 2), shift(2, 2), batches=held_out(FEWEST - 1)) is None
    assert choose(shift(2, 2), shift(2, 2), batches=held_out(FEWEST)) is not None
    # nor do images that are not taken for their class
    assert choose(shift(2, 2), shift(2, 2), batches=held_out(levels=(-1.0, 0.5))) is None


def test_only_directions_that_have_a_map_are_chosen_for() -> None:
    shifts = Shifts({"full": shift(2, 2), "excess": shift(2, 2)})
    chooser = TransportChooser(
        classifier_of(Levels(0.0, 6.0), None, PREPROCESSING, shifts), "uint16"
    )
    assert set(chooser.choose(held_out()).choices) == {(0, 1)}


def test_a_bounded_number_of_images_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_why.fitting.transport_choice.IMAGES_PER_CLASS", 5)
    choice = choose(shift(2, 2), shift(2, 2), batches=held_out(12))
    assert choice is not None
    assert choice.scores is not None
    assert choice.scores["images"] == 5


def test_images_are_judged_as_they_would_be_saved() -> None:
    """A change that lies below black is undone by the export to uint16."""
    dark = Preprocessing(
        ("DAPI", "TMRM"), SIDE, "resize", "linear", (100.0,) * 2, (100.0,) * 2, (1.0, 1.0)
    )
    batches = [(-images, labels) for images, labels in held_out()]
    network = Levels(0.0, -2.0, bias=-6.0)  # class 1 is below a level of -3; black is -1
    moved = shift(-8, -8)
    called = [network(images[labels == 0] + moved).argmax(1) for images, labels in batches]
    assert (torch.cat(called) == 1).all()
    shifts = Shifts({"full": moved, "excess": moved})
    chooser = TransportChooser(classifier_of(network, None, dark, shifts), "uint16")
    scores = chooser.choose(batches).choices[(0, 1)].scores
    assert scores is not None
    assert scores["chosen"]["validity"] == 0
    as_float = TransportChooser(classifier_of(network, None, dark, shifts), "float32")
    scores = as_float.choose(batches).choices[(0, 1)].scores
    assert scores is not None
    assert scores["chosen"]["validity"] == 1


def test_images_without_texture_have_no_feature_distance_and_can_be_saved() -> None:
    flat = [(torch.full((8, 2, SIDE, SIDE), -1.0), torch.tensor([0] * 8))]
    flat.append((torch.full((8, 2, SIDE, SIDE), 1.0), torch.tensor([1] * 8)))
    choice = choose(shift(2, 2), shift(2, 2), batches=flat)
    assert choice is not None
    assert choice.mass == "full"
    assert choice.scores is not None
    assert choice.scores["chosen"]["feature distance"] is None
    json.dumps(choice.scores, allow_nan=False)
