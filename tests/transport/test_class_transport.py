"""The transport between classes: what moves, what stays, and what is saved."""

import json
from typing import Any

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.transport import Choice, ClassTransport, LatentLayout, TransportOptions
from napari_why.transport.fit import refit_class_transport, resample

LOCKED, UNLOCKED = LatentLayout(2, 1, 1), LatentLayout(2, 0, 1)
MASSES = ("full", "excess")
FEW = TransportOptions(rounds=1, samples=2000, matching_clusters=16)


@pytest.fixture(scope="module")
def conditional(scenes, fitted) -> ClassTransport:
    """Return a transport that leaves nuclei alone."""
    return fitted([scenes(30, 0, seed=0), scenes(30, 1, seed=1)], LOCKED)


@pytest.fixture(scope="module")
def unconditional(scenes, fitted) -> ClassTransport:
    """Return a transport that may move everything."""
    return fitted([scenes(30, 0, seed=0), scenes(30, 1, seed=1)], UNLOCKED)


def correlation(one: Tensor, other: Tensor) -> float:
    return float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])


@pytest.mark.parametrize(("source", "target"), [(0, 1), (1, 0)])
def test_the_signal_moves_where_it_truly_would_and_nuclei_stay(
    conditional, unconditional, scenes, source, target
) -> None:
    # the same seed gives the same nuclei and noise in both classes
    image, true = scenes(6, source, seed=9), scenes(6, target, seed=9)
    change = conditional.displacement(image, source, target, "full")
    assert (change[:, 0] == 0).all()
    # over ten seeds of the fit, 0.992 to 0.998 there and 0.959 to 0.968 back
    assert correlation(change[:, 1], (true - image)[:, 1]) > 0.9
    # without a lock, part of the way is to move the nuclei, which truly stay: by 0.90 to 1.28, and
    # the signal's correlation is 0.68 to 0.79 there and 0.25 to 0.55 back
    free = unconditional.displacement(image, source, target, "full")
    assert free[:, 0].square().mean().sqrt() > 0.2
    assert correlation(free[:, 1], (true - image)[:, 1]) < correlation(
        change[:, 1], (true - image)[:, 1]
    )


@pytest.mark.parametrize("mass", MASSES)
def test_locked_channels_have_no_displacement_at_all(conditional, scenes, mass) -> None:
    change = conditional.displacement(scenes(2, 0, seed=5), 0, 1, mass)
    assert change.shape == (2, 2, 24, 24)
    assert (change[:, 0] == 0).all()
    assert change[:, 1].any()


def test_moved_latents_have_the_laws_of_the_target_in_nuclei_and_around(
    conditional, scenes
) -> None:
    # the same nuclei: how much signal there is depends on them
    image, real = scenes(10, 0, seed=9), scenes(10, 1, seed=9)
    moved = image + conditional.displacement(image, 0, 1, "full")
    steps = torch.linspace(0.05, 0.95, 19)
    nuclei = image[:, 0] > 1
    for place in (nuclei, ~nuclei):
        found, wanted, before = (
            torch.quantile(item[:, 1][place], steps) for item in (moved, real, image)
        )
        # 0.002 to 0.010 of the difference is left over ten seeds of the fit
        assert (found - wanted).abs().mean() < 0.2 * (before - wanted).abs().mean()


@pytest.mark.parametrize("layout", [LOCKED, UNLOCKED])
def test_between_equal_classes_next_to_nothing_moves(scenes, fitted, layout) -> None:
    transport = fitted([scenes(30, 0, seed=0), scenes(30, 0, seed=1)], layout)
    image = scenes(6, 0, seed=9)
    # over ten seeds of the fit, 0.03 to 0.27 in full and 0.01 to 0.09 of the excess mass
    for mass, most in (("full", 0.4), ("excess", 0.2)):
        change = transport.displacement(image, 0, 1, mass)
        assert change.square().mean().sqrt() < most * image.std()


def test_excess_mass_leaves_alone_what_the_target_has_too(fitted) -> None:
    """Class 1 shows patches on the ground that class 0 has: only patches have to go."""
    generator = torch.Generator().manual_seed(0)

    def drawn(count: int, patches: bool) -> tuple[Tensor, Tensor]:
        there = torch.zeros(count, 1, 24, 24)
        for image in there:
            y, x = torch.randint(0, 14, (2,), generator=generator).tolist()
            image[0, y : y + 10, x : x + 10] = float(patches)
        latent = 0.3 * torch.randn(count, 2, 24, 24, generator=generator)
        latent[:, 1:] += 2 * there
        return latent, there

    transport = fitted([drawn(40, False)[0], drawn(40, True)[0]], LOCKED)
    image, there = drawn(8, True)
    full, excess = (transport.displacement(image, 1, 0, mass)[:, 1:] for mass in MASSES)
    # patches are taken away: by 1.72 to 1.77 over ten seeds of the fit, and 0.049 to 0.055 far away,
    # where all of the mass takes 1.8 to 2.1 times as much
    assert excess[there > 0].mean() < -1.5
    far = torch.nn.functional.max_pool2d(there, 7, stride=1, padding=3) == 0
    assert excess[far].abs().mean() < 0.15
    assert full[far].abs().mean() > 1.3 * excess[far].abs().mean()


@pytest.mark.parametrize("mass", MASSES)
@pytest.mark.parametrize("size", [(64, 24), (37, 21), (50, 7)])
def test_bands_give_what_the_whole_gives(conditional, scenes, monkeypatch, mass, size) -> None:
    image = scenes(1, 0, seed=3, size=size)
    whole = conditional.displacement(image, 0, 1, mass)
    monkeypatch.setattr("napari_why.transport.class_transport.POSITIONS_AT_A_TIME", 64)
    banded = conditional.displacement(image, 0, 1, mass)
    torch.testing.assert_close(banded, whole, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", [LOCKED, UNLOCKED])
def test_saved_and_loaded_it_is_the_same(request, scenes, layout) -> None:
    name = "conditional" if layout is LOCKED else "unconditional"
    choice = Choice("excess", 1.3, (1,), {"images": 9, "chosen": {"validity": 1.0}})
    transport = request.getfixturevalue(name).with_choices({(0, 1): choice})
    again = ClassTransport.from_parts(
        load(save(transport.tensors())), json.loads(json.dumps(transport.to_dict()))
    )
    assert again.to_dict() == transport.to_dict()
    assert again.choice(0, 1) == choice
    assert again.choice(1, 0) == Choice()  # nothing was chosen there
    assert again.layout == layout
    image = scenes(2, 0, seed=4)
    for mass in MASSES:
        assert torch.equal(
            again.displacement(image, 0, 1, mass), transport.displacement(image, 0, 1, mass)
        )


def test_loading_leaves_torchs_random_numbers_alone(conditional) -> None:
    before = torch.get_rng_state()
    ClassTransport.from_parts(conditional.tensors(), conditional.to_dict())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture(scope="module")
def replicated(conditional, scenes, crops_of_classes) -> ClassTransport:
    """Return a transport with replicates of one map."""
    crops = crops_of_classes([scenes(16, 0, seed=0), scenes(16, 1, seed=1)])
    found = refit_class_transport(conditional, crops, [(0, 1, "excess")], FEW)
    assert found is not None
    return found


def test_replicates_are_saved_with_the_maps_and_older_files_have_none(replicated, scenes) -> None:
    latent = scenes(2, 0, seed=4)
    tensors, plain = load(save(replicated.tensors())), json.loads(json.dumps(replicated.to_dict()))
    again = ClassTransport.from_parts(tensors, plain)
    made = list(replicated.versions(latent, 0, 1, "excess", 9))
    assert len(made) == 4
    assert not made[0][:, 0].any() and not torch.equal(made[0], made[1])
    read = again.versions(latent, 0, 1, "excess", 3)
    assert all(torch.equal(one, other) for one, other in zip(made[:3], read, strict=True))
    assert list(again.versions(latent, 1, 0, "excess", 9)) == []  # not asked for
    del plain["replicates"]
    older = ClassTransport.from_parts(
        {name: value for name, value in tensors.items() if "replicate" not in name}, plain
    )
    assert list(older.versions(latent, 0, 1, "excess", 9)) == []
    # or else it would have another fingerprint
    assert older.to_dict().keys() == plain.keys()
    image = older.displacement(latent, 0, 1, "excess")
    assert torch.equal(image, replicated.displacement(latent, 0, 1, "excess"))


@pytest.mark.parametrize(
    "counts", [[[0, 1, "excess", 5]], [[0, 1, "excess", 3]], [], [[0, 7, "full", 4]]]
)
def test_replicates_that_are_not_those_told_are_refused(replicated, counts) -> None:
    with pytest.raises(ModelFileError, match="train anew"):
        ClassTransport.from_parts(
            replicated.tensors(), replicated.to_dict() | {"replicates": counts}
        )


def test_whole_groups_are_drawn_as_many_as_there_are() -> None:
    images, groups = torch.arange(12), torch.tensor([3, 5, 7]).repeat(4)
    generator = torch.Generator().manual_seed(0)
    seen = set()
    for _ in range(20):
        drawn = resample(images, groups, generator)
        counts = torch.bincount(drawn, minlength=12)
        assert len(drawn) == 12
        # each image as often as the others of its group
        assert all(len(set(counts[groups == name].tolist())) == 1 for name in (3, 5, 7))
        seen.add(tuple(counts.tolist()))
    assert len(seen) > 3
    # of one group alone images are drawn
    alone = resample(images, torch.zeros(12), generator)
    assert len(alone) == 12 and len(set(alone.tolist())) < 12


def test_of_few_images_there_are_no_replicates_and_none_when_cancelled(
    conditional, scenes, crops_of_classes
) -> None:
    few = crops_of_classes([scenes(15, 0, seed=0), scenes(16, 1, seed=1)])
    found = refit_class_transport(conditional, few, [(0, 1, "full")], FEW)
    assert found is not None
    assert found.replicates == {}
    enough = crops_of_classes([scenes(16, 0, seed=0), scenes(16, 1, seed=1)])
    stopped = refit_class_transport(
        conditional, enough, [(0, 1, "full")], FEW, cancelled=lambda: True
    )
    assert stopped is None


CHOICE = {"source": 0, "target": 1, "mass": "full", "overshoot": 1.0, "reset_channels": []}


@pytest.mark.parametrize(
    "damage",
    [
        {"layout": {"channels": 2, "locked": 1}},
        {"layout": {"channels": 2, "locked": 2, "phases": 1}},
        {"layout": {"channels": 4, "locked": 2, "phases": 1}},
        {"layout": {"channels": "2", "locked": 1, "phases": 1}},
        {"layout": None},
        {"maps": [[0, 7, "full"]]},
        {"maps": [[0, 1, "half"]]},
        {"maps": [[0, 1]]},
        {"choices": [CHOICE]},  # without scores
        {"choices": [CHOICE | {"scores": None, "mass": "half"}]},
        {"choices": [CHOICE | {"scores": None, "overshoot": 0.2}]},
        {"choices": [CHOICE | {"scores": None, "overshoot": 50.0}]},
        {"choices": [CHOICE | {"scores": None}] * 2},
        {"choices": [CHOICE | {"scores": None, "reset_channels": [2]}]},
        {"choices": [CHOICE | {"scores": None, "target": 5}]},
        {"choices": [CHOICE | {"scores": None, "kind": "responding_cells"}]},  # never chosen
        {"choices": None},
    ],
)
def test_a_damaged_description_is_refused(conditional, damage: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=r"transport between classes: .*found"):
        ClassTransport.from_parts(conditional.tensors(), conditional.to_dict() | damage)


@pytest.mark.parametrize(
    ("name", "damaged"),
    [
        ("gates.centres", None),
        ("gates.mean", torch.zeros(3)),
        ("gates.basis", torch.zeros(())),
        ("evidence.mean", None),
        ("evidence.deviation", torch.ones(1, 2, 1, 1)),
        ("evidence.0.weight", torch.zeros(48, 3, 3, 3)),
        ("evidence.4.bias", torch.zeros(3)),
        ("evidence.4.weight", None),
        ("0.1.full.gaussian.matrices", torch.zeros(4, 1, 5)),
        ("1.0.excess.gaussian.conditioning", None),
        ("0.1.full.sliced.rotations", torch.zeros(3, 2, 2)),
        ("0.1.full.sliced.target", torch.zeros(2, 64, 1)),
    ],
)
def test_damaged_numbers_are_refused(conditional, name: str, damaged: Tensor | None) -> None:
    tensors = conditional.tensors()
    assert name in tensors
    if damaged is None:
        del tensors[name]
    else:
        tensors[name] = damaged
    with pytest.raises(ModelFileError, match="train anew"):
        ClassTransport.from_parts(tensors, conditional.to_dict())


def test_a_class_that_was_not_seen_is_named_in_words(conditional, scenes) -> None:
    with pytest.raises(ParameterError, match="no training image of class 0 or 2"):
        conditional.displacement(scenes(1, 0), 0, 2, "full")


@pytest.mark.parametrize(
    ("scores", "had_a_say"),
    [
        ({"chosen": {"validity": 1.0, "second network agrees": 0.93}}, True),
        ({"chosen": {"validity": 1.0, "second network agrees": 0.0}}, True),
        ({"chosen": {"validity": 1.0, "second network agrees": None}}, False),  # there was none
        ({"chosen": {"validity": 1.0}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_choice_of_an_earlier_version_is_told_from_one_without_the_second_network(
    conditional, scores, had_a_say
) -> None:
    made = conditional.with_choices({(0, 1): Choice("excess", 1.3, (), scores)})
    plain = json.loads(json.dumps(made.to_dict()))
    assert plain["choices"][0].pop("second_had_a_say") is False  # as of now
    read = ClassTransport.from_parts(made.tensors(), plain)
    assert read.choice(0, 1).second_had_a_say is had_a_say
    assert read.choice(1, 0).second_had_a_say is False  # where nothing was chosen, nobody was asked
    again = ClassTransport.from_parts(made.tensors(), json.loads(json.dumps(read.to_dict())))
    assert again.choice(0, 1) == read.choice(0, 1)


@pytest.mark.parametrize("told", [0, 1, "no", [False]])
def test_what_a_choice_tells_of_the_second_network_is_true_false_or_not_known(
    conditional, told
) -> None:
    made = conditional.with_choices({(0, 1): Choice()})
    plain = json.loads(json.dumps(made.to_dict()))
    plain["choices"][0]["second_had_a_say"] = told
    with pytest.raises(ModelFileError, match=r"second_had_a_say: found .* expected true or false"):
        ClassTransport.from_parts(made.tensors(), plain)
