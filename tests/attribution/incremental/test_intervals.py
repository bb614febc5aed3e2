"""What a change touches, against every output asked one by one."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_why.attribution.incremental.intervals import Reach, Spans, fit_one_size

reaches = st.builds(
    Reach,
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
    padding=st.integers(0, 3),
    dilation=st.integers(1, 3),
)


def seen(reach: Reach, output: int) -> set[int]:
    first = output * reach.stride - reach.padding
    return {first + k * reach.dilation for k in range(reach.kernel)}


def outputs_of(reach: Reach, inputs: int) -> int:
    span = (reach.kernel - 1) * reach.dilation + 1
    return (inputs + 2 * reach.padding - span) // reach.stride + 1


@given(reaches, st.integers(1, 40), st.data())
def test_touched_holds_every_output_that_sees_the_change_and_no_more(reach, inputs, data) -> None:
    outputs = outputs_of(reach, inputs)
    if outputs < 1:
        return
    start = data.draw(st.integers(0, inputs - 1))
    stop = data.draw(st.integers(start + 1, inputs))
    spans = Spans.of([slice(start, stop)]).touched(reach, outputs)
    found = set(range(int(spans.starts[0]), int(spans.stops[0])))
    expected = {o for o in range(outputs) if seen(reach, o) & set(range(start, stop))}
    assert found <= set(range(outputs))
    assert found
    assert expected <= found
    if (
        expected
    ):  # with gaps between what a dilated kernel sees the interval is the tightest there is
        assert (min(found), max(found)) >= (min(expected) - reach.dilation, max(expected))
        if reach.dilation == 1:
            assert found == expected


@given(reaches, st.integers(1, 12), st.integers(1, 40))
def test_extent_is_what_neighbouring_outputs_see_together(reach, outputs, inputs) -> None:
    every = set().union(*(seen(reach, output) for output in range(3, 3 + outputs)))
    assert min(every) == reach.first_input(3)
    assert max(every) - min(every) + 1 == reach.extent(outputs)
    behind = max(seen(reach, outputs - 1)) - (inputs - 1)
    assert reach.overhang(inputs, outputs) == max(0, behind)


@given(st.integers(1, 30), st.data())
def test_intervals_of_one_size_hold_the_given_ones_and_stay_inside(length, data) -> None:
    starts = data.draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=6))
    stops = [data.draw(st.integers(start + 1, length)) for start in starts]
    fitted, sizes = fit_one_size(np.array([starts]), np.array([stops]), np.array([length]))
    assert sizes[0] == max(stop - start for start, stop in zip(starts, stops, strict=True))
    for begin, start, stop in zip(fitted[0], starts, stops, strict=True):
        assert 0 <= begin <= start
        assert stop <= begin + sizes[0] <= length


def test_united_intervals_hold_both() -> None:
    one, two = Spans.of([slice(2, 5), slice(0, 1)]), Spans.of([slice(4, 9), slice(6, 7)])
    both = one.united(two)
    assert both.starts.tolist() == [2, 0]
    assert both.stops.tolist() == [9, 7]
