"""What the rows of one effect and seed share: data, classifiers and the second network."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from time import perf_counter

from napari_why.classifier import Classifier, fit, load
from napari_why.errors import WhyError
from napari_why.events import Cancelled, OnEvent
from napari_why.truth_benchmark.data import BenchmarkData
from napari_why.truth_benchmark.judge import train_judge
from napari_why.truth_benchmark.methods import RECIPES, REFERENCE
from napari_why.truth_benchmark.results import ResultFolder, plain, read_json, write_json
from napari_why.truth_benchmark.scoring import Scorer

TRAINING_FILE = "training.json"


class StoppedError(WhyError):
    """The user stopped the benchmark; finished results are kept."""


class Workshop:
    """Makes what the rows need when the first of them needs it.

    Parameters
    ----------
    data : BenchmarkData
        Images of one effect, or of a real data set, and seed.
    folder : ResultFolder
        Where classifiers are kept.
    on_event, cancelled
        See :mod:`napari_why.events`.
    """

    def __init__(
        self, data: BenchmarkData, folder: ResultFolder, on_event: OnEvent, cancelled: Cancelled
    ) -> None:
        self.data, self.on_event, self.cancelled = data, on_event, cancelled
        self._folder = folder
        self._classifiers: dict[str, Classifier] = {}

    @property
    def reference(self) -> Classifier:
        """The classifier that judges the rows without a network."""
        return self.classifier(REFERENCE)

    @cached_property
    def scorers(self) -> tuple[Scorer, ...]:
        """One for each direction."""
        judge = train_judge(
            self.data.dataset,
            self.reference.preprocessing,
            size=self.data.fit_settings["size"],
            seed=self.data.seed,
            epochs=self.data.judge_epochs,
            on_event=self.on_event,
            cancelled=self.cancelled,
        )
        self.stop_if_asked()
        return tuple(
            Scorer(direction, judge, self.data.affected) for direction in self.data.directions
        )

    def classifier(self, recipe: str) -> Classifier:
        """Return a classifier: from memory, else from the folder, else trained.

        Raises
        ------
        StoppedError
            Cancelled while it was trained.
        """
        if recipe not in self._classifiers:
            place = self._place(recipe)
            found = read_json(place / TRAINING_FILE)
            if found is None or found["identity"] != self._identity(recipe):
                self._train(recipe)
            self._classifiers[recipe] = load(place)
        return self._classifiers[recipe]

    def training_seconds(self, recipe: str) -> float:
        """Return how long a classifier took to train."""
        self.classifier(recipe)
        place = self._place(recipe)
        found = read_json(place / TRAINING_FILE)
        return float(found["seconds"]) if found else 0.0

    def stop_if_asked(self) -> None:
        """Raise StoppedError where the user asked to stop."""
        if self.cancelled():
            raise StoppedError("the benchmark was stopped; the results so far are kept")

    def _train(self, recipe: str) -> None:
        training = RECIPES[recipe]
        place = self._place(recipe)
        with timed() as watch:
            classifier = fit(
                self.data.dataset,
                training.network,
                seed=self.data.seed,
                network_parameters=training.network_parameters,
                on_event=self.on_event,
                cancelled=self.cancelled,
                **{**self.data.fit_settings, **training.settings},
            )
        self.stop_if_asked()
        place.parent.mkdir(parents=True, exist_ok=True)
        classifier.save(place, overwrite=True)
        write_json(
            place / TRAINING_FILE,
            {"identity": self._identity(recipe), "seconds": watch.seconds},
        )

    def _identity(self, recipe: str) -> object:
        return plain({**self.data.identity, "recipe": asdict(RECIPES[recipe])})

    def _place(self, recipe: str) -> Path:
        return self._folder.classifier_place(self.data.name, self.data.seed, recipe)


class Watch:
    """Seconds that a block took."""

    seconds = 0.0


@contextmanager
def timed() -> Iterator[Watch]:
    """Measure the wall time of a block."""
    watch, start = Watch(), perf_counter()
    yield watch
    watch.seconds = perf_counter() - start
