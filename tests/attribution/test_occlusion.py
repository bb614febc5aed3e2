"""Occlusion equals its definition, computed by a naive loop."""

import numpy as np
import pytest
import torch
from captum.attr import Occlusion

from napari_why.attribution import METHODS
from napari_why.core.errors import ParameterError

occlusion = METHODS["occlusion"].function


def naive(network, x, target, window, stride, filling):
    """Average, over the windows that cover a pixel, of what the logit loses."""
    channels, height, width = x.shape[1:]
    total, count = np.zeros((channels + 1, height, width)), np.zeros((height, width))
    score = network(x)[0, target].item()
    top = 0
    while True:
        left = 0
        while True:
            rows, columns = slice(top, top + window), slice(left, left + window)
            count[rows, columns] += 1
            for variant in range(channels + 1):
                which = slice(None) if variant == channels else variant
                covered = x.clone()
                covered[0, which, rows, columns] = filling(rows, columns)[which]
                loss = score - network(covered)[0, target].item()
                total[variant, rows, columns] += loss
            if left + window >= width:
                break
            left += stride
        if top + window >= height:
            break
        top += stride
    assert count.min() >= 1
    return total / count


@pytest.mark.parametrize(("window", "stride"), [(5, 3), (4, 4), (7, 2), (40, 6)])
def test_equals_the_naive_loop(residual, window: int, stride: int) -> None:
    network, x = residual.network, residual.x[:, :, :15, :14].contiguous()
    x = x[:, :, :14] if "unshuffle" in str(network).lower() else x
    evidence = occlusion(network, x, 1, window=window, stride=stride)
    zeros = torch.zeros(2, 1, 1)
    expected = naive(network, x, 1, window, stride, lambda rows, columns: zeros)
    np.testing.assert_allclose(evidence.maps, expected[:2], atol=2e-6)
    np.testing.assert_allclose(evidence.joint, expected[2], atol=2e-6)


def test_local_background_equals_the_naive_loop(case) -> None:
    network, x = case("bottleneck").network, case("bottleneck").x

    def frame_median(rows, columns):
        inside = torch.zeros(16, 16, dtype=torch.bool)
        around = torch.zeros(16, 16, dtype=torch.bool)
        inside[rows, columns] = True
        around[max(rows.start - 3, 0) : rows.stop + 3, max(columns.start - 3, 0) : columns.stop + 3] = True  # fmt: skip
        return x[0][:, around & ~inside].median(dim=1).values[:, None, None]

    evidence = occlusion(network, x, 0, window=6, stride=5, baseline="local_background")
    expected = naive(network, x, 0, 6, 5, frame_median)
    np.testing.assert_allclose(evidence.maps, expected[:2], atol=2e-6)


def test_equals_captum_on_the_same_windows(shipped) -> None:
    network, x = shipped.network, shipped.x
    ours = occlusion(network, x, 2, window=24, stride=20)
    theirs = Occlusion(network).attribute(x, (2, 24, 24), strides=(2, 20, 20), target=2)
    torch.testing.assert_close(ours.joint, theirs[0, 0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("batch", [1, 2, 7, 1000])
def test_batch_size_does_not_matter(case, batch: int) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    one = occlusion(network, x, 1, window=6, stride=5)
    other = occlusion(network, x, 1, window=6, stride=5, batch=batch)
    torch.testing.assert_close(one.maps, other.maps, atol=1e-6, rtol=0)


def test_windows_that_look_like_the_baseline_give_exactly_zero_and_cost_nothing(case) -> None:
    network, x = case("bottleneck").network, case("bottleneck").x.clone()
    x[:, :, :, 8:] = 0  # the training mean
    images = []
    handle = network.encoder.register_forward_pre_hook(
        lambda _, given: images.append(len(given[0]))
    )
    evidence = occlusion(network, x, 1, window=4, stride=4)
    handle.remove()
    assert not evidence.maps[:, :, 8:].any()
    assert evidence.maps[:, :, :8].all()
    assert sum(images) == 1 + 16 // 2 * 3  # the image, and half of the windows in 3 variants


def test_one_channel_costs_one_scan(case) -> None:
    network, x = case("preactivation", channels=1).network, case("preactivation", channels=1).x
    evidence = occlusion(network, x, 1, window=4, stride=4)
    assert evidence.details["steps"] == 16
    assert torch.equal(evidence.maps[0], evidence.joint)


def test_cancelled_map_equals_the_whole_map_where_all_windows_were_done(case) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    whole = occlusion(network, x, 1, window=4, stride=4, batch=3)
    events: list[object] = []
    part = occlusion(
        network, x, 1, window=4, stride=4, batch=3,
        on_event=events.append, cancelled=lambda: len(events) > 8,
    )  # fmt: skip
    assert part.partial
    assert part.details["steps_done"] == 24
    torch.testing.assert_close(part.maps[:, :8], whole.maps[:, :8])
    torch.testing.assert_close(part.joint[:8], whole.joint[:8])
    assert not part.joint[8:].any()


def test_gaps_between_windows_are_refused(case) -> None:
    with pytest.raises(ParameterError, match="every pixel is covered"):
        occlusion(case("bottleneck").network, case("bottleneck").x, 0, window=4, stride=5)


def test_zero_needs_the_raw_zero(case) -> None:
    with pytest.raises(ParameterError, match="raw intensity 0"):
        occlusion(case("bottleneck").network, case("bottleneck").x, 0, baseline="zero")
