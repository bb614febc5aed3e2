"""Occlusion by patches gives the maps of whole passes and of captum, and says how it was computed."""

from typing import get_args

import pytest
import torch
from captum.attr import Occlusion
from torch import nn

from napari_why.attribution import METHODS, attribute, explaining
from napari_why.attribution.incremental import scores
from napari_why.attribution.incremental.passes import MOST
from napari_why.attribution.occlusion import WindowBaseline
from napari_why.core import events
from napari_why.networks import wrap
from napari_why.output.images import result_image

occlusion = METHODS["occlusion"].function
pytestmark = pytest.mark.usefixtures("by_patches")


def logit_scale(network, x) -> float:
    with torch.no_grad():
        return 1 + float(network(x).abs().max())


@pytest.mark.parametrize("kind", ["cam_net", "iresnet", "iresnet, linear head", "resnext50"])
def test_equals_whole_passes_and_captum(trained, kind: str) -> None:
    network, x = trained(kind)
    window, stride = {"resnext50": (16, 15)}.get(kind, (9, 8))  # the last of a row is cut off
    with explaining(network, x):
        ours = occlusion(network, x, 1, window=window, stride=stride)
        whole = occlusion(network, x, 1, window=window, stride=stride, by_patches=False)
    theirs = Occlusion(network).attribute(
        x, (2, window, window), strides=(2, stride, stride), target=1
    )
    atol = 2e-6 * logit_scale(network, x)
    assert "only what a change touches" in ours.details["computed"]
    assert "every image is run in full: it was asked for" in whole.details["computed"]
    torch.testing.assert_close(ours.maps, whole.maps, atol=atol, rtol=0)
    torch.testing.assert_close(ours.joint, whole.joint, atol=atol, rtol=0)
    torch.testing.assert_close(ours.joint, theirs[0, 0], atol=atol, rtol=0)
    assert float(ours.maps.abs().max()) > 50 * atol


@pytest.mark.parametrize("baseline", get_args(WindowBaseline))
def test_every_baseline(trained, baseline: str) -> None:
    network, x = trained("iresnet")
    options = {"window": 7, "stride": 6, "baseline": baseline, "raw_zero": torch.full_like(x, -1.5)}
    ours = occlusion(network, x, 0, **options)
    whole = occlusion(network, x, 0, **options, by_patches=False)
    assert ours.details["computed"] != whole.details["computed"]
    torch.testing.assert_close(ours.maps, whole.maps, atol=2e-6, rtol=0)
    torch.testing.assert_close(ours.joint, whole.joint, atol=2e-6, rtol=0)


def test_windows_that_look_like_the_baseline_are_exactly_zero(trained) -> None:
    network, x = trained("cam_net")
    x = x.clone()
    x[:, :, :, 32:] = 0  # the training mean
    evidence = occlusion(network, x, 1, window=4, stride=4)
    assert not evidence.maps[:, :, 32:].any()
    assert evidence.maps[:, :, :32].all()


@pytest.mark.parametrize("batch", [1, 5])
def test_batch_size_does_not_matter(trained, batch: int) -> None:
    network, x = trained("iresnet")
    one = occlusion(network, x, 1, window=7, stride=6)
    other = occlusion(network, x, 1, window=7, stride=6, batch=batch)
    torch.testing.assert_close(one.maps, other.maps, atol=2e-6, rtol=0)


def test_all_channels_alone(trained) -> None:
    network, x = trained("cam_net")
    both = occlusion(network, x, 1, window=9, stride=8)
    alone = occlusion(network, x, 1, window=9, stride=8, each_channel=False)
    assert alone.maps.shape == (0, *x.shape[-2:])
    assert alone.details["steps"] * 3 == both.details["steps"]
    torch.testing.assert_close(alone.joint, both.joint, atol=2e-6, rtol=0)


def test_progress_and_cancelled_maps(trained) -> None:
    network, x = trained("cam_net")
    heard: list[events.Event] = []
    part = occlusion(
        network, x, 1, window=8, stride=8, batch=3,
        on_event=heard.append, cancelled=lambda: len(heard) > 9,
    )  # fmt: skip
    whole = occlusion(network, x, 1, window=8, stride=8)
    begun, *advanced = heard
    assert begun == events.Started("occlusion", 3 * 6 * 8)
    done = [one.done for one in advanced]
    assert done == list(range(3, 28, 3))
    assert part.partial
    assert part.details["steps_done"] == 27
    # four batches are put in order together: the first 24 are those of the first row of windows
    torch.testing.assert_close(part.joint[:8], whole.joint[:8], atol=2e-6, rtol=0)
    assert not part.joint[16:].any()


def test_networks_that_cannot_be_followed_are_run_in_full_and_that_is_said() -> None:
    class Writing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = x * 2
            x[:, :, :2] = 0
            return x

    torch.manual_seed(0)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    encoder = nn.Sequential(Writing(), nn.Conv2d(2, 4, 3), nn.ReLU())
    network = wrap(encoder, head, input_channels=2, classes=2)
    network.eval().requires_grad_(False)
    x = torch.randn(1, 2, 16, 16)
    evidence = occlusion(network, x, 1, window=4, stride=4)
    assert "every image is run in full: setitem" in evidence.details["computed"]
    assert evidence.joint.all()


def test_long_work_is_foretold(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = trained("cam_net")
    heard: list[events.Event] = []
    occlusion(network, x, 1, window=9, stride=8, on_event=heard.append)
    assert not any(isinstance(event, events.Message) for event in heard)
    monkeypatch.setattr(scores, "MINUTE", 0)
    heard.clear()
    occlusion(network, x, 1, window=9, stride=8, on_event=heard.append)
    message = heard[0]
    assert isinstance(message, events.Message)
    assert "for 144 changed images" in message.text
    assert "only what a change touches" in message.text


def test_a_result_of_all_channels_alone_has_one_picture(classifier, image) -> None:
    found = attribute(classifier, image, window=4, stride=4, each_channel=False)
    assert found.channels == ()
    assert list(found.pictures()) == ["joint"]
    assert result_image(found).sizes["c"] == 1


def test_regions_are_covered_by_patches_too(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = trained("cam_net")
    regions = torch.zeros(x.shape[-2:], dtype=torch.int64)
    regions[3:9, 5:14] = 4
    regions[20:31, 40:47] = 2
    regions[22:25, 43:64] = 7  # reaches into the box of the one before, and to the border
    regions[40, 0] = 9
    cover = METHODS["region_occlusion"].function
    ours = cover(network, x, 1, regions=regions, baseline="local_background")
    monkeypatch.setattr(scores, "FEWEST_CHANGES", 10_000)
    whole = cover(network, x, 1, regions=regions, baseline="local_background")
    assert "only what a change touches" in ours.details["computed"]
    assert "every image is run in full" in whole.details["computed"]
    torch.testing.assert_close(ours.maps, whole.maps, atol=2e-6, rtol=0)
    torch.testing.assert_close(ours.joint, whole.joint, atol=2e-6, rtol=0)
    assert [item.label for item in ours.regions] == [2, 4, 7, 9]


def test_regions_can_be_stopped_between_two_batches(trained) -> None:
    """Four batches are put in order together; a stop comes through after any of them."""
    network, x = trained("cam_net")
    rows, columns = torch.meshgrid(*map(torch.arange, x.shape[-2:]), indexing="ij")
    regions = 1 + rows // 4 * 16 + columns // 4  # 192 regions, 576 images
    cover = METHODS["region_occlusion"].function
    whole = cover(network, x, 1, regions=regions)
    told: list[events.Event] = []

    def steps() -> list[int]:
        return [event.done for event in told if isinstance(event, events.Advanced)]

    part = cover(
        network, x, 1, regions=regions, on_event=told.append, cancelled=lambda: bool(steps())
    )
    (done,) = steps()
    assert done <= MOST
    assert part.partial
    known = {item.label: item.value for item in part.regions}
    expected = {item.label: item.value for item in whole.regions}
    # whole regions from the first on, none of which is wanting in between
    assert list(known) == list(expected)[: len(known)]
    assert 3 * len(known) <= done
    assert known == pytest.approx({label: expected[label] for label in known}, abs=1e-6)
    later = regions > max(known, default=0)
    assert not part.joint[later].any()
    assert part.joint[~later].any() == bool(known)
