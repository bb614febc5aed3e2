"""Whole fields: windows that cover them, one pass where it is exact, seams that are measured."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from napari_why.attribution import METHODS, WRAPPERS, Evidence, attribute
from napari_why.attribution.field import FieldClassifier, for_windows, place_windows
from napari_why.attribution.sliding_window import FieldPlan, measure_seams
from napari_why.core.errors import MismatchError, UnsupportedNetworkError
from napari_why.datasets import Preprocessing
from napari_why.images import make_image
from napari_why.model import Classifier

sliding_window = WRAPPERS["sliding_window"].function
CHANNELS = ("nuclei", "mitochondria")


@pytest.fixture
def cropping(case) -> Classifier:
    """A classifier that was trained on crops of 16 pixels."""
    preprocessing = Preprocessing(
        channels=CHANNELS,
        size=16,
        fit="crop",
        intensity="linear",
        mean=(2000.0, 2100.0),
        std=(1100.0, 1200.0),
        cofactor=(1.0, 1.0),
    )
    return Classifier(
        case("preactivation").network, preprocessing, ("diseased", "treated", "healthy")
    )


def make_field(height: int, width: int):
    pixels = np.random.default_rng(0).integers(100, 4000, (2, height, width)).astype(np.uint16)
    return make_image(pixels, ("c", "y", "x"), CHANNELS, source="field.tif")


def random_field(height: int, width: int, channels: int = 2):
    return torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (64, 33)])
@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5])
def test_windows_cover_a_field_and_their_shares_sum_to_one(size, overlap: float) -> None:
    windows = place_windows(size, (16, 16), overlap, step=4)
    total = torch.zeros(size, dtype=torch.float64)
    for window in windows:
        part = window.cut(total)
        assert part.shape == (16, 16)
        part += window.shares
    np.testing.assert_allclose(total, 1, rtol=1e-12)
    starts = sorted({window.left for window in windows})
    assert starts[0] == 0
    assert starts[-1] == size[1] - 16
    assert all(start % 4 == 0 for start in starts[:-1])
    # rounding down to the step takes up to 3 pixels of the overlap
    gaps = [after - before for before, after in pairwise(starts)]
    assert all(gap <= 16 - round(16 * overlap) + 3 for gap in gaps)
    assert all(gap <= 16 for gap in gaps)


def test_blend_is_the_formula_written_out(case, wrap) -> None:
    network, field = case("preactivation").network, random_field(24, 28)
    found = sliding_window(
        wrap(network, field, "input_x_gradient"), mode="tiles", overlap=0.25, window=(16, 16)
    )
    windows = place_windows((24, 28), (16, 16), 0.25, step=2)
    expected, score = np.zeros((2, 24, 28)), 0.0
    for window in windows:
        x = field[..., window.top : window.top + 16, window.left : window.left + 16]
        maps = METHODS["input_x_gradient"].function(network, x, 1).maps.numpy()
        logit = network(x)[0, 1].item()
        for row in range(16):
            for column in range(16):
                share = window.shares[row, column].item() * (16 * 16) / (24 * 28)
                expected[:, window.top + row, window.left + column] += share * maps[:, row, column]
                score += share * logit / (16 * 16)
    np.testing.assert_allclose(found.maps, expected, atol=1e-6 * np.abs(expected).max())
    plan = FieldPlan.of(
        network, METHODS["saliency"], field, (16, 16), {"mode": "tiles", "overlap": 0.25}
    )
    assert plan.logits(network, field)[0, 1].item() == pytest.approx(score, rel=1e-5)


@pytest.mark.parametrize("name", ["saliency", "input_x_gradient", "lrp", "cam"])
@pytest.mark.parametrize("kind", ["preactivation", "bottleneck"])
def test_tiles_equal_one_pass_away_from_their_edges(case, wrap, kind: str, name: str) -> None:
    network, field = case(kind).network, random_field(64, 96)

    def explain(mode: str) -> Evidence:
        return sliding_window(wrap(network, field, name), mode=mode, overlap=0.0, window=(32, 32))

    whole, tiles = explain("whole"), explain("tiles")
    assert (whole.details["field"], tiles.details["field"]) == ("whole", "tiles")
    inside = torch.zeros(64, 96, dtype=torch.bool)
    for top in (0, 32):
        for left in (0, 32, 64):
            # twice the reach of all convolutions: values there depend on no pixel of another tile
            inside[top + 12 : top + 20, left + 12 : left + 20] = True
    scale = whole.joint.abs().max().item()
    np.testing.assert_allclose(tiles.joint[inside], whole.joint[inside], atol=1e-5 * scale)
    assert not torch.allclose(tiles.joint, whole.joint, atol=1e-3 * scale)  # edges are felt
    for found in (whole, tiles):  # windows side by side: their sums are the field's
        assert found.gap is None or found.gap < 1e-3


def test_a_field_of_one_window_is_the_method_itself(case, wrap) -> None:
    network, x = case("preactivation").network, case("preactivation").x
    plain = METHODS["lrp"].function(network, x, 1)
    for mode in ("tiles", "whole"):
        found = sliding_window(wrap(network, x, "lrp"), mode=mode, window=(16, 16))
        np.testing.assert_allclose(found.maps, plain.maps, atol=1e-6)
        assert found.constants == pytest.approx(plain.constants, rel=1e-5)
        assert found.gap < 1e-3


def test_odd_fields_are_padded_by_a_mirror_and_keep_their_sum(case, wrap) -> None:
    network, field = case("preactivation").network, random_field(33, 47)
    found = sliding_window(wrap(network, field, "lrp"), mode="whole", window=(16, 16))
    assert found.maps.shape == (2, 33, 47)
    mirrored = torch.from_numpy(np.pad(field[0], [(0, 0), (0, 1), (0, 1)], mode="symmetric"))
    logit = network(mirrored[None])[0, 1].item()
    assert found.joint.sum().item() + found.constants == pytest.approx(logit, rel=1e-4)


class PlacesCount(torch.nn.Module):
    """A bias for every pixel: no image of another size fits."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = torch.nn.Parameter(torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x + self.bias)


def test_a_network_of_one_size_is_explained_in_tiles(small_network, wrap) -> None:
    network, field = small_network(PlacesCount(), 2), random_field(48, 32)
    found = sliding_window(wrap(network, field, "saliency"), window=(16, 16))
    assert found.details["field"] == "tiles"
    assert "one size only" in found.details["why_not_whole"]
    with pytest.raises(UnsupportedNetworkError, match="one size only; take mode 'tiles'"):
        sliding_window(wrap(network, field, "saliency"), mode="whole", window=(16, 16))


def test_a_head_that_is_not_linear_in_means_is_explained_in_tiles(case, wrap) -> None:
    network, field = case("vae").network, random_field(48, 64)
    found = sliding_window(wrap(network, field, "saliency"), window=(32, 32))
    assert "not linear" in found.details["why_not_whole"]


def test_a_scan_is_cut_into_tiles_by_itself(case, wrap) -> None:
    network, field = case("preactivation").network, random_field(32, 32)
    wrapped = wrap(network, field, "occlusion", window=8, stride=8)
    found = sliding_window(wrapped, window=(16, 16), overlap=0.0)
    assert "occlusion scans" in found.details["why_not_whole"]
    # squares that end at tiles' edges: the loss of the mean is a fourth of that of a tile
    corner = METHODS["occlusion"].function(network, field[..., :16, :16], 1, window=8, stride=8)
    np.testing.assert_allclose(found.joint[:16, :16], corner.joint / 4, rtol=1e-5)


def test_a_planted_seam_is_measured(wrap_function) -> None:
    field = torch.zeros(1, 1, 16, 32)
    field[..., 16:] = 1.0  # the method gives each tile its own level

    def levels(pixels: torch.Tensor) -> Evidence:
        noise = 0.1 * torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
        joint = pixels[0, 0, 8, 8] + noise
        return Evidence(joint[None], joint, "unit")

    joint = torch.cat([levels(field[..., :16]).joint, levels(field[..., 16:]).joint], dim=1)
    windows = place_windows((16, 32), (16, 16), 0.0)
    plan = FieldPlan(tuple(windows), (16, 32), 1)
    tiles = [2 * part for part in joint.split(16, dim=1)]  # of tiles that are half of the field
    measured = measure_seams(joint, tiles, plan)
    step = (joint[:, 16] - joint[:, 15]).double()
    assert measured["largest_seam"] == pytest.approx(
        step.abs().max().item() / joint.double().std().item()
    )
    others = torch.cat(
        [joint.double().diff(dim=0).flatten(), joint[:, :16].double().diff(dim=1).flatten(),
         joint[:, 16:].double().diff(dim=1).flatten()]
    )  # fmt: skip
    assert measured["seam_ratio"] == pytest.approx(
        (step.square().mean() / others.square().mean()).sqrt().item(), rel=1e-5
    )
    assert measured["seam_ratio"] > 3
    assert measured["disagreement"] == pytest.approx(0, abs=1e-6)


def test_fading_makes_the_seams_smaller(case, wrap) -> None:
    network, field = case("preactivation").network, random_field(64, 64)
    ratios = [
        sliding_window(
            wrap(network, field, "hires_cam"), mode="tiles", overlap=overlap, window=(16, 16)
        ).details["seam_ratio"]
        for overlap in (0.0, 0.5)
    ]
    assert ratios[1] < ratios[0]


def test_a_field_from_raw_pixels_to_the_map(cropping) -> None:
    field = make_field(50, 41)
    found = attribute(cropping, field, "integrated_gradients", "treated", wrapper="sliding_window")
    assert found.maps.shape == (2, 50, 41)
    assert (found.grid.shape, found.grid.step, found.grid.offset) == ((50, 41), (1, 1), (0, 0))
    details = found.record.details
    assert (details["wrapper"], details["field"]) == ("sliding_window", "whole")
    assert details["wrapper_options"] == {"mode": "auto", "overlap": 0.5}
    assert found.record.classifier == cropping.fingerprint
    prepared = replace(cropping.preprocessing, size=None, fit="none")(field).numpy()
    even = torch.from_numpy(np.pad(prepared, [(0, 0), (0, 0), (0, 1)], mode="symmetric"))
    assert found.score == pytest.approx(cropping.network(even[None])[0, 1].item(), rel=1e-5)
    assert found.explained == pytest.approx(found.score, rel=1e-4)
    assert found.gap < 1e-3


def test_a_field_is_seen_at_the_scale_of_training(case, image) -> None:
    # trained on 32 x 32 pixels that were resized to 16: a field of 64 x 96 is 2 x 3 windows
    card = {
        "images": {
            "dtypes": ["uint16"], "shapes": [[32, 32]], "pixel_size": None, "unit": "pixel", "means": {},
        }
    }  # fmt: skip
    resizing = Preprocessing(
        CHANNELS, 16, "resize", "linear", (2000.0,) * 2, (1000.0,) * 2, (1.0,) * 2
    )
    classifier = Classifier(
        case("preactivation").network, resizing, ("diseased", "treated", "healthy"), card=card
    )
    field = make_field(64, 96)
    adapted = for_windows(classifier, field)
    assert isinstance(adapted, FieldClassifier)
    assert (adapted.window, adapted.source_window) == ((16, 16), (32, 32))
    assert adapted.fingerprint == classifier.fingerprint
    assert adapted.prepare(field).shape == (1, 2, 32, 48)
    assert adapted.preprocessing.grid(field).step == (2.0, 2.0)
    # far from the cut edges a window of the field is the crop, prepared as in training
    window = classifier.prepare(field.isel(y=slice(32, 64), x=slice(32, 64)))
    np.testing.assert_allclose(
        adapted.prepare(field)[..., 18:30, 18:30], window[..., 2:14, 2:14], atol=1e-4
    )


def test_what_is_unlike_is_said_of_windows(case) -> None:
    card = {
        "images": {
            "dtypes": ["uint16"], "shapes": [[16, 16]], "pixel_size": None, "unit": "pixel",
            "means": {"nuclei": [1900.0, 2200.0], "mitochondria": [1900.0, 2200.0]},
        }
    }  # fmt: skip
    plain = Preprocessing(CHANNELS, 16, "crop", "linear", (2000.0,) * 2, (1000.0,) * 2, (1.0,) * 2)
    classifier = Classifier(
        case("preactivation").network, plain, ("diseased", "treated", "healthy"), card=card
    )
    field = make_field(32, 48)
    field.values[0, :16, :16] = 60000
    notes = for_windows(classifier, field).check(field)
    assert any("nuclei has a mean" in note and "1 of 6 windows" in note for note in notes) or any(
        "nuclei is 60000 everywhere" in note and "1 of 6 windows" in note for note in notes
    )
    assert not any("48 pixels" in note for note in notes)  # its size is no fault of a field


@pytest.mark.parametrize(("height", "width"), [(12, 40), (40, 12)])
def test_an_image_smaller_than_a_window_is_refused(cropping, height: int, width: int) -> None:
    with pytest.raises(MismatchError, match="expected at least the 16 x 16"):
        attribute(cropping, make_field(height, width), "saliency", wrapper="sliding_window")


def test_an_unknown_scale_is_refused(classifier) -> None:
    with pytest.raises(MismatchError, match="several or unknown sizes"):
        attribute(classifier, make_field(40, 40), "saliency", wrapper="sliding_window")


def test_methods_of_regions_are_not_cut(case, wrap) -> None:
    network, field = case("preactivation").network, random_field(32, 32)
    wrapped = wrap(network, field, "saliency")

    def by_region(network, x, target, *, regions) -> Evidence:
        raise AssertionError("must not be run")

    wrapped = replace(wrapped, method=replace(wrapped.method, function=by_region))
    with pytest.raises(UnsupportedNetworkError, match="cannot be put together of windows"):
        sliding_window(wrapped, mode="tiles", window=(16, 16))


def test_cancelled_fields_hold_the_windows_that_were_done(case, wrap) -> None:
    network, field = case("preactivation").network, random_field(32, 32)
    plain, done = wrap(network, field, "lrp"), []

    def explain(pixels, **context) -> Evidence:
        found = plain.explain(pixels, **context)
        done.append(found)
        return found

    found = sliding_window(
        replace(plain, explain=explain),
        mode="tiles",
        overlap=0.0,
        window=(16, 16),
        cancelled=lambda: len(done) >= 1,
    )
    assert found.partial
    assert found.details["field_windows_done"] == 1
    assert found.joint[:16, :16].any()
    assert not found.joint[16:].any()
    part = METHODS["lrp"].function(network, field[..., :16, :16], 1)
    assert found.explained == pytest.approx(part.explained / 4, rel=1e-5)
