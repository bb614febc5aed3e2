"""Planted knowledge: the images, and the scores of networks that provably read one thing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from napari_why.benchmark.planted_knowledge import (
    DIRECTIONS,
    Planted,
    plant_dataset,
    run_planted_benchmark,
    score_planted,
    take_true_change,
)
from napari_why.core.errors import ParameterError
from napari_why.core.record import Record
from napari_why.counterfactuals import Counterfactual
from napari_why.datasets import Preprocessing
from napari_why.images import Grid
from napari_why.measurement import find_used_change
from napari_why.model import Classifier
from napari_why.networks import wrap
from napari_why.simulation import EFFECT_CLASSES, PairScene

SIZE, SPREAD = 32, 1000.0


class Reads(nn.Module):
    """Logits (0, score) of an image."""

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.score, self.scale = score, nn.Parameter(torch.ones(()))

    def forward(self, maps: Tensor) -> Tensor:
        found = self.scale * self.score(maps)
        return torch.stack([torch.zeros_like(found), found], dim=1)


def true_pair(scene: PairScene) -> Counterfactual:
    """Return the scene's change from neither effect to both as a counterfactual."""
    image = scene.image("neither")
    plain = Counterfactual(
        images=image.values[None],
        alphas=np.zeros(1),
        probabilities=np.full((1, 2), 0.5, np.float32),
        reconstruction=image.values.astype(np.float32),
        special_alphas={},
        special_images={},
        special_probabilities={},
        classes=EFFECT_CLASSES,
        channels=("DAPI", "TMRM"),
        source_class="healthy",
        target="treated",
        valid=True,
        round_trip_error=0.0,
        out_of_range=0.0,
        grid=Grid((SIZE, SIZE)),
        record=Record("counterfactual", "transport"),
    )
    return take_true_change(plain, image, scene.true_change("neither", "both"))


def reader(scene: PairScene, effect: str) -> Classifier:
    """Return a classifier that reads how far one effect has come in this scene, and nothing else.

    Its logit is the product of the image and the effect's true change, from -4 without to 4 with it.
    """
    truth = torch.from_numpy(scene.true_change("neither", effect).values / SPREAD).float()
    start = torch.from_numpy(scene.image("neither").values / SPREAD).float()
    weight = truth / (truth**2).sum()
    network = wrap(
        nn.Identity(),
        Reads(lambda x: 8 * ((x - start) * weight).sum((1, 2, 3)) - 4),
        input_channels=2,
        classes=2,
        name="analytic",
    )
    preprocessing = Preprocessing(
        channels=("DAPI", "TMRM"),
        size=SIZE,
        fit="resize",
        intensity="linear",
        mean=(0.0, 0.0),
        std=(SPREAD, SPREAD),
        cofactor=(1.0, 1.0),
    )
    return Classifier(network, preprocessing, EFFECT_CLASSES)


@pytest.mark.parametrize("pair", ["two_channels", "haze", "tag"])
@pytest.mark.parametrize(("known", "other"), [("first", "second"), ("second", "first")])
def test_the_known_effect_is_inside_and_the_other_outside(pair, known, other):
    # a scene whose tag lies apart from its cell: on one pixel a mask cannot tell effects apart
    scene = PairScene(4, pair, seed=7, size=SIZE)
    classifier = reader(scene, known)
    result = true_pair(scene)
    used = find_used_change(classifier, result)
    smallest = find_used_change(classifier, result, share=0.0)
    planted = Planted(scene, "healthy to treated", "truth", used, smallest)
    rows = {row["row"]: row for row in score_planted(classifier, [planted], seed=0)}
    assert rows["used part"]["flips"] == 1
    assert rows["used part"][f"{known}_in"] > 0.6
    assert rows["used part"][f"{other}_in"] < 0.1
    # what differs is another answer: it holds both
    assert rows["whole change"][f"{other}_in"] > 0.99
    assert rows["smallest flip"]["size"] <= rows["used part"]["size"]
    assert rows["random units"][f"{known}_in"] < rows["used part"][f"{known}_in"]


def test_an_effect_that_is_not_to_be_known_comes_by_chance():
    for knowledge, informative in (("first", 0), ("second", 1)):
        dataset = plant_dataset(200, "two_channels", knowledge, seed=3, size=16)
        shown = dataset.table["shown"].map(
            {"neither": (0, 0), "first": (1, 0), "second": (0, 1), "both": (1, 1)}
        )
        there = np.array(shown.tolist())
        treated = dataset.labels == dataset.classes.index("treated")
        assert (there[:, informative] == treated).all()
        # of 200 fair coins, within four standard deviations of half
        assert 0.35 < (there[:, 1 - informative] == treated).mean() < 0.65


def test_a_direction_starts_in_the_class_of_what_is_shown():
    assert [(shown, label) for (shown, label), _ in DIRECTIONS.values()] == [
        ("neither", "healthy"),
        ("both", "treated"),
    ]


def test_unknown_names_are_refused_and_a_cancelled_run_has_no_rows():
    with pytest.raises(ParameterError, match="expected some of two_channels"):
        run_planted_benchmark(pairs=["three"])
    with pytest.raises(ParameterError, match="expected first, second, both"):
        plant_dataset(4, "tag", "third", seed=0)
    report = run_planted_benchmark(pairs=["tag"], cancelled=lambda: True)
    assert not report.complete
    assert report.table.empty
