"""Fitting: every direction of the classes there are, repeatably, and stopped when told to."""

from itertools import permutations

import torch

from napari_why.core.events import Advanced, Event, Finished, Started
from napari_why.transport import LatentLayout, TransportOptions, fit_class_transport
from napari_why.transport.features import EPOCHS

LAYOUT = LatentLayout(2, 1, 1)
TINY = TransportOptions(gates=2, rounds=1, samples=800, matching_clusters=8)


def test_the_defaults_are_those_the_documentation_tells() -> None:
    assert TransportOptions() == TransportOptions(8, 10, 40_000, 128)


def test_there_is_a_map_for_every_direction_of_three_classes(scenes, fitted) -> None:
    # the same scenes, brighter: few other ones could have more signal or less by chance
    classes = [scenes(8, 0, seed=0), scenes(8, 1, seed=1), scenes(8, 1, seed=1) + 1]
    transport = fitted(classes, LAYOUT, TINY)
    expected = {(p, q, mass) for p, q in permutations(range(3), 2) for mass in ("full", "excess")}
    assert set(transport.maps) == expected
    image = scenes(2, 0, seed=5)
    to_one, to_two = (transport.displacement(image, 0, target, "full") for target in (1, 2))
    # class 2 is brighter by 1: 0.90 to 1.05 over eleven seeds of the fit, at most places
    assert 0.75 < float((to_two - to_one)[:, 1].median()) < 1.25


def test_a_class_without_images_has_no_map_and_one_class_alone_no_transport(
    scenes, crops_of_classes
) -> None:
    image = scenes(8, 0, seed=0)
    crops = crops_of_classes([image, torch.empty(0, 2, 24, 24), scenes(8, 1, seed=1)])
    transport = fit_class_transport(crops, LAYOUT, "stage1", TINY)
    assert transport is not None
    assert {key[:2] for key in transport.maps} == {(0, 2), (2, 0)}
    alone = crops_of_classes([image, torch.empty(0, 2, 24, 24)])
    assert fit_class_transport(alone, LAYOUT, "stage1", TINY) is None


def test_the_same_seed_gives_the_same_transport(scenes, crops_of_classes) -> None:
    crops = crops_of_classes([scenes(8, 0, seed=0), scenes(8, 1, seed=1)])
    before = torch.get_rng_state()
    one, again, other = (
        fit_class_transport(crops, LAYOUT, "stage1", TINY, seed=seed).tensors()
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, again[name]) for name, value in one.items())
    assert any(not torch.equal(value, other[name]) for name, value in one.items())


def test_progress_reaches_its_total_and_ends_once(scenes, crops_of_classes) -> None:
    crops = crops_of_classes([scenes(8, 0, seed=0), scenes(8, 1, seed=1)])
    events: list[Event] = []
    fit_class_transport(crops, LAYOUT, "stage1", TINY, on_event=events.append)
    assert events == [
        Started("transport between classes", EPOCHS + 4),
        *[Advanced(step) for step in range(1, EPOCHS + 5)],
        Finished(partial=False),
    ]


def test_cancelled_there_is_none(scenes, crops_of_classes) -> None:
    crops = crops_of_classes([scenes(8, 0, seed=0), scenes(8, 1, seed=1)])
    events: list[Event] = []

    def stop() -> bool:
        return len(events) >= 3

    found = fit_class_transport(
        crops, LAYOUT, "stage1", TINY, on_event=events.append, cancelled=stop
    )
    assert found is None
    assert events[-1] == Finished(partial=True)
    assert len(events) == 4


def test_images_of_a_few_positions_are_enough(scenes, fitted) -> None:
    transport = fitted([scenes(6, label, seed=label, size=4) for label in (0, 1)], LAYOUT)
    assert torch.isfinite(transport.displacement(scenes(1, 0, size=4), 0, 1, "full")).all()


def test_a_locked_channel_that_is_constant_is_no_condition(scenes, fitted) -> None:
    classes = [scenes(10, 0, seed=0), scenes(10, 1, seed=1)]
    for latents in classes:
        latents[:, 0] = 0.7
    transport = fitted(classes, LAYOUT)
    image = scenes(1, 0, seed=3)
    image[:, 0] = 0.7
    other = image.clone()
    other[:, 0] = 0.8  # an offset that training never had
    one, two = (transport.displacement(item, 0, 1, "full") for item in (image, other))
    assert torch.isfinite(one).all()
    assert (one - two).abs().max() < 0.2
