import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_why.core.errors import ParameterError
from napari_why.simulation import EFFECTS, Camera, EffectScene

DARK = Camera(background=0.0, offset=0.0)
numbers = st.integers(0, 10_000)


@pytest.mark.parametrize("effect", EFFECTS)
@settings(max_examples=5, deadline=None)
@given(number=numbers, size=st.integers(24, 64))
def test_channels_without_an_effect_are_bit_identical(effect: str, number: int, size: int) -> None:
    scene = EffectScene(number, effect, size=size)
    healthy, treated = scene.image("healthy"), scene.image("treated")
    for channel in ("DAPI", "TMRM"):
        same = healthy.sel(c=channel).equals(treated.sel(c=channel))
        assert same == (channel not in EFFECTS[effect].channels)
        assert bool((scene.true_change("healthy", "treated").sel(c=channel) == 0).all()) == same


@pytest.mark.parametrize("effect", ["translocation", "fragmentation"])
@settings(max_examples=10, deadline=None)
@given(number=numbers, strength=st.floats(0, 2))
def test_moved_dye_stays_in_its_cell(effect: str, number: int, strength: float) -> None:
    scene = EffectScene(number, effect, strength=strength, camera=DARK)
    totals = [
        np.bincount(scene.cells.ravel(), scene.noise_free(label).sel(c="TMRM").values.ravel())[1:]
        for label in ("healthy", "treated")
    ]
    np.testing.assert_allclose(totals[1], totals[0], rtol=1e-3)


@pytest.mark.parametrize("effect", EFFECTS)
def test_no_strength_is_no_effect(effect: str) -> None:
    scene = EffectScene(7, effect, strength=0.0)
    assert scene.image("healthy").values.tolist() == scene.image("treated").values.tolist()
    assert not scene.true_change("healthy", "treated").any()
    assert not scene.change_mask("healthy", "treated").any()
    assert scene.responding_cells == ()


@settings(max_examples=10, deadline=None)
@given(number=numbers, strength=st.floats(0, 1), effect=st.sampled_from(list(EFFECTS)))
def test_strength_scales_the_true_change(number: int, strength: float, effect: str) -> None:
    full = EffectScene(number, effect, size=32).true_change("healthy", "treated")
    part = EffectScene(number, effect, size=32, strength=strength)
    np.testing.assert_allclose(
        part.true_change("healthy", "treated"), strength * full, atol=1e-6 * 65535
    )


@settings(max_examples=10, deadline=None)
@given(number=numbers)
def test_only_responding_cells_change_in_a_partial_response(number: int) -> None:
    scene = EffectScene(number, "partial_response")
    count = scene.cells.max()
    assert count == 1 or abs(len(scene.responding_cells) - count / 2) <= 0.5
    change = np.abs(scene.true_change("healthy", "treated").sel(c="TMRM").values)
    whole = np.abs(
        EffectScene(number, "depolarisation").true_change("healthy", "treated").sel(c="TMRM").values
    )
    responding = np.isin(scene.cells, scene.responding_cells)
    per_cell = np.bincount(scene.cells.ravel(), change.ravel())[1:]
    as_a_whole = np.bincount(scene.cells.ravel(), whole.ravel())[1:]
    for cell, (moved, all_moved) in enumerate(zip(per_cell, as_a_whole, strict=True), start=1):
        if cell in scene.responding_cells:
            assert moved > 0.7 * all_moved
        else:
            assert moved < 0.3 * all_moved
    assert change[responding].sum() > 0.8 * change.sum()


def test_half_of_odd_numbers_of_cells_is_half_on_average() -> None:
    shares = [
        len(scene.responding_cells) / scene.cells.max()
        for scene in (EffectScene(number, "partial_response", size=128) for number in range(60))
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.03)


def test_depolarisation_loses_half_of_the_dye() -> None:
    scene = EffectScene(3, size=128, camera=DARK)
    total = [float(scene.noise_free(label).sel(c="TMRM").sum()) for label in scene.classes]
    assert total[1] == pytest.approx(0.5 * total[0], rel=0.02)


def test_translocation_fills_the_nuclei() -> None:
    scene = EffectScene(3, "translocation", size=128)
    inside = scene.anatomy.cells.radius < 1
    change = scene.true_change("healthy", "treated").sel(c="TMRM").values
    assert change[inside].mean() > 0
    assert change[~inside & (scene.cells > 0)].mean() < 0
    assert change[change > 0].sum() == pytest.approx(change[inside].clip(0).sum(), rel=0.25)


def test_fragments_are_fewer_and_brighter() -> None:
    scene = EffectScene(3, "fragmentation", size=256)
    healthy, treated = (scene.dyes(label)[1] for label in scene.classes)
    bright = healthy > healthy.max() / 4
    assert 0.2 < (treated > healthy)[bright].mean() < 0.4
    assert treated.max() > 2 * healthy.max()


def test_the_plate_lights_both_classes_alike() -> None:
    dim, bright = (EffectScene(4, "nuisance", brightness=factor) for factor in (1.0, 1.3))
    np.testing.assert_allclose(
        bright.true_change("healthy", "treated"),
        1.3 * dim.true_change("healthy", "treated"),
        atol=1e-6,
    )
    assert not bright.true_change("healthy", "treated").sel(c="DAPI").any()


def test_density_sets_the_number_of_cells() -> None:
    sparse = [EffectScene(n, density=(1, 1)).cells.max() for n in range(5)]
    dense = [EffectScene(n, density=(5, 6), size=128).cells.max() for n in range(5)]
    assert sparse == [1] * 5
    assert min(dense) >= 16


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        ({"effect": "magic"}, "effect: found 'magic'; expected one of depolarisation"),
        ({"strength": -1.0}, "strength: found -1"),
        ({"strength": float("nan")}, "strength: found nan"),
        ({"density": (6, 2)}, "density"),
        ({"brightness": 0.0}, "brightness: found 0"),
        ({"size": 8}, "size: found 8"),
    ],
)
def test_values_out_of_range_are_refused(wrong: dict[str, object], found: str) -> None:
    with pytest.raises(ParameterError, match=found):
        EffectScene(0, **wrong)
