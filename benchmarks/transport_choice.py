"""Compare the choice of a transport with and without the second network, by judges outside both.

    python benchmarks/transport_choice.py --out truth [--scenes test] [--effects A,B] [--seeds 3]

Until version 0.1.0 the second network had a say in how classes are transported: mass and enlargement
were chosen until it agreed on nine of ten validation images. Now it has none, and nothing is enlarged. For each effect, seed and
direction both rules choose on the same validation images for the same classifier, and what they choose is
made of the scored scenes by the product's own engine. Judges that chose nothing: a convolutional network of
another seed (the reference classifier), one of another family (cam_net), and the true change. The
classifiers are those of ``napari-why benchmark truth --out truth``; those that are missing are trained.

Writes transport_choice.csv and prints it as a table in Markdown, with the means and their ratios at the
end. Where both rules choose the same, the images are the same, and judged once.
"""

import argparse
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from napari_why.benchmark import EffectData, Protocol, ResultFolder
from napari_why.benchmark.ceilings import change_by_network, share_predicted
from napari_why.benchmark.data import Direction
from napari_why.benchmark.rows import SharedParts
from napari_why.benchmark.scores import Scorer
from napari_why.core.devices import limited_threads
from napari_why.core.events import ignore_event, never_cancelled
from napari_why.counterfactuals import METHODS
from napari_why.counterfactuals.engine import PathImages, Task, follow_paths
from napari_why.counterfactuals.method import suitable_network
from napari_why.datasets.features import feature_distance, image_features
from napari_why.model import Classifier
from napari_why.model.classifier import second_probabilities
from napari_why.networks import build_network
from napari_why.training import TrainingOptions, examples_of, train_network

RESPONDERS = {"full": "all", "excess": "some"}
RULES = ("with the second network", "without it")
SHOWN = ["validity", "reference", "cam_net", "second", "correlation", "relative_error", "distance"]
# Of the earlier rule, as of version 0.1.0.
CLEARLY, CLEARLY_NEARER, AGREED, OVERSHOOTS = 0.05, 0.1, 0.9, (1.0, 1.15, 1.3, 1.5)
HELD_OUT = 32
# Any seed but those of the other networks.
CAM_SEED = 4242


class EarlierRule:
    """The choice of version 0.1.0: it asks the second network about validation images."""

    def __init__(self, classifier: Classifier, data: EffectData, direction: Direction) -> None:
        self.classifier = classifier
        self.source, self.target = (
            classifier.classes.index(name) for name in (direction.source, direction.target)
        )
        part = data.dataset.part("validation")
        by_class = {
            name: np.stack(
                [
                    part.image(int(row)).to_numpy()
                    for row in np.flatnonzero(part.table["label"] == name)
                ]
            )
            for name in (direction.source, direction.target)
        }
        images = by_class[direction.source][:HELD_OUT]
        prepared = classifier.prepare_pixels(images)
        right = classifier.logits(prepared).argmax(1).numpy() == self.source
        self.images, self.prepared = images[right], prepared[right]
        locked = classifier.locked_channels
        self.free = [place for place, name in enumerate(classifier.channels) if name not in locked]
        self.real = image_features(by_class[direction.target][:HELD_OUT], self.free)
        self.unchanged = image_features(self.images, self.free)
        self.paths: dict[str, list[PathImages]] = {}

    def choose(self) -> tuple[str, float]:
        """Return mass and enlargement."""
        with limited_threads(self.classifier.threads), torch.no_grad():
            full, excess = self.judge("full", 1.0), self.judge("excess", 1.0)
            mass = "excess" if beats(excess, full) else "full"
            tried = [(1.0, excess if mass == "excess" else full)]
            for alpha in OVERSHOOTS[1:]:
                if tried[-1][1][1] >= AGREED:
                    break
                tried.append((alpha, self.judge(mass, alpha)))
        if tried[-1][1][1] >= AGREED:
            return mass, tried[-1][0]
        best = max(scores[1] for _, scores in tried)
        return mass, next(alpha for alpha, scores in tried if scores[1] >= best - CLEARLY)

    def judge(self, mass: str, alpha: float) -> tuple[float, float, float]:
        """Return validity, agreement of the second network and feature distance."""
        if mass not in self.paths:
            method = METHODS["transport"]
            task = Task(
                self.classifier,
                suitable_network(self.classifier, method),
                method,
                {"responders": RESPONDERS[mass], "overshoot": 1.0},
                self.source,
                self.target,
                AGREED,
            )
            self.paths[mass] = list(follow_paths(task, self.prepared, self.images.dtype))
        frames = [path.frame(alpha) for path in self.paths[mass]]
        raw = np.stack([frame.image for frame in frames])
        flips = np.mean([frame.probabilities.argmax() == self.target for frame in frames])
        second = self.classifier.second_network
        if second is None:
            raise SystemExit("found a classifier without second network; expected one")
        opinions = second_probabilities(second, self.classifier.prepare_pixels(raw))
        agrees = float((opinions.argmax(1) == self.target).double().mean())
        distance = feature_distance(image_features(raw, self.free), self.real, self.unchanged)
        return float(flips), agrees, distance


def beats(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    """Tell whether scores are better by the earlier rule."""
    for place in (0, 1):
        if abs(one[place] - other[place]) > CLEARLY:
            return one[place] > other[place]
    return one[2] < other[2] - CLEARLY_NEARER


class Judges:
    """Networks that chose nothing, trained when they are first asked."""

    def __init__(self, parts: SharedParts) -> None:
        self.parts = parts

    @cached_property
    def scorers(self) -> dict[str, Scorer]:
        """The benchmark's own, by direction."""
        return {scorer.direction.name: scorer for scorer in self.parts.scorers}

    @cached_property
    def cam_net(self) -> Classifier:
        """Of another family than the second network and the reference classifier."""
        data, dataset = self.parts.data, self.parts.data.dataset
        preprocessing = self.parts.default_classifier.preprocessing
        size = data.fit_settings["size"]
        seed = data.seed + CAM_SEED
        channels = len(preprocessing.channels)
        network = build_network("cam_net", input_channels=channels, classes=2, size=size, seed=seed)
        examples = [
            examples_of(dataset.part(part), preprocessing, dataset.classes)
            for part in ("train", "validation")
        ]
        # as the rows it stands beside were trained: steps of one size and nothing else
        options = TrainingOptions(
            epochs=12,
            batch_size=20,
            optimiser="adam",
            learning_rate=2e-3,
            step_decay=1.0,
            label_smoothing=0,
            jitter=0,
            averaging=0,
            patience=0,
            seed=seed,
        )
        result = train_network(network, examples[0], examples[1], options)
        return Classifier(result.network, preprocessing, dataset.classes)


def compare(data: EffectData, folder: ResultFolder) -> Iterator[dict[str, Any]]:
    """Yield one row for each direction and rule."""
    parts = SharedParts(data, folder, ignore_event, never_cancelled)
    classifier, judges = parts.default_classifier, Judges(parts)
    if classifier.latent_statistics is None or classifier.latent_statistics.transport is None:
        raise SystemExit("found a classifier without transport; expected one")
    for direction in data.directions:
        rule = EarlierRule(classifier, data, direction)
        now = classifier.latent_statistics.transport.choice(rule.source, rule.target)
        choices = (rule.choose(), (now.mass, now.overshoot))
        made: dict[tuple[str, float], dict[str, Any]] = {}
        for name, choice in zip(RULES, choices, strict=True):
            if choice not in made:
                made[choice] = score(classifier, judges, direction, *choice)
            yield {
                "effect": data.effect,
                "seed": data.seed,
                "direction": direction.name,
                "rule": name,
                "mass": choice[0],
                "enlarged": choice[1],
                **made[choice],
            }


def score(
    classifier: Classifier, judges: Judges, direction: Direction, mass: str, alpha: float
) -> dict[str, Any]:
    """Change the scored scenes as the product would, and judge them."""
    made = change_by_network(
        classifier,
        direction.images,
        direction.source,
        direction.target,
        "transport",
        {"responders": RESPONDERS[mass], "overshoot": alpha},
    )
    if made is None:
        raise SystemExit("cancelled")
    found = judges.scorers[direction.name].scores(made, classifier)
    second = second_probabilities(
        classifier.second_network, classifier.prepare_pixels(made.images)
    ).argmax(1)
    return {
        "validity": found["validity"],
        "reference": found["agreement"],
        "cam_net": share_predicted(judges.cam_net, made.images, direction.target),
        "second": float((second == classifier.classes.index(direction.target)).double().mean()),
        "correlation": found["correlation"],
        "relative_error": found["relative_error"],
        "distance": found["feature_distance"],
    }


def as_markdown(table: pd.DataFrame) -> str:
    """Return all rows, then the mean of each rule and their ratio."""
    keys = ["effect", "seed", "direction", "rule", "mass", "enlarged"]
    lines = [[*keys, *SHOWN], ["---"] * (len(keys) + len(SHOWN))]
    for row in table.to_dict("records"):
        figures = [f"{row[name]:.3f}" for name in SHOWN]
        lines.append([str(row[key]).replace("_", " ") for key in keys] + figures)
    means = table.groupby("rule", sort=False)[SHOWN].mean()
    for rule in RULES:
        figures = [f"{value:.3f}" for value in means.loc[rule]]
        lines.append(["mean", "", "", rule, "", "", *figures])
    ratio = means.loc[RULES[1]] / means.loc[RULES[0]]
    lines.append(["ratio", "", "", "without / with", "", "", *(f"{value:.3f}" for value in ratio)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Compare, write and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("truth"))
    parser.add_argument("--scenes", choices=("validation", "test"), default="test")
    parser.add_argument(
        "--effects", default="partial_response,translocation,depolarisation,fragmentation"
    )
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for effect in options.effects.split(","):
        for seed in range(options.seeds):
            data = EffectData(Protocol(options.scenes), effect, seed)
            rows += compare(data, ResultFolder(options.out))
            # as soon as it is there: a stop loses nothing
            pd.DataFrame(rows).to_csv(options.out / "transport_choice.csv", index=False)
    print(as_markdown(pd.DataFrame(rows)))


if __name__ == "__main__":
    main()
