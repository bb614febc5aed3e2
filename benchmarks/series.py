"""Count what a counterfactual series of one image costs, in forward passes.

    python benchmarks/series.py [--size 224] [--steps 11] [--images 24] [--repeats 3] [--seed 0]

A classifier is fitted on simulated scenes for one epoch: what a series costs hardly depends on how
good it is. The whole call is counted: predicting, finding the boundary, inverting every image and
classifying it as exported. Counted are

- multiply-adds of all convolutions of the network, against those of one forward pass;
- evaluations of the blocks' branches by stage, against one a block in a forward pass;
- processor seconds, which other work on the machine hardly changes, against the least of a
  forward pass of the frozen network.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn

import napari_why as why
from napari_why.model import Classifier
from napari_why.networks.iresnet import IResNet
from napari_why.simulation import EffectScene, simulate_effect

WANTED = 66


@contextmanager
def counted(network: IResNet) -> Iterator[Counter[str]]:
    """Count multiply-adds of the convolutions, and evaluations of branches by stage."""
    counts: Counter[str] = Counter()

    def convolved(layer: nn.Conv2d, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del inputs
        kernel = layer.weight[0].numel()
        counts["multiply-adds"] += output.numel() * kernel

    def evaluated(stage: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del layer, inputs
        counts[stage] += len(output)

    handles = [
        layer.register_forward_hook(convolved)
        for layer in network.modules()
        if isinstance(layer, nn.Conv2d)
    ]
    for name, block in network.named_blocks().items():
        last = block.branch.get_submodule("conv3")
        handles.append(last.register_forward_hook(partial(evaluated, name.split(".")[0])))
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def fitted(size: int, images: int, seed: int, locked: str) -> Classifier:
    """Return a classifier of depolarised cells after one epoch."""
    classifier: Classifier = why.fit(
        simulate_effect(images, "depolarisation", size=size, seed=seed),
        size=size,
        epochs=1,
        seed=seed,
        threads=1,
        lock=locked,
    )
    return classifier


def cost(classifier: Classifier, options: argparse.Namespace) -> None:
    """Print what a series in each direction costs."""
    network = classifier.network
    assert isinstance(network, IResNet)
    scene = EffectScene(0, "depolarisation", seed=options.seed + 1, size=options.size)
    for label in scene.classes:
        image = scene.image(label)
        prepared = classifier.prepare(image)
        with counted(network) as one:
            classifier.logits(prepared)
        forward = min(
            timed(lambda x=prepared: classifier.logits(x)) for _ in range(5 * options.repeats)
        )
        series = partial(why.counterfactual, classifier, image, steps=options.steps)
        with counted(network) as all_of_it:
            result = series()
        seconds = min(timed(series) for _ in range(options.repeats))
        passes = all_of_it["multiply-adds"] / one["multiply-adds"]
        branches = {
            stage: all_of_it[stage] / len(module.named_blocks())
            for stage, module in network.stages_to(None)
        }
        mean = sum(branches.values()) / len(branches)
        per_stage = ", ".join(f"{stage} {value:.1f}" for stage, value in branches.items())
        print(
            f"a {label} scene, called {result.source_class}, to {result.target}, "
            f"{len(result.alphas)} steps, boundary {result.special_alphas['boundary']}, alpha1 "
            f"{result.special_alphas['alpha1']}, valid {result.valid}"
        )
        print(f"  multiply-adds: {passes:.1f} forward passes (at most {WANTED} are wanted)")
        print(f"  evaluations per block: {mean:.1f} ({per_stage})")
        print(
            f"  time: {seconds:.2f} s, {seconds / forward:.1f} forward passes of {forward:.3f} s",
            flush=True,
        )


def timed(function: object) -> float:
    """Return the processor seconds that a call takes."""
    assert callable(function)
    start = time.process_time()
    function()
    return time.process_time() - start


def main() -> None:
    """Fit and count, without and with a locked channel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=11)
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for locked in ("none", "DAPI"):
        classifier = fitted(options.size, options.images, options.seed, locked)
        print(f"2 x {options.size} x {options.size}, locked: {locked}, 1 thread")
        cost(classifier, options)


if __name__ == "__main__":
    main()
