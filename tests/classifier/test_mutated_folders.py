"""Whatever is done to the folder of a classifier, loading refuses it in words or is not misled."""

import dataclasses
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from model_mutants import Mutant, mutants, seal
from torch import nn
from xarray import DataArray

from napari_why.core.errors import ModelFileError, WhyError
from napari_why.core.foreign_files import DOORS, MODULES
from napari_why.core.options import Help, InitialWeights
from napari_why.counterfactuals import counterfactual
from napari_why.datasets.preprocessing import Preprocessing
from napari_why.images import make_image
from napari_why.model import Classifier, load
from napari_why.model.appearance import Appearance
from napari_why.model.chance import at_chance, judge_pair
from napari_why.model.familiarity import (
    describe_confounding,
    describe_well_names,
    what_tells_apart,
)
from napari_why.model.image_facts import ImageFacts
from napari_why.model.latent_statistics import LatentStatistics
from napari_why.model.likeness import Likeness
from napari_why.model.quality import Quality, UsualChannel, count_flagged
from napari_why.model.storage import DECIDING, SavedFiles, SavedParts, assemble
from napari_why.networks import NETWORKS, Network, NetworkEntry, build_network, wrap
from napari_why.transport import Choice, ClassMaps

# Beside each field damaged in each way, which are two thousand: some thirty of each kind of accident.
COUNT = 300
# Of those that are believed every so many is asked for a counterfactual, which takes longest.
EVERY = 20
CLASSES = ("healthy", "diseased")
SCORE = {"images": 40, "accuracy": 0.75, "confusion_matrix": [[15, 5], [5, 15]]}
GROUP = {
    "well": "A01",
    "label": "healthy",
    "probability of healthy": 0.75,
    "probability of diseased": 0.25,
}
OF_GROUPS = {"groups": 1, "accuracy": 1.0, "confusion_matrix": [[1, 0], [0, 0]]}
METRICS = {
    "validation": {"images": SCORE, "groups": None, "by_group": None},
    "test": {"images": SCORE, "groups": OF_GROUPS, "by_group": [GROUP]},
}
# Bytes that loading 2,000 mutants of a few kilobytes may add: one image of 10^9 pixels would exceed it.
MOST_MEMORY = 5e8
OPENED: list[str] = []
WATCHING: list[bool] = []


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    if WATCHING and event == "open" and isinstance(arguments[0], str | bytes | Path):
        if not str(arguments[0]).endswith(MODULES):
            OPENED.append(str(arguments[0]))
    elif WATCHING and event in DOORS:
        OPENED.append(event)


@cache  # it stays until the process ends and hears of all that is done: not before it is needed
def install_watch() -> None:
    sys.addaudithook(watch)


def peak_memory() -> int:
    """Return the most memory that this process had so far, in bytes; 0 where nobody counts it."""
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def watched() -> Iterator[None]:
    install_watch()
    OPENED.clear()
    WATCHING.append(True)
    try:
        yield
    finally:
        WATCHING.clear()


@pytest.fixture(scope="module")
def tiny() -> Classifier:
    """An untrained classifier with everything that can be saved."""
    network = build_network(
        "iresnet", input_channels=2, classes=2, size=8, blocks="1", widths="2", downscaling="2",
        locked="0", head="linear",
    )  # fmt: skip
    network.freeze()
    second = build_network("small_cnn", input_channels=2, classes=2, size=8, widths="2")
    preprocessing = Preprocessing(
        ("DAPI", "TMRM"), 8, "resize", "linear", (10.0, 20.0), (3.0, 4.0), (1.0, 1.0)
    )
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(24) % 2
    images = torch.randn(24, 2, 8, 8, generator=generator) + labels[:, None, None, None]
    statistics = LatentStatistics.collect(network, [(images, labels)], CLASSES)
    transport = statistics.transport
    assert transport is not None
    chosen = transport.with_choices({(0, 1): Choice("excess", 1.5, (), {"images": 3})})
    return Classifier(
        network,
        preprocessing,
        CLASSES,
        statistics.with_part("transport", chosen).with_part("pixel_maps", few_maps(statistics)),
        METRICS,
        make_card(),
        second_network=second,
    )


def few_maps(statistics: LatentStatistics) -> ClassMaps:
    """Return a map of each kind and one replicate, which stand for megabytes of others."""
    found = statistics.pixel_maps
    assert found is not None
    maps = {key: made for key, made in found.maps.items() if key[:2] == (0, 1)}
    replicates = {key: made[:1] for key, made in found.replicates.items() if key in maps}
    assert {key[2] for key in maps} == {key[2] for key in found.maps}
    assert replicates
    return dataclasses.replace(found, maps=maps, replicates=replicates)


def make_card() -> dict[str, Any]:
    """Return a card with every part that is read again."""
    draw = np.random.default_rng(0)
    levels = draw.uniform(500, 1000, (20, 2, 1, 1))
    looks = [Appearance.of(image) for image in draw.poisson(levels, (20, 2, 8, 8)).astype(float)]
    likeness = Likeness.fit(looks, np.arange(20), ("DAPI", "TMRM"), (8, 8))
    means = {"DAPI": (500.0, 1000.0), "TMRM": (500.0, 1000.0)}
    usual = {name: UsualChannel(400.0, 900.0, 0.1, -1.5, -2.5, 0.1) for name in means}
    quality = Quality(usual, (8, 8), 0.1, count_flagged(CLASSES, [[]] * len(CLASSES)))
    facts = ImageFacts(("uint16",), ((8, 8),), (0.5, 0.5), "um", means, likeness, 20, quality)
    confounding = {
        "sentences": ["each class has plates of its own"],
        "factors": [],
        "apart": [{"things": "plates", "pairs": [list(CLASSES)]}],
    }
    return {
        "images": facts.to_dict(),
        "seen_images": ["0" * 64],
        "seen_groups": {"columns": ["plate", "well"], "names": [["1", "A01"]]},
        "splits": {"train": ["a.tif"], "test": ["b.tif"]},
        "confounding": confounding,
        "duplicates_left_out": ["c.tif"],
        "left_out": ["transport"],
        "notes": ["a note"],
        "lock_test": {"sentence": "No channel is locked."},
        "second_network": {"validation_accuracy": 0.5},
        "training": {"best_epoch": 1},
    }


@pytest.fixture(scope="module")
def folder(tiny: Classifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save(tmp_path_factory.mktemp("tiny") / "model")


def classifier_of(parts: SavedParts) -> Classifier:
    described = parts.description
    return Classifier(
        parts.network,
        described.preprocessing,
        described.classes,
        parts.latent_statistics,
        described.metrics,
        described.card,
        second_network=parts.second_network,
        notes=described.notes,
    )


def image_for(classifier: Classifier) -> DataArray:
    shape = (len(classifier.channels), 8, 8)
    pixels = np.random.default_rng(1).poisson(700, shape).astype(np.uint16)
    return make_image(pixels, "cyx", classifier.channels)


def answers_of(classifier: Classifier) -> list[Any]:
    """Return all that is computed from a classifier without searching, as it is shown to people."""
    image, names = image_for(classifier), classifier.classes
    found = classifier.predict(image)
    second = classifier.second_opinion(image)
    statistics = classifier.latent_statistics
    transport = None if statistics is None else statistics.transport
    return [
        found.logits.tolist(),
        found.notes,
        None if second is None else second.tolist(),
        None if transport is None else transport.choices,
        judgement_of(json.dumps(classifier.metrics), names),
        describe_confounding(classifier.card),
        what_tells_apart(classifier.card, names[0], names[1]),
        describe_well_names(classifier.card),
    ]


@cache  # the same for most of them, and it takes longer than all the rest
def judgement_of(metrics: str, names: tuple[str, ...]) -> tuple[Any, ...]:
    plain = json.loads(metrics)
    return at_chance(plain), judge_pair(plain, names, names[0], names[1])


def outcome_of(mutant: Mutant, original: Classifier, expected: list[Any], index: int) -> str:
    """Load a mutant and say what became of it; anything but words is an exception of the test."""
    with watched():
        try:
            parts = assemble(mutant.files)
        except ModelFileError as error:
            assert str(error)
            return "refused"
    found = classifier_of(parts)
    known = found.fingerprint == original.fingerprint
    told = (found.metrics, found.card, found.notes) == (
        original.metrics,
        original.card,
        original.notes,
    )
    answers = answers_of(found)
    if known:  # whatever else was changed decides about nothing
        assert answers == expected, mutant.kind
    if known and told:
        return "the same"
    # only who computes all checksums anew is believed, and what is loaded then can be used
    assert mutant.sealed, f"{mutant.kind}: another classifier was believed"
    if index % EVERY == 0:
        with suppress(WhyError):
            counterfactual(found, image_for(found), steps=2)
    return "told otherwise" if known else "another"


def test_mutants_are_refused_in_words_or_harmless(tiny: Classifier, folder: Path) -> None:
    files = SavedFiles.read(folder)
    original = classifier_of(assemble(files))
    assert original.fingerprint == tiny.fingerprint
    expected = answers_of(original)
    before = peak_memory()
    counts: Counter[tuple[bool, str]] = Counter()
    for index, mutant in enumerate(mutants(files, COUNT, seed=0)):
        counts[mutant.sealed, outcome_of(mutant, original, expected, index)] += 1
        assert OPENED == [], mutant.kind
    assert sum(counts.values()) > COUNT  # beside these, each part is changed in each way
    unsealed, sealed = (
        {name: n for (is_sealed, name), n in counts.items() if is_sealed is kind}
        for kind in (False, True)
    )
    # nearly all: the others differ in spaces or in what was set to what it was
    assert unsealed["refused"] > 0.9 * sum(unsealed.values())
    assert sealed["refused"] > 0.5 * sum(sealed.values())  # behind the checksum stands the schema
    assert peak_memory() - before < MOST_MEMORY


def build_theirs(
    *,
    input_channels: int,
    classes: int,
    size: int,
    frozen: bool = False,
    start: Annotated[str, Help("a file to start from"), InitialWeights(none="nothing")] = "nothing",
    table: Annotated[str, Help("a file that every building reads")] = "",
) -> Network:
    """Build a network of another package that reads the files that its parameters name."""
    for path in {start, table} - {"nothing", ""}:
        Path(path).read_bytes()
    encoder, head = (
        nn.Conv2d(2, 4, 3),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)),
    )
    network = wrap(
        encoder, head, input_channels=input_channels, classes=classes, name="theirs", size=size,
        start="nothing", table=table,
    )  # fmt: skip
    if frozen:
        network.freeze()
    return network


@pytest.mark.parametrize("parameter", ["start", "table"])
@pytest.mark.parametrize("path", ["/etc/passwd", "imagenet", "https://example.org/weights.pth"])
def test_a_networks_parameters_open_nothing(
    tiny: Classifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parameter: str, path: str
) -> None:
    monkeypatch.setitem(NETWORKS, "theirs", NetworkEntry("Theirs", "they", build_theirs))
    network = build_network("theirs", input_channels=2, classes=2, size=8)
    saved = SavedFiles.read(
        Classifier(network, tiny.preprocessing, CLASSES).save(tmp_path / "model")
    )
    plain = json.loads(saved.description)
    plain["network"][parameter] = path
    forged = seal(dataclasses.replace(saved, description=json.dumps(plain).encode()))
    assert forged.description != saved.description
    if parameter == "start":  # the weights that were saved take its place
        with watched():
            parts = assemble(forged)
        image = torch.ones(1, 2, 8, 8)
        assert torch.equal(parts.network(image), network(image))
    else:
        with (
            watched(),
            pytest.raises(ModelFileError, match=re.escape(f"tried to open {Path(path)}")),
        ):
            assemble(forged)
    assert set(OPENED) <= {str(Path(path))}


@pytest.mark.parametrize("name", ["classifier.json", "weights.safetensors"])
@pytest.mark.parametrize("kind", ["link", "broken link", "pipe", "folder", "missing"])
def test_what_is_no_plain_file_is_not_opened(
    tiny: Classifier, tmp_path: Path, name: str, kind: str
) -> None:
    file = tiny.save(tmp_path / "model") / name
    elsewhere = file.rename(tmp_path / name)
    if kind == "link":
        file.symlink_to(elsewhere)
    elif kind == "broken link":
        file.symlink_to(tmp_path / "nowhere")
    elif kind == "pipe":
        if not hasattr(os, "mkfifo"):
            pytest.skip("this system has no pipes in folders")
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    with watched(), pytest.raises(ModelFileError):
        load(tmp_path / "model")
    assert not [path for path in OPENED if path.endswith(("nowhere", str(elsewhere)))]


def test_further_files_of_the_user_do_no_harm(tiny: Classifier, tmp_path: Path) -> None:
    model = tiny.save(tmp_path / "model")
    (model / "weights.pth").write_bytes(b"not to be opened")
    (model / "notes.txt").symlink_to("/etc/hostname")
    with watched():
        assert load(model).fingerprint == tiny.fingerprint
    assert {Path(path).name for path in OPENED} == {"classifier.json", "weights.safetensors"}


def test_a_copy_behind_a_link_loads(tiny: Classifier, tmp_path: Path) -> None:
    tiny.save(tmp_path / "model")
    (tmp_path / "link").symlink_to(tmp_path / "model")
    assert load(tmp_path / "link").fingerprint == tiny.fingerprint


def test_the_fingerprint_covers_what_decides_about_a_result(tiny: Classifier) -> None:
    statistics = tiny.latent_statistics
    assert statistics is not None
    assert statistics.transport is not None
    other = statistics.transport.with_choices({(0, 1): Choice("excess", 3.0, ())})
    changed = [
        dataclasses.replace(tiny, latent_statistics=statistics.with_part("transport", other)),
        dataclasses.replace(tiny, latent_statistics=None),
        dataclasses.replace(tiny, second_network=None),
        dataclasses.replace(tiny, classes=("diseased", "healthy")),
        dataclasses.replace(
            tiny, preprocessing=dataclasses.replace(tiny.preprocessing, mean=(10.0, 20.5))
        ),
    ]
    assert len({item.fingerprint for item in (tiny, *changed)}) == len(changed) + 1
    # verdicts are made of metrics and card
    better = {"test": {"images": {"confusion_matrix": [[20, 0], [0, 20]]}}}
    deciding = [
        dataclasses.replace(tiny, metrics=better),
        *(dataclasses.replace(tiny, card={**tiny.card, name: {}}) for name in DECIDING),
    ]
    assert len({item.fingerprint for item in (tiny, *deciding)}) == len(deciding) + 1
    told = dataclasses.replace(tiny, card={**tiny.card, "training": {}, "notes": ["another"]})
    assert told.fingerprint == tiny.fingerprint
    assert len({item.former_fingerprint for item in (tiny, told, *deciding)}) == 1
