"""The rows of the benchmark: which network, which counterfactual method, and how they are trained.

A new row is one line in :data:`METHODS`; a new way of training is one entry of :data:`RECIPES`.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, Literal

from napari_why.benchmark.data import BenchmarkData, TrainingData
from napari_why.benchmark.results import ResultFolder, plain, read_json, write_json
from napari_why.benchmark.scores import BASELINES, Scorer
from napari_why.core.errors import DatasetError, ParameterError, WhyError
from napari_why.core.events import Cancelled, OnEvent, ignore_event, never_cancelled
from napari_why.datasets import Dataset, Preprocessing
from napari_why.fitting import fit
from napari_why.fitting.fit_translation import fit_flow, fit_translation
from napari_why.model import Classifier, load
from napari_why.networks import build_network
from napari_why.training import Examples, TrainingOptions, examples_of, train_network


@dataclass(frozen=True)
class Recipe:
    """How a classifier is trained: the arguments of :func:`napari_why.fit`.

    With ``translation`` or ``flow`` those of :func:`napari_why.fit_translation` or
    :func:`napari_why.fit_flow`, which then follows.
    """

    network: str = "iresnet"
    settings: Mapping[str, Any] = field(default_factory=dict)
    network_parameters: Mapping[str, Any] = field(default_factory=dict)
    translation: Mapping[str, Any] | None = None
    flow: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types: what makes classifiers the same."""
        later = ("translation", "flow")
        # what there is none of is left out, as results on disk have it
        return {
            name: value
            for name, value in asdict(self).items()
            if name not in later or value is not None
        }


@dataclass(frozen=True)
class NetworkMethod:
    """A counterfactual method of a classifier.

    Parameters
    ----------
    recipe : str
        Of the classifier whose network makes the images.
    method : str
    parameters : mapping
        The method's own.
    explained : str or None
        Recipe of the classifier that is explained through it, where it is another one: whose
        probabilities and validity they are.
    """

    recipe: str
    method: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    explained: str | None = None

    @property
    def asked(self) -> str:
        """Recipe of the classifier that is explained."""
        return self.explained or self.recipe

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types, the recipes spelled out: what makes results the same."""
        plain = {**asdict(self), "trained": RECIPES[self.recipe].to_dict()}
        if self.explained is None:
            del plain["explained"]  # as results on disk have it
            return plain
        return {**plain, "asked": RECIPES[self.explained].to_dict()}


@dataclass(frozen=True)
class WithoutNetwork:
    """A row that needs no network: a ceiling or a floor; see :mod:`.ceilings`, :mod:`.baselines`."""

    kind: Literal[
        "truth", "do_nothing", "one_factor", "grey_level_curve", "pixel_transport", "true_pairs"
    ]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON types."""
        return asdict(self)


Row = NetworkMethod | WithoutNetwork

# Smaller than the thesis's network (Otto 2022): one is trained for each row, effect and seed.
_SHAPE = {"blocks": "3,3,3", "widths": "32,32,32", "downscaling": "2,2,2", "head": "elu"}
# Nothing but steps of one size that is cut: rows are compared with those of earlier versions, and
# the defaults of a network change.
THESIS_TRAINING: dict[str, Any] = {
    "batch_size": 20,
    "learning_rate": 5e-3,
    "optimiser": "adamax",
    "schedule": "step",
    "step_size": 15,
    "step_decay": 0.2,
    "label_smoothing": 0,
    "jitter": 0,
    "averaging": 0,
    "patience": 0,
}
"""As the thesis trains (Otto 2022); never stopped early, so that rows differ in the network alone."""

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "locked": Recipe(
            settings={**THESIS_TRAINING, "lock": "auto", "second_network": True},
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
        ),
        "class-distance": Recipe(
            settings={**THESIS_TRAINING, "loss": "class_distance"},
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
        ),
        "likelihood": Recipe(
            settings={**THESIS_TRAINING, "loss": "gaussian_likelihood"},
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
        ),
        "unlocked": Recipe(
            settings={**THESIS_TRAINING, "lock": "none", "second_network": True},
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
        ),
        "plain": Recipe(
            # only its mean shift is asked for
            settings={**THESIS_TRAINING, "lock": "none", "pixel_maps": False},
            network_parameters={**_SHAPE, "head": "linear"},
        ),
        # the translators see images, and nothing of how the transport was chosen
        "translating": Recipe(
            settings={
                **THESIS_TRAINING,
                "lock": "auto",
                "second_network": True,
                "pixel_maps": False,
            },
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
            translation={"epochs": 60},
        ),
        "flowing": Recipe(
            settings={
                **THESIS_TRAINING,
                "lock": "auto",
                "second_network": True,
                "pixel_maps": False,
            },
            network_parameters={**_SHAPE, "isometry": "1,0.3,0"},
            flow={"epochs": 200},
        ),
        "vae": Recipe("vae", {"epochs": 60}),
        "autoencoder": Recipe("autoencoder", {"epochs": 60}),
        "denoising-autoencoder": Recipe("denoising_autoencoder", {"epochs": 60}),
        # with their own training: they are explained as users train them
        "cam-net": Recipe("cam_net"),
        "resnext50": Recipe("resnext50"),
    }
)
DEFAULT_RECIPE = "locked"
"""The classifier that says whether the images of the rows without a network are valid."""

METHODS: Mapping[str, Row] = MappingProxyType(
    {
        "TRUTH": WithoutNetwork("truth"),
        "do-nothing": WithoutNetwork("do_nothing"),
        "one-factor": WithoutNetwork("one_factor"),
        "grey-level-curve": WithoutNetwork("grey_level_curve"),
        "mean-shift": NetworkMethod("plain", "mean_shift"),
        "mean-shift-same-network": NetworkMethod("locked", "mean_shift"),
        "pixel-transport": WithoutNetwork("pixel_transport"),
        "transport": NetworkMethod("locked", "transport"),
        "transport-unlocked": NetworkMethod("unlocked", "transport"),
        "vae": NetworkMethod("vae", "latent_mean_shift"),
        "autoencoder": NetworkMethod("autoencoder", "latent_interpolation"),
        "true-pairs": WithoutNetwork("true_pairs"),
        "denoising-autoencoder": NetworkMethod("denoising-autoencoder", "latent_interpolation"),
        "transport-class-distance": NetworkMethod("class-distance", "transport"),
        "transport-likelihood": NetworkMethod("likelihood", "transport"),
        "translation": NetworkMethod("translating", "translation"),
        "flow": NetworkMethod("flowing", "flow"),
        "transport-draws": NetworkMethod("locked", "transport", {"change": "responding_cells"}),
        # one kind of change each, whatever was chosen: what the choice is worth is told beside them
        "transport-by-curve": NetworkMethod("locked", "transport", {"change": "curve"}),
        "transport-by-few-numbers": NetworkMethod("locked", "transport", {"change": "parametric"}),
        "transport-by-scales": NetworkMethod("locked", "transport", {"change": "coarse_to_fine"}),
        "transport-by-latents": NetworkMethod("locked", "transport", {"change": "latent"}),
        "transport-by-back-translation": NetworkMethod(
            "locked", "transport", {"change": "back_translated"}
        ),
        "transport-of-cam-net": NetworkMethod("locked", "transport", explained="cam-net"),
        "transport-of-resnext50": NetworkMethod("locked", "transport", explained="resnext50"),
    }
)
"""Every row by name, in the order of the table."""
ON_REQUEST = (
    "denoising-autoencoder",
    "transport-class-distance",
    "transport-likelihood",
    "translation",
    "flow",
    "transport-draws",
    "transport-by-curve",
    "transport-by-few-numbers",
    "transport-by-scales",
    "transport-by-latents",
    "transport-by-back-translation",
    "transport-of-cam-net",
    "transport-of-resnext50",
)
"""Rows that are made only where they are asked for by name: each trains a network of its own, or draws."""


def methods_named(names: tuple[str, ...]) -> dict[str, Row]:
    """Return rows by name, and the baselines; where no name is given all but those on request.

    Raises
    ------
    ParameterError
        There is no row of that name.
    """
    unknown = [name for name in names if name not in METHODS]
    if unknown:
        raise ParameterError(
            f"methods: found {', '.join(unknown)}; expected some of {', '.join(METHODS)}"
        )
    chosen = names or tuple(name for name in METHODS if name not in ON_REQUEST)
    return {name: row for name, row in METHODS.items() if name in (*chosen, *BASELINES)}


SEED_OFFSET = 7919  # another seed than any classifier or second network of a classifier has
# Half as wide again as the second network that a fit trains, so that the reference classifier is another one.
WIDTHS = "24,48,96,96"


def train_reference_classifier(
    dataset: Dataset,
    preprocessing: Preprocessing,
    *,
    size: int,
    seed: int = 0,
    epochs: int = 10,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Classifier:
    """Train a plain convolutional network of four layers.

    It sees the training images of the classifier but shares neither architecture nor seed with
    it, and no counterfactual method looks at it: a change that it follows is not a weakness of
    one network.

    Parameters
    ----------
    dataset : Dataset
        With a training split.
    preprocessing : Preprocessing
        Fitted on that.
    size : int
        Height and width of the prepared images.
    seed : int
        Of weights and order.
    epochs : int
        Passes over the training images.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    Classifier
        Without latent statistics.
    """
    network = build_network(
        "small_cnn",
        input_channels=len(preprocessing.channels),
        classes=len(dataset.classes),
        size=size,
        seed=seed + SEED_OFFSET,
        widths=WIDTHS,
    )
    validated = bool((dataset.table["split"] == "validation").any())
    result = train_network(
        network,
        _examples(dataset, "train", preprocessing),
        _examples(dataset, "validation", preprocessing) if validated else None,
        # a learning rate that stays as it is, and no early end: its length is the protocol's
        TrainingOptions(
            epochs=epochs,
            learning_rate=2e-3,
            step_decay=1.0,
            patience=0,
            seed=seed + SEED_OFFSET,
        ),
        on_event=on_event,
        cancelled=cancelled,
    )
    return Classifier(result.network, preprocessing, dataset.classes)


def _examples(dataset: Dataset, split: str, preprocessing: Preprocessing) -> Examples:
    examples = examples_of(dataset.part(split), preprocessing, dataset.classes)
    if examples is None:  # only a cancelled reading gives nothing, and this one cannot be cancelled
        raise DatasetError(f"split {split!r}: found no image that could be read; expected some")
    return examples


TRAINING_FILE = "training.json"


class StoppedError(WhyError):
    """The user stopped the benchmark; finished results are kept."""


class TrainedClassifiers:
    """Trains each classifier once, and keeps it in the folder of results.

    Parameters
    ----------
    data : TrainingData
        Images of one effect, or of a real data set, and seed.
    folder : ResultFolder
        Where classifiers are kept.
    recipes : mapping
        How they are trained, by name.
    on_event, cancelled
        See :mod:`napari_why.core.events`.
    """

    def __init__(
        self,
        data: TrainingData,
        folder: ResultFolder,
        recipes: Mapping[str, Recipe],
        on_event: OnEvent = ignore_event,
        cancelled: Cancelled = never_cancelled,
    ) -> None:
        self._data, self._folder, self._recipes = data, folder, recipes
        self.on_event, self.cancelled = on_event, cancelled
        self._classifiers: dict[str, Classifier] = {}

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
        training = self._recipes[recipe]
        place = self._place(recipe)
        with watch_time() as watch:
            classifier = fit(
                self._data.dataset,
                training.network,
                seed=self._data.seed,
                network_parameters=training.network_parameters,
                on_event=self.on_event,
                cancelled=self.cancelled,
                **{**self._data.fit_settings, **training.settings},
            )
            classifier = self._add_translation(classifier, training)
        self.stop_if_asked()
        if classifier.left_out:
            # a row of it would be one of something else, and would be kept
            raise WhyError(
                f"{place.name}: found that the fit left out {'; '.join(classifier.left_out)}; "
                "expected all of it; mend that and run the benchmark again"
            )
        place.parent.mkdir(parents=True, exist_ok=True)
        classifier.save(place, overwrite=True)
        write_json(
            place / TRAINING_FILE,
            {"identity": self._identity(recipe), "seconds": watch.seconds},
        )

    def _add_translation(self, classifier: Classifier, training: Recipe) -> Classifier:
        """Train what leads from class to class, where the recipe has it."""
        for settings, fit_further in (
            (training.translation, fit_translation),
            (training.flow, fit_flow),
        ):
            if settings is not None and not self.cancelled():
                classifier = fit_further(
                    classifier,
                    self._data.dataset,
                    {"seed": self._data.seed, **settings},
                    on_event=self.on_event,
                    cancelled=self.cancelled,
                )
        return classifier

    def _identity(self, recipe: str) -> object:
        return plain({**self._data.identity, "recipe": self._recipes[recipe].to_dict()})

    def _place(self, recipe: str) -> Path:
        return self._folder.classifier_place(self._data.name, self._data.seed, recipe)


class SharedParts(TrainedClassifiers):
    """Makes what the rows need when the first of them needs it.

    Parameters
    ----------
    data : BenchmarkData
        Images of one effect, or of a real data set, and seed.
    folder, on_event, cancelled
        See :class:`TrainedClassifiers`.
    """

    def __init__(
        self, data: BenchmarkData, folder: ResultFolder, on_event: OnEvent, cancelled: Cancelled
    ) -> None:
        super().__init__(data, folder, RECIPES, on_event, cancelled)
        self.data = data

    @property
    def default_classifier(self) -> Classifier:
        """The classifier that stands in for the rows without a network."""
        return self.classifier(DEFAULT_RECIPE)

    @cached_property
    def scorers(self) -> tuple[Scorer, ...]:
        """One for each direction."""
        reference = train_reference_classifier(
            self.data.dataset,
            self.default_classifier.preprocessing,
            size=self.data.fit_settings["size"],
            seed=self.data.seed,
            epochs=self.data.reference_epochs,
            on_event=self.on_event,
            cancelled=self.cancelled,
        )
        self.stop_if_asked()
        return tuple(
            Scorer(direction, reference, self.data.affected) for direction in self.data.directions
        )


class Watch:
    """Seconds that a block took."""

    seconds = 0.0


@contextmanager
def watch_time() -> Iterator[Watch]:
    """Measure the wall time of a block."""
    watch, start = Watch(), perf_counter()
    yield watch
    watch.seconds = perf_counter() - start
