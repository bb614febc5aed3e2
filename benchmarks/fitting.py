"""What the parts of a fit cost, beside one training epoch.

    python benchmarks/fitting.py [--images 1000] [--size 112] [--epochs 1] [--lock none] [--seed 0]

A classifier is fitted on simulated scenes, and the processor seconds between the beginnings of
its tasks are printed: reading, training, one pass for the statistics, the transport maps, and so on. A
quarter of the images is held out, so that the statistics see three quarters of them, as training
does.
"""

import argparse
import time

import torch

import napari_why as why
from napari_why.core.events import EpochFinished, Event, Message, Started
from napari_why.simulation import simulate_effect


class Stopwatch:
    """Listens to a fit and keeps the moments at which its tasks begin."""

    def __init__(self) -> None:
        self.moments: list[tuple[str, float]] = [("before", time.process_time())]

    def __call__(self, event: Event) -> None:
        """Take note of a task that begins."""
        now = time.process_time()
        if isinstance(event, Started):
            self.moments.append((event.task, now))
        elif isinstance(event, Message) and event.text.startswith("choosing"):
            self.moments.append((event.text, now))
        elif isinstance(event, EpochFinished):
            self.moments.append(("after the epoch", now))

    def tasks(self) -> list[tuple[str, float]]:
        """Return tasks and their seconds, in order."""
        ends = [moment for _, moment in self.moments[1:]] + [time.process_time()]
        return [(task, end - start) for (task, start), end in zip(self.moments, ends, strict=True)]


def main() -> None:
    """Fit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--size", type=int, default=112)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lock", default="none", help="none, auto or names; see napari_why.fit")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    dataset = simulate_effect(
        options.images, "depolarisation", size=options.size, seed=options.seed
    ).split(seed=options.seed)
    watch = Stopwatch()
    why.fit(
        dataset,
        size=options.size,
        epochs=options.epochs,
        lock=options.lock,
        seed=options.seed,
        threads=1,
        on_event=watch,
    )
    tasks = watch.tasks()
    count = len(dataset.part("train"))
    print(f"{count} training images of 2 x {options.size} x {options.size}, 1 thread")
    for task, seconds in tasks:
        print(f"{seconds:>9.1f} s  {task}")
    # the second network is trained later, under the same name
    epoch = next(seconds for task, seconds in tasks if task == "training")
    fit = sum(
        seconds
        for task, seconds in tasks
        if task in ("latent statistics", "transport between classes")
    )
    print(
        f"statistics and transport maps: {fit:.1f} s, {fit / epoch:.2f} of a training epoch with "
        f"its validation ({epoch:.1f} s)"
    )


if __name__ == "__main__":
    main()
