"""Maps of pixels between classes, on images whose change is known."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threaded_cells import SIDE, blurred, cells, dimmed, gathered, target_of
from torch import Tensor

from napari_why.core.errors import ModelFileError, ParameterError
from napari_why.transport import ClassMaps, LatentCrops
from napari_why.transport.channel_change import ALWAYS, LockedStructures, part_into_scales
from napari_why.transport.channel_statistics import ChannelFrame
from napari_why.transport.class_maps import fit_class_maps
from napari_why.transport.parametric_map import ParametricMap, fit_channel
from napari_why.transport.pixel_maps import GreyLevelCurve, smooth


def error_of(move: Callable[[Tensor], Tensor], change: Callable[[Tensor], Tensor]) -> float:
    """Return the relative error of a map's change of unseen images."""
    unseen = cells(16, 77)
    true, found = (changed(unseen)[:, 1] - unseen[:, 1] for changed in (change, move))
    return float((smooth(found - true, 1.0)).norm() / smooth(true, 1.0).norm())


@pytest.fixture(scope="module")
def source() -> Tensor:
    return cells(30, 0)


@pytest.fixture(scope="module")
def fitted(source: Tensor) -> Callable[..., ParametricMap]:
    """Return a function that fits each change once."""

    @cache
    def fit(change: Callable[[Tensor], Tensor]) -> ParametricMap:
        found = ParametricMap.fit(source, target_of(change), (0,))
        assert found is not None
        return found

    return fit


@pytest.mark.parametrize(
    ("change", "term", "bound"),
    # nothing done has an error of 1, and one factor, the best there could be, .5 and more of the last two
    [(dimmed, "gain", 0.25), (blurred, "blur", 0.5), (gathered, "near", 0.5)],
)
def test_a_change_is_found_without_pairs_and_named(
    fitted: Callable[..., ParametricMap],
    change: Callable[[Tensor], Tensor],
    term: str,
    bound: float,
) -> None:
    found = fitted(change)
    chosen = set(found.changes[0].values)
    if term == "near":
        assert chosen & {"distance", "redistribution"}
    else:
        assert term in chosen
    assert found.changes[0].evidence > 3  # twenty times as likely as no change
    assert error_of(found, change) < bound


def test_brightness_alone_is_told_by_brightness_alone(fitted: Callable[..., ParametricMap]) -> None:
    found = fitted(dimmed)
    assert set(found.changes[0].values) == {*ALWAYS, "gain"}
    assert float(found.changes[0].values["gain"]) == pytest.approx(np.log(0.55), abs=0.15)


def test_whether_chance_is_known_is_saved_and_earlier_versions_did_not_note_it(
    fitted: Callable[..., ParametricMap],
) -> None:
    found = fitted(dimmed)
    nothing = tuple(replace(change, evidence=0.0) for change in found.changes)
    of_no_term = tuple(
        replace(change, values={name: change.values[name] for name in ALWAYS}, evidence=0.0)
        for change in found.changes
    )
    size = sum(found.changes[0].values[name].numel() for name in ALWAYS)
    of_no_term = tuple(replace(c, covariance=c.covariance[:size, :size]) for c in of_no_term)
    for changes, told in ((found.changes, True), (nothing, False), (of_no_term, True)):
        for known in (True, False):
            saved = ParametricMap(changes, known)
            plain = saved.to_dict()
            assert ParametricMap.from_parts(saved.tensors(), plain).chance_known is known
            # or else a classifier that was saved before would have another fingerprint
            assert ("chance_known" in plain) is (known != told)


def test_of_two_halves_of_a_class_next_to_nothing_is_changed(source: Tensor) -> None:
    found = ParametricMap.fit(source, cells(40, 5), (0,))
    assert found is not None
    unseen = cells(8, 9)
    change = (found(unseen) - unseen)[:, 1]
    assert float(change.norm() / (unseen[:, 1] - unseen[:, 1].mean()).norm()) < 0.2


@pytest.mark.parametrize("size", [(16, 16), (40, 33), (300, 70)])
@pytest.mark.parametrize("kind", ["curve", "parametric"])
def test_locked_channels_stay_bit_for_bit_in_images_of_any_size(
    source: Tensor, fitted: Callable[..., ParametricMap], kind: str, size: tuple[int, int]
) -> None:
    curve = GreyLevelCurve.fit(source, target_of(gathered), (1,))
    move = curve if kind == "curve" else fitted(gathered)
    images = torch.rand(3, 2, *size, generator=torch.Generator().manual_seed(0))
    moved = move(images)
    assert moved.shape == images.shape
    assert torch.equal(moved[:, 0], images[:, 0])
    assert torch.isfinite(moved).all()
    torch.testing.assert_close(move(images[1:2]), moved[1:2])  # no image depends on the others


def test_without_a_locked_channel_both_may_change(source: Tensor) -> None:
    found = ParametricMap.fit(source[:16], 0.5 * source[:16], ())
    assert found is not None
    assert [change.channel for change in found.changes] == [0, 1]
    assert all(change.terms for change in found.changes)


def test_without_a_lock_a_channel_that_stays_tells_where_the_other_changes(source: Tensor) -> None:
    found = ParametricMap.fit(source, target_of(gathered), ())
    assert found is not None
    nuclei, threads = found.changes
    assert not nuclei.terms
    assert {"distance", "redistribution"} & set(threads.terms)
    assert threads.structures is not None
    assert threads.structures.channel == 0


def test_of_fifteen_images_nothing_is_fitted(source: Tensor) -> None:
    assert ParametricMap.fit(source[:15], source, (0,)) is None


def test_a_field_without_a_nucleus_and_a_constant_channel_are_taken(
    source: Tensor, fitted: Callable[..., ParametricMap]
) -> None:
    empty = torch.zeros(1, 2, SIDE, SIDE)
    assert torch.isfinite(fitted(gathered)(empty)).all()
    flat = source[:16].clone()
    flat[:, 0] = 1.0
    assert LockedStructures.find(flat, (0,)) is None
    assert ParametricMap.fit(flat, flat, (0,)) is not None


def test_draws_spread_less_of_more_images() -> None:
    spreads, unseen = [], cells(4, 50)
    for count in (16, 40):
        found = ParametricMap.fit(cells(count, 0), dimmed(cells(count, 1)), (0,))
        assert found is not None
        generator = torch.Generator().manual_seed(0)
        moved = torch.stack([found.draw(generator)(unseen)[:, 1] for _ in range(10)])
        spreads.append(float(moved.std(0).mean()))
    assert 0 < spreads[1] < spreads[0]


@settings(max_examples=20, deadline=None)
@given(st.floats(0.2, 3), st.floats(-1, 1), st.integers(0, 9))
def test_a_curve_takes_one_distribution_to_the_other(
    factor: float, offset: float, seed: int
) -> None:
    levels = torch.randn(4, 1, 30, 30, generator=torch.Generator().manual_seed(seed))
    curve = GreyLevelCurve.fit(levels, factor * levels + offset, (0,))
    inside = levels.clamp(-2, 2)
    torch.testing.assert_close(curve(inside), factor * inside + offset, atol=0.02 * factor, rtol=0)


def test_parts_of_scales_add_up_to_the_image() -> None:
    maps = torch.rand(2, 30, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(part_into_scales(maps).sum(0), maps)


@pytest.mark.parametrize("sigma", [0.7, 3.0, 20.0])
def test_large_maps_are_filtered_as_small_ones_are(
    sigma: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    maps = torch.rand(2, 30, 50, generator=torch.Generator().manual_seed(0))
    by_matrix = smooth(maps, sigma)
    monkeypatch.setattr("napari_why.transport.pixel_maps.LARGEST_MATRIX", 0)
    torch.testing.assert_close(smooth(maps, sigma), by_matrix, atol=1e-5, rtol=0)
    assert float(smooth(torch.ones_like(maps), sigma).std()) < 1e-6


def test_statistics_are_of_each_image_alone(source: Tensor) -> None:
    frame = ChannelFrame.of(source, 1, (0,))
    together = frame.describe(source[:4])
    assert together.dtype == torch.float64
    assert torch.isfinite(together).all()
    torch.testing.assert_close(frame.describe(source[2:3]), together[2:3], rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def class_maps(source: Tensor) -> ClassMaps:
    crops = LatentCrops(3, largest=32)
    images = torch.cat([source[:16], dimmed(cells(16, 4))])
    crops.add(images, torch.tensor([0] * 16 + [2] * 16))
    made = fit_class_maps(crops, (0,))
    assert made is not None
    return made


def test_every_two_classes_with_images_get_maps(class_maps: ClassMaps) -> None:
    assert {key[:2] for key in class_maps.maps} == {(0, 2), (2, 0)}
    assert class_maps.kinds(0, 2) == ("curve", "parametric", "coarse_to_fine")
    with pytest.raises(ParameterError, match="found no map of the kind curve"):
        class_maps.find(0, 1, "curve")
    assert class_maps.fits(3, 5)
    assert not class_maps.fits(2, 5)


@pytest.mark.parametrize(
    ("factors", "curved"),
    # one channel changes; both do; none does, as far as images tell
    [((1.0, 0.55), (1,)), ((0.6, 0.55), (0, 1)), ((1.0, 1.0), (0, 1))],
)
def test_a_curve_is_of_channels_that_change_where_any_does(
    source: Tensor, factors: tuple[float, float], curved: tuple[int, ...]
) -> None:
    """In the others it would follow what wells differ by by chance."""
    other = cells(16, 4) * torch.tensor(factors)[:, None, None]
    crops = LatentCrops(2, largest=32)
    crops.add(torch.cat([source[:16], other]), torch.tensor([0] * 16 + [1] * 16))
    made = fit_class_maps(crops, ())
    assert made is not None
    few, curve = (made.find(0, 1, kind) for kind in ("parametric", "curve"))
    assert isinstance(few, ParametricMap)
    assert isinstance(curve, GreyLevelCurve)
    assert bool(few.terms) == (factors != (1.0, 1.0))
    assert curve.channels == curved
    assert all(one.channels == curved for one in made.draws(0, 1, "curve", 8))


def test_what_was_saved_moves_alike(class_maps: ClassMaps) -> None:
    again = ClassMaps.from_parts(class_maps.tensors(), class_maps.to_dict())
    images = cells(3, 8)
    for key, move in class_maps.maps.items():
        assert torch.equal(again.maps[key](images), move(images))


def test_parts_that_do_not_fit_are_refused(class_maps: ClassMaps) -> None:
    tensors, plain = class_maps.tensors(), class_maps.to_dict()
    for name in tensors:
        with pytest.raises(ModelFileError, match=r"do not fit|train anew"):
            ClassMaps.from_parts(
                {key: value for key, value in tensors.items() if key != name}, plain
            )
    for wrong in ({"kind": "guess"}, {"target": 7}, {"source": 2}):
        entries = [plain["maps"][0] | wrong, *plain["maps"][1:]]
        with pytest.raises(ModelFileError, match="maps between classes"):
            ClassMaps.from_parts(tensors, plain | {"maps": entries})


def test_cancelled_there_are_no_maps(source: Tensor) -> None:
    crops = LatentCrops(2)
    crops.add(source[:12], torch.arange(12) % 2)
    assert fit_class_maps(crops, (0,), cancelled=lambda: True) is None


def test_images_of_a_few_wells_tell_less_than_as_many_wells(source: Tensor) -> None:
    """The same brightness of all images of a well is one observation and not ten."""
    brightness = 1 + 0.3 * torch.randn(6, generator=torch.Generator().manual_seed(2))
    wells = torch.arange(30) % 6
    images = source.clone()
    images[:, 1] *= brightness[wells][:, None, None]
    other = cells(30, 1)
    other[:, 1] *= (1 + 0.3 * torch.randn(6, generator=torch.Generator().manual_seed(4)))[wells][
        :, None, None
    ]
    alone = fit_channel(images, other, 1, (0,))
    together = fit_channel(images, other, 1, (0,), groups=(wells, wells))
    assert together.evidence <= alone.evidence
    assert not together.values.keys() - set(ALWAYS)  # six wells do not show that it is the class
