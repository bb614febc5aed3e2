"""The search for the coefficients of a change in few numbers: exact where it can be, and fast elsewhere."""

from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from threaded_cells import blurred, cells, dimmed, target_of
from torch import Tensor

from napari_why.transport import parametric_map
from napari_why.transport.channel_change import ALWAYS, TERMS, Prepared
from napari_why.transport.channel_statistics import ChannelFrame
from napari_why.transport.moment_fit import (
    SLOPE_IMAGES,
    MomentFit,
    covariance_of_mean,
    least_values,
    prior_precision,
    start_near,
)
from napari_why.transport.parametric_map import ParametricMap, fit_channel
from napari_why.transport.pixel_maps import smooth

GAIN = (*ALWAYS, "gain")


class StraightFit(MomentFit):
    """Its statistics are straight in the coefficients, so that the answer is known in closed form."""

    def _describe(
        self,
        prepared: Prepared,
        values: Tensor,
        names: Sequence[str],
        noise: tuple[Tensor, Tensor],
    ) -> Tensor:
        images = noise[0].flatten(1)[:, : self.statistics_count].double()
        return images + self.columns(len(values)) @ values

    def columns(self, count: int) -> Tensor:
        """Return the slopes (S, K): of one coefficient the same, whatever others there are."""
        steps = torch.arange(1, self.statistics_count + 1, dtype=torch.float64)
        return torch.stack([torch.sin(steps * (place + 1)) for place in range(count)], 1)


def fit_of(source: Tensor, target: Tensor, kind: type[MomentFit] = MomentFit) -> MomentFit:
    frame = ChannelFrame.of(torch.cat([source, target]), 1, (0,))
    return kind(frame, source, target)


@pytest.fixture(scope="module")
def source() -> Tensor:
    return cells(30, 0)


def closed_form(fit: StraightFit, weight: Tensor, names: Sequence[str]) -> Tensor:
    """Return the coefficients of least squares with the prior, none below its bound."""
    slopes, least = fit.columns(len(least_values(names))), least_values(names)
    hessian = slopes.T @ weight @ slopes + prior_precision(names)
    left = fit.moments(torch.zeros_like(least), names).mean(0) - fit._goal
    gradient = slopes.T @ weight @ left
    exact = torch.linalg.solve(hessian, -gradient)
    free = exact > least
    exact = torch.where(free, exact, least)
    rest = gradient[free] + hessian[free][:, ~free] @ exact[~free]
    exact[free] = torch.linalg.solve(hessian[free][:, free], -rest)
    return exact


def test_where_statistics_are_straight_the_search_ends_in_the_closed_form(source: Tensor) -> None:
    fit = fit_of(source, cells(30, 1), StraightFit)
    weight = torch.eye(fit.statistics_count, dtype=torch.float64)
    found = fit.solve(GAIN, weight=weight)
    torch.testing.assert_close(found.values, closed_form(fit, weight, GAIN), atol=0.02, rtol=0)


def test_where_statistics_are_straight_one_step_foresees_the_answer(source: Tensor) -> None:
    fit = fit_of(source, cells(30, 1), StraightFit)
    known = fit.solve(ALWAYS)
    foreseen = fit.foresee(known, "gain")
    exact = closed_form(fit, known.weight, GAIN)
    torch.testing.assert_close(foreseen.values, exact, atol=1e-4, rtol=0)
    kept = fit.solve(GAIN, foreseen.values, weight=known.weight)
    assert kept.evidence == pytest.approx(foreseen.evidence, abs=1e-3)


@pytest.mark.parametrize(("change", "name"), [(dimmed, "gain"), (blurred, "blur")])
def test_the_term_that_happened_is_foreseen_first_or_nearly(source: Tensor, change, name) -> None:
    fit = fit_of(source, target_of(change))
    known = fit.solve(ALWAYS)
    optional = [other for other in TERMS if other not in ALWAYS]
    foreseen = sorted(
        (fit.foresee(known, other) for other in optional), key=lambda item: -item.evidence
    )
    first = [item.names[-1] for item in foreseen[: parametric_map.FITTED]]
    assert name in first
    solved = fit.solve((*ALWAYS, name), weight=known.weight)
    assert solved.evidence > known.evidence + 3


@pytest.mark.parametrize("change", [dimmed, blurred])
def test_fitting_the_likeliest_terms_alone_changes_nothing(source: Tensor, change) -> None:
    """As all terms fitted to the end would do."""
    fast = fit_channel(source, target_of(change), 1, (0,))
    slow = fit_channel(source, target_of(change), 1, (0,), fitted=len(TERMS))
    assert fast.terms == slow.terms
    for name in fast.terms:
        torch.testing.assert_close(fast.values[name], slow.values[name], atol=1e-4, rtol=0)


def test_slopes_of_a_part_of_the_images_lead_to_the_same_change() -> None:
    """Within what the images leave open: a tenth of a standard deviation."""
    first, second = cells(60, 3), dimmed(cells(60, 4))
    frame = ChannelFrame.of(torch.cat([first, second]), 1, (0,))
    fast, slow = (
        MomentFit(frame, first, second, slope_images=count).solve(GAIN) for count in (24, 60)
    )
    assert len(first) < SLOPE_IMAGES  # what is asked for here is less than a fit takes
    deviation = MomentFit(frame, first, second).covariance(slow).diagonal().sqrt()
    assert abs(float(fast.values[-1] - slow.values[-1])) < 0.1 * float(deviation[-1])


def test_noise_and_widths_are_never_less_than_none(source: Tensor) -> None:
    sharper = target_of(lambda images: images + 0.5 * (images - smooth(images, 1.0)))
    fit = fit_of(source, sharper)
    names = (*ALWAYS, "blur")
    foreseen = fit.foresee(fit.solve(ALWAYS), "blur")
    for found in (foreseen, fit.solve(names, start_near(foreseen))):
        assert (found.values >= least_values(names)).all()


def test_of_independent_images_it_is_the_covariance_of_a_mean() -> None:
    found = torch.randn(
        50, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    ) @ torch.randn(6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    expected = torch.cov(found.T) / 50
    torch.testing.assert_close(covariance_of_mean(found, torch.arange(50)), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(3, 9), st.integers(2, 6))
def test_the_same_images_twice_tell_no_more_and_order_tells_nothing(
    seed: int, wells: int, each: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    member = torch.arange(wells * each) % wells
    found = torch.randn(len(member), 5, generator=generator, dtype=torch.float64)
    # wells differ by more than their images do
    found += 3 * torch.randn(wells, 5, generator=generator, dtype=torch.float64)[member]
    once = covariance_of_mean(found, member)
    twice = covariance_of_mean(found.repeat(2, 1), member.repeat(2))
    # where wells do differ by more; else as much is known as of so many independent images
    unlike = once.diagonal() > torch.cov(found.T).diagonal() / len(found) * (1 + 1e-9)
    torch.testing.assert_close(twice.diagonal()[unlike], once.diagonal()[unlike])
    order = torch.randperm(len(member), generator=generator)
    torch.testing.assert_close(covariance_of_mean(found[order], member[order]), once)
    # a valid covariance, of full rank however few the wells are
    assert float(torch.linalg.eigvalsh(once).min()) > 0
    assert (once.diagonal() >= torch.cov(found.T).diagonal() / len(found) - 1e-12).all()


def test_the_choice_of_terms_hangs_neither_on_order_nor_on_repeated_images() -> None:
    wells = torch.arange(40) % 8
    first, second = cells(40, 0), blurred(cells(40, 1))
    found = fit_channel(first, second, 1, (0,), groups=(wells, wells))
    assert found.terms
    order = torch.randperm(40, generator=torch.Generator().manual_seed(0))
    for taken in (order, torch.cat([torch.arange(40), order])):
        again = fit_channel(
            first[taken], second[taken], 1, (0,), groups=(wells[taken], wells[taken])
        )
        assert again.terms == found.terms


def unlike_wells(count: int, each: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return images and wells that differ in brightness and sharpness among themselves."""
    generator = torch.Generator().manual_seed(seed)
    images, wells = cells(count * each, seed + 100), torch.arange(count * each) // each
    brighter = torch.exp(0.25 * torch.randn(count, generator=generator))[wells, None, None]
    blunt = 0.7 * torch.rand(count, generator=generator)[wells, None, None]
    threads = images[:, 1]
    images[:, 1] = brighter * ((1 - blunt) * threads + blunt * smooth(threads, 1.0))
    return images, wells


@pytest.mark.parametrize("seed", range(6))
def test_where_classes_are_wells_by_lot_nothing_is_changed(seed: int) -> None:
    images, wells = unlike_wells(12, 6, seed)
    drawn = torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:6]
    first = torch.isin(wells, drawn)
    found = fit_channel(
        images[first], images[~first], 1, (0,), groups=(wells[first], wells[~first])
    )
    assert found.terms == ()
    assert torch.equal(found(images), found.prepare(images).above + found.background)


def test_the_same_wells_taken_for_independent_images_show_what_is_not_there() -> None:
    """So the test above can fail: it is the wells that keep chance from being called an effect."""
    called = []
    for seed in range(6):
        images, wells = unlike_wells(12, 6, seed)
        drawn = torch.randperm(12, generator=torch.Generator().manual_seed(seed))[:6]
        first = torch.isin(wells, drawn)
        called.append(fit_channel(images[first], images[~first], 1, (0,)).terms)
    assert any(called)


def test_images_of_a_single_well_are_no_evidence(source: Tensor) -> None:
    target = dimmed(cells(30, 1))
    of_each, of_one = torch.arange(30) // 3, torch.zeros(30, dtype=torch.int64)
    several = ParametricMap.fit(source, target, (0,), groups=(of_each, of_each))
    single = ParametricMap.fit(source, target, (0,), groups=(of_each, of_one))
    assert several is not None
    assert single is not None
    assert several.evidence > 0
    assert single.terms
    assert single.evidence == 0
    assert (several.chance_known, single.chance_known) == (True, False)
