"""The short score of a map: what it compares with, and how it says so."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import napari_why as why
from napari_why import evaluation
from napari_why.attribution import METHODS, Evidence, References, attribution_method
from napari_why.attribution.targets import Contrast
from napari_why.core.errors import MismatchError, ParameterError, UnsupportedNetworkError
from napari_why.core.events import Advanced, Finished
from napari_why.evaluation import METRICS
from napari_why.evaluation.explanation_score import DeletionScore, RandomisationScore
from napari_why.evaluation.explanations import EDGES, INTENSITY, do_nothing_maps


def after(calls: int) -> Callable[[], bool]:
    """Return a ``cancelled`` that says so from a number of calls on."""
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > calls

    return cancelled


def test_the_true_map_of_a_linear_network_is_believed(linear_classifier, noise_image) -> None:
    state = {name: value.clone() for name, value in linear_classifier.network.state_dict().items()}
    attribution = why.attribute(linear_classifier, noise_image, "integrated_gradients", "treated")
    events: list[object] = []
    score = why.score_explanation(
        linear_classifier, noise_image, attribution, on_event=events.append
    )
    assert score.deletion.beaten == 10
    assert score.deletion.side == 2
    assert score.deletion.no_better_than == ()
    assert score.randomisation.similarity < 0.5
    assert score.line == (
        "better than random in 10 of 10; "
        f"{score.randomisation.similarity:.2f} like a random network's map (0: unrelated, chance "
        f"{score.randomisation.chance:.2f}; 1: the same); adds up, off by 0.0%"
    )
    assert [sentence.split(":")[0] for sentence in score.sentences] == [
        "Faithfulness",
        "Randomisation",
        "Completeness",
    ]
    assert score.complete
    assert any(isinstance(event, Advanced) for event in events)
    assert events[-1] == Finished(partial=False)
    for name, value in linear_classifier.network.state_dict().items():
        assert torch.equal(value, state[name])
    again = why.score_explanation(linear_classifier, noise_image, attribution)
    assert again.facts == score.facts
    other = why.score_explanation(linear_classifier, noise_image, attribution, seed=1)
    assert other.deletion.random_drops != score.deletion.random_drops
    record = json.loads(score.record.to_json())
    assert record["details"]["line"] == score.line
    assert record["details"]["attribution"]["method"] == "integrated_gradients"
    assert json.loads(json.dumps(score.facts))["deletion"]["do_nothing_drops"].keys() == {
        INTENSITY,
        EDGES,
    }


def test_the_drops_are_sums_over_squares(linear_classifier, noise_image) -> None:
    attribution = why.attribute(linear_classifier, noise_image, "input_x_gradient", "treated")
    score = why.score_explanation(
        linear_classifier, noise_image, attribution, side=16, random_orders=50
    )
    joint = attribution.joint
    sums = [joint[y : y + 16, x : x + 16].sum() for y in (0, 16) for x in (0, 16)]
    falls = np.cumsum([0, *sorted(sums, reverse=True)])
    expected = np.trapezoid(falls) / 4
    assert score.deletion.drop == pytest.approx(expected, rel=1e-3)
    # 24 orders of four squares: none falls more, and some of 50 are the map's own
    assert max(score.deletion.random_drops) <= score.deletion.drop + 1e-3


def test_a_map_that_is_the_image_is_said_to_be_no_better(linear_classifier, noise_image) -> None:
    true = why.attribute(linear_classifier, noise_image, "input_x_gradient", "treated")
    own = do_nothing_maps(linear_classifier.prepare(noise_image))[INTENSITY].astype(np.float32)
    score = why.score_explanation(linear_classifier, noise_image, replace(true, joint=own))
    assert INTENSITY in score.deletion.no_better_than
    assert "no better than the image's own intensity" in score.line
    assert score.deletion.drop == pytest.approx(score.deletion.do_nothing_drops[INTENSITY])


def test_a_method_that_shows_the_image_is_found_out(linear_classifier, noise_image) -> None:
    @attribution_method(title="The image", source="")
    def image_itself(network, x, target):
        """The image."""
        return Evidence(x[0], x[0].sum(dim=0), "logit per pixel")

    try:
        attribution = why.attribute(linear_classifier, noise_image, "image_itself", "treated")
        score = why.score_explanation(linear_classifier, noise_image, attribution)
    finally:
        METHODS.pop("image_itself")
    assert score.randomisation.similarity == pytest.approx(1)
    assert "shows more of the image than of what the network learnt" in score.line
    assert score.line.endswith("promises no sum")


def test_maps_of_random_networks_that_are_empty_are_told(linear_classifier, noise_image) -> None:
    own = linear_classifier.network

    @attribution_method(title="Of one network", source="")
    def one_network(network, x, target):
        """Nothing but for the network itself."""
        maps = x[0] if network is own else 0 * x[0]
        return Evidence(maps, maps.sum(dim=0), "logit per pixel")

    try:
        attribution = why.attribute(linear_classifier, noise_image, "one_network", "treated")
        score = why.score_explanation(linear_classifier, noise_image, attribution)
    finally:
        METHODS.pop("one_network")
    assert score.randomisation.similarity == 0
    assert score.notes == ("1 of 1 maps of random networks are 0 everywhere",)
    assert score.complete


def test_bright_pixels_alone_are_no_better_than_the_intensity(
    linear_network, linear_classifier, noise_image
) -> None:
    network = linear_network(torch.ones(3, 2, 32, 32))
    classifier = replace(linear_classifier, network=network)
    attribution = why.attribute(classifier, noise_image, "input_x_gradient", "treated")
    score = why.score_explanation(classifier, noise_image, attribution)
    assert score.deletion.beaten == 10
    assert score.deletion.no_better_than == (INTENSITY,)


def test_what_was_done_by_a_cancel_is_kept(linear_classifier, noise_image) -> None:
    attribution = why.attribute(linear_classifier, noise_image, "input_x_gradient", "treated")
    nothing = why.score_explanation(
        linear_classifier, noise_image, attribution, cancelled=lambda: True
    )
    assert nothing.line.startswith("faithfulness not measured; randomisation not measured")
    calls: list[int] = []
    why.score_explanation(
        linear_classifier, noise_image, attribution, cancelled=lambda: bool(calls.append(1))
    )
    half = why.score_explanation(
        linear_classifier, noise_image, attribution, cancelled=after(len(calls) - 1)
    )
    assert half.deletion.beaten == 10
    assert half.randomisation is None
    assert not nothing.complete
    assert not half.complete
    assert "stopped" in half.notes[0]


def test_a_method_without_what_it_needs_is_scored_without(linear_classifier, noise_image) -> None:
    @attribution_method(title="Regions", source="")
    def by_regions(network, x, target, *, regions):
        """Of regions."""
        maps = x[0] * (regions > 0)
        return Evidence(maps, maps.sum(dim=0), "logit per pixel")

    labels = np.zeros((32, 32), dtype=int)
    labels[4:20, 4:20] = 1
    try:
        attribution = why.attribute(
            linear_classifier, noise_image, "by_regions", "treated", regions=labels
        )
        score = why.score_explanation(linear_classifier, noise_image, attribution)
        full = why.score_explanation(linear_classifier, noise_image, attribution, regions=labels)
    finally:
        METHODS.pop("by_regions")
    assert score.deletion is not None
    assert score.randomisation is None
    assert score.complete
    assert score.notes[0].startswith("randomisation not measured: ")
    assert full.randomisation is not None
    assert full.notes == ()


def test_a_contrast_needs_its_target_again(linear_classifier, noise_image) -> None:
    contrast = Contrast("treated", "healthy")
    attribution = why.attribute(linear_classifier, noise_image, "input_x_gradient", contrast)
    with pytest.raises(ParameterError, match="which is no class"):
        why.score_explanation(linear_classifier, noise_image, attribution)
    score = why.score_explanation(linear_classifier, noise_image, attribution, target=contrast)
    assert score.deletion.beaten == 10
    assert score.randomisation.similarity < 0.5
    with pytest.raises(MismatchError, match="target: found 'treated'"):
        why.score_explanation(linear_classifier, noise_image, attribution, target="treated")


def test_maps_of_others_are_refused(linear_network, linear_classifier, noise_image) -> None:
    attribution = why.attribute(linear_classifier, noise_image, "input_x_gradient", "treated")
    other = replace(linear_classifier, network=linear_network(torch.ones(3, 2, 32, 32)))
    with pytest.raises(MismatchError, match="a map of classifier"):
        why.score_explanation(other, noise_image, attribution)
    with pytest.raises(MismatchError, match="a map of \\(16, 16\\) pixels"):
        why.score_explanation(
            linear_classifier, noise_image, replace(attribution, joint=attribution.joint[::2, ::2])
        )
    with pytest.raises(ParameterError, match="removal: found 'zero'"):
        why.score_explanation(linear_classifier, noise_image, attribution, removal="zero")
    with pytest.raises(ParameterError, match="random_networks: found 0"):
        why.score_explanation(linear_classifier, noise_image, attribution, random_networks=0)


def test_scores_speak_in_words() -> None:
    deletion = DeletionScore(2.0, (1.0, 1.4, 2.0, 2.6), {INTENSITY: 1.9, EDGES: 1.0}, 14, "mean")
    assert deletion.beaten == 2.5
    assert deletion.random_drop == 1.75
    assert deletion.spread == pytest.approx(0.606, abs=1e-3)
    # 1.9 is within what random orders differ by; 1.0 is not
    assert (
        deletion.line == "better than random in 2.5 of 4, no better than the image's own intensity"
    )
    assert deletion.sentence == (
        "Faithfulness: better than random in 2.5 of 4, no better than the image's own intensity. With "
        "squares of 14 px replaced by the training mean, most relevant first, the score changes by -2 on "
        "average, in random order by -1.75 ± 0.61 (in the order of the image's own intensity -1.9, an "
        "edge filter -1)."
    )
    unlike = RandomisationScore((0.1, 0.3), 0.05)
    assert unlike.sentence == (
        "Randomisation: 0.20 like a random network's map (0: unrelated, chance 0.05; 1: the same) "
        "(0.10 to 0.30 over 2 draws)."
    )


DOCUMENTATION = Path(__file__).parents[2] / "docs" / "explanation-metrics.md"


def test_every_metric_is_documented_with_its_direction() -> None:
    rows = {
        line.split("|")[1].split("`")[1]: line
        for line in DOCUMENTATION.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    }
    assert set(rows) == set(METRICS)
    for name, metric in METRICS.items():
        assert f" {metric.better} |" in rows[name]
        assert metric.source


def test_the_documented_metric_runs(linear_case) -> None:
    text = DOCUMENTATION.read_text(encoding="utf-8").split("## Adding a metric")[1]
    code = text.split("```python")[1].split("```")[0]
    names = vars(evaluation) | {"np": np, "Any": object}
    try:
        exec(code, names)  # noqa: S102 (the project's own documentation)
        case = linear_case(1, (4, 5))
        joint = torch.zeros(4, 5)
        joint[1, 2] = -3.0
        peak = replace(case, evidence=Evidence(joint[None], joint, "logit"))
        assert METRICS["sparseness"].measure(peak).value == pytest.approx(19 / 20)
        flat = replace(case, evidence=Evidence(joint[None], torch.ones(4, 5), "logit"))
        assert METRICS["sparseness"].measure(flat).value == pytest.approx(0)
    finally:
        METRICS.pop("sparseness", None)


def test_a_wrapped_map_is_compared_with_wrapped_ones(linear_classifier, noise_image) -> None:
    own = linear_classifier.network
    squares = {"wrapper": "pooled", "wrapper_options": {"by": "grid", "side": 8}}

    @attribution_method(title="Like only when pooled", source="")
    def stripes(network, x, target):
        """Columns that add up to what the rows of another network do in squares of 8 pixels."""
        ramp = torch.arange(32.0).div(8, rounding_mode="floor")
        inside = torch.arange(32.0).remainder(8) - 3.5
        plain = 4 * ramp[:, None] + ramp[None, :]
        detail = 100 * (
            inside[:, None] + 0 * inside if network is own else 0 * inside[:, None] + inside
        )
        maps = (plain + detail).expand_as(x[0]).contiguous()
        return Evidence(maps, maps.sum(dim=0), "logit per pixel")

    try:
        plain = why.attribute(linear_classifier, noise_image, "stripes", "treated")
        pooled = why.attribute(linear_classifier, noise_image, "stripes", "treated", **squares)
        apart, alike = (
            why.score_explanation(linear_classifier, noise_image, attribution)
            for attribution in (plain, pooled)
        )
    finally:
        METHODS.pop("stripes")
    assert apart.randomisation.similarity < 0.5
    assert alike.randomisation.similarity == pytest.approx(1, abs=1e-3)


def test_regions_of_a_wrapper_are_asked_for_again(linear_classifier, noise_image) -> None:
    labels = np.zeros((32, 32), dtype=int)
    labels[4:20, 4:20] = 1
    attribution = why.attribute(
        linear_classifier, noise_image, "saliency", "treated",
        wrapper="pooled", wrapper_options={"by": "regions"}, regions=labels,
    )  # fmt: skip
    score = why.score_explanation(linear_classifier, noise_image, attribution)
    assert score.randomisation is None
    assert score.notes[0].startswith("randomisation not measured: regions: found none")
    full = why.score_explanation(linear_classifier, noise_image, attribution, regions=labels)
    assert full.randomisation is not None


def test_the_map_of_a_field_is_refused_in_words(linear_classifier, noise_image) -> None:
    attribution = why.attribute(linear_classifier, noise_image, "saliency", "treated")
    details = {"wrapper": "sliding_window", "wrapper_options": {"mode": "tiles"}}
    record = replace(attribution.record, details={**attribution.record.details, **details})
    with pytest.raises(UnsupportedNetworkError, match="score crops of the field"):
        why.score_explanation(linear_classifier, noise_image, replace(attribution, record=record))


def test_references_are_those_of_the_contrast_again(linear_classifier, noise_image) -> None:
    seen: list[list[int]] = []

    @attribution_method(title="Labels of references", source="")
    def by_references(network, x, target, *, references):
        """Write down how references are labelled."""
        seen.append(references.labels.tolist())
        return Evidence(x[0], x[0].sum(dim=0), "logit per pixel")

    contrast = Contrast("treated", "healthy")
    x = linear_classifier.prepare(noise_image)
    given = References(x.repeat(3, 1, 1, 1), torch.arange(3))
    try:
        attribution = why.attribute(
            linear_classifier, noise_image, "by_references", contrast, references=given
        )
        why.score_explanation(
            linear_classifier, noise_image, attribution, target=contrast, references=given
        )
    finally:
        METHODS.pop("by_references")
    assert len(seen) == 2
    assert seen[0] == seen[1]
    assert -1 in seen[0]
