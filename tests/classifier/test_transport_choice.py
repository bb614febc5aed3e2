"""The rule by which a direction's transport is chosen, on networks whose answers are known."""

import inspect
import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
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

from napari_why.core.errors import CancellationError
from napari_why.core.events import StopRequest
from napari_why.counterfactuals.engine import Frame, PathImages
from napari_why.datasets import Preprocessing
from napari_why.fitting.after_training import AfterTraining, list_chosen_latents
from napari_why.fitting.change_judge import (
    BY_DRAWS,
    CELLS,
    DRAWS_JUDGED,
    FEWEST,
    RESTORED,
    RESTORED_CELLS,
    ChangeJudge,
    TransportScores,
)
from napari_why.fitting.left_out import LeftOut
from napari_why.fitting.nearness import FEWEST_GROUPS, Distance, Grouped, Looks, Nearness
from napari_why.fitting.transport_choice import TransportChooser
from napari_why.model import Classifier
from napari_why.model.fitted_transport import refit_transport
from napari_why.networks.network import InvertibleNetwork
from napari_why.training import TrainingOptions
from napari_why.training.examples import TensorExamples
from napari_why.transport import Choice, ClassMaps, ClassTransport, RestoringNetwork
from napari_why.transport.channel_change import ALWAYS, TERMS, ChannelChange
from napari_why.transport.coarse_to_fine import fit_coarse_to_fine
from napari_why.transport.energy_score import CellDistance
from napari_why.transport.maps import (
    BY_DRAWS_FOR,
    LEFT_BY_WAY_BACK,
    NEARER,
    NEAREST_IMAGES,
    ONLY_SOME_CELLS,
    PART_RESPONDED,
    SHOWN_BY_CELLS,
)
from napari_why.transport.parametric_map import ParametricMap
from napari_why.transport.pixel_maps import smooth
from napari_why.transport.responding_cells import RespondingCells


def choose(
    full: Tensor,
    excess: Tensor,
    *,
    network: InvertibleNetwork | None = None,
    second: InvertibleNetwork | None = None,
    batches: list[Any] | None = None,
    training: list[Any] | None = None,
) -> Choice | None:
    shifts = Shifts({"full": full, "excess": excess})
    classifier = classifier_of(network or Levels(0.0, 6.0), second, PREPROCESSING, shifts)
    chooser = TransportChooser(classifier, "uint16")
    made = chooser.choose(held_out() if batches is None else batches, training or [])
    return made.choices.get((0, 1))


def test_where_both_do_alike_everything_is_changed() -> None:
    choice = choose(shift(2, 2), shift(2, 2))
    assert choice is not None
    assert (choice.mass, choice.overshoot) == ("full", 1.0)
    assert choice.scores is not None
    assert choice.scores["images"] == 8
    assert choice.scores["all places"] == choice.scores["excess mass"] == choice.scores["chosen"]
    assert choice.scores["chosen"]["validity"] == 1
    assert choice.scores["chosen"]["looks like the target"] is None  # without training images
    assert choice.second_had_a_say is False
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


class Mute(Levels):
    """A second network that must not be asked."""

    def forward(self, x: Tensor) -> Tensor:
        pytest.fail("the second network was asked")


# whatever the transport does: what flips and what does not, what looks alike and what does not
CASES = [
    (shift(2, 2), shift(2, 2)),
    (shift(0.5, 2), shift(2, 2)),
    (shift(2, 0.5), shift(2, 2)),
    (shift(0.8, 2), shift(0.7, 2)),
    (shift(2, 2, grain=1.5), shift(2, 2)),
]


@pytest.mark.parametrize(("full", "excess"), CASES)
def test_the_choice_is_the_same_whatever_the_second_network_says(full, excess) -> None:
    choices = [
        choose(full, excess, second=second, training=held_out(20))
        for second in (None, Mute(6.0, 0.0), Mute(-6.0, 0.0), Mute(0.0, 0.0))
    ]
    assert choices[0] is not None
    assert choices[0].second_had_a_say is False
    assert all(choice == choices[0] for choice in choices)


def test_a_fit_does_not_hand_the_second_network_to_the_choice(invertible: Classifier) -> None:
    assert invertible.second_network is not None
    assert invertible.card["second_network"]["had_a_say_in_the_transport"] is False
    assert "second" not in inspect.signature(AfterTraining.choose_transport).parameters
    assert invertible.latent_statistics is not None
    transport = invertible.latent_statistics.transport
    assert transport is not None
    assert all(choice.second_had_a_say is False for choice in transport.choices.values())


def test_else_where_it_comes_nearer_to_real_images() -> None:
    grainy = choose(shift(2, 2, grain=1.5), shift(2, 2))
    assert grainy is not None
    assert grainy.mass == "excess"
    smooth = choose(shift(2, 2), shift(2, 2, grain=1.5))
    assert smooth is not None
    assert smooth.mass == "full"


class Dimming(Shifts):
    """Multiply images by a factor, and add so much noise; by mass."""

    def displacement(self, latent: Tensor, source: int, target: int, mass: Any) -> Tensor:
        factor, noise = self.displacements[mass]
        generator = torch.Generator().manual_seed(int(1000 * latent.abs().sum()))
        return (factor - 1) * latent + noise * torch.randn(latent.shape, generator=generator)


@pytest.mark.parametrize("seed", range(3))
def test_a_wrong_change_that_makes_up_camera_noise_is_not_nearer_than_the_true_one(
    seed: int,
) -> None:
    """Dimmed images have less noise than dim ones, which a camera took: nothing can foretell it."""
    generator = torch.Generator().manual_seed(seed)
    blobs = smooth(torch.randn(24, 2, SIDE, SIDE, generator=generator), 2.0)
    labels, camera = torch.arange(24) % 2, 0.3
    light = (2 + blobs / blobs.std()) * torch.where(labels == 1, 0.5, 1.0)[:, None, None, None]
    images = light + camera * torch.randn(light.shape, generator=generator)
    wrong = 0.7  # with as much noise as real images have
    dimming = Dimming(
        {
            "full": torch.tensor([0.5, 0.0]),
            "excess": torch.tensor([wrong, camera * (1 - wrong**2) ** 0.5]),
        }
    )
    classifier = classifier_of(Levels(0.0, 6.0), None, PREPROCESSING, dimming)
    batches = list(zip(images.split(5), labels.split(5), strict=True))
    assert TransportChooser(classifier, "uint16").choose(batches).choices[(0, 1)].mass == "full"


@pytest.mark.parametrize("seed", range(3))
def test_the_true_change_is_nearest_though_it_takes_the_cameras_noise_with_it(seed: int) -> None:
    """Of a blurred image next to no noise is left, where a camera would have added its own to a blurred cell."""
    generator = torch.Generator().manual_seed(seed)
    labels, camera, width = torch.arange(48) % 2, 0.6, 2.0
    blobs = smooth(torch.randn(48, 2, SIDE, SIDE, generator=generator), 1.0)
    light = 4 + blobs / blobs.std()
    light[labels == 1] = smooth(light[labels == 1], width)
    images = light + camera * torch.randn(light.shape, generator=generator)
    classifier = classifier_of(Levels(0.0, 6.0), None, PREPROCESSING, shift(0.0, 0.0))
    real, sources = images[labels == 1], images[labels == 0]
    known = {1: Grouped(real[12:], np.arange(12))}
    looks = Looks(classifier, "uint16", known)
    judge = ChangeJudge(
        looks, Grouped(sources[:12], np.arange(12)), Grouped(real[:12], np.arange(12, 24)), 0, 1
    )
    true, some = (
        judge._nearness.measure(judge._relate(*judge._see(looks.export(smooth(sources[:12], by)))))
        for by in (width, 1.0)
    )
    assert judge._unchanged is not None
    assert true is not None
    assert some is not None
    assert true.value < some.value < judge._unchanged.value
    assert true.value < judge._unchanged.value / 3


def exact(count: int, spread: float = 0.0) -> list[Any]:
    """Return batches of images, those of class 0 at a level of -1 and those of class 1 around 1."""
    batches = held_out(count)
    for images, labels in batches:
        levels = images.mean((2, 3), keepdim=True)
        wanted = torch.where(labels == 1, 1.0, -1.0)[:, None, None, None]
        images += wanted + spread * (levels - wanted) - levels
    return batches


@pytest.mark.parametrize(
    ("level", "alike"),
    # halfway to the other class at a level of 1: at 0.73 one and a half times the shift would get there
    [(2.0, 1.0), (0.73, 0.0), (0.3, 0.0)],
)
def test_a_change_is_judged_as_it_was_fitted_and_never_enlarged_to_look_like_the_target(
    level: float, alike: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, frame = set(), PathImages.frame

    def remember(images: PathImages, alpha: float) -> Frame:
        asked.add(alpha)
        return frame(images, alpha)

    monkeypatch.setattr(PathImages, "frame", remember)
    moved = shift(level, level)
    choice = choose(
        moved, moved, batches=exact(8), training=exact(40, 1.0), network=Levels(3.0, 3.0)
    )
    assert choice is not None
    assert (choice.overshoot, asked) == (1.0, {1.0})
    assert choice.scores is not None
    assert choice.scores["chosen"]["looks like the target"] == alike


def test_features_that_cannot_tell_the_classes_say_nothing_of_likeness() -> None:
    alike = [(images, labels.roll(1)) for images, labels in held_out(40, levels=(1.0, 1.0))]
    choice = choose(shift(0.8, 2), shift(0.8, 2), batches=exact(8), training=alike)
    assert choice is not None
    assert choice.scores is not None
    assert choice.scores["chosen"]["looks like the target"] is None
    assert choice.scores["real images of the target that look like it"] is None


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


def test_of_classes_that_do_not_differ_no_change_is_called_nearer() -> None:
    """Whatever is chosen then is chance, and nothing may be claimed of it."""
    alike = held_out(16, levels=(1.0, 1.0))
    for moved in (shift(0, 0), shift(0, 0.05)):
        choice = choose(moved, moved, batches=alike)
        assert choice is not None
        assert choice.scores is not None
        assert choice.scores[NEARER] is False
    apart = choose(shift(2, 2), shift(2, 2))
    assert apart is not None
    assert apart.scores is not None
    assert apart.scores[NEARER] is True
    assert (
        apart.scores["distance of unchanged images"]
        > apart.scores["chosen"]["distance from real images"]
    )


def test_too_few_images_choose_nothing() -> None:
    assert choose(shift(2, 2), shift(2, 2), batches=held_out(FEWEST - 1)) is None
    assert choose(shift(2, 2), shift(2, 2), batches=held_out(FEWEST)) is not None
    # images that are not taken for their class count too: a network must not choose its own judges
    mistaken = choose(shift(2, 2), shift(2, 2), batches=held_out(levels=(-1.0, 0.5)))
    assert mistaken is not None
    assert mistaken.scores is not None
    assert mistaken.scores["images"] == 8


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


def without_draws_of_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what these tests are not about, and takes most of the time."""
    monkeypatch.setattr(
        "napari_why.fitting.transport_choice.TransportChooser._draws_of_cells",
        lambda chooser, *images: [],
    )


def test_both_directions_may_be_restored_and_both_networks_are_kept(
    invertible: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is nearest: here what was tried last, which for both is the restoring network."""
    # of noise, which these images are, no latent would be tried
    monkeypatch.setattr("napari_why.fitting.change_judge.MOSTLY_CHANCE", 1.0)
    monkeypatch.setattr(
        "napari_why.fitting.change_judge.ChangeJudge.plainest_of_the_nearest",
        lambda judge, without=(): list(judge.scores)[-1],
    )
    without_draws_of_cells(monkeypatch)
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(8, 2, 16, 16, generator=generator), torch.arange(8) % 2) for _ in range(4)
    ]
    chooser = TransportChooser(invertible, "uint16", restoring_steps=2)
    made = chooser.choose(batches, batches)
    assert chooser.complete
    assert {pair: choice.kind for pair, choice in made.choices.items()} == {
        (0, 1): "back_translated",
        (1, 0): "back_translated",
    }
    assert chooser.pixel_maps is not None
    assert "back_translated" in chooser.pixel_maps.kinds(0, 1)
    assert "back_translated" in chooser.pixel_maps.kinds(1, 0)
    # each notes what it undoes, of which the classifier has versions where that is of latents
    found = chooser.pixel_maps.find(0, 1, "back_translated")
    assert isinstance(found, RestoringNetwork)
    assert found.undoes == ("latent", "excess")  # the last that was tried before
    statistics = invertible.latent_statistics
    assert statistics is not None
    chosen = statistics.with_part("pixel_maps", chooser.pixel_maps).with_part("transport", made)
    assert list_chosen_latents(chosen) == [(0, 1, "excess"), (1, 0, "excess")]


def test_what_is_asked_for_is_fitted_anew_on_latents_of_the_training_images(
    invertible: Classifier,
) -> None:
    assert invertible.latent_statistics is not None
    transport = invertible.latent_statistics.transport
    assert isinstance(transport, ClassTransport)
    images = torch.randn(32, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    batches = [(images[:20], torch.arange(20) % 2), (images[20:], torch.arange(12) % 2)]
    groups = torch.arange(32) // 4
    refitted = [
        refit_transport(invertible.network, transport, batches, [(0, 1, "full")], groups=drawn)
        for drawn in (groups, None)
    ]
    by_group, by_image = (one.replicates[(0, 1, "full")] for one in refitted if one is not None)
    assert (len(by_group), len(by_image)) == (4, 4)
    means = [one[0].gaussian.conditioning for one in (by_group, by_image)]
    assert not torch.equal(*means), "groups were not asked"
    stopped = refit_transport(
        invertible.network, transport, batches, [(0, 1, "full")], cancelled=lambda: True
    )
    assert stopped is None


def respond(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    """Let a share of the cells of class 1, which is brighter, be found to respond, and none of class 0."""

    def fit(untouched: Tensor, partly: Tensor, locked: Any, **_: Any) -> RespondingCells:
        found = share if untouched.mean() < partly.mean() else 0.0
        return RespondingCells(fit_coarse_to_fine(untouched, partly, (0,)), 0, found, 0.02)

    monkeypatch.setattr("napari_why.fitting.transport_choice.fit_responding_cells", fit)


def test_what_draws_cells_is_kept_for_its_direction_and_never_chosen(
    invertible: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    respond(monkeypatch, 0.5)
    network = deepcopy(invertible.network)
    network.locked = (0,)
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(64) % 2
    images = torch.randn(64, 2, 16, 16, generator=generator) + labels[:, None, None, None]
    batches = list(zip(images.split(8), labels.split(8), strict=True))
    chooser = TransportChooser(replace(invertible, network=network), "uint16", restoring_steps=2)
    made = chooser.choose(batches, batches)
    assert chooser.complete
    assert chooser.pixel_maps is not None
    assert "responding_cells" in chooser.pixel_maps.kinds(0, 1)
    assert "responding_cells" not in chooser.pixel_maps.kinds(1, 0)
    assert all(choice.kind != "responding_cells" for choice in made.choices.values())
    # how near draws come is told of this direction alone
    told = {way: ONLY_SOME_CELLS in (made.choices[way].scores or {}) for way in ((0, 1), (1, 0))}
    assert told == {(0, 1): True, (1, 0): False}
    json.dumps([choice.scores for choice in made.choices.values()], allow_nan=False)


@pytest.mark.parametrize("error", [MemoryError("no room"), CancellationError("stopped")])
def test_what_was_chosen_stays_where_draws_cannot_be_judged(
    invertible: Classifier, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("napari_why.fitting.change_judge.CellDistance", fail)
    network = deepcopy(invertible.network)
    network.locked = (0,)
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(8, 2, 16, 16, generator=generator), torch.arange(8) % 2
    told: list[Any] = []
    chooser = TransportChooser(replace(invertible, network=network), "uint16", told.append)
    forward = fit_coarse_to_fine(images[::2], images[1::2], (0,))
    chooser._cells[0, 1] = RespondingCells(forward, 0, 0.5, 0.02)
    made = chooser.choose([(images, labels)])
    assert set(made.choices) == {(0, 1), (1, 0)}
    assert chooser.settled == 2
    assert chooser.pixel_maps is not None
    assert "responding_cells" in chooser.pixel_maps.kinds(0, 1)
    # what was not measured is not said to be false
    assert all(ONLY_SOME_CELLS not in (choice.scores or {}) for choice in made.choices.values())
    failed = isinstance(error, MemoryError)
    assert chooser.complete == failed
    assert any("failed (no room)" in str(getattr(event, "text", "")) for event in told) == failed


@pytest.mark.parametrize(
    ("settled", "words"), [(1, "how to transport 1 of 2 directions"), (2, "networks that undo")]
)
def test_a_cancel_after_all_directions_does_not_say_that_none_of_them_is_missing(
    invertible: Classifier, monkeypatch: pytest.MonkeyPatch, settled: int, words: str
) -> None:
    statistics = invertible.latent_statistics
    assert statistics is not None

    def choose(chooser: TransportChooser, *_: Any) -> ClassTransport:
        chooser.settled, chooser.complete = settled, False
        assert statistics.transport is not None
        return statistics.transport

    monkeypatch.setattr(TransportChooser, "choose", choose)
    stop = StopRequest()
    stop.ask()
    left_out = LeftOut(lambda _: None, stop)
    options = TrainingOptions(epochs=1, batch_size=4)
    steps = AfterTraining(invertible.network, options, lambda _: None, stop, left_out)
    examples = TensorExamples(torch.zeros(4, 2, 16, 16), torch.arange(4) % 2)
    steps.choose_transport(statistics, invertible.preprocessing, (examples, examples), "uint16")
    (entry,) = left_out.entries
    assert words in entry
    assert "0 of" not in entry


def test_draws_are_compared_with_held_out_images_alone_and_by_groups(
    invertible: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training images, on which every map was fitted, would flatter what repeats them."""
    given: dict[str, Any] = {}

    class Remember(CellDistance):
        def __init__(self, real: Any, for_real: Any, for_found: Any, *rest: Any, **more: Any):
            given.update(real=real, for_real=for_real, for_found=for_found, compared=[])
            super().__init__(real, for_real, for_found, *rest, **more)

        def measure(self, images: Any) -> Any:
            given["compared"].append(images)
            return super().measure(images)

    monkeypatch.setattr("napari_why.fitting.change_judge.CellDistance", Remember)
    network = deepcopy(invertible.network)
    network.locked = (0,)
    generator = torch.Generator().manual_seed(0)
    sources, targets, training = (
        torch.randn(count, 2, 16, 16, generator=generator) for count in (6, 8, 20)
    )
    known = {label: Grouped(training, np.arange(20)) for label in (0, 1)}
    looks = Looks(replace(invertible, network=network), "uint16", known)
    wells = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    judge = ChangeJudge(looks, Grouped(sources, wells[2:]), Grouped(targets, wells), 0, 1)
    cells = RespondingCells(fit_coarse_to_fine(sources, targets, (0,)), 0, 0.5, 0.02)
    noisy, with_noise = [], Looks.with_noise

    def remember(looks: Looks, raw: Any, wanted: Any) -> Any:
        noisy.append(with_noise(looks, raw, wanted))
        return noisy[-1]

    judge._frames["curve"] = [
        Frame(1.0, image, np.zeros(2, np.float32), 0.0) for image in judge._source
    ]
    monkeypatch.setattr(Looks, "with_noise", remember)
    told = judge.judge_draws(cells)
    assert np.array_equal(given["real"], looks.export(targets))
    # candidates, unchanged images and every draw, all with the noise that a camera would have added
    assert len(given["compared"]) == len(noisy) == 2 + DRAWS_JUDGED
    for compared, made in zip(given["compared"], noisy, strict=True):
        assert compared is made
    # and the choice knows it
    assert set(judge._of_cells) == {"curve", "unchanged"}
    assert set(told[CELLS]) == {"curve", "unchanged", BY_DRAWS}
    for weights, groups in ((given["for_real"], wells), (given["for_found"], wells[2:])):
        assert np.allclose(weights.sum(1), 1)
        for well in range(3):
            of_well = weights[:, groups == well]
            assert np.array_equal(of_well, of_well[:, :1].repeat(of_well.shape[1], axis=1))
    # a well that is drawn is drawn for both
    assert np.array_equal(given["for_real"][:, 0] > 0, given["for_found"][:, 0] > 0)


@pytest.mark.parametrize("wells", [4, 8])
def test_a_network_that_learns_of_drawn_cells_takes_no_other_ones_place(
    invertible: Classifier, monkeypatch: pytest.MonkeyPatch, wells: int
) -> None:
    """It undoes something else, and is not made of few wells, which cannot tell whether it is the answer."""
    respond(monkeypatch, 0.5)
    network = deepcopy(invertible.network)
    network.locked = (0,)
    labels = torch.arange(64) % 2
    images = torch.randn(64, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    images += labels[:, None, None, None]
    batches = list(zip(images.split(8), labels.split(8), strict=True))
    groups = np.arange(64) // 2 % wells
    chooser = TransportChooser(replace(invertible, network=network), "uint16", restoring_steps=2)
    made = chooser.choose(batches, batches, (groups, groups))
    of_way = made.choices[1, 0].scores, made.choices[0, 1].scores
    assert all(scores is not None and RESTORED in scores for scores in of_way)
    # cells respond from class 0 to 1, so a network learns of draws from class 1 to 0
    told = [scores is not None and RESTORED_CELLS in scores for scores in of_way]
    assert told == [wells >= FEWEST_GROUPS, False]
    assert chooser.pixel_maps is not None
    assert "responding_cells" in chooser.pixel_maps.kinds(0, 1)  # draws there are in any case


@pytest.mark.parametrize("chosen", [RESTORED, RESTORED_CELLS, "curve"])
def test_the_network_that_was_chosen_is_kept_and_else_the_nearer_one(
    invertible: Classifier, chosen: str
) -> None:
    judge = object.__new__(ChangeJudge)
    judge.source, judge.target = 0, 1
    networks: dict[str, RestoringNetwork] = {
        name: RestoringNetwork(2, (0,), [], undoes=undoes)
        for name, undoes in ((RESTORED, ("curve", "full")), (RESTORED_CELLS, None))
    }
    judge.networks = networks
    judge.scores = {
        name: TransportScores(0.0, None, 0.0, near)
        for name, near in ((RESTORED, 2.0), (RESTORED_CELLS, 1.0))
    }
    chooser = TransportChooser(invertible, "uint16")
    chooser.pixel_maps = ClassMaps(2, {})
    chooser._keep_network(judge, Choice("full", scores={"chosen change": chosen}))
    kept = chooser.pixel_maps.find(0, 1, "back_translated")
    assert kept is networks[chosen if chosen in networks else RESTORED_CELLS]


@pytest.mark.parametrize(("share", "kept"), [(0.87, False), (0.03, False), (0.8, True)])
def test_cells_are_drawn_where_surely_some_and_surely_not_all_respond(
    invertible: Classifier, monkeypatch: pytest.MonkeyPatch, share: float, kept: bool
) -> None:
    respond(monkeypatch, share)
    chooser = TransportChooser(invertible, "uint16")
    chooser.pixel_maps = ClassMaps(2, {})
    generator = torch.Generator().manual_seed(0)
    one, other = (level + torch.randn(4, 2, 16, 16, generator=generator) for level in (0, 1))
    chooser._draws_of_cells(one, other, (0,), (0, 1))
    chooser._keep_cells({}, {})
    assert ("responding_cells" in chooser.pixel_maps.kinds(0, 1)) == kept


@pytest.mark.parametrize(
    ("left", "left_back", "shown", "restored"),
    [
        (0.8, 0.2, (True, True), True),  # the way back was learnt much better
        (0.2, 0.8, (True, True), False),
        (0.05, 0.01, (True, True), False),  # both were learnt well: what comes nearest counts
        (0.5, 0.5, (True, True), False),  # no better is no reason
        (0.5, 0.5, (False, True), True),  # shown for the way back alone
        (0.5, 0.5, (False, False), False),
    ],
)
def test_where_the_way_back_was_learnt_better_it_is_undone(
    invertible: Classifier,
    monkeypatch: pytest.MonkeyPatch,
    left: float,
    left_back: float,
    shown: tuple[bool, bool],
    restored: bool,
) -> None:
    """Of both directions the plainest is the nearest; what each leaves decides whether that is taken."""
    drawn, by_network = np.linspace(0.5, 1.5, 601), 0.3

    def share_left(judge, name: str) -> np.ndarray:
        if name == RESTORED:
            return drawn * by_network
        return drawn * (left if judge.source == 0 else left_back)

    monkeypatch.setattr(
        "napari_why.fitting.change_judge.ChangeJudge.plainest_of_the_nearest",
        lambda judge, without=(): next(iter(judge.scores)),
    )
    monkeypatch.setattr(
        "napari_why.fitting.change_judge.ChangeJudge.share_left",
        share_left,
    )
    monkeypatch.setattr(
        "napari_why.fitting.change_judge.ChangeJudge.nearer_in",
        lambda judge, name: 1.0 if shown[judge.source] else 0.9,
    )
    # two steps teach nothing, and how near a network comes has tests of its own
    monkeypatch.setattr(
        "napari_why.fitting.change_judge.ChangeJudge._stays_farther", lambda *_: False
    )
    without_draws_of_cells(monkeypatch)
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(8, 2, 16, 16, generator=generator), torch.arange(8) % 2) for _ in range(4)
    ]
    made = TransportChooser(invertible, "uint16", restoring_steps=2).choose(batches, batches)
    choice = made.choices[(0, 1)]
    assert (choice.kind == "back_translated") is restored
    assert choice.scores is not None
    # of the change that is made, whatever it was chosen instead of
    leaves = by_network if restored else left
    assert choice.scores["difference left"] == pytest.approx(leaves)
    # what five of six draws stay below: 0.5 + 5 / 6
    assert choice.scores["difference left at most"] == pytest.approx(4 / 3 * leaves)
    # told where it is why
    told = choice.scores["difference left by the way back"]
    assert told == (pytest.approx(left_back) if restored else None)


def judges_of(
    by_network: float, known: bool, of_training: tuple[ParametricMap, ParametricMap] | None
) -> tuple[ChangeJudge, ChangeJudge]:
    """Return judges of a direction and its way back, which leaves a tenth of what the direction does."""
    drawn = np.linspace(0.8, 1.2, 401)

    def distance(times: float) -> Distance:
        return Distance(times, times * drawn, (times * drawn) ** 2)

    judge, way_back = (object.__new__(ChangeJudge) for _ in range(2))
    directions = (0, 1), (1, 0)
    told = of_training or ()
    maps = ClassMaps(
        2, {(*way, "parametric"): found for way, found in zip(directions, told, strict=False)}
    )
    for one, instead, way in zip((judge, way_back), (1.0, 0.1), directions, strict=True):
        one.source, one.target = way
        one._classifier = SimpleNamespace(latent_statistics=SimpleNamespace(pixel_maps=maps))
        one._nearness = SimpleNamespace(known=known)
        one._unchanged, one._of_cells = distance(3.0), {}
        one._distances = {"parametric": distance(instead), RESTORED: distance(by_network)}
        one.scores = {
            name: TransportScores(0.0, None, 0.0, found.value)
            for name, found in one._distances.items()
        }
    # draws of its own: what differs from candidate to candidate is not shared
    judge._distances[RESTORED] = Distance(
        by_network, by_network * drawn[::-1], (by_network * drawn) ** 2
    )
    return judge, way_back


@pytest.mark.parametrize(
    ("by_network", "known", "taken"),
    [(0.9, True, True), (1.1, True, True), (2.0, True, False), (0.9, False, False)],
)
def test_a_network_that_stays_surely_farther_or_of_few_wells_stands_in_for_nothing(
    by_network: float, known: bool, taken: bool
) -> None:
    """However well the way back was learnt: it did not learn to undo it, or nobody knows."""
    judge, way_back = judges_of(by_network, known, None)
    assert judge._is_better_undone("parametric", way_back) is taken


def few_numbers(evidence: float, *terms: str, misfit: float = 1.0) -> ParametricMap:
    """Return a change by these terms that makes the training images so much likelier, beside a channel that stays."""
    named = (terms, evidence, misfit), ((), 0.0, 0.5)
    return ParametricMap(
        tuple(
            ChannelChange(
                channel,
                0.0,
                1.0,
                (0.1, 0.2, 0.3),
                None,
                {name: torch.zeros(TERMS[name].size) for name in (*ALWAYS, *changed)},
                torch.zeros(0, 0),
                gained,
                left,
            )
            for channel, (changed, gained, left) in enumerate(named, start=1)
        )
    )


@pytest.mark.parametrize(
    ("own", "back", "taken"),
    [
        (few_numbers(20.0, "scales"), few_numbers(40.0, "blur"), True),
        # as likely: neither is the one that happened
        (few_numbers(40.0, "scales"), few_numbers(41.0, "blur"), False),
        (few_numbers(40.0, "blur"), few_numbers(20.0, "scales"), False),
        # brightness undoes brightness
        (few_numbers(20.0, "scales"), few_numbers(40.0, "gain", "curve"), False),
        (few_numbers(20.0, "scales"), few_numbers(40.0, "gain", "blur"), True),
        (few_numbers(0.0), few_numbers(0.0), False),
    ],
)
def test_of_few_held_out_wells_the_training_wells_tell_which_change_is_undone(
    own: ParametricMap, back: ParametricMap, taken: bool
) -> None:
    judge, way_back = judges_of(2.0, False, (own, back))
    assert judge._is_better_undone("parametric", way_back) is taken


@pytest.mark.parametrize(
    ("evidence", "known", "taken"),
    [(20.0, False, "parametric"), (1.0, False, RESTORED), (20.0, True, RESTORED)],
)
def test_what_training_wells_are_sure_of_goes_before_what_is_nearer_to_few_others(
    evidence: float, known: bool, taken: str
) -> None:
    found = few_numbers(evidence, "blur")
    judge, _ = judges_of(0.1, known, (found, found))
    assert judge.plainest_of_the_nearest() == taken


@pytest.mark.parametrize(
    ("misfit", "known", "taken"),
    [
        (2.9, True, "parametric"),
        (3.1, True, RESTORED),
        (3.1, False, "parametric"),
    ],
)
def test_few_numbers_that_cannot_be_what_happened_are_no_candidate(
    misfit: float, known: bool, taken: str
) -> None:
    """However near: half of what tells that are the statistics that they were fitted by."""
    found = few_numbers(20.0, "blur", misfit=misfit)
    judge, _ = judges_of(1.5, known, (found, found))
    assert judge.plainest_of_the_nearest() == taken


@pytest.mark.parametrize(
    ("by_network", "instead", "known", "taken"),
    [
        (1.1, "all places", True, RESTORED),
        (1.1, "coarse to fine", True, RESTORED),
        # surely farther; as near as what is plain; as another network; of few wells, of which nobody knows
        (2.0, "all places", True, "all places"),
        (1.1, "parametric", True, "parametric"),
        (1.1, RESTORED_CELLS, True, RESTORED_CELLS),
        (1.1, "all places", False, "all places"),
    ],
)
def test_a_network_that_undoes_the_way_back_goes_before_maps_of_latents_or_scales(
    by_network: float, instead: str, known: bool, taken: str
) -> None:
    judge, _ = judges_of(by_network, known, None)
    for measured in (judge._distances, judge.scores):
        measured[instead] = measured.pop("parametric")
    assert judge.plainest_of_the_nearest() == taken
    # where leaving images as they are is surely nearer, as near as another is not enough
    judge._unchanged = Distance(0.1, np.full(401, 0.1), np.full(401, 0.01))
    assert judge.plainest_of_the_nearest() == (instead if taken == RESTORED else taken)


AS_NEAR_ONCE_IN_SIX = [0.99] * 2 + [1.3] * 10


@pytest.mark.parametrize(
    ("undoing", "of_cells", "known", "taken"),
    [
        # surely farther than the nearest, though nearer than the network that is taken instead of it
        (AS_NEAR_ONCE_IN_SIX, [1.2] * 12, True, RESTORED),
        # as near as the nearest, though not as that network
        (
            [1.0] * 2 + [0.98] * 2 + [1.3] * 8,
            [1.4] * 2 + [0.99] * 2 + [1.4] * 8,
            True,
            RESTORED_CELLS,
        ),
        # nobody asks for it, and how sure it is would not be known
        (AS_NEAR_ONCE_IN_SIX, [1.01] * 12, False, RESTORED),
    ],
)
def test_the_network_of_drawn_cells_has_to_be_as_near_as_the_nearest(
    monkeypatch: pytest.MonkeyPatch,
    undoing: list[float],
    of_cells: list[float],
    known: bool,
    taken: str,
) -> None:
    judge, _ = judges_of(1.1, True, None)
    drawn = {"all places": [1.0] * 12, RESTORED: undoing, RESTORED_CELLS: of_cells}
    judge._unchanged = Distance(3.0, np.full(12, 3.0), np.full(12, 9.0))
    judge._distances = {
        name: Distance(np.mean(values), np.array(values), np.square(values))
        for name, values in drawn.items()
    }
    judge.scores = {
        name: TransportScores(0.0, None, 0.0, found.value)
        for name, found in judge._distances.items()
    }
    judge._images, judge.asked = range(4), None
    monkeypatch.setattr(ChangeJudge, "find_channels_to_put_back", lambda *_: ())
    scores = judge.choose(part_responded=known).scores
    assert scores is not None
    assert scores["chosen change"] == taken


def test_a_network_that_leaves_images_farther_than_they_were_undoes_nothing() -> None:
    judge, way_back = judges_of(0.9, True, None)
    assert judge._is_better_undone("parametric", way_back)
    judge._unchanged = Distance(0.5, np.full(401, 0.5), np.full(401, 0.25))
    assert not judge._is_better_undone("parametric", way_back)


@pytest.mark.parametrize(
    ("left", "describes"), [((1.0, 6.0), False), ((6.0, 1.0), False), ((1.0, 2.9), True)]
)
def test_few_numbers_describe_the_difference_in_all_channels_or_not(
    left: tuple[float, float], describes: bool
) -> None:
    found = few_numbers(20.0, "blur")
    changes = zip(found.changes, left, strict=True)
    found = ParametricMap(tuple(replace(change, misfit=one) for change, one in changes))
    assert found.describes_the_difference is describes
    # of one well nobody knows what chance would leave
    assert replace(found, chance_known=False).describes_the_difference


@pytest.mark.parametrize(
    ("misfit", "chance_known", "taken"),
    [(2.9, True, "parametric"), (3.1, True, RESTORED), (3.1, False, "parametric")],
)
def test_no_change_at_all_is_no_candidate_where_the_classes_differ_by_more_than_chance(
    misfit: float, chance_known: bool, taken: str
) -> None:
    """Of no term there is no evidence, and yet it is known what chance would leave."""
    found = replace(few_numbers(0.0, misfit=misfit), chance_known=chance_known)
    judge, _ = judges_of(1.5, True, (found, found))
    assert judge.plainest_of_the_nearest() == taken


@pytest.mark.parametrize(
    ("by_network", "learnt_from", "known", "taken"),
    [
        (1.1, RESTORED_CELLS, True, True),
        # surely farther; one that saw all cells changed; of few wells, of which nobody knows
        (2.0, RESTORED_CELLS, True, False),
        (1.1, RESTORED, True, False),
        (1.1, RESTORED_CELLS, False, False),
    ],
)
def test_where_a_part_of_the_cells_responded_a_network_that_saw_such_is_taken_if_as_near(
    by_network: float, learnt_from: str, known: bool, taken: bool
) -> None:
    judge, _ = judges_of(by_network, known, None)
    judge._distances[learnt_from] = judge._distances.pop(RESTORED)
    judge._distances["all places"] = judge._distances["parametric"]
    assert judge._tells_cells_apart("all places") is taken
    # what can be told in a sentence goes before it
    assert judge._tells_cells_apart("parametric") is False


def test_that_a_part_of_the_cells_responded_decides_the_choice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge, way_back = judges_of(1.1, True, None)
    judge._images, judge.asked = range(4), None
    judge._distances[RESTORED_CELLS] = judge._distances.pop(RESTORED)
    judge.scores[RESTORED_CELLS] = judge.scores.pop(RESTORED)
    judge._distances["all places"] = judge._distances.pop("parametric")
    judge.scores["all places"] = judge.scores.pop("parametric")
    monkeypatch.setattr(ChangeJudge, "find_channels_to_put_back", lambda *_: ())
    without, knowing = (judge.choose(way_back, part_responded=known) for known in (False, True))
    assert (without.kind, knowing.kind) == ("latent", "back_translated")
    # so that a saved classifier says why
    told = [(choice.scores or {}).get(BY_DRAWS_FOR) for choice in (without, knowing)]
    assert told == [None, PART_RESPONDED]


def with_cells(judge: ChangeJudge, images: Mapping[str, float], cells: Mapping[str, float]) -> None:
    """Give a judge candidates so far from real images, and their cells; each in draws of their own."""
    drawn = np.linspace(0.8, 1.2, 401)
    for number, (name, times) in enumerate(images.items()):
        found = times * np.roll(drawn, 97 * number)
        judge._distances[name] = Distance(times, found, found**2)
        judge.scores[name] = TransportScores(0.0, None, 0.0, times)
    for number, (name, times) in enumerate(cells.items()):
        judge._of_cells[name] = times * np.roll(drawn, 97 * number)


OF_IMAGES = {"all places": 1.1, "excess mass": 1.0, RESTORED: 1.05, RESTORED_CELLS: 1.9}
OF_CELLS = {
    "all places": 0.14,
    "excess mass": 0.07,
    RESTORED: 0.15,
    RESTORED_CELLS: 0.07,
    "unchanged": 0.5,
}


@pytest.mark.parametrize(
    ("images", "cells", "known", "taken"),
    [
        ({}, {}, True, RESTORED_CELLS),
        # by images too
        ({RESTORED_CELLS: 1.05}, {}, True, RESTORED_CELLS),
        # as near by images, and surely farther by cells than what changes a part of the places
        ({RESTORED_CELLS: 1.05}, {"excess mass": 0.03}, True, "excess mass"),
        # every change overdoes it, and this one next to nothing
        ({}, {"unchanged": 0.05}, True, "excess mass"),
        # one change of all cells is as near, cell by cell: no part is shown, and images tell
        ({}, {"all places": 0.07}, True, "excess mass"),
        # of images, which leave out what cells tell, the network that undoes all of it would be taken
        ({}, dict.fromkeys(OF_CELLS, 0.1), True, RESTORED),
        # surely farther, cell by cell, than what changes a part of the places
        ({}, {"excess mass": 0.03}, True, "excess mass"),
        # no nearer than images as they are
        ({RESTORED_CELLS: 3.0}, {}, True, "excess mass"),
        # of few wells nobody knows
        ({}, {}, False, "excess mass"),
    ],
)
def test_cells_show_that_a_part_of_them_responded_where_images_do_not(
    monkeypatch: pytest.MonkeyPatch,
    images: dict[str, float],
    cells: dict[str, float],
    known: bool,
    taken: str,
) -> None:
    judge, _ = judges_of(1.0, known, None)
    judge._distances, judge.scores = {}, {}
    with_cells(judge, OF_IMAGES | images, OF_CELLS | cells)
    judge._images, judge.asked = range(4), None
    monkeypatch.setattr(ChangeJudge, "find_channels_to_put_back", lambda *_: ())
    scores = judge.choose().scores
    assert scores is not None
    assert scores["chosen change"] == taken
    assert scores.get(BY_DRAWS_FOR) == (SHOWN_BY_CELLS if taken == RESTORED_CELLS else None)
    # what the way back tells is another reason, and called so
    scores = judge.choose(part_responded=True).scores
    assert scores is not None
    assert scores.get(BY_DRAWS_FOR) in (PART_RESPONDED, None)


def test_cells_take_no_plain_changes_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A curve that is as near by images says in a sentence what it does, whatever cells tell."""
    judge, _ = judges_of(1.0, True, None)
    judge._distances, judge.scores = {}, {}
    with_cells(judge, {"curve": 1.05, **OF_IMAGES}, {"curve": 0.15, **OF_CELLS})
    judge._images, judge.asked = range(4), None
    monkeypatch.setattr(ChangeJudge, "find_channels_to_put_back", lambda *_: ())
    for known in (False, True):
        scores = judge.choose(part_responded=known).scores
        assert scores is not None
        assert scores["chosen change"] == "curve"


def test_a_network_of_draws_that_is_nearest_by_images_alone_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judge, _ = judges_of(1.0, True, None)
    judge._distances, judge.scores = {}, {}
    with_cells(judge, OF_IMAGES | {RESTORED_CELLS: 0.5}, dict.fromkeys(OF_CELLS, 0.1))
    judge._images, judge.asked = range(4), None
    monkeypatch.setattr(ChangeJudge, "find_channels_to_put_back", lambda *_: ())
    scores = judge.choose().scores
    assert scores is not None
    assert (scores["chosen change"], scores[BY_DRAWS_FOR]) == (RESTORED_CELLS, NEAREST_IMAGES)


def test_a_network_whose_cells_are_surely_farther_stands_in_for_no_other_change() -> None:
    judge, way_back = judges_of(1.1, True, None)
    assert judge._is_better_undone("parametric", way_back)
    # the third: nearer than the change that it stands in for, and farther than unchanged ones
    for of_network, unchanged, taken in ((1.1, 3.0, True), (2.0, 3.0, False), (1.1, 0.5, False)):
        cells = {"parametric": 1.0, RESTORED: of_network, "unchanged": unchanged}
        with_cells(judge, {"parametric": 1.0, RESTORED: 1.1}, cells)
        assert judge._is_better_undone("parametric", way_back) is taken


# less than any one change; not as much, and not where nothing tells
@pytest.mark.parametrize("draws", [0.1, 0.5, 0.9, float("nan")])
def test_the_way_back_tells_whether_a_part_of_the_cells_responded(
    invertible: Classifier, monkeypatch: pytest.MonkeyPatch, draws: float
) -> None:
    """By how near drawn cells come there, and not by their share alone: classes differ in many ways."""
    asked: dict[tuple[int, int], list[bool]] = {(0, 1): [], (1, 0): []}
    back, kept, compared = {}, [], []
    choose, compare = ChangeJudge.choose, ChangeJudge.compare_cells

    def remember(judge: ChangeJudge, way_back: Any = None, *, part_responded: bool = False) -> Any:
        asked[judge.source, judge.target].append(part_responded)
        back[judge.source, judge.target] = way_back
        return choose(judge, way_back, part_responded=part_responded)

    def remember_cells(judge: ChangeJudge, nuclei: int, cancelled: Any) -> Any:
        compared.append((judge.source, judge.target, nuclei))
        return compare(judge, nuclei, cancelled)

    monkeypatch.setattr(ChangeJudge, "choose", remember)
    monkeypatch.setattr(ChangeJudge, "compare_cells", remember_cells)
    keep = TransportChooser._keep_network
    monkeypatch.setattr(
        TransportChooser,
        "_keep_network",
        lambda chooser, judge, choice: (
            kept.append((judge.source, judge.target)),
            keep(chooser, judge, choice),
        ),
    )
    told = {CELLS: {BY_DRAWS: draws, "curve": 0.5, "unchanged": 1.0}, ONLY_SOME_CELLS: False}
    monkeypatch.setattr(ChangeJudge, "judge_draws", lambda *_: told)
    network = deepcopy(invertible.network)
    network.locked = (0,)
    generator = torch.Generator().manual_seed(0)
    images, labels = torch.randn(8, 2, 16, 16, generator=generator), torch.arange(8) % 2
    chooser = TransportChooser(replace(invertible, network=network), "uint16")
    forward = fit_coarse_to_fine(images[::2], images[1::2], (0,))
    chooser._cells[0, 1] = RespondingCells(forward, 0, 0.5, 0.02)
    made = chooser.choose([(images, labels)])
    # both directions are chosen again with what cells tell
    assert asked == {(0, 1): [False, False], (1, 0): [False, draws < 0.5]}
    # in the one without draws of its own, too (the other is asked by what judges draws, which is a double here)
    assert compared == [(1, 0, 0)]
    # by who knows the way back, and with the network that is chosen
    assert {way: (judge.source, judge.target) for way, judge in back.items()} == {
        (0, 1): (1, 0),
        (1, 0): (0, 1),
    }
    assert kept == [(0, 1), (1, 0)]
    scores = made.choices[0, 1].scores
    assert scores is not None
    assert scores[CELLS] is told[CELLS]


@pytest.mark.parametrize(
    ("found", "known", "taken"),
    [
        # brightness is what differs: the curve says it best
        (few_numbers(20.0, "gain"), False, "curve"),
        # blur is what differs, or nothing is told from chance: a curve follows chance between wells
        (few_numbers(20.0, "blur"), False, "parametric"),
        (few_numbers(0.0), False, "parametric"),
        # of many held-out wells these tell
        (few_numbers(20.0, "blur"), True, "curve"),
    ],
)
def test_of_few_wells_a_curve_is_taken_only_where_brightness_is_more_than_chance(
    found: ParametricMap, known: bool, taken: str
) -> None:
    judge, _ = judges_of(9.0, known, (found, found))
    judge._distances = {"curve": judge._distances["parametric"], **judge._distances}
    judge.scores = {"curve": judge.scores["parametric"], **judge.scores}
    assert judge.plainest_of_the_nearest() == taken
    # few wells do not tell which brightness it is; many do
    parametric = judge._distances["parametric"]
    nearer = Distance(
        0.5 * parametric.value, 0.5 * parametric.drawn, 0.25 * parametric.beyond_chance
    )
    judge._distances["parametric"] = nearer
    judge.scores["parametric"] = TransportScores(0.0, None, 0.0, nearer.value)
    assert judge.plainest_of_the_nearest() == ("parametric" if known else taken)


@pytest.mark.parametrize(("chance_known", "taken"), [(True, "parametric"), (False, "curve")])
def test_terms_that_were_found_of_a_single_well_do_not_speak_against_the_curve(
    chance_known: bool, taken: str
) -> None:
    found = replace(few_numbers(2.5, "blur"), chance_known=chance_known)
    judge, _ = judges_of(9.0, False, (found, found))
    judge._distances = {"curve": judge._distances["parametric"], **judge._distances}
    judge.scores = {"curve": judge.scores["parametric"], **judge.scores}
    assert judge.plainest_of_the_nearest() == taken


def test_of_few_wells_nothing_is_told_of_what_the_way_back_leaves(
    invertible: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may decide what is done, and is no figure to show."""
    monkeypatch.setattr(
        "napari_why.fitting.change_judge.ChangeJudge._is_better_undone", lambda *judges: True
    )
    without_draws_of_cells(monkeypatch)
    generator = torch.Generator().manual_seed(0)
    batches = [
        (torch.randn(8, 2, 16, 16, generator=generator), torch.arange(8) % 2) for _ in range(4)
    ]
    four_wells = np.arange(32) // 2 % 4
    chooser = TransportChooser(invertible, "uint16", restoring_steps=2)
    choice = chooser.choose(batches, batches, (four_wells, four_wells)).choices[(0, 1)]
    assert choice.kind == "back_translated"
    assert choice.scores is not None
    assert choice.scores[LEFT_BY_WAY_BACK] is None
    assert choice.scores[NEARER] is None


def test_what_a_change_leaves_is_none_of_real_images_and_all_of_unchanged_ones() -> None:
    rng = np.random.default_rng(0)
    real, source, target = rng.normal(size=(3, 40, 5))
    source[:, 0] += 2
    nearness = Nearness(real, real[:0], np.arange(40), np.arange(40, 80))
    unchanged, changed, halfway = (
        measured
        for measured in map(nearness.measure, (source, target, (source + target) / 2))
        if measured is not None
    )
    assert np.median(unchanged.share_left(unchanged)) == 1
    assert np.median(changed.share_left(unchanged)) < 0.1
    # a half of the distance is a quarter of its square
    assert np.median(halfway.share_left(unchanged)) == pytest.approx(0.25, abs=0.1)
    # of images no farther than chance has it everything is left, whatever was done to them
    same = nearness.measure(np.array(real))
    assert same is not None
    assert np.median(unchanged.share_left(same)) == 1


def test_groups_that_differ_by_themselves_make_less_sure() -> None:
    """Eight images of each of five wells know less than forty images."""
    rng = np.random.default_rng(0)
    wells = rng.normal(size=(10, 1, 5))
    real, source = (wells + 0.1 * rng.normal(size=(10, 8, 5))).reshape(2, 40, 5)
    alone = Nearness(real, real[:0], np.arange(40), np.arange(40, 80)).measure(source)
    numbers = np.repeat(np.arange(10), 8)
    by_well = Nearness(real, real[:0], numbers[:40], numbers[40:]).measure(source)
    assert alone is not None
    assert by_well is not None
    assert by_well.value == alone.value
    assert by_well.drawn.std() > 2 * alone.drawn.std()
    # wells alone set these apart, and of them nothing is sure
    assert np.mean(by_well.beyond_chance > 0) < 0.9 < np.mean(alone.beyond_chance > 0)


@pytest.mark.parametrize(("wells", "known"), [(1, False), (4, False), (5, True)])
def test_few_wells_tell_nothing_of_chance(wells: int, known: bool) -> None:
    """All draws of one well are the same: images are drawn then. Nothing is claimed by four."""
    rng = np.random.default_rng(0)
    real, source = rng.normal(size=(2, 40, 5))
    numbers = np.arange(40) % wells
    nearness = Nearness(real, real[:0], numbers, 40 + numbers)
    measured = nearness.measure(source)
    assert nearness.known is known
    assert measured is not None
    assert measured.drawn.std() > 0.02


def test_what_a_group_has_in_common_cancels_out() -> None:
    """Bands of one field that hold both classes differ more than the classes do."""
    rng = np.random.default_rng(0)
    bands = 3 * rng.normal(size=(5, 1, 5))
    real, source = (bands + 0.1 * rng.normal(size=(2, 5, 8, 5))).reshape(2, 40, 5)
    source[:, 0] += 1
    crossed, nested = np.repeat(np.arange(5), 8), np.repeat(np.arange(5, 10), 8)
    by_band = Nearness(real, real[:0], crossed, crossed).measure(source)
    as_if_apart = Nearness(real, real[:0], crossed, nested).measure(source)
    assert by_band is not None
    assert as_if_apart is not None
    assert by_band.drawn.std() < as_if_apart.drawn.std() / 2


def test_repeating_the_training_images_brings_no_image_nearer() -> None:
    """What training images have by chance is not what images of their class have."""
    rng = np.random.default_rng(0)
    real, source = rng.normal(size=(2, 40, 5))
    training = 0.5 + rng.normal(size=(40, 5))
    nearness = Nearness(real, training, np.arange(40), np.arange(40, 80))
    unchanged, moved = (nearness.measure(images) for images in (source, source + 0.5))
    assert unchanged is not None
    assert moved is not None
    assert moved.value > unchanged.value


def test_latents_are_no_candidate_where_such_a_change_is_mostly_chance(
    invertible: Classifier,
) -> None:
    generator = torch.Generator().manual_seed(0)
    noise = [
        (torch.randn(8, 2, 16, 16, generator=generator), torch.arange(8) % 2) for _ in range(2)
    ]
    tried = []
    assert invertible.latent_statistics is not None
    maps = invertible.latent_statistics.pixel_maps
    assert maps is not None
    for shares in (((0.0,),) * 3, ((0.9,),) * 3):
        known = {
            key: replace(found, shares=shares, noise=((1.0,),) * 3)
            if key[2] == "coarse_to_fine"
            else found
            for key, found in maps.maps.items()
        }
        statistics = invertible.latent_statistics.with_part("pixel_maps", replace(maps, maps=known))
        chooser = TransportChooser(replace(invertible, latent_statistics=statistics), "uint16")
        scores = chooser.choose(noise).choices[(0, 1)].scores
        assert scores is not None
        tried.append({"all places", "excess mass"} & set(scores))
    assert tried == [set(), {"all places", "excess mass"}]
