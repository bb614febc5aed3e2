"""Translators between classes: their losses, their locks, what is kept of them."""

from collections.abc import Mapping

import pytest
import torch

from napari_why.adversarial.cycle_gan import (
    ClassTranslators,
    CycleGame,
    CycleGanOptions,
    Translator,
    UnpairedExamples,
    fit_translators,
)
from napari_why.core.errors import DatasetError, ModelFileError, ParameterError
from napari_why.core.events import EpochFinished
from napari_why.training.checkpoint import CheckpointFolder
from napari_why.training.examples import TensorExamples

SIDE, CLASSES = 16, ("healthy", "sick", "treated")
NOTHING = torch.Generator()


def options(**changes) -> CycleGanOptions:
    settings = {
        "epochs": 2,
        "batch_size": 4,
        "widths": "4,6",
        "discriminator_widths": "4,6",
        "threads": 1,
        "device": "cpu",
        "averaging": 2,
    }
    return CycleGanOptions(**(settings | changes))


@pytest.fixture
def three_classes() -> TensorExamples:
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0])
    images = torch.randn(8, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    return TensorExamples(images + labels.reshape(-1, 1, 1, 1), labels)


@pytest.fixture
def fitted(three_classes) -> ClassTranslators:
    return fit_translators(three_classes, CLASSES, (0,), options())[0]


def push(translator: Translator, by: float) -> None:
    """Let it add a number to its free channels."""
    torch.nn.init.constant_(translator.change.last.bias, by)


def test_a_translator_starts_at_no_change_and_never_touches_what_is_locked() -> None:
    images = torch.randn(3, 3, 20, 12)
    translator = Translator(3, (1,), (4, 6))
    assert torch.equal(translator(images), images)
    push(translator, 0.5)
    moved = translator(images)
    assert torch.equal(moved[:, 1], images[:, 1])
    torch.testing.assert_close(moved[:, [0, 2]], images[:, [0, 2]] + 0.5)


def test_the_losses_of_translators_are_the_published_ones() -> None:
    game = CycleGame(options(cycle=7, identity=3), 2, (0,))
    push(game.generator["forth"], 0.5)
    push(game.generator["back"], -0.25)
    losses = game.generator_losses(torch.randn(2, 4, SIDE, SIDE), torch.zeros(2), NOTHING)
    # only one of two channels is free: there and back differs by a quarter in it, both ways round
    assert losses["cycle"].item() == pytest.approx(7 * 2 * 0.25 / 2, rel=1e-4)
    assert losses["identity"].item() == pytest.approx(3 * (0.5 + 0.25) / 2, rel=1e-4)
    assert losses.keys() == {"passing", "cycle", "identity"}


def test_each_discriminator_sees_its_own_class_and_what_was_translated_to_it() -> None:
    game = CycleGame(options(), 1, ())
    seen: dict[str, list[float]] = {}
    for name in ("first", "second"):
        game.discriminator[name].register_forward_hook(
            lambda _module, given, _out, name=name: seen.setdefault(name, []).append(
                round(given[0].mean().item(), 3)
            )
        )
    push(game.generator["forth"], 5.0)
    images = torch.cat([torch.full((2, 1, SIDE, SIDE), value) for value in (1.0, 2.0)], dim=1)
    losses = game.discriminator_losses(images, torch.zeros(2), NOTHING)
    assert losses.keys() == {"first", "second"}
    assert sorted(seen["first"]) == [
        1,
        2,
    ]  # real; the second class, back, which changes nothing yet
    assert sorted(seen["second"]) == [2, 6]


def test_images_of_two_classes_stand_side_by_side(three_classes) -> None:
    both = UnpairedExamples(three_classes, (0, 3, 6, 7), (1, 4))
    assert len(both.labels) == 4
    stacked = both.images([0, 3])
    assert torch.equal(stacked[:, :2], three_classes.images([0, 7]))
    assert torch.equal(stacked[:, 2:], three_classes.images([1, 4]))  # the smaller one again


def test_every_direction_is_learnt_and_locked(fitted, three_classes) -> None:
    assert set(fitted.translators) == {(a, b) for a in range(3) for b in range(3) if a != b}
    assert fitted.complete
    assert fitted.epochs == 2
    images = three_classes.images([0, 3])
    moved = fitted.translate(images, 0, 2)
    assert torch.equal(moved[:, 0], images[:, 0])
    assert not torch.equal(moved[:, 1], images[:, 1])
    assert fitted.fits(3, 99)
    assert not fitted.fits(2, 99)


def test_what_is_taken_apart_is_put_together_again(fitted, three_classes) -> None:
    again = ClassTranslators.from_parts(fitted.tensors(), fitted.to_dict())
    images = three_classes.images([1, 4])
    assert torch.equal(again.translate(images, 1, 0), fitted.translate(images, 1, 0))
    assert (again.locked, again.epochs, again.complete) == ((0,), 2, True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"locked": [0, 1]}, "locked channels"),
        ({"locked": [5]}, "locked channels"),
        ({"widths": [4, 8]}, "of shape"),
        ({"directions": [[0, 1]]}, "belong to nothing"),
        ({"widths": [4, 10**6]}, "whole number"),
        ({"further": 1}, "unknown further"),
    ],
)
def test_parts_that_do_not_fit_are_refused(fitted, changes: Mapping, message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        ClassTranslators.from_parts(fitted.tensors(), {**fitted.to_dict(), **changes})


def test_a_cancelled_training_keeps_its_last_epoch_and_says_so(three_classes) -> None:
    heard = []

    def cancelled() -> bool:
        return any(isinstance(event, EpochFinished) for event in heard)

    made, results = fit_translators(
        three_classes, CLASSES, (), options(), on_event=heard.append, cancelled=cancelled
    )
    assert set(made.translators) == {(0, 1), (1, 0)}
    assert not made.complete
    assert made.epochs == 1
    assert [result.status for result in results.values()] == ["cancelled"]
    assert next(e for e in heard if isinstance(e, EpochFinished)).network == (
        "translators between healthy and sick"
    )
    with pytest.raises(ParameterError, match="found none from class 0 to 2"):
        made.translate(three_classes.images([0]), 0, 2)


def test_resumed_translators_have_the_same_bits(three_classes, fitted, tmp_path) -> None:
    heard = []
    cancelled = lambda: sum(isinstance(event, EpochFinished) for event in heard) == 3  # noqa: E731
    settings = {"on_event": heard.append, "cancelled": cancelled}
    folder = CheckpointFolder(tmp_path)
    fit_translators(three_classes, CLASSES, (0,), options(), checkpoints=folder, **settings)
    again = CheckpointFolder(tmp_path, resume=True)
    resumed, _ = fit_translators(three_classes, CLASSES, (0,), options(), checkpoints=again)
    whole, found = fitted.tensors(), resumed.tensors()
    assert whole.keys() == found.keys()
    assert all(torch.equal(whole[name], found[name]) for name in whole)


def test_a_class_without_images_is_refused(three_classes) -> None:
    with pytest.raises(DatasetError, match="no training image of other"):
        fit_translators(three_classes, (*CLASSES, "other"), (), options())


def test_something_has_to_be_free() -> None:
    with pytest.raises(ParameterError, match="found all 2 channels"):
        CycleGame(options(), 2, (0, 1))
