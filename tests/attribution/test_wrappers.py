"""What holds for every wrapper, and how they are offered: console, records, layers, shell."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from napari_why.attribution import METHODS, WRAPPERS, Evidence, attribute
from napari_why.attribution.wrapper import Part, PartsProgress, split_options, sum_parts
from napari_why.core import events
from napari_why.core.errors import ParameterError
from napari_why.datasets import Preprocessing
from napari_why.images import make_image
from napari_why.model import Classifier

# quick ones; the field is of 2 x 2 windows
OPTIONS = {
    "shift_averaged": {"reach": 1},
    "sliding_window": {"mode": "tiles", "overlap": 0.0},
    "pooled": {"by": "grid", "side": 4},
    "graph_cut": {"smallest": 1},
}


@pytest.fixture
def cropping(case) -> Classifier:
    """A classifier of crops of half the image."""
    preprocessing = Preprocessing(
        ("nuclei", "mitochondria"), 8, "crop", "linear", (2000.0,) * 2, (1100.0,) * 2, (1.0,) * 2
    )
    return Classifier(
        case("preactivation").network, preprocessing, ("diseased", "treated", "healthy")
    )


def test_the_wrappers_are_those_that_are_known_by_these_names() -> None:
    assert set(WRAPPERS) >= {"shift_averaged", "sliding_window", "pooled", "graph_cut"}
    for name, wrapper in WRAPPERS.items():
        assert wrapper.name == wrapper.function.__name__ == name
        assert wrapper.title
        assert any(character.isdigit() for character in wrapper.source)
        assert wrapper.summary.endswith(".")
        for parameter in wrapper.parameters:
            assert parameter.help
            assert parameter.validate(parameter.default) == parameter.default


@pytest.mark.parametrize("wrapper", sorted(OPTIONS))
@pytest.mark.parametrize("method", ["saliency", "lrp", "occlusion"])
def test_a_wrapped_map_has_the_form_of_the_method_and_says_what_made_it(
    cropping, image, wrapper: str, method: str
) -> None:
    options = OPTIONS[wrapper]
    values = {"window": 4, "stride": 4} if method == "occlusion" else {}
    told: list[events.Event] = []
    found = attribute(
        cropping, image, method, "treated",
        wrapper=wrapper, wrapper_options=options, on_event=told.append, **values,
    )  # fmt: skip
    side = 16 if wrapper == "sliding_window" else 8
    assert found.maps.shape == (2, side, side)
    assert np.isfinite(found.maps).all()
    assert found.grid.shape == (side, side)
    details = found.record.to_dict()["details"]
    assert details["wrapper"] == wrapper
    assert details["wrapper_options"] | options == details["wrapper_options"]
    assert set(details["wrapper_options"]) == {item.name for item in WRAPPERS[wrapper].parameters}
    assert found.record.parameters | values == found.record.parameters
    assert (found.gap is None) == (METHODS[method].name != "lrp")
    # one piece of work, whose steps rise to the end that was announced
    started = [event for event in told if isinstance(event, events.Started)]
    done = [event.done for event in told if isinstance(event, events.Advanced)]
    assert len(started) == 1
    assert done == sorted(done)
    assert done[-1] == started[0].total
    assert sum(isinstance(event, events.Finished) for event in told) == 1


@pytest.mark.parametrize("size", [16, 15])  # 15: one pass over a field that has to be padded
@pytest.mark.parametrize("wrapper", sorted(OPTIONS))
def test_layers_are_wrapped_as_the_map_that_they_make_up(cropping, wrapper: str, size: int) -> None:
    pixels = np.random.default_rng(0).integers(100, 4000, (2, size, size)).astype(np.uint16)
    raw = make_image(pixels, ("c", "y", "x"), ("nuclei", "mitochondria"))
    options = {"mode": "whole"} if (wrapper, size) == ("sliding_window", 15) else OPTIONS[wrapper]
    found = attribute(
        cropping, raw, "full_grad", "treated", wrapper=wrapper, wrapper_options=options
    )
    assert set(found.layers) == {"input x gradient", "biases", "activations"}
    scale = np.abs(found.joint).max()
    np.testing.assert_allclose(
        np.sum(list(found.layers.values()), axis=0), found.joint, atol=1e-5 * scale
    )


def test_details_of_a_mean_are_those_of_all_runs() -> None:
    def part(weight: float, **details: object) -> Part:
        maps = torch.ones(1, 2, 2)
        return Part(
            Evidence(maps, maps[0], "logit", details=details),
            weight,
            lambda total, values: total.add_(weight * values),
        )

    mean = sum_parts(
        [
            part(0.75, layer="last", done=4, root=True, by_size=[{"size_px": 1, "signed": 2.0}]),
            part(0.25, layer="last", done=4, root=False, by_size=[{"size_px": 1, "signed": 6.0}]),
        ],
        (2, 2),
        "shifted images",
    )
    # a root that one run found is none of the mean
    assert mean.details == {
        "layer": "last", "done": 4, "by_size": [{"size_px": 1, "signed": 3.0}]
    }  # fmt: skip


@pytest.mark.parametrize(("expected", "gap"), [(0.0, 0.1), (1.0, 1.0)])
def test_a_gap_is_no_share_of_what_rounding_leaves(expected: float, gap: float) -> None:
    # magnitudes of 200 that sum to 0.02, which 0 is next to and 1 is not
    values = torch.tensor([[100.02, -100.0]])
    found = Evidence(
        values[None], values, "logit", gap=0.0, explained=expected + 5.0, constants=5.0
    )
    one = sum_parts([Part(found, 1.0, lambda total, part: total.add_(part))], (1, 2), "windows")
    assert one.gap == pytest.approx(gap, abs=0.03)


@pytest.mark.parametrize("wrapper", ["shift_averaged", "sliding_window"])
def test_work_that_is_cancelled_at_once_gives_what_there_is(cropping, image, wrapper: str) -> None:
    found = attribute(
        cropping, image, "integrated_gradients", "treated", steps=4,
        wrapper=wrapper, wrapper_options=OPTIONS[wrapper], cancelled=lambda: True,
    )  # fmt: skip
    assert not found.complete
    assert np.isfinite(found.maps).all()
    assert "incomplete" in found.notes[0]


def test_nothing_changes_without_a_wrapper(classifier, image) -> None:
    plain = attribute(classifier, image, "lrp", "treated")
    assert "wrapper" not in plain.record.details
    assert plain.labels is None
    assert set(plain.pictures()) == {"maps", "joint"}


def test_unknown_wrappers_and_options_are_refused(classifier, image) -> None:
    with pytest.raises(ParameterError, match="wrapper: found 'magic'; expected one of"):
        attribute(classifier, image, "saliency", wrapper="magic")
    with pytest.raises(ParameterError, match="shift_averaged: found parameter side"):
        attribute(
            classifier, image, "saliency", wrapper="shift_averaged", wrapper_options={"side": 3}
        )
    with pytest.raises(ParameterError, match="found parameter reach"):
        attribute(classifier, image, "saliency", wrapper_options={"reach": 3})


def sampled(pixels: torch.Tensor, seed: int) -> Evidence:
    """A method that samples: its map is the image with noise."""
    noise = torch.randn(pixels.shape[-2:], generator=torch.Generator().manual_seed(seed))
    joint = pixels[0, 0] + noise
    return Evidence(joint[None], joint, "unit", standard_error=noise.abs())


@pytest.mark.parametrize("wrapper", ["shift_averaged", "pooled", "graph_cut"])
def test_every_run_keeps_the_seed(wrap_function, wrapper: str) -> None:
    x = torch.randn(1, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    wrapped = wrap_function(x, lambda pixels: sampled(pixels, 5))
    state = torch.random.get_rng_state()
    one, other = (WRAPPERS[wrapper].function(wrapped, **OPTIONS[wrapper]) for _ in range(2))
    assert torch.equal(one.joint, other.joint)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert one.standard_error is not None
    assert (one.standard_error >= 0).all()


def test_the_bound_of_the_error_is_no_smaller_than_the_error(wrap_function) -> None:
    # 100 seeds: the spread of the mean over shifts, beside what each of the maps says of itself
    x = torch.zeros(1, 1, 6, 6)
    function = WRAPPERS["shift_averaged"].function
    maps, bounds = [], []
    for seed in range(100):

        def explain(pixels: torch.Tensor, seed: int = seed) -> Evidence:
            found = sampled(pixels, seed)
            return replace(found, standard_error=torch.ones(pixels.shape[-2:]))

        found = function(wrap_function(x, explain), reach=1)
        maps.append(found.joint)
        bounds.append(found.standard_error)
    spread = torch.stack(maps).std(dim=0)
    assert (spread < torch.stack(bounds).mean(dim=0) * 1.2).all()  # 100 draws: 7 % of uncertainty


def test_regions_that_were_found_become_a_labels_layer(classifier, image) -> None:
    found = attribute(
        classifier, image, "lrp", "treated", wrapper="pooled", wrapper_options=OPTIONS["pooled"]
    )
    picture = found.pictures()["labels"]
    assert picture.kind == "labels"
    assert picture.compute().shape == (1, 16, 16)
    assert set(np.unique(picture.compute())) == set(range(1, 17))
    assert not picture.in_file
    napari_layers = pytest.importorskip("napari.layers")
    from napari_why.images import channel_names
    from napari_why.output.layers import to_layers

    raw = [
        napari_layers.Image(image.values[index], name=name)
        for index, name in enumerate(channel_names(image))
    ]
    layers = to_layers(found, raw)
    assert sum(isinstance(layer, napari_layers.Labels) for layer in layers) == 1


def test_options_go_to_whom_they_belong_to() -> None:
    method, wrapper = METHODS["occlusion"], WRAPPERS["pooled"]
    of_method, of_wrapper = split_options(method, wrapper, {"stride": 2, "side": 4, "magic": 1})
    assert of_method == {"stride": 2, "magic": 1}  # what is of none is refused by the method
    assert of_wrapper == {"side": 4}
    assert split_options(method, None, {"side": 4}) == ({"side": 4}, {})


def test_runs_of_unlike_lengths_are_one_progress() -> None:
    told: list[events.Event] = []
    progress = PartsProgress("work", 2, told.append)
    first = progress.of(0)
    for event in (
        events.Started("run", 4),
        events.Advanced(1),
        events.Advanced(4),
        events.Finished(),
    ):
        first(event)
    second = progress.of(1)
    for event in (
        events.Started("run", 2),
        events.Message("said"),
        events.Advanced(1),
        events.Advanced(2),
    ):
        second(event)
    assert told == [
        events.Started("work", 8),
        events.Advanced(1),
        events.Advanced(4),
        events.Message("said"),
        events.Advanced(6),
        events.Advanced(8),
    ]
