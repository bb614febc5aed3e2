"""How sure a change is: versions of it, their spread, and what is said of it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_why.core.errors import CancellationError
from napari_why.counterfactuals import counterfactual, verdict
from napari_why.counterfactuals.change import measured_change
from napari_why.counterfactuals.method import Versions
from napari_why.counterfactuals.spread import AROUND, compare_changes, measure_spread, spread_images
from napari_why.output.figures import counterfactual_figure
from napari_why.output.layers import to_layers
from napari_why.transport.back_translation import RestoringNetwork, UNet
from napari_why.transport.class_maps import ClassMaps, fit_class_maps
from napari_why.transport.fit import LatentCrops
from napari_why.transport.maps import Choice
from napari_why.transport.parametric_map import ParametricMap


def maps_of(images, labels, locked: tuple[int, ...], groups=None) -> ClassMaps:
    crops = LatentCrops(2)
    crops.add(images, labels, groups)
    maps = fit_class_maps(crops, locked)
    assert maps is not None
    return maps


# Pixels: too few for maps of scales, which take longest, and enough for a curve of grey levels.
CURVES_ONLY = 6


def dim_images(
    count: int, factor: float, seed: int = 0, side: int = 16
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images whose second channel, of a brightness of its own each, is dimmer in class 1."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % 2
    brightness = torch.exp(0.3 * torch.randn(count, 1, 1, generator=generator))
    images = torch.rand(count, 2, side, side, generator=generator)
    images[:, 1] *= brightness * torch.where(labels == 1, factor, 1.0)[:, None, None]
    return images, labels


@pytest.fixture(scope="module")
def known() -> ClassMaps:
    return maps_of(*dim_images(40, 0.4), (0,))


@pytest.fixture(scope="module")
def same() -> ClassMaps:
    """Return curves between two classes that are alike."""
    return maps_of(*dim_images(24, 1.0, side=CURVES_ONLY), (0,))


@pytest.fixture
def explain(small_classifier, raw_image, known):
    """Return a function that explains an image by a curve of which versions are known."""

    def make(maps: ClassMaps = known, choice: Choice | None = None, **options):
        classifier = small_classifier()
        statistics = classifier.latent_statistics
        if choice is not None:
            chosen = statistics.transport.with_choices({(0, 1): choice})
            statistics = statistics.with_part("transport", chosen)
        classifier.latent_statistics = statistics.with_part("pixel_maps", maps)
        options = {"steps": 2, "change": "curve", **options}
        return counterfactual(classifier, raw_image(0), **options)

    return make


def deviations(versions, images: torch.Tensor) -> torch.Tensor:
    return torch.stack([one(images) for one in versions]).std(0)


def test_more_images_leave_less_spread_and_locked_channels_none() -> None:
    images, _ = dim_images(4, 1.0, seed=9)

    def spread_of(count: int, seed: int) -> torch.Tensor:
        maps = maps_of(*dim_images(count, 0.4, seed, CURVES_ONLY), (0,))
        return deviations(maps.draws(0, 1, "curve", 8), images)

    # eight replicates tell a deviation to a quarter: the mean of four sets of few images
    of_few = torch.stack([spread_of(12, seed) for seed in range(4)])
    of_many = spread_of(40, 0)
    assert of_many[:, 1].mean() < 0.85 * of_few[:, :, 1].mean()
    assert not of_few[:, :, 0].any()


def test_fields_of_a_well_count_once() -> None:
    images, _ = dim_images(4, 1.0, seed=9)
    wells, labels = dim_images(12, 0.4, seed=3, side=CURVES_ONLY)
    fields, of_fields = wells.repeat(2, 1, 1, 1), labels.repeat(2)
    numbers = torch.arange(12).repeat(2)
    by_well, by_field = (
        deviations(maps_of(fields, of_fields, (0,), groups).draws(0, 1, "curve", 8), images)
        for groups in (numbers, None)
    )
    assert by_field[:, 1].mean() < 0.9 * by_well[:, 1].mean()


def test_draws_of_coefficients_lie_closer_together_the_more_images_there_are() -> None:
    images, _ = dim_images(4, 1.0, seed=9)

    def spread_of(count: int) -> torch.Tensor:
        found, labels = dim_images(count, 0.4, seed=3)
        fitted = ParametricMap.fit(found[labels == 0], found[labels == 1], (0,))
        assert fitted is not None
        generator = torch.Generator().manual_seed(0)
        return deviations([fitted.draw(generator) for _ in range(8)], images)

    of_few, of_many = spread_of(32), spread_of(128)
    assert of_many[:, 1].mean() < 0.8 * of_few[:, 1].mean()
    assert not of_few[:, 0].any()


def test_versions_are_kept_with_the_maps_and_older_maps_have_none(known) -> None:
    images, _ = dim_images(2, 1.0, seed=5)
    read = ClassMaps.from_parts(known.tensors(), known.to_dict())
    for kind in ("curve", "parametric", "coarse_to_fine"):
        pairs = zip(known.draws(0, 1, kind, 8), read.draws(0, 1, kind, 8), strict=True)
        assert all(torch.equal(one(images), other(images)) for one, other in pairs)
    plain = {name: value for name, value in known.to_dict().items() if name != "replicates"}
    older = ClassMaps.from_parts(
        {name: value for name, value in known.tensors().items() if "replicate" not in name}, plain
    )
    assert older.draws(0, 1, "curve", 8) == ()
    assert len(older.draws(0, 1, "parametric", 8)) == 8
    # another map has versions of its own
    assert known.with_map(0, 1, known.find(0, 1, "curve")).draws(0, 1, "curve", 8) == ()


def test_limits_hold_the_change_and_say_where_its_sign_is_not_shared() -> None:
    change = np.zeros((1, 1, 4))
    change[0, 0, :3] = 10, 10, -10
    versions = np.repeat(change[None], 20, 0)
    versions[:, 0, 0, 0] += np.linspace(-0.1, 0.1, 20)  # agree
    versions[:10, 0, 0, 1] = -10  # do not
    spread = compare_changes(change, versions)
    assert spread is not None
    assert ((spread.low <= change) & (change <= spread.high)).all()
    assert spread.uncertain[0, 0].tolist() == [False, True, False, False]
    assert spread.deviation[0, 0, 1] > spread.deviation[0, 0, 0] > spread.deviation[0, 0, 2] == 0
    assert spread.sure_share == pytest.approx(2 / 3)
    assert compare_changes(change, versions[:3]) is None


def test_what_no_version_shows_is_added_where_the_change_is_and_right_beside_it() -> None:
    change = np.zeros((2, 20, 20))
    change[1, 5:15, 5:15] = 10
    alike = np.repeat(change[None], 4, 0)
    known, unknown = (compare_changes(change, alike, left=left) for left in (0.25, 0.0))
    assert known is not None and unknown is not None
    assert (known.left, unknown.left) == (0.25, 0.0)
    assert not unknown.deviation.any()
    # a quarter of the square is half of the change
    np.testing.assert_allclose(known.deviation[1, 7:13, 7:13], 5, rtol=1e-6)
    # a structure may be wider, by a pixel or two, than the change has it; far away nothing is added
    assert 0 < known.deviation[1, 10, 16] < known.deviation[1, 10, 15] < 5
    np.testing.assert_allclose(known.deviation[1, :2], 0, atol=1e-5)
    assert not known.deviation[0].any() and known.free == [1]
    # versions that agree in the sign still do
    assert np.array_equal(known.same_sign, unknown.same_sign)
    # what versions differ by comes on top, as independent errors do
    apart = alike + np.array([-3.0, -3.0, 3.0, 3.0])[:, None, None, None]
    both = compare_changes(change, apart, 2.0, 0.25)
    assert both is not None
    np.testing.assert_allclose(both.deviation[1, 7:13, 7:13], np.hypot(2 * 3, 5), rtol=1e-6)


def test_sums_that_round_below_zero_leave_no_hole_in_the_limits() -> None:
    change = np.random.default_rng(0).normal(0, 1e4, (1, 40, 40))
    change[:, 10:] = 0
    spread = compare_changes(change, np.repeat(change[None], 4, 0), left=0.1)
    assert spread is not None and np.isfinite(spread.deviation).all()


def test_what_held_out_images_still_differ_in_counts_for_the_change_that_they_chose(
    explain,
) -> None:
    left_over = {"difference left at most": 0.25, "difference left": 0.1}
    chosen = Choice(kind="curve", scores=left_over)
    found, asked = (explain(choice=chosen, change=change) for change in ("auto", "curve"))
    older = explain(choice=Choice(kind="curve", scores={"difference left": 0.1}), change="auto")
    assert found.spread.left == 0.25
    assert found.record.details["spread"]["left"] == 0.25
    # the same change is as sure whether it was found or asked for
    assert np.array_equal(found.spread.deviation, asked.spread.deviation)
    # without the figure the limits are what they were: versions, and how far curves are off
    assert older.spread.left == 0
    assert np.array_equal(older.spread.deviation, explain().spread.deviation)
    around = ndimage.uniform_filter(found.spread.change.astype(float) ** 2, (0, AROUND, AROUND))
    expected = np.sqrt(older.spread.deviation.astype(float) ** 2 + 0.25 * around)
    np.testing.assert_allclose(found.spread.deviation, expected, rtol=1e-4, atol=1e-3)
    # more than all of it tells no more
    most = Choice(kind="curve", scores={"difference left at most": 8.0})
    assert explain(choice=most, change="auto").spread.left == 1
    # of another change than the chosen one it says nothing
    other = explain(choice=chosen, change="coarse_to_fine")
    assert other.spread.left == 0
    assert np.array_equal(other.spread.deviation, explain(change="coarse_to_fine").spread.deviation)


def test_a_counterfactual_tells_how_sure_its_change_is(explain) -> None:
    result = explain()
    spread = result.spread
    assert spread.draws == 8, "as many replicates as were kept, though 16 were asked for"
    np.testing.assert_allclose(spread.change, measured_change(result), atol=1e-3)
    assert spread.deviation[1].any()
    assert result.record.details["spread"]["sure_share"] == spread.sure_share
    assert result.record.parameters["draws"] == 16


def test_classes_that_do_not_differ_leave_the_sign_open(explain, same) -> None:
    result, other = explain(same), explain()
    assert result.spread.sure_share < 0.5 < other.spread.sure_share
    found = verdict(result)
    assert any("of the change is of uncertain sign" in said for said in found.reservations)
    assert not any("uncertain sign" in said for said in verdict(other).reservations)


@pytest.mark.parametrize("options", [{"change": "latent"}, {"overshoot": 1.5}])
def test_what_has_no_versions_says_that_its_spread_is_not_known(explain, options) -> None:
    result = explain(**options)
    assert result.spread is None
    assert result.record.details["spread"] is None
    assert any("how sure the change is was not measured" in note for note in result.notes)
    assert spread_images(result) is None


def with_replicates(transport):
    """Return a transport with replicates that move by a little more each."""
    key = (0, 1, "full")
    pair = transport.maps[key]
    offsets = (0.0, 0.1, 0.2, 0.3)
    made = [
        replace(pair, gaussian=replace(pair.gaussian, conditioning=pair.gaussian.conditioning + by))
        for by in offsets
    ]
    return transport.with_replicates({key: tuple(made)})


def test_a_change_of_latents_is_as_sure_as_its_replicates(small_classifier, raw_image) -> None:
    classifier = small_classifier()
    statistics = classifier.latent_statistics
    classifier.latent_statistics = statistics.with_part(
        "transport", with_replicates(statistics.transport)
    )
    options = {"steps": 2, "change": "latent", "responders": "all"}
    result = counterfactual(classifier, raw_image(0), **options)
    assert result.spread is not None and result.spread.draws == 4
    assert result.spread.deviation.any()
    assert not any("how sure the change is was not" in note for note in result.notes)
    # they are of one map, and the other has none
    other = counterfactual(classifier, raw_image(0), **{**options, "responders": "some"})
    assert other.spread is None


@pytest.mark.parametrize(("made", "known_by_then"), [(5, 5), (3, None)])
def test_a_version_cancelled_on_its_way_ends_them(made: int, known_by_then: int | None) -> None:
    """As one of a whole field is, tile by tile: what was made by then counts, where it is enough."""

    def make(count: int):
        for index in range(count):
            if index == made:
                raise CancellationError("cancelled within a field")
            yield torch.full((1, 1, 2, 2), float(index))

    images = SimpleNamespace(
        path=SimpleNamespace(versions=Versions(make)),
        exported_source=np.zeros((1, 2, 2), np.uint16),
        export=lambda image: image[0].numpy(),
    )
    spread = measure_spread(images, 16, np.ones((1, 2, 2)))
    assert (None if spread is None else spread.draws) == known_by_then


def untrained(undoes) -> RestoringNetwork:
    """Return a network that changes nothing."""
    network = UNet(2, (4, 8))
    for parameter in network.last.parameters():
        torch.nn.init.zeros_(parameter)
    return RestoringNetwork(2, (0,), [network.eval().requires_grad_(False)], undoes=undoes)


def test_a_network_is_as_sure_as_the_change_that_it_undoes(explain, known) -> None:
    options = {"change": "back_translated"}
    result = explain(known.with_map(0, 1, untrained(("curve", "full"))), **options)
    assert result.spread.draws == 8  # of the curve from 1 to 0
    assert result.spread.deviation[1].any() and not result.spread.deviation[0].any()
    # it changes nothing, and nothing that it undoes leads back to the source
    assert not result.spread.change.any()
    unknown = explain(known.with_map(0, 1, untrained(None)), **options)
    assert unknown.spread is None
    assert any("how sure the change is was not measured" in note for note in unknown.notes)


def test_none_are_made_where_none_were_asked_for(explain) -> None:
    result = explain(draws=0)
    assert result.spread is None
    assert not any("how sure" in note for note in result.notes)


def test_the_spread_is_a_hidden_layer_and_uncertain_signs_are_hatched(explain, same) -> None:
    result = explain(same)
    layers = to_layers(result)
    told = {
        (layer.metadata["napari_why"]["role"], layer.metadata["napari_why"]["channel"]): layer
        for layer in layers
    }
    deviation, signs = (told[(role, "mitochondria")] for role in ("spread", "uncertain sign"))
    assert not (deviation.visible or signs.visible)
    assert np.array_equal(deviation.data, result.spread.deviation[1])
    assert np.array_equal(signs.data > 0, result.spread.uncertain[1])
    assert ("spread", "nuclei") not in told or result.spread.deviation[0].any()

    def hatched(shown) -> int:
        return sum(len(axes.collections) for axes in counterfactual_figure(shown).axes[:6])

    assert hatched(result) > hatched(replace(result, spread=None))


def test_the_images_to_write_hold_limits_and_agreement(explain) -> None:
    result = explain()
    pictures = spread_images(result).pictures()
    free = result.spread.free
    low, high = (pictures[name].compute() for name in ("5 % limit", "95 % limit"))
    assert (low <= result.spread.change[free]).all()
    assert (result.spread.change[free] <= high).all()
    assert pictures["share of the same sign"].compute().max() <= 1


def test_where_images_do_not_tell_the_classes_apart_nothing_changes_and_that_is_said(
    explain,
) -> None:
    images, labels = dim_images(40, 1.0, seed=3)
    found = ParametricMap.fit(images[labels == 0], images[labels == 1], (0,))
    assert found is not None
    assert not any(change.terms for change in found.changes)
    maps = ClassMaps(2, {}).with_map(0, 1, found)
    result = explain(maps, change="parametric")
    assert not result.differences.any()
    assert any(note.startswith("nothing is changed: the training images") for note in result.notes)
    assert not result.valid


def test_few_numbers_that_do_not_describe_the_difference_are_told_as_such(explain, known) -> None:
    found = known.find(0, 1, "parametric")
    asked, told = {}, "few numbers do not describe all that differs"
    for misfit in (1.0, 4.2):
        changes = tuple(replace(change, misfit=misfit) for change in found.changes)
        maps = known.with_map(0, 1, ParametricMap(changes))
        notes = explain(maps, change="parametric").notes
        asked[misfit] = [note for note in notes if note.startswith(told)]
    assert not asked[1.0]
    assert [note.endswith("they leave 4.2 times what chance would") for note in asked[4.2]] == [
        True
    ]


def test_a_change_that_was_found_is_not_called_none(explain, known) -> None:
    result = explain(known, change="parametric")
    assert result.differences.any()
    assert not any(note.startswith("nothing is changed") for note in result.notes)


def test_where_nothing_that_few_numbers_tell_helps_it_is_not_said_that_images_are_alike(
    explain, known
) -> None:
    found = known.find(0, 1, "parametric")
    still = tuple(
        replace(
            change,
            values={"noise": change.values["noise"]},
            covariance=torch.eye(2),
            evidence=0.0,
            misfit=4.2,
        )
        for change in found.changes
    )
    notes = explain(known.with_map(0, 1, ParametricMap(still)), change="parametric").notes
    assert any(note.startswith("nothing is changed: no change in few numbers") for note in notes)
    assert not any("training images do not show" in note for note in notes)
