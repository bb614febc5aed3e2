"""The benchmark of attribution: every registered method, on pixels that are known to decide the class.

A method takes part by being registered, and a metric by its name in :data:`MEASURED_BY`. Rows that
ask no network stand beside them: what they reach is no merit of a network's map.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_why.attribution.context import PATH_STEPS, Given, black_image, gather_context
from napari_why.attribution.explain import check_finite, run_method
from napari_why.attribution.guard import explaining
from napari_why.attribution.registry import METHODS, Evidence
from napari_why.attribution.targets import find_target
from napari_why.benchmark.attribution_data import (
    ABSENT,
    DEFAULT_MAP_EFFECTS,
    PRESENT,
    MapData,
    MapProtocol,
    Subject,
    do_nothing_rows,
    show_noise,
)
from napari_why.benchmark.ceilings import classify_images
from napari_why.benchmark.results import ResultFolder
from napari_why.benchmark.rows import Recipe, StoppedError, TrainedClassifiers
from napari_why.core.devices import limited_threads
from napari_why.core.errors import WhyError
from napari_why.core.events import (
    Cancelled,
    Finished,
    Message,
    OnEvent,
    Started,
    ignore_event,
    never_cancelled,
)
from napari_why.core.options import validated
from napari_why.core.registry import Method
from napari_why.counterfactuals import Counterfactual, CounterfactualOptions, counterfactual
from napari_why.evaluation import METRICS, ExplanationCase, MetricValue
from napari_why.evaluation.perturbation_curves import count_beaten
from napari_why.networks import NETWORKS, Network, build_network
from napari_why.networks.network import DecodingNetwork
from napari_why.simulation.scenes import CHANNELS

DEFAULT_NETWORKS = ("iresnet", "cam_net", "resnext50")
# What counterfactuals need beside the network: minutes, of which no map knows.
WITHOUT_COUNTERFACTUALS: dict[str, Any] = {
    "lock": "none",
    "second_network": False,
    "pixel_maps": False,
}
# What is measured of every map, in the order of the table, and with which parameters: see
# docs/attribution-benchmark.md. Squares of 4 pixels in eight steps are nine images a map; single pixels in
# 32 steps, as by default, are four times as many and hardly change the order of methods.
MEASURED_BY: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "relevance_mass": {},
        "relevance_mass_by_channel": {},
        "relevance_rank": {},
        "pointing_game": {},
        "intersection_over_union": {},
        "sign_agreement": {},
        "pixel_flipping": {"side": 0, "steps": 8},
        "single_deletion": {},
    }
)
# Orders that a map's is compared with, drawn once for every image and the same for every method.
RANDOM_ORDERS = 10
SIGN, FLIPPING, AGAINST_RANDOM = "sign_agreement", "pixel_flipping", "deletion_against_random"
FIGURES = (*MEASURED_BY, AGAINST_RANDOM, "model_contrast")
"""The columns of the table that judge a map."""
RIVAL_MASS = "rival_mass"
"""The relevance mass on the other effect of a pair, of which the model contrast is made."""
RANKED_BY = tuple(name for name in MEASURED_BY if name != SIGN)
"""What methods are ranked by: metrics that every map has, whether it is signed or not."""
# The network whose images lead from one class to the other, for methods that ask for such a path; of a
# network that makes none the same path is taken, through this one.
GENERATOR = "iresnet"
# A mean of one map has no spread.
FEWEST_MAPS = 2
FAILED = "failed: "
# Of parameters that are a number of random draws: their names in every method.
DRAWS = ("samples", "pairs")


def recipe_of(network: str) -> Recipe:
    """Return how a network is trained: by its own defaults, from random weights.

    From random ones, since others are not on every computer, and results would hang on that.
    """
    return Recipe(network, WITHOUT_COUNTERFACTUALS, NETWORKS.named(network).initial_weights)


class PassCounter:
    """Counts the images that go through a network; a batch of four counts four.

    They are counted where every pass begins, whichever method of the network starts it: at the first
    module that has no parts. A pass from inner maps on is not counted: it is a small part of one.
    """

    images = 0

    @contextmanager
    def watch(self, network: Network, x: Tensor) -> Iterator[None]:
        """Count within the block; hooks are there before a method starts and after it ended.

        Parameters
        ----------
        network : Network
        x : Tensor, shape (N, C, H, W)
            Preprocessed; goes through once, to find the first module.

        Yields
        ------
        None
        """

        # a function, not a method: a copy of the network counts into the same number
        def count(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            self.images += len(inputs[0])

        hook = _first_module(network, x).register_forward_pre_hook(count)
        try:
            yield
        finally:
            hook.remove()


def _first_module(network: Network, x: Tensor) -> nn.Module:
    """Return the module without parts that an image meets first."""
    met: list[nn.Module] = []
    hooks = [
        module.register_forward_pre_hook(lambda module, _inputs: met.append(module))
        for module in network.modules()
        if not any(module.children())
    ]
    try:
        with torch.no_grad():
            network(x)
    finally:
        for hook in hooks:
            hook.remove()
    return met[0]


class Subjects:
    """A trained network and the images that are explained, with all that a method may ask for.

    Parameters
    ----------
    data : MapData
    network : str
        Name of the network.
    classifiers : TrainedClassifiers
    networks : sequence of str
        Those that the benchmark trains.
    """

    def __init__(
        self,
        data: MapData,
        network: str,
        classifiers: TrainedClassifiers,
        networks: Sequence[str],
    ) -> None:
        self.data, self._classifiers, self._networks = data, classifiers, networks
        self.classifier = classifiers.classifier(network)
        self._series: dict[int, Counterfactual] = {}
        self._random_drops: dict[int, NDArray[np.float64]] = {}

    @property
    def network(self) -> Network:
        """The network that is explained."""
        return self.classifier.network

    @property
    def target(self) -> int:
        """Index of the class that is explained: the effect is there."""
        return self.classifier.classes.index(PRESENT)

    @cached_property
    def images(self) -> tuple[Subject, ...]:
        """The images, prepared."""
        found = []
        for number, scene in enumerate(self.data.scored):
            x, black = (
                self.classifier.prepare(scene.image),
                black_image(self.classifier, scene.image),
            )
            found.append(Subject(x, black, scene, number))
        return tuple(found)

    @cached_property
    def accuracy(self) -> float:
        """Mean over both classes of the share that is told right, of images that no training saw."""
        classes = self.classifier.classes
        right = [
            (classify_images(self.classifier, images).argmax(1) == classes.index(label)).mean()
            for label, images in self.data.images_to_classify().items()
        ]
        return float(np.mean(right))

    @cached_property
    def pass_seconds(self) -> float:
        """How long one image through the network takes, beside which the methods' times stand."""
        x, times = self.images[0].x, []
        with torch.no_grad(), limited_threads(self.classifier.threads):
            # the median of five, as one may be held up by anything else
            for _ in range(5):
                start = perf_counter()
                self.network(x)
                times.append(perf_counter() - start)
        return float(np.median(times))

    def case(self, subject: Subject, evidence: Evidence) -> ExplanationCase:
        """Return a map with all that it is judged by.

        Parameters
        ----------
        subject : Subject
        evidence : Evidence
            Of its image.

        Returns
        -------
        ExplanationCase
        """
        truth, cells = subject.scene.truth, subject.scene.cells
        return ExplanationCase(
            network=self.network,
            x=subject.x,
            target=self.target,
            evidence=evidence,
            # evidence for an effect that is there speaks for it wherever the effect shows
            truth=torch.from_numpy(truth).to(evidence.maps),
            regions=torch.from_numpy(cells.astype(np.int64)),
            background=torch.from_numpy(cells == 0),
            seed=subject.number,
        )

    def random_drops(self, subject: Subject) -> NDArray[np.float64]:
        """Return by how much random orders make the score of an image fall."""
        if subject.number not in self._random_drops:
            maps = show_noise(subject)
            case = self.case(subject, Evidence(maps, maps.sum(dim=0), ""))
            own = {**MEASURED_BY[FLIPPING], "random_orders": RANDOM_ORDERS}
            found = METRICS.named(FLIPPING).measure(case, **own)
            self._random_drops[subject.number] = np.asarray(found.details["random"])
        return self._random_drops[subject.number]

    def given(self, method: Method, subject: Subject) -> Given:
        """Return what a user would give to this method, made of what is known of the scene.

        Parameters
        ----------
        method : Method
        subject : Subject

        Returns
        -------
        Given
        """
        wanted = method.takes("alpha_path")
        return Given(
            references=self.data.dataset,
            regions=subject.scene.cells,
            counterfactual=self._counterfactual(subject) if wanted else None,
        )

    def _counterfactual(self, subject: Subject) -> Counterfactual:
        """Return a series of images that leads to the other class."""
        if subject.number not in self._series:
            through = None
            # a network that makes no images is asked about those of one that does, if there is one
            if not isinstance(self.network, DecodingNetwork) and GENERATOR in self._networks:
                through = self._classifiers.classifier(GENERATOR)
            self._series[subject.number] = counterfactual(
                self.classifier,
                subject.scene.image,
                ABSENT,
                source=PRESENT,
                through=through,
                options=CounterfactualOptions(steps=PATH_STEPS, draws=0),
                cancelled=self._classifiers.cancelled,
            )
        return self._series[subject.number]


@dataclass
class Measured:
    """What a row gave so far: of every map, in the order of the images.

    Parameters
    ----------
    found, chances : dict
        By metric, one value a map; None where it is not defined.
    passes, seconds : list of float
        A map.
    maps : list
        Of every image the maps of the channels and the joint one below them, (C + 1, H, W).
    notes : dict
        What was said of maps, each sentence once.
    """

    found: dict[str, list[float | None]] = field(default_factory=dict)
    chances: dict[str, list[float | None]] = field(default_factory=dict)
    passes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    maps: list[Any] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)

    def add(self, metric: str, value: MetricValue | None) -> None:
        """Note what a metric found of the next map; None where it is not asked.

        Parameters
        ----------
        metric : str
            Its name.
        value : MetricValue or None
        """
        self.found.setdefault(metric, []).append(None if value is None else value.value)
        self.chances.setdefault(metric, []).append(None if value is None else value.chance)

    def to_figures(self) -> dict[str, Any]:
        """Return means, and the values of every map beside them; JSON types."""
        means = {name: _mean(values) for name, values in self.found.items()}
        return {
            **means,
            "images": len(self.maps),
            "passes": _mean(self.passes),
            "seconds": _mean(self.seconds),
            "each": self.found,
            "chance": {name: _mean(values) for name, values in self.chances.items()},
            "notes": "; ".join(self.notes),
        }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and np.isfinite(value)]
    return float(np.mean(known)) if known else None


def measure_row(
    subjects: Subjects,
    name: str,
    parameters: Mapping[str, Any],
    *,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> Measured:
    """Explain image by image and judge each map.

    Parameters
    ----------
    subjects : Subjects
    name : str
        A method, or a row that asks no network.
    parameters : mapping
        The method's own.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    Measured
        Of fewer maps where passes are many.

    Raises
    ------
    StoppedError
        The user asked to stop; a row of a part of its images is none.
    WhyError
        The method refuses the network, or asks for what there is not.
    """
    made, protocol = Measured(), subjects.data.protocol
    row = do_nothing_rows(subjects.classifier.channels).get(name)
    for subject in subjects.images:
        if row is not None:
            maps = row(subject)
            evidence, passes, seconds = Evidence(maps, maps.sum(dim=0), ""), 0, 0.0
        else:
            method = METHODS.named(name)
            evidence, passes, seconds = _explain(
                subjects, subject, method, parameters, on_event, cancelled
            )
        if cancelled() or evidence.partial:
            raise StoppedError("the benchmark was stopped; the results so far are kept")
        _judge(made, subjects, subject, evidence)
        made.passes.append(float(passes))
        made.seconds.append(seconds)
        affordable = protocol.passes // passes if passes else len(subjects.images)
        if len(made.maps) >= max(FEWEST_MAPS, affordable):
            break
    return made


def _explain(
    subjects: Subjects,
    subject: Subject,
    method: Method,
    parameters: Mapping[str, Any],
    on_event: OnEvent,
    cancelled: Cancelled,
) -> tuple[Evidence, int, float]:
    """Return the evidence, how many passes it took, and how many seconds."""
    classifier, network, x = subjects.classifier, subjects.network, subject.x
    method.check(network)
    values = validated(method.function, parameters)
    context = gather_context(
        method,
        classifier,
        subject.scene.image,
        x,
        find_target(classifier, PRESENT),
        subjects.given(method, subject),
        on_event=on_event,
        cancelled=cancelled,
    )
    counter = PassCounter()
    with (
        limited_threads(classifier.threads),
        counter.watch(network, x),
        explaining(network, on_event=on_event, cancelled=cancelled),
    ):
        before, start = counter.images, perf_counter()
        evidence = run_method(
            method,
            network,
            x,
            subjects.target,
            values,
            on_event=on_event,
            cancelled=cancelled,
            **context,
        )
        seconds, passes = perf_counter() - start, counter.images - before
    check_finite(method, evidence)
    return evidence, passes, seconds


def _judge(made: Measured, subjects: Subjects, subject: Subject, evidence: Evidence) -> None:
    case = subjects.case(subject, evidence)
    # a map of one sign, or one whose joint map has none, says nothing by it
    signed = evidence.details.get("joint_has_sign", True) and bool((evidence.maps < 0).any())
    with limited_threads(subjects.classifier.threads):
        for name, parameters in MEASURED_BY.items():
            asked = signed or name != SIGN
            made.add(name, METRICS.named(name).measure(case, **parameters) if asked else None)
        random = subjects.random_drops(subject)
        drop = made.found[FLIPPING][-1]
        beaten = None if drop is None else count_beaten(random, drop) / len(random)
        # 0.5: a draw counts half
        made.add(AGAINST_RANDOM, None if beaten is None else MetricValue(beaten, 0.5))
    if subject.scene.rival_truth is not None:
        there = replace(case, truth=torch.from_numpy(subject.scene.rival_truth).to(evidence.maps))
        made.add(RIVAL_MASS, METRICS.named("relevance_mass").measure(there))
    if not evidence.joint.any():
        made.notes["a map is 0 everywhere"] = None
    made.maps.append(torch.cat([evidence.maps, evidence.joint[None]]).detach().cpu().numpy())


def run_attribution_benchmark(
    folder: str | Path,
    *,
    networks: Sequence[str] = (),
    methods: Sequence[str] = (),
    effects: Sequence[str] = (),
    seeds: Sequence[int] = (0, 1, 2),
    protocol: MapProtocol | None = None,
    parameters: Mapping[str, Mapping[str, Any]] | None = None,
    on_event: OnEvent = ignore_event,
    cancelled: Cancelled = never_cancelled,
) -> pd.DataFrame:
    """Measure how much of what methods show is where the class is known to be.

    Results that are in the folder already and were made the same way are not made again, and
    neither are classifiers. The rows that ask no network are always among them.

    Parameters
    ----------
    folder : str or Path
        Where results and classifiers are kept.
    networks : sequence of str
        Of :data:`napari_why.networks.NETWORKS`; :data:`DEFAULT_NETWORKS` by default.
    methods : sequence of str
        Of :data:`napari_why.attribution.METHODS`; all by default.
    effects : sequence of str
        Of :data:`~.attribution_data.MAP_EFFECTS`; both of the pair ``tag`` by default.
    seeds : sequence of int
        Each has scenes and networks of its own.
    protocol : MapProtocol, optional
    parameters : mapping, optional
        Of methods, by name; else their defaults.
    on_event, cancelled
        See :mod:`napari_why.core.events`.

    Returns
    -------
    DataFrame
        One row for each effect, seed, network and method in the folder that was made by this protocol: a column
        for each metric (mean over images), ``images``, ``passes`` and ``seconds`` a map,
        ``pass_seconds`` of one image through the network, ``accuracy`` of that; ``each`` with the
        values of every image and ``chance`` by metric; ``refused`` holds the reason where a method
        has no map.

    Raises
    ------
    ParameterError
        An unknown name.
    """
    chosen = protocol or MapProtocol()
    for name in networks:
        NETWORKS.named(name)
    for name in methods:
        METHODS.named(name)
    values = {
        name: parameters_for(METHODS.named(name), chosen, (parameters or {}).get(name, {}))
        for name in (methods or tuple(METHODS))
    }
    units = [
        MapData(chosen, effect, seed)
        for effect in (effects or DEFAULT_MAP_EFFECTS)
        for seed in seeds
    ]
    recipes = {name: recipe_of(name) for name in (networks or DEFAULT_NETWORKS)}
    results = ResultFolder(Path(folder))
    results.claim()
    on_event(Started("benchmark of attribution", len(units) * len(recipes)))
    on_event(Message(foresee(chosen, len(units), tuple(recipes), len(values))))
    stopped = False
    try:
        for data in units:
            classifiers = TrainedClassifiers(data, results, recipes, on_event, cancelled)
            for network in recipes:
                run = _Run(data, network, tuple(recipes), classifiers, results, on_event, cancelled)
                run.measure_rows(values)
    except WhyError:  # a training that is cancelled before its first epoch raises, too
        if not cancelled():
            raise
        stopped = True
    on_event(Finished(partial=stopped))
    # all that this protocol made, other effects, seeds and networks too: a run may add to another one
    table = results.table([_identity(data) for data in units])
    return table.assign(effect=table["changed"]) if len(table) else table


def _identity(data: MapData) -> dict[str, Any]:
    return {**data.identity, "judged_by": data.protocol.of_scoring}


def _folder(effect: str, network: str) -> str:
    return f"{effect} of {network}"


@dataclass(frozen=True)
class _Run:
    """All rows of one effect, seed and network."""

    data: MapData
    network: str
    networks: tuple[str, ...]
    classifiers: TrainedClassifiers
    results: ResultFolder
    on_event: OnEvent
    cancelled: Cancelled

    @cached_property
    def subjects(self) -> Subjects:
        """Trained when the first row needs it."""
        return Subjects(self.data, self.network, self.classifiers, self.networks)

    def measure_rows(self, methods: Mapping[str, Mapping[str, Any]]) -> None:
        """Measure every row that is not in the folder yet: methods with their parameters, and the others."""
        place, seed = _folder(self.data.effect, self.network), self.data.seed
        for name in (*do_nothing_rows(CHANNELS), *methods):
            own = methods.get(name, {})
            identity = {
                **_identity(self.data),
                "network": self.network,
                "row": name,
                "parameters": own,
                "metrics": {key: dict(value) for key, value in MEASURED_BY.items()},
            }
            if self.results.has(place, seed, name, identity):
                continue
            self.classifiers.stop_if_asked()
            self.on_event(Message(f"{place}, seed {seed}: {name}"))
            figures, maps = self._measure(name, own)
            if figures.get("refused", "").startswith(FAILED):
                # the same command tries it again, when the fault may be mended
                identity["failed"] = True
            kept = {PRESENT: np.stack(maps)} if maps else {}
            self.results.keep(place, seed, name, identity, {PRESENT: figures}, kept)

    def _measure(
        self, name: str, parameters: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Any]]:
        common = {
            "changed": self.data.effect,
            "network": self.network,
            "accuracy": self.subjects.accuracy,
            "pass_seconds": self.subjects.pass_seconds,
        }
        try:
            made = measure_row(
                self.subjects,
                name,
                parameters,
                on_event=self.on_event,
                cancelled=self.cancelled,
            )
        except StoppedError:
            raise
        except WhyError as reason:
            self.classifiers.stop_if_asked()
            return {**common, "refused": str(reason)}, []
        except Exception as error:  # noqa: BLE001 (a fault of one method must not end an hour's run)
            return {**common, "refused": f"{FAILED}{type(error).__name__}: {error}"}, []
        return {**common, **made.to_figures()}, made.maps


def parameters_for(
    method: Method, protocol: MapProtocol, own: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return a method's parameters: its defaults, with no more random draws than the protocol has.

    Parameters
    ----------
    method : Method
    protocol : MapProtocol
        Its ``samples`` bound the draws.
    own : mapping, optional
        Parameters that are set; they stand as they are.

    Returns
    -------
    dict
        All parameters.

    Raises
    ------
    ParameterError
        ``own`` has an unknown parameter, or a value out of range.
    """
    values = validated(method.function, own or {})
    for name in DRAWS:
        if name in values and name not in (own or {}):
            values[name] = min(values[name], protocol.samples)
    return values


# What of a training is no step: reading, freezing, measuring; and the passes of a step in both directions, by
# what single ones and whole trainings took on one core.
TRAINING_EXTRA, STEP_PASSES = 20.0, 4
# To judge a map: the image and eight steps of flipping, and up to six cells.
JUDGING_PASSES = 15


def foresee(protocol: MapProtocol, units: int, networks: Sequence[str], methods: int) -> str:
    """Say about how long a whole benchmark takes on this computer, by one pass of each network.

    Parameters
    ----------
    protocol : MapProtocol
    units : int
        Effects times seeds.
    networks : sequence of str
    methods : int
        How many.

    Returns
    -------
    str
        One sentence, in minutes.
    """
    training = maps = 0.0
    for name in networks:
        entry = NETWORKS.named(name)
        network = build_network(
            name, input_channels=2, classes=2, size=protocol.size, **entry.initial_weights
        ).eval()
        image = torch.zeros(1, 2, protocol.size, protocol.size)
        with torch.no_grad():
            network(image)  # the first one is slower
            start = perf_counter()
            network(image)
            seconds = perf_counter() - start
        epochs = protocol.epochs or entry.training.epochs
        training += TRAINING_EXTRA + seconds * STEP_PASSES * epochs * protocol.training
        maps += seconds * methods * (protocol.passes + JUDGING_PASSES * protocol.scored)
    trained, explained = (math.ceil(units * value / 60) for value in (training, maps))
    return (
        f"{units * len(networks)} networks: about {trained} min to train on this computer, and about "
        f"{explained} min for the maps of {methods} methods if each takes its {protocol.passes} passes; what "
        "is there already takes none"
    )
