"""Which channels hold class evidence, who decides, and what is said about it."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_why.core.errors import ParameterError
from napari_why.core.events import Advanced, Event, Message, Started
from napari_why.datasets import Dataset
from napari_why.fitting import fit
from napari_why.fitting.lock_test import (
    MOST_IMAGES,
    LockTest,
    can_lock,
    choose_images,
    lock_test,
    read_wanted_lock,
    reduce_images,
)
from napari_why.images import make_image
from napari_why.training import TrainingError
from napari_why.training.class_evidence import Intervals, confidence_intervals
from napari_why.training.examples import TensorExamples

CHANNELS = ("DAPI", "TMRM")
COUNT, WELLS, SIDE = 72, 24, 16
BLOCKS = {"blocks": "1", "widths": "4", "downscaling": "2"}
TINY: dict[str, Any] = {
    "size": 16,
    "epochs": 1,
    "device": "cpu",
    "second_network": False,
    "pixel_maps": False,
}


def planted(
    evidence: tuple[float, float], wells: int = WELLS, **columns: Any
) -> tuple[Dataset, TensorExamples]:
    """Return noise in which the classes differ in brightness, by so much in either channel."""
    rng = np.random.default_rng(0)
    labels = np.arange(COUNT) % 2
    pixels = rng.normal(size=(COUNT, 2, SIDE, SIDE))
    pixels += np.asarray(evidence)[:, None, None] * labels[:, None, None, None]
    pixels += 0.3 * rng.normal(size=(COUNT, 2, 1, 1))
    images = [
        make_image((1000 + 100 * image).astype(np.uint16), "cyx", CHANNELS) for image in pixels
    ]
    given = {"well": [f"W{number % wells}" for number in range(COUNT)], **columns}
    dataset = Dataset.from_images(images, [f"class {label}" for label in labels], **given)
    examples = TensorExamples(torch.from_numpy(pixels).float(), torch.from_numpy(labels))
    return dataset, examples


def test_a_channel_without_evidence_is_locked_when_another_has_it() -> None:
    dataset, examples = planted((0.0, 1.0))
    events: list[Event] = []
    found = lock_test(dataset, examples, CHANNELS, on_event=events.append)
    assert found is not None
    assert found.locked == ("DAPI",)
    assert found.decided_by == "test"
    assert [item.verdict for item in found.channels] == ["chance", "evidence"]
    # over ten seeds, 0.94 to 0.99 where there is evidence and 0.37 to 0.60 where there is none
    assert found.channels[1].accuracy > 0.85
    assert found.channels[0].accuracy < 0.7
    assert (found.images, found.groups, found.folds) == (COUNT, WELLS, 3)
    dapi = found.channels[0]
    assert dapi.high < dapi.margin == pytest.approx(0.6, abs=0.02)
    assert found.sentence.startswith("DAPI is locked")
    assert f"DAPI alone tells the classes apart in {dapi.accuracy:.0%} (95% interval" in (
        found.sentence
    )
    assert found.repetitions == 5  # few images, and a lock in question
    assert events == [
        Started("lock test", 6),
        *[Advanced(step) for step in range(1, 7)],
        Started("lock test, repeated", 24),
        *[Advanced(step) for step in range(1, 25)],
        Message(found.sentence),
    ]


def test_where_both_channels_have_evidence_none_is_locked() -> None:
    found = lock_test(*planted((1.0, 1.0)), CHANNELS)
    assert found is not None
    assert found.locked == ()
    assert [item.verdict for item in found.channels] == ["evidence", "evidence"]
    assert found.sentence.startswith(
        "No channel is locked: each seems to tell something of the class"
    )
    assert found.repetitions == 1  # nothing to decide by looking closer


def test_without_any_evidence_none_is_locked() -> None:
    found = lock_test(*planted((0.0, 0.0)), CHANNELS)
    assert found is not None
    assert found.locked == ()
    assert "evidence" not in {item.verdict for item in found.channels}
    assert "none alone clearly tells the classes apart" in found.sentence


def told(monkeypatch: pytest.MonkeyPatch, *rows: np.ndarray) -> None:
    """Let the networks predict what they are told, for images in their order."""

    def predictions(views: Tensor, *_: Any, **__: Any) -> np.ndarray:
        numbers = views[:, 0, 0, 0, 0].long().numpy()
        return np.stack([row[numbers] for row in rows])

    monkeypatch.setattr("napari_why.fitting.lock_test.out_of_fold_predictions", predictions)


def numbered(wells: int, **columns: Any) -> tuple[Dataset, TensorExamples]:
    """Return images that tell their number."""
    dataset, examples = planted((0.0, 0.0), wells, **columns)
    numbers = torch.arange(COUNT).float().reshape(-1, 1, 1, 1).expand(-1, 2, SIDE, SIDE)
    return dataset, TensorExamples(numbers, examples.labels)


TRUTH = np.arange(COUNT) % 2
GUESS = (np.arange(COUNT) // 2) % 2


def test_too_few_groups_tell_nothing_and_it_is_said(monkeypatch) -> None:
    told(monkeypatch, GUESS, TRUTH)
    found = lock_test(*numbered(wells=4), CHANNELS)
    assert found is not None
    assert found.locked == ()
    assert {item.verdict for item in found.channels} == {"undecided"}
    assert "4 groups of images are too few to tell" in found.sentence


def test_a_class_of_one_group_is_not_tested() -> None:
    found = lock_test(*planted((0.0, 1.0), wells=2), CHANNELS)
    assert found == LockTest(
        (), "test", "No channel is locked: a class has one group of images only."
    )


def test_a_single_channel_is_not_tested() -> None:
    dataset, examples = planted((0.0, 1.0))
    alone = TensorExamples(examples.stack[:, 1:], examples.labels)
    found = lock_test(dataset, alone, ("TMRM",))
    assert found is not None
    assert "there is one only" in found.sentence


def test_a_little_evidence_is_neither_locked_nor_enough_to_lock_others(monkeypatch) -> None:
    right = TRUTH.copy()
    right[: COUNT // 3] = GUESS[: COUNT // 3]  # 5 of 6 right
    told(monkeypatch, right, TRUTH)
    found = lock_test(*numbered(WELLS), CHANNELS)
    assert found is not None
    assert found.locked == ()  # it may hold some
    assert found.channels[0].verdict == "evidence"
    told(monkeypatch, GUESS, GUESS)
    found = lock_test(*numbered(WELLS), CHANNELS)
    assert found is not None
    assert found.locked == ()


def labelled(
    classes: int, images: int, wells: int, **columns: Any
) -> tuple[Dataset, TensorExamples, np.ndarray]:
    """Return images that tell their number, of wells of one class each, and their labels."""
    labels = np.arange(images) % wells % classes
    dataset = Dataset.from_images(
        [make_image(np.zeros((2, 2, 2), np.uint16), "cyx", CHANNELS)] * images,
        [f"class {label:02d}" for label in labels],
        well=[f"W{number % wells}" for number in range(images)],
        **columns,
    )
    numbers = torch.arange(images).float().reshape(-1, 1, 1, 1).expand(-1, 2, 2, 2)
    return dataset, TensorExamples(numbers, torch.from_numpy(labels)), labels


def outcome_for(monkeypatch, classes, images, wells, channel) -> LockTest:
    """Return the outcome for a channel whose predictions are made of the labels, beside the truth."""
    dataset, examples, labels = labelled(classes, images, wells)
    told(monkeypatch, channel(np.random.default_rng(0), labels), labels)
    found = lock_test(dataset, examples, CHANNELS)
    assert found is not None
    return found


def right_with(share: float, classes: int):
    """Return predictions of which a share of every class is right, and the rest another class."""

    def predict(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        predicted = (labels + rng.integers(1, classes, len(labels))) % classes
        for label in range(classes):
            members = rng.permutation(np.flatnonzero(labels == label))
            right = members[: round(share * len(members))]
            predicted[right] = label
        return predicted

    return predict


@pytest.mark.parametrize("classes", [3, 5, 8, 12, 16])
@pytest.mark.parametrize("visible", [1, 2])
def test_one_class_that_shows_is_evidence_however_many_there_are(
    monkeypatch, classes: int, visible: int
) -> None:
    """The rest is taken for each other at random, so the accuracy of all hardly exceeds chance."""

    def predict(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        guess = rng.integers(visible, max(classes, visible + 1), len(labels))
        return np.where(labels < visible, labels, guess)

    found = outcome_for(monkeypatch, classes, 30 * classes, 10 * classes, predict)
    dapi = found.channels[0]
    assert found.locked == ()
    assert dapi.verdict == "evidence"
    assert dapi.p_value < 0.05
    assert [one.p_value < 0.05 for one in dapi.classes[:visible]] == [True] * visible
    assert dapi.classes[0].accuracy == pytest.approx(1, abs=0.01)
    assert f"{dapi.classes[0].label} from the rest in 100%" in found.sentence


@pytest.mark.parametrize("classes", [2, 4, 12])
def test_what_is_significant_is_never_locked_however_little(monkeypatch, classes: int) -> None:
    chance = 1 / classes
    found = outcome_for(
        monkeypatch, classes, 600, 120, right_with(chance + 0.1 * (1 - chance), classes)
    )
    dapi = found.channels[0]
    assert dapi.p_value < 0.05
    assert dapi.verdict in ("weak", "evidence")
    assert dapi.low > dapi.chance or any(one.low > 0.5 for one in dapi.classes)
    assert found.locked == ()
    # no p is none, so it is told how often so much comes by chance
    assert "not by chance" not in found.sentence
    assert (
        "each seems to tell something of the class, as up to one channel in 20 does"
        in found.sentence
    )
    often = f"hardly by chance: about one channel in {1 / dapi.p_value:.0f} that tells nothing"
    assert (often in found.sentence) == (dapi.verdict == "weak")


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("share", [0.3, 0.6])
def test_a_p_below_the_level_is_no_evidence_where_the_interval_covers_chance(
    monkeypatch, classes: int, share: float
) -> None:
    """Both channels pass the permutation test; the spread between wells allows chance for one."""
    covered = np.array([True, False])

    def widened(*given: Any) -> Intervals:
        real = confidence_intervals(*given)
        floor = np.array([1 / classes, *[0.5] * (real.low.shape[1] - 1)]) - 0.01
        return Intervals(np.where(covered[:, None], floor, real.low), real.high)

    chance = 1 / classes
    channel = right_with(chance + share * (1 - chance), classes)
    at_ease = outcome_for(monkeypatch, classes, 600, 300, channel).channels[0]
    monkeypatch.setattr("napari_why.fitting.lock_test.confidence_intervals", widened)
    found = outcome_for(monkeypatch, classes, 600, 300, channel)
    assert found.locked == ()
    assert found.channels[0].p_value == at_ease.p_value < 0.05
    assert [at_ease.verdict, found.channels[0].verdict] == ["evidence", "undecided"]
    assert found.channels[1].verdict == "evidence"
    assert "each seems to tell" not in found.sentence
    assert "what DAPI alone tells is not known well enough" in found.sentence


@pytest.mark.parametrize("classes", [2, 3, 12])
@pytest.mark.parametrize("images", [300, 600])
def test_a_channel_that_tells_nothing_is_locked_in_sets_of_ordinary_size(
    monkeypatch, classes: int, images: int
) -> None:
    found = outcome_for(monkeypatch, classes, images, images // 4, right_with(1 / classes, classes))
    assert found.locked == ("DAPI",)
    assert all(one.high < 0.6 for one in found.channels[0].classes)
    assert all(item.low <= item.accuracy <= item.high for item in found.channels)


@pytest.mark.parametrize(("images", "wells"), [(24, 12), (40, 10), (200, 8), (30, 30)])
def test_few_images_lock_nothing_for_want_of_power(monkeypatch, images: int, wells: int) -> None:
    """Right in 62 of 100, which so few cannot tell from chance."""

    def predict(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
        by_well = rng.random(wells)[np.arange(images) % wells] < 0.62
        return np.where(by_well, labels, 1 - labels)

    found = outcome_for(monkeypatch, 2, images, wells, predict)
    assert found.channels[0].verdict != "chance"
    assert found.locked == ()


def test_a_network_that_takes_all_for_one_class_knows_nothing_of_small_sets(monkeypatch) -> None:
    always = {
        n: outcome_for(monkeypatch, 2, n, n, lambda _, labels: 0 * labels) for n in (12, 16, 200)
    }
    assert [always[n].channels[0].verdict for n in (12, 16)] == ["undecided"] * 2
    assert "is not known well enough" in always[16].sentence
    assert always[200].locked == ("DAPI",)


def test_what_tells_plates_apart_does_not_count(monkeypatch) -> None:
    """DAPI follows the plate, and most of the plate's wells are of one class."""
    well = np.arange(COUNT) % WELLS
    plate = np.where(well % 8 < 6, well % 2, 1 - well % 2)
    told(monkeypatch, plate, TRUTH)
    columns = {"plate": [f"P{number}" for number in plate]}
    blind = lock_test(*numbered(WELLS), CHANNELS)
    aware = lock_test(*numbered(WELLS, **columns), CHANNELS)
    assert blind is not None
    assert aware is not None
    assert blind.channels[0].verdict == "evidence"
    assert aware.channels[0].verdict == "chance"
    assert aware.locked == ("DAPI",)


@pytest.mark.parametrize(
    ("plate_of", "locked"),
    [
        ((0, 0, 1, 1), ()),  # two pairs that never meet
        ((0, 0, 0, 1), ()),  # one class on a plate of its own
        ((0, 0, 0, 0), ("DAPI",)),
    ],
)
@pytest.mark.parametrize("bridge", [False, True])
def test_of_classes_that_share_no_plate_nothing_is_known(
    monkeypatch, plate_of, locked, bridge: bool
) -> None:
    """DAPI tells nothing within a plate; between plates it may be the plate that it tells."""
    well = np.arange(600) % 120
    label = well % 4
    plate = np.array(plate_of)[label]
    if bridge:  # half the wells of class 1 stand on the last class' plate
        plate = np.where(well % 8 == 1, plate_of[-1], plate)
    dataset, examples, labels = labelled(4, 600, 120, plate=[f"P{number}" for number in plate])
    assert np.array_equal(label, labels)
    told(monkeypatch, np.random.default_rng(0).integers(0, 4, 600), labels)
    found = lock_test(dataset, examples, CHANNELS)
    assert found is not None
    assert found.locked == (("DAPI",) if bridge else locked)
    assert ("share no plate" in found.sentence) == (not found.locked)


def test_cancelled_there_is_no_outcome() -> None:
    assert lock_test(*planted((0.0, 1.0)), CHANNELS, cancelled=lambda: True) is None


@pytest.mark.parametrize(
    ("lock", "locked", "sentence"),
    [
        ("none", (), "No channel is locked, as asked for."),
        (" ", (), "No channel is locked, as asked for."),
        ("DAPI", ("DAPI",), "DAPI is locked, as asked for."),
        ("GFP, DAPI", ("DAPI", "GFP"), "DAPI and GFP are locked, as asked for."),
    ],
)
def test_the_users_wish_comes_first(lock, locked, sentence) -> None:
    found = read_wanted_lock(lock, "iresnet", {}, ("DAPI", "TMRM", "GFP"))
    assert found == LockTest(locked, "user", sentence)


def test_the_networks_own_parameter_is_a_wish_too() -> None:
    found = read_wanted_lock("auto", "iresnet", {"locked": "0"}, CHANNELS)
    assert found is not None
    assert (found.locked, found.decided_by) == (("DAPI",), "user")
    assert read_wanted_lock("auto", "iresnet", {}, CHANNELS) is None


@pytest.mark.parametrize(
    ("lock", "network", "words"),
    [
        ("Hoechst", "iresnet", "'Hoechst' for iresnet; expected auto, none, or some but not all"),
        ("DAPI,TMRM", "iresnet", "some but not all of DAPI, TMRM"),
        ("DAPI", "cam_net", "only an invertible residual network locks channels"),
    ],
)
def test_a_wish_that_cannot_be_is_refused(lock, network, words) -> None:
    with pytest.raises(ParameterError, match=words):
        read_wanted_lock(lock, network, {}, CHANNELS)


def test_which_networks_can_lock() -> None:
    assert can_lock("iresnet")
    assert not can_lock("cam_net")
    assert not can_lock("no such network")


def test_a_fit_locks_what_it_is_told_to_and_the_card_says_so() -> None:
    dataset, _ = planted((0.0, 1.0))
    events: list[Event] = []
    classifier = fit(
        dataset, lock="TMRM", network_parameters=BLOCKS, on_event=events.append, **TINY
    )
    assert classifier.locked_channels == ("TMRM",)
    assert classifier.card["lock_test"]["decided_by"] == "user"
    assert classifier.card["lock_test"]["locked"] == ["TMRM"]
    assert not any(isinstance(event, Started) and event.task == "lock test" for event in events)


def test_a_fit_locks_what_its_test_finds() -> None:
    dataset, _ = planted((0.0, 1.0))
    events: list[Event] = []
    classifier = fit(dataset, network_parameters=BLOCKS, on_event=events.append, **TINY)
    told = classifier.card["lock_test"]
    assert classifier.locked_channels == ("DAPI",) == tuple(told["locked"])
    assert [item["channel"] for item in told["channels"]] == list(CHANNELS)
    assert Message(told["sentence"]) in events
    assert told["images"] == len(dataset.split(seed=0).part("train"))


def test_a_fit_that_is_cancelled_in_the_test_has_no_classifier() -> None:
    events: list[Event] = []

    def stop() -> bool:
        return any(isinstance(event, Started) and event.task == "lock test" for event in events)

    with pytest.raises(TrainingError, match="there is no classifier"):
        fit(
            planted((0.0, 1.0))[0],
            network_parameters=BLOCKS,
            on_event=events.append,
            cancelled=stop,
            **TINY,
        )


def test_images_are_chosen_evenly_and_no_more_than_are_needed() -> None:
    labels = np.array([0] * 2000 + [1] * 100)
    chosen = choose_images(labels, seed=0)
    assert len(chosen) == len(set(chosen.tolist())) == MOST_IMAGES
    assert (labels[chosen] == 1).sum() == 100
    assert np.array_equal(chosen, choose_images(labels, seed=0))
    assert not np.array_equal(chosen, choose_images(labels, seed=1))


def test_large_images_are_seen_whole_and_at_their_busiest_piece() -> None:
    images = torch.zeros(2, 2, 200, 130)
    images[:, 0, 64:128, 64:128] = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    views = reduce_images(TensorExamples(images, torch.tensor([0, 1])), np.array([1, 0]))
    assert views.shape == (2, 2, 2, 64, 64)
    torch.testing.assert_close(views[0, 0, 1], images[0, 0, 64:128, 64:128])
    small = torch.rand(3, 2, 90, 40)
    whole = reduce_images(TensorExamples(small, torch.tensor([0, 1, 0])), np.arange(3))
    assert torch.equal(whole, small[:, :, None])
