"""The benchmark of attribution: known truth, methods that take part by themselves, costs, resuming."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from napari_why.attribution import METHODS, Evidence, References, attribution_method
from napari_why.benchmark import MAP_EFFECTS, MapProtocol, ResultFolder, run_attribution_benchmark
from napari_why.benchmark import attribution as running
from napari_why.benchmark.attribution import (
    RANDOM_ORDERS,
    PassCounter,
    Subjects,
    measure_row,
    parameters_for,
    recipe_of,
)
from napari_why.benchmark.attribution_data import (
    ABSENT,
    EDGES,
    INTENSITY,
    PRESENT,
    RANDOM,
    MapData,
    do_nothing_rows,
)
from napari_why.benchmark.attribution_report import add_model_contrast
from napari_why.benchmark.rows import StoppedError, TrainedClassifiers
from napari_why.core.errors import MismatchError, ParameterError
from napari_why.core.events import Event, Message
from napari_why.core.options import Help, Range
from napari_why.evaluation import METRICS
from napari_why.networks import Network, build_network
from napari_why.simulation import PairScene

# the tag of the simulation: 5 x 5 pixels of the second channel
TAG = (1, slice(2, 7), slice(2, 7))
PROTOCOL = MapProtocol(
    scenes="validation", size=32, training=16, held_out=8, epochs=1, scored=3, judged=4, samples=5
)
DATA = MapData(PROTOCOL, "tag.second", 0)
DO_NOTHING = (RANDOM, INTENSITY, EDGES, "channel DAPI", "channel TMRM")


def shows_the_tag(network: Network, x: Tensor, target: int) -> Evidence:
    """Show the tag, whatever the network."""
    del network, target
    maps = torch.zeros_like(x[0])
    maps[TAG] = 1
    return Evidence(maps, maps.sum(dim=0), "logit per pixel")


def asks_five_times(
    network: Network,
    x: Tensor,
    target: int,
    *,
    samples: Annotated[int, Help("draws"), Range(1, 1000)] = 900,
    references: References,
) -> Evidence:
    """Ask the network about a batch of three, its first part once, and a copy of it once."""
    assert references.images.shape[1:] == x.shape[1:]
    assert sorted(references.labels.unique().tolist()) == [0, 1]
    network(x.expand(3, -1, -1, -1))
    network.encode(x)
    score = deepcopy(network)(x)[0, target].item()
    return Evidence(x[0] * score, (x[0] * score).sum(dim=0), "", details={"samples": samples})


def wants_regions(network: Network, x: Tensor, target: int, *, regions: Tensor) -> Evidence:
    """Show where cells are."""
    del network, target
    maps = (regions > 0).expand(x.shape[1], -1, -1).to(x)
    return Evidence(maps, maps.sum(dim=0), "")


def wants_a_path(network: Network, x: Tensor, target: int, *, alpha_path: Tensor) -> Evidence:
    """Show what changes on the way."""
    del network, x, target
    maps = alpha_path[-1] - alpha_path[0]
    return Evidence(maps, maps.sum(dim=0), "")


def breaks(network: Network, x: Tensor, target: int) -> Evidence:
    """Fail as a fault in the code does."""
    raise ZeroDivisionError("a fault")


OWN = (shows_the_tag, asks_five_times, wants_regions, wants_a_path, breaks)


@dataclass
class Run:
    """What a run over both effects of the tag's scenes left."""

    folder: Path
    table: pd.DataFrame
    messages: list[str]

    def row(self, effect: str, method: str) -> dict[str, Any]:
        table = self.table
        found = table[(table["effect"] == effect) & (table["method"] == method)]
        assert len(found) == 1
        return found.iloc[0].to_dict()


@pytest.fixture(scope="module", autouse=True)
def only_own_methods() -> Iterator[None]:
    """Let the registry hold the methods of this file, and no other."""
    before = dict(METHODS)
    for name in before:
        del METHODS[name]
    for function in OWN:
        attribution_method(title=function.__name__, source="this test")(function)
    yield
    for name in list(METHODS):
        del METHODS[name]
    for name, method in before.items():
        METHODS[name] = method


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    events: list[Event] = []
    folder = tmp_path_factory.mktemp("maps")
    table = run_attribution_benchmark(
        folder,
        networks=("small_cnn",),
        effects=("tag.first", "tag.second"),
        seeds=(0,),
        protocol=PROTOCOL,
        on_event=events.append,
    )
    messages = [event.text for event in events if isinstance(event, Message)]
    return Run(folder, table, messages)


@pytest.fixture(scope="module")
def subjects(run: Run) -> Subjects:
    recipes = {"small_cnn": recipe_of("small_cnn")}
    trained = TrainedClassifiers(DATA, ResultFolder(run.folder), recipes)
    return Subjects(DATA, "small_cnn", trained, ("small_cnn",))


def test_the_truth_is_what_the_effect_changes() -> None:
    (scene, *_) = DATA.scored
    assert scene.truth[TAG].all()
    assert scene.truth.sum() == 25
    assert scene.rival_truth is not None
    assert not scene.rival_truth[0].any()  # depolarisation: the other channel alone
    assert scene.rival_truth[1].sum() > 25
    # both effects of a pair are judged on the same images
    other = MapData(PROTOCOL, "tag.first", 0).scored[0]
    assert (other.image.to_numpy() == scene.image.to_numpy()).all()
    assert (other.truth == scene.rival_truth).all()


def test_the_other_effect_of_a_pair_tells_no_class() -> None:
    counts: dict[tuple[str, str], int] = {}
    for row, label in enumerate(DATA.dataset.table["label"]):
        shown = DATA.dataset.image(row).to_numpy()
        source = DATA.dataset.image(row).attrs["source"]
        number, seed = map(int, re.findall(r"\d+", source))
        scene = PairScene(number, pair="tag", seed=seed, size=32)
        version = next(
            name for name in scene.classes if (scene.image(name).to_numpy() == shown).all()
        )
        counts[label, version] = counts.get((label, version), 0) + 1
    assert counts == {
        (ABSENT, "neither"): 6,
        (ABSENT, "first"): 6,
        (PRESENT, "second"): 6,
        (PRESENT, "both"): 6,
    }


def test_effects_that_no_pixel_tells_are_left_out() -> None:
    assert "null" not in MAP_EFFECTS
    assert "nuisance" not in MAP_EFFECTS
    with pytest.raises(ParameterError, match=r"found null; expected some of .*tag\.second"):
        MapData(PROTOCOL, "null")
    with pytest.raises(ParameterError, match="found 1000"):
        MapData(PROTOCOL, "depolarisation", 1000)


def test_a_registered_method_is_a_row_by_itself(run: Run) -> None:
    of_tag = run.table[run.table["effect"] == "tag.second"]
    assert sorted(of_tag["method"]) == sorted([*DO_NOTHING, *(item.__name__ for item in OWN)])
    row = run.row("tag.second", "shows_the_tag")
    for metric in ("mass", "mass_by_channel", "rank"):
        assert row[f"relevance_{metric}"] == 1
    assert row["pointing_game"] == 1
    assert row["intersection_over_union"] == 1
    assert np.isnan(row["sign_agreement"])  # a map of one sign knows none
    assert row["passes"] == 0
    assert row["images"] == PROTOCOL.scored
    assert row["chance"]["relevance_mass"] == pytest.approx(25 / 32**2)
    assert row["each"]["relevance_mass"] == [1, 1, 1]


def test_rows_that_ask_no_network_show_what_they_say(subjects: Subjects) -> None:
    subject = subjects.images[0]
    rows = do_nothing_rows(subjects.classifier.channels)
    light = rows[INTENSITY](subject).numpy()
    raw = subject.scene.image.to_numpy().astype(float)
    for channel in (0, 1):  # light in another unit, and none where there is none
        factor = (light[channel] / raw[channel]).mean()
        np.testing.assert_allclose(light[channel], factor * raw[channel], rtol=1e-4)
    alone = rows["channel TMRM"](subject).numpy()
    assert not alone[0].any()
    np.testing.assert_array_equal(alone[1], light[1])
    step = torch.zeros_like(subject.x)
    step[..., 16:] = 1
    edges = rows[EDGES](replace(subject, x=step)).numpy()
    assert set(np.flatnonzero(edges[0].any(axis=0))) == {15, 16}
    noise = rows[RANDOM](subject)
    assert torch.equal(noise, rows[RANDOM](subject))
    assert not torch.equal(noise, rows[RANDOM](subjects.images[1]))


def test_passes_are_counted_by_images_wherever_they_start(run: Run, subjects: Subjects) -> None:
    # three in a batch, one into the first part, one through a copy
    assert run.row("tag.second", "asks_five_times")["passes"] == 5
    counter = PassCounter()
    with counter.watch(subjects.network, subjects.images[0].x):
        subjects.network(subjects.images[0].x.expand(7, -1, -1, -1))
    subjects.network(subjects.images[0].x)
    assert counter.images == 7
    assert not any(module._forward_pre_hooks for module in subjects.network.modules())


@pytest.mark.parametrize("name", ["iresnet", "cam_net", "resnext50"])
def test_passes_of_every_network_are_counted(name: str) -> None:
    given = {"weights": "random"} if name == "resnext50" else {}
    network = build_network(name, input_channels=2, classes=2, size=32, **given).eval()
    x, counter = torch.zeros(1, 2, 32, 32), PassCounter()
    with torch.no_grad(), counter.watch(network, x):
        network(x.expand(2, -1, -1, -1))
        network.encode(x)
        network.feature_maps(x)
    assert counter.images == 4


@pytest.mark.parametrize(("passes", "images"), [(15, 3), (10, 2), (1, 2)])
def test_a_costly_method_explains_fewer_images(
    subjects: Subjects, monkeypatch: pytest.MonkeyPatch, passes: int, images: int
) -> None:
    monkeypatch.setattr(subjects, "data", replace(DATA, protocol=replace(PROTOCOL, passes=passes)))
    made = measure_row(subjects, "asks_five_times", {})
    assert len(made.maps) == images


def test_random_draws_are_limited_where_nobody_asks_for_more(run: Run) -> None:
    method = METHODS["asks_five_times"]
    assert parameters_for(method, PROTOCOL) == {"samples": 5}
    assert parameters_for(method, replace(PROTOCOL, samples=2000)) == {"samples": 900}
    assert parameters_for(method, PROTOCOL, {"samples": 700}) == {"samples": 700}
    with pytest.raises(ParameterError, match="found parameter magic"):
        parameters_for(method, PROTOCOL, {"magic": 1})
    place = ResultFolder(run.folder).place("tag.second of small_cnn", 0, "asks_five_times")
    assert json.loads(place.read_text())["identity"]["parameters"] == {"samples": 5}


def test_methods_are_given_what_they_ask_for_or_refused_in_words(run: Run) -> None:
    regions = run.row("tag.second", "wants_regions")
    cells = np.mean([(scene.cells > 0).mean() for scene in DATA.scored])
    stored = ResultFolder(run.folder).images("tag.second of small_cnn", 0, "wants_regions")[PRESENT]
    assert stored[:, 0].mean() == pytest.approx(cells)
    assert not isinstance(regions.get("refused"), str)
    # no network among those of this run makes images
    assert "cannot" in run.row("tag.second", "wants_a_path")["refused"]
    assert run.row("tag.second", "breaks")["refused"] == "failed: ZeroDivisionError: a fault"


def test_the_path_goes_through_the_network_that_makes_images(
    subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def counterfactual(classifier: Any, image: Any, target: str, **settings: Any) -> str:
        asked.append({"classifier": classifier, "target": target, **settings})
        return "a series"

    monkeypatch.setattr(running, "counterfactual", counterfactual)
    monkeypatch.setattr(subjects, "_networks", ("iresnet", "small_cnn"))
    monkeypatch.setattr(subjects._classifiers, "classifier", lambda name: name)
    wants, other = METHODS["wants_a_path"], METHODS["wants_regions"]
    for _ in range(2):  # made once for all methods
        assert subjects.given(wants, subjects.images[0]).counterfactual == "a series"
    assert subjects.given(other, subjects.images[1]).counterfactual is None
    (settings,) = asked
    assert settings["classifier"] is subjects.classifier
    assert settings["through"] == "iresnet"
    assert (settings["source"], settings["target"]) == (PRESENT, ABSENT)
    subjects._series.clear()


def test_a_map_that_does_not_care_for_the_network_has_no_contrast(run: Run) -> None:
    made = add_model_contrast(run.table).set_index("method")["model_contrast"]
    for name in (RANDOM, "shows_the_tag", "wants_regions"):
        np.testing.assert_allclose(made[name], 0, atol=1e-6)
    # the two networks standardise by images of their own, so that channels weigh a little otherwise
    np.testing.assert_allclose(made[[INTENSITY, EDGES]], 0, atol=0.01)
    # what the tag's map holds of the other effect is the share of the tag that depolarises
    there = [(scene.rival_truth.any(axis=0)[2:7, 2:7]).mean() for scene in DATA.scored]
    assert run.row("tag.second", "shows_the_tag")["rival_mass"] == pytest.approx(np.mean(there))


def test_deletion_is_compared_with_the_same_random_orders(run: Run, subjects: Subjects) -> None:
    row = run.row("tag.second", "asks_five_times")
    stored = ResultFolder(run.folder).images("tag.second of small_cnn", 0, "asks_five_times")[
        PRESENT
    ]
    for number, subject in enumerate(subjects.images):
        maps = torch.from_numpy(stored[number])
        case = subjects.case(subject, Evidence(maps[:-1], maps[-1], ""))
        found = METRICS["pixel_flipping"].measure(
            case, side=0, steps=8, random_orders=RANDOM_ORDERS
        )
        assert row["each"]["pixel_flipping"][number] == pytest.approx(found.value)
        others = np.array(found.details["random"])
        beaten = np.mean(others < found.value) + np.mean(others == found.value) / 2
        assert row["each"]["deletion_against_random"][number] == pytest.approx(beaten)


def test_accuracy_is_the_mean_over_both_classes(subjects: Subjects) -> None:
    images = DATA.images_to_classify()
    assert {label: len(found) for label, found in images.items()} == {ABSENT: 4, PRESENT: 4}
    right = [
        subjects.classifier.logits(subjects.classifier.prepare_pixels(found)).argmax(1).numpy()
        == subjects.classifier.classes.index(label)
        for label, found in images.items()
    ]
    assert subjects.accuracy == pytest.approx(np.mean(right))


def test_what_is_there_is_not_made_again_but_faults_are_tried_again(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    explained: list[str] = []
    original = running._explain

    def explain(subjects: Subjects, subject: Any, method: Any, *others: Any) -> Any:
        explained.append(method.name)
        return original(subjects, subject, method, *others)

    def trained(*_: Any) -> None:
        pytest.fail("trained again")

    monkeypatch.setattr(running, "_explain", explain)
    monkeypatch.setattr(TrainedClassifiers, "_train", trained)
    settings = {"networks": ("small_cnn",), "effects": ("tag.second",), "seeds": (0,)}
    again = run_attribution_benchmark(run.folder, protocol=PROTOCOL, **settings)
    assert set(explained) == {"breaks"}
    # what another run made by the same protocol, of the other effect, is in the table too
    assert again["relevance_mass"].equals(run.table["relevance_mass"])
    # another number of images is another result
    other = replace(PROTOCOL, scored=2)
    methods = ("shows_the_tag",)
    fewer = run_attribution_benchmark(run.folder, methods=methods, protocol=other, **settings)
    assert set(fewer["method"]) == {*DO_NOTHING, "shows_the_tag"}
    assert set(fewer["images"]) == {2}


def test_stopping_keeps_whole_rows(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "maps"
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 40

    events: list[Event] = []
    table = run_attribution_benchmark(
        folder,
        networks=("small_cnn",),
        effects=("tag.second",),
        seeds=(0,),
        protocol=PROTOCOL,
        on_event=events.append,
        cancelled=cancelled,
    )
    assert events[-1].partial
    assert len(table) < len(DO_NOTHING) + len(OWN)


def test_a_row_that_is_stopped_is_none(subjects: Subjects) -> None:
    with pytest.raises(StoppedError):
        measure_row(subjects, "shows_the_tag", {}, cancelled=lambda: True)


def test_a_map_that_is_not_finite_is_refused(
    subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nan(network: Network, x: Tensor, target: int) -> Evidence:
        return Evidence(x[0] * torch.nan, x[0, 0], "")

    method = replace(METHODS["shows_the_tag"], name="nan", function=nan)
    monkeypatch.setitem(METHODS, "nan", method)
    with pytest.raises(MismatchError, match="not finite"):
        measure_row(subjects, "nan", {})


def test_it_says_first_how_long_it_takes(run: Run) -> None:
    assert run.messages[0].startswith("2 networks: about ")
    assert "min to train on this computer" in run.messages[0]
    assert f"maps of {len(OWN)} methods" in run.messages[0]


@pytest.mark.parametrize(
    "wrong", [{"effects": ("magic",)}, {"methods": ("magic",)}, {"networks": ("magic",)}]
)
def test_unknown_names_are_refused(wrong: dict[str, tuple[str, ...]], tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"found '?magic"):
        run_attribution_benchmark(tmp_path, protocol=PROTOCOL, **wrong)
    assert not list(tmp_path.iterdir())
